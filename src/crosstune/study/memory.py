"""What does not fit the memory is read in smaller batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crosstune.errors import JobFailure, OutOfMemory

SMALLEST_BUDGET = 256
"""Tokens of a batch; running out of memory below twice this is a failure."""

Read = TypeVar("Read")


def within_memory(
    read: Callable[[int], Read], *, name: str, budget: int, say: Callable[[str], None]
) -> tuple[Read, int]:
    """What is read with this budget, or the largest half of it that fits, and that budget.

    Args:
        read: Reads with a budget of tokens.
        name: What is read, for people.
        budget: Tokens of a batch.
        say: Told when a batch did not fit.

    Raises:
        JobFailure: Even the smallest batch does not fit.
    """
    while True:
        try:
            return read(budget), budget
        except OutOfMemory:
            if budget // 2 < SMALLEST_BUDGET:
                text = f"out of memory even with batches of {budget} tokens"
                raise JobFailure(text) from None
            budget //= 2
            say(f"{name}: out of memory, batches of {budget} tokens now")
