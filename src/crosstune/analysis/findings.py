"""What every analysis gives: sentences first, then tables and figures; and where all are named.

A decorated function can be asked for on the command line and is a section of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from crosstune.registry import Registry
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

Facts = dict[str, Any]
"""One row of a table, by column; what is left out is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Numbers with how to read them.

    Attributes:
        name: Its word on the command line.
        title: For people.
        note: What a row is, units, what is left out.
        rows: A column's name says what it is; null is not known.
    """

    name: str
    title: str
    note: str
    rows: pa.Table

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        note: str,
        *,
        columns: Sequence[str],
        rows: Iterable[Mapping[str, Any]],
    ) -> Table:
        """A table of these columns; what a row leaves out is null."""
        made, rows = {}, [*rows]
        for column in columns:
            values = pa.array([row.get(column) for row in rows])
            made[column] = values.cast(pa.float64()) if values.type == pa.null() else values
        return cls(name, title, note, pa.table(made))


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of one table of an analysis.

    Attributes:
        kind: `dots`: a `value` with its interval for every `name`; `grid`: a `value` at every `row`
            and `column`, coloured around 0; `points`: a `name` at `x` and `y`; `curves`: `y` along
            `x`, a line for every `series`; `tree`: a dendrogram, of a table with one row for each
            leaf (its `name`; `left`, `right` and `height` null), then one for each merge (`name`
            null): `left` and `right` are the numbers of the two rows that it joins, counted from 0
            (so those of scipy's linkage), at `height`.
        table: Name of the table it draws.
        title: For people.
        note: What to see in it, a sentence.
        columns: The table's column for each of these words: those above; `low` and `high` (the
            interval of a value or of `y`), `series` (a colour and a shape), `panel` (a drawing of
            its own for each value), `group` (of dots: a heading for each value). Several columns
            with blanks between are read as one text, joined by dots.
    """

    kind: Literal["dots", "grid", "points", "curves", "tree"]
    table: str
    title: str
    note: str
    columns: Mapping[str, str]


NEEDED: Mapping[str, frozenset[str]] = {
    "dots": frozenset({"name", "value"}),
    "grid": frozenset({"row", "column", "value"}),
    "points": frozenset({"name", "x", "y"}),
    "curves": frozenset({"x", "y", "series"}),
    "tree": frozenset({"name", "left", "right", "height"}),
}
"""Words that a figure's columns must have, by its kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What an analysis found in a study.

    Attributes:
        name: Its word on the command line.
        title: For people.
        sentences: What it says in words, the most useful first; plain text.
        tables: What the words rest on; none when it has nothing to say of this study.
        figures: Drawings of the tables; those of a table that is not there are left out.

    Raises:
        ValueError: A figure lacks a word of its kind, or its table has no such column.
    """

    name: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        there = {table.name: table.rows.column_names for table in self.tables}
        for figure in self.figures:
            lacking = NEEDED[figure.kind] - figure.columns.keys()
            named = " ".join(figure.columns.values()).split()
            lacking |= {*named} - {*there.get(figure.table, named)}
            if lacking:
                told = ", ".join(sorted(lacking))
                raise ValueError(f"figure '{figure.title}' of '{self.name}' lacks: {told}")


ANALYSES: Registry[Callable[[Store, TransferMatrix], Analysis]] = Registry("analysis")
"""Analyses by name; each reads a study's store and its matrix."""


def analyze(
    store: Store | Path | str, name: str, *, matrix: TransferMatrix | None = None
) -> Analysis:
    """What the analysis of that name finds in a stored study.

    Args:
        store: The study's, or its folder.
        name: One of `ANALYSES.names()`.
        matrix: The study's, or a part of it (`TransferMatrix.slice`); read from the store if None.

    Raises:
        InputError: There is no such analysis, no such study, or a file is damaged.
    """
    analysis = ANALYSES[name]
    store = store if isinstance(store, Store) else Store(Path(store))
    return analysis(store, TransferMatrix.of(store) if matrix is None else matrix)


def edited(store: Store) -> frozenset[str]:
    """Names of the sources that are near copies of another one of the study, edited on purpose."""
    study = store.study.get("study")
    sources = study.get("sources", []) if isinstance(study, dict) else []
    return frozenset(
        source["name"] for source in sources if any(is_original(each, source) for each in sources)
    )


def is_original(origin: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    """Whether one source of a study is another one before (some of) its edits.

    Example:
        >>> plain = {"name": "a", "tasks": ["t"]}
        >>> is_original(plain, {"name": "b", "tasks": ["t"], "edits": [{"edit": "balance"}]})
        True
    """
    before, after = ([*(each.get("edits") or [])] for each in (origin, source))
    same = all(
        origin.get(name) == source.get(name) for name in {*origin, *source} - {"name", "edits"}
    )
    return same and len(before) < len(after) and before == after[: len(before)]
