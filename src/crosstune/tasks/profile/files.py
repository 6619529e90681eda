"""Rows of a file as prompts and answers, one after the other, whatever the file's size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from crosstune.errors import InputError, did_you_mean
from crosstune.tasks.profile.measure import Text
from crosstune.tasks.rows import Broken, Read, _csv_rows, rejected
from crosstune.tasks.templates import missing

PAIRS = (("text", "label"), ("input", "output"), ("question", "answer"), ("prompt", "completion"))
"""Names of fields that need not be told: what is asked, and the answer."""
_BATCH = 1_024


def file_texts(path: Path, *, input: str | None = None, answer: str | None = None) -> Iterator[Text]:  # noqa: A002
    """Every row's prompt and answer; whether answers are labels is left to who reads them.

    Numbers are taken as they are written, of a list the first element.

    Args:
        path: A file that ends in `.jsonl`, `.csv` or `.parquet`.
        input: Field of the prompts; with `answer`, taken from `PAIRS` where the first row has
            the fields of exactly one pair.
        answer: Field of the right answers.

    Raises:
        InputError: Another ending, no rows, fields that are not told, or faulty rows: all of them
            are named once the file has been read.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path.name} ends in none of {', '.join(READERS)}")
    names: tuple[str, str] | None = None
    problems: list[str] = []
    read = 0
    try:
        for place, row in reader(path):
            try:
                if not isinstance(row, dict):
                    raise ValueError(row if isinstance(row, Broken) else "not an object with fields")
                names = names or _fields(path, row, input, answer)
                prompt, right = (_text(row, name) for name in names)
                read += 1
                yield Text(prompt, right, is_label=True)
            except ValueError as error:
                problems.append(f"{path.name}, {place}: {error}")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if problems:
        raise rejected(f"The rows of {path.name} cannot be used", problems)
    if not read:
        raise InputError(f"{path.name} has no rows")
