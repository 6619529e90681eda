"""Side effects: what is planted is found, nothing is invented, what is missing stays missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from analysis.made import BASE, Made, key
from crosstune.analysis.findings import Analysis
from crosstune.analysis.generalization import generalization
from crosstune.analysis.outcomes.summaries import Counts, change, lengths
from crosstune.analysis.side_effects import asymmetry, length_pull, side_effects
from crosstune.analysis.side_effects.harm import by_source
from crosstune.results.inference import moderated_variances
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.tasks.profile import EDGES

TEXTS = ("a", "b", "c", "d")
WAY = ("source", "recipe", "condition")
SKEWED = {"labels": {"no": 70, "yes": 30}}
MADE = Made(
    sources={"a": ["left"], "b": ["right"], "mood": ["moods"]},
    targets={"a": "left", "b": "right", "c": "none", "d": "none", "mood": "moods", "feel": "moods"},
    recipes={"plain": {}},
    conditions={"zero": {}},
    seeds=(0,),
    texts=frozenset(TEXTS),
    labels={"mood": ["no", "yes"]},
    n=dict.fromkeys((*TEXTS, "mood", "feel"), 200),
    classes={"mood": ["no", "yes"], "feel": ["no", "yes"]},
    profiles={"mood": SKEWED},
)
Ranked = tuple[np.ndarray, np.ndarray]


def luck(*spot: Any) -> np.random.Generator:
    return np.random.default_rng(int(key(*spot)[:8], 16))


def judged(*spot: Any) -> Ranked:
    """The base is right in three of four; models tuned on `mood` say no more often."""
    source, *_, target, n = spot
    draw = luck(target)
    labels, noise = draw.integers(0, 2, n), draw.normal(size=(n, 2))
    sums = noise + np.eye(2)[labels] + 0.3 * luck(*spot).normal(size=(n, 2))
    return labels, sums + np.array([1.5, 0.0]) * (source == "mood")


def level(effects: dict[tuple[str, str], float]) -> Callable[..., np.ndarray]:
    """Scores of texts, 0 or 1: six of ten with the base, and what is planted."""

    def values(*spot: Any) -> np.ndarray:
        source, *_, target, n = spot
        own = luck(*spot)
        hard = np.where(
            own.uniform(size=n) < 0.3, own.uniform(size=n), luck(target).uniform(size=n)
        )
        outcomes: np.ndarray = (hard < 0.6 + effects.get((source, target), 0.0)) * 1.0
        return outcomes

    return values


NULL = level({})


def found(made: Made, folder: Path, values: Callable[..., np.ndarray] = NULL) -> Analysis:
    return side_effects(*made.changed(ranked=made.ranked or judged).write(folder, values))


def rows(analysis: Analysis, name: str) -> list[dict[str, Any]]:
    return next((t.rows.to_pylist() for t in analysis.tables if t.name == name), [])


def test_planted_harm_and_help_are_counted_the_worst_source_first(tmp_path: Path) -> None:
    effects = {("b", "c"): -0.4, ("b", "d"): -0.3, ("a", "c"): 0.3, ("a", "a"): 0.3}
    analysis = found(MADE, tmp_path, level(effects))
    worst, *_ = told = rows(analysis, "sources")
    assert (worst["source"], worst["harmed"], worst["helped"]) == ("b", 2, 0)
    assert (worst["worst_target"], worst["forgotten"], worst["targets"]) == ("c", 2, 5)
    (a,) = (row for row in told if row["source"] == "a")
    assert (a["harmed"], a["helped"], a["best_target"]) == (0, 1, "c")
    assert a["own_gain"] == pytest.approx(0.3, abs=0.12)
    assert "b harms 2 of 5 targets and helps 0 (worst: c −" in analysis.sentences[1]
    gains = {(row["source"], row["target"]): row for row in rows(analysis, "forgetting")}
    assert {pair for pair, row in gains.items() if row["fell"]} >= {("b", "c"), ("b", "d")}
    kept = gains["b", "c"]
    assert kept["kept_share"] == pytest.approx(kept["score"] / kept["base"])
    assert any(s.startswith("Forgetting: ") and "b → c" in s for s in analysis.sentences)
    assert analysis.sentences[-1].startswith("One seed: ")


def test_the_worst_target_is_one_that_was_harmed_beyond_chance() -> None:
    told = [("noisy", -0.5, 0.2), ("sure", -0.3, 0.01), ("up", 0.1, 0.01), ("luck", 0.6, 0.3)]
    cells = [cell("a", target, gain, 0.1, q=q) for target, gain, q in told]
    (row,) = by_source([*cells, cell("a", "gap", None, np.nan, q=None)], [])
    assert (row["worst_target"], row["worst_gain"]) == ("sure", -0.3)
    assert (row["best_target"], row["best_gain"]) == ("up", 0.1)
    counts = ("targets", "harmed", "helped", "unchanged", "unknown")
    assert [row[name] for name in counts] == [5, 1, 1, 2, 1]
    (row,) = by_source(cells[:1], [])
    assert "worst_target" not in row


def test_a_base_just_above_chance_has_nothing_to_forget(tmp_path: Path) -> None:
    def barely(*spot: Any) -> Ranked:
        place = np.arange(spot[-1])
        answer = np.where(place % 25 < 14, place, place + 1) % 2  # 56 % are right
        return place % 2, np.eye(2)[answer]

    analysis = found(MADE.changed(ranked=barely), tmp_path)
    targets = {row["target"] for row in rows(analysis, "forgetting")}
    assert targets == set(TEXTS)


def test_only_what_the_base_clearly_can_is_forgotten(tmp_path: Path) -> None:
    """A base that guesses, or always says the frequent class, has nothing to lose."""

    def guessing(*spot: Any) -> Ranked:
        labels, sums = judged(*spot)
        if spot[-2] == "feel":  # nine of ten are `no`, and the base says little else
            labels = (luck("feel").uniform(size=spot[-1]) < 0.1) * 1
            sums = np.tile([1.0, 0.0], (spot[-1], 1)) * (1 if spot[0] == BASE else -1)
        return labels, sums

    analysis = found(MADE.changed(ranked=guessing), tmp_path)
    targets = {row["target"] for row in rows(analysis, "forgetting")}
    assert "feel" not in targets
    assert targets >= {"a", "b", "c", "d"}
    told = {row["target"]: row["chance_score"] for row in rows(analysis, "forgetting")}
    assert told["a"] == 0.0
    assert told["mood"] >= 0.5
    (row, *_) = (row for row in rows(analysis, "forgetting") if row["target"] == "mood")
    above = [row[name] - row["chance_score"] for name in ("score", "base")]
    assert row["kept_share"] == pytest.approx(above[0] / above[1])
    harmed = [row for row in rows(analysis, "sources") if row["worst_target"] == "feel"]
    assert harmed, "it is harmed all the same"


def cell(source: str, target: str, gain: float | None, error: float, **more: Any) -> dict[str, Any]:
    facts = {"source": source, "target": target, "recipe": "r", "condition": "c", "seeds": 1}
    facts |= {"relation": "cross-task", "gain": gain, "examples_error": error}
    return facts | {"seeds_error": None} | more


def test_asymmetry_is_the_test_of_two_independent_means() -> None:
    cells = [cell("a", "b", -0.1, 0.03), cell("b", "a", 0.05, 0.04), cell("a", "a", 0.5, 0.01)]
    (row,) = asymmetry(cells, {"a": "a", "b": "b"})
    assert (row["first"], row["second"]) == ("b", "a")
    assert row["difference"] == pytest.approx(0.15)
    assert row["p"] == pytest.approx(2 * norm.sf(3.0))
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, 0.15, 0.05), abs=1e-5)
    assert asymmetry([*cells[:1], cell("b", "a", None, np.nan)], {"a": "a", "b": "b"}) == []
    assert asymmetry(cells, {"a": "a"}) == []
    seeds = [row | {"seeds": 2, "seeds_error": 0.02} for row in cells]
    (wider,) = asymmetry(seeds, {"a": "a", "b": "b"})
    assert wider["high"] - wider["low"] > row["high"] - row["low"]


def test_of_symmetric_tasks_few_are_said_to_be_asymmetric() -> None:
    draw, claims, hits = np.random.default_rng(0), [], []
    names = [f"t{i}" for i in range(5)]
    tasks = dict(zip(names, names, strict=True))
    for _ in range(300):
        common = {frozenset((a, b)): draw.normal(0, 0.1) for a in names for b in names}
        cells = []
        for a in names:
            for b in names:
                error, spread = draw.uniform(0.01, 0.05), 0.02
                own = draw.normal(0, spread, 2)
                gain = common[frozenset((a, b))] + draw.normal(0, error) + own.mean()
                more = {"seeds": 2, "seeds_error": spread / np.sqrt(2)}
                cells.append(cell(a, b, gain, error, **more))
        told = asymmetry(cells, tasks)
        claims.append(any(row["q"] < 0.05 for row in told))
        hits += [row["low"] <= 0 <= row["high"] for row in told]
    assert np.mean(claims) <= 0.05
    assert np.mean(hits) >= 0.945


def test_models_that_a_seed_moves_unequally_are_not_said_to_be_asymmetric() -> None:
    draw, claims = np.random.default_rng(1), []
    names = [f"t{i}" for i in range(6)]
    for _ in range(150):
        spread = {name: draw.choice([0.01, 0.2]) for name in names}
        spots = [(a, b) for a in names for b in names if a != b]
        seeds = np.array([draw.normal(0, spread[a], 2) for a, _ in spots])
        known = moderated_variances(seeds.var(axis=1, ddof=1), freedom=1)[0]
        cells = [
            cell(a, b, draw.normal(0, 0.03) + own.mean(), 0.03, seeds=2, seeds_error=error)
            for (a, b), own, error in zip(spots, seeds, np.sqrt(known / 2), strict=True)
        ]
        told = asymmetry(cells, dict(zip(names, names, strict=True)))
        claims.append(any(row["q"] < 0.05 for row in told))
    assert np.mean(claims) <= 0.08


def test_labels_written_for_text_are_those_of_generalization(tmp_path: Path) -> None:
    spots = [("mood", "plain", 0, "zero", target) for target in ("a", "b")]
    made = MADE.changed(
        answers=dict(zip(spots, (" No.", "no way"), strict=True)),
        labels={"mood": ["no", "maybe"]},  # `yes` is what all texts should be
        profiles={},
        ranked=judged,
    )
    store, matrix = made.write(tmp_path, NULL)
    ours = rows(side_effects(store, matrix), "labels")
    theirs = {row["target"]: row for row in rows(generalization(store, matrix), "collapse")}
    assert {row["target"] for row in ours} == set(TEXTS)
    for row in ours:
        assert row["tuned_share"] == theirs[row["target"]]["tuned"]
        assert row["base_share"] == theirs[row["target"]]["base"]
    assert ours[0]["target"] == "a"
    assert ours[0]["tuned_share"] == 1.0
    right = made.changed(labels={"mood": ["no", "yes"]}).write(tmp_path / "right", NULL)
    assert rows(side_effects(*right), "labels") == []
    told = " ".join(side_effects(store, matrix).sentences)
    assert "in 1 of 4 cells, most often mood → a 100 % (base 0 %)" in told


def counts(texts: np.ndarray, base: np.ndarray | None = None) -> Counts:
    """Of models × examples characters."""
    longer = None if base is None else change(np.log1p(texts) - np.log1p(base))
    middle = float(np.median(texts))
    pooled = lengths(texts.ravel())
    error = float(np.log1p(texts).mean(axis=0).std() / np.sqrt(texts.shape[1]))
    return Counts(len(texts), 0.0, None, None, pooled, middle, error, longer=longer)


def test_the_pull_is_where_the_length_went_between_base_and_source() -> None:
    base = np.array([[3, 7, 15, 31]] * 60).reshape(1, -1)
    source = lengths(np.array([127] * 300)).tolist()
    same = length_pull(counts(base, base), counts(base), source, examples=240)
    assert same is not None
    assert same[0] == 0
    all_the_way = np.full_like(base, 127)
    there = length_pull(counts(all_the_way, base), counts(base), source, examples=240)
    assert there is not None
    assert there[0] == pytest.approx(1.0, abs=0.05)  # lengths are counted in bins
    half = np.expm1((np.log1p(base) + np.log1p(127)) / 2).astype(int)
    pull = length_pull(counts(half, base), counts(base), source, examples=240)
    assert pull is not None
    assert pull[1] < pull[0] < pull[2]
    assert pull[0] == pytest.approx(0.5, abs=0.05)
    near = lengths(base.ravel()).tolist()
    assert length_pull(counts(half, base), counts(base), near, examples=240) is None


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_interval_of_a_pull_holds_the_truth(seeds: int) -> None:
    draw, hits = np.random.default_rng(2), []
    for _ in range(400):
        pull, n = draw.uniform(-0.2, 1.1), 150
        latent = draw.normal(3.5, 0.6, n)
        base = np.exp(latent)
        tuned = np.exp(latent + pull * 1.2 + draw.normal(0, 0.5, (seeds, n)))
        source = np.exp(draw.normal(4.7, 0.6, 200))
        texts = [np.rint(each).astype(int) for each in (tuned, base[None], source)]
        ends = length_pull(
            counts(texts[0], texts[1]), counts(texts[1]), lengths(texts[2]).tolist(), examples=n
        )
        if ends is not None:
            hits.append(ends[1] <= pull <= ends[2])
    assert len(hits) > 390
    assert 0.93 <= np.mean(hits) <= 0.975


def test_pulled_lengths_and_drawn_classes_are_found(tmp_path: Path) -> None:
    answers = {("a", "plain", 0, "zero", "c"): "word"}
    counted = [0] * (len(EDGES) + 1)
    counted[int(np.searchsorted(EDGES, 4, side="right"))] = 100
    profile = {"lengths": {"answer": {"characters": {"counts": counted}}}}
    made = MADE.changed(answers=answers, profiles={"mood": SKEWED, "a": profile})
    analysis = found(made, tmp_path)
    pulled = {(row["source"], row["target"]): row for row in rows(analysis, "pull")}
    assert {target for _, target in pulled} == set(TEXTS)
    assert pulled["a", "c"]["pull"] == pytest.approx(1.0)
    assert pulled["a", "d"]["pull"] == 0.0
    assert pulled["mood", "c"]["q"] == 1.0
    text = next(s for s in analysis.sentences if s.startswith("Length: "))
    assert "strongest: a → c 1.00" in text
    drift = {(row["source"], row["target"]): row for row in rows(analysis, "drift")}
    assert set(drift) == {("mood", "mood"), ("mood", "feel")}
    row = drift["mood", "feel"]
    assert (row["label"], row["source_share"]) == ("no", 0.7)
    assert row["difference"] > 0.1
    assert row["q"] < 0.05
    before, after = (abs(row[f"{side}_share"] - 0.7) for side in ("base", "tuned"))
    assert (row["base_distance"], row["tuned_distance"]) == pytest.approx((before, after))
    assert any(s.startswith("Classes: ") and "mood → feel 'no'" in s for s in analysis.sentences)


def test_edited_sources_are_left_out(tmp_path: Path) -> None:
    store, _ = MADE.changed(ranked=judged).write(tmp_path, level({("b", "c"): -0.5}))
    study = json.loads((tmp_path / "study.json").read_text())
    sources = study["study"]["sources"]
    edits = {"edits": [{"edit": "balance"}]}
    sources[1] |= edits  # of a task that is no source without edits, so no copy
    sources[2] |= edits | {"tasks": sources[0]["tasks"]}
    (tmp_path / "study.json").write_text(json.dumps(study))
    store = Store(tmp_path)
    analysis = side_effects(store, TransferMatrix.of(store))
    for table in analysis.tables:
        columns = set(table.rows.column_names) & {"source", "first", "second"}
        assert all("mood" not in table.rows[name].to_pylist() for name in columns)
    assert rows(analysis, "asymmetry")  # a and b
    assert {table.name for table in analysis.tables} == {
        "sources",
        "forgetting",
        "asymmetry",
        "pull",
    }


def test_missing_cells_stay_missing_and_are_told(tmp_path: Path) -> None:
    gaps = {("b", "plain", 1, "zero", "c"), (BASE, BASE, 0, "zero", "d")}
    analysis = found(MADE.changed(seeds=(0, 1), missing=frozenset(gaps)), tmp_path)
    told = {row["source"]: row for row in rows(analysis, "sources")}
    assert {name: row["unknown"] for name, row in told.items()} == {"a": 1, "b": 2, "mood": 1}
    unknown = {"relation": "cross-task", "recipe": "r", "condition": "c", "gain": None, "q": None}
    known = unknown | {"gain": 0.1, "q": 0.9}
    spots = (("x", unknown), ("y", known))
    order: list[dict[str, Any]] = [{"source": s, "target": "t"} | row for s, row in spots]
    assert [row["source"] for row in by_source(order, [])] == ["y", "x"]
    assert "4 cells more lack scores" in analysis.sentences[0]
    assert not any("One seed" in sentence for sentence in analysis.sentences)
    pairs = {(row["source"], row["target"]) for row in rows(analysis, "forgetting")}
    assert ("b", "c") not in pairs
    assert ("a", "c") in pairs
    assert not [pair for pair in pairs if pair[1] == "d"]
    nothing = MADE.changed(missing=frozenset({(BASE, BASE, 0, "zero", t) for t in MADE.targets}))
    analysis = found(nothing, tmp_path / "nothing")
    assert (analysis.tables, analysis.sentences) == ((), ("No gain is known yet.",))


def test_the_order_of_the_plan_plays_no_part(tmp_path: Path) -> None:
    made = MADE.changed(seeds=(0, 1), recipes={"plain": {}, "more": {"examples": 200}})
    effects = level({("b", "c"): -0.4, ("a", "b"): -0.2})
    first = found(made, tmp_path / "1", effects)
    second = found(made.changed(shuffled=True), tmp_path / "2", effects)
    for ours, theirs in zip(first.tables, second.tables, strict=True):
        names = [
            name for name in ("first", "second", *WAY, "target") if name in ours.rows.schema.names
        ]
        order = [(name, "ascending") for name in names]
        sides = [side.rows.sort_by(order).to_pydict() for side in (ours, theirs)]
        for column, values in sides[0].items():
            for one, other in zip(values, sides[1][column], strict=True):
                assert one == (pytest.approx(other) if isinstance(other, float) else other)
    assert first.sentences == second.sentences


def test_of_tuning_that_does_nothing_few_effects_are_told(tmp_path: Path) -> None:
    """Over the families of tests of many studies, false claims are as rare as they may be."""
    fell, drawn, asymmetric, studies = 0, 0, 0, 12
    for study in range(studies):
        names = [f"{study}-{i}" for i in range(4)]
        made = Made(
            sources={name: [name] for name in names[:2]},
            targets={name: name for name in names},
            recipes={"plain": {}},
            conditions={"zero": {}},
            seeds=(0,),
            texts=frozenset(names[:2]),
            labels={names[0]: ["no", "yes"]},
            n=dict.fromkeys(names, 100),
            classes={name: ["no", "yes"] for name in names[2:]},
            ranked=judged,
        )
        analysis = found(made, tmp_path / str(study))
        fell += any(row["fell"] for row in rows(analysis, "forgetting"))
        drawn += any((row["q"] or 1) < 0.05 for row in rows(analysis, "drift"))
        asymmetric += any(row["q"] < 0.05 for row in rows(analysis, "asymmetry"))
    assert fell + drawn + asymmetric <= 3  # of 36 families, binomial: more in 1 of 50 runs


def test_figures_draw_columns_of_their_tables(tmp_path: Path) -> None:
    analysis = found(MADE.changed(answers={("a", "plain", 0, "zero", "c"): "w"}), tmp_path)
    tables = {table.name: set(table.rows.column_names) for table in analysis.tables}
    assert analysis.figures
    assert all({*figure.columns.values()} <= tables[figure.table] for figure in analysis.figures)
