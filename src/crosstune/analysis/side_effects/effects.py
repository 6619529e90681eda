"""What to say of side effects, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crosstune.analysis.findings import Facts
from crosstune.analysis.outcomes.cells import name_of, varied
from crosstune.analysis.outcomes.cells import told as named
from crosstune.analysis.side_effects.harm import is_moved, is_other
from crosstune.analysis.wording import counted, percent, points, probability

_NAMED = 3
_BEYOND = 1.25
"""A pull from which on the length of the source was passed by."""
Rows = Sequence[Facts]
Many = Mapping[str, int]


def sentences(rows: Mapping[str, Rows], many: Many) -> tuple[str, ...]:
    """A few sentences of every table.

    Args:
        rows: By the name of a table.
        many: How many recipes and conditions there are.
    """
    told = {
        "sources": _sources,
        "forgetting": _forgetting,
        "labels": _labels,
        "pull": _pull,
        "drift": _drift,
        "asymmetry": _asymmetry,
    }
    return tuple(text for name, tell in told.items() for text in tell(rows[name], many))


def _first(spans: Sequence[str]) -> str:
    return "; ".join(spans[:_NAMED])


def _pair(row: Mapping[str, Any], many: Many) -> str:
    return named(name_of(row), many)


def _way(row: Mapping[str, Any], many: Many) -> str:
    ways = [row[name] for name in ("recipe", "condition") if many[name] > 1]
    return str(row["source"]) + (f" ({', '.join(ways)})" if ways else "")


def _sources(rows: Rows, many: Many) -> Iterator[str]:
    planned, harmed, helped, unknown = (
        sum(row[name] for row in rows) for name in ("targets", "harmed", "helped", "unknown")
    )
    if planned > unknown:
        yield (
            f"Of {counted(planned - unknown, 'cell')} whose target is another task than the "
            f"source's, {harmed:,} were harmed and {helped:,} helped (q < 0.05); for the rest no "
            "change is shown, which is not to say that there is none."
            + (f" {counted(unknown, 'cell')} more lack scores." if unknown else "")
        )
    told: dict[str, str] = {}
    for row in rows:
        if row["harmed"]:
            text = (
                f"{_way(row, many)} harms {row['harmed']:,} of "
                f"{counted(row['targets'] - row['unknown'], 'target')} "
                f"and helps {row['helped']:,} (worst: {row['worst_target']} "
                f"{points(row['worst_gain'])}; mean {points(row['mean_gain'])} points)"
            )
            told.setdefault(row["source"], text)
    if told:
        yield f"Most harm: {_first([*told.values()])}."


def _forgetting(rows: Rows, many: Many) -> Iterator[str]:
    others = [row for row in rows if is_other(row)]
    fell = [row for row in others if row["fell"]]
    if others:
        spans = [
            f"{_pair(row, many)} {100 * row['base']:.1f} → {100 * row['score']:.1f} "
            f"(chance {100 * row['chance_score']:.1f})"
            for row in varied(fell, name_of)
        ]
        abilities = counted(len({row["target"] for row in others}), "target")
        yield (
            f"Forgetting: on {abilities} the base is clearly better than chance; there "
            f"{len(fell):,} of {counted(len(others), 'cell')} with another source fell"
            + (f", most {_first(spans)}." if fell else " measurably.")
        )


def _labels(rows: Rows, many: Many) -> Iterator[str]:
    if rows:
        common = [row for row in rows if row["difference"] >= 0.1]
        spans = [
            f"{_pair(row, many)} {percent(row['tuned_share'])} (base {percent(row['base_share'])})"
            for row in varied(common, name_of)
        ]
        yield (
            "Asked for text, models write a label of their source in at least 10 % more of the "
            f"outputs than the base in {len(common):,} of {counted(len(rows), 'cell')}"
            + (f", most often {_first(spans)}." if common else ".")
        )


def _pull(rows: Rows, many: Many) -> Iterator[str]:
    defined = [row for row in rows if row.get("pull") is not None and is_other(row)]
    if defined:
        sure = [row for row in defined if is_moved(row)]
        beyond = [row for row in sure if row["from"] > 1 and row["pull"] > _BEYOND]
        toward = [row for row in sure if row["from"] > 0 and row not in beyond]
        away = [row for row in sure if row["to"] < 0]
        half = f"{np.median([row['pull'] for row in defined]):.2f}".replace("-", "−")
        spans = [f"{_pair(row, many)} {row['pull']:.2f}" for row in varied(toward, name_of)]
        yield (
            f"Length: of {counted(len(defined), 'cell')} with a text target of another task "
            f"{len(toward):,} were pulled towards the length of the source's answers, "
            f"{len(beyond):,} well beyond it and {len(away):,} away from it (q < 0.05, of these "
            f"very models); median pull {half} (0: as the base, 1: as the source)"
            + (f"; strongest: {_first(spans)}." if toward else ".")
        )


def _drift(rows: Rows, many: Many) -> Iterator[str]:
    others = [row for row in rows if is_other(row)]
    if not others:
        return
    went = [row for row in others if row["moved"]]
    nearer = sum(row["tuned_distance"] < row["base_distance"] for row in went)
    text = (
        f"Classes: of {counted(len(others), 'cell')} of different tasks with the same labels the "
        f"answers of {len(went):,} moved between classes, of these {nearer:,} towards the "
        "distribution of the source's"
    )
    uneven = [row for row in others if row.get("label") is not None]
    rose = [row for row in uneven if is_moved(row) and row["difference"] > 0]
    fell = [row for row in uneven if is_moved(row) and row["difference"] < 0]
    if uneven:
        spans = [
            f"{_pair(row, many)} '{row['label']}' {percent(row['base_share'])} → "
            f"{percent(row['tuned_share'])}"
            for row in varied(rose, name_of)
        ]
        text += (
            f"; where its classes are uneven ({counted(len(uneven), 'cell')}), the most frequent "
            f"one came to be answered more often in {len(rose):,} and less often in {len(fell):,}"
            + (f", most {_first(spans)}" if rose else "")
        )
    yield f"{text}."


def _asymmetry(rows: Rows, many: Many) -> Iterator[str]:
    if rows:
        sure = [row for row in rows if is_moved(row)]
        spans = []
        for row in sure:
            way = _way({**row, "source": f"{row['first']} → {row['second']}"}, many)
            spans.append(
                f"{way} {points(row['first_to_second_gain'])}, back "
                f"{points(row['second_to_first_gain'])} (q {probability(row['q'])})"
            )
        yield (
            f"Asymmetry: {len(sure):,} of {counted(len(rows), 'pair')} of tasks differ between one "
            "way and the other" + (f", most {_first(spans)}." if sure else " measurably.")
        )
