"""A study of three small tasks on the stand-in: the least that has every axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from crosstune.study.progress import Reporter
from crosstune.study.schema import Study

GOOD, BAD = ("great", "lovely", "fine", "warm", "bright"), ("awful", "dull", "cold", "poor", "grim")
THINGS = ("film", "meal", "book", "room", "song", "trip", "shop", "play")


class Told(Reporter):
    """Keeps what is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **keys: Any) -> None:
    """A task file and its rows, two thirds of them for training."""
    cut = len(rows) * 2 // 3
    write_rows(folder / f"{name}-train.jsonl", rows[:cut])
    write_rows(folder / f"{name}-test.jsonl", rows[cut:])
    files = {"train": f"{name}-train.jsonl", "test": f"{name}-test.jsonl"}
    content = {
        "task": name,
        "family": "sentiment",
        "licence": "CC0-1.0",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "training_split": "train",
        "test_split": "test",
        "fewshot_split": "train",
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | keys))


def folder_of_tasks(folder: Path) -> Path:
    """Two choice tasks (`mood`, `tone`), one text task (`sums`), and a model's folder (`base`)."""
    folder.mkdir(parents=True, exist_ok=True)
    moods: list[dict[str, Any]] = [
        {"text": f"the {thing} was {word}", "label": int(word in GOOD)}
        for thing in THINGS
        for pair in zip(GOOD, BAD, strict=True)
        for word in pair
    ]
    choice = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}\nMood:",
        "doc_to_target": "label",
        "doc_to_choice": ["bad", "good"],
        "prompts": {"bare": {"doc_to_text": "{{text}}."}},
    }
    write_task(folder, "mood", moods, **choice)
    tones = [{"text": f"that {r['text'][4:]}", "label": r["label"]} for r in moods]
    write_task(folder, "tone", tones, **choice)
    sums = [{"a": a, "b": b, "sum": str(a + b)} for a in range(6) for b in range(6)]
    write_task(
        folder,
        "sums",
        sums,
        family="arithmetic",
        output_type="generate_until",
        doc_to_text="{{a}} + {{b}} =",
        doc_to_target="sum",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 4},
        metric_list=[{"metric": "exact_match"}],
        prompts={"bare": {"doc_to_text": "{{a}} {{b}}"}},
    )
    base = folder / "base"
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text("{}")
    save_file({"weights": np.zeros(4, dtype=np.float32)}, base / "model.safetensors")
    return folder


def small_study(**changes: Any) -> Study:
    """Two sources and a mixture, three targets, two seeds; changed where told."""
    values: dict[str, Any] = {
        "name": "small",
        "model": "base",
        "tasks": ["*.yaml"],
        "sources": ["mood", "sums", {"name": "both", "tasks": ["mood", "sums"]}],
        "targets": ["mood", "tone", "sums"],
        "recipes": {"name": "lora", "examples": 24, "batch_size": 4, "epochs": 4},
        "conditions": {"name": "zero-shot", "examples": 12},
        "seeds": [0, 1],
        "numeric_type": "float32",
    }
    return Study(**values | changes)
