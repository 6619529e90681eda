"""Measures of similarity: published values, and the laws of what they see and do not see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crosstune.analysis.similarity import (
    MEASURES,
    cca,
    linear_cka,
    procrustes,
    pwcca,
    rbf_cka,
    similarities,
    surety,
    svcca,
)
from crosstune.analysis.similarity.measures import biased_cka
from crosstune.analysis.similarity.subspaces import canonical_correlations, leading_span, span

ORACLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "oracles" / "svcca"
ALL = MEASURES.names()


def states(n: int = 60, width: int = 6, seed: int = 0) -> np.ndarray:
    """States whose directions differ in size, so that no rotation is a matter of course."""
    generator = np.random.default_rng(seed)
    return np.asarray(generator.normal(size=(n, width)) * np.geomspace(4, 0.5, width) + 3)


def like(x: np.ndarray, width: int = 5, seed: int = 1) -> np.ndarray:
    """States that tell something of x, and something of their own."""
    generator = np.random.default_rng(seed)
    mixed = x @ generator.normal(size=(x.shape[1], width))
    return np.asarray(np.tanh(mixed / mixed.std()) + 0.5 * generator.normal(size=mixed.shape))


def change(kind: str, width: int) -> np.ndarray:
    generator = np.random.default_rng(7)
    turned = np.linalg.qr(generator.normal(size=(width, width)))[0]
    return turned if kind == "rotation" else turned * np.geomspace(1, 30, width) @ turned.T


def changed(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "shift":
        return x + np.arange(x.shape[1]) * 10
    return x * 250.0 if kind == "scale" else x @ change(kind, x.shape[1])


@pytest.mark.parametrize("kind", ["shift", "scale", "rotation", "linear"])
@pytest.mark.parametrize("name", ALL)
def test_a_measure_sees_all_but_what_it_declares(name: str, kind: str) -> None:
    measure, x = MEASURES[name], states()
    y = like(x)
    value = measure(x, y)
    first, second = measure(changed(x, kind), y), measure(x, changed(y, kind))
    if kind in measure.invariances:
        assert first == pytest.approx(value, abs=1e-9)
        assert second == pytest.approx(value, abs=1e-9)
    else:
        assert max(abs(first - value), abs(second - value)) > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_states_are_wholly_like_themselves(name: str) -> None:
    assert MEASURES[name](states(), states()) == pytest.approx(1)


@pytest.mark.parametrize("name", [name for name in ALL if name != "pwcca"])
def test_the_order_of_the_two_plays_no_part(name: str) -> None:
    x, measure = states(), MEASURES[name]
    assert measure(x, like(x)) == pytest.approx(measure(like(x), x), abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_the_examples_plays_no_part_but_their_pairing_does(name: str) -> None:
    x, measure = states(), MEASURES[name]
    y, order = like(x), np.random.default_rng(3).permutation(len(x))
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y), abs=1e-9)
    assert measure(x[order], y) < measure(x, y) - 0.1


@pytest.fixture(scope="module")
def oracle() -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    if not ORACLES.is_dir():
        pytest.skip("the reference activations are not there")
    expected = json.loads((ORACLES / "expected.json").read_text())["results"]["MNIST_lay04"]
    held = np.load(ORACLES / "MNIST_lay04.npz")
    return held["X"], held["Y"], expected


def test_canonical_correlations_are_the_published_ones(oracle: tuple) -> None:  # type: ignore[type-arg]
    x, y, expected = oracle
    found = canonical_correlations(span(x), span(y))
    np.testing.assert_allclose(found, expected["cca_correlations"], atol=1e-6)
    assert cca(x, y) == pytest.approx(expected["mean_cca"], abs=1e-6)
    assert pwcca(x, y) == pytest.approx(expected["pwcca_X_weights"], abs=1e-6)
    assert pwcca(y, x) == pytest.approx(expected["pwcca_Y_weights"], abs=1e-6)


@pytest.mark.parametrize("share", [0.99, 0.9])
def test_leading_directions_are_the_published_ones(share: float, oracle: tuple) -> None:  # type: ignore[type-arg]
    x, y, expected = oracle
    published = expected[f"svcca_keep_{share}"]
    first, second = leading_span(x, share), leading_span(y, share)
    assert (len(first.sizes), len(second.sizes)) == (published["k_x"], published["k_y"])
    mean = canonical_correlations(first, second).mean()
    assert mean == pytest.approx(published["mean"], abs=1e-6)
    if share == 0.99:
        assert svcca(x, y) == pytest.approx(published["mean"], abs=1e-6)


def test_the_biased_alignment_is_the_published_one(oracle: tuple) -> None:  # type: ignore[type-arg]
    x, y, expected = oracle
    # In the form of feature products, which needs no kernel of 10,000 × 10,000.
    x, y = x - x.mean(axis=0, dtype=float), y - y.mean(axis=0, dtype=float)
    sizes = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    assert np.linalg.norm(x.T @ y) ** 2 / sizes == pytest.approx(expected["cka_linear"], abs=1e-6)
    part = slice(0, 400)
    plain = np.linalg.norm(centred(x[part]).T @ centred(y[part])) ** 2
    plain /= np.linalg.norm(centred(x[part]).T @ centred(x[part]))
    plain /= np.linalg.norm(centred(y[part]).T @ centred(y[part]))
    assert biased_cka(x[part], y[part]) == pytest.approx(plain)


def centred(x: np.ndarray) -> np.ndarray:
    return np.asarray(x - x.mean(axis=0))


def test_the_unbiased_criterion_is_that_of_the_formula() -> None:
    x, y = states(12), like(states(12))
    n, ones = 12, np.ones(12)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        # Song et al. (2012), eq. 5, term by term.
        k, m = (a * (1 - np.eye(n)) for a in (k, m))
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        last = 2 / (n - 2) * (ones @ k @ m @ ones)
        return float((np.trace(k @ m) + middle - last) / (n * (n - 3)))

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert linear_cka(x, y) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "published"), [(100, 0.91), (250, 0.81), (1000, 0.51)])
def test_unrelated_wide_states_are_alike_only_where_the_measure_is_biased(
    n: int, published: float
) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, n, 1024))
    assert biased_cka(x, y) == pytest.approx(published, abs=0.01)
    assert linear_cka(x, y) == pytest.approx(0, abs=0.02)
    assert rbf_cka(x, y) == pytest.approx(0, abs=0.02)


def test_procrustes_is_the_best_rotation() -> None:
    from scipy.linalg import orthogonal_procrustes

    x = states(width=5)
    y = like(x)
    x0, y0 = (centred(a) / np.linalg.norm(centred(a)) for a in (x, y))
    turn, _ = orthogonal_procrustes(x0, y0)
    assert procrustes(x, y) == pytest.approx(1 - np.linalg.norm(x0 @ turn - y0) ** 2 / 2)


def test_all_layers_against_all_layers_are_the_pairs() -> None:
    layers = [states(seed=seed) for seed in range(3)]
    for name in ALL:
        measure = MEASURES[name]
        found = similarities(layers, layers[:2], measure)
        pairs = [[measure(x, y) for y in layers[:2]] for x in layers]
        np.testing.assert_allclose(found, pairs, atol=1e-6)  # linear_cka: single precision


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    measure = MEASURES[name]
    with pytest.raises(ValueError, match="constant over the examples"):
        measure(np.full((20, 3), 0.1, dtype=np.float16), states(20, 3))
    with pytest.raises(ValueError, match="too few"):
        measure(states(2), states(2))
    with pytest.raises(ValueError, match="cannot be the same ones"):
        measure(states(20), states(21))
    broken = states(20)
    broken[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        measure(broken, states(20))


def test_correlations_that_would_be_1_whatever_the_states_are_refused() -> None:
    with pytest.raises(ValueError, match="need at least 61 examples to be correlated, not 40"):
        cca(states(40, 30), states(40, 30, seed=1))


def test_half_precision_and_large_means_cost_nothing() -> None:
    x = states(200, 30)
    y = like(x)
    kept = (x + 200).astype(np.float16)
    assert linear_cka(kept, y) == pytest.approx(linear_cka(x, y), abs=2e-3)


def test_surety_finds_what_is_there_and_invents_nothing() -> None:
    x = states(100)
    found = surety(x, like(x), draws=99)
    assert found.low < found.value < found.high
    assert found.p == pytest.approx(0.01)
    assert found.chance == pytest.approx(0, abs=0.02)
    assert (found.examples, found.widths) == (100, (6, 5))
    assert found == surety(x, like(x), draws=99)


def test_intervals_hold_the_truth_and_nulls_are_uniform() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(6, 5))

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        x = generator.normal(size=(n, 6))
        return x, x @ mixing + 2 * generator.normal(size=(n, 5))

    truth = linear_cka(*drawn(4000))
    inside, false = 0, 0
    for seed in range(60):
        found = surety(*drawn(60), draws=59, seed=seed)
        inside += found.low <= truth <= found.high
        x, y = generator.normal(size=(2, 40, 6))
        false += surety(x, y, draws=19, seed=seed).p <= 0.05
    assert inside >= 51  # 95 % of 60, less three standard errors
    assert false <= 8
