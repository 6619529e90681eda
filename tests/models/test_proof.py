"""No answer is taken from a model that is not the one it names: planted faults are caught."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from crosstune.errors import ProofFailure
from crosstune.models import adapters
from crosstune.models.engine import TorchModel
from crosstune.models.recipe import Recipe
from models_support import choice_prompts, load, quiet

RECIPE = Recipe(learning_rate=1e-2, batch_size=4)
FULL = Recipe(method="full", learning_rate=1e-3, batch_size=4)


@pytest.fixture(params=[RECIPE, FULL], ids=["lora", "full"])
def tuned(request: pytest.FixtureRequest, model: TorchModel, tmp_path: Path) -> Path:
    """Two sources and two seeds, tuned from one base."""
    other = choice_prompts(16, (" Paris", " 19"))
    for name, prompts, seed in (
        ("a0", choice_prompts(16), 0),
        ("a1", choice_prompts(16), 1),
        ("b0", other, 0),
    ):
        (tmp_path / name).mkdir()
        model.tune(prompts, recipe=request.param, seed=seed, folder=tmp_path / name, progress=quiet)
    return tmp_path


def weights_file(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def test_an_untouched_model_is_proved(model: TorchModel, tuned: Path) -> None:
    for name in ("a0", "a1", "b0"):
        proof = model.attach(tuned / name)
        assert proof == model.check()
        assert proof.probe_error == 0
        assert proof.distance_from_base > 0.01
        assert proof.base_sha256 != proof.tensors_sha256


def test_a_detached_adapter_is_caught(model: TorchModel, tuned: Path) -> None:
    model.attach(tuned / "a0")
    if isinstance(model._model, PeftModel):
        model._model = model._model.unload()
    else:
        for name, parameter in model._base.named_parameters():
            parameter.data = model._originals[name]
    with pytest.raises(ProofFailure, match="attached tensors' hash"):
        model.check()


@pytest.mark.parametrize("other", ["b0", "a1"], ids=["another source", "another seed"])
def test_another_adapter_in_its_place_is_caught(model: TorchModel, tuned: Path, other: str) -> None:
    model.attach(tuned / "a0")
    claimed = model._attached
    model.attach(tuned / other)
    model._attached = claimed
    with pytest.raises(ProofFailure, match="attached tensors' hash"):
        model.check()


@pytest.mark.parametrize("other", ["b0", "a1"], ids=["another source", "another seed"])
def test_swapped_files_are_caught(model: TorchModel, tuned: Path, other: str) -> None:
    a, b = weights_file(tuned / "a0"), weights_file(tuned / other)
    shutil.move(a, tuned / "kept")
    shutil.move(b, a)
    shutil.move(tuned / "kept", b)
    for name in ("a0", other):
        with pytest.raises(ProofFailure, match="file of tuned weights is altered"):
            model.attach(tuned / name)
    assert model.check().distance_from_base == 0


def test_one_altered_weight_is_caught(model: TorchModel, tuned: Path) -> None:
    file = weights_file(tuned / "a0")
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[3] += 0.01
    save_file(tensors, file)
    with pytest.raises(ProofFailure, match="is altered"):
        model.attach(tuned / "a0")


def test_a_scale_that_was_altered_is_caught(model: TorchModel, tmp_path: Path) -> None:
    model.tune(choice_prompts(8), recipe=RECIPE, seed=0, folder=tmp_path, progress=quiet)
    file = tmp_path / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 32', '"lora_alpha": 33'))
    with pytest.raises(ProofFailure, match=r"adapter_config\.json is altered"):
        model.attach(tmp_path)


def test_a_truncated_file_is_caught(model: TorchModel, tuned: Path) -> None:
    file = weights_file(tuned / "a0")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ProofFailure, match="cannot be read"):
        model.attach(tuned / "a0")


def test_a_broken_proof_is_caught(model: TorchModel, tuned: Path) -> None:
    (tuned / "a0" / "proof.json").write_text("{")
    with pytest.raises(ProofFailure, match="missing or broken"):
        model.attach(tuned / "a0")


def test_weights_of_another_base_are_refused(folders: dict[str, Path], tuned: Path) -> None:
    with pytest.raises(ProofFailure, match="made from another base"):
        load(folders["qwen2"]).attach(tuned / "a0")
    with pytest.raises(ProofFailure, match="made from another base"):
        load(folders["llama"], "bfloat16").attach(tuned / "a0")


def test_an_asking_path_that_skips_the_weights_is_caught(model: TorchModel, tuned: Path) -> None:
    """The tensors are all there, yet the answers are another model's: only the probe tells."""
    model.attach(tuned / "a0")
    hook = model._base.get_output_embeddings().register_forward_hook(
        lambda _m, _i, output: output * 1.01
    )
    with pytest.raises(ProofFailure, match="answers the probe otherwise"):
        model.check()
    hook.remove()
    model.check()


def test_a_probe_that_differs_from_its_record_is_caught(model: TorchModel, tuned: Path) -> None:
    file = tuned / "a0" / "proof.json"
    record = json.loads(file.read_text())
    record["probe"][5] += 0.002
    file.write_text(json.dumps(record))
    with pytest.raises(ProofFailure, match="misses what it said to the probe"):
        model.attach(tuned / "a0")


def test_a_switched_off_adapter_is_caught(model: TorchModel, tmp_path: Path) -> None:
    model.tune(choice_prompts(8), recipe=RECIPE, seed=0, folder=tmp_path, progress=quiet)
    model.attach(tmp_path)
    assert isinstance(model._model, PeftModel)
    model._model.base_model.disable_adapter_layers()  # type: ignore[operator]
    with pytest.raises(ProofFailure, match="does not take part"):
        model.check()


def test_an_adapter_loads_in_plain_peft_with_the_same_logits(
    any_model: TorchModel, tmp_path: Path
) -> None:
    prompts = choice_prompts(6)
    any_model.tune(prompts, recipe=RECIPE, seed=0, folder=tmp_path, progress=quiet)
    any_model.attach(tmp_path)
    ours = [a.log_likelihoods for a in any_model.score_choices(
        prompts, tokens_per_batch=1, progress=quiet
    )]  # fmt: skip
    any_model.detach()
    base = AutoModelForCausalLM.from_pretrained(str(any_model._reference.folder))
    plain = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    encode = any_model._encoder.tokenizer
    for prompt, scores in zip(prompts, ours, strict=True):
        whole = encode(prompt.context + prompt.continuations[0])["input_ids"]
        start = len(encode(prompt.context)["input_ids"])
        with torch.no_grad():
            table = torch.log_softmax(plain(torch.tensor([whole])).logits[0], -1)
        expected = sum(float(table[i - 1, whole[i]]) for i in range(start, len(whole)))
        np.testing.assert_allclose(scores[0], expected, atol=1e-4)


def test_no_saved_file_names_a_path(model: TorchModel, tuned: Path) -> None:
    folder = model._reference.folder
    assert folder is not None
    for file in (tuned / "a0").iterdir():
        content = file.read_bytes()
        assert str(folder).encode() not in content, file.name
        assert str(tuned).encode() not in content, file.name
        assert b"/tmp" not in content, file.name


def test_the_adapter_names_its_base(model: TorchModel, tmp_path: Path) -> None:
    model.tune(choice_prompts(8), recipe=RECIPE, seed=0, folder=tmp_path, progress=quiet)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "llama"
    assert config["peft_type"] == "LORA"
    record = adapters.Record.read(tmp_path)
    assert record.base == model.identity
    assert record.base_sha256 == model.check().base_sha256
