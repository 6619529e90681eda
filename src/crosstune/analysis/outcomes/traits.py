"""Rows whose correctness changed by tuning, and what they have in common.

Rows that the base has right are compared among themselves, and so are those it has wrong: an
answer that was nearly lost before flips under any change, so that flipped rows differ from all
others even where tuning did nothing but add noise. For the same reason a trait is judged by what it
says beyond the base's confidence, where that is known: prompts of which the base is less sure flip
more, and so does any class of which it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import orth
from scipy.stats import f, rankdata

from crosstune.analysis.findings import Facts
from crosstune.analysis.outcomes.answers import Answered

DOWN, UP = DIRECTIONS = ("right → wrong", "wrong → right")
CONFIDENCE = "confidence of the base"
PROMPT, REFERENCE, ANSWER, TRUTH, ANSWERED = TRAITS = (
    "prompt tokens",
    "reference length",
    "length of the base's answer",
    "true class",
    "the base's answer",
)
LEAST_ROWS, LEAST_FLIPPED, LEAST_OF_CLASS = 20, 5, 5
"""With fewer rows, flipped ones or rows of a class nothing is tested."""
_LONGEST = 80
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Trait:
    """How often rows flip by one of their traits, in one target and condition.

    Attributes:
        target: Its name.
        condition: How it was asked.
        change: `right → wrong`, of the rows that the base has right, or `wrong → right`.
        trait: What was looked at.
        rows: How many could flip.
        flipped: How many did in at least one model.
        share: Of the models that flip a row, mean over the rows.
        beyond: Whether the base's confidence is taken out first, as it is known.
        correlation: Of the trait's rank and that share (of its rank where nothing is taken out:
            Spearman's), in [−1, 1]; None for classes.
        most: The class that flips most, with its share; None for numbers.
        most_share: Share of the models that flip a row of it.
        least: The class that flips least.
        least_share: Likewise.
        p: Of no connection, each row counted once, by an F test.
    """

    target: str
    condition: str
    change: str
    trait: str
    rows: int
    flipped: int
    share: float
    beyond: bool
    correlation: float | None
    most: str | None
    most_share: float | None
    least: str | None
    least_share: float | None
    p: float


def changes(
    found: Answered,
) -> tuple[Bool[np.ndarray, " examples"], Float[np.ndarray, "models examples"]] | None:
    """Whether the base is right, and whether each tuned model is; None unless all are 0 or 1."""
    values = np.stack([given.values for given in (found.base, *found.tuned.values())])
    if len(values) == 1 or not ((values == 0) | (values == 1)).all():
        return None
    return values[0] == 1, values[1:]


def traits(found: Answered) -> tuple[Trait, ...]:
    """Test every trait of the rows of one target, all tuned models together."""
    known = changes(found)
    if known is None:
        return ()
    right, values = known
    tested = []
    sure = found.base.confidence
    for change, members in zip(DIRECTIONS, (right, ~right), strict=True):
        share = np.abs(values - right)[:, members].mean(axis=0)
        flipped = int(np.count_nonzero(share))
        if len(share) < LEAST_ROWS or flipped < LEAST_FLIPPED or np.ptp(share) == 0:
            continue
        for name, trait, names in _traits(found, change):
            beside = None if sure is None or name == CONFIDENCE else sure[members]
            told = _tested(trait[members], share, names=names, beside=beside)
            if told is not None:
                whole = float(share.mean())
                tested.append(
                    Trait(
                        found.target, found.condition, change, name, len(share), flipped, whole,
                        beside is not None, *told,
                    )
                )  # fmt: skip
    return tuple(tested)


def _traits(
    found: Answered, change: str
) -> Iterator[tuple[str, np.ndarray, tuple[str, ...] | None]]:
    """Traits by name, with the names of the classes where they are classes.

    Those that another one decides are left out: a fixed class has its own length, and the base's
    answer is the truth where it is right, and the other one of two where it is wrong.
    """
    yield PROMPT, found.prompt_tokens, None
    if not found.fixed:
        yield REFERENCE, found.references, None
        yield ANSWER, found.base.characters, None
    if found.base.confidence is not None:
        yield CONFIDENCE, found.base.confidence, None
    if found.truth is not None:
        yield TRUTH, found.truth, found.classes
    if found.base.answer is not None and change == UP and len(found.classes) > 2:
        yield ANSWERED, found.base.answer, found.classes


Told = tuple[float | None, str | None, float | None, str | None, float | None, float]


def _tested(
    trait: np.ndarray,
    share: Float[np.ndarray, " rows"],
    *,
    names: tuple[str, ...] | None,
    beside: Float[np.ndarray, " rows"] | None,
) -> Told | None:
    """Correlation, extreme classes and p; None where there is nothing to compare.

    A cubic in the rank of the confidence is taken out of both sides: of the share alone, what is
    left of many rows that never flip is the cubic itself, and goes with all that confidence does.
    """
    means: dict[int, float] = {}
    if names is None:
        columns = rankdata(trait)[:, None]
    else:
        classes, counts = np.unique(trait[trait >= 0], return_counts=True)
        columns = trait[:, None] == classes[counts >= LEAST_OF_CLASS]
        kept = columns.any(axis=1)
        columns, share = columns[kept] * 1.0, share[kept]
        beside = None if beside is None else beside[kept]
        if columns.shape[1] < 2:
            return None
        named = classes[counts >= LEAST_OF_CLASS].tolist()
        means = dict(zip(named, (share @ columns / columns.sum(axis=0)).tolist(), strict=True))
    wanted = rankdata(share) if beside is None else share
    ranks = np.zeros(len(share)) if beside is None else rankdata(beside) / len(share)
    known = orth(np.vander(ranks, 4))
    wanted, columns = (part - known @ (known.T @ part) for part in (wanted, columns))
    told, whole = orth(columns, rcond=1e-9), float(wanted @ wanted)
    freedom = len(share) - known.shape[1] - told.shape[1]
    if np.abs(columns).max() < 1e-9 * len(share) or whole < 1e-9 or freedom < 1:
        return None
    found = min(float(np.square(told.T @ wanted).sum()), whole)
    ratio = (found / told.shape[1]) / max((whole - found) / freedom, 1e-12 * whole)
    p = float(f.sf(ratio, told.shape[1], freedom))
    if names is None:
        sign = float(np.sign(columns[:, 0] @ wanted))
        return sign * float(np.sqrt(found / whole)), None, None, None, None, p
    most, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return None, names[most], means[most], names[least], means[least], p


def flipped_rows(found: Answered, *, most: int) -> list[Facts]:
    """Rows whose correctness changed, those first that changed in most seeds of a source.

    Args:
        found: What all models answered to one target.
        most: Rows of each source and recipe, for every seed.
    """
    known = changes(found)
    if known is None:
        return []
    right, values = known
    cells: dict[tuple[str, str], list[int]] = {}
    models = [*found.tuned]
    for m, (source, recipe, _) in enumerate(models):
        cells.setdefault((source, recipe), []).append(m)
    rows: list[Facts] = []
    for (source, recipe), members in cells.items():
        differing = values[members] != right
        often = differing.sum(axis=0)
        for i in np.argsort(-often, kind="stable")[: min(most * len(members), (often > 0).sum())]:
            first = members[int(differing[:, i].argmax())]
            rows.append(
                {
                    "target": found.target,
                    "condition": found.condition,
                    "source": source,
                    "recipe": recipe,
                    "example": found.ids[i],
                    "change": DIRECTIONS[0 if right[i] else 1],
                    "flipped_with_seeds": ", ".join(
                        str(models[m][2])
                        for m, differs in zip(members, differing[:, i], strict=True)
                        if differs
                    ),
                    "seeds": len(members),
                    "truth": _cut(found.truths[i]),
                    "base_answer": _cut(found.base.texts[i]),
                    "answer": _cut(found.tuned[models[first]].texts[i]),
                }
            )
    return rows


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
