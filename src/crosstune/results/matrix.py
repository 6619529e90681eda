"""The transfer matrix, read from the store alone: cells with what is known of them, and scores.

`cells` (matrix.csv) has one row for every source, target, recipe, condition and metric; its columns
stand in `crosstune.results.cells`. `scores` (scores.csv) has one for every seed of these, with
where it comes from:

    source, source_families     what was tuned on; families joined by '+'
    target, target_family       what was asked
    relation                    of source and target, as in `cells`
    recipe, condition, seed     how it was tuned, how it was asked, which repetition
    scoring                     how answers became scores
    metric, main                name, and whether it is the target's first metric
    n                           test examples
    base, score, gain           means over the examples of the bare base and of the tuned model
    status                      done, missing, or failed
    key, base_key, job_key      names of the two score entries and of the adapter
    tensors_sha256              hash of the weights that answered

An empty field is not known; it never means 0.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crosstune.errors import InputError, MissingExtra, did_you_mean
from crosstune.results.cells import cells as cells_of
from crosstune.results.content import damaged, is_cell
from crosstune.results.grid import Grid
from crosstune.results.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Row:
    """One score and metric; the module says what the columns mean. None is not known."""

    source: str
    source_families: str
    target: str
    target_family: str
    relation: str
    recipe: str
    condition: str
    scoring: str
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


@dataclass(frozen=True, slots=True, repr=False)
class TransferMatrix:
    """Sources × targets, for every recipe, condition and metric; never changed.

    Attributes:
        cells: One row for every cell and metric, in the order of the study; null is not known.
        scores: One row for every seed of these, likewise.
        reasons: Why cells have failed, by row key.
    """

    cells: pa.Table
    scores: pa.Table
    reasons: dict[str, str]

    @classmethod
    def of(
        cls, store: Store | Path | str, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> TransferMatrix:
        """Read what is known. Costs hashing and reading every score of the study.

        Args:
            store: The study's, or its folder.
            rows: The plan's, one for every score; those of plan.json if None.

        Raises:
            InputError: There is no study, it was never planned, or its files do not hold what
                crosstune has written.
        """
        store = store if isinstance(store, Store) else Store(Path(store))
        planned = store.plan() if rows is None else rows
        failures = store.failures()
        cell = cache(partial(_cell, store))
        found: list[Row] = []
        reasons, states, bases = {}, {}, set()
        for plan in planned:
            tuned, base = (cell(plan[key], *plan["metrics"]) for key in ("key", "base_key"))
            known = tuned is not None and base is not None
            if base is not None:
                bases.add(plan["base_key"])
            failed = [failures[key] for key in _blamed(plan, tuned, base) if key in failures]
            if failed:
                reasons[plan["key"]] = failed[0]
            status = "done" if known else "failed" if failed else "missing"
            states[plan["key"]] = status
            found += [
                _row(plan, metric, tuned=tuned, base=base, status=status)
                for metric in plan["metrics"]
            ]
        cells = cells_of(planned, status=states, bases=bases, outcomes=store.outcomes)
        columns = {name: [getattr(row, name) for row in found] for name in _SCORES.names}
        return cls(cells, pa.table(columns, _SCORES), reasons)

    def __repr__(self) -> str:
        """Its size; the tables are long."""
        axes = ("source", "target", "recipe", "condition", "metric")
        counts = (f"{name}: {len(self.cells[name].unique())}" for name in axes)
        return f"TransferMatrix({self.cells.num_rows} cells; {', '.join(counts)})"

    @property
    def rows(self) -> tuple[Row, ...]:
        """The scores one by one."""
        return tuple(Row(**row) for row in self.scores.to_pylist())

    @property
    def is_complete(self) -> bool:
        """Whether every cell is known."""
        return all(status == "done" for status in self.scores["status"].unique().to_pylist())

    def missing(self) -> tuple[str, ...]:
        """The scores that were not made yet, as `source → target (recipe, condition, seed)`."""
        return self._scores("missing")

    def failed(self) -> tuple[str, ...]:
        """The scores that could not be made, named likewise; `reasons` says why."""
        return self._scores("failed")

    def slice(
        self,
        *,
        recipe: str | None = None,
        condition: str | None = None,
        metric: str | None = None,
        source: str | None = None,
        target: str | None = None,
        source_family: str | None = None,
        target_family: str | None = None,
        relation: str | None = None,
    ) -> TransferMatrix:
        """The part of the matrix that has all of these; q-values stay those of the whole.

        Args:
            recipe: Name of a recipe.
            condition: Name of a condition.
            metric: Name of a metric, whether main or not.
            source: Name of a source.
            target: Name of a target.
            source_family: A family of the sources; a mixture may have several.
            target_family: The family of the targets.
            relation: `same task`, `in-domain`, `out-of-domain` or `cross-task`.

        Raises:
            InputError: The matrix holds nothing of that name.
        """
        wanted = {
            "recipe": recipe,
            "condition": condition,
            "metric": metric,
            "source": source,
            "target": target,
            "source_families": source_family,
            "target_family": target_family,
            "relation": relation,
        }
        cells, problems = self.cells, []
        for column, value in wanted.items():
            if value is not None:
                listed = self.cells[column].unique().to_pylist()
                fitting = [name for name in listed if value in _parts(column, name)]
                if not fitting:
                    there = dict.fromkeys(part for name in listed for part in _parts(column, name))
                    hint = did_you_mean(value, there) or f" There are: {', '.join(there)}."
                    problems.append(f"{_SINGULAR.get(column, column)}: no '{value}'.{hint}")
                cells = cells.filter(pc.is_in(cells[column], pa.array(fitting, pa.string())))
        if problems:
            raise InputError("The matrix cannot be sliced", problems)
        kept = set(_names(cells))
        scores = self.scores.filter(
            pa.array([name in kept for name in _names(self.scores)], pa.bool_())
        )
        keys = set(scores["key"].to_pylist())
        reasons = {key: reason for key, reason in self.reasons.items() if key in keys}
        return TransferMatrix(cells, scores, reasons)

    def grid(self, *, metric: str | None = None) -> Grid:
        """One slice as arrays, sources × targets.

        Args:
            metric: Each target's first metric if None.

        Raises:
            InputError: There are several recipes or conditions: slice first.
        """
        if metric is not None:
            return Grid.of(self.slice(metric=metric).cells)
        return Grid.of(self.cells.filter(self.cells["main"]))

    def slices(self) -> dict[tuple[str, str], TransferMatrix]:
        """A matrix for every recipe and condition, by these two names."""
        names = dict.fromkeys(name[:2] for name in _names(self.cells))
        return {(r, c): self.slice(recipe=r, condition=c) for r, c in names}

    def to_csv(self) -> str:
        """The cells as CSV, numbers in full; the same results give the same bytes."""
        return _csv(self.cells)

    def scores_csv(self) -> str:
        """The scores as CSV: every seed of a cell, and where its score comes from."""
        return _csv(self.scores)

    def to_json(self) -> str:
        """The cells as a JSON list of objects; null is not known."""
        return json.dumps(self.cells.to_pylist(), indent=1, allow_nan=False, ensure_ascii=False)

    def to_parquet(self) -> bytes:
        """The cells as the content of a Parquet file."""
        stream = io.BytesIO()
        pq.write_table(self.cells, stream)
        return stream.getvalue()

    def to_pandas(self) -> pd.DataFrame:
        """The cells as a table of pandas.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 (pyarrow needs it, and says so less well)
        except ImportError:
            raise MissingExtra("A table of pandas", "pandas") from None
        return self.cells.to_pandas()

    def table(self) -> str:
        """For a terminal: a line for every target with the base's score and each source's gain.

        One table for every recipe and condition, main metric, mean over seeds, times 100, with
        stars by q; a dash where any seed is not known. Marks say that test rows were trained on, or
        that a model gives one answer only.
        Pairs that a slice leaves out are blank.
        """
        if self.cells.num_rows == 0:
            return "no cells"
        parts = [_told(part.grid()) for part in self.slices().values()]
        return "\n\n".join([*parts, _legend(self)])

    def _scores(self, status: str) -> tuple[str, ...]:
        names = {
            f"{row.source} → {row.target} ({row.recipe}, {row.condition}, seed {row.seed})": None
            for row in self.rows
            if row.status == status
        }
        return tuple(names)


_TYPES = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_SINGULAR = {"source_families": "source_family"}
_SCORES = pa.schema(
    [
        (field.name, _TYPES.get(str(field.type).removesuffix(" | None"), pa.string()))
        for field in fields(Row)
    ]
)
_CELL = ("recipe", "condition", "source", "target", "metric")


def stars(q: float | None) -> str:
    """One star for q below 0.05, two below 0.01, three below 0.001; none when it is not known.

    Example:
        >>> stars(0.004), stars(0.05), stars(None)
        ('**', '', '')
    """
    return "" if q is None else "*" * sum(q < level for level in (0.05, 0.01, 0.001))


def _parts(column: str, name: str) -> list[str]:
    return name.split("+") if column == "source_families" else [name]


def _names(table: pa.Table) -> list[tuple[str, ...]]:
    return list(zip(*(table[name].to_pylist() for name in _CELL), strict=True))


def _csv(table: pa.Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.column_names)
    rows = zip(*table.to_pydict().values(), strict=True)
    writer.writerows(["" if v is None else v for v in row] for row in rows)
    return stream.getvalue()


def _cell(store: Store, key: str, *metrics: str) -> dict[str, Any] | None:
    """The cell.json of a score, when there is one; refuses one that lacks what the matrix needs."""
    found = store.cell(key)
    if found is not None and not is_cell(found, metrics):
        raise damaged(store.outcomes(key).parent)
    return found


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
    same = "source target target_family relation recipe condition scoring seed".split()
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


def _told(grid: Grid) -> str:
    lines = [["target", "metric", "n", "base", *grid.sources]]
    for t, target in enumerate(grid.targets):
        known = grid.base[~np.isnan(grid.base[:, t]), t]
        lines.append(
            [
                target,
                grid.metrics[t],
                str(grid.n[:, t].max() or "–"),
                f"{100 * known[0]:.1f}" if len(known) else "–",
                *(_gain(grid, s, t) for s in range(len(grid.sources))),
            ]
        )
    seeds = int(grid.seeds.max())
    title = f"{grid.recipe} · {grid.condition} · base score and gains × 100" + (
        f", mean of {seeds} seeds" if seeds > 1 else ""
    )
    return "\n".join([title, *_aligned(lines)])


def _gain(grid: Grid, s: int, t: int) -> str:
    if not grid.relation[s, t]:
        return ""  # the slice leaves this pair out
    mark = "!" * bool(grid.leaked[s, t]) + "=" * bool(grid.constant[s, t])
    if not grid.known[s, t]:
        return f"–{mark:<3}"
    return f"{100 * grid.gains[s, t]:+.1f}{stars(float(grid.q[s, t])) + mark:<3}"


def _legend(matrix: TransferMatrix) -> str:
    scope = "this source" if (pc.max(matrix.cells["seeds"]).as_py() or 1) > 1 else "this model"
    lines = [
        f"* q < 0.05  ** q < 0.01  *** q < 0.001, of {scope}"
        + (", not this source (one seed)" if scope == "this model" else "")
    ]
    if (pc.sum(matrix.cells["leaked"]).as_py() or 0) > 0:
        lines.append("! test rows of the target stand in the source's training rows")
    if pc.any(matrix.cells["constant"]).as_py():
        lines.append("= the tuned model gives nearly one answer only")
    return "\n".join(lines)


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
