"""What all models answered, reduced to counts: the one pass that the analyses of this room share.

Costs reading every score once; memory is that of one target and, for what is kept, a few hundred
numbers a cell.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr, stdtrit

from crosstune.analysis.findings import Facts
from crosstune.analysis.outcomes.answers import Answered, Given, answered
from crosstune.analysis.outcomes.traits import Trait, flipped_rows, traits
from crosstune.results.matrix import TransferMatrix
from crosstune.results.paired import Paired, paired
from crosstune.results.store import Store
from crosstune.tasks.profile import EDGES

BINS = 15
"""Of confidence, equally wide."""
MOST_ROWS = 20_000
"""Rows whose correctness changed that are kept, over all cells."""

Cell = tuple[str, str]
"""Source and recipe."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Mean over the examples of tuned − base, with its 95 % t interval; of these very models."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How sure a model is of the choices it picks, and how often they are right.

    Attributes:
        bins: For `BINS` equally wide bins of confidence: answers, and sums of their confidence and
            of the right ones.
        brier: Mean of (confidence − right)².
    """

    bins: Float[np.ndarray, "bins 3"]
    brier: float

    @classmethod
    def of(
        cls, confidence: Float[np.ndarray, " answers"], right: Float[np.ndarray, " answers"]
    ) -> Calibration:
        """Of answers and whether they are right (1 or 0)."""
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        columns = (np.ones(len(right)), confidence, right)
        bins = np.stack([np.bincount(place, column, BINS) for column in columns], axis=1)
        return cls(bins, float(np.square(confidence - right).mean()))

    @property
    def error(self) -> float:
        """Expected calibration error over the bins; never 0 by chance alone, more so for few."""
        n, sure, right = self.bins.T
        return float(np.abs(sure - right).sum() / n.sum())

    @property
    def excess(self) -> float:
        """Mean confidence minus share of right answers: above 0 is too sure."""
        n, sure, right = self.bins.sum(axis=0)
        return float((sure - right) / n)


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """The answers of one model, or of the seeds of one pooled.

    Attributes:
        models: How many are pooled.
        score: Mean of the main metric.
        confusion: Truth, answer (−1: none of the classes) and how many, where it is not 0; None
            where there are no classes. Of one model: divide by `models`.
        calibration: None where nothing was ranked.
        lengths: Answers by characters over `EDGES`.
        median: Median length.
        up: Rows that the base has wrong and the tuned model right, summed over models; None
            unless all outcomes are 0 or 1.
        down: The reverse.
        length_error: Standard error of the mean of log(1 + characters) over the examples, seeds
            of an example averaged.
        longer: Mean change of log(1 + characters); None for the base.
        surer: Of confidence − right; None for the base, and where nothing was ranked.
    """

    models: int
    score: float
    confusion: Int[np.ndarray, "entries 3"] | None
    calibration: Calibration | None
    lengths: Int[np.ndarray, " bins"]
    median: float
    length_error: float
    up: int | None = None
    down: int | None = None
    longer: Change | None = None
    surer: Change | None = None

    def given(self, classes: int) -> Float[np.ndarray, " classes"]:
        """Share of the answers that are each of so many classes; less than 1 with some none."""
        assert self.confusion is not None
        _, answer, count = self.confusion.T
        shares: Float[np.ndarray, " classes"] = (
            np.bincount(answer + 1, count, classes + 1)[1:] / count.sum()
        )
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """One target in one condition: the base and every source and recipe, seeds pooled.

    Attributes:
        target: Its name.
        condition: How it was asked.
        classes: As in `Answered`.
        fixed: As in `Answered`.
        examples: How many.
        gold: Share of the examples whose truth is each class; empty without classes.
        references: Their lengths, as `Counts.lengths`.
        median: Median length of a reference.
        base: The bare base's answers.
        tuned: By source and recipe, only what is known.
        shifts: For each number of seeds the cells that have it, and for every class in turn the
            paired change of the share of answers that are it.
        traits: What rows that changed share, over all tuned models.
        flipped: Some of them.
    """

    target: str
    condition: str
    classes: tuple[str, ...]
    fixed: bool
    examples: int
    gold: Float[np.ndarray, " classes"]
    references: Int[np.ndarray, " bins"]
    median: float
    base: Counts
    tuned: Mapping[Cell, Counts]
    shifts: Sequence[tuple[Sequence[Cell], Sequence[Paired]]]
    traits: Sequence[Trait]
    flipped: Sequence[Facts]


_KNOWN: dict[tuple[int, str], tuple[Summary, ...]] = {}


def summaries(store: Store, matrix: TransferMatrix) -> tuple[Summary, ...]:
    """All targets and conditions of a matrix, read once and kept as long as the matrix is.

    Raises:
        InputError: As `answered`.
    """
    key = (id(matrix.scores), str(store.folder))
    if key not in _KNOWN:
        cells = sum(1 for row in matrix.rows if row.main and row.gain is not None)
        most = max(1, MOST_ROWS // max(cells, 1))
        _KNOWN[key] = tuple(summary(each, most=most) for each in answered(store, matrix))
        weakref.finalize(matrix.scores, _KNOWN.pop, key, None)
    return _KNOWN[key]


def summary(found: Answered, *, most: int = MOST_ROWS) -> Summary:
    """Reduce one target in one condition.

    Args:
        found: What all its models answered.
        most: Rows to keep of each model whose correctness changed.
    """
    cells: dict[Cell, list[Given]] = {}
    for (source, recipe, _), given in found.tuned.items():
        cells.setdefault((source, recipe), []).append(given)
    gold = np.zeros(0)
    if found.truth is not None:
        gold = np.bincount(found.truth, minlength=len(found.classes)) / len(found.ids)
    return Summary(
        target=found.target,
        condition=found.condition,
        classes=found.classes,
        fixed=found.fixed,
        examples=len(found.ids),
        gold=gold,
        references=lengths(found.references),
        median=float(np.median(found.references)),
        base=_counts(found, [found.base], base=True),
        tuned={cell: _counts(found, models) for cell, models in cells.items()},
        shifts=_shifts(found, cells),
        traits=traits(found),
        flipped=flipped_rows(found, most=most),
    )


def lengths(characters: Int[np.ndarray, " texts"]) -> Int[np.ndarray, " bins"]:
    """How many texts are of each length: below `EDGES[0]`, between the edges, and from the last.

    Example:
        >>> lengths(np.array([0, 1, 1, 10**9]))[[0, 1, -1]].tolist()
        [1, 2, 1]
    """
    place = np.searchsorted(EDGES, characters, side="right")
    found: Int[np.ndarray, " bins"] = np.bincount(place, minlength=len(EDGES) + 1)
    return found


def change(differences: Float[np.ndarray, "models examples"]) -> Change:
    """Mean difference of these models, the seeds of an example averaged.

    Example:
        >>> found = change(np.array([[0.5, 1.5, 1.0]]))
        >>> found.mean, round(found.low, 3), round(found.p, 3)
        (1.0, -0.242, 0.074)
    """
    each = differences.mean(axis=0)
    n, mean = len(each), float(each.mean())
    error = float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    if error < 1e-12:  # all differ by as much, which says nothing of how they would scatter
        return Change(mean, mean, mean, 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n))
    half = float(stdtrit(max(n - 1, 1), 0.975)) * error
    p = 2 * float(stdtr(max(n - 1, 1), -abs(mean) / error))
    return Change(mean, mean - half, mean + half, p)


def _counts(found: Answered, models: Sequence[Given], *, base: bool = False) -> Counts:
    characters = np.concatenate([given.characters for given in models])
    logs = np.log1p(np.stack([given.characters for given in models]))
    values = np.stack([given.values for given in models])
    confusion = calibration = surer = longer = up = down = None
    if found.truth is not None:
        confusion = _confusion(found, models)
        sure = _sureness(found, models)
        if sure is not None:
            calibration = Calibration.of(sure[0].ravel(), sure[1].ravel())
            before = None if base else _sureness(found, [found.base])
            if before is not None:
                surer = change(sure[0] - sure[1] - (before[0] - before[1]))
    if not base:
        longer = change(logs - np.log1p(found.base.characters))
        if _is_binary(values) and _is_binary(found.base.values):
            up = int((values > found.base.values).sum())
            down = int((values < found.base.values).sum())
    return Counts(
        models=len(models),
        score=float(values.mean()),
        confusion=confusion,
        calibration=calibration,
        lengths=lengths(characters),
        median=float(np.median(characters)),
        length_error=float(logs.mean(axis=0).std() / np.sqrt(logs.shape[1])),
        up=up,
        down=down,
        longer=longer,
        surer=surer,
    )


def _is_binary(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _confusion(found: Answered, models: Sequence[Given]) -> Int[np.ndarray, "entries 3"]:
    """Truth, answer and how many, the seeds pooled."""
    width = len(found.classes) + 1
    assert found.truth is not None
    codes = np.concatenate(
        [found.truth * width + given.answer + 1 for given in models if given.answer is not None]
    )
    entries, counts = np.unique(codes, return_counts=True)
    return np.stack([entries // width, entries % width - 1, counts], axis=1).astype(np.int64)


def _sureness(
    found: Answered, models: Sequence[Given]
) -> tuple[Float[np.ndarray, "models examples"], Float[np.ndarray, "models examples"]] | None:
    """Confidence, and whether the picked choice is right; None where nothing was ranked."""
    sure = [given.confidence for given in models if given.confidence is not None]
    right = [(given.answer == found.truth) * 1.0 for given in models]
    return (np.stack(sure), np.stack(right)) if len(sure) == len(models) else None


def _shifts(
    found: Answered, cells: Mapping[Cell, Sequence[Given]]
) -> list[tuple[Sequence[Cell], Sequence[Paired]]]:
    """How the share of answers that are a class changed, cells of as many seeds together."""
    if found.base.answer is None:
        return []
    shifts: list[tuple[Sequence[Cell], Sequence[Paired]]] = []
    for seeds in sorted({len(models) for models in cells.values()}):
        same = [cell for cell, models in cells.items() if len(models) == seeds]
        answers = np.array([[given.answer for given in cells[cell]] for cell in same])
        shifts.append(
            (
                same,
                [
                    paired((found.base.answer == c) * 1.0, (answers == c) * 1.0)
                    for c in range(len(found.classes))
                ],
            )
        )
    return shifts
