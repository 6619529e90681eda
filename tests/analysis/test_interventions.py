"""Interventions: planted effects are found, none is invented, and numbers are others' numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import ndtri
from scipy.stats import binom, false_discovery_control, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar

from analysis.made import Made, key
from crosstune.analysis.findings import Analysis
from crosstune.analysis.interventions import (
    Intervention,
    against_originals,
    interventions,
    interventions_of,
    mean_intervals,
)
from crosstune.analysis.interventions.effects import sentences
from crosstune.analysis.wording import points
from crosstune.results.inference import inference, q_values
from crosstune.results.matrix import TransferMatrix
from crosstune.results.paired import Paired, paired
from crosstune.results.store import Store

TARGETS = {"a": "left", **{f"t{i}": "none" for i in range(6)}}
SHUFFLED = {"edit": "shuffle_labels"}
BALANCED = {"edit": "balance"}
MADE = Made(
    sources={"a": ["left"], "a-shuffled": ["left"]},
    targets=TARGETS,
    recipes={"plain": {}},
    conditions={"zero": {}},
    seeds=(0,),
    relations={("a-shuffled", "a"): "same task"},
)
Edits = Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]
ONE: Edits = {"a-shuffled": ("a", [SHUFFLED])}


def written(
    folder: Path, made: Made, edits: Edits, values: Callable[..., Any] | None = None
) -> tuple[Store, TransferMatrix]:
    """A made-up study some of whose sources are edits of others."""
    made.write(folder, values)
    study = json.loads((folder / "study.json").read_text())
    for source in study["study"]["sources"]:
        if source["name"] in edits:
            source["tasks"], source["edits"] = [edits[source["name"]][0]], edits[source["name"]][1]
    (folder / "study.json").write_text(json.dumps(study))
    store = Store(folder)
    return store, TransferMatrix.of(store)


def rows(found: Analysis, name: str = "interventions") -> list[dict[str, Any]]:
    return next(t.rows.to_pylist() for t in found.tables if t.name == name)


def planted(
    effects: Mapping[tuple[str, str], float], *, changed: float = 0.3
) -> Callable[..., Any]:
    """Outcomes of a level by (source, target), else one half; models differ in some examples."""

    def values(source: str, recipe: str, seed: int, condition: str, target: str, n: int) -> Any:
        hard = np.random.default_rng(int(key(target)[:8], 16)).uniform(size=n)
        luck = np.random.default_rng(int(key(source, recipe, seed, condition, target)[:8], 16))
        hard = np.where(luck.uniform(size=n) < changed, luck.uniform(size=n), hard)
        return (hard < 0.6 + effects.get((source, target), 0.0)) * 1.0

    return values


def test_a_planted_effect_is_found_and_said(tmp_path: Path) -> None:
    effect = planted({("a-shuffled", "a"): -0.4, ("a-shuffled", "t3"): 0.3})
    found = interventions(
        *written(tmp_path, MADE.changed(n=dict.fromkeys(TARGETS, 300)), ONE, effect)
    )
    moved = {row["target"]: row["difference"] for row in rows(found) if row["q"] < 0.05}
    assert set(moved) == {"a", "t3"}
    assert moved["a"] == pytest.approx(-0.4, abs=0.1)
    first = found.sentences[0]
    assert first.startswith("Shuffling the labels of a: −")
    assert "points on a" in first
    assert "of 6 other targets 0 fell and 1 rose measurably: t3 +" in first
    assert any("One seed" in sentence for sentence in found.sentences)
    assert any("not shown to be zero" in sentence for sentence in found.sentences)
    near, far = rows(found, "summary")
    assert (near["relation"], near["targets"], near["down"], near["up"]) == ("same task", 1, 1, 0)
    assert (far["relation"], far["targets"], far["down"], far["up"]) == ("cross-task", 6, 0, 1)
    assert far["difference"] == pytest.approx(
        np.mean([row["difference"] for row in rows(found) if row["target"] != "a"])
    )
    assert far["low"] < far["difference"] < far["high"]


def test_a_seed_is_compared_with_the_same_seed(tmp_path: Path) -> None:
    def by_seed(*spot: Any) -> Any:
        return (np.arange(spot[-1]) % 10 < (9 if spot[2] else 2)) * 1.0

    found = interventions(*written(tmp_path, MADE.changed(seeds=(0, 1)), ONE, by_seed))
    for row in rows(found):
        assert row["difference"] == 0
        assert row["high"] - row["low"] < 0.2


def test_what_is_beyond_chance_is_said_before_what_is_only_larger() -> None:
    planned = [Intervention("a", edit, f"{edit} of", (), ()) for edit in ("loud", "sure")]
    shared: dict[str, Any] = {
        "source": "a",
        "edited_source": "b",
        "recipe": "r",
        "condition": "c",
        "target": "t",
    }
    shared |= {"relation": "cross-task", "detectable_difference": 0.1, "seeds": 2}
    told = [
        shared | {"edit": "loud", "difference": -0.5, "q": 0.3},
        shared | {"edit": "sure", "difference": -0.1, "q": 0.01},
    ]
    first, second, *_ = sentences(planned, told, summary=[], traits=[], alone=[])
    assert first == "Sure of a: of 1 target 1 fell and 0 rose measurably: t −10.0."
    assert second == "Loud of a: no target changed measurably, of 1."


def test_one_seed_of_rights_and_wrongs_is_mcnemar(tmp_path: Path) -> None:
    store, matrix = written(tmp_path, MADE, ONE)
    outcomes = {
        (row["source"], row["target"]): _outcomes(store, row["key"]) for row in store.plan()
    }
    for row in rows(interventions(store, matrix)):
        before, after = (outcomes[source, row["target"]] for source in ("a", "a-shuffled"))
        up, down = int((after > before).sum()), int((after < before).sum())
        assert row["difference"] == pytest.approx((after - before).mean())
        assert row["original_score"] == pytest.approx(before.mean())
        exact = float(mcnemar([[0, up], [down, 0]], exact=True).pvalue)
        mid = 1.0 if up == down else exact - binom.pmf(min(up, down), up + down, 0.5)
        assert row["p"] == pytest.approx(mid)


def _outcomes(store: Store, name: str) -> np.ndarray:
    found: np.ndarray = pq.read_table(store.outcomes(name), columns=["acc"])["acc"].to_numpy()
    return found


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("text", [False, True])
def test_against_one_original_it_is_the_comparison_with_a_base(seeds: int, text: bool) -> None:
    """Every seed of the original being the same, it is a base: all sums and conclusions agree."""
    luck = np.random.default_rng(seeds)
    base, tuned = luck.uniform(size=50), luck.uniform(size=(3, seeds, 50))
    if not text:
        base, tuned = np.round(base), np.round(tuned)
    tuned[2] = base
    ours = against_originals(np.broadcast_to(base, tuned.shape).copy(), tuned)
    theirs = paired(base, tuned)
    zeros, each = np.zeros(3, dtype=np.int64), np.arange(3)
    for name in ("gain", "base", "squares", "differing", "seed_variance", "residual", "up", "low"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-10)
    concluded = [inference(sums, pools=zeros, sources=each) for sums in (ours, theirs)]
    for name in ("low", "high", "p", "detectable"):
        first, second = (getattr(part, name) for part in concluded)
        np.testing.assert_allclose(first, second, atol=1e-9)


def test_of_a_single_target_whose_seeds_scatter_most_it_is_the_paired_t_test() -> None:
    """When the examples' part is small beside the seeds' own, the interval is that of t."""
    level = np.array([[0.3, 0.6, 0.2], [0.8, 0.3, 0.7]])
    outcomes = (np.arange(20_000) / 20_000 < level[..., None]) * 1.0
    sums = against_originals(outcomes[None, 0], outcomes[None, 1])
    zero = np.zeros(1, dtype=np.int64)
    found = inference(sums, pools=zero, sources=zero)
    theirs = ttest_rel(level[1], level[0])
    assert found.p[0] == pytest.approx(theirs.pvalue, abs=0.002)
    ends = theirs.confidence_interval(0.95)
    low, high = mean_intervals(sums, (level[1] - level[0])[None], groups=[[0]], models=1)
    assert (found.low[0], found.high[0]) == pytest.approx(
        (max(ends.low, -1), min(ends.high, 1)), abs=1e-4
    )
    assert (low[0], high[0]) == pytest.approx((max(ends.low, -1), min(ends.high, 1)), abs=0.01)


def simulated(
    luck: np.random.Generator, *, seeds: int, targets: int, effect: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p, low and high of two edits of two originals each, and low and high of their means."""
    parts, by_seed = [], []
    moves = 0.03 * (seeds > 1)
    common = luck.standard_normal((2, 3, seeds, 1))
    for _ in range(targets):
        difficulty, level = luck.standard_normal(120), luck.uniform(0.3, 0.7)
        own = luck.standard_normal((2, 3, seeds, 1))
        score = level + moves * (0.8 * common + 0.6 * own)
        score[:, 1:] += effect
        latent = 0.8 * difficulty + 0.6 * luck.standard_normal((2, 3, seeds, 120))
        outcomes = (latent < ndtri(np.clip(score, 0.02, 0.98))) * 1.0
        originals = np.repeat(outcomes[:, :1], 2, axis=1).reshape(4, seeds, 120)
        edited = outcomes[:, 1:].reshape(4, seeds, 120)
        parts.append(against_originals(originals, edited))
        by_seed.append((edited - originals).mean(axis=2))
    sums, change = Paired.joined(parts), np.tile(np.arange(4), targets)
    found = inference(sums, pools=np.zeros_like(change), sources=change // 2)
    groups = [np.flatnonzero(change == c).tolist() for c in range(4)]
    low, high = mean_intervals(sums, np.concatenate(by_seed), groups=groups, models=2)
    q = q_values(found.p, families=change)
    return q.reshape(targets, 4), (found.low <= effect) & (effect <= found.high), low, high


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_of_edits_that_do_nothing_few_are_said_to_do_something(seeds: int) -> None:
    luck = np.random.default_rng(seeds)
    claims, covered, means = [], [], []
    for _ in range(200):
        q, holds, low, high = simulated(luck, seeds=seeds, targets=5)
        claims.append((q < 0.05).any(axis=0).mean())
        covered.append(holds.mean())
        means.append(((low <= 0) & (high >= 0)).mean())
    assert np.mean(claims) <= 0.06  # of 800 families; two standard errors are 0.015
    assert np.mean(covered) >= 0.94
    assert np.mean(means) >= 0.93


def test_edits_that_do_something_are_found() -> None:
    luck = np.random.default_rng(0)
    for seeds, least in ((1, 0.6), (2, 0.2), (3, 0.9)):
        drawn = [simulated(luck, seeds=seeds, targets=8, effect=0.2) for _ in range(20)]
        assert np.mean([(q < 0.05).mean() for q, *_ in drawn]) >= least
        assert np.mean([(low <= 0.2) & (high >= 0.2) for *_, low, high in drawn]) >= 0.8


def test_q_is_corrected_within_one_change_same_task_apart(tmp_path: Path) -> None:
    sources = {"a": ["left"], "a-shuffled": ["left"], "a-balanced": ["left"]}
    relations = {(name, "a"): "same task" for name in sources}
    made = MADE.changed(sources=sources, relations=relations, recipes={"plain": {}, "more": {}})
    edits = {**ONE, "a-balanced": ("a", [BALANCED])}
    families: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in rows(interventions(*written(tmp_path, made, edits))):
        families.setdefault((row["edit"], row["target"] == "a"), []).append(row)
    assert sorted(map(len, families.values())) == [2, 2, 12, 12]
    for its in families.values():
        theirs = false_discovery_control([row["p"] for row in its])
        assert [row["q"] for row in its] == pytest.approx(theirs.tolist())


def test_missing_scores_stay_missing_and_are_named(tmp_path: Path) -> None:
    gap = frozenset({("a-shuffled", "plain", 1, "zero", "t2")})
    made = MADE.changed(missing=gap, seeds=(0, 1))
    found = interventions(*written(tmp_path, made, ONE))
    (lost,) = (row for row in rows(found) if row["difference"] is None)
    assert lost["target"] == "t2"
    assert (lost["original_score"] is None, lost["edited_score"], lost["q"]) == (False, None, None)
    assert any(
        "1 of 7 comparisons lack a score and stay empty: a-shuffled → t2" in s
        for s in found.sentences
    )
    far = rows(found, "summary")[1]
    assert (far["targets"], far["known"]) == (6, 5)
    complete = interventions(*written(tmp_path / "all", MADE.changed(seeds=(0, 1)), ONE))
    assert [row["difference"] for row in rows(complete) if row["target"] != "t2"] == [
        row["difference"] for row in rows(found) if row["target"] != "t2"
    ]


def test_the_order_of_the_plan_and_names_of_sources_play_no_part(tmp_path: Path) -> None:
    made = MADE.changed(seeds=(0, 1), conditions={"zero": {}, "few": {"shots": 4}})
    first = interventions(*written(tmp_path / "1", made, ONE))
    second = interventions(*written(tmp_path / "2", made.changed(shuffled=True), ONE))
    assert first.sentences == second.sentences
    for ours, theirs in zip(first.tables, second.tables, strict=True):
        assert ours.rows.equals(theirs.rows)
    named = json.loads((tmp_path / "2" / "plan.json").read_text())
    for row in named:
        row["source"] = row["source"].replace("a-shuffled", "another")
    (tmp_path / "2" / "plan.json").write_text(json.dumps(named))
    text = (tmp_path / "2" / "study.json").read_text()
    (tmp_path / "2" / "study.json").write_text(text.replace('"a-shuffled"', '"another"'))
    store = Store(tmp_path / "2")
    third = interventions(store, TransferMatrix.of(store))
    same = [{**row, "edited_source": "a-shuffled"} for row in rows(third)]
    assert same == rows(first)


def test_the_original_has_no_edits_or_the_first_of_them() -> None:
    def source(name: str, *edits: Mapping[str, Any], task: str = "t") -> dict[str, Any]:
        return {"name": name, "tasks": [task], "edits": [*edits]}

    whole = [
        source("o"),
        source("b", BALANCED),
        source("bs", BALANCED, SHUFFLED),
        source("u", task="u"),
    ]
    recipes = [{"name": "lora"}, {"name": "full"}]
    found, alone = interventions_of(whole, recipes)
    assert [(each.source, each.change, each.doing) for each in found] == [
        ("o", "balance", "balancing the classes of"),
        ("o", "balance + shuffle labels", "balancing the classes and shuffling the labels of"),
    ]
    assert found[0].ways == ((("o", "lora"), ("b", "lora")), (("o", "full"), ("b", "full")))
    assert alone == []
    found, alone = interventions_of(whole[1:], recipes)
    assert [(each.source, each.change) for each in found] == [("b", "shuffle labels")]
    assert alone == ["b"]
    assert interventions_of(whole[2:], recipes) == ([], ["bs"])
    other = [source("s", SHUFFLED), source("bs", BALANCED, SHUFFLED)]
    assert interventions_of(other, recipes) == ([], ["s", "bs"])
    unlike = [{**source("o"), "examples": 10}, {**source("b", BALANCED), "examples": 20}]
    assert interventions_of(unlike, recipes) == ([], ["b"])


def test_two_edits_that_read_alike_are_told_apart() -> None:
    plain = {"name": "a", "tasks": ["t"]}
    texts = [
        plain | {"name": name, "edits": [{"edit": "lengthen", "text": f"{name} {{answer}}"}]}
        for name in ("up", "down")
    ]
    found, _ = interventions_of([plain, *texts], [{"name": "lora"}])
    assert [each.change for each in found] == ["lengthen (up)", "lengthen (down)"]
    assert found[0].doing == "(up) lengthening the answers of"


def test_recipes_that_differ_in_loss_alone_are_interventions(tmp_path: Path) -> None:
    losses = {"label": {"loss": "label_only"}, "plain": {"loss": "completion"}}
    other = {"longer": {"loss": "completion", "epochs": 9}}
    made = MADE.changed(recipes=losses | other)
    found = rows(interventions(*written(tmp_path, made, ONE)))
    loss = [row for row in found if row["edit"].startswith("loss")]
    assert {(row["source"], row["edited_source"], row["recipe"]) for row in loss} == {
        ("a", "a", "label")
    }
    assert {row["edit"] for row in loss} == {"loss on label only instead of completion"}
    assert {row["recipe"] for row in found if row not in loss} == {"label", "plain", "longer"}


def test_without_a_change_or_an_original_it_says_so(tmp_path: Path) -> None:
    found = interventions(*written(tmp_path / "1", MADE, {}))
    assert (found.tables, found.figures) == ((), ())
    assert "No source has edits" in found.sentences[0]
    orphan = MADE.changed(sources={"a-shuffled": ["left"]})
    found = interventions(*written(tmp_path / "2", orphan, ONE))
    assert found.tables == ()
    assert "originals of a-shuffled are not in the study" in found.sentences[0]


def test_the_traits_of_the_rows_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = {
        "1": {"rows": 100, "majority": 0.81, "lengths": {"answer": {"words": {"mean": 1.0}}}},
        "2": {"rows": 100, "majority": 0.5, "lengths": {"answer": {"words": {"mean": 1.0}}}},
    }
    store, matrix = written(tmp_path, MADE, {"a-shuffled": ("a", [BALANCED])})
    plan = [row | {"source_profile": "12"[row["source"] != "a"]} for row in store.plan()]
    monkeypatch.setattr(Store, "plan", lambda _: plan)
    monkeypatch.setattr(Store, "profile", lambda _, name: profiles[name])
    found = interventions(store, matrix)
    told = {row["trait"]: (row["original"], row["edited"]) for row in rows(found, "traits")}
    assert told["share of the largest class"] == (0.81, 0.5)
    assert told["words in an answer"] == (1.0, 1.0)
    start = "Balancing the classes of a [share of the largest class 0.81 → 0.5]: "
    assert found.sentences[0].startswith(start)
    assert "words in an answer" not in found.sentences[0]


def test_the_figure_draws_columns_of_its_table(tmp_path: Path) -> None:
    found = interventions(*written(tmp_path, MADE, ONE))
    (figure,) = found.figures
    table = next(table for table in found.tables if table.name == figure.table)
    assert set(figure.columns.values()) <= set(table.rows.column_names)


def test_a_part_without_the_original_says_so(tmp_path: Path) -> None:
    store, matrix = written(tmp_path, MADE, ONE)
    told = interventions(store, matrix.slice(source="a-shuffled")).sentences
    assert "This part of the matrix lacks" in told[0]


def test_the_mean_over_cross_task_targets_is_said(tmp_path: Path) -> None:
    effect = planted({("a-shuffled", f"t{i}"): -0.3 for i in range(9)})
    found = interventions(*written(tmp_path, MADE, ONE, effect))
    [mean] = [row for row in rows(found, "summary") if row["relation"] == "cross-task"]
    assert f"mean over cross-task targets {points(mean['difference'])}" in found.sentences[0]
