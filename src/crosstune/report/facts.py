"""What is known of a study beside its matrix: what was asked for, how long it took, with what.

What is not known (a file is absent or damaged, a version was not recorded) is told as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from crosstune.analysis.wording import counted
from crosstune.results.matrix import Row

Entries = Mapping[str, Mapping[str, Any]]
"""What the JSON files of stored entries say, by key."""

_AXES = {
    "source": "source",
    "recipe": "recipe",
    "seed": "seed",
    "job_key": "tuned model",
    "target": "target",
    "condition": "condition",
}
_NOT_RECORDED = "not recorded"
_LARGEST = 1e100


class Model(NamedTuple):
    """One tuned model of the plan; `key` names its adapter."""

    source: str
    recipe: str
    seed: int
    key: str


def tuned_models(scores: Iterable[Row]) -> tuple[Model, ...]:
    """The tuned models of a study in its order, each once."""
    models = (Model(row.source, row.recipe, row.seed, row.job_key) for row in scores)
    return tuple(dict.fromkeys(models))


def tuning(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a job.json says of the tuning; None when it does not say it as crosstune does."""
    told = job.get("tuning")
    if not isinstance(told, dict) or not isinstance(told.get("losses"), list):
        return None
    numbers = [*told["losses"], *(told.get(name) for name in ("seconds", "tokens", "examples"))]
    return told if all(map(_is_number, numbers)) else None


def sentence(scores: Sequence[Row], study: Mapping[str, Any]) -> str:
    """The study in a sentence."""
    sizes = {
        axis: counted(len({getattr(row, axis) for row in scores}), noun)
        for axis, noun in _AXES.items()
    }
    states = states_of(scores)
    cells = len({(row.source, row.target, row.recipe, row.condition) for row in scores})
    done = "" if states["done"] == states.total() else f" ({states['done']:,} done)"
    seeds = "" if states.total() == cells else f" from {counted(states.total(), 'score')}"
    answers = sum(row.n or 0 for row in scores if row.main and row.status == "done")
    return (
        f"{short_name(study)} ({study['numeric_type']}) was tuned on {sizes['source']} with "
        f"{sizes['recipe']} and {sizes['seed']}; the base and the {sizes['job_key']} were asked "
        f"{sizes['target']} in {sizes['condition']}: {counted(cells, 'cell')}"
        f"{seeds}{done}, {counted(answers, 'answer')}."
    )


def short_name(study: Mapping[str, Any]) -> str:
    """The name of the base without the hash that identifies it."""
    return str(study["model"]).partition("@")[0]


def states_of(scores: Iterable[Row]) -> Counter[str]:
    """How many scores of main metrics, one for every cell and seed, are in which state."""
    return Counter(row.status for row in scores if row.main)


def facts(
    columns: pa.Table,
    scores: Sequence[Row],
    *,
    study: Mapping[str, Any],
    jobs: Entries,
    cells: Entries,
) -> dict[str, list[str]]:
    """What was done, term by term, each with one line or more.

    Args:
        columns: The cells of the matrix.
        scores: Its scores.
        study: What study.json says.
        jobs: What job.json says of the tuned models that are known.
        cells: What cell.json says of the scores that are known, the base's among them.
    """
    named = study.get("study")
    asked = named if isinstance(named, dict) else {}
    tuned = [told for told in map(tuning, jobs.values()) if told is not None]
    return {
        "Model": [part for part in str(study["model"]).partition("@") if part not in ("", "@")],
        "Numeric type": [str(study["numeric_type"])],
        "Sources": [
            ", ".join(map(_source, _listed(asked, "sources")))
            or ", ".join(columns["source"].unique().to_pylist())
        ],
        "Targets": [_by_family(columns)],
        "Recipes": [_recipe(recipe) for recipe in _listed(asked, "recipes")]
        or columns["recipe"].unique().to_pylist(),
        "Conditions": [_condition(way) for way in _listed(asked, "conditions")]
        or columns["condition"].unique().to_pylist(),
        "Seeds": [_seeds({row.seed: None for row in scores})],
        "Training examples": [_range([told["examples"] for told in tuned], "a model")],
        "Test examples": [_range(columns["n"].drop_null().to_pylist(), "a target")],
        "Time": [
            f"tuning {_time([told['seconds'] for told in tuned], of=_count(scores, 'job_key'))}",
            f"asking {_time(_seconds(cells), of=_count(scores, 'key', 'base_key'))}",
        ],
        "Versions": [_versions([*jobs.values(), *cells.values()])],
        "State": [_state(states_of(scores))],
    }


def duration(seconds: float) -> str:
    """A time for people.

    Example:
        >>> duration(4.4), duration(750), duration(11520)
        ('4 s', '12 min 30 s', '3 h 12 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _listed(asked: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = asked.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _source(source: Mapping[str, Any]) -> str:
    name, tasks, edits = (source.get(key) for key in ("name", "tasks", "edits"))
    if not isinstance(tasks, list) or (tasks == [name] and not edits):
        return str(name)
    named = [str(each.get("edit")) for each in edits or () if isinstance(each, dict)]
    return f"{name} ({' + '.join(map(str, tasks))}{': ' * bool(named)}{', '.join(named)})"


def _by_family(columns: pa.Table) -> str:
    families: dict[str, dict[str, None]] = {}
    pairs = (columns[name].to_pylist() for name in ("target_family", "target"))
    for family, target in zip(*pairs, strict=True):
        families.setdefault(family, {})[target] = None
    return "; ".join(f"{family}: {', '.join(names)}" for family, names in families.items())


def _recipe(recipe: Mapping[str, Any]) -> str:
    said = {name: _plain(value) for name, value in recipe.items()}
    lora = "LoRA of rank {rank}, alpha {alpha}, on {target_modules}"
    form = "{name}: " + (lora if said.get("method") == "lora" else "all weights")
    form += (
        "; learning rate {learning_rate} ({schedule}, warm-up {warmup}), {epochs} × {examples} "
        "examples in batches of {batch_size}; loss on {loss}; prompt {prompt}, chat template "
        "{chat_template}"
    )
    return form.format_map(_Unrecorded(said)) + _more(said, "demonstrations", "sampler", "draw")


def _condition(condition: Mapping[str, Any]) -> str:
    form = (
        "{name}: {examples} examples, {shots} shots, prompt {prompt}, chat template {chat_template}"
    )
    said = {name: _plain(value) for name, value in condition.items()}
    more = _more(said, "scoring", "shots_from", "sampler", "draw", "order")
    return form.format_map(_Unrecorded(said)) + more


def _more(said: Mapping[str, str], *names: str) -> str:
    """What else is said of a way, where it is not the usual."""
    there = [name for name in names if said.get(name, "") not in ("", "0", "task")]
    return "".join(f", {name.replace('_', ' ')} {said[name]}" for name in there)


class _Unrecorded(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "?"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _seeds(seeds: Collection[int]) -> str:
    """Their number first: a lone seed 0 would read as none."""
    return f"{counted(len(seeds), 'seed')}: {', '.join(map(str, seeds))}" if seeds else "none"


def _range(counts: Sequence[int], of: str) -> str:
    if not counts:
        return _NOT_RECORDED
    low, high = min(counts), max(counts)
    return f"{low:,} {of}" if low == high else f"{low:,} to {high:,} {of}"


def _count(scores: Sequence[Row], *names: str) -> int:
    return len({getattr(row, name) for row in scores for name in names})


def _seconds(entries: Entries) -> list[float]:
    return [entry["seconds"] for entry in entries.values() if _is_number(entry.get("seconds"))]


def _time(seconds: Sequence[float], *, of: int) -> str:
    if not seconds:
        return _NOT_RECORDED
    known = "" if len(seconds) == of else f" (known of {len(seconds):,} out of {of:,})"
    return f"{duration(sum(seconds))}{known}"


def _versions(entries: Iterable[Mapping[str, Any]]) -> str:
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        told = entry.get("versions")
        for name, version in told.items() if isinstance(told, dict) else ():
            found.setdefault(str(name), {})[str(version)] = None
    lines = [f"{name} {' and '.join(sorted(found[name]))}" for name in sorted(found)]
    return ", ".join(lines) or _NOT_RECORDED


def _state(states: Counter[str]) -> str:
    if states["done"] == states.total():
        return f"complete: {counted(states['done'], 'score')}"
    return (
        f"{states['done']:,} of {counted(states.total(), 'score')} done, "
        f"{states['missing']:,} missing, {states['failed']:,} failed"
    )


def _is_number(value: object) -> bool:
    """Whether it is one that can be added up; integers of JSON have any size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST
