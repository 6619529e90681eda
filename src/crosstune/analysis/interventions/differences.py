"""Edited minus original on the same examples and seeds, with the inference of the matrix.

Costs reading the main metric of both; memory is that of one target in one condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float

from crosstune.analysis.findings import Facts
from crosstune.analysis.interventions.changes import Intervention, Way
from crosstune.analysis.outcomes.cells import SIGNIFICANT, codes
from crosstune.results.cells import RELATIONS
from crosstune.results.inference import Mixture, inference, moderated_variances, q_values
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.paired import Paired, bonett_price, paired
from crosstune.results.store import Store

SHARED = ("intervention", "source", "edit", "recipe", "condition", "relation")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One target asked of two ways to tune that differ in one thing.

    Attributes:
        change: What differs.
        after: The edited way.
        condition: How the target is asked.
        target: Its name.
        relation: To the source.
        originals: By seed.
        edited: By seed.
    """

    change: Intervention
    after: Way
    condition: str
    target: str
    relation: str
    originals: Mapping[int, Row]
    edited: Mapping[int, Row]

    @property
    def is_known(self) -> bool:
        """Whether both were asked with the same seeds and all scores are there."""
        rows = [*self.originals.values(), *self.edited.values()]
        return {*self.originals} == {*self.edited} and all(row.status == "done" for row in rows)

    def facts(self) -> Facts:
        """What a table says of it beside what is concluded."""
        names = (self.change.source, self.change.change, *reversed(self.after))
        told: Facts = dict(zip(("source", "edit", "recipe", "edited_source"), names, strict=True))
        told |= {"condition": self.condition, "target": self.target, "relation": self.relation}
        told |= {"intervention": f"{self.change.source}: {self.change.change}"}
        for name, rows in (("original_score", self.originals), ("edited_score", self.edited)):
            told[name] = _mean([row.score for row in rows.values()])
        return told


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None


def pairs(
    matrix: TransferMatrix, planned: Sequence[Intervention], *, conditions: Sequence[str]
) -> list[Pair]:
    """Every target and condition of every intervention, nearest relation first.

    Args:
        matrix: The study's, or a slice of it.
        planned: What was changed.
        conditions: In the order of the study.
    """
    models: dict[Way, dict[tuple[str, str], dict[int, Row]]] = {}
    for row in matrix.rows:
        if row.main:
            spots = models.setdefault((row.source, row.recipe), {})
            spots.setdefault((row.condition, row.target), {})[row.seed] = row
    found = []
    for change in planned:
        for before, after in change.ways:
            originals, edited = (models.get(way, {}) for way in (before, after))
            both = [
                Pair(
                    change, after, *spot, _any(edited[spot]).relation, originals[spot], edited[spot]
                )
                for spot in originals.keys() & edited.keys()
            ]
            place = conditions.index
            both.sort(key=lambda p: (place(p.condition), RELATIONS.index(p.relation), p.target))
            found += both
    return found


def _any(rows: Mapping[int, Row]) -> Row:
    return next(iter(rows.values()))


def against_originals(
    originals: Float[np.ndarray, "cells seeds examples"],
    edited: Float[np.ndarray, "cells seeds examples"],
) -> Paired:
    """Sums of models that are compared each with an original of its own, of the same seed.

    Args:
        originals: Outcomes in [0, 1].
        edited: For the same examples and seeds.

    Returns:
        Sums whose `base` is the original's score and whose `gain` is edited − original.

    Example:
        >>> found = against_originals(np.array([[[0.0, 0, 1]]]), np.array([[[1.0, 1, 0]]]))
        >>> int(found.up[0]), int(found.down[0])
        (2, 1)
    """
    if originals.shape[1] == 1 and np.isin([originals, edited], (0, 1)).all():
        each = zip(originals, edited, strict=True)
        return Paired.joined([paired(before[0], after[None]) for before, after in each])
    # All else depends on the differences alone, and half of one lies within outcomes.
    halved = paired(np.full(originals.shape[2], 0.5), 0.5 + (edited - originals) / 2)
    # Where none differs, what the bootstrap adds is of full size already.
    ends = np.where(halved.differing > 0, 2.0, 1.0)
    return replace(
        halved,
        base=originals.mean(axis=(1, 2)),
        gain=2 * halved.gain,
        squares=4 * halved.squares,
        shared=4 * halved.shared,
        seed_variance=4 * halved.seed_variance,
        residual=4 * halved.residual,
        low=ends * halved.low,
        high=ends * halved.high,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """What is known of pairs.

    Attributes:
        rows: A table row for every pair; without numbers where a score is missing.
        sums: Of the pairs that are known; None where none is.
        known: Positions of these.
        by_seed: Their edited − original by seed.
        models: How many originals tell of the seeds.
    """

    rows: list[Facts]
    sums: Paired | None
    known: list[int]
    by_seed: Float[np.ndarray, "known seeds"]
    models: int


def differences(store: Store, found: Sequence[Pair]) -> Differences:
    """Read and compare all pairs; q is corrected within a change, same-task targets apart."""
    spots: dict[tuple[str, str], list[int]] = {}
    for i, pair in enumerate(found):
        if pair.is_known:
            spots.setdefault((pair.target, pair.condition), []).append(i)
    known = [i for members in spots.values() for i in members]
    rows, own = [pair.facts() for pair in found], [found[i] for i in known]
    if len({pair.condition for pair in found}) > 1:
        for row in rows:
            row["intervention"] += f" ({row['condition']})"
    if not known:
        return Differences(rows, None, [], np.empty((0, 0)), 0)
    sums = Paired.joined([_sums(store, [found[i] for i in part]) for part in spots.values()])
    changes = codes([(pair.change.source, pair.change.change) for pair in own])
    # Edits of one original share what its seeds did, so they count as one.
    models = codes([pair.change.source for pair in own])
    spread = codes([(pair.condition, _any(pair.edited).metric) for pair in own])
    concluded = inference(sums, pools=spread, sources=models)
    near = np.array([pair.relation == RELATIONS[0] for pair in own])
    columns = {
        "difference": sums.gain,
        "low": concluded.low,
        "high": concluded.high,
        "p": concluded.p,
        "q": q_values(concluded.p, families=2 * changes + near),
        "detectable_difference": concluded.detectable,
        "seeds": sums.seeds,
        "examples": sums.n,
    }
    for k, i in enumerate(known):
        rows[i] |= {name: values[k].item() for name, values in columns.items()}
    by_seed = [[_gap(pair, seed) for seed in sorted(pair.edited)] for pair in own]
    return Differences(rows, sums, known, np.array(by_seed), int(models.max()) + 1)


def _gap(pair: Pair, seed: int) -> float:
    edited, original = pair.edited[seed].score, pair.originals[seed].score
    assert edited is not None
    assert original is not None
    return edited - original


def _sums(store: Store, members: Sequence[Pair]) -> Paired:
    """Of pairs of one target and condition, all with the same seeds.

    The matrix has found that every known model was asked the examples of the base.
    """
    seeds = sorted(members[0].edited)
    sides = [[pair.originals for pair in members], [pair.edited for pair in members]]
    needed = {rows[s].key: rows[s].metric for side in sides for rows in side for s in seeds}
    read = {
        key: pq.read_table(store.outcomes(key), columns=[metric])[metric].to_numpy()
        for key, metric in needed.items()
    }
    before, after = (
        np.array([[read[rows[s].key] for s in seeds] for rows in side]) for side in sides
    )
    return against_originals(before, after)


def means(known: Differences) -> list[Facts]:
    """A row for every change, way of tuning and asking, and relation."""
    at = {i: k for k, i in enumerate(known.known)}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(known.rows):
        groups.setdefault(tuple(row[name] for name in SHARED), []).append(i)
    told: list[Facts] = []
    for name, members in groups.items():
        there = [known.rows[i] for i in members if i in at]
        told.append(dict(zip(SHARED, name, strict=True)))
        told[-1] |= {"targets": len(members), "known": len(there)}
        if there:
            moved = [each["difference"] for each in there if each["q"] < SIGNIFICANT]
            told[-1] |= {
                "difference": float(np.mean([each["difference"] for each in there])),
                "up": sum(gain > 0 for gain in moved),
                "down": sum(gain < 0 for gain in moved),
                "detectable_difference": float(
                    np.median([each["detectable_difference"] for each in there])
                ),
            }
    if known.sums is not None:
        some = [[at[i] for i in members if i in at] for members in groups.values()]
        ends = mean_intervals(
            known.sums, known.by_seed, groups=[each for each in some if each], models=known.models
        )
        of_known = [row for row in told if row["known"]]
        for each, low, high in zip(of_known, *ends, strict=True):
            each |= {"low": float(low), "high": float(high)}
    return told


def mean_intervals(
    cells: Paired,
    by_seed: Float[np.ndarray, "cells seeds"],
    *,
    groups: Sequence[Sequence[int]],
    models: int,
) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
    """95 % intervals of mean gains over groups of cells that have examples of their own.

    A seed moves all cells of its model, so what counts is how the mean over a group varies with
    it; that variance is moderated over the groups.

    Args:
        cells: Sums.
        by_seed: Each cell's gain by seed.
        groups: Positions of the cells of each mean.
        models: How many models tell of the seeds' variance.

    Returns:
        Lower and upper ends, in [−1, 1].

    Source:
        Bonett & Price (2012) for a cell; Smyth (2004) for the moderated variance.
    """
    centre, error = bonett_price(cells.gain, cells.squares, cells.n, differing=cells.differing)
    seeds = by_seed.shape[1]
    weights = np.zeros((len(groups), len(centre)))
    for row, members in zip(weights, groups, strict=True):
        row[[*members]] = 1 / len(members)
    variance, interaction = np.zeros(len(groups)), np.zeros(len(groups))
    freedom = 1.0
    if seeds > 1:
        own = (weights @ by_seed).var(axis=1, ddof=1)
        moderated, worth = moderated_variances(own, freedom=seeds - 1)
        variance, freedom = moderated / seeds, min(worth, float(models * (seeds - 1)))
        interaction = np.square(weights) @ (cells.residual / (cells.seeds * cells.n))
    return Mixture.of(
        weights @ centre,
        np.square(weights) @ np.square(error),
        seeds=variance,
        freedom=np.full(len(groups), freedom),
        interaction=interaction,
    ).interval()
