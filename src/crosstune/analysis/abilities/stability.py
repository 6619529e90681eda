"""How surely loadings are known: intervals by resampling, and halves against each other.

Costs a fit for every draw, in the time of a decomposition of the table's smaller side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crosstune.analysis.abilities.components import standardised
from crosstune.analysis.abilities.factors import ROUNDS, Solution, fitted
from crosstune.analysis.abilities.number import affordable, decomposed

LEVEL = 0.95
REPLICATES = 0.85
"""From this congruence on loadings are fairly similar (Lorenzo-Seva & ten Berge 2006)."""
_HALVINGS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """What other rows, or other examples and seeds, would have given.

    Attributes:
        low: Lower end of the 95 % interval of each loading over rows: other sources, with other
            examples and seeds.
        high: Upper end.
        same_low: For these very rows, asked other examples and tuned with other seeds; NaN where no
            such error is known.
        same_high: Upper end.
        congruence: Median over random halves of the rows, by ability.
    """

    low: Float[np.ndarray, "columns abilities"]
    high: Float[np.ndarray, "columns abilities"]
    same_low: Float[np.ndarray, "columns abilities"]
    same_high: Float[np.ndarray, "columns abilities"]
    congruence: Float[np.ndarray, " abilities"]

    @property
    def replication(self) -> Float[np.ndarray, " abilities"]:
        """Congruence to expect between this table and another of as many rows.

        Source:
            Spearman (1910), Brown (1910): loadings of twice the rows have half the error.
        """
        halves = np.maximum(self.congruence, 0.0)
        whole: np.ndarray = 2 * halves / (1 + halves)
        return whole


def stability(
    table: Float[np.ndarray, "rows columns"],
    found: Solution,
    *,
    scale: bool = True,
    noise: Float[np.ndarray, "rows columns"] | None = None,
    seed: int = 0,
) -> Stability:
    """Bootstrap intervals and split-half congruence of abilities.

    A resampled row brings the luck of its own examples and seeds with it, so drawing rows holds all
    three; noise is added only where the rows stay.

    Args:
        table: The one that was solved.
        found: Its abilities.
        scale: As it was solved.
        noise: Standard error of each cell from examples and seeds, without what is common to a
            column, which centring takes out.
        seed: Of all draws.

    Source:
        Timmerman, Kiers & Smilde (2007): percentiles of the bootstrap after Procrustes rotation;
        Tucker (1951), congruence.
    """
    generator = np.random.default_rng([seed, 2])
    rows, columns = table.shape
    if found.why_components:
        draws = affordable(decomposed(table), least=60, most=500)
    else:
        draws = affordable(float(ROUNDS * columns**3), least=60, most=200)

    def fit(resample: Float[np.ndarray, "_ columns"]) -> Float[np.ndarray, "columns abilities"]:
        return fitted(standardised(resample, scale=scale), found)

    over = [fit(table[generator.integers(0, rows, rows)]) for _ in range(draws)]
    low, high = _ends(np.stack(over))
    same_low = same_high = np.full_like(low, np.nan)
    if noise is not None:
        noisy = (table + noise * generator.standard_normal(table.shape) for _ in range(draws))
        drawn = np.stack([fit(each) for each in noisy])
        # Noise on top of noise makes loadings smaller: only how far they scatter is taken.
        same_low, same_high = _ends(drawn - np.median(drawn, axis=0) + found.loadings)
    halves = []
    for _ in range(min(draws, _HALVINGS)):
        half = generator.permutation(rows) % 2 == 1
        halves.append(congruence(fit(table[half]), fit(table[~half])))
    return Stability(low, high, same_low, same_high, np.median(halves, axis=0))


def congruence(
    first: Float[np.ndarray, "columns abilities"], second: Float[np.ndarray, "columns abilities"]
) -> Float[np.ndarray, " abilities"]:
    """Tucker's φ of each ability: the cosine of its loadings; 0 where one has none.

    Example:
        >>> one, other = np.array([[1.0], [1.0]]), np.array([[2.0], [2.0]])
        >>> congruence(one, other).round(3).tolist(), congruence(one, -other).round(3).tolist()
        ([1.0], [-1.0])
    """
    products = (first * second).sum(axis=0)
    norms = np.sqrt(np.square(first).sum(axis=0) * np.square(second).sum(axis=0))
    phi: np.ndarray = products / np.where(norms > 0, norms, 1.0)
    return phi


def _ends(
    drawn: Float[np.ndarray, "draws columns abilities"],
) -> tuple[Float[np.ndarray, "columns abilities"], Float[np.ndarray, "columns abilities"]]:
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return low, high
