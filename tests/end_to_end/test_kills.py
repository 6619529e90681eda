"""SIGKILL at any moment, run again: the matrix of an undisturbed run, nothing finished done twice.

Every run is a child process that is killed for real at a seeded random moment; children start from
a server that has the packages loaded, so that a moment falls into the work and not into imports.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import standin
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.study.run import run
from small import folder_of_tasks, small_study

KILLS = 20
FRUITFUL = 5
"""Kills that have to fall between two entries, not into the start of a process."""

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(
    ["crosstune.study.run", "crosstune.models.engine", "pyarrow.parquet", "small", "standin"]
)


def study_on_standins(folder: Path) -> None:
    """Run the study in no time, with a pause in every step for a kill to fall into."""

    def load(reference: Any, **_: str) -> standin.StandIn:
        return standin.StandIn(reference.identity, delay=0.005)

    run(small_study(), out=folder / "out", folder=folder, device="cpu", load=load)


def study_on_engine(folder: Path) -> None:
    """Run the study on the torch engine."""
    import torch

    torch.set_num_threads(1)
    study = small_study(seeds=0, recipes={"examples": 16, "batch_size": 4, "epochs": 2})
    run(study, out=folder / "out", folder=folder, device="cpu")


def desk_for(work: Any, folder: Path) -> Path:
    """A folder of tasks with a model that the work can load."""
    folder_of_tasks(folder)
    if work is study_on_engine:
        from tiny import tiny_model

        shutil.rmtree(folder / "base")
        tiny_model(folder / "base")
    return folder


def finished(work: Any, folder: Path) -> bytes:
    """Run undisturbed, in a process of its own like the others; the final matrix."""
    child = SPAWN.Process(target=work, args=(folder,))
    child.start()
    child.join()
    assert child.exitcode == 0
    return (folder / "out" / "matrix.csv").read_bytes()


def entries(folder: Path) -> dict[str, int]:
    """When each adapter and score was made; one that is made again has another time."""
    return {
        path.parent.relative_to(folder / "out").as_posix(): path.stat().st_mtime_ns
        for kind in ("adapters", "scores")
        for path in folder.glob(f"out/{kind}/*/manifest.json")
    }


def kill_after(seconds: float, work: Any, folder: Path) -> bool:
    """Run for a while, then SIGKILL; whether the work was still going on."""
    child = SPAWN.Process(target=work, args=(folder,))
    child.start()
    child.join(seconds)
    going_on = child.exitcode is None
    child.kill()
    child.join()
    child.close()
    return going_on


@pytest.mark.slow
@pytest.mark.parametrize("work", [study_on_standins, study_on_engine])
def test_twenty_kills_at_random_moments(tmp_path: Path, work: Any) -> None:
    desk_for(work, tmp_path / "calm")
    server = SPAWN.Process(target=time.sleep, args=(0,))  # it loads the packages when it begins
    server.start()
    server.join()
    began = time.monotonic()
    undisturbed = finished(work, tmp_path / "calm")
    whole = time.monotonic() - began
    random_ = random.Random(20)
    kills = fruitful = studies = 0
    folder = desk_for(work, tmp_path / "desk-0")
    kept: dict[str, int] = {}
    while kills < KILLS or fruitful < FRUITFUL:
        going_on = kill_after(random_.uniform(0.1 * whole, 0.8 * whole), work, folder)
        kills += going_on
        now = entries(folder)
        assert {name: now.get(name) for name in kept} == kept, "what was finished is as it was"
        fruitful += going_on and len(now) > len(kept)
        assert kills + studies < 5 * KILLS, "the kills do not fall into the work"
        kept = now
        if not going_on:  # it has come to its end between kills: begin another one
            assert (folder / "out" / "matrix.csv").read_bytes() == undisturbed
            studies += 1
            folder, kept = desk_for(work, tmp_path / f"desk-{studies}"), {}
    assert finished(work, folder) == undisturbed
    assert {name: entries(folder)[name] for name in kept} == kept
    assert TransferMatrix.of(Store(folder / "out")).is_complete
    assert list((folder / "out" / ".tmp").iterdir()) == []


def test_two_processes_on_one_study_do_no_harm(tmp_path: Path) -> None:
    undisturbed = finished(study_on_standins, desk_for(study_on_standins, tmp_path / "calm"))
    folder = desk_for(study_on_standins, tmp_path / "desk")
    children = [SPAWN.Process(target=study_on_standins, args=(folder,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert (folder / "out" / "matrix.csv").read_bytes() == undisturbed
    assert list((folder / "out" / ".tmp").iterdir()) == []
