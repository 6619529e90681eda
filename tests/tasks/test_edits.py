"""Edits change the trait they name, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crosstune.errors import InputError
from crosstune.tasks import Edit, Example, edited, subset

EDITS: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(tuple[Edit, ...])
CLASSES = ("no", "yes", "maybe")


def edits(*said: Any) -> tuple[Edit, ...]:
    return EDITS.validate_python(said)


def row(number: int, label: int, choices: tuple[str, ...] = CLASSES) -> Example:
    return Example(f"{number:04}", f"question {number}", choices, label, (choices[label],))


POOL = [row(i, 0 if i % 10 < 7 else 1 if i % 10 < 9 else 2) for i in range(400)]
TEXTS = [
    Example(f"{i:04}", f"text {i}", (), None, (" ".join(["word"] * (1 + i % 9) + [str(i)]),))
    for i in range(90)
]
CHANGES: list[Any] = [
    "balance",
    {"edit": "skew", "label": "yes", "share": 0.9},
    {"edit": "shorten", "words": 1},
    "lengthen",
    "shuffle_labels",
    "rename_labels",
    {"edit": "subset", "examples": 20},
]


def counts(rows: tuple[Example, ...]) -> Counter[str]:
    return Counter(row.references[0] for row in rows)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_edit_is_deterministic_and_depends_on_rows_alone(change: Any) -> None:
    found = edited(POOL, edits(change), count=60, seed=1)
    assert found == edited(POOL[::-1], edits(change), count=60, seed=1)
    assert len(found.examples) == (20 if "subset" in str(change) else 60)
    assert found.examples != edited(POOL, edits(change), count=60, seed=2).examples
    assert all(e.references == (e.choices[e.label or 0],) for e in found.examples)
    assert {e.context for e in found.examples} <= {e.context for e in POOL}


def test_no_edit_is_the_usual_choice() -> None:
    assert edited(POOL, (), count=50, seed=3).examples == subset(POOL, 50, seed=3)


@pytest.mark.parametrize("change", ["lengthen", "shuffle_labels", "rename_labels"])
def test_other_answers_leave_rows_and_order(change: str) -> None:
    found = edited(POOL, edits(change), count=60, seed=1).examples
    usual = subset(POOL, 60, seed=1)
    assert [(e.id, e.context) for e in found] == [(e.id, e.context) for e in usual]


@given(st.integers(3, 300), st.integers(0, 5))
def test_balanced_classes_differ_by_one_at_most(count: int, seed: int) -> None:
    found = edited(POOL, edits("balance"), count=count, seed=seed)
    shares = [counts(found.examples)[name] for name in CLASSES]
    assert sum(shares) == count
    assert max(shares) - min(shares) <= 1
    there = Counter(e.references[0] for e in POOL)
    lacking = (max(0, n - there[name]) for n, name in zip(shares, CLASSES, strict=True))
    assert found.repeated == sum(lacking)
    assert len({e.id for e in found.examples}) == count


@given(st.floats(0.05, 0.95), st.sampled_from(CLASSES))
def test_a_skewed_class_has_its_share_and_the_others_their_proportions(
    share: float, label: str
) -> None:
    change = {"edit": "skew", "label": label, "share": share}
    found = counts(edited(POOL, edits(change), count=300, seed=0).examples)
    assert abs(found[label] - 300 * share) <= 1
    there = Counter(e.references[0] for e in POOL)
    others = [name for name in CLASSES if name != label]
    rest = sum(there[name] for name in others)
    for name in others:
        assert abs(found[name] - 300 * (1 - share) * there[name] / rest) <= 1


def test_balanced_rows_are_the_usual_ones_as_far_as_can_be() -> None:
    found = edited(POOL, edits("balance"), count=60, seed=1).examples
    usual = {e.id for e in subset(POOL, 60, seed=1)}
    rare = {e.id for e in POOL if e.references[0] != "no"} & usual
    assert rare <= {e.id for e in found}


def test_shortened_and_lengthened_answers() -> None:
    first = edited(TEXTS, edits({"edit": "shorten", "words": 2}), count=90, seed=0).examples
    last = edited(
        TEXTS, edits({"edit": "shorten", "words": 1, "keep": "end"}), count=90, seed=0
    ).examples
    assert all(len(e.references[0].split()) == 2 for e in first)
    assert all(int(e.references[0]) == int(e.id) for e in last)
    long = edited(TEXTS, edits({"edit": "lengthen", "text": "It is {answer}."}), count=90, seed=0)
    for before, after in zip(subset(TEXTS, 90, seed=0), long.examples, strict=True):
        assert after.references == (f"It is {before.references[0]}.",)
    chosen = edited(POOL, edits("lengthen"), count=5, seed=0).examples
    assert all(e.choices[e.label or 0].endswith((": no", ": yes", ": maybe")) for e in chosen)


def test_shuffled_labels_are_as_many_and_tell_nothing() -> None:
    usual = subset(POOL, 300, seed=1)
    found = edited(POOL, edits("shuffle_labels"), count=300, seed=1).examples
    assert counts(found) == counts(usual)
    same = sum(a.label == b.label for a, b in zip(found, usual, strict=True)) / 300
    expected = sum((n / 300) ** 2 for n in counts(usual).values())
    assert abs(same - expected) < 0.1
    first, second = (
        {
            e.id: e.label
            for e in edited(POOL, edits("shuffle_labels"), count=400, seed=seed).examples
        }
        for seed in (1, 2)
    )
    agreeing = sum(label == second[name] for name, label in first.items()) / 400
    assert abs(agreeing - (0.7**2 + 0.2**2 + 0.1**2)) < 0.1
    texts = edited(TEXTS, edits("shuffle_labels"), count=90, seed=1).examples
    assert counts(texts) == counts(subset(TEXTS, 90, seed=1))
    assert sum(int(e.references[0].split()[-1]) == int(e.id) for e in texts) < 10


@pytest.mark.parametrize("label", ["shuffle_labels", "rename_labels"])
@pytest.mark.parametrize("length", ["lengthen", {"edit": "shorten", "words": 1}], ids=str)
def test_labels_change_before_their_lengths(label: Any, length: Any) -> None:
    first = edited(POOL, edits(label, length), count=90, seed=0)
    assert first == edited(POOL, edits(length, label), count=90, seed=0)
    if length == "lengthen":
        assert all(e.references[0].startswith("Having read") for e in first.examples)


def test_labels_that_would_become_one_are_refused() -> None:
    choices = ("not acceptable", "acceptable")
    pool = [row(i, i % 2, choices) for i in range(20)]
    with pytest.raises(InputError, match="edit shorten: two labels would have the same text"):
        edited(pool, edits({"edit": "shorten", "words": 1, "keep": "end"}), count=9, seed=0)
    (short,) = {e.choices for e in edited(pool, edits(CHANGES[2]), count=9, seed=0).examples[:1]}
    assert len({*short}) == 2


def test_rows_of_other_choices_get_positions() -> None:
    pool = [row(i, i % 2, (f"a{i}", f"b{i}")) for i in range(50)]
    pool += [row(i, i % 3, (f"a{i}", f"b{i}", f"c{i}")) for i in range(50, 100)]
    found = edited(pool, edits("shuffle_labels"), count=100, seed=1).examples
    assert all(e.references[0] in e.choices for e in found)
    assert Counter((len(e.choices), e.label) for e in found) == Counter(
        (len(e.choices), e.label) for e in pool
    )


def test_labels_get_other_names() -> None:
    digits = edited(POOL, edits("rename_labels"), count=30, seed=0).examples
    assert {e.choices for e in digits} == {("0", "1", "2")}
    assert [e.label for e in digits] == [e.label for e in subset(POOL, 30, seed=0)]
    numbered = [replace(e, choices=("0", "1", "2"), references=(str(e.label),)) for e in POOL]
    words = edits({"edit": "rename_labels", "to": "words"})
    found = edited(numbered, words, count=30, seed=0).examples
    assert {e.choices for e in found} == {("zero", "one", "two")}
    own = edits({"edit": "rename_labels", "names": {"no": "wrong"}})
    assert edited(POOL, own, count=9, seed=0).examples[0].choices == ("wrong", "yes", "maybe")


def test_parts_of_the_rows() -> None:
    some = edits({"edit": "subset", "labels": ["yes", "maybe"]})
    assert set(counts(edited(POOL, some, count=99, seed=0).examples)) == {"yes", "maybe"}
    short = edited(TEXTS, edits({"edit": "subset", "shortest": 0.2}), count=99, seed=0).examples
    long = edited(TEXTS, edits({"edit": "subset", "longest": 0.2}), count=99, seed=0).examples
    assert len(short) == len(long) == 18
    lengths = [sorted(len(e.references[0]) for e in rows) for rows in (short, TEXTS, long)]
    assert lengths[0] == lengths[1][:18]
    assert lengths[2] == lengths[1][-18:]


def test_edits_come_one_after_another() -> None:
    both = edits({"edit": "subset", "labels": ["no", "yes"]}, "balance", "lengthen")
    found = counts(edited(POOL, both, count=40, seed=0).examples)
    assert sorted(found.values()) == [0, 20, 20][1:]
    fewer: tuple[Any, Any] = ({"edit": "subset", "examples": 12}, "balance")
    for said in (fewer, fewer[::-1]):
        found = counts(edited(POOL, edits(*said), count=60, seed=0).examples)
        assert sorted(found.values()) == [4, 4, 4]


def test_rows_are_chosen_by_what_they_say_before_answers_change() -> None:
    said = ({"edit": "shorten", "words": 1}, {"edit": "subset", "longest": 0.2})
    long = edited(TEXTS, edits(*said), count=99, seed=0).examples
    whole = edited(TEXTS, edits(said[1]), count=99, seed=0).examples
    assert [e.id for e in long] == [e.id for e in whole]


def test_what_cannot_be_done_to_the_rows_is_told() -> None:
    both = edits("balance", {"edit": "skew", "label": "yes", "share": 0.5})
    with pytest.raises(InputError, match="balance and skew set the same shares"):
        edited(POOL, both, count=9, seed=0)
    constant = [row for row in POOL if row.label == 0]
    with pytest.raises(InputError, match="edit skew: all rows have the label 'no'"):
        edited(constant, edits({"edit": "skew", "label": "no", "share": 0.5}), count=9, seed=0)
    with pytest.raises(InputError, match="edit subset: no row has a label of yes"):
        edited(constant, edits({"edit": "subset", "labels": ["yes"]}), count=9, seed=0)


def test_signs_in_names_of_rows_are_no_repeats() -> None:
    named = [replace(row, id=f"a+{row.id}") for row in POOL]
    assert edited(named, edits("balance"), count=60, seed=0).repeated == 0


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("balance", "edit balance needs a task whose rows all offer the same choices"),
        ({"edit": "skew", "label": "yes", "share": 0.5}, "edit skew needs"),
        ("rename_labels", "edit rename_labels needs"),
    ],
)
def test_a_text_task_has_no_classes(said: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        edited(TEXTS, edits(said), count=9, seed=0)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"edit": "skew", "label": "yess", "share": 0.5}, "no label 'yess'. Did you mean 'yes'"),
        ({"edit": "rename_labels", "names": {"never": "x"}}, "There are: no, yes, maybe"),
        ({"edit": "rename_labels", "names": {"no": "yes"}}, "two labels would have the same"),
        ({"edit": "rename_labels", "to": "words"}, "needs labels from 0 to 9"),
    ],
)
def test_a_label_that_is_not_there_is_told(said: Any, told: str) -> None:
    with pytest.raises(InputError, match=told.replace("?", r"\?")):
        edited(POOL, edits(said), count=9, seed=0)


@pytest.mark.parametrize(
    "said",
    [
        "balanse",
        {"edit": "skew", "label": "yes", "share": 1.0},
        {"edit": "shorten", "words": 0},
        {"edit": "lengthen", "text": "no place"},
        {"edit": "subset"},
        {"edit": "balance", "more": 1},
    ],
)
def test_what_makes_no_sense_is_refused(said: Any) -> None:
    with pytest.raises(ValidationError):
        edits(said)
