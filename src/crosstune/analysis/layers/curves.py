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
from crosstune.analysis.similarity.alignments import (
    Without,
    aligned_map,
    alignment,
    ready,
    stacked_products,
)
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
        bases: The base's curve over the seeds of each mixture, so that both are of one set.
        reasons: Why a model has no value at a layer.
        examples: Of the probe.
        width: Of the model.
        shares: Part of the variance of the base's states in the dimensions of largest variance.
    """

    curves: dict[str, Curve]
    bases: dict[str, Curve]
    reasons: dict[tuple[str, int], str]
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
    base, layers = found.base, found.base.layers
    seeds: dict[str, list[int]] = {BASE: [*found.controls]}
    for model, seed in found.mixtures:
        seeds.setdefault(model, []).append(seed)
    runs = [(model, seed) for model, part in seeds.items() for seed in part]
    values, fewer = ({run: np.full(layers, np.nan) for run in runs} for _ in range(2))
    each = {run: np.full((layers, base.examples), np.nan) for run in runs}
    reasons: dict[tuple[str, int], str] = {}
    for layer in range(layers):
        ready_there = {seed: prepare(kept, layer, name) for seed, kept in found.controls.items()}
        bare = prepare(base, layer, name)
        without = _without_largest(found, layer) if name == "linear_cka" else {}
        for run in runs:
            model, seed = run
            own = bare if model == BASE else prepare(found.mixtures[run], layer, name)
            told = between(own, ready_there[seed], name)
            if isinstance(told, str):
                reasons[model, layer] = told
                continue
            values[run][layer], each[run][layer] = told.whole, told.each
            fewer[run][layer] = without.get(run, np.nan)
    known = name in KERNELS

    def mean(model: str, part: list[int]) -> Curve:
        chosen = [(model, seed) for seed in part]
        parts = [each[run] for run in chosen] if known else None
        return _mean([values[run] for run in chosen], parts, [fewer[run] for run in chosen])

    return Compared(
        {model: mean(model, part) for model, part in seeds.items()},
        {model: mean(BASE, part) for model, part in seeds.items() if model != BASE},
        reasons,
        base.examples,
        base.width,
        base.largest_share(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A layer made ready to be compared, or why it cannot be."""

    made: Any = None
    reason: str = ""


def prepare(kept: States, layer: int, name: str) -> Prepared:
    """One layer of one model, for a measure for which `measure_of` gives one."""
    if kept.constant[layer]:
        if layer == 0:
            return Prepared(None, "all prompts end in one token, so their embedding is one state")
        return Prepared(None, "all examples have one state")
    products = kept.products(layer)
    try:
        if kernel := KERNELS.get(name):
            return Prepared(ready(kernel(products)))
        of_products = measure_of(name).of_products
        assert of_products is not None
        return Prepared(of_products(products))
    except ValueError as error:
        return Prepared(None, str(error))


def between(first: Prepared, second: Prepared, name: str) -> Without | str:
    """The similarity of two prepared layers, or why there is none.

    What it is without each example is NaN for measures that are not in `KERNELS`.
    """
    if first.reason or second.reason:
        return first.reason or second.reason
    if name in KERNELS:
        return alignment(first.made, second.made)
    try:
        return Without(measure_of(name).between(first.made, second.made), np.array([np.nan]))
    except ValueError as error:
        return str(error)


def _without_largest(found: Opened, layer: int) -> dict[Run, float]:
    """Linear alignments without the dimensions of largest variance."""

    def made(kept: States) -> Kernel | None:
        if kept.constant[layer]:
            return None
        return normalised(unbiased(kept.products(layer, without_largest=True)))

    base, told = made(found.base), {}
    for seed, kept in found.controls.items():
        control = made(kept)
        others = {run: made(mixed) for run, mixed in found.mixtures.items() if run[1] == seed}
        for run, kernel in {(BASE, seed): base, **others}.items():
            if control is not None and kernel is not None:
                told[run] = float(np.vdot(kernel, control))
    return told


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
            stacked_products([kept.packed(i) for i in layers], kept.examples)
            for kept, layers in zip((first, second), known, strict=True)
        )
        found[np.ix_(*known)] = aligned_map(rows, columns)
    return found
