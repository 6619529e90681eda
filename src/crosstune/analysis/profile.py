"""What the datasets of a study are like, and how like each source is to each target.

Reads the profiles that were measured while the study ran, no rows; a pair costs a tenth of a
millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import jensenshannon

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.wording import counted, listed, percent
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.tasks.profile.sketches import SIZE

Profile = Mapping[str, Any]
"""What `crosstune.tasks.profile` measures of a dataset."""
Pairs = Float[np.ndarray, "sources targets"]

TITLE = "What the datasets are like"
REPEATED, SKEWED, LONGER, ALIKE = 0.05, 0.3, 10.0, 0.1
"""From which share of duplicates, skew, ratio to the median length, and prompt overlap on a
dataset or a pair is named."""


@dataclass(frozen=True, slots=True)
class Datasets:
    """Profiles of the sources and targets of one recipe and condition, by name.

    Attributes:
        sources: As this recipe takes them.
        targets: As this condition asks them.
    """

    sources: dict[str, Profile] = field(default_factory=dict)
    targets: dict[str, Profile] = field(default_factory=dict)


def stored(store: Store) -> dict[tuple[str, str], Datasets]:
    """What is known of the datasets, for every recipe and condition; each profile is read once."""
    found: dict[tuple[str, str], Datasets] = {}
    read: dict[str, Profile | None] = {}
    for row in store.plan():
        there = found.setdefault((row["recipe"], row["condition"]), Datasets())
        for role, known in (("source", there.sources), ("target", there.targets)):
            key = row.get(f"{role}_profile")
            if key and row[role] not in known:
                profile = read[key] if key in read else read.setdefault(key, store.profile(key))
                if profile is not None:
                    known[row[role]] = profile
    return found


def overlaps(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Pairs:
    """Jaccard similarity of sets from sketches of them, as `crosstune.tasks.profile.jaccard`.

    Returns:
        Share of the union that both hold, from 0 to 1; NaN when both sets are empty.

    Source:
        Broder (1997), On the resemblance and containment of documents.

    Example:
        >>> overlaps([[1, 2, 3]], [[2, 3, 4], [5]]).tolist()
        [[0.5, 0.0]]
    """
    sketches = [[np.asarray(sketch, np.int64) for sketch in role] for role in (sources, targets)]
    found = np.full((len(sources), len(targets)), np.nan)
    for (s, first), (t, second) in product(*map(enumerate, sketches)):
        counts = np.unique(np.concatenate([first, second]), return_counts=True)[1][:SIZE]
        if len(counts):
            found[s, t] = (counts == 2).mean()
    return found


def cosines(
    sources: Float[np.ndarray, "sources width"], targets: Float[np.ndarray, "targets width"]
) -> Pairs:
    """Cosine similarity after taking the mean of all datasets away.

    Mean states of one model share a large direction: without centring all cosines are near 1.

    Returns:
        From −1 to 1; NaN where a dataset has no embedding.

    Source:
        Mu & Viswanath (2018), All-but-the-top (the mean alone).
    """
    every = np.concatenate([sources, targets])
    known = every[np.isfinite(every).all(axis=1)]
    middle = known.mean(axis=0) if len(known) else 0.0
    first, second = sources - middle, targets - middle
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Pairs = np.clip(first @ second.T / norms, -1.0, 1.0)
    return found


def label_words(source: Profile, target: Profile) -> float:
    """Jaccard similarity of the words of the answers of two choice datasets.

    Returns:
        From 0 to 1; NaN where either is a text dataset, which has no labels.
    """
    if {source["kind"], target["kind"]} != {"choice"}:
        return np.nan
    first, second = ({w for a in p["answers"] for w in a.split()} for p in (source, target))
    return len(first & second) / len(first | second) if first | second else np.nan


def length(profile: Profile, part: str, value: str = "mean", *, unit: str = "characters") -> float:
    """A number of the lengths of prompts or answers; NaN where it was not measured."""
    found = profile["lengths"][part].get(unit, {}).get(value)
    return np.nan if found is None else float(found)


def length_ratio(source: Profile, target: Profile, part: str) -> float:
    """log2 of the ratio of the mean characters of two datasets, source by target.

    Returns:
        0 for equal lengths, 1 when the source's are twice as long; never infinite, as an empty
        text counts as one character.
    """
    first, second = (max(length(profile, part), 1.0) for profile in (source, target))
    return float(np.log2(first / second))


def divergence(source: Profile, target: Profile, *, named: bool) -> float:
    """Jensen–Shannon divergence of two class distributions.

    Args:
        source: Its profile.
        target: Likewise.
        named: Whether classes are matched by their labels; else by how frequent they are, the most
            frequent one first, which compares the shapes alone.

    Returns:
        0 (equal) to 1 bit (no class in common); NaN where a dataset has no classes.

    Source:
        Lin (1991), Divergence measures based on the Shannon entropy, eq. 4.1.

    Example:
        >>> divergence({"labels": {"a": 3, "b": 1}}, {"labels": {"x": 30, "y": 10}}, named=False)
        0.0
    """
    if not (source["labels"] and target["labels"]):
        return np.nan
    shares = [
        {label if named else i: n for i, (label, n) in enumerate(sorted(each, key=_frequent))}
        for each in (source["labels"].items(), target["labels"].items())
    ]
    classes = [*dict.fromkeys([*shares[0], *shares[1]])]
    first, second = ([share.get(c, 0) for c in classes] for share in shares)
    # Of equal distributions rounding leaves a root of less than nothing.
    return float(np.nan_to_num(jensenshannon(first, second, base=2)) ** 2)


def _frequent(item: tuple[str, int]) -> int:
    return -item[1]


_EACH: dict[str, Callable[[Profile, Profile], float]] = {
    "label_words": label_words,
    "answer_length_log2_ratio": lambda s, t: length_ratio(s, t, "answer"),
    "prompt_length_log2_ratio": lambda s, t: length_ratio(s, t, "prompt"),
    "class_shape_divergence": lambda s, t: divergence(s, t, named=False),
    "class_label_divergence": lambda s, t: divergence(s, t, named=True),
}
MEASURES = ("vocabulary", "prompts", "embedding", *_EACH)
"""Of a source and a target."""


def pairs(sources: Sequence[Profile], targets: Sequence[Profile]) -> dict[str, Pairs]:
    """All measures of every source with every target; NaN is not known."""
    found = {
        name: overlaps(*([p["sketches"][kind] for p in role] for role in (sources, targets)))
        for name, kind in (("vocabulary", "words"), ("prompts", "shingles"))
    }
    width = max((len(p["embedding"] or ()) for p in (*sources, *targets)), default=0)
    unknown = [np.nan] * max(width, 1)
    states = (np.array([p["embedding"] or unknown for p in role]) for role in (sources, targets))
    found["embedding"] = cosines(*states)
    for name, measure in _EACH.items():
        found[name] = np.array([[measure(s, t) for t in targets] for s in sources], dtype=float)
    return found


@ANALYSES.add("profile")
def profile(store: Store, matrix: TransferMatrix) -> Analysis:
    """What every source and target is like, and each pair of them, from the stored profiles.

    Raises:
        InputError: A profile is damaged.
    """
    known = stored(store)
    (recipe, condition), first = next(iter(known.items()))
    wanted = [{*matrix.cells[role].to_pylist()} for role in ("source", "target")]
    missing = wanted[0] - {*first.sources} | wanted[1] - {*first.targets}
    first = Datasets(
        *(
            {name: told for name, told in its.items() if name in names}
            for its, names in zip((first.sources, first.targets), wanted, strict=True)
        )
    )
    if not (first.sources and first.targets):
        why = "Unavailable: this study has no profiles; run it again, what is stored stays."
        return Analysis("profile", TITLE, (why,), ())
    datasets = [
        _described(role, name, told)
        for role, profiles in (("source", first.sources), ("target", first.targets))
        for name, told in profiles.items()
    ]
    relations = {(row["source"], row["target"]): row["relation"] for row in store.plan()}
    measures = pairs([*first.sources.values()], [*first.targets.values()])
    rows: list[Facts] = [
        {"source": s, "target": t, "relation": relations.get((s, t))}
        | {name: _known(values[i, j]) for name, values in measures.items()}
        for (i, s), (j, t) in product(enumerate(first.sources), enumerate(first.targets))
    ]
    where = f" As recipe {recipe} and condition {condition} take them." if len(known) > 1 else ""
    columns = [*dict.fromkeys(column for row in datasets for column in row)]
    language = [column for column in columns if column.startswith("language_")]
    lengths = [column for column in columns if column.endswith(tuple(f"_{v}" for v in _SPREAD))]
    few = [c for c in columns if c not in {*language, *lengths}]
    few += ["prompt_tokens_mean", "answer_tokens_mean"]
    who = ["role", "name"]
    tables = (
        Table.of("datasets", "Datasets", _DATASETS + where, columns=few, rows=datasets),
        Table.of("lengths", "Lengths", _LENGTHS + where, columns=who + lengths, rows=datasets),
        Table.of("language", "Language", _LANGUAGE + where, columns=who + language, rows=datasets),
        Table.of("pairs", "Pairs", _PAIRS + where, columns=[*_NAMES, *MEASURES], rows=rows),
    )
    sentences = (*_unusual(datasets), *_alike(rows), *_missing(missing))
    return Analysis("profile", TITLE, sentences, tables, _FIGURES)


_NAMES = ("source", "target", "relation")
_DATASETS = (
    "A row: a source's training rows, or a target's test rows. entropy in bits; skew: 1 − entropy "
    "/ log2(classes), 0 is balanced; majority: share of the most frequent class."
)
_SPREAD = ("mean", "sd", "q05", "q25", "median", "q75", "q95")
_LENGTHS = "Of prompts and of right answers: mean, standard deviation, quantiles."
_LANGUAGE = (
    "Of the prompts, the task's own words among them; `crosstune profile TASK` says what each "
    "feature is."
)
_PAIRS = (
    "vocabulary, prompts, label_words: share of all words, runs of five words, words of labels "
    "that both have (estimated to ±0.03). embedding: cosine of the base's mean states, their "
    "common mean taken away. Ratios: log2 of mean characters, source by target. Divergences of "
    "class distributions in bits, classes matched by rank (shape) or by label."
)
_FIGURES = (
    Figure(
        kind="grid",
        table="pairs",
        title="Shared vocabulary of sources and targets",
        note="A row of strong colour throughout is a source with words of everything; a single "
        "strong square is a pair that shares its subject or its rows.",
        columns={"row": "source", "column": "target", "value": "vocabulary"},
    ),
    Figure(
        kind="points",
        table="datasets",
        title="Answer length and class entropy",
        note="Datasets on the left answer in a word; the higher, the more classes they have and "
        "the more evenly. Text datasets have no classes and are left out.",
        columns={"name": "name", "x": "answer_characters_log10", "y": "entropy", "series": "role"},
    ),
)


def _described(role: str, name: str, told: Profile) -> Facts:
    """One dataset's row."""
    same = ("kind", "rows", "duplicates", "entropy", "majority", "skew")
    row: Facts = {"role": role, "name": name} | {key: told[key] for key in same}
    row["classes"] = len(told["labels"]) if told["labels"] else None
    for part, unit, value in product(
        ("prompt", "answer"), ("tokens", "words", "characters"), _SPREAD
    ):
        row[f"{part}_{unit}_{value}"] = _known(length(told, part, value, unit=unit))
    row["answer_characters_log10"] = float(np.log10(max(length(told, "answer"), 1.0)))
    return row | {f"language_{key}": value for key, value in told["language"].items()}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _unusual(datasets: Sequence[Facts]) -> Iterable[str]:
    kinds = [row["kind"] for row in datasets]
    sources = sum(row["role"] == "source" for row in datasets)
    yield (
        f"{counted(sources, 'source')} and {counted(len(kinds) - sources, 'target')} are known: "
        f"{kinds.count('choice')} with choices, {kinds.count('text')} with text."
    )
    repeated = {_name(r): r["duplicates"] / r["rows"] for r in datasets}
    if found := _most(repeated, REPEATED):
        yield f"Rows that repeat another: {listed([f'{n} ({percent(v)})' for n, v in found])}."
    skewed = {_name(r): r for r in datasets if r["skew"] is not None}
    if found := _most({name: row["skew"] for name, row in skewed.items()}, SKEWED):
        told = [f"{n} ({percent(skewed[n]['majority'])} of one class)" for n, _ in found]
        yield f"Classes are far from balanced, so a constant answer scores well: {listed(told)}."
    for part in ("prompt", "answer"):
        sizes = {_name(r): r[f"{part}_characters_mean"] or 1 for r in datasets}
        middle = median(sizes.values())
        far = {name: max(size / middle, middle / size) for name, size in sizes.items()}
        if found := _most(far, LONGER):
            told = [f"{name} ({sizes[name]:,.0f} characters)" for name, _ in found]
            yield f"{part.title()}s ten times longer or shorter than the median: {listed(told)}."


def _alike(rows: Sequence[Facts]) -> Iterable[str]:
    other = {
        f"{row['source']} → {row['target']}": row["prompts"] or 0.0
        for row in rows
        if row["relation"] != "same task"
    }
    if found := _most(other, ALIKE):
        told = [f"{name} ({percent(value)})" for name, value in found]
        yield f"Not the same task, yet prompts share runs of five words: {listed(told)}."


def _missing(names: set[str]) -> Iterable[str]:
    if names:
        yield f"Of {counted(len(names), 'dataset')} there is no profile: {listed(sorted(names))}."


def _name(row: Facts) -> str:
    return f"{row['name']} ({row['role']})"


def _most(values: Mapping[str, float], least: float) -> list[tuple[str, float]]:
    """Those of at least so much, the largest first."""
    found = [(name, value) for name, value in values.items() if value >= least]
    return sorted(found, key=lambda item: -item[1])
