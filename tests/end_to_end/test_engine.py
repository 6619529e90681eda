"""A study on the real engine with a tiny model, from its YAML file to the matrix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from crosstune import models
from crosstune.models import LanguageModel, ModelReference, Proof, engine
from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import read_outcomes
from crosstune.study.run import Load, run
from crosstune.study.schema import Study, load_study
from small import Told, folder_of_tasks, small_study
from tiny import tiny_model

RECIPES = [
    {"name": "lora", "examples": 16, "batch_size": 8, "learning_rate": 0.01},
    {"name": "full", "method": "full", "examples": 16, "batch_size": 8, "learning_rate": 0.001},
    {"name": "sham", "examples": 16, "batch_size": 8, "learning_rate": 0},
]
NAMES = ("lora", "full", "sham")
CONDITIONS = [
    {"name": "zero-shot", "examples": 6},
    {"name": "two-shot", "examples": 6, "shots": 2},
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = folder_of_tasks(tmp_path_factory.mktemp("engine") / "desk")
    shutil.rmtree(folder / "base")
    tiny_model(folder / "base")
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    wanted = small_study(
        sources=["mood", "sums"], targets=["mood", "sums"], recipes=RECIPES, conditions=CONDITIONS
    )
    path = folder / "STUDY.yaml"
    content = wanted.model_dump(mode="json") | {"tasks": ["mood.yaml", "sums.yaml"]}
    path.write_text(yaml.safe_dump(content))
    return load_study(path)


@pytest.fixture(scope="module")
def calm(folder: Path, study: Study) -> TransferMatrix:
    return run(study, out=folder / "out", folder=folder, device="cpu")


@pytest.fixture
def copy(folder: Path, calm: TransferMatrix, tmp_path: Path) -> Path:
    """The finished study, to be spoiled."""
    assert calm.is_complete
    return Path(shutil.copytree(folder / "out", tmp_path / "out"))


def test_every_recipe_and_condition_is_a_slice(calm: TransferMatrix) -> None:
    assert calm.is_complete
    main = [row for row in calm.rows if row.main]
    assert len(main) == 2 * 2 * 3 * 2 * 2
    assert {row.gain for row in main if row.recipe == "sham"} == {0.0}
    tuned = {recipe: {r.tensors_sha256 for r in main if r.recipe == recipe} for recipe in NAMES}
    assert {recipe: len(hashes) for recipe, hashes in tuned.items()} == {
        "lora": 4,
        "full": 4,
        "sham": 2,  # never stepped, a sham depends on its seed alone
    }


def test_every_cell_carries_its_proof(folder: Path, calm: TransferMatrix) -> None:
    records = [json.loads(p.read_text()) for p in (folder / "out").glob("adapters/*/job.json")]
    proofs = {record["key"]: record["proof"]["tensors_sha256"] for record in records}
    assert {(row.job_key, row.tensors_sha256) for row in calm.rows} == set(proofs.items())
    for path in (folder / "out").glob("scores/*/cell.json"):
        cell = json.loads(path.read_text())
        assert cell["proof"]["probe_error"] <= 1e-4
        assert (cell["proof"]["distance_from_base"] == 0) == (cell["recipe"] in (None, "sham"))


def test_the_base_s_own_answers_are_the_engine_s(folder: Path, calm: TransferMatrix) -> None:
    row = next(r for r in calm.rows if r.target == "mood" and r.condition == "two-shot")
    outcomes = read_outcomes(folder / "out" / "scores" / row.base_key / "outcomes.parquet")
    assert len({outcome.id for outcome in outcomes}) == 6
    assert all(len(outcome.log_likelihoods or ()) == 2 for outcome in outcomes)
    assert all(outcome.prompt_tokens > 20 for outcome in outcomes)


def test_the_same_command_again_loads_no_model(
    folder: Path, study: Study, calm: TransferMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(models, "load")

    def refuse(*_: object, **__: object) -> LanguageModel:
        raise AssertionError("nothing was missing")

    assert run(study, out=folder / "out", folder=folder, device="cpu", load=refuse) == calm


def test_no_file_names_a_path_of_this_machine(folder: Path, calm: TransferMatrix) -> None:
    assert calm.is_complete
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    paths = [str(p).encode() for p in (folder.parent, Path.home(), Path.cwd())]
    found = [p for p in files if any(path in p.read_bytes() for path in paths if len(path) > 1)]
    assert found == []


def test_an_altered_adapter_is_told_and_made_again(
    folder: Path, study: Study, copy: Path, calm: TransferMatrix
) -> None:
    file = next(copy.glob("adapters/*/adapter_model.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = Told()
    again = run(study, out=copy, folder=folder, device="cpu", reporter=told)
    assert f"adapters/{file.parent.name} is damaged" in told.lines[-2] + told.lines[0]
    assert again == calm
    assert file.read_bytes() == whole


def test_swapped_adapters_are_told_and_made_again(
    folder: Path, study: Study, copy: Path, calm: TransferMatrix
) -> None:
    first, second = sorted((copy / "adapters").iterdir())[:2]
    first.rename(copy / "aside")
    second.rename(first)
    (copy / "aside").rename(second)
    told = Told()
    again = run(study, out=copy, folder=folder, device="cpu", reporter=told)
    assert len([line for line in told.lines if "another entry's" in line]) == 2
    assert again == calm


def loading(before_attach: Callable[[], object]) -> Load:
    """Makes a model to which something happens right before it attaches its first adapter."""

    def load(reference: ModelReference, *, numeric_type: str, device: str) -> LanguageModel:
        model = models.load(reference, numeric_type=numeric_type, device=device)
        attach = model.attach

        def spoiled(folder: Path) -> Proof:
            model.attach = attach  # type: ignore[method-assign]
            before_attach()
            return attach(folder)

        model.attach = spoiled  # type: ignore[method-assign]
        return model

    return load


def test_an_adapter_that_cannot_be_proved_here_is_kept(
    folder: Path, study: Study, copy: Path, calm: TransferMatrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(row for row in TransferMatrix.of(copy).rows if row.recipe == "lora")
    shutil.rmtree(copy / "scores" / row.key)
    made = {p: p.stat().st_mtime_ns for p in copy.rglob("adapters/*/*")}
    with monkeypatch.context() as elsewhere:
        load = loading(lambda: elsewhere.setattr(engine, "TOLERANCE", {"float32": -1.0}))
        matrix = run(study, out=copy, folder=folder, device="cpu", load=load)
    assert set(matrix.reasons) == {row.key}
    assert "misses what it said to the probe" in matrix.reasons[row.key]
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("adapters/*/*")} == made
    assert run(study, out=copy, folder=folder, device="cpu") == calm


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "proof.json"])
def test_an_adapter_that_is_damaged_before_it_answers_is_made_again(
    folder: Path, study: Study, copy: Path, calm: TransferMatrix, name: str
) -> None:
    row = next(row for row in TransferMatrix.of(copy).rows if row.recipe == "lora")
    shutil.rmtree(copy / "scores" / row.key)
    file = copy / "adapters" / row.job_key / name
    whole = file.read_bytes()

    damaged = whole + b" " if name == "adapter_config.json" else whole[:-9]
    load = loading(lambda: file.write_bytes(damaged))
    told = Told()
    again = run(study, out=copy, folder=folder, device="cpu", reporter=told, load=load)
    assert [line for line in told.lines if line.endswith("it is tuned again")]
    assert again == calm
    assert file.read_bytes() == whole


def test_an_adapter_that_is_detached_while_it_answers_is_caught(
    folder: Path, study: Study, copy: Path
) -> None:
    row = next(row for row in TransferMatrix.of(copy).rows if row.recipe == "lora")
    shutil.rmtree(copy / "scores" / row.key)

    def load(reference: ModelReference, *, numeric_type: str, device: str) -> LanguageModel:
        model = models.load(reference, numeric_type=numeric_type, device=device)
        score = model.score_choices

        def detached(*given: object, **named: object) -> object:
            model.detach()
            return score(*given, **named)  # type: ignore[arg-type]

        model.score_choices = detached  # type: ignore[method-assign,assignment]
        return model

    matrix = run(study, out=copy, folder=folder, device="cpu", load=load)
    assert set(matrix.reasons) == {row.key}
    assert "the model that answered is not the one this job attached" in matrix.reasons[row.key]
    assert not (copy / "scores" / row.key).exists()
