"""Abilities of a given number: by factor analysis where that can be done, else by components.

Factor analysis and rotations are statsmodels', imported when needed as it takes seconds. A fit
iterates over decompositions of columns × columns: 100 columns take some 30 ms.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from crosstune.analysis.abilities.components import leading, standardised, upright

Rotation = Literal["none", "varimax", "promax", "oblimin"]
WIDEST = 100
"""Columns up to which factors are fitted: resampling more of them would take hours."""
ROUNDS = 50
"""Iterations of a fit to a resample; a fit to the table itself has ten times as many."""
_SAME = 1e-3
"""Communalities that still move by this have not converged."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Abilities, the one with the largest loadings first, signs as those of components.

    Attributes:
        loadings: What one standard deviation of an ability does to each column; if rotated
            obliquely, with the others held (pattern).
        scores: Of the rows, in standard deviations (of factors: regression estimates, which vary
            less).
        correlations: Of the abilities; the identity unless rotated obliquely.
        unrotated: The loadings before rotation.
        transform: loadings = unrotated · transform.
        why_components: Why it is no factor analysis; empty where it is.
    """

    loadings: Float[np.ndarray, "columns abilities"]
    scores: Float[np.ndarray, "rows abilities"]
    correlations: Float[np.ndarray, "abilities abilities"]
    unrotated: Float[np.ndarray, "columns abilities"]
    transform: Float[np.ndarray, "abilities abilities"]
    why_components: str


def rotated(
    loadings: Float[np.ndarray, "columns abilities"], rotation: Rotation
) -> tuple[Float[np.ndarray, "columns abilities"], Float[np.ndarray, "abilities abilities"]]:
    """Loadings rotated towards a simple structure, without Kaiser's normalisation.

    Returns:
        The rotated loadings, the largest first and upright, and T with
        rotated = loadings · (Tᵀ)⁻¹; the rotated abilities correlate as TᵀT.

    Source:
        Kaiser (1958), varimax; Hendrickson & White (1964), promax (power 2); Jennrich & Sampson
        (1966), direct oblimin with γ = 0 (quartimin); as statsmodels computes them.
    """
    turn = np.eye(loadings.shape[1])
    if rotation != "none" and loadings.shape[1] > 1:
        from statsmodels.multivariate.factor_rotation import promax, rotate_factors

        by = "quartimin" if rotation == "oblimin" else rotation
        _, turn = promax(loadings) if by == "promax" else rotate_factors(loadings, by)
    found = loadings @ np.linalg.inv(turn).T
    order = np.argsort(-np.square(found).sum(axis=0), kind="stable")
    signs = upright(found[:, order])
    return found[:, order] * signs, turn[:, order] * signs


def solution(
    table: Float[np.ndarray, "rows columns"],
    number: int,
    *,
    scale: bool = True,
    rotation: Rotation = "varimax",
) -> Solution:
    """So many abilities of a complete table whose columns all vary.

    Factors are fitted to the correlations of the columns when there are more rows than columns.
    Where they cannot be, or a communality reaches 1 (a Heywood case), components take their place.

    Args:
        table: Rows × columns; centred here.
        number: Of abilities, at least 1.
        scale: Every column counts alike; factors need it.
        rotation: Promax and oblimin let abilities correlate.
    """
    ready = standardised(table, scale=scale)
    unrotated, why = None, _why_not(table, number, scale=scale)
    if not why:
        unrotated, why = factors(_correlations(ready), number)
    if unrotated is None:
        unrotated = leading(ready, number)
    loadings, turn = rotated(unrotated, rotation)
    correlations = turn.T @ turn
    if why:
        # Components: what reproduces the table best is (ready · unrotated / eigenvalue) · turn.
        weights = unrotated / np.square(unrotated).sum(axis=0) @ turn
    else:
        weights = np.linalg.lstsq(_correlations(ready), loadings @ correlations, rcond=None)[0]
    transform = np.linalg.inv(turn).T
    return Solution(loadings, ready @ weights, correlations, unrotated, transform, why)


def factors(
    correlations: Float[np.ndarray, "columns columns"], number: int
) -> tuple[Float[np.ndarray, "columns abilities"] | None, str]:
    """Unrotated loadings of factors, or why there are none.

    Source:
        Harman (1976), Modern factor analysis, chapter 8; Heywood (1931).
    """
    from statsmodels.multivariate.factor import Factor
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, EstimationWarning

    model = Factor(None, number, corr=correlations, method="pa", smc=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ConvergenceWarning, EstimationWarning, RuntimeWarning))
        try:
            fit = model.fit(maxiter=10 * ROUNDS)
            half = model.fit(maxiter=5 * ROUNDS).communality
        except np.linalg.LinAlgError:
            return None, "the correlations of the columns are singular"
    if not np.abs(fit.communality - half).max() < _SAME:
        return None, "factor analysis does not converge"
    if fit.communality.max() > 1 - _SAME:
        return None, "factor analysis gives a column a communality of 1 (a Heywood case)"
    return fit.loadings, ""


def fitted(
    ready: Float[np.ndarray, "rows columns"], like: Solution
) -> Float[np.ndarray, "columns abilities"]:
    """Loadings of a standardised resample, fitted and turned to be like those of the table.

    Source:
        Timmerman, Kiers & Smilde (2007): resampled loadings are compared after a Procrustes
        rotation, since signs and order of abilities are arbitrary.
    """
    number = like.unrotated.shape[1]
    if like.why_components:
        found = leading(ready, number)
    else:
        from statsmodels.multivariate.factor import Factor

        correlations = _correlations(ready)
        np.fill_diagonal(correlations, 1.0)
        model = Factor(None, number, corr=correlations, method="pa", smc=False)
        found = model.fit(maxiter=ROUNDS, tol=1e-3).loadings
        found = np.pad(found, ((0, 0), (0, number - found.shape[1])))
    left, _, right = np.linalg.svd(found.T @ like.unrotated)
    turned: np.ndarray = found @ (left @ right) @ like.transform
    return turned


def _correlations(
    ready: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "columns columns"]:
    found: np.ndarray = ready.T @ ready / (len(ready) - 1)
    return found


def _why_not(table: Float[np.ndarray, "rows columns"], number: int, *, scale: bool) -> str:
    rows, columns = table.shape
    if rows <= columns:
        return f"{rows:,} rows are not more than {columns:,} columns"
    if not scale:
        return "columns are not scaled, and factors are of correlations"
    if columns > WIDEST:
        return f"there are more than {WIDEST} columns"
    if (columns - number) ** 2 < columns + number:
        return f"{columns} columns do not determine {number} factors"
    return ""
