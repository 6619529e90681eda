"""Unbiased alignments with their error over examples and their null, both in closed form.

Leaving one example out changes the sums of a criterion by that example's row, so all n
alignments without one example cost as much as a few more: O(n²) a pair. The null needs no draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from crosstune.analysis.similarity.kernels import Kernel

FEWEST = 5
"""Examples without which one cannot be left out."""


class Without(NamedTuple):
    """A number of all examples, and the same without each one of them."""

    whole: float
    each: Float[np.ndarray, " examples"]

    @property
    def error(self) -> float:
        """Standard error over examples, by the jackknife (Efron & Stein 1981)."""
        n = len(self.each)
        away = self.each - self.each.mean()
        return float(np.sqrt((n - 1) / n * np.sum(away**2)))


class Aligned(NamedTuple):
    """A kernel made ready to be aligned with others.

    Attributes:
        kernel: With an empty diagonal.
        sums: Of its rows.
        own: Its criterion with itself.
    """

    kernel: Kernel
    sums: Float[np.ndarray, " examples"]
    own: Without


def ready(kernel: Kernel) -> Aligned:
    """What of an alignment is of one kernel alone.

    Raises:
        ValueError: Too few examples, or the kernel says the same of all pairs.
    """
    if len(kernel) < FEWEST:
        raise ValueError(f"{len(kernel)} examples are too few; at least {FEWEST} are needed")
    made = kernel.copy()
    np.fill_diagonal(made, 0)
    sums = made.sum(axis=0)
    own = _criterion(made, sums, made, sums)
    if not (own.whole > 0 and own.each.min() > 0):
        raise ValueError("the states are constant over the examples, so nothing can be compared")
    return Aligned(made, sums, own)


def alignment(x: Aligned, y: Aligned) -> Without:
    """The unbiased alignment of two kernels of the same examples, and without each of these.

    Source:
        Song et al. (2012), eq. 5; Kornblith et al. (2019).
    """
    both = _criterion(x.kernel, x.sums, y.kernel, y.sums)
    whole = both.whole / np.sqrt(x.own.whole * y.own.whole)
    return Without(float(whole), both.each / np.sqrt(x.own.each * y.own.each))


class Stack(NamedTuple):
    """Inner products of centred states, layer by layer, in single precision.

    Attributes:
        products: Of every two examples once, in any order that both stacks have in common.
        diagonals: Of every example with itself.
    """

    products: Float[np.ndarray, "layers pairs"]
    diagonals: Float[np.ndarray, "layers examples"]


def stacked(states: Sequence[Float[np.ndarray, "examples _"]]) -> Stack:
    """The products of every layer.

    Raises:
        ValueError: As `kernels.centred_states`, or the numbers of examples differ.
    """
    sizes = {len(layer) for layer in states}
    if len(sizes) != 1:
        raise ValueError(f"{sorted(sizes)} examples cannot be the same ones")
    (n,) = sizes
    if n < FEWEST:
        raise ValueError(f"{n} examples are too few; at least {FEWEST} are needed")
    triangle = np.flatnonzero(np.tri(n, k=-1, dtype=bool))
    products = np.empty((len(states), len(triangle)), dtype=np.float32)
    diagonals, rounding = np.empty((len(states), n)), np.empty(len(states))
    for i, layer in enumerate(states):
        mean, centred = _centred(layer)
        square = centred @ centred.T
        diagonals[i] = square.diagonal()
        np.take(square.ravel(), triangle, out=products[i], mode="clip")
        rounding[i] = n * 1e-14 * np.vdot(mean, mean)
    whole = diagonals.sum(axis=1)
    if not np.isfinite(whole).all():
        raise ValueError("states hold numbers that are not finite")
    if (whole <= rounding).any():
        raise ValueError("the states are constant over the examples, so nothing can be compared")
    return Stack(products, diagonals)


def stacked_products(layers: Sequence[Float[np.ndarray, " pairs"]], examples: int) -> Stack:
    """The same of products that are known: the upper triangle row by row, with its diagonal."""
    rows, columns = np.triu_indices(examples)
    there = np.flatnonzero(rows == columns)
    products = np.array(layers, dtype=np.float32)
    diagonals = products[:, there].astype(np.float64)
    products[:, there] = 0
    return Stack(products, diagonals)


def _centred(
    states: Float[np.ndarray, "examples width"],
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, "examples width"]]:
    """Their mean, and they less it and less what rounding has left of it, in single precision."""
    mean = states.mean(axis=0, dtype=np.promote_types(states.dtype, np.float32))
    made = np.ascontiguousarray(states - mean, dtype=np.float32)
    made -= made.mean(axis=0)
    return mean, made


def aligned_map(x: Stack, y: Stack) -> Float[np.ndarray, "layers others"]:
    """Unbiased linear alignments of all layers with all others: one product of matrices.

    Products with centred states sum to 0 in every row, so a row's sum without its diagonal is the
    diagonal turned over, and sums over pairs are needed nowhere.
    """
    n = x.diagonals.shape[1]
    if n != y.diagonals.shape[1]:
        raise ValueError(f"{n} and {y.diagonals.shape[1]} examples cannot be the same ones")
    sums = x.diagonals.sum(axis=1), y.diagonals.sum(axis=1)
    both = _hsic(
        2 * (x.products @ y.products.T).astype(np.float64),
        np.outer(*sums),
        x.diagonals @ y.diagonals.T,
        n,
    )
    own = [
        _hsic(
            2 * np.array([np.vdot(row, row) for row in part.products], dtype=np.float64),
            part.diagonals.sum(axis=1) ** 2,
            (part.diagonals**2).sum(axis=1),
            n,
        )
        for part in (x, y)
    ]
    # Where most examples are one, nothing may be left without the diagonal.
    sizes = [np.sqrt(np.where(part > 0, part, np.nan)) for part in own]
    return np.asarray(both / np.outer(*sizes))


def chance_at_most(value: float, examples: int) -> float:
    """Bound of the share of random pairings of examples whose alignment is at least this.

    Over all pairings an unbiased alignment has mean 0 and variance 2 / (n (n − 3)), whatever the
    kernels are; Cantelli's inequality does the rest. One-sided.

    Source:
        Mantel (1967) for the moments, here of kernels whose rows sum to 0.

    Example:
        >>> round(chance_at_most(0.02, 500), 3), chance_at_most(-0.1, 500)
        (0.02, 1.0)
    """
    if value <= 0:
        return 1.0
    variance = 2 / (examples * (examples - 3))
    return variance / (variance + value**2)


def _criterion(
    k: Kernel,
    k_sums: Float[np.ndarray, " examples"],
    m: Kernel,
    m_sums: Float[np.ndarray, " examples"],
) -> Without:
    """The unbiased HSIC of kernels with empty diagonals."""
    n = len(k)
    rows = np.einsum("ij,ij->i", k, m)
    products, chained = rows.sum(), float(k_sums @ m_sums)
    k_all, m_all = k_sums.sum(), m_sums.sum()
    left_chained = chained - k_sums * m_sums - m @ k_sums - k @ m_sums + rows
    left_both = (k_all - 2 * k_sums) * (m_all - 2 * m_sums)
    return Without(
        float(_hsic(products, k_all * m_all, chained, n)),
        np.asarray(_hsic(products - 2 * rows, left_both, left_chained, n - 1)),
    )


def _hsic(products: Any, both: Any, chained: Any, n: int) -> Any:
    inner = products + both / ((n - 1) * (n - 2)) - 2 * chained / (n - 2)
    return inner / (n * (n - 3))
