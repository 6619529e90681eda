"""What one change of a source, or of the tokens that carry its loss, did: cause, not correlation.

An edited source and its original are asked the same examples with the same seeds, so they are
compared pair by pair, with the inference of the matrix. Costs reading the outcomes of both; memory
is that of one target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.generalization.arms import series
from crosstune.analysis.wording import counted, listed, percent, points, probability
from crosstune.results.cells import RELATIONS
from crosstune.results.inference import Mixture, inference, moderated_variances, q_values
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.paired import Paired, bonett_price, paired
from crosstune.results.store import Store

SIGNIFICANT = 0.05
Way = tuple[str, str]
"""A source and a recipe: what a model was tuned on, and how."""
_WHOLE = ("completion", "all")
"""Losses that others are compared with, the first that is there."""
_DOING = {
    "balance": "balancing the classes",
    "skew": "skewing the classes",
    "shorten": "shortening the answers",
    "lengthen": "lengthening the answers",
    "shuffle_labels": "shuffling the labels",
    "rename_labels": "renaming the labels",
    "subset": "taking a part of the rows",
}
_TITLES = {
    "interventions": "Edited against original, target by target",
    "summary": "What each change did, by relation of the targets",
    "traits": "Whether the edit changed what it was to change",
}
_NOTES = {
    "interventions": "A row is one target asked of two models that differ in the edit alone: mean "
    "over seeds and the same examples, edited − original, 95 % interval. q is corrected within one "
    "change of one source, same-task targets apart from all others. A row without a difference "
    "lacks a score. Of several seeds the interval is about tuning anew, of one about these models.",
    "summary": "Mean difference over the targets of a relation, which count the same, with its "
    "95 % interval (for these targets); up and down count those with q below 0.05. detectable: "
    "half of the targets would have shown a difference of this size with a power of 80 %, before "
    "correction.",
    "traits": "Measured on the training rows as they were taught.",
}
_COLUMNS = {
    "interventions": "intervention source edit edited_source recipe condition target relation "
    "original_score edited_score difference low high p q detectable seeds examples",
    "summary": "intervention source edit recipe condition relation targets known difference low "
    "high up down detectable",
    "traits": "source edit recipe trait original edited",
}
_TRAITS = {
    "share of the largest class": ("majority",),
    "words in an answer": ("lengths", "answer", "words", "mean"),
    "rows": ("rows",),
}
_CLASSES, _WORDS, _ROWS = ({trait} for trait in _TRAITS)
_MEANT = {"balance": _CLASSES, "skew": _CLASSES, "shorten": _WORDS, "lengthen": _WORDS}
_MEANT["subset"] = _ROWS


@dataclass(frozen=True, slots=True)
class Intervention:
    """One change of one source, in every way it was tuned.

    Attributes:
        source: The original.
        change: In words.
        doing: The same as a verb, for sentences.
        meant: Measured traits that it is meant to change.
        ways: Original and edited, a pair for every recipe or set of recipes.
    """

    source: str
    change: str
    doing: str
    meant: frozenset[str]
    ways: tuple[tuple[Way, Way], ...]


def interventions_of(
    sources: Sequence[Mapping[str, Any]], recipes: Sequence[Mapping[str, Any]]
) -> tuple[list[Intervention], list[str]]:
    """What a study changed on purpose, and the edited sources whose original it lacks.

    The original of an edited source has the same tasks and no edits, else the longest beginning of
    its edits. Recipes that differ in loss alone are compared with `completion`, on every source
    without edits.

    Example:
        >>> plain, edit = {"name": "a", "tasks": ["t"]}, {"edit": "balance"}
        >>> changed = {"name": "b", "tasks": ["t"], "edits": [edit]}
        >>> found, alone = interventions_of([plain, changed], [{"name": "lora"}])
        >>> found[0].source, found[0].change, found[0].ways, alone
        ('a', 'balance', ((('a', 'lora'), ('b', 'lora')),), [])
    """
    found, alone = [], []
    names = [recipe["name"] for recipe in recipes]
    for source in sources:
        edits = source.get("edits") or []
        near = [each for each in sources if edits and _is_before(each, source)]
        if near:
            origin = max(near, key=lambda each: (not each.get("edits"), _edits(each)))
            new, pair = edits[_edits(origin) :], (origin["name"], source["name"])
            ways = tuple(((pair[0], name), (pair[1], name)) for name in names)
            told = " + ".join(map(_in_words, new)), " and ".join(map(_doing, new)) + " of"
            meant = {trait for edit in new for trait in _MEANT.get(edit["edit"], ())}
            found.append(Intervention(pair[0], *told, frozenset(meant), ways))
        elif edits:
            alone.append(source["name"])
    plain = [source["name"] for source in sources if not source.get("edits")]
    for losses in series({recipe["name"]: recipe for recipe in recipes}, "loss"):
        first = next((name for w in _WHOLE for name in losses if losses[name] == w), None)
        for name, loss in losses.items():
            if first is not None and loss != losses[first]:
                what = f"loss on {_spaced(loss)} instead of {_spaced(losses[first])}"
                told = (what, f"{what}, tuned on")
                found += [
                    Intervention(at, *told, frozenset(), (((at, first), (at, name)),))
                    for at in plain
                ]
    return found, alone


def _is_before(origin: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    """Whether one source is another one before (some of) its edits."""
    rest = [
        {name: value for name, value in each.items() if name not in ("name", "edits")}
        for each in (origin, source)
    ]
    count = _edits(origin)
    same = list(origin.get("edits") or []) == list(source["edits"])[:count]
    return rest[0] == rest[1] and same and count < _edits(source)


def _edits(source: Mapping[str, Any]) -> int:
    return len(source.get("edits") or [])


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")


def _details(edit: Mapping[str, Any]) -> str:
    """What an edit says beyond its name.

    Example:
        >>> _details({"edit": "skew", "label": "yes", "share": 0.9}), _details({"edit": "balance"})
        ('90 % yes', '')
    """
    told = {
        "share": lambda share: f"{percent(share)} {edit.get('label', '')}".strip(),
        "words": lambda words: f"{edit.get('keep', 'begin')} of {counted(words, 'word')}",
        "to": lambda to: "own names" if edit.get("names") else f"to {to}",
        "examples": lambda count: counted(count, "example"),
        "labels": lambda labels: f"only {', '.join(labels)}",
        "shortest": lambda share: f"shortest {percent(share)}",
        "longest": lambda share: f"longest {percent(share)}",
    }
    return ", ".join(tell(edit[name]) for name, tell in told.items() if edit.get(name))


def _in_words(edit: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (_spaced(edit["edit"]), _details(edit)) if part)


def _doing(edit: Mapping[str, Any]) -> str:
    details = _details(edit)
    return _DOING.get(edit["edit"], _spaced(edit["edit"])) + (f" ({details})" if details else "")


def against_originals(
    originals: Float[np.ndarray, "cells seeds examples"],
    edited: Float[np.ndarray, "cells seeds examples"],
) -> Paired:
    """Sums of models compared each with an original of its own and the same seed.

    Args:
        originals: Outcomes in [0, 1].
        edited: For the same examples and seeds.

    Returns:
        Sums whose `base` is the original's score and whose `gain` is edited − original.

    Example:
        >>> found = against_originals(np.array([[[0.0, 0, 1]]]), np.array([[[1.0, 1, 0]]]))
        >>> int(found.up[0]), int(found.down[0])
        (2, 1)
    """
    if originals.shape[1] == 1 and np.isin([originals, edited], (0, 1)).all():
        pairs = zip(originals, edited, strict=True)
        return Paired.joined([paired(before[0], after[None]) for before, after in pairs])
    # All else depends on the differences alone, which half their size keeps within outcomes.
    halved = paired(np.full(originals.shape[2], 0.5), 0.5 + (edited - originals) / 2)
    # Where none differs, what is added to the bootstrap is of full size already.
    ends = np.where(halved.differing > 0, 2.0, 1.0)
    squared = {name: 4 * getattr(halved, name) for name in _SQUARED}
    low, high = ends * halved.low, ends * halved.high
    score = originals.mean(axis=(1, 2))
    return replace(halved, base=score, gain=2 * halved.gain, low=low, high=high, **squared)


_SQUARED = ("squares", "shared", "seed_variance", "residual")


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """One target asked of two ways to tune that differ in one thing; rows by seed."""

    place: int
    each: Intervention
    after: Way
    condition: str
    target: str
    relation: str
    originals: Mapping[int, Row]
    edited: Mapping[int, Row]

    @property
    def is_known(self) -> bool:
        rows = [*self.originals.values(), *self.edited.values()]
        return {*self.originals} == {*self.edited} and all(row.status == "done" for row in rows)

    @property
    def by_seed(self) -> Float[np.ndarray, " seeds"]:
        return np.array([_score(self.edited[s]) - _score(self.originals[s]) for s in self.edited])

    def facts(self) -> Facts:
        """What a table says of it beside the numbers that are concluded."""
        told = {"original_score": self.originals, "edited_score": self.edited}
        scores = {name: [row.score for row in rows.values()] for name, rows in told.items()}
        return {
            "intervention": f"{self.each.source}: {self.each.change}",
            "source": self.each.source,
            "edit": self.each.change,
            "edited_source": self.after[0],
            "recipe": self.after[1],
            "condition": self.condition,
            "target": self.target,
            "relation": self.relation,
        } | {name: None if None in all_ else float(np.mean(all_)) for name, all_ in scores.items()}


def _score(row: Row) -> float:
    assert row.score is not None
    return row.score


@ANALYSES.add("interventions")
def interventions(store: Store, matrix: TransferMatrix) -> Analysis:
    """What changing one trait of a source, and nothing else, did to every target."""
    title = "What edits of a source caused"
    study = store.study.get("study", {})
    planned, alone = interventions_of(study.get("sources", []), study.get("recipes", []))
    pairs = _pairs(matrix, planned, ways=[way["name"] for way in study.get("conditions", [])])
    if not pairs:
        why = "No source has edits and no recipes differ in loss alone"
        why = f"No original is there for {listed(alone)}" if alone else why
        return Analysis("interventions", title, (f"{why}: nothing tells causes.",), ())
    sums, known = _read(store, pairs)
    rows = _rows(pairs, sums, known)
    found = {
        "interventions": rows,
        "summary": _summary(pairs, rows, sums=sums, known=known),
        "traits": _traits(store, planned),
    }
    tables = tuple(
        Table.of(name, _TITLES[name], _NOTES[name], columns=_COLUMNS[name].split(), rows=told)
        for name, told in found.items()
        if told
    )
    sentences = (*_effects(rows, found["traits"], planned), *_limits(rows, alone))
    columns = {"name": "target", "value": "difference", "low": "low", "high": "high"}
    columns |= {"panel": "intervention", "series": "relation"}
    note = "A line that crosses zero shows no effect; a drawing is one change of one source."
    figure = Figure("dots", "interventions", "Edited minus original, by target", note, columns)
    return Analysis("interventions", title, sentences, tables, (figure,))


def _pairs(
    matrix: TransferMatrix, planned: Sequence[Intervention], *, ways: Sequence[str]
) -> list[_Pair]:
    """Every target and condition of every intervention, in the order that tables have.

    Args:
        matrix: The study's, or a slice of it.
        planned: What was changed.
        ways: Conditions in the order of the study.
    """
    models: dict[Way, dict[tuple[str, str], dict[int, Row]]] = {}
    for row in matrix.rows:
        if row.main:
            spots = models.setdefault((row.source, row.recipe), {})
            spots.setdefault((row.condition, row.target), {})[row.seed] = row
    found = []
    for place, each in enumerate(planned):
        for before, after in each.ways:
            spots = [models.get(way, {}) for way in (before, after)]
            both = [
                _Pair(place, each, after, *spot, row.relation, spots[0][spot], spots[1][spot])
                for spot in spots[0].keys() & spots[1].keys()
                for row in [*spots[1][spot].values()][:1]
            ]
            order = {name: i for i, name in enumerate(ways)}
            found += sorted(
                both,
                key=lambda p: (order[p.condition], RELATIONS.index(p.relation), p.target),
            )
    return found


def _read(store: Store, pairs: Sequence[_Pair]) -> tuple[Paired | None, list[int]]:
    """Sums of the pairs whose scores are all there, and which these are."""
    spots: dict[tuple[Any, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        if pair.is_known:
            spots.setdefault((pair.target, pair.condition, *sorted(pair.edited)), []).append(i)
    parts, where = [], []
    for (_, _, *seeds), members in spots.items():
        sides = [(pairs[i].originals, pairs[i].edited) for i in members]
        needed = {rows[s].key: rows[s].metric for side in sides for rows in side for s in seeds}
        # The matrix has found that all of them were asked the examples that the base was asked.
        read = {
            key: pq.read_table(store.outcomes(key), columns=[metric])[metric].to_numpy()
            for key, metric in needed.items()
        }
        before, after = (
            np.array([[read[side[which][s].key] for s in seeds] for side in sides])
            for which in (0, 1)
        )
        parts.append(against_originals(before, after))
        where += members
    return (Paired.joined(parts) if parts else None), where


def _rows(pairs: Sequence[_Pair], sums: Paired | None, known: Sequence[int]) -> list[Facts]:
    """The table of all pairs, with what can be concluded of those that are known."""
    rows = [pair.facts() for pair in pairs]
    if len({row["condition"] for row in rows}) > 1:
        for row in rows:
            row["intervention"] += f" ({row['condition']})"
    if sums is None:
        return rows
    own = [pairs[i] for i in known]
    found = inference(
        sums,
        pools=_codes(
            (pair.condition, row.metric) for pair in own for row in [*pair.edited.values()][:1]
        ),
        sources=_codes((pair.place, pair.after) for pair in own),
    )
    families = _codes((pair.place, pair.relation == RELATIONS[0]) for pair in own)
    columns = {
        "difference": sums.gain,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "q": q_values(found.p, families=families),
        "detectable": found.detectable,
        "seeds": sums.seeds,
        "examples": sums.n,
    }
    for k, i in enumerate(known):
        rows[i] |= {name: values[k].item() for name, values in columns.items()}
    return rows


def _codes(names: Iterable[Any]) -> Int[np.ndarray, " things"]:
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _summary(
    pairs: Sequence[_Pair], rows: Sequence[Facts], *, sums: Paired | None, known: Sequence[int]
) -> list[Facts]:
    """A row for every intervention, way and relation, known or not."""
    at = {i: k for k, i in enumerate(known)}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault((pair.place, pair.after, pair.condition, pair.relation), []).append(i)
    told = []
    for members in groups.values():
        there = [rows[i] for i in members if i in at]
        told.append({name: rows[members[0]][name] for name in _SHARED})
        told[-1] |= {"targets": len(members), "known": len(there)}
        if there:
            moved = [row["difference"] for row in there if row["q"] < SIGNIFICANT]
            told[-1] |= {
                "difference": float(np.mean([row["difference"] for row in there])),
                "up": sum(gain > 0 for gain in moved),
                "down": sum(gain < 0 for gain in moved),
                "detectable": float(np.median([row["detectable"] for row in there])),
            }
    if sums is not None:
        some = [[at[i] for i in members if i in at] for members in groups.values()]
        by_seed = [pairs[i].by_seed for i in known]
        ends = mean_intervals(
            sums,
            by_seed,
            groups=[members for members in some if members],
            models=len({(pairs[i].place, pairs[i].after) for i in known}),
        )
        for row, low, high in zip((r for r in told if r["known"]), *ends, strict=True):
            row |= {"low": float(low), "high": float(high)}
    return told


_SHARED = ("intervention", "source", "edit", "recipe", "condition", "relation")


def mean_intervals(
    cells: Paired,
    by_seed: Sequence[Float[np.ndarray, " _"]],
    *,
    groups: Sequence[Sequence[int]],
    models: int,
) -> tuple[Float[np.ndarray, " groups"], Float[np.ndarray, " groups"]]:
    """95 % intervals of mean gains over groups of cells, each cell with examples of its own.

    A seed moves all cells of its model, so the seeds' variance is that of the mean over the group;
    it is moderated over all groups.

    Args:
        cells: Sums, all of as many seeds.
        by_seed: Each cell's gain by seed, in one order.
        groups: Positions of the cells of each mean.
        models: How many models' seeds tell of the variance.

    Returns:
        Lower and upper ends.

    Source:
        Bonett & Price (2012) for a cell; Smyth (2004) for the moderated variance.
    """
    centre, error = bonett_price(cells.gain, cells.squares, cells.n, differing=cells.differing)
    seeds = int(cells.seeds[0])
    closed, share = np.square(error), cells.residual / (cells.seeds * cells.n)

    def summed(values: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " groups"]:
        return np.array([values[[*members]].sum() / len(members) ** 2 for members in groups])

    variance, freedom = np.zeros(len(groups)), 1.0
    if seeds > 1:
        means = [np.mean([by_seed[k] for k in members], axis=0) for members in groups]
        own = np.array([mean.var(ddof=1) for mean in means])
        found, worth = moderated_variances(own, freedom=seeds - 1)
        variance, freedom = found / seeds, min(worth, float(models * (seeds - 1)))
    return Mixture.of(
        np.array([centre[[*members]].mean() for members in groups]),
        summed(closed),
        seeds=variance,
        freedom=np.full(len(groups), freedom),
        interaction=summed(share) if seeds > 1 else np.zeros(len(groups)),
    ).interval()


def _traits(store: Store, planned: Sequence[Intervention]) -> list[Facts]:
    """Measured traits of original and edited rows, where the study has stored them."""
    keys = {(row["source"], row["recipe"]): row.get("source_profile") for row in store.plan()}
    told = []
    for each in planned:
        for before, after in each.ways:
            if before[0] != after[0]:
                profiles = [_profile(store, keys.get(way)) for way in (before, after)]
                shared: Facts = {"source": each.source, "edit": each.change, "recipe": after[1]}
                for trait, path in _TRAITS.items():
                    values = [_found(profile, path) for profile in profiles]
                    if None not in values:
                        pair = zip(("original", "edited"), values, strict=True)
                        told.append(shared | {"trait": trait} | dict(pair))
    return told


def _profile(store: Store, key: str | None) -> Mapping[str, Any]:
    found = store.profile(key) if key else None
    return found or {}


def _found(profile: Any, path: Sequence[str]) -> float | None:
    for name in path:
        profile = profile.get(name) if isinstance(profile, Mapping) else None
    return float(profile) if isinstance(profile, (int, float)) else None


def _effects(
    rows: Sequence[Facts], traits: Sequence[Facts], planned: Sequence[Intervention]
) -> Iterator[str]:
    """A sentence for every change, what moved most first."""
    named = {each.change: each for each in planned}
    by_change: dict[str, list[Facts]] = {}
    for row in rows:
        by_change.setdefault(row["edit"], []).append(row)
    ordered = sorted(
        by_change.items(),
        key=lambda item: (
            -max((abs(row["difference"]) for row in item[1] if _moved(row)), default=0)
        ),
    )
    for change, its in ordered[:_MOST]:
        meant = named[change].meant
        shown = [row for row in traits if row["edit"] == change and row["trait"] in meant]
        yield _effect(named[change].doing, its, shown)
    if left := ordered[_MOST:]:
        yield f"{counted(len(left), 'more change')} in the table: {listed([c for c, _ in left])}."


_MOST = 5


def _moved(row: Mapping[str, Any]) -> bool:
    return bool(row.get("q", 1.0) < SIGNIFICANT)


def _effect(doing: str, rows: Sequence[Facts], traits: Sequence[Facts]) -> str:
    """What one change did, on all sources that have it, in the first way of tuning and asking."""
    sources = [*dict.fromkeys(row["source"] for row in rows)]
    way = (rows[0]["recipe"], rows[0]["condition"])
    ways = {(row["recipe"], row["condition"]) for row in rows}
    known = [row for row in rows if "q" in row]
    first = [row for row in known if (row["recipe"], row["condition"]) == way]
    same = [row for row in first if row["relation"] == RELATIONS[0]]
    rest = [row for row in first if row["relation"] != RELATIONS[0]]
    who = sources[0] if len(sources) == 1 else counted(len(sources), "source")
    parts = [
        listed(
            [
                f"{points(row['difference'])} points on {_where(row)} ({points(row['low'])} to "
                f"{points(row['high'])}, q {probability(row['q'])})"
                for row in sorted(same, key=lambda row: -abs(row["difference"]))
            ],
            4,
        )
    ] * bool(same)
    parts += [_elsewhere(rest, other=bool(same))] * bool(rest)
    parts += ["no score is known"] * (not first)
    if len(ways) > 1:
        others = [row for row in known if (row["recipe"], row["condition"]) != way]
        parts.append(
            f"in the other {counted(len(ways) - 1, 'way')} of tuning and asking "
            f"{sum(map(_moved, others)):,} of {len(others):,} differences are beyond chance"
        )
    told = f"{doing[0].upper()}{doing[1:]} {who}{_shown(traits, rows[0]['recipe'])}"
    return f"{told}{f' ({", ".join(way)})' if len(ways) > 1 else ''}: {'; '.join(parts)}."


def _where(row: Mapping[str, Any]) -> str:
    same = row["source"] == row["target"]
    return str(row["target"]) if same else f"{row['source']} → {row['target']}"


def _elsewhere(rows: Sequence[Facts], *, other: bool) -> str:
    """How many targets of other tasks rose and fell, and the largest of these changes."""
    moved = sorted(filter(_moved, rows), key=lambda row: -abs(row["difference"]))
    several = len({row["source"] for row in rows}) > 1
    what = f"{'other ' * other}{'pair of source and target' if several else 'target'}"
    if not moved:
        return f"no {what} changed measurably, of {len(rows):,}"
    named = [
        f"{_where(row) if several else row['target']} {points(row['difference'])}" for row in moved
    ]
    up = sum(row["difference"] > 0 for row in moved)
    what = what.replace("pair of", "pairs of") if several else f"{what}s"
    return (
        f"of {len(rows):,} {what} {len(moved) - up:,} fell and {up:,} rose measurably: "
        f"{listed(named, 4)}"
    )


def _shown(traits: Sequence[Facts], recipe: str) -> str:
    """The measured traits that the edit was meant to change, before and after."""
    told = [
        f"{row['trait']} {row['original']:.3g} → {row['edited']:.3g}"
        for row in traits
        if row["recipe"] == recipe
    ]
    return f" [{listed(told, 3)}]" if told else ""


def _limits(rows: Sequence[Facts], alone: Sequence[str]) -> Iterator[str]:
    """What the differences do not tell."""
    known = [row for row in rows if "q" in row]
    missing = [f"{r['edited_source']} → {r['target']}" for r in rows if "q" not in r]
    if known:
        half = float(np.median([row["detectable"] for row in known]))
        yield (
            "A difference that is not shown is not shown to be zero: half of the comparisons would "
            f"have shown {100 * half:.1f} points with a power of 80 %, before correction."
        )
        if max(row["seeds"] for row in known) == 1:
            yield (
                "One seed: differences are between these very models; tuning anew moves them too, "
                "so one model's difference is no proof of what its edit causes."
            )
    if missing:
        yield (
            f"{len(missing):,} of {len(rows):,} comparisons lack a score and stay empty: "
            f"{listed(missing, 4)}."
        )
    if alone:
        yield f"Not compared, as the study lacks the original: {listed([*alone])}."
