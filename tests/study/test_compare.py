"""Two models on the same prompts, layer by layer, whatever their architecture and tokenizer."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from crosstune import cli
from crosstune.errors import InputError
from small import folder_of_tasks
from tiny import tiny_model

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder_of_tasks(tmp_path)
    tiny_model(tmp_path / "llama", "llama")
    tiny_model(tmp_path / "gemma", "gemma3_text", bos=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["crosstune", "compare", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_models_of_two_kinds_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("llama", "gemma", "--tasks", "mood.yaml", "--tasks", "tone.yaml", "--device", "cpu")
    assert call(monkeypatch, *words) == 0
    told = capsys.readouterr()
    assert "llama and gemma on 2 tasks, layers at the same depth" in told.out
    assert "states of mood" in told.err
    assert call(monkeypatch, *words, "--table", "depth", "--format", "csv") == 0
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert [(row["task"], row["layer"]) for row in rows] == [
        (task, str(layer)) for task in ("mood", "tone") for layer in range(3)
    ]
    # All prompts end in "Mood:", so their embeddings are one.
    assert "their embedding is one state" in rows[0]["reason"]
    assert rows[0]["similarity"] == ""
    assert all(-0.2 < float(row["similarity"]) < 1 for row in rows if row["layer"] != "0")


def test_a_model_is_wholly_like_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("llama", "llama", "--tasks", "mood.yaml", "--position", "mean", "--device", "cpu")
    assert call(monkeypatch, *words, "--table", "depth", "--format", "csv") == 0
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert [float(row["similarity"]) for row in rows] == pytest.approx([1.0] * 3, abs=1e-4)
    assert [row["best_layer"] for row in rows] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("llama", "nowhere"), "There is no model called 'nowhere'"),
        (("llama", "gemma", "--tasks", "mod.yaml"), "mod.yaml"),
        (("llama", "gemma", "--tasks", "sentimnt"), "'sentimnt'"),
        (("llama", "gemma", "--measure", "pwcca"), "pwcca needs more of the states than is kept"),
        (("llama", "gemma", "--device", "tpu"), "There is no device called 'tpu'"),
    ],
)
def test_what_cannot_be_compared_is_told_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    assert call(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "loading" not in error
    assert "Traceback" not in error


def test_no_task_is_read_twice() -> None:
    from crosstune.cli.tasks import named_tasks

    assert [task.name for task in named_tasks(["mood.yaml", "m*.yaml"])] == ["mood"]
    assert len(named_tasks(None)) > 5
    with pytest.raises(InputError):
        named_tasks(["moood"])
