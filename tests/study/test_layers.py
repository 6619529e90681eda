"""Hidden states of a study: whose are kept, under which key, proved and continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosstune.errors import InputError, JobFailure
from crosstune.results.states import states_of
from crosstune.results.status import status
from crosstune.results.store import Store
from crosstune.study.plan import Plan, plan
from crosstune.study.run import run
from crosstune.study.schema import Study
from small import Told, folder_of_tasks, small_study
from standin import StandIn

LAYERS = {"probe_examples": 20}


class Desk:
    """A folder with tasks, and the models that ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder_of_tasks(folder), folder / "out"
        self.models: list[StandIn] = []
        self.told = Told()

    def plan(self, **changes: Any) -> Plan:
        return plan(small_study(**{"layers": LAYERS, **changes}), folder=self.folder, device="cpu")

    def run(self, study: Study | None = None, **given: Any) -> Store:
        self.models, self.told = [], Told()

        def load(reference: Any, **_: Any) -> StandIn:
            self.models.append(StandIn(reference.identity, **given))
            return self.models[-1]

        run(
            study or small_study(layers=LAYERS),
            out=self.out,
            folder=self.folder,
            device="cpu",
            reporter=self.told,
            load=load,
        )
        return Store(self.out)

    def calls(self, what: str) -> int:
        return sum(model.calls.count(what) for model in self.models)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def test_controls_keep_their_own_task_and_the_others_every_task(desk: Desk) -> None:
    rows = desk.plan(seeds=[0]).layers
    told = [(row["kind"], row["source"], row["task"]) for row in rows]
    assert told == [
        ("base", "", "mood"),
        ("base", "", "sums"),
        ("control", "mood", "mood"),
        ("control", "sums", "sums"),
        ("mixture", "both", "mood"),
        ("mixture", "both", "sums"),
    ]
    planned = desk.plan(seeds=[0])
    assert [len(job.probes) for job in planned.jobs] == [2, 1, 1, 2]
    assert {p.task.name: len(p.prompts) for p in planned.jobs[0].probes.values()} == {
        "mood": 20,
        "sums": 12,
    }
    assert "layers: sums has 12 test examples to keep states of, fewer than the 20 wanted" in (
        planned.warnings
    )


def test_without_layers_nothing_is_kept(desk: Desk) -> None:
    store = desk.run(small_study())
    assert store.layers() == []
    assert desk.calls("states") == 0


def test_edited_sources_are_no_controls(desk: Desk) -> None:
    sources = ["mood", {"name": "dim", "tasks": "mood", "edits": "shuffle_labels"}]
    rows = desk.plan(sources=sources, seeds=[0]).layers
    assert [row["source"] for row in rows] == ["", "mood"]
    with pytest.raises(InputError, match="nothing to compare with"):
        small_study(sources=sources[1:], layers=LAYERS)
    with pytest.raises(InputError, match="nothing to compare with"):
        small_study(sources=["mood"], targets=["sums"], layers=LAYERS)


def keys(planned: Plan) -> list[str]:
    return [row["key"] for row in planned.layers]


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": LAYERS | {"position": "mean"}},
        {"layers": {"probe_examples": 21}},
        {"test_seed": 1},
        {"tokens_per_batch": 512},
        {"conditions": {"name": "zero-shot", "examples": 12, "prompt": "bare"}},
    ],
)
def test_what_decides_states_is_in_their_key(desk: Desk, changes: dict[str, Any]) -> None:
    before, after = keys(desk.plan()), keys(desk.plan(**changes))
    assert len(before) == len(after)
    assert before[0] != after[0]


def test_what_is_asked_is_not_in_the_key_of_states(desk: Desk) -> None:
    other = {"name": "other", "examples": 5}
    assert keys(desk.plan()) == keys(desk.plan(conditions=other))
    asked = [
        {job.key: [*job.questions] for job in desk.plan(layers=layers).jobs}
        for layers in (LAYERS, None)
    ]
    assert asked[0] == asked[1]


def test_states_are_kept_once_and_proved(desk: Desk) -> None:
    store = desk.run()
    assert desk.calls("states") == 2 + 2 * 4
    for row in store.layers():
        found = states_of(store, row["key"])
        assert found is not None
        assert found.layers == 4
        assert found.record["task"] == row["task"]
        assert found.record["proof"]["tensors_sha256"]
        assert (max(found.record["moved"]) > 0) == (row["kind"] != "base")
    desk.run()
    assert desk.models == []


def test_layers_added_to_a_finished_study_tune_and_ask_nothing(desk: Desk) -> None:
    desk.run(small_study())
    desk.run()
    assert (desk.calls("tune"), desk.calls("ask"), desk.calls("states")) == (0, 0, 10)


def test_damaged_states_are_kept_again_and_nothing_else(desk: Desk) -> None:
    store = desk.run()
    name = store.layers()[3]["key"]
    (desk.out / "states" / name / "held.npy").write_bytes(b"")
    store = desk.run()
    assert (desk.calls("tune"), desk.calls("ask"), desk.calls("states")) == (0, 0, 1)
    assert states_of(store, name) is not None


def test_states_of_other_weights_are_not_kept(desk: Desk) -> None:
    """Whose tensors are not those of the stored adapter is read again."""
    store = desk.run()
    row = next(row for row in store.layers() if row["kind"] == "control")
    folder = desk.out / "states" / row["key"]
    told = json.loads((folder / "states.json").read_text())
    told["proof"]["tensors_sha256"] = "0" * 64
    (folder / "states.json").write_text(json.dumps(told))
    from crosstune.results.entry import MANIFEST, seal

    (folder / MANIFEST).unlink()
    seal(folder, row["key"])
    desk.run()
    assert desk.calls("states") == 1


def test_a_batch_that_does_not_fit_is_halved(desk: Desk) -> None:
    store = desk.run(largest=1024)
    kept = states_of(store, store.layers()[0]["key"])
    assert kept is not None
    assert kept.record["tokens_per_batch"] == 1024


def test_states_that_cannot_be_kept_are_a_failure_with_a_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = StandIn.activations

    def broken(self: StandIn, prompts: Any, **how: Any) -> Any:
        found = honest(self, prompts, **how)
        if len(prompts) == 12:
            found.states[2, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(StandIn, "activations", broken)
    store = desk.run()
    assert any("states of sums" in reason for reason in store.failures().values())
    assert any("layer 2 is not finite" in line for line in desk.told.lines)
    kept = [row["task"] for row in store.layers() if states_of(store, row["key"])]
    assert set(kept) == {"mood"}
    monkeypatch.setattr(StandIn, "activations", honest)
    store = desk.run()
    assert store.failures() == {}
    assert desk.calls("states") == 5


def test_states_that_failed_or_are_missing_show_in_the_status(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = desk.run()
    now = status(store)
    assert (now.states, now.states_done, now.jobs_done, now.jobs) == (10, 10, 7, 7)
    name = store.layers()[3]["key"]
    Store(desk.out, writable=True).discard("states", name)
    now = status(store)
    assert (now.states_done, now.jobs_done, now.failures) == (9, 6, ())

    def broken(*_: Any, **__: Any) -> Any:
        raise JobFailure("no states today")

    monkeypatch.setattr(StandIn, "activations", broken)
    now = status(desk.run())
    assert now.states_done == 9
    assert ["no states today" in told for told in now.failures] == [True]


def test_prompts_that_lost_their_beginning_are_counted_and_told(desk: Desk) -> None:
    store = desk.run(longest=23)
    kept = states_of(store, store.layers()[0]["key"])
    assert kept is not None
    assert 0 < kept.record["truncated"] < 20
    assert any("lost their beginning to fit the model" in line for line in desk.told.lines)


def test_layers_that_are_no_longer_wanted_are_forgotten(desk: Desk) -> None:
    assert len(desk.run().layers()) == 10
    assert desk.run(small_study()).layers() == []


def test_a_task_has_one_control(desk: Desk) -> None:
    sources = ["mood", {"name": "more", "tasks": "mood", "examples": 10}]
    planned = desk.plan(sources=sources, seeds=[0])
    assert [row["source"] for row in planned.layers] == ["", "mood"]
    assert "layers: mood is the control of mood; no states are kept of more" in planned.warnings


def test_a_source_called_base_is_refused_where_layers_are_kept() -> None:
    with pytest.raises(InputError, match="'base' is the word"):
        small_study(sources=["mood", {"name": "base", "tasks": ["mood", "sums"]}], layers=LAYERS)


def test_a_source_may_have_its_own_number_of_examples(desk: Desk) -> None:
    sources = ["mood", {"name": "both", "tasks": ["mood", "sums"], "examples": 10}]
    jobs = desk.plan(sources=sources, seeds=[0]).jobs
    assert [len(job.prompts) for job in jobs] == [0, 24, 10]
    same = desk.plan(sources=[{"name": "mood", "tasks": "mood", "examples": 24}], seeds=[0])
    assert same.jobs[1].key == jobs[1].key


def test_cells_of_ones_own_are_asked_and_no_others(desk: Desk) -> None:
    planned = desk.plan(cells="own", seeds=[0])
    told = [(row["source"], row["target"]) for row in planned.rows]
    assert told == [
        ("mood", "mood"),
        ("sums", "sums"),
        ("both", "mood"),
        ("both", "tone"),
        ("both", "sums"),
    ]
    assert [len(job.questions) for job in planned.jobs] == [3, 1, 1, 3]
    with pytest.raises(InputError, match="sums would be asked nothing"):
        small_study(cells="own", targets=["mood"])
