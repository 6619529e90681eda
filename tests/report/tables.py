"""Small matrices for the tests of the page, in the shape of a study's; no store, no model."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import product
from typing import Any

import pyarrow as pa

from crosstune.analysis.findings import Analysis, Figure, Table
from crosstune.report.page import page
from crosstune.results.cells import SCHEMA
from crosstune.results.matrix import _SCORES, Row, TransferMatrix

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 1">',
    "{{7*7}}{% raw %}",
    "<!-- <script>",
    "]]></style>'",
    "a\u2028b\u2029c\ud800",
    "&lt;b&gt;&amp;",
)
"""Texts that end an element, an attribute, a comment or a script wherever one is not escaped."""

SOURCES = {
    "reviews": "sentiment",
    "entail": "entailment",
    "sums": "arithmetic",
    "mix": "sentiment+arithmetic",
}
TARGETS = {
    "reviews": "sentiment",
    "words": "sentiment",
    "entail": "entailment",
    "syllogism": "entailment",
    "sums": "arithmetic",
    "counting": "arithmetic",
    "spelled": "arithmetic",
}
TEXT = {"spelled": ("exact_match", "f1")}
"""Text targets, which have two metrics and no classes."""

NEAR = {("reviews", "words"), ("mix", "counting")}
"""Pairs that the study calls in-domain."""

UNKNOWN = dict.fromkeys(
    "base score gain low high scope method p q detectable examples_error shared_error seeds_error "
    "answers base_answers truth constant".split()
)
"""What is null in a row of a cell that is not done."""


def key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cell(**changes: Any) -> dict[str, Any]:
    """A row of `cells`: reviews → entail, 150 examples, a gain of 10 points that holds."""
    row = {
        "source": "reviews",
        "source_families": "sentiment",
        "target": "entail",
        "target_family": "entailment",
        "relation": "cross-task",
        "recipe": "lora",
        "condition": "zero-shot",
        "scoring": "likelihood",
        "metric": "acc",
        "main": True,
        "seeds": 1,
        "n": 150,
        "base": 0.6,
        "score": 0.7,
        "gain": 0.1,
        "low": 0.02,
        "high": 0.18,
        "scope": "this model",
        "method": "closed form",
        "p": 0.001,
        "q": 0.004,
        "detectable": 0.08,
        "examples_error": 0.03,
        "shared_error": 0.01,
        "seeds_error": None,
        "answers": '{"no": 70, "yes": 80}',
        "base_answers": '{"no": 60, "yes": 90}',
        "truth": '{"no": 75, "yes": 75}',
        "constant": False,
        "leaked": 0,
        "contained": 0,
        "status": "done",
    }
    return row | changes


def matrix(cells: Sequence[Mapping[str, Any]], *, reason: str = "it broke") -> TransferMatrix:
    """The matrix of these cells, each with one score for every seed; failed ones give `reason`."""
    rows: list[Row] = []
    reasons: dict[str, str] = {}
    for told in cells:
        way = tuple(told[name] for name in ("source", "target", "recipe", "condition"))
        for seed in range(told["seeds"]):
            job = key(told["source"], told["recipe"], seed)
            changes = {
                "seed": seed,
                "key": key(*way, seed),
                "base_key": key("base", told["target"], told["condition"]),
                "job_key": job,
                "tensors_sha256": key("weights", job) if told["status"] == "done" else None,
            }
            values: dict[str, Any] = {field.name: told.get(field.name) for field in fields(Row)}
            row = Row(**values | changes)
            rows.append(row)
            if row.status == "failed":
                reasons[row.key] = reason
    return TransferMatrix(
        pa.Table.from_pylist([dict(row) for row in cells], SCHEMA),
        pa.Table.from_pylist([asdict(row) for row in rows], _SCORES),
        reasons,
    )


def study(**changes: Any) -> dict[str, Any]:
    """What study.json says."""
    content: dict[str, Any] = {
        "format": 1,
        "crosstune": "0.1.0",
        "name": "example",
        "model": "tiny@sha256:" + key("model"),
        "numeric_type": "bfloat16",
        "base_sha256": {"bfloat16": key("base weights")},
        "study": {
            "name": "example",
            "model": "tiny",
            "sources": [
                *({"name": name, "tasks": [name]} for name in ("reviews", "entail", "sums")),
                {"name": "mix", "tasks": ["reviews", "sums"]},
            ],
            "targets": list(TARGETS),
            "recipes": [recipe()],
            "conditions": [
                {
                    "name": name,
                    "examples": 150,
                    "shots": shots,
                    "prompt": "default",
                    "chat_template": "none",
                }
                for name, shots in (("zero-shot", 0), ("four-shot", 4))
            ],
            "seeds": [0],
        },
    }
    return content | changes


def recipe(**changes: Any) -> dict[str, Any]:
    """One recipe of study.json."""
    content: dict[str, Any] = {
        "name": "lora",
        "method": "lora",
        "rank": 16,
        "alpha": 32.0,
        "dropout": 0.0,
        "target_modules": "all-linear",
        "learning_rate": 0.0005,
        "schedule": "cosine",
        "warmup": 0.1,
        "weight_decay": 0.0,
        "clip": 1.0,
        "epochs": 2,
        "batch_size": 8,
        "examples": 200,
        "max_tokens": 512,
        "loss": "completion",
        "prompt": "default",
        "chat_template": "none",
    }
    return content | changes


def job(**changes: Any) -> dict[str, Any]:
    """What job.json says of one tuned model, changed in its `tuning`."""
    tuning: dict[str, Any] = {
        "losses": [round(2.5 * 0.9**step + 0.2, 3) for step in range(50)],
        "seconds": 21.25,
        "tokens": 11664,
        "loss_tokens": 800,
        "examples": 200,
        "truncated": 0,
    }
    return {
        "tuning": tuning | changes,
        "versions": {"crosstune": "0.1.0", "torch": "2.13.0+cpu"},
        "proof": {"base_sha256": key("base weights"), "tensors_sha256": key("weights")},
    }


def jobs(found: TransferMatrix) -> dict[str, dict[str, Any]]:
    """A job.json for every tuned model of a matrix, with loss curves that differ."""
    keys = dict.fromkeys(row.job_key for row in found.rows)
    return {
        name: job(losses=[round((2 + i) * 0.9**step + 0.1 * i, 3) for step in range(50)])
        for i, name in enumerate(keys)
    }


def believable(
    sources: Mapping[str, str] = SOURCES,
    targets: Mapping[str, str] = TARGETS,
    *,
    conditions: Sequence[str] = ("zero-shot", "four-shot"),
    seeds: int = 1,
    classes: Sequence[str] = ("no", "yes"),
) -> list[dict[str, Any]]:
    """Cells of every source and target: large gains at home, losses abroad; the same each time."""
    chance = random.Random(0)
    rows = []
    for condition, source, target in product(conditions, sources, targets):
        families = sources[source].split("+")
        home = source == target
        near = "in-domain" if (source, target) in NEAR else "out-of-domain"
        relation = near if targets[target] in families else "cross-task"
        relation = "same task" if home else relation
        middle = {"same task": 0.25, "cross-task": -0.1}.get(relation, 0.08)
        for place, metric in enumerate(TEXT.get(target, ("acc",))):
            base = round(chance.uniform(0.4, 0.7), 4)
            gain = round(max(-base, min(1 - base, chance.gauss(middle, 0.1))), 4)
            q = min(1.0, 2.718 ** (-((gain / 0.05) ** 2) / 2))
            rows.append(
                cell(
                    source=source,
                    source_families=sources[source],
                    target=target,
                    target_family=targets[target],
                    relation=relation,
                    condition=condition,
                    scoring="generation" if target in TEXT else "likelihood",
                    metric=metric,
                    main=place == 0,
                    seeds=seeds,
                    base=base,
                    score=base + gain,
                    gain=gain,
                    low=gain - 0.08,
                    high=gain + 0.08,
                    scope="this source" if seeds > 1 else "this model",
                    method="t" if seeds > 1 else "bootstrap" if target in TEXT else "closed form",
                    p=q / 2,
                    q=q,
                    **_distributions(target, classes, chance),
                )
            )
    return rows


def _distributions(
    target: str, classes: Sequence[str], chance: random.Random
) -> dict[str, str | bool | None]:
    if target in TEXT:
        return dict.fromkeys(("answers", "base_answers", "truth", "constant"))
    counts = [chance.choice((2, 40, 70, 110, 148)) for _ in range(3)]
    told = [json.dumps({classes[0]: 150 - n, classes[1]: n}) for n in counts]
    constant = counts[0] in (2, 148)
    return {"answers": told[0], "base_answers": told[1], "truth": told[2], "constant": constant}


def arms() -> list[dict[str, Any]]:
    """How six arms score in two families and three settings; the base's have no gain."""
    chance = random.Random(1)
    settings, families = ("in-domain", "out-of-domain", "cross-task"), ("all families", "sentiment")
    rows = []
    for family, setting, name, condition in product(
        families, settings, ("base", "lora", "fticl"), ("zero-shot", "four-shot")
    ):
        score, gain = round(chance.uniform(0.3, 0.8), 4), round(chance.gauss(0.05, 0.1), 4)
        bare = name == "base"
        row: dict[str, Any] = {"family": family, "setting": setting}
        row |= {"recipe": name, "condition": condition}
        row |= {"score": score, "gain": None if bare else gain, "q": None if bare else 0.0004}
        row |= {"low": None if bare else gain - 0.06, "high": None if bare else gain + 0.04}
        row |= {"score_low": None if bare else score - 0.06}
        row |= {"score_high": None if bare else score + 0.04}
        rows.append(row | {"pairs": 1200})
    return rows


def sizes() -> list[dict[str, Any]]:
    """Scores after 100, 1,000 and 10,000 training examples."""
    return [
        {"series": "100 / more", "family": family, "setting": "in-domain", "condition": condition}
        | {"training_examples": n, "score": score, "low": score - 0.1, "high": score + 0.05}
        for family, condition in product(("sentiment", "entailment"), ("zero-shot", "four-shot"))
        for n, score in ((100, 0.4), (1_000, 0.5), (10_000, 0.6))
    ]


INTERVAL = {"low": "low", "high": "high"}
ARMS = Figure(
    "dots",
    "arms",
    "Scores of the arms",
    "The base is left behind.",
    {"name": "recipe condition", "value": "score", "low": "score_low", "high": "score_high"}
    | {"panel": "setting", "group": "family", "series": "recipe"},
)
SIZES = Figure(
    "curves",
    "sizes",
    "Scores by training examples",
    "Lines rise.",
    {"x": "training_examples", "y": "score", "series": "condition", "panel": "family setting"}
    | INTERVAL,
)


def analysis(
    *, say: str = "", figures: Sequence[Figure] = (), **rows: Sequence[Mapping[str, Any]]
) -> Analysis:
    """An analysis with these tables; `say` stands wherever it can say anything."""
    tables = tuple(
        Table(
            name, f"Table of {name}{say}", f"A row is one of {name}.{say}", pa.Table.from_pylist(r)
        )
        for name, r in rows.items()
    )
    told = (f"Ship lora · zero-shot.{say}", f"The second sentence.{say}")
    title = f"How tuned models generalise{say}"
    drawn = [
        replace(figure, title=figure.title + say, note=figure.note + say) for figure in figures
    ]
    return Analysis("generalization", title, told, tables, tuple(drawn))


def example() -> TransferMatrix:
    """4 sources × 7 targets in 2 conditions; hostile classes and reasons; all there is to mark."""
    rows = believable(classes=HOSTILE[:2])
    marked: dict[int, dict[str, Any]] = {
        4: UNKNOWN | {"status": "missing"},
        9: UNKNOWN | {"status": "failed"},
        11: {"leaked": 12},
        13: {"contained": 47},
        20: {"answers": json.dumps({HOSTILE[2]: 149, HOSTILE[3]: 1}), "constant": True},
        21: {"truth": json.dumps({HOSTILE[4]: 75, HOSTILE[5]: 75})},
    }
    marks = [row | marked.get(place, {}) for place, row in enumerate(rows)]
    return matrix(marks, reason=f"entail (lora, seed 0): {HOSTILE[0]}")


def example_page() -> str:
    """The page of `example`."""
    return page_of(example(), analyses=[])


def analysed_page() -> str:
    """The page of `example` with what an analysis found."""
    found = analysis(figures=(ARMS, SIZES), arms=arms(), sizes=sizes(), others=arms()[:3])
    return page_of(example(), analyses=[found])


def page_of(found: TransferMatrix, **changes: Any) -> str:
    """The page of a matrix, with everything beside it that a study has."""
    values: dict[str, Any] = {"study": study(), "jobs": jobs(found), "cells": {}}
    return page(found, **values | changes)
