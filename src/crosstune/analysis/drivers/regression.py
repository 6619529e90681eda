"""Gains against traits: ridge with every unit left out in turn, and a mixed model in closed form.

A complete two-way table falls into parts that do not touch: the mean, the units' means, the
others' means and what is left of each pair. So does every trait. All algebra here is by part, and
costs one pass over pairs × traits².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.stats import t as student

PENALTIES = np.append(10.0 ** np.arange(-3.0, 2.1, 0.5), np.inf)
"""Tried penalties, as shares of the traits' own variance; with the last one traits do nothing."""
_ROUNDS, _CLOSE = 500, 1e-10


def filled(
    values: Float[np.ndarray, "units others *traits"], known: Bool[np.ndarray, "units others"]
) -> Float[np.ndarray, "units others *traits"]:
    """What is not known replaced by what the means of its row and column let expect.

    Such a pair has no deviation of its own, so it teaches nothing about pairs. Costs a pass a
    round; the fewer are missing, the fewer rounds.

    Returns:
        The known values as they are, the others from the additive fit of the known ones.

    Source:
        Healy & Westmacott (1956), Missing values in experiments analysed on automatic computers.

    Example:
        >>> known = np.array([[True, True], [True, False]])
        >>> filled(np.array([[1.0, 2.0], [5.0, np.nan]]), known).round(6).tolist()
        [[1.0, 2.0], [5.0, 6.0]]
    """
    if known.all() or not values.size:
        return values
    mask = known.reshape(known.shape + (1,) * (values.ndim - 2))
    found = np.where(mask, values, values[known].mean(axis=0))
    for _ in range(_ROUNDS):
        means = additive(found)
        change = np.abs(means - found)[~known].max()
        found = np.where(mask, values, means)
        if change < _CLOSE * (1 + np.abs(found).max()):
            break
    return found


def additive(
    values: Float[np.ndarray, "units others *traits"],
) -> Float[np.ndarray, "units others *traits"]:
    """Mean of the row + mean of the column − mean of all."""
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    means: np.ndarray = rows + columns - values.mean(axis=(0, 1), keepdims=True)
    return means


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """A ridge regression at the penalty that best predicts each unit from all others.

    Attributes:
        penalty: Of `PENALTIES`.
        weights: From all units.
        saved: Squared error of the units, each predicted by all others, that traits take away.
    """

    penalty: float
    weights: Float[np.ndarray, " traits"]
    saved: float


def ridge_of_means(
    traits: Float[np.ndarray, "units traits"], means: Float[np.ndarray, " units"]
) -> Ridge:
    """Ridge of one centred number a unit on centred traits."""
    errors = np.square(left_out(traits, means[None])).sum(axis=2)[:, 0]
    penalty = float(PENALTIES[errors.argmin()])
    left, sizes, right = np.linalg.svd(traits, full_matrices=False)
    weights = (sizes / (np.square(sizes) + penalty * len(means)) * (left.T @ means)) @ right
    return Ridge(penalty, weights, float(errors[-1] - errors.min()))


def left_out(
    traits: Float[np.ndarray, "units traits"], means: Float[np.ndarray, "draws units"]
) -> Float[np.ndarray, "penalties draws units"]:
    """What ridge regressions of all other units leave of each unit, for every penalty.

    One decomposition serves all: it costs little to ask for many draws.

    Source:
        Golub, Heath & Wahba (1979), Generalized cross-validation, section 1: a left-out residual
        is the residual / (1 − leverage).
    """
    units = len(traits)
    left, sizes, _ = np.linalg.svd(traits, full_matrices=False)
    found = []
    for penalty in PENALTIES:
        kept = np.square(sizes) / (np.square(sizes) + penalty * units)
        leverage = 1 / units + np.square(left) @ kept
        residuals = means - (means @ left * kept) @ left.T
        found.append(residuals / np.maximum(1 - leverage, 1e-9))
    return np.stack(found)


def ridge_of_pairs(
    traits: Float[np.ndarray, "units others traits"], rest: Float[np.ndarray, "units others"]
) -> Ridge:
    """Ridge of what is left of each pair on traits; both have no mean in any row or column.

    Without a unit the columns' means move by its own values, which scales it by n / (n − 1).
    """
    units, others, count = traits.shape
    grow, size = units / (units - 1), units * others
    squares = traits.transpose(0, 2, 1) @ traits
    products = (traits.transpose(0, 2, 1) @ rest[:, :, None])[:, :, 0]
    roots, axes = np.linalg.eigh(squares.sum(axis=0) - grow * squares)
    toward = (products.sum(axis=0) - grow * products)[:, None] @ axes
    shrunk = toward / (np.maximum(roots, 0)[:, None] + PENALTIES[:, None] * size)
    without = shrunk @ axes.transpose(0, 2, 1)  # units × penalties × traits
    told = ((without @ squares - 2 * products[:, None]) * without).sum(axis=(0, 2))
    penalty = float(PENALTIES[told.argmin()])
    weights = np.zeros(count)
    if np.isfinite(penalty):
        whole = squares.sum(axis=0) + penalty * size * np.eye(count)
        weights = np.linalg.solve(whole, products.sum(axis=0))
    return Ridge(penalty, weights, float(-(grow**2) * told.min()))


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A mixed model of a complete table: traits fixed, rows and columns random.

    Attributes:
        intercept: Of the gains, traits as given.
        coefficients: Of the traits.
        errors: Standard errors of these.
        variances: Of rows, columns and pairs (with noise).
        columns: Predicted effect of every column.
    """

    intercept: float
    coefficients: Float[np.ndarray, " traits"]
    errors: Float[np.ndarray, " traits"]
    variances: tuple[float, float, float]
    columns: Float[np.ndarray, " columns"]

    def interval(self, freedom: int) -> Float[np.ndarray, "traits 3"]:
        """Low and high end of the 95 % interval of each coefficient, and p of none."""
        half = student.ppf(0.975, freedom) * self.errors
        p = 2 * student.sf(np.abs(self.coefficients) / np.maximum(self.errors, 1e-300), freedom)
        return np.stack([self.coefficients - half, self.coefficients + half, p], axis=1)


def mixed(
    gains: Float[np.ndarray, "rows columns"], traits: Float[np.ndarray, "rows columns traits"]
) -> Mixed:
    """Restricted maximum likelihood with crossed random rows and columns, no gaps.

    In a complete table the covariance has one value on each part, so the likelihood has two unknown
    ratios whatever the size.

    Raises:
        ValueError: More traits than the table can tell apart.

    Source:
        Searle, Casella & McCulloch (1992), Variance components, sections 4.7 and 6.6.
    """
    rows, columns, count = traits.shape
    known = np.concatenate([traits, gains[:, :, None]], axis=2)
    parts = _parts(known)
    products = np.stack([np.einsum("rck,rcj->kj", part, part) for part in parts])
    freedom = np.array([rows - 1, columns - 1])
    left = rows * columns - 1 - count
    if left < 1 or np.linalg.matrix_rank(products[:, :-1, :-1].sum(axis=0)) < count:
        raise ValueError("more traits than the table can tell apart")

    def solved(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        whole = np.tensordot(np.append(np.exp(-logs), 1.0), products, axes=1)
        found = np.linalg.solve(whole[:-1, :-1], whole[:-1, -1])
        return whole[:-1, :-1], found, float(whole[-1, -1] - whole[:-1, -1] @ found)

    def criterion(logs: np.ndarray) -> float:
        design, _, rest = solved(logs)
        sizes = freedom @ logs + np.linalg.slogdet(design)[1]
        return float(left * np.log(max(rest, 1e-300)) + sizes)

    begin = np.log1p(np.maximum(_ratios(products[:, -1, -1], rows, columns), 1e-2))
    logs = minimize(criterion, begin, method="L-BFGS-B", bounds=[(0, 25)] * 2).x
    design, found, rest = solved(logs)
    noise = rest / left
    sizes = noise * np.expm1(logs) / [columns, rows]
    middle = known.mean(axis=(0, 1))
    effects = (gains - traits @ found).mean(axis=0)
    return Mixed(
        intercept=float(middle[-1] - middle[:-1] @ found),
        coefficients=found,
        errors=np.sqrt(noise * np.diag(np.linalg.inv(design))),
        variances=(float(sizes[0]), float(sizes[1]), float(noise)),
        columns=-np.expm1(-logs[1]) * (effects - effects.mean()),
    )


def _parts(values: Float[np.ndarray, "rows columns traits"]) -> list[np.ndarray]:
    """Means of rows and of columns about the mean, and the rest, each as large as the table."""
    middle = values.mean(axis=(0, 1))
    rows = np.broadcast_to(values.mean(axis=1, keepdims=True) - middle, values.shape)
    columns = np.broadcast_to(values.mean(axis=0, keepdims=True) - middle, values.shape)
    return [rows, columns, values - middle - rows - columns]


def _ratios(squares: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Where to begin: the variances of rows and columns in units of that of pairs."""
    sizes = np.maximum(squares / [rows - 1, columns - 1, (rows - 1) * (columns - 1)], 1e-30)
    ratios: np.ndarray = sizes[:2] / sizes[2] - 1
    return ratios
