"""Wording: the forms of the doc_to_* keys, and prompts as lm-evaluation-harness makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosstune.errors import InputError
from crosstune.tasks import Example, demonstrations, examples, outcome, prompts
from tasks.making import COLOURS, MakeTask, colour_rows

ROW = {
    "text": "What?",
    "n": 2,
    "digit": "1",
    "colour": "blue",
    "one": ["blue"],
    "yes": True,
    "options": COLOURS,
    "nested": {"text": ["u", "v", "w"]},
    "answers": ["a", "b"],
    "my text": "spaced",
    "1.5": 3,
}


def only(make_task: MakeTask, **keys: Any) -> Example:
    (example,) = examples(make_task(train=[ROW], test=[ROW], **keys), "test").items
    return example


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("n", 2),
        ("{{ n }}", 2),
        (1, 1),
        ("digit", 1),
        ("{{ digit }}", 1),
        ("colour", 2),
        ("{{ colour }}", 2),
        ("one", 2),
        ("{{ one }}", 2),
        ("yes", 1),
        ("{{ nested.text.index('v') }}", 1),
        ("2", 2),
    ],
)
@pytest.mark.parametrize(
    "choices",
    [
        COLOURS,
        {"x": "red", "y": "green", "z": "blue"},
        "options",
        "{{ options }}",
        "{{ row.options }}",
        "['red', 'green', 'blue']",
    ],
)
def test_every_form_of_target_and_choices(
    make_task: MakeTask, target: object, label: int, choices: object
) -> None:
    example = only(make_task, doc_to_target=target, doc_to_choice=choices)
    assert example.choices == tuple(COLOURS)
    assert (example.label, example.references) == (label, (COLOURS[label],))


def test_a_fields_digits_name_a_choice_before_a_position(make_task: MakeTask) -> None:
    choices = ["0", "2", "1"]
    assert only(make_task, doc_to_target="digit", doc_to_choice=choices).label == 2
    assert only(make_task, doc_to_target="{{ digit }}", doc_to_choice=choices).label == 1


@pytest.mark.parametrize(
    ("target", "references"),
    [
        ("colour", ("blue",)),
        ("n", ("2",)),
        ("answers", ("a", "b")),
        ("{{ answers }}", ("a", "b")),
        ("{{ colour }}!", ("blue!",)),
        ("[not a list]", ("[not a list]",)),
        (["x", "y"], ("x", "y")),
    ],
)
def test_every_form_of_a_text_answer(
    make_task: MakeTask, target: object, references: tuple[str, ...]
) -> None:
    example = only(make_task, output_type="generate_until", doc_to_target=target)
    assert (example.references, example.choices, example.label) == (references, (), None)


def test_a_text_task_may_take_its_answer_from_choices(make_task: MakeTask) -> None:
    keys = {"output_type": "generate_until", "doc_to_target": "n", "doc_to_choice": COLOURS}
    assert only(make_task, **keys).references == ("blue",)


@pytest.mark.parametrize(
    ("form", "context"),
    [
        ("text", "What?"),
        ("{{ text }}\n", "What?\n"),
        ("my text", "spaced"),
        ("", ""),
        ("Q: ?", "Q: ?"),
    ],
)
def test_every_form_of_a_question(make_task: MakeTask, form: str, context: str) -> None:
    assert only(make_task, doc_to_text=form, doc_to_target="n").context == context


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"doc_to_target": "gone"}, "the field 'gone' is missing"),
        ({"doc_to_text": "{{ gone }}"}, "the field 'gone' is missing"),
        ({"doc_to_choice": "gone"}, "the field 'gone' is missing"),
        ({"doc_to_target": "{{ 7 }}"}, "the label '7' is not among the choices (red, green, blue)"),
        ({"doc_to_target": -1}, "the label -1 is not among"),
        ({"doc_to_target": "answers"}, "the label ['a', 'b'] is not among"),
        ({"doc_to_target": "text"}, "the label 'What?' is not among"),
        ({"doc_to_choice": "one"}, "does not give a list of two or more"),
        ({"doc_to_choice": "text"}, "does not give a list of two or more"),
        ({"doc_to_choice": "{{ [n, none] }}"}, "the choice None is not text"),
        ({"doc_to_text": "n"}, "doc_to_text gives 2, which is not text"),
        ({"doc_to_text": "{{ n }}"}, "several inputs are not supported"),
        ({"doc_to_text": "1.5"}, "doc_to_text gives 3, which is not text"),
    ],
)
def test_a_row_that_cannot_be_worded_says_why(
    make_task: MakeTask, keys: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError) as caught:
        only(make_task, **{"doc_to_target": "n", **keys})
    assert str(caught.value).startswith("test.jsonl, line 1: ")
    assert problem in str(caught.value)


def test_an_empty_or_null_answer_is_an_error(make_task: MakeTask) -> None:
    for row in ({"text": "a", "colour": ""}, {"text": "a", "colour": []}):
        with pytest.raises(InputError, match="the right answer is empty"):
            examples(
                make_task(test=[row], output_type="generate_until", doc_to_target="colour"), "test"
            )
    with pytest.raises(InputError, match="the field 'label' is empty"):
        examples(make_task(test=[{"text": "a", "label": None}]), "test")


def test_bare_prompts_in_one_piece(make_task: MakeTask) -> None:
    task = make_task(
        description="Name the colour.\n\n",
        target_delimiter=" -> ",
        fewshot_delimiter="\n##\n",
        fewshot_config={"sampler": "first_n"},
    )
    first = examples(task, "test").items[0]
    (prompt,) = prompts(task, [first], demonstrations=demonstrations(task, 2))
    assert prompt.turns == ()
    assert prompt.context == (
        "Name the colour.\n\nthing 0: -> red\n##\nthing 1: -> green\n##\nthing 12:"
    )
    assert prompt.continuations == (" -> red", " -> green", " -> blue")
    assert prompt.completion == " -> red"
    assert prompt.id == first.id


def test_prompts_for_a_chat_template(make_task: MakeTask) -> None:
    task = make_task(description="Name it.", fewshot_config={"sampler": "first_n"})
    first = examples(task, "test").items[0]
    (prompt,) = prompts(
        task, [first], chat_template="model", demonstrations=demonstrations(task, 1)
    )
    assert prompt.turns == (
        ("system", "Name it."),
        ("user", "thing 0:"),
        ("assistant", "red"),
        ("user", "thing 12:"),
    )
    assert (prompt.context, prompt.continuations) == ("", ("red", "green", "blue"))
    assert prompt.completion == "red"


@pytest.mark.parametrize("chat", ["none", "model"])
@pytest.mark.parametrize("prefix", ["", "So", "So: ", "\nSo"])
@pytest.mark.parametrize("kind", ["multiple_choice", "generate_until"])
def test_what_is_taught_is_what_is_asked(
    make_task: MakeTask, chat: Any, prefix: str, kind: str
) -> None:
    """The completion follows the asked context, is one of the continuations, and scores 1."""
    task = make_task(gen_prefix=prefix, output_type=kind, doc_to_target="colour")
    items = examples(task, "test").items
    shown = examples(task, "train").items[:2]
    for example, prompt in zip(
        items, prompts(task, items, chat_template=chat, demonstrations=shown), strict=True
    ):
        if kind == "multiple_choice":
            assert example.label is not None
            assert prompt.completion == prompt.continuations[example.label]
        else:
            assert outcome(task, example, text=prompt.completion) == {"exact_match": 1}
            # As a demonstration, the same example reads just like this.
            later = prompts(task, items[:1], chat_template=chat, demonstrations=[example])[0]
            if chat == "none":
                own = prompts(task, [example])[0]
                assert later.context.startswith(own.context + own.completion)
            else:
                assert later.turns[:2] == (
                    prompt.turns[-1],
                    ("assistant", prompt.context + prompt.completion),
                )


RECORDED = json.loads(Path(__file__).with_name("lm_eval_prompts.json").read_text("utf-8"))


@pytest.mark.parametrize("case", range(len(RECORDED["cases"])))
def test_prompts_and_outcomes_equal_those_of_lm_evaluation_harness(
    make_task: MakeTask, case: int
) -> None:
    """Recorded from the harness itself by make_lm_eval_prompts.py."""
    record = RECORDED["cases"][case]
    task = make_task(train=RECORDED["train"], test=RECORDED["test"], **record["keys"])
    items = examples(task, "test").items
    for asked in record["asked"]:
        shown = demonstrations(task, asked["shots"])
        made = prompts(task, items, chat_template=asked["chat_template"], demonstrations=shown)
        prompt, example = made[asked["row"]], items[asked["row"]]
        assert [list(turn) for turn in prompt.turns] == asked["turns"]
        assert prompt.context == asked["context"]
        assert list(prompt.continuations) == asked["continuations"]
        for said, scores in asked["outcomes"]:
            given = {"text" if isinstance(said, str) else "log_likelihoods": said}
            assert outcome(task, example, **given) == scores


def test_variants_may_change_all_of_the_wording(make_task: MakeTask) -> None:
    variant = {
        "description": "D. ",
        "doc_to_text": "{{ text }}?",
        "doc_to_target": "{{ label }}",
        "doc_to_choice": ["r", "g", "b"],
        "target_delimiter": "",
        "gen_prefix": "=",
    }
    task = make_task(prompts={"other": variant}, train=colour_rows(0, 3))
    items = examples(task, "test", prompt="other").items
    prompt = prompts(task, items, variant="other")[1]
    assert prompt.context == "D. thing 13?="
    assert prompt.continuations == ("r", "g", "b")
    assert prompt.completion == "g"
