"""Lengths are those of the texts; a planted change is told, and none where nothing changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.made import Made, key
from crosstune.analysis.findings import Analysis
from crosstune.analysis.outcomes import densities, lengths
from crosstune.analysis.outcomes.summaries import change
from crosstune.analysis.outcomes.summaries import lengths as binned
from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import read_outcomes, write_outcomes
from crosstune.results.store import Store
from crosstune.tasks.profile import EDGES

MADE = Made(
    sources={"long": ["f"], "same": ["g"]},
    targets={"t": "f", "choice": "h"},
    recipes={"plain": {}},
    conditions={"zero": {}},
    texts=frozenset({"t"}),
    n={"t": 60, "choice": 10},
)
PROFILE = {
    "lengths": {
        "answer": {
            "characters": {
                "mean": 50.0,
                "median": 48.0,
                "counts": binned(np.arange(1, 100)).tolist(),
            }
        }
    }
}


def study(folder: Path, made: Made = MADE) -> tuple[Store, TransferMatrix]:
    """Models tuned on `long` write three times as much as the base, the others as much."""
    store, matrix = made.write(folder / "study")
    for row in matrix.rows:
        if row.target == "t":
            for name, who in ((row.key, (row.source, row.seed)), (row.base_key, ("base", 0))):
                draw = np.random.default_rng(int(key(*who)[:8], 16))
                usual = 10 + draw.integers(0, 20, 60)
                _rewrite(store, name, usual * (3 if who[0] == "long" else 1))
    return store, matrix


def _rewrite(store: Store, name: str, characters: np.ndarray) -> None:
    path = store.outcomes(name)
    rows = read_outcomes(path)
    write_outcomes(
        path,
        [replace(row, answer="x" * n) for row, n in zip(rows, characters.tolist(), strict=True)],
    )


def rows(found: Analysis, name: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = next(t for t in found.tables if t.name == name).rows.to_pylist()
    return told


def test_a_planted_change_is_told_and_no_other(tmp_path: Path) -> None:
    store, matrix = study(tmp_path)
    found = lengths(store, matrix)
    assert found.sentences[0].startswith("1 cell of 2 came to write answers at least 10 % longer")
    assert "long → t" in found.sentences[0]
    assert found.sentences[1].startswith("In 0 of the 1 cell whose length changed so")
    assert "unavailable for: long; same" in found.sentences[-1]
    first, second = rows(found, "lengths")
    assert (first["source"], second["source"]) == ("long", "same")
    assert first["times_from"] <= first["times_as_long"] <= first["times_to"]
    assert 2.5 < first["times_as_long"] < 3.5
    assert second["times_from"] <= 1 <= second["times_to"]
    outcomes = [
        read_outcomes(store.outcomes(row.key)) for row in matrix.rows if row.source == "long"
    ]
    texts = [len(o.answer) for rows in outcomes for o in rows if o.id.startswith("t-")]
    assert first["after_median"] == pytest.approx(np.median(texts))
    assert first["reference_median"] == 3  # yes


def test_empty_answers_are_told(tmp_path: Path) -> None:
    store, matrix = study(tmp_path)
    for row in matrix.rows:
        if (row.source, row.target) == ("long", "t"):
            _rewrite(store, row.key, np.arange(60) % 2 * 5)
    found = lengths(store, matrix)
    assert "In 1 of the 1 cell whose length changed so" in found.sentences[1]
    assert "Empty answers became common in 1 cell: long → t 50 %." in found.sentences
    first, second = rows(found, "lengths")
    assert (first["before_empty_share"], first["after_empty_share"]) == (0, 0.5)
    assert second["after_empty_share"] == 0


def test_the_source_s_answers_come_of_its_profile(tmp_path: Path) -> None:
    found = lengths(*study(tmp_path, MADE.changed(profiles={"long": PROFILE})))
    by_source = {row["source"]: row for row in rows(found, "lengths")}
    assert by_source["long"]["source_median"] == 48
    assert by_source["same"]["source_median"] is None
    series = {row["series"] for row in rows(found, "densities")}
    assert series == {"source answers", "base outputs", "tuned outputs", "references"}
    assert "unavailable for: same" in found.sentences[-1]
    assert "source 48" in found.sentences[0]


def test_densities_are_shares_per_factor_of_ten(tmp_path: Path) -> None:
    texts = np.array([0, 1, 5, 9, 100, 2_000])
    widths = np.diff(np.log10(EDGES))
    assert densities(binned(texts)) @ widths == pytest.approx(5 / 6)
    found = rows(lengths(*study(tmp_path)), "densities")
    for name in ("base outputs", "tuned outputs", "references"):
        series = [row for row in found if row["series"] == name]
        where = [int(np.searchsorted(EDGES, row["characters"], "right")) - 1 for row in series]
        area = sum(row["density"] * widths[w] for row, w in zip(series, where, strict=True))
        assert area == pytest.approx(1)


def test_only_choices_say_so(tmp_path: Path) -> None:
    found = lengths(*Made().write(tmp_path / "study"))
    assert found.tables == ()
    assert "No text target" in found.sentences[0]


def test_the_t_interval_covers_what_it_says() -> None:
    draw = np.random.default_rng(0)
    found = [change(draw.normal(0.3, 1, (2, 40))) for _ in range(1000)]
    covered = np.mean([each.low <= 0.3 <= each.high for each in found])
    assert 0.93 < covered < 0.97
    nothing = [change(draw.standard_t(5, (1, 40))) for _ in range(1000)]
    assert 0.03 < np.mean([each.p < 0.05 for each in nothing]) < 0.07
    assert change(np.zeros((1, 9))).p == 1
    assert change(np.ones((1, 9))).p < 0.01
