"""Which kept states belong together: the models of one task, on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crosstune.results.states import States, states_of
from crosstune.results.store import Store

BASE = "base"
"""The bare base, among the names of mixtures."""

Run = tuple[str, int]
"""A mixture and a seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """Keys of the states of one task under one recipe.

    Attributes:
        recipe: How controls and mixtures were tuned.
        control: The source that is tuned on the task alone.
        task: The task.
        family: Its family.
        base: Of the bare base.
        controls: By seed.
        mixtures: By mixture and seed.
        taught: Of each mixture, whether the task is in it.
    """

    recipe: str
    control: str
    task: str
    family: str
    base: str
    controls: dict[int, str]
    mixtures: dict[Run, str]
    taught: dict[str, bool]


def probed(rows: Sequence[dict[str, Any]]) -> list[Probed]:
    """What layers.json says, by recipe and control, in its order."""
    bases = {row["task"]: row["key"] for row in rows if row["kind"] == "base"}
    found: dict[tuple[str, str], Probed] = {}
    for row in rows:
        if row["kind"] == "control" and row["task"] in bases:
            one = found.setdefault(
                (row["recipe"], row["source"]),
                Probed(
                    row["recipe"],
                    row["source"],
                    row["task"],
                    row["family"],
                    bases[row["task"]],
                    {},
                    {},
                    {},
                ),
            )
            one.controls[row["seed"]] = row["key"]
    for row in rows:
        if row["kind"] == "mixture":
            for (recipe, _), one in found.items():
                if (recipe, one.task) == (row["recipe"], row["task"]):
                    one.mixtures[row["source"], row["seed"]] = row["key"]
                    one.taught[row["source"]] = row["task"] in row["tasks"]
    return [*found.values()]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """States of one task, read: what is not kept is left out.

    Attributes:
        base: Of the bare base.
        controls: By seed.
        mixtures: By mixture and seed; only those whose seed has a control.
    """

    base: States
    controls: dict[int, States]
    mixtures: dict[Run, States]


def opened(store: Store, probe: Probed) -> tuple[Opened | None, list[str]]:
    """The states of a task, none without those of the base or of every control; what is missing.

    Raises:
        InputError: A file is damaged.
    """
    failures, missing = store.failures(), []

    def kept(key: str, who: str) -> States | None:
        found = states_of(store, key)
        if found is None:
            missing.append(failures.get(key, f"{who} on {probe.task}"))
        return found

    base = kept(probe.base, BASE)
    controls = {
        seed: found
        for seed, key in probe.controls.items()
        if (found := kept(key, f"control {probe.control} (seed {seed})")) is not None
    }
    mixtures = {
        run: found
        for run, key in probe.mixtures.items()
        if (found := kept(key, f"{run[0]} (seed {run[1]})")) is not None and run[1] in controls
    }
    if base is None or not controls:
        return None, missing
    return Opened(base, controls, mixtures), missing
