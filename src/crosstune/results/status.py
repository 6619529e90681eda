"""How far a study is, from its plans and a listing of the folder: fast, nothing is verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crosstune.results.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of what is planned and there, and what failed.

    Attributes:
        name: The study's.
        jobs: Planned models, the bare base among them.
        jobs_done: Those with all their cells and states.
        cells: Planned scores, the base's among them.
        cells_done: Those that are stored.
        states: Planned hidden states of one model on one task.
        states_done: Those that are stored.
        failures: Title or cell, with the reason, of what failed and is not stored.
    """

    name: str
    jobs: int
    jobs_done: int
    cells: int
    cells_done: int
    states: int
    states_done: int
    failures: tuple[str, ...]


def status(store: Store | Path) -> Status:
    """Where a study stands.

    Raises:
        InputError: There is no study, or it was never planned.
    """
    store = store if isinstance(store, Store) else Store(store)
    there = store.names("scores")
    cells: dict[str, set[str]] = {}
    for row in store.plan():
        cells.setdefault(row["base_job_key"], set()).add(row["base_key"])
        cells.setdefault(row["job_key"], set()).add(row["key"])
    planned = set().union(*cells.values())
    states = {row["key"]: row["job_key"] for row in store.layers()}
    kept = states.keys() & store.names("states")
    undone = {job for key, job in states.items() if key not in kept}
    done = {job for job, keys in cells.items() if keys <= there} - undone
    open_keys = (planned - there) | (states.keys() - kept) | (set(cells) - done)
    failed = [text for key, text in sorted(store.failures().items()) if key in open_keys]
    return Status(
        name=str(store.study["name"]),
        jobs=len(cells),
        jobs_done=len(done),
        cells=len(planned),
        cells_done=len(planned & there),
        states=len(states),
        states_done=len(kept),
        failures=tuple(failed),
    )
