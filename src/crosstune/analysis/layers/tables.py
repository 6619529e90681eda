"""Layer by layer: tables, sentences and figures of a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from statistics import median
from typing import Any

import numpy as np

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.layers.curves import Curve, measure_of
from crosstune.analysis.layers.depth import (
    Gathered,
    Group,
    Place,
    Task,
    bends,
    between_tasks,
    gathered,
    groups,
    held,
    middle,
)
from crosstune.analysis.layers.probes import BASE, probed
from crosstune.analysis.layers.telling import sentences
from crosstune.analysis.similarity.alignments import chance_at_most
from crosstune.results.matrix import TransferMatrix
from crosstune.results.states import LARGEST
from crosstune.results.store import Store

TITLE = "Layer by layer"
MEASURE = "linear_cka"

_NONE = (
    "This study keeps no hidden states of these tasks: give it a key 'layers' and run it again; "
    "nothing is tuned or asked anew."
)
_COLUMNS = {
    "segments": "recipe mixture tasks_are tasks first first_from first_to second second_from "
    "second_to first_depth second_depth shared_slope transition_slope refinement_slope explained "
    "smooth p located reason first_layer last_layer left_out",
    "medians": "recipe mixture tasks_are curve layer depth value low high tasks",
    "tasks": "recipe mixture tasks_are task family bare_similarity mixture_similarity added low "
    "high p q n d",
    "families": "recipe mixture tasks_are family curve layer depth value tasks",
    "curves": "recipe mixture tasks_are task family curve layer depth value low high chance "
    "without_largest n d reason",
    "dimensions": "recipe mixture tasks_are layer depth largest_part bare_value bare_without "
    "mixture_value mixture_without",
    "map": "recipe model layer control_layer similarity tasks",
    "separation": "recipe model layer depth between_tasks tasks",
    "blocks": "recipe kind block change least most models",
    "moved": "recipe source kind block change",
}
_TITLES = {
    "segments": "Where mixtures part from the base",
    "medians": "Similarity with the controls over depth",
    "tasks": "What the base already holds of a task, and what the mixture adds",
    "families": "Families over depth",
    "curves": "Every task over depth",
    "dimensions": "What a few dimensions do",
    "map": "Layers against layers of the controls",
    "separation": "How far tasks lie apart",
    "blocks": "How far weights moved, in the median",
    "moved": "How far weights moved, model by model",
}
_NOTES = {
    "segments": "Two bends of the median difference (mixture minus base) over tasks: shared up to "
    "the first, refinement from the second on, transition between. In layers, and in shares of the "
    "depth; from and to: 95 % intervals that draw tasks. explained: of what a straight line "
    "leaves, smooth: by a cubic instead; p: of curves without common bends, how many bend as much. "
    "located: p < 0.05, better than the cubic, and intervals narrower than half of the depth.",
    "medians": "Medians over tasks, and the median of the differences (mixture minus base); 95 % "
    "intervals draw tasks, none of fewer than five. Layer 0 is the embedding, the last one is "
    "after the final norm.",
    "tasks": "Means of the similarity with the task's control over the second half of the depth. "
    "added: mixture minus base with its 95 % interval over examples, of these models (another "
    "seed may differ); q over tasks. n: examples; d: width of the states.",
    "families": "Means over the tasks of a family of the similarity with their controls, and of "
    "the differences (mixture minus base).",
    "curves": "Similarity with the task's control, and the difference (mixture minus base); 95 % "
    "interval over examples, of these models, where the measure has one in closed form. chance: at "
    "most this share of random pairings of the examples is as similar. "
    f"without_largest: the {LARGEST} dimensions of largest variance left out of either model. n: "
    "examples; d: width of the states. reason: why there is no value.",
    "dimensions": f"largest_part: of the variance of the base's states in the {LARGEST} dimensions "
    "of largest variance; similarities with the controls with all dimensions, and without those. "
    "Medians over tasks.",
    "map": "Unbiased linear alignment, mean over tasks: rows are layers of the model, columns "
    "layers of the controls. The first seed.",
    "separation": "Share of the variance of the states that lies between tasks, each task counting "
    "alike. At the last token it holds each task's wording too. The first seed.",
    "blocks": "Norm of the change of a block's matrices over their norm. Block b makes layer b. "
    "Median, least and most over the models of a kind; the first seed.",
    "moved": "Norm of the change of a block's matrices over their norm. Block b makes layer b.",
}


@ANALYSES.add("layers")
def layers(store: Store, matrix: TransferMatrix) -> Analysis:
    """In which layers the base and mixtures hold what tuning on single tasks teaches.

    Raises:
        InputError: A file is damaged.
    """
    return layers_by(store, matrix, measure=MEASURE)


def layers_by(store: Store, matrix: TransferMatrix, *, measure: str) -> Analysis:
    """The same by another measure of similarity.

    Args:
        store: The study's.
        matrix: The part of it that is looked at.
        measure: A similarity that inner products are enough for.

    Raises:
        InputError: A file is damaged, or there is no such measure.
    """
    measure_of(measure)
    cells = {(row.source, row.target, row.recipe) for row in matrix.rows}
    asked = {(target, recipe) for _, target, recipe in cells}
    probes = []
    for probe in probed(store.layers()):
        if (probe.task, probe.recipe) in asked:
            kept = {name for name in probe.taught if (name, probe.task, probe.recipe) in cells}
            mixtures = {run: key for run, key in probe.mixtures.items() if run[0] in kept}
            taught = {name: told for name, told in probe.taught.items() if name in kept}
            probes.append(replace(probe, mixtures=mixtures, taught=taught))
    if not probes:
        return Analysis("layers", TITLE, (_NONE,), ())
    found = gathered(store, probes, measure)
    parts = groups(found.tasks)
    rows: dict[str, Callable[[], Iterator[Facts]]] = {
        "segments": partial(_segments, parts),
        "medians": partial(_medians, parts),
        "tasks": partial(_tasks, parts),
        "families": partial(_families, parts),
        "curves": partial(_curves, parts),
        "dimensions": partial(_dimensions, parts, measure),
        "map": partial(_maps, found),
        "separation": partial(_separation, found),
        "blocks": partial(_blocks, found),
        "moved": partial(_moved, found),
    }
    made = {name: [*make()] for name, make in rows.items()}
    tables = tuple(
        Table.of(name, _TITLES[name], _NOTES[name], columns=columns.split(), rows=made[name])
        for name, columns in _COLUMNS.items()
        if made[name]
    )
    there = {table.name for table in tables}
    figures = tuple(figure for figure in _FIGURES if figure.table in there)
    told = tuple(sentences(made, found=found, measure=measure))
    return Analysis("layers", TITLE, told, tables, figures)


def _said(place: Place) -> Facts:
    return dict(zip(("recipe", "mixture", "tasks_are"), place, strict=True))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _segments(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        if "difference" not in group.curves:
            continue
        told = bends(group.curves["difference"])
        left_out = [group.tasks[i].probe.task for i in told.left_out]
        said = _said(place) | {
            "tasks": len(group.tasks) - len(left_out),
            "located": not told.reason,
            "reason": told.reason or None,
            "left_out": ", ".join(left_out) or None,
        }
        if told.found is None:
            yield said
            continue
        found, deepest = told.found, len(group.curves[BASE][0].values) - 1
        yield said | {
            "first": found.first + told.first,
            "first_from": found.first_low + told.first,
            "first_to": found.first_high + told.first,
            "second": found.second + told.first,
            "second_from": found.second_low + told.first,
            "second_to": found.second_high + told.first,
            "first_depth": (found.first + told.first) / deepest,
            "second_depth": (found.second + told.first) / deepest,
            "shared_slope": found.slopes[0],
            "transition_slope": found.slopes[1],
            "refinement_slope": found.slopes[2],
            "explained": found.explained,
            "smooth": found.smooth,
            "p": found.p,
            "first_layer": told.first,
            "last_layer": told.last,
        }


def _medians(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        for name, curves in group.curves.items():
            told = middle(curves)
            for layer, value in enumerate(told.values):
                yield _at(place, name, layer, told.values) | {
                    "value": _number(value),
                    "low": _number(told.low[layer]),
                    "high": _number(told.high[layer]),
                    "tasks": told.tasks,
                }


def _at(place: Place, curve: str, layer: int, values: np.ndarray) -> Facts:
    depth = layer / (len(values) - 1)
    return _said(place) | {"curve": curve, "layer": layer, "depth": depth}


def _tasks(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        if "difference" not in group.curves:
            continue
        told = held(group)
        rows = [
            _said(place)
            | {
                "task": task.probe.task,
                "family": task.probe.family,
                "bare_similarity": _number(told.base[i]),
                "mixture_similarity": _number(told.mixture[i]),
                "added": _number(told.mixture[i] - told.base[i]),
                "low": _number(told.low[i]),
                "high": _number(told.high[i]),
                "p": _number(told.p[i]),
                "q": _number(told.q[i]),
                "n": task.compared.examples,
                "d": task.compared.width,
            }
            for i, task in enumerate(group.tasks)
        ]
        yield from sorted(rows, key=lambda row: -(row["bare_similarity"] or -1.0))


def _families(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        order = sorted(range(len(group.tasks)), key=lambda i: group.tasks[i].probe.family)
        for family, members in groupby(order, key=lambda i: group.tasks[i].probe.family):
            which = [*members]
            for name, curves in group.curves.items():
                values = np.mean([curves[i].values for i in which], axis=0)
                for layer, value in enumerate(values):
                    yield _at(place, name, layer, values) | {
                        "family": family,
                        "value": _number(value),
                        "tasks": len(which),
                    }


def _curves(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        for i, task in enumerate(group.tasks):
            for name, curves in group.curves.items():
                yield from _curve(place, task, name, curves[i])


def _curve(place: Place, task: Task, name: str, curve: Curve) -> Iterator[Facts]:
    n, reasons = task.compared.examples, task.compared.reasons
    most = math.inf if name == "difference" else 1.0
    for layer, value in enumerate(curve.values):
        error = curve.errors[layer]
        known = not math.isnan(error)
        reason = reasons.get((BASE, layer)) or (
            None if name == BASE else reasons.get((place[1], layer))
        )
        yield _at(place, name, layer, curve.values) | {
            "task": task.probe.task,
            "family": task.probe.family,
            "value": _number(value),
            "low": value - 1.96 * error if known else None,
            "high": min(most, value + 1.96 * error) if known else None,
            "chance": chance_at_most(value, n) if known and name != "difference" else None,
            "without_largest": _number(curve.fewer[layer]),
            "n": n,
            "d": task.compared.width,
            "reason": reason,
        }


def _dimensions(parts: Mapping[Place, Group], measure: str) -> Iterator[Facts]:
    for place, group in parts.items() if measure == MEASURE else ():
        columns = {"largest_part": np.median([t.compared.shares for t in group.tasks], axis=0)}
        for name, words in ((BASE, "bare"), ("mixture", "mixture")):
            if curves := group.curves.get(name):
                columns[f"{words}_value"] = np.median([c.values for c in curves], axis=0)
                columns[f"{words}_without"] = np.median([c.fewer for c in curves], axis=0)
        parts_of = columns["largest_part"]
        for layer in range(len(parts_of)):
            yield _at(place, BASE, layer, parts_of) | {
                name: _number(values[layer]) for name, values in columns.items()
            }


def _maps(found: Gathered) -> Iterator[Facts]:
    for (recipe, model), (sums, counts) in found.maps.items():
        for layer, other in zip(*np.nonzero(counts), strict=True):
            yield {
                "recipe": recipe,
                "model": model,
                "layer": int(layer),
                "control_layer": int(other),
                "similarity": float(sums[layer, other] / counts[layer, other]),
                "tasks": int(counts[layer, other]),
            }


def _separation(found: Gathered) -> Iterator[Facts]:
    for (recipe, model), means in found.means.items():
        if len(means) < 2:
            continue
        shares = between_tasks(means, found.within[recipe, model])
        for layer, share in enumerate(shares):
            yield {
                "recipe": recipe,
                "model": model,
                "layer": layer,
                "depth": layer / (len(shares) - 1),
                "between_tasks": _number(share),
                "tasks": len(means),
            }


def _blocks(found: Gathered) -> Iterator[Facts]:
    kinds: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for (recipe, _, kind), changes in found.moved.items():
        kinds.setdefault((recipe, kind), []).append(changes)
    for (recipe, kind), models in kinds.items():
        for block, changes in enumerate(zip(*models, strict=True), 1):
            yield {
                "recipe": recipe,
                "kind": kind,
                "block": block,
                "change": median(changes),
                "least": min(changes),
                "most": max(changes),
                "models": len(models),
            }


def _moved(found: Gathered) -> Iterator[Facts]:
    for (recipe, source, kind), changes in found.moved.items():
        for block, change in enumerate(changes, 1):
            said: dict[str, Any] = {"recipe": recipe, "source": source, "kind": kind}
            yield said | {"block": block, "change": change}


_FIGURES = (
    Figure(
        "curves",
        "medians",
        "Similarity with the controls over depth",
        "Where the mixture leaves the base behind, it holds what single-task tuning teaches.",
        {
            "x": "layer",
            "y": "value",
            "low": "low",
            "high": "high",
            "series": "curve",
            "panel": "recipe mixture tasks_are",
        },
    ),
    Figure(
        "curves",
        "families",
        "Families over depth",
        "A base that is high to the end already holds the family.",
        {
            "x": "layer",
            "y": "value",
            "series": "curve",
            "panel": "recipe mixture tasks_are family",
        },
    ),
    Figure(
        "dots",
        "tasks",
        "What the mixture adds, by task",
        "Difference of the similarity with the task's control, second half of the depth.",
        {
            "name": "task",
            "value": "added",
            "low": "low",
            "high": "high",
            "group": "recipe mixture tasks_are",
        },
    ),
    Figure(
        "grid",
        "map",
        "Layers against layers of the controls",
        "Blocks along the diagonal are layers that say the same.",
        {
            "row": "layer",
            "column": "control_layer",
            "value": "similarity",
            "panel": "recipe model",
        },
    ),
    Figure(
        "curves",
        "separation",
        "How far tasks lie apart",
        "Share of the variance of states between tasks.",
        {"x": "layer", "y": "between_tasks", "series": "model", "panel": "recipe"},
    ),
    Figure(
        "curves",
        "blocks",
        "How far weights moved",
        "Norm of the change over the norm, block by block; medians over models, least to most.",
        {
            "x": "block",
            "y": "change",
            "low": "least",
            "high": "most",
            "series": "kind",
            "panel": "recipe",
        },
    ),
)
