"""What a matrix says in sentences: what stands out, and what a reader must be warned of.

Texts are plain: whoever puts them on a page escapes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Literal

from crosstune.analysis.wording import counted, points, probability
from crosstune.results.cells import CONSTANT, OTHERS
from crosstune.results.matrix import TransferMatrix

SIGNIFICANT = 0.05
"""A gain is called significant when its q is smaller."""

_NAMED = 12
_LEAKS = {
    "leaked": "Test rows of {target} that stand whole in the training rows of {source}",
    "contained": "Test rows of {target} with a field of 8 words or more that is part of a "
    "training input of {source}",
}

Cell = Mapping[str, Any]
"""A row of `TransferMatrix.cells`."""


def headlines(rows: Sequence[Cell]) -> list[str]:
    """Up to five sentences about the main metrics, strongest gains beyond the same task first."""
    known = [row for row in rows if row["main"] and row["gain"] is not None]
    if not known:
        return ["No cell is known yet."]
    ways = distinct_ways(rows)
    away = [row for row in known if row["relation"] != "same task"]
    best = sorted(significant(away, "up"), key=lambda row: -row["gain"])[:2]
    told = [_caveated(row, ways=ways) for row in best]
    states = [row["status"] for row in rows if row["main"]]
    if len(known) < len(states):
        done = f"{len(known):,} of {counted(len(states), 'cell')} known"
        told.insert(0, f"Not complete: {done}; q and stars may change with the others.")
    if away and not best:
        told.append("No gain beyond the same task is significant (q < 0.05).")
    return told + _same_task(known) + _cross_task(away) + _detectable(known)


def warnings(matrix: TransferMatrix) -> dict[str, list[str]]:
    """Sentences by what they warn of, worst first; kinds with nothing to say are left out."""
    rows = [row for row in matrix.cells.to_pylist() if row["main"]]
    ways = distinct_ways(rows)
    fallen = sorted(significant(rows, "down"), key=lambda row: row["gain"])
    constant = [row for row in rows if row["constant"] and not significant([row], "down")]
    constant.sort(key=lambda row: row["gain"])
    kinds = {
        "Scores that fell": [_caveated(row, ways=ways) for row in fallen],
        "Answers of nearly one class": _one_class_bases(rows, ways=ways)
        + [_one_class(row, ways=ways) for row in constant],
        "Test rows seen in training": _leaks(rows, ways=ways),
        "Cells that failed": _undone(matrix, "failed"),
        "Cells that are missing": _undone(matrix, "missing"),
    }
    return {kind: told for kind, told in kinds.items() if told}


def shares(matrix: TransferMatrix) -> list[str]:
    """Where the variance of the gains comes from, a line for every recipe and condition."""
    told = []
    for names, part in matrix.slices().items():
        grid = part.grid()
        if not grid.known.all():
            text = "not known, as cells are"
        elif min(grid.gains.shape) < 2:
            text = "not known, as it needs two sources and two targets"
        else:
            found = grid.variance_shares().items()
            text = ", ".join(f"{name} {_percent(share)}" for name, share in found)
        told.append(f"{', '.join(names)}: {text}")
    return told


def distinct_ways(rows: Sequence[Cell]) -> frozenset[str]:
    """Which of `recipe` and `condition` differ between rows, so that sentences must name them."""
    axes = ("recipe", "condition")
    return frozenset(axis for axis in axes if len({row[axis] for row in rows}) > 1)


def significant(rows: Iterable[Cell], way: Literal["up", "down"]) -> list[Cell]:
    """The rows whose gain is known to be above or below 0."""
    sign = 1 if way == "up" else -1
    return [
        row
        for row in rows
        if row["gain"] is not None
        and row["q"] is not None
        and row["q"] < SIGNIFICANT
        and sign * row["gain"] > 0
    ]


def change(row: Cell, *, ways: Collection[str] = ()) -> str:
    """What tuning did to a score, without the full stop.

    Args:
        row: Its base, score and gain are known.
        ways: What is named beside source and target: `recipe`, `condition`.
    """
    verb = "raised" if row["gain"] > 0 else "lowered"
    return (
        f"Tuning on {_source(row, ways)} {verb} {_target(row, ways)} "
        f"from {100 * row['base']:.1f} to {100 * row['score']:.1f}: "
        f"{points(row['gain'])} points ({_certainty(row)})"
    )


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.0f} %"


def _certainty(row: Cell) -> str:
    told = []
    if row["low"] is not None and row["high"] is not None:
        told.append(f"95 % interval {points(row['low'])} to {points(row['high'])}")
    told.append("q unknown" if row["q"] is None else f"q {probability(row['q'])}")
    if row["seeds"] > 1:
        told.append(f"{row['seeds']} seeds")
    return ", ".join(told)


def _source(row: Cell, ways: Collection[str]) -> str:
    return f"{row['source']} ({row['recipe']})" if "recipe" in ways else str(row["source"])


def _target(row: Cell, ways: Collection[str]) -> str:
    return f"{row['target']} ({row['condition']})" if "condition" in ways else str(row["target"])


def _same_task(known: Sequence[Cell]) -> list[str]:
    home = [row for row in known if row["relation"] == "same task"]
    if not home:
        return []
    middle = points(median(row["gain"] for row in home))
    where = "in the one known cell" if len(home) == 1 else f"in the median of {len(home):,} cells"
    rose, fell = len(significant(home, "up")), len(significant(home, "down"))
    told = (
        f"On the same task, tuning changed the score by {middle} points {where}; "
        f"{rose:,} rose and {fell:,} fell significantly."
    )
    return [told]


def _cross_task(away: Sequence[Cell]) -> list[str]:
    others = [row for row in away if row["relation"] == "cross-task"]
    if not others:
        return []
    rose, fell = len(significant(others, "up")), len(significant(others, "down"))
    told = (
        f"Of {counted(len(others), 'known cross-task cell')}, "
        f"{rose:,} rose and {fell:,} fell significantly (q < 0.05)."
    )
    return [told]


def _detectable(known: Sequence[Cell]) -> list[str]:
    found = [row["detectable"] for row in known if row["detectable"] is not None]
    if not found:
        return []
    told = (
        f"In the median cell, a true gain of {100 * median(found):.1f} points would be found four "
        "times in five, were it the only cell; smaller gains may go unseen."
    )
    return [told]


def _caveated(row: Cell, *, ways: Collection[str]) -> str:
    """What tuning did to a score, and what else than learning may have done it."""
    told = change(row, ways=ways)
    if row["constant"]:
        told += f"; {_one_answer(row)}"
    elif few := _few_answers(row):
        told += f"; nearly all its answers are {few}"
    for column, what in (("leaked", "whole"), ("contained", "in part")):
        if _leak(row, column):
            told += f"; test rows seen in training, {what}: {row[column]:,} of {row['n']:,}"
    return f"{told}."


def _few_answers(row: Cell) -> str:
    """The texts that a tuned model repeats where the base does not; empty when it does not."""
    tuned, base = _counts(row["answers"]), _counts(row["base_answers"])
    if OTHERS not in base or 2 * base[OTHERS] < sum(base.values()):
        return ""
    if 10 * tuned.get(OTHERS, 0) > sum(tuned.values()):
        return ""
    named = [name for name in tuned if name != OTHERS]
    return ", ".join(f"'{_shortened(name, 80)}' ({_share(tuned, name)})" for name in named)


def _one_class_bases(rows: Sequence[Cell], *, ways: Collection[str]) -> list[str]:
    told: dict[str, None] = {}
    for row in rows:
        counts = _counts(row["base_answers"])
        name = max(counts, key=counts.__getitem__, default=OTHERS)
        if name != OTHERS and counts[name] >= CONSTANT * sum(counts.values()):
            share = f"'{_shortened(name, 80)}' in {_share(counts, name)} of the rows"
            asked = f"The base, asked {_target(row, ways)}, gives nearly one answer only, {share}"
            truth = _counts(row["truth"])
            told[f"{asked} (the truth in {_share(truth, name)})." if truth else f"{asked}."] = None
    return [*told]


def _one_class(row: Cell, *, ways: Collection[str]) -> str:
    return f"Tuned on {_source(row, ways)}, asked {_target(row, ways)}: {_one_answer(row)}."


def _one_answer(row: Cell) -> str:
    """Seeds may end at classes that differ, so that the commonest is far from all of the rows."""
    who = "the tuned model gives" if row["seeds"] == 1 else "each tuned model gives"
    share = _largest_class(row)
    return f"{who} nearly one answer only" + (f", {share}" if share else "")


def _largest_class(row: Cell) -> str:
    """The commonest answer and its share of the rows; empty when answers are not known."""
    counts = _counts(row["answers"])
    if not counts:
        return ""
    name = max(counts, key=counts.__getitem__)
    others = {"the base": _counts(row["base_answers"]), "the truth": _counts(row["truth"])}
    shares = [f"{who} in {_share(told, name)}" for who, told in others.items() if told]
    told = f"'{_shortened(name, 80)}' in {_share(counts, name)} of the rows"
    return f"{told} ({', '.join(shares)})" if shares else told


def _counts(text: str | None) -> dict[str, int]:
    return {} if text is None else json.loads(text)


def _share(counts: Mapping[str, int], name: str) -> str:
    """Rounded down, so that 100 % means every row."""
    return f"{math.floor(100 * counts.get(name, 0) / sum(counts.values()))} %"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _leaks(rows: Sequence[Cell], *, ways: Collection[str]) -> list[str]:
    """Whole rows before parts of rows, the most first."""
    return [
        form.format(source=_source(row, ways), target=_target(row, ways))
        + f": {row[column]:,}"
        + (f" of {row['n']:,}." if row["n"] else ".")
        for column, form in _LEAKS.items()
        for row in sorted(rows, key=lambda row: -(row[column] or 0))
        if _leak(row, column)
    ]


def _leak(row: Cell, column: str) -> bool:
    """Whether a count of leakage says something; parts of rows that leak whole do not."""
    return bool(row[column]) and (column == "leaked" or row[column] > (row["leaked"] or 0))


def _undone(matrix: TransferMatrix, status: Literal["failed", "missing"]) -> list[str]:
    """A sentence for every tuned model, condition and reason, with the targets it is about."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in matrix.rows:
        if row.main and row.status == status:
            model = f"{row.source} ({row.recipe}, {row.condition}, seed {row.seed})"
            reason = _shortened(" ".join(matrix.reasons.get(row.key, "").split()), 600)
            groups.setdefault((model, reason), []).append(row.target)
    verb = "failed" if status == "failed" else "not made yet"
    return [
        f"{model}: {counted(len(targets), 'cell')} {verb}: {_listed(targets)}."
        + (f" Reason: {reason}" if reason else "")
        for (model, reason), targets in groups.items()
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
