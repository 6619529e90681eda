"""Tuning equals a plain loop, learns in every numeric type, and leaves the base as it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from crosstune.errors import JobFailure
from crosstune.models import adapters, tuning
from crosstune.models.encoding import shared_beginning
from crosstune.models.engine import TorchModel
from crosstune.models.protocol import Tuning
from crosstune.models.recipe import Recipe
from crosstune.tasks.example import Prompt
from models_support import choice_prompts, load, quiet

PROMPTS = choice_prompts(24)
LORA = Recipe(learning_rate=1e-2, batch_size=8, epochs=2, rank=4, alpha=8)
FULL = Recipe(method="full", learning_rate=1e-3, batch_size=8, epochs=2)


def tuned(model: TorchModel, recipe: Recipe, folder: Path, seed: int = 0) -> Tuning:
    folder.mkdir(exist_ok=True)
    return model.tune(PROMPTS, recipe=recipe, seed=seed, folder=folder, progress=quiet)


def plain_loop(model: TorchModel, recipe: Recipe) -> tuple[list[float], dict[str, torch.Tensor]]:
    """A loop anyone would write with transformers and peft: whole logits, ignored labels."""
    folder = str(model._reference.folder)
    base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    if recipe.method == "lora":
        config = LoraConfig(
            r=recipe.rank, lora_alpha=int(recipe.alpha), target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        base = get_peft_model(base, config)
    trained = [p for p in base.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=0.0)
    lessons = model._encoder.lessons(PROMPTS, max_tokens=recipe.max_tokens)
    lengths = [len(lesson.tokens) for lesson in lessons]
    steps = [
        batch
        for epoch in range(recipe.epochs)
        for batch in tuning.epoch_batches(len(lessons), recipe.batch_size, (0, epoch))
    ]
    factor = tuning.rate_factors(recipe, len(steps))
    losses = []
    base.train()
    for number, step in enumerate(steps):
        width = max(lengths[i] for i in step)
        ids, labels = torch.ones(len(step), width).long(), torch.full((len(step), width), -100)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(step):
            tokens = torch.tensor(lessons[i].tokens)
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
            last = len(tokens) - 1  # the end of text
            answer = torch.arange(len(tokens)) >= lessons[i].start
            carries = {
                "completion": answer,
                "all": torch.ones_like(answer),
                "label_only": answer & (torch.arange(len(tokens)) < last),
                "all_but_label": ~answer | (torch.arange(len(tokens)) == last),
            }[recipe.loss]
            labels[row, : len(tokens)] = torch.where(carries, tokens, -100)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * factor(number)
        loss = base(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    if recipe.method == "lora":
        return losses, get_peft_model_state_dict(base, save_embedding_layers=False)
    return losses, dict(base.named_parameters())


@pytest.mark.parametrize("loss", ["completion", "all", "label_only", "all_but_label"])
@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("piece", [30, 4096])
def test_equals_a_plain_loop_however_batches_are_cut(
    any_model: TorchModel,
    recipe: Recipe,
    loss: str,
    piece: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe.model_validate({**recipe.model_dump(), "loss": loss})
    monkeypatch.setattr(tuning, "_PIECE_TOKENS", {"cpu": piece})
    report = tuned(any_model, recipe, tmp_path)
    losses, weights = plain_loop(any_model, recipe)
    np.testing.assert_allclose(report.losses, losses, atol=1e-3)
    stored = adapters.load_tensors(tmp_path)
    assert stored.keys() == weights.keys()
    # Where the true gradient is zero (a key's bias), AdamW makes steps out of rounding.
    apart = torch.cat([(stored[n] - w.detach()).abs().flatten() for n, w in weights.items()])
    assert float((apart > 1e-3).float().mean()) < 1e-3
    assert float(apart.square().mean().sqrt()) < 1e-4


@pytest.mark.parametrize("loss", ["completion", "all", "label_only", "all_but_label"])
def test_a_beginning_in_common_is_read_once_unless_it_carries_loss(
    any_model: TorchModel, loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "the film was very good and " * 8
    prompts = [replace(prompt, context=shown + prompt.context) for prompt in PROMPTS[:8]]
    recipe = Recipe.model_validate({**LORA.model_dump(), "loss": loss})
    seen: list[int] = []

    def shared(rows: list[list[int]], starts: list[int]) -> int:
        seen.append(shared_beginning(rows, starts))
        return seen[-1]

    def losses(name: str) -> tuple[float, ...]:
        (tmp_path / name).mkdir()
        folder = tmp_path / name
        return any_model.tune(prompts, recipe=recipe, seed=0, folder=folder, progress=quiet).losses

    monkeypatch.setattr(tuning, "shared_beginning", shared)
    once = losses("once")
    monkeypatch.setattr(tuning, "shared_beginning", lambda *_: 0)
    np.testing.assert_allclose(once, losses("each"), atol=1e-3)
    assert all((count > 0) == (not loss.startswith("all")) for count in seen)


@pytest.mark.parametrize("numeric_type", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_the_loss_falls_and_the_base_is_restored_bit_for_bit(
    folders: dict[str, Path], recipe: Recipe, numeric_type: str, tmp_path: Path
) -> None:
    model = load(folders["llama"], numeric_type)
    before = {name: p.detach().clone() for name, p in model._base.named_parameters()}
    longer = recipe.model_copy(update={"epochs": 8})
    report = tuned(model, longer, tmp_path)
    assert report.losses[-1] < 0.8 * report.losses[0]
    for name, p in model._base.named_parameters():
        assert torch.equal(p, before[name]), name
    proof = model.attach(tmp_path)
    assert proof.distance_from_base > 0.1
    model.detach()
    assert adapters.tensors_sha256(dict(model._base.named_parameters())) == proof.base_sha256
    assert model.check().distance_from_base == 0


def test_full_tuning_moves_weights_that_bf16_steps_would_lose(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model = load(folders["llama"], "bfloat16")
    small = FULL.model_copy(update={"learning_rate": 2e-5, "epochs": 20, "schedule": "constant"})
    tuned(model, small, tmp_path)
    stored = load_file(tmp_path / adapters.FULL_FILE)
    assert all(tensor.dtype == torch.bfloat16 for tensor in stored.values())
    moved = sum(int((t != model._originals[n]).sum()) for n, t in stored.items())
    assert moved / sum(t.numel() for t in stored.values()) > 0.3


@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_a_seed_decides_the_weights(model: TorchModel, recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.model_copy(update={"dropout": 0.1})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tuned(model, recipe, tmp_path / name, seed)
    a, b, c = (adapters.tensors_sha256(adapters.load_tensors(tmp_path / n)) for n in "abc")
    assert a == b != c


def test_what_is_reported_is_what_was_read(model: TorchModel, tmp_path: Path) -> None:
    report = tuned(model, LORA, tmp_path)
    lessons = model._encoder.lessons(PROMPTS, max_tokens=512)
    assert report.examples == 24
    assert len(report.losses) == 2 * math.ceil(24 / 8)
    assert report.tokens == 2 * sum(len(x.tokens) for x in lessons)
    assert report.loss_tokens == 2 * sum(len(x.tokens) - x.start for x in lessons)
    assert report.truncated == 0


def test_lessons_end_as_the_model_ends_a_turn(model: TorchModel) -> None:
    tokenizer = model._encoder.tokenizer
    plain = Prompt("a", (), "Is it?", (), " yes")
    chat = Prompt("b", (("user", "Is it?"),), "", (), "yes")
    lessons = model._encoder.lessons([plain, chat], max_tokens=99)
    texts = [tokenizer.decode(lesson.tokens) for lesson in lessons]
    assert texts == ["Is it? yes</s>", "<|user|>Is it?<|end|>\n<|assistant|>yes<|end|>"]


def test_a_long_example_loses_the_beginning_of_its_context(model: TorchModel) -> None:
    prompt = Prompt("a", (), "a quiet joy " * 40 + "Is it?", (), " yes")
    long = model._encoder.lessons([prompt], max_tokens=512)[0]
    cut = model._encoder.lessons([prompt], max_tokens=20)[0]
    assert cut.truncated
    assert len(cut.tokens) == 20
    assert cut.tokens == long.tokens[-20:]
    assert cut.tokens[cut.start :] == long.tokens[long.start :]


def test_a_sham_source_changes_nothing_and_is_no_failure(model: TorchModel, tmp_path: Path) -> None:
    tuned(model, LORA.model_copy(update={"learning_rate": 0.0}), tmp_path)
    assert model.attach(tmp_path).distance_from_base == 0


def test_tuning_that_changes_nothing_fails(
    model: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: None)
    monkeypatch.setattr(torch.optim.lr_scheduler.LambdaLR, "step", lambda *_: None)
    with pytest.raises(JobFailure, match="LoRA B is still all zero"):
        tuned(model, LORA, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_job(model: TorchModel, tmp_path: Path) -> None:
    wild = FULL.model_copy(update={"learning_rate": 0.999, "clip": 0.0, "epochs": 40})
    model._originals["model.norm.weight"].fill_(float("inf"))
    with pytest.raises(JobFailure, match=r"the loss is (nan|inf) at step 1"):
        tuned(model, wild, tmp_path)
    assert model._model is model._base


@pytest.mark.parametrize("look", [1, 2, 16])
@pytest.mark.parametrize("bad", [1, 3, 6])
def test_a_loss_that_is_not_finite_is_found_however_seldom_it_is_looked_at(
    model: TorchModel, look: int, bad: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_LOOK", {"cpu": look})
    norm: Any = model._base.get_submodule("model.norm")

    def spoil(done: int, *_: object) -> None:
        if done == bad - 1:
            norm.weight.data.fill_(float("inf"))

    spoil(0)
    with pytest.raises(JobFailure, match=f"the loss is (nan|inf) at step {bad} of 6"):
        model.tune(PROMPTS, recipe=LORA, seed=0, folder=tmp_path, progress=spoil)


def test_unknown_target_modules_fail_in_words(model: TorchModel, tmp_path: Path) -> None:
    with pytest.raises(JobFailure, match="target_modules"):
        tuned(model, LORA.model_copy(update={"target_modules": ("nowhere",)}), tmp_path)
    assert model.check().distance_from_base == 0


def test_a_name_that_cannot_be_adapted_leaves_the_base_whole(
    model: TorchModel, tmp_path: Path
) -> None:
    """PEFT wraps the first module before it refuses the second."""
    with pytest.raises(JobFailure, match="target_modules"):
        tuned(model, LORA.model_copy(update={"target_modules": ("q_proj", "norm")}), tmp_path / "a")
    assert model.check().distance_from_base == 0
    tuned(model, LORA, tmp_path / "b")
    model.attach(tmp_path / "b")


def test_only_tokens_that_carry_loss_reach_the_output_layer(
    model: TorchModel, tmp_path: Path
) -> None:
    seen: list[int] = []
    head = model._base.get_output_embeddings()
    hook = head.register_forward_hook(
        lambda _m, inputs, _o: seen.append(inputs[0].shape[1]) if torch.is_grad_enabled() else None
    )
    report = tuned(model, LORA, tmp_path)
    hook.remove()
    assert sum(seen) == report.loss_tokens


def test_a_piece_that_does_not_fit_is_halved_with_the_same_result(
    model: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tuned(model, LORA, tmp_path / "a")
    forward = type(model._base).forward

    def small_memory(self: object, input_ids: torch.Tensor, **rest: object) -> object:
        if input_ids.numel() > 200 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(model._base), "forward", small_memory)
    again = tuned(model, LORA, tmp_path / "b")
    np.testing.assert_allclose(again.losses, report.losses, atol=1e-4)


def test_batches_hold_every_example_once_in_an_order_of_their_seed() -> None:
    batches = list(tuning.epoch_batches(503, 16, 7))
    assert sorted(i for batch in batches for i in batch) == list(range(503))
    assert [len(batch) for batch in batches] == [16] * 31 + [7]
    assert batches == list(tuning.epoch_batches(503, 16, 7))
    assert batches != list(tuning.epoch_batches(503, 16, 8))
