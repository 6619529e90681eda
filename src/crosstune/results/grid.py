"""One slice of a transfer matrix as arrays, sources × targets, for whoever computes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from crosstune.errors import InputError
from crosstune.results.inference import variance_shares

SHOWN = 10
"""Missing pairs that a message names."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Sources × targets in one recipe and one condition, a metric a target.

    Numbers of pairs that are not known are NaN, and `known` says which those are: call `complete`
    before computing with all of them.

    Attributes:
        recipe: How the sources were tuned.
        condition: How the targets were asked.
        sources: Names, in the order of the study.
        targets: Names, in the order of the study.
        source_families: Of each source; a mixture may have several.
        target_families: Of each target.
        metrics: Of each target.
        known: Whether there is a gain.
        relation: `same task`, `in-domain`, `out-of-domain` or `cross-task`.
        constant: Whether the tuned models give (nearly) one answer only.
        leaked: Test rows whose whole input stands in the source's training rows.
        contained: Test rows with a long field that is contained in a training input.
        n: Test examples; 0 where not known.
        seeds: Tuned models.
        base: Score of the bare base, in [0, 1].
        scores: Mean over the seeds, in [0, 1].
        gains: scores − base.
        low: Lower end of the 95 % interval of the gain.
        high: Upper end.
        p: Of no gain, uncorrected.
        q: Corrected within relation and slice.
        detectable: Smallest gain these examples and seeds could have shown.
        examples_error: Standard error of the gain from the choice of examples.
        seeds_error: Standard error from the choice of seeds; NaN for one seed.
        shared_error: The part of `examples_error` that all cells of a target share.
    """

    recipe: str
    condition: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_families: tuple[tuple[str, ...], ...]
    target_families: tuple[str, ...]
    metrics: tuple[str, ...]
    known: Bool[np.ndarray, "sources targets"]
    relation: np.ndarray
    constant: Bool[np.ndarray, "sources targets"]
    leaked: Int[np.ndarray, "sources targets"]
    contained: Int[np.ndarray, "sources targets"]
    n: Int[np.ndarray, "sources targets"]
    seeds: Int[np.ndarray, "sources targets"]
    base: Float[np.ndarray, "sources targets"]
    scores: Float[np.ndarray, "sources targets"]
    gains: Float[np.ndarray, "sources targets"]
    low: Float[np.ndarray, "sources targets"]
    high: Float[np.ndarray, "sources targets"]
    p: Float[np.ndarray, "sources targets"]
    q: Float[np.ndarray, "sources targets"]
    detectable: Float[np.ndarray, "sources targets"]
    examples_error: Float[np.ndarray, "sources targets"]
    seeds_error: Float[np.ndarray, "sources targets"]
    shared_error: Float[np.ndarray, "sources targets"]

    @classmethod
    def of(cls, cells: pa.Table) -> Grid:
        """The cells of one recipe and condition, one metric a target.

        Raises:
            InputError: There are several recipes, conditions, or metrics of a target, or no cells.
        """
        if cells.num_rows == 0:
            raise InputError("The slice has no cells")
        columns = {name: cells[name].to_pylist() for name in _LABELS}
        several = [
            f"{name}: {', '.join(map(str, found))}"
            for name in ("recipe", "condition")
            if len(found := dict.fromkeys(columns[name])) != 1
        ]
        if several:
            raise InputError("A grid needs one recipe and one condition; slice the matrix", several)
        sources = dict(zip(columns["source"], columns["source_families"], strict=True))
        targets = dict(zip(columns["target"], columns["target_family"], strict=True))
        metrics = dict(zip(columns["target"], columns["metric"], strict=True))
        row = {name: i for i, name in enumerate(sources)}
        column = {name: i for i, name in enumerate(targets)}
        at = (
            np.array([row[name] for name in columns["source"]], dtype=np.int64),
            np.array([column[name] for name in columns["target"]], dtype=np.int64),
        )
        if len({*zip(*at, strict=True)}) < cells.num_rows:
            raise InputError("A grid needs one metric a target; slice the matrix by metric")
        size = (len(row), len(column))
        arrays = {name: _spread(cells[source], at, size) for name, source in _GRIDS}
        return cls(
            recipe=columns["recipe"][0],
            condition=columns["condition"][0],
            sources=tuple(sources),
            targets=tuple(targets),
            source_families=tuple(tuple(families.split("+")) for families in sources.values()),
            target_families=tuple(targets.values()),
            metrics=tuple(metrics[name] for name in targets),
            known=~np.isnan(arrays["gains"]),
            **arrays,
        )

    def complete(self) -> Grid:
        """This grid, when every pair is known.

        Raises:
            InputError: Names the missing pairs.
        """
        gaps = [
            f"{self.sources[s]} → {self.targets[t]}"
            for s, t in zip(*np.nonzero(~self.known), strict=True)
        ]
        if gaps:
            count = "1 gain is" if len(gaps) == 1 else f"{len(gaps)} gains are"
            more = [f"and {len(gaps) - SHOWN} more"] if len(gaps) > SHOWN else []
            left_out = (self.relation[~self.known] == "").any()
            where = f"{count} missing in {self.recipe}, {self.condition}"
            what = where + ("; the slice leaves some out" if left_out else "; run the study again")
            raise InputError(what, gaps[:SHOWN] + more)
        return self

    def variance_shares(self) -> dict[str, float | None]:
        """Shares of source, target, pair, seeds and examples in the variance of the gains.

        Raises:
            InputError: Pairs are missing, or there are fewer than two sources or targets.
        """
        self.complete()
        if min(self.gains.shape) < 2:
            raise InputError("Shares of variance need two sources and two targets")
        return variance_shares(
            self.gains,
            examples_error=self.examples_error,
            seeds_error=self.seeds_error,
            shared_error=self.shared_error,
        )


_LABELS = "recipe condition source source_families target target_family metric".split()
_SAME = (
    "relation constant leaked contained n seeds base low high p q detectable "
    "examples_error seeds_error shared_error"
).split()
_GRIDS = [(name, name) for name in _SAME] + [("scores", "score"), ("gains", "gain")]


def _spread(column: pa.ChunkedArray, at: tuple[Any, Any], size: tuple[int, int]) -> np.ndarray:
    if pa.types.is_floating(column.type):
        grid: np.ndarray = np.full(size, np.nan)
        grid[at] = column.to_numpy()
    elif pa.types.is_integer(column.type):
        grid = np.zeros(size, dtype=np.int64)
        grid[at] = column.fill_null(0).to_numpy()
    elif pa.types.is_boolean(column.type):
        grid = np.zeros(size, dtype=np.bool_)
        grid[at] = column.fill_null(False).to_numpy()
    else:
        grid = np.full(size, "", dtype=object)
        grid[at] = column.to_pylist()
    return grid
