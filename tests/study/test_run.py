"""Running: exactly what is missing, failures are results, every cell is proved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import standin
from crosstune import models
from crosstune.errors import DamagedFile, InputError, JobFailure, ProofFailure, StoreFailure
from crosstune.models import ChoiceAnswer, ModelReference, Proof
from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import read_outcomes
from crosstune.study import run as running
from crosstune.study.plan import Plan, plan
from crosstune.study.run import run
from crosstune.study.schema import Study
from crosstune.tasks.example import Prompt
from small import Told, folder_of_tasks, small_study
from standin import StandIn


class Desk:
    """A folder of tasks with a study's folder in it, and how often a model was asked for what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder_of_tasks(folder)
        self.out = folder / "out"
        self.models: list[StandIn] = []
        self.told = Told()

    def run(
        self, study: Study | None = None, model: type[StandIn] = StandIn, **given: Any
    ) -> TransferMatrix:
        self.models, self.told = [], Told()

        def load(reference: ModelReference, *, numeric_type: str, device: str) -> StandIn:
            assert (numeric_type, device) == ("float32", "cpu")
            self.models.append(model(reference.identity, **given))
            return self.models[-1]

        return run(
            study or small_study(),
            out=self.out,
            folder=self.folder,
            device="cpu",
            reporter=self.told,
            load=load,
        )

    def calls(self, what: str) -> int:
        return sum(model.calls.count(what) for model in self.models)

    @property
    def matrix(self) -> bytes:
        return (self.out / "matrix.csv").read_bytes()

    def entry(self, kind: str, **wanted: object) -> Path:
        """The folder of the first entry whose record says so."""
        name = "job.json" if kind == "adapters" else "cell.json"
        for path in sorted((self.out / kind).iterdir()):
            record = json.loads((path / name).read_text())
            if all(record[key] == value for key, value in wanted.items()):
                return path
        raise LookupError(wanted)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def test_a_run_makes_every_cell_and_learns(desk: Desk) -> None:
    matrix = desk.run()
    assert matrix.is_complete
    assert desk.calls("tune") == 6
    assert desk.calls("ask") == 7 * 3
    gains = {(r.source, r.target, r.seed): r.gain for r in matrix.rows if r.main}
    assert min(gains["mood", t, 0] or 0 for t in ("mood", "tone")) > 0.2
    assert len(gains) == 18


def test_the_same_command_again_does_nothing_and_needs_no_model(desk: Desk) -> None:
    before = desk.run()
    csv = desk.matrix
    assert desk.run() == before
    assert desk.models == []
    assert desk.matrix == csv


def test_two_undisturbed_runs_are_equal_to_the_byte(desk: Desk, tmp_path: Path) -> None:
    desk.run()
    other = Desk(tmp_path / "other")
    other.run()
    assert desk.matrix == other.matrix


def test_only_what_is_missing_is_done_again(desk: Desk) -> None:
    desk.run()
    csv = desk.matrix
    shutil.rmtree(desk.entry("scores", source="mood", seed=1, target="sums"))
    shutil.rmtree(desk.entry("scores", source=None, target="tone"))
    desk.run()
    assert (desk.calls("tune"), desk.calls("ask")) == (0, 2)
    assert desk.matrix == csv


def test_a_larger_study_in_the_same_folder_adds(desk: Desk) -> None:
    desk.run(small_study(sources=["mood"]))
    matrix = desk.run(small_study(sources=["mood", "tone"], targets=["mood", "tone", "sums"]))
    assert (desk.calls("tune"), desk.calls("ask")) == (2, 6)
    assert matrix.is_complete


@pytest.mark.parametrize("kind", ["scores", "adapters"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "removed"])
def test_damage_is_noticed_told_and_mended(desk: Desk, kind: str, damage: str) -> None:
    desk.run()
    csv = desk.matrix
    entry = desk.entry(kind, source="mood", seed=0)
    path = entry / ("outcomes.parquet" if kind == "scores" else "weights.npy")
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        middle = len(whole) // 2
        flipped = bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes(whole[:middle] + (flipped if damage == "altered" else b""))
    desk.run()
    assert any(f"{kind}/{entry.name} is damaged" in line for line in desk.told.lines)
    assert (desk.calls("tune"), desk.calls("ask")) == ((1, 0) if kind == "adapters" else (0, 1))
    assert desk.matrix == csv
    assert path.read_bytes() == whole


def test_two_seeds_whose_folders_were_swapped_are_caught(desk: Desk) -> None:
    desk.run()
    csv = desk.matrix
    first, second = (desk.entry("adapters", source="mood", ingredients=i) for i in _seeds(desk))
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    desk.run()
    assert len([line for line in desk.told.lines if "it is another entry's" in line]) == 2
    assert desk.calls("tune") == 2
    assert desk.matrix == csv


def _seeds(desk: Desk) -> list[dict[str, Any]]:
    records = [json.loads(p.read_text()) for p in (desk.out / "adapters").glob("*/job.json")]
    return [r["ingredients"] for r in records if r["source"] == "mood"]


class Forgetful(StandIn):
    """Loses its adapter after the second answer."""

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        answers = super().score_choices(prompts, **given)
        if self.calls.count("tune") and self.calls[-2:] == ["ask", "ask"]:
            self.detach()
        return answers


class Mistaken(StandIn):
    """Attaches the oldest of the stored adapters, whichever is asked for."""

    def attach(self, folder: Path) -> Proof:
        stored = folder.parent.name == "adapters"
        oldest = min(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return super().attach(oldest if stored else folder)


class Altered(StandIn):
    """A stray write changes the attached tensors while the model answers."""

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        self.change[7] += 1.0
        return super().score_choices(prompts, **given)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Forgetful, "the model that answered is not the one this job attached"),
        (Mistaken, "the weights that were attached are not those of this job"),
        (Altered, "the attached tensors are not those that were recorded"),
    ],
)
def test_a_cell_of_another_model_is_never_stored(
    desk: Desk, model: type[StandIn], reason: str
) -> None:
    study = small_study(seeds=0, sources=["mood", "tone"])
    matrix = desk.run(study, model)
    assert not matrix.is_complete
    assert any(reason in failure for failure in matrix.reasons.values())
    right = {
        json.loads((p / "job.json").read_text())["key"]: json.loads((p / "job.json").read_text())
        for p in (desk.out / "adapters").iterdir()
    }
    for path in (desk.out / "scores").glob("*/cell.json"):
        cell = json.loads(path.read_text())
        if cell["source"]:
            recorded = right[cell["job_key"]]["proof"]["tensors_sha256"]
            assert cell["proof"]["tensors_sha256"] == recorded
    mended = desk.run(study)
    assert mended.is_complete
    other = Desk(desk.folder.parent / "other")
    other.run(study)
    assert desk.matrix == other.matrix


class Failing(StandIn):
    """Fails while tuning on sums, and finds one question of `tone` too long."""

    def tune(self, prompts: Sequence[Prompt], **given: Any) -> Any:
        if any("=" in prompt.context for prompt in prompts):
            raise JobFailure("the loss is not finite at step 3")
        return super().tune(prompts, **given)

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        if prompts[0].context.startswith("that"):
            raise ValueError("the tensor in /home/someone/secret/x.bin is odd")
        return super().score_choices(prompts, **given)


def test_a_failure_is_a_result_and_the_rest_goes_on(desk: Desk) -> None:
    matrix = desk.run(small_study(seeds=0), Failing)
    status = {(row.source, row.target): row.status for row in matrix.rows}
    assert status["mood", "mood"] == status["mood", "sums"] == "done"
    assert {status["sums", t] for t in ("mood", "tone", "sums")} == {"failed"}
    assert status["mood", "tone"] == "failed"
    assert "the loss is not finite at step 3" in "\n".join(matrix.reasons.values())
    rows = [row for row in matrix.rows if row.status == "failed"]
    assert all(row.gain is None for row in rows)
    assert "–" in matrix.table()
    failures = [json.loads(p.read_text()) for p in (desk.out / "failures").iterdir()]
    odd = [f for f in failures if "tone" in f["title"]]
    assert odd[0]["reason"] == "ValueError: the tensor in x.bin is odd"
    assert any("worker.py" in line for line in odd[0]["traceback"])


def test_what_failed_is_tried_again(desk: Desk) -> None:
    study = small_study(seeds=0)
    desk.run(study, Failing)
    matrix = desk.run(study)
    assert matrix.is_complete
    assert desk.calls("tune") == 2
    assert matrix.reasons == {}
    assert list((desk.out / "failures").iterdir()) == []


def test_out_of_memory_takes_a_smaller_budget_and_records_it(desk: Desk) -> None:
    study = small_study(seeds=0, sources=["mood"])
    assert desk.run(study, largest=1024).is_complete
    cell = json.loads((desk.entry("scores", source="mood") / "cell.json").read_text())
    assert cell["tokens_per_batch"] == 1024
    assert cell["ingredients"]["question"]["tokens_per_batch"] == 4096
    desk.run(study)
    assert desk.models == []


def test_out_of_memory_at_the_smallest_budget_is_a_failure(desk: Desk) -> None:
    matrix = desk.run(small_study(seeds=0, sources=["mood"]), largest=200)
    assert {row.status for row in matrix.rows} == {"failed"}
    assert all("even with batches of 256 tokens" in reason for reason in matrix.reasons.values())


def test_a_sham_source_is_allowed(desk: Desk) -> None:
    sham = {"name": "sham", "learning_rate": 0, "examples": 24}
    matrix = desk.run(small_study(seeds=0, sources=["mood"], recipes=sham))
    assert matrix.is_complete
    assert {row.gain for row in matrix.rows} == {0.0}


def test_outcomes_say_what_was_answered(desk: Desk) -> None:
    desk.run(small_study(seeds=0, sources=["mood"]))
    folder = desk.entry("scores", source="mood", target="mood")
    outcomes = read_outcomes(folder / "outcomes.parquet")
    cell = json.loads((folder / "cell.json").read_text())
    assert len(outcomes) == cell["n"] == 12
    assert sum(o.metrics["acc"] for o in outcomes) / 12 == pytest.approx(cell["metrics"]["acc"])
    for outcome in outcomes:
        assert outcome.log_likelihoods is not None
        chosen = max(range(2), key=outcome.log_likelihoods.__getitem__)
        assert outcome.answer == ("bad", "good")[chosen]
        assert outcome.metrics["acc"] == float(chosen == outcome.label)
    text = desk.entry("scores", source="mood", target="sums") / "outcomes.parquet"
    assert pq.read_schema(text).names == [
        "id",
        "prompt_sha256",
        "answer",
        "log_likelihoods",
        "label",
        "references",
        "prompt_tokens",
        "answer_tokens",
        "truncated",
        "exact_match",
    ]
    assert all(o.log_likelihoods is None and o.label is None for o in read_outcomes(text))


def test_no_saved_file_names_a_path_of_this_machine(desk: Desk) -> None:
    study = small_study(
        seeds=0,
        model=str(desk.folder / "base"),
        tasks=[str(desk.folder / "*.yaml")],
    )
    desk.run(study, Failing)
    files = [path for path in desk.out.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [p for p in files if str(desk.folder.parent).encode() in p.read_bytes()] == []
    assert json.loads((desk.out / "study.json").read_text())["study"]["model"] == "base"


def test_a_folder_of_another_study_is_left_alone(desk: Desk) -> None:
    desk.run(small_study(seeds=0))
    before = {p: p.stat().st_mtime_ns for p in desk.out.rglob("*")}
    with pytest.raises(InputError, match=r"is the folder of another study \('small' on base@"):
        desk.run(small_study(name="large"))
    (desk.folder / "base" / "config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match="is the folder of another study"):
        desk.run(small_study(seeds=0))
    assert {p: p.stat().st_mtime_ns for p in desk.out.rglob("*")} == before


def test_other_weights_under_the_same_name_end_the_run(desk: Desk) -> None:
    class Other(StandIn):
        def __post_init__(self) -> None:
            self.identity += " "
            super().__post_init__()

    desk.run(small_study(seeds=0))
    with pytest.raises(JobFailure, match="are not those this study was begun with"):
        desk.run(small_study(seeds=1), Other)


def test_a_chat_template_the_model_lacks_is_told(desk: Desk) -> None:
    study = small_study(conditions={"name": "chat", "chat_template": "model", "examples": 4})
    with pytest.raises(InputError, match=r"The model base has no chat template; .* in chat"):
        desk.run(study)
    assert desk.run(study, has_chat_template=True).is_complete


def test_a_wrong_study_makes_no_folder_and_loads_no_model(desk: Desk) -> None:
    with pytest.raises(InputError, match="there is no task called 'moood'"):
        desk.run(small_study(sources=["moood"]))
    assert desk.models == []
    assert not desk.out.exists()


def test_auto_keeps_the_numeric_type_the_study_began_with(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(asked: str, **_: str) -> str:
        return fast if asked == "auto" else asked

    monkeypatch.setattr(models, "numeric_type", resolved)
    for fast in ("float32", "bfloat16"):  # noqa: B007 (read by `resolved`)
        desk.run(small_study(numeric_type="auto"))
    assert desk.models == []


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(desk: Desk) -> None:
    class Full(StandIn):
        def tune(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(StoreFailure, match="The disk is full"):
        desk.run(model=Full)
    assert desk.calls("ask") == 3
    assert TransferMatrix.of(desk.out).missing()
    desk.run()
    assert desk.calls("ask") == 18


def test_an_interrupt_stops_and_the_next_run_goes_on(desk: Desk) -> None:
    class Stopped(StandIn):
        def generate(self, prompts: Sequence[Prompt], **given: Any) -> Any:
            if self.calls.count("tune") == 2:
                raise KeyboardInterrupt
            return super().generate(prompts, **given)

    with pytest.raises(KeyboardInterrupt):
        desk.run(model=Stopped)
    done = desk.calls("ask")
    assert desk.run().is_complete
    assert desk.calls("ask") == 21 - done


def test_scores_of_other_weights_than_the_stored_ones_are_asked_again(desk: Desk) -> None:
    class OtherMachine(StandIn):
        """Tunes with other rounding."""

        def tune(self, prompts: Sequence[Prompt], **given: Any) -> Any:
            return super().tune(prompts, **given | {"seed": given["seed"] + 99})

    study = small_study(seeds=0, sources=["mood"])
    desk.run(study)
    shutil.rmtree(desk.entry("adapters", source="mood"))
    desk.run(study, OtherMachine)
    assert desk.calls("ask") == 3
    proofs = {row.tensors_sha256 for row in TransferMatrix.of(desk.out).rows}
    record = json.loads((desk.entry("adapters") / "job.json").read_text())
    assert proofs == {record["proof"]["tensors_sha256"]}


def test_scores_of_other_weights_are_asked_again_after_a_kill_too(desk: Desk) -> None:
    class Killed(StandIn):
        """Tunes with other rounding, and is killed once it has."""

        def tune(self, prompts: Sequence[Prompt], **given: Any) -> Any:
            return super().tune(prompts, **given | {"seed": given["seed"] + 99})

        def attach(self, folder: Path) -> Proof:
            if folder.parent.name == "adapters" and "tune" in self.calls:
                raise KeyboardInterrupt
            return super().attach(folder)

    study = small_study(seeds=0, sources=["mood"])
    desk.run(study)
    shutil.rmtree(desk.entry("adapters", source="mood"))
    with pytest.raises(KeyboardInterrupt):
        desk.run(study, Killed)
    assert desk.run(study).is_complete
    assert (desk.calls("tune"), desk.calls("ask")) == (0, 3)
    proofs = {row.tensors_sha256 for row in TransferMatrix.of(desk.out).rows}
    record = json.loads((desk.entry("adapters") / "job.json").read_text())
    assert proofs == {record["proof"]["tensors_sha256"]}


def test_the_matrix_is_of_the_study_that_was_asked_for(desk: Desk) -> None:
    class Meanwhile(StandIn):
        """Another process runs a study of the same name in the same folder."""

        def tune(self, prompts: Sequence[Prompt], **given: Any) -> Any:
            if "tune" not in self.calls:
                other = small_study(seeds=0, sources=["tone"])
                run(other, out=desk.out, folder=desk.folder, device="cpu", load=standin.load)
            return super().tune(prompts, **given)

    matrix = desk.run(small_study(seeds=0, sources=["mood", "sums"]), Meanwhile)
    assert {row.source for row in matrix.rows} == {"mood", "sums"}
    assert matrix.is_complete


def test_a_study_that_another_process_began_meanwhile_is_left_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raced(study: Study, **given: Any) -> Plan:
        planned = plan(study, **given)
        with monkeypatch.context() as alone:
            alone.setattr(running, "plan", plan)
            other = small_study(seeds=0, sources=["tone"], name="other")
            run(other, out=desk.out, folder=desk.folder, device="cpu", load=standin.load)
        return planned

    monkeypatch.setattr(running, "plan", raced)
    with pytest.raises(InputError, match=r"is the folder of another study \('other' on base@"):
        desk.run(small_study(seeds=0))
    assert json.loads((desk.out / "study.json").read_text())["name"] == "other"


@pytest.mark.parametrize("device", ["meta", "gpu"])
def test_a_wrong_device_makes_no_folder(desk: Desk, device: str) -> None:
    with pytest.raises(InputError, match=f"There is no device called '{device}'"):
        run(small_study(), out=desk.out, folder=desk.folder, device=device)
    assert not desk.out.exists()


def test_a_missing_package_makes_no_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(InputError, match=r"missing: peft.* pip install 'crosstune\[models\]'"):
        desk.run()
    assert not desk.out.exists()


def when_made(desk: Desk) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (desk.out / "adapters").iterdir()}


def test_an_adapter_that_another_machine_cannot_prove_is_kept(desk: Desk) -> None:
    class OtherMachine(StandIn):
        def attach(self, _: Path) -> Proof:
            raise ProofFailure("the model misses what it said to the probe by 3 nats")

    study = small_study(seeds=0, sources=["mood"])
    desk.run(study)
    csv, adapters = desk.matrix, when_made(desk)
    shutil.rmtree(desk.entry("scores", source="mood", target="tone"))
    matrix = desk.run(study, OtherMachine)
    assert "misses what it said to the probe" in "\n".join(matrix.reasons.values())
    assert {row.target: row.status for row in matrix.rows} == {
        "mood": "done",
        "tone": "failed",
        "sums": "done",
    }
    assert (desk.calls("tune"), desk.calls("ask")) == (0, 0)
    assert when_made(desk) == adapters
    desk.run(study)
    assert (desk.calls("tune"), desk.calls("ask")) == (0, 1)
    assert desk.matrix == csv


def test_an_adapter_whose_files_are_damaged_is_made_again(desk: Desk) -> None:
    class Damaged(StandIn):
        def attach(self, folder: Path) -> Proof:
            if folder.parent.name == "adapters" and "tune" not in self.calls:
                raise DamagedFile("the weights are altered")
            return super().attach(folder)

    study = small_study(seeds=0, sources=["mood"])
    desk.run(study)
    csv, adapters = desk.matrix, when_made(desk)
    shutil.rmtree(desk.entry("scores", source="mood", target="tone"))
    desk.run(study, Damaged)
    assert "mood (lora, seed 0): the weights are altered; it is tuned again" in desk.told.lines
    assert (desk.calls("tune"), desk.calls("ask")) == (1, 1)
    assert when_made(desk).keys() == adapters.keys()
    assert when_made(desk) != adapters
    assert desk.matrix == csv


class Cutting(StandIn):
    """Cuts the first three questions of a target to choose from."""

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        answers = super().score_choices(prompts, **given)
        return [replace(answer, truncated=i < 3) for i, answer in enumerate(answers)]


def test_what_was_left_out_and_what_decided_is_told_and_stored(desk: Desk) -> None:
    with (desk.folder / "mood-train.jsonl").open("a") as stream:
        stream.write('{"text": "odd", "label": -1}\n' * 2)
    with (desk.folder / "mood-test.jsonl").open("a") as stream:
        stream.write('{"text": "odd", "label": -1}\n')
    with (desk.folder / "mood.yaml").open("a") as stream:
        stream.write("drop: [-1]\n")
    desk.run(
        small_study(seeds=0, sources=["mood"], conditions={"examples": 6, "shots": 1}), Cutting
    )
    assert "note: mood leaves rows out, as it drops their label: 2 of train, 1 of test" in (
        desk.told.lines
    )
    cut = [line for line in desk.told.lines if "lost their beginning" in line]
    assert cut[0] == "base → mood: 3 of 6 prompts lost their beginning to fit the model"
    assert len(cut) == 4
    cells = {
        name: json.loads(
            (desk.entry("scores", source="mood", target=name) / "cell.json").read_text()
        )
        for name in ("mood", "tone", "sums")
    }
    assert {name: cell["truncated"] for name, cell in cells.items()} == {
        "mood": 3,
        "tone": 3,
        "sums": 0,
    }
    assert {name: cell["dropped"] for name, cell in cells.items()} == {
        "mood": 1,
        "tone": 0,
        "sums": 0,
    }
    record = json.loads((desk.entry("adapters") / "job.json").read_text())
    assert record["dropped"] == 2
    for stored in (record, *cells.values()):
        assert stored["versions"].keys() >= {"torch", "transformers", "peft", "numpy"}
        assert stored["versions"]["numpy"] == version("numpy")
    assert json.loads((desk.out / "study.json").read_text())["data"] == {
        f"{name} {split}": ""
        for name, split in [
            ("mood", "train"),
            *((name, split) for name in cells for split in ("test", "fewshot")),
        ]
    }


class Lost(StandIn):
    """Its likelihoods are not numbers."""

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        answers = super().score_choices(prompts, **given)
        last = replace(answers[-1], log_likelihoods=(-1.0, float("nan")))
        return [*answers[:-1], last]


class Shuffled(StandIn):
    """Answers in another order."""

    def score_choices(self, prompts: Sequence[Prompt], **given: Any) -> list[ChoiceAnswer]:
        return super().score_choices(prompts, **given)[::-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Lost, "the likelihood of a choice is not a number (example "),
        (Shuffled, "the answers are not in the order of the prompts"),
    ],
)
def test_answers_that_cannot_be_right_are_a_failure(
    desk: Desk, model: type[StandIn], reason: str
) -> None:
    matrix = desk.run(small_study(seeds=0, sources=["mood"]), model)
    assert {(row.target, row.status) for row in matrix.rows} == {
        ("mood", "failed"),
        ("tone", "failed"),
        ("sums", "done"),
    }
    assert all(reason in told for told in matrix.reasons.values())


@pytest.mark.parametrize("model", [StandIn, Failing, Forgetful])
def test_after_every_job_the_model_is_bare_again(desk: Desk, model: type[StandIn]) -> None:
    desk.run(small_study(seeds=0), model)
    bare = StandIn(desk.models[0].identity).check().tensors_sha256
    assert desk.models[0].check().tensors_sha256 == bare
