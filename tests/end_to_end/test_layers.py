"""Layer by layer on the real engine: from a study's file to sentences, page and exit status."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from crosstune import cli
from crosstune.results.states import states_of
from crosstune.results.store import Store
from models_support import load, quiet
from small import folder_of_tasks, small_study
from tiny import tiny_model

RECIPE = {"name": "lora", "examples": 16, "batch_size": 8, "learning_rate": 0.01}


@pytest.fixture(params=["last_prompt_token", "mean"])
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    torch.set_num_threads(1)
    folder_of_tasks(tmp_path)
    tiny_model(tmp_path / "base", "qwen2")
    study = small_study(
        recipes=RECIPE,
        conditions={"name": "zero-shot", "examples": 6},
        seeds=0,
        cells="own",
        layers={"probe_examples": 20, "position": request.param},
    ).model_dump(mode="json")
    files = ["mood.yaml", "tone.yaml", "sums.yaml"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study | {"tasks": files}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["crosstune", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_study_of_layers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "plan", "study.yaml") == 0
    told = capsys.readouterr().out
    assert "states   6 probes, about" in told
    assert "MiB" in told
    assert call(monkeypatch, "run", "study.yaml", "--out", "out", "--device", "cpu") == 0
    assert call(monkeypatch, "status", "out") == 0
    assert "states 6 of 6 done" in capsys.readouterr().out
    _states_are_those_of_the_proved_models(folder)
    assert call(monkeypatch, "layers", "out") == 0
    told = capsys.readouterr().out
    position = yaml.safe_load((folder / "study.yaml").read_text())["layers"]["position"]
    assert f"({position.replace('_', ' ')})" in told
    assert "Tasks in the mixture (both, lora)" in told
    assert ("their embedding is one state" in told) == (position == "last_prompt_token")
    assert 'id="analysis-layers"' in (folder / "out" / "report.html").read_text()
    store = Store(folder / "out", writable=True)
    store.discard("states", store.layers()[-1]["key"])
    assert call(monkeypatch, "layers", "out") == 1
    told, progress = capsys.readouterr()
    assert "both (seed 0) on sums" in told
    assert "hidden states: 1 of 6 are missing; run the study again" in progress
    assert call(monkeypatch, "run", "study.yaml", "--out", "out", "--device", "cpu") == 0
    assert call(monkeypatch, "layers", "out", "--measure", "nonsense") == 2
    assert "no similarity called 'nonsense'" in capsys.readouterr().err


def _states_are_those_of_the_proved_models(folder: Path) -> None:
    """The kept products are those of a fresh model with the stored adapter on."""
    from crosstune.study.plan import plan
    from crosstune.study.schema import load_study

    planned = plan(load_study(folder / "study.yaml"), folder=folder, device="cpu")
    store, model = Store(folder / "out"), load(folder / "base")
    for job in planned.jobs:
        model.detach()
        if job.recipe is not None:
            model.attach(folder / "out" / "adapters" / job.key)
        for key, probe in job.probes.items():
            kept = states_of(store, key)
            assert kept is not None
            fresh = model.activations(
                probe.prompts,
                position=probe.ingredients["position"],
                tokens_per_batch=4096,
                progress=quiet,
            ).states
            centred = fresh[-1].astype(float) - fresh[-1].mean(axis=0, dtype=float)
            expected = centred @ centred.T
            tolerance = 2e-3 * np.abs(expected).max()
            np.testing.assert_allclose(kept.products(2), expected, atol=tolerance)
            assert (max(kept.record["moved"]) > 0) == (job.recipe is not None)
