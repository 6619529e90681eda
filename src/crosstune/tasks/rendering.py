"""The one renderer: rows to examples, and examples to what a model is asked or tuned on.

Tuning, demonstrations and asking go through `prompts`, so they cannot differ in a space. The
wording is that of lm-evaluation-harness 0.4.13: without a chat template, description,
demonstrations and question are joined as they stand; with one, the description is the system turn
and every demonstration a user and an assistant turn (the harness's default when a template is
applied), and what separates turns is the template's own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from typing import Any

from crosstune.errors import InputError, did_you_mean
from crosstune.tasks.definition import Wording
from crosstune.tasks.example import ChatTemplate, Example, Prompt
from crosstune.tasks.rows import Row
from crosstune.tasks.task import Task
from crosstune.tasks.templates import Unrenderable, missing, rendered, texts

SHOWN_CHOICES = 6


def wording(task: Task, variant: str) -> Wording:
    """A prompt variant of a task.

    Raises:
        InputError: The task has none of that name.
    """
    if variant not in task.prompts:
        hint = did_you_mean(variant, task.prompts) or f" There are: {', '.join(task.prompts)}."
        raise InputError(f"The task '{task.name}' has no prompt variant '{variant}'.{hint}")
    return task.prompts[variant]


def worded(
    task: Task, words: Wording, row: Row, *, name: str, columns: Collection[str]
) -> Example | None:
    """A row in one prompt variant; None when the task drops its label.

    What is the name of a field is read as that field, all else is a template, as in
    lm-evaluation-harness; but a bare word that is no field is an error (the harness would take
    the word itself for the text).

    Args:
        task: The task; its kind and the labels it drops matter.
        words: The prompt variant.
        row: The row.
        name: The example's id.
        columns: All fields that occur in the split; one row may lack some.

    Raises:
        Unrenderable: The row cannot be used; says why.
    """
    right, literal = _value(words.doc_to_target, row, columns)
    if not literal and right[:1] == "[" and right[-1:] == "]":
        right, literal = _literal(right), True
    if isinstance(right, list | tuple) and len(right) == 1:
        right = right[0]
    if str(right) in task.drop:
        return None
    offered = _offered(_value(words.doc_to_choice, row, columns)[0])
    context, given = _value(words.doc_to_text, row, columns)
    if offered and not given and context.isdigit():
        raise Unrenderable("doc_to_text gives a number: several inputs are not supported")
    if not isinstance(context, str):
        raise Unrenderable(f"doc_to_text gives {context!r}, which is not text")
    fields = tuple(filter(None, [context])) if given else texts(words.doc_to_text, row)
    if not offered:
        return Example(name, context, (), None, _references(right), fields)
    label = _label(right, offered, literal=literal)
    choices, position = (offered, label) if task.kind == "choice" else ((), None)
    return Example(name, context, choices, position, (offered[label],), fields)


def _value(form: Any, row: Row, columns: Collection[str]) -> tuple[Any, bool]:
    """What a form gives, and whether that stands in the row or the file just so."""
    if not isinstance(form, str):
        return form, True
    if form not in columns and not re.fullmatch(r"[A-Za-z_]\w*", form):
        return rendered(form, row), False
    if form not in row:
        raise Unrenderable(missing(form, row))
    if row[form] is None:
        raise Unrenderable(f"the field '{form}' is empty")
    return row[form], True


def _literal(text: str) -> Any:
    """The list that a text shows, or the text where it shows none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _offered(found: object) -> tuple[str, ...]:
    if found is None:
        return ()
    found = _literal(found) if isinstance(found, str) else found
    if not isinstance(found, list | tuple) or len(found) < 2:
        raise Unrenderable("doc_to_choice does not give a list of two or more choices")
    for choice in found:
        if not isinstance(choice, str | int | float) or isinstance(choice, bool) or choice == "":
            rule = "(YAML needs quotes around yes and no)"
            raise Unrenderable(f"the choice {choice!r} is not text {rule}")
    return tuple(map(str, found))


def _references(value: object) -> tuple[str, ...]:
    found = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
    if not found or not all(found):
        raise Unrenderable("the right answer is empty")
    return found


def _label(value: object, choices: tuple[str, ...], *, literal: bool) -> int:
    """Position of the right choice.

    A template's digits are always a position, a field's value is first sought among the choices.
    """
    position = value if isinstance(value, int) else -1
    if isinstance(value, str):
        if value in choices and (literal or not value.isdigit()):
            return choices.index(value)
        position = int(value) if value.isdecimal() and len(value) < 10 else -1
    if not 0 <= position < len(choices):
        shown = ", ".join(choices[:SHOWN_CHOICES]) + (", …" if len(choices) > SHOWN_CHOICES else "")
        raise Unrenderable(f"the label {value!r} is not among the choices ({shown})")
    return int(position)


def prompts(
    task: Task,
    examples: Sequence[Example],
    *,
    variant: str = "default",
    chat_template: ChatTemplate = "none",
    demonstrations: Sequence[Example] = (),
) -> list[Prompt]:
    """Examples in their final wording.

    Args:
        task: The task they belong to.
        examples: What is asked or taught, rendered with the same variant.
        variant: Prompt variant.
        chat_template: `model`: fill `turns` for the model's own template.
        demonstrations: The same solved examples before every question, in this order.

    Returns:
        One prompt an example, in order.

    Raises:
        InputError: The task has no such variant.

    Source:
        lm-evaluation-harness 0.4.13. What it leaves open is how a text answer follows its
        question in training: here just as it does in a demonstration.
    """
    words, start = wording(task, variant), wording(task, variant).gen_prefix
    chat = chat_template == "model"
    apart = words.target_delimiter if start and not start[-1].isspace() else ""
    delimiter = apart if chat else words.target_delimiter
    turns: list[tuple[str, str]] = []
    before = ""
    if chat:
        turns += [("system", words.description)] if words.description else []
        for shown in demonstrations:
            turns.append(("user", shown.context))
            turns.append(("assistant", start + _answer(start, shown, delimiter)))
    else:
        before = words.description
        for shown in demonstrations:
            solved = _question(words, shown) + _answer(start, shown, delimiter)
            before += solved + task.fewshot_delimiter
    made = []
    for example in examples:
        choices = tuple(delimiter + choice for choice in example.choices)
        right = _answer(start, example, delimiter)
        completion = right if example.label is None else choices[example.label]
        asked = (*turns, ("user", example.context)) if chat else ()
        context = start if chat else before + _question(words, example)
        made.append(Prompt(example.id, asked, context, choices, completion))
    return made


def _question(words: Wording, example: Example) -> str:
    start = words.gen_prefix
    return example.context + _joint(example.context, start, words.target_delimiter) + start


def _answer(start: str, example: Example, delimiter: str) -> str:
    """What follows the question, and the beginning of the answer, in a demonstration."""
    right = example.references[0]
    return (_joint(start, right, " ") if start else delimiter) + right


def _joint(before: str, after: str, delimiter: str) -> str:
    """The delimiter, unless nothing stands before it or one side has its own white space."""
    touching = before and after and not (before[-1].isspace() or after[0].isspace())
    return delimiter if touching else ""
