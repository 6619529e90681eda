"""Prompts and loading for the tests of the engine."""

from __future__ import annotations

from pathlib import Path

import torch

from crosstune import models
from crosstune.models.engine import TorchModel
from crosstune.tasks.example import Prompt

torch.set_num_threads(1)

CHOICES = (" yes", " yes indeed", " no", " never ever at all")


def quiet(done: int, total: int, note: str) -> None:
    """Progress that nobody watches."""


def choice_prompts(count: int, choices: tuple[str, ...] = CHOICES) -> list[Prompt]:
    """Prompts of many lengths whose answers share beginnings."""
    return [
        Prompt(
            id=f"p{i}",
            turns=(),
            context=f"Question {i}: is the film a quiet joy{' and never dull' * (i % 5)}?",
            continuations=choices,
            completion=choices[i % len(choices)],
        )
        for i in range(count)
    ]


def load(folder: Path, numeric_type: str = "float32") -> TorchModel:
    reference = models.resolve(str(folder), revision=None, folder=folder)
    return TorchModel.load(reference, numeric_type=numeric_type, device="cpu")
