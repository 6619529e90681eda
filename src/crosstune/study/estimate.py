"""What a plan will cost, roughly: no model and no tokenizer is loaded.

Tokens are characters / 4. Work is counted in floating-point operations: 2 a weight and token to
ask, 4 to tune with LoRA (no gradients of the frozen weights), 6 to tune fully. The rate is a
single-precision matrix product of this machine's CPU times `EFFICIENCY`; an accelerator is faster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, takewhile

import numpy as np

from crosstune.models import Recipe
from crosstune.results.states import bytes_of
from crosstune.study.draft import Probe, Question
from crosstune.study.plan import Job, Plan
from crosstune.tasks.example import Prompt

CHARACTERS_PER_TOKEN = 4
EFFICIENCY = {"float32": 0.5, "bfloat16": 2.0}
"""Rate of tuning and asking over that of the product; bfloat16 measured with AVX512-BF16."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rough cost of a whole study, nothing of it done yet.

    Attributes:
        jobs: Models, the bare base among them.
        cells: Scores to be made, the base's among them.
        tuning_examples: Training examples over all jobs, once an epoch.
        asking_examples: Test examples over all cells.
        tuning_tokens: Tokens read while tuning, over all epochs.
        asking_tokens: Tokens read and written while asking.
        states: Probes whose states are kept, over all models.
        probing_tokens: Tokens read for them.
        states_bytes: What they take on the disk; None when the model's sizes are not known.
        seconds: On this machine's CPU; None when the model's size is not known.
        bytes: Memory of weights and optimiser; None when the model's size is not known.
    """

    jobs: int
    cells: int
    tuning_examples: int
    asking_examples: int
    tuning_tokens: int
    asking_tokens: int
    states: int
    probing_tokens: int
    states_bytes: int | None
    seconds: float | None
    bytes: int | None


def estimate(plan: Plan) -> Estimate:
    """Count what a plan does. Measures the CPU for about 0.3 s."""
    asked = [(job, question) for job in plan.jobs for question in job.questions.values()]
    tuned = [(job, job.recipe) for job in plan.jobs if job.recipe is not None]
    kept = [probe for job in plan.jobs for probe in job.probes.values()]
    weights, sizes = plan.model.parameters, plan.model.sizes
    work = sum(tuning_work(job) for job in plan.jobs) + sum(asking_work(q) for _, q in asked)
    work += sum(map(probing_work, kept))
    width = 2 if plan.numeric_type == "bfloat16" else 4
    full = any(recipe.method == "full" for _, recipe in tuned)
    return Estimate(
        jobs=len(plan.jobs),
        cells=len(asked),
        tuning_examples=sum(len(job.prompts) * recipe.epochs for job, recipe in tuned),
        asking_examples=sum(len(question.prompts) for _, question in asked),
        tuning_tokens=sum(_tuning_tokens(job, recipe) for job, recipe in tuned),
        asking_tokens=sum(_asking_tokens(question) for _, question in asked),
        states=len(kept),
        probing_tokens=sum(_tokens(probe.prompts, "") for probe in kept),
        states_bytes=None
        if sizes is None
        else sum(bytes_of(sizes[0] + 1, len(probe.prompts), sizes[1]) for probe in kept),
        seconds=None
        if weights is None
        else work * weights / (_rate() * EFFICIENCY[plan.numeric_type]),
        # Full tuning adds fp32 masters, gradients and two moments of AdamW.
        bytes=None if weights is None else weights * (width + 16 * full) + 2**30,
    )


def tuning_work(job: Job) -> float:
    """Floating-point operations a weight to tune a job; 0 for the bare base."""
    if job.recipe is None:
        return 0.0
    return (4 if job.recipe.method == "lora" else 6) * _tuning_tokens(job, job.recipe)


def asking_work(question: Question) -> float:
    """Floating-point operations a weight to ask one target."""
    return 2.0 * _asking_tokens(question)


def probing_work(probe: Probe) -> float:
    """Floating-point operations a weight to read the states of one probe."""
    return 2.0 * _tokens(probe.prompts, "")


def _tuning_tokens(job: Job, recipe: Recipe) -> int:
    whole = sum(
        min(_tokens([prompt], prompt.completion), recipe.max_tokens) for prompt in job.prompts
    )
    return recipe.epochs * max(1, whole - _spared(job.prompts))


def _asking_tokens(question: Question) -> int:
    prompts = question.prompts
    if question.scoring == "generation":
        return _tokens(prompts, "") + question.max_new_tokens * len(prompts)
    return _tokens(prompts, "".join(chain.from_iterable(p.continuations for p in prompts)))


def _tokens(prompts: Sequence[Prompt], more: str) -> int:
    read = sum(len(p.context) + sum(len(text) for _, text in p.turns) for p in prompts)
    return (read + len(more)) // CHARACTERS_PER_TOKEN + 1 - _spared(prompts)


def _spared(prompts: Sequence[Prompt]) -> int:
    """Tokens that are not read again, as all prompts begin with them."""
    contexts = [prompt.context for prompt in prompts]
    # What the first and the last in order share is shared by all.
    ends = zip(min(contexts, default=""), max(contexts, default=""), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    return shared * max(0, len(contexts) - 1) // CHARACTERS_PER_TOKEN


def _rate() -> float:
    """Floating-point operations a second of a single-precision product, the best of five."""
    matrix = np.ones((1024, 1024), dtype=np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        _ = matrix @ matrix
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds)
