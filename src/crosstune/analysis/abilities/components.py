"""Principal components of a table, rows × columns, by singular value decomposition.

A row is a tuned model (or any model), a column a task. Costs one decomposition, of the smaller
side: 1,000 × 1,000 takes some 0.4 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

_ROUNDING = 1e-12
"""A spread below this, against the largest number of its column, is rounding."""

_LARGE = 200
"""Sides from which on a few components are found faster by iteration."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Components, the largest first; signs so that the cubes of the loadings sum to more than 0.

    Attributes:
        eigenvalues: Variance of each component over the rows (divisor: rows − 1).
        shares: Their share in the variance of all columns.
        loadings: Weight times √eigenvalue: of scaled columns the correlation of column and
            component, otherwise in the units of the table.
        scores: Of unit variance; table ≈ scores · loadingsᵀ once standardised alike.
        constant: Columns that are the same in all rows: they have no loading.
    """

    eigenvalues: Float[np.ndarray, " components"]
    shares: Float[np.ndarray, " components"]
    loadings: Float[np.ndarray, "columns components"]
    scores: Float[np.ndarray, "rows components"]
    constant: Bool[np.ndarray, " columns"]


def components(
    table: Float[np.ndarray, "rows columns"], *, centre: bool = True, scale: bool = True
) -> Components:
    """All principal components that have a variance.

    Args:
        table: Complete.
        centre: Take out each column's mean.
        scale: Divide each column by its standard deviation, so that every column counts alike.

    Raises:
        ValueError: Fewer than two rows, numbers that are not known, or no column varies.

    Source:
        Jolliffe (2002), Principal component analysis, sections 2.3 and 3.5.

    Example:
        >>> found = components(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]))
        >>> found.shares.round(6).tolist(), found.loadings.round(6).tolist()
        ([1.0], [[1.0], [1.0]])
    """
    if len(table) < 2 or not np.isfinite(table).all():
        raise ValueError("components need two rows and no gap")
    constant = is_constant(table)
    if constant.all():
        raise ValueError("no column varies")
    ready = standardised(table, centre=centre, scale=scale)
    left, singular, right = np.linalg.svd(ready, full_matrices=False)
    some = singular > singular[0] * _ROUNDING * max(table.shape)
    variances = np.square(singular[some]) / (len(table) - 1)
    loadings = right[some].T * np.sqrt(variances)
    signs = upright(loadings)
    return Components(
        variances,
        variances / variances.sum(),
        loadings * signs,
        left[:, some] * signs * np.sqrt(len(table) - 1),
        constant,
    )


def is_constant(table: Float[np.ndarray, "rows columns"]) -> Bool[np.ndarray, " columns"]:
    """Columns that are the same in all rows, but for rounding."""
    same: np.ndarray = np.ptp(table, axis=0) <= _ROUNDING * np.abs(table).max(axis=0)
    return same


def standardised(
    table: Float[np.ndarray, "rows columns"], *, centre: bool = True, scale: bool = True
) -> Float[np.ndarray, "rows columns"]:
    """The columns centred and scaled (divisor: rows − 1); constant ones become 0 by either."""
    mean = table.mean(axis=0)
    ready: np.ndarray = table - mean if centre else table.copy()
    if scale:
        spread = np.sqrt(np.square(table - mean).sum(axis=0) / (len(table) - 1))
        ready /= np.where(spread > 0, spread, 1.0)
    if centre or scale:
        ready[:, is_constant(table)] = 0.0
    return ready


def upright(loadings: Float[np.ndarray, "columns components"]) -> Float[np.ndarray, " components"]:
    """Signs that make the cubes of each component's loadings sum to more than 0."""
    signs: np.ndarray = np.where((loadings**3).sum(axis=0) < 0, -1.0, 1.0)
    return signs


def eigenvalues(ready: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " components"]:
    """Variances of all components of a standardised table, the largest first."""
    side = ready if len(ready) < ready.shape[1] else ready.T
    found = np.linalg.eigvalsh(side @ side.T)[::-1] / (len(ready) - 1)
    kept: np.ndarray = np.maximum(found, 0.0)
    return kept


def leading(
    ready: Float[np.ndarray, "rows columns"], number: int
) -> Float[np.ndarray, "columns number"]:
    """Loadings of the first components of a standardised table; faster than all of them."""
    rows, columns = ready.shape
    side = ready if rows < columns else ready.T
    last, gram = len(side) - 1, side @ side.T
    if last < _LARGE or number > last // 10:
        values, vectors = eigh(gram, subset_by_index=[last - number + 1, last])
    else:
        values, vectors = eigsh(gram, number, v0=np.random.default_rng(0).random(last + 1))
    vectors = vectors[:, ::-1]
    found = ready.T @ vectors if rows < columns else vectors * np.sqrt(np.maximum(values, 0))[::-1]
    loadings: np.ndarray = found / np.sqrt(rows - 1)
    return loadings
