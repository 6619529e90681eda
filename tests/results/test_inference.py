"""What is concluded from a cell's sums agrees with independent computations and keeps its laws."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.special import polygamma, psi
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from crosstune.results.inference import (
    METHODS,
    Inference,
    inference,
    moderated_variances,
    q_values,
    variance_shares,
)
from crosstune.results.paired import Paired, mcnemar_mid_p, paired

FEW = 200
NOISE = 0.03


def concluded(
    cells: Paired, *, pools: np.ndarray | None = None, sources: np.ndarray | None = None
) -> Inference:
    count = len(cells.n)
    pools = np.zeros(count, dtype=np.int64) if pools is None else pools
    return inference(cells, pools=pools, sources=np.arange(count) if sources is None else sources)


def models(
    seed: int, *, seeds: int, n: int = 80, sources: int = 4, whole: bool = True, sd: float = NOISE
) -> Paired:
    """One target asked by several sources whose seeds differ a little."""
    drawn = np.random.default_rng(seed)
    level = 0.5 + 0.1 * drawn.standard_normal((sources, 1, 1))
    level = level + sd * drawn.standard_normal((sources, seeds, 1))
    luck = drawn.uniform(size=(sources, seeds, n))
    tuned = (luck < level) * 1.0 if whole else (luck * level).clip(0, 1)
    return paired((drawn.uniform(size=n) < 0.5) * 1.0, tuned, resamples=FEW)


@st.composite
def studies(draw: st.DrawFn) -> tuple[Paired, np.ndarray, np.ndarray]:
    """Cells of any kind: few or many examples, equal seeds, constant answers, one source."""
    seeds = draw(st.integers(1, 3))
    unit = draw(st.sampled_from((1, 4)))
    values = st.integers(0, unit).map(lambda value: value / unit)
    parts, sources = [], draw(st.integers(1, 3))
    for _ in range(draw(st.integers(1, 2))):
        n = draw(st.integers(1, 9))
        tuned = draw(arrays(np.float64, (sources, seeds, n), elements=values))
        if draw(st.booleans()):
            tuned[:] = tuned[:, :1]
        base = draw(arrays(np.float64, n, elements=values, fill=values))
        parts.append(paired(base, tuned, resamples=20))
    cells = Paired.joined(parts)
    pools = draw(arrays(np.int64, len(cells.n), elements=st.integers(0, 1)))
    return cells, pools, np.tile(np.arange(sources), len(parts))


# --- Independent references -----------------------------------------------------------------


def squeezed(variances: list[float], freedom: int) -> tuple[list[float], float]:
    """Smyth (2004), section 6.2, one number at a time; the mean when there is no excess scatter."""
    e = [log(v) - psi(freedom / 2) + log(freedom / 2) for v in variances]
    middle = sum(e) / len(e)
    excess = sum((x - middle) ** 2 for x in e) / (len(e) - 1) - float(polygamma(1, freedom / 2))
    if excess <= 0:
        return [sum(variances) / len(variances)] * len(variances), float("inf")
    half = brentq(lambda x: float(polygamma(1, np.exp(x))) - excess, -12, 25)
    prior = 2 * float(np.exp(half))
    common = float(np.exp(middle + psi(prior / 2) - log(prior / 2)))
    return [(prior * common + freedom * v) / (prior + freedom) for v in variances], prior + freedom


@pytest.mark.parametrize("freedom", [1, 2, 4])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_moderated_variances_are_those_of_smyth(freedom: int, spread: float) -> None:
    drawn = np.random.default_rng(freedom)
    variances = np.exp(spread * drawn.standard_normal(40)) * drawn.chisquare(freedom, 40) / freedom
    found, worth = moderated_variances(variances, freedom=freedom)
    expected, expected_worth = squeezed(variances.tolist(), freedom)
    assert found == pytest.approx(expected, rel=1e-6)
    assert worth == pytest.approx(expected_worth, rel=1e-6)


def test_moderated_variances_find_the_prior_that_they_were_drawn_from() -> None:
    drawn = np.random.default_rng(0)
    true = 2.0 * 6 / drawn.chisquare(6, 50_000)
    found, worth = moderated_variances(true * drawn.chisquare(3, 50_000) / 3, freedom=3)
    assert worth - 3 == pytest.approx(6, rel=0.05)
    own = true * drawn.chisquare(3, 50_000) / 3
    assert np.mean((np.log(found) - np.log(true)) ** 2) < np.mean((np.log(own / true)) ** 2) / 2


def test_several_seeds_have_the_variance_of_a_direct_computation() -> None:
    cells = models(3, seeds=3, sd=0.1)
    found = concluded(cells)
    worth = min(moderated_variances(cells.seed_variance, freedom=2)[1], 4 * 2)
    seeds = [float(v) / 3 for v in moderated_variances(cells.seed_variance, freedom=2)[0]]
    for c in range(4):
        n, gain = int(cells.n[c]), float(cells.gain[c])
        plain = (float(cells.squares[c]) - gain**2) / (n - 1)
        interaction = float(cells.residual[c]) / (3 * n)
        assert float(found.examples_error[c]) == pytest.approx(sqrt(plain))
        level = float(cells.seed_variance.mean()) / (3 * sum(seeds) / 4)
        expected = sqrt(max(seeds[c] * level - interaction, 0))
        assert float(found.seeds_error[c]) == pytest.approx(expected)
        step = float(cells.squares[c]) * n / int(cells.differing[c])
        spread = (float(cells.squares[c]) * n + 2 * step) / (n + 2) - (gain * n / (n + 2)) ** 2
        total = spread / (n + 2) + max(seeds[c] - interaction, 0)
        weight = min(seeds[c] / total, 1)

        def tails(place: float, weight: float = weight) -> float:
            return 2 * float((1 - weight) * norm.sf(place) + weight * student.sf(place, worth))

        critical = brentq(lambda place: tails(place) - 0.05, 1, 15)
        half = float(found.high[c] - found.low[c]) / 2
        assert half == pytest.approx(critical * sqrt(total), rel=1e-5)
        assert float(found.p[c]) == pytest.approx(tails(abs(gain * n / (n + 2)) / sqrt(total)))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_and_p_of_several_seeds_are_one_mixture_of_normal_and_t(seeds: int) -> None:
    """Without noise from examples they are t exactly; with it, between normal and t."""
    drawn = np.random.default_rng(seeds)
    level = 0.5 + 0.2 * drawn.uniform(-1, 1, (1, seeds, 1))
    steady = paired(np.full(2000, 0.4), np.repeat(level, 2000, axis=2))
    found = concluded(steady)
    gains = level[0, :, 0] - 0.4
    ratio = gains.mean() / sqrt(gains.var(ddof=1) / seeds)
    assert float(found.p[0]) == pytest.approx(2 * student.sf(abs(ratio), seeds - 1), rel=0.01)
    half = student.ppf(0.975, seeds - 1) * sqrt(gains.var(ddof=1) / seeds)
    assert float(found.high[0]) == pytest.approx(min(gains.mean() + half, 1), rel=0.01)


@given(st.integers(0, 10_000), st.sampled_from((2, 3, 5)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_an_interval_of_several_seeds_holds_zero_just_when_p_is_above_its_level(
    seed: int, seeds: int, whole: bool
) -> None:
    found = concluded(models(seed, seeds=seeds, whole=whole))
    close = np.abs(found.p - 0.05) < 1e-4
    assert (((found.low > 0) | (found.high < 0)) == (found.p < 0.05))[~close].all()


@given(
    arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-9, 1)),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_q_values_are_those_of_statsmodels_and_keep_their_laws(p: np.ndarray, count: int) -> None:
    families = np.arange(len(p)) % count
    gaps = np.arange(len(p)) % 5 == 4
    known = np.where(gaps, np.nan, p)
    q = q_values(known, families=families)
    assert (np.isnan(q) == gaps).all()
    for family in range(count):
        members = (families == family) & ~gaps
        if members.any():
            expected = multipletests(p[members], method="fdr_bh")[1]
            assert q[members] == pytest.approx(expected)
            assert (q[members] >= p[members]).all()
            assert (np.diff(q[members][np.argsort(p[members], kind="stable")]) >= 0).all()


# --- Laws -----------------------------------------------------------------------------------


@given(studies())
@settings(max_examples=150, deadline=None)
def test_whatever_was_answered_gives_numbers_in_range(
    study: tuple[Paired, np.ndarray, np.ndarray],
) -> None:
    cells, pools, sources = study
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inference(cells, pools=pools, sources=sources)
    one = cells.seeds == 1
    for field in fields(found):
        values = getattr(found, field.name)
        if field.name == "seeds_error":
            assert (np.isnan(values) == one).all()
            assert (values[~one] >= 0).all()
        elif field.name != "method":
            assert np.isfinite(values).all(), field.name
    assert (found.low < found.high).all()
    assert ((found.low >= -1) & (found.high <= 1)).all()
    assert ((found.p > 0) & (found.p <= 1)).all()
    assert ((found.detectable > 0) & (found.detectable <= 1)).all()
    assert (found.examples_error > 0).all()
    assert (found.shared_error <= found.examples_error).all()
    assert set(found.method) <= set(METHODS)
    # Adding two examples draws the centre towards 0; so an interval holds the gain unless that
    # step, 2 / (n + 2) of the gain, is more than half its width: |gain| near 1 with few examples.
    step = 2 * np.abs(cells.gain) / (cells.n + 2)
    half = (found.high - found.low) / 2
    near = (found.low <= cells.gain + 1e-12) & (cells.gain <= found.high + 1e-12)
    assert near[(step < half / 2) & (found.method != "bootstrap")].all()
    assert near[(np.abs(cells.gain) < 0.8) & (found.method == "closed form")].all()


@pytest.mark.parametrize("seeds", [1, 3])
def test_swapping_base_and_tuned_mirrors_interval_and_keeps_p(seeds: int) -> None:
    cells = models(7, seeds=seeds)
    mirrored = replace(cells, gain=-cells.gain, up=cells.down, down=cells.up)
    there, back = concluded(cells), concluded(mirrored)
    assert back.low == pytest.approx(-there.high)
    assert back.high == pytest.approx(-there.low)
    for name in ("p", "detectable", "examples_error", "seeds_error"):
        assert getattr(back, name) == pytest.approx(getattr(there, name), nan_ok=True)


def test_another_source_does_not_change_a_cell_of_one_seed() -> None:
    cells = models(8, seeds=1, whole=False)
    few = Paired(**{field.name: getattr(cells, field.name)[:2] for field in fields(cells)})
    all_, part = concluded(cells), concluded(few)
    for name in ("low", "high", "p", "detectable", "examples_error"):
        assert getattr(all_, name)[:2].tobytes() == getattr(part, name).tobytes()


def test_other_pools_do_not_change_a_cell_of_several_seeds() -> None:
    calm, wild = models(1, seeds=2), models(2, seeds=2, sd=0.3)
    together = concluded(Paired.joined([calm, wild]), pools=np.repeat([0, 1], 4))
    alone = concluded(calm)
    for name in ("low", "high", "p"):
        assert (getattr(together, name)[:4] == getattr(alone, name)).all()


def test_a_source_counts_once_however_many_targets_it_is_asked() -> None:
    cells = models(4, seeds=2, sources=12, sd=0.2)
    separate = concluded(cells)
    same = concluded(cells, sources=np.zeros(12, dtype=np.int64))
    assert (same.high - same.low > separate.high - separate.low).all()
    assert (same.p >= separate.p).all()


def test_seeds_that_agree_leave_the_interval_of_the_examples() -> None:
    one = models(5, seeds=1)
    drawn = np.random.default_rng(5)
    tuned = np.repeat((drawn.uniform(size=(4, 1, 80)) < 0.5) * 1.0, 3, axis=1)
    base = (drawn.uniform(size=80) < 0.5) * 1.0
    three, single = concluded(paired(base, tuned)), concluded(paired(base, tuned[:, :1]))
    assert three.low == pytest.approx(single.low)
    assert three.high == pytest.approx(single.high)
    assert three.seeds_error == pytest.approx(0, abs=1e-12)
    assert np.isnan(concluded(one).seeds_error).all()


def test_p_of_several_seeds_does_not_underflow_to_zero() -> None:
    found = concluded(paired(np.zeros(9000), np.ones((1, 2, 9000))))
    assert 0 < float(found.p[0]) < 1e-300


def test_each_cell_says_how_it_was_judged() -> None:
    parts = [models(0, seeds=1), models(0, seeds=1, whole=False), models(0, seeds=2)]
    found = concluded(Paired.joined(parts))
    assert found.method.tolist() == ["closed form"] * 4 + ["bootstrap"] * 4 + ["t"] * 4
    assert found.p[:4] == pytest.approx(mcnemar_mid_p(parts[0].up, parts[0].down))
    assert (found.low[4:8] == parts[1].low).all()
    assert (found.p[4:8] == parts[1].p).all()


def test_more_examples_and_more_seeds_detect_less() -> None:
    def least(*, seeds: int, n: int) -> float:
        return float(concluded(models(11, sd=0.05, seeds=seeds, n=n)).detectable.mean())

    assert least(seeds=1, n=800) < least(seeds=1, n=80) / 2.5
    assert least(seeds=5, n=400) < least(seeds=3, n=400) < least(seeds=2, n=400)


def test_detectable_is_the_textbook_sum_of_two_quantiles() -> None:
    cells = models(12, seeds=1, n=5000)
    found = concluded(cells)
    both = float(norm.ppf(0.975) + norm.ppf(0.8))
    assert found.detectable == pytest.approx(both * found.examples_error, rel=2e-3)


# --- Shares of variance ---------------------------------------------------------------------


def slow_shares(
    gains: np.ndarray, examples: float, shared: float, seeds: float
) -> dict[str, float]:
    """The method of moments from sums over every pair of cells, with no mean square in sight.

    In expectation: two cells with nothing in common differ by all parts, two of one row by all
    but the source, two of one column by all but the target and the noise that they share.
    """
    s, t = gains.shape
    halves: dict[tuple[bool, bool], list[float]] = {}
    for a in range(s * t):
        for b in range(a):
            same = (a // t == b // t, a % t == b % t)
            halves.setdefault(same, []).append((gains.flat[a] - gains.flat[b]) ** 2 / 2)
    apart, row, column = (
        float(np.mean(halves[k])) for k in ((False, False), (True, False), (False, True))
    )
    own = row + column - apart
    parts: dict[str, float] = {
        "source": apart - row,
        "target": apart - column - shared,
        "pair": own - (examples - shared) - seeds,
        "seeds": seeds,
        "examples": examples,
    }
    whole = sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def test_shares_are_those_of_all_pairs_of_cells() -> None:
    drawn = np.random.default_rng(0)
    gains = drawn.normal(0, 0.2, (5, 1)) + drawn.normal(0, 0.2, (1, 7))
    gains = gains + drawn.normal(0, 0.2, (5, 7))
    found = variance_shares(
        gains,
        examples_error=np.full((5, 7), 0.05),
        shared_error=np.full((5, 7), 0.03),
        seeds_error=np.full((5, 7), 0.04),
    )
    assert found == pytest.approx(slow_shares(gains, 0.05**2, 0.03**2, 0.04**2))
    assert min(share for share in found.values() if share is not None) > 0


@pytest.mark.parametrize("shared", [0.0, 0.06])
def test_shares_are_found_again(shared: float) -> None:
    """Noise that a column shares is of the examples, not of the target."""
    true = {"source": 0.05, "target": 0.1, "pair": 0.03, "seeds": 0.02, "examples": 0.08}
    drawn = np.random.default_rng(1)
    size, found = (20, 20), []
    for _ in range(100):
        gains = drawn.normal(0, true["source"], (20, 1)) + drawn.normal(0, true["target"], (1, 20))
        own = sqrt(true["pair"] ** 2 + true["seeds"] ** 2 + true["examples"] ** 2 - shared**2)
        gains = gains + drawn.normal(0, shared, (1, 20)) + drawn.normal(0, own, size)
        errors = {
            "examples_error": np.full(size, true["examples"]),
            "shared_error": np.full(size, shared),
            "seeds_error": np.full(size, true["seeds"]),
        }
        found.append(list(variance_shares(gains, **errors).values()))
    whole = sum(part**2 for part in true.values())
    expected = [part**2 / whole for part in true.values()]
    assert np.mean(np.array(found, dtype=float), axis=0) == pytest.approx(expected, abs=0.02)


@given(
    arrays(np.float64, (3, 4), elements=st.floats(-1, 1)),
    st.floats(0, 0.2),
    st.one_of(st.just(float("nan")), st.floats(0, 0.2)),
)
def test_shares_sum_to_one(gains: np.ndarray, examples: float, seeds: float) -> None:
    found = variance_shares(
        gains, examples_error=np.full((3, 4), examples), seeds_error=np.full((3, 4), seeds)
    )
    assert (found["seeds"] is None) >= np.isnan(seeds)
    if found["source"] is None:
        assert set(found.values()) == {None}
    else:
        shares = [share for share in found.values() if share is not None]
        assert sum(shares) == pytest.approx(1)
        assert all(0 <= share <= 1 for share in shares)


def test_shares_need_a_complete_matrix() -> None:
    for gains in (np.zeros((1, 3)), np.zeros((3, 1)), np.array([[0.0, np.nan], [0, 0]])):
        errors = np.zeros_like(gains)
        with pytest.raises(ValueError, match="two sources, two targets, and no gap"):
            variance_shares(gains, examples_error=errors, seeds_error=errors)
