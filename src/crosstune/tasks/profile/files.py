"""Rows of a file as prompts and answers, one after the other, whatever the file's size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from crosstune.errors import InputError, did_you_mean
from crosstune.tasks.profile.measure import Text
from crosstune.tasks.rows import READERS, Broken, rejected
from crosstune.tasks.templates import missing

PAIRS = (("text", "label"), ("input", "output"), ("question", "answer"), ("prompt", "completion"))
"""Names of fields that need not be told: what is asked, and the answer."""


def file_texts(path: Path, *, prompt: str = "", answer: str = "") -> Iterator[Text]:
    """Every row's prompt and answer; whether answers are labels is left to who reads them.

    Numbers are taken as they are written, of a list the first element.

    Args:
        path: A file that ends in `.jsonl`, `.json`, `.csv` or `.parquet`.
        prompt: Field of the prompts; with `answer`, taken from `PAIRS` where the first row has
            the fields of exactly one pair.
        answer: Field of the right answers.

    Raises:
        InputError: Another ending, no rows, fields that are not told, or faulty rows: all of them
            are named once the file has been read.
    """
    reader = READERS.get(path.suffix[1:])
    if reader is None:
        raise InputError(f"{path.name} ends in none of .{', .'.join(READERS)}")
    fields: tuple[str, str] | None = None
    problems: list[str] = []
    try:
        for place, row in reader(path):
            try:
                if not isinstance(row, dict):
                    raise ValueError(
                        row if isinstance(row, Broken) else "not an object with fields"
                    )
                fields = fields or _fields(path.name, row, (prompt, answer))
                asked, right = (_text(row, field) for field in fields)
            except ValueError as error:
                problems.append(f"{path.name}, {place}: {error}")
            else:
                yield Text(asked, right, is_label=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if problems:
        raise rejected(f"The rows of {path.name} cannot be used", problems)
    if fields is None:
        raise InputError(f"{path.name} has no rows")


def _fields(name: str, row: Mapping[str, Any], given: tuple[str, str]) -> tuple[str, str]:
    """The two fields to read, as told or as the first row has them."""
    if all(given):
        return given
    fitting = [pair for pair in PAIRS if row.keys() >= {*pair}]
    if len(fitting) == 1 and not any(given):
        return fitting[0]
    raise InputError(
        f"Say which field of {name} is the input and which the answer: --input FIELD "
        f"--answer FIELD (fields: {', '.join(map(str, row)) or 'none'})"
    )


def _text(row: Mapping[str, Any], field: str) -> str:
    if field not in row:
        hint = did_you_mean(field, map(str, row))
        raise ValueError(missing(field, row) + ("." + hint if hint else ""))
    value = row[field]
    if isinstance(value, list) and value:
        value = value[0]
    absent = value is None or value == [] or (isinstance(value, float) and isnan(value))
    if absent or not isinstance(value, str | int | float):
        told = "empty" if absent else "no text"
        raise ValueError(f"the field '{field}' is {told}")
    text = str(value)
    text.encode()  # half a character cannot be written
    return text
