"""Similarity with a task's control over depth: of the bare base, and of every mixture.

A control is a model tuned on the task alone. Where another model is like it, that model holds what
tuning on the task teaches (Zhao et al. 2024). Cost of a task is layers × (models + 1) kernels of
examples²; memory, the kernels of one layer, and all layers' once for the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crosstune.analysis.layers.probes import BASE, Opened, Run
from crosstune.analysis.similarity import MEASURES
from crosstune.analysis.similarity.alignments import Without, aligned_map, alignment, ready
from crosstune.analysis.similarity.kernels import Kernel, gaussian, normalised, unbiased
from crosstune.analysis.similarity.measures import Measure
from crosstune.errors import InputError
from crosstune.results.states import States

KERNELS: Mapping[str, Callable[[Kernel], Kernel]] = {
    "linear_cka": lambda products: products,
    "rbf_cka": gaussian,
}
"""Measures whose error over examples is known in closed form, with their kernels."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One model against the control of one task, layer by layer; NaN where not known.

    Attributes:
        values: Similarities, means over seeds.
        errors: Their standard errors over examples.
        each: The same without each one of the examples; not known for every measure.
        fewer: Similarities without the dimensions of largest variance; of linear_cka alone.
    """

    values: Float[np.ndarray, " layers"]
    errors: Float[np.ndarray, " layers"]
    each: Float[np.ndarray, "layers examples"] | None
    fewer: Float[np.ndarray, " layers"]

    def less(self, other: Curve) -> Curve:
        """This curve minus another one on the same examples and the same controls."""
        each = None
        if self.each is not None and other.each is not None:
            each = self.each - other.each
        errors = np.full_like(self.values, np.nan)
        if each is not None:
            errors = np.array([Without(0.0, layer).error for layer in each])
        return Curve(self.values - other.values, errors, each, self.fewer - other.fewer)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A task's curves.

    Attributes:
        curves: By model: `base`, or a mixture's name.
        reasons: Why a layer has no value.
        examples: Of the probe.
        width: Of the model.
        shares: Part of the variance of the base's states in the dimensions of largest variance.
    """

    curves: dict[str, Curve]
    reasons: dict[int, str]
    examples: int
    width: int
    shares: Float[np.ndarray, " layers"]


def measure_of(name: str) -> Measure:
    """A measure that kept states are enough for.

    Raises:
        InputError: There is no such measure, or inner products are not enough for it.
    """
    measure = MEASURES[name]
    if measure.of_products is None:
        able = ", ".join(n for n in MEASURES.names() if MEASURES[n].of_products)
        raise InputError(
            f"{name} needs more of the states than is kept (single neurons). There are: {able}"
        )
    return measure


def compared(found: Opened, name: str = "linear_cka") -> Compared:
    """The curves of one task.

    Args:
        found: States of its models, on the same examples.
        name: A measure for which `measure_of` gives one.
    """
    base = found.base
    runs: dict[str, list[Run]] = {BASE: [(BASE, seed) for seed in found.controls]}
    for run in found.mixtures:
        if run[1] in found.controls:
            runs.setdefault(run[0], []).append(run)
    values = {run: np.full(base.layers, np.nan) for part in runs.values() for run in part}
    fewer = {run: np.full(base.layers, np.nan) for run in values}
    each = {run: np.full((base.layers, base.examples), np.nan) for run in values}
    reasons: dict[int, str] = {}
    for layer in range(base.layers):
        if reason := _constant(found, layer):
            reasons[layer] = reason
            continue
        try:
            _compare_layer(found, layer, name, values=values, each=each)
        except ValueError as error:
            reasons[layer] = str(error)
            continue
        if name == "linear_cka":
            _compare_fewer(found, layer, fewer)
    known = name in KERNELS
    curves = {
        model: _mean(
            [values[run] for run in part],
            [each[run] for run in part] if known else None,
            [fewer[run] for run in part],
        )
        for model, part in runs.items()
    }
    return Compared(curves, reasons, base.examples, base.width, base.largest_share())


def _constant(found: Opened, layer: int) -> str:
    states = [found.base, *found.controls.values(), *found.mixtures.values()]
    if any(one.constant[layer] for one in states):
        if layer == 0:
            return "all prompts end in one token, so their embedding is one state"
        return "all examples have one state"
    return ""


def _compare_layer(
    found: Opened,
    layer: int,
    name: str,
    *,
    values: dict[Run, np.ndarray],
    each: dict[Run, np.ndarray],
) -> None:
    """Fill in one layer; a reason why it cannot be is raised before anything is filled in."""
    ready_of, between = _ways(name)

    def prepared(kept: States) -> Any:
        return ready_of(kept.products(layer))

    base = prepared(found.base)
    controls = {seed: prepared(kept) for seed, kept in found.controls.items()}
    told: dict[Run, Without | float] = {
        (BASE, seed): between(base, control) for seed, control in controls.items()
    }
    for run, kept in found.mixtures.items():
        if run[1] in controls:
            told[run] = between(prepared(kept), controls[run[1]])
    for run, one in told.items():
        values[run][layer] = one.whole if isinstance(one, Without) else one
        if isinstance(one, Without):
            each[run][layer] = one.each


def _ways(
    name: str,
) -> tuple[Callable[[Kernel], Any], Callable[[Any, Any], Without | float]]:
    """How inner products are made ready, and how two that are ready are compared."""
    if kernel := KERNELS.get(name):
        return lambda products: ready(kernel(products)), alignment
    measure = measure_of(name)
    assert measure.of_products is not None
    return measure.of_products, measure.between


def _compare_fewer(found: Opened, layer: int, fewer: dict[Run, np.ndarray]) -> None:
    def prepared(kept: States) -> Kernel:
        return normalised(unbiased(kept.products(layer, without_largest=True)))

    base = prepared(found.base)
    for seed, kept in found.controls.items():
        control = prepared(kept)
        fewer[BASE, seed][layer] = np.vdot(base, control)
        for run, mixed in found.mixtures.items():
            if run[1] == seed:
                fewer[run][layer] = np.vdot(prepared(mixed), control)


def _mean(
    values: list[np.ndarray], each: list[np.ndarray] | None, fewer: list[np.ndarray]
) -> Curve:
    """Over seeds; the examples are the same, so their errors do not shrink with them."""
    mean = np.mean(values, axis=0)
    without = None if each is None else np.mean(each, axis=0)
    errors = np.full_like(mean, np.nan)
    if without is not None:
        errors = np.array([Without(0.0, layer).error for layer in without])
    return Curve(mean, errors, without, np.mean(fewer, axis=0))


def layer_map(first: States, second: States) -> Float[np.ndarray, "layers others"]:
    """Unbiased linear alignment of every layer of one model with every layer of another.

    NaN where a layer's states are constant. Memory: the products of both in single precision.
    """
    known = [[i for i, same in enumerate(kept.constant) if not same] for kept in (first, second)]
    found = np.full((first.layers, second.layers), np.nan)
    if all(known):
        rows, columns = (
            [kept.packed(i) for i in layers]
            for kept, layers in zip((first, second), known, strict=True)
        )
        found[np.ix_(*known)] = aligned_map(rows, columns, first.examples)
    return found
