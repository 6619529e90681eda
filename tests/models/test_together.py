"""Several adapters tuned in common batches are those tuned one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from crosstune import Condition, Study, run
from crosstune.errors import JobFailure
from crosstune.models import Assignment, adapters
from crosstune.models.engine import TorchModel
from crosstune.models.protocol import Tuning
from crosstune.models.recipe import Recipe
from crosstune.tasks.example import Prompt
from models_support import choice_prompts, load, quiet
from tiny import _SHARED, tiny_model, tiny_tokenizer

RECIPE = Recipe(learning_rate=1e-2, batch_size=8, epochs=2, rank=4, alpha=8)
SETS = (
    choice_prompts(22),
    choice_prompts(22, (" true", " false")),
    choice_prompts(44)[22:],
)


def alone(model: TorchModel, recipe: Recipe, root: Path) -> list[Tuning]:
    reports = []
    for i, prompts in enumerate(SETS):
        (root / f"{i}").mkdir(parents=True)
        reports += [
            model.tune(prompts, recipe=recipe, seed=i, folder=root / f"{i}", progress=quiet)
        ]
    return reports


def together(model: TorchModel, recipe: Recipe, root: Path) -> list[Tuning]:
    assignments = []
    for i, prompts in enumerate(SETS):
        (root / f"{i}").mkdir(parents=True)
        assignments.append(Assignment(prompts, i, root / f"{i}"))
    return model.tune_together(assignments, recipe=recipe, progress=quiet)


@pytest.mark.parametrize("piece", [90, 4096])
@pytest.mark.parametrize("loss", ["completion", "all"])
def test_equal_to_one_by_one(
    any_model: TorchModel,
    piece: int,
    loss: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from crosstune.models import tuning

    recipe = RECIPE.model_copy(update={"loss": loss})
    expected = alone(any_model, recipe, tmp_path / "alone")
    monkeypatch.setattr(tuning, "_PIECE_TOKENS", {"cpu": piece})
    found = together(any_model, recipe, tmp_path / "together")
    for i, (one, other) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_allclose(one.losses, other.losses, atol=1e-4)
        assert (one.tokens, one.loss_tokens, one.examples) == (
            other.tokens, other.loss_tokens, other.examples,
        )  # fmt: skip
        weights = [adapters.load_tensors(tmp_path / way / f"{i}") for way in ("alone", "together")]
        assert weights[0].keys() == weights[1].keys()
        apart = [float((weights[0][n] - weights[1][n]).square().mean()) for n in weights[0]]
        assert np.sqrt(np.mean(apart)) < 1e-4
        assert any_model.attach(tmp_path / "together" / f"{i}").distance_from_base > 0.01
    any_model.detach()
    # They are three models, not one three times.
    assert len({report.losses for report in found}) == 3


def test_one_that_fails_makes_nothing(model: TorchModel, tmp_path: Path) -> None:
    model._originals["model.norm.weight"].fill_(float("inf"))
    for name in "ab":
        (tmp_path / name).mkdir()
    with pytest.raises(JobFailure, match="the loss is nan at step 1"):
        model.tune_together(
            [Assignment(SETS[0], 0, tmp_path / "a"), Assignment(SETS[1], 0, tmp_path / "b")],
            recipe=RECIPE,
            progress=quiet,
        )
    assert list(tmp_path.glob("*/*")) == []
    assert model._model is model._base


def study(folder: Path) -> Study:
    return Study(
        name="together",
        model=str(folder),
        sources=["parity", "plural", "addition"],
        targets=["parity"],
        numeric_type="float32",
        conditions=[Condition(examples=6)],
        recipes=[Recipe(examples=16, batch_size=8, learning_rate=1e-2)],
    )


def test_a_study_tunes_alike_jobs_together_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(tmp_path / "tiny")
    one = run(study(folder), out=tmp_path / "one")
    calls: list[int] = []
    tune = TorchModel.tune_together

    def counted(self: TorchModel, assignments: list[Assignment], **given: Any) -> list[Tuning]:
        calls.append(len(assignments))
        return tune(self, assignments, **given)

    monkeypatch.setattr(TorchModel, "tune_together", counted)
    monkeypatch.setattr(TorchModel, "at_once", lambda *_: 2)
    two = run(study(folder), out=tmp_path / "two")
    assert calls == [2, 1]
    records = [json.loads(p.read_text()) for p in (tmp_path / "two").glob("adapters/*/job.json")]
    assert sorted(record["tuned_together"] for record in records) == [1, 2, 2]
    assert one.is_complete
    assert two.is_complete
    for a, b in zip(one.rows, two.rows, strict=True):
        assert (a.source, a.target, a.base, a.score) == (b.source, b.target, b.base, b.score)


def test_a_failure_among_several_is_one_jobs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(tmp_path / "tiny")
    tune = TorchModel.tune_together

    def some(self: TorchModel, assignments: list[Assignment], **given: Any) -> list[Tuning]:
        if any("=" in one.prompts[0].completion or "+" in one.prompts[0].context
               for one in assignments):  # fmt: skip
            raise JobFailure("the loss is nan at step 1")
        return tune(self, assignments, **given)

    monkeypatch.setattr(TorchModel, "tune_together", some)
    monkeypatch.setattr(TorchModel, "at_once", lambda *_: 3)
    matrix = run(study(folder), out=tmp_path / "out")
    status = {row.source: row.status for row in matrix.rows}
    assert status == {"parity": "done", "plural": "done", "addition": "failed"}


def test_a_cpu_is_busy_with_one(model: TorchModel) -> None:
    assert model.at_once(SETS[0], RECIPE) == 1


def built(folder: Path, architecture: str, **config: Any) -> TorchModel:
    torch.manual_seed(0)
    whole = AutoConfig.for_model(architecture, **{**_SHARED, **config})
    AutoModelForCausalLM.from_config(whole).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load(folder)


def sized(words: int) -> list[Prompt]:
    return [Prompt(f"p{i}", (), f"{i} is " + "a quiet joy " * words, (), " yes") for i in range(16)]


def test_rows_that_fill_up_a_piece_stay_within_the_position_table(tmp_path: Path) -> None:
    model = built(tmp_path / "opt", "opt", ffn_dim=48, word_embed_proj_dim=32, dropout=0.0)
    recipe = RECIPE.model_copy(update={"batch_size": 16})
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    reports = model.tune_together(
        [Assignment(sized(0), 0, tmp_path / "a"), Assignment(sized(12), 0, tmp_path / "b")],
        recipe=recipe,
        progress=quiet,
    )
    one = model.tune(sized(0), recipe=recipe, seed=0, folder=tmp_path / "c", progress=quiet)
    np.testing.assert_allclose(reports[0].losses, one.losses, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "config", "change"),
    [
        ("llama", {"num_key_value_heads": 2}, {"dropout": 0.1}),
        ("llama", {"num_key_value_heads": 2}, {"method": "full"}),
        ("llama", {"num_key_value_heads": 2, "attention_dropout": 0.1}, {}),
        ("gpt2", {}, {}),  # drops, and its layers are no linear ones
        ("bloom", {}, {}),
        (
            "gpt_neox",
            {"tie_word_embeddings": False},
            {"target_modules": ("lm_head", "query_key_value")},
        ),
    ],
    ids=["dropout", "full", "the base drops", "gpt2", "bloom", "output layer"],
)
def test_what_would_come_out_otherwise_is_tuned_by_itself(
    architecture: str, config: dict[str, Any], change: dict[str, Any], tmp_path: Path
) -> None:
    model = built(tmp_path / "model", architecture, **config)
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"rank": 2} | change)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with pytest.raises(JobFailure, match="one model at a time"):
        model.tune_together(
            [Assignment(SETS[0], 0, tmp_path / "a"), Assignment(SETS[1], 1, tmp_path / "b")],
            recipe=recipe,
            progress=quiet,
        )
    model.tune(SETS[0], recipe=recipe, seed=0, folder=tmp_path / "c", progress=quiet)
    assert model.attach(tmp_path / "c").distance_from_base > 0
