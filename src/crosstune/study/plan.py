"""A study with everything resolved: which models are tuned on what, and asked what exactly.

All that can be wrong with a study is found here, before a model is loaded. Costs reading the
data of every task that takes part, and hashing the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    controls = _controls(study)
    found = [draft.probe(name) for name in study.targets if name in controls]
    probes = [probe for probe in found if probe is not None]
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
    jobs, rows, layers = _jobs(
        draft, base, trainings=trainings, questions=questions, probes=probes, shared=shared
    )
    for row in rows:
        row["source_profile"] = profiles["source", row["source"], row["recipe"]]
        row["target_profile"] = profiles["target", row["target"], row["condition"]]
    warnings = dict.fromkeys(
        mismatches(study)
        + without_original(study)
        + draft.warnings
        + draft.left_out()
        + without_family(rows)
        + _beside_controls(study)
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
    probes: Sequence[Probe],
    shared: dict[tuple[Way, Way], Leakage],
) -> tuple[tuple[Job, ...], tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """Jobs without repetition, the rows of the matrix, and those of the states.

    A seed's slice is finished first.
    """
    rows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    study = draft.study
    controls = _controls(study)

    def kept(ingredients: dict[str, Any], source: Source | None, **said: Any) -> dict[str, Probe]:
        kind, wanted = _probed(source, controls, probes)
        found = {states_key(ingredients, probe.ingredients): probe for probe in wanted}
        told = {"kind": kind, "source": source.name if source else "", **said}
        told |= {"tasks": list(source.tasks) if source else [], "job_key": key(ingredients)}
        for name, probe in found.items():
            layers.append(
                {"task": probe.task.name, "family": probe.task.family, "key": name} | told
            )
        return found

    there = kept(base, None, recipe="", seed=0)
    bare = Job(key(base), None, None, None, (), (), 0, _asked(base, questions), there, base)
    jobs = {bare.key: bare}
    stated = _stated(study)
    for seed, recipe, source in product(study.seeds, study.recipes, study.sources):
        way = (source.name, recipe.name)
        training = trainings[way]
        ingredients = job_ingredients(
            base,
            with_examples(source, recipe),
            seed=seed,
            prompts=training.prompts,
            edits=source.edits,
        )
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
            probes=kept(ingredients, source, recipe=recipe.name, seed=seed),
            ingredients=ingredients,
        )
        jobs.setdefault(job.key, job)
        families = list(dict.fromkeys(draft.known[name].family for name in source.tasks))
        for question in chosen:
            pair = (source.name, question.task.name)
            told = stated.get(pair) or relation(
                question.task.name, question.task.family, tasks=source.tasks, families=families
            )
            keys = {
                "job_key": job.key,
                "base_job_key": bare.key,
                "key": cell_key(ingredients, question.ingredients),
                "base_key": cell_key(base, question.ingredients),
            }
            said = {"source_families": families, "relation": told, "recipe": recipe.name}
            found = asdict(shared[way, question.way])
            rows.append(_row(source, question) | said | {"seed": seed} | found | keys)
    return tuple(jobs.values()), tuple(rows), tuple(layers)


def _row(source: Source, question: Question) -> dict[str, Any]:
    """What a row of plan.json says of a source and a question alone."""
    return {
        "source": source.name,
        "source_tasks": list(source.tasks),
        "target": question.task.name,
        "target_family": question.task.family,
        "condition": question.condition.name,
        "scoring": question.scoring,
        "metrics": list(question.metrics),
    }


def _stated(study: Study) -> dict[tuple[str, str], str]:
    """Relations of sources and targets that the study states."""
    return {
        (source, target): relation
        for relation, pairs in study.relations.items()
        for source, targets in pairs.items()
        for target in targets
    }


def _asked(job: dict[str, Any], questions: Sequence[Question]) -> dict[str, Question]:
    return {cell_key(job, question.ingredients): question for question in questions}


def _is_own(source: Source, question: Question) -> bool:
    return len(source.tasks) > 1 or question.task.name in source.tasks


def _controls(study: Study) -> dict[str, str]:
    """Of each target whose states are kept, the source that teaches it alone and as it is."""
    controls: dict[str, str] = {}
    for source in study.sources:
        (name, *others) = source.tasks
        if study.layers and not others and not source.edits and name in study.targets:
            controls.setdefault(name, source.name)
    return controls


def _probed(
    source: Source | None, controls: dict[str, str], probes: Sequence[Probe]
) -> tuple[str, list[Probe]]:
    """What part a source plays in the comparison of layers, and whose states are kept of it."""
    if source is None:
        return "base", [*probes]
    if source.edits:
        return "", []
    if len(source.tasks) > 1:
        return "mixture", [*probes]
    return "control", [p for p in probes if controls[p.task.name] == source.name]


def _beside_controls(study: Study) -> list[str]:
    """A line for every source that teaches a task alone which has another control already."""
    controls = _controls(study)
    return [
        f"layers: {controls[source.tasks[0]]} is the control of {source.tasks[0]}; "
        f"no states are kept of {source.name}"
        for source in study.sources
        if len(source.tasks) == 1
        and not source.edits
        and controls.get(source.tasks[0], source.name) != source.name
    ]
