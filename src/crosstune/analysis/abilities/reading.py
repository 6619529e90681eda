"""A table of models × tasks from a CSV file. Cost is that of reading it."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crosstune.errors import InputError, did_you_mean

_GAPS = frozenset({"", "-", "na", "n/a", "nan", "null", "none"})
_SHOWN = 10


class Scores(NamedTuple):
    """Complete rows of a table.

    Attributes:
        table: Models × tasks.
        models: Names of the rows.
        tasks: Names of the columns.
        left_out: Models with a gap.
        texts: Columns that hold no numbers.
        emptiest: The task with most gaps, the first one of several.
        gaps: How many it has.
    """

    table: np.ndarray
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    texts: tuple[str, ...]
    emptiest: str
    gaps: int


def read_table(path: Path | str, *, tasks: Sequence[str] = ()) -> Scores:
    """Scores of models on tasks; the first column names the models, the first row the tasks.

    Args:
        path: A CSV file in UTF-8.
        tasks: The columns to take; all that hold numbers if empty.

    Raises:
        InputError: There is no such file, or it is no such table; says where.
    """
    (_, header), *lines = _lines(Path(path))
    rows = [row for _, row in lines]
    if unknown := [name for name in tasks if name not in header[1:]]:
        problems = [
            f"'{name}'{' names the models.' * (name == header[0])}{did_you_mean(name, header[1:])}"
            for name in unknown
        ]
        raise InputError(f"{path} has no such columns", problems)
    columns = {name: [_number(row[i]) for row in rows] for i, name in enumerate(header) if i}
    texts = [
        name
        for name, column in columns.items()
        if not any(isinstance(value, float) and not math.isnan(value) for value in column)
    ]
    taken = [name for name in columns if (name in tasks if tasks else name not in texts)]
    wrong = [
        f"line {line}, {name}: '{value}' is not a number"
        for name in taken
        for (line, _), value in zip(lines, columns[name], strict=True)
        if isinstance(value, str)
    ]
    if wrong:
        more = [f"and {len(wrong) - _SHOWN:,} more"] if len(wrong) > _SHOWN else []
        raise InputError(f"{path} cannot be used", wrong[:_SHOWN] + more)
    if not taken:
        raise InputError(f"{path} has no column of numbers after the first one, which names models")
    whole = np.array([columns[name] for name in taken], dtype=np.float64).T
    gaps = np.isnan(whole)
    known, by_task = np.asarray(~gaps.any(axis=1)), gaps.sum(axis=0)
    names = [row[0] for row in rows]
    return Scores(
        whole[known],
        tuple(name for name, its in zip(names, known, strict=True) if its),
        tuple(taken),
        tuple(name for name, its in zip(names, known, strict=True) if not its),
        tuple(name for name in texts if name not in taken),
        taken[by_task.argmax()],
        int(by_task.max()),
    )


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers, the header first."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from None
    if len(lines) < 2 or len(lines[0][1]) < 2:
        raise InputError(f"{path} needs a first row that names tasks, and a row for every model")
    header = lines[0][1]
    if all(isinstance(_number(row[0]), float) for _, row in lines[1:]):
        raise InputError(f"{path}: its first column holds numbers; it must name the models")
    problems = [
        f"line {line}: {len(row):,} fields instead of {len(header):,}"
        for line, row in lines
        if len(row) != len(header)
    ]
    for what, names in (("column", header[1:]), ("model", [row[0] for _, row in lines[1:]])):
        twice = [name for name, count in Counter(names).items() if count > 1]
        problems += [f"there are several {what}s called '{name}'" for name in twice]
    if problems:
        raise InputError(f"{path} cannot be used", problems[:_SHOWN])
    return lines


def _number(text: str) -> float | str:
    """The number, NaN for a gap, or the text that is neither."""
    if text.lower() in _GAPS:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
