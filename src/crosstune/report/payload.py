"""What the page's script draws, as JSON that no text inside can break out of.

Shape: `study`; the axes `slices` (recipe and condition), `sources`, `targets`, `metrics`, in the
order of the study; `cells`, one array for every column of the matrix, axes as positions; `losses`,
one entry for every tuned model whose loss curve is known; `analyses`, for each its `figures` and
the columns of the `tables` that they draw. Cost is one pass over the cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from crosstune.analysis.findings import Analysis
from crosstune.report.facts import Entries, tuned_models, tuning
from crosstune.report.findings import units
from crosstune.results.matrix import TransferMatrix

MOST_POINTS = 400_000
"""Points of all loss curves together; beyond, a curve shows means over neighbouring steps."""

MOST_DRAWN = {"dots": 1_000, "points": 1_000, "tree": 1_000, "grid": 5_000, "curves": 5_000}
"""Rows of a table that is drawn, by the kind of its figure; nobody could read that of more."""

_COLUMNS = (
    "main relation scoring seeds n base score gain low high scope method p q detectable "
    "answers base_answers truth constant leaked contained status".split()
)
_TEXTS_OF_JSON = ("answers", "base_answers", "truth")


def payload(
    matrix: TransferMatrix,
    *,
    study: str,
    jobs: Entries,
    answers: bool = True,
    analyses: Sequence[Analysis] = (),
) -> dict[str, Any]:
    """What is drawn, as plain values.

    Args:
        matrix: The study's.
        study: Its name.
        jobs: What job.json says, by the key of the adapter.
        answers: Whether the distributions of answers are there; they can be most of it.
        analyses: What was found in the study.

    Returns:
        Scores and gains in [0, 1] and [−1, 1]; None is not known. Numbers of cells are
        in full, so that they are rounded as elsewhere; losses and seconds have 6 digits.
    """
    columns = matrix.cells.to_pydict()
    ways = list(zip(columns["recipe"], columns["condition"], strict=True))
    slices = _places(ways)
    axes = {name: _places(columns[name]) for name in ("source", "target", "metric")}
    families = dict(zip(columns["source"], columns["source_families"], strict=True))
    family = dict(zip(columns["target"], columns["target_family"], strict=True))
    cells: dict[str, list[Any]] = {"slice": [slices[way] for way in ways]}
    for name, places in axes.items():
        cells[name] = [places[value] for value in columns[name]]
    for name in _COLUMNS:
        cells[name] = columns[name]
    for name in _TEXTS_OF_JSON:
        told = cells[name] if answers else [None] * len(ways)
        cells[name] = [None if text is None else json.loads(text) for text in told]
    return {
        "study": study,
        "slices": [{"recipe": recipe, "condition": condition} for recipe, condition in slices],
        "sources": [{"name": s, "families": families[s].split("+")} for s in axes["source"]],
        "targets": [{"name": t, "family": family[t]} for t in axes["target"]],
        "metrics": list(axes["metric"]),
        "cells": cells,
        "losses": _curves(matrix, axes["source"], jobs=jobs),
        "analyses": [_drawings(analysis) for analysis in analyses],
    }


def _drawings(analysis: Analysis) -> dict[str, Any]:
    """Figures of an analysis, and once each the tables that they draw and are not too long."""
    tables, figures, drawn = {t.name: t.rows for t in analysis.tables}, [], {}
    for figure in analysis.figures:
        rows = tables.get(figure.table)
        if rows is None or not rows.num_rows:
            continue
        named = {word: column.split() for word, column in figure.columns.items()}
        unit = units(rows)
        figures.append(
            {
                "kind": figure.kind,
                "table": figure.table,
                "title": figure.title,
                "note": figure.note,
                "columns": named,
                "units": {word: unit[columns[0]] for word, columns in named.items()},
                "rows": rows.num_rows,
            }
        )
        if rows.num_rows <= MOST_DRAWN[figure.kind]:
            values = zip(rows.column_names, rows.columns, strict=True)
            drawn[figure.table] = {name: [*map(_plain, col.to_pylist())] for name, col in values}
    return {"figures": figures, "tables": drawn}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)


def embedded(value: object) -> str:
    r"""JSON to stand inside a `<script>` element: it holds no markup and no character but ASCII.

    Example:
        >>> print(embedded({"</script>": "\u2028&"}))
        {"\u003c/script\u003e":"\u2028\u0026"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _places(values: Iterable[Any]) -> dict[Any, int]:
    """Positions of the distinct values, in the order of their first appearance."""
    return {value: place for place, value in enumerate(dict.fromkeys(values))}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _curves(
    matrix: TransferMatrix, sources: Mapping[str, int], *, jobs: Entries
) -> list[dict[str, Any]]:
    """Loss curves by source, recipe and seed; models without a known one are left out."""
    found = [
        (model, tuning(jobs[model.key])) for model in tuned_models(matrix.rows) if model.key in jobs
    ]
    known = [(model, told) for model, told in found if told is not None]
    total = sum(len(told["losses"]) for _, told in known)
    window = -(-total // MOST_POINTS) or 1
    return [
        {
            "source": sources[model.source],
            "recipe": model.recipe,
            "seed": model.seed,
            "losses": _thinned(told["losses"], window),
            "seconds": _short(told["seconds"]),
            "tokens": told["tokens"],
            "every": window,
        }
        for model, told in known
    ]


def _thinned(losses: Sequence[float], window: int) -> list[float]:
    """Means over windows of steps; the losses themselves when a window is one step."""
    windows = groupby(enumerate(losses), key=lambda pair: pair[0] // window)
    return [_short(_mean([loss for _, loss in pairs])) for _, pairs in windows]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
