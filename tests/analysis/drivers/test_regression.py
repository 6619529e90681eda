"""Regressions give what slower and other people's computations give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from sklearn.linear_model import Ridge as Reference

from crosstune.analysis.drivers.regression import (
    PENALTIES,
    additive,
    filled,
    mixed,
    ridge_of_means,
    ridge_of_pairs,
)
from crosstune.results.inference import variance_shares


def table(rows: int, columns: int, traits: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, columns, traits))
    values[:, :, 0] += generator.standard_normal((rows, 1))
    gains = values @ np.linspace(1, 0.2, traits) + generator.standard_normal((rows, columns))
    gains += generator.standard_normal((rows, 1)) + 2 * generator.standard_normal((1, columns))
    return gains, values


def two_ways(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values - additive(values)
    return found


# --- the mixed model --------------------------------------------------------------------------


def test_the_mixed_model_is_that_of_statsmodels() -> None:
    gains, values = table(8, 10, 2)
    rows, columns = (index.ravel() for index in np.indices(gains.shape))
    frame = pd.DataFrame({"y": gains.ravel(), "row": rows, "column": columns, "all": 1})
    frame["a"], frame["b"] = values[:, :, 0].ravel(), values[:, :, 1].ravel()
    parts = {"row": "0 + C(row)", "column": "0 + C(column)"}
    model = smf.mixedlm("y ~ a + b", frame, groups="all", vc_formula=parts)
    fitted = model.fit(reml=True)
    found = mixed(gains, values)
    assert found.intercept == pytest.approx(fitted.params["Intercept"], abs=2e-3)
    assert found.coefficients == pytest.approx(fitted.params[["a", "b"]].to_numpy(), abs=2e-4)
    assert found.errors == pytest.approx(fitted.bse[["a", "b"]].to_numpy(), rel=5e-3)
    variances = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True))
    expected = (variances["row"], variances["column"], fitted.scale)
    assert found.variances == pytest.approx(expected, rel=1e-2)


def test_without_traits_it_is_the_analysis_of_variance() -> None:
    gains, _ = table(6, 9, 1)
    nothing = np.zeros(gains.shape)
    shares = variance_shares(gains, examples_error=nothing, seeds_error=nothing)
    found = mixed(gains, np.zeros((6, 9, 0)))
    parts = np.array(found.variances) / sum(found.variances)
    assert parts == pytest.approx([shares["source"], shares["target"], shares["pair"]], rel=1e-4)


def test_a_trait_of_rows_is_the_regression_of_their_means() -> None:
    gains, values = table(7, 5, 1)
    trait = np.broadcast_to(values[:, :1, :1], (7, 5, 1))
    found = mixed(gains, trait)
    slope, intercept = np.polyfit(trait[:, 0, 0], gains.mean(axis=1), 1)
    assert found.coefficients[0] == pytest.approx(slope, abs=1e-5)
    assert found.intercept == pytest.approx(intercept, abs=1e-5)
    low, high, p = found.interval(5)[0]
    assert low < slope < high
    assert (p < 0.05) == (low > 0 or high < 0)


def test_predicted_columns_are_means_drawn_in() -> None:
    gains, values = table(8, 30, 1)
    found = mixed(gains, values)
    means = (gains - values @ found.coefficients).mean(axis=0)
    ratio = found.columns / (means - means.mean())
    assert np.ptp(ratio) < 1e-9
    assert 0.5 < ratio[0] < 1


def test_more_traits_than_rows_are_refused() -> None:
    gains, values = table(4, 6, 1)
    twice = np.concatenate([values, 2 * values], axis=2)
    with pytest.raises(ValueError, match="more traits than"):
        mixed(gains, twice)


# --- ridge ------------------------------------------------------------------------------------


def best(errors: list[float]) -> tuple[float, float]:
    """Penalty of the least error, and what it saves."""
    at = int(np.argmin(errors))
    return float(PENALTIES[at]), errors[-1] - errors[at]


@pytest.mark.parametrize("traits", [1, 3, 12])
def test_ridge_of_means_leaves_units_out(traits: int) -> None:
    gains, values = table(9, 6, traits)
    own, means = values[:, 0] - values[:, 0].mean(axis=0), gains.mean(axis=1) - gains.mean()
    errors = []
    for penalty in PENALTIES:
        total = 0.0
        for u in range(9):
            rest = np.arange(9) != u
            told = means[rest].mean()
            if np.isfinite(penalty):
                model = Reference(alpha=penalty * 9).fit(own[rest], means[rest])
                told = model.predict(own[u : u + 1])[0]
            total += float(np.square(means[u] - told))
        errors.append(total)
    found = ridge_of_means(own, means)
    penalty, saved = best(errors)
    assert found.penalty == penalty
    assert found.saved == pytest.approx(saved)
    if np.isfinite(penalty):
        assert found.weights == pytest.approx(Reference(alpha=penalty * 9).fit(own, means).coef_)


@pytest.mark.parametrize("seed", [0, 1])
def test_ridge_of_pairs_leaves_units_out(seed: int) -> None:
    gains, values = table(7, 6, 3, seed)
    traits, rest = two_ways(values), two_ways(gains)
    errors = []
    for penalty in PENALTIES:
        total = 0.0
        for u in range(7):
            there = np.arange(7) != u
            middle, level = traits[there].mean(axis=0), rest[there].mean(axis=0)
            flat, told = (traits[there] - middle).reshape(-1, 3), (rest[there] - level).ravel()
            weights = np.zeros(3)
            if np.isfinite(penalty):
                model = Reference(alpha=penalty * 42, fit_intercept=False)
                weights = model.fit(flat, told).coef_
            total += np.square(rest[u] - level - (traits[u] - middle) @ weights).sum()
        errors.append(float(total))
    found = ridge_of_pairs(traits, rest)
    penalty, saved = best(errors)
    assert found.penalty == penalty
    assert found.saved == pytest.approx(saved)


def test_traits_that_do_nothing_get_no_weight() -> None:
    generator = np.random.default_rng(3)
    noise = two_ways(generator.standard_normal((6, 40, 2)))
    # A trait that always misleads: it says the opposite for the unit that is left out.
    found = ridge_of_pairs(noise, np.zeros((6, 40)))
    assert (found.weights == 0).all()
    assert found.saved == 0


# --- gaps -------------------------------------------------------------------------------------


def test_gaps_are_filled_as_least_squares_would() -> None:
    generator = np.random.default_rng(4)
    values, known = generator.standard_normal((6, 8)), generator.random((6, 8)) > 0.25
    rows, columns = np.nonzero(known)
    design = np.concatenate([np.eye(6)[rows], np.eye(8)[columns]], axis=1)
    fitted = np.linalg.lstsq(design, values[known], rcond=None)[0]
    expected = np.where(known, values, fitted[:6, None] + fitted[6:])
    assert np.allclose(filled(np.where(known, values, np.nan), known), expected, atol=1e-7)
    assert np.allclose(two_ways(expected)[~known], 0)
