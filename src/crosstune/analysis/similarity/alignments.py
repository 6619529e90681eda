"""Unbiased alignments with their error over examples and their null, both in closed form.

Leaving one example out changes the sums of a criterion by that example's row, so all n
alignments without one example cost as much as a few more: O(n²) a pair. The null needs no draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.blas import ssyrk

from crosstune.analysis.similarity.kernels import Kernel, centred_states

Packed = Float[np.ndarray, " pairs"]
"""Upper triangle of examples × examples, row by row, the diagonal among it."""
Indices = Int[np.ndarray, " _"]

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


@lru_cache(8)
def upper(examples: int) -> tuple[Indices, Indices, Indices]:
    """Rows and columns of the upper triangle, row by row, and where the diagonal stands in it."""
    rows, columns = np.triu_indices(examples)
    return rows, columns, np.flatnonzero(rows == columns)


def unit(products: Packed, examples: int) -> Packed:
    """An unbiased kernel of length 1, from the upper triangle of centred states' products.

    Products with centred states sum to 0 in every row, so a row's sum without its diagonal is the
    diagonal turned over: no sums over pairs are needed.
    """
    rows, columns, there = upper(examples)
    diagonal = products[there]
    shares = diagonal / (examples - 2)
    whole = diagonal.sum() / ((examples - 1) * (examples - 2))
    made = products + shares[rows]
    made += shares[columns] - whole
    made[there] = 0
    made /= np.linalg.norm(made)
    return np.asarray(made)


def packed_products(states: Float[np.ndarray, "examples width"]) -> Packed:
    """The upper triangle of the inner products of states less their mean, in single precision.

    Half of the work of the full product; the mean is taken off in double precision before.

    Raises:
        ValueError: As `kernels.centred_states`.
    """
    centred = centred_states(states)
    size = np.abs(centred).max()  # squares of large states would not fit
    products = ssyrk(1.0, (centred / size).astype(np.float32).T, trans=1)
    rows, columns, _ = upper(len(states))
    return np.asarray(products[rows, columns])


def aligned_map(
    rows: Sequence[Packed], columns: Sequence[Packed], examples: int
) -> Float[np.ndarray, "rows columns"]:
    """Unbiased linear alignments of all pairs, from packed products: one product of matrices."""
    stacks = []
    for part in (rows, columns):
        stack = np.empty((len(part), len(part[0])), dtype=np.float32)
        for i, products in enumerate(part):
            stack[i] = unit(products, examples)
        stacks.append(stack)
    return np.asarray(stacks[0] @ stacks[1].T, dtype=np.float64)


def chance_at_most(value: float, examples: int) -> float:
    """Bound of the share of random pairings of examples whose alignment is at least this.

    Over all pairings an unbiased alignment has mean 0 and variance 2 / (n (n − 3)), whatever the
    kernels are; Cantelli's inequality does the rest. One-sided.

    Source:
        Mantel (1967) for the moments, here of kernels whose rows sum to 0.

    Example:
        >>> round(chance_at_most(0.02, 500), 3), chance_at_most(-0.1, 500)
        (0.019, 1.0)
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
