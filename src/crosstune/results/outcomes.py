"""What one model answered to every example of one cell, as a Parquet file.

Columns: `id` (stable name of the example), `prompt_sha256`, `answer` (raw text, or the chosen
choice), `log_likelihoods` (nats, summed over the scored tokens of a choice, in the order of the
choices; null for what was written), `label` (position of the right choice; null for text),
`references`, one column for every metric (its value for this example, in [0, 1]),
`prompt_tokens`, `answer_tokens`, `truncated` (the context lost its beginning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crosstune.results.content import damaged


@dataclass(frozen=True, slots=True)
class Outcome:
    """One example's row; the module says what the columns mean."""

    id: str
    prompt_sha256: str
    answer: str
    log_likelihoods: tuple[float, ...] | None
    label: int | None
    references: tuple[str, ...]
    metrics: dict[str, float]
    prompt_tokens: int
    answer_tokens: int
    truncated: bool


_TYPES = {
    "id": pa.string(),
    "prompt_sha256": pa.string(),
    "answer": pa.string(),
    "log_likelihoods": pa.list_(pa.float64()),
    "label": pa.int64(),
    "references": pa.list_(pa.string()),
    "prompt_tokens": pa.int64(),
    "answer_tokens": pa.int64(),
    "truncated": pa.bool_(),
}


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the rows of one cell, all with the same metrics."""
    columns = {
        name: pa.array([getattr(outcome, name) for outcome in outcomes], type=type_)
        for name, type_ in _TYPES.items()
    }
    for metric in outcomes[0].metrics:
        columns[metric] = pa.array([o.metrics[metric] for o in outcomes], type=pa.float64())
    pq.write_table(pa.table(columns), path)


def read_outcomes(path: Path) -> list[Outcome]:
    """The rows of one cell, as they were written."""
    rows = pq.read_table(path).to_pylist()
    return [_outcome(row) for row in rows]


def read_answers(path: Path, metrics: Sequence[str]) -> dict[str, list[Any]]:
    """What one cell's statistics need, an example an entry: id, answers, truth and these metrics.

    Raises:
        InputError: The file does not hold what crosstune writes.
    """
    found: dict[str, list[Any]] = answers_table(path, metrics).to_pydict()
    return found


def answers_table(path: Path, metrics: Sequence[str], *more: str) -> pa.Table:
    """The same columns, and `more`, as they lie in the file; a third of the time of `read_answers`.

    Raises:
        InputError: The file does not hold what crosstune writes.
    """
    wanted = {name: _TYPES[name] for name in (*_ANSWERS, *more)}
    wanted |= dict.fromkeys(metrics, pa.float64())
    try:
        stream = pa.BufferReader(path.read_bytes())  # a file of one cell is small
        table = pq.ParquetFile(stream).read([*wanted], use_threads=False).select([*wanted])
    except (pa.ArrowException, KeyError, OSError):
        raise damaged(path.parent) from None
    if table.schema.types != list(wanted.values()) or not _is_sound(table, metrics):
        raise damaged(path.parent)
    return table


_ANSWERS = ("id", "answer", "label", "log_likelihoods", "references")


def _is_sound(table: pa.Table, metrics: Sequence[str]) -> bool:
    """Whether there are examples, of one kind, each with outcomes in [0, 1] and a reference."""
    unlabelled, written = (table[name].null_count for name in ("label", "log_likelihoods"))
    if table.num_rows == 0 or not {unlabelled, written} <= {0, table.num_rows}:
        return False
    if unlabelled > written:
        return False
    least = pc.min(pc.list_value_length(table["references"])).as_py()
    values = np.array([table[metric].to_numpy() for metric in metrics])  # NaN where null
    return bool(least) and bool(((values >= 0) & (values <= 1)).all())


def _outcome(row: dict[str, Any]) -> Outcome:
    known = {name: row.pop(name) for name in _TYPES}
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in known.items()
    }
    return Outcome(**values, metrics=row)
