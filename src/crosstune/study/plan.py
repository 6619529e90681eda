"""A study with everything resolved: which models are tuned on what, and asked what exactly.

All that can be wrong with a study is found here, before a model is loaded. Costs reading the
data of every task that takes part, and hashing the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from crosstune import models, tasks
from crosstune.errors import InputError, did_you_mean
from crosstune.models import ModelReference, Recipe
from crosstune.results.cells import relation
from crosstune.study.caveats import Way, leaks, mismatches, without_family, without_original
from crosstune.study.draft import Draft, Probe, Question, Training, with_examples
from crosstune.study.keys import base_ingredients, cell_key, job_ingredients, key, states_key
from crosstune.study.profiles import Dataset
from crosstune.study.schema import Source, Study
from crosstune.tasks import Leakage, Task
from crosstune.tasks.example import Prompt


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
        probes: Whose states are kept, by the key of the states.
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
    probes: dict[str, Probe]
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
        layers: One for every model and task whose states are kept, as stored in layers.json.
        datasets: What sources teach and targets ask, by the key of its profile.
        revisions: Of the data that was read, by task and split; empty for local files.
        warnings: What is allowed but may not be meant, rows that are left out among them.
    """

    study: Study
    model: ModelReference
    numeric_type: str
    jobs: tuple[Job, ...]
    rows: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, Any], ...]
    datasets: dict[str, Dataset]
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
    draft = Draft(study, folder)
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
    questions = [question for target in study.targets for question in draft.questions(target)]
    probes = [probe for name in _probed(study) if (probe := draft.probe(name)) is not None]
    if draft.problems or model is None:
        raise InputError("The study cannot be run", draft.told())
    base = base_ingredients(model.identity, numeric_type=resolved)
    shared = tasks.leakage(
        {way: (*t.examples, *t.shown) for way, t in trainings.items()},
        {question.way: question.examples for question in questions},
    )
    asked = {question.way: len(question.examples) for question in questions}
    datasets = _datasets(draft, trainings, questions)
    profiles = {way: dataset.key(base) for way, dataset in datasets.items()}
    jobs, rows = _jobs(draft, base, trainings=trainings, questions=questions, shared=shared)
    jobs, layers = _with_probes(draft, jobs, base, trainings=trainings, probes=probes)
    for row in rows:
        row["source_profile"] = profiles["source", row["source"], row["recipe"]]
        row["target_profile"] = profiles["target", row["target"], row["condition"]]
    warnings = dict.fromkeys(
        mismatches(study)
        + without_original(study)
        + draft.warnings
        + draft.left_out()
        + without_family(rows)
        + leaks(shared, asked)
    )
    by_key = {profiles[name]: dataset for name, dataset in datasets.items()}
    return Plan(
        study, model, resolved, jobs, rows, layers, by_key, draft.revisions, tuple(warnings)
    )


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


def _datasets(
    draft: Draft, trainings: dict[Way, Training], questions: Sequence[Question]
) -> dict[tuple[str, str, str], Dataset]:
    """What is measured: every source in every recipe, every target in every condition."""
    found = {}
    for source in draft.study.sources:
        kinds = {draft.known[name].kind for name in source.tasks}
        for (name, recipe), taught in trainings.items():
            if name == source.name:
                kind: Literal["choice", "text"] = "choice" if kinds == {"choice"} else "text"
                found["source", name, recipe] = Dataset(name, kind, taught.examples, taught.prompts)
    for asked in questions:
        target, condition = asked.way
        found["target", target, condition] = Dataset(
            target, asked.task.kind, asked.examples, asked.prompts
        )
    return found


def _jobs(
    draft: Draft,
    base: dict[str, Any],
    *,
    trainings: dict[Way, Training],
    questions: Sequence[Question],
    shared: dict[tuple[Way, Way], Leakage],
) -> tuple[tuple[Job, ...], tuple[dict[str, Any], ...]]:
    """Jobs without repetition, and the rows of the matrix; a seed's slice is finished first."""
    bare = Job(key(base), None, None, None, (), (), 0, _asked(base, questions), {}, base)
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
        ingredients = _ingredients(base, source, recipe, seed=seed, training=training)
        chosen = [q for q in questions if study.cells == "all" or _is_own(source, q)]
        asked = _asked(ingredients, chosen)
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
            probes={},
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
            for question in chosen
        ]
    return tuple(jobs.values()), tuple(rows)


def _ingredients(
    base: dict[str, Any], source: Source, recipe: Recipe, *, seed: int, training: Training
) -> dict[str, Any]:
    return job_ingredients(
        base,
        with_examples(source, recipe),
        seed=seed,
        prompts=training.prompts,
        edits=source.edits,
    )


def _is_own(source: Source, question: Question) -> bool:
    return len(source.tasks) > 1 or question.task.name in source.tasks


def _probed(study: Study) -> list[str]:
    """Tasks whose states are kept: targets that a source of its own teaches as they are."""
    controls = {s.tasks[0] for s in study.sources if len(s.tasks) == 1 and not s.edits}
    return [name for name in study.targets if study.layers and name in controls]


def _with_probes(
    draft: Draft,
    jobs: Sequence[Job],
    base: dict[str, Any],
    *,
    trainings: dict[Way, Training],
    probes: Sequence[Probe],
) -> tuple[tuple[Job, ...], tuple[dict[str, Any], ...]]:
    """Jobs with what states are kept of them, and the rows of layers.json."""
    study, kept = draft.study, {job.key: dict(job.probes) for job in jobs}
    rows: list[dict[str, Any]] = []

    def keep(ingredients: dict[str, Any], wanted: Sequence[Probe], **said: Any) -> None:
        for probe in wanted:
            name = states_key(ingredients, probe.ingredients)
            kept[key(ingredients)][name] = probe
            told = {"task": probe.task.name, "family": probe.task.family, "key": name}
            rows.append(told | said | {"job_key": key(ingredients)})

    if probes:
        keep(base, probes, kind="base", source="", tasks=[], recipe="", seed=0)
    for seed, recipe, source in product(study.seeds, study.recipes, study.sources):
        if source.edits:
            continue
        training = trainings[source.name, recipe.name]
        keep(
            _ingredients(base, source, recipe, seed=seed, training=training),
            [p for p in probes if len(source.tasks) > 1 or p.task.name in source.tasks],
            kind="mixture" if len(source.tasks) > 1 else "control",
            source=source.name,
            tasks=list(source.tasks),
            recipe=recipe.name,
            seed=seed,
        )
    return tuple(replace(job, probes=kept[job.key]) for job in jobs), tuple(rows)


def _asked(job: dict[str, Any], questions: Sequence[Question]) -> dict[str, Question]:
    return {cell_key(job, question.ingredients): question for question in questions}
