"""Examples of a task: a split, a seeded part of it, and the demonstrations drawn from it.

A split is read once and worded once per prompt variant while its task is in use: 2,000 rows take
about 0.2 seconds.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosstune.errors import InputError
from crosstune.tasks.example import Example, Sampler
from crosstune.tasks.rendering import worded, wording
from crosstune.tasks.rows import Rows, content_id, read_file, read_split, rejected
from crosstune.tasks.task import Task
from crosstune.tasks.templates import Unrenderable

Split = Literal["train", "test", "fewshot"]
KEPT = 256
"""Splits in memory; those used longest ago go first."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A split in one prompt variant.

    Attributes:
        items: The examples in the order of the rows.
        dropped: Rows left out because the task drops their label.
        revision: The Hub's commit the rows came from; empty for local files.
    """

    items: tuple[Example, ...]
    dropped: int
    revision: str


def examples(task: Task, split: Split, *, prompt: str = "default") -> Examples:
    """All examples of a split.

    Args:
        task: The task.
        split: `train`; `test`: the test split or, lacking one, validation; `fewshot`: the file's
            fewshot split or inline samples, else train, else validation, never the rows of `test`.
        prompt: Prompt variant.

    Raises:
        InputError: No such split or variant, rows that cannot be read or worded, or none left.
        MissingExtra: The rows are on the Hub and `datasets` is not installed.
    """
    return _worded(task, split, prompt)


@functools.lru_cache(KEPT)
def _worded(task: Task, split: Split | Path, prompt: str) -> Examples:
    words, rows = wording(task, prompt), _split_rows(task, split)
    columns = {key for _, row in rows.items for key in row}
    found: list[Example | None] = []
    problems: list[str] = []
    seen: Counter[str] = Counter()
    for where, row in rows.items:
        try:
            name = content_id(row)
            seen[name] += 1
            name += f"-{seen[name]}" if seen[name] > 1 else ""
            found.append(worded(task, words, row, name=name, columns=columns))
        except (Unrenderable, UnicodeEncodeError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise rejected(f"The rows of the task '{task.name}' cannot be used", problems)
    kept = tuple(example for example in found if example is not None)
    dropped = len(found) - len(kept)
    if not kept:
        where = split.name if isinstance(split, Path) else f"The {split} split"
        raise InputError(f"{where} of the task '{task.name}' is empty ({dropped} rows dropped).")
    return Examples(kept, dropped, rows.revision)


def _split_rows(task: Task, split: Split | Path) -> Rows:
    if isinstance(split, Path):
        return read_file(split)
    if split == "fewshot" and task.fewshot_config.samples:
        samples = enumerate(task.fewshot_config.samples, 1)
        return Rows(tuple((f"{task.path.name}, sample {n}", row) for n, row in samples))
    key, name = {
        "train": ("training_split", task.train_split),
        "test": ("test_split", task.test_split),
        "fewshot": ("fewshot_split", task.demonstrations_split),
    }[split]
    if not name:
        rule = " (demonstrations cannot be rows that are asked)" if split == "fewshot" else ""
        raise InputError(f"The task '{task.name}' has no {key}{rule}.")
    return _read(task, name)


_read = functools.lru_cache(KEPT)(read_split)


def _shuffled(examples: Iterable[Example], *, seed: int, purpose: str) -> list[Example]:
    """A permutation that depends on seed and ids alone, on no machine, version or order."""

    def rank(example: Example) -> bytes:
        return hashlib.sha256(f"{purpose}:{seed}:{example.id}".encode()).digest()

    return sorted(examples, key=rank)


def subset(examples: Sequence[Example], count: int, *, seed: int) -> tuple[Example, ...]:
    """The first `count` examples of a seeded permutation, thus nested for growing counts.

    Args:
        examples: What to choose from; their order does not matter.
        count: How many, at least 0; all when there are fewer.
        seed: The permutation.

    Raises:
        ValueError: A negative count.
    """
    if count < 0:
        raise ValueError(f"count must not be negative: {count}")
    return tuple(_shuffled(examples, seed=seed, purpose="subset")[:count])


def demonstrations(
    task: Task,
    shots: int,
    *,
    prompt: str = "default",
    seed: int = 0,
    file: Path | None = None,
    sampler: Sampler = "task",
    draw: int = 0,
    order: int = 0,
) -> tuple[Example, ...]:
    """The solved examples before every question of a task, the same ones for all questions.

    Drawn by seed, unless the sampler is `first` or the task's file says `first_n`: then they are
    the first ones. For a choice task a draw goes round the right positions (for a fixed list of
    choices: the classes), so that each is there once the shots allow it and their counts differ by
    one at most while rows last. The order of drawn ones is a permutation of its own.

    Args:
        task: The task.
        shots: How many, at least 0.
        prompt: Prompt variant.
        seed: Decides draws and orders.
        file: Where their rows are, in place of the task's few-shot split.
        sampler: Whether they are the first ones or drawn.
        draw: Which draw; nothing for the first ones.
        order: Which order; 0 is the order of the file for the first ones.

    Raises:
        InputError: The task has no split for demonstrations, or too few rows in it.
    """
    if shots == 0:
        return ()
    pool = _worded(task, file or "fewshot", prompt).items
    if shots > len(pool):
        raise InputError(
            f"The task '{task.name}' has {len(pool)} examples to demonstrate with, not {shots}."
        )
    first = task.fewshot_config.sampler == "first_n" if sampler == "task" else sampler == "first"
    shown = pool[:shots] if first else _drawn(pool, shots, seed=seed, draw=draw)
    if first and not order:
        return shown
    return tuple(_shuffled(shown, seed=seed, purpose=_numbered("order", order)))


def _drawn(pool: Sequence[Example], shots: int, *, seed: int, draw: int) -> tuple[Example, ...]:
    drawn = _shuffled(pool, seed=seed, purpose=_numbered("demonstrations", draw))
    turns: Counter[int | None] = Counter()

    def turn(example: Example) -> int:
        turns[example.label] += 1
        return turns[example.label]

    drawn.sort(key=turn)
    return tuple(drawn[:shots])


def _numbered(purpose: str, number: int) -> str:
    return f"{purpose} {number}" if number else purpose
