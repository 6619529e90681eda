"""Studies whose outcomes are made up: a store as a run leaves it, without a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import Outcome, write_outcomes
from crosstune.results.store import Store

BASE = "base"
CONDITION = {
    "examples": 40,
    "shots": 0,
    "shots_from": "",
    "sampler": "task",
    "draw": 0,
    "order": 0,
    "prompt": "default",
    "chat_template": "none",
    "scoring": "likelihood",
}
RECIPE = {"method": "lora", "examples": 100, "demonstrations": 0, "sampler": "task", "draw": 0}

Values = Callable[..., Sequence[float] | np.ndarray]


def key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Made:
    """A study that can be written.

    Attributes:
        sources: Families by name.
        targets: Families by name; those of a name in `texts` are text.
        recipes: What differs from `RECIPE`, by name.
        conditions: What differs from `CONDITION`, by name.
        seeds: Of the models.
        relations: By source and target, where it is not told by the families.
        texts: Text targets.
        labels: What a source teaches, by name.
        answers: What is written, by (source, recipe, seed, condition, target), for text targets.
        missing: (source or base, recipe, seed, condition, target) without a score.
        left_out: Examples that a condition does not ask, by name.
        shuffled: Whether the plan's rows stand in another order.
        moved: mean_change by recipe.
        n: Examples, by target.
        classes: What all rows of a choice target offer, by name; yes and no where it is not told.
        ranked: Labels and log-likelihoods of such a target, by what `values` gets.
        profiles: Of sources, by name.
    """

    sources: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"a": ["left"], "b": ["right"], "ab": ["left", "right"]}
    )
    targets: Mapping[str, str] = field(
        default_factory=lambda: {"a": "left", "a2": "left", "b": "right", "c": "none"}
    )
    recipes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"plain": {}, "more": {"examples": 200}}
    )
    conditions: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"zero": {}, "few": {"shots": 4}}
    )
    seeds: Sequence[int] = (0, 1)
    relations: Mapping[tuple[str, str], str] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    answers: Mapping[tuple[Any, ...], str] = field(default_factory=dict)
    missing: frozenset[tuple[Any, ...]] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)
    shuffled: bool = False
    moved: Mapping[str, float] = field(default_factory=dict)
    n: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranked: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    profiles: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def changed(self, **changes: Any) -> Made:
        return replace(self, **changes)

    def relation(self, source: str, target: str) -> str:
        if source == target:
            return "same task"
        near = self.targets[target] in self.sources[source]
        return self.relations.get((source, target), "out-of-domain" if near else "cross-task")

    def scoring(self, target: str, condition: str) -> str:
        told = CONDITION | dict(self.conditions[condition])
        return "generation" if target in self.texts else str(told["scoring"])

    def plan(self) -> list[dict[str, Any]]:
        rows = []
        axes = (self.sources, self.targets, self.recipes, self.conditions, self.seeds)
        for source, target, recipe, condition, seed in product(*axes):
            rows.append(
                {
                    "source": source,
                    "source_families": list(self.sources[source]),
                    "source_tasks": [source],
                    "target": target,
                    "target_family": self.targets[target],
                    "relation": self.relation(source, target),
                    "recipe": recipe,
                    "condition": condition,
                    "scoring": self.scoring(target, condition),
                    "seed": seed,
                    "metrics": ["rougeL" if target in self.texts else "acc"],
                    "leaked": 0,
                    "contained": 0,
                    "source_profile": key("profile", source),
                    "job_key": key(source, recipe, seed),
                    "base_job_key": key(BASE),
                    "key": key(source, recipe, seed, condition, target),
                    "base_key": key(BASE, BASE, 0, condition, target),
                }
            )
        if self.shuffled:
            np.random.default_rng(5).shuffle(rows)
        return rows

    def write(self, folder: Path, values: Values | None = None) -> tuple[Store, TransferMatrix]:
        """The store and its matrix.

        Args:
            folder: Of the study.
            values: Outcomes by source, recipe, seed, condition, target and n; drawn if None.
        """
        store = Store(folder, writable=True)
        study = {
            "recipes": [{"name": n, **RECIPE, **told} for n, told in self.recipes.items()],
            "conditions": [{"name": n, **CONDITION, **told} for n, told in self.conditions.items()],
            "sources": [{"name": name, "tasks": [name]} for name in self.sources],
            "targets": list(self.targets),
            "seeds": list(self.seeds),
        }
        facts = {"name": "made", "model": "m", "numeric_type": "float32", "base_sha256": {}}
        store.write("study.json", json.dumps({"format": 1, **facts, "study": study}))
        plan = self.plan()
        store.write("plan.json", json.dumps(plan))
        store = Store(folder, writable=True)
        for row in plan:
            tuned = (row["source"], row["recipe"], row["seed"])
            for who in (tuned, (BASE, BASE, 0)):
                spot = (*who, row["condition"], row["target"])
                if spot not in self.missing and key(*spot) not in store.names("scores"):
                    self._put(store, spot, values or drawn)
            if row["job_key"] not in store.names("adapters"):
                self._tune(store, *tuned)
        for source, told in self.profiles.items():
            _keep(store, key("profile", source), told)
        return store, TransferMatrix.of(store)

    def _put(self, store: Store, spot: tuple[Any, ...], values: Values) -> None:
        *_, condition, target = spot
        n = self.n.get(target, 40)
        text, metric = target in self.texts, "rougeL" if target in self.texts else "acc"
        if target in self.classes:
            assert self.ranked is not None
            return self._store(
                store, spot, ranked(target, self.classes[target], *self.ranked(*spot, n))
            )
        found = [float(value) for value in values(*spot, n)]
        rows = [
            Outcome(
                id=f"{target}-{i:04}",
                prompt_sha256="",
                answer=self.answers.get(spot, "some text") if text else "yes" if value else "no",
                log_likelihoods=None if text else (-1.0, -2.0),
                label=None if text else 0,
                references=("yes",),
                metrics={metric: value},
                prompt_tokens=1,
                answer_tokens=1,
                truncated=False,
            )
            for i, value in enumerate(found)
        ][self.left_out.get(condition, 0) :]
        return self._store(store, spot, rows)

    def _store(self, store: Store, spot: tuple[Any, ...], rows: Sequence[Outcome]) -> None:
        metric = next(iter(rows[0].metrics))

        def fill(folder: Path) -> None:
            write_outcomes(folder / "outcomes.parquet", rows)
            mean = float(np.mean([row.metrics[metric] for row in rows]))
            cell = {"n": len(rows), "metrics": {metric: mean}, "proof": {"tensors_sha256": ""}}
            (folder / "cell.json").write_text(json.dumps(cell))

        store.put("scores", key(*spot), fill)

    def _tune(self, store: Store, source: str, recipe: str, seed: int) -> None:
        record: dict[str, Any] = {"labels": list(self.labels.get(source, ())), "tuning": {}}
        if recipe in self.moved:
            change = self.moved[recipe] * (1 + seed)
            record["tuning"] = {"mean_change": change, "relative_change": 10 * change}

        def fill(folder: Path) -> None:
            (folder / "job.json").write_text(json.dumps(record))

        store.put("adapters", key(source, recipe, seed), fill)


def _keep(store: Store, name: str, profile: dict[str, Any]) -> None:
    def fill(folder: Path) -> None:
        (folder / "profile.json").write_text(json.dumps(profile))

    store.put("profiles", name, fill)


def ranked(
    target: str, classes: Sequence[str], labels: np.ndarray, log_likelihoods: np.ndarray
) -> list[Outcome]:
    """Rows that all offer the same classes."""
    picked = log_likelihoods.argmax(axis=1)
    return [
        Outcome(
            id=f"{target}-{i:04}",
            prompt_sha256="",
            answer=classes[pick],
            log_likelihoods=tuple(sums),
            label=label,
            references=(classes[label],),
            metrics={"acc": float(pick == label)},
            prompt_tokens=1 + i,
            answer_tokens=1,
            truncated=False,
        )
        for i, (label, pick, sums) in enumerate(
            zip(labels.tolist(), picked.tolist(), log_likelihoods.tolist(), strict=True)
        )
    ]


def drawn(*spot: Any) -> np.ndarray:
    """Zeros and ones: equal examples are hard for all models, a model has its own level."""
    *who, target, n = spot
    luck = np.random.default_rng(int(key(*who, target)[:8], 16))
    hard = np.random.default_rng(int(key(target)[:8], 16)).standard_normal(n)
    level = luck.uniform(-0.8, 0.8)
    outcomes: np.ndarray = (hard + luck.standard_normal(n) < level) * 1.0
    return outcomes
