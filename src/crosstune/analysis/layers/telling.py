"""What curves over depth say in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from crosstune.analysis.findings import Facts
from crosstune.analysis.layers.depth import Gathered
from crosstune.analysis.wording import counted, listed, percent, probability

CLEAR = 0.05
_NAMED = 3
_LEAST = 0.02
"""Change of a similarity that is worth a sentence."""


def sentences(
    tables: Mapping[str, Sequence[Facts]], *, found: Gathered, measure: str
) -> Iterator[str]:
    """What stands out, bends first."""
    for row in tables["segments"]:
        yield _bends(row)
    for part in _parts(tables["tasks"], "recipe", "mixture", "tasks_are"):
        yield from _tasks(part)
    for part in _parts(tables["medians"], "recipe", "mixture", "tasks_are"):
        if not part[0]["mixture"]:
            yield from _alone(part, tables["curves"])
    for part in _parts(tables["dimensions"], "recipe", "mixture", "tasks_are"):
        yield from _dimensions(part)
    for part in _parts(tables["separation"], "recipe", "model"):
        yield from _separation(part)
    for part in _parts(tables["blocks"], "recipe", "kind"):
        yield _moved(part)
    if rows := tables["curves"]:
        sizes = sorted({row["n"] for row in rows})
        n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        where = found.position.replace("_", " ")
        yield (
            f"Measure: {measure}, {n} examples a task, states of {rows[0]['d']} dimensions"
            + (f" ({where})." if where else ".")
        )
        yield from _unknown(rows)
    if found.missing:
        names = listed(list(dict.fromkeys(found.missing)))
        yield f"States are missing, and left out: {names}."


def _parts(rows: Sequence[Facts], *names: str) -> Iterator[list[Facts]]:
    """Rows with the same values of these columns."""
    parts: dict[tuple[object, ...], list[Facts]] = {}
    for row in rows:
        parts.setdefault(tuple(row[name] for name in names), []).append(row)
    yield from parts.values()


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _bends(row: Facts) -> str:
    who = f"{row['mixture']} ({row['recipe']}), {counted(row['tasks'], 'task')} {row['tasks_are']}"
    if row["left_out"]:
        who += f" (without {row['left_out']}, unknown at some layers)"
    where = "where it parts from the base"
    if "first" not in row:
        return f"{who}: {where} is not locatable ({row['reason']})."
    at = (
        f"layers {row['first']} ({percent(row['first_depth'])} of the depth; 95 % interval "
        f"{row['first_from']:.0f} to {row['first_to']:.0f}) and {row['second']} "
        f"({percent(row['second_depth'])}; {row['second_from']:.0f} to {row['second_to']:.0f})"
    )
    chance = f"p {probability(row['p'])}"
    if not row["located"]:
        return f"{who}: {where} is not locatable: {row['reason']} (best guess: {at}; {chance})."
    slopes = [row[f"{part}_slope"] for part in ("shared", "transition", "refinement")]
    told = ", ".join(_signed(slope, 3) for slope in slopes)
    rises = slopes[1] > 0 and slopes[1] == max(slopes)
    what = "shared, transition and refinement layers meet at" if rises else "the curve bends at"
    return f"{who}: {what} {at} ({chance}; change of the difference a layer: {told})."


def _tasks(rows: Sequence[Facts]) -> Iterator[str]:
    known = [row for row in rows if row["added"] is not None]
    if not known:
        return
    row = known[0]
    who = f"Tasks {row['tasks_are']} ({row['mixture']}, {row['recipe']}), second half of the depth"
    names = [f"{row['task']} {row['bare_similarity']:.2f}" for row in known]
    yield f"{who}: the base alone is most like the control of {_ends(names)}."
    sure = [row for row in known if row["q"] is not None and row["q"] < CLEAR]
    more = sorted((r for r in sure if r["added"] > 0), key=lambda r: -r["added"])
    less = sorted((r for r in sure if r["added"] < 0), key=lambda r: r["added"])
    named = [f"{r['task']} {_signed(r['added'])}" for r in (*more[:_NAMED], *less[:_NAMED])]
    yield (
        f"{who}: the mixture is more like the control than the base in {len(more)} of "
        f"{len(known)}, less in {len(less)}; {len(known) - len(sure)} cannot be told "
        f"(q < {CLEAR:g} over tasks, of these models)" + (f": {listed(named)}." if named else ".")
    )


def _ends(names: Sequence[str]) -> str:
    """The first and the last of ranked names; all where they are few."""
    if len(names) <= 2 * _NAMED:
        return listed(list(names))
    return f"{listed([*names[:_NAMED]])}, least of {listed([*names[: -_NAMED - 1 : -1]])}"


def _alone(rows: Sequence[Facts], curves: Sequence[Facts]) -> Iterator[str]:
    """Of a study without mixtures."""
    last = max((row["layer"] for row in rows if row["value"] is not None), default=None)
    recipe = rows[0]["recipe"]
    told = {
        row["task"]: row["value"]
        for row in curves
        if (row["recipe"], row["layer"]) == (recipe, last) and row["value"] is not None
    }
    if told:
        names = [f"{task} {told[task]:.2f}" for task in sorted(told, key=lambda t: -told[t])]
        yield (
            f"{recipe}: there is no mixture to compare with. At layer {last} the base is most like "
            f"the control of {_ends(names)}."
        )


def _dimensions(rows: Sequence[Facts]) -> Iterator[str]:
    known = [r for r in rows if r["bare_value"] is not None and r["bare_without"] is not None]
    if not known:
        return
    most = max(known, key=lambda row: abs(row["bare_value"] - row["bare_without"]))
    shares = [row["largest_part"] for row in known]
    row = known[0]
    who = f"Tasks {row['tasks_are']} ({', '.join(filter(None, [row['mixture'], row['recipe']]))})"
    changes = (
        f"its similarity changes most at layer {most['layer']}: from {most['bare_value']:.2f} to "
        f"{most['bare_without']:.2f}"
    )
    if abs(most["bare_value"] - most["bare_without"]) < _LEAST:
        changes = f"no similarity of it changes by {_LEAST:g}"
    yield (
        f"{who}: a few dimensions hold {percent(median(shares))} of the variance of the base's "
        f"states at the median layer, {percent(max(shares))} at most. Without them {changes}."
    )


def _separation(rows: Sequence[Facts]) -> Iterator[str]:
    known = [row for row in rows if row["between_tasks"] is not None]
    if known:
        top = max(known, key=lambda row: row["between_tasks"])
        yield (
            f"{top['model']} ({top['recipe']}): tasks lie farthest apart at layer {top['layer']} "
            f"({percent(top['between_tasks'])} of the variance of states is between tasks); at "
            f"layer {known[-1]['layer']}, {percent(known[-1]['between_tasks'])}."
        )


def _moved(rows: Sequence[Facts]) -> str:
    most, least = max(rows, key=lambda row: row["change"]), min(rows, key=lambda r: r["change"])
    return (
        f"Weights of {counted(most['models'], str(most['kind']))} ({most['recipe']}) moved most in "
        f"block {most['block']} ({100 * most['change']:.2f} % of their norm in the median), least "
        f"in block {least['block']} ({100 * least['change']:.2f} %)."
    )


def _unknown(rows: Sequence[Facts]) -> Iterator[str]:
    places: dict[str, set[int]] = {}
    tasks: dict[str, set[str]] = {}
    for row in rows:
        if row["reason"]:
            places.setdefault(row["reason"], set()).add(row["layer"])
            tasks.setdefault(row["reason"], set()).add(row["task"])
    ranked = sorted(places, key=lambda reason: -len(tasks[reason]))
    for reason in ranked[:_NAMED]:
        first, last = min(places[reason]), max(places[reason])
        where = f"layer {first}" if first == last else f"layers between {first} and {last}"
        yield f"Not known of {counted(len(tasks[reason]), 'task')} at {where}: {reason}."
    if len(ranked) > _NAMED:
        more = counted(len(ranked) - _NAMED, "more reason")
        yield f"{more} for what is not known: see the table curves."
