"""Rows whose correctness changed by tuning: how many, which, and what they share.

Costs the room's one pass over all scores. Whether a cell changed at all is the matrix's test; what
flipped rows share is tested within the rows that could flip (see `traits`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.outcomes.answers import answered
from crosstune.analysis.outcomes.cells import (
    MOST_ROWS,
    SIGNIFICANT,
    known,
    name_of,
    named,
    names,
    told,
    varied,
    variety,
)
from crosstune.analysis.outcomes.summaries import Summary, summaries
from crosstune.analysis.outcomes.traits import CONFIDENCE, DOWN, TRAITS, Trait, flipped_rows
from crosstune.analysis.wording import counted, listed, percent, points, probability
from crosstune.results.inference import q_values
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

TITLE = "Rows whose correctness changed"
BUSY = 0.2
"""Share of rows that change sides from which on a score that hardly moves hides something."""
_NAMED = 3

_CELLS = (
    "source recipe target condition relation answers wrong_to_right right_to_wrong flipped_share "
    "base_score gain p q"
).split()
_ROWS = (
    "target condition source recipe example change flipped_with_seeds seeds truth "
    "base_answer answer"
).split()
_TRAITS = (
    "target condition change trait rows flipped share beyond correlation most most_share least "
    "least_share p q"
).split()
_WORDS = {
    TRAITS[0]: "prompts",
    TRAITS[1]: "references",
    TRAITS[2]: "answers of the base",
    TRAITS[3]: "truth",
    TRAITS[4]: "base's answer",
}
_CELLS_NOTE = (
    "A row: one cell whose outcomes are all right or wrong, counts summed over its seeds; the most "
    "rows lost first. flipped_share: of the answers whose correctness is not the base's. gain, p "
    "and q: of the matrix, so of wrong_to_right against right_to_wrong."
)
_TRAITS_NOTE = (
    "A row: one trait in one target and condition, all tuned models together, each example counted "
    "once with the share of the models that flip it. right → wrong is looked at among the rows "
    "that the base has right, wrong → right among the others. Numbers: correlation of the trait's "
    "rank and that share; classes: those that flip most and least; p of an F test. q: "
    "Benjamini–Hochberg over this table, the base's confidence apart. An answer of which the base "
    "was not sure flips under any change, be it noise: where its confidence is known (`beyond`), a "
    "cubic of its rank is taken out of trait and share first. A trait says what such rows are "
    "like, not why they changed."
)


def flipped(store: Store, matrix: TransferMatrix) -> pa.Table:
    """All rows whose correctness changed, as in the table `rows`, none left out.

    Costs reading the scores that are asked for; memory is that of the rows that are given.

    Args:
        store: The study's.
        matrix: Its matrix, or the slice of it that is asked for.

    Raises:
        InputError: A file is damaged.
    """
    rows = [row for each in answered(store, matrix) for row in flipped_rows(each, most=MOST_ROWS)]
    return Table.of("rows", "", "", columns=_ROWS, rows=rows).rows


@ANALYSES.add("flips")
def flips(store: Store, matrix: TransferMatrix) -> Analysis:
    """What tuned models got right or wrong that the base did not.

    Raises:
        InputError: A file is damaged.
    """
    found = summaries(store, matrix)
    cells = _cells(found, matrix)
    if not cells:
        why = "No target that is scored right or wrong is known yet."
        return Analysis("flips", TITLE, (why,), ())
    many = variety(found)
    shared = shared_traits([trait for each in found for trait in each.traits])
    rows = [row for each in found for row in each.flipped][:MOST_ROWS]
    every = sum(row["wrong_to_right"] + row["right_to_wrong"] for row in cells)
    graded = sorted({e.target for e in found for c in e.tuned.values() if c.up is None})
    sentences = [*_told_cells(cells, many), *_told_traits(shared, many)]
    if graded:
        sentences.append(f"Left out, as their answers are graded: {listed(graded)}.")
    note = (
        "A row: an example whose correctness a source changed, in the seeds that are named; its "
        "texts are cut, and answer is that of the first of these seeds."
    )
    if sum(row["flipped_with_seeds"].count(",") + 1 for row in rows) < every:
        note += (
            f" Of every cell those that changed in most seeds, {len(rows):,} rows; "
            "crosstune.analysis.outcomes.flipped gives all."
        )
    tables = [
        Table.of("cells", "Changes by cell", _CELLS_NOTE, columns=_CELLS, rows=cells),
        Table.of("traits", "What changed rows share", _TRAITS_NOTE, columns=_TRAITS, rows=shared),
        Table.of("rows", "Rows that changed", note, columns=_ROWS, rows=rows),
    ]
    figure = Figure(
        kind="points",
        table="cells",
        title="Rows won and lost",
        note="A point is a cell: answers that tuning made wrong, across, and made right, upwards. "
        "Cells on the diagonal keep their score, the more rows change sides the further out.",
        columns={
            "x": "right_to_wrong",
            "y": "wrong_to_right",
            "name": "source target",
            "series": "relation",
        },
    )
    kept = tuple(table for table in tables if table.rows.num_rows)
    return Analysis("flips", TITLE, tuple(sentences), kept, (figure,))


def _cells(found: Sequence[Summary], matrix: TransferMatrix) -> list[Facts]:
    """Every cell that is right or wrong, the most rows lost first."""
    cells, rows = known(matrix), []
    for each, name in names(found):
        counts = each.tuned[name[:2]]
        if counts.up is not None and counts.down is not None:
            answers, cell = counts.models * each.examples, cells[name]
            rows.append(
                {
                    **named(name),
                    "relation": cell.relation,
                    "answers": answers,
                    "wrong_to_right": counts.up,
                    "right_to_wrong": counts.down,
                    "flipped_share": (counts.up + counts.down) / answers,
                    "base_score": each.base.score,
                    "gain": (counts.up - counts.down) / answers,
                    "p": cell.p,
                    "q": cell.q,
                }
            )
    return sorted(rows, key=lambda row: -row["right_to_wrong"] / row["answers"])


def shared_traits(traits: Sequence[Trait]) -> list[Facts]:
    """Traits of flipped rows with q-values, the base's confidence corrected apart; surest first.

    Example:
        >>> shared_traits([])
        []
    """
    if not traits:
        return []
    p = np.array([trait.p for trait in traits])
    # That confidence matters is sure, and would make false traits significant beside it.
    families = np.array([trait.trait == CONFIDENCE for trait in traits], dtype=np.int64)
    q = q_values(p, families=families).tolist()
    rows = [asdict(trait) | {"q": value} for trait, value in zip(traits, q, strict=True)]
    return sorted(rows, key=lambda row: row["q"])


def _told_cells(rows: Sequence[Facts], many: Mapping[str, int]) -> Iterator[str]:
    """How much changed, where rows were lost beyond chance, and where a score hides changes."""
    answers = sum(row["answers"] for row in rows)
    up, down = (sum(row[name] for row in rows) for name in ("wrong_to_right", "right_to_wrong"))
    yield (
        f"Tuning changed the correctness of {percent((up + down) / answers)} of the answers in "
        f"{counted(len(rows), 'cell')}: {counted(down, 'answer')} from right to wrong, {up:,} from "
        "wrong to right."
    )
    sure = [row for row in rows if row["q"] is not None and row["q"] < SIGNIFICANT]
    for head, sign in (("lost", -1), ("won", 1)):
        members = sorted(
            (row for row in sure if sign * row["gain"] > 0), key=lambda row: -sign * row["gain"]
        )
        if members:
            spans = [
                f"{_told_cell(row, many)} {points(row['gain'])}"
                for row in varied(members, name_of)[:_NAMED]
            ]
            yield (
                f"More rows were {head} than chance explains in {len(members):,} of "
                f"{counted(len(rows), 'cell')}; most: {listed(spans)}."
            )
    busy = [
        row
        for row in rows
        if row["q"] is not None and row["q"] >= SIGNIFICANT and row["flipped_share"] >= BUSY
    ]
    if busy:
        busy.sort(key=lambda row: -row["flipped_share"])
        yield (
            f"In {counted(len(busy), 'cell')} the score changed no more than chance explains, yet "
            f"at least {percent(BUSY)} of the rows changed sides; most: "
            f"{listed([_told_cell(row, many) for row in varied(busy, name_of)[:_NAMED]])}."
        )


def _told_cell(row: Mapping[str, Any], many: Mapping[str, int]) -> str:
    lost, won = row["right_to_wrong"], row["wrong_to_right"]
    return f"{told(name_of(row), many)} ({lost:,} lost, {won:,} won)"


def _told_traits(rows: Sequence[Facts], many: Mapping[str, int]) -> Iterator[str]:
    """What flipped rows share beyond chance; the base's confidence apart from what it explains."""
    sure = [row for row in rows if row["q"] < SIGNIFICANT]
    tried = sum(row["trait"] != CONFIDENCE for row in rows)
    named = [row for row in sure if row["trait"] != CONFIDENCE]
    for beyond, head in ((True, ", beside the base's doubts"), (False, "")):
        told = [_told_trait(row, many) for row in named if row["beyond"] == beyond]
        if told:
            yield f"What changed rows share{head}: {listed(told, 2)}."
    if tried and not named:
        yield f"Rows that changed share no trait beyond chance ({counted(tried, 'test')})."
    unsure = [row for row in sure if row["trait"] == CONFIDENCE and row["correlation"] < 0]
    if unsure:
        yield (
            f"The less sure the base was, the more of its answers changed ({len(unsure):,} of "
            f"{len(rows) - tried:,} comparisons): that is expected of any change, and no effect of "
            "a source."
        )


def _told_trait(row: Mapping[str, Any], many: Mapping[str, int]) -> str:
    where = row["target"] + (f" ({row['condition']})" if many["condition"] > 1 else "")
    lost, sure = row["change"] == DOWN, f"q {probability(row['q'])}"
    if row["correlation"] is None:
        most, least = percent(row["most_share"]), percent(row["least_share"])
        return (
            f"on {where} {most} of the models {'lose' if lost else 'win'} a row whose "
            f"{_WORDS[row['trait']]} is '{row['most']}', {least} one of '{row['least']}' ({sure})"
        )
    more = "longer" if row["correlation"] > 0 else "shorter"
    strength = f"{row['correlation']:+.2f}".replace("-", "−")
    return (
        f"on {where} rows with {more} {_WORDS[row['trait']]} are {'lost' if lost else 'won'} more "
        f"often (correlation {strength}, {sure})"
    )
