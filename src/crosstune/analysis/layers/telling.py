"""What curves over depth say in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from crosstune.analysis.findings import Facts
from crosstune.analysis.layers.probes import BASE
from crosstune.analysis.wording import counted, listed, percent, probability

_NAMED = 3
CLEAR = 0.05


def sentences(
    tables: Mapping[str, Sequence[Facts]], *, missing: Sequence[str], measure: str
) -> Iterator[str]:
    """What stands out, bends first."""
    for row in tables["segments"]:
        yield _bends(row)
    for key in dict.fromkeys(_place(row) for row in tables["tasks"]):
        yield from _tasks([row for row in tables["tasks"] if _place(row) == key])
    if not tables["tasks"]:
        yield from _alone(tables["curves"])
    yield from _dimensions(tables["dimensions"])
    yield from _separation(tables["separation"])
    yield from _moved(tables["moved"])
    if tables["curves"]:
        sizes = sorted({row["n"] for row in tables["curves"]})
        n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        width = tables["curves"][0]["d"]
        yield f"Measure: {measure}; {n} examples a task, states of {width} dimensions."
    reasons = {row["reason"]: row["layer"] for row in tables["curves"] if row["reason"]}
    for reason, layer in reasons.items():
        yield f"Not known at some layers (layer {layer}): {reason}."
    if missing:
        names = listed(list(dict.fromkeys(missing)))
        yield f"States are missing, so these tasks are left out: {names}. Run the study again."


def _place(row: Facts) -> tuple[str, str, str]:
    return row["recipe"], row["mixture"], row["tasks_are"]


def _bends(row: Facts) -> str:
    who = f"{row['mixture']} ({row['recipe']}), {counted(row['tasks'], 'task')} {row['tasks_are']}"
    if "first" not in row:
        return (
            f"{who}: where it comes to hold more than the base is not locatable ({row['reason']})."
        )
    told = (
        f"layers up to {row['first']} ({percent(row['first_share'])} of the depth; 95 % interval "
        f"{row['first_low']:.0f} to {row['first_high']:.0f}), from {row['second']} "
        f"({percent(row['second_share'])}; {row['second_low']:.0f} to {row['second_high']:.0f}) on"
    )
    if not row["located"]:
        return (
            f"{who}: where it comes to hold more than the base is not locatable, as "
            f"{row['reason']} (best guess: {told}; p {probability(row['p'])})."
        )
    return (
        f"{who}: shared, transition and refinement are {told} "
        f"(p {probability(row['p'])}; median difference a layer: {row['shared_slope']:+.3f}, "
        f"{row['transition_slope']:+.3f}, {row['refinement_slope']:+.3f})."
    ).replace("-0.", "−0.")


def _tasks(rows: Sequence[Facts]) -> Iterator[str]:
    known = [row for row in rows if row["difference"] is not None]
    if not known:
        return
    recipe, mixture, are = _place(rows[0])
    who = f"Tasks {are} ({mixture}, {recipe}), second half of the depth"
    first = [f"{row['task']} {row['base_similarity']:.2f}" for row in known[:_NAMED]]
    last = [f"{row['task']} {row['base_similarity']:.2f}" for row in known[: -_NAMED - 1 : -1]]
    yield (
        f"{who}: the base alone is most like the controls of {listed(first)}, least like those of "
        f"{listed(last)}."
    )
    sure = [row for row in known if row["q"] is not None and row["q"] < CLEAR]
    more = [row for row in sure if row["difference"] > 0]
    less = [row for row in sure if row["difference"] < 0]
    more.sort(key=lambda row: -row["difference"])
    less.sort(key=lambda row: row["difference"])
    named = [
        f"{row['task']} {row['difference']:+.2f}".replace("-", "−")
        for row in [*more[:_NAMED], *less[:_NAMED]]
    ]
    unsure = len(known) - len(sure)
    yield (
        f"{who}: the mixture is more like the control than the base in {len(more)} of "
        f"{len(known)}, less in {len(less)}; {unsure} cannot be told (q < {CLEAR:g} over tasks)"
        + (f": {listed(named)}." if named else ".")
    )


def _alone(rows: Sequence[Facts]) -> Iterator[str]:
    """Of a study without mixtures."""
    last: dict[str, float] = {}
    for row in rows:
        if row["model"] == BASE and row["similarity"] is not None:
            last[row["task"]] = row["similarity"]
    if last:
        names = [f"{task} {last[task]:.2f}" for task in sorted(last, key=last.__getitem__)]
        yield (
            "There is no mixture to compare with. At the last layer the base is least like the "
            f"controls of {listed(names[:_NAMED])}, most like those of "
            f"{listed(names[: -_NAMED - 1 : -1])}."
        )


def _dimensions(rows: Sequence[Facts]) -> Iterator[str]:
    known = [row for row in rows if row["base"] is not None and row["base_without"] is not None]
    if not known:
        return
    most = max(known, key=lambda row: abs(row["base"] - row["base_without"]))
    shares = [row["largest_share"] for row in known if row["largest_share"] is not None]
    yield (
        f"A few dimensions of large variance hold {percent(median(shares))} of it at the median "
        f"layer, {percent(max(shares))} at most. Without them the base's similarity changes most "
        f"at layer {most['layer']}: from {most['base']:.2f} to {most['base_without']:.2f}."
    )


def _separation(rows: Sequence[Facts]) -> Iterator[str]:
    for key in dict.fromkeys((row["recipe"], row["model"]) for row in rows):
        part = [r for r in rows if (r["recipe"], r["model"]) == key and r["between_tasks"]]
        if part:
            top = max(part, key=lambda row: row["between_tasks"])
            last = part[-1]
            yield (
                f"{key[1]} ({key[0]}): tasks lie farthest apart at layer {top['layer']} "
                f"({percent(top['between_tasks'])} of the variance of states is between tasks), "
                f"at the last layer {percent(last['between_tasks'])}."
            )


def _moved(rows: Sequence[Facts]) -> Iterator[str]:
    for recipe, kind in dict.fromkeys((row["recipe"], row["kind"]) for row in rows):
        changes: dict[int, list[float]] = {}
        for row in rows:
            if (row["recipe"], row["kind"]) == (recipe, kind):
                changes.setdefault(row["block"], []).append(row["change"])
        middle = {block: median(values) for block, values in changes.items()}
        most, least = max(middle, key=middle.__getitem__), min(middle, key=middle.__getitem__)
        yield (
            f"Weights of {kind}s ({recipe}) moved most in block {most} "
            f"({100 * middle[most]:.2f} % of their norm in the median), least in block {least} "
            f"({100 * middle[least]:.2f} %)."
        )
