"""Hidden states of two models on the same prompts, so that they can be compared layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from crosstune import models, tasks
from crosstune.errors import InputError, JobFailure
from crosstune.models import Activations, LanguageModel, ModelReference
from crosstune.models.protocol import Position
from crosstune.results.states import States, read_states, write_states
from crosstune.results.store import told
from crosstune.study.memory import within_memory
from crosstune.study.progress import Reporter
from crosstune.tasks import Task
from crosstune.tasks.example import Prompt

FEWEST = 20
"""Test rows of a task that is compared on."""


def probes(chosen: Sequence[Task], *, examples: int, seed: int = 0) -> dict[str, list[Prompt]]:
    """Test examples of tasks in their own wording, without demonstrations.

    Raises:
        InputError: No task, rows that cannot be read, or too few of them.
    """
    found, few = {}, []
    for task in chosen:
        part = tasks.subset(tasks.examples(task, "test").items, examples, seed=seed)
        found[task.name] = [*tasks.prompts(task, part)]
        if len(part) < FEWEST:
            few.append(f"{task.name}: {len(part)} test rows; at least {FEWEST} are needed")
    if few or not found:
        raise InputError("These tasks cannot be compared on", few or ["there is none of them"])
    return found


def model_states(
    reference: ModelReference,
    prompts: Mapping[str, Sequence[Prompt]],
    *,
    scratch: Path,
    position: Position,
    numeric_type: str,
    device: str,
    tokens_per_batch: int = 4096,
    reporter: Reporter,
) -> dict[str, States]:
    """States of a model on the prompts of every task; the model is let go of afterwards.

    Args:
        reference: The model, as `models.resolve` found it.
        prompts: By task.
        scratch: Existing and empty; holds the states.
        position: Whose state stands for a prompt.
        numeric_type: As in a study.
        device: As in a study.
        tokens_per_batch: Tokens read at once; fewer where they do not fit.
        reporter: Where progress goes.

    Raises:
        InputError: The model or the device cannot be used, or prompts do not fit the model, so that
            another one would read other texts.
        JobFailure: A state is not finite, or a batch does not fit the memory.
        StoreFailure: The disk is full.
    """
    reporter.say(f"loading {reference.name} in {numeric_type}")
    model: LanguageModel = models.load(reference, numeric_type=numeric_type, device=device)
    reporter.begin(sum(map(len, prompts.values())))
    states = {}
    try:
        for number, (task, asked) in enumerate(prompts.items()):
            folder = scratch / str(number)
            progress = reporter.stage(f"{reference.name}: states of {task}", units=len(asked))
            read = partial(model.activations, asked, position=position, progress=progress)
            found, _ = within_memory(
                partial(_with_budget, read), name=task, budget=tokens_per_batch, say=reporter.say
            )
            if found.truncated:
                raise InputError(
                    f"{found.truncated} of {len(asked)} prompts of {task} are longer than "
                    f"{reference.name} takes; leave that task out"
                )
            with told(scratch):
                folder.mkdir()
                try:
                    write_states(folder, found.states, {"task": task})
                except ValueError as error:
                    raise JobFailure(f"{reference.name} on {task}: {error}") from None
            states[task] = read_states(folder)
    finally:
        reporter.end()
    return states


def _with_budget(read: Callable[..., Activations], budget: int) -> Activations:
    return read(tokens_per_batch=budget)
