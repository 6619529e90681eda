"""Texts written by crosstune and by the lm-evaluation-harness: same texts, and how fast.

    pip install lm_eval==0.4.13
    python benchmarks/text.py same --rows 4     # fp32: texts compared, with transformers' own too
    python benchmarks/text.py fast --rows 32    # bf16: seconds of both, task by task

Both sides read the very same prompts of the text tasks in benchmarks/tasks, with the same stop
strings and the same longest answer, in one process, with the same weights: the embedded model and
an adapter that is tuned on the spot, on worked answers. `--tasks` names some.

What is compared is the text as each side gives it back: special tokens left out, cut before the
first stop string, white space kept. `same` also asks transformers' `generate(do_sample=False)`, one
row at a time with the weights the harness has loaded, cuts its text likewise, and counts a row as
the same if text and number of generated tokens are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asking import BUDGET, HERE, WAYS, compare, context_of, nothing, prompts_of

from crosstune import models, tasks
from crosstune.tasks import Task
from crosstune.tasks.example import Prompt

TUNED_ON = "gsm8k"
"""An adapter of a choice task answers every question with a word or two; this one writes."""


@dataclass(frozen=True)
class Written:
    """What one side wrote to one task: texts, tokens generated (if it tells), and its seconds."""

    texts: list[str]
    tokens: list[int]
    seconds: float


def ours(model: models.LanguageModel, task: Task, prompts: Sequence[Prompt]) -> Written:
    """crosstune's texts."""
    begin = time.perf_counter()
    answers = model.generate(
        prompts,
        stop=task.stop,
        max_new_tokens=task.max_new_tokens,
        tokens_per_batch=BUDGET,
        progress=nothing,
    )
    seconds = time.perf_counter() - begin
    return Written([a.text for a in answers], [a.tokens for a in answers], seconds)


def theirs(harness: Any, task: Task, prompts: Sequence[Prompt]) -> Written:
    """The harness's texts after the same contexts; it does not tell how many tokens it made."""
    from lm_eval.api.instance import Instance

    begin = time.perf_counter()
    asked = {"until": list(task.stop), "max_gen_toks": task.max_new_tokens, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (context_of(harness, prompt), asked), 0)
        for prompt in prompts
    ]
    texts = harness.generate_until(requests, disable_tqdm=True)
    return Written(texts, [], time.perf_counter() - begin)


def plain(harness: Any, task: Task, prompts: Sequence[Prompt]) -> Written:
    """What transformers writes greedily, one row at a time: no batch, no padding."""
    import torch

    texts, counts = [], []
    begin = time.perf_counter()
    for prompt in prompts:
        context = torch.tensor([harness.tok_encode(context_of(harness, prompt))])
        out = harness.model.generate(
            input_ids=context,
            attention_mask=torch.ones_like(context),
            do_sample=False,
            max_new_tokens=task.max_new_tokens,
            stop_strings=list(task.stop),
            tokenizer=harness.tokenizer,
            pad_token_id=harness.tokenizer.pad_token_id,
        )
        new = out[0, context.shape[1] :].tolist()
        text = harness.tokenizer.decode(new, skip_special_tokens=True)
        texts.append(min((text.partition(s)[0] for s in task.stop), key=len, default=text))
        counts.append(len(new))
    return Written(texts, counts, time.perf_counter() - begin)


def chosen(names: str) -> Iterator[tuple[str, Task]]:
    """The text tasks, or those that are named."""
    known = tasks.load([str(HERE / "tasks" / "*.yaml")], folder=HERE)
    wanted = names.split(",") if names else sorted(p.stem for p in (HERE / "tasks").glob("*.yaml"))
    yield from ((name, known[name]) for name in wanted if known[name].kind == "text")


def equal(left: Sequence[object], right: Sequence[object]) -> int:
    """How many pairs are the same."""
    return sum(x == y for x, y in zip(left, right, strict=True))


def same(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Count identical texts, by task and way."""
    print("| task | way | rows | tokens a row | same text as the harness | as transformers |")
    print("|---|---|---|---|---|---|")
    count = harnessed = exact = 0
    for name, task in chosen(names):
        for way, asked in WAYS.items():
            prompts = prompts_of(task, rows=rows, **asked)
            mine, other = ours(model, task, prompts), theirs(harness, task, prompts)
            alone = plain(harness, task, prompts)
            with_harness = equal(mine.texts, other.texts)
            with_plain = equal(
                list(zip(mine.texts, mine.tokens, strict=True)),
                list(zip(alone.texts, alone.tokens, strict=True)),
            )
            print(
                f"| {name} | {way} | {len(prompts)} | {sum(mine.tokens) / len(prompts):.0f} | "
                f"{with_harness} | {with_plain} |",
                flush=True,
            )
            count += len(prompts)
            harnessed, exact = harnessed + with_harness, exact + with_plain
    print(
        f"\n{count} texts: {harnessed / count:.1%} the same as the harness's, {exact / count:.1%} "
        "the same, with as many tokens, as transformers' one at a time"
    )


def fast(model: models.LanguageModel, harness: Any, *, names: str, rows: int) -> None:
    """Seconds of both, each asked once before to be warm."""
    print("| task | rows | tokens a row | crosstune | harness | ratio | same text |")
    print("|---|---|---|---|---|---|---|")
    mine = other = 0.0
    for name, task in chosen(names):
        prompts = prompts_of(task, rows=rows, shots=0, chat_template="none")
        ours(model, task, prompts[:1])
        theirs(harness, task, prompts[:1])
        left, right = ours(model, task, prompts), theirs(harness, task, prompts)
        print(
            f"| {name} | {len(prompts)} | {sum(left.tokens) / len(prompts):.0f} | "
            f"{left.seconds:.1f} s | {right.seconds:.1f} s | {right.seconds / left.seconds:.1f} | "
            f"{equal(left.texts, right.texts)} |",
            flush=True,
        )
        mine, other = mine + left.seconds, other + right.seconds
    print(f"\nall: crosstune {mine:.0f} s, harness {other:.0f} s, ratio {other / mine:.1f}")


if __name__ == "__main__":
    compare(__doc__, {"same": same, "fast": fast}, rows=4, tuned_on=TUNED_ON)
