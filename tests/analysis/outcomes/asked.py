"""Answers that were never stored: what models say to one target, drawn for a test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crosstune.analysis.outcomes import Answered, Given
from crosstune.analysis.outcomes.cells import Known

Models = tuple[tuple[str, str, int], ...]


def models(sources: int = 4, seeds: int = 1) -> Models:
    return tuple((f"s{s}", "lora", seed) for s in range(sources) for seed in range(seeds))


def given(sums: np.ndarray, truth: np.ndarray) -> Given:
    """What log-likelihoods, examples × classes, say."""
    picked = sums.argmax(axis=1)
    chances = np.exp(sums) / np.exp(sums).sum(axis=1, keepdims=True)
    return Given(
        values=(picked == truth) * 1.0,
        answer=picked,
        confidence=chances.max(axis=1),
        characters=5 + picked,
        texts=[f"class {c}" for c in picked],
    )


def asked(
    seed: int,
    *,
    target: str = "t",
    asking: Models = models(),
    classes: int = 3,
    n: int = 200,
    skill: float = 1.0,
    leaning: Mapping[str, np.ndarray] | None = None,
) -> Answered:
    """A choice target: what all models find likely in common, and noise of each, the base's too.

    Args:
        seed: Of all that is drawn.
        target: Its name.
        asking: The models.
        classes: How many.
        n: Examples.
        skill: How much likelier the truth is, in nats.
        leaning: What a source adds to every class, by name.
    """
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, n)
    clear = draw.exponential(size=n)
    common = draw.normal(size=(n, classes)) * clear[:, None] + skill * np.eye(classes)[truth]
    return Answered(
        target=target,
        family="f",
        condition="zero",
        scoring="likelihood",
        metric="acc",
        ids=tuple(f"{i:04}" for i in range(n)),
        classes=tuple(f"class {c}" for c in range(classes)),
        fixed=True,
        truth=truth,
        truths=[f"class {c}" for c in truth],
        references=np.full(n, 7),
        prompt_tokens=draw.integers(10, 100, n),
        base=given(common + draw.normal(size=(n, classes)), truth),
        tuned={
            model: given(
                common
                + draw.normal(size=(n, classes))
                + (leaning or {}).get(model[0], np.zeros(classes)),
                truth,
            )
            for model in asking
        },
    )


def known(found: Answered) -> dict[tuple[str, str, str, str], Known]:
    """What a matrix would say of its cells, the tests left out."""
    return {
        (source, recipe, found.target, found.condition): Known("cross-task", None, None)
        for source, recipe, _ in found.tuned
    }
