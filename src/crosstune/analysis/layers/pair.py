"""Two models layer by layer, say a base and its instructed sibling, on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from jaxtyping import Float

from crosstune.analysis.findings import Analysis, Facts, Figure, Table
from crosstune.analysis.layers.curves import KERNELS, layer_map, measure_of
from crosstune.analysis.similarity.alignments import alignment, chance_at_most, ready
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
    depths = [
        row for task, both in states.items() for row in _depth(task, *both, *maps[task], measure)
    ]
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
            rows=_mean_map([values for values, _ in maps.values()]),
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
) -> tuple[Float[np.ndarray, "layers others"], dict[tuple[int, int], str]]:
    """All layers against all layers, NaN where they cannot be compared, and why not."""
    pairs = product(range(first.layers), range(second.layers))
    reasons = {
        (layer, other): "all examples have one state"
        for layer, other in pairs
        if first.constant[layer] or second.constant[other]
    }
    if measure == "linear_cka":
        return layer_map(first, second), reasons
    way = measure_of(measure)
    assert way.of_products is not None
    of_products = way.of_products
    rows, columns = (
        [None if same else of_products(kept.products(i)) for i, same in enumerate(kept.constant)]
        for kept in (first, second)
    )
    found = np.full((first.layers, second.layers), np.nan)
    for (layer, x), (other, y) in product(enumerate(rows), enumerate(columns)):
        if x is not None and y is not None:
            try:
                found[layer, other] = way.between(x, y)
            except ValueError as error:
                reasons[layer, other] = str(error)
    return found, reasons


def _depth(
    task: str,
    first: States,
    second: States,
    values: Float[np.ndarray, "layers others"],
    reasons: Mapping[tuple[int, int], str],
    measure: str,
) -> Iterator[Facts]:
    kernel = KERNELS.get(measure)
    for layer in range(first.layers):
        # The embedding is the embedding's counterpart, the last layer the last one's.
        other = round(layer * (second.layers - 1) / (first.layers - 1))
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
        told = said | {
            "similarity": value,
            "best_layer": best,
            "best_similarity": float(values[layer, best]),
        }
        if kernel is not None:
            pair = ((first, layer), (second, other))
            error = alignment(*(ready(kernel(kept.products(i))) for kept, i in pair)).error
            told |= {
                "low": value - 1.96 * error,
                "high": min(1.0, value + 1.96 * error),
                "chance": chance_at_most(value, first.examples),
            }
        yield told


def _mean_map(maps: Sequence[Float[np.ndarray, "layers others"]]) -> Iterator[Facts]:
    for layer, row in enumerate(np.mean(maps, axis=0)):
        for other, value in enumerate(row):
            if not math.isnan(value):
                yield {
                    "layer": layer,
                    "other_layer": other,
                    "similarity": float(value),
                    "tasks": len(maps),
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
        f"({middle[least]:.2f}), at the last {middle[layers[-1]]:.2f}."
    )
    last = [row for row in known if row["layer"] == layers[-1]]
    ranked = sorted(last, key=lambda row: row["similarity"])
    if len(ranked) > 1:
        yield (
            f"At the last layer they differ most on {ranked[0]['task']} "
            f"({ranked[0]['similarity']:.2f}), least on {ranked[-1]['task']} "
            f"({ranked[-1]['similarity']:.2f})."
        )
