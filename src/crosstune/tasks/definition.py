"""The parts of a task file, with lm-evaluation-harness's keys, as values that check themselves.

Read and of no effect: hf_evaluate: false, higher_is_better: true, aggregation: mean, and
dataset_kwargs.trust_remote_code (code of a dataset is never run).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)

from crosstune.tasks.metrics import FILTERS, must_fit
from crosstune.tasks.templates import Unrenderable, compiled, rendered


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _by_split(value: object) -> object:
    return value if isinstance(value, dict) else {"train": value}


def _template(source: str) -> str:
    compiled(source)
    return source


def _fixed(source: str) -> str:
    compiled(source)
    try:
        return rendered(source, {})
    except Unrenderable as error:
        rule = "it is the same text for all rows and cannot name a field"
        raise ValueError(f"{error} ({rule})") from error


def _target(form: object) -> object:
    if isinstance(form, str):
        return _template(form)
    if not isinstance(form, int | list) or isinstance(form, bool):
        raise ValueError(f"must be text, a position or a list, not {form!r}")
    return form


def _choices(form: object) -> object:
    if isinstance(form, str):
        return _template(form)
    listed = list(form.values()) if isinstance(form, dict) else form
    texts = isinstance(listed, list) and all(isinstance(item, str) and item for item in listed)
    if not isinstance(listed, list) or not texts or len(listed) < 2:
        raise ValueError("must be two or more texts (YAML needs quotes around yes, no and numbers)")
    return tuple(listed)


Listed = BeforeValidator(_listed)
"""One thing stands for a list of one."""
Filled = Annotated[str, Field(min_length=1)]
FixedText = Annotated[str, AfterValidator(_fixed)]


class Part(BaseModel):
    """A mapping in a task file: its keys are known, and nothing is converted to another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Wording(Part):
    """One prompt variant.

    Attributes:
        doc_to_text: Question: a field's name or a template.
        doc_to_target: Right answer: a field's name, a template, a position, or a list.
        doc_to_choice: Choices: a field's name, a template that yields a list, or the list itself;
            None when there is nothing to choose from.
        description: Text before everything else, the same for all rows.
        gen_prefix: Beginning of every answer, given and not asked; the same for all rows.
        target_delimiter: Between question and answer.
    """

    doc_to_text: Annotated[str, AfterValidator(_template)] = ""
    doc_to_target: Annotated[str | int | list[Any], PlainValidator(_target)] = ""
    doc_to_choice: Annotated[str | tuple[str, ...] | None, PlainValidator(_choices)] = None
    description: FixedText = ""
    gen_prefix: FixedText = ""
    target_delimiter: str = " "


class Dataset(Part):
    """What `datasets` is told beside a dataset's name; for local rows, their files by split."""

    data_files: Annotated[
        dict[str, Annotated[list[Filled], Listed]], BeforeValidator(_by_split)
    ] = {}
    data_dir: str = ""
    revision: str = ""
    trust_remote_code: Any = None


class Demonstrations(Part):
    """How demonstrations are drawn, and where from: inline samples, else a split."""

    sampler: Literal["default", "first_n"] = "default"
    split: str = ""
    samples: list[dict[str, Any]] = []


class Generation(Part):
    """How answers are written: always greedily."""

    until: Annotated[list[str] | None, Listed] = None
    max_gen_toks: int = Field(
        default=256,
        gt=0,
        validation_alias=AliasChoices("max_gen_toks", "max_new_tokens", "max_tokens"),
    )
    do_sample: bool | None = None
    temperature: float = 0
    top_p: float = 1
    num_beams: int = Field(default=1, ge=1, le=1)

    @model_validator(mode="after")
    def _is_greedy(self) -> Self:
        if self.do_sample or (self.do_sample is None and self.temperature):
            raise ValueError("answers are greedy, sampling is not supported")
        return self


class Step(Part, extra="allow"):
    """One filter; its options stand beside its name."""

    function: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        must_fit(FILTERS, self.function, self.model_extra or {}, "")
        return self


class Pipeline(Part):
    """What an answer goes through before the metrics."""

    name: Filled = "none"
    filter: list[Step]


class Metric(Part, extra="allow"):
    """One metric; its options stand beside its name."""

    metric: str
    aggregation: Literal["mean"] = "mean"
    higher_is_better: Literal[True] = True
    hf_evaluate: Literal[False] = False
