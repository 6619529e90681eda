"""The transfer matrix in long form: one row for every cell and metric, read from the store alone.

Columns of `matrix.csv` (an empty field is not known; it never means 0):

    source, source_families     what was tuned on; families joined by '+'
    target, target_family       what was asked
    recipe, condition, seed     how it was tuned, how it was asked, which repetition
    metric, main                name, and whether it is the target's first metric
    n                           test examples
    base, score                 means over the examples of the bare base and of the tuned model
    gain                        score − base: same examples, same condition
    status                      done, missing, or failed
    key, base_key, job_key      names of the two score entries and of the adapter
    tensors_sha256              hash of the weights that answered
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from crosstune.results.store import Store


@dataclass(frozen=True, slots=True)
class Row:
    """One cell and metric; the module says what the columns mean. None is not known."""

    source: str
    source_families: str
    target: str
    target_family: str
    recipe: str
    condition: str
    seed: int
    metric: str
    main: bool
    n: int | None
    base: float | None
    score: float | None
    gain: float | None
    status: Literal["done", "missing", "failed"]
    key: str
    base_key: str
    job_key: str
    tensors_sha256: str | None


@dataclass(frozen=True, slots=True)
class TransferMatrix:
    """Sources × targets, for every recipe, condition and seed.

    Attributes:
        rows: In the order of the study.
        reasons: Why cells have failed, by row key.
    """

    rows: tuple[Row, ...]
    reasons: dict[str, str]

    @classmethod
    def of(
        cls, store: Store | Path, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> TransferMatrix:
        """Read what is known. Costs hashing every score of the study.

        Args:
            store: The study's.
            rows: The plan's, one for every cell; those of plan.json if None.

        Raises:
            InputError: There is no study, or it was never planned.
        """
        store = store if isinstance(store, Store) else Store(store)
        planned = store.plan() if rows is None else rows
        failures = store.failures()
        cell = cache(store.cell)
        found, reasons = [], {}
        for plan in planned:
            tuned, base = cell(plan["key"]), cell(plan["base_key"])
            known = tuned is not None and base is not None
            failed = [failures[key] for key in _blamed(plan, tuned, base) if key in failures]
            if failed:
                reasons[plan["key"]] = failed[0]
            status = "done" if known else "failed" if failed else "missing"
            found += [
                _row(plan, metric, tuned=tuned, base=base, status=status)
                for metric in plan["metrics"]
            ]
        return cls(tuple(found), reasons)

    @property
    def is_complete(self) -> bool:
        """Whether every cell is known."""
        return all(row.status == "done" for row in self.rows)

    def missing(self) -> tuple[str, ...]:
        """The cells that were not made yet, as `source → target (recipe, condition, seed)`."""
        return self._cells("missing")

    def failed(self) -> tuple[str, ...]:
        """The cells that could not be made, named likewise; `reasons` says why."""
        return self._cells("failed")

    def to_csv(self) -> str:
        """The rows as CSV, numbers in full; the same results give the same bytes."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(["" if v is None else v for v in astuple(row)] for row in self.rows)
        return stream.getvalue()

    def to_json(self) -> str:
        """The rows as a JSON list of objects; null is not known."""
        return json.dumps([asdict(row) for row in self.rows], indent=1, allow_nan=False)

    def to_parquet(self) -> bytes:
        """The rows as the content of a Parquet file."""
        import pyarrow as pa  # takes longer than all else this module does
        import pyarrow.parquet as pq

        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in self.rows]), stream)
        return stream.getvalue()

    def table(self) -> str:
        """For a terminal: a line for every target with the base's score and each source's gain.

        One table for every recipe and condition, main metric, mean over seeds, times 100; a
        dash where any seed is not known.
        """
        recipes = dict.fromkeys(row.recipe for row in self.rows)
        conditions = dict.fromkeys(row.condition for row in self.rows)
        return "\n\n".join(self._slice(*names) for names in product(recipes, conditions))

    def _cells(self, status: str) -> tuple[str, ...]:
        names = {
            f"{row.source} → {row.target} ({row.recipe}, {row.condition}, seed {row.seed})": None
            for row in self.rows
            if row.status == status
        }
        return tuple(names)

    def _slice(self, recipe: str, condition: str) -> str:
        rows = [r for r in self.rows if r.main and (r.recipe, r.condition) == (recipe, condition)]
        sources = list(dict.fromkeys(row.source for row in rows))
        seeds = len({row.seed for row in rows})
        lines = [["target", "metric", "n", "base", *sources]]
        for target in dict.fromkeys(row.target for row in rows):
            here = [row for row in rows if row.target == target]
            gains = [_mean([r.gain for r in here if r.source == s], "+.1f") for s in sources]
            n = next((str(row.n) for row in here if row.n is not None), "–")
            lines.append([target, here[0].metric, n, _mean([here[0].base], ".1f"), *gains])
        title = f"{recipe} · {condition} · base score and gains × 100" + (
            f", mean of {seeds} seeds" if seeds > 1 else ""
        )
        return "\n".join([title, *_aligned(lines)])


def _blamed(
    plan: Mapping[str, Any], tuned: dict[str, Any] | None, base: dict[str, Any] | None
) -> list[str]:
    """Keys whose failure explains what is missing in a row."""
    blamed = [plan["key"], plan["job_key"]] if tuned is None else []
    return blamed + ([plan["base_key"], plan["base_job_key"]] if base is None else [])


def _row(
    plan: Mapping[str, Any],
    metric: str,
    *,
    tuned: dict[str, Any] | None,
    base: dict[str, Any] | None,
    status: Any,
) -> Row:
    score = None if tuned is None else tuned["metrics"][metric]
    before = None if base is None else base["metrics"][metric]
    same = ("source", "target", "target_family", "recipe", "condition", "seed")
    return Row(
        **{name: plan[name] for name in same},
        source_families="+".join(plan["source_families"]),
        metric=metric,
        main=metric == plan["metrics"][0],
        n=(tuned or base or {}).get("n"),
        base=before,
        score=score,
        gain=None if score is None or before is None else score - before,
        status=status,
        key=plan["key"],
        base_key=plan["base_key"],
        job_key=plan["job_key"],
        tensors_sha256=None if tuned is None else tuned["proof"]["tensors_sha256"],
    )


def _mean(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(100 * fmean(known), form) if known and len(known) == len(values) else "–"


def _aligned(lines: list[list[str]]) -> list[str]:
    """Columns of equal width, the first two to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
