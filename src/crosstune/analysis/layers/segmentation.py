"""Where a curve over depth bends: three stretches of layers, or none that can be told.

Every pair of bends is tried, which costs layers² / 2 small projections a curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

FEWEST_TASKS = 6
FEWEST_LAYERS = 8
_LEAST = 2
"""Layers from an end to the nearest bend."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Two bends of the median curve over tasks.

    Attributes:
        first: Layer of the first bend: the last of the first stretch.
        second: Layer of the second bend: the first of the last stretch.
        first_low: Lower end of the 95 % interval of the first bend, over tasks.
        first_high: Its upper end.
        second_low: Lower end of that of the second bend.
        second_high: Its upper end.
        slopes: Change a layer in the three stretches.
        explained: Share of what a straight line leaves that the bends explain, in [0, 1].
        smooth: The share that a cubic explains: where it is as high, the curve may be smooth.
        p: Of curves without bends in common, how many bend as much.
        tasks: How many curves.
        layers: How many layers.
    """

    first: int
    second: int
    first_low: float
    first_high: float
    second_low: float
    second_high: float
    slopes: tuple[float, float, float]
    explained: float
    smooth: float
    p: float
    tasks: int
    layers: int

    @property
    def located(self) -> bool:
        """Whether the bends explain more than chance does."""
        return self.p < 0.05


def segmentation(
    curves: Float[np.ndarray, "tasks layers"], *, draws: int = 1000, seed: int = 0
) -> Segmentation:
    """Fit a continuous line with two bends to the median curve.

    Neighbouring layers go together, so layers are no independent units; tasks are. The null turns
    whole tasks' deviations from their straight lines over by chance: what is common to tasks is
    then lost, what is each task's own stays. It judges how much the mean curve bends, as a median
    of curves turned over is still one of them. The intervals draw tasks with replacement.

    Args:
        curves: One value for every task and layer, layers in order.
        draws: Of the null, and of the intervals.
        seed: Of both.

    Raises:
        ValueError: Too few tasks or layers, or a value that is not known.

    Source:
        Ours; Zhao et al. (2024) read their bounds off by eye. Sign flips are Fisher's (1935).
    """
    tasks, layers = curves.shape
    if tasks < FEWEST_TASKS or layers < FEWEST_LAYERS:
        raise ValueError(
            f"{tasks} tasks and {layers} layers; at least {FEWEST_TASKS} tasks and "
            f"{FEWEST_LAYERS} layers are needed"
        )
    if not np.isfinite(curves).all():
        raise ValueError("a value of the curves is not known")
    pairs = _pairs(layers)
    bases = _bases(layers, pairs)
    straight = _straight(layers)
    middle = np.median(curves, axis=0)
    generator = np.random.default_rng(seed)
    best, fitted, left = _bent(middle[None], bases, straight)
    own = curves - (curves @ straight) @ straight.T
    signs = generator.choice([-1.0, 1.0], size=(draws, tasks))
    observed = _bent(own.mean(axis=0)[None], bases, straight)[1][0]
    chance = _bent(signs @ own / tasks, bases, straight)[1]
    drawn = np.median(curves[generator.integers(tasks, size=(draws, tasks))], axis=1)
    bends = pairs[_bent(drawn, bases, straight)[0]]
    low, high = np.quantile(bends, [0.025, 0.975], axis=0)
    first, second = pairs[best[0]].tolist()
    return Segmentation(
        first=first,
        second=second,
        first_low=float(low[0]),
        first_high=float(high[0]),
        second_low=float(low[1]),
        second_high=float(high[1]),
        slopes=_slopes(middle, first, second),
        explained=float(fitted[0] / left[0]),
        smooth=_smooth(middle, straight, left[0]),
        # All signs turned over are the same curve, so that rounding must not tell them apart.
        p=float((1 + (chance >= observed * (1 - 1e-9)).sum()) / (1 + draws)),
        tasks=tasks,
        layers=layers,
    )


def _pairs(layers: int) -> Int[np.ndarray, "pairs 2"]:
    return np.array([*combinations(range(_LEAST, layers - _LEAST), 2)])


def _design(layers: int, first: int, second: int) -> Float[np.ndarray, "layers 4"]:
    depth = np.arange(layers, dtype=float)
    bends = [np.maximum(depth - at, 0) for at in (first, second)]
    return np.stack([np.ones(layers), depth, *bends], axis=1)


def _bases(layers: int, pairs: Int[np.ndarray, "pairs 2"]) -> Float[np.ndarray, "pairs layers 4"]:
    return np.linalg.qr(
        np.stack([_design(layers, first, second) for first, second in pairs.tolist()])
    )[0]


def _straight(layers: int) -> Float[np.ndarray, "layers 2"]:
    return np.asarray(np.linalg.qr(_design(layers, 0, 0)[:, :2])[0])


def _bent(
    curves: Float[np.ndarray, "curves layers"],
    bases: Float[np.ndarray, "pairs layers 4"],
    straight: Float[np.ndarray, "layers 2"],
) -> tuple[Int[np.ndarray, " curves"], Float[np.ndarray, " curves"], Float[np.ndarray, " curves"]]:
    """The best pair of bends of each curve, the squares that it fits, and those a line leaves."""
    left = curves - (curves @ straight) @ straight.T
    # The bases hold the line too, so what they fit of the rest is what the bends add.
    fitted = np.stack([((left @ basis) ** 2).sum(axis=1) for basis in bases])
    whole = np.maximum((left**2).sum(axis=1), np.finfo(float).tiny)
    return fitted.argmax(axis=0), fitted.max(axis=0), whole


def _smooth(
    curve: Float[np.ndarray, " layers"], straight: Float[np.ndarray, "layers 2"], whole: float
) -> float:
    """The share of what a line leaves that a cubic explains."""
    left = curve - straight @ (straight.T @ curve)
    depth = np.linspace(-1, 1, len(curve))
    basis = np.linalg.qr(np.stack([depth**power for power in range(4)], axis=1))[0]
    return float(((basis.T @ left) ** 2).sum() / whole)


def _slopes(
    curve: Float[np.ndarray, " layers"], first: int, second: int
) -> tuple[float, float, float]:
    made = np.linalg.lstsq(_design(len(curve), first, second), curve, rcond=None)[0]
    one, two, three = np.cumsum(made[1:]).tolist()
    return one, two, three
