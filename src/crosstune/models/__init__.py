"""Who answers: base models, how they are tuned and asked.

- `recipe`: how a model is tuned, as a value
- `protocol`: what the rest of the project asks of a model
- `reference`: which model a study means, found without loading it
- `devices`, `embedded`, `encoding`, `adapters`, `tuning`, `asking`, `states`, `engine`: torch

Importing this room needs no torch and costs little; `load` imports it, which takes seconds, and
`numeric_type` where it has to.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from crosstune.errors import MissingExtra
from crosstune.models.protocol import (
    Activations,
    Assignment,
    ChoiceAnswer,
    LanguageModel,
    Measured,
    Position,
    Progress,
    Proof,
    TextAnswer,
    Tuning,
)
from crosstune.models.recipe import Recipe
from crosstune.models.reference import ModelReference, resolve

__all__ = [
    "Activations",
    "Assignment",
    "ChoiceAnswer",
    "LanguageModel",
    "Measured",
    "ModelReference",
    "Position",
    "Progress",
    "Proof",
    "Recipe",
    "TextAnswer",
    "Tuning",
    "load",
    "numeric_type",
    "require",
    "resolve",
]


def load(reference: ModelReference, *, numeric_type: str, device: str = "auto") -> LanguageModel:
    """Load a base model, resident from now on.

    Args:
        reference: What `resolve` found.
        numeric_type: `bfloat16` or `float32`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        MissingExtra: A package is not installed.
        InputError: The model or the device cannot be used.
    """
    require(reference)
    from crosstune.models.engine import TorchModel

    return TorchModel.load(reference, numeric_type=numeric_type, device=device)


def numeric_type(requested: str, *, device: str = "auto") -> str:
    """What `auto` means here: bfloat16 where the hardware is fast at it, else float32.

    Raises:
        MissingExtra: torch, transformers or peft is not installed, and had to be asked.
        InputError: There is no such device.
    """
    if requested != "auto" and device in {"auto", "cpu"}:
        return requested
    _require_torch()
    from crosstune.models.devices import fast_numeric_type

    fast = fast_numeric_type(device)
    return fast if requested == "auto" else requested


def require(reference: ModelReference) -> None:
    """Look whether all that loading a model needs is installed, without importing it.

    Raises:
        MissingExtra: A package is not.
    """
    _require_torch()
    if reference.kind == "embedded" and find_spec("gguf") is None:
        from crosstune.models.embedded import cached_folder

        if not cached_folder().is_dir():
            raise MissingExtra("Unpacking the embedded model (missing: gguf)", "models")


def _require_torch() -> None:
    # Idle threads wait by spinning, by default so long that on a machine with other work to do
    # tuning runs at a half to a third of the speed. Read when torch is first imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"Loading a language model (missing: {', '.join(missing)})", "models")
