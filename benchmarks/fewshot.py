"""Few-shot asking by crosstune and by the lm-evaluation-harness: same answers, and how fast.

    pip install lm_eval==0.4.13
    python benchmarks/fewshot.py same --rows 4     # fp32: every answer compared
    python benchmarks/fewshot.py fast --rows 100   # bf16: seconds of both, task by task

Before every question stand the same 4 to 8 demonstrations, the first of the training split, as
`num_fewshot` and `fewshot_config: {sampler: first_n}` have it: choices and texts, short and long
prompts, few labels and many. `same` also lets the harness read the task files and word the prompts
itself. All else is as in asking.py and text.py. `--tasks` names some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import asking
import text
import yaml
from asking import HERE, Asked, compare, context_of
from text import Written

from crosstune import models, tasks
from crosstune.tasks import Task
from crosstune.tasks.example import Prompt
from crosstune.tasks.rows import read_split

SHOTS = {
    "sst2": 8,
    "mnli": 6,
    "commonsense_qa": 5,
    "banking77": 8,
    "boolq_prompted": 4,
    "socialqa_qg": 8,
    "squad_v2_prompted": 4,
    "xsum": 4,
}
"""Tasks that are asked if none is named, and how many demonstrations each shows."""
OTHERWISE = 5
LEFT_OUT = set("family licence prompts drop dataset_path dataset_kwargs metric_list".split())
"""Keys of a task file that the harness does not know, or that decide no prompt."""


def chosen(names: str, rows: int) -> Iterator[tuple[Task, int, list[Prompt]]]:
    """Tasks, with how many demonstrations, and their first questions."""
    known = tasks.load([str(HERE / "tasks" / "*.yaml")], folder=HERE)
    for name in names.split(",") if names else SHOTS:
        task, shots = known[name], SHOTS.get(name, OTHERWISE)
        asked = tasks.subset(tasks.examples(task, "test").items, rows, seed=0)
        shown = tasks.demonstrations(task, shots, sampler="first")
        yield task, shots, tasks.prompts(task, asked, demonstrations=shown)


def sides(
    model: models.LanguageModel, harness: Any, task: Task
) -> tuple[partial[Asked | Written], partial[Asked | Written]]:
    """How both are asked: of choices their log-likelihoods, else for a text."""
    if task.kind == "choice":
        return partial(asking.ours, model), partial(asking.theirs, harness)
    return partial(text.ours, model, task), partial(text.theirs, harness, task)


def worded_by_harness(task: Task, shots: int) -> set[str]:
    """All prompts of a task as the harness words them, from the very same file and rows."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    def rows(**_: Any) -> dict[str, Dataset]:
        # The harness's own reader asks for the same fields in all splits; not all rows have them.
        read = {split: read_split(task, split) for split in task.dataset_kwargs.data_files}
        return {name: Dataset.from_list([row for _, row in x.items]) for name, x in read.items()}

    raw = yaml.safe_load(task.path.read_text(encoding="utf-8"))
    config = {key: value for key, value in raw.items() if key not in LEFT_OUT}
    config |= {"fewshot_split": task.demonstrations_split, "num_fewshot": shots}
    config |= {"fewshot_config": {"sampler": "first_n"}, "custom_dataset": rows}
    built = ConfigurableTask(config=config)
    return {built.fewshot_context(doc, num_fewshot=shots) for doc in built.test_docs()}


def difference(left: Sequence[Any], right: Sequence[Any]) -> tuple[float, int]:
    """Largest difference of log-likelihoods, and how many answers are others; of texts, others."""
    pairs = list(zip(left, right, strict=True))
    if isinstance(left[0], str):
        return 0.0, sum(x != y for x, y in pairs)
    off = max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True))
    return off, sum(x.index(max(x)) != y.index(max(y)) for x, y in pairs)


def answers(found: Asked | Written) -> Sequence[Any]:
    """Log-likelihoods by row, or texts."""
    return found.values if isinstance(found, Asked) else found.texts


def same(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Compare every answer, and the prompts."""
    print(
        "| task | demonstrations | rows | same prompt | largest difference (nats) | other answer |"
    )
    print("|---|---|---|---|---|---|")
    for task, shots, prompts in chosen(names, rows):
        ours, theirs = sides(model, harness, task)
        off, other = difference(answers(ours(prompts)), answers(theirs(prompts)))
        worded = worded_by_harness(task, shots)
        equal = sum(context_of(harness, prompt) in worded for prompt in prompts)
        told = f"{off:.1e}" if task.kind == "choice" else "(text)"
        print(
            f"| {task.name} | {shots} | {len(prompts)} | {equal} | {told} | {other} |", flush=True
        )


def fast(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Seconds of both, each asked once before to be warm."""
    print("| task | demonstrations | rows | words a prompt | crosstune | harness | ratio | other |")
    print("|---|---|---|---|---|---|---|---|")
    mine = other = 0.0
    for task, shots, prompts in chosen(names, rows):
        ours, theirs = sides(model, harness, task)
        ours(prompts[:2])
        theirs(prompts[:2])
        left, right = ours(prompts), theirs(prompts)
        words = sum(len(p.context.split()) for p in prompts) / len(prompts)
        print(
            f"| {task.name} | {shots} | {len(prompts)} | {words:.0f} | {left.seconds:.1f} s | "
            f"{right.seconds:.1f} s | {right.seconds / left.seconds:.1f} | "
            f"{difference(answers(left), answers(right))[1]} |",
            flush=True,
        )
        mine, other = mine + left.seconds, other + right.seconds
    print(f"\nall: crosstune {mine:.0f} s, harness {other:.0f} s, ratio {other / mine:.1f}")


if __name__ == "__main__":
    compare(__doc__, {"same": same, "fast": fast}, rows=6, tuned_on=asking.TUNED_ON)
