"""The values that leave this room: an example, a prompt, a condition. Plain and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ChatTemplate = Literal["none", "model"]
Sampler = Literal["task", "first", "drawn"]
"""Which demonstrations: as the task's file says, the first ones, or drawn by seed."""
Scoring = Literal["likelihood", "first_token", "generation"]
"""How an answer becomes a score: by the likelihood of whole choices, of their first tokens, or by
what the model writes."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task, rendered with one prompt variant.

    Attributes:
        id: Stable name: depends on the row's content only (equal rows get a counter behind it).
        context: The question as the model reads it, without demonstrations or description.
        choices: The answers to choose from; empty for a text task.
        label: Position of the right choice; None for a text task.
        references: Right answers; for a choice task the one right choice. Never empty.
        fields: Texts of the row that the question is worded from, in the order in which the
            wording names them. Decide nothing but what is told of leakage.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    label: int | None
    references: tuple[str, ...]
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked or tuned on: one example in its final wording.

    Attributes:
        id: The example's id.
        turns: (role, text) pairs for the model's chat template, the last one the user's;
            empty when no template is used.
        context: The text right before the answer; with turns, what follows them (mostly empty).
        continuations: For a choice task what may follow the context, delimiter included, in the
            order of the example's choices; empty for a text task.
        completion: The right answer with its delimiter: what tuning teaches.
    """

    id: str
    turns: tuple[tuple[str, str], ...]
    context: str
    continuations: tuple[str, ...]
    completion: str


class Condition(BaseModel):
    """How a target is asked.

    Attributes:
        name: Its word in the matrix; decides nothing else.
        examples: Number of test examples, the same ones for every model; fewer when the task
            has fewer.
        shots: Number of demonstrations before each question, the same for every example.
        shots_from: File with their rows, in which `{target}` stands for the target's name; empty
            for the few-shot split that the target's own file names.
        sampler: `first`: in the order of the file; `drawn`: by seed, each class as often as can
            be; `task`: as the target's file says.
        draw: Another draw of demonstrations for every number.
        order: 0 for the order in which they are taken, else another order of the same ones.
        prompt: Prompt variant of the task.
        chat_template: `none`: bare text; `model`: the model's own template.
        scoring: How choices are picked: `likelihood` of the whole choice; likelihood of its
            `first_token`; `generation`: the choice that a freely written answer begins with. Text
            tasks are always written. Scores of different modes are never compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "zero-shot"
    examples: int = Field(default=200, gt=0)
    shots: int = Field(default=0, ge=0, le=64)
    shots_from: str = ""
    sampler: Sampler = "task"
    draw: int = Field(default=0, ge=0)
    order: int = Field(default=0, ge=0)
    prompt: str = "default"
    chat_template: ChatTemplate = "none"
    scoring: Scoring = "likelihood"

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        idle = [n for n in ("shots_from", "draw", "order") if not self.shots and getattr(self, n)]
        if idle:
            raise ValueError(f"{', '.join(idle)}: without shots there are no demonstrations")
        return self
