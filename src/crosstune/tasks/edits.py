"""Changes of what a source teaches, one trait at a time, to see what that trait alone causes.

An edit takes other rows (`balance`, `skew`, `subset`) or other answers for the same rows
(`shuffle_labels`, `rename_labels`, `shorten`, `lengthen`); questions are never touched, and neither
is what targets are asked. Rows are chosen before answers change, so by the task's own labels and
lengths, and labels change before their lengths. All depend on seed and rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from crosstune.errors import InputError, did_you_mean
from crosstune.tasks.example import Example
from crosstune.tasks.splits import subset

NAMES = "balance skew shorten lengthen shuffle_labels rename_labels subset".split()
DIGITS = "zero one two three four five six seven eight nine".split()


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Balance(_Edit):
    """Every class that is there as often as any other; rows of a rare one may repeat."""

    edit: Literal["balance"]


class Skew(_Edit):
    """One class has this share of the rows; the others keep their proportions."""

    edit: Literal["skew"]
    label: str
    share: float = Field(gt=0, lt=1)


class Shorten(_Edit):
    """Answers keep this many words, the first or the last ones."""

    edit: Literal["shorten"]
    words: int = Field(gt=0)
    keep: Literal["begin", "end"] = "begin"


class Lengthen(_Edit):
    """Answers stand in a longer text: `{answer}` in it."""

    edit: Literal["lengthen"]
    text: str = "Having read all of it with care, the answer that I would give to this is: {answer}"

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if "{answer}" not in self.text:
            raise ValueError("{answer} must stand in the text")
        return self


class ShuffleLabels(_Edit):
    """Answers go to rows at random, some to their own: as many of each, but they tell nothing."""

    edit: Literal["shuffle_labels"]


class RenameLabels(_Edit):
    """Labels by other names: the class's number, the word for a number, or names of one's own."""

    edit: Literal["rename_labels"]
    to: Literal["digits", "words"] = "digits"
    names: dict[str, str] = {}


class Subset(_Edit):
    """Fewer or only some of the rows: a number, some labels, or the shortest or longest answers."""

    edit: Literal["subset"]
    examples: int | None = Field(default=None, gt=0)
    labels: tuple[str, ...] = ()
    shortest: float | None = Field(default=None, gt=0, lt=1)
    longest: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"edit"}:
            raise ValueError("say which: examples, labels, shortest or longest")
        return self


def _named(value: object) -> object:
    """A bare word is an edit without options; what names no edit is told in our words."""
    said = value.get("edit") if isinstance(value, dict) else value
    if isinstance(value, dict) and said is None:
        raise ValueError("needs the key 'edit' (as {edit: balance})")
    if isinstance(said, str) and said not in NAMES:
        hint = did_you_mean(said, NAMES) or f" There are: {', '.join(NAMES)}."
        raise ValueError(f"there is no edit called '{said}'.{hint}")
    return {"edit": value} if isinstance(value, str) else value


Edit = Annotated[
    Annotated[
        Balance | Skew | Shorten | Lengthen | ShuffleLabels | RenameLabels | Subset,
        Field(discriminator="edit"),
    ],
    BeforeValidator(_named),
]


@dataclass(frozen=True, slots=True)
class Edited:
    """What is taught after the edits.

    Attributes:
        examples: As many as were wanted and there, but where an edit says otherwise.
        repeated: Of these, rows that stand there before.
    """

    examples: tuple[Example, ...]
    repeated: int


def edited(pool: Sequence[Example], edits: Sequence[Edit], *, count: int, seed: int) -> Edited:
    """Take examples and change them, edit by edit.

    Rows are those that `subset` takes without edits, as far as the edits allow, so that edited and
    original differ in the edited trait alone.

    Args:
        pool: All training examples of a task.
        edits: Those that choose rows come first, then those that change labels, then those that
            change lengths, each in order.
        count: How many are wanted; all where there are fewer.
        seed: Decides which.

    Raises:
        InputError: The task has no classes and an edit needs them, a label is not there, no row
            is left, two edits set the shares of the classes, or two labels would be one.

    Example:
        >>> rows = [
        ...     Example(str(i), "?", ("no", "yes"), i % 4 // 3, (("no", "yes")[i % 4 // 3],))
        ...     for i in range(40)
        ... ]
        >>> found = edited(rows, [Balance(edit="balance")], count=20, seed=0)
        >>> Counter(example.references[0] for example in found.examples)["yes"]
        10
    """
    pool = list(pool)
    for part in edits:
        if isinstance(part, Subset):
            pool = _kept(pool, part)
            if not pool:
                raise InputError(f"edit subset: no row has a label of {', '.join(part.labels)}")
            count = min(count, part.examples or count)
    count = min(count, len(pool))
    weighing = [edit for edit in edits if isinstance(edit, Balance | Skew)]
    if len(weighing) > 1:
        raise InputError("edits balance and skew set the same shares: give one of them")
    chosen, repeated = subset(pool, count, seed=seed), 0
    for weights in weighing:
        classes = _classes(pool, weights.edit)
        quotas = _apportioned(_shares(classes, weights), count)
        taken = [row for name, n in quotas.items() for row in _taken(pool, name, n, seed)]
        repeated = sum(max(0, n - classes[name]) for name, n in quotas.items())
        chosen = subset(taken, count, seed=seed)
    for edit in sorted(edits, key=lambda edit: isinstance(edit, Shorten | Lengthen)):
        chosen = _rewritten(chosen, edit, seed)
    return Edited(chosen, repeated)


def _kept(pool: list[Example], edit: Subset) -> list[Example]:
    if edit.labels:
        _must_be_there(edit.labels, _classes(pool, edit.edit), edit.edit)
        pool = [row for row in pool if row.references[0] in edit.labels]
    ordered = sorted(pool, key=lambda row: (len(row.references[0]), row.id))
    if edit.shortest:
        ordered = ordered[: max(1, round(edit.shortest * len(pool)))]
    if edit.longest:
        ordered = ordered[-max(1, round(edit.longest * len(pool))) :]
    return ordered


def _classes(pool: Sequence[Example], edit: str) -> Counter[str]:
    """Rows of each class, in the order of the choices; refuses what has no classes."""
    offered = {row.choices for row in pool}
    if len(offered) != 1 or not pool[0].choices:
        raise InputError(f"edit {edit} needs a task whose rows all offer the same choices")
    counts = Counter(dict.fromkeys(pool[0].choices, 0))
    counts.update(row.references[0] for row in pool)
    return counts


def _must_be_there(labels: Sequence[str], classes: Mapping[str, int], edit: str) -> None:
    for label in labels:
        if label not in classes:
            hint = did_you_mean(label, classes) or f" There are: {', '.join(classes)}."
            raise InputError(f"edit {edit}: there is no label '{label}'.{hint}")


def _shares(classes: Counter[str], edit: Balance | Skew) -> dict[str, float]:
    """The share of every class that there is to be."""
    if isinstance(edit, Balance):
        there = +classes
        return dict.fromkeys(there, 1 / len(there))
    _must_be_there([edit.label], classes, edit.edit)
    rest = classes.total() - classes[edit.label]
    if not rest:
        raise InputError(f"edit skew: all rows have the label '{edit.label}'")
    shares = {name: n / rest * (1 - edit.share) for name, n in classes.items()}
    return shares | {edit.label: edit.share}


def _apportioned(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers with this sum, nearest to the shares; the largest remainders are rounded up."""
    quotas = {name: int(share * count) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: quotas[name] - shares[name] * count)
    for name in by_remainder[: count - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _taken(pool: Sequence[Example], name: str, count: int, seed: int) -> list[Example]:
    """Rows of a class, from the first again where they do not suffice."""
    rows = subset([row for row in pool if row.references[0] == name], count, seed=seed)
    if count and not rows:
        raise InputError(f"there is no row with the label '{name}'")
    turns = (divmod(i, len(rows)) for i in range(count))
    return [replace(rows[i], id=rows[i].id + (f"+{turn}" if turn else "")) for turn, i in turns]


def _rewritten(chosen: tuple[Example, ...], edit: Edit, seed: int) -> tuple[Example, ...]:
    """The same rows with other answers."""
    match edit:
        case Shorten(words=words, keep=keep):
            part = slice(words) if keep == "begin" else slice(-words, None)
            return _answered(
                chosen, edit.edit, lambda answer: " ".join(answer.split()[part]) or answer
            )
        case Lengthen(text=text):
            return _answered(chosen, edit.edit, lambda answer: text.replace("{answer}", answer))
        case RenameLabels():
            names = _names(edit, _classes(chosen, edit.edit))
            return tuple(
                replace(
                    row,
                    choices=tuple(names[choice] for choice in row.choices),
                    references=(names[row.references[0]],),
                )
                for row in chosen
            )
        case ShuffleLabels():
            return _shuffled(chosen, seed)
    return chosen


def _answered(
    chosen: Sequence[Example], edit: str, answer: Callable[[str], str]
) -> tuple[Example, ...]:
    labels = {row.choices for row in chosen}
    if len(labels) == 1 and len({*map(answer, *labels)}) < len(*labels):
        raise InputError(f"edit {edit}: two labels would have the same text")
    found = []
    for row in chosen:
        right = answer(row.references[0])
        choices = tuple(right if i == row.label else c for i, c in enumerate(row.choices))
        found.append(replace(row, choices=choices, references=(right,)))
    return tuple(found)


def _names(edit: RenameLabels, classes: Mapping[str, Any]) -> dict[str, str]:
    """The new name of every label."""
    if edit.names:
        _must_be_there([*edit.names], classes, edit.edit)
        names = {name: edit.names.get(name, name) for name in classes}
    elif edit.to == "digits":
        names = {name: str(number) for number, name in enumerate(classes)}
    else:
        if not all(name.isdecimal() and int(name) < len(DIGITS) for name in classes):
            raise InputError(f"edit {edit.edit}: to words needs labels from 0 to {len(DIGITS) - 1}")
        names = {name: DIGITS[int(name)] for name in classes}
    if len({*names.values()}) < len(names):
        raise InputError(f"edit {edit.edit}: two labels would have the same name")
    return names


def _shuffled(chosen: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """Answers permuted among rows that offer as many choices: positions, where these differ."""
    found = [*chosen]
    groups: dict[int, list[int]] = {}
    for place, row in enumerate(chosen):
        groups.setdefault(len(row.choices), []).append(place)
    for size, places in sorted(groups.items()):
        order = np.random.default_rng((seed, size)).permutation(len(places))
        for place, other in zip(places, order.tolist(), strict=True):
            row, label = chosen[place], chosen[places[other]].label
            right = chosen[places[other]].references
            if label is not None:
                right = (row.choices[label],)
            found[place] = replace(row, label=label, references=right)
    return tuple(found)
