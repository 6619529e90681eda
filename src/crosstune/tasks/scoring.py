"""From what a model said to numbers: the outcome of one example."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosstune.errors import JobFailure
from crosstune.tasks.example import Example, Scoring
from crosstune.tasks.metrics import CHOICE_METRICS, FILTERS, METRICS, likeliest
from crosstune.tasks.task import Task


def scoring_of(task: Task, scoring: Scoring) -> Scoring:
    """How answers of a task become scores where that way of scoring choices is wished."""
    return scoring if task.kind == "choice" else "generation"


def metric_names(task: Task, scoring: Scoring) -> tuple[str, ...]:
    """Names of what `outcome` gives, the main one first.

    A first token and a written answer say which choice is picked, and nothing of its length.
    """
    whole = task.kind == "text" or scoring == "likelihood"
    return task.metrics if whole else ("acc",)


def limits(
    task: Task, examples: Sequence[Example], scoring: Scoring
) -> tuple[tuple[str, ...], int]:
    """What ends a written answer, and its most tokens; choices need as many as they are long.

    A token of a choice is two bytes at least, mostly four.
    """
    if task.kind == "text" or scoring != "generation":
        return task.stop, task.max_new_tokens
    longest = max(len(choice.encode()) for example in examples for choice in example.choices)
    return tuple(filter(None, [task.fewshot_delimiter])), longest // 2 + 4


def picked(text: str, choices: Sequence[str]) -> int | None:
    """The choice that a written answer begins with, the longest of several; None if there is none.

    Case, and what stands before the first letter or number, do not count; a word or number must
    be whole.

    Example:
        >>> picked(' "Not sure", I think.', ["no", "not sure"]), picked("none", ["no", "yes"])
        (1, None)
    """
    said = _bare(text)
    found = [
        position
        for position, choice in enumerate(map(_bare, choices))
        if said.startswith(choice) and not re.match(r"\w|[.,]\d", said[len(choice) :])
    ]
    return max(found, key=lambda position: len(_bare(choices[position])), default=None)


def same_written(examples: Sequence[Example]) -> tuple[str, str] | None:
    """Two choices of an example that `picked` cannot tell apart; None where there are none."""
    for choices in {example.choices for example in examples}:
        seen: dict[str, str] = {}
        for choice in choices:
            if (other := seen.setdefault(_bare(choice), choice)) != choice:
                return other, choice
    return None


def _bare(text: str) -> str:
    """Without regard to case, and to what stands before the first letter or number."""
    return re.sub(r"^(?:(?![-+]\d)[\W_])+(?=[^\W_]|[-+]\d)", "", text).strip().casefold()


def outcome(
    task: Task,
    example: Example,
    *,
    log_likelihoods: Sequence[float] | None = None,
    text: str | None = None,
    scoring: Scoring = "likelihood",
) -> dict[str, float]:
    """Every metric of one answer.

    Args:
        task: The task.
        example: What was asked.
        log_likelihoods: Of choices: one a choice, nats, summed over the tokens that count.
        text: What the model wrote.
        scoring: How a choice is picked.

    Returns:
        The metrics of `metric_names` in their order, each 0 to 1. `acc`: the likeliest choice is
        right, or the one that a written answer begins with.
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
        named = metric_names(task, scoring)
        chosen = {metric: CHOICE_METRICS[metric](sums, example.choices) for metric in named}
        return {metric: float(choice == example.label) for metric, choice in chosen.items()}
    if scoring == "generation" and task.kind == "choice" and text is not None:
        return {"acc": float(picked(text, example.choices) == example.label)}
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
    scoring: Scoring = "likelihood",
) -> str:
    """The choice that was picked, or the text after the first filters.

    Where a written answer begins with no choice, it is what was written, stripped.

    Raises:
        JobFailure: As `outcome`.
        ValueError: As `outcome`.
    """
    if log_likelihoods is not None:
        return example.choices[likeliest(_checked(task, example, log_likelihoods))]
    if scoring == "generation" and task.kind == "choice" and text is not None:
        position = picked(text, example.choices)
        return text.strip() if position is None else example.choices[position]
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
