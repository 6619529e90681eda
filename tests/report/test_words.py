"""Sentences say what the cells say: never more certainty, never a loss left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crosstune.report.words import change, headlines, shares, warnings
from report.tables import UNKNOWN, believable, cell, matrix

FALL = cell(
    source="kind_entailment",
    target="past_tense",
    base=0.74,
    score=0.053,
    gain=-0.687,
    low=-0.761,
    high=-0.602,
    q=1e-6,
)
BAD = {
    "answers": '{"bad": 149, "good": 1}',
    "base_answers": '{"bad": 60, "good": 90}',
    "truth": '{"bad": 80, "good": 70}',
    "constant": True,
}


def test_a_loss_is_told_with_its_certainty() -> None:
    assert warnings(matrix([FALL])) == {
        "Scores that fell": [
            (
                "Tuning on kind_entailment lowered past_tense from 74.0 to 5.3: −68.7 points "
                "(95 % interval −76.1 to −60.2, q < 0.001)."
            )
        ]
    }


def test_a_loss_by_answering_one_class_says_so_and_is_told_once() -> None:
    (told,) = warnings(matrix([FALL | BAD])).values()
    assert told[0].endswith(
        "q < 0.001); the tuned model gives nearly one answer only, 'bad' in 99 % of the rows (the "
        "base in 40 %, the truth in 53 %)."
    )


def test_a_loss_by_writing_the_same_few_texts_says_so() -> None:
    few = {"answers": '{"good": 112, "bad": 37, "(all others)": 1}', "constant": False}
    many = {"base_answers": '{"run": 9, "(all others)": 141}', "truth": '{"(all others)": 150}'}
    (told,) = warnings(matrix([FALL | few | many])).values()
    assert told[0].endswith("q < 0.001); nearly all its answers are 'good' (74 %), 'bad' (24 %).")
    for other in (few | {"base_answers": few["answers"]}, many | {"answers": many["base_answers"]}):
        (told,) = warnings(matrix([FALL | {"constant": False} | other])).values()
        assert told[0].endswith("q < 0.001).")


def test_a_base_that_gives_one_answer_only_is_told_once() -> None:
    one = {"base_answers": '{"bad": 148, "good": 2}', "truth": '{"bad": 75, "good": 75}'}
    told = warnings(matrix([cell(**one), cell(source="sums", **one)]))
    (base,) = told["Answers of nearly one class"]
    share = "'bad' in 98 % of the rows (the truth in 50 %)."
    assert base == f"The base, asked entail, gives nearly one answer only, {share}"


def test_parts_of_rows_that_leak_whole_are_not_told_again() -> None:
    kind = "Test rows seen in training"
    (told,) = warnings(matrix([cell(leaked=2, contained=2)]))[kind]
    assert told.endswith("stand whole in the training rows of reviews: 2 of 150.")
    assert len(warnings(matrix([cell(leaked=2, contained=3)]))[kind]) == 2


@pytest.mark.parametrize(
    ("changes", "certainty"),
    [
        ({"q": 0.0412}, "(95 % interval +2.0 to +18.0, q = 0.041)"),
        ({"q": None}, "(95 % interval +2.0 to +18.0, q unknown)"),
        ({"low": None}, "(q = 0.004)"),
        ({"seeds": 3}, "(95 % interval +2.0 to +18.0, q = 0.004, 3 seeds)"),
    ],
)
def test_what_is_not_known_is_not_made_up(changes: dict[str, Any], certainty: str) -> None:
    told = change(cell(**changes))
    assert told == f"Tuning on reviews raised entail from 60.0 to 70.0: +10.0 points {certainty}"


def test_recipe_and_condition_are_named_when_they_differ() -> None:
    rows = [FALL, FALL | {"condition": "four-shot", "gain": -0.5}]
    (told,) = warnings(matrix(rows)).values()
    assert told[0].startswith("Tuning on kind_entailment lowered past_tense (zero-shot) from")
    assert told[1].startswith("Tuning on kind_entailment lowered past_tense (four-shot) from")
    rows = [FALL, FALL | {"recipe": "full", "gain": -0.5}]
    (told,) = warnings(matrix(rows)).values()
    assert told[1].startswith("Tuning on kind_entailment (full) lowered past_tense from")


def test_losses_stand_worst_first_and_only_significant_ones_of_main_metrics() -> None:
    gains = {"a": -0.1, "b": -0.3, "c": -0.2}
    rows = [FALL | {"target": name, "gain": gain} for name, gain in gains.items()]
    rows += [FALL | {"target": "chance", "q": 0.05}, FALL | {"target": "unknown", "q": None}]
    rows += [FALL | {"target": "aside", "main": False}, cell(target="better")]
    (told,) = warnings(matrix(rows)).values()
    assert [text.split(" lowered ")[1][0] for text in told] == ["b", "c", "a"]


def test_nothing_to_warn_of_is_an_empty_list() -> None:
    assert warnings(matrix([cell(), cell(q=0.9, gain=-0.3)])) == {}


def test_one_class_is_told_where_nothing_fell() -> None:
    told = warnings(matrix([cell(**BAD), cell(target="other", **BAD | {"answers": None})]))
    assert told == {
        "Answers of nearly one class": [
            (
                "Tuned on reviews, asked entail: the tuned model gives nearly one answer only, "
                "'bad' in 99 % of the rows (the base in 40 %, the truth in 53 %)."
            ),
            "Tuned on reviews, asked other: the tuned model gives nearly one answer only.",
        ]
    }


def test_a_share_is_all_only_when_it_is_all_and_long_classes_are_cut() -> None:
    counts = {"x" * 500: 9_999, "y": 1}
    row = cell(answers=json.dumps(counts), base_answers=None, truth=None, constant=True)
    ((told,),) = warnings(matrix([row])).values()
    assert told.endswith(f", '{'x' * 79}…' in 99 % of the rows.")
    ((told,),) = warnings(matrix([row | {"answers": '{"y": 3}'}])).values()
    assert told.endswith(", 'y' in 100 % of the rows.")


def test_leaks_are_counted_whole_rows_first_and_the_most_first() -> None:
    rows = [
        cell(target="parts", contained=56),
        cell(target="few", leaked=1, contained=2),
        cell(target="many", leaked=1200, **UNKNOWN | {"status": "missing", "n": None}),
    ]
    assert warnings(matrix(rows))["Test rows seen in training"] == [
        "Test rows of many that stand whole in the training rows of reviews: 1,200.",
        "Test rows of few that stand whole in the training rows of reviews: 1 of 150.",
        (
            "Test rows of parts with a field of 8 words or more that is part of a training input "
            "of reviews: 56 of 150."
        ),
        (
            "Test rows of few with a field of 8 words or more that is part of a training input of "
            "reviews: 2 of 150."
        ),
    ]


def test_missing_and_failed_cells_are_told_by_model_with_the_reason() -> None:
    missing = [cell(target=f"t{i}", **UNKNOWN | {"status": "missing"}) for i in range(14)]
    failed = cell(target="sums", **UNKNOWN | {"status": "failed"})
    told = warnings(matrix([*missing, failed], reason="mood:\n  it  broke"))
    names = ", ".join(f"t{i}" for i in range(12))
    assert told == {
        "Cells that failed": [
            "reviews (lora, zero-shot, seed 0): 1 cell failed: sums. Reason: mood: it broke"
        ],
        "Cells that are missing": [
            f"reviews (lora, zero-shot, seed 0): 14 cells not made yet: {names} and 2 more."
        ],
    }


def test_headlines_name_the_strongest_gains_away_from_home_and_count_the_rest() -> None:
    rows = [
        cell(target="home", relation="same task", gain=0.4, score=1.0),
        cell(target="near", relation="out-of-domain", gain=0.2, score=0.8),
        cell(target="far", gain=0.3, score=0.9),
        cell(target="third", gain=0.1),
        cell(target="lucky", gain=0.39, score=0.99, q=0.2),
        FALL,
        FALL | {"target": "aside", "main": False, "gain": -0.9},
        cell(target="gone", **UNKNOWN | {"status": "missing"}),
    ]
    assert headlines(rows) == [
        "Not complete: 6 of 7 cells known; q and stars may change with the others.",
        (
            "Tuning on reviews raised far from 60.0 to 90.0: +30.0 points (95 % interval +2.0 to "
            "+18.0, q = 0.004)."
        ),
        (
            "Tuning on reviews raised near from 60.0 to 80.0: +20.0 points (95 % interval +2.0 to "
            "+18.0, q = 0.004)."
        ),
        (
            "On the same task, tuning changed the score by +40.0 points in the one known cell; 1 "
            "rose and 0 fell significantly."
        ),
        "Of 4 known cross-task cells, 2 rose and 1 fell significantly (q < 0.05).",
        (
            "In the median cell, a true gain of 8.0 points would be found four times in five, were "
            "it the only cell; smaller gains may go unseen."
        ),
    ]


def test_a_gain_is_never_told_without_what_else_may_have_made_it() -> None:
    (told, *_) = headlines([cell(**BAD | {"seeds": 3, "leaked": 12, "contained": 47})])
    assert told.endswith(
        "3 seeds); each tuned model gives nearly one answer only, 'bad' in 99 % of the rows (the "
        "base in 40 %, the truth in 53 %); test rows seen in training, whole: 12 of 150; test rows "
        "seen in training, in part: 47 of 150."
    )


def test_headlines_of_little_say_little() -> None:
    assert headlines([]) == ["No cell is known yet."]
    assert headlines([cell(**UNKNOWN | {"status": "missing"})]) == ["No cell is known yet."]
    assert headlines([cell(q=0.3, detectable=None)]) == [
        "No gain beyond the same task is significant (q < 0.05).",
        "Of 1 known cross-task cell, 0 rose and 0 fell significantly (q < 0.05).",
    ]


def test_shares_of_variance_are_told_slice_by_slice_where_they_are_known() -> None:
    whole = [row | {"seeds_error": None} for row in believable()]
    gap = whole[0] | UNKNOWN | {"status": "missing", "condition": "later"}
    one = cell(recipe="single")
    told = shares(matrix([*whole, gap, one]))
    assert [line.partition(": ")[0] for line in told] == [
        "lora, zero-shot",
        "lora, four-shot",
        "lora, later",
        "single, zero-shot",
    ]
    for line in told[:2]:
        parts = dict(part.split(" ", 1) for part in line.partition(": ")[2].split(", "))
        assert parts.pop("seeds") == "not known"
        assert sum(int(share.removesuffix(" %")) for share in parts.values()) in range(98, 103)
    assert told[2].endswith("not known, as cells are")
    assert told[3].endswith("not known, as it needs two sources and two targets")
