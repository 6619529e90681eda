"""The main job on a real language model: a study on the embedded model and embedded tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosstune.errors import InputError
from crosstune.models.reference import EMBEDDED, embedded_file
from crosstune.results.matrix import TransferMatrix
from crosstune.study.run import run
from crosstune.study.schema import Study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        embedded_file()
    except InputError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("smollm2") / "study"


@pytest.fixture(scope="module")
def matrix(folder: Path) -> TransferMatrix:
    study = Study(
        name="real",
        model=EMBEDDED,
        sources=["review_sentiment"],
        targets=["review_sentiment", "past_tense"],
        recipes={"learning_rate": 1e-3, "batch_size": 8, "examples": 96},
        conditions={"examples": 48},
    )
    return run(study, out=folder)


def test_tuning_lifts_its_own_task_and_moves_another(matrix: TransferMatrix) -> None:
    assert matrix.is_complete
    rows = {row.target: row for row in matrix.rows if row.main}
    own, other = rows["review_sentiment"], rows["past_tense"]
    assert own.base is not None
    assert 0.5 < own.base < 1.0
    assert own.gain is not None
    assert own.gain > 0.02
    # A model tuned to answer with one of two words no longer writes past tenses.
    assert other.base is not None
    assert other.base > 0.4
    assert other.gain is not None
    assert other.gain < 0


def test_every_cell_names_the_weights_that_answered(matrix: TransferMatrix, folder: Path) -> None:
    cells = {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("scores/*/cell.json")
    }
    proofs = {row.key: cells[row.key]["proof"] for row in matrix.rows}
    bases = {row.base_key: cells[row.base_key]["proof"] for row in matrix.rows}
    assert len({proof["tensors_sha256"] for proof in proofs.values()}) == 1
    assert all(proof["distance_from_base"] > 1 for proof in proofs.values())
    assert all(proof["distance_from_base"] == 0 for proof in bases.values())
    every = [*proofs.values(), *bases.values()]
    assert len({proof["base_sha256"] for proof in every}) == 1
    assert all(proof["probe_error"] == 0 for proof in every)


def test_nothing_saved_names_a_path(matrix: TransferMatrix, folder: Path) -> None:
    assert matrix.rows
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(folder).encode() not in content, path.name
            assert str(Path.home()).encode() + b"/" not in content, path.name
