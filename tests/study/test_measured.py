"""A run stores what its datasets are like, once, and without asking anything again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crosstune.models import ModelReference
from crosstune.results.store import Store
from crosstune.study.plan import plan
from crosstune.study.run import run
from small import Told, folder_of_tasks, small_study
from standin import StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tasks(tmp_path_factory.mktemp("tasks"))


def done(folder: Path, out: Path, **changes: Any) -> list[StandIn]:
    models: list[StandIn] = []

    def load(reference: ModelReference, **_: str) -> StandIn:
        models.append(StandIn(reference.identity))
        return models[-1]

    study = small_study(seeds=0, **changes)
    run(study, out=out, folder=folder, device="cpu", load=load, reporter=Told())
    return models


def test_every_source_and_target_has_a_profile(folder: Path, tmp_path: Path) -> None:
    done(folder, tmp_path / "out")
    store = Store(tmp_path / "out")
    for row in store.plan():
        source, target = (store.profile(row[f"{which}_profile"]) for which in ("source", "target"))
        assert source is not None
        assert target is not None
        assert target["kind"] == ("text" if row["target"] == "sums" else "choice")
        assert len(target["embedding"]) == 2
        assert source["lengths"]["answer"]["tokens"]["mean"] > 0
        if row["source"] == "mood":
            assert sum(source["labels"].values()) == source["rows"]


def test_what_is_measured_is_not_measured_again(folder: Path, tmp_path: Path) -> None:
    assert done(folder, tmp_path / "out")
    assert not done(folder, tmp_path / "out")


def test_a_study_of_before_is_measured_and_not_asked_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(folder, out)
    shutil.rmtree(out / "profiles")
    assert Store(out).profile(Store(out).plan()[0]["source_profile"]) is None
    [model] = done(folder, out)
    assert model.calls == []
    assert Store(out).profile(Store(out).plan()[0]["source_profile"]) is not None


def test_a_damaged_profile_is_none(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(folder, out)
    key = Store(out).plan()[0]["target_profile"]
    (out / f"profiles/{key}/profile.json").write_text(json.dumps({"rows": 1}))
    assert Store(out).profile(key) is None


def test_edits_and_recipes_have_profiles_of_their_own(folder: Path) -> None:
    named = {"name": "mood2", "tasks": "mood", "edits": ["shuffle_labels"]}
    study = small_study(
        sources=["mood", named],
        seeds=[0, 1],
        recipes=[{"name": "few", "examples": 8}, {"name": "more", "examples": 16}],
    )
    rows = plan(study, folder=folder, device="cpu").rows
    keys = {(row["source"], row["recipe"]): row["source_profile"] for row in rows}
    assert len({*keys.values()}) == len(keys) == 4
    assert len({(row["source"], row["recipe"], row["source_profile"]) for row in rows}) == 4
