"""Choices asked by crosstune and by the lm-evaluation-harness: same answers, and how fast.

    pip install lm_eval==0.4.13
    python benchmarks/asking.py same --rows 6     # fp32: log-likelihoods compared, one by one
    python benchmarks/asking.py fast --rows 100   # bf16: seconds of both, task by task

Both sides get the very same prompts from the task files in benchmarks/tasks, in one process, with
the same weights: the embedded model and an adapter that is tuned on the spot. `--tasks` names some.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

from crosstune import Recipe, models, tasks
from crosstune.models.embedded import embedded_folder
from crosstune.tasks import Task
from crosstune.tasks.example import Prompt

HERE = Path(__file__).resolve().parent
MODEL = "smollm2-135m-q4_1"
TUNED_ON = "sst2"
BUDGET = 4096
BATCH = 16
WAYS: dict[str, dict[str, Any]] = {
    "zero-shot": {"shots": 0, "chat_template": "none"},
    "two-shot": {"shots": 2, "chat_template": "none"},
    "chat": {"shots": 0, "chat_template": "model"},
}


@dataclass(frozen=True)
class Asked:
    """What one side answered to one task: log-likelihoods by row and choice, and its seconds."""

    values: list[tuple[float, ...]]
    seconds: float


PEERS = {"lm_eval": "lm_eval==0.4.13", "trl": "trl==1.16.0"}


def ready(*peers: str) -> None:
    """End in words where a peer or the rows of the tasks are missing."""
    missing = [f"pip install {PEERS[peer]}" for peer in peers if find_spec(peer) is None]
    if not (HERE.parent.parent / "shared" / "data" / "tasks").is_dir():
        missing.append(
            "the rows of benchmarks/tasks: they are no part of this repository, and are looked for "
            "in ../shared/data/tasks beside it"
        )
    if missing:
        raise SystemExit("\n".join(["This benchmark needs:", *missing]))


def nothing(*_: object, **__: object) -> None:
    """Report no progress."""


def prompts_of(task: Task, *, rows: int, shots: int, chat_template: Any) -> list[Prompt]:
    """The first test rows of a task in their final wording."""
    shown = tasks.demonstrations(task, shots)
    examples = tasks.subset(tasks.examples(task, "test").items, rows, seed=0)
    return tasks.prompts(task, examples, chat_template=chat_template, demonstrations=shown)


def ours(model: models.LanguageModel, prompts: Sequence[Prompt]) -> Asked:
    """crosstune's answers."""
    begin = time.perf_counter()
    answers = model.score_choices(prompts, tokens_per_batch=BUDGET, progress=nothing)
    return Asked([a.log_likelihoods for a in answers], time.perf_counter() - begin)


def theirs(harness: Any, prompts: Sequence[Prompt]) -> Asked:
    """The harness's answers to the same contexts and continuations."""
    from lm_eval.api.instance import Instance

    begin = time.perf_counter()
    requests = [
        Instance("loglikelihood", {}, (context_of(harness, prompt), choice), idx)
        for prompt in prompts
        for idx, choice in enumerate(prompt.continuations)
    ]
    found = iter([value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)])
    values = [tuple(next(found) for _ in prompt.continuations) for prompt in prompts]
    return Asked(values, time.perf_counter() - begin)


def context_of(harness: Any, prompt: Prompt) -> str:
    """What the harness reads; of turns, what it makes by the model's template."""
    if not prompt.turns:
        return prompt.context
    turns = [{"role": role, "content": text} for role, text in prompt.turns]
    return str(harness.apply_chat_template(turns)) + prompt.context


def sides(
    numeric_type: str, folder: Path, *, tuned_on: str
) -> tuple[models.LanguageModel, Any, float]:
    """Both with the same adapter, and the seconds the harness takes to start."""
    reference = models.resolve(MODEL, revision=None, folder=folder)
    model = models.load(reference, numeric_type=numeric_type, device="cpu")
    task = tasks.load([str(HERE / "tasks" / "*.yaml")], folder=HERE)[tuned_on]
    lessons = tasks.prompts(task, tasks.subset(tasks.examples(task, "train").items, 64, seed=0))
    adapter = folder / "adapter"
    adapter.mkdir()
    recipe = Recipe(examples=64, epochs=1, batch_size=16)
    model.tune(lessons, recipe=recipe, seed=0, folder=adapter, progress=nothing)
    model.attach(adapter)
    begin = time.perf_counter()
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(
        pretrained=str(embedded_folder()),
        dtype=numeric_type,
        device="cpu",
        batch_size=BATCH,
        peft=str(adapter),
    )
    return model, harness, time.perf_counter() - begin


def product_rate(numeric_type: str) -> float:
    """Floating-point operations a second of a large matrix product, the best of five."""
    import torch

    matrix = torch.ones(4096, 4096, dtype=getattr(torch, numeric_type))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - begin)
    return 2 * 4096**3 / min(seconds)


def weights_of(model: Any) -> int:
    """Weights of the model's layers: those that each token meets."""
    body = model._base.get_decoder()
    embedded = model._base.get_input_embeddings().weight.numel()
    return sum(p.numel() for p in body.parameters()) - embedded


def needed(model: Any, prompts: Sequence[Prompt]) -> int:
    """Floating-point operations that cannot be avoided: every token once through the layers."""
    from crosstune.models.reading import grown

    rows = model._encoder.alternatives(prompts)
    tokens = sum(len(grown([row[:-1] for row in one.rows])[0]) for one in rows)
    return 2 * tokens * weights_of(model)


def chosen(names: str) -> Iterator[tuple[str, Task]]:
    """The choice tasks, or those that are named."""
    known = tasks.load([str(HERE / "tasks" / "*.yaml")], folder=HERE)
    wanted = names.split(",") if names else sorted(p.stem for p in (HERE / "tasks").glob("*.yaml"))
    yield from ((name, known[name]) for name in wanted if known[name].kind == "choice")


def same(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Compare every log-likelihood; the largest difference and the predicted choices by task."""
    print("| task | way | choices | largest difference (nats) | other choice predicted |")
    print("|---|---|---|---|---|")
    worst, wrong, count = 0.0, 0, 0
    for name, task in chosen(names):
        for way, asked in WAYS.items():
            prompts = prompts_of(task, rows=rows, **asked)
            left, right = ours(model, prompts).values, theirs(harness, prompts).values
            off = max(
                abs(a - b)
                for x, y in zip(left, right, strict=True)
                for a, b in zip(x, y, strict=True)
            )
            other = sum(
                x.index(max(x)) != y.index(max(y)) for x, y in zip(left, right, strict=True)
            )
            total = sum(len(x) for x in left)
            print(f"| {name} | {way} | {total} | {off:.1e} | {other} of {len(left)} |", flush=True)
            worst, wrong, count = max(worst, off), wrong + other, count + total
    print(f"\n{count} log-likelihoods: largest difference {worst:.1e} nats, {wrong} other choices")


def fast(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Seconds of both, each asked once before to be warm."""
    print("| task | rows | choices a row | words a prompt | crosstune | harness | ratio |")
    print("|---|---|---|---|---|---|---|")
    mine = other = 0.0
    work = 0
    for name, task in chosen(names):
        prompts = prompts_of(task, rows=rows, shots=0, chat_template="none")
        work += needed(model, prompts)
        ours(model, prompts[:2])
        theirs(harness, prompts[:2])
        left, right = ours(model, prompts), theirs(harness, prompts)
        words = sum(len(p.context.split()) for p in prompts) / len(prompts)
        choices = sum(len(p.continuations) for p in prompts) / len(prompts)
        print(
            f"| {name} | {len(prompts)} | {choices:.0f} | {words:.0f} | {left.seconds:.1f} s | "
            f"{right.seconds:.1f} s | {right.seconds / left.seconds:.1f} |",
            flush=True,
        )
        mine, other = mine + left.seconds, other + right.seconds
    print(f"\nall: crosstune {mine:.0f} s, harness {other:.0f} s, ratio {other / mine:.1f}")
    rate, product = work / mine, product_rate("bfloat16")
    print(
        f"every token once through the layers: {rate / 1e9:.0f} GFLOP/s, {rate / product:.0%} of "
        f"the {product / 1e9:.0f} GFLOP/s of a matrix product"
    )


def compare(
    document: str | None, parts: dict[str, Callable[..., None]], *, rows: int, tuned_on: str
) -> None:
    """Run the part that the command line names: `same` in fp32, `fast` in bf16."""
    parser = argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("--tasks", default="", help="names, joined by commas; all if none")
    parser.add_argument("--rows", type=int, default=rows, help="test rows of a task")
    given = parser.parse_args()
    ready("lm_eval")
    logging.disable(logging.WARNING)
    import lm_eval
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name:
        numeric_type = "float32" if given.part == "same" else "bfloat16"
        model, harness, seconds = sides(numeric_type, Path(name), tuned_on=tuned_on)
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
            f"transformers {transformers.__version__}, lm_eval {lm_eval.__version__}, "
            f"{numeric_type}; harness: {seconds:.0f} s to start, batches of {BATCH}\n",
            flush=True,
        )
        parts[given.part](model, harness, names=given.tasks, rows=given.rows)


if __name__ == "__main__":
    compare(__doc__, {"same": same, "fast": fast}, rows=6, tuned_on=TUNED_ON)
