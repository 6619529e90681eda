"""What the page draws is what the matrix holds, and the JSON holds no markup."""

from __future__ import annotations

import json

import pytest

from crosstune.report import payload as module
from crosstune.report.payload import embedded, payload
from report.tables import HOSTILE, SOURCES, TARGETS, believable, cell, example, job, jobs, matrix


def test_every_cell_can_be_found_again() -> None:
    found = example()
    drawn = payload(found, study="example", jobs={})
    cells = drawn["cells"]
    assert [s["name"] for s in drawn["sources"]] == list(SOURCES)
    assert drawn["sources"][3]["families"] == ["sentiment", "arithmetic"]
    assert {t["name"]: t["family"] for t in drawn["targets"]} == TARGETS
    assert drawn["metrics"] == ["acc", "exact_match", "f1"]
    rows = found.cells.to_pylist()
    assert {len(column) for column in cells.values()} == {len(rows)}
    for i, row in enumerate(rows):
        way = drawn["slices"][cells["slice"][i]]
        assert way == {"recipe": row["recipe"], "condition": row["condition"]}
        assert drawn["sources"][cells["source"][i]]["name"] == row["source"]
        assert drawn["targets"][cells["target"][i]]["name"] == row["target"]
        assert drawn["metrics"][cells["metric"][i]] == row["metric"]
        for name in "relation scoring seeds n scope constant leaked status main".split():
            assert cells[name][i] == row[name]
        for name in ("base", "score", "gain", "low", "high", "p", "q", "detectable"):
            known = row[name] is not None
            assert cells[name][i] == (pytest.approx(row[name], rel=1e-5) if known else None)
        for name in ("answers", "base_answers", "truth"):
            assert cells[name][i] == (json.loads(row[name]) if row[name] else None)


def test_axes_keep_the_order_of_the_study() -> None:
    rows = [cell(source=s, target=t) for s in ("z", "a") for t in ("y", "b")]
    drawn = payload(matrix(rows), study="x", jobs={})
    assert [s["name"] for s in drawn["sources"]] == ["z", "a"]
    assert [t["name"] for t in drawn["targets"]] == ["y", "b"]
    assert drawn["cells"]["source"] == [0, 0, 1, 1]


def test_numbers_of_cells_are_those_of_the_matrix() -> None:
    drawn = payload(matrix([cell(gain=0.1 + 0.2, q=1.23456789e-12)]), study="x", jobs={})
    found = json.loads(embedded(drawn))["cells"]
    assert found["gain"] == [0.1 + 0.2]
    assert found["q"] == [1.23456789e-12]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_breaks_out_of_the_json_and_all_come_back(hostile: str) -> None:
    text = embedded({hostile: [hostile]})
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()
    assert json.loads(text) == {hostile: [hostile]}


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded([float("nan")])


def test_loss_curves_name_their_model_and_unknown_ones_are_left_out() -> None:
    found = matrix([cell(source="a", seeds=2), cell(source="b", seeds=2)])
    known = jobs(found)
    curves = payload(found, study="x", jobs=known)["losses"]
    assert [(c["source"], c["recipe"], c["seed"]) for c in curves] == [
        (0, "lora", 0),
        (0, "lora", 1),
        (1, "lora", 0),
        (1, "lora", 1),
    ]
    assert curves[2]["losses"] == list(known.values())[2]["tuning"]["losses"]
    assert (curves[2]["seconds"], curves[2]["tokens"], curves[2]["every"]) == (21.25, 11664, 1)
    damaged = [{}, {"tuning": 3}, job(losses=[1.0, float("nan")]), job(tokens=None)]
    spoiled = dict(zip(known, damaged, strict=True))
    assert payload(found, study="x", jobs=spoiled)["losses"] == []


def test_very_many_losses_become_means_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 4)
    found = matrix([cell()])
    told = {found.rows[0].job_key: job(losses=[1.0, 2.0, 3.0, 5.0, 7.0])}
    (curve,) = payload(found, study="x", jobs=told)["losses"]
    assert (curve["losses"], curve["every"]) == ([1.5, 4.0, 7.0], 2)


def test_distributions_can_be_left_out() -> None:
    drawn = payload(matrix(believable()), study="x", jobs={}, answers=False)
    assert set(drawn["cells"]["answers"] + drawn["cells"]["truth"]) == {None}
    assert len(drawn["cells"]["answers"]) == len(drawn["cells"]["gain"])
