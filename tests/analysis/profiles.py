"""Profiles that are made up, and stores that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.made import Made, key
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store


def told(
    *,
    kind: str = "choice",
    labels: Mapping[str, int] | None = None,
    answer: float = 4.0,
    prompt: float = 100.0,
    rows: int = 100,
    duplicates: int = 0,
    words: tuple[int, ...] = (1, 2, 3),
    shingles: tuple[int, ...] = (10, 11),
    embedding: list[float] | None = None,
    language: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """A profile with what a test needs."""
    labels = {"yes": 60, "no": 40} if labels is None and kind == "choice" else labels
    shares = np.array([*labels.values()]) / sum(labels.values()) if labels else None
    entropy = None if shares is None else float(-(shares * np.log2(shares)).sum())
    widths = {
        part: {"words": spread(mean / 5), "characters": spread(mean)}
        for part, mean in (("prompt", prompt), ("answer", answer))
    }
    return {
        "version": 1,
        "kind": kind,
        "rows": rows,
        "duplicates": duplicates,
        "labels": labels,
        "entropy": entropy,
        "majority": None if shares is None else float(shares.max()),
        "skew": 1 - entropy / np.log2(len(labels)) if labels and entropy else None,
        "lengths": widths,
        "language": {"mtld": 50.0} if language is None else dict(language),
        "answers": [*(labels or {"a text": 1})],
        "sketches": {"words": [*words], "shingles": [*shingles]},
        "embedding": embedding,
    }


def spread(mean: float) -> dict[str, float]:
    return {"mean": mean, "sd": mean / 4, "median": mean, "min": mean / 2, "max": mean * 2}


def written(
    made: Made,
    folder: Path,
    profiles: Mapping[tuple[str, str], dict[str, Any]],
    values: Callable[..., Any] | None = None,
    changed: tuple[str, ...] = (),
) -> tuple[Store, TransferMatrix]:
    """A store with profiles by role and name; `changed` are the sources that carry edits."""
    store, matrix = made.write(folder, values)
    plan = store.plan()
    for row in plan:
        for role in ("source", "target"):
            if (role, row[role]) in profiles:
                row[f"{role}_profile"] = key("profile", role, row[role])
    store.write("plan.json", json.dumps(plan))
    for (role, name), profile in profiles.items():

        def fill(folder: Path, profile: dict[str, Any] = profile) -> None:
            (folder / "profile.json").write_text(json.dumps(profile))

        store.put("profiles", key("profile", role, name), fill)
    sources = store.study["study"]["sources"]
    original = next(source for source in sources if source["name"] not in changed)
    for source in sources:
        edits = [{"shorten": 10}] if source["name"] in changed else []
        source |= {"edits": edits} | ({"tasks": original["tasks"]} if edits else {})
    return store, matrix
