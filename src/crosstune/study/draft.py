"""A study while it is being resolved: examples, demonstrations and questions, and what is wrong.

Costs reading the data of every task that takes part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from crosstune import tasks
from crosstune.errors import InputError
from crosstune.models import Recipe
from crosstune.study.caveats import Way, absent_classes
from crosstune.study.keys import probe_ingredients, question_ingredients
from crosstune.study.schema import Source, Study
from crosstune.tasks import Task
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
class Probe:
    """Examples of one task whose states are kept, the same for every model.

    Attributes:
        task: The task.
        prompts: What a model reads, in order.
        ingredients: What decides the states, the model apart.
    """

    task: Task
    prompts: tuple[Prompt, ...]
    ingredients: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """What a source teaches in a recipe, the same for every seed.

    Attributes:
        examples: The training examples.
        prompts: Their final wording, in the same order.
        shown: The demonstrations before them.
        labels: Answers it teaches, of tasks that choose; none where they are too many for classes.
    """

    examples: tuple[Example, ...]
    prompts: tuple[Prompt, ...]
    shown: tuple[Example, ...]
    labels: tuple[str, ...]


@dataclass
class Draft:
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
    def gathered(self, who: str = "") -> Iterator[None]:
        """Collect what is wrong instead of stopping at it."""
        try:
            yield
        except InputError as error:
            self.wrong(who + error.what, error.problems)

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
        before: list[Example] = []
        recipe = with_examples(source, recipe)
        share, rest = divmod(recipe.examples, len(source.tasks))
        if source.edits and recipe.demonstrations:
            self.wrong(
                f"source {source.name}: edits and demonstrations ({recipe.name}) exclude "
                "each other, as these would show unedited answers"
            )
        if not share:
            self.wrong(
                f"source {source.name}: the {recipe.examples} examples of recipe {recipe.name} "
                f"cannot be shared by {len(source.tasks)} tasks"
            )
        for i, name in enumerate(source.tasks):
            count = share + (i < rest)
            shown = self.shown(name, recipe)
            inputs = {example.context for example in shown}
            there = [
                example
                for example in self.read(name, "train", prompt=recipe.prompt).items
                if example.context not in inputs
            ]
            if 0 < len(there) < count:
                self.warnings.append(
                    f"source {source.name}: {name} has {len(there)} training examples, fewer than "
                    f"the {count} of recipe {recipe.name}"
                )
            if there:
                chosen = self.chosen(source, there, count)
                found += chosen
                before += shown
                prompts += tasks.prompts(
                    self.known[name],
                    chosen,
                    variant=recipe.prompt,
                    chat_template=recipe.chat_template,
                    demonstrations=shown,
                )
        taught = sorted({e.references[0] for e in (*found, *before) if e.label is not None})
        labels = tuple(taught) if len(taught) <= MOST_LABELS else ()
        return Training(tuple(found), tuple(prompts), tuple(before), labels)

    def chosen(self, source: Source, there: Sequence[Example], count: int) -> tuple[Example, ...]:
        """The training examples of a task, edited as the source says."""
        found = tasks.Edited((), 0)
        with self.gathered(f"source {source.name}: "):
            found = tasks.edited(there, source.edits, count=count, seed=self.study.train_seed)
        usual = tasks.subset(there, count, seed=self.study.train_seed)
        if source.edits and found.examples == usual:
            self.warnings.append(f"source {source.name}: its edits change nothing")
        if found.repeated:
            self.warnings.append(
                f"source {source.name}: {found.repeated} of its {len(found.examples)} training "
                "examples stand there before, as their class has no more rows"
            )
        return found.examples

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

    def probe(self, task: str) -> Probe | None:
        """The probe of a task, worded as in the first condition; None where it cannot be read."""
        layers, way = self.study.layers, self.study.conditions[0]
        assert layers is not None
        asked = self.questions(task, [way.model_copy(update={"examples": layers.probe_examples})])
        if not asked:
            return None
        prompts = asked[0].prompts
        if len(prompts) < layers.probe_examples:
            self.warnings.append(
                f"layers: {task} has {len(prompts)} test examples to keep states of, fewer than "
                f"the {layers.probe_examples} wanted"
            )
        return Probe(
            self.known[task],
            prompts,
            probe_ingredients(
                position=layers.position,
                prompts=prompts,
                tokens_per_batch=self.study.tokens_per_batch,
            ),
        )

    def questions(
        self, target: str, conditions: Sequence[Condition] | None = None
    ) -> list[Question]:
        """A target in every condition; none where its data cannot be read.

        A row that any condition shows is asked in none, so that all ask the same ones.
        """
        ways = self.study.conditions if conditions is None else conditions
        found = {way.name: self.demonstrated(target, way) for way in ways}
        there = {way.name: self.read(target, "test", prompt=way.prompt) for way in ways}
        if not all(split.items for split in there.values()):
            return []
        seen: set[str] = set()
        for name, shown in found.items():
            inputs = {example.context for example in shown}
            seen |= {example.id for example in there[name].items if example.context in inputs}
        if seen:
            what = "test rows that stand among its demonstrations are not asked"
            self.warnings.append(f"{target}: {what}: {len(seen)}")
        asked = []
        for way in ways:
            left = [example for example in there[way.name].items if example.id not in seen]
            examples = tasks.subset(left, way.examples, seed=self.study.test_seed)
            if not examples:
                self.wrong(f"target {target}: every test row stands among its demonstrations")
                return []
            dropped = there[way.name].dropped
            task = self.known[target]
            asked.append(self.question(task, way, dropped, examples, found[way.name]))
        return asked

    def demonstrated(self, target: str, condition: Condition) -> tuple[Example, ...]:
        """The demonstrations of a target in a condition."""
        if target not in self.known or not condition.shots:
            return ()
        named = condition.shots_from.replace("{target}", target)
        if not named and not self.read(target, "fewshot", prompt=condition.prompt).items:
            return ()
        who = f"condition {condition.name}"
        try:
            shown = tasks.demonstrations(
                self.known[target],
                condition.shots,
                prompt=condition.prompt,
                seed=self.study.test_seed,
                file=self.folder / named if named else None,
                sampler=condition.sampler,
                draw=condition.draw,
                order=condition.order,
            )
        except InputError as error:
            self.wrong(f"{who}: {error.what}", error.problems)
            return ()
        self.warnings += absent_classes(who, target, shown)
        return shown

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
        if scoring == "generation" and (same := tasks.same_written(examples)):
            self.wrong(
                f"condition {condition.name}: the choices '{same[0]}' and '{same[1]}' of "
                f"{task.name} are the same when written; ask them by likelihood"
            )
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


def with_examples(source: Source, recipe: Recipe) -> Recipe:
    """The recipe with the source's own number of examples, where it states one."""
    if source.examples is None:
        return recipe
    return recipe.model_copy(update={"examples": source.examples})


_DECISIVE = ("name", "kind", "metric_options", "filters")
"""What of a task decides scores beside its prompts, examples, metrics and limits."""

MOST_LABELS = 200
"""Distinct answers up to which a source is said to teach labels."""
