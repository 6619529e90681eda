"""A study with everything resolved: which models are tuned on what, and asked what exactly.

All that can be wrong with a study is found here, before a model is loaded. Costs reading the
data of every task that takes part, and hashing the prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain, product
from pathlib import Path
from typing import Any

from crosstune import models, tasks
from crosstune.errors import InputError, did_you_mean
from crosstune.models import ModelReference, Recipe
from crosstune.results.cells import relation
from crosstune.study.caveats import Way, absent_classes, leaks, mismatches, without_family
from crosstune.study.keys import (
    base_ingredients,
    cell_key,
    job_ingredients,
    key,
    question_ingredients,
)
from crosstune.study.schema import Source, Study
from crosstune.tasks import Leakage, Task
from crosstune.tasks.example import Condition, Example, Prompt, Scoring
from crosstune.tasks.splits import Split


@dataclass(frozen=True, slots=True)
class Question:
    """One target in one condition, the same for every model that is asked.

    Attributes:
        task: The target.
        condition: How it is asked.
        examples: The test examples.
        prompts: Their final wording, in the same order.
        dropped: Rows of the test split that the task leaves out.
        scoring: How answers become scores; `generation` for a text task.
        metrics: Names of the scores, the main one first.
        stop: Strings that end a written answer.
        max_new_tokens: Of a written answer.
        ingredients: What decides its answers, the model apart.
    """

    task: Task
    condition: Condition
    examples: tuple[Example, ...]
    prompts: tuple[Prompt, ...]
    dropped: int
    scoring: Scoring
    metrics: tuple[str, ...]
    stop: tuple[str, ...]
    max_new_tokens: int
    ingredients: dict[str, Any]

    @property
    def way(self) -> Way:
        """Target and condition, by name."""
        return self.task.name, self.condition.name


@dataclass(frozen=True, slots=True)
class Training:
    """What a source teaches in a recipe, the same for every seed.

    Attributes:
        examples: The training examples, and the demonstrations before them.
        prompts: The final wording of the training examples.
        labels: Answers it teaches, of tasks that choose; none where they are too many for classes.
    """

    examples: tuple[Example, ...]
    prompts: tuple[Prompt, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One model with all it is asked; the bare base has no source, recipe, seed and prompts.

    Attributes:
        key: Name of its stored adapter.
        source: Name of what it is tuned on.
        recipe: How it is tuned.
        seed: Decides initialisation and order.
        prompts: The training examples in their final wording.
        labels: Answers they teach, as in `Training`.
        dropped: Rows of the training splits that the tasks leave out.
        questions: What it is asked, by the key of the cell.
        ingredients: What decides the tuned model.
    """

    key: str
    source: str | None
    recipe: Recipe | None
    seed: int | None
    prompts: tuple[Prompt, ...]
    labels: tuple[str, ...]
    dropped: int
    questions: dict[str, Question]
    ingredients: dict[str, Any]

    @property
    def title(self) -> str:
        """For people: `base`, or source, recipe and seed."""
        if self.recipe is None:
            return "base"
        return f"{self.source} ({self.recipe.name}, seed {self.seed})"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run does.

    Attributes:
        study: What was asked for.
        model: The base.
        numeric_type: Of the base, resolved.
        jobs: The bare base first; no job stands there twice.
        rows: One for every cell of the matrix, plain values only, as stored in plan.json.
        revisions: Of the data that was read, by task and split; empty for local files.
        warnings: What is allowed but may not be meant, rows that are left out among them.
    """

    study: Study
    model: ModelReference
    numeric_type: str
    jobs: tuple[Job, ...]
    rows: tuple[dict[str, Any], ...]
    revisions: dict[str, str]
    warnings: tuple[str, ...]


def plan(study: Study, *, folder: Path, device: str = "auto", numeric_type: str = "") -> Plan:
    """Resolve a study.

    Args:
        study: What is to be done.
        folder: Where relative task files and model folders start.
        device: Has to be there; decides what the numeric type `auto` means.
        numeric_type: What `auto` meant before, for a study that is continued.

    Raises:
        InputError: Lists all that is wrong with the study, its tasks and its model, the device,
            and what is not installed.
    """
    draft = _Draft(study, folder)
    model: ModelReference | None = None
    wanted, resolved = study.numeric_type, ""
    with draft.gathered():
        model = models.resolve(study.model, revision=study.revision, folder=folder)
        models.require(model)
    with draft.gathered():
        before = numeric_type if wanted == "auto" else ""
        resolved = models.numeric_type(before or wanted, device=device)
    with draft.gathered():
        draft.known = tasks.load(study.tasks, folder=folder)
        for problem in _unknown(study, draft.known):
            draft.wrong(problem)
    trainings = {
        (source.name, recipe.name): draft.training(source, recipe)
        for source, recipe in product(study.sources, study.recipes)
    }
    questions = [
        question
        for target, condition in product(study.targets, study.conditions)
        for question in draft.questions(target, condition)
    ]
    if draft.problems or model is None:
        raise InputError("The study cannot be run", draft.told())
    base = base_ingredients(model.identity, numeric_type=resolved)
    shared = tasks.leakage(
        {way: training.examples for way, training in trainings.items()},
        {question.way: question.examples for question in questions},
    )
    asked = {question.way: len(question.examples) for question in questions}
    jobs, rows = _jobs(draft, base, trainings=trainings, questions=questions, shared=shared)
    warnings = dict.fromkeys(
        mismatches(study)
        + draft.warnings
        + draft.left_out()
        + without_family(rows)
        + leaks(shared, asked)
    )
    return Plan(study, model, resolved, jobs, rows, draft.revisions, tuple(warnings))


@dataclass
class _Draft:
    """A study being resolved: what is known so far, and what is wrong with it.

    `problems` are blocks of reasons by what is wrong; `dropped` counts rows by task, split and
    prompt variant.
    """

    study: Study
    folder: Path
    known: dict[str, Task] = field(default_factory=dict)
    problems: dict[str, dict[tuple[str, ...], None]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    revisions: dict[str, str] = field(default_factory=dict)
    dropped: dict[tuple[str, Split, str], int] = field(default_factory=dict)

    def wrong(self, what: str, reasons: Sequence[str] = ()) -> None:
        """Note what is wrong; the same again, as another recipe finds it, adds nothing."""
        self.problems.setdefault(what, {})[tuple(reasons)] = None

    def told(self) -> list[str]:
        """All that is wrong, each once, with its reasons behind or under it."""
        lines = []
        for what, blocks in self.problems.items():
            reasons = list(chain.from_iterable(blocks))
            between = ": " if len(reasons) == 1 else "\n      - "
            lines.append(between.join([f"{what}:" if len(reasons) > 1 else what, *reasons]))
        return lines

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Collect what is wrong instead of stopping at it."""
        try:
            yield
        except InputError as error:
            self.wrong(error.what, error.problems)

    def read(self, name: str, split: Split, *, prompt: str) -> tasks.Examples:
        """Examples of a split; none, and a problem, where they cannot be read."""
        if name in self.known and prompt in self.known[name].prompts:
            with self.gathered():
                found = tasks.examples(self.known[name], split, prompt=prompt)
                self.revisions[f"{name} {split}"] = found.revision
                self.dropped[name, split, prompt] = found.dropped
                return found
        return tasks.Examples(items=(), dropped=0, revision="")

    def training(self, source: Source, recipe: Recipe) -> Training:
        """The examples of a source; a mixture shares them evenly, the first tasks take the rest."""
        found: list[Example] = []
        prompts: list[Prompt] = []
        share, rest = divmod(recipe.examples, len(source.tasks))
        if not share:
            self.wrong(
                f"source {source.name}: the {recipe.examples} examples of recipe {recipe.name} "
                f"cannot be shared by {len(source.tasks)} tasks"
            )
        for i, name in enumerate(source.tasks):
            count = share + (i < rest)
            shown = self.shown(name, recipe)
            there = [
                example
                for example in self.read(name, "train", prompt=recipe.prompt).items
                if example not in shown
            ]
            if 0 < len(there) < count:
                self.warnings.append(
                    f"source {source.name}: {name} has {len(there)} training examples, fewer than "
                    f"the {count} of recipe {recipe.name}"
                )
            if there:
                chosen = tasks.subset(there, count, seed=self.study.train_seed)
                found += (*chosen, *shown)
                prompts += tasks.prompts(
                    self.known[name],
                    chosen,
                    variant=recipe.prompt,
                    chat_template=recipe.chat_template,
                    demonstrations=shown,
                )
        taught = sorted({e.references[0] for e in found if e.label is not None})
        labels = tuple(taught) if len(taught) <= MOST_LABELS else ()
        return Training(tuple(found), tuple(prompts), labels)

    def shown(self, name: str, recipe: Recipe) -> tuple[Example, ...]:
        """The demonstrations before every training input of a task."""
        shown: tuple[Example, ...] = ()
        if recipe.demonstrations and self.read(name, "fewshot", prompt=recipe.prompt).items:
            with self.gathered():
                shown = tasks.demonstrations(
                    self.known[name],
                    recipe.demonstrations,
                    prompt=recipe.prompt,
                    seed=self.study.train_seed,
                    sampler=recipe.sampler,
                    draw=recipe.draw,
                )
        self.warnings += absent_classes(f"recipe {recipe.name}", name, shown)
        return shown

    def left_out(self) -> list[str]:
        """A line for every task that leaves rows out."""
        most: dict[str, dict[str, int]] = {}
        for (name, split, _), count in self.dropped.items():
            if count and split != "fewshot":
                counts = most.setdefault(name, {})
                counts[split] = max(count, counts.get(split, 0))
        return [
            f"{name} leaves rows out, as it drops their label: "
            + ", ".join(f"{count} of {split}" for split, count in counts.items())
            for name, counts in most.items()
        ]

    def questions(self, target: str, condition: Condition) -> list[Question]:
        """A target in a condition; none where its data cannot be read."""
        there = self.read(target, "test", prompt=condition.prompt)
        found: list[Question] = []
        if not there.items:
            return found
        task, study, variant = self.known[target], self.study, condition.prompt
        named = condition.shots_from.replace("{target}", target)
        if condition.shots and not named:
            self.read(target, "fewshot", prompt=variant)
        examples = tasks.subset(there.items, condition.examples, seed=study.test_seed)
        with self.gathered():
            shown = tasks.demonstrations(
                task,
                condition.shots,
                prompt=variant,
                seed=study.test_seed,
                file=self.folder / named if named else None,
                sampler=condition.sampler,
                draw=condition.draw,
                order=condition.order,
            )
            asked = {example.context for example in examples}
            if known := sum(example.context in asked for example in shown):
                self.warnings.append(
                    f"condition {condition.name}: {known} of the demonstrations of {target} are "
                    "asked as well"
                )
            self.warnings += absent_classes(f"condition {condition.name}", target, shown)
            found.append(self.question(task, condition, there.dropped, examples, shown))
        return found

    def question(
        self,
        task: Task,
        condition: Condition,
        dropped: int,
        examples: tuple[Example, ...],
        shown: tuple[Example, ...],
    ) -> Question:
        """A target in a condition, with its final wording."""
        prompts = tasks.prompts(
            task,
            examples,
            variant=condition.prompt,
            chat_template=condition.chat_template,
            demonstrations=shown,
        )
        scoring = tasks.scoring_of(task, condition.scoring)
        metrics = tasks.metric_names(task, scoring)
        stop, longest = tasks.limits(task, examples, scoring)
        said = task.described()
        ingredients = question_ingredients(
            {name: said[name] for name in _DECISIVE}
            | {"metrics": list(metrics), "stop": list(stop), "max_new_tokens": longest},
            # What a text task ignores is not in its key.
            condition
            if task.kind == "choice"
            else condition.model_copy(update={"scoring": "likelihood"}),
            prompts=prompts,
            examples=examples,
            tokens_per_batch=self.study.tokens_per_batch,
        )
        return Question(
            task=task,
            condition=condition,
            examples=examples,
            prompts=tuple(prompts),
            dropped=dropped,
            scoring=scoring,
            metrics=metrics,
            stop=stop,
            max_new_tokens=longest,
            ingredients=ingredients,
        )


_DECISIVE = ("name", "kind", "metric_options", "filters")
"""What of a task decides scores beside its prompts, examples, metrics and limits."""

MOST_LABELS = 200
"""Distinct answers up to which a source is said to teach labels."""


def _unknown(study: Study, known: dict[str, Task]) -> list[str]:
    """Names of tasks and prompt variants that do not exist, each with its place."""
    recipes = [(f"recipes[{i}]", recipe.prompt) for i, recipe in enumerate(study.recipes)]
    conditions = [(f"conditions[{i}]", way.prompt) for i, way in enumerate(study.conditions)]
    uses = [
        (f"sources[{i}]", name, recipes)
        for i, source in enumerate(study.sources)
        for name in source.tasks
    ] + [(f"targets[{i}]", name, conditions) for i, name in enumerate(study.targets)]
    problems = []
    for place, name, ways in uses:
        if name not in known:
            hint = did_you_mean(name, [*known, *tasks.hub_names()])
            problems.append(f"{place}: there is no task called '{name}'.{hint}")
            continue
        variants = known[name].prompts
        problems += [
            f"{way}.prompt: the task '{name}' has no prompt '{prompt}' "
            f"(it has: {', '.join(variants)}).{did_you_mean(prompt, variants)}"
            for way, prompt in ways
            if prompt not in variants
        ]
    return problems


def _jobs(
    draft: _Draft,
    base: dict[str, Any],
    *,
    trainings: dict[Way, Training],
    questions: Sequence[Question],
    shared: dict[tuple[Way, Way], Leakage],
) -> tuple[tuple[Job, ...], tuple[dict[str, Any], ...]]:
    """Jobs without repetition, and the rows of the matrix; a seed's slice is finished first."""
    bare = Job(key(base), None, None, None, (), (), 0, _asked(base, questions), base)
    jobs = {bare.key: bare}
    rows: list[dict[str, Any]] = []
    study = draft.study
    stated = {
        (source, target): relation
        for relation, pairs in study.relations.items()
        for source, targets in pairs.items()
        for target in targets
    }
    for seed, recipe, source in product(study.seeds, study.recipes, study.sources):
        way = (source.name, recipe.name)
        training = trainings[way]
        ingredients = job_ingredients(base, recipe, seed=seed, prompts=training.prompts)
        asked = _asked(ingredients, questions)
        dropped = sum(draft.dropped[name, "train", recipe.prompt] for name in source.tasks)
        job = Job(
            key=key(ingredients),
            source=source.name,
            recipe=recipe,
            seed=seed,
            prompts=training.prompts,
            labels=training.labels,
            dropped=dropped,
            questions=asked,
            ingredients=ingredients,
        )
        jobs.setdefault(job.key, job)
        families = list(dict.fromkeys(draft.known[name].family for name in source.tasks))
        rows += [
            {
                "source": source.name,
                "source_families": families,
                "source_tasks": list(source.tasks),
                "target": question.task.name,
                "target_family": question.task.family,
                "relation": stated.get((source.name, question.task.name))
                or relation(
                    question.task.name,
                    question.task.family,
                    tasks=source.tasks,
                    families=families,
                ),
                "recipe": recipe.name,
                "condition": question.condition.name,
                "scoring": question.scoring,
                "seed": seed,
                "metrics": list(question.metrics),
                **asdict(shared[way, question.way]),
                "job_key": job.key,
                "base_job_key": bare.key,
                "key": cell_key(ingredients, question.ingredients),
                "base_key": cell_key(base, question.ingredients),
            }
            for question in questions
        ]
    return tuple(jobs.values()), tuple(rows)


def _asked(job: dict[str, Any], questions: Sequence[Question]) -> dict[str, Question]:
    return {cell_key(job, question.ingredients): question for question in questions}
