"""Task files made for one test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from crosstune.tasks import Task, load

MakeTask = Callable[..., Task]
COLOURS = ["red", "green", "blue"]


def colour_rows(start: int, count: int) -> list[dict[str, Any]]:
    """Rows of a small choice task, all different, classes taking turns."""
    return [
        {"text": f"thing {n}", "label": n % 3, "colour": COLOURS[n % 3]}
        for n in range(start, start + count)
    ]


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def task_in(
    folder: Path,
    *,
    train: Sequence[Any] | None = None,
    test: Sequence[Any] | None = None,
    **keys: Any,
) -> Task:
    """Writes rows and a task file into a folder and loads the task; a key of None is left out."""
    write_rows(folder / "train.jsonl", colour_rows(0, 12) if train is None else train)
    write_rows(folder / "test.jsonl", colour_rows(12, 9) if test is None else test)
    raw: dict[str, Any] = {
        "task": "colours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": "train.jsonl", "test": "test.jsonl"}},
        "training_split": "train",
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{ text }}:",
        "doc_to_target": "label",
        "doc_to_choice": COLOURS,
        **keys,
    }
    if raw["output_type"] == "generate_until" and "doc_to_choice" not in keys:
        del raw["doc_to_choice"]
    kept = {key: value for key, value in raw.items() if value is not None}
    (folder / "colours.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return load(["colours.yaml"], folder=folder)["colours"]
