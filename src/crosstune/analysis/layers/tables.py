"""Layer by layer: tables, sentences and figures of a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.layers.curves import measure_of
from crosstune.analysis.layers.depth import (
    TAUGHT,
    Gathered,
    Group,
    Place,
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
    "segments": "recipe mixture tasks_are tasks first first_low first_high second second_low "
    "second_high first_share second_share shared_slope transition_slope refinement_slope "
    "explained smooth p located reason",
    "medians": "recipe mixture tasks_are curve layer depth value low high tasks",
    "tasks": "recipe mixture tasks_are task family base_similarity mixture_similarity difference "
    "low high p q n d",
    "families": "recipe mixture tasks_are family model layer depth value tasks",
    "curves": "recipe mixture tasks_are task family model layer depth similarity low high chance "
    "without_largest n d reason",
    "dimensions": "recipe mixture layer depth largest_share base base_without mixture_value "
    "mixture_without",
    "map": "recipe model layer control_layer similarity tasks",
    "separation": "recipe model layer depth between_tasks tasks",
    "moved": "recipe source kind block change",
}
_TITLES = {
    "segments": "Where mixtures come to hold more of tasks than the base",
    "medians": "Similarity with the controls over depth",
    "tasks": "What the base already holds of a task, and what the mixture adds",
    "families": "Families over depth",
    "curves": "Every task over depth",
    "dimensions": "What a few dimensions do",
    "map": "Layers against layers of the controls",
    "separation": "How far tasks lie apart",
    "moved": "How far weights moved",
}
_NOTES = {
    "segments": "Two bends of the median difference (mixture minus base) over tasks: shared up to "
    "the first, refinement from the second on, transition between. In layers, and in shares "
    "of the depth; 95 % intervals draw tasks. explained: of what a straight line leaves, "
    "smooth: by a cubic instead; p: of curves without common bends, how many bend as much. "
    "located: p < 0.05 and both intervals narrower than half of the depth.",
    "medians": "Medians over tasks, and the median of the differences (mixture minus base); 95 % "
    "intervals draw tasks. Layer 0 is the embedding, the last one is after the final "
    "norm.",
    "tasks": "Means of the similarity with the task's control over the second half of the depth. "
    "difference: mixture minus base with its 95 % interval over examples; q over tasks. "
    "n: examples; d: width of the states.",
    "families": "Means over the tasks of a family of the similarity with their controls.",
    "curves": "Similarity with the task's control; 95 % interval over examples. chance: at most "
    "this share of random pairings of the examples is as similar, by a closed bound. "
    f"without_largest: the {LARGEST} dimensions of largest variance left out of either model. n: "
    "examples; d: width of the states. reason: why there is no value.",
    "dimensions": f"largest_share: of the variance of the base's states in the {LARGEST} "
    "dimensions of largest variance; similarities with the controls with all dimensions, and "
    "without those. Medians over tasks.",
    "map": "Unbiased linear alignment, mean over tasks: rows are layers of the model, columns "
    "layers of the controls. The first seed.",
    "separation": "Share of the variance of the states that lies between tasks, each task counting "
    "alike.",
    "moved": "Norm of the change of a block's weights over their norm. Block b makes layer b.",
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
    targets = {row.target for row in matrix.rows}
    recipes = {row.recipe for row in matrix.rows}
    sources = {row.source for row in matrix.rows}
    probes = [
        probe
        for probe in probed(store.layers())
        if probe.task in targets and probe.recipe in recipes
    ]
    for probe in probes:
        for run in [run for run in probe.mixtures if run[0] not in sources]:
            del probe.mixtures[run]
            probe.taught.pop(run[0], None)
    if not probes:
        return Analysis("layers", TITLE, (_NONE,), ())
    found = gathered(store, probes, measure)
    parts = groups(found.tasks)
    rows: dict[str, Callable[[], Iterator[Facts]]] = {
        "segments": partial(_segments, parts),
        "medians": partial(_medians, parts),
        "tasks": partial(_tasks, parts),
        "families": partial(_families, parts),
        "curves": partial(_curves, parts, found),
        "dimensions": partial(_dimensions, parts) if measure == MEASURE else lambda: iter(()),
        "map": partial(_maps, found),
        "separation": partial(_separation, found),
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
    told = tuple(sentences(made, missing=found.missing, measure=measure))
    return Analysis("layers", TITLE, told, tables, figures)


def _said(place: Place) -> Facts:
    return dict(zip(("recipe", "mixture", "tasks_are"), place, strict=True))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _depth(layer: int, layers: int) -> float:
    return layer / (layers - 1)


def _segments(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        told = bends(group.difference)
        said = _said(place) | {"tasks": len(group.tasks)}
        if isinstance(told, str):
            yield said | {"located": False, "reason": told}
            continue
        found, offset = told
        deepest = len(group.base[0].values) - 1
        wide = (
            max(found.first_high - found.first_low, found.second_high - found.second_low)
            > deepest / 2
        )
        reason = "no better than a line without bends" if found.p >= 0.05 else ""
        yield (
            said
            | {
                name: getattr(found, name) + offset
                for name in ("first first_low first_high second second_low second_high".split())
            }
            | {
                "first_share": (found.first + offset) / deepest,
                "second_share": (found.second + offset) / deepest,
                "shared_slope": found.slopes[0],
                "transition_slope": found.slopes[1],
                "refinement_slope": found.slopes[2],
                "explained": found.explained,
                "smooth": found.smooth,
                "p": found.p,
                "located": found.located and not wide,
                "reason": reason or ("the intervals are wide" if wide else None),
            }
        )


def _medians(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        for name, curves in (
            ("base", group.base),
            ("mixture", group.mixture),
            ("difference", group.difference),
        ):
            told = middle(curves)
            for layer, value in enumerate(told.values):
                yield _said(place) | {
                    "curve": name,
                    "layer": layer,
                    "depth": _depth(layer, len(told.values)),
                    "value": _number(value),
                    "low": _number(told.low[layer]),
                    "high": _number(told.high[layer]),
                    "tasks": told.tasks,
                }


def _tasks(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        told = held(group)
        rows = [
            _said(place)
            | {
                "task": task.probe.task,
                "family": task.probe.family,
                "base_similarity": _number(told.base[i]),
                "mixture_similarity": _number(told.mixture[i]),
                "difference": _number(told.mixture[i] - told.base[i]),
                "low": _number(told.low[i]),
                "high": _number(told.high[i]),
                "p": _number(told.p[i]),
                "q": _number(told.q[i]),
                "n": task.compared.examples,
                "d": task.compared.width,
            }
            for i, task in enumerate(group.tasks)
        ]
        yield from sorted(rows, key=lambda row: -(row["base_similarity"] or -1.0))


def _families(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        order = sorted(range(len(group.tasks)), key=lambda i: group.tasks[i].probe.family)
        for family, members in groupby(order, key=lambda i: group.tasks[i].probe.family):
            which = [*members]
            for model, curves in ((BASE, group.base), ("mixture", group.mixture)):
                values = np.mean([curves[i].values for i in which], axis=0)
                for layer, value in enumerate(values):
                    yield _said(place) | {
                        "family": family,
                        "model": model,
                        "layer": layer,
                        "depth": _depth(layer, len(values)),
                        "value": _number(value),
                        "tasks": len(which),
                    }


def _curves(parts: Mapping[Place, Group], found: Gathered) -> Iterator[Facts]:
    placed = [
        (_said(place), task, {BASE: group.base[i], "mixture": group.mixture[i]})
        for place, group in parts.items()
        for i, task in enumerate(group.tasks)
    ]
    with_mixture = {id(task) for _, task, _ in placed}
    placed += [
        ({"recipe": task.probe.recipe}, task, {BASE: task.compared.curves[BASE]})
        for task in found.tasks
        if id(task) not in with_mixture
    ]
    for said, task, curves in placed:
        n = task.compared.examples
        for model, curve in curves.items():
            for layer, value in enumerate(curve.values):
                error = curve.errors[layer]
                known = not math.isnan(error)
                yield said | {
                    "task": task.probe.task,
                    "family": task.probe.family,
                    "model": model,
                    "layer": layer,
                    "depth": _depth(layer, len(curve.values)),
                    "similarity": _number(value),
                    "low": value - 1.96 * error if known else None,
                    "high": min(1.0, value + 1.96 * error) if known else None,
                    "chance": chance_at_most(value, n) if known else None,
                    "without_largest": _number(curve.fewer[layer]),
                    "n": n,
                    "d": task.compared.width,
                    "reason": task.compared.reasons.get(layer),
                }


def _dimensions(parts: Mapping[Place, Group]) -> Iterator[Facts]:
    for place, group in parts.items():
        if place[2] != TAUGHT:
            continue
        columns = {
            "largest_share": np.median([t.compared.shares for t in group.tasks], axis=0),
            "base": np.median([c.values for c in group.base], axis=0),
            "base_without": np.median([c.fewer for c in group.base], axis=0),
            "mixture_value": np.median([c.values for c in group.mixture], axis=0),
            "mixture_without": np.median([c.fewer for c in group.mixture], axis=0),
        }
        layers = len(columns["base"])
        for layer in range(layers):
            yield {
                "recipe": place[0],
                "mixture": place[1],
                "layer": layer,
                "depth": _depth(layer, layers),
                **{name: _number(values[layer]) for name, values in columns.items()},
            }


def _maps(found: Gathered) -> Iterator[Facts]:
    for (recipe, model), (sums, count) in found.maps.items():
        for layer, row in enumerate(sums / count):
            for other, value in enumerate(row):
                if not math.isnan(value):
                    yield {
                        "recipe": recipe,
                        "model": model,
                        "layer": layer,
                        "control_layer": other,
                        "similarity": float(value),
                        "tasks": count,
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
                "depth": _depth(layer, len(shares)),
                "between_tasks": _number(share),
                "tasks": len(means),
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
            "series": "model",
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
            "value": "difference",
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
        "moved",
        "How far weights moved",
        "Norm of the change over the norm, block by block.",
        {"x": "block", "y": "change", "series": "source", "panel": "recipe kind"},
    ),
)
