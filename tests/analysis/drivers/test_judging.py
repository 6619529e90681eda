"""What was left out is left out, and chance has its say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from analysis.drivers.simulated import sides, simulated
from crosstune.analysis.drivers.judging import (
    SUM,
    WITH_TRAITS,
    explained,
    importance,
    judged,
    judged_pairs,
)
from crosstune.analysis.drivers.traits import CLASSES, GROUPS, LENGTH, SURFACE, Side

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
