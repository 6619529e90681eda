"""Counts are scikit-learn's, a planted collapse is named, and noise is not."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_recall_fscore_support

from analysis.made import Made, key
from analysis.outcomes.asked import asked, known, models
from crosstune.analysis.outcomes import (
    Answered,
    Shift,
    confusion,
    dense,
    precision_recall,
    shifts,
    summaries,
    summary,
)
from crosstune.analysis.outcomes.cells import Known, corrected
from crosstune.analysis.outcomes.confusion import _calibrations
from crosstune.analysis.outcomes.summaries import _KNOWN, BINS, lengths
from crosstune.results.matrix import TransferMatrix
from crosstune.results.paired import mcnemar_mid_p
from crosstune.results.store import Store

LEAN = {"s1": np.array([0.0, 9.0, 0.0])}


def pooled(found: Answered, source: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, answer and confidence of a source's models, one after another."""
    members = [given for name, given in found.tuned.items() if name[0] == source]
    assert found.truth is not None
    return (
        np.tile(found.truth, len(members)),
        np.concatenate([given.answer for given in members if given.answer is not None]),
        np.concatenate([given.confidence for given in members if given.confidence is not None]),
    )


@pytest.mark.parametrize(("classes", "seeds"), [(2, 1), (3, 2), (77, 3)])
def test_counts_are_those_of_scikit_learn(classes: int, seeds: int) -> None:
    found = asked(classes, classes=classes, asking=models(2, seeds), n=150)
    told = summary(found)
    for source in ("s0", "s1"):
        truth, answer, _ = pooled(found, source)
        shares = dense(told.tuned[source, "lora"], classes)
        expected = confusion_matrix(truth, answer, labels=range(classes), normalize="all")
        assert np.allclose(shares[:, :-1], expected)
        assert np.allclose(shares.sum(axis=1), told.gold)
        assert np.allclose(told.tuned[source, "lora"].given(classes), expected.sum(axis=0))
        precision, recall = precision_recall(shares)
        expected = precision_recall_fscore_support(
            truth, answer, labels=range(classes), zero_division=np.nan
        )
        assert np.allclose(precision, expected[0], equal_nan=True)
        assert np.allclose(recall, expected[1], equal_nan=True)


def test_calibration_is_that_of_scikit_learn() -> None:
    found = asked(5, asking=models(1, 2), n=400)
    truth, answer, confidence = pooled(found, "s0")
    told = summary(found).tuned["s0", "lora"].calibration
    assert told is not None
    right = answer == truth
    assert told.brier == pytest.approx(brier_score_loss(right, confidence))
    n, sure, hit = told.bins[told.bins[:, 0] > 0].T
    assert n.sum() == len(right)
    expected = calibration_curve(right, confidence, n_bins=BINS)
    assert np.allclose(hit / n, expected[0])
    assert np.allclose(sure / n, expected[1])
    assert told.error == pytest.approx((n * np.abs(expected[0] - expected[1])).sum() / n.sum())
    assert told.excess == pytest.approx(confidence.mean() - right.mean())


def test_a_shift_is_tested_as_a_score_is() -> None:
    found = asked(6, asking=models(3), classes=2, leaning={"s1": np.array([0.0, 1.5])})
    told = shifts([summary(found)], known(found))
    assert found.base.answer is not None
    for (source, *_), by_class in told.items():
        answer = found.tuned[source, "lora", 0].answer
        assert answer is not None
        for c, shift in enumerate(by_class):
            before, after = found.base.answer == c, answer == c
            ups, downs = (after & ~before).sum(), (before & ~after).sum()
            assert shift.difference == pytest.approx((ups - downs) / len(before))
            assert shift.p == pytest.approx(mcnemar_mid_p(np.array([ups]), np.array([downs]))[0])
            assert shift.low <= shift.difference <= shift.high


def test_tests_are_corrected_within_relation_recipe_and_condition() -> None:
    spots = [*product("abcd", ("lora", "full"), "tu", ("zero", "few"))]
    cells = {s: Known("in-domain" if s[0] in "ab" else "cross-task", None, None) for s in spots}
    p = np.random.default_rng(0).random(len(spots)) ** 3
    found = corrected(p, spots, cells)
    families = [(cells[s].relation, s[1], s[3]) for s in spots]
    for family in {*families}:
        own = np.array([name == family for name in families])
        assert np.allclose(found[own], false_discovery_control(p[own]))


def test_many_classes_are_kept_sparse() -> None:
    """What is kept of a cell is bounded by its answers, not by the square of its classes."""
    told = summary(asked(1, classes=77, n=200, asking=models(3)))
    for counts in told.tuned.values():
        assert counts.confusion is not None
        assert len(counts.confusion) <= 200


@pytest.mark.parametrize(("seeds", "studies"), [(1, 100), (2, 50)])
def test_no_change_gives_no_claim(seeds: int, studies: int) -> None:
    """At most 5 % of the studies have any claim at all, within what so many can say."""
    shifted = sure = 0
    for study in range(studies):
        found = [
            asked(10 * study + t, target=f"t{t}", asking=models(2, seeds), classes=2 + t, n=80)
            for t in range(2)
        ]
        cells = {name: cell for each in found for name, cell in known(each).items()}
        told = [summary(each) for each in found]
        shifted += any(s.sure for by_class in shifts(told, cells).values() for s in by_class)
        sure += any(row["q"] < 0.05 for row in _calibrations(told, cells))
    assert max(shifted, sure) <= studies * 0.05 + 2 * (studies * 0.05 * 0.95) ** 0.5


def study(folder: Path, **changes: Any) -> tuple[Store, TransferMatrix]:
    """s1 answers green only; s0 is as the base; `b` has two seeds likewise."""

    def ranked(*spot: Any) -> tuple[np.ndarray, np.ndarray]:
        *who, target, n = spot
        labels = np.arange(n) % 3
        common = np.random.default_rng(int(key(target)[:8], 16)).normal(size=(n, 3))
        own = np.random.default_rng(int(key(*who, target)[:8], 16)).normal(size=(n, 3))
        return labels, common + 0.3 * own + np.eye(3)[labels] + LEAN.get(who[0], np.zeros(3))

    targets = {"t": "f", "u": "g"}
    made = Made(
        sources={"s0": ["f"], "s1": ["g"]},
        targets=targets,
        recipes={"plain": {}},
        conditions={"zero": {}},
        n=dict.fromkeys(targets, 90),
        classes=dict.fromkeys(targets, ("red", "green", "blue")),
        labels={"s0": ["red", "pink"]},
        ranked=ranked,
    )
    return made.changed(**changes).write(folder / "study")


def test_a_planted_collapse_is_found_and_named(tmp_path: Path) -> None:
    found = confusion(*study(tmp_path))
    collapse = found.sentences[0]
    assert collapse.startswith("2 cells of 4 came to give one answer only")
    assert "tuned on s1)" in collapse
    assert "s1 → t 'green'" in collapse
    assert "→ 100 %" in collapse
    assert "s0" not in " ".join(found.sentences[:2])
    tables = {table.name: table.rows.to_pylist() for table in found.tables}
    assert {row["source"] for row in tables["largest"]} == {"s1"}
    first = tables["classes"][:3]
    assert {row["class"]: row["tuned_share"] for row in first}["green"] > 0.95
    recalls = {row["class"]: row["tuned_recall"] for row in tables["precision"][:3]}
    assert recalls["green"] == 1
    assert tables["classes"][0]["source"] == "s1"
    assert found.sentences[2].startswith("Confidence outgrew accuracy")
    assert "confidence minus accuracy: s1 → " in found.sentences[2]
    (figure,) = found.figures
    assert figure.table == "largest"


@pytest.mark.parametrize(
    ("base", "gold", "tuned", "q", "collapsed"),
    [
        (0.5, 0.5, 0.96, 0.01, True),
        (0.5, 0.5, 0.94, 0.01, False),
        (0.5, 0.5, 0.96, 0.06, False),
        (0.955, 0.5, 1.0, 0.01, False),  # the base did so already
        (0.5, 0.97, 1.0, 0.01, False),  # so it is
    ],
)
def test_a_collapse_is_one_that_tuning_made(
    base: float, gold: float, tuned: float, q: float, collapsed: bool
) -> None:
    cell = ("s", "lora", "t", "zero")
    assert Shift(cell, 0, "yes", gold, base, tuned, 0.0, 1.0, q, q).collapsed is collapsed


def test_truth_by_answer_adds_up(tmp_path: Path) -> None:
    found = confusion(*study(tmp_path))
    rows = next(table for table in found.tables if table.name == "confusion").rows.to_pylist()
    by_truth: dict[tuple[str, str], float] = {}
    for row in rows:
        name = (row["cell"], row["truth"])
        by_truth[name] = by_truth.get(name, 0.0) + row["tuned_share"]
        assert row["difference"] == pytest.approx(row["tuned_share"] - row["base_share"])
    assert np.allclose([*by_truth.values()], 1 / 3)


def test_what_a_source_teaches_comes_of_its_profile_or_its_labels(tmp_path: Path) -> None:
    profile = {"labels": {"green": 3, "red": 1}}
    found = confusion(*study(tmp_path, profiles={"s1": profile}))
    rows = next(table for table in found.tables if table.name == "classes").rows.to_pylist()
    taught = {
        (row["source"], row["class"]): (row["taught"], row["source_share"]) for row in rows
    }  # fmt: skip
    assert taught["s1", "green"] == (True, 0.75)
    assert taught["s1", "blue"] == (False, None)
    assert taught["s0", "red"] == (True, None)
    assert taught["s0", "green"] == (False, None)


def test_no_choice_target_says_so(tmp_path: Path) -> None:
    made = Made(texts=frozenset({"a", "a2", "b", "c"}))
    found = confusion(*made.write(tmp_path / "study"))
    assert found.tables == ()
    assert found.sentences == ("No choice target is known yet.",)


def test_the_pass_is_made_once_and_forgotten_with_the_matrix(tmp_path: Path) -> None:
    store, matrix = study(tmp_path)
    before = len(_KNOWN)
    assert summaries(store, matrix) is summaries(store, matrix)
    assert len(_KNOWN) == before + 1
    del matrix
    assert len(_KNOWN) == before


def test_lengths_are_counted_in_their_bins() -> None:
    found = lengths(np.array([0, 1, 2, 3, 3, 10**6]))
    assert found[0] == 1
    assert found.sum() == 6
    assert found[-1] == 1
