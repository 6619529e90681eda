"""Leakage: what counts as the same input or as a contained field, and that nothing is missed."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune.tasks import Example, Leakage, Task, examples, leakage, load
from tasks.making import MakeTask

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT.parent / "shared" / "data" / "tasks"
EMBEDDED = load(folder=ROOT)
BENCHMARKS = {
    name: task
    for name, task in load(["benchmarks/tasks/*.yaml"], folder=ROOT).items()
    if name not in EMBEDDED
}
STORY = "Robin went home at once, since nobody had come to see the film."
NOTHING = Leakage(0, 0)


def row(context: str, *fields: str, name: str = "") -> Example:
    return Example(name, context, (), None, ("yes",), fields)


def asked(text: str) -> Example:
    """A text in the wording of the target."""
    return row(f"{text}\nWhy?", text)


def taught(text: str) -> Example:
    """A text in the wording of the source."""
    return row(f"Sum this up: {text}\nSummary:", text)


def between(training: Example, test: Example) -> Leakage:
    return leakage({"source": [training]}, {"target": [test]})["source", "target"]


# --- the same input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training",
    [
        STORY,
        STORY.upper(),
        STORY.replace(" ", " \n\t "),
        STORY.replace(",", " –").replace(".", "!?"),
        STORY.replace("film", "\uff46ilm"),  # a letter as wide as a Chinese one
        f"« {STORY} »",
    ],
)
def test_the_same_input_is_found_however_it_is_written_and_worded(training: str) -> None:
    assert between(taught(training), asked(STORY)) == Leakage(1, 1)


def test_a_whole_input_is_found_in_other_fields(make_task: MakeTask) -> None:
    """Two tasks on the same rows: one asks in one template, the other joins the columns."""
    slept = "the old man slept"
    rows: list[dict[str, Any]] = [
        {"a": slept, "b": f"he woke {n} times", "label": 0} for n in range(6)
    ]
    texts = [f"{slept}; he WOKE {n} Times" for n in range(4)] + [f"{slept}; he never woke again"]
    plain = make_task(train=rows, doc_to_text="Premise: {{ a }}\nClaim: {{ b }}\nTrue?")
    training = examples(plain, "train").items
    other = make_task(test=[{"text": text, "label": 0} for text in texts], doc_to_text="text")
    joined = examples(other, "test").items
    found = leakage({"plain": training}, {"joined": joined})
    assert found == {("plain", "joined"): Leakage(leaked=4, contained=4)}
    found = leakage({"joined": joined}, {"plain": training})
    assert found == {("joined", "plain"): Leakage(leaked=4, contained=0)}  # fields of four words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("box", NOTHING),
        ("12345", NOTHING),
        ("1,234,567", NOTHING),
        ("one two three", NOTHING),
        ("one two three four", Leakage(1, 0)),
    ],
)
def test_short_inputs_of_two_tasks_are_no_leakage_but_the_same_question_is(
    text: str, expected: Leakage
) -> None:
    assert between(taught(text), asked(text)) == expected
    assert between(asked(text), asked(f"  {text.upper()}")) == Leakage(1, 0)


@pytest.mark.parametrize(
    ("training", "test"),
    [
        ("22 + 4", "22 * 4"),
        ("1 + 2 + 3 + 4 + 5 + 6 + 7 + 8", "1 + 2 + 3 - 4 + 5 + 6 + 7 + 8"),
        ("the sum of 5 and -4 is less", "the sum of 5 and 4 is less"),
        ("( [ ] )", "[ ( ) ]"),
        ("😀 😀", "😡 😡"),
    ],
)
def test_signs_that_make_another_question_are_not_lost(training: str, test: str) -> None:
    assert between(asked(training), asked(test)) == NOTHING
    assert between(asked(training), asked(training)).leaked == 1


# --- a contained field ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "contained"),
    [
        ("went home at once since nobody had", 0),
        ("WENT home at once -- since nobody had come", 1),
        ("went home at once since nobody has come", 0),
        ("home went at once since nobody had come", 0),
        ("bin went home at once since nobody had come", 0),  # begins within a word
        ("went home at once since nobody had come to se", 0),
    ],
)
def test_a_field_of_eight_words_is_sought_word_by_word(field: str, contained: int) -> None:
    assert between(taught(STORY), asked(field)) == Leakage(0, contained)
    assert between(asked(field), taught(STORY)) == NOTHING


def test_a_field_may_run_over_two_fields_or_into_the_wording() -> None:
    parted = row("Robin went home at once? Since nobody had come", "Robin went home at once")
    assert between(parted, asked("home at once since nobody had come")).contained == 0
    assert between(parted, asked("went home at once since nobody had come")).contained == 1
    fields = ("Robin went home at once", "since nobody had come")
    parted = row(f"First: {fields[0]}\nThen: {fields[1]}", *fields)
    assert between(parted, asked("went home at once since nobody had come")).contained == 1


def test_a_leaked_row_with_a_long_field_is_contained_too() -> None:
    shown = row("Look at this.", "one two three four five six seven eight")
    assert between(row("Look at this."), shown) == Leakage(1, 1)
    assert between(row("Look at this."), row("Look at this.", "one two")) == Leakage(1, 0)


# --- counts -----------------------------------------------------------------------------------


def test_a_planted_leak_is_counted_exactly() -> None:
    def story(n: int, start: str = "Please choose the right answer to the question below:") -> str:
        return f"{start} what did the {n}th of the children who came in say to number {n + 1}"

    training = [taught(story(n)) for n in range(300)]
    training += [taught(f"{story(n)} and then? And why?") for n in range(300, 320)]
    tests = {"b": [asked(story(n)) for n in range(280, 400)], "c": [asked("no such text at all")]}
    tests["d"] = [*tests["b"][:5], *tests["b"][:5]]
    found = leakage({"a": training, "again": training, "none": []}, tests)
    assert found["a", "b"] == Leakage(leaked=20, contained=40)
    assert found["a", "c"] == NOTHING
    assert found["a", "d"] == Leakage(10, 10)  # a row that is asked twice counts twice
    assert {test: found["again", test] for test in tests} == {t: found["a", t] for t in tests}
    assert {found["none", test] for test in tests} == {NOTHING}


def test_rows_without_a_field_or_a_word_are_compared_by_their_question() -> None:
    assert between(row("What now?"), row("what  NOW?")) == Leakage(1, 0)
    assert between(row("What now?"), row("What then?")) == NOTHING
    assert between(row("?!", ""), row("?", "")) == NOTHING


# --- against a slow implementation ------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).casefold()
    found, i = [], 0
    while i < len(text):
        j = i
        while j < len(text) and (text[j].isalnum() or text[j] == "_"):
            j += 1
        if j > i:
            found.append(text[i:j])
        else:
            j = i + 1
            after = next((k for k in range(j, len(text)) if text[k].isalnum()), len(text))
            number = after < len(text) and text[after].isdecimal() and after - j <= 3
            if number and not text[i].isspace():
                found.append(text[i])
        i = j
    return found


def slow_leakage(training: list[Example], tests: list[Example]) -> Leakage:
    def whole(example: Example) -> list[str]:
        return [word for field in example.fields for word in slow_words(field)]

    def real(words: list[str]) -> int:
        return len([word for word in words if any(letter.isalnum() for letter in word)])

    def same(one: Example, other: Example) -> bool:
        texts = [unicodedata.normalize("NFKC", e.context).casefold().split() for e in (one, other)]
        fields = whole(one)
        return texts[0] == texts[1] or (fields == whole(other) and real(fields) >= 4)

    def holds(lesson: Example, field: list[str]) -> bool:
        texts = slow_words(lesson.context), whole(lesson)
        return any(field == t[i : i + len(field)] for t in texts for i in range(len(t)))

    leaked = contained = 0
    for test in tests:
        long = [words for words in map(slow_words, test.fields) if real(words) >= 8]
        is_leaked = any(same(lesson, test) for lesson in training)
        leaked += is_leaked
        is_held = any(holds(lesson, words) for lesson in training for words in long)
        contained += is_held or (is_leaked and bool(long))
    return Leakage(leaked, contained)


PHRASES = [
    "the man",
    "The man, the dog",
    "in 12 years - 5 of them cold -",
    "a b a b a b a b",
    "a b a b a b a c",
    "-3",
    "; ...",
    "one two three four five six seven eight nine",
    "five six seven eight nine ten eleven twelve",
]
FIELDS = st.lists(st.sampled_from(PHRASES), max_size=3).map(" ".join)
WORDINGS = st.sampled_from(["{}", "Say: {} Why?", "{} 7"])


@st.composite
def drawn(draw: Any) -> Example:
    fields = draw(st.lists(FIELDS, max_size=3))
    return row(draw(WORDINGS).format(" ".join(fields)), *fields)


@settings(max_examples=300, deadline=None)
@given(st.lists(drawn(), max_size=4), st.lists(drawn(), max_size=4))
def test_it_equals_the_definition_written_out_slowly(
    training: list[Example], tests: list[Example]
) -> None:
    expected = slow_leakage(training, tests)
    assert leakage({"a": training}, {"b": tests}) == {("a", "b"): expected}


# --- the fields of an example -----------------------------------------------------------------

ROW = {
    "text": "What is it?",
    "n": 7,
    "empty": "",
    "none": None,
    "question": {"stem": "Which one", "concept": "one"},
    "choices": [{"text": "a box"}, {"text": "a bag"}],
    "my text": "spaced",
    "label": 0,
}


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("text", ("What is it?",)),
        ("my text", ("spaced",)),
        ("Q: {{ text }}", ("What is it?",)),
        ("{{ n }} {{ empty }} {{ text[:4] }}", ("7", "What is it?")),
        ("{{ question.stem }} / {{ text.strip() }}", ("Which one", "What is it?")),
        ("{{ row['my text'] }}, {{ row.n }}", ("spaced", "7")),
        ("{{ choices[1].text }} or {{ choices[0]['text'] }}", ("a bag", "a box")),
        ("{% for c in choices %}{{ c.text }}{% endfor %}", ("a box", "a bag")),
        ("{{ choices | map(attribute='text') | join }} {{ n }}", ("a box", "a bag", "7")),
        ("{% set short = text[:3] %}{{ short }}{{ text }}", ("What is it?",)),
        ("{{ 'none' if none is none else text }} {{ range(2) | list }}", ("What is it?",)),
        ("{% for label in choices %}{{ label.text }}{% endfor %}", ("a box", "a bag")),
        ("{{ absent | default('') }}{{ text }}", ("What is it?",)),
        (
            "{{ row.values() | list | length }} values",
            ("What is it?", "7", "Which one", "one", "a box", "a bag", "spaced", "0"),
        ),
        ("no field", ()),
    ],
)
def test_fields_are_the_texts_the_question_is_worded_from(
    make_task: MakeTask, template: str, fields: tuple[str, ...]
) -> None:
    task = make_task(train=[ROW], test=[ROW], doc_to_text=template)
    (example,) = examples(task, "test").items
    assert example.fields == fields


def test_a_field_that_is_nested_deeply_ends_no_stack(make_task: MakeTask) -> None:
    deep: Any = "bottom"
    for _ in range(300):
        deep = [deep]
    (example,) = examples(
        make_task(test=[{"text": deep, "label": 0}], doc_to_text="{{ text | length }}:"), "test"
    ).items
    assert example.fields == ("bottom",)


# --- real tasks -------------------------------------------------------------------------------


def pairs(tasks: dict[str, Task], prompt: str) -> dict[tuple[str, str], Leakage]:
    """What all training rows of each task share with all test rows of each, where anything."""
    found = leakage(
        {name: examples(task, "train", prompt=prompt).items for name, task in tasks.items()},
        {name: examples(task, "test", prompt=prompt).items for name, task in tasks.items()},
    )
    return {pair: counts for pair, counts in found.items() if counts != NOTHING}


@pytest.mark.parametrize("prompt", ["default", "instruct"])
def test_the_embedded_tasks_share_no_input(prompt: str) -> None:
    assert pairs(EMBEDDED, prompt) == {}


@pytest.mark.skipif(not ROWS.is_dir(), reason=f"the rows are not in {ROWS.name}/")
def test_tasks_from_one_dataset_are_found() -> None:
    """Among 24 known tasks, with all training rows, on 500 test rows each.

    The stories of socialqa_qg are a part of the questions of social_iqa_ni, and reviews are in
    both sst2 and subj. Of the 157 stories, 156 are contained letter by letter.
    """
    found = pairs(BENCHMARKS, "default")
    apart = {pair: counts for pair, counts in found.items() if pair[0] != pair[1]}
    assert apart == {
        ("social_iqa_ni", "socialqa_qg"): Leakage(leaked=0, contained=157),
        ("sst2", "subj"): Leakage(leaked=31, contained=31),
        ("subj", "sst2"): Leakage(leaked=33, contained=38),
    }
    assert {pair[0]: counts for pair, counts in found.items() if pair[0] == pair[1]} == {
        "cola": Leakage(0, 2),
        "mnli": Leakage(0, 1),
        "mrpc": Leakage(0, 33),
        "paws": Leakage(0, 302),  # its pairs are made of the same sentences again and again
        "rte": Leakage(0, 48),
        "socialqa_qg": Leakage(0, 2),
    }
