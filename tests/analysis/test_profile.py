"""Measures of pairs keep their laws, and what is unusual about datasets is said."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.made import Made
from analysis.profiles import told, written
from crosstune.analysis.findings import ANALYSES, Analysis
from crosstune.analysis.profile import (
    MEASURES,
    cosines,
    divergence,
    label_words,
    length_ratio,
    overlaps,
    pairs,
    profile,
)
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.tasks.profile import Text, jaccard
from crosstune.tasks.profile import profile as measured

MADE = Made(recipes={"plain": {}}, conditions={"zero": {}}, seeds=(0,))


def found(folder: Path, **changes: dict[str, Any]) -> Analysis:
    """All datasets alike but for what is told of a name."""
    profiles = {("source", name): told() for name in MADE.sources}
    profiles |= {("target", name): told(shingles=(20, 21)) for name in MADE.targets}
    for name, change in changes.items():
        role, _, dataset = name.partition("_")
        profiles[role, dataset] = change
    return profile(*written(MADE, folder / "study", profiles))


# --- pairs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(5, 9), (800, 900), (3_000, 2_000)])
def test_overlaps_are_those_of_the_sketches_own_room(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    every = generator.choice(2**53, 4_000, replace=False)
    sets = [generator.choice(every, size, replace=False) for size in sizes]
    first, second = (sorted(chosen.tolist())[:1_024] for chosen in sets)
    assert overlaps([first], [second])[0, 0] == jaccard(first, second)
    truth = len({*sets[0].tolist()} & {*sets[1].tolist()}) / len({*np.concatenate(sets).tolist()})
    assert abs(overlaps([first], [second])[0, 0] - truth) < 0.05
    assert overlaps([second], [first])[0, 0] == overlaps([first], [second])[0, 0]
    assert overlaps([first], [first]).tolist() == [[1.0]]


def test_nothing_overlaps_nothing_in_no_known_way() -> None:
    assert np.isnan(overlaps([[]], [[]])[0, 0])
    assert overlaps([[]], [[1]])[0, 0] == 0


def test_cosines_see_directions_from_the_common_mean() -> None:
    generator = np.random.default_rng(1)
    states = generator.standard_normal((7, 5))
    middle = states.mean(axis=0)
    expected = [
        [
            float((a - middle) @ (b - middle))
            / float(np.linalg.norm(a - middle) * np.linalg.norm(b - middle))
            for b in states[3:]
        ]
        for a in states[:3]
    ]
    assert np.allclose(cosines(states[:3], states[3:]), expected)
    moved = cosines(states[:3] * 4 + 100, states[3:] * 4 + 100)
    assert np.allclose(moved, expected)
    states[0] = np.nan
    assert np.isnan(cosines(states[:3], states[3:])).any(axis=1).tolist() == [True, False, False]


def entropy(shares: list[float]) -> float:
    return -sum(share * math.log2(share) for share in shares if share)


def test_divergence_is_what_the_entropies_say() -> None:
    first, second = told(labels={"a": 3, "b": 1}), told(labels={"b": 2, "c": 5, "d": 1})
    p, q = {"a": 0.75, "b": 0.25}, {"b": 0.25, "c": 0.625, "d": 0.125}
    classes = [*{*p, *q}]

    def expected(p: list[float], q: list[float]) -> float:
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        return entropy(middle) - (entropy(p) + entropy(q)) / 2

    named = expected([p.get(c, 0) for c in classes], [q.get(c, 0) for c in classes])
    assert divergence(first, second, named=True) == pytest.approx(named)
    shape = expected([0.75, 0.25, 0.0], [0.625, 0.25, 0.125])
    assert divergence(first, second, named=False) == pytest.approx(shape)
    for way in (True, False):
        turned = divergence(second, first, named=way)
        assert turned == pytest.approx(divergence(first, second, named=way))
    assert divergence(told(labels={"a": 1}), told(labels={"b": 1}), named=True) == 1
    assert divergence(told(labels={"a": 1}), told(labels={"b": 1}), named=False) == 0
    assert math.isnan(divergence(first, told(kind="text"), named=False))


def test_lengths_and_labels_of_a_pair() -> None:
    short, long = told(answer=5), told(kind="text", answer=40)
    assert length_ratio(long, short, "answer") == 3
    assert length_ratio(short, long, "answer") == -3
    assert length_ratio(told(answer=0), told(answer=1), "answer") == 0
    first, second = told(labels={"very good": 1, "bad": 1}), told(labels={"good": 1, "bad": 2})
    assert label_words(first, second) == pytest.approx(2 / 3)
    assert math.isnan(label_words(first, long))


def test_pairs_of_measured_profiles_have_every_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstune.tasks.profile.measure.language", lambda _: {"mtld": None})
    texts = ["The cat sat on the mat today.", "A dog ran over the road at night."]
    profiles = [
        measured([Text(text, label, True) for text in texts for label in ("yes", "no")] * 2)
        for texts in (texts[:1], texts)
    ]
    assert Counter(p["kind"] for p in profiles) == {"choice": 2}
    values = pairs(profiles, profiles)
    assert tuple(values) == MEASURES
    assert values["vocabulary"][0].tolist() == [1.0, 6 / 13]
    assert np.isnan(values["embedding"]).all()  # nobody has measured states
    assert (np.diag(values["class_label_divergence"]) == 0).all()


# --- the analysis -----------------------------------------------------------------------------


def test_every_dataset_and_pair_has_a_row(tmp_path: Path) -> None:
    analysis = found(tmp_path)
    rows = {table.name: table.rows.to_pylist() for table in analysis.tables}
    datasets, of_pairs, language = (rows[name] for name in ("datasets", "pairs", "language"))
    assert ANALYSES["profile"] is profile
    assert [(row["role"], row["name"]) for row in datasets] == [
        *(("source", name) for name in MADE.sources),
        *(("target", name) for name in MADE.targets),
    ]
    assert {row["language_mtld"] for row in language} == {50.0}
    assert {row["prompt_tokens_mean"] for row in datasets} == {None}
    assert len(of_pairs) == len(MADE.sources) * len(MADE.targets)
    assert {row["relation"] for row in of_pairs if row["source"] == row["target"]} == {"same task"}
    assert len(analysis.sentences) == 1
    for figure in analysis.figures:
        drawn = next(table.rows for table in analysis.tables if table.name == figure.table)
        assert {*figure.columns.values()} <= {*drawn.column_names}


def test_a_part_of_the_matrix_is_told_of_that_part(tmp_path: Path) -> None:
    found(tmp_path)
    store = Store(tmp_path / "study")
    part = profile(store, TransferMatrix.of(store).slice(source="a"))
    rows = {table.name: table.rows.to_pylist() for table in part.tables}
    assert {row["source"] for row in rows["pairs"]} == {"a"}
    assert [r["name"] for r in rows["datasets"] if r["role"] == "source"] == ["a"]
    assert None not in {row["relation"] for row in rows["pairs"]}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("source_a", told(duplicates=30), "repeat another: a (source) (30 %)"),
        ("target_c", told(labels={"x": 95, "y": 5}), "c (target) (95 % of one class)"),
        ("target_c", told(answer=400, kind="text"), "c (target) (400 characters)"),
        ("source_b", told(prompt=5), "b (source) (5 characters)"),
        ("source_a", told(shingles=(20, 21)), "a → b (100 %)"),
    ],
)
def test_what_is_unusual_is_said(
    tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    sentences = found(tmp_path, **{name: change}).sentences
    assert any(words in sentence for sentence in sentences), sentences
    assert not any("a → a (" in sentence for sentence in sentences)


def test_a_study_without_profiles_says_so(tmp_path: Path) -> None:
    analysis = profile(*MADE.write(tmp_path / "study"))
    assert analysis.tables == ()
    assert "no profiles; run it again" in analysis.sentences[0]


def test_a_dataset_without_profile_is_named(tmp_path: Path) -> None:
    profiles = {("source", name): told() for name in ("a", "b")}
    profiles |= {("target", name): told() for name in MADE.targets}
    sentences = profile(*written(MADE, tmp_path / "study", profiles)).sentences
    assert sentences[-1] == "Of 1 dataset there is no profile: ab."
