"""Planted abilities are found as many as there are, and noise has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from analysis.abilities.planted import planted, pure_noise
from crosstune.analysis.abilities import congruence, held_out_errors, number_of_abilities, solution
from crosstune.analysis.abilities.components import standardised
from crosstune.analysis.abilities.number import _lost, affordable

KINDS = ("equal", "unequal", "shared")


def found_in(kind: str, *, tables: int) -> tuple[int, int]:
    """Tables with abilities, and those where parallel analysis alone sees some."""
    generator = np.random.default_rng([KINDS.index(kind), 12])
    drawn = (pure_noise(12, 24, kind=kind, generator=generator) for _ in range(tables))
    found = [number_of_abilities(table) for table in drawn]
    return sum(its.abilities > 0 for its in found), sum(its.parallel > 0 for its in found)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_no_abilities(kind: str) -> None:
    abilities, by_parallel_analysis = found_in(kind, tables=20)
    assert abilities <= 1
    assert by_parallel_analysis <= 4


@pytest.mark.by_hand
@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_no_abilities_in_95_percent_of_200(kind: str) -> None:
    abilities, by_parallel_analysis = found_in(kind, tables=200)
    assert abilities <= 10
    assert by_parallel_analysis <= 20  # 5 % but for the draws


def test_unscaled_noise_of_unequal_columns_has_no_abilities() -> None:
    generator = np.random.default_rng(4)
    drawn = [pure_noise(12, 24, kind="unequal", generator=generator) for _ in range(20)]
    found = [number_of_abilities(table, scale=False).abilities for table in drawn]
    assert sum(number > 0 for number in found) <= 2


@pytest.mark.parametrize(
    ("rows", "columns", "number", "noise"),
    [(16, 20, 2, 0.5), (20, 40, 2, 0.6), (30, 40, 3, 0.6)],
)
def test_planted_abilities_are_found(rows: int, columns: int, number: int, noise: float) -> None:
    generator = np.random.default_rng(1)
    right, alike = [], []
    for _ in range(6):
        table, truth = planted(rows, columns, number, noise=noise, generator=generator)
        right.append(number_of_abilities(table).abilities == number)
        found = solution(table, number).loadings
        phi = np.array([[congruence(a[:, None], b[:, None])[0] for b in found.T] for a in truth.T])
        best = linear_sum_assignment(-np.abs(phi))
        alike.append(np.abs(phi[best]).mean())
    assert sum(right) >= 5
    assert np.mean(alike) > 0.9


def test_a_large_ability_does_not_hide_the_ones_behind_it() -> None:
    generator = np.random.default_rng(2)
    found = []
    for _ in range(6):
        table, _ = planted(20, 40, 2, general=1.5, noise=0.5, generator=generator)
        number = number_of_abilities(table)
        found.append((number.abilities, int((number.shares > number.null).argmin())))
    assert sum(ours >= 2 for ours, _ in found) >= 5
    assert sum(horn >= 2 for _, horn in found) <= 3  # Horn's line for the whole table hides them


def test_exact_rank_is_found_without_noise() -> None:
    table, _ = planted(20, 30, 2, noise=0.0, generator=np.random.default_rng(0))
    errors = held_out_errors(standardised(table))
    assert errors[0] == 1
    assert errors[2] < 1e-6
    table, _ = planted(20, 30, 2, noise=1e-9, generator=np.random.default_rng(0))
    assert number_of_abilities(table).abilities == 2


def test_held_out_errors_are_of_cells_that_were_not_seen() -> None:
    """In noise each component makes them worse, though it makes the seen cells' smaller."""
    generator = np.random.default_rng(0)
    errors = np.mean(
        [held_out_errors(generator.standard_normal((12, 24)), seed=i) for i in range(20)], axis=0
    )
    assert (np.diff(errors) > 0).all()


def test_the_same_seed_gives_the_same_number() -> None:
    table, _ = planted(12, 24, 2, generator=np.random.default_rng(0))
    first, second = (number_of_abilities(table, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.null, second.null)
    np.testing.assert_array_equal(first.errors, second.errors)
    assert (number_of_abilities(table, seed=4).null != first.null).any()


def test_large_tables_get_fewer_draws() -> None:
    assert affordable(1e3, least=20, most=500) == 500
    assert affordable(1e9, least=20, most=500) == 20


def test_the_rest_is_as_large_as_the_noise_that_was_there() -> None:
    """Two dimensions of rows and of columns that noise knows nothing of are taken out."""
    generator, ratios = np.random.default_rng(4), []
    for _ in range(300):
        table = generator.standard_normal((12, 8))
        table -= table.mean(axis=0)
        rest = np.linalg.qr(np.c_[np.ones(12), generator.standard_normal((12, 2))])[0][:, 1:]
        across = np.linalg.qr(generator.standard_normal((8, 2)))[0]
        kept = table - rest @ (rest.T @ table)
        kept -= kept @ across @ across.T
        ratios.append(np.square(kept).sum() * _lost((12, 8), 2) / np.square(table).sum())
    assert abs(np.mean(ratios) - 1) < 0.04
