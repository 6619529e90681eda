"""What one model answered to every example of one cell, as a Parquet file.

Columns: `id` (stable name of the example), `prompt_sha256`, `answer` (raw text, or the chosen
choice), `log_likelihoods` (nats, summed over a choice's tokens, in the order of the choices; null
for text), `label` (position of the right choice; null for text), `references`, one column for
every metric (its value for this example, in [0, 1]), `prompt_tokens`, `answer_tokens`,
`truncated` (the context lost its beginning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


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


def _outcome(row: dict[str, Any]) -> Outcome:
    known = {name: row.pop(name) for name in _TYPES}
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in known.items()
    }
    return Outcome(**values, metrics=row)
