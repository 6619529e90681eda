"""Names of stored work: hashes of everything that decides it, and of nothing else.

Placement (device, workers, folders) and the names of recipes, conditions and sources are not in
a key, so two recipes that differ only in name share their work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from crosstune.models import Recipe
from crosstune.tasks import Edit
from crosstune.tasks.example import Condition, Example, Prompt

TUNE_VERSION = 2
"""Raised when a change of the code changes what tuning makes."""

STATES_VERSION = 1
"""Raised when a change of the code changes a hidden state that is kept."""

ASK_VERSION = 2
"""Raised when a change of the code changes an answer or its score."""


def key(ingredients: Any) -> str:
    """SHA-256 of the canonical JSON of what decides a result.

    Example:
        >>> key({"a": 1, "b": [2]}) == key({"b": [2], "a": 1}) != key({"a": 1, "b": [3]})
        True
    """
    canonical = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def base_ingredients(identity: str, *, numeric_type: str) -> dict[str, Any]:
    """What decides how the bare base answers, the questions apart."""
    return {"model": identity, "numeric_type": numeric_type}


def job_ingredients(
    base: dict[str, Any],
    recipe: Recipe,
    *,
    seed: int,
    prompts: Sequence[Prompt],
    edits: Sequence[Edit] = (),
) -> dict[str, Any]:
    """What decides a tuned model. The prompts' ids count, as they name the examples."""
    said = {"edits": [edit.model_dump(mode="json") for edit in edits]} if edits else {}
    return (
        base
        | said
        | {
            # Demonstrations stand in the prompts.
            "recipe": recipe.model_dump(
                mode="json", exclude={"name", "demonstrations", "sampler", "draw"}
            ),
            "seed": seed,
            "training_sha256": key([asdict(prompt) for prompt in prompts]),
            "tune_version": TUNE_VERSION,
        }
    )


def question_ingredients(
    target: dict[str, Any],
    condition: Condition,
    *,
    prompts: Sequence[Prompt],
    examples: Sequence[Example],
    tokens_per_batch: int,
) -> dict[str, Any]:
    """What decides the answers and scores of one target, the model apart.

    Args:
        target: Kind of answer, metrics and limits.
        condition: How it is asked.
        prompts: What the model reads, in order.
        examples: What its answers are compared with, in the same order.
        tokens_per_batch: Low-precision answers depend on what shares a batch.
    """
    return {
        "target": target,
        "condition": _said(condition),
        "prompts_sha256": key([asdict(prompt) for prompt in prompts]),
        "examples_sha256": key([_decisive(example) for example in examples]),
        "tokens_per_batch": tokens_per_batch,
        "ask_version": ASK_VERSION,
    }


def probe_ingredients(
    *, position: str, prompts: Sequence[Prompt], tokens_per_batch: int
) -> dict[str, Any]:
    """What decides the states of one probe, the model apart; answers play no part."""
    return {
        "position": position,
        "prompts_sha256": key([[p.id, p.turns, p.context] for p in prompts]),
        "tokens_per_batch": tokens_per_batch,
        "states_version": STATES_VERSION,
    }


def _said(condition: Condition) -> dict[str, Any]:
    """What a condition says beside which demonstrations there are, as these stand in the prompts.

    The usual way of scoring is not named, so that keys are what they were before there were others.
    """
    unsaid = {"name", "shots_from", "sampler", "draw", "order"}
    if condition.scoring == "likelihood":
        unsaid.add("scoring")
    return condition.model_dump(mode="json", exclude=unsaid)


def _decisive(example: Example) -> dict[str, Any]:
    """All of an example but its fields: the question worded from them stands in the prompt."""
    return {name: value for name, value in asdict(example).items() if name != "fields"}


def states_key(job: dict[str, Any], probe: dict[str, Any]) -> str:
    """Name of the states of one probe in one model."""
    return key({"job": job, "probe": probe})


def cell_key(job: dict[str, Any], question: dict[str, Any]) -> str:
    """Name of one cell: the model that answers and what it is asked."""
    return key({"job": job, "question": question})
