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

    Such a pair has no deviation of its own, so it teaches nothing about pairs. Costs a pass a round;
    the fewer are missing the fewer rounds.

    Returns:
        The known values as they are, the others from the additive fit of the known ones.

    Source:
        Healy & Westmacott (1956), Missing values in experiments analysed on automatic computers.

    Example:
        >>> known = np.array([[True, True], [True, False]])
        >>> filled(np.array([[1.0, 2.0], [5.0, np.nan]]), known).round(6).tolist()
        [[1.0, 2.0], [5.0, 6.0]]
    """
    if known.all():
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
class LeftOut:
    """A ridge regression with every unit left out in turn, at the penalty that predicts best so.

    Attributes:
        penalty: Of `PENALTIES`.
        weights: Of all units.
        without: Weights from all other units, a row for every unit.
        residuals: What the others' weights leave of a unit, taken from the others' mean.
    """

    penalty: float
    weights: Float[np.ndarray, " traits"]
    without: Float[np.ndarray, "units traits"]
    residuals: Float[np.ndarray, "units others"]


def ridge_of_means(
    traits: Float[np.ndarray, "units traits"], means: Float[np.ndarray, " units"]
) -> LeftOut:
    """Ridge of one centred number a unit on centred traits; one decomposition for all penalties.

    Source:
        Golub, Heath & Wahba (1979), Generalized cross-validation, section 1 (each unit left out).
    """
    units = len(means)
    left, sizes, right = np.linalg.svd(traits, full_matrices=False)
    kept = sizes / (np.square(sizes) + PENALTIES[:, None] * units)  # penalties × directions
    along = left.T @ means
    leverage = 1 / units + (kept * sizes) @ np.square(left).T
    residuals = (means - (kept * sizes * along) @ left.T) / np.maximum(1 - leverage, 1e-9)
    best = int(np.square(residuals).sum(axis=1).argmin())
    weights = (kept[best] * along) @ right
    without = weights - residuals[best][:, None] * ((kept[best] * left / _safe(sizes)) @ right)
    return LeftOut(float(PENALTIES[best]), weights, without, residuals[best][:, None])


def _safe(sizes: Float[np.ndarray, " directions"]) -> Float[np.ndarray, " directions"]:
    return np.maximum(sizes, 1e-12)


def ridge_of_pairs(
    traits: Float[np.ndarray, "units others traits"], rest: Float[np.ndarray, "units others"]
) -> LeftOut:
    """Ridge of what is left of each pair on traits; both have no mean in any row or column.

    Without a unit the columns' means move by its own values, which scales it by n / (n − 1).
    """
    units, others, _ = traits.shape
    grow = units / (units - 1)
    squares = traits.transpose(0, 2, 1) @ traits
    products = np.einsum("uok,uo->uk", traits, rest)
    roots, axes = np.linalg.eigh(squares.sum(axis=0) - grow * squares)
    toward = np.einsum("ukj,uk->uj", axes, products.sum(axis=0) - grow * products)
    shrunk = toward / (np.maximum(roots, 0) + PENALTIES[:, None, None] * units * others)
    without = np.einsum("ukj,puj->puk", axes, shrunk)
    errors = np.einsum("puk,ukj,puj->p", without, squares, without, optimize=True)
    best = int((errors - 2 * np.einsum("puk,uk->p", without, products)).argmin())
    chosen = without[best]
    residuals = grow * (rest - np.einsum("uok,uk->uo", traits, chosen))
    penalty = float(PENALTIES[best])
    weights = np.zeros(traits.shape[2])
    if np.isfinite(penalty):
        whole = squares.sum(axis=0) + penalty * units * others * np.eye(len(weights))
        weights = np.linalg.solve(whole, products.sum(axis=0))
    return LeftOut(penalty, weights, chosen, residuals)


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
        p = 2 * student.sf(np.abs(self.coefficients) / self.errors, freedom)
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
