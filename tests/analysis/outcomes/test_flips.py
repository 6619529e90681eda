"""Flips are counted as the rows say; what flipped rows share is found where it was planted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr
from statsmodels.formula.api import ols

from analysis.made import Made
from analysis.outcomes.asked import asked, given, models
from crosstune.analysis.outcomes import (
    Answered,
    Trait,
    answered,
    flipped,
    flipped_rows,
    flips,
    shared_traits,
    summary,
    traits,
)
from crosstune.analysis.outcomes.traits import CONFIDENCE, DOWN, PROMPT, TRUTH, UP


def test_cells_are_those_of_a_direct_count(tmp_path: Path) -> None:
    store, matrix = Made(texts=frozenset({"c"})).write(tmp_path / "study")
    found = flips(store, matrix)
    cells = next(table for table in found.tables if table.name == "cells").rows.to_pylist()
    by_name = {
        tuple(row[n] for n in ("source", "recipe", "target", "condition")): row for row in cells
    }
    known = {
        (row["source"], row["recipe"], row["target"], row["condition"]): row
        for row in matrix.cells.to_pylist()
    }
    for each in answered(store, matrix):
        for source, recipe in {model[:2] for model in each.tuned}:
            members = [g for model, g in each.tuned.items() if model[:2] == (source, recipe)]
            row = by_name[source, recipe, each.target, each.condition]
            ups = sum(int(((g.values == 1) & (each.base.values == 0)).sum()) for g in members)
            downs = sum(int(((g.values == 0) & (each.base.values == 1)).sum()) for g in members)
            assert (row["wrong_to_right"], row["right_to_wrong"]) == (ups, downs)
            cell = known[source, recipe, each.target, each.condition]
            assert row["gain"] == pytest.approx(cell["gain"])
            assert (row["p"], row["q"]) == (cell["p"], cell["q"])


def test_all_flipped_rows_can_be_had_and_only_these(tmp_path: Path) -> None:
    store, matrix = Made().write(tmp_path / "study")
    rows = flipped(store, matrix.slice(source="ab", target="b")).to_pylist()
    assert {row["source"] for row in rows} == {"ab"}
    assert {row["target"] for row in rows} == {"b"}
    cells = next(t for t in flips(store, matrix).tables if t.name == "cells").rows.to_pylist()
    counted = sum(
        row["wrong_to_right"] + row["right_to_wrong"]
        for row in cells
        if (row["source"], row["target"]) == ("ab", "b")
    )
    assert sum(row["flipped_with_seeds"].count(",") + 1 for row in rows) == counted


def test_cells_that_lack_a_seed_are_missing_as_in_the_matrix(tmp_path: Path) -> None:
    gap = ("a", "plain", 1, "zero", "b")
    store, matrix = Made(missing=frozenset({gap})).write(tmp_path / "study")
    for each in answered(store, matrix):
        lacks = (each.condition, each.target) == gap[3:]
        there = {seed for source, recipe, seed in each.tuned if (source, recipe) == gap[:2]}
        assert there == (set() if lacks else {0, 1})


def test_a_row_names_the_seeds_that_changed_it() -> None:
    found = asked(3, asking=models(1, 3), n=60)
    rows = flipped_rows(found, most=1000)
    right = found.base.values
    for row in rows:
        i = found.ids.index(row["example"])
        seeds = [s for s in range(3) if found.tuned["s0", "lora", s].values[i] != right[i]]
        assert row["flipped_with_seeds"] == ", ".join(map(str, seeds))
        assert row["change"] == (DOWN if right[i] else UP)
        assert row["answer"] == found.tuned["s0", "lora", seeds[0]].texts[i]
        assert row["truth"] == found.truths[i]
    changed = {i for g in found.tuned.values() for i in np.flatnonzero(g.values != right)}
    assert {row["example"] for row in rows} == {found.ids[i] for i in changed}
    often = [row["flipped_with_seeds"].count(",") for row in rows]
    assert often == sorted(often, reverse=True)
    assert len(flipped_rows(found, most=2)) == 6


def test_texts_are_cut() -> None:
    found = asked(3, n=30)
    long = replace(found, truths=["word\n" * 99] * 30)
    assert all(len(row["truth"]) == 80 for row in flipped_rows(long, most=5))


def named(found: Sequence[Trait], trait: str, change: str) -> Trait:
    return next(t for t in found if (t.trait, t.change) == (trait, change))


def test_each_direction_looks_at_the_rows_that_could_flip() -> None:
    found = asked(4, n=300)
    told = traits(found)
    right = found.base.values == 1
    assert {t.rows for t in told if t.change == DOWN} == {int(right.sum())}
    assert {t.rows for t in told if t.change == UP} == {int((~right).sum())}
    values = np.stack([g.values for g in found.tuned.values()])
    share = (values[:, right] == 0).mean(axis=0)
    assert found.base.confidence is not None
    expected = spearmanr(found.base.confidence[right], share)
    sure = named(told, CONFIDENCE, DOWN)
    assert sure.correlation == pytest.approx(expected.statistic)
    assert sure.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert sure.share == pytest.approx(share.mean())


def test_a_planted_trait_is_found() -> None:
    """Tuned models fail on long prompts, and on one class."""
    found = asked(7, n=400, skill=3.0, classes=4)
    assert found.truth is not None
    assert found.base.answer is not None
    hard = found.prompt_tokens > 70
    wrong = {
        model: replace(g, values=np.where(hard, 0.0, g.values)) for model, g in found.tuned.items()
    }
    (first, *_) = shared_traits(
        [t for t in traits(replace(found, tuned=wrong)) if t.trait != CONFIDENCE]
    )
    assert (first["trait"], first["change"]) == (PROMPT, DOWN)
    assert first["correlation"] > 0.5
    wrong = {
        model: replace(g, values=np.where(found.truth == 2, 0.0, g.values))
        for model, g in found.tuned.items()
    }
    told = named(traits(replace(found, tuned=wrong)), TRUTH, DOWN)
    assert (told.most, told.most_share) == ("class 2", 1.0)
    assert told.p < 1e-6


def confounded(seed: int, sources: int) -> Answered:
    """Prompts and classes go with the base's doubts, and tuned models only add noise."""
    found = asked(seed, n=300, asking=models(sources))
    assert found.base.confidence is not None
    assert found.truth is not None
    draw = np.random.default_rng(seed)
    sums = np.log(
        np.where(
            np.eye(3)[found.base.answer] == 1,
            found.base.confidence[:, None],
            (1 - found.base.confidence[:, None]) / 2,
        )
    )
    tuned = {m: given(sums + draw.normal(size=(300, 3)), found.truth) for m in found.tuned}
    doubt = (1 - found.base.confidence) * 100 + draw.normal(size=300) * 10
    thirds = np.searchsorted(np.quantile(doubt, [1 / 3, 2 / 3]), doubt)
    return replace(found, tuned=tuned, prompt_tokens=doubt.astype(int), truth=thirds)


@pytest.mark.parametrize("sources", [1, 4])
def test_what_only_goes_with_the_base_s_doubts_is_not_told(sources: int) -> None:
    plain, adjusted = 0, Counter[str]()
    for seed in range(40):
        found = confounded(seed, sources)
        told = traits(found)
        assert named(told, CONFIDENCE, DOWN).p < 1e-2
        right = found.base.values == 1
        share = np.mean([g.values[right] == 0 for g in found.tuned.values()], axis=0)
        plain += spearmanr(found.prompt_tokens[right], share).pvalue < 0.05
        adjusted.update(t.trait for t in told if t.change == DOWN and t.p < 0.05)
    assert plain > 30
    assert max(adjusted[PROMPT], adjusted[TRUTH]) <= 40 * 0.05 + 2 * (40 * 0.05 * 0.95) ** 0.5


def test_beside_the_confidence_it_is_the_test_of_nested_regressions() -> None:
    """Against statsmodels: does the class add to a cubic in the confidence?"""
    found = confounded(0, 1)
    told = named(traits(found), TRUTH, DOWN)
    right = found.base.values == 1
    (tuned,) = found.tuned.values()
    assert found.base.confidence is not None
    assert found.truth is not None
    table = pd.DataFrame(
        {
            "share": (tuned.values[right] == 0) * 1.0,
            "c": rankdata(found.base.confidence[right]) / right.sum(),
            "kind": found.truth[right],
        }
    )
    small = ols("share ~ c + I(c**2) + I(c**3)", table).fit()
    large = ols("share ~ c + I(c**2) + I(c**3) + C(kind)", table).fit()
    assert told.beyond
    assert told.p == pytest.approx(large.compare_f_test(small)[1], rel=1e-6)


def test_noise_shares_no_trait() -> None:
    """Of 200 studies at most 5 % name one, within what 200 draws can say."""
    claims = 0
    for study in range(200):
        told = [t for k in range(2) for t in traits(asked(2 * study + k, n=80, asking=models(2)))]
        claims += any(row["q"] < 0.05 for row in shared_traits(told) if row["trait"] != CONFIDENCE)
    assert claims <= 200 * 0.05 + 2 * (200 * 0.05 * 0.95) ** 0.5


def test_the_sure_trait_does_not_make_others_sure() -> None:
    """Many true effects of the confidence would let false ones pass a correction in common."""
    told = Trait("t", "c", DOWN, CONFIDENCE, 9, 9, 0.1, False, -0.9, None, None, None, None, 1e-9)
    prompts = [replace(told, trait=PROMPT, p=p) for p in (0.04, 0.9)]
    rows = shared_traits([*[told] * 90, *prompts])
    assert [row["q"] for row in rows if row["trait"] == PROMPT] == pytest.approx([0.08, 0.9])


def test_graded_answers_are_left_out(tmp_path: Path) -> None:
    names = frozenset({"a", "a2", "b", "c"})
    store, matrix = Made(texts=names).write(
        tmp_path / "study", lambda *spot: np.linspace(0, 0.9, spot[-1])
    )
    found = flips(store, matrix)
    assert found.sentences == ("No target that is scored right or wrong is known yet.",)
    graded = asked(1)
    half = replace(graded, base=replace(graded.base, values=graded.base.values / 2))
    told = summary(half)
    assert {counts.up for counts in told.tuned.values()} == {None}
    assert (told.traits, told.flipped) == ((), [])
