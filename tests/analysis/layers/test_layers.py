"""Layer by layer: planted places are found, gaps are told, numbers are those of plain formulas."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.layers.made_layers import LAYERS, MIXTURE, RISE, WIDTH, N, states, write
from crosstune.analysis.findings import Analysis, analyze
from crosstune.analysis.layers import compare, layers_by
from crosstune.analysis.layers.curves import compared, layer_map
from crosstune.analysis.layers.depth import gathered, middle
from crosstune.analysis.layers.probes import opened, probed
from crosstune.analysis.layers.tables import _COLUMNS
from crosstune.analysis.similarity import MEASURES, linear_cka
from crosstune.errors import InputError
from crosstune.report.findings import units, written
from crosstune.results.states import LARGEST, read_states, write_states
from crosstune.results.store import Store


def rows(found: Analysis, name: str) -> list[dict[str, Any]]:
    (table,) = (table for table in found.tables if table.name == name)
    return table.rows.to_pylist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    store, matrix = write(tmp_path_factory.mktemp("layers"), count=9, held_out=1)
    return analyze(store, "layers", matrix=matrix)


def test_curves_are_the_alignments_of_the_states(found: Analysis) -> None:
    told = {(r["task"], r["curve"], r["layer"]): r for r in rows(found, "curves")}
    for task, model, layer in [("t3", "base", 5), ("t3", "mixture", 7), ("t8", "mixture", 12)]:
        who = MIXTURE if model == "mixture" else model
        expected = linear_cka(states(task, who, 0)[layer], states(task, "control", 0)[layer])
        row = told[task, model, layer]
        assert row["value"] == pytest.approx(expected, abs=2e-3)
        assert row["low"] < row["value"] < row["high"] <= 1
        assert row["chance"] < 0.05
        assert (row["n"], row["d"]) == (N, WIDTH)


def test_a_constant_embedding_is_missing_with_its_reason(found: Analysis) -> None:
    first = [row for row in rows(found, "curves") if row["layer"] == 0]
    assert {row["value"] for row in first} == {None}
    assert {row["reason"] for row in first} == {
        "all prompts end in one token, so their embedding is one state"
    }
    assert any("their embedding is one state" in told for told in found.sentences)
    others = [row for row in rows(found, "curves") if row["layer"]]
    assert None not in {row["value"] for row in others}
    assert {row["reason"] for row in others} == {None}


def test_the_planted_bends_are_located(found: Analysis) -> None:
    (taught,) = (row for row in rows(found, "segments") if row["tasks_are"] == "in the mixture")
    assert taught["located"]
    assert abs(taught["first"] - RISE[0]) <= 1
    assert abs(taught["second"] - RISE[1]) <= 1
    assert taught["first_from"] <= taught["first"] <= taught["first_to"]
    assert taught["first_depth"] == pytest.approx(taught["first"] / (LAYERS - 1))
    assert taught["transition_slope"] > max(taught["shared_slope"], taught["refinement_slope"])
    assert "shared, transition and refinement layers meet at" in found.sentences[1]
    (apart,) = (row for row in rows(found, "segments") if row["tasks_are"] == "held out")
    assert not apart["located"]
    assert "at least 6 tasks" in apart["reason"]


def test_what_the_mixture_adds_is_told_task_by_task(found: Analysis) -> None:
    told = {row["task"]: row for row in rows(found, "tasks")}
    assert told["t0"]["tasks_are"] == "held out"
    assert abs(told["t0"]["added"]) < 0.05
    for task in [f"t{i}" for i in range(1, 9)]:
        row = told[task]
        assert row["added"] == pytest.approx(row["mixture_similarity"] - row["bare_similarity"])
        assert 0 < row["low"] < row["added"] < row["high"]
        assert row["q"] < 0.001
    assert any("more like the control than the base in 8 of 8" in t for t in found.sentences)


def test_medians_and_families_are_those_of_the_curves(found: Analysis) -> None:
    curves = rows(found, "curves")
    row = next(
        row
        for row in rows(found, "medians")
        if (row["tasks_are"], row["curve"], row["layer"]) == ("in the mixture", "base", 9)
    )
    values = [
        c["value"]
        for c in curves
        if (c["tasks_are"], c["curve"], c["layer"]) == ("in the mixture", "base", 9)
    ]
    assert (row["value"], row["tasks"]) == (pytest.approx(np.median(values)), 8)
    assert row["low"] <= row["value"] <= row["high"]
    alone = next(row for row in rows(found, "medians") if row["tasks_are"] == "held out")
    assert alone["low"] is None
    family = next(
        row
        for row in rows(found, "families")
        if (row["tasks_are"], row["family"], row["curve"], row["layer"])
        == ("in the mixture", "f1", "mixture", 9)
    )
    values = [
        c["value"] for c in curves if (c["family"], c["curve"], c["layer"]) == ("f1", "mixture", 9)
    ]
    assert (family["value"], family["tasks"]) == (pytest.approx(np.mean(values)), 3)


def test_maps_are_alignments_of_all_pairs_of_layers(found: Analysis) -> None:
    told = {
        (r["layer"], r["control_layer"]): r["similarity"]
        for r in rows(found, "map")
        if r["model"] == "base"
    }
    assert len(told) == (LAYERS - 1) ** 2
    expected = np.mean(
        [
            linear_cka(states(f"t{i}", "base", 0)[3], states(f"t{i}", "control", 0)[6])
            for i in range(9)
        ]
    )
    assert told[3, 6] == pytest.approx(expected, abs=2e-3)


def test_tasks_that_lie_apart_are_told_apart(found: Analysis) -> None:
    told = [row for row in rows(found, "separation") if row["model"] == "base"]
    layer = 5
    every = np.stack([states(f"t{i}", "base", 0)[layer] for i in range(9)]).astype(float)
    centres = every.mean(axis=1)
    between = centres.var(axis=0).sum()
    whole = between + every.var(axis=1).sum(axis=1).mean()
    assert told[layer]["between_tasks"] == pytest.approx(between / whole, rel=1e-4)
    assert told[0]["between_tasks"] is None  # nothing varies there


def test_a_few_dimensions_can_be_left_out(found: Analysis) -> None:
    told = [row for row in rows(found, "dimensions") if row["tasks_are"] == "in the mixture"]
    assert told[0]["bare_value"] is None
    row = told[6]
    values = []
    for i in range(1, 9):
        both = []
        for who in ("base", "control"):
            x = states(f"t{i}", who, 0)[6].astype(float)
            both.append(x[:, np.argsort(-x.var(axis=0))[LARGEST:]])
        values.append(linear_cka(*both))
    assert row["bare_without"] == pytest.approx(np.median(values), abs=3e-3)
    assert 0 < row["largest_part"] < 1


def test_how_far_weights_moved_is_told(found: Analysis) -> None:
    told = [row for row in rows(found, "moved") if row["source"] == MIXTURE]
    assert [row["block"] for row in told] == list(range(1, LAYERS))
    assert told[3]["change"] == pytest.approx(0.04)
    assert {row["kind"] for row in rows(found, "moved")} == {"mixture", "control"}
    assert any("moved most in block 12" in told for told in found.sentences)


def test_seeds_are_averaged_and_paired(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=5, seeds=(0, 1))
    found = analyze(store, "layers", matrix=matrix)
    told = {(r["task"], r["curve"], r["layer"]): r for r in rows(found, "curves")}
    for model, who in (("base", "base"), ("mixture", MIXTURE)):
        values = [
            linear_cka(
                states("t2", who, seed if model == "mixture" else 0)[7],
                states("t2", "control", seed)[7],
            )
            for seed in (0, 1)
        ]
        assert told["t2", model, 7]["value"] == pytest.approx(np.mean(values), abs=2e-3)


def test_without_a_mixture_the_base_is_told_alone(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=5, mixture=False)
    found = analyze(store, "layers", matrix=matrix)
    assert "no mixture" in found.sentences[0]
    assert {row["curve"] for row in rows(found, "curves")} == {"base"}
    lacking = {"segments", "tasks"}
    assert {table.name for table in found.tables} == {*_COLUMNS} - lacking


def test_missing_states_are_named_and_left_out(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=6, without=("t4",))
    found = analyze(store, "layers", matrix=matrix)
    assert "t4" not in {row["task"] for row in rows(found, "curves")}
    assert any("left out: control t4 (seed 0) on t4." in told for told in found.sentences)


def test_a_study_without_states_says_how_to_get_them(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=5)
    (tmp_path / "layers.json").unlink()
    found = analyze(store, "layers", matrix=matrix)
    assert "a key 'layers'" in found.sentences[0]
    assert found.tables == ()


def test_a_part_of_the_study_is_looked_at(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=6)
    part = analyze(store, "layers", matrix=matrix.slice(target="t2"))
    assert {row["task"] for row in rows(part, "curves")} == {"t2"}
    (row,) = rows(part, "segments")
    assert "at least 6 tasks" in row["reason"]


def test_a_damaged_plan_is_told(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=5)
    told = store.layers()
    del told[2]["family"]
    store.write("layers.json", json.dumps(told))
    with pytest.raises(InputError, match=r"layers\.json is damaged"):
        analyze(store, "layers", matrix=matrix)


@pytest.mark.parametrize("name", ["rbf_cka", "svcca", "procrustes", "biased_cka"])
def test_other_measures_are_those_of_the_states(tmp_path: Path, name: str) -> None:
    def narrow(_: dict[str, Any], found: np.ndarray) -> np.ndarray:
        return found[:, :, :6]

    store, matrix = write(tmp_path, count=5, changed=narrow)
    found = layers_by(store, matrix, measure=name)
    told = {(r["task"], r["curve"], r["layer"]): r for r in rows(found, "curves")}
    expected = MEASURES[name](
        states("t2", "base", 0)[7, :, :6], states("t2", "control", 0)[7, :, :6]
    )
    assert told["t2", "base", 7]["value"] == pytest.approx(expected, abs=5e-3)
    assert (told["t2", "base", 7]["low"] is None) == (name != "rbf_cka")
    assert any(f"Measure: {name}" in told for told in found.sentences)


def test_what_a_measure_cannot_do_is_told(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=5)
    with pytest.raises(InputError, match="pwcca needs more of the states than is kept"):
        layers_by(store, matrix, measure="pwcca")
    with pytest.raises(InputError, match="no similarity called 'ckka'"):
        layers_by(store, matrix, measure="ckka")
    found = layers_by(store, matrix, measure="cca")  # 40 examples are too few for 24 + 24
    reasons = {row["reason"] for row in rows(found, "curves") if row["layer"]}
    assert all("need at least 49 examples" in str(reason) for reason in reasons)


def test_a_layer_that_one_model_holds_constant_is_missing_for_it_alone(tmp_path: Path) -> None:
    def broken(row: dict[str, Any], found: np.ndarray) -> np.ndarray:
        if (row["kind"], row["task"]) == ("mixture", "t3"):
            found[6] = 2.0
        return found

    store, matrix = write(tmp_path, count=7, changed=broken)
    found = analyze(store, "layers", matrix=matrix)
    gone = [r for r in rows(found, "curves") if r["value"] is None and r["layer"]]
    assert {(r["task"], r["curve"], r["layer"], r["reason"]) for r in gone} == {
        ("t3", curve, 6, "all examples have one state") for curve in ("mixture", "difference")
    }
    (row,) = rows(found, "segments")
    assert (row["tasks"], row["left_out"]) == (6, "t3")
    assert abs(row["first"] - RISE[0]) <= 1
    assert any("without t3, unknown at some layers" in told for told in found.sentences)


def without(store: Store, told: list[dict[str, Any]], *, but: Any) -> None:
    """Remove the states of rows that a function picks."""
    for row in told:
        if but(row):
            store.discard("states", row["key"])


def test_a_difference_is_of_the_seeds_that_both_have(tmp_path: Path) -> None:
    def far(row: dict[str, Any], found: np.ndarray) -> np.ndarray:
        if (row["kind"], row["seed"]) == ("control", 1):
            found[1:] = np.random.default_rng(3).normal(size=found[1:].shape)
        return found

    store, matrix = write(tmp_path, count=5, seeds=(0, 1), changed=far)
    without(store, store.layers(), but=lambda r: (r["kind"], r["seed"]) == ("mixture", 1))
    found = analyze(store, "layers", matrix=matrix)
    told = {(r["task"], r["curve"], r["layer"]): r for r in rows(found, "curves")}
    expected = [
        linear_cka(states("t2", who, 0)[9], states("t2", "control", 0)[9])
        for who in (MIXTURE, "base")
    ]
    assert told["t2", "mixture", 9]["value"] == pytest.approx(expected[0], abs=2e-3)
    assert told["t2", "base", 9]["value"] == pytest.approx(expected[1], abs=2e-3)
    assert told["t2", "difference", 9]["value"] == pytest.approx(
        expected[0] - expected[1], abs=2e-3
    )
    assert any("all (seed 1) on t0" in told for told in found.sentences)


def test_a_mixture_that_lacks_a_task_is_told(tmp_path: Path) -> None:
    store, matrix = write(tmp_path, count=7)
    without(store, store.layers(), but=lambda r: (r["kind"], r["task"]) == ("mixture", "t5"))
    found = analyze(store, "layers", matrix=matrix)
    assert any("left out: all (seed 0) on t5." in told for told in found.sentences)
    assert rows(found, "segments")[0]["tasks"] == 6
    assert "t5" not in {row["task"] for row in rows(found, "curves")}


def test_a_fall_is_not_called_refinement(tmp_path: Path) -> None:
    def turned_over(row: dict[str, Any], found: np.ndarray) -> np.ndarray:
        who = {"base": MIXTURE, "mixture": "base"}.get(row["kind"])
        return found if who is None else states(row["task"], who, 0)

    store, matrix = write(tmp_path, count=8, changed=turned_over)
    found = analyze(store, "layers", matrix=matrix)
    (row,) = rows(found, "segments")
    assert row["transition_slope"] < 0
    assert "the curve bends at" in found.sentences[0]


def test_people_read_layers_and_similarities_as_they_are(found: Analysis) -> None:
    """Nothing of them is in points."""
    for table in found.tables:
        assert "points" not in {*units(table.rows).values()}, table.name
        assert "×100" not in written(found, table=table.name, form="table")


def test_memory_is_that_of_one_task(tmp_path: Path) -> None:
    """Kernels of one task are let go of before the next one is read."""
    peaks = []
    for count in (2, 6):
        store, _ = write(tmp_path / str(count), count=count)
        probes = probed(store.layers())
        tracemalloc.start()
        gathered(store, probes, "linear_cka")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    kernels = LAYERS * N * N * 8  # of one model on one task
    assert (peaks[1] - peaks[0]) / 4 < kernels / 2


def test_the_interval_of_a_median_draws_tasks(tmp_path: Path) -> None:
    store, _ = write(tmp_path, count=6)
    curves = []
    for probe in probed(store.layers()):
        states_of, missing = opened(store, probe)
        assert states_of is not None
        assert missing == []
        curves.append(compared(states_of).curves["base"])
    told = middle(curves)
    values = np.array([curve.values[9] for curve in curves])
    assert told.values[9] == pytest.approx(np.median(values))
    assert values.min() <= told.low[9] <= told.high[9] <= values.max()
    assert np.isnan(middle(curves[:4]).low).all()


# --- two models -------------------------------------------------------------------------------


def kept(folder: Path, found: np.ndarray) -> Any:
    folder.mkdir()
    write_states(folder, found, {})
    return read_states(folder)


def test_two_models_are_compared_at_the_same_depth(tmp_path: Path) -> None:
    first = {t: states(t, "base", 0) for t in ("t1", "t2")}
    second = {t: states(t, "base", 1)[::2] for t in first}  # half as deep
    pairs = {
        t: (kept(tmp_path / f"a{t}", first[t]), kept(tmp_path / f"b{t}", second[t])) for t in first
    }
    found = compare(("small", "tall"), pairs)
    told = {(row["task"], row["layer"]): row for row in rows(found, "depth")}
    assert "their embedding is one state" in told["t1", 0]["reason"]
    row = told["t1", 8]
    assert row["similarity"] == pytest.approx(linear_cka(first["t1"][8], second["t1"][4]), abs=2e-3)
    assert row["low"] < row["similarity"] < row["high"]
    assert row["best_layer"] == 4
    assert len(rows(found, "map")) == 12 * 6
    assert "small and tall on 2 tasks" in found.sentences[0]
    other = compare(("small", "tall"), pairs, measure="procrustes")
    assert rows(other, "depth")[8]["low"] is None
    few = compare(("small", "tall"), pairs, measure="svcca")
    assert "need at least 4" in few.sentences[0]
    assert "No layer can be compared" in few.sentences[0]


def test_a_layer_map_of_a_model_with_itself_has_ones(tmp_path: Path) -> None:
    own = kept(tmp_path / "a", states("t1", "base", 0))
    found = layer_map(own, own)
    np.testing.assert_allclose(np.diagonal(found)[1:], 1, atol=1e-5)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[:, 0]).all()
