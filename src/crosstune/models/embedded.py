"""The embedded model: 4-bit weights from a package, dequantised once into the user's cache.

The first use costs about 15 seconds and 540 MB of disk; later ones a hash of the cached file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from crosstune.errors import InputError
from crosstune.models.reference import (
    EMBEDDED,
    EMBEDDED_INSTALL,
    EMBEDDED_SHA256,
    embedded_file,
    file_sha256,
)

_STAMP = "SHA256"
_VERSION = 2  # raised when the dequantised copy changes


def cache_folder() -> Path:
    """Where crosstune keeps what can be made again: $CROSSTUNE_CACHE, else the user's cache."""
    if chosen := os.environ.get("CROSSTUNE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosstune"


def cached_folder() -> Path:
    """Where the dequantised copy lies, whether or not it is there already."""
    return cache_folder() / f"{EMBEDDED}-v{_VERSION}-{EMBEDDED_SHA256[:12]}"


def embedded_folder() -> Path:
    """A folder with the embedded model as fp32 safetensors and its tokenizer, made when missing.

    fp32 holds the dequantised values exactly; they are rounded to the study's numeric type
    when loaded.

    Raises:
        InputError: The package is missing or its file is not the one this release was made for,
            or the cache cannot be written.
    """
    folder = cached_folder()
    if _is_whole(folder):
        return folder
    source = embedded_file()
    if (found := file_sha256(source)) != EMBEDDED_SHA256:
        raise InputError(
            f"The weights of '{EMBEDDED}' are altered: their SHA-256 is {found[:12]}…, not "
            f"{EMBEDDED_SHA256[:12]}…. Install them again: {EMBEDDED_INSTALL} --force-reinstall"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as making:
            fresh = Path(making) / "model"
            _dequantise(source, fresh)
            # Another process may have finished the same copy meanwhile; either one will do.
            if folder.exists() and not _is_whole(folder):
                shutil.rmtree(folder)
            if not folder.exists():
                fresh.rename(folder)
    except OSError as error:
        raise InputError(
            f"The cache folder cannot be written ({error.strerror}). Free some space (540 MB are "
            "needed) or set CROSSTUNE_CACHE to another folder"
        ) from None
    return folder


def _is_whole(folder: Path) -> bool:
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text() == _listing(folder)


def _listing(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.name != _STAMP)
    return "".join(f"{file_sha256(path)}  {path.name}\n" for path in files)


def _dequantise(source: Path, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # Saving refuses what still calls itself quantised.
    del model.config.quantization_config
    del model.hf_quantizer
    model.config._name_or_path = EMBEDDED
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / _STAMP).write_text(_listing(folder))
