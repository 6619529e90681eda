"""Where a model is computed, and in which numeric type that is fast."""

from __future__ import annotations

import platform

import torch

from crosstune.errors import InputError


def fast_numeric_type(device: str = "auto") -> str:
    """bfloat16 where the hardware computes it fast, else float32."""
    if device_of(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # These two ask the processor; torch has no public name for them yet.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast and platform.machine() in {"x86_64", "AMD64"} else "float32"


def device_of(name: str) -> torch.device:
    """The device of that name.

    Raises:
        InputError: It is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise InputError(f"There is no device called '{name}'; say auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"The device '{name}' is not there ({torch.cuda.device_count()} GPUs)")
    return device
