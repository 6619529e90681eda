"""Abilities of tables, files and studies: what is said, and when nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.abilities.planted import planted, pure_noise
from analysis.made import Made
from crosstune.analysis.abilities import (
    Stability,
    abilities,
    abilities_of,
    abilities_of_file,
    components,
    congruence,
    read_table,
    solution,
    stability,
    study_abilities,
)
from crosstune.analysis.abilities.asking import own_noise
from crosstune.analysis.abilities.found import complete_part
from crosstune.analysis.abilities.naming import extremes, proposal
from crosstune.analysis.findings import Analysis
from crosstune.analysis.side_effects import side_effects
from crosstune.errors import InputError
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

ROWS, COLUMNS = 16, 20
MODELS = [f"m{i:02}" for i in range(ROWS)]
TASKS = [f"t{i:02}" for i in range(COLUMNS)]
FAMILIES = ["mood", "sums"] * (COLUMNS // 2)


def two(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return planted(ROWS, COLUMNS, 2, noise=0.5, generator=generator)[0]


def rows_of(found: Analysis, name: str) -> list[dict[str, Any]]:
    tables = {table.name: table.rows.to_pylist() for table in found.tables}
    rows: list[dict[str, Any]] = tables[name]
    return rows


@pytest.fixture(scope="module")
def told() -> Analysis:
    noise = np.full((ROWS, COLUMNS), 0.3)
    return abilities_of(two(), MODELS, TASKS, families=FAMILIES, noise=noise)


def test_planted_abilities_are_named_by_their_families(told: Analysis) -> None:
    assert told.sentences[0].startswith("16 models × 20 tasks: 2 abilities (parallel analysis 2,")
    assert "mood (proposal)" in told.sentences[0]
    assert "sums (proposal)" in told.sentences[0]
    assert any("16 rows are not more than 20 columns" in sentence for sentence in told.sentences)
    assert any("are luck of examples" in sentence for sentence in told.sentences)
    rows = rows_of(told, "abilities")
    assert {row["proposal"] for row in rows} == {"mood", "sums"}
    assert all(row["replicates"] for row in rows)


def test_tables_are_of_the_sizes_of_models_and_tasks(told: Analysis) -> None:
    names = "abilities shares held_out loadings positions merges biplot"
    assert " ".join(table.name for table in told.tables) == names
    loadings = rows_of(told, "loadings")
    assert len(loadings) == 2 * COLUMNS
    for row in loadings:
        assert row["loading_from"] <= row["loading_to"]
        assert row["same_from"] < row["loading"] < row["same_to"]
        assert 0 < row["communality"] < 1
    positions = np.array([row["position"] for row in rows_of(told, "positions")]).reshape(2, -1)
    np.testing.assert_allclose(positions.std(axis=1, ddof=1), 1.0)
    assert len(rows_of(told, "biplot")) == ROWS + COLUMNS
    assert {figure.kind for figure in told.figures} == {"curves", "dots", "points", "tree"}


def test_merges_are_a_tree_of_all_tasks(told: Analysis) -> None:
    rows = rows_of(told, "merges")
    assert [row["name"] for row in rows[:COLUMNS]] == TASKS
    joined = [child for row in rows[COLUMNS:] for child in (row["left"], row["right"])]
    assert sorted(joined) == [*range(len(rows) - 1)]
    assert all(row["left"] < i > row["right"] for i, row in enumerate(rows) if i >= COLUMNS)
    heights = [row["height"] for row in rows[COLUMNS:]]
    assert heights == sorted(heights)
    # The first join is of the two columns that correlate most.
    correlations = np.corrcoef(two().T) - 2 * np.eye(COLUMNS)
    nearest = set(np.unravel_index(correlations.argmax(), correlations.shape))
    assert {rows[COLUMNS]["left"], rows[COLUMNS]["right"]} == nearest
    np.testing.assert_allclose(rows[COLUMNS]["height"], 1 - correlations.max())


def test_order_of_rows_and_columns_does_not_matter(told: Analysis) -> None:
    generator = np.random.default_rng(9)
    down, across = generator.permutation(ROWS), generator.permutation(COLUMNS)
    other = abilities_of(
        two()[down][:, across],
        [MODELS[i] for i in down],
        [TASKS[i] for i in across],
        families=[FAMILIES[i] for i in across],
        noise=np.full((ROWS, COLUMNS), 0.3),
    )
    assert other.sentences == told.sentences
    for ours, theirs in zip(told.tables, other.tables, strict=True):
        assert ours.rows.equals(theirs.rows)


def test_noise_is_named_nothing() -> None:
    noise = pure_noise(ROWS, COLUMNS, kind="equal", generator=np.random.default_rng(1))
    found = abilities_of(noise, MODELS, TASKS, families=FAMILIES)
    assert "no ability, nothing is beyond chance" in found.sentences[0]
    assert "none is named" in found.sentences[0]
    assert [table.name for table in found.tables] == ["shares", "held_out"]
    assert {figure.table for figure in found.figures} == {"shares", "held_out"}


def test_too_few_rows_or_columns_are_refused() -> None:
    few = abilities_of(two()[:7], MODELS[:7], TASKS)
    assert few.sentences == ("Nothing is said of the abilities: 7 models, at least 8 are needed.",)
    assert not few.tables
    narrow = abilities_of(two()[:, :3], MODELS, TASKS[:3])
    assert "3 tasks that may differ, at least 4 are needed" in narrow.sentences[0]


def test_what_does_not_replicate_has_no_name() -> None:
    # One model alone makes the ability: half of the halves know nothing of it.
    table = 0.3 * np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
    table[0] += np.where(np.arange(COLUMNS) % 2, 2.0, -2.0)
    found = abilities_of(table, MODELS, TASKS, families=FAMILIES)
    rows = rows_of(found, "abilities")
    assert [(row["replicates"], row["proposal"]) for row in rows] == [(False, "")]
    assert max(row["loading"] for row in rows_of(found, "loadings")) > 0.8
    assert "does not replicate" in found.sentences[0]
    assert "proposal" not in found.sentences[0]


def test_gaps_are_left_out_while_enough_remains_and_named_otherwise() -> None:
    table = two()
    table[2, :5] = np.nan
    table[4, 7] = np.nan
    found = abilities(table, MODELS, TASKS)
    assert found.table.shape == (15, 19) or found.table.shape == (14, 20)
    assert "m02" in found.left_out[0]
    assert not np.isnan(found.table).any()
    np.fill_diagonal(table, np.nan)
    refused = abilities_of(table, MODELS, TASKS)
    assert "too many to do without: m00 → t00" in refused.sentences[0]


def test_the_fewest_lines_are_left_out() -> None:
    known = np.ones((6, 9), dtype=np.bool_)
    known[:, 4] = False
    known[3, :] = False
    rows, columns = complete_part(known)
    assert np.flatnonzero(~rows).tolist() == [3]
    assert np.flatnonzero(~columns).tolist() == [4]


def test_what_is_not_finite_is_not_known() -> None:
    infinite, unknown = two(), two()
    infinite[2, 5], unknown[2, 5] = np.inf, np.nan
    found, expected = (abilities(table, MODELS, TASKS) for table in (infinite, unknown))
    assert found.left_out == expected.left_out == ("1 column with gaps (t05)",)


def test_a_table_of_one_component_has_all_its_tables() -> None:
    found = abilities_of(np.outer(np.arange(12.0), np.ones(6)), MODELS[:12], TASKS[:6])
    assert {row["y"] for row in rows_of(found, "biplot")} == {0.0}
    assert len(rows_of(found, "loadings")) == 6


def test_constant_columns_are_left_out_and_named() -> None:
    table = two()
    table[:, 4] = 0.25
    found = abilities_of(table, MODELS, TASKS)
    assert "Left out: 1 task with one number for every model (t04)." in found.sentences
    assert len(rows_of(found, "loadings")) == 2 * (COLUMNS - 1)


def test_intervals_hold_the_true_loadings_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    held = []
    for _ in range(12):
        table, truth = planted(20, 16, 1, generator=generator)
        true = truth[:, 0] / np.sqrt(np.square(truth[:, 0]) + 0.36)
        found = solution(table, 1)
        sure = stability(table, found)
        held.append(((sure.low[:, 0] <= true) & (true <= sure.high[:, 0])).mean())
    assert 0.85 < np.mean(held) <= 1


def test_noise_of_known_size_scatters_loadings_as_much_as_told() -> None:
    generator = np.random.default_rng(5)
    clean, _ = planted(ROWS, COLUMNS, 1, noise=0.4, generator=generator)
    noise = np.full(clean.shape, 0.4)
    drawn = [clean + noise * generator.standard_normal(clean.shape) for _ in range(60)]
    scatter = np.std([solution(table, 1).loadings[:, 0] for table in drawn], axis=0)
    sure = stability(drawn[0], solution(drawn[0], 1), noise=noise)
    told = (sure.same_high - sure.same_low)[:, 0] / (2 * 1.96)
    assert 0.7 < np.median(told / scatter) < 1.4


def test_halves_have_twice_the_error_of_the_whole() -> None:
    none = np.empty((2, 3))
    found = Stability(none, none, none, none, np.array([0.6, 1.0, -0.2]))
    np.testing.assert_allclose(found.replication, [0.75, 1.0, 0.0])


def test_replication_is_the_congruence_of_two_tables() -> None:
    generator = np.random.default_rng(7)
    expected, seen = [], []
    for _ in range(10):
        loadings = planted(2, COLUMNS, 1, generator=generator)[1]
        one, other = (
            generator.standard_normal((ROWS, 1)) @ loadings.T
            + generator.standard_normal((ROWS, COLUMNS))
            for _ in range(2)
        )
        first, second = solution(one, 1), solution(other, 1)
        expected.append(stability(one, first).replication[0])
        seen.append(abs(congruence(first.loadings, second.loadings)[0]))
    assert abs(np.mean(expected) - np.mean(seen)) < 0.1


def test_names_are_proposed_from_what_is_high() -> None:
    families = ["mood", "mood", "sums", "sums", "topic", "other"]
    assert proposal(families, np.array([0.9, 0.8, 0.1, 0.1, 0.1, 0.1])) == "mood"
    assert proposal(families, np.array([0.9, 0.1, 0.8, 0.1, 0.7, 0.1])) == "mood and sums"
    assert proposal(families, np.full(6, 0.8)) == "general"
    assert proposal(families, np.full(6, 0.2)) == ""
    assert proposal(families, np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.9])) == "mixed"
    assert proposal([""] * 6, np.full(6, 0.8)) == ""
    assert extremes(list("abc"), np.array([0.1, -0.2, 0.3])) == "no column reaches 0.5"
    many = extremes(list("abcdef"), np.full(6, 0.9))
    assert many == "a, b, c, d and 2 more high"


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_table_is_read_with_its_gaps_counted(tmp_path: Path) -> None:
    text = "model,kind,a,b,size\nx,big,1,2.5,7\ny,small,3,,8\n\nz,big,-1e-1,4,9\n"
    read = read_table(write(tmp_path / "t.csv", text), tasks=["a", "b"])
    assert (read.models, read.tasks, read.left_out, read.texts) == (
        ("x", "z"),
        ("a", "b"),
        ("y",),
        ("kind",),
    )
    np.testing.assert_array_equal(read.table, [[1, 2.5], [-0.1, 4]])
    assert (read.emptiest, read.gaps) == ("b", 1)
    assert read_table(tmp_path / "t.csv").tasks == ("a", "b", "size")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs a first row"),
        ("model,a\n", "a row for every model"),
        ("model,a,b\nx,1\n", "line 2: 2 fields instead of 3"),
        ("model,a\nx,1\n\ny,two\n", "line 4, a: 'two' is not a number"),
        ("model,a\nx,1\ny,inf\n", "line 3, a: 'inf' is not a number"),
        ("model,a,a\nx,1,2\n", "several columns called 'a'"),
        ("model,a\nx,1\nx,2\n", "several models called 'x'"),
        ("model,a\nx,big\n", "no column of numbers"),
    ],
)
def test_what_is_no_table_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_table(write(tmp_path / "t.csv", text))


def test_an_unknown_column_or_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "model,gsm8k\nx,1\n")
    with pytest.raises(InputError, match="Did you mean 'gsm8k'"):
        read_table(path, tasks=["gsm8"])
    with pytest.raises(InputError, match=r"nothing.csv cannot be read"):
        read_table(tmp_path / "nothing.csv")


def test_a_file_is_analysed_as_its_table(tmp_path: Path) -> None:
    lines = ["model,maker," + ",".join(TASKS)]
    table = two()
    for name, row in zip(MODELS, table, strict=True):
        lines.append(f"{name},us," + ",".join(map(repr, row.tolist())))
    lines.append("gap,us," + "," * (COLUMNS - 1))
    found = abilities_of_file(write(tmp_path / "t.csv", "\n".join(lines)))
    direct = abilities_of(table, MODELS, TASKS)
    assert found.sentences[: len(direct.sentences)] == direct.sentences
    assert (
        "Left out as they have gaps: 1 model (gap); 1 of them in t00, which has most."
        in found.sentences
    )
    words = "All columns of numbers were taken as tasks (t00; t01; t02; t03; t04; t05 and 14 more)"
    assert f"{words}; naming some (--task) takes these alone." in found.sentences
    named = abilities_of_file(tmp_path / "t.csv", tasks=TASKS)
    assert not any("were taken as tasks" in sentence for sentence in named.sentences)
    assert "Columns without numbers, not used: maker." in found.sentences


SOURCES = {f"s{i}": ["left" if i % 2 else "right"] for i in range(10)}
TARGETS = {f"t{i}": "left" if i % 2 else "right" for i in range(8)}
STUDY = Made(sources=SOURCES, targets=TARGETS, recipes={"plain": {}}, conditions={"zero": {}})


def outcomes(*spot: Any) -> np.ndarray:
    """A source moves the targets of its own family, each to its own degree."""
    source, _, seed, _, target, n = spot
    if source == "base":
        return np.where(np.arange(n) < n // 2, 1.0, 0.0)
    i, j = int(source[1:]), int(target[1:])
    push = (i // 2) / 5 if i % 2 == j % 2 else 0.05
    luck = np.random.default_rng([i, j, seed]).integers(0, 2)
    return np.where(np.arange(n) < n * (0.5 + 0.45 * push) + luck, 1.0, 0.0)


def test_a_study_is_asked_for_every_recipe_and_condition(tmp_path: Path) -> None:
    made = STUDY.changed(seeds=(0,), conditions={"zero": {}, "few": {"shots": 4}})
    store, matrix = made.write(tmp_path, outcomes)
    found = study_abilities(store, matrix)
    arms = {row["arm"] for row in rows_of(found, "shares")}
    assert arms == {"plain × zero", "plain × few"}
    assert found.sentences[0].startswith("plain × zero (10 sources × 8 targets): ")
    assert {figure.columns.get("panel") for figure in found.figures} >= {"arm", "arm ability"}


def test_edited_sources_and_missing_pairs_are_left_out(tmp_path: Path) -> None:
    missing = frozenset({("s9", "plain", seed, "zero", t) for seed in (0, 1) for t in TARGETS})
    store, _ = STUDY.changed(missing=missing).write(tmp_path, outcomes)
    facts = json.loads((tmp_path / "study.json").read_text("utf-8"))
    copy, original, *_ = facts["study"]["sources"]
    copy |= {"tasks": original["tasks"], "edits": [{"edit": "shuffle_labels"}]}
    store.write("study.json", json.dumps(facts))
    store = Store(tmp_path)
    found = study_abilities(store, TransferMatrix.of(store))
    assert "(8 sources × 8 targets)" in found.sentences[0]
    assert "Left out, being copies of other sources: s0." in found.sentences
    assert "Left out of plain × zero: 1 source with gaps (s9)." in found.sentences


def test_copies_of_one_source_alone_are_refused(tmp_path: Path) -> None:
    store, _ = STUDY.write(tmp_path, outcomes)
    facts = json.loads((tmp_path / "study.json").read_text("utf-8"))
    original, *copies = facts["study"]["sources"]
    for source in copies:
        source |= {"tasks": original["tasks"], "edits": [{"edit": "shuffle_labels"}]}
    store.write("study.json", json.dumps(facts))
    store = Store(tmp_path)
    matrix = TransferMatrix.of(store)
    assert "1 source, at least 8" in study_abilities(store, matrix).sentences[0]
    (sentence,) = side_effects(store, matrix.slice(source=copies[0]["name"])).sentences
    assert sentence == "All sources are edits, which are left out."


def test_a_small_study_is_refused(tmp_path: Path) -> None:
    few = {name: SOURCES[name] for name in list(SOURCES)[:5]}
    store, matrix = STUDY.changed(sources=few, seeds=(0,)).write(tmp_path, outcomes)
    found = study_abilities(store, matrix)
    assert found.sentences == (
        "Nothing is said of the abilities of plain × zero: 5 sources, at least 8 are needed.",
    )
    assert not found.tables


def test_noise_is_without_what_a_target_shares(tmp_path: Path) -> None:
    _, matrix = STUDY.write(tmp_path, outcomes)
    grid = matrix.grid()
    shapes = grid.gains.shape
    made = replace(
        grid,
        examples_error=np.full(shapes, 0.5),
        shared_error=np.full(shapes, 0.4),
        seeds_error=np.full(shapes, np.nan),
    )
    np.testing.assert_allclose(own_noise(made), 0.3)
    seeds = replace(made, seeds_error=np.full(shapes, 0.4))
    np.testing.assert_allclose(own_noise(seeds), 0.5)


def test_unscaled_loadings_are_in_the_units_of_the_table() -> None:
    found = abilities(two() * 7, MODELS, TASKS, scale=False, rotation="none")
    plain = components(two(), scale=False)
    assert found.solution is not None
    assert found.communality is not None
    np.testing.assert_allclose(found.solution.loadings, 7 * plain.loadings[:, :2], atol=1e-8)
    assert (found.communality <= 1).all()


def test_no_table_holds_what_is_not_a_number(told: Analysis) -> None:
    for table in told.tables:
        for column in table.rows.columns:
            if pa.types.is_floating(column.type):
                assert all(value is None or np.isfinite(value) for value in column.to_pylist())


def test_a_first_column_of_numbers_names_no_models(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n0.1,0.2\n0.3,0.4\n")
    with pytest.raises(InputError, match="its first column holds numbers"):
        abilities_of_file(path)
