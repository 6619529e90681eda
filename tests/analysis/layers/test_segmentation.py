"""Bends of curves over depth: found where they are, and not where none are."""

from __future__ import annotations

import numpy as np
import pytest

from crosstune.analysis.layers import segmentation

LAYERS = 30


def curves(
    first: int, second: int, *, rise: float = 0.3, noise: float = 0.03, seed: int = 0
) -> np.ndarray:
    """24 tasks that rise between two layers, each with a level, a tilt and bumps of its own."""
    generator = np.random.default_rng(seed)
    depth = np.arange(LAYERS)
    shared = rise * np.clip((depth - first) / max(1, second - first), 0, 1)
    level, tilt = generator.normal(size=(2, 24, 1)) * [[[0.1]], [[0.003]]]
    steps = generator.normal(size=(24, LAYERS)) * noise
    # Neighbouring layers go together.
    bumps = np.stack([np.convolve(row, [0.25, 0.5, 0.25], mode="same") for row in steps])
    return np.asarray(shared + level + tilt * (depth - LAYERS / 2) + 2 * bumps)


@pytest.mark.parametrize(("first", "second"), [(9, 15), (5, 11), (14, 22)])
def test_bends_are_found_within_a_layer(first: int, second: int) -> None:
    away = []
    for seed in range(20):
        found = segmentation(curves(first, second, seed=seed), draws=99, seed=seed)
        assert found.located
        assert found.slopes[1] > 0.01
        away.append((abs(found.first - first), abs(found.second - second)))
    assert (np.mean(np.array(away) <= 1, axis=0) >= 0.85).all()


def test_intervals_hold_the_bends() -> None:
    inside = []
    for seed in range(40):
        found = segmentation(curves(9, 17, noise=0.08, seed=seed), draws=199, seed=seed)
        inside.append(found.first_low <= 9 <= found.first_high)
        inside.append(found.second_low <= 17 <= found.second_high)
    assert np.mean(inside) >= 0.9


def test_no_bends_are_claimed_where_there_are_none() -> None:
    claimed = [
        segmentation(curves(0, LAYERS - 1, noise=0.08, seed=seed), draws=99, seed=seed).located
        for seed in range(200)
    ]
    # 5 % of 200, and two standard errors.
    assert sum(claimed) <= 16


def test_the_order_of_the_tasks_and_a_line_added_to_all_play_no_part() -> None:
    table = curves(9, 15)
    found = segmentation(table, draws=19)
    tilted = segmentation(table + 0.2 * np.arange(LAYERS), draws=19)
    assert (tilted.first, tilted.second) == (found.first, found.second)
    assert tilted.explained == pytest.approx(found.explained)
    assert np.subtract(tilted.slopes, found.slopes) == pytest.approx(0.2)
    turned = segmentation(table[::-1], draws=19)
    assert (turned.first, turned.second, turned.slopes) == (found.first, found.second, found.slopes)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (np.zeros((4, 30)), "4 tasks and 30 layers; at least 6 tasks"),
        (np.zeros((24, 6)), "24 tasks and 6 layers; at least 6 tasks and 8 layers"),
        (np.full((24, 30), np.nan), "not known"),
    ],
)
def test_what_cannot_be_segmented_is_refused(table: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        segmentation(table)


def test_a_bend_that_all_tasks_share_exactly_is_surely_one() -> None:
    """Curves that agree but for rounding are the clearest case, not one that chance explains."""
    found = segmentation(curves(9, 15, noise=0.001)[:8], draws=999)
    assert found.p < 0.02
    assert (found.first, found.second) == (9, 15)
    assert found.explained > 0.99 > found.smooth


def test_a_smooth_curve_is_told_by_a_cubic() -> None:
    depth = np.linspace(-1, 1, LAYERS)
    table = curves(0, LAYERS - 1, noise=0.001) + depth**3
    found = segmentation(table, draws=99)
    assert found.smooth > found.explained
