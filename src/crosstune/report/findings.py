"""What an analysis found, for people on a terminal and on the page, and in full for files.

People read points and few digits; what a number is, its column's name says, word by word. Files
hold every row and digit. Cost is one pass over the rows that are shown.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from crosstune.analysis.findings import Analysis, Table
from crosstune.analysis.wording import counted
from crosstune.errors import InputError, did_you_mean
from crosstune.registry import Registry

FEW = 100
"""Rows of the first table that a terminal shows unless it is asked for by name."""

_POINTS = frozenset(
    "score base tuned gain low high difference ratio share lowest highest range fell harmed".split()
)
_PROBABILITIES = frozenset("p q".split())
_WIDEST = 60
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


_INTERVAL = frozenset("low high lowest highest".split())
_ROOM = 12
"""Characters that a column of text keeps, however many columns there are."""


class Readable(NamedTuple):
    """A table as people read it: heads, rows of texts, and which columns are numbers."""

    heads: list[str]
    rows: list[list[str]]
    numeric: list[bool]


Unit = Literal["points", "probability", ""]


def units(table: pa.Table) -> dict[str, Unit]:
    """How people read each column: by the words of its name, an interval as what it is about.

    Example:
        >>> units(pa.table({"gain": [0.1], "low": [0.05], "q": [0.01], "n": [2]}))
        {'gain': 'points', 'low': 'points', 'q': 'probability', 'n': ''}
        >>> units(pa.table({"loading": [0.9], "low": [0.8]}))
        {'loading': '', 'low': ''}
    """
    found = {
        name: _unit({*name.split("_")}, column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    ends = {name for name in found if {*name.split("_")} & _INTERVAL}
    about = any(found[name] == "points" for name in found if name not in ends)
    return {name: "" if name in ends and not about else unit for name, unit in found.items()}


def _unit(words: set[str], column: pa.ChunkedArray) -> Unit:
    if not pa.types.is_floating(column.type):
        return ""
    if words & _PROBABILITIES:
        return "probability"
    return "points" if words & _POINTS and not _is_tiny(column.to_pylist()) else ""


def readable(
    table: pa.Table, *, most: int | None = None, unit: Mapping[str, Unit] | None = None
) -> Readable:
    """The first rows of a table in few digits.

    Args:
        table: Any; a column of fractions whose name has a word such as `gain` is shown × 100
            unless nothing would be seen of it so, one whose name has `p` or `q` with 3 decimals.
        most: How many rows; all if None.
        unit: How columns are read, where the table is a part of another.

    Example:
        >>> readable(pa.table({"arm": ["base"], "gain": [-0.0512], "q": [0.0004], "n": [1200]}))[:2]
        (['arm', 'gain ×100', 'q', 'n'], [['base', '−5.1', '< 0.001', '1,200']])
    """
    unit = units(table) if unit is None else unit
    part = table if most is None else table.slice(0, most)
    heads, columns, numeric = [], [], []
    for name, column in zip(part.column_names, part.columns, strict=True):
        heads.append(f"{name} ×100" if unit[name] == "points" else name)
        columns.append([_told(value, unit[name]) for value in column.to_pylist()])
        numeric.append(pa.types.is_floating(column.type) or pa.types.is_integer(column.type))
    return Readable(heads, [list(row) for row in zip(*columns, strict=True)], numeric)


def _is_tiny(values: Sequence[float | None]) -> bool:
    """Whether all that is known would be rounded to 0.0 points."""
    return 0 < max((abs(value) for value in values if value), default=0) < 0.0005


def purposes(analyses: Registry[Any]) -> str:
    """Every analysis by name, with the first line that its function says of itself."""
    told = {}
    for name in analyses.names():
        told[name] = ""
        with suppress(Exception):  # a package that cannot be loaded shows when it is called
            told[name] = (analyses[name].__doc__ or "").partition("\n")[0]
    width = max(map(len, told), default=0)
    return "\n".join(f"{name:{width}}  {purpose}".rstrip() for name, purpose in told.items())


def written(found: Analysis, *, table: str | None, form: Literal["table", "csv", "json"]) -> str:
    """An analysis, or one of its tables in full, as the command line prints it.

    Raises:
        InputError: There is no such table, or CSV is asked for without naming one.
    """
    if table is None and form == "csv":
        names = ", ".join(known.name for known in found.tables) or "there is none for this study"
        raise InputError(f"A CSV file holds one table; choose it with --table: {names}")
    if table is None:
        return _json(_described(found)) if form == "json" else _text(found)
    chosen = _chosen(found, table)
    if form == "csv":
        return _csv(chosen.rows)
    return _json(chosen.rows.to_pylist()) if form == "json" else _table_text(chosen)


def _chosen(found: Analysis, name: str) -> Table:
    known = {table.name: table for table in found.tables}
    if not known:
        raise InputError(f"'{found.name}' has no tables for this study. {found.sentences[0]}")
    if name not in known:
        hint = did_you_mean(name, known) or f" There are: {', '.join(known)}."
        raise InputError(f"'{found.name}' has no table called '{name}' for this study.{hint}")
    return known[name]


def _text(found: Analysis) -> str:
    """Title, sentences as bullets, the first rows of the first table, names of the others."""
    bullets = [_wrapped(sentence, first="- ", then="  ") for sentence in found.sentences]
    parts = ["\n".join([found.title, *bullets])]
    parts += [_table_text(table, most=FEW) for table in found.tables[:1]]
    named = [f"--table {t.name}: {t.title} ({t.rows.num_rows:,})" for t in found.tables[1:]]
    return "\n\n".join([*parts, "\n".join(named)] if named else parts)


def _table_text(table: Table, *, most: int | None = None) -> str:
    same, unit = _same_throughout(table.rows), units(table.rows)
    shown = readable(table.rows.drop_columns(same), most=most, unit=unit)
    lines = [_wrapped(f"{table.title} ({table.name})"), *map(_wrapped, table.note.splitlines())]
    if same:
        one = readable(table.rows.select(same), most=1, unit=unit)
        told = zip(one.heads, one.rows[0], strict=True)
        lines.append(_wrapped(f"In every row: {', '.join(map(' '.join, told))}."))
    lines += _aligned(shown)
    if left := table.rows.num_rows - len(shown.rows):
        lines.append(f"… {counted(left, 'more row')}: --table {table.name} shows all")
    return "\n".join(lines)


def _aligned(shown: Readable) -> Iterator[str]:
    """Heads and rows; where a terminal has no room, texts are cut and a row takes more lines."""
    room = _terminal(otherwise=100_000)
    widths = [max(map(len, column)) for column in zip(shown.heads, *shown.rows, strict=True)]
    texts = [i for i, numeric in enumerate(shown.numeric) if not numeric]
    for i in sorted(texts, key=lambda i: -widths[i]):
        over = sum(widths) + 2 * len(widths) - 2 - room
        widths[i] -= max(0, min(over, widths[i] - _ROOM))
    for row in (shown.heads, *shown.rows):
        line = ""
        for cell, width, numeric in zip(row, widths, shown.numeric, strict=True):
            if line and len(line) + width > room:
                yield line.rstrip()
                line = "    "
            line += f"{_padded(cell, width, right=numeric)}  "
        yield line.rstrip()


def _padded(cell: str, width: int, *, right: bool) -> str:
    return f"{cell:>{width}}" if right else f"{_cut(cell, width):{width}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _terminal(*, otherwise: int) -> int:
    """Its width, where there is one."""
    return shutil.get_terminal_size((otherwise, 24)).columns


def _same_throughout(rows: pa.Table) -> list[str]:
    """Columns that say one thing only, which a line can say; none of them where all do."""
    same = [name for name in rows.column_names if len(rows[name].unique()) == 1]
    return same if rows.num_rows > 1 and len(same) < rows.num_columns else []


def _wrapped(text: str, *, first: str = "", then: str = "") -> str:
    width = min(100, _terminal(otherwise=100))
    return textwrap.fill(_quiet(text), width, initial_indent=first, subsequent_indent=then)


def _told(value: Any, unit: Unit) -> str:
    match value:
        case None:
            return "–"
        case float() if not math.isfinite(value):
            return "–"
        case float() if unit == "probability":
            return "< 0.001" if value < 0.001 else f"{value:.3f}"
        case float() if unit == "points":
            return f"{100 * value:.1f}".replace("-0.0", "0.0").replace("-", "−")
        case float():
            return f"{value:{',.0f' if abs(value) >= 1000 else '.3g'}}".replace("-", "−")
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace("-", "−")
    return _cut(" ".join(_quiet(str(value)).split()), _WIDEST)


def _quiet(text: str) -> str:
    """Without the signs that a terminal obeys: a dataset may hold any."""
    return _CONTROLS.sub(" ", text)


def _csv(rows: pa.Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    return stream.getvalue()


def _json(value: Sequence[Any] | dict[str, Any]) -> str:
    return json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(part) for name, part in value.items()}
        case list():
            return [_finite(part) for part in value]
    return value


def _described(found: Analysis) -> dict[str, Any]:
    tables = [
        {"name": t.name, "title": t.title, "note": t.note, "rows": t.rows.to_pylist()}
        for t in found.tables
    ]
    told = {"name": found.name, "title": found.title, "sentences": list(found.sentences)}
    return told | {"tables": tables}
