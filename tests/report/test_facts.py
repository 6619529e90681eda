"""What was done is told from the files there are; what they do not say is not known."""

from __future__ import annotations

from typing import Any

import pytest

from crosstune.report.facts import facts, sentence
from report.tables import UNKNOWN, cell, example, job, jobs, matrix, recipe, study


def told(found: Any, **changes: Any) -> dict[str, list[str]]:
    values: dict[str, Any] = {"study": study(), "jobs": {}, "cells": {}}
    return facts(found.cells, found.rows, **values | changes)


def test_the_study_in_a_sentence() -> None:
    rows = [cell(source=s, target=t) for s in ("a", "b") for t in ("x", "y", "z")]
    assert sentence(matrix(rows).rows, study()) == (
        "tiny (bfloat16) was tuned on 2 sources with 1 recipe and 1 seed; the base and the 2 tuned "
        "models were asked 3 targets in 1 condition: 6 cells, 900 answers."
    )


def test_the_sentence_counts_seeds_and_what_is_done() -> None:
    rows = [cell(seeds=2), cell(target="x", **UNKNOWN | {"status": "missing", "seeds": 2})]
    assert sentence(matrix(rows).rows, study()) == (
        "tiny (bfloat16) was tuned on 1 source with 1 recipe and 2 seeds; the base and the 2 tuned "
        "models were asked 2 targets in 1 condition: 2 cells from 4 scores (2 done), 300 answers."
    )


def test_everything_known_is_told() -> None:
    found = example()
    asked = {key: {"seconds": 2.0, "versions": {"torch": "2.14"}} for key in ("a", "b")}
    terms = told(found, jobs=jobs(found), cells=asked)
    assert terms == {
        "Model": ["tiny", study()["model"].partition("@")[2]],
        "Numeric type": ["bfloat16"],
        "Sources": ["reviews, entail, sums, mix (reviews + sums)"],
        "Targets": [
            (
                "sentiment: reviews, words; entailment: entail, syllogism; "
                "arithmetic: sums, counting, spelled"
            )
        ],
        "Recipes": [
            (
                "lora: LoRA of rank 16, alpha 32, on all-linear; learning rate 0.0005 (cosine, "
                "warm-up 0.1), 2 × 200 examples in batches of 8; loss on completion; prompt "
                "default, chat template none"
            )
        ],
        "Conditions": [
            "zero-shot: 150 examples, 0 shots, prompt default, chat template none",
            "four-shot: 150 examples, 4 shots, prompt default, chat template none",
        ],
        "Seeds": ["1 seed: 0"],
        "Training examples": ["200 a model"],
        "Test examples": ["150 a target"],
        "Time": ["tuning 1 min 25 s", "asking 4 s (known of 2 out of 70)"],
        "Versions": ["crosstune 0.1.0, torch 2.13.0+cpu and 2.14"],
        "State": ["54 of 56 scores done, 1 missing, 1 failed"],
    }


def test_full_tuning_has_no_rank_and_several_modules_are_listed() -> None:
    recipes = [recipe(name="all", method="full"), recipe(target_modules=["q", "v"])]
    full, lora = told(example(), study=study(study={"recipes": recipes}))["Recipes"]
    assert full.startswith("all: all weights; learning rate")
    assert "on q, v;" in lora


@pytest.mark.parametrize(
    "damaged",
    [None, 3, {}, {"recipes": 3}, {"sources": [{"name": "reviews", "tasks": 3}], "recipes": []}],
)
def test_a_study_that_says_nothing_more_still_has_names(damaged: object) -> None:
    terms = told(matrix([cell()]), study=study(study=damaged))
    assert (terms["Sources"], terms["Recipes"]) == (["reviews"], ["lora"])
    assert terms["Conditions"] == ["zero-shot"]
    assert terms["Time"] == ["tuning not recorded", "asking not recorded"]
    assert terms["Versions"] == terms["Training examples"] == ["not recorded"]
    assert terms["State"] == ["complete: 1 score"]


def test_numbers_that_differ_are_a_range() -> None:
    found = matrix([cell(n=90), cell(target="x", n=1500), cell(source="b", target="x")])
    known = dict(
        zip(dict.fromkeys(r.job_key for r in found.rows), [job(), job(examples=7)], strict=True)
    )
    terms = told(found, jobs=known)
    assert terms["Test examples"] == ["90 to 1,500 a target"]
    assert terms["Training examples"] == ["7 to 200 a model"]


def test_demonstrations_and_scoring_are_told_where_there_is_something_to_tell() -> None:
    way = {"name": "few", "shots": 4, "scoring": "first_token", "sampler": "drawn", "draw": 2}
    way |= {"order": 0, "shots_from": "demos/{target}.jsonl"}
    recipes = [recipe(demonstrations=2, sampler="task"), recipe(demonstrations=0)]
    terms = told(example(), study=study(study={"recipes": recipes, "conditions": [way]}))
    assert terms["Conditions"][0].endswith(
        ", scoring first_token, shots from demos/{target}.jsonl, sampler drawn, draw 2"
    )
    few, none = terms["Recipes"]
    assert few == f"{none}, demonstrations 2"


def test_a_recipe_with_a_hole_is_told_with_a_hole() -> None:
    (line,) = told(example(), study=study(study={"recipes": [{"name": "{rank}"}]}))["Recipes"]
    assert line.startswith("{rank}: all weights; learning rate ? (?, warm-up ?), ? × ?")


@pytest.mark.parametrize(
    "number", [10**400, -(10**400), 1e308, float("nan"), float("inf"), True, "3"]
)
def test_a_number_that_is_none_is_not_told(number: object) -> None:
    found = matrix([cell()])
    terms = told(found, jobs={found.rows[0].job_key: job(losses=[1.0, number])})
    assert terms["Time"][0] == "tuning not recorded"
