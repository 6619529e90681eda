"""Rows of a split, from a local file or the Hugging Face Hub, each with the place it came from.

Own readers instead of `datasets` for local files: rows may differ in their keys, nothing is copied
into a cache, and a broken line is named. The whole split is held in memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from crosstune.errors import InputError, MissingExtra
from crosstune.tasks.task import Task

Row = Mapping[str, Any]
Read = Iterator[tuple[str, object]]
"""Places ("line 3"), each with what was read there."""

SHOWN_PROBLEMS = 10
_COMMIT = re.compile("[0-9a-f]{40}")


class Broken(str):
    """What is wrong with a place."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A split as it was read: (place, row) pairs, and the Hub commit ("" for local files)."""

    items: tuple[tuple[str, Row], ...]
    revision: str = ""


def some_of(problems: list[str]) -> list[str]:
    """The first problems and how many more there are.

    Example:
        >>> some_of([str(n) for n in range(12)])[-2:]
        ['9', 'and 2 more']
    """
    rest = len(problems) - SHOWN_PROBLEMS
    return problems[:SHOWN_PROBLEMS] + ([f"and {rest} more"] if rest > 0 else [])


def rejected(what: str, problems: list[str]) -> InputError:
    """The error for one or several faulty rows; one alone is the whole message."""
    return InputError(problems[0]) if len(problems) == 1 else InputError(what, some_of(problems))


def content_id(row: Row) -> str:
    """Sixteen hexadecimal digits that depend on a row's content and not on the order of its keys.

    Example:
        >>> content_id({"a": 1, "b": None}) == content_id({"b": None, "a": 1})
        True
    """
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_split(task: Task, split: str) -> Rows:
    """All rows of a split.

    Args:
        task: Whose rows; local files lie relative to its file.
        split: Name of the split there.

    Raises:
        InputError: A file or split is missing, a line is broken, the Hub cannot be reached.
        MissingExtra: The rows are on the Hub and `datasets` is not installed.
    """
    reader = READERS.get(task.dataset_path)
    if not reader:
        return _hub_rows(task, split)
    files = task.dataset_kwargs.data_files
    if split not in files:
        known = ", ".join(files)
        raise InputError(
            f"The task '{task.name}' has no files for the split '{split}' (there are: {known})."
        )
    where = f"split '{split}' of '{task.name}'"
    paths = {name: task.path.parent / name for name in files[split]}
    return _rows(paths, reader, where=where)


def read_file(path: Path) -> Rows:
    """All rows of a local file, read as its ending says.

    Raises:
        InputError: It is missing, of another format, or a line is broken.
    """
    reader = READERS.get(path.suffix[1:])
    if reader is None:
        raise InputError(f"{path.name} ends in none of .{', .'.join(READERS)}")
    return _rows({path.name: path}, reader, where="demonstrations")


def _rows(paths: Mapping[str, Path], reader: Callable[[Path], Read], *, where: str) -> Rows:
    items: list[tuple[str, Row]] = []
    problems: list[str] = []
    for name, path in paths.items():
        try:
            for place, row in reader(path):
                if isinstance(row, dict):
                    items.append((f"{path.name}, {place}", row))
                else:
                    told = row if isinstance(row, Broken) else "not an object with fields"
                    problems.append(f"{path.name}, {place}: {told}")
        except OSError as error:
            problems.append(f"{name}: {error.strerror or error} ({where})")
    if problems:
        raise rejected(f"The {where} cannot be read", problems)
    return Rows(tuple(items))


def _json_rows(path: Path) -> Read:
    """JSON Lines one by one, or one JSON array of objects as a whole."""
    with path.open("rb") as file:
        begin = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
        file.seek(0)
        is_array = begin[:1] == b"["
        for number, part in enumerate([file.read()] if is_array else file, 1):
            part = part.removeprefix(b"\xef\xbb\xbf") if number == 1 else part
            place = "the whole file" if is_array else f"line {number}"
            try:
                found: Any = json.loads(part) if part.strip() else None
            except (ValueError, RecursionError) as error:
                yield place, Broken(f"not valid JSON: {error}")
                continue
            if is_array:
                yield from ((f"item {n}", item) for n, item in enumerate(found, 1))
            elif part.strip():
                yield place, found


def _csv_rows(path: Path) -> Read:
    """CSV with a header; every value stays a string, also one that looks like a number."""
    csv.field_size_limit(2**31 - 1)  # a text may be long
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            for values in reader:
                place = f"line {reader.line_num}"
                if values and len(values) != len(header):
                    yield place, Broken(f"{len(values)} values, but the header names {len(header)}")
                elif values:
                    yield place, dict(zip(header, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            yield f"line {reader.line_num + 1}", Broken(f"not valid CSV: {error}")


def _parquet_rows(path: Path) -> Read:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(1_024))
            yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))
    except pyarrow.ArrowException as error:
        yield "the whole file", Broken(f"not valid Parquet: {error}")


READERS: dict[str, Callable[[Path], Read]] = {
    "json": _json_rows,
    "jsonl": _json_rows,
    "csv": _csv_rows,
    "parquet": _parquet_rows,
}
"""Readers by the ending of a file; they hold a part of it at a time, but for a JSON array."""


def _hub_rows(task: Task, split: str) -> Rows:
    """Rows through `datasets`, at one commit; never runs code that comes with a dataset."""
    name, given = task.dataset_path, task.dataset_kwargs
    where = f"The dataset '{name}' of the task '{task.name}'"
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra(where, "hub") from error
    if Path(name).exists():
        raise InputError(f"{where}: a local file or folder has that name and would hide the Hub's.")
    offline = bool(datasets.config.HF_HUB_OFFLINE or huggingface_hub.constants.HF_HUB_OFFLINE)
    revision = given.revision
    try:
        if not offline and not _COMMIT.fullmatch(revision):
            info = huggingface_hub.HfApi().dataset_info(name, revision=revision or None)
            revision = info.sha or revision
        rows = datasets.load_dataset(
            name,
            task.dataset_name or None,
            split=split,
            revision=revision or None,
            data_files=given.data_files or None,
            data_dir=given.data_dir or None,
        )
    except Exception as error:  # of the network, the Hub, the reader: many unrelated types
        how = "offline mode is on and no copy is cached" if offline else "is there a network?"
        reason = str(error).partition("\n")[0]
        raise InputError(f"{where} cannot be loaded ({how}): {reason}") from error
    # The library names the folder of its prepared copy after the commit, and offline it takes
    # the newest copy, whatever commit was asked for.
    found = Path(rows.cache_files[0]["filename"]).parent.name if rows.cache_files else ""
    commit = found if _COMMIT.fullmatch(found) else "" if offline else revision
    if not commit or (_COMMIT.fullmatch(revision) and commit != revision):
        known = f"is of {commit}, not of {revision}" if commit else "does not tell its commit"
        raise InputError(f"{where}: the cached copy {known}. Load it once with a network.")
    return Rows(
        tuple((f"{name}, {split} row {n}", dict(row)) for n, row in enumerate(rows, 1)), commit
    )
