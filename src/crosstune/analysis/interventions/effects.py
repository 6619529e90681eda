"""What to say of interventions: what one change did, where, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from crosstune.analysis.findings import Facts
from crosstune.analysis.interventions.changes import Intervention
from crosstune.analysis.outcomes.cells import SIGNIFICANT
from crosstune.analysis.wording import counted, listed, points, probability
from crosstune.results.cells import RELATIONS

_MOST = 5
Rows = Sequence[Facts]


def sentences(
    planned: Sequence[Intervention],
    rows: Rows,
    *,
    summary: Rows,
    traits: Rows,
    alone: Sequence[str],
) -> tuple[str, ...]:
    """A sentence for every kind of change, what moved most first, then what they do not tell.

    Args:
        planned: What was changed.
        rows: Of the table of interventions.
        summary: Of the table of means over targets.
        traits: Of the table of traits.
        alone: Edited sources without an original.
    """
    changes = {each.change: each for each in planned}
    by_change: dict[str, list[Facts]] = {}
    for row in rows:
        by_change.setdefault(row["edit"], []).append(row)
    ordered = sorted(by_change, key=lambda name: -_largest(by_change[name]))
    told = []
    for name in ordered[:_MOST]:
        meant = changes[name].meant
        shown = [row for row in traits if row["edit"] == name and row["trait"] in meant]
        means = [row for row in summary if row["edit"] == name and row["known"]]
        told.append(_effect(changes[name].doing, by_change[name], means, shown))
    if left := ordered[_MOST:]:
        told.append(f"{counted(len(left), 'more change')} in the table: {listed(left)}.")
    return (*told, *_limits(rows, alone))


def _largest(rows: Rows) -> float:
    return max((abs(row["difference"]) for row in rows if _moved(row)), default=0.0)


def _moved(row: Mapping[str, float]) -> bool:
    return row.get("q", 1.0) < SIGNIFICANT


def _effect(doing: str, rows: Rows, means: Rows, traits: Rows) -> str:
    """What one change did to all sources that have it, in the first way of tuning and asking."""
    ways = [*dict.fromkeys((row["recipe"], row["condition"]) for row in rows)]
    sources = [*dict.fromkeys(row["source"] for row in rows)]
    known = [row for row in rows if "q" in row]
    first = [row for row in known if (row["recipe"], row["condition"]) == ways[0]]
    others = [row for row in known if (row["recipe"], row["condition"]) != ways[0]]
    same = [row for row in first if row["relation"] == RELATIONS[0]]
    rest = [row for row in first if row["relation"] != RELATIONS[0]]
    parts = [_on_itself(same)] * bool(same) + [_elsewhere(rest, other=bool(same))] * bool(rest)
    far = [
        (f"{row['source']} " if len(sources) > 1 else "")
        + f"{points(row['difference'])} ({points(row['low'])} to {points(row['high'])})"
        for row in means
        if (row["recipe"], row["condition"], row["relation"]) == (*ways[0], RELATIONS[-1])
    ]
    parts += [f"mean over cross-task targets {listed(far, 3)}"] * bool(far)
    parts += ["no score is known"] * (not first)
    if others:
        more = f"{len(ways) - 1} other ways" if len(ways) > 2 else "other way"
        parts.append(
            f"with the {more} of tuning and asking {sum(map(_moved, others)):,} of "
            f"{counted(len(others), 'difference')} are beyond chance"
        )
    who = sources[0] if len(sources) == 1 else counted(len(sources), "source")
    way = f" ({', '.join(ways[0])})" if len(ways) > 1 else ""
    what = f"{doing[0].upper()}{doing[1:]} {who}{_shown(traits, ways[0][0])}{way}"
    return f"{what}: {'; '.join(parts)}."


def _where(row: Mapping[str, str]) -> str:
    same = row["source"] == row["target"]
    return row["target"] if same else f"{row['source']} → {row['target']}"


def _on_itself(rows: Rows) -> str:
    ordered = sorted(rows, key=lambda row: -abs(row["difference"]))
    return listed(
        [
            f"{points(row['difference'])} points on {_where(row)} ({points(row['low'])} to "
            f"{points(row['high'])}, q {probability(row['q'])})"
            for row in ordered
        ],
        4,
    )


def _elsewhere(rows: Rows, *, other: bool) -> str:
    """How many targets of other tasks fell and rose, and the largest of these changes."""
    moved = sorted(filter(_moved, rows), key=lambda row: -abs(row["difference"]))
    several = len({row["source"] for row in rows}) > 1
    what = f"{'other ' * other}{'pair' if several else 'target'}"
    if not moved:
        return f"no {what} changed measurably, of {len(rows):,}"
    up = sum(row["difference"] > 0 for row in moved)
    named = [
        f"{_where(row) if several else row['target']} {points(row['difference'])}" for row in moved
    ]
    return (
        f"of {counted(len(rows), what)} {len(moved) - up:,} fell and {up:,} rose measurably: "
        f"{listed(named, 4)}"
    )


def _shown(traits: Rows, recipe: str) -> str:
    """The measured traits that the edit was meant to change, before and after."""
    told = [
        f"{row['trait']} {row['original']:.3g} → {row['edited']:.3g}"
        for row in traits
        if row["recipe"] == recipe
    ]
    return f" [{listed(told, 3)}]" if told else ""


def _limits(rows: Rows, alone: Sequence[str]) -> Iterator[str]:
    """What the differences do not tell."""
    known = [row for row in rows if "q" in row]
    missing = [f"{row['edited_source']} → {row['target']}" for row in rows if "q" not in row]
    if known:
        half = float(np.median([row["detectable_difference"] for row in known]))
        yield (
            "A difference that is not shown is not shown to be zero: in half of the comparisons, "
            f"true ones below {100 * half:.1f} points would often be missed (power 80 % there)."
        )
    if known and max(row["seeds"] for row in known) == 1:
        yield (
            "One seed: the differences are between these very models. Tuning anew moves them too, "
            "so they do not prove what the change causes."
        )
    if missing:
        yield (
            f"{len(missing):,} of {counted(len(rows), 'comparison')} lack a score and stay empty: "
            f"{listed([*dict.fromkeys(missing)], 4)}."
        )
    if alone:
        yield f"Not compared, as the study lacks the original: {listed([*alone])}."
