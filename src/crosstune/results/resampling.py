"""Bootstrap and permutation over the examples of many cells at once.

One set of resamples is drawn for all cells of a target and applied as a matrix product, so memory
is some 100 MiB however many there are: 20 cells × 500 examples × 10,000 resamples take about 0.2 s.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 10_000
LEVEL = 0.95
_BLOCK = 2**21
"""Numbers in one block of resamples: 16 MiB."""
_CELLS = 256
"""Cells that share a block; their resampled means take 20 MiB."""
_GRID = 2.0**36
"""For the bootstrap differences are rounded to multiples of 1 / _GRID, about 1e-11. Their sums are
then exact whatever the order, so neither the number of threads nor the other cells change a bit.
Means that are closer than that are ties."""


def bootstrap(
    differences: Float[np.ndarray, "cells examples"],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    informative: Int[np.ndarray, " cells"] | None = None,
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """95 % interval of each cell's mean difference by resampling examples.

    Bias-corrected and accelerated (BCa); the acceleration has a closed form for a mean. No width
    where all differences are equal.

    Args:
        differences: In [−1, 1]; up to 100,000 examples.
        resamples: How often examples are drawn.
        seed: Of the draws, which are the same for all cells.
        informative: Examples of each cell that differ, at least 2. Resampling few leaves out the
            scatter of their own variance: the ends are moved out to where t stands instead of
            normal. None leaves them as Efron has them.

    Returns:
        Both ends.

    Source:
        Efron (1987), Better bootstrap confidence intervals; Hesterberg (2015), What
        teachers should know about the bootstrap, for moving the ends.
    """
    differences = _on_grid(differences)
    centred = differences - differences.mean(axis=1, keepdims=True)
    squares = np.square(centred).sum(axis=1)
    cubes = (centred**3).sum(axis=1)
    skewed = squares > 0
    acceleration = np.zeros(len(differences))
    acceleration[skewed] = cubes[skewed] / (6 * squares[skewed] ** 1.5)
    low, high = np.empty(len(differences)), np.empty(len(differences))
    normal = np.full(len(differences), ndtri((1 + LEVEL) / 2))
    ends = normal if informative is None else _expanded(informative)
    for part in _parts(len(differences)):
        means = np.sort(_resampled(differences[part], resamples, seed=seed), axis=1)
        found = differences[part].mean(axis=1, keepdims=True)
        # Sums that are equal but for the rounding are ties.
        below = (means < found - 1 / _GRID).sum(axis=1) + (means <= found + 1 / _GRID).sum(axis=1)
        bias = ndtri(np.clip(below / (2 * resamples), 1 / resamples, 1 - 1 / resamples))
        for end, sign in ((low, -1), (high, 1)):
            shifted = bias + sign * ends[part]
            end[part] = _quantiles(means, ndtr(bias + shifted / (1 - acceleration[part] * shifted)))
    return low, high


def _expanded(informative: Int[np.ndarray, " cells"]) -> Float[np.ndarray, " cells"]:
    """Where a normal end is to stand; never beyond 5, where resamples are none."""
    ends = np.sqrt(informative / (informative - 1)) * stdtrit(informative - 1.0, (1 + LEVEL) / 2)
    capped: Float[np.ndarray, " cells"] = np.minimum(ends, 5.0)
    return capped


def permutation(
    differences: Float[np.ndarray, "cells examples"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, " cells"]:
    """Two-sided p of no difference: under it, base and tuned may be swapped for any example.

    Resampling cannot show a p below 1 / (resamples + 1), too coarse for a matrix of many cells.
    Hoeffding's bound, 2·exp(−(Σd)² / (2·Σd²)), holds for the very same test and takes over where
    it is the smaller one.

    Args:
        differences: In [−1, 1]; up to 100,000 examples.
        resamples: How often signs are drawn.
        seed: Of the draws, which are the same for all cells.

    Returns:
        p in (0, 1].

    Source:
        Phipson & Smyth (2010), Permutation p-values should never be zero; Hoeffding (1963).
    """
    totals = differences.sum(axis=1)
    squares = np.square(differences).sum(axis=1)
    p = np.empty(len(differences))
    for part in _parts(len(differences)):
        reached = np.zeros(len(totals[part]), dtype=np.int64)
        near = np.abs(totals[part]) - differences.shape[1] / _GRID
        generator = np.random.default_rng([seed, 1])
        for rows in _blocks(resamples, differences.shape[1]):
            bits = generator.integers(0, 2, (rows, differences.shape[1]), dtype=np.int8)
            flipped = 2 * (differences[part] @ bits.T.astype(np.float64)) - totals[part, None]
            reached += (np.abs(flipped) >= near[:, None]).sum(axis=1)
        p[part] = (reached + 1) / (resamples + 1)
    some = squares > 0
    bound = np.ones(len(p))
    bound[some] = 2 * np.exp(-np.square(totals[some]) / (2 * squares[some]))
    least: Float[np.ndarray, " cells"] = np.maximum(np.minimum(p, bound), np.finfo(np.float64).tiny)
    return least


def _on_grid(
    differences: Float[np.ndarray, "cells examples"],
) -> Float[np.ndarray, "cells examples"]:
    rounded: np.ndarray = np.rint(differences * _GRID) / _GRID
    return rounded


def _parts(cells: int) -> list[slice]:
    return [slice(begin, begin + _CELLS) for begin in range(0, cells, _CELLS)]


def _blocks(resamples: int, n: int) -> list[int]:
    """Numbers of resamples that are drawn at a time."""
    rows = max(1, _BLOCK // n)
    return [min(rows, resamples - begin) for begin in range(0, resamples, rows)]


def _resampled(
    differences: Float[np.ndarray, "cells examples"], resamples: int, *, seed: int
) -> Float[np.ndarray, "cells resamples"]:
    """Means over examples that are drawn with replacement, the same draws for every cell."""
    n = differences.shape[1]
    generator = np.random.default_rng([seed, 0])
    found = []
    for rows in _blocks(resamples, n):
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        found.append(differences @ counts.T.astype(np.float64))
    means: Float[np.ndarray, "cells resamples"] = np.concatenate(found, axis=1) / n
    return means


def _quantiles(
    ordered: Float[np.ndarray, "cells resamples"], shares: Float[np.ndarray, " cells"]
) -> Float[np.ndarray, " cells"]:
    """One quantile of each row, linear between neighbours."""
    place = shares * (ordered.shape[1] - 1)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, ordered.shape[1] - 1)
    rows = np.arange(len(ordered))
    left, right = ordered[rows, lower], ordered[rows, upper]
    found: Float[np.ndarray, " cells"] = left + (place - lower) * (right - left)
    return found
