"""What the rest of the project asks of a model. Needs no torch.

A model is one resident base. At any time it answers either as the bare base or as one tuned
model that was attached from its folder; `check` proves which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from crosstune.models.recipe import Recipe
from crosstune.tasks.example import Prompt

Progress = Callable[[int, int, str], None]
"""Called with units done, units in all, and a short note (loss, tokens/s)."""


Position = Literal["last_prompt_token", "mean"]
"""Whose state stands for a prompt: its last token's, or the mean of all its tokens'."""


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """How likely a model finds each choice of one prompt.

    Attributes:
        id: The prompt's id.
        log_likelihoods: Natural logarithms, summed over a choice's scored tokens, in order of
            choices.
        prompt_tokens: Tokens of the context the model read.
        answer_tokens: Tokens of all choices that were scored.
        truncated: Whether the context lost its beginning to fit the model.
    """

    id: str
    log_likelihoods: tuple[float, ...]
    prompt_tokens: int
    answer_tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """What a model wrote after one prompt, cut before the first stop string.

    `tokens` counts what was generated, an end-of-text token among them.
    """

    id: str
    text: str
    prompt_tokens: int
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model's tokenizer and states say of prompts.

    Attributes:
        prompt_tokens: Of each context, demonstrations among them.
        answer_tokens: Of each right answer, what ends it left out.
        states: Mean of the last layer's states over the tokens of a context, then over the first
            `MEASURED` contexts; as many as the model is wide.
    """

    prompt_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    states: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """Hidden states of prompts.

    Attributes:
        states: In single precision, the embedding first.
        truncated: Prompts that lost their beginning to fit the model.
    """

    states: Float[np.ndarray, "layers prompts width"]
    truncated: int


MEASURED = 32
"""Prompts whose states are read."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning reports, to be stored beside the weights.

    Attributes:
        losses: Mean loss (nats a token) of every optimiser step, in order.
        examples: Training examples.
        tokens: Tokens read, over all epochs, padding not counted.
        loss_tokens: Tokens that carried loss, over all epochs.
        truncated: Examples that lost tokens to `max_tokens`.
        seconds: Wall time of the loop.
        mean_change: Mean absolute change of a weight, over all weights of the base.
        relative_change: Euclidean norm of the change over that of the base's weights.
    """

    losses: tuple[float, ...]
    examples: int
    tokens: int
    loss_tokens: int
    truncated: int
    seconds: float
    mean_change: float | None = None
    relative_change: float | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A model to be tuned.

    Attributes:
        prompts: Training examples.
        seed: Decides initialisation, order and dropout.
        folder: Existing and empty; weights and their proof are written into it.
    """

    prompts: Sequence[Prompt]
    seed: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence of which weights answer.

    Attributes:
        base_sha256: Hash of the base's weights as loaded.
        tensors_sha256: Hash of the attached tensors (the base's own when nothing is attached).
        probe_error: Largest difference, in nats, between the probe's log-probabilities now and
            as recorded when the weights were made.
        distance_from_base: Largest difference, in nats, between the probe's log-probabilities
            now and those of the bare base; small for a sham source.
    """

    base_sha256: str
    tensors_sha256: str
    probe_error: float
    distance_from_base: float


class LanguageModel(Protocol):
    """One resident base model that can be tuned and asked."""

    @property
    def identity(self) -> str:
        """Name and content of the base, the same text as `ModelReference.identity`."""

    @property
    def has_chat_template(self) -> bool:
        """Whether prompts with turns can be rendered."""

    @property
    def packs(self) -> bool:
        """Whether batches are read without padding; slower and otherwise rounded where not."""

    def tune(
        self,
        prompts: Sequence[Prompt],
        *,
        recipe: Recipe,
        seed: int,
        folder: Path,
        progress: Progress,
    ) -> Tuning:
        """Tune from the bare base, write weights and their proof into an existing empty folder.

        The same prompts, recipe and seed give the same weights on the same machine. The model is
        the bare base again afterwards, also after a failure.

        Raises:
            JobFailure: A loss that is not finite, LoRA B all zero after steps at a rate above 0,
                no token that carries loss, or out of memory.
        """

    def at_once(self, prompts: Sequence[Prompt], recipe: Recipe) -> int:
        """How many models it pays to tune at once; 1 where one keeps the device busy."""

    def tune_together(
        self, assignments: Sequence[Assignment], *, recipe: Recipe, progress: Progress
    ) -> list[Tuning]:
        """Tune several adapters in common batches; as `tune` one by one, but for rounding.

        Args:
            assignments: With equal numbers of prompts.
            recipe: For all; LoRA without dropout.
            progress: Told of all together.

        Raises:
            JobFailure: As `tune`, for any of them; nothing is made then.
        """

    def attach(self, folder: Path) -> Proof:
        """Answer as the tuned model of that folder from now on; proves it as `check` does.

        Raises:
            DamagedFile: The folder's files are altered or cannot be read.
            ProofFailure: The weights were not made from this base, or answer otherwise.
        """

    def detach(self) -> None:
        """Answer as the bare base from now on, bit for bit."""

    def check(self) -> Proof:
        """Prove that the attached tensors and the asking path are those that were recorded.

        Raises:
            ProofFailure: They are not; says what differs.
        """

    def alike(self, prompts: Sequence[Prompt]) -> tuple[str, str] | None:
        """Two choices of a prompt that first tokens cannot tell apart, where there are some."""

    def measure(self, prompts: Sequence[Prompt]) -> Measured:
        """Lengths in tokens, and states of the model as it answers now, of tuning prompts."""

    def activations(
        self,
        prompts: Sequence[Prompt],
        *,
        position: Position,
        tokens_per_batch: int,
        progress: Progress,
    ) -> Activations:
        """Hidden states of every layer in fp32, prompts in their order, one forward pass.

        The first layer is the embedding; the others are what each block hands on, the last one
        after the final norm. Nothing of a prompt's answer is read.

        Raises:
            OutOfMemory: A batch did not fit.
        """

    def moved(self) -> tuple[float, ...]:
        """How far each block's matrices are from the base's: norm of the change over theirs.

        In the order of the blocks; 0 for the bare base.
        """

    def score_choices(
        self,
        prompts: Sequence[Prompt],
        *,
        first_token: bool = False,
        tokens_per_batch: int,
        progress: Progress,
    ) -> list[ChoiceAnswer]:
        """Log-likelihood of every continuation; answers in the order of the prompts.

        Args:
            prompts: What is asked.
            first_token: Whether only the first token of a continuation is scored.
            tokens_per_batch: Tokens read at once.
            progress: Told after each batch.

        Raises:
            OutOfMemory: A batch did not fit.
            JobFailure: A continuation alone is longer than the model takes.
        """

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        tokens_per_batch: int,
        progress: Progress,
    ) -> list[TextAnswer]:
        """Greedy text after every prompt; answers in the order of the prompts.

        Raises:
            OutOfMemory: A batch did not fit.
        """
