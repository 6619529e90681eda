"""The law of keys: all that decides a result changes them, nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crosstune.models import Recipe
from crosstune.study import keys
from crosstune.tasks.example import Condition, Example, Prompt

PROMPT = Prompt("1", (), "the film was dull", (" bad", " good"), " bad")
EXAMPLE = Example("1", "the film was dull", ("bad", "good"), 0, ("bad",))
RECIPE_CHANGES: dict[str, Any] = {
    "method": "full",
    "rank": 8,
    "alpha": 16,
    "dropout": 0.1,
    "target_modules": ("q_proj",),
    "learning_rate": 1e-3,
    "schedule": "linear",
    "warmup": 0.2,
    "weight_decay": 0.1,
    "clip": 0.0,
    "epochs": 2,
    "batch_size": 8,
    "examples": 100,
    "max_tokens": 64,
    "loss": "label_only",
    "prompt": "bare",
    "chat_template": "model",
}
CONDITION_CHANGES: dict[str, Any] = {
    "examples": 10,
    "shots": 2,
    "prompt": "bare",
    "chat_template": "model",
    "scoring": "generation",
}
TARGET = {"name": "t", "kind": "choice", "metrics": ["acc"]}


def job(
    identity: str = "m@1",
    numeric_type: str = "float32",
    recipe: Recipe | None = None,
    seed: int = 0,
    prompts: tuple[Prompt, ...] = (PROMPT,),
) -> str:
    base = keys.base_ingredients(identity, numeric_type=numeric_type)
    chosen = recipe or Recipe()
    return keys.key(keys.job_ingredients(base, chosen, seed=seed, prompts=prompts))


def cell(
    condition: Condition | None = None,
    prompts: tuple[Prompt, ...] = (PROMPT,),
    examples: tuple[Example, ...] = (EXAMPLE,),
    tokens_per_batch: int = 4096,
    target: dict[str, Any] = TARGET,
) -> str:
    question = keys.question_ingredients(
        target,
        condition or Condition(),
        prompts=prompts,
        examples=examples,
        tokens_per_batch=tokens_per_batch,
    )
    return keys.cell_key({"model": "m"}, question)


def test_the_changes_below_cover_every_field() -> None:
    """Or are about demonstrations, which stand in the prompts."""
    shown = {"name", "sampler", "draw"}
    assert set(RECIPE_CHANGES) | shown | {"demonstrations"} == set(Recipe.model_fields)
    assert set(CONDITION_CHANGES) | shown | {"shots_from", "order"} == set(Condition.model_fields)


@pytest.mark.parametrize("field", RECIPE_CHANGES)
def test_every_field_of_a_recipe_decides(field: str) -> None:
    assert job(recipe=Recipe(**{field: RECIPE_CHANGES[field]})) != job()


@pytest.mark.parametrize("field", CONDITION_CHANGES)
def test_every_field_of_a_condition_decides(field: str) -> None:
    assert cell(Condition(**{field: CONDITION_CHANGES[field]})) != cell()


def test_names_decide_nothing() -> None:
    assert job(recipe=Recipe(name="other")) == job()
    assert cell(Condition(name="other")) == cell()
    shown = Condition(shots=2, shots_from="{target}.jsonl", draw=1, order=2, sampler="first")
    assert cell(shown) == cell(Condition(shots=2))


def test_model_type_seed_and_budget_decide() -> None:
    changed = [job("m@2"), job(numeric_type="bfloat16"), job(seed=1), cell(tokens_per_batch=512)]
    changed += [cell(target=TARGET | {"metrics": ["acc", "acc_norm"]})]
    assert len({job(), cell(), *changed}) == 2 + len(changed)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "2"},
        {"turns": (("user", "hello"),)},
        {"context": "the film was dull "},
        {"continuations": (" good", " bad")},
        {"completion": " good"},
    ],
)
@pytest.mark.parametrize("key", [job, cell])
def test_every_part_of_a_prompt_decides(change: dict[str, Any], key: Callable[..., str]) -> None:
    assert key(prompts=(replace(PROMPT, **change),)) != key()


def test_the_order_and_the_truth_decide() -> None:
    other = replace(PROMPT, id="2")
    assert job(prompts=(PROMPT, other)) != job(prompts=(other, PROMPT))
    assert cell(examples=(replace(EXAMPLE, label=1),)) != cell()
    assert cell(examples=(replace(EXAMPLE, references=("dull",)),)) != cell()


def test_the_fields_of_an_example_decide_nothing() -> None:
    fields = ("the film was dull", "7")
    assert cell(examples=(replace(EXAMPLE, fields=fields),)) == cell()
    assert cell(examples=(replace(EXAMPLE, id="2"),)) != cell()


def test_keys_of_before_still_hold() -> None:
    """A study that was begun with this version of asking goes on with its scores."""
    assert cell() == "d5b3964653d0c3b4c27ecea2be65f0e2cf8b07b50e51dbc74a403942539931ac"


def test_versions_of_the_code_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    before = job(), cell()
    monkeypatch.setattr(keys, "TUNE_VERSION", 99)
    monkeypatch.setattr(keys, "ASK_VERSION", 99)
    assert job() != before[0]
    assert cell() != before[1]


def test_what_is_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        keys.key({"a": float("nan")})
