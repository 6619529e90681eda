"""What is claimed of intervals and tests holds for matrices whose truth is known.

`benchmarks/uncertainty.py` does the same with more matrices; docs/method.md has its table.
"""

from __future__ import annotations

import numpy as np
import pytest

from crosstune.results.inference import variance_shares
from simulated import Coverage, Setting, coverage, false_discoveries, simulated

LOWEST, HIGHEST = 0.93, 0.97
MATRICES = {4: 100, 10: 40}
BINARY = [
    (1, 0.03, True, 0.0),
    (2, 0.01, True, 0.0),
    (2, 0.03, True, 0.5),
    (2, 0.03, False, 0.0),
    (2, 0.05, True, 0.0),
    (3, 0.03, True, 0.0),
    (3, 0.05, False, 0.5),
    (5, 0.01, False, 0.0),
    (5, 0.05, True, 0.5),
]
TEXT = [
    (1, 0.03, True, 0.0),
    (2, 0.02, True, 0.0),
    (3, 0.03, True, 0.5),
    (5, 0.03, False, 0.5),
]


def measured(
    size: tuple[int, int], how: tuple[int, float, bool, float], *, text: bool = False
) -> Coverage:
    seeds, sd, shared, spread = how
    setting = Setting(
        sources=size[0],
        targets=size[1],
        seeds=seeds,
        seed_sd=sd,
        shared=shared,
        spread=spread,
        text=text,
        gain=0.1 if text else 0.2,
    )
    few = text and seeds == 1  # these are resampled, which costs most
    return coverage(setting, matrices=40 if few else MATRICES[size[0]], seed=1)


@pytest.mark.parametrize("size", [(4, 10), (10, 24)])
@pytest.mark.parametrize("how", BINARY)
def test_intervals_of_choices_hold_the_truth_as_often_as_they_say(
    size: tuple[int, int], how: tuple[int, float, bool, float]
) -> None:
    found = measured(size, how)
    assert LOWEST <= found.ours <= HIGHEST


@pytest.mark.parametrize("how", TEXT)
def test_intervals_of_texts_hold_the_truth_as_often_as_they_say(
    how: tuple[int, float, bool, float],
) -> None:
    assert LOWEST <= measured((4, 10), how, text=True).ours <= HIGHEST


def test_naive_intervals_do_not() -> None:
    one = measured((4, 10), (1, 0.03, True, 0.0)).naive
    assert one["unpaired"] > 0.98  # wider than need be, so gains are missed
    for seeds, at_most in ((2, 0.5), (3, 0.75)):
        several = measured((4, 10), (seeds, 0.05, True, 0.0))
        assert several.naive["bootstrap over seeds"] < at_most
        assert several.naive["seeds ignored"] < 0.85
        assert several.ours >= LOWEST


def test_where_seeds_vary_most_intervals_are_too_narrow_but_less_so_with_more_seeds() -> None:
    """The price of borrowing from calmer cells; docs/method.md says how large it is."""
    noisiest = [measured((4, 10), (seeds, 0.05, False, 0.5)).noisiest for seeds in (2, 3, 5)]
    assert noisiest[0] < LOWEST
    assert noisiest[0] > 0.8
    assert noisiest[2] > noisiest[0]
    assert noisiest[2] > 0.88


def test_equal_answers_do_not_break_the_coverage_of_texts() -> None:
    """Tuned models that write as the base does nearly everywhere: few examples differ."""
    drawn = np.random.default_rng(0)
    hits = []
    for changed in (0.02, 0.05, 0.2):
        setting = Setting(text=True, gain=0.1, examples=(200, 200))
        for _ in range(15):
            found = simulated(setting, drawn, kept=1 - changed, resamples=500)
            low, high = found.inference().low, found.inference().high
            hits.append((low <= found.truth) & (found.truth <= high))
    assert LOWEST - 0.01 <= np.mean(hits) <= HIGHEST


def test_within_relations_few_false_discoveries_over_all_cells_many() -> None:
    """Ten sources, each with three strong same-task cells among 24; every other cell is null."""
    found = false_discoveries(matrices=200, seed=0)
    error = np.sqrt(0.05 * 0.95 / 200)
    assert found.within <= 0.05 + 2 * error
    assert found.over_all > 0.4
    assert found.power > 0.99


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
def test_null_cells_are_rejected_as_often_as_the_level_says(seeds: int, text: bool) -> None:
    drawn = np.random.default_rng(1)
    setting = Setting(seeds=seeds, seed_sd=0.02 if seeds > 1 else 0.0, text=text)
    null = np.zeros((setting.targets, setting.sources))
    times = 30 if text and seeds == 1 else 80
    p = [simulated(setting, drawn, gains=null, resamples=500).inference().p for _ in range(times)]
    # Counts are discrete, so McNemar's test stays a little below.
    assert 0.03 <= (np.concatenate(p) < 0.05).mean() <= 0.06
    assert (np.concatenate(p) < 0.01).mean() <= 0.016


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_gain_of_the_detectable_size_is_detected_four_times_in_five(
    seeds: int, text: bool
) -> None:
    drawn = np.random.default_rng(2)
    sd = 0.02 if seeds > 1 else 0.0
    setting = Setting(seeds=seeds, seed_sd=sd, shared=False, text=text, level=0.3)
    gain = np.full((setting.targets, setting.sources), 0.08)
    for _ in range(3):
        times = 20 if text and seeds == 1 else 50
        found = [
            simulated(setting, drawn, gains=gain, resamples=500).inference() for _ in range(times)
        ]
        power = np.mean([(each.p < 0.05) & (each.low > 0) for each in found])
        gain[:] = np.mean([each.detectable for each in found])
    assert 0.73 <= power <= 0.87


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_errors_of_examples_and_seeds_have_the_size_of_what_they_estimate(seeds: int) -> None:
    """Mean squares over the cells, as the shares of variance take them."""
    drawn = np.random.default_rng(4)
    setting = Setting(seeds=seeds, seed_sd=0.04, spread=0.5, shared=False)
    studies = [simulated(setting, drawn) for _ in range(60)]
    found = [study.inference() for study in studies]
    of_seeds = np.mean([each.seeds_error**2 for each in found])
    true = np.mean([study.seed_sd**2 for study in studies]) / seeds
    assert of_seeds == pytest.approx(true, rel=0.12)
    whole = np.mean([(study.cells.gain - study.truth) ** 2 for study in studies])
    of_examples = np.mean([each.examples_error**2 for each in found])
    assert of_examples + of_seeds == pytest.approx(whole, rel=0.1)


def test_shares_of_variance_do_not_take_the_examples_noise_for_the_targets() -> None:
    """All true gains are equal, so nothing but examples makes cells differ."""
    drawn = np.random.default_rng(3)
    setting = Setting(sources=8, targets=12, seed_sd=0.0, examples=(150, 150))
    sums = np.zeros(2)
    for _ in range(40):
        study = simulated(setting, drawn, gains=np.full((12, 8), -0.05))
        found = study.inference()

        def grid(values: np.ndarray) -> np.ndarray:
            return values.reshape(12, 8).T

        errors = {"examples_error": grid(found.examples_error)}
        errors["seeds_error"] = grid(found.seeds_error)
        blind = variance_shares(grid(study.cells.gain), **errors)
        errors["shared_error"] = grid(found.shared_error)
        shares = variance_shares(grid(study.cells.gain), **errors)
        sums += float(shares["examples"] or 0), float(blind["target"] or 0)
    examples, mistaken = sums / 40
    assert examples > 0.85
    assert mistaken > 2 * (1 - examples)
