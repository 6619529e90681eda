"""What the JSON files of a study say, checked as it is read: others may have altered them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosstune.errors import InputError

_TEXTS = ("source", "target", "target_family", "relation", "recipe", "condition", "scoring")
_LISTS = ("source_families", "source_tasks", "metrics")
_COUNTS = ("seed", "leaked", "contained")
_KEYS = ("key", "base_key", "job_key", "base_job_key")


class Damaged(InputError):
    """A file does not hold what crosstune has written."""


def damaged(path: Path) -> Damaged:
    """The message about a damaged file that another run makes again."""
    return Damaged(f"{path} is damaged: remove it and run the study again")


def content(path: Path) -> Any:
    """The content of a JSON file; None when it is absent.

    Raises:
        InputError: It cannot be read, or is not JSON.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise damaged(path) from None
    if found is None:
        raise damaged(path)
    return found


def is_row(row: object) -> bool:
    """Whether a row of plan.json has all that the matrix needs."""
    if not (isinstance(row, dict) and all(_is_count(row.get(name)) for name in _COUNTS)):
        return False
    texts = [row.get(name) for name in (*_TEXTS, *_KEYS)]
    for name in _LISTS:
        texts += row[name] if isinstance(row.get(name), list) and row[name] else [None]
    return all(isinstance(t, str) for t in texts) and all(is_key(row[name]) for name in _KEYS)


def is_layers_row(row: object) -> bool:
    """Whether a row of layers.json has all that an analysis needs."""
    if not (isinstance(row, dict) and _is_count(row.get("seed"))):
        return False
    names = ("task", "family", "kind", "source", "recipe", "key", "job_key")
    texts = all(isinstance(row.get(name), str) for name in names)
    tasks = row.get("tasks")
    return texts and is_key(row["key"]) and is_key(row["job_key"]) and isinstance(tasks, list)


def is_of_before(rows: object) -> bool:
    """Whether a plan was made before its rows told relation and scoring."""
    first = rows[0] if isinstance(rows, list) and rows else None
    return isinstance(first, dict) and {"relation", "scoring"}.isdisjoint(first) and "key" in first


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_cell(cell: object, metrics: Sequence[str]) -> bool:
    """Whether a cell.json has all that the matrix needs, these metrics among it."""
    if not (isinstance(cell, dict) and _is_count(cell.get("n"))):
        return False
    means, proof = cell.get("metrics"), cell.get("proof")
    if not (isinstance(means, dict) and isinstance(proof, dict)):
        return False
    numbers = all(type(means.get(metric)) in (int, float) for metric in metrics)
    return numbers and isinstance(proof.get("tensors_sha256"), str)


def is_key(text: str) -> bool:
    """Whether a text names an entry: a SHA-256 in hexadecimal digits, so never a path."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None
