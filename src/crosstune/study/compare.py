"""Hidden states of two models on the same prompts, so that they can be compared layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstune import models, tasks
from crosstune.models import LanguageModel, ModelReference
from crosstune.models.protocol import Position
from crosstune.results.states import States, read_states, write_states
from crosstune.study.progress import Reporter
from crosstune.tasks import Task
from crosstune.tasks.example import Prompt


def probes(chosen: Sequence[Task], *, examples: int, seed: int = 0) -> dict[str, list[Prompt]]:
    """Test examples of tasks in their own wording, without demonstrations.

    Raises:
        InputError: A task's rows cannot be read.
    """
    found = {}
    for task in chosen:
        part = tasks.subset(tasks.examples(task, "test").items, examples, seed=seed)
        found[task.name] = [*tasks.prompts(task, part)]
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
        tokens_per_batch: Tokens read at once.
        reporter: Where progress goes.

    Raises:
        InputError: The model or the device cannot be used.
    """
    reporter.say(f"loading {reference.name} in {numeric_type}")
    model: LanguageModel = models.load(reference, numeric_type=numeric_type, device=device)
    reporter.begin(sum(map(len, prompts.values())))
    found = {}
    try:
        for number, (task, asked) in enumerate(prompts.items()):
            folder = scratch / str(number)
            folder.mkdir()
            states = model.activations(
                asked,
                position=position,
                tokens_per_batch=tokens_per_batch,
                progress=reporter.stage(f"{reference.name}: states of {task}", units=len(asked)),
            )
            write_states(folder, states, {"task": task})
            found[task] = read_states(folder)
    finally:
        reporter.end()
    return found
