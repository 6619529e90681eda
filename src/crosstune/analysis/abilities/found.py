"""The abilities of one table: how many, which, how surely, and what they may be called.

Costs two fits for every draw: 50 × 100 some seconds, 1,000 × 1,000 less than a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from crosstune.analysis.abilities.components import is_constant
from crosstune.analysis.abilities.factors import Rotation, Solution, solution
from crosstune.analysis.abilities.naming import proposal
from crosstune.analysis.abilities.number import Number, number_of_abilities
from crosstune.analysis.abilities.stability import REPLICATES, Stability, stability
from crosstune.analysis.wording import counted, listed

LEAST_ROWS = 8
"""Rows that are needed: each half is to have four."""
LEAST_COLUMNS = 4
KEPT = 0.8
"""Share of the rows, and of the columns, that must be left without those that have gaps."""


class Words(NamedTuple):
    """What a row and a column are called."""

    row: str = "row"
    column: str = "column"


@dataclass(frozen=True, slots=True, eq=False)
class Abilities:
    """What one table shows.

    Attributes:
        table: What was analysed: complete, columns that vary; rows and columns in order of names.
        rows: Their names.
        columns: Likewise.
        families: Of the columns; empty texts where none are known.
        left_out: Rows and columns with gaps, and constant columns, in words.
        refusal: Why the table cannot be asked; empty if it can.
        number: None if it cannot.
        solution: None if there is no ability.
        stability: Likewise.
        correlations: Of the columns with each ability; likewise.
        shares: Of each ability in the variance of the columns; likewise.
        communality: Share of each column's variance that the abilities hold; likewise.
        luck: Share of the noise in the variance of the columns; None if no noise is known.
        names: Proposals, by ability; empty for one that does not replicate or has no family.
    """

    table: Float[np.ndarray, "rows columns"]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    families: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    refusal: str = ""
    number: Number | None = None
    solution: Solution | None = None
    stability: Stability | None = None
    correlations: Float[np.ndarray, "columns abilities"] | None = None
    shares: Float[np.ndarray, " abilities"] | None = None
    communality: Float[np.ndarray, " columns"] | None = None
    luck: float | None = None
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many there are; 0 where nothing can be told."""
        return 0 if self.solution is None else self.solution.loadings.shape[1]


def abilities(
    table: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    families: Sequence[str] = (),
    noise: Float[np.ndarray, "rows columns"] | None = None,
    words: Words = Words(),
    scale: bool = True,
    rotation: Rotation = "varimax",
    seed: int = 0,
) -> Abilities:
    """The abilities of a table, if it has any; the order of rows and columns plays no part.

    Rows and columns with gaps are left out, those with the largest share of gaps first, while four
    in five of each remain; else nothing is said.

    Args:
        table: Rows × columns; what is not finite is not known.
        rows: Names.
        columns: Names.
        families: Of the columns, for proposing names.
        noise: Standard error of each number, without what is common to a column.
        words: What rows and columns are called in a refusal.
        scale: Whether every column counts alike.
        rotation: Of several abilities.
        seed: Of everything that is drawn.
    """
    down = sorted(range(len(rows)), key=rows.__getitem__)
    across = sorted(range(len(columns)), key=columns.__getitem__)
    table = np.where(np.isfinite(table), table, np.nan)[down][:, across]
    luck = None if noise is None else noise[down][:, across]
    kept_rows, kept_columns = complete_part(~np.isnan(table))
    names, tasks = [rows[i] for i in down], [columns[i] for i in across]
    of = [families[i] for i in across] if families else [""] * len(tasks)
    whole = Abilities(table, (*names,), (*tasks,), (*of,))
    if short := _short(whole, words):
        return replace(whole, refusal=short)
    if kept_rows.mean() < KEPT or kept_columns.mean() < KEPT:
        gaps = [f"{names[r]} → {tasks[c]}" for r, c in np.argwhere(np.isnan(table))]
        refusal = f"{counted(len(gaps), 'number')} not known, too many to do without: "
        return replace(whole, refusal=refusal + listed(gaps))
    lines = ((words.row, _left(names, kept_rows)), (words.column, _left(tasks, kept_columns)))
    left_out = [
        f"{counted(len(gone), word)} with gaps ({listed(gone)})" for word, gone in lines if gone
    ]
    flat = kept_columns.copy()
    flat[kept_columns] = is_constant(table[kept_rows][:, kept_columns])
    if same := _left(tasks, ~flat):
        told = f"{counted(len(same), words.column)} with one number for every {words.row}"
        left_out.append(f"{told} ({listed(same)})")
    kept_columns &= ~flat
    found = Abilities(
        table[kept_rows][:, kept_columns],
        tuple(np.array(names, dtype=object)[kept_rows]),
        tuple(np.array(tasks, dtype=object)[kept_columns]),
        tuple(np.array(of, dtype=object)[kept_columns]),
        tuple(left_out),
    )
    if short := _short(found, words):
        return replace(found, refusal=short)
    found = replace(found, number=number_of_abilities(found.table, scale=scale, seed=seed))
    return _solved(
        found,
        None if luck is None else luck[kept_rows][:, kept_columns],
        scale=scale,
        rotation=rotation,
        seed=seed,
    )


def complete_part(
    known: Bool[np.ndarray, "rows columns"],
) -> tuple[Bool[np.ndarray, " rows"], Bool[np.ndarray, " columns"]]:
    """Rows and columns to keep so that no gap is left: the line with most gaps goes first.

    Example:
        >>> rows, columns = complete_part(np.array([[True, False], [True, True], [True, False]]))
        >>> rows.tolist(), columns.tolist()
        ([True, True, True], [True, False])
    """
    rows, columns = (np.ones(size, dtype=np.bool_) for size in known.shape)
    gaps = ~known
    while gaps.any():
        by_row = gaps.sum(axis=1) / max(1, columns.sum())
        by_column = gaps.sum(axis=0) / max(1, rows.sum())
        if by_row.max() > by_column.max():
            rows[by_row.argmax()] = False
        else:
            columns[by_column.argmax()] = False
        gaps[~rows] = gaps[:, ~columns] = False
    return rows, columns


def _left(names: Sequence[str], kept: Bool[np.ndarray, " names"]) -> list[str]:
    return [name for name, its in zip(names, kept, strict=True) if not its]


def _short(found: Abilities, words: Words) -> str:
    rows, columns = len(found.rows), len(found.columns)
    if rows < LEAST_ROWS:
        return f"{counted(rows, words.row)}, at least {LEAST_ROWS} are needed"
    if columns < LEAST_COLUMNS:
        told = counted(columns, words.column)
        return f"{told} that may differ, at least {LEAST_COLUMNS} are needed"
    return ""


def _solved(
    found: Abilities,
    noise: Float[np.ndarray, "rows columns"] | None,
    *,
    scale: bool,
    rotation: Rotation,
    seed: int,
) -> Abilities:
    """With abilities, when there are any."""
    variances = found.table.var(axis=0, ddof=1)
    weights = 1 / variances if scale else np.ones_like(variances)
    whole = float((variances * weights).sum())
    if noise is not None:
        luck = float((np.square(noise).mean(axis=0) * weights).sum() / whole)
        found = replace(found, luck=min(luck, 1.0))
    assert found.number is not None
    number = found.number.abilities
    if number == 0:
        return found
    solved = solution(found.table, number, scale=scale, rotation=rotation)
    sure = stability(found.table, solved, scale=scale, noise=noise, seed=seed)
    structure = solved.loadings @ solved.correlations
    held, spread = structure * solved.loadings, np.sqrt(variances * weights)
    correlations = structure / spread[:, None]
    names = tuple(
        proposal(found.families, correlations[:, i]) if sure.replication[i] >= REPLICATES else ""
        for i in range(number)
    )
    return replace(
        found,
        solution=solved,
        stability=sure,
        correlations=correlations,
        shares=held.sum(axis=0) / whole,
        communality=held.sum(axis=1) / np.square(spread),
        names=names,
    )
