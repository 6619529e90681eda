"""Do one job: tune unless the adapter is stored, ask what is not stored, put after each target.

Every cell is proved: right before it is put, the model that answered has to be the one that this
job attached from its stored adapter, by the hash of the attached tensors and the recorded probe.
"""

from __future__ import annotations

import json
import math
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from crosstune import tasks
from crosstune.errors import (
    CrosstuneError,
    DamagedFile,
    JobFailure,
    ProofFailure,
    StoreFailure,
)
from crosstune.models import (
    Assignment,
    ChoiceAnswer,
    LanguageModel,
    Progress,
    Proof,
    TextAnswer,
    Tuning,
)
from crosstune.results.outcomes import Outcome, write_outcomes
from crosstune.results.states import states_of, write_states
from crosstune.results.store import Store
from crosstune.study.draft import Probe, Question
from crosstune.study.estimate import asking_work, probing_work, tuning_work
from crosstune.study.keys import key
from crosstune.study.memory import within_memory
from crosstune.study.plan import Job
from crosstune.study.progress import Reporter
from crosstune.tasks.example import Example, Prompt

Answer = ChoiceAnswer | TextAnswer
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Worker:
    """What every job needs: the resident model, the store, and what is recorded with a cell.

    Attributes:
        model: The base, bare between jobs.
        store: Where finished work goes.
        tokens_per_batch: The study's budget; a cell that runs out of memory halves it for itself.
        versions: Of the packages that decide numbers, recorded with every cell.
        reporter: Where progress goes.
    """

    model: LanguageModel
    store: Store
    tokens_per_batch: int
    versions: Mapping[str, str]
    reporter: Reporter

    def run(self, job: Job) -> int:
        """Bring a job to its end; a failure is stored as a result and told.

        Returns:
            Number of failures, of the job or of its cells.

        Raises:
            StoreFailure: Nothing more can be stored.
        """
        failures = 0
        try:
            proof = self._attach(job)
            for name, question in self._left(job, proof).items():
                try:
                    self._ask(job, question, name=name, proof=proof)
                    self.store.forgive(name)
                except ProofFailure:
                    raise
                except Exception as error:  # noqa: BLE001 (whatever stops one cell is its result)
                    title = f"{job.title} → {question.task.name}"
                    failures += self._fail(name, error, title=title)
            failures += self._keep_all(job, proof)
            self.store.forgive(job.key)
        except Exception as error:  # noqa: BLE001 (whatever stops one job is its result)
            failures += self._fail(job.key, error, title=job.title)
        finally:
            self.model.detach()
        return failures

    def _attach(self, job: Job) -> Proof:
        """Answer as the job's model, from its stored files, tuned now if they are not there.

        Another base or machine than they were made on is no reason to throw them away.
        """
        if job.recipe is None:
            self.model.detach()
            proof = self.model.check()
            if proof.tensors_sha256 != proof.base_sha256:
                raise ProofFailure("it is not the bare base that answers")
            return proof
        folder = self.store.entry("adapters", job.key)
        if folder is not None:
            try:
                return self._checked(folder)
            except DamagedFile as error:
                self.reporter.say(f"{job.title}: {error}; it is tuned again")
                self.store.discard("adapters", job.key)
        self._tune_all([job], {})
        folder = self.store.entry("adapters", job.key)
        if folder is None:
            raise JobFailure("the adapter was damaged while it was stored")
        return self._checked(folder)

    def _checked(self, folder: Path) -> Proof:
        """Attach a stored adapter; it has to be the one whose job this is."""
        proof = self.model.attach(folder)
        record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if proof.tensors_sha256 != record["proof"]["tensors_sha256"]:
            raise ProofFailure("the weights that were attached are not those of this job")
        return proof

    def tune_ahead(self, jobs: Sequence[Job]) -> None:
        """Tune what is not stored of these jobs, those alike together where that pays.

        What fails here is tuned by itself when its job runs, so that one failure is one job's.
        """
        there = self.store.names("adapters")
        missing = [job for job in jobs if job.recipe is not None and job.key not in there]
        while missing:
            first = missing[0]
            assert first.recipe is not None
            group = [job for job in missing if _alike(job, first)]
            try:
                group = group[: self.model.at_once(first.prompts, first.recipe)]
                if len(group) > 1:
                    self._tune_all(group, {})
            except StoreFailure:
                raise
            except Exception as error:  # noqa: BLE001 (told again when the job runs by itself)
                told = without_paths(str(error))
                self.reporter.say(f"{len(group)} models are tuned one by one now: {told}")
            missing = [job for job in missing if job not in group]

    def _tune_all(self, jobs: Sequence[Job], folders: dict[str, Path]) -> None:
        """Open an entry for every job, one inside the other, then tune them together."""
        if len(folders) < len(jobs):
            job = jobs[len(folders)]

            def fill(folder: Path) -> None:
                self._tune_all(jobs, folders | {job.key: folder})

            self.store.put("adapters", job.key, fill)
            return
        first = jobs[0]
        assert first.recipe is not None
        title = f"{len(jobs)} models together" if len(jobs) > 1 else first.title
        reports = self.model.tune_together(
            [Assignment(job.prompts, job.seed or 0, folders[job.key]) for job in jobs],
            recipe=first.recipe,
            progress=self.reporter.stage(
                f"{title}: tuning", units=sum(tuning_work(job) for job in jobs)
            ),
        )
        for job, tuning in zip(jobs, reports, strict=True):
            self._record(job, folders[job.key], tuning, together=len(jobs))

    def _record(self, job: Job, folder: Path, tuning: Tuning, *, together: int) -> None:
        assert job.recipe is not None
        record = {
            "key": job.key,
            "source": job.source,
            "recipe": job.recipe.name,
            "seed": job.seed,
            "ingredients": job.ingredients,
            "labels": job.labels,
            "dropped": job.dropped,
            "tuning": asdict(tuning),
            "tuned_together": together,
            "proof": asdict(self.model.attach(folder)),
            "versions": dict(self.versions),
        }
        _write(folder / "job.json", record)
        if tuning.truncated:
            self.reporter.say(
                f"{job.title}: {tuning.truncated} of {tuning.examples} training examples lost "
                f"tokens to fit max_tokens ({job.recipe.max_tokens}) or the model"
            )

    def _left(self, job: Job, proof: Proof) -> dict[str, Question]:
        """Questions without a sound score of this very model."""
        left = {}
        for name, question in job.questions.items():
            cell = self.store.cell(name)
            if cell and cell["proof"]["tensors_sha256"] != proof.tensors_sha256:
                self.reporter.say(
                    f"{job.title} → {question.task.name}: its score is of other weights than the "
                    "stored ones; it is asked again"
                )
                self.store.discard("scores", name)
                cell = None
            if cell is None:
                left[name] = question
        return left

    def _keep_all(self, job: Job, proof: Proof) -> int:
        """Keep the states of what is not kept yet; returns how many failed."""
        failures, moved = 0, None
        for name, probe in job.probes.items():
            kept = states_of(self.store, name)
            if kept and kept.record["proof"]["tensors_sha256"] == proof.tensors_sha256:
                continue
            if kept:
                self.store.discard("states", name)
            moved = self.model.moved() if moved is None else moved
            title = f"{job.title}: states of {probe.task.name}"
            try:
                self._keep(job, probe, name=name, proof=proof, moved=moved)
                self.store.forgive(name)
            except ProofFailure:
                raise
            except Exception as error:  # noqa: BLE001 (as for a cell)
                failures += self._fail(name, error, title=title)
        return failures

    def _keep(
        self, job: Job, probe: Probe, *, name: str, proof: Proof, moved: Sequence[float]
    ) -> None:
        """Read one probe and put its states."""
        progress = self.reporter.stage(
            f"{job.title}: states of {probe.task.name}", units=probing_work(probe)
        )
        began = time.monotonic()
        found, budget = self._read(
            probe.task.name,
            lambda budget: self.model.activations(
                probe.prompts,
                position=probe.ingredients["position"],
                tokens_per_batch=budget,
                progress=progress,
            ),
        )
        record = _origin(job, name) | {
            "task": probe.task.name,
            "position": probe.ingredients["position"],
            "ingredients": {"job": job.ingredients, "probe": probe.ingredients},
            "tokens_per_batch": budget,
            "packed": self.model.packs,
            "truncated": found.truncated,
            "moved": list(moved),
            "proof": asdict(self._proved(proof)),
            "seconds": time.monotonic() - began,
            "versions": dict(self.versions),
        }
        self.store.put("states", name, lambda folder: write_states(folder, found.states, record))
        if found.truncated:
            self.reporter.say(
                f"{job.title}: {found.truncated} of {len(probe.prompts)} prompts of "
                f"{probe.task.name} lost their beginning to fit the model"
            )

    def _proved(self, proof: Proof) -> Proof:
        """What `check` says now; it has to be of the model that this job attached."""
        now = self.model.check()
        if (now.base_sha256, now.tensors_sha256) != (proof.base_sha256, proof.tensors_sha256):
            raise ProofFailure("the model that answered is not the one this job attached")
        return now

    def _ask(self, job: Job, question: Question, *, name: str, proof: Proof) -> None:
        """Ask one target and put its cell."""
        progress = self.reporter.stage(
            f"{job.title} → {question.task.name} ({question.condition.name})",
            units=asking_work(question),
        )
        began = time.monotonic()
        answers, budget = self._answers(question, progress)
        outcomes = _outcomes(question, answers)
        now = self._proved(proof)
        cell = _origin(job, name) | {
            "target": question.task.name,
            "condition": question.condition.name,
            "scoring": question.scoring,
            "ingredients": {"job": job.ingredients, "question": question.ingredients},
            "tokens_per_batch": budget,
            "packed": self.model.packs,
            "n": len(outcomes),
            "dropped": question.dropped,
            "truncated": sum(outcome.truncated for outcome in outcomes),
            "metrics": {
                metric: fmean(outcome.metrics[metric] for outcome in outcomes)
                for metric in question.metrics
            },
            "proof": asdict(now),
            "seconds": time.monotonic() - began,
            "versions": dict(self.versions),
        }

        def fill(folder: Path) -> None:
            write_outcomes(folder / "outcomes.parquet", outcomes)
            _write(folder / "cell.json", cell)

        self.store.put("scores", name, fill)
        if cell["truncated"]:
            self.reporter.say(
                f"{job.title} → {question.task.name}: {cell['truncated']} of {len(outcomes)} "
                "prompts lost their beginning to fit the model"
            )

    def _answers(self, question: Question, progress: Progress) -> tuple[Sequence[Answer], int]:
        """Answers in the order of the prompts, and the budget that fitted."""

        def answers(budget: int) -> Sequence[Answer]:
            if question.scoring != "generation":
                return self.model.score_choices(
                    question.prompts,
                    first_token=question.scoring == "first_token",
                    tokens_per_batch=budget,
                    progress=progress,
                )
            return self.model.generate(
                question.prompts,
                stop=question.stop,
                max_new_tokens=question.max_new_tokens,
                tokens_per_batch=budget,
                progress=progress,
            )

        return self._read(question.task.name, answers)

    def _read(self, name: str, read: Callable[[int], Read]) -> tuple[Read, int]:
        say = self.reporter.say
        return within_memory(read, name=name, budget=self.tokens_per_batch, say=say)

    def _fail(self, name: str, error: Exception, *, title: str) -> int:
        """Record and tell a failure; what the store itself refuses ends the run."""
        if isinstance(error, StoreFailure):
            raise error
        told = (
            str(error) if isinstance(error, CrosstuneError) else f"{type(error).__name__}: {error}"
        )
        failure: dict[str, Any] = {"title": title, "reason": without_paths(told)}
        if not isinstance(error, CrosstuneError):
            frames = traceback.extract_tb(error.__traceback__)
            failure["traceback"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
        self.store.fail(name, failure)
        self.reporter.say(f"failed: {title}: {failure['reason']}")
        return 1


def _origin(job: Job, name: str) -> dict[str, Any]:
    """Of which model an entry is, as it is recorded with it."""
    return {
        "key": name,
        "job_key": job.key,
        "source": job.source,
        "recipe": job.recipe and job.recipe.name,
        "seed": job.seed,
    }


def without_paths(text: str) -> str:
    """A text whose absolute paths have lost their folders, as stored files name no machine's.

    Example:
        >>> without_paths("cannot read /home/me/study/a.bin: 3/4")
        'cannot read a.bin: 3/4'
    """
    return re.sub(r"(?<![\w.])(?:/[^\s/'\"]+)+/", "", text)


def _alike(job: Job, other: Job) -> bool:
    """Whether two jobs can be tuned in common batches: same recipe, as many steps."""
    assert job.recipe is not None
    assert other.recipe is not None
    named = {"name": ""}
    return len(job.prompts) == len(other.prompts) and (
        job.recipe.model_copy(update=named) == other.recipe.model_copy(update=named)
    )


def _outcomes(question: Question, answers: Sequence[Answer]) -> list[Outcome]:
    if [answer.id for answer in answers] != [prompt.id for prompt in question.prompts]:
        raise JobFailure("the answers are not in the order of the prompts")
    return [
        _outcome(question, example, prompt=prompt, answer=answer)
        for example, prompt, answer in zip(
            question.examples, question.prompts, answers, strict=True
        )
    ]


def _outcome(question: Question, example: Example, *, prompt: Prompt, answer: Answer) -> Outcome:
    if isinstance(answer, ChoiceAnswer):
        if any(math.isnan(value) for value in answer.log_likelihoods):
            raise JobFailure(f"the likelihood of a choice is not a number (example {example.id})")
        given: dict[str, Any] = {"log_likelihoods": answer.log_likelihoods}
        tokens = answer.answer_tokens
    else:
        given, tokens = {"text": answer.text}, answer.tokens
    task, scoring = question.task, question.scoring
    said = given.get("text") if task.kind == "text" else None
    return Outcome(
        id=example.id,
        prompt_sha256=key(asdict(prompt)),
        answer=tasks.answer(task, example, **given, scoring=scoring) if said is None else said,
        log_likelihoods=given.get("log_likelihoods"),
        label=example.label,
        references=example.references,
        metrics=tasks.outcome(task, example, **given, scoring=scoring),
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=tokens,
        truncated=answer.truncated,
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
