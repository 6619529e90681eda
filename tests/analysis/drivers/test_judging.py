"""What was left out is left out, and chance has its say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from analysis.drivers.simulated import NOISE, sides, simulated
from crosstune.analysis.drivers.judging import (
    SUM,
    WITH_TRAITS,
    explained,
    importance,
    judged,
    judged_pairs,
)
from crosstune.analysis.drivers.traits import CLASSES, GROUPS, KIND, LENGTH, SURFACE, Side, Trait

SETS = {"all": GROUPS, "one": (CLASSES,)}


def with_gaps(side: Side, share: float = 0.2) -> Side:
    known = np.random.default_rng(9).random(side.known.shape) > share
    return replace(side, known=known, gains=np.where(known, side.gains, np.nan))


def test_means_are_those_of_the_units_that_are_there() -> None:
    gains, traits = simulated(7, 9, driver=None, share=0, seed=0)
    errors = judged(sides(gains, traits)[0], SETS)
    for s in range(7):
        rest = np.delete(gains, s, axis=0)
        assert errors["grand mean"][s] == pytest.approx(np.square(gains[s] - rest.mean()).sum())
        expected = np.square(gains[s] - rest.mean(axis=0)).sum()
        assert errors["mean of the target"][s] == pytest.approx(expected)
    assert "mean of the source" in judged(sides(gains, traits)[1], SETS)


@pytest.mark.parametrize("which", [0, 1])
def test_predictions_know_nothing_of_what_is_left_out(which: int) -> None:
    gains, traits = simulated(14, 12, driver=("source", CLASSES), share=0.3, seed=1)
    side = with_gaps(sides(gains, traits)[which])
    first = judged(side, SETS)
    assert "mixed model" in first or which == 1
    count = int(side.known[3].sum())
    for name, errors in first.items():
        moved = []
        for shift in (1.0, 2.0):
            changed = side.gains.copy()
            changed[3] += shift
            moved.append(judged(replace(side, gains=changed), SETS)[name][3])
        # Σ (y + shift − told)² has this second difference just when `told` does not move.
        assert moved[1] - 2 * moved[0] + errors[3] == pytest.approx(2 * count)


def test_a_gain_that_is_not_known_is_not_read() -> None:
    gains, traits = simulated(8, 9, driver=None, share=0, seed=2)
    known = np.random.default_rng(9).random(gains.shape) > 0.2
    found = []
    for value in (0.0, 1e3):
        gains[~known] = value
        side = Side.of(gains, known, traits=traits, held_out="source")
        found.append(
            (judged(side, SETS), judged_pairs(side, seed=0), importance(side, SURFACE, seed=0))
        )
    assert {name: errors.tolist() for name, errors in found[0][0].items()} == {
        name: errors.tolist() for name, errors in found[1][0].items()
    }
    assert found[0][1][WITH_TRAITS].tolist() == found[1][1][WITH_TRAITS].tolist()
    assert found[0][2] == found[1][2]


def test_sources_plus_targets_are_predicted_by_the_sum_of_means() -> None:
    generator = np.random.default_rng(3)
    gains, traits = simulated(6, 10, driver=None, share=0, seed=3)
    gains = generator.standard_normal((6, 1)) + generator.standard_normal((1, 10))
    errors = judged_pairs(sides(gains, traits)[0], seed=0)
    assert errors[SUM].max() < 1e-12
    assert errors["mean of the source"].min() > 0.01
    assert [*errors] == ["mean of the source", "mean of the target", SUM, WITH_TRAITS]


def test_traits_of_pairs_help_where_both_means_are_known() -> None:
    gains, traits = simulated(10, 20, driver=("pair", SURFACE), share=0.3, seed=4)
    errors = judged_pairs(with_gaps(sides(gains, traits)[0]), seed=0)
    share, low, high = explained(errors[WITH_TRAITS], errors[SUM], seed=0)
    assert 0 < low < share < high < 1
    gains, traits = simulated(10, 20, driver=None, share=0, seed=4)
    errors = judged_pairs(sides(gains, traits)[0], seed=0)
    assert abs(explained(errors[WITH_TRAITS], errors[SUM], seed=0)[0]) < 0.05


@pytest.mark.parametrize("level", ["source", "pair"])
def test_a_trait_of_one_source_alone_leaves_the_mixed_model_of_all_others(level: str) -> None:
    gains, traits = simulated(10, 7, driver=None, share=0, seed=6)
    kept = [trait for trait in traits if trait.group in (CLASSES, SURFACE)]
    values = np.zeros((10, 7))
    values[3 if level == "source" else slice(3)] = 1.0  # of pairs: it has means of rows alone
    lone = Trait("text", KIND, level, values)  # type: ignore[arg-type]
    side, without = (sides(gains, of)[0] for of in ([*kept, lone], kept))
    found, expected = (judged(each, {})["mixed model"] for each in (side, without))
    assert np.isfinite(found).all()
    if level == "source":
        assert found == pytest.approx(expected)


def test_where_no_trait_is_left_there_is_no_mixed_model() -> None:
    gains, _ = simulated(8, 7, driver=None, share=0, seed=6)
    values = np.zeros((8, 7))
    values[3] = 1.0
    assert "mixed model" not in judged(sides(gains, [Trait("a", KIND, "source", values)])[0], {})


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_permutation_is_what_other_units_traits_would_have_given(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """All parts of it, and with gaps; of a whole and its inverse one is the other backwards."""
    gains, traits = simulated(9, 7, driver=None, share=0, seed=3)
    known = np.random.default_rng(0).random(gains.shape) >= share
    order = np.array([2, 0, 1, 4, 5, 6, 7, 8, 3])
    found = []
    for to, back in ((np.arange(9), order), (order, np.argsort(order))):
        moved = [replace(t, values=t.values[to]) if t.group == CLASSES else t for t in traits]
        side = Side.of(gains, known, traits=moved, held_out="source")
        monkeypatch.setattr(Side, "reordered", lambda *_, now=back: now)
        found.append(importance(side, CLASSES, seed=0, looks=(1,)).importance_share)
    assert abs(found[0]) > 1e-3
    assert found[0] == pytest.approx(-found[1])


@pytest.mark.parametrize("of", ["targets", "both"])
def test_rounding_explains_nothing_and_is_not_explained(of: str) -> None:
    generator = np.random.default_rng(3)
    gains, traits = simulated(8, 7, driver=None, share=0, seed=3)
    rows = generator.standard_normal((8, 1)) if of == "both" else np.zeros((8, 1))
    gains = 0.3 + NOISE * (rows + generator.standard_normal((1, 7)))
    side = sides(gains, [t for t in traits if t.group in (CLASSES, SURFACE)])[0]
    errors = judged_pairs(side, seed=0)
    assert errors[SUM].max() == 0
    assert explained(errors[WITH_TRAITS], errors[SUM], seed=0) == (0, 0, 0)
    if of == "targets":
        found = judged(side, {"all": GROUPS})
        mean = found["mean of the target"]
        assert mean.max() == 0
        assert explained(found["grand mean"], mean, seed=0) == (0, 0, 0)
        test = importance(side, SURFACE, seed=0, looks=(9,))
        assert (test.p, test.p_beyond, test.importance_share) == (1, 1, 0)


def test_explained_is_nothing_against_itself() -> None:
    errors = np.arange(1.0, 9.0)
    assert explained(errors, errors, seed=0) == (0.0, 0.0, 0.0)
    assert explained(errors / 4, errors, seed=0) == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(("driver", "which"), [(("source", CLASSES), 0), (("pair", LENGTH), 1)])
def test_the_driver_is_important_and_size_does_not_matter(
    driver: tuple[str, str], which: int
) -> None:
    gains, traits = simulated(30, 20, driver=driver, share=0.4, seed=5)
    found = importance(sides(gains, traits)[which], driver[1], seed=0)
    assert found.importance_share > found.null_high > 0
    assert found.p < 0.005
    assert found.p_beyond < 0.05
    assert found.permutations == 1000
    larger = importance(sides(40 * gains + 3, traits)[which], driver[1], seed=0)
    assert larger.importance_share == pytest.approx(found.importance_share)
    assert larger.p == found.p


def test_p_is_even_where_nothing_is_to_be_found() -> None:
    found = []
    for seed in range(40):
        gains, traits = simulated(12, 12, driver=None, share=0, seed=seed)
        side = sides(gains, traits)[0].of_groups([SURFACE])
        found.append(importance(side, SURFACE, seed=seed).p)
    # Where traits help nothing, in either part, p is 1: even from above alone.
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(np.array(found) < 0.3) > 0.1
