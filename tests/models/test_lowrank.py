"""The faster LoRA layer computes, learns, is switched off and is stored as PEFT's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners import lora
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from crosstune.errors import JobFailure
from crosstune.models import adapters, lowrank
from crosstune.models.engine import TorchModel
from crosstune.models.lowrank import LowRankLinear, use_low_rank
from crosstune.models.recipe import Recipe
from models_support import choice_prompts, load, quiet
from tiny import _SHARED, tiny_tokenizer

PROMPTS = choice_prompts(12)
RECIPE = Recipe(learning_rate=1e-2, batch_size=4, rank=4, alpha=6)
SHAPES = [(7,), (3, 7), (2, 3, 7), (2, 1, 3, 7)]


def pair(
    *,
    bias: bool = True,
    dropout: float = 0.0,
    numeric_type: torch.dtype = torch.float64,
    frozen: bool = True,
) -> tuple[Any, Any]:
    """The same layer with the same weights: ours and PEFT's."""
    layers: list[Any] = []
    for config in (settings(dropout), use_low_rank(settings(dropout))):
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(7, 5, bias=bias)).to(numeric_type)
        layer: Any = get_peft_model(base, config).get_submodule("base_model.model.0")
        nn.init.normal_(layer.lora_B["default"].weight)
        layer.base_layer.requires_grad_(not frozen)
        layers.append(layer)
    peft, ours = layers
    assert type(peft) is lora.Linear
    assert type(ours) is LowRankLinear
    return ours, peft


def settings(dropout: float) -> LoraConfig:
    return LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout, target_modules=["0"])


def taught(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """Output and every gradient, of a loss that is not linear."""
    layer.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    out = layer(x)
    (out.float() if out.dtype == torch.bfloat16 else out).sin().square().sum().backward()
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    assert x.grad is not None
    return {"out": out.detach(), "x": x.grad, **found}


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "learns"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "asked"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_outputs_and_gradients_are_pefts(
    shape: tuple[int, ...], bias: bool, dropout: float, training: bool, frozen: bool
) -> None:
    """In fp64, so that only a wrong formula tells them apart; the same seed drops the same."""
    ours, peft = (
        layer.train(training) for layer in pair(bias=bias, dropout=dropout, frozen=frozen)
    )
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found, expected = taught(ours, x), taught(peft, x)
    assert found.keys() == expected.keys()
    assert ("base_layer.weight" in found) != frozen
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)
    assert float(expected["lora_A.default.weight"].abs().max()) > 1e-3


def test_the_first_layer_needs_no_gradient_of_its_input() -> None:
    ours, peft = pair()
    x = torch.randn(4, 7, dtype=torch.float64)
    for layer in (ours, peft):
        layer(x).square().sum().backward()
    for name, p in peft.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(ours.get_parameter(name).grad, p.grad)


def test_gradients_pass_torchs_own_check_where_the_layer_is_used_twice() -> None:
    ours, _ = pair()
    layer = nn.Sequential(ours, nn.Tanh(), nn.Linear(5, 7).double(), ours)
    x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, _a, _b: layer(x), (x, *learned(ours)))


def learned(layer: Any) -> list[Tensor]:
    return [layer.lora_A["default"].weight, layer.lora_B["default"].weight]


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7), (2, 3, 7)], ids=len)
def test_several_adapters_have_each_their_share_of_the_rows(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a row is told and teaches is what PEFT says with its adapter alone."""
    layers = []
    for config in (use_low_rank(settings(0.0)), settings(0.0)):
        torch.manual_seed(0)
        model: Any = get_peft_model(nn.Sequential(nn.Linear(7, 5)).double(), config)
        model.add_adapter("other", config)
        layer: Any = model.get_submodule("base_model.model.0")
        for name in ("default", "other"):
            nn.init.normal_(layer.lora_B[name].weight)
        layers.append((model, layer))
    (together, ours), (_, peft) = layers
    together.base_model.set_adapter(["default", "other"])
    x = torch.randn(shape, dtype=torch.float64)
    with pytest.raises(JobFailure, match="one model at a time"):
        taught(ours, x)  # rows that nobody says belong to both
    monkeypatch.setattr(lowrank, "nodes_read", lambda: 6)
    found = taught(ours, x)
    for name, rows in (("default", slice(0, 3)), ("other", slice(3, 6))):
        peft.set_adapter(name)
        expected = taught(peft, x.view(-1, 7)[rows])
        for kind in ("out", "x"):
            same = found[kind].reshape(6, -1)[rows]
            torch.testing.assert_close(same, expected[kind])
        for part in (f"lora_A.{name}.weight", f"lora_B.{name}.weight"):
            torch.testing.assert_close(found[part], expected[part])


def test_a_bf16_base_computes_as_precisely_as_pefts_and_learns_in_fp32() -> None:
    low, _ = pair(numeric_type=torch.bfloat16)
    exact, _ = pair(numeric_type=torch.float32)
    for name, p in low.named_parameters():
        exact.get_parameter(name).data = p.data.float()
    x = torch.randn(40, 7, generator=torch.Generator().manual_seed(2)).bfloat16()
    found, expected = taught(low, x), taught(exact, x.float())
    assert found["out"].dtype == found["x"].dtype == torch.bfloat16
    for name, tensor in expected.items():
        assert "lora" not in name or found[name].dtype == torch.float32
        apart = (found[name].float() - tensor).norm() / tensor.norm()
        assert float(apart) < 0.02, name


def test_a_layer_that_is_switched_off_or_merged_does_what_pefts_does() -> None:
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    ours, peft = pair()
    on = ours(x)
    for layer in (ours, peft):
        layer.enable_adapters(False)
    assert torch.equal(ours(x), ours.base_layer(x))
    assert torch.equal(ours(x), peft(x))
    assert not torch.allclose(ours(x), on)
    for layer in (ours, peft):
        layer.enable_adapters(True)
    assert torch.equal(ours(x), on)
    for layer in (ours, peft):
        layer.merge()
    torch.testing.assert_close(ours(x), on)
    torch.testing.assert_close(ours(x), peft(x))


def adapted(model: nn.Module) -> set[type[nn.Module]]:
    """Which layers carry adapters."""
    return {type(module) for module in model.modules() if isinstance(module, lora.LoraLayer)}


def test_only_linear_layers_get_it(folders: dict[str, Path]) -> None:
    base: Any = load(folders["gpt_neox"])._base
    targets = ["query_key_value", "dense", "embed_in"]
    config = LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(base, use_low_rank(config))
    expected: set[type[nn.Module]] = {LowRankLinear, lora.Embedding}
    assert adapted(model) == expected
    layers = {name.rpartition(".")[2]: type(module) for name, module in model.named_modules()}
    assert layers["query_key_value"] is layers["dense"] is LowRankLinear
    assert layers["embed_in"] is lora.Embedding


def test_every_linear_layer_gets_it_and_base_weights_stay_frozen(any_model: TorchModel) -> None:
    base: Any = copy.deepcopy(any_model._base)
    model = get_peft_model(base, use_low_rank(every_linear()))
    kinds = [type(module) for module in model.modules()]
    assert adapted(model) == {LowRankLinear}
    # A layer's own linear one, its A and its B; and the output layer, which is left alone.
    assert kinds.count(nn.Linear) == 3 * kinds.count(LowRankLinear) + 1
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * kinds.count(LowRankLinear)
    assert all("lora_" in name for name in trained)


def every_linear() -> LoraConfig:
    return LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")


def gpt2(folder: Path, **config: Any) -> TorchModel:
    """Its layers are `Conv1D`: weights the other way round, so PEFT's own layer stays."""
    torch.manual_seed(0)
    whole = AutoConfig.for_model("gpt2", **{**_SHARED, **config})
    AutoModelForCausalLM.from_config(whole).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load(folder)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_a_base_of_other_layers_tunes_and_answers(tmp_path: Path) -> None:
    model = gpt2(tmp_path / "gpt2", attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    assert model._reader.packs
    config = use_low_rank(every_linear())
    assert adapted(get_peft_model(copy.deepcopy(model._base), config)) == {lora.Linear}
    recipe = RECIPE.model_copy(update={"epochs": 6})
    before = scores(model)
    report = model.tune(PROMPTS, recipe=recipe, seed=0, folder=tmp_path, progress=quiet)
    assert report.losses[-1] < 0.8 * report.losses[0]
    model.attach(tmp_path)
    assert np.abs(scores(model) - before).max() > 0.1
    torch.testing.assert_close(logits(model._model), logits(fresh(model, tmp_path)))


def scores(model: TorchModel) -> np.ndarray:
    answers = model.score_choices(PROMPTS, tokens_per_batch=300, progress=quiet)
    return np.array([answer.log_likelihoods for answer in answers])


def fresh(model: TorchModel, folder: Path) -> PeftModel:
    """The stored adapter as anyone with transformers and PEFT alone loads it."""
    base: Any = AutoModelForCausalLM.from_pretrained(str(model._reference.folder))
    return PeftModel.from_pretrained(base, str(folder)).eval()


IDS = [[5, 6, 7, 200, 9, 11, 300], [40, 2, 77, 8, 9, 250, 3]]


def logits(model: Any) -> Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=torch.tensor(IDS)).logits)


def test_a_stored_adapter_is_pefts(any_model: TorchModel, tmp_path: Path) -> None:
    any_model.tune(PROMPTS, recipe=RECIPE, seed=0, folder=tmp_path, progress=quiet)
    bare = logits(any_model._base)
    any_model.attach(tmp_path)
    assert adapted(any_model._model) == {LowRankLinear}
    ours, stored = logits(any_model._model), adapters.load_tensors(tmp_path)
    loaded = fresh(any_model, tmp_path)
    any_model.detach()
    assert adapted(loaded) == {lora.Linear}
    read = adapters.adapter_tensors(loaded)
    assert adapters.tensors_sha256(read) == adapters.tensors_sha256(stored)
    torch.testing.assert_close(ours, logits(loaded), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours, logits(loaded.merge_and_unload()), atol=1e-4, rtol=0)
    assert float((ours - bare).abs().max()) > 0.1
