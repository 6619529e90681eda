"""The contract of every task: the embedded ones, and those of benchmarks/ where their rows are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from crosstune.errors import InputError
from crosstune.models.embedded import embedded_folder
from crosstune.models.reference import embedded_file
from crosstune.tasks import Task, check, demonstrations, examples, load, prompts
from tasks.making import colour_rows, task_in

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT.parent / "shared" / "data" / "tasks"
EMBEDDED = load(folder=ROOT)
EVERY = load(["benchmarks/tasks/*.yaml"], folder=ROOT)
BENCHMARKS = {name: task for name, task in EVERY.items() if name not in EMBEDDED}
needs_rows = pytest.mark.skipif(not ROWS.is_dir(), reason=f"the rows are not in {ROWS.name}/")


def test_there_are_tasks() -> None:
    assert len(BENCHMARKS) == 24
    assert len(EMBEDDED) >= 12
    assert len({task.family for task in EMBEDDED.values()}) >= 6


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_task_keeps_the_contract(name: str) -> None:
    task = EMBEDDED[name]
    assert check(task, tokenize=tokens_of()) == []
    assert task.licence != "not stated"
    assert task.train_split
    one_shot_is_never_the_question(task)


@needs_rows
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_task_keeps_the_contract(name: str) -> None:
    task = BENCHMARKS[name]
    assert check(task, tokenize=tokens_of()) == []
    one_shot_is_never_the_question(task)


@cache
def tokens_of() -> Callable[[str], list[int]]:
    """The embedded model's tokenizer where its weights are installed, else letters."""
    try:
        embedded_file()
    except InputError:
        return lambda text: list(map(ord, text))
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    return lambda text: list(tokenizer(text)["input_ids"])


def one_shot_is_never_the_question(task: Task) -> None:
    for variant in task.prompts:
        asked = examples(task, "test", prompt=variant).items
        shown = demonstrations(task, 4, prompt=variant, seed=1)
        assert not {(e.context, e.choices) for e in shown} & {(e.context, e.choices) for e in asked}
        for prompt, example in zip(
            prompts(task, asked, variant=variant, demonstrations=shown), asked, strict=True
        ):
            assert prompt.context.endswith(example.context + task.prompts[variant].gen_prefix)


@needs_rows
def test_labels_without_a_majority_are_left_out_of_mnli_and_counted() -> None:
    found = examples(BENCHMARKS["mnli"], "test")
    assert (len(found.items), found.dropped) == (492, 8)


# --- the contract itself notices what it is for -----------------------------------------------


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"test": colour_rows(11, 3)}, "1 questions of the training split stand in the test split"),
        ({"test": [{"text": "THING", "label": 9}]}, "the label 9 is not among the choices"),
        ({"test": []}, "is empty"),
        ({"doc_to_choice": ["red", " red", "blue"]}, "choices that are the same text"),
        ({"doc_to_choice": ["ox", "ax", "blue"]}, "choices that are the same tokens"),
        (
            {"output_type": "generate_until", "doc_to_target": "{{ colour }}\n\nmore"},
            "a right answer that a metric does not give 1",
        ),
        (
            {
                "output_type": "generate_until",
                "doc_to_target": "colour",
                "metric_list": [{"metric": "numeric_match"}],
            },
            "a right answer that a metric does not give 1",
        ),
        ({"fewshot_config": {"samples": colour_rows(12, 1)}}, "1 questions of the demonstrations"),
        (
            {"prompts": {"same": {"doc_to_text": "Which?"}}},
            "colours (same): 12 questions of the training split",
        ),
    ],
)
def test_a_broken_contract_is_told(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    task = task_in(tmp_path, **keys)
    found = check(task, tokenize=lambda text: [ord(letter) for letter in text[-1:]])
    assert any(problem in line for line in found), found
    assert all(line.startswith("colours (") for line in found)
