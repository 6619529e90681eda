"""Outcomes and answers: what counts as right."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from crosstune.errors import JobFailure
from crosstune.tasks import (
    Example,
    answer,
    examples,
    limits,
    metric_names,
    outcome,
    scoring_of,
)
from crosstune.tasks.scoring import picked
from tasks.making import MakeTask

UNEQUAL = Example("x", "q", ("a", "bbbbbbbb"), 1, ("bbbbbbbb",))


def test_acc_sums_and_acc_norm_divides_by_characters(make_task: MakeTask) -> None:
    task = make_task()
    assert outcome(task, UNEQUAL, log_likelihoods=[-2, -8]) == {"acc": 0, "acc_norm": 1}
    assert outcome(task, UNEQUAL, log_likelihoods=[-0.5, -8]) == {"acc": 0, "acc_norm": 0}
    assert outcome(task, UNEQUAL, log_likelihoods=[-9, -8]) == {"acc": 1, "acc_norm": 1}
    assert answer(task, UNEQUAL, log_likelihoods=[-2, -8]) == "a"


def test_of_equal_choices_the_first_is_picked(make_task: MakeTask) -> None:
    task = make_task()
    first, *_ = examples(task, "test").items
    assert answer(task, first, log_likelihoods=[-1.5, -1.5, -1.5]) == first.choices[0]


def test_the_picked_choice_decides_acc(make_task: MakeTask) -> None:
    task = make_task()
    for example in examples(task, "test").items:
        for position, choice in enumerate(example.choices):
            sums = [-5.0, -5.0, -5.0]
            sums[position] = -4.0
            assert answer(task, example, log_likelihoods=sums) == choice
            right = outcome(task, example, log_likelihoods=sums)["acc"]
            assert right == (choice == example.references[0]) == (position == example.label)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_no_answer(make_task: MakeTask, wrong: float) -> None:
    task = make_task()
    for ask in (outcome, answer):
        with pytest.raises(JobFailure, match="not finite"):
            ask(task, UNEQUAL, log_likelihoods=[-1.0, wrong])


def test_an_answer_of_the_wrong_kind_is_a_defect(make_task: MakeTask) -> None:
    task = make_task()
    text_task = make_task(output_type="generate_until", doc_to_target="colour")
    example = examples(text_task, "test").items[0]
    for ask in (outcome, answer):
        with pytest.raises(ValueError, match="3 numbers for 2 choices"):
            ask(task, UNEQUAL, log_likelihoods=[-1.0, -1.0, -1.0])
        with pytest.raises(ValueError, match="choice task"):
            ask(task, UNEQUAL, text="a")
        with pytest.raises(ValueError, match="text task"):
            ask(text_task, example)
        with pytest.raises(ValueError, match="numbers for 0 choices"):
            ask(text_task, example, log_likelihoods=[0.0])


def text_task_keys(*steps: Mapping[str, object]) -> dict[str, object]:
    pipeline = {"name": "mine", "filter": list(steps)}
    return {
        "output_type": "generate_until",
        "doc_to_target": "colour",
        "filter_list": [pipeline] if steps else None,
    }


def test_without_filters_outer_white_space_is_no_part_of_an_answer(make_task: MakeTask) -> None:
    task = make_task(**text_task_keys())
    red = examples(task, "test").items[0]
    assert outcome(task, red, text=" red\n") == {"exact_match": 1}
    assert answer(task, red, text=" red\n") == "red"
    spaced = make_task(**{**text_task_keys(), "doc_to_target": " {{ colour }} "})
    assert outcome(spaced, examples(spaced, "test").items[0], text="red") == {"exact_match": 1}
    filtered = make_task(**text_task_keys({"function": "take_first"}))
    assert outcome(filtered, red, text=" red") == {"exact_match": 0}


@pytest.mark.parametrize(
    ("steps", "text", "filtered"),
    [
        ([{"function": "remove_whitespace"}, {"function": "lowercase"}], " Red ", "red"),
        ([{"function": "uppercase"}], "red", "RED"),
        ([{"function": "map", "mapping_dict": {"r": "red"}}], "r", "red"),
        ([{"function": "map", "mapping_dict": {"r": "red"}, "default_value": "?"}], "x", "?"),
        ([{"function": "regex", "regex_pattern": r"is (\w+)"}], "it is red, is it", "red"),
        ([{"function": "regex", "regex_pattern": r"(\w+)", "group_select": -1}], "a b red", "red"),
        ([{"function": "regex", "regex_pattern": r"a(\d)|b(\d)"}], "b7", "7"),
        ([{"function": "regex", "regex_pattern": "z"}], "red", "[invalid]"),
        ([{"function": "regex", "regex_pattern": "z", "fallback": "red"}], "q", "red"),
    ],
)
def test_filters(
    make_task: MakeTask, steps: list[dict[str, object]], text: str, filtered: str
) -> None:
    task = make_task(**text_task_keys(*steps))
    assert answer(task, examples(task, "test").items[0], text=text) == filtered


def test_each_of_several_pipelines_has_its_own_outcome(make_task: MakeTask) -> None:
    pipelines = [
        {"name": "strict", "filter": [{"function": "take_first"}]},
        {"name": "loose", "filter": [{"function": "lowercase"}]},
    ]
    task = make_task(**{**text_task_keys(), "filter_list": pipelines})
    red = examples(task, "test").items[0]
    assert task.metrics == ("exact_match:strict", "exact_match:loose")
    assert outcome(task, red, text="Red") == {"exact_match:strict": 0, "exact_match:loose": 1}
    assert answer(task, red, text="Red") == "Red"


def test_a_pattern_that_never_ends_fails_the_job(make_task: MakeTask) -> None:
    slow = {"function": "regex", "regex_pattern": "(a|a)*$"}
    task = make_task(**text_task_keys(slow))
    with pytest.raises(JobFailure, match="too long"):
        outcome(task, examples(task, "test").items[0], text="a" * 60 + "b")


def test_metrics_keep_the_order_and_options_of_the_file(make_task: MakeTask) -> None:
    listed = [{"metric": "f1"}, {"metric": "exact_match", "ignore_case": True}]
    task = make_task(**text_task_keys(), metric_list=listed)
    red = examples(task, "test").items[0]
    assert list(outcome(task, red, text="RED").items()) == [("f1", 1), ("exact_match", 1)]
    assert make_task(metric_list=[{"metric": "acc_norm"}]).metrics == ("acc_norm",)


@pytest.mark.parametrize(
    ("text", "choices", "expected"),
    [
        (" yes", ["no", "yes"], 1),
        ("\n\n**Yes**, it is", ["no", "yes"], 1),
        ("yesterday", ["no", "yes"], None),
        ("yes2", ["no", "yes"], None),
        ("It is yes", ["no", "yes"], None),
        ("not_entailment.", ["not", "not_entailment"], 1),
        ("not, I think", ["not_entailment", "not"], 1),
        ("NEUTRAL", ["entailment", "neutral"], 1),
        ("", ["no", "yes"], None),
        ("(B) because", ["A", "B"], 1),
        ("...", ["...", "x"], 0),
        ("Straße!", ["strasse", "x"], 0),
        ("1", ["-1", "1"], 1),
        ("(-1)", ["-1", "1"], 0),
        ("3.7", ["3", "4"], None),
        ("3. It is", ["3", "4"], 0),
    ],
)
def test_a_written_answer_is_the_choice_it_begins_with(
    text: str, choices: list[str], expected: int | None
) -> None:
    assert picked(text, choices) == expected


def test_written_choices_are_scored_and_kept(make_task: MakeTask) -> None:
    task = make_task()
    example = Example("x", "q", ("red", "green"), 1, ("green",))
    for text, right, said in (
        (" Green.", 1.0, "green"),
        ("red", 0.0, "red"),
        (" a leaf ", 0.0, "a leaf"),
    ):
        assert outcome(task, example, text=text, scoring="generation") == {"acc": right}
        assert answer(task, example, text=text, scoring="generation") == said


def test_modes_have_their_metrics_and_limits(make_task: MakeTask) -> None:
    task = make_task(generation_kwargs={"max_gen_toks": 77})
    rows = examples(task, "test").items
    assert metric_names(task, "likelihood") == ("acc", "acc_norm")
    for scoring in ("first_token", "generation"):
        assert metric_names(task, scoring) == ("acc",)
        assert scoring_of(task, scoring) == scoring
    sums = [-5.0, -1.0, -3.0]
    assert set(outcome(task, rows[0], log_likelihoods=sums, scoring="first_token")) == {"acc"}
    assert limits(task, rows, "generation") == (("\n\n",), len("green") // 2 + 4)
    assert limits(task, rows, "likelihood")[1] == 77
    text = make_task(output_type="generate_until", doc_to_target="colour")
    assert scoring_of(text, "first_token") == "generation"
    assert metric_names(text, "first_token") == text.metrics
