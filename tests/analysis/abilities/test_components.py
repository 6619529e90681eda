"""Components and factors against numpy, scikit-learn, statsmodels and published numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from statsmodels.multivariate.factor import Factor
from statsmodels.multivariate.factor_rotation import rotate_factors

from analysis.abilities.planted import planted
from crosstune.analysis.abilities import components, read_table, rotated, solution
from crosstune.analysis.abilities.components import eigenvalues, leading, standardised
from crosstune.analysis.abilities.factors import Rotation, factors

TABLES = Path(__file__).resolve().parents[4] / "shared" / "data" / "matrices"
BENCHMARKS = "MMLU ARC-C HellaSwag Winograd TruthfulQA GSM8K XWinograd HumanEval".split()


def draw(rows: int = 30, columns: int = 8, number: int = 2, seed: int = 0) -> np.ndarray:
    return planted(rows, columns, number, generator=np.random.default_rng(seed))[0]


@pytest.mark.parametrize(("rows", "columns"), [(30, 8), (8, 30)])
def test_components_are_those_of_scikit_learn(rows: int, columns: int) -> None:
    table = draw(rows, columns)
    ours, theirs = components(table, scale=False), PCA().fit(table)
    some = len(ours.shares)
    assert some == min(rows - 1, columns)
    np.testing.assert_allclose(ours.shares, theirs.explained_variance_ratio_[:some], atol=1e-12)
    directions = ours.loadings / np.sqrt(ours.eigenvalues)
    turned = np.abs(np.diag(directions.T @ theirs.components_[:some].T))
    np.testing.assert_allclose(turned, 1.0)


def test_scaled_components_are_those_of_the_correlations() -> None:
    table = draw()
    found = components(table)
    expected = np.linalg.eigvalsh(np.corrcoef(table.T))[::-1]
    np.testing.assert_allclose(found.eigenvalues, expected)
    ready = (table - table.mean(axis=0)) / table.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.scores @ found.loadings.T, ready, atol=1e-12)
    correlations = np.corrcoef(table.T, found.scores.T)[:8, 8:]
    np.testing.assert_allclose(found.loadings, correlations, atol=1e-12)
    assert ((found.loadings**3).sum(axis=0) > 0).all()


def test_without_centring_it_is_the_plain_decomposition() -> None:
    table = draw() + 3
    found = components(table, centre=False, scale=False)
    singular = np.linalg.svd(table, compute_uv=False)
    np.testing.assert_allclose(found.eigenvalues, singular**2 / 29)


@pytest.mark.skipif(not TABLES.is_dir(), reason="the published tables are not there")
def test_shares_of_language_models_are_the_published_ones() -> None:
    read = read_table(TABLES / "obs_scaling" / "base_llm_benchmark_eval.csv", tasks=BENCHMARKS)
    found = components(read.table, scale=False)
    np.testing.assert_allclose(found.shares[:3].round(4), [0.8431, 0.0997, 0.0309])
    assert read.left_out
    assert "Model Family" in read.texts


def test_constant_columns_are_named_and_have_no_loading() -> None:
    table = draw()
    table[:, 3] = 0.1 * 3  # its mean is rounded
    found = components(table)
    assert found.constant.tolist() == [i == 3 for i in range(8)]
    np.testing.assert_allclose(found.loadings[3], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.shares.sum(), 1.0)
    with pytest.raises(ValueError, match="no column varies"):
        components(np.ones((4, 3)))
    table[0, 0] = np.nan
    with pytest.raises(ValueError, match="no gap"):
        components(table)


@pytest.mark.parametrize(("rows", "columns"), [(30, 8), (8, 30), (300, 250), (250, 300)])
def test_the_first_components_alone_are_the_same(rows: int, columns: int) -> None:
    table = draw(rows, columns)
    whole, ready = components(table), standardised(table)
    found = leading(ready, 3)
    cosines = (found * whole.loadings[:, :3]).sum(axis=0) / whole.eigenvalues[:3]
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-9)
    np.testing.assert_allclose(eigenvalues(ready)[:3], whole.eigenvalues[:3])


def test_varimax_and_oblimin_are_those_of_statsmodels() -> None:
    loadings = components(draw(number=3)).loadings[:, :3]
    for name, theirs in (("varimax", "varimax"), ("oblimin", "quartimin")):
        found, turn = rotated(loadings, name)  # type: ignore[arg-type]
        expected, _ = rotate_factors(loadings, theirs)
        for column in expected.T:  # but for order and sign
            apart = [min(np.abs(column - c).max(), np.abs(column + c).max()) for c in found.T]
            assert min(apart) < 1e-6
        np.testing.assert_allclose(found, loadings @ np.linalg.inv(turn).T)
        np.testing.assert_allclose(np.diag(turn.T @ turn), 1.0)


@pytest.mark.parametrize("rotation", ["none", "varimax", "promax", "oblimin"])
def test_rotated_components_tell_the_table_as_well(rotation: Rotation) -> None:
    table = draw(10, 24, 3)
    whole = components(table)
    found = solution(table, 3, rotation=rotation)
    told = whole.scores[:, :3] @ whole.loadings[:, :3].T
    np.testing.assert_allclose(found.scores @ found.loadings.T, told, atol=1e-9)
    correlations = np.corrcoef(found.scores.T)
    np.testing.assert_allclose(correlations, found.correlations, atol=1e-9)
    np.testing.assert_allclose(found.unrotated @ found.transform, found.loadings)
    strengths = np.square(found.loadings).sum(axis=0)
    assert (np.diff(strengths) <= 0).all()


def test_factors_are_those_of_statsmodels() -> None:
    table = draw(200, 10)
    found = solution(table, 2, rotation="none")
    assert found.why_components == ""
    model = Factor(table, 2, method="pa", smc=False)
    fit = model.fit(maxiter=500)
    held = np.square(found.loadings).sum(axis=1)
    np.testing.assert_allclose(held, fit.communality, atol=1e-5)
    told = found.loadings @ found.loadings.T
    np.testing.assert_allclose(told, fit.loadings @ fit.loadings.T, atol=1e-5)
    scores = fit.factor_scoring(method="regression")
    for ours in found.scores.T:  # statsmodels divides by the number of rows
        apart = max(abs(np.corrcoef(ours, theirs)[0, 1]) for theirs in scores.T)
        assert apart > 0.999


def test_factors_recover_what_components_overstate() -> None:
    table, loadings = planted(2000, 10, 1, generator=np.random.default_rng(0))
    spread = np.sqrt(np.square(loadings[:, 0]) + 0.36)
    by_factors = np.abs(solution(table, 1).loadings[:, 0] - loadings[:, 0] / spread)
    by_components = components(table).loadings[:, 0] - loadings[:, 0] / spread
    assert by_factors.max() < 0.05
    assert by_components.mean() > 0.02


def test_without_identification_components_take_their_place() -> None:
    assert "10 rows are not more than 24 columns" in solution(draw(10, 24), 2).why_components
    assert "not scaled" in solution(draw(), 2, scale=False).why_components
    assert "do not determine" in solution(draw(30, 4), 2).why_components
    assert solution(draw(), 2).why_components == ""


def test_a_heywood_case_is_refused() -> None:
    # Three columns whose correlations ask for a communality of .9 · .9 / .7 > 1.
    correlations = np.eye(5)
    for (i, j), r in {(0, 1): 0.9, (0, 2): 0.9, (1, 2): 0.7, (3, 4): 0.1}.items():
        correlations[i, j] = correlations[j, i] = r
    found, why = factors(correlations, 1)
    assert found is None
    assert "a communality of 1 (a Heywood case)" in why


def test_what_does_not_converge_is_refused() -> None:
    # No two factors make four columns all go against each other.
    found, why = factors(np.full((4, 4), -0.15) + 1.15 * np.eye(4), 2)
    assert found is None
    assert why == "factor analysis does not converge"
