"""A run stores what its datasets are like, once, and without asking anything again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crosstune.models import Measured, ModelReference
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.study.plan import plan
from crosstune.study.profiles import Dataset
from crosstune.study.run import run
from crosstune.tasks import Example, Prompt
from small import Told, folder_of_tasks, small_study
from standin import StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tasks(tmp_path_factory.mktemp("tasks"))


def done(folder: Path, out: Path, *, reporter: Told | None = None, **changes: Any) -> list[StandIn]:
    models: list[StandIn] = []

    def load(reference: ModelReference, **_: str) -> StandIn:
        models.append(StandIn(reference.identity))
        return models[-1]

    study = small_study(seeds=0, **changes)
    run(study, out=out, folder=folder, device="cpu", load=load, reporter=reporter or Told())
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
    [model] = done(folder, out)
    assert model.calls == []
    assert Store(out).profile(key) is not None


def test_what_cannot_be_measured_costs_no_score(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = StandIn.measure

    def fail(model: StandIn, prompts: Sequence[Prompt]) -> Measured:
        if len({prompt.continuations for prompt in prompts}) == 1 and prompts[0].continuations:
            raise RuntimeError("out of memory\nand a long trace")
        return measure(model, prompts)

    out, told = tmp_path / "out", Told()
    monkeypatch.setattr(StandIn, "measure", fail)
    done(folder, out, reporter=told)
    store = Store(out)
    assert TransferMatrix.of(store).is_complete
    lacking = {r["target"] for r in store.plan() if store.profile(r["target_profile"]) is None}
    assert lacking
    assert "sums" not in lacking
    lines = [line for line in told.lines if "could not be measured" in line]
    assert lines
    assert all(line.endswith("(RuntimeError: out of memory)") for line in lines)
    monkeypatch.setattr(StandIn, "measure", measure)
    [model] = done(folder, out)
    assert model.calls == []
    assert all(store.profile(row["target_profile"]) for row in store.plan())


def test_all_that_decides_a_profile_is_in_its_key_and_no_name_is() -> None:
    example = Example("1", "Is it so?", ("no", "yes"), 1, ("yes",))
    prompt = Prompt("1", (), "Is it so?", (" no", " yes"), " yes")
    dataset = Dataset("t", "choice", (example,), (prompt,))
    others = [
        replace(dataset, kind="text"),
        replace(dataset, examples=(replace(example, context="Is it?"),)),
        replace(dataset, examples=(replace(example, choices=("never", "yes")),)),
        replace(dataset, prompts=(replace(prompt, context="Shown. Is it so?"),)),
        replace(dataset, prompts=(replace(prompt, completion=" no"),)),
        replace(dataset, examples=(example, example), prompts=(prompt, prompt)),
    ]
    keys = [each.key({"model": "a"}) for each in (dataset, *others)]
    assert len({*keys, dataset.key({"model": "b"})}) == len(keys) + 1
    assert replace(dataset, title="other").key({"model": "a"}) == keys[0]


def test_another_parser_is_another_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> set[str]:
        return {*plan(small_study(), folder=folder, device="cpu").datasets}

    before = keys()
    monkeypatch.setattr("crosstune.study.profiles.EXTRAS", ("no_such_parser",))
    assert not before & keys()


def test_conditions_have_profiles_of_their_own(folder: Path) -> None:
    ways = [{"name": "zero"}, {"name": "few", "shots": 2}]
    rows = plan(small_study(conditions=ways), folder=folder, device="cpu").rows
    keys = {(row["target"], row["condition"]): row["target_profile"] for row in rows}
    assert len({*keys.values()}) == len(keys) > 2


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
