"""How long answers to text targets are: by the base, by tuned models, and as they should be.

Costs the room's one pass over all scores. Lengths are in characters, which every tokenizer and
every source has in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.outcomes.cells import (
    SIGNIFICANT,
    Name,
    known,
    name_of,
    named,
    names,
    profiles,
    told,
    varied,
    variety,
    with_q,
)
from crosstune.analysis.outcomes.summaries import Summary, summaries
from crosstune.analysis.wording import counted, listed, percent
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.tasks.profile import EDGES

TITLE = "How long answers are"
PANELS = 6
LEAST = math.log(1.1)
"""Changes of length that are told: by 10 % or more."""
_NAMED = 3

_LENGTHS = (
    "source recipe target condition answers source_median before_median after_median "
    "reference_median before_empty_share after_empty_share times_as_long times_from times_to p q"
).split()
_DENSITIES = "cell series characters density".split()
_NOTE = (
    "Characters; a row: one cell, the seeds pooled, the largest change first. source: of the "
    "answers that were tuned on, in the source's profile; before: of the base; after: of the tuned "
    "models; empty: the share without a character. times_as_long: tuned against base, "
    "geometric mean over the examples of (1 + characters), with its 95 % t interval; of these very "
    "models (their seeds are not counted as chance), q corrected within relation, recipe and "
    "condition. Choice targets are left out: their answers have fixed lengths."
)


def densities(counts: Int[np.ndarray, " bins"]) -> Float[np.ndarray, " widths"]:
    """Share of the texts per factor of ten in length, for each bin between two of `EDGES`.

    What is empty, or longer than the last edge, counts in the whole and has no density.

    Example:
        >>> counts = np.zeros(len(EDGES) + 1, int)
        >>> counts[0], counts[1] = 1, 3
        >>> bool(np.isclose(densities(counts) @ np.diff(np.log10(EDGES)), 0.75))
        True
    """
    found: Float[np.ndarray, " widths"] = counts[1:-1] / counts.sum() / np.diff(np.log10(EDGES))
    return found


@ANALYSES.add("lengths")
def lengths(store: Store, matrix: TransferMatrix) -> Analysis:
    """How long tuned models write, against the base, the references and what they were tuned on.

    Raises:
        InputError: A file is damaged.
    """
    found = [each for each in summaries(store, matrix) if not each.classes and each.tuned]
    if not found:
        why = "No text target is known yet; answers to choice targets have fixed lengths."
        return Analysis("lengths", TITLE, (why,), ())
    taught = {cell: _answers(profile) for cell, profile in profiles(store).items()}
    many = variety(found)
    rows = _rows(found, matrix, taught)
    by_target = {(each.target, each.condition): each for each in found}
    drawn: dict[str, Name] = {}  # the cell of every target that changed most
    for row in rows:
        name = name_of(row)
        drawn.setdefault(row["target"], name)
    curves = [
        point
        for name in [*drawn.values()][:PANELS]
        for point in _curves(name, by_target[name[2:]], taught.get(name[:2]), many)
    ]
    note = (
        "Share of the texts per factor of ten in length, in bins from one length to the next; for "
        "the cell of each target that changed most. Empty texts are not drawn."
    )
    tables = (
        Table.of("lengths", "Lengths by cell", _NOTE, columns=_LENGTHS, rows=rows),
        Table.of("densities", "Densities of lengths", note, columns=_DENSITIES, rows=curves),
    )
    figure = Figure(
        kind="curves",
        table="densities",
        title="Lengths of what was taught, asked for and written",
        note="Characters across, share of the texts per factor of ten upwards. Tuned outputs that "
        "left the base's curve for that of the source's answers took the length along.",
        columns={"x": "characters", "y": "density", "series": "series", "panel": "cell"},
    )
    sentences = tuple(_told(rows, taught, many))
    return Analysis("lengths", TITLE, sentences, tables, (figure,))


def _answers(profile: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The lengths of a source's answers in characters, as its profile tells them."""
    found = ((profile or {}).get("lengths") or {}).get("answer") or {}
    characters: dict[str, Any] | None = found.get("characters")
    return characters


def _rows(
    found: Sequence[Summary],
    matrix: TransferMatrix,
    taught: Mapping[tuple[str, str], Mapping[str, Any] | None],
) -> list[Facts]:
    """All cells, the largest change of length first."""
    rows: list[Facts] = []
    for each, name in names(found):
        counts, source = each.tuned[name[:2]], taught.get(name[:2]) or {}
        assert counts.longer is not None
        rows.append(
            {
                **named(name),
                "answers": counts.models * each.examples,
                "source_median": source.get("median"),
                "before_median": each.base.median,
                "after_median": counts.median,
                "reference_median": each.median,
                "before_empty_share": float(each.base.lengths[0] / each.base.lengths.sum()),
                "after_empty_share": float(counts.lengths[0] / counts.lengths.sum()),
                "times_as_long": math.exp(counts.longer.mean),
                "times_from": math.exp(counts.longer.low),
                "times_to": math.exp(counts.longer.high),
                "p": counts.longer.p,
            }
        )
    return sorted(with_q(rows, known(matrix)), key=lambda row: -abs(_factor(row)))


def _curves(
    name: Name,
    found: Summary,
    source: Mapping[str, Any] | None,
    many: Mapping[str, int],
) -> Iterator[Facts]:
    """The densities of one cell, a series for each kind of text."""
    centres = np.sqrt(np.multiply(EDGES[:-1], EDGES[1:]))
    series = {
        "source answers": None if source is None else np.array(source["counts"]),
        "base outputs": found.base.lengths,
        "tuned outputs": found.tuned[name[:2]].lengths,
        "references": found.references,
    }
    known = [counts for counts in series.values() if counts is not None]
    there = np.flatnonzero(sum(counts[1:-1] for counts in known))
    if len(there) == 0:
        return
    begin, end = max(int(there[0]) - 1, 0), int(there[-1]) + 2
    for label, counts in series.items():
        if counts is not None:
            values = zip(centres[begin:end], densities(counts)[begin:end], strict=False)
            for centre, density in values:
                yield {
                    "cell": told(name, many),
                    "series": label,
                    "characters": float(centre),
                    "density": float(density),
                }


def _told(
    rows: Sequence[Facts],
    taught: Mapping[tuple[str, str], Mapping[str, Any] | None],
    many: Mapping[str, int],
) -> Iterator[str]:
    """Cells that write longer or shorter, whether that is nearer to the references, and gaps."""
    sure = [row for row in rows if row["q"] < SIGNIFICANT and abs(_factor(row)) >= LEAST]
    if not sure:
        yield (
            f"In none of {counted(len(rows), 'cell')} did the length of answers change by 10 % or "
            "more (q < 0.05)."
        )
    for word, members in (
        ("shorter", [row for row in sure if row["times_as_long"] < 1]),
        ("longer", [row for row in sure if row["times_as_long"] > 1]),
    ):
        if members:
            spans = [_span(row, many) for row in varied(members, name_of)[:_NAMED]]
            yield (
                f"{counted(len(members), 'cell')} of {len(rows):,} came to write answers at least "
                f"10 % {word} (q < 0.05, of these models); characters at the median: "
                f"{listed(spans)}."
            )
    off = [(_off(row, "after"), _off(row, "before")) for row in sure]
    if off:
        nearer = sum(after < before for after, before in off)
        yield (
            f"In {nearer:,} of the {counted(len(off), 'cell')} whose length changed so, the median "
            "answer came nearer to the median reference."
        )
    silent = [row for row in rows if row["after_empty_share"] >= 0.1 + row["before_empty_share"]]
    if silent:
        silent.sort(key=lambda row: -row["after_empty_share"])
        spans = [
            f"{told(name_of(row), many)} {percent(row['after_empty_share'])}"
            for row in varied(silent, name_of)[:_NAMED]
        ]
        yield f"Empty answers became common in {counted(len(silent), 'cell')}: {listed(spans)}."
    missing = sorted({row["source"] for row in rows if taught.get(name_of(row)[:2]) is None})
    if missing:
        yield f"How long the answers of a source are is unavailable for: {listed(missing)}."


def _off(row: Mapping[str, Any], which: str) -> float:
    """How far the median answer is from the median reference, as a ratio's logarithm."""
    ratio = (1 + row[f"{which}_median"]) / (1 + row["reference_median"])
    return abs(math.log(ratio))


def _factor(row: Mapping[str, Any]) -> float:
    """Logarithm of how many times as long answers became."""
    return math.log(row["times_as_long"])


def _span(row: Mapping[str, Any], many: Mapping[str, int]) -> str:
    text = (
        f"{told(name_of(row), many)} {row['before_median']:,.0f} → {row['after_median']:,.0f} "
        f"(references {row['reference_median']:,.0f}"
    )
    return text + (f", source {row['source_median']:,.0f})" if row["source_median"] else ")")
