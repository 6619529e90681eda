"""The contract of a task as a function: what holds for every task, in words where it does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from crosstune.errors import InputError, JobFailure
from crosstune.tasks.example import Example
from crosstune.tasks.rendering import prompts
from crosstune.tasks.scoring import outcome
from crosstune.tasks.splits import examples
from crosstune.tasks.task import Task

Tokenize = Callable[[str], list[int]]


def check(task: Task, *, tokenize: Tokenize | None = None) -> list[str]:
    """What is wrong with a task; reads all its rows.

    Rules, for every prompt variant: splits can be worded and are not empty; no question of the
    test split stands in the training split or among demonstrations; the choices of an example
    differ as text without outer white space and, given a tokenizer, in their tokens; the right
    answer, as it would be taught, gets 1 from every metric and no stop string cuts it.

    Args:
        task: The task.
        tokenize: A tokenizer, without special tokens.

    Returns:
        Problems in words; empty when the contract holds.
    """
    return [
        f"{task.name} ({variant}): {problem}"
        for variant in task.prompts
        for problem in _variant_problems(task, variant, tokenize)
    ]


def _variant_problems(task: Task, variant: str, tokenize: Tokenize | None) -> list[str]:
    shown = task.demonstrations_split or task.fewshot_config.samples
    try:
        test = examples(task, "test", prompt=variant).items
        train = examples(task, "train", prompt=variant).items if task.train_split else ()
        pool = examples(task, "fewshot", prompt=variant).items if shown else ()
    except InputError as error:
        return [error.what, *error.problems]
    asked = {_input(example) for example in test}
    problems = []
    for where, others in (("the training split", train), ("the demonstrations", pool)):
        known = sum(_input(example) in asked for example in others)
        if known:
            problems.append(f"{known} questions of {where} stand in the test split")
    found: defaultdict[str, list[str]] = defaultdict(list)
    both = (*train, *test)
    for example, prompt in zip(both, prompts(task, both, variant=variant), strict=True):
        if _repeated([choice.strip() for choice in example.choices]):
            found["choices that are the same text"].append(example.id)
        if tokenize and _repeated([tuple(tokenize(choice)) for choice in prompt.continuations]):
            found["choices that are the same tokens"].append(example.id)
        if not _truth_is_one(task, example, prompt.completion):
            found["a right answer that a metric does not give 1"].append(example.id)
    for rule, ids in found.items():
        problems.append(f"{len(ids)} examples have {rule} (first: {ids[0]})")
    return problems


def _input(example: Example) -> tuple[str, tuple[str, ...]]:
    return " ".join(example.context.split()), example.choices


def _repeated(values: Sequence[object]) -> bool:
    return len(set(values)) < len(values)


def _truth_is_one(task: Task, example: Example, completion: str) -> bool:
    """Whether the answer as taught scores 1, after what follows a stop string is cut."""
    if example.label is not None:
        sums = [-1e4 * len(choice) for choice in example.choices]
        sums[example.label] = -1.0
        return set(outcome(task, example, log_likelihoods=sums).values()) == {1.0}
    for stop in task.stop:
        completion = completion.partition(stop)[0]
    try:
        return min(outcome(task, example, text=completion).values()) > 1 - 1e-9
    except JobFailure:
        return False
