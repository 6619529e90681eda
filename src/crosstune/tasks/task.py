"""A task as a value: which rows, how they are worded, what an answer is, how it is scored.

A task is its file: the keys of lm-evaluation-harness, and on top `family`, `licence`, `prompts`
(named variants, each overriding wording keys) and `drop` (labels whose rows are left out and
counted; any other label that is no choice is an error).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_core import to_jsonable_python

from crosstune.errors import InputError, problems_in
from crosstune.tasks.definition import (
    Dataset,
    Demonstrations,
    Filled,
    Generation,
    Listed,
    Metric,
    Pipeline,
    Wording,
)
from crosstune.tasks.metrics import CHOICE_METRICS, METRICS, must_fit

Steps = tuple[str, tuple[tuple[str, Mapping[str, Any]], ...]]
"""A name, and the steps that an answer goes through: a filter's name and its options."""
FORMATS = {"json": "json", "jsonl": "json", "csv": "csv", "parquet": "parquet"}
IGNORED = {"task_alias", "should_decontaminate", "doc_to_decontamination_query"}
UNSUPPORTED = frozenset(
    "process_docs process_results use_prompt custom_dataset doc_to_image doc_to_audio unsafe_code"
    " group group_alias task_list aggregate_metric_list class recipe weight_by_size"
    " fewshot_indices".split()
)


def _one_word(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise ValueError(f"{name!r} must be one word of letters, digits, '_', '-', '.' and '+'")
    return name


def _or_tag(family: str, info: ValidationInfo) -> str:
    if "+" in family:
        raise ValueError("'+' joins the families of a mixture; take another sign")
    return family or next((tag for tag in info.data.get("tags", ()) if "+" not in tag), "other")


def _format_or_id(path: str) -> str:
    if path not in FORMATS and not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path):
        raise ValueError(f"'{path}' is neither {', '.join(FORMATS)} nor an id of the Hub")
    return path


def _with_files(found: Dataset, info: ValidationInfo) -> Dataset:
    local = info.data.get("dataset_path") in FORMATS
    if local and (not found.data_files or found.data_dir or found.revision):
        raise ValueError("data_files, and nothing else, must name a file for each split")
    return found


def _something_asked(split: str, info: ValidationInfo) -> str:
    asked = split or info.data.get("validation_split", "")
    if not asked:
        raise ValueError("is missing (and there is no validation_split)")
    return str(asked)


def _with_choices(output: str, info: ValidationInfo) -> str:
    if output == "multiple_choice" and info.data.get("doc_to_choice", "") is None:
        raise ValueError("multiple_choice needs doc_to_choice")
    return output


def _fitting(metric: Metric, info: ValidationInfo) -> Metric:
    choose = info.data.get("output_type") == "multiple_choice"
    known, trial = (CHOICE_METRICS, [0.0]) if choose else (METRICS, "a")
    must_fit(known, metric.metric, metric.model_extra or {}, trial, ["a"])
    return metric


def _labels(value: object) -> list[str]:
    return [str(label) for label in (value if isinstance(value, list) else [value])]


def _not_default(variants: dict[str, Wording]) -> dict[str, Wording]:
    if "default" in variants:
        raise ValueError("'default' is the file itself: take another name")
    return variants


class Task(Wording):
    """One task; compared by identity, so that its rows can be kept while it is in use.

    Attributes:
        name: Its word everywhere.
        tags: The file's tags.
        family: Group of tasks that ask for the same thing.
        licence: Licence of the rows.
        dataset_path: Format of local files, or a dataset of the Hub.
        dataset_name: Configuration of the Hub's dataset.
        dataset_kwargs: Local files by split, or what else the Hub's dataset needs.
        train_split: Name of the split to tune on; empty when there is none.
        validation_split: Asked where there is no test split.
        test_split: Name of the split to ask.
        fewshot_split: Where demonstrations come from.
        output_type: Pick one of the choices, or write the answer.
        fewshot_delimiter: Between demonstrations in bare text.
        num_fewshot: The file's own wish; shown only, a condition decides.
        fewshot_config: How demonstrations are drawn.
        generation_kwargs: How a text answer is written.
        filter_list: What an answer goes through; the first pipeline is the main one.
        metric_list: The first one is the main one.
        metadata: Whatever the file says about itself.
        variants: Prompt variants beside the file's own.
        drop: Labels whose rows are left out and counted.
        repeats: Once, since answers are greedy.
        path: The file; never stored.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    name: Annotated[str, AfterValidator(_one_word)] = Field(alias="task")
    tags: Annotated[list[Filled], Listed] = Field([], alias="tag")
    family: Annotated[str, AfterValidator(_or_tag)] = Field("", validate_default=True)
    licence: str = "not stated"
    dataset_path: Annotated[str, AfterValidator(_format_or_id)]
    dataset_name: str = ""
    dataset_kwargs: Annotated[Dataset, AfterValidator(_with_files)] = Field(
        Dataset(), validate_default=True
    )
    train_split: str = Field("", alias="training_split")
    validation_split: str = ""
    test_split: Annotated[str, AfterValidator(_something_asked)] = Field("", validate_default=True)
    fewshot_split: str = ""
    output_type: Annotated[
        Literal["generate_until", "multiple_choice"], AfterValidator(_with_choices)
    ] = "generate_until"
    fewshot_delimiter: str = "\n\n"
    num_fewshot: int = 0
    fewshot_config: Demonstrations = Demonstrations()
    generation_kwargs: Generation = Generation()
    filter_list: list[Pipeline] = Field([])
    metric_list: list[Annotated[Metric, AfterValidator(_fitting)]] = Field([])
    metadata: Any = Field({})
    variants: Annotated[dict[str, Wording], AfterValidator(_not_default)] = Field(
        {}, alias="prompts"
    )
    drop: Annotated[list[str], BeforeValidator(_labels)] = Field([])
    repeats: int = Field(1, ge=1, le=1)
    path: Path = Field(exclude=True, repr=False)

    @property
    def kind(self) -> Literal["choice", "text"]:
        """`choice`: pick one of the choices; `text`: write the answer."""
        return "choice" if self.output_type == "multiple_choice" else "text"

    @cached_property
    def filters(self) -> tuple[Steps, ...]:
        """What an answer goes through before the metrics; the first one is the main one.

        Where the file does not say, it is stripped.
        """
        return tuple(
            (one.name, tuple((step.function, step.model_extra or {}) for step in one.filter))
            for one in self.filter_list
        ) or (("", (("remove_whitespace", {}),)),)

    @cached_property
    def metric_options(self) -> dict[str, dict[str, Any]]:
        """Options of the metrics, by the metric's name without its pipeline."""
        usual = ("acc", "acc_norm") if self.kind == "choice" else ("exact_match",)
        named = {one.metric: one.model_extra or {} for one in self.metric_list}
        return named or {name: {} for name in usual}

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of what `outcome` gives, the main one first."""
        if len(self.filters) == 1:
            return tuple(self.metric_options)
        return tuple(f"{name}:{line}" for line, _ in self.filters for name in self.metric_options)

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a text answer."""
        until = self.generation_kwargs.until
        return tuple(filter(None, [self.fewshot_delimiter] if until is None else until))

    @property
    def max_new_tokens(self) -> int:
        """Longest text answer."""
        return self.generation_kwargs.max_gen_toks

    @cached_property
    def prompts(self) -> dict[str, Wording]:
        """Prompt variants by name; `default` is the file's own."""
        base = self.model_dump(include=set(Wording.model_fields), exclude_unset=True)
        own = {name: one.model_dump(exclude_unset=True) for name, one in self.variants.items()}
        every = {"default": {}, **own}
        return {name: Wording.model_construct(**base | words) for name, words in every.items()}

    @property
    def demonstrations_split(self) -> str:
        """Where demonstrations come from: never the split that is asked; empty when nowhere."""
        named = self.fewshot_config.split or self.fewshot_split or self.train_split
        split = named or self.validation_split
        return split if split != self.test_split else ""

    def described(self) -> dict[str, Any]:
        """The configuration for hashing and showing: plain values, no folder of any machine.

        Of local files only the names stay; their content shows in the ids of the examples.
        """
        derived = (
            "kind",
            "metrics",
            "stop",
            "max_new_tokens",
            "filters",
            "metric_options",
            "prompts",
        )
        parsed = {"filter_list", "metric_list", "generation_kwargs", "variants"}
        plain = self.model_dump(mode="json", exclude={*parsed, *Wording.model_fields})
        for files in plain["dataset_kwargs"]["data_files"].values():
            files[:] = [PurePosixPath(name.replace("\\", "/")).name for name in files]
        return plain | {name: to_jsonable_python(getattr(self, name)) for name in derived}


KEYS = {field.alias or name for name, field in Task.model_fields.items()} - {"path"} | IGNORED
"""All keys that a task file may have beside `include`."""
_HINTS: dict[object, Iterable[str]] = {
    "": KEYS,
    "prompts": Wording.model_fields,
    "fewshot_config": Demonstrations.model_fields,
    "generation_kwargs": Generation.model_fields,
    "dataset_kwargs": Dataset.model_fields,
    "filter_list": Pipeline.model_fields,
}


def task_of(raw: Mapping[str, Any], *, path: Path) -> Task:
    """The task that a file's keys define.

    Args:
        raw: Keys and values, includes resolved; null counts as absent.
        path: The file; rows are found relative to its folder.

    Raises:
        InputError: Lists all that is wrong.
    """
    given = {
        key: value
        for key, value in raw.items()
        if value is not None or key not in {*KEYS, *UNSUPPORTED}
    }
    refused = sorted(given.keys() & {*UNSUPPORTED, "path"})
    problems = [f"{key}: this key is not supported" for key in refused]
    needed = ("doc_to_text", "doc_to_target")
    problems += [f"{key}: is missing" for key in needed if key not in given]
    kept = {key: value for key, value in given.items() if key not in {*refused, *IGNORED}}
    try:
        task = Task(**kept, path=path)
    except ValidationError as error:
        problems += problems_in(error, _HINTS)
    if problems:
        raise InputError(path.name, problems)
    return task
