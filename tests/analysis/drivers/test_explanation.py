"""A known driver is found, none is invented, and the question is answered or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.drivers.simulated import related, sides, simulated
from crosstune.analysis.drivers.explanation import (
    EVERYTHING,
    HIDDEN,
    SURE,
    Explanation,
    _singly,
    claimed,
    enough,
    explanation,
    importances,
)
from crosstune.analysis.drivers.traits import CLASSES, GROUPS, LENGTH, SURFACE, Trait


def explained(
    sources: int, targets: int, driver: tuple[str, str] | None, share: float, seed: int = 0
) -> Explanation:
    gains, traits = simulated(sources, targets, driver=driver, share=share, seed=seed)
    known = np.ones(gains.shape, dtype=bool)
    return explanation(gains, known, traits=traits, seed=seed)


@pytest.mark.parametrize(
    ("driver", "answer"),
    [
        (("source", CLASSES), "yes"),
        (("pair", LENGTH), "yes"),
        (("pair", SURFACE), "no"),
        (None, "cannot be told"),
    ],
)
def test_the_question_is_answered(driver: tuple[str, str] | None, answer: str) -> None:
    found = explained(30, 12, driver, 0.55)
    assert found.answer() == answer
    unsure = replace(found, groups=[row | {"q": 0.5} for row in found.groups])
    assert unsure.answer() == "cannot be told"
    if driver is None:
        assert all(row["q"] >= SURE for row in found.groups)
        return
    assert found.claimed("source")[0] == driver[1]
    first = found.traits[0]
    assert (first["level"], first["group"]) == driver
    assert 0 < first["low"] < first["gain_per_sd"] < first["high"]
    judged = {row["predictor"]: row for row in found.judged if row["held_out"] == "source"}
    assert judged[driver[1]]["low"] > 0
    low, high = sorted((judged[HIDDEN]["explained_share"], judged[SURFACE]["explained_share"]))
    assert abs(found.advantage[0]) == pytest.approx(high - low)


@pytest.mark.parametrize(
    ("without", "answer"),
    [({SURFACE}, "cannot be told"), ({CLASSES, LENGTH}, "cannot be told"), ({LENGTH}, "yes")],
)
def test_it_is_not_answered_of_what_was_never_measured(without: set[str], answer: str) -> None:
    row = {"held_out": "source", "q": 0.01, "p_beyond": 0.01, "importance_share": 0.1}
    sure = [row | {"group": group} for group in GROUPS if group not in without]
    sure += [row | {"held_out": "target", "group": group} for group in without]
    for advantage in ((0.2, 0.1, 0.3), (-0.2, -0.3, -0.1)):
        told = Explanation(np.ones(5, bool), np.ones(5, bool), [], sure, [], advantage)
        assert told.unmeasured() == [g for g in (CLASSES, LENGTH, SURFACE) if g in without]
        assert told.answer() == ("no" if answer == "yes" and advantage[0] < 0 else answer)


def test_nothing_is_judged_of_a_side_that_was_not_measured() -> None:
    gains, traits = simulated(6, 6, driver=None, share=0, seed=1)
    kept = [t for t in traits if t.group == SURFACE]
    found = explanation(gains, np.ones((6, 6), dtype=bool), traits=kept)
    assert HIDDEN not in {row["predictor"] for row in found.judged}
    assert (found.unmeasured(), found.answer()) == ([CLASSES, LENGTH], "cannot be told")


def test_a_trait_of_pairs_that_varies_only_in_gaps_is_dropped() -> None:
    gains, traits = simulated(7, 6, driver=None, share=0, seed=1)
    known, values = np.ones((7, 6), dtype=bool), np.zeros((7, 6))
    np.fill_diagonal(known, val=False)
    np.fill_diagonal(values, 1.0)
    kept = [t for t in traits if t.group == SURFACE]
    found = explanation(gains, known, traits=[*kept, Trait("same", SURFACE, "pair", values)])
    assert {row["trait"] for row in found.traits} == {trait.name for trait in kept}


def test_sums_of_sources_and_targets_have_no_error_to_tell_traits_by() -> None:
    generator = np.random.default_rng(3)
    _, traits = simulated(7, 6, driver=None, share=0, seed=1)
    gains = generator.standard_normal((7, 1)) + generator.standard_normal((1, 6))
    assert _singly(gains, np.ones((7, 6), dtype=bool), traits[:3]) == []


def test_rows_say_what_was_left_out_and_the_best_mean_is_the_measure() -> None:
    found = explained(8, 12, None, 0)
    for held_out, mean in (("source", "mean of the target"), ("pair", "sum of both means")):
        rows = [row for row in found.judged if row["held_out"] == held_out]
        names = [row["predictor"] for row in rows]
        assert {row["best_mean"] for row in rows} == {mean}
        assert rows[names.index(mean)]["explained_share"] == 0
        for row in rows:
            ratio = (row["gain_error"] / rows[names.index(mean)]["gain_error"]) ** 2
            assert row["explained_share"] == pytest.approx(1 - ratio)
    assert EVERYTHING in {row["predictor"] for row in found.judged}
    assert {row["held_out"] for row in found.groups} == {"source", "target"}


def test_a_group_of_sources_and_pairs_alone_has_no_say_of_targets() -> None:
    gains, traits = simulated(6, 6, driver=None, share=0, seed=1)
    kept = [t for t in traits if t.group == CLASSES and t.level == "source"]
    found = explanation(gains, np.ones((6, 6), dtype=bool), traits=kept)
    assert [(row["held_out"], row["group"]) for row in found.groups] == [("source", CLASSES)]


@pytest.mark.parametrize("draws", [8, pytest.param(100, marks=pytest.mark.by_hand)])
def test_no_driver_is_invented(draws: int) -> None:
    claims = 0
    for seed in range(draws):
        gains, traits = simulated(8, 12, driver=None, share=0, seed=1_000 + seed)
        rows = importances(sides(gains, traits), seed=seed, looks=(50, 200, 1000))
        claims += any(row["q"] < SURE for row in rows)
    assert claims <= (1 if draws == 8 else 0.05 * draws + 1.65 * np.sqrt(0.0475 * draws))


def test_what_families_share_is_not_taken_for_a_driver() -> None:
    claims = {True: 0, False: 0}
    for seed in range(8):
        gains, traits, families = related(seed)
        kept = [t for t in traits if t.group in (CLASSES, LENGTH)]
        for blocks in claims:
            of = sides(gains, kept, families) if blocks else sides(gains, kept)
            rows = importances(of, seed=seed, looks=(200,))
            claims[blocks] += any(row["q"] < SURE for row in rows)
    assert claims[True] <= 1
    assert claims[False] >= 3, "else this test would show nothing"


def test_families_of_one_size_change_places_as_a_whole() -> None:
    gains, traits = simulated(8, 5, driver=None, share=0, seed=0)
    side = sides(gains, traits, (list("abbcadde"), ()))[0]  # a, b and d have two
    orders = np.array([side.reordered(np.random.default_rng(seed)) for seed in range(300)])
    names = np.array(list("abbcadde"))[orders]
    assert (np.sort(orders) == np.arange(8)).all()
    for pair in ((0, 4), (1, 2), (5, 6)):
        assert (names[:, pair[0]] == names[:, pair[1]]).all()
        assert {*names[:, pair[0]]} == {*"abd"}
    assert {*names[:, 3]} == {*"ce"}
    alone = sides(gains, traits)[0]
    drawn = [alone.reordered(np.random.default_rng(seed)) for seed in range(300)]
    assert all(len({*place}) == 8 for place in np.transpose(drawn))


def test_gaps_make_no_trait_of_pairs_surer() -> None:
    p = []
    for seed in range(60):
        gains, traits = simulated(12, 20, driver=None, share=0, seed=seed)
        known = np.random.default_rng(seed).random(gains.shape) < 0.6
        pairs = [t for t in traits if t.level == "pair"][:3]
        p += [row["p"] for row in _singly(gains, known, pairs)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_gaps_are_no_part_of_it_and_units_with_few_gains_are_left_out() -> None:
    gains, traits = simulated(9, 10, driver=None, share=0, seed=2)
    known = np.random.default_rng(0).random(gains.shape) > 0.15
    known[4] = False
    known[4, :4] = True
    found = [
        explanation(np.where(known, gains, value), known, traits=traits) for value in (0.0, np.nan)
    ]
    assert found[0].judged == found[1].judged
    assert found[0].groups == found[1].groups
    assert found[0].traits == found[1].traits
    assert (~found[0].sources).nonzero()[0].tolist() == [4]


def test_enough_is_three_and_half_of_what_is_left() -> None:
    known = np.ones((6, 8), dtype=bool)
    known[0, :5] = False
    sources, targets = enough(known)
    assert sources.tolist() == [False, *[True] * 5]
    assert targets.all()
    assert not enough(np.zeros((4, 4), dtype=bool))[0].any()


def test_traits_with_gaps_get_the_mean_and_unknown_ones_are_dropped() -> None:
    gains, traits = simulated(6, 7, driver=None, share=0, seed=3)
    known = np.ones(gains.shape, dtype=bool)
    gappy = [replace(t, values=t.values.copy()) for t in traits[:3]]
    gappy[0].values[1] = np.nan
    mean = gappy[0].values[[0, 2, 3, 4, 5]].mean()
    gappy[1].values[:4] = np.nan
    gappy[2].values[:] = 7.0
    found = explanation(gains, known, traits=[*gappy, *traits[3:]])
    names = {row["trait"] for row in found.traits}
    assert names == {trait.name for trait in traits} - {gappy[1].name, gappy[2].name}
    gappy[0].values[1] = mean
    filled = explanation(gains, known, traits=[*gappy, *traits[3:]])
    assert filled.traits == found.traits


def test_a_group_that_only_goes_together_with_another_is_not_named() -> None:
    def row(group: str, q: float, beyond: float, importance: float) -> dict[str, float | str]:
        return {"group": group, "q": q, "p_beyond": beyond, "importance_share": importance}

    shadow, driver = row("a", 0.01, 0.3, 0.4), row("b", 0.01, 0.01, 0.2)
    assert claimed([shadow, driver, row("c", 0.2, 0.01, 0.9)]) == ["b"]
    assert claimed([row("b", 0.01, 0.3, 0.2), shadow]) == ["a", "b"]
    assert claimed([]) == []


def test_a_copy_of_the_driver_is_told_as_one_that_cannot_be_told_apart() -> None:
    gains, traits = simulated(30, 12, driver=("source", CLASSES), share=0.55, seed=0)
    first = next(t for t in traits if (t.level, t.group) == ("source", CLASSES))
    kept = [first, replace(first, name="copy", group=LENGTH)]
    side = sides(gains, kept)[0]
    rows = importances([side], seed=0)
    assert claimed(rows) == [CLASSES, LENGTH]
    assert all(row["p_beyond"] > SURE for row in rows)


def test_too_little_is_refused() -> None:
    gains, traits = simulated(4, 9, driver=None, share=0, seed=4)
    with pytest.raises(ValueError, match="fewer than 5 sources or targets"):
        explanation(gains, np.ones((4, 9), dtype=bool), traits=traits)
    gains, _ = simulated(6, 9, driver=None, share=0, seed=4)
    with pytest.raises(ValueError, match="no trait varies"):
        explanation(gains, np.ones((6, 9), dtype=bool), traits=[])
    _, traits = simulated(6, 9, driver=None, share=0, seed=4)
    with pytest.raises(ValueError, match="all gains are the same"):
        explanation(np.zeros((6, 9)), np.ones((6, 9), dtype=bool), traits=traits)
