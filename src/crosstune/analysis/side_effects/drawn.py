"""Labels written where text was asked for, lengths and classes drawn towards those of the source.

Costs the pass over all scores that the analyses of answers share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.special import stdtrit

from crosstune.analysis.findings import Facts
from crosstune.analysis.generalization.arms import bare
from crosstune.analysis.outcomes.cells import SIGNIFICANT, Known, Name, corrected, named
from crosstune.analysis.outcomes.confusion import shifts
from crosstune.analysis.outcomes.summaries import Counts, Summary
from crosstune.results.cells import OTHERS
from crosstune.tasks.profile import EDGES

LEAST_ERRORS, LEAST_DISTANCE = 4.0, 0.1
"""A pull is told where the lengths of source and base differ by so many standard errors, and by
this much in log(1 + characters)."""
UNEVEN = 1.25
"""A class is a source's majority when it has so many times its even share."""
Way = tuple[str, str]
"""A source and a recipe."""
_MIDDLES = np.log1p([[0, *EDGES], [0, *np.array(EDGES[1:]) - 1, EDGES[-1]]]).mean(axis=0)
"""log(1 + characters) in the middle of each bin, between the shortest and longest text of it."""
_SHOWN = "source recipe condition target relation".split()


def labels_written(cells: Sequence[Facts], labels: Mapping[Way, Mapping[str, Any]]) -> list[Facts]:
    """How often text targets are answered with a label of the source, most often first."""
    told = []
    for row in cells:
        mine = {bare(label) for label in labels.get((row["source"], row["recipe"]), ())}
        if mine and row["scoring"] == "generation" and row["gain"] is not None:
            base, tuned = (_share(row[name], mine) for name in ("base_answers", "answers"))
            if not mine & {bare(text) for text in json.loads(row["truth"])}:
                facts = {name: row[name] for name in _SHOWN}
                facts |= {"base_share": base, "tuned_share": tuned, "difference": tuned - base}
                told.append(facts)
    return sorted(told, key=lambda row: -row["difference"])


def _share(answers: str, labels: set[str]) -> float:
    counts = json.loads(answers)
    mine = sum(n for text, n in counts.items() if text != OTHERS and bare(text) in labels)
    return float(mine / sum(counts.values()))


def length_pull(
    tuned: Counts, base: Counts, source: Sequence[int], *, examples: int
) -> tuple[float, float, float] | None:
    """How far lengths went from those of the base to those of the source's answers.

    All are means over the same bins, so that answers as long as the source's are a pull of 1.
    Numerator and denominator share the base's mean; their covariance follows from the variances
    of the tuned, the base's and their paired difference.

    Args:
        tuned: Of one source and recipe.
        base: On the same examples.
        source: Its answers by characters over `EDGES`.
        examples: How many were asked.

    Returns:
        The pull (0: none, 1: all the way) and its 95 % interval; None where source and base differ
        too little to say.

    Source:
        Fieller (1954), Some problems in interval estimation.
    """
    assert tuned.longer is not None
    sides = [_mean_length(np.array(counts)) for counts in (base.lengths, tuned.lengths, source)]
    (before, _), (after, _), (goal, source_spread) = sides
    rows, of_base = sum(source), base.length_error**2
    moved, distance = after - before, goal - before
    quantile = float(stdtrit(max(examples - 1, 1), 0.975))
    own = ((tuned.longer.high - tuned.longer.mean) / quantile) ** 2
    whole = of_base + source_spread / rows
    shared = (of_base - tuned.length_error**2 + own) / 2
    if abs(distance) < max(LEAST_ERRORS * np.sqrt(whole), LEAST_DISTANCE):
        return None
    # Fieller: all ratios r for which moved − r · distance is within its error of 0.
    a = distance**2 - quantile**2 * whole
    b = moved * distance - quantile**2 * shared
    c = moved**2 - quantile**2 * own
    half = float(np.sqrt(max(b * b - a * c, 0.0)))
    return moved / distance, float((b - half) / a), float((b + half) / a)


def _mean_length(counts: Int[np.ndarray, " bins"]) -> tuple[float, float]:
    """Mean and variance of log(1 + characters) of texts that are counted by length."""
    mean = float(_MIDDLES @ counts / counts.sum())
    return mean, float(np.square(_MIDDLES - mean) @ counts / counts.sum())


def pulls(
    found: Sequence[Summary],
    cells: Mapping[Name, Known],
    answers: Mapping[Way, Sequence[int]],
) -> list[Facts]:
    """Cells of text targets, where answers have a length of their own; the strongest pull first.

    Args:
        found: The targets.
        cells: What the matrix says of those that are wanted.
        answers: How long the answers of each source are, by characters over `EDGES`.
    """
    spots = [
        (each, each.tuned[way], (*way, each.target, each.condition))
        for each in found
        if not each.classes
        for way in each.tuned
        if (*way, each.target, each.condition) in cells
    ]
    p = np.array([counts.longer.p for _, counts, _ in spots if counts.longer])
    q = corrected(p, [name for *_, name in spots], cells) if spots else p
    told = []
    for (each, counts, name), *tests in zip(spots, p.tolist(), q.tolist(), strict=True):
        row: Facts = named(name) | dict(zip(("p", "q"), tests, strict=True))
        row |= {
            "relation": cells[name].relation,
            "way": f"{name[1]}, {name[3]}",
            "before_length": _mean_length(each.base.lengths)[0],
            "after_length": _mean_length(counts.lengths)[0],
        }
        source = answers.get(name[:2])
        if source is not None:
            row["source_length"] = _mean_length(np.array(source))[0]
            ends = length_pull(counts, each.base, source, examples=each.examples)
            if ends is not None:
                row |= dict(zip(("pull", "from", "to"), ends, strict=True))
        told.append(row)
    return sorted(told, key=lambda row: (row["q"] >= SIGNIFICANT, -abs(row.get("pull", 0.0))))


def drifts(
    found: Sequence[Summary],
    cells: Mapping[Name, Known],
    shares: Mapping[Way, Mapping[str, float]],
) -> list[Facts]:
    """Cells whose target has just the labels of the source, the largest move first.

    Args:
        found: The targets.
        cells: What the matrix says; the tests are corrected over all of them.
        shares: Of the labels of each source that is wanted.
    """
    by_target = {(each.target, each.condition): each for each in found}
    told = []
    for name, moved in shifts(found, cells).items():
        each, given = by_target[name[2:]], shares.get(name[:2], {})
        if not each.fixed or {*given} != {*each.classes}:
            continue
        source = np.array([given[label] for label in each.classes])
        row: Facts = named(name) | {"relation": cells[name].relation}
        for side, counts in (("base", each.base), ("tuned", each.tuned[name[:2]])):
            row[f"{side}_distance"] = float(np.abs(counts.given(len(source)) - source).sum() / 2)
        row["moved"] = any(shift.sure for shift in moved)
        if source.max() >= UNEVEN / len(source):
            shift = moved[int(source.argmax())]
            row |= shift.facts() | {"label": shift.label, "source_share": float(source.max())}
        told.append(row)
    return sorted(told, key=lambda row: -row.get("difference", -1.0))
