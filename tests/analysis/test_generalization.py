"""The tables of `generalization` say what a direct computation says, and keep their laws."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from analysis.made import Made, drawn
from crosstune.analysis.findings import ANALYSES, Analysis
from crosstune.analysis.generalization.arms import BASE, Design, asked, bare, series
from crosstune.analysis.generalization.comparison import Comparison, compared
from crosstune.analysis.generalization.sensitivity import permuted_means
from crosstune.analysis.generalization.tables import COLUMNS, generalization
from crosstune.errors import InputError
from crosstune.results.matrix import TransferMatrix
from crosstune.results.paired import bonett_price
from crosstune.results.store import Store

Rows = list[dict[str, Any]]


def found(made: Made, folder: Path, values: Callable[..., Any] | None = None) -> Analysis:
    return generalization(*made.write(folder / "study", values))


def rows(analysis: Analysis, name: str, **where: Any) -> Rows:
    for table in analysis.tables:
        if table.name == name:
            assert table.rows.column_names == COLUMNS[name].split()
            listed: Rows = table.rows.to_pylist()
            return [row for row in listed if all(row[key] == where[key] for key in where)]
    return []


def comparison(made: Made, folder: Path) -> Comparison:
    store, matrix = made.write(folder / "study")
    return compared(store, Design.of(store, matrix))


def members(made: Made, family: str, setting: str) -> list[tuple[str, str]]:
    """Pairs of a group, found one by one."""
    near = {"in-domain": ("same task", "in-domain")}.get(setting, (setting,))
    return [
        (source, target)
        for source, target in product(made.sources, made.targets)
        if made.relation(source, target) in near
        and (family == "all families" or family in made.sources[source])
    ]


def direct(made: Made, family: str, setting: str, arm: tuple[str, str]) -> float:
    """An arm's score, one number at a time."""
    recipe, condition = arm
    by_target: dict[str, list[float]] = {}
    skipped = max(made.left_out.values(), default=0)
    for source, target in members(made, family, setting):
        for seed in made.seeds:
            who = (BASE, BASE, 0) if recipe == BASE else (source, recipe, seed)
            outcomes = drawn(*who, condition, target, made.n.get(target, 40))[skipped:]
            by_target.setdefault(target, []).append(fmean(outcomes))
    return fmean(fmean(scores) for scores in by_target.values())


@pytest.mark.parametrize(
    "made",
    [
        Made(),
        Made(seeds=[0], relations={("b", "a2"): "in-domain"}),
        Made(n={"a": 25, "c": 60}, left_out={"few": 7}),
    ],
)
def test_scores_and_gains_are_those_of_a_direct_computation(made: Made, tmp_path: Path) -> None:
    analysis = found(made, tmp_path)
    arms = rows(analysis, "arms")
    told = {(row["family"], row["setting"]) for row in arms}
    for family, setting in product(
        ("all families", "left", "right"), ("in-domain", "out-of-domain")
    ):
        assert ((family, setting) in told) == bool(members(made, family, setting))
    for row in arms:
        group, arm = (row["family"], row["setting"]), (row["recipe"], row["condition"])
        assert row["score"] == pytest.approx(direct(made, *group, arm))
        pairs = members(made, *group)
        assert (row["sources"], row["targets"]) == tuple(
            len({*axis}) for axis in zip(*pairs, strict=True)
        )
        if row["recipe"] == BASE:
            assert row["gain"] is row["q"] is row["seeds"] is row["harmed"] is None
        else:
            base = direct(made, *group, (BASE, row["condition"]))
            assert row["gain"] == pytest.approx(row["score"] - base)
            assert row["low"] < row["high"]
            assert row["seeds"] == len(made.seeds)
        assert row["status"] == "done"
    cut = max(made.left_out.values(), default=0)
    every = sum(made.n.get(target, 40) - cut for target in ("a", "b"))
    assert (
        rows(analysis, "arms", family="all families", setting="in-domain")[0]["examples"] >= every
    )
    assert any("left out" in sentence for sentence in analysis.sentences) == (cut > 0)


def test_a_mixture_counts_under_each_of_its_families_and_once_among_all(tmp_path: Path) -> None:
    analysis = found(Made(), tmp_path)
    counts = {
        family: rows(analysis, "arms", family=family, setting="cross-task")[0]["sources"]
        for family in ("all families", "left", "right")
    }
    assert counts == {"all families": 3, "left": 2, "right": 2}


def test_a_source_without_a_family_counts_among_all_only(tmp_path: Path) -> None:
    made = Made(sources={"a": ["left"], "z": ["other"]})
    assert {row["family"] for row in rows(found(made, tmp_path), "arms")} == {
        "all families",
        "left",
    }


def test_every_pair_of_known_arms_stands_there_once_and_is_antisymmetric(tmp_path: Path) -> None:
    made = Made(missing=frozenset({("b", "more", 1, "few", "c")}))
    of = comparison(made, tmp_path)
    arms, groups = of.design.arms, [*of.design.groups]
    known = ~np.isnan(of.score)
    seen = [(g, *sorted((a, b))) for g, a, b in of.differences]
    expected = [
        (g, a, b)
        for g in range(len(groups))
        for a, b in combinations(range(len(arms)), 2)
        if known[g, a] and known[g, b]
    ]
    assert sorted(seen) == expected
    assert not known.all()
    for g, a, b in expected:
        one = of.difference(arms[a], arms[b], group=groups[g])
        other = of.difference(arms[b], arms[a], group=groups[g])
        assert one == other.reversed()
        assert one.difference == pytest.approx(of.score[g, a] - of.score[g, b])
        assert (one.low, one.p, one.q) == (-other.high, other.p, other.q)


@pytest.mark.parametrize(
    ("spot", "arms"),
    [
        (("b", "more", 1, "few", "c"), {("more", "few")}),
        ((BASE, BASE, 0, "few", "c"), {(BASE, "few")}),
    ],
)
def test_an_arm_with_a_gap_is_unknown_in_its_groups_and_changes_no_other_score(
    tmp_path: Path, spot: tuple[Any, ...], arms: set[tuple[str, str]]
) -> None:
    whole = found(Made(), tmp_path / "whole")
    gap = found(Made(missing=frozenset({spot})), tmp_path / "gap")
    for row, before in zip(rows(gap, "arms"), rows(whole, "arms"), strict=True):
        asked_c = row["setting"] == "cross-task" and not (
            row["family"] == "left" and spot[0] == "b"
        )
        hit = asked_c and (row["recipe"], row["condition"]) in arms
        assert (row["status"] == "missing") == hit
        assert row["score"] == (None if hit else before["score"])
        if hit:
            assert row["gain"] is row["q"] is row["ratio_of_change"] is row["fell"] is None
    assert sum("lack scores" in sentence for sentence in gap.sentences) == 1


def test_a_range_with_a_gap_is_unknown(tmp_path: Path) -> None:
    made = Made(
        conditions={"zero": {}, "bare": {"prompt": "bare"}},
        missing=frozenset({("b", "more", 1, "bare", "c")}),
    )
    for row in rows(found(made, tmp_path), "sensitivity", setting="cross-task"):
        gap = row["recipe"] == "more" and row["family"] != "left"
        assert (row["range"] is None) == (row["p"] is None) == gap


def test_without_the_base_there_is_a_score_and_no_gain(tmp_path: Path) -> None:
    made = Made(missing=frozenset({(BASE, BASE, 0, "few", "c")}))
    for row in rows(found(made, tmp_path), "arms", setting="cross-task", condition="few"):
        assert (row["score"] is None) == (row["recipe"] == BASE)
        assert row["gain"] is row["fell"] is row["harmed"] is None


def test_targets_without_any_answer_leave_their_groups_unknown(tmp_path: Path) -> None:
    made = Made(recipes={"plain": {}}, conditions={"zero": {}, "few": {"shots": 4}})
    whole = [(BASE, BASE, 0)] + [(s, "plain", seed) for s in made.sources for seed in made.seeds]
    gone = {(*who, condition, "c") for who in whole for condition in made.conditions}
    for row in rows(found(made.changed(missing=frozenset(gone)), tmp_path), "arms"):
        assert (row["score"] is None) == (row["setting"] == "cross-task")
    gone |= {(*who, c, t) for who in whole for c in made.conditions for t in made.targets}
    nothing = found(made.changed(missing=frozenset(gone)), tmp_path / "nothing")
    assert (nothing.sentences, nothing.tables) == (("No score is known yet.",), ())


def test_the_order_of_the_plan_changes_nothing(tmp_path: Path) -> None:
    made = Made(
        conditions={"zero": {}, "few": {"shots": 4}, "bare": {"prompt": "bare"}},
        texts=frozenset({"c"}),
        labels={"a": ["x"], "ab": ["y"], "b": ["z"]},
    )
    one = found(made, tmp_path / "one")
    other = found(made.changed(shuffled=True), tmp_path / "other")
    assert one.sentences == other.sentences
    for first, second in zip(one.tables, other.tables, strict=True):
        assert first.rows.equals(second.rows)


def test_the_base_has_no_seeds(tmp_path: Path) -> None:
    one, two = (comparison(Made(seeds=seeds), tmp_path / str(seeds)) for seeds in ([0], [0, 1]))
    for group in one.design.groups:
        few, zero = (BASE, "few"), (BASE, "zero")
        first, second = (of.difference(few, zero, group=group) for of in (one, two))
        assert (first.low, first.high, first.p) == pytest.approx(
            (second.low, second.high, second.p)
        )


def test_one_source_one_target_and_one_arm_is_the_cell_of_the_matrix(tmp_path: Path) -> None:
    made = Made(
        sources={"a": ["left"]},
        targets={"a2": "left"},
        recipes={"plain": {}},
        conditions={"zero": {}},
        seeds=[0, 1, 2],
    )
    store, matrix = made.write(tmp_path / "study")
    (row,) = rows(generalization(store, matrix), "arms", family="left", recipe="plain")
    (cell,) = matrix.cells.to_pylist()
    for name in ("score", "gain", "low", "high", "p"):
        assert row[name] == pytest.approx(cell[name])


def test_of_one_target_the_interval_is_that_of_bonett_and_price(tmp_path: Path) -> None:
    made = Made(sources={"a": ["left"], "a3": ["left"]}, targets={"a2": "left"}, seeds=[0])
    store, matrix = made.write(tmp_path / "study")
    of = compared(store, Design.of(store, matrix))
    values = asked(store, of.design, "a2").values.mean(axis=(0, 2))
    for a, b in combinations(range(len(of.design.arms)), 2):
        row = of.difference(of.design.arms[b], of.design.arms[a], group=("left", "out-of-domain"))
        apart = values[b] - values[a]
        centre, error = bonett_price(
            np.array([apart.mean()]),
            np.array([np.square(apart).mean()]),
            np.array([len(apart)]),
            differing=np.array([np.count_nonzero(apart)]),
        )
        half = 1.959964 * float(error[0])
        assert (row.low, row.high) == pytest.approx((centre[0] - half, centre[0] + half))


@pytest.mark.parametrize("differ", [False, True])
def test_alike_targets_are_as_good_as_one_that_has_all_their_examples(
    tmp_path: Path, differ: bool
) -> None:
    def values(*spot: Any) -> Any:
        return drawn(*spot[:4] if differ else (), "any", spot[-1])

    targets = {"t": "left", "u": "left", "v": "left"}
    made = Made(sources={"a": ["left"]}, targets=targets, recipes={"plain": {}}, seeds=[0])
    analysis = found(made, tmp_path, values)
    for row in rows(analysis, "differences", family="all families"):
        apart = values(
            "a" if row["first_recipe"] != BASE else BASE,
            row["first_recipe"],
            0,
            row["first_condition"],
            40,
        )
        apart = apart - values(
            "a" if row["second_recipe"] != BASE else BASE,
            row["second_recipe"],
            0,
            row["second_condition"],
            40,
        )
        centre, error = bonett_price(
            np.array([apart.mean()]),
            np.array([np.square(apart).mean()]),
            np.array([120]),
            differing=np.array([3 * np.count_nonzero(apart)]),
        )
        half = 1.959964 * float(error[0])
        assert (row["low"], row["high"]) == pytest.approx((centre[0] - half, centre[0] + half))
        assert (row["difference"] != 0) == differ


def test_arms_that_are_scored_in_different_ways_are_refused_and_left_out(tmp_path: Path) -> None:
    ways = {"zero": {}, "token": {"scoring": "first_token"}}
    made = Made(conditions=ways, texts=frozenset({"c"}))
    of = comparison(made, tmp_path)
    with pytest.raises(InputError) as refused:
        of.difference(("plain", "zero"), (BASE, "token"), group=("all families", "in-domain"))
    assert str(refused.value) == (
        "Arms that are scored in different ways cannot be compared:\n"
        "  - plain, zero: likelihood\n"
        "  - base, token: first_token\n"
        "  - a score depends on the way of scoring as much as on the model"
    )
    with pytest.raises(InputError, match="different ways"):  # c is text, b is not
        of.difference(("plain", "zero"), (BASE, "token"), group=("left", "cross-task"))
    analysis = found(made, tmp_path)
    pairs = rows(analysis, "differences")
    assert pairs
    assert all(row["first_condition"] == row["second_condition"] for row in pairs)
    scores = rows(analysis, "scoring")
    assert {row["target"] for row in scores} == {"a", "a2", "b"}
    assert {row["scoring"] for row in scores} == {"likelihood", "first_token"}
    expected = fmean(
        fmean(drawn(s, "plain", seed, "token", "a", 40)) for s in made.sources for seed in (0, 1)
    )
    (one,) = (
        row
        for row in scores
        if (row["target"], row["recipe"], row["condition"]) == ("a", "plain", "token")
    )
    assert one["score"] == pytest.approx(expected)


def test_text_targets_alone_can_be_compared_whatever_the_choices_are_scored_by(
    tmp_path: Path,
) -> None:
    ways = {"zero": {}, "token": {"scoring": "first_token"}}
    of = comparison(Made(conditions=ways, targets={"c": "none"}, texts=frozenset({"c"})), tmp_path)
    assert (
        of.difference(("plain", "zero"), (BASE, "token"), group=("all families", "cross-task")).low
        < 0.5
    )


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    of = comparison(Made(), tmp_path)
    with pytest.raises(InputError, match=r"no arm \('plan', 'zero'\)"):
        of.difference(("plan", "zero"), (BASE, "zero"), group=("all families", "in-domain"))
    with pytest.raises(InputError, match="no group"):
        of.difference((BASE, "few"), (BASE, "zero"), group=("top", "in-domain"))


def test_conditions_without_a_common_example_are_refused(tmp_path: Path) -> None:
    store, matrix = Made(n={"c": 3}).write(tmp_path / "study")
    design = Design.of(store, matrix)
    renamed = Made(targets={"c": "none", "d": "none"}, n={"c": 3, "d": 3})
    other, _ = renamed.write(tmp_path / "other")
    spot = next(row.key for row in design.rows["c"])
    where = next(row["key"] for row in renamed.plan() if row["target"] == "d")
    store.outcomes(spot).write_bytes(other.outcomes(where).read_bytes())
    with pytest.raises(InputError, match="c: its conditions have no example in common"):
        asked(store, design, "c")


def test_ratios_leave_out_bases_near_zero_and_say_so(tmp_path: Path) -> None:
    base = {"a": 0.5, "a2": 0.025, "b": 0.25, "c": 0.75}

    def values(source: str, recipe: str, *rest: Any) -> Any:
        *_, target, n = rest
        loss = 0.25 if recipe != BASE and source == "a" else 0.0
        return np.arange(n) < max(base[target] - loss, 0) * n

    made = Made(sources={"a": ["left"], "b": ["right"]}, seeds=[0])
    analysis = found(made, tmp_path, values)
    (row,) = rows(
        analysis,
        "arms",
        family="all families",
        setting="cross-task",
        recipe="plain",
        condition="zero",
    )
    # b → a, a2, c do not change and a2 is too near zero; a → b falls to 0, a → c by a third.
    assert (row["ratio_pairs"], row["ratio_left_out"]) == (4, 1)
    assert row["ratio_of_change"] == pytest.approx((0 + 0 - 1 - 1 / 3) / 4)
    assert row["fell"] == pytest.approx(2 / 5)
    assert row["harmed"] == pytest.approx(2 / 5)
    assert any(
        "without 1 pair whose base is below 5)" in sentence for sentence in analysis.sentences
    )


def test_sizes_are_recipes_that_differ_in_examples_alone(tmp_path: Path) -> None:
    recipes: dict[str, dict[str, Any]] = {
        "big": {"examples": 400},
        "small": {},
        "other": {"method": "full"},
    }
    analysis = found(Made(recipes=recipes), tmp_path)
    sizes = rows(analysis, "sizes")
    arms = {
        tuple(row[k] for k in COLUMNS["arms"].split()[:4]): row for row in rows(analysis, "arms")
    }
    assert {row["series"] for row in sizes} == {"small / big"}
    assert [row["training_examples"] for row in sizes[:2]] == [100, 400]
    for row in sizes:
        same = arms[row["family"], row["setting"], row["recipe"], row["condition"]]
        assert all(row[name] == same[name] for name in ("score", "gain", "low", "high"))
    assert rows(found(Made(recipes={"plain": {}}), tmp_path / "one"), "sizes") == []


def test_series_differ_in_one_field_alone() -> None:
    things = {
        "a": {"name": "a", "draw": 0, "order": 0},
        "b": {"name": "b", "draw": 1, "order": 0},
        "c": {"name": "c", "draw": 0, "order": 1},
        "d": {"name": "d", "draw": 1, "order": 1, "shots": 2},
    }
    assert series(things, "draw") == [{"a": 0, "b": 1}]
    assert series(things, "order") == [{"a": 0, "c": 1}]
    assert series(things, "shots") == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("prompt", {"prompt": "bare"}),
        ("draw", {"draw": 1}),
        ("order", {"order": 2}),
        ("file of demonstrations", {"shots_from": "rows.jsonl"}),
    ],
)
def test_a_difference_in_one_thing_is_judged_against_chance(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    def values(source: str, recipe: str, seed: int, condition: str, target: str, n: int) -> Any:
        kept = drawn(source, recipe, seed, "zero", target, n)
        return np.where(np.arange(n) < 20, 1, kept) if condition == recipe else kept

    made = Made(conditions={"more": {"shots": 4}, "less": {"shots": 4, **changes}}, seeds=[0])
    found_ = rows(found(made, tmp_path, values), "sensitivity")
    assert {row["kind"] for row in found_} == {kind}
    assert {row["conditions"] for row in found_} == {"more / less"}
    assert {row["recipe"] for row in found_} == {BASE, "plain", "more"}
    for row in found_:
        assert row["range"] == pytest.approx(row["highest"] - row["lowest"])
        assert (row["p"] < 0.01) if row["recipe"] == "more" else (row["p"] == 1)


def test_p_of_permutations_is_uniform_without_an_effect() -> None:
    luck = np.random.default_rng(3)
    p = []
    for _ in range(300):
        hard = luck.standard_normal((1, 1, 60))
        values = np.clip(hard + luck.standard_normal((3, 1, 60)), -1, 1)
        shuffled = permuted_means(values, draws=199, generator=luck).var(axis=1)[:, 0]
        seen = values.mean(axis=2)[:, 0].var()
        p.append((1 + np.count_nonzero(shuffled >= seen)) / 200)
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_permutations_keep_every_example_and_are_the_same_for_all_rows() -> None:
    luck = np.random.default_rng(0)
    values = luck.uniform(size=(4, 3, 30))
    values[:, 2] = 2 * values[:, 0]
    drawn_ = permuted_means(values, draws=50, generator=luck)
    assert drawn_.sum(axis=1) == pytest.approx(np.tile(values.mean(axis=2).sum(axis=0), (50, 1)))
    assert drawn_[:, :, 2] == pytest.approx(2 * drawn_[:, :, 0])
    one = permuted_means(values[:, :, :1], draws=500, generator=luck)
    assert {round(float(x), 9) for x in one[:, 0, 0]} == {
        round(float(x), 9) for x in values[:, 0, 0]
    }


WRITTEN = {
    "yes": True,
    "  Yes. \nBecause it is.": True,
    '"NO"!': True,
    "yes it is": False,
    "because\nyes": False,
    "": False,
    "+": False,
}


def test_labels_written_where_text_was_asked_for(tmp_path: Path) -> None:
    texts = {f"c{i}": written for i, written in enumerate(WRITTEN)}
    answers = {("a", "plain", 1, "few", target): written for target, written in texts.items()}
    made = Made(
        sources={"a": ["left"], "b": ["right"], "ab": ["left", "right"]},
        targets=dict.fromkeys(texts, "none"),
        texts=frozenset(texts),
        labels={"a": ["Yes", " no"], "ab": ["yes", "?"]},
        answers=answers | {(BASE, BASE, 0, "few", target): "No" for target in texts},
        missing=frozenset({("ab", "more", 0, "zero", "c3")}),
    )
    told = rows(found(made, tmp_path), "collapse")
    assert len(told) == 2 * 2 * 2 * len(texts)
    for row in told:
        spot = (row["source"], row["recipe"], row["condition"])
        missing = (*spot, row["target"]) == ("ab", "more", "zero", "c3")
        share = WRITTEN[texts[row["target"]]] / 2 if spot == ("a", "plain", "few") else 0
        assert row["tuned"] == (None if missing else share)
        assert row["base"] == (row["condition"] == "few" and row["source"] == "a")
        assert row["examples"] == 40


def test_no_label_is_empty() -> None:
    assert bare("+") == "+"
    assert bare(" ... ") == "..."
    assert bare("(-1)") == "1"
    assert bare("") == ""


def test_movement_is_told_for_every_recipe_that_knows_it(tmp_path: Path) -> None:
    analysis = found(Made(moved={"plain": 2e-5}), tmp_path)
    (row,) = rows(analysis, "movement")
    assert (row["recipe"], row["models"]) == ("plain", 6)
    assert row["mean_change"] == pytest.approx(3e-5)
    assert row["relative_change"] == pytest.approx(3e-4)
    assert (row["least_change"], row["most_change"]) == (2e-5, 4e-5)


def levels(**told: float) -> Callable[..., Any]:
    """Outcomes with these scores by recipe, the same examples first."""
    return lambda *spot: np.arange(spot[-1]) < told[spot[1]] * spot[-1]


def test_the_arm_that_is_surely_best_is_advised(tmp_path: Path) -> None:
    made = Made(conditions={"zero": {}}, seeds=[0], n=dict.fromkeys("abc", 200))
    better = found(made, tmp_path / "1", levels(base=0.4, plain=0.5, more=0.8))
    assert better.sentences[0].startswith(
        "For the same domain, ship: more × zero has the best mean score, 80.0, +40.0 points "
        "against the best arm with nothing to tune, base × zero (95 % interval "
    )
    assert better.sentences[0].endswith("; every other arm is worse (q < 0.05).")
    assert better.sentences[-1] == (
        "One seed: intervals and q hold for these models, not for tuning them anew."
    )
    worse = found(made, tmp_path / "2", levels(base=0.8, plain=0.4, more=0.5))
    assert worse.sentences[0].startswith("For the same domain, tune nothing: base × zero has")
    alike = found(made, tmp_path / "3", levels(base=0.5, plain=0.4, more=0.505))
    assert alike.sentences[0].startswith("For the same domain, tuning is not shown to help: more ×")
    assert "not to be told apart from it (q ≥ 0.05): base × zero." in alike.sentences[0]


def test_every_subject_has_its_sentence(tmp_path: Path) -> None:
    made = Made(
        recipes={
            "plain": {},
            "big": {"examples": 200},
            "context": {"demonstrations": 4, "draw": 1},
        },
        conditions={
            "zero": {},
            "few": {"shots": 4, "sampler": "drawn"},
            "other": {"shots": 4, "sampler": "drawn", "draw": 1},
            "bare": {"prompt": "bare"},
            "token": {"scoring": "first_token"},
        },
        texts=frozenset({"c"}),
        labels={"a": ["some text"]},
        moved={"plain": 1e-5, "context": 2e-6},
    )
    told = found(made, tmp_path).sentences
    begins = (
        "For the same domain, ",
        "For other domains, ",
        "For other tasks, ",
        "For the same domain (sources: left), ",
        "More examples: from 100 to 200 training examples (plain to big, ",
        "Demonstrations when asking (few against zero): base ",
        "Demonstrations while tuning, each recipe in its best condition (context × ",
        "Other tasks are harmed ",
        "The prompt alone moves a mean score by up to ",
        "The draw alone moves a mean score by up to ",
        "The way of scoring alone moves a score by up to ",
        "Asked for text, models tuned on labels write just such a label, of the outputs: ",
        "Weights moved by (mean |Δw| over all of the base, least first): context 3.00e-06; ",
        "Intervals and q hold for tuning anew on these sources, asked these targets.",
    )
    for begin in begins:
        assert sum(sentence.startswith(begin) for sentence in told) == 1, begin
    assert len(told) <= 16 + 9
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in told)


def test_a_slice_is_an_analysis_of_its_own(tmp_path: Path) -> None:
    store, matrix = Made().write(tmp_path / "study")
    analysis = ANALYSES["generalization"](store, matrix.slice(condition="few"))
    assert {row["condition"] for row in rows(analysis, "arms")} == {"few"}
    empty = generalization(store, matrix.slice(relation="same task").slice(recipe="plain"))
    assert rows(empty, "sizes") == []


def test_memory_does_not_grow_with_the_number_of_targets(tmp_path: Path) -> None:
    peaks = []
    for count in (2, 8):
        targets = {f"t{i}": "left" for i in range(count)}
        made = Made({"a": ["left"]}, targets, seeds=[0], n=dict.fromkeys(targets, 1500))
        store, matrix = made.write(tmp_path / str(count))
        design = Design.of(store, matrix)
        compared(store, design)
        tracemalloc.start()
        compared(store, design)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_brief_table_says_what_the_long_one_does(tmp_path: Path) -> None:
    made = Made(missing=frozenset({("a", "plain", 0, "few", "a2")}))
    analysis = found(made, tmp_path)
    arms = {
        (row["family"], row["recipe"], row["condition"], row["setting"].replace("-", "_")): row
        for row in rows(analysis, "arms")
    }
    brief, seen = rows(analysis, "settings"), 0
    for row, setting in product(brief, ("in_domain", "out_of_domain", "cross_task")):
        arm = arms.get((row["family"], row["recipe"], row["condition"], setting))
        if arm is None:
            assert row[setting] is None
        elif arm["score"] is None:
            assert row[setting] == arm["status"] == "missing"
        else:
            seen += 1
            assert row[setting].startswith(f"{100 * arm['score']:.1f}")
            assert row[setting].endswith("*") == (arm["q"] is not None and arm["q"] < 0.05)
    assert seen > 20


@pytest.mark.parametrize(("families", "each"), [(4, True), (5, False)])
def test_many_families_are_left_to_the_table(tmp_path: Path, families: int, each: bool) -> None:
    sources = {f"s{i}": [f"family {i}"] for i in range(families)}
    made = Made(sources=sources, conditions={"zero": {}}, seeds=[0], recipes={"plain": {}})
    analysis = found(made, tmp_path)
    told = analysis.sentences
    assert any("(sources: family 0)" in sentence for sentence in told) == each
    assert any("5 families of sources: table settings" in sentence for sentence in told) != each
    listed = {row["family"] for row in rows(analysis, "settings")}
    assert listed == {"all families", *(name for (name,) in sources.values())}


def test_nothing_is_advised_where_nothing_was_compared(tmp_path: Path) -> None:
    tuned = [(s, r, k) for s in "ab" for r in ("plain", "more") for k in (0,)]
    made = Made(sources={"a": ["left"], "b": ["right"]}, conditions={"zero": {}}, seeds=[0])
    no_base = frozenset((BASE, BASE, 0, "zero", t) for t in made.targets)
    told = found(made.changed(missing=no_base), tmp_path / "1").sentences
    assert not any("ship" in sentence for sentence in told)
    no_tuned = frozenset((*who, "zero", t) for who in tuned for t in made.targets)
    told = found(made.changed(missing=no_tuned), tmp_path / "2").sentences
    assert told[0] == "For the same domain, nothing can be said: no tuned arm is known in full."
    assert not any("tune nothing" in sentence for sentence in told)


@pytest.mark.parametrize("wrong", ["", "null", "[]", '{"tuning": null, "labels": null}', "{"])
def test_a_record_that_says_nothing_is_left_out(tmp_path: Path, wrong: str) -> None:
    made = Made(texts=frozenset({"c"}), labels={"a": ["yes"]}, moved={"plain": 1e-5})
    store, matrix = made.write(tmp_path / "study")
    whole = generalization(store, matrix)
    for path in store.folder.glob("adapters/*/job.json"):
        path.write_text(wrong)
    left = generalization(store, matrix)
    assert {table.name for table in whole.tables} - {table.name for table in left.tables} == {
        "collapse",
        "movement",
    }


def test_scoring_is_compared_by_accuracy_alone(tmp_path: Path) -> None:
    ways = {"zero": {}, "token": {"scoring": "first_token"}}
    store, matrix = Made(conditions=ways).write(tmp_path / "study")
    scores: dict[tuple[str, ...], list[float]] = {}
    for score in matrix.rows:
        assert score.score is not None
        name = (score.target, score.recipe, score.condition)
        scores.setdefault(name, []).append(score.score)
    told = rows(generalization(store, matrix), "scoring")
    for row in told:
        if row["recipe"] != BASE:
            mine = scores[row["target"], row["recipe"], row["condition"]]
            assert row["score"] == pytest.approx(fmean(mine))
    assert {row["recipe"] for row in told} == {BASE, "plain", "more"}


def test_edited_sources_are_no_arms(tmp_path: Path) -> None:
    made = Made()
    made.write(tmp_path)
    study = json.loads((tmp_path / "study.json").read_text())
    first, second, *_ = study["study"]["sources"]
    first |= {"tasks": second["tasks"], "edits": [{"edit": "shuffle_labels"}]}
    (tmp_path / "study.json").write_text(json.dumps(study))
    store = Store(tmp_path)
    matrix = TransferMatrix.of(store)
    others = [name for name in made.sources if name != first["name"]]
    assert Design.of(store, matrix).sources == tuple(sorted(others))
