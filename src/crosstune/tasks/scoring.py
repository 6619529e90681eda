"""From what a model said to numbers: the outcome of one example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosstune.errors import JobFailure
from crosstune.tasks.example import Example
from crosstune.tasks.metrics import CHOICE_METRICS, FILTERS, METRICS, likeliest
from crosstune.tasks.task import Task


def outcome(
    task: Task,
    example: Example,
    *,
    log_likelihoods: Sequence[float] | None = None,
    text: str | None = None,
) -> dict[str, float]:
    """Every metric of a task for one answer.

    Args:
        task: The task.
        example: What was asked.
        log_likelihoods: For a choice task: one a choice, nats, summed over its tokens.
        text: For a text task: what the model wrote.

    Returns:
        The task's metrics in their order, each 0 to 1. `acc`: the likeliest choice is right.
        `acc_norm`: the same after dividing by a choice's characters, its delimiter not counted.
        Of equal choices the first counts as picked. Text metrics see the answer after the file's
        filters; without filters, answer and references are stripped first (a leading delimiter
        is no part of an answer; lm-evaluation-harness would keep it).

    Raises:
        JobFailure: A log-likelihood is not finite, or a pattern of the task takes too long.
        ValueError: The wrong kind of answer for the task, or the wrong number.
    """
    if log_likelihoods is not None:
        sums = _checked(task, example, log_likelihoods)
        picked = {metric: CHOICE_METRICS[metric](sums, example.choices) for metric in task.metrics}
        return {metric: float(choice == example.label) for metric, choice in picked.items()}
    default, references = task.filters[0][0], example.references
    if not default:
        references = tuple(reference.strip() for reference in references)
    outcomes = {}
    with _in_time(task):
        answers = _filtered(task, text)
        for metric in task.metrics:
            name, _, pipeline = metric.partition(":")
            said, options = answers[pipeline or default], task.metric_options[name]
            outcomes[metric] = METRICS[name](said, references, **options)
    return outcomes


def answer(
    task: Task,
    example: Example,
    *,
    log_likelihoods: Sequence[float] | None = None,
    text: str | None = None,
) -> str:
    """The choice that was picked (by summed log-likelihood), or the text after the first filters.

    Raises:
        JobFailure: As `outcome`.
        ValueError: As `outcome`.
    """
    if log_likelihoods is not None:
        return example.choices[likeliest(_checked(task, example, log_likelihoods))]
    with _in_time(task):
        return _filtered(task, text)[task.filters[0][0]]


def _checked(task: Task, example: Example, sums: Sequence[float]) -> Sequence[float]:
    if task.kind != "choice" or len(sums) != len(example.choices):
        raise ValueError(f"{len(sums)} numbers for {len(example.choices)} choices of '{task.name}'")
    if not all(map(math.isfinite, sums)):
        where = f"example {example.id} of the task '{task.name}'"
        raise JobFailure(f"A log-likelihood is not finite ({where}).")
    return sums


def _filtered(task: Task, text: str | None) -> dict[str, str]:
    """The answer after each pipeline, by the pipeline's name."""
    if task.kind != "text" or text is None:
        raise ValueError(f"the task '{task.name}' is a {task.kind} task; its answer is missing")
    results = {}
    for name, steps in task.filters:
        results[name] = text
        for function, options in steps:
            results[name] = FILTERS[function](results[name], **options)
    return results


@contextmanager
def _in_time(task: Task) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise JobFailure(f"A pattern of the task '{task.name}' takes too long.") from error
