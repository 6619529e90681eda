"""Two models layer by layer, say a base and its instructed sibling, on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from jaxtyping import Float

from crosstune.analysis.findings import Analysis, Facts, Figure, Table
from crosstune.analysis.layers.curves import KERNELS, between, layer_map, measure_of, prepare
from crosstune.analysis.similarity.alignments import chance_at_most
from crosstune.analysis.wording import counted
from crosstune.results.states import States

_DEPTH = "task layer depth similarity low high chance best_layer best_similarity n reason".split()
_MAP = "layer other_layer similarity tasks".split()


def compare(
    names: tuple[str, str],
    states: Mapping[str, tuple[States, States]],
    *,
    measure: str = "linear_cka",
) -> Analysis:
    """How alike two models' layers are.

    Args:
        names: Of the models.
        states: Of both models on the same prompts, by task.
        measure: A similarity that inner products are enough for.

    Raises:
        InputError: There is no such measure.
    """
    measure_of(measure)
    maps = {task: _map(*both, measure) for task, both in states.items()}
    depths: list[Facts] = []
    for task, (one, other) in states.items():
        values, reasons, errors = maps[task]
        depths += _depth(task, one, other, values, reasons, errors)
    first, second = names
    tables = (
        Table.of(
            "depth",
            f"Layers of {first}",
            f"similarity: with the layer of {second} at the same depth, with its 95 % interval "
            "over examples; chance: at most this share of random pairings of the examples is as "
            f"similar. best_layer: of {second}. n: examples. reason: why there is no value.",
            columns=_DEPTH,
            rows=depths,
        ),
        Table.of(
            "map",
            "Layers against layers",
            f"Mean over tasks; rows: {first}, columns: {second}.",
            columns=_MAP,
            rows=_mean_map([values for values, _, _ in maps.values()]),
        ),
    )
    figures = (
        Figure(
            "curves",
            "depth",
            "Similarity at the same depth",
            f"{first} against {second}.",
            {"x": "layer", "y": "similarity", "low": "low", "high": "high", "series": "task"},
        ),
        Figure(
            "grid",
            "map",
            "Layers against layers",
            f"Rows: {first}, columns: {second}.",
            {"row": "layer", "column": "other_layer", "value": "similarity"},
        ),
    )
    widths = [one.width for one in next(iter(states.values()))]
    told = [
        *_sentences(names, depths),
        f"Measure: {measure}; states of {widths[0]} and {widths[1]} dimensions.",
    ]
    return Analysis(
        "compare", f"{first} and {second}, layer by layer", tuple(told), tables, figures
    )


def _map(
    first: States, second: States, measure: str
) -> tuple[Float[np.ndarray, "layers others"], dict[tuple[int, int], str], dict[int, float]]:
    """All layers against all layers, NaN where they cannot be compared, and why not.

    Then the standard errors of layers at the same depth, where the measure has them.
    """
    rows, columns = (
        [prepare(kept, layer, measure) for layer in range(kept.layers)] for kept in (first, second)
    )
    found = np.full((first.layers, second.layers), np.nan)
    if measure == "linear_cka":
        found = layer_map(first, second)
    reasons = {}
    for (layer, x), (other, y) in product(enumerate(rows), enumerate(columns)):
        if x.reason or y.reason:
            found[layer, other], reasons[layer, other] = math.nan, x.reason or y.reason
        elif measure != "linear_cka":
            told = between(x, y, measure)
            if isinstance(told, str):
                reasons[layer, other] = told
            else:
                found[layer, other] = told.whole
    errors = {}
    for layer, x in enumerate(rows if measure in KERNELS else ()):
        told = between(x, columns[_counterpart(layer, first, second)], measure)
        if not isinstance(told, str):
            errors[layer] = told.error
    return found, reasons, errors


def _counterpart(layer: int, first: States, second: States) -> int:
    """The layer at the same depth: the embedding of the embedding, the last of the last."""
    return round(layer * (second.layers - 1) / (first.layers - 1))


def _depth(
    task: str,
    first: States,
    second: States,
    values: Float[np.ndarray, "layers others"],
    reasons: Mapping[tuple[int, int], str],
    errors: Mapping[int, float],
) -> Iterator[Facts]:
    for layer in range(first.layers):
        other = _counterpart(layer, first, second)
        said: Facts = {
            "task": task,
            "layer": layer,
            "depth": layer / (first.layers - 1),
            "n": first.examples,
        }
        if (layer, other) in reasons:
            yield said | {"reason": reasons[layer, other]}
            continue
        value = float(values[layer, other])
        best = int(np.nanargmax(values[layer]))
        said |= {
            "similarity": value,
            "best_layer": best,
            "best_similarity": float(values[layer, best]),
        }
        if layer in errors:
            said |= {
                "low": value - 1.96 * errors[layer],
                "high": min(1.0, value + 1.96 * errors[layer]),
                "chance": chance_at_most(value, first.examples),
            }
        yield said


def _mean_map(maps: Sequence[Float[np.ndarray, "layers others"]]) -> Iterator[Facts]:
    sums, counts = np.nan_to_num(maps).sum(axis=0), np.isfinite(maps).sum(axis=0)
    for layer, other in zip(*np.nonzero(counts), strict=True):
        yield {
            "layer": int(layer),
            "other_layer": int(other),
            "similarity": float(sums[layer, other] / counts[layer, other]),
            "tasks": int(counts[layer, other]),
        }


def _sentences(names: tuple[str, str], rows: Sequence[Facts]) -> Iterator[str]:
    known = [row for row in rows if row.get("similarity") is not None]
    layers = sorted({row["layer"] for row in known})
    middle = {
        layer: float(np.median([r["similarity"] for r in known if r["layer"] == layer]))
        for layer in layers
    }
    tasks = len({row["task"] for row in rows})
    if not middle:
        why = "; ".join(sorted({row["reason"] for row in rows}))
        yield f"No layer can be compared: {why}."
        return
    most, least = max(middle, key=middle.__getitem__), min(middle, key=middle.__getitem__)
    yield (
        f"{names[0]} and {names[1]} on {counted(tasks, 'task')}, layers at the same depth: most "
        f"alike at layer {most} ({middle[most]:.2f} in the median), least at layer {least} "
        f"({middle[least]:.2f}), at layer {layers[-1]} {middle[layers[-1]]:.2f}."
    )
    last = [row for row in known if row["layer"] == layers[-1]]
    ranked = sorted(last, key=lambda row: row["similarity"])
    if len(ranked) > 1:
        yield (
            f"At layer {layers[-1]} they differ most on {ranked[0]['task']} "
            f"({ranked[0]['similarity']:.2f}), least on {ranked[-1]['task']} "
            f"({ranked[-1]['similarity']:.2f})."
        )
