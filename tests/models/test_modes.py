"""First tokens of choices, and how far tuning moved the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from crosstune.models.engine import TorchModel
from crosstune.models.recipe import Recipe
from models_support import choice_prompts, load, quiet


def test_first_tokens_are_what_the_next_token_says(folders: dict[str, Path]) -> None:
    """Against the logits of plain transformers after each prompt alone."""
    model = load(folders["llama"])
    plain = AutoModelForCausalLM.from_pretrained(folders["llama"])
    tokenizer = AutoTokenizer.from_pretrained(folders["llama"])
    choices = ("yes", "no", "never at all", "Paris")
    prompts = choice_prompts(9, choices)
    assert model.alike(prompts) is None
    found = model.score_choices(prompts, first_token=True, tokens_per_batch=512, progress=quiet)
    for prompt, answer in zip(prompts, found, strict=True):
        for choice, value in zip(choices, answer.log_likelihoods, strict=True):
            context = tokenizer(prompt.context)["input_ids"]
            whole = tokenizer(prompt.context + choice)["input_ids"]
            assert whole[: len(context)] == context, "the border merges: take another choice"
            logits = plain(torch.tensor([context])).logits[0, -1].detach()
            expected = float(logits.log_softmax(-1)[whole[len(context)]])
            assert value == pytest.approx(expected, abs=1e-4)
        assert answer.answer_tokens == len(choices)


def test_whole_choices_differ_from_their_first_tokens(model: TorchModel) -> None:
    prompts = choice_prompts(4)
    how = {"tokens_per_batch": 512, "progress": quiet}
    whole = model.score_choices(prompts, **how)  # type: ignore[arg-type]
    first = model.score_choices(prompts, first_token=True, **how)  # type: ignore[arg-type]
    for one, other in zip(whole, first, strict=True):
        pairs = zip(one.log_likelihoods, other.log_likelihoods, strict=True)
        assert all(a <= b + 1e-5 for a, b in pairs)
        assert one.log_likelihoods[3] < other.log_likelihoods[3] - 1


def test_choices_with_one_first_token_are_named(model: TorchModel) -> None:
    assert model.alike(choice_prompts(3)) == (" yes", " yes indeed")
    assert model.alike(choice_prompts(3, ("yes", "no"))) is None


@pytest.mark.parametrize("method", ["lora", "full"])
def test_movement_is_the_change_of_the_weights(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    """LoRA's is B·A·alpha/rank by hand, full tuning's the difference of the stored weights."""
    model = load(folders["llama"])
    recipe = Recipe(method=method, rank=4, alpha=12, learning_rate=1e-2, batch_size=4)  # type: ignore[arg-type]
    told = model.tune(choice_prompts(16), recipe=recipe, seed=0, folder=tmp_path, progress=quiet)
    plain = AutoModelForCausalLM.from_pretrained(folders["llama"])
    weights = {name: p.detach() for name, p in plain.named_parameters()}
    if method == "lora":
        tuned = load_file(tmp_path / "adapter_model.safetensors")
        downs = [name for name in tuned if "lora_A" in name]
        changes = [3.0 * tuned[n.replace("lora_A", "lora_B")] @ tuned[n] for n in downs]
        assert len(changes) == 2 * 7
    else:
        tuned = load_file(tmp_path / "model.safetensors")
        changes = [tuned[name] - weight for name, weight in weights.items()]
    count = sum(weight.numel() for weight in weights.values())
    mean = sum(float(change.abs().sum()) for change in changes) / count
    norms = [
        sum(float(t.square().sum()) for t in side) ** 0.5 for side in (changes, weights.values())
    ]
    assert told.mean_change == pytest.approx(mean, rel=1e-4)
    assert told.relative_change == pytest.approx(norms[0] / norms[1], rel=1e-4)
    assert mean > 1e-5
