"""Tables whose abilities are known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def planted(
    rows: int,
    columns: int,
    number: int,
    *,
    noise: float = 0.6,
    general: float = 0.0,
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "columns number"]]:
    """A table and its true loadings: each column belongs to one ability, and a little to others.

    Args:
        rows: Models.
        columns: Tasks.
        number: Abilities that are told apart.
        noise: Standard deviation beside loadings of .6 to 1.
        general: Loading of all columns on one more ability.
        generator: Of everything that is drawn.
    """
    loadings = np.zeros((columns, number))
    loadings[np.arange(columns), np.arange(columns) % number] = 1.0
    loadings *= generator.uniform(0.6, 1.0, (columns, 1))
    loadings += 0.1 * generator.standard_normal(loadings.shape)
    table = generator.standard_normal((rows, number)) @ loadings.T
    table += noise * generator.standard_normal(table.shape)
    table += general * generator.standard_normal((rows, 1))
    return table, loadings


def pure_noise(
    rows: int, columns: int, *, kind: str, generator: np.random.Generator
) -> Float[np.ndarray, "rows columns"]:
    """A table without abilities: `equal` or `unequal` variances, `shared` effects of columns."""
    table: np.ndarray = generator.standard_normal((rows, columns))
    if kind == "unequal":
        table = table * np.exp(1.0 * generator.standard_normal(columns))
    if kind == "shared":
        table = table + 5 * generator.standard_normal(columns)
    return table
