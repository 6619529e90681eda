"""Rows from the Hub, with the Hub's two packages replaced: no test reaches the network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crosstune.errors import InputError, MissingExtra
from crosstune.tasks import examples
from tasks.making import MakeTask, colour_rows, write_rows

COMMIT, OTHER = "a" * 40, "b" * 40
HUB = {"dataset_path": "owner/colours", "dataset_name": "small"}


class FakeHub:
    """Stands for `datasets` and `huggingface_hub`; keeps what it was asked."""

    def __init__(self, *, offline: bool = False, cached: str = COMMIT) -> None:
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.resolved: list[str | None] = []
        self.failure: Exception | None = None
        self.cached = cached
        self.config = SimpleNamespace(HF_HUB_OFFLINE=offline)
        self.constants = SimpleNamespace(HF_HUB_OFFLINE=offline)

    def HfApi(self) -> FakeHub:  # noqa: N802
        return self

    def dataset_info(self, _: str, *, revision: str | None) -> SimpleNamespace:
        self.resolved.append(revision)
        return SimpleNamespace(sha=COMMIT)

    def load_dataset(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((args, kwargs))
        if self.failure:
            raise self.failure
        rows = type("Rows", (list,), {})(colour_rows(0, 3))
        rows.cache_files = [{"filename": f"cache/small/0.0.0/{self.cached}/colours-test.arrow"}]
        return rows


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return put(monkeypatch, FakeHub())


def put(monkeypatch: pytest.MonkeyPatch, fake: FakeHub) -> FakeHub:
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, fake)
    return fake


def test_the_commit_is_resolved_once_asked_for_and_kept(make_task: MakeTask, hub: FakeHub) -> None:
    kwargs = {"revision": "main", "data_dir": "d", "trust_remote_code": True}
    task = make_task(**HUB, dataset_kwargs=kwargs)
    found = examples(task, "test")
    assert (found.revision, len(found.items)) == (COMMIT, 3)
    assert hub.resolved == ["main"]
    asked = {"split": "test", "revision": COMMIT, "data_dir": "d", "data_files": None}
    assert hub.asked == [(("owner/colours", "small"), asked)]


def test_a_commit_is_taken_as_it_is(make_task: MakeTask, hub: FakeHub) -> None:
    hub.cached = OTHER
    task = make_task(**HUB, dataset_kwargs={"revision": OTHER})
    assert examples(task, "test").revision == OTHER
    assert hub.resolved == []


def test_offline_nothing_is_resolved_and_the_cache_tells_its_commit(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = put(monkeypatch, FakeHub(offline=True, cached=OTHER))
    assert examples(make_task(**HUB, dataset_kwargs=None), "test").revision == OTHER
    assert fake.resolved == []
    put(monkeypatch, FakeHub(offline=True, cached="0"))
    with pytest.raises(InputError, match="does not tell its commit"):
        examples(make_task(**HUB, dataset_kwargs=None), "test")


def test_another_commit_in_the_cache_is_not_taken_for_the_asked_one(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, FakeHub(offline=True, cached=OTHER))
    with pytest.raises(InputError, match=f"cached copy is of {OTHER}, not of {COMMIT}"):
        examples(make_task(**HUB, dataset_kwargs={"revision": COMMIT}), "test")


@pytest.mark.parametrize("offline", [False, True])
def test_no_network_is_one_clear_message(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    put(monkeypatch, FakeHub(offline=offline)).failure = ConnectionError("no route\nto host")
    with pytest.raises(InputError) as caught:
        examples(make_task(**HUB, dataset_kwargs=None), "test")
    why = "offline mode is on and no copy is cached" if offline else "is there a network?"
    assert str(caught.value) == (
        f"The dataset 'owner/colours' of the task 'colours' cannot be loaded ({why}): no route"
    )


def test_a_missing_package_is_named(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'crosstune\[hub\]'"):
        examples(make_task(**HUB, dataset_kwargs=None), "test")


def test_a_folder_of_that_name_does_not_hide_the_hub(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: FakeHub
) -> None:
    (tmp_path / "owner" / "colours").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="would hide the Hub's"):
        examples(make_task(**HUB, dataset_kwargs=None), "test")
    assert hub.asked == []


def test_the_real_package_tells_the_commit_of_what_it_has_cached(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    write_rows(tmp_path / "rows.jsonl", colour_rows(0, 4))
    made = datasets.load_dataset(
        "json",
        data_files={"test": str(tmp_path / "rows.jsonl")},
        cache_dir=str(tmp_path / "cache"),
        split="test",
    )
    prepared = Path(made.cache_files[0]["filename"])
    cached = tmp_path / "cache" / "owner___colours" / "small" / "0.0.0" / COMMIT
    cached.mkdir(parents=True)
    info = json.loads((prepared.parent / "dataset_info.json").read_text("utf-8"))
    info |= {"dataset_name": "colours", "config_name": "small"}
    (cached / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    prepared.rename(cached / "colours-test.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = examples(make_task(**HUB, dataset_kwargs=None), "test")
    assert (found.revision, len(found.items)) == (COMMIT, 4)


def test_the_real_packages_say_that_they_are_offline(make_task: MakeTask) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match=r"cannot be loaded \(offline mode is on"):
        examples(make_task(**HUB, dataset_kwargs=None), "test")
