"""Which classes tuned models answer, against the base, the truth and what their source teaches.

Costs the room's one pass over all scores. A class's share is tested like a score: paired on the
same examples, the seeds' variance moderated, corrected within relation, recipe and condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.outcomes.cells import (
    MOST_ROWS,
    SIGNIFICANT,
    Known,
    Name,
    codes,
    corrected,
    known,
    name_of,
    named,
    names,
    taught,
    told,
    varied,
    variety,
    with_q,
)
from crosstune.analysis.outcomes.summaries import BINS, Counts, Summary, summaries
from crosstune.analysis.wording import counted, listed, percent, points
from crosstune.results.cells import CONSTANT
from crosstune.results.inference import inference
from crosstune.results.matrix import TransferMatrix
from crosstune.results.paired import Paired
from crosstune.results.store import Store

TITLE = "Which classes are answered"
PANELS, MOST_CLASSES = 6, 10
"""Cells that are drawn, and the most classes of one that is."""
NONE = "(none of them)"
_NAMED = 3

_CLASSES = (
    "source recipe target condition class gold_share source_share taught base_share tuned_share "
    "difference low high p q"
).split()
_PRECISION = (
    "source recipe target condition class base_precision tuned_precision base_recall tuned_recall"
).split()
_ENTRIES = (
    "source recipe target condition truth answer base_share tuned_share difference cell"
).split()
_CALIBRATION = (
    "source recipe target condition answers base_excess_share tuned_excess_share difference low "
    "high p q base_calibration_error_share tuned_calibration_error_share base_brier_score "
    "tuned_brier_score"
).split()


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """How the share of answers that are one class changed in one cell.

    Attributes:
        cell: Source, recipe, target and condition.
        position: Of the class among the target's.
        label: Its name.
        gold: Share of the examples whose truth it is.
        base: Share of the base's answers.
        tuned: Of the tuned models', mean over seeds.
        low: Lower end of the 95 % interval of tuned − base.
        high: Upper end.
        p: Of no change.
        q: Corrected over all classes and cells of one relation, recipe and condition.
    """

    cell: Name
    position: int
    label: str
    gold: float
    base: float
    tuned: float
    low: float
    high: float
    p: float
    q: float

    @property
    def difference(self) -> float:
        """Tuned minus base."""
        return self.tuned - self.base

    @property
    def sure(self) -> bool:
        """Whether the change is beyond chance."""
        return self.q < SIGNIFICANT

    def facts(self) -> Facts:
        """What a table says of it."""
        return {
            "gold_share": self.gold,
            "base_share": self.base,
            "tuned_share": self.tuned,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "q": self.q,
        }

    @property
    def collapsed(self) -> bool:
        """Whether tuning made it (nearly) the only answer, where neither base nor truth is so."""
        rest = max(self.base, self.gold)
        return self.sure and self.tuned >= CONSTANT > rest and self.difference > 0


def shifts(found: Sequence[Summary], cells: Mapping[Name, Known]) -> dict[Name, list[Shift]]:
    """How the answers of every cell moved between the classes, an entry a class.

    Args:
        found: The targets; those without classes have no shifts.
        cells: Their relations.
    """
    spots: list[tuple[Summary, Name, int]] = []
    parts: list[Paired] = []
    for each in found:
        for members, by_class in each.shifts:
            for c, part in enumerate(by_class):
                spots += [(each, (*cell, each.target, each.condition), c) for cell in members]
                parts.append(part)
    if not spots:
        return {}
    joined = Paired.joined(parts)
    where = [name for _, name, _ in spots]
    results = inference(
        joined,
        pools=codes([(name[1], name[3]) for name in where]),
        sources=codes([name[0] for name in where]),
    )
    q = corrected(results.p, where, cells)
    columns = (joined.base, joined.base + joined.gain, results.low, results.high, results.p, q)
    shifted: dict[Name, list[Shift]] = {}
    values = zip(*(column.tolist() for column in columns), strict=True)
    for (each, name, c), numbers in zip(spots, values, strict=True):
        shift = Shift(name, c, each.classes[c], float(each.gold[c]), *numbers)
        shifted.setdefault(name, []).append(shift)
    return shifted


def dense(counts: Counts, classes: int) -> Float[np.ndarray, "classes answers"]:
    """Shares of all answers by truth and answer; the last column is none of the classes.

    Example:
        Of four answers one is wrong, and one is no class.

        >>> rows = np.array([[0, 0, 2], [0, 1, 1], [1, -1, 1]])
        >>> pooled = Counts(1, 0.5, rows, None, np.zeros(1, int), 1.0, 0.0)
        >>> dense(pooled, 2).tolist()
        [[0.5, 0.25, 0.0], [0.0, 0.0, 0.25]]
    """
    assert counts.confusion is not None
    shares = np.zeros((classes, classes + 1))
    truth, answer, count = counts.confusion.T
    shares[truth, answer] = count  # −1, none of them, is the last one
    whole: Float[np.ndarray, "classes answers"] = shares / count.sum()
    return whole


def precision_recall(
    shares: Float[np.ndarray, "classes answers"],
) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, " classes"]]:
    """Of every class: share of its answers that are right, share of its truths that are answered.

    Returns:
        Precision, NaN where a class is never answered, and recall, NaN where it is never true.
    """
    right = np.diagonal(shares)
    with np.errstate(invalid="ignore"):
        return right / shares[:, :-1].sum(axis=0), right / shares.sum(axis=1)


@ANALYSES.add("confusion")
def confusion(store: Store, matrix: TransferMatrix) -> Analysis:
    """What tuned models answer on choice targets, how it moved, and how sure they are of it.

    Raises:
        InputError: A file is damaged.
    """
    found = [each for each in summaries(store, matrix) if each.classes]
    cells = known(matrix)
    shifted = shifts(found, cells)
    if not shifted:
        return Analysis("confusion", TITLE, ("No choice target is known yet.",), ())
    many, sure = variety(found), _calibrations(found, cells)
    order = sorted(shifted, key=lambda name: _moved(shifted[name]), reverse=True)
    by_target = {(each.target, each.condition): each for each in found}
    drawn: dict[str, Name] = {}  # the cell of every target that moved most
    for name in order:
        if len(shifted[name]) <= MOST_CLASSES and _moved(shifted[name])[0]:
            drawn.setdefault(name[2], name)
    few = [*drawn.values()][:PANELS]
    tables = [
        *_classes(order, shifted, by_target, labels=taught(store)),
        _table("confusion", "Truth by answer", order, by_target, many=many),
        _table("largest", "Where answers moved most", few, by_target, many=many),
        Table.of(
            "calibration", "How sure, how often right", _SURE, columns=_CALIBRATION, rows=sure
        ),
    ]
    figure = Figure(
        kind="grid",
        table="largest",
        title="Where answers moved most, a cell of each target",
        note="Truth down, answer across: share of all answers, tuned minus base. A full column "
        "means that one answer was given whatever is true.",
        columns={"row": "truth", "column": "answer", "value": "difference", "panel": "cell"},
    )
    sentences = (*_told_shifts(shifted, many), *_told_sureness(sure, many))
    kept = tuple(table for table in tables if table.rows.num_rows)
    return Analysis("confusion", TITLE, sentences, kept, (figure,) if drawn else ())


def _moved(shifts: Sequence[Shift]) -> tuple[float, float]:
    """How many answers moved between classes: where it is beyond chance, and at all."""
    moved = sum(abs(shift.difference) for shift in shifts) / 2
    return (moved if any(shift.sure for shift in shifts) else 0.0), moved


_NOTE = (
    "A row: one class in one cell, the seeds pooled; the cells whose answers moved most come "
    "first. An answer is the likeliest choice, also where the score is of acc_norm"
)
_SURE = (
    "excess: mean confidence (softmax over a row's choices) minus share of right answers; above 0 "
    "is too sure. difference, 95 % t interval, p and q: of the excess, paired over the examples, "
    "of these very models (their seeds are not counted as chance). calibration_error: over "
    f"{BINS} equally wide bins of confidence; above 0 by chance, more so with few answers. brier: "
    "mean of (confidence − right)²."
)


def _classes(
    order: Sequence[Name],
    shifted: Mapping[Name, Sequence[Shift]],
    found: Mapping[tuple[str, str], Summary],
    *,
    labels: Mapping[tuple[str, str], Mapping[str, float | None]],
) -> tuple[Table, Table]:
    rows: list[Facts] = []
    for name in order:
        if len(rows) + len(shifted[name]) > MOST_ROWS:
            break
        each = found[name[2:]]
        shares = [dense(counts, len(each.classes)) for counts in (each.base, each.tuned[name[:2]])]
        measured = np.array([precision_recall(part) for part in shares]).transpose(2, 0, 1)
        for shift, part in zip(shifted[name], measured.tolist(), strict=True):
            (base_precision, base_recall), (tuned_precision, tuned_recall) = part
            shares_taught = labels.get(name[:2], {})
            rows.append(
                {
                    **named(name),
                    **shift.facts(),
                    "class": shift.label,
                    "source_share": shares_taught.get(shift.label),
                    "taught": shift.label in shares_taught,
                    "base_precision": _real(base_precision),
                    "tuned_precision": _real(tuned_precision),
                    "base_recall": _real(base_recall),
                    "tuned_recall": _real(tuned_recall),
                }
            )
    left = sum(map(len, shifted.values())) - len(rows)
    note = (
        f"{_NOTE}{_left(left)}. Shares of answers; gold: of the truth; source: of what the source "
        "teaches, where it has a class of that name. difference: tuned − base with its 95 % "
        "interval, paired on the same examples; q is corrected within relation, recipe and "
        "condition."
    )
    dashes = "A dash for precision: never answered; for recall: never true."
    return (
        Table.of("classes", "Classes, answered and true", note, columns=_CLASSES, rows=rows),
        Table.of(
            "precision",
            "Precision and recall",
            f"{_NOTE}. {dashes}",
            columns=_PRECISION,
            rows=rows,
        ),
    )


def _left(rows: int) -> str:
    return f"; {rows:,} rows of those that moved least are left out" if rows else ""


def _real(value: float) -> float | None:
    return None if np.isnan(value) else value


def _table(
    name: str,
    title: str,
    order: Sequence[Name],
    found: Mapping[tuple[str, str], Summary],
    *,
    many: Mapping[str, int],
) -> Table:
    """Truth by answer of these cells, as far as they fit."""
    rows: list[Facts] = []
    left = 0
    for cell in order:
        entries = [*_entries(cell, found[cell[2:]], many)]
        if left or len(rows) + len(entries) > MOST_ROWS:
            left += len(entries)
        else:
            rows += entries
    note = (
        "Shares of all answers of a cell, the seeds pooled; those of one truth sum to its share. "
        f"The cells whose answers moved most come first{_left(left)}."
    )
    return Table.of(name, title, note, columns=_ENTRIES, rows=rows)


def _entries(cell: Name, found: Summary, many: Mapping[str, int]) -> Iterator[Facts]:
    """Truth by answer of one cell; with many classes only what was answered."""
    size = len(found.classes)
    base, tuned = (dense(counts, size) for counts in (found.base, found.tuned[cell[:2]]))
    either = base + tuned > 0
    either[:, :size] |= size <= MOST_CLASSES
    for truth, answer in np.argwhere(either).tolist():
        yield {
            **named(cell),
            "truth": found.classes[truth],
            "answer": found.classes[answer] if answer < size else NONE,
            "base_share": float(base[truth, answer]),
            "tuned_share": float(tuned[truth, answer]),
            "difference": float(tuned[truth, answer] - base[truth, answer]),
            "cell": told(cell, many),
        }


def _calibrations(found: Sequence[Summary], cells: Mapping[Name, Known]) -> list[Facts]:
    """Cells whose choices were ranked, those first that became too sure the most."""
    rows: list[Facts] = []
    for each, name in names(found):
        counts, before = each.tuned[name[:2]], each.base.calibration
        if counts.calibration is None or counts.surer is None or before is None:
            continue
        rows.append(
            {
                **named(name),
                "answers": counts.models * each.examples,
                "base_excess_share": before.excess,
                "tuned_excess_share": counts.calibration.excess,
                "difference": counts.surer.mean,
                "low": counts.surer.low,
                "high": counts.surer.high,
                "p": counts.surer.p,
                "base_calibration_error_share": before.error,
                "tuned_calibration_error_share": counts.calibration.error,
                "base_brier_score": before.brier,
                "tuned_brier_score": counts.calibration.brier,
            }
        )
    return sorted(with_q(rows, cells), key=lambda row: -row["difference"])


def _told_shifts(shifted: Mapping[Name, Sequence[Shift]], many: Mapping[str, int]) -> Iterator[str]:
    """Cells that came to give one answer, then how many moved and which the most."""
    each = [shift for found in shifted.values() for shift in found]
    collapsed = sorted(
        (shift for shift in each if shift.collapsed), key=lambda s: (-s.difference, s.cell)
    )
    if collapsed:
        by_source = listed([*dict.fromkeys(shift.cell[0] for shift in collapsed)], 4)
        where = listed(
            [
                f"{told(s.cell, many)} '{s.label}' {_span(s)}"
                for s in varied(collapsed, lambda s: s.cell)[:_NAMED]
            ]
        )
        constant = {s.cell for s in each if s.base >= CONSTANT}
        already = sum(shift.cell in constant for shift in collapsed)
        yield (
            f"{counted(len(collapsed), 'cell')} of {len(shifted):,} came to give one answer only "
            f"(at least {percent(CONSTANT)} of them"
            + (f"; in {already:,} the base gave only another" if already else "")
            + f"; tuned on {by_source}), the largest change first: {where}. A score there tells of "
            "the class, not of a skill."
        )
    moved = [name for name, found in shifted.items() if any(shift.sure for shift in found)]
    if not moved:
        yield (
            f"In none of {counted(len(shifted), 'cell')} did the shares of the answered classes "
            "change beyond chance."
        )
        return
    gone = {shift.cell for shift in collapsed}
    others = [shift for shift in each if shift.sure and shift.cell not in gone]
    others.sort(key=lambda s: (-abs(s.difference), s.cell, s.position))
    largest = varied(others, lambda s: s.cell)[:_NAMED]
    text = (
        f"{len(moved):,} of {counted(len(shifted), 'cell')} answer some class more or less often "
        "than the base does (q < 0.05)"
    )
    if largest:
        spans = [
            f"{told(s.cell, many)} '{s.label}' {_span(s)} (truth {percent(s.gold)}; change "
            f"{points(s.low)} to {points(s.high)})"
            for s in largest
        ]
        text += f"; the largest {'others' if gone else 'changes'}: {listed(spans)}"
    yield f"{text}."


def _span(shift: Shift) -> str:
    return f"{percent(shift.base)} → {percent(shift.tuned)}"


def _told_sureness(rows: Sequence[Facts], many: Mapping[str, int]) -> Iterator[str]:
    """Cells that became too sure, or more modest, beyond chance."""
    sure = [row for row in rows if row["q"] < SIGNIFICANT]
    sides: tuple[tuple[str, list[Facts]], ...] = (
        ("Confidence outgrew accuracy", [r for r in sure if r["difference"] > 0]),
        ("Confidence fell against accuracy", [r for r in reversed(sure) if r["difference"] < 0]),
    )
    for head, members in sides:
        if members:
            spans = [_excess(row, many) for row in varied(members, name_of)[:_NAMED]]
            yield (
                f"{head} in {len(members):,} of {counted(len(rows), 'cell')} (of these models); "
                f"confidence minus accuracy: {listed(spans)}."
            )


def _excess(row: Mapping[str, Any], many: Mapping[str, int]) -> str:
    return (
        f"{told(name_of(row), many)} {points(row['base_excess_share'])} → "
        f"{points(row['tuned_excess_share'])}"
    )
