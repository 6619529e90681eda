"""Tuned weights as files, and the proof that they are the ones that answer.

A folder of tuned weights holds `adapter_config.json` and `adapter_model.safetensors` in PEFT's
format (LoRA) or `model.safetensors` (full tuning), and `proof.json`: the hash of the tensors, the
hash of the base's weights, and what the tuned model said to the probe when it was made.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from crosstune.errors import DamagedFile, JobFailure
from crosstune.models.lowrank import LowRankLinear, use_low_rank
from crosstune.models.reading import Model
from crosstune.models.reference import file_sha256

ADAPTER_FILE = "adapter_model.safetensors"
FULL_FILE = "model.safetensors"
PROOF_FILE = "proof.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What is written when weights are made, to be proved whenever they answer.

    Attributes:
        base: Public identity of the base.
        base_sha256: Hash of the base's weights in the numeric type they were tuned and asked in.
        tensors_sha256: Hash of the tuned tensors.
        settings_sha256: Hash of `adapter_config.json`, which scales the adapter; else empty.
        numeric_type: Numeric type of the base.
        probe: Log-probabilities the tuned model gave on the probe, in nats.
        distance_from_base: Largest difference from the bare base on the probe, in nats.
    """

    base: str
    base_sha256: str
    tensors_sha256: str
    settings_sha256: str
    numeric_type: str
    probe: tuple[float, ...]
    distance_from_base: float

    def write(self, folder: Path) -> None:
        """Store as `proof.json`."""
        (folder / PROOF_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> Record:
        """Read `proof.json`.

        Raises:
            DamagedFile: It is missing or broken.
        """
        try:
            fields = json.loads((folder / PROOF_FILE).read_text())
            fields["probe"] = tuple(fields["probe"])
            return Record(**fields)
        except (OSError, ValueError, TypeError, KeyError):
            raise DamagedFile("the proof of the tuned weights is missing or broken") from None


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, numeric types, shapes and bytes, in order of names; about 1 GB/s."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def settings_sha256(folder: Path) -> str:
    """Hash of an adapter's configuration; empty for weights that have none."""
    file = folder / "adapter_config.json"
    return file_sha256(file) if file.exists() else ""


def save_adapter(model: PeftModel, folder: Path, *, name: str, base: str) -> str:
    """Write a LoRA adapter in PEFT's format, naming the base by its public name.

    Returns:
        Hash of the adapter's tensors.
    """
    tensors = adapter_tensors(model, name)
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
    config = model.peft_config[name]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))
    return tensors_sha256(tensors)


def adapter_tensors(model: PeftModel, name: str = "default") -> dict[str, Tensor]:
    """An adapter's tensors under the names they have in its file."""
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Tensors of a folder of tuned weights.

    Raises:
        DamagedFile: The file is missing, truncated or not safetensors.
    """
    file = folder / (ADAPTER_FILE if (folder / ADAPTER_FILE).exists() else FULL_FILE)
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{file.name} cannot be read ({error})") from None


def lora_config(folder: Path) -> LoraConfig:
    """The adapter's configuration, rebuilt from its JSON alone."""
    try:
        config: LoraConfig = LoraConfig.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedFile(f"adapter_config.json cannot be read ({error})") from None
    return use_low_rank(config)


def inject(model: Model, config: LoraConfig, name: str) -> PeftModel:
    """A fresh adapter on the model; its weights are fp32.

    Raises:
        JobFailure: There are no such modules, or they cannot be adapted.
    """
    try:
        with _old_names_ignored():
            if isinstance(model, PeftModel):
                model.add_adapter(name, config, autocast_adapter_dtype=True)
                return model
            fresh = get_peft_model(model, config, adapter_name=name, autocast_adapter_dtype=True)
    except ValueError as error:
        raise JobFailure(f"target_modules: {str(error).splitlines()[0]}") from None
    assert isinstance(fresh, PeftModel)
    return fresh


def put_on(base: PreTrainedModel, folder: Path) -> PeftModel:
    """A stored adapter on the base, ready to answer."""
    with _old_names_ignored():
        return PeftModel.from_pretrained(
            base,
            str(folder),
            config=lora_config(folder),
            torch_device=str(base.device),
            autocast_adapter_dtype=True,
            local_files_only=True,
        ).eval()


@contextmanager
def _old_names_ignored() -> Iterator[None]:
    """PEFT asks transformers for properties by names that will go, and tells how it adapts the
    transposed layers of GPT-2: not the user's to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        yield


def unwrap(model: nn.Module) -> None:
    """Take every adapter layer off again, also those that a failed injection left behind."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    for left in ("peft_config", "_hf_peft_config_loaded"):
        model.__dict__.pop(left, None)


def computes_mixed(model: nn.Module) -> bool:
    """Whether fp32 weights meet a base in a lower type, so that autocast has to decide.

    Layers that are not plain linear ones (embeddings, say) get PEFT's own adapters. Its cast of
    their input to fp32 is spared: twice the time for a tiny product.
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    others = [module for module in layers if not isinstance(module, LowRankLinear)]
    for module in others:
        module.cast_input_dtype_enabled = False
    return bool(others)


def inactive_layers(model: PeftModel) -> list[str]:
    """Names of LoRA layers that would be skipped, merged or switched when the model answers."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    if not layers:
        return ["(no LoRA layer is attached)"]
    return [
        name
        for name, layer in layers.items()
        if layer.disable_adapters or layer.merged or list(layer.active_adapters) != ["default"]
    ]


@torch.no_grad()
def movement(model: Model, originals: Mapping[str, Tensor]) -> dict[str, float]:
    """How far tuning moved the base's weights; one pass over them.

    Args:
        model: With the tuned weights or an adapter on.
        originals: The base's own weights, by name.

    Returns:
        Mean absolute change over all weights of the base, and the Euclidean norm of the change
        over that of the base's weights, by their names in `Tuning`.
    """
    if isinstance(model, PeftModel):
        layers: list[Any] = [m for m in model.modules() if isinstance(m, LoraLayer)]
        changes = (layer.get_delta_weight("default").float() for layer in layers)
    else:
        changes = (p.float() - originals[name].float() for name, p in model.named_parameters())
    absolute = squares = 0.0
    for change in changes:
        absolute += float(change.abs().sum())
        squares += float(change.square().sum())
    weights = sum(weight.numel() for weight in originals.values())
    whole = sum(float(weight.float().square().sum()) for weight in originals.values())
    return {"mean_change": absolute / weights, "relative_change": (squares / whole) ** 0.5}


@torch.no_grad()
def moved(model: Model, originals: Mapping[str, Tensor]) -> tuple[float, ...]:
    """How far each block's weights are from the base's: norm of the change over theirs.

    Weights of one dimension (norms, biases) are left out.
    """
    changes: dict[int, float] = {}
    sizes: dict[int, float] = {}
    for name, weight in originals.items():
        if (block := _block(name)) is not None and weight.ndim > 1:
            sizes[block] = sizes.get(block, 0.0) + float(weight.float().square().sum())
    for name, change in _changes(model, originals):
        if (block := _block(name)) is not None:
            changes[block] = changes.get(block, 0.0) + float(change.square().sum())
    return tuple((changes.get(block, 0.0) / sizes[block]) ** 0.5 for block in sorted(sizes))


def _changes(model: Model, originals: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What was added to each matrix of weights, in fp32, by its name."""
    if isinstance(model, PeftModel):
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                layer: Any = module
                yield name, layer.get_delta_weight("default").float()
        return
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            yield name, parameter.float() - originals[name].float()


def _block(name: str) -> int | None:
    """The block that a weight belongs to, by the first number in its name."""
    numbers = [part for part in name.split(".") if part.isdigit()]
    return int(numbers[0]) if numbers else None


def is_zero(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every LoRA B is zero: the adapter changes nothing."""
    return not any(
        bool(t.any())
        for name, t in tensors.items()
        if "lora_B" in name or "lora_embedding_B" in name
    )
