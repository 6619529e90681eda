"""Errors and nulls in closed form are those that draws and refits give."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from crosstune.analysis.similarity import MEASURES, linear_cka, rbf_cka, similarities
from crosstune.analysis.similarity.alignments import (
    aligned_map,
    alignment,
    chance_at_most,
    ready,
    stacked_products,
)
from crosstune.analysis.similarity.kernels import gaussian, linear_kernel, unbiased


def pair(n: int, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, width)) + 3
    return x, x @ generator.normal(size=(width, 5)) + generator.normal(size=(n, 5))


def test_an_alignment_without_one_is_that_of_the_others() -> None:
    x, y = pair(15)
    found = alignment(ready(linear_kernel(x)), ready(linear_kernel(y)))
    assert found.whole == pytest.approx(linear_cka(x, y), abs=1e-12)
    for i in range(15):
        rest = np.delete(np.arange(15), i)
        assert found.each[i] == pytest.approx(linear_cka(x[rest], y[rest]), abs=1e-10)


def test_a_gaussian_kernel_is_aligned_likewise() -> None:
    x, y = pair(20)
    kernels = [ready(gaussian(linear_kernel(part))) for part in (x, y)]
    assert alignment(*kernels).whole == pytest.approx(rbf_cka(x, y), abs=1e-12)


def test_the_error_is_how_the_alignment_scatters() -> None:
    values, errors = [], []
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(6, 5))
    for _ in range(200):
        x = generator.normal(size=(80, 6))
        y = x @ mixing + 2 * generator.normal(size=(80, 5))
        found = alignment(ready(linear_kernel(x)), ready(linear_kernel(y)))
        values.append(found.whole)
        errors.append(found.error)
    assert np.median(errors) == pytest.approx(np.std(values), rel=0.2)
    inside = np.abs(np.array(values) - np.mean(values)) < 1.96 * np.array(errors)
    assert 0.90 <= inside.mean() <= 0.99


def test_pairings_by_chance_have_the_moments_that_are_stated() -> None:
    n = 6
    x, y = pair(n, width=3)
    k, m = (unbiased(linear_kernel(part)) for part in (x, y))
    k, m = k / np.linalg.norm(k), m / np.linalg.norm(m)
    every = [np.vdot(k, m[np.ix_(order, order)]) for order in map(list, permutations(range(n)))]
    assert np.mean(every) == pytest.approx(0, abs=1e-12)
    assert np.var(every) == pytest.approx(2 / (n * (n - 3)), abs=1e-12)
    for value in np.quantile(every, [0.6, 0.9, 0.99]):
        assert chance_at_most(float(value), n) >= np.mean(np.array(every) >= value) - 1e-12


@pytest.mark.parametrize("name", sorted(set(MEASURES.names()) - {"pwcca"}))
def test_products_of_states_are_enough(name: str) -> None:
    measure = MEASURES[name]
    assert measure.of_products is not None
    x, y = pair(60)
    made = [measure.of_products(linear_kernel(part)) for part in (x, y)]
    assert measure.between(*made) == pytest.approx(measure(x, y), abs=1e-7)


def test_kernels_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="constant"):
        ready(np.ones((10, 10)))
    with pytest.raises(ValueError, match="too few"):
        ready(np.eye(4))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_map_of_all_layers_is_that_of_the_pairs(offset: float) -> None:
    """Also where states lie far from zero, and in half precision."""
    xs, ys = zip(*[pair(40, seed=seed) for seed in range(3)], strict=True)
    xs = tuple(x * 300 + offset for x in xs)
    found = similarities(xs, ys[:2])
    pairs = [[linear_cka(x, y) for y in ys[:2]] for x in xs]
    np.testing.assert_allclose(found, pairs, atol=2e-6)
    halves = [y.astype(np.float16) for y in ys]
    assert similarities(halves, halves).diagonal() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="cannot be the same ones"):
        similarities(xs, [ys[0][1:]])


def test_a_map_of_kept_products_is_that_of_the_states() -> None:
    xs, ys = zip(*[pair(12, seed=seed) for seed in range(3)], strict=True)
    upper = np.triu_indices(12)
    stacks = [stacked_products([linear_kernel(x)[upper] for x in part], 12) for part in (xs, ys)]
    np.testing.assert_allclose(aligned_map(*stacks), similarities(xs, ys), atol=2e-6)


@pytest.mark.parametrize(
    ("wrong", "told"), [(np.full((40, 3), 0.1), "constant"), (np.full((40, 3), np.nan), "finite")]
)
def test_a_map_with_a_layer_that_says_nothing_is_refused(wrong: np.ndarray, told: str) -> None:
    x, y = pair(40)
    with pytest.raises(ValueError, match=told):
        similarities([x, wrong], [y])
