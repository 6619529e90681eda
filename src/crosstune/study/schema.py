"""A study as a value: what is to be tuned on what, and asked what. Costs nothing to make.

Four axes and no more: sources, recipes, conditions, seeds. A study comes from a YAML file or is
built directly; either way everything that is wrong is told at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from crosstune.errors import InputError, did_you_mean, problems_in
from crosstune.models.protocol import Position
from crosstune.models.recipe import Recipe
from crosstune.tasks.edits import Edit
from crosstune.tasks.example import Condition
from crosstune.tasks.loading import read_yaml


def _safe_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"'{name[:120]}' is not a name: letters, digits, '.', '_', '-', at most 100, "
            "and it may not begin with '.' or '-'"
        )
    return name


def _listed(value: object) -> object:
    """One thing stands for a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _source(value: object) -> object:
    """A bare task name is a source of that name."""
    return {"name": value, "tasks": [value]} if isinstance(value, str) else value


def _distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    counts = Counter(str(getattr(item, "name", item)) for item in items)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    for item in items:
        if isinstance(item, (Recipe, Condition)):
            _safe_name(item.name)
        if isinstance(item, Recipe) and item.name == "base":
            raise ValueError("'base' is the word for the model before tuning: take another name")
    return items


Name = Annotated[str, AfterValidator(_safe_name)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Relation = Literal["same task", "in-domain", "out-of-domain", "cross-task"]
Listed = BeforeValidator(_listed)
Distinct = AfterValidator(_distinct)


class Source(BaseModel):
    """What a model is tuned on: one task, or a mixture that shares the examples evenly.

    Attributes:
        name: Its word in the matrix.
        tasks: Names of tasks.
        edits: Changes of what they teach, each a name or `{edit: name, …}`: those that choose rows
            first, then labels, then lengths of answers.
        examples: Training examples; as many as the recipe says if None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    tasks: Annotated[tuple[Name, ...], Listed, Distinct, Field(min_length=1)]
    edits: Annotated[tuple[Edit, ...], Listed] = ()
    examples: Annotated[int, Field(gt=0)] | None = None


class Layers(BaseModel):
    """Hidden states that are kept, so that models can be compared layer by layer.

    The probe of a task are test examples in the study's first condition, the same for every model.
    Kept for every task that a source of its own is tuned on and that is a target: of that source's
    models (the controls), of the bare base, and of every mixture.

    Attributes:
        probe_examples: Of each task; all where its test split has fewer.
        position: `last_prompt_token`: the state from which the answer begins; `mean`: of all
            tokens of a prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe_examples: Annotated[int, Field(ge=20)] = 500
    position: Position = "last_prompt_token"


class Study(BaseModel):
    """Everything that decides the results of one transfer matrix.

    Attributes:
        name: A folder of results belongs to one name.
        model: An embedded model's name, a Hub id, or a local folder.
        revision: Branch, tag or commit of a Hub model.
        tasks: Patterns of task files beside the embedded ones, relative to the study's file.
        sources: Task names, or mixtures `{name, tasks}`; rows of the matrix.
        targets: Task names; columns of the matrix.
        recipes: Ways to tune; each is a slice of the matrix.
        conditions: Ways to ask; each is a slice of the matrix.
        cells: `all`; or `own`: a model tuned on one task is asked that task alone, which makes
            studies of layers affordable. The base and mixtures are asked all targets either way.
        layers: Hidden states that are kept; none if left out.
        relations: What families do not tell: sources and their targets that are `in-domain`, or of
            another relation than the families say, as `{in-domain: {imdb: [rotten_tomatoes]}}`.
        seeds: Each decides the initialisation and the order of one tuning per source and recipe.
        train_seed: Decides which training examples are taken, the same ones for every seed.
        test_seed: Decides the test examples and demonstrations, the same ones for every model.
        numeric_type: Of the base; `auto` is bfloat16 where the hardware is fast at it.
        tokens_per_batch: Most tokens of one batch while asking; low-precision answers depend on it.

    Raises:
        InputError: Lists all that is wrong.

    Example:
        >>> study = Study(name="a", model="m", sources=["sst2"], targets=["sst2", "paws"])
        >>> study.sources[0].tasks, study.recipes[0].rank, study.seeds
        (('sst2',), 16, (0,))
        >>> Study(name="a", model="m", sources=["sst2"], targets=[], seed=3)
        Traceback (most recent call last):
        crosstune.errors.InputError: The study cannot be run:
          - targets: must not be empty
          - seed: there is no such key. Did you mean 'seeds'?
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    tasks: Annotated[tuple[str, ...], Listed] = ()
    sources: Annotated[
        tuple[Annotated[Source, BeforeValidator(_source)], ...],
        Listed,
        Distinct,
        Field(min_length=1),
    ]
    targets: Annotated[tuple[Name, ...], Listed, Distinct, Field(min_length=1)]
    recipes: Annotated[tuple[Recipe, ...], Listed, Distinct, Field(min_length=1)] = (Recipe(),)
    conditions: Annotated[tuple[Condition, ...], Listed, Distinct, Field(min_length=1)] = (
        Condition(),
    )
    cells: Literal["all", "own"] = "all"
    layers: Layers | None = None
    relations: dict[Relation, dict[Name, Annotated[tuple[Name, ...], Listed, Distinct]]] = {}
    seeds: Annotated[tuple[Seed, ...], Listed, Distinct, Field(min_length=1)] = (0,)
    train_seed: Seed = 0
    test_seed: Seed = 0
    numeric_type: Literal["auto", "bfloat16", "float32"] = "auto"
    tokens_per_batch: Annotated[int, Field(ge=256)] = 4096

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError("The study cannot be run", problems_in(error, _keys())) from None
        if problems := [*self._unrelated(), *self._unasked()]:
            raise InputError("The study cannot be run", problems)

    def _unrelated(self) -> list[str]:
        """What `relations` names that is not there, or twice."""
        sources = [source.name for source in self.sources]
        named = [
            (f"relations.{relation}", source, target)
            for relation, pairs in self.relations.items()
            for source, targets in pairs.items()
            for target in targets
        ]
        problems = []
        for place, source, target in named:
            if source not in sources:
                hint = did_you_mean(source, sources)
                problems.append(f"{place}: there is no source called '{source}'.{hint}")
            if target not in self.targets:
                hint = did_you_mean(target, self.targets)
                problems.append(f"{place}: there is no target called '{target}'.{hint}")
            own = any(source == s.name and target in s.tasks for s in self.sources)
            if own and place != "relations.same task":
                problems.append(f"{place}: {source} is tuned on {target}: that is the same task")
        twice = Counter((source, target) for _, source, target in named)
        problems += [
            f"relations: {s} → {t} stands there twice" for (s, t), n in twice.items() if n > 1
        ]
        return list(dict.fromkeys(problems))

    def _unasked(self) -> list[str]:
        """What `cells` and `layers` need of sources and targets."""
        own = [s for s in self.sources if len(s.tasks) == 1]
        problems = [
            f"cells: own: {source.name} would be asked nothing, as {source.tasks[0]} is no target"
            for source in own
            if self.cells == "own" and source.tasks[0] not in self.targets
        ]
        if self.layers and any(source.name == "base" for source in self.sources):
            problems.append("sources: 'base' is the word for the model before tuning in layers")
        if self.layers and not any(not s.edits and s.tasks[0] in self.targets for s in own):
            problems.append(
                "layers: there is nothing to compare with: name at least one task both as a source "
                "of its own, without edits, and as a target"
            )
        return problems


def _keys() -> dict[object, Iterable[str]]:
    """Known keys, for hints, by what they stand under."""
    return {
        "": Study.model_fields,
        "sources": Source.model_fields,
        "recipes": Recipe.model_fields,
        "conditions": Condition.model_fields,
        "layers": Layers.model_fields,
    }


def load_study(path: Path) -> Study:
    """The study written in a YAML file.

    Raises:
        InputError: The file cannot be read, is not YAML, or says something that cannot be run.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path.name} is not a study: it needs keys such as 'name' and 'sources'")
    try:
        return Study(**{str(key): value for key, value in values.items()})
    except InputError as error:
        raise InputError(f"{path.name} cannot be run", error.problems) from None
