"""Chance with a seed, and the rule that a fact serves training or testing but never both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import task_facts as facts

Row = dict[str, Any]
Group = list[Row]
Builder = Callable[["Draw"], Iterator[Group]]
BUILDERS: dict[str, Builder] = {}


class Draw:
    """The chances and the facts one split of one task may use."""

    def __init__(self, task: str, *, test: bool) -> None:
        self.rng = random.Random(f"{task} {'test' if test else 'train'} 1")
        self.test = test

    def owns(self, fact: str) -> bool:
        """Whether a fact belongs to this split."""
        return facts.is_test(fact) == self.test

    def mine(self, kind: str, items: Iterable[str]) -> list[str]:
        """Those items whose fact `kind:item` belongs to this split, in random order."""
        kept = [item for item in items if self.owns(f"{kind}:{item}")]
        self.rng.shuffle(kept)
        return kept

    def numbers(self, kind: str, *bounds: tuple[int, int]) -> tuple[str, list[int]]:
        """Random numbers within the bounds, and the fact they make: new, and of this split."""
        while True:
            drawn = [self.rng.randint(low, high) for low, high in bounds]
            fact = f"{kind}:{','.join(map(str, sorted(drawn)))}"
            if self.owns(fact):
                return fact, drawn

    def shuffled(self, items: Iterable[Any]) -> list[Any]:
        """The same items in random order."""
        kept = list(items)
        self.rng.shuffle(kept)
        return kept


def builds(name: str) -> Callable[[Builder], Builder]:
    """Register the builder of one task; it may yield groups of rows without end."""

    def register(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return register


def rows(task: str, *, test: bool, count: int) -> list[Row]:
    """The rows of one split: the first groups without a repetition, in random order.

    Raises:
        ValueError: The facts do not last for so many.
    """
    draw = Draw(task, test=test)
    kept: dict[str, Row] = {}
    for group in islice(BUILDERS[task](draw), 20 * count):
        new = {str({key: row[key] for key in row if key != "fact"}): row for row in group}
        if len(new) == len(group) and not new.keys() & kept.keys():
            kept |= new
        if len(kept) >= count:
            return draw.shuffled(kept.values())
    raise ValueError(f"{task}: only {len(kept)} different rows of {count}")


def each_place(draw: Draw, answers: list[str]) -> Iterator[list[str]]:
    """For the n-th answer all answers in random order, but with itself in the n-th place."""
    for place, answer in enumerate(answers):
        rest = draw.shuffled(other for other in answers if other != answer)
        yield [*rest[:place], answer, *rest[place:]]
