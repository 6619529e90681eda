"""What a study shows layer by layer: curves of all tasks, what they have in common, their bends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from crosstune.analysis.layers.curves import Compared, Curve, compared, layer_map
from crosstune.analysis.layers.probes import BASE, Opened, Probed, opened
from crosstune.analysis.layers.segmentation import Segmentation, segmentation
from crosstune.analysis.similarity.alignments import Without
from crosstune.results.inference import q_values
from crosstune.results.states import States
from crosstune.results.store import Store

DRAWS = 2_000
TAUGHT, HELD_OUT, ALONE = "in the mixture", "held out", "without a mixture"

Place = tuple[str, str, str]
"""Recipe, mixture, and whether its tasks are `TAUGHT` or `HELD_OUT`; no mixture where `ALONE`."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One task with its curves."""

    probe: Probed
    compared: Compared


@dataclass(slots=True, eq=False)
class Gathered:
    """What is kept of the states of all models while tasks are read one after the other.

    Attributes:
        tasks: With their curves, in the order of the study.
        missing: Whose states are not there, or why.
        position: Whose state stands for a prompt.
        maps: Sums of layer maps with the controls by recipe and model, and of how many tasks.
        means: Mean states by recipe, model and task.
        within: Variances within tasks, likewise, each summed over dimensions.
        moved: Change of each block's weights by recipe, source and kind.
    """

    tasks: list[Task] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    position: str = ""
    maps: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    means: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    within: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    moved: dict[tuple[str, str, str], tuple[float, ...]] = field(default_factory=dict)


def gathered(store: Store, probes: Sequence[Probed], measure: str) -> Gathered:
    """Read the states of one task after the other; memory is that of one task."""
    found = Gathered()
    for probe in probes:
        states, missing = opened(store, probe)
        found.missing += missing
        if states is not None:
            found.tasks.append(Task(probe, compared(states, measure)))
            _add(found, probe, states)
    return found


def _add(found: Gathered, probe: Probed, states: Opened) -> None:
    """Sum up what does not need the curves; of several seeds the first one stands for all."""
    seed = min(states.controls)
    control = states.controls[seed]
    models = {BASE: states.base}
    models |= {name: kept for (name, each), kept in states.mixtures.items() if each == seed}
    found.position = str(states.base.record.get("position", ""))
    for name, kept in models.items():
        place = probe.recipe, name
        values = layer_map(kept, control)
        sums, counts = found.maps.get(place, (0.0, 0))
        found.maps[place] = (sums + np.nan_to_num(values), counts + np.isfinite(values))
        found.means.setdefault(place, {})[probe.task] = kept.means
        found.within.setdefault(place, {})[probe.task] = kept.variances.sum(axis=1)
        if name != BASE:
            found.moved[probe.recipe, name, "mixture"] = _moved(kept)
    found.moved[probe.recipe, probe.control, "control"] = _moved(control)


def _moved(kept: States) -> tuple[float, ...]:
    return tuple(float(value) for value in kept.record.get("moved", ()))


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Tasks that a mixture was taught, or was not, with their curves.

    Attributes:
        tasks: In the order of the study.
        curves: Of each task, by `base`, `mixture` and `difference` (mixture minus base); of the
            base alone where there is no mixture.
    """

    tasks: tuple[Task, ...]
    curves: dict[str, tuple[Curve, ...]]


def groups(tasks: Sequence[Task]) -> dict[Place, Group]:
    """Tasks by recipe, mixture and whether they are in it."""
    parts: dict[Place, list[Task]] = {}
    for task in tasks:
        recipe, taught = task.probe.recipe, task.probe.taught
        mixtures = [name for name in taught if name in task.compared.curves]
        for name in mixtures:
            place = (recipe, name, TAUGHT if taught[name] else HELD_OUT)
            parts.setdefault(place, []).append(task)
        if not taught:
            parts.setdefault((recipe, "", ALONE), []).append(task)
    found = {}
    for place, part in parts.items():
        if place[2] == ALONE:
            curves = {BASE: tuple(task.compared.curves[BASE] for task in part)}
        else:
            base = tuple(task.compared.bases[place[1]] for task in part)
            mixed = tuple(task.compared.curves[place[1]] for task in part)
            less = tuple(m.less(b) for m, b in zip(mixed, base, strict=True))
            curves = {BASE: base, "mixture": mixed, "difference": less}
        found[place] = Group(tuple(part), curves)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Middle:
    """The median over tasks at every layer, with its 95 % interval; NaN where a task has none."""

    values: Float[np.ndarray, " layers"]
    low: Float[np.ndarray, " layers"]
    high: Float[np.ndarray, " layers"]
    tasks: int


def middle(curves: Sequence[Curve], *, seed: int = 0) -> Middle:
    """Median of curves; the interval draws tasks with replacement, none of fewer than 5 tasks."""
    values = np.stack([curve.values for curve in curves])
    median = np.median(values, axis=0)
    blank = np.full_like(median, np.nan)
    if len(values) < 5:
        return Middle(median, blank, blank, len(values))
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    medians = np.median(values[drawn], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975], axis=0)
    return Middle(median, np.asarray(low), np.asarray(high), len(values))


@dataclass(frozen=True, slots=True, eq=False)
class Bends:
    """Two bends of the median curve, or why there are none to tell.

    Attributes:
        found: In layers counted from `first`; None where none can be fitted.
        first: The first layer that was fitted.
        last: The last one.
        left_out: Positions of the curves that lack one of these layers.
        reason: Why no bends are located; empty where they are.
    """

    found: Segmentation | None
    first: int
    last: int
    left_out: tuple[int, ...]
    reason: str


def bends(curves: Sequence[Curve]) -> Bends:
    """Fit two bends to the layers that most curves have; a curve that lacks one is left out."""
    values = np.stack([curve.values for curve in curves])
    known = np.isfinite(values)
    layers = np.flatnonzero(2 * known.sum(axis=0) > len(values))
    if not len(layers) or layers[-1] - layers[0] + 1 > len(layers):
        return Bends(None, 0, 0, (), "layers in between are not known")
    first, last = int(layers[0]), int(layers[-1])
    whole = known[:, layers].all(axis=1)
    left_out = tuple(np.flatnonzero(~whole).tolist())
    try:
        found = segmentation(values[np.ix_(whole, layers)])
    except ValueError as error:
        return Bends(None, first, last, left_out, str(error))
    widest = max(found.first_high - found.first_low, found.second_high - found.second_low)
    reason = ""
    if not found.located:
        reason = "a line without bends does as well"
    elif found.smooth >= found.explained:
        reason = "a smooth curve (a cubic) does as well"
    elif widest > (last - first) / 2:
        reason = "the intervals are wider than half of the depth"
    return Bends(found, first, last, left_out, reason)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Per task, means over the second half of the depth.

    Attributes:
        base: Similarity of the bare base with the control.
        mixture: Of the mixture.
        low: Lower end of the 95 % interval of the difference, over examples.
        high: Its upper end.
        p: Of no difference, of these models.
        q: Corrected over the tasks.
    """

    base: Float[np.ndarray, " tasks"]
    mixture: Float[np.ndarray, " tasks"]
    low: Float[np.ndarray, " tasks"]
    high: Float[np.ndarray, " tasks"]
    p: Float[np.ndarray, " tasks"]
    q: Float[np.ndarray, " tasks"]


def held(group: Group) -> Held:
    """How much of each task the base and the mixture hold, in the layers that decide answers."""
    layers = len(group.curves[BASE][0].values)
    late = slice(layers // 2, None)
    base, mixture, less = (
        np.array([curve.values[late].mean() for curve in group.curves[name]])
        for name in (BASE, "mixture", "difference")
    )
    errors = np.array([_error(curve, late) for curve in group.curves["difference"]])
    z = np.divide(less, errors, out=np.full(len(less), np.nan), where=errors > 0)
    p = 2 * norm.sf(np.abs(z))
    q = q_values(p, families=np.zeros(len(p), dtype=np.int64))
    return Held(base, mixture, less - 1.96 * errors, less + 1.96 * errors, p, q)


def _error(curve: Curve, part: slice) -> float:
    """Standard error over examples of the mean over some layers; these are not independent."""
    if curve.each is None:
        return float("nan")
    return Without(0.0, curve.each[part].mean(axis=0)).error


def between_tasks(
    means: Mapping[str, Float[np.ndarray, "layers width"]],
    within: Mapping[str, Float[np.ndarray, " layers"]],
) -> Float[np.ndarray, " layers"]:
    """Share of the variance of states that lies between tasks, each task counting alike.

    NaN where the states of a task are constant.

    Example:
        >>> means = {"a": np.array([[0.0], [0.0]]), "b": np.array([[0.0], [2.0]])}
        >>> between_tasks(means, {"a": np.ones(2), "b": np.ones(2)}).tolist()
        [0.0, 0.5]
    """
    centres = np.stack([means[name] for name in means])
    variances = np.stack([within[name] for name in means])
    between = centres.var(axis=0).sum(axis=1)
    return np.where(variances.all(axis=0), between / (between + variances.mean(axis=0)), np.nan)
