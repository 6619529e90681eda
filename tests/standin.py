"""A language model of hashed word pairs in numpy that really learns: the protocol, in no time.

The score of an answer is the mean of weights, one for every pair of a word of the context and the
answer. The bare base has weights of its own; tuning adds a difference by gradient steps on the
likelihood of the right answer among the choices. It stands for the engine only where the matter
is not the engine: planning, storing, continuing, failing.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosstune import models
from crosstune.errors import DamagedFile, JobFailure, OutOfMemory, ProofFailure
from crosstune.tasks.example import Prompt

SIZE = 4096
PROBE = ("the film was dull", (" good", " bad", " 7", " 12"))
WORDS = tuple(f" {number}" for number in range(20))
Weights = NDArray[np.float64]


def _places(context: str, answer: str) -> NDArray[np.int64]:
    words = re.findall(r"\w+", context.lower())[-30:] or [""]
    return np.array([zlib.crc32(f"{word}|{answer}".encode()) % SIZE for word in words])


def _likely(context: str, choices: Sequence[str], weights: Weights) -> Weights:
    scores = np.array([weights[_places(context, choice)].mean() for choice in choices])
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


@dataclass
class StandIn:
    """`largest`: the budget that still fits; `delay`: seconds a step takes; `calls`: what came;
    `longest`: characters of a context whose states are read whole."""

    identity: str
    has_chat_template: bool = False
    packs: bool = True
    largest: int = 10**9
    delay: float = 0.0
    longest: int = 10**9
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = zlib.crc32(self.identity.encode())
        self.base = np.random.default_rng(seed).normal(scale=0.05, size=SIZE)
        self.change: Weights = np.zeros(SIZE)
        self.recorded = self._record(self.change)

    def at_once(self, *_: object) -> int:
        return 1

    def tune_together(
        self, assignments: Sequence[models.Assignment], **given: Any
    ) -> list[models.Tuning]:
        return [
            self.tune(one.prompts, seed=one.seed, folder=one.folder, **given) for one in assignments
        ]

    def measure(self, prompts: Sequence[Prompt]) -> models.Measured:
        states = np.mean([self.base[_places(p.context, "")[:8]].mean() for p in prompts])
        return models.Measured(
            tuple(len(p.context.split()) for p in prompts),
            tuple(len(p.completion.split()) for p in prompts),
            (float(states), 1.0),
        )

    def activations(
        self,
        prompts: Sequence[Prompt],
        *,
        position: str,
        tokens_per_batch: int,
        progress: models.Progress,
    ) -> models.Activations:
        """Four layers: the last word's own one, then ever more of what was tuned."""
        self.calls.append("states")
        if tokens_per_batch > self.largest:
            raise OutOfMemory(f"{tokens_per_batch} tokens do not fit")
        found = np.empty((4, len(prompts), 6), dtype=np.float32)
        for i, p in enumerate(prompts):
            words = p.context.split()[-1:] if position == "last_prompt_token" else p.context.split()
            for unit in range(6):
                found[0, i, unit] = np.mean([self.base[_places(w, str(unit))] for w in words])
                places = _places(p.context, str(unit))
                for layer in (1, 2, 3):
                    here = self.base[places] + layer * self.change[places]
                    found[layer, i, unit] = here.mean()
        progress(len(prompts), len(prompts), "")
        return models.Activations(found, sum(len(p.context) > self.longest for p in prompts))

    def moved(self) -> tuple[float, ...]:
        return tuple(layer * float(np.linalg.norm(self.change)) for layer in (1, 2, 3))

    def tune(
        self, prompts: Sequence[Prompt], *, recipe: models.Recipe, seed: int, **to: Any
    ) -> models.Tuning:
        self.calls.append("tune")
        rng = np.random.default_rng(seed)
        change = rng.normal(scale=1e-6, size=SIZE)
        losses: list[float] = []
        for _ in range(recipe.epochs):
            order = rng.permutation(len(prompts))
            for start in range(0, len(order), recipe.batch_size):
                batch = [prompts[i] for i in order[start : start + recipe.batch_size]]
                gradient, loss = self._gradient(change, batch)
                change = change - recipe.learning_rate * 20_000 * gradient
                losses.append(loss)
                to["progress"](start + len(batch), len(order), f"loss {loss:.2f}")
                time.sleep(self.delay)
        if not np.isfinite(losses).all():
            raise JobFailure("the loss is not finite")
        np.save(to["folder"] / "weights.npy", change, allow_pickle=False)
        (to["folder"] / "proof.json").write_text(json.dumps(self._record(change)))
        return models.Tuning(tuple(losses), len(prompts), 0, len(prompts) * recipe.epochs, 0, 0.0)

    def _gradient(self, change: Weights, batch: Sequence[Prompt]) -> tuple[Weights, float]:
        loss, gradient = 0.0, np.zeros(SIZE)
        for prompt in batch:
            choices = prompt.continuations or WORDS
            likely = _likely(prompt.context, choices, self.base + change)
            loss -= float(likely[choices.index(prompt.completion)]) / len(batch)
            for choice, probability in zip(choices, np.exp(likely), strict=True):
                places = _places(prompt.context, choice)
                pull = probability - (choice == prompt.completion)
                np.add.at(gradient, places, pull / len(places) / len(batch))
        return gradient, loss

    def attach(self, folder: Path) -> models.Proof:
        try:
            self.change = np.load(folder / "weights.npy", allow_pickle=False)
            self.recorded = json.loads((folder / "proof.json").read_text())
        except (OSError, ValueError) as error:
            raise DamagedFile(f"the weights cannot be read: {type(error).__name__}") from None
        if self._record(self.change)["tensors"] != self.recorded["tensors"]:
            raise DamagedFile("the weights are altered")
        return self.check()

    def detach(self) -> None:
        self.change = np.zeros(SIZE)
        self.recorded = self._record(self.change)

    def check(self) -> models.Proof:
        now, then = self._record(self.change), self.recorded
        if (now["tensors"], now["base"]) != (then["tensors"], then["base"]):
            raise ProofFailure("the attached tensors are not those that were recorded")
        error = float(np.abs(np.subtract(now["probe"], then["probe"])).max())
        apart = float(np.abs(np.subtract(now["probe"], _likely(*PROBE, self.base))).max())
        return models.Proof(now["base"], now["tensors"], error, apart)

    def alike(self, prompts: Sequence[Prompt]) -> tuple[str, str] | None:
        for prompt in prompts:
            first = {choice.split()[0]: choice for choice in prompt.continuations}
            for choice in prompt.continuations:
                if first[choice.split()[0]] != choice:
                    return choice, first[choice.split()[0]]
        return None

    def score_choices(
        self, prompts: Sequence[Prompt], *, first_token: bool = False, **how: Any
    ) -> list[models.ChoiceAnswer]:
        self._asked(len(prompts), **how)
        answers = []
        for p in prompts:
            first = [choice.split()[0] for choice in p.continuations]
            choices = first if first_token else p.continuations
            told = _likely(p.context, choices, self.base + self.change).tolist()
            answers.append(models.ChoiceAnswer(p.id, tuple(told), len(p.context), len(told), False))
        return answers

    def generate(self, prompts: Sequence[Prompt], **how: Any) -> list[models.TextAnswer]:
        assert how.keys() == {"stop", "max_new_tokens", "tokens_per_batch", "progress"}
        self._asked(len(prompts), **how)
        answers = []
        for p in prompts:
            best = _likely(p.context, WORDS, self.base + self.change).argmax()
            answers.append(models.TextAnswer(p.id, WORDS[best], len(p.context), 1, False))
        return answers

    def _asked(
        self, count: int, tokens_per_batch: int, progress: models.Progress, **_: Any
    ) -> None:
        self.calls.append("ask")
        if tokens_per_batch > self.largest:
            raise OutOfMemory(f"{tokens_per_batch} tokens do not fit")
        time.sleep(self.delay)
        progress(count, count, "")

    def _record(self, change: Weights) -> dict[str, Any]:
        whole = self.base + change
        base, tensors = (hashlib.sha256(w.tobytes()).hexdigest() for w in (self.base, whole))
        probe = _likely(*PROBE, self.base + change).tolist()
        return {"base": base, "tensors": tensors, "probe": probe}


def load(reference: models.ModelReference, *, numeric_type: str, device: str) -> StandIn:
    """In the place of `models.load`."""
    assert (numeric_type, device) == ("float32", "cpu")
    return StandIn(reference.identity)
