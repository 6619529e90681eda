"""How many abilities a table holds: what chance does not give, and what predicts held-out cells.

Two questions, and the smaller answer counts: parallel analysis asks whether a component is larger
than in tables whose columns have nothing to do with each other, held-out reconstruction whether it
tells anything of cells it has not seen. Costs some hundred decompositions of the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crosstune.analysis.abilities.components import eigenvalues, leading, standardised

MOST = 20
"""Components that are looked at."""
QUANTILE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """How many abilities, and why.

    Attributes:
        shares: Of the first components in the variance of the columns.
        null: The 95th percentile of the shares of tables with permuted columns (Horn's line).
        stepwise: The same once the components before each are taken out; NaN behind the first one
            that is not above it.
        errors: Squared error of held-out cells with 0, 1, … components, that of none being 1.
        parallel: Leading components that are above the stepwise null; no more are looked at than
            one beyond `reconstruction`.
        reconstruction: Components with which held-out cells are told best.
        draws: Permuted tables, for each component that is asked.
    """

    shares: Float[np.ndarray, " components"]
    null: Float[np.ndarray, " components"]
    stepwise: Float[np.ndarray, " components"]
    errors: Float[np.ndarray, " numbers"]
    parallel: int
    reconstruction: int
    draws: int

    @property
    def abilities(self) -> int:
        """The smaller of both numbers."""
        return min(self.parallel, self.reconstruction)


def affordable(work: float, *, least: int, most: int) -> int:
    """Draws for so much work a draw: fewer for large tables, where each says more.

    Args:
        work: Multiplications of one draw.
        least: However large it is.
        most: However small it is.
    """
    return int(np.clip(4e9 / work, least, most))


def decomposed(table: Float[np.ndarray, "rows columns"]) -> float:
    """Multiplications of a decomposition, about."""
    return float(table.size * min(table.shape))


def number_of_abilities(
    table: Float[np.ndarray, "rows columns"], *, scale: bool = True, seed: int = 0
) -> Number:
    """How many components are beyond chance and tell held-out cells, up to 20.

    Args:
        table: Complete; a constant column plays no part.
        scale: Whether every column counts alike.
        seed: Of the permutations and of what is held out.

    Source:
        Horn (1965), with permuted columns as Buja & Eyuboglu (1992): no distribution is assumed.
        A large component takes variance from Horn's null and hides those behind it, so each is
        judged without those before it, as Dobriban & Owen (2019) do; that the rest has lost
        degrees of freedom is corrected for, which is ours. Owen & Perry (2009),
        bi-cross-validation.
    """
    generator = np.random.default_rng([seed, 0])
    ready = standardised(table, scale=scale)
    left, singular, right = np.linalg.svd(ready, full_matrices=False)
    found = np.square(singular[:MOST]) / (len(table) - 1)
    errors = held_out_errors(ready, seed=seed)
    draws = affordable(decomposed(table), least=20, most=500)
    drawn = [eigenvalues(generator.permuted(ready, axis=0))[:MOST] for _ in range(draws)]
    null = np.quantile(drawn, QUANTILE, axis=0, method="higher")
    stepwise, parallel = np.full(len(found), np.nan), 0
    stepwise[0] = null[0]
    while found[parallel] > stepwise[parallel]:
        parallel += 1
        if parallel > errors.argmin() or parallel == min(len(found), *(n - 1 for n in table.shape)):
            break
        rest = ready - (left[:, :parallel] * singular[:parallel]) @ right[:parallel]
        top = [_largest(generator.permuted(rest, axis=0)) for _ in range(draws)]
        stepwise[parallel] = np.quantile(top, QUANTILE, method="higher") * _lost(
            table.shape, parallel
        )
    whole = np.square(ready).sum() / (len(table) - 1)
    shares = (found / whole, null / whole, stepwise / whole)
    return Number(*shares, errors, parallel, int(errors.argmin()), draws)


def _largest(ready: Float[np.ndarray, "rows columns"]) -> float:
    """Variance of the first component."""
    return float(np.square(leading(ready, 1)).sum())


def _lost(shape: tuple[int, ...], number: int) -> float:
    """What taking out components has taken from the variance of the rest."""
    rows, columns = shape
    return (rows - 1) * columns / ((rows - 1 - number) * (columns - number))


def held_out_errors(
    ready: Float[np.ndarray, "rows columns"], *, seed: int = 0
) -> Float[np.ndarray, " numbers"]:
    """Squared error of cells held out, with 0, 1, … components, that of none being 1.

    Rows and columns are halved by chance, and each of the four blocks is told from the others:
    with the opposite block D = U·S·Vᵀ, the two beside it B and C, the block is B·V·S⁻¹·Uᵀ·C.

    Args:
        ready: Standardised; column means are those of the rows not held out.
        seed: Of the halves.

    Source:
        Owen & Perry (2009), Bi-cross-validation of the SVD and the nonnegative matrix
        factorization, section 3 (2 × 2 blocks); centring by the rows that are not held out, and
        the mean over several halvings, are ours.
    """
    generator = np.random.default_rng([seed, 1])
    halvings = affordable(decomposed(ready), least=5, most=25)
    errors = np.zeros(_most(ready) + 1)
    for _ in range(halvings):
        rows, columns = (generator.permutation(size) % 2 == 1 for size in ready.shape)
        for one in (rows, ~rows):
            centred = ready - ready[~one].mean(axis=0)
            for other in (columns, ~columns):
                errors += _told(centred, one, other, most=len(errors) - 1)
    relative: np.ndarray = errors / errors[0]
    return relative


def _most(ready: Float[np.ndarray, "rows columns"]) -> int:
    """Components that the smallest block can have, once centred."""
    rows, columns = ready.shape
    return int(max(0, min(MOST, rows // 2 - 2, columns // 2 - 1)))


def _told(
    ready: Float[np.ndarray, "rows columns"], rows: np.ndarray, columns: np.ndarray, *, most: int
) -> Float[np.ndarray, " numbers"]:
    """Summed squared error of a block, with 0 to `most` components of the opposite one."""
    left, singular, right = np.linalg.svd(ready[~rows][:, ~columns], full_matrices=False)
    beside = ready[rows][:, ~columns] @ right[:most].T
    above = left[:, :most].T @ ready[~rows][:, columns]
    rest = ready[rows][:, columns].copy()
    found = [np.square(rest).sum()]
    for k in range(most):
        if singular[k] > singular[0] * 1e-9:
            rest -= np.outer(beside[:, k], above[k] / singular[k])
        found.append(np.square(rest).sum())
    return np.array(found)
