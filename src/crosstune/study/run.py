"""Run a study: do exactly what is missing, and read the matrix.

The same command again continues. A study that has changed (one more source, say) may go on in the
same folder as long as its name and its model are the same: what is stored is used again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any

from crosstune import models
from crosstune.errors import InputError, JobFailure
from crosstune.executors import executors
from crosstune.models import LanguageModel
from crosstune.results.matrix import TransferMatrix
from crosstune.results.states import states_of
from crosstune.results.store import FORMAT, Store, study_in
from crosstune.study.estimate import asking_work, probing_work, tuning_work
from crosstune.study.plan import Job, Plan, plan
from crosstune.study.profiles import measure
from crosstune.study.progress import Reporter
from crosstune.study.schema import Study
from crosstune.study.worker import Worker

DECISIVE_PACKAGES = ("crosstune", "torch", "transformers", "peft", "datasets", "numpy")

Load = Callable[..., LanguageModel]


def run(
    study: Study,
    *,
    out: Path,
    folder: Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    load: Load | None = None,
) -> TransferMatrix:
    """Tune and ask what is not stored yet, and write `matrix.csv` and `scores.csv`.

    Args:
        study: What is to be done.
        out: The study's folder; made when it is not there.
        folder: Where relative task files and model folders start; the working directory if None.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        reporter: Where progress goes; silent if None.
        load: Makes the model of a reference, only when something is missing; `models.load` if None.

    Returns:
        The matrix; cells that failed are in it with their status, see `is_complete`.

    Raises:
        InputError: The study cannot be run, or the folder belongs to another one.
        StoreFailure: The disk is full, or the folder can no longer be written.
    """
    reporter = reporter or Reporter()
    before = study_in(out)
    planned = plan(
        study,
        folder=folder or Path.cwd(),
        device=device,
        numeric_type=before.get("numeric_type", ""),
    )
    _same_study(before, planned, out)
    for warning in planned.warnings:
        reporter.say(f"note: {warning}")
    store = Store(out, writable=True, tell=reporter.say)
    _same_study(store.study, planned, out)  # another process may have begun one meanwhile
    weights: dict[str, str] = dict(store.study.get("base_sha256", {}))
    store.write("study.json", _resolved(planned, weights))
    store.write("plan.json", json.dumps(planned.rows, indent=1))
    if planned.layers or store.layers():
        store.write("layers.json", json.dumps(planned.layers, indent=1))
    left = [job for job in planned.jobs if not _is_done(job, store)]
    unmeasured = {
        name: dataset
        for name, dataset in planned.datasets.items()
        if store.entry("profiles", name) is None
    }
    if left or unmeasured:
        reporter.say(f"loading {planned.model.name} in {planned.numeric_type}")
        model = (load or models.load)(
            planned.model, numeric_type=planned.numeric_type, device=device
        )
        _check_model(model, planned, weights)
        _check_first_tokens(model, left)
        if not model.packs:
            reporter.say(
                f"note: {planned.model.name} is read in padded rows, which is slower: "
                "its attention cannot be told who sees whom"
            )
        store.write("study.json", _resolved(planned, weights))
        measure(unmeasured, model=model, store=store, reporter=reporter)
        _work(left, model=model, store=store, planned=planned, reporter=reporter)
    matrix = TransferMatrix.of(store, planned.rows)
    store.write("matrix.csv", matrix.to_csv())
    store.write("scores.csv", matrix.scores_csv())
    return matrix


def _work(
    jobs: list[Job], *, model: LanguageModel, store: Store, planned: Plan, reporter: Reporter
) -> None:
    worker = Worker(
        model=model,
        store=store,
        tokens_per_batch=planned.study.tokens_per_batch,
        versions=_versions(),
        reporter=reporter,
    )
    reporter.begin(sum(_work_of(job, store) for job in jobs))
    try:
        worker.tune_ahead(jobs)
        for _ in executors["local"].map(worker.run, jobs):
            pass
    finally:
        reporter.end()


def _is_done(job: Job, store: Store) -> bool:
    """Whether adapter and scores of a job are stored, sound and of the same weights.

    Hashes them all, so that all that is damaged is told.
    """
    cells: list[Mapping[str, Any] | None] = [store.cell(key) for key in job.questions]
    cells += [
        None if kept is None else kept.record
        for kept in (states_of(store, key) for key in job.probes)
    ]
    if job.recipe is None:
        return None not in cells
    folder = store.entry("adapters", job.key)
    if folder is None:
        return False
    record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    tuned = record["proof"]["tensors_sha256"]
    return all(cell is not None and cell["proof"]["tensors_sha256"] == tuned for cell in cells)


def _work_of(job: Job, store: Store) -> float:
    tuned = job.key in store.names("adapters")
    there = store.names("scores")
    asking = sum(asking_work(q) for key, q in job.questions.items() if key not in there)
    kept = store.names("states")
    asking += sum(probing_work(p) for key, p in job.probes.items() if key not in kept)
    return asking + (0 if tuned else tuning_work(job))


def _same_study(before: dict[str, Any], planned: Plan, out: Path) -> None:
    if not before:
        return
    theirs = (before.get("name"), before.get("model"))
    if theirs != (planned.study.name, planned.model.identity):
        raise InputError(
            f"{out} is the folder of another study ('{theirs[0]}' on {theirs[1]}; this one is "
            f"'{planned.study.name}' on {planned.model.identity}): take another folder"
        )


def _check_model(model: LanguageModel, planned: Plan, weights: dict[str, str]) -> None:
    """Whether the model can do what the study asks and is the one the folder was begun with.

    Adds the hash of its weights to `weights`.
    """
    study = planned.study
    templated = [recipe.name for recipe in study.recipes if recipe.chat_template == "model"]
    templated += [way.name for way in study.conditions if way.chat_template == "model"]
    if templated and not model.has_chat_template:
        raise InputError(
            f"The model {planned.model.name} has no chat template; set chat_template to 'none' "
            f"in {', '.join(templated)}"
        )
    found = model.check().base_sha256
    if weights.setdefault(planned.numeric_type, found) != found:
        raise JobFailure(
            f"The weights of {planned.model.identity} are not those this study was begun with; "
            "what is stored stays. Restore the model, or take another folder"
        )


def _check_first_tokens(model: LanguageModel, jobs: list[Job]) -> None:
    """Whether first tokens tell choices apart wherever they are to be scored."""
    asked = {q.way: q for job in jobs for q in job.questions.values()}
    problems = []
    for question in asked.values():
        alike = None
        if question.scoring == "first_token":
            with suppress(JobFailure):  # told when the cell is asked
                alike = model.alike(question.prompts)
        if alike:
            first, second = (choice.strip() for choice in alike)
            problems.append(
                f"condition {question.condition.name}: the choices '{first}' and '{second}' of "
                f"{question.task.name} cannot be told apart by their first token; ask them by "
                "likelihood"
            )
    if problems:
        raise InputError("First tokens cannot be scored", problems)


def _resolved(planned: Plan, weights: dict[str, str]) -> str:
    """The content of study.json; names no path of this machine."""
    study = planned.study.model_dump(mode="json")
    study["model"] = planned.model.name
    study["tasks"] = [_public(pattern) for pattern in planned.study.tasks]
    for condition in study["conditions"]:
        condition["shots_from"] = _public(condition["shots_from"])
    content = {
        "format": FORMAT,
        "crosstune": _versions().get("crosstune"),
        "name": planned.study.name,
        "model": planned.model.identity,
        "numeric_type": planned.numeric_type,
        "base_sha256": weights,
        "data": planned.revisions,
        "study": study,
    }
    return json.dumps(content, indent=1)


def _public(path: str) -> str:
    return PurePath(path).name if PurePath(path).is_absolute() else path


def _versions() -> dict[str, str]:
    found = {}
    for name in DECISIVE_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
