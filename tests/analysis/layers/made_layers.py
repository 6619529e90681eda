"""A study whose hidden states are made up: what each model holds of a task is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.made import Made, key
from crosstune.results.matrix import TransferMatrix
from crosstune.results.states import write_states
from crosstune.results.store import Store

LAYERS, N, WIDTH = 13, 40, 24
MIXTURE = "all"
RISE = (4, 8)


def weight(layer: int) -> float:
    """How far a mixture has gone from the base's states to the control's."""
    return float(np.interp(layer, RISE, (0, 1)))


def states(task: str, who: str, seed: int, *, taught: bool = True) -> np.ndarray:
    """Base and control part from layer 2 on; a mixture goes over to the control between bends."""
    own = np.random.default_rng(int(key(task)[:8], 16))
    prompts = own.normal(size=(N, WIDTH))
    base = np.stack([prompts + 0.3 * own.normal(size=(N, WIDTH)) for _ in range(LAYERS)])
    away = own.normal(size=(LAYERS, N, WIDTH))
    noise = np.random.default_rng([int(key(task, who)[:8], 16), seed]).normal(size=base.shape)
    apart = np.minimum(np.arange(LAYERS) / 4, 1.5)[:, None, None]
    if who == "control":
        base = base + apart * away
    elif who == MIXTURE and taught:
        part = np.array([weight(layer) for layer in range(LAYERS)])[:, None, None]
        base = base + part * apart * away
    base = base + 0.05 * noise + 10 * (task == "t0")
    base[0] = own.normal()  # the same token ends all prompts of a task
    return np.asarray(base, dtype=np.float32)


def tasks(count: int, held_out: int = 0) -> dict[str, bool]:
    """Whether each task is in the mixture."""
    return {f"t{i}": i >= held_out for i in range(count)}


def rows(taught: dict[str, bool], *, seeds: tuple[int, ...], mixture: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def add(kind: str, source: str, task: str, seed: int, members: list[str]) -> None:
        family = f"f{int(task[1:]) % 3}"
        told = {"kind": kind, "source": source, "task": task, "family": family, "seed": seed}
        found.append(
            told
            | {
                "tasks": members,
                "recipe": "" if kind == "base" else "plain",
                "key": key(kind, source, task, seed),
                "job_key": key(source or "base", "plain", seed),
            }
        )

    for task in taught:
        add("base", "", task, 0, [])
    for seed in seeds:
        for task in taught:
            add("control", task, task, seed, [task])
        if mixture:
            for task in taught:
                add(
                    "mixture",
                    MIXTURE,
                    task,
                    seed,
                    [name for name, is_in in taught.items() if is_in],
                )
    return found


def write(
    folder: Path,
    *,
    count: int = 8,
    held_out: int = 0,
    seeds: tuple[int, ...] = (0,),
    mixture: bool = True,
    without: tuple[str, ...] = (),
    changed: Any = None,
) -> tuple[Store, TransferMatrix]:
    """A store with states; `without`: tasks whose controls are not kept; `changed`: of states."""
    taught = tasks(count, held_out)
    sources = {name: ["left"] for name in taught} | ({MIXTURE: ["left"]} if mixture else {})
    made = Made(
        sources=sources,
        targets=dict.fromkeys(taught, "left"),
        recipes={"plain": {}},
        conditions={"zero": {}},
        seeds=seeds,
    )
    store, matrix = made.write(folder)
    told = rows(taught, seeds=seeds, mixture=mixture)
    store.write("layers.json", json.dumps(told))
    for row in told:
        if row["kind"] == "control" and row["task"] in without:
            continue
        who = {"base": "base", "control": "control", "mixture": MIXTURE}[row["kind"]]
        found = states(row["task"], who, row["seed"], taught=taught[row["task"]])
        if changed is not None:
            found = changed(row, found)
        moved = [0.0 if who == "base" else 0.01 * (1 + block) for block in range(LAYERS - 1)]
        record = {"proof": {"tensors_sha256": ""}, "moved": moved}

        def fill(folder: Path, found: np.ndarray = found, record: Any = record) -> None:
            write_states(folder, found, record)

        store.put("states", row["key"], fill)
    return store, matrix
