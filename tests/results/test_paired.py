"""Sums over examples agree with independent computations, and keep the laws of a comparison."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm
from scipy.stats import permutation_test as scipy_permutation
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar

from crosstune.results.paired import Paired, bonett_price, mcnemar_mid_p, paired
from crosstune.results.resampling import bootstrap, permutation

FEW = 200


@st.composite
def comparisons(
    draw: st.DrawFn, *, whole: bool | None = None, seeds: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of a base and of tuned models: all 0 or 1, or hundredths."""
    n = draw(st.integers(1, 12))
    k = seeds or draw(st.integers(1, 3))
    unit = 1 if (draw(st.booleans()) if whole is None else whole) else 100
    values = st.integers(0, unit).map(lambda value: value / unit)
    base = draw(arrays(np.float64, n, elements=values))
    cells = draw(st.integers(1, 3))
    return base, draw(arrays(np.float64, (cells, k, n), elements=values))


def closed(cells: Paired) -> tuple[np.ndarray, np.ndarray]:
    return bonett_price(cells.gain, cells.squares, cells.n, differing=cells.differing)


def skewed(seed: int, n: int = 60, cells: int = 3) -> np.ndarray:
    """Differences of scores with many zeros."""
    drawn = np.random.default_rng(seed)
    return drawn.gamma(0.4, 0.2, (cells, n)).clip(0, 1) - drawn.beta(0.5, 3, (cells, n))


# --- Independent references -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "down", "n", "low", "high", "p"),
    [
        # Complete response before and after consolidation therapy (Cavo et al. 2012), with the
        # interval and mid-p of Fagerland, Lydersen & Laake (2017), Statistical Analysis of
        # Contingency Tables, chapter 8, as the authors' R package contingencytables prints them.
        (6, 16, 161, -0.1195, -0.0032, 0.034690),
        # Airway hyper-responsiveness (Bentur et al. 2009), the other example of that chapter; by
        # hand: 1/23 and 7/23 with one added are 2/23 and 8/23; mid-p (1 + 8 + 1) / 2^8 exactly.
        (1, 7, 21, -0.5084, -0.0134, 0.0390625),
    ],
)
def test_closed_form_and_mid_p_are_the_published_ones(
    up: int, down: int, n: int, low: float, high: float, p: float
) -> None:
    base = np.repeat([0.0, 1.0, 1.0], [up, down, n - up - down])
    tuned = np.repeat([1.0, 0.0, 1.0], [up, down, n - up - down])
    cells = paired(base, tuned[None, None])
    centre, error = closed(cells)
    half = norm.ppf(0.975) * error
    assert [float(centre[0] - half[0]), float(centre[0] + half[0])] == pytest.approx(
        [low, high], abs=6e-5
    )
    assert float(mcnemar_mid_p(cells.up, cells.down)[0]) == pytest.approx(p, abs=6e-7)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mid_p_is_the_exact_test_less_half_of_each_tie(up: int, down: int) -> None:
    exact = mcnemar([[5, up], [down, 5]], exact=True).pvalue
    ties = comb(up + down, up) / 2 ** (up + down)
    expected = 1.0 if up == down else exact - ties
    assert float(mcnemar_mid_p(np.array([up]), np.array([down]))[0]) == pytest.approx(expected)


@given(st.integers(1, 200), st.integers(0, 40), st.integers(0, 40))
def test_closed_form_is_a_wald_interval_after_adding_two(n: int, up: int, down: int) -> None:
    total = n + up + down
    a, b = Fraction(up + 1, total + 2), Fraction(down + 1, total + 2)
    spread = float((a + b - (a - b) ** 2) / (total + 2))
    counts = np.array([up + down]), np.array([total])
    centre, error = bonett_price(
        np.array([(up - down) / total]), counts[0] / total, counts[1], differing=counts[0]
    )
    assert float(centre[0]) == pytest.approx(float(a - b), abs=1e-12)
    assert float(error[0]) == pytest.approx(sqrt(spread), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bootstrap_agrees_with_scipy(seed: int) -> None:
    differences = np.random.default_rng(seed).gamma(0.3, 0.2, (3, 25)).clip(0, 1)
    low, high = bootstrap(differences, resamples=100_000)
    for row in range(len(differences)):
        theirs = scipy_bootstrap(
            (differences[row],), np.mean, n_resamples=100_000, method="BCa", rng=seed
        ).confidence_interval
        width = theirs.high - theirs.low
        assert float(low[row]) == pytest.approx(theirs.low, abs=0.02 * width)
        assert float(high[row]) == pytest.approx(theirs.high, abs=0.02 * width)


def test_ties_count_half_to_the_bias_though_floating_point_breaks_them() -> None:
    """Thirds and tenths whose sums tie; the same numbers as integers cannot break a tie."""
    counts = np.array([[1, -2, 3, -1, 4, -3, 2, 0] * 2])
    whole = np.stack(bootstrap(counts / 4, resamples=2000))
    for unit in (0.1, 1 / 15):
        assert np.stack(bootstrap(counts * unit, resamples=2000)) == pytest.approx(
            whole * 4 * unit, abs=1e-9
        )


def test_few_examples_that_differ_move_the_ends_out_as_t_does() -> None:
    """Normal differences: the bootstrap's ends stand where those of t do, beyond the normal's."""
    differences = np.random.default_rng(4).normal(0, 0.1, (400, 10)).clip(-1, 1)
    count = np.full(400, 10)
    low, high = bootstrap(differences, resamples=4000, informative=count)
    plain = bootstrap(differences, resamples=4000)
    error = differences.std(axis=1, ddof=1) / sqrt(10)
    assert np.mean((high - low) / error) == pytest.approx(2 * student.ppf(0.975, 9), rel=0.04)
    assert np.mean((plain[1] - plain[0]) / error) < 2 * norm.ppf(0.975)


@pytest.mark.parametrize("seed", range(4))
def test_permutation_agrees_with_all_permutations(seed: int) -> None:
    # Tenths make ties, which floating point must not break.
    differences = np.random.default_rng(seed).integers(-3, 5, (2, 10)) / 10
    found = permutation(differences, resamples=40_000)
    for row in range(2):
        ours = float(found[row])
        signs = np.array(list(itertools.product((-1, 1), repeat=10)))
        totals = np.abs((signs * np.rint(differences[row] * 10)).sum(axis=1))
        exact = float((totals >= totals[-1]).mean())
        theirs = scipy_permutation(
            (differences[row], np.zeros(10)),
            lambda x, y: np.mean(x - y).round(9),
            permutation_type="samples",
            n_resamples=np.inf,
        ).pvalue
        assert theirs == pytest.approx(exact)
        assert ours == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / 40_000) + 1e-4)


def test_a_permutation_p_below_the_resamples_reach_stays_a_bound() -> None:
    differences = np.full((1, 40), 0.25)
    assert float(permutation(differences, resamples=999)[0]) == pytest.approx(2 * np.exp(-20))
    assert float(permutation(differences, resamples=999)[0]) >= 2 / 2**40  # what is exact


@given(comparisons())
@settings(max_examples=50, deadline=None)
def test_sums_are_those_of_slow_loops(outcomes: tuple[np.ndarray, np.ndarray]) -> None:
    base, tuned = outcomes
    cells = paired(base, tuned, resamples=FEW)
    seeds, n = tuned.shape[1:]
    for c in range(len(tuned)):
        d = [[tuned[c, k, e] - base[e] for e in range(n)] for k in range(seeds)]
        over_seeds = [sum(d[k][e] for k in range(seeds)) / seeds for e in range(n)]
        over_examples = [sum(d[k]) / n for k in range(seeds)]
        gain = sum(over_seeds) / n
        assert cells.gain[c] == pytest.approx(gain, abs=1e-12)
        assert cells.squares[c] == pytest.approx(sum(m**2 for m in over_seeds) / n)
        assert cells.base[c] == pytest.approx(sum(base) / n)
        assert cells.differing[c] == sum(abs(m) > 1e-12 for m in over_seeds)
        if seeds == 1:
            assert np.isnan(cells.seed_variance[c])
            assert np.isnan(cells.residual[c])
            continue
        between = sum((g - gain) ** 2 for g in over_examples) / (seeds - 1)
        rest = sum(
            (d[k][e] - over_seeds[e] - over_examples[k] + gain) ** 2
            for k in range(seeds)
            for e in range(n)
        )
        assert cells.seed_variance[c] == pytest.approx(between, abs=1e-12)
        freedom = (seeds - 1) * max(n - 1, 1)
        assert cells.residual[c] == pytest.approx(rest / freedom, abs=1e-12)


def test_seed_components_have_the_expected_size() -> None:
    """A two-way random model: examples sd .3, seeds sd .05, interaction sd .2."""
    drawn = np.random.default_rng(0)
    shape = (4000, 3, 50)
    examples = 0.05 * drawn.uniform(-1, 1, (*shape[:1], 1, shape[2])) * sqrt(3)
    seeds = 0.02 * drawn.uniform(-1, 1, (*shape[:2], 1)) * sqrt(3)
    rest = 0.04 * drawn.uniform(-1, 1, shape) * sqrt(3)
    cells = paired(np.full(50, 0.5), 0.5 + examples + seeds + rest)
    assert cells.seed_variance.mean() == pytest.approx(0.02**2 + 0.04**2 / 50, rel=0.03)
    assert cells.residual.mean() == pytest.approx(0.04**2, rel=0.03)


def test_shared_noise_is_the_mean_covariance_with_the_others() -> None:
    drawn = np.random.default_rng(1)
    base = drawn.integers(0, 2, 40) * 1.0
    tuned = drawn.integers(0, 2, (4, 2, 40)) * 1.0
    covariance = np.cov((tuned - base).mean(axis=1)) / 40
    np.fill_diagonal(covariance, 0)
    assert paired(base, tuned).shared == pytest.approx(covariance.sum(axis=1) / 3)
    assert paired(base, tuned[:1]).shared == pytest.approx(0)


# --- Laws -----------------------------------------------------------------------------------


@given(comparisons(seeds=1))
@settings(max_examples=50, deadline=None)
def test_swapping_base_and_tuned_mirrors_the_comparison(
    outcomes: tuple[np.ndarray, np.ndarray],
) -> None:
    base, tuned = outcomes[0], outcomes[1][:1]
    there = paired(base, tuned, resamples=FEW)
    back = paired(tuned[0, 0], base[None, None], resamples=FEW)
    assert back.gain == pytest.approx(-there.gain)
    assert (back.up, back.down) == (there.down, there.up)
    assert back.p == pytest.approx(there.p, nan_ok=True)
    assert closed(back)[0] == pytest.approx(-closed(there)[0])
    assert closed(back)[1] == pytest.approx(closed(there)[1])


def test_swapping_base_and_tuned_mirrors_the_bootstrap() -> None:
    differences = skewed(5)
    low, high = bootstrap(differences)
    mirrored = bootstrap(-differences)
    assert mirrored[0] == pytest.approx(-high, abs=1e-5)
    assert mirrored[1] == pytest.approx(-low, abs=1e-5)


@given(comparisons(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_examples_does_not_matter_to_sums(
    outcomes: tuple[np.ndarray, np.ndarray], shuffled: object
) -> None:
    base, tuned = outcomes
    order = np.arange(len(base))
    shuffled.shuffle(order)  # type: ignore[attr-defined]
    before = paired(base, tuned, resamples=2)
    after = paired(base[order], tuned[..., order], resamples=2)
    for name in "n gain squares differing shared up down seed_variance residual base".split():
        one, other = getattr(before, name), getattr(after, name)
        assert one == pytest.approx(other, abs=1e-12, nan_ok=True)


@given(comparisons(seeds=1))
@settings(max_examples=50, deadline=None)
def test_other_cells_do_not_change_a_cell_in_any_bit(
    outcomes: tuple[np.ndarray, np.ndarray],
) -> None:
    base, tuned = outcomes
    alone = paired(base, tuned[:1], resamples=FEW)
    constant = np.zeros_like(tuned[:1])
    among = paired(base, np.concatenate([tuned, constant]), resamples=FEW)
    for name in "gain squares up down low high p".split():
        one, other = getattr(alone, name)[:1], getattr(among, name)[:1]
        assert one.tobytes() == other.tobytes() or np.isnan(one[0])


def test_cells_of_several_blocks_are_those_of_one() -> None:
    differences = skewed(2, n=30, cells=300)
    whole = bootstrap(differences, resamples=FEW), permutation(differences, resamples=FEW)
    tail = (
        bootstrap(differences[290:], resamples=FEW),
        permutation(differences[290:], resamples=FEW),
    )
    assert (whole[0][0][290:] == tail[0][0]).all()
    assert (whole[0][1][290:] == tail[0][1]).all()
    assert (whole[1][290:] == tail[1]).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    differences = skewed(3)
    first, second, other = (np.stack(bootstrap(differences, seed=seed)) for seed in (0, 0, 1))
    assert first.tobytes() == second.tobytes() != other.tobytes()
    null = differences - differences.mean(axis=1, keepdims=True) / 2
    assert permutation(null, seed=1).tobytes() == permutation(null, seed=1).tobytes()
    assert permutation(null, seed=1).tobytes() != permutation(null, seed=0).tobytes()


@given(comparisons())
@settings(max_examples=80, deadline=None)
def test_closed_form_has_width_and_p_is_a_probability(
    outcomes: tuple[np.ndarray, np.ndarray],
) -> None:
    cells = paired(*outcomes, resamples=FEW)
    assert (closed(cells)[1] > 0).all()
    drawn = ~np.isnan(cells.low)
    assert (drawn == (~cells.binary & (cells.seeds == 1))).all()
    assert (cells.low[drawn] < cells.high[drawn]).all()
    assert ((cells.p[drawn] > 0) & (cells.p[drawn] <= 1)).all()
    counted = cells.up >= 0
    p = mcnemar_mid_p(cells.up[counted], cells.down[counted])
    assert ((p > 0) & (p <= 1)).all()


@given(comparisons(whole=False), st.floats(0.01, 1))
@settings(max_examples=50, deadline=None)
def test_the_closed_form_scales_with_the_differences(
    outcomes: tuple[np.ndarray, np.ndarray], scale: float
) -> None:
    base, tuned = outcomes
    one, other = (paired(base * k, tuned * k, resamples=2) for k in (1, scale))
    some = one.differing > 0
    for ours, theirs in zip(closed(one), closed(other), strict=True):
        assert theirs[some] == pytest.approx(ours[some] * scale)


def test_p_does_not_underflow_to_zero() -> None:
    assert float(mcnemar_mid_p(np.array([5000]), np.array([0]))[0]) > 0
    assert float(permutation(np.full((1, 5000), 0.5), resamples=2)[0]) > 0


def test_equal_answers_leave_an_interval_that_narrows_with_the_examples() -> None:
    """No difference in n examples: a true one of 3 / n might well have been missed."""
    widths = []
    for n in (50, 500):
        scores = np.full(n, 0.25)
        cells = paired(scores, scores[None, None])
        assert float(cells.p[0]) == 1
        assert float(cells.low[0]) == pytest.approx(-float(cells.high[0]))
        widths.append(float(cells.high[0]))
        assert widths[-1] == pytest.approx(2.8 / n, rel=0.2)
    assert widths[0] > 5 * widths[1]


def test_seeds_that_cancel_are_no_difference_whatever_floating_point_leaves() -> None:
    tuned = np.full((1, 2, 30), 0.4)
    tuned[0, 1] = 0.56
    cells = paired(np.full(30, 0.48), tuned)
    assert cells.differing.tolist() == [0]
    assert float(closed(cells)[1][0]) == pytest.approx(sqrt(2) / 32)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.5])
def test_outcomes_outside_their_range_are_refused(wrong: float) -> None:
    for base, tuned in ((wrong, 0.5), (0.5, wrong)):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            paired(np.array([0.0, base]), np.array([[[1.0, tuned]]]))
    with pytest.raises(ValueError, match="there must be some"):
        paired(np.empty(0), np.empty((1, 1, 0)))
