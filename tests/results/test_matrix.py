"""The matrix says what is known, what is missing, and never takes the one for the other."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosstune.errors import InputError
from crosstune.results.entry import seal
from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import Outcome, write_outcomes
from crosstune.results.status import status
from crosstune.results.store import Store


def key(number: int) -> str:
    return f"{number:064x}"


STUDY = json.dumps(
    {"format": 1, "name": "small", "model": "m", "numeric_type": "float32", "base_sha256": {}}
)
BASE, JOBS = key(1), {"mood": key(2), "sums": key(3)}
SCORES = {("mood", "mood"): 0.75, ("mood", "sums"): 0.25, ("sums", "mood"): 0.5}


def planned() -> list[dict[str, Any]]:
    return [
        {
            "source": source,
            "source_tasks": [source],
            "source_families": ["sentiment", "arithmetic"] if source == "mood" else ["arithmetic"],
            "target": target,
            "target_family": "sentiment",
            "relation": "same task" if source == target else "out-of-domain",
            "recipe": "lora",
            "condition": "zero-shot",
            "scoring": "likelihood",
            "seed": 0,
            "metrics": ["acc", "acc_norm"],
            "leaked": j,
            "contained": 2 - j,
            "job_key": job,
            "base_job_key": BASE,
            "key": key(10 * (i + 2) + j),
            "base_key": key(10 + j),
        }
        for i, (source, job) in enumerate(JOBS.items())
        for j, target in enumerate(("mood", "sums"))
    ]


def put(store: Store, name: str, score: float, *, right: str = "yes") -> None:
    """A score of which that share of eight examples is right; the answers are yes or no."""
    cell = {
        "n": 8,
        "metrics": {"acc": score, "acc_norm": score},
        "proof": {"tensors_sha256": "feed"},
    }
    wrong = "no" if right == "yes" else "yes"
    outcomes = [
        Outcome(
            id=f"example {i}",
            prompt_sha256="",
            answer=right if i < 8 * score else wrong,
            log_likelihoods=(-1.0, -2.0),
            label=["yes", "no"].index(right),
            references=(right,),
            metrics=dict.fromkeys(("acc", "acc_norm"), float(i < 8 * score)),
            prompt_tokens=3,
            answer_tokens=1,
            truncated=False,
        )
        for i in range(8)
    ]

    def fill(folder: Path) -> None:
        (folder / "cell.json").write_text(json.dumps(cell))
        write_outcomes(folder / "outcomes.parquet", outcomes)

    store.put("scores", name, fill)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A study in which sums → sums failed, and all else is done."""
    store = Store(tmp_path / "study", writable=True)
    store.write("study.json", STUDY)
    store.write("plan.json", json.dumps(planned()))
    for j in range(2):
        put(store, key(10 + j), 0.5)
    for row in planned():
        if (row["source"], row["target"]) in SCORES:
            put(store, row["key"], SCORES[row["source"], row["target"]])
    store.fail(key(31), {"title": "sums → sums", "reason": "out of memory"})
    return store


def test_gains_are_score_minus_base_and_missing_is_missing(store: Store) -> None:
    matrix = TransferMatrix.of(store)
    gains = {(row.source, row.target): row.gain for row in matrix.rows if row.main}
    assert gains == {
        ("mood", "mood"): 0.25,
        ("mood", "sums"): -0.25,
        ("sums", "mood"): 0.0,
        ("sums", "sums"): None,
    }
    assert not matrix.is_complete
    assert matrix.failed() == ("sums → sums (lora, zero-shot, seed 0)",)
    assert matrix.missing() == ()
    assert matrix.reasons == {key(31): "sums → sums: out of memory"}
    assert {row.status for row in matrix.rows} == {"done", "failed"}


def test_leakage_is_that_of_the_plan_whether_a_gain_is_known_or_not(store: Store) -> None:
    matrix = TransferMatrix.of(store)
    for row in planned():
        cells = matrix.cells.to_pylist()
        found = [c for c in cells if (c["source"], c["target"]) == (row["source"], row["target"])]
        expected = {(row["leaked"], row["contained"])}
        assert {(cell["leaked"], cell["contained"]) for cell in found} == expected
    grid = matrix.grid()
    assert grid.leaked.tolist() == [[0, 1], [0, 1]]
    assert grid.contained.tolist() == [[2, 1], [2, 1]]


def test_a_mixture_is_in_the_slice_of_each_of_its_families(store: Store) -> None:
    matrix = TransferMatrix.of(store)
    for family, sources in (("sentiment", {"mood"}), ("arithmetic", {"mood", "sums"})):
        part = matrix.slice(source_family=family)
        assert set(part.cells["source"].to_pylist()) == sources
        assert {row.source for row in part.rows} == sources
    assert matrix.grid().source_families == (("sentiment", "arithmetic"), ("arithmetic",))


def test_without_its_base_a_gain_is_missing(store: Store) -> None:
    store.discard("scores", key(10))
    rows = [row for row in TransferMatrix.of(store).rows if row.target == "mood"]
    assert {(row.status, row.base, row.gain) for row in rows} == {("missing", None, None)}
    assert {row.score for row in rows} == {0.75, 0.5}


def test_a_damaged_score_is_missing_and_told(store: Store) -> None:
    (store.folder / "scores" / key(20) / "cell.json").write_text("{}")
    told: list[str] = []
    matrix = TransferMatrix.of(Store(store.folder, tell=told.append))
    assert matrix.missing() == ("mood → mood (lora, zero-shot, seed 0)",)
    assert len(told) == 1


ACC = np.arange(8) < 6
REWRITTEN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no examples": lambda table: table.slice(0, 0),
    "no metric": lambda table: table.drop_columns(["acc"]),
    "no label": lambda table: table.drop_columns(["label"]),
    "not a number": lambda table: replaced(table, "acc", np.where(ACC, 1.0, np.nan)),
    "null": lambda table: replaced(table, "acc", pa.array([None, *ACC[1:] * 1.0])),
    "not in range": lambda table: replaced(table, "acc", ACC * 1.5),
    "not numbers": lambda table: replaced(table, "acc", ["right"] * 8),
    "of two kinds": lambda table: replaced(table, "label", pa.array([None] + [0] * 7)),
    "some likelihoods": lambda table: replaced(
        table, "log_likelihoods", pa.array([None] * 4 + [[-1.0, -2.0]] * 4, pa.list_(pa.float64()))
    ),
    "no truth": lambda table: replaced(
        table, "references", pa.array([[]] * 8, pa.list_(pa.string()))
    ),
}


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def resealed(store: Store, name: str, change: Callable[[Path], object]) -> None:
    folder = store.folder / "scores" / name
    change(folder)
    (folder / "manifest.json").unlink()
    seal(folder, name)


@pytest.mark.parametrize("changed", [key(10), key(20)], ids=["base", "tuned"])
@pytest.mark.parametrize("what", REWRITTEN)
def test_answers_that_are_sealed_but_not_ours_are_told(
    store: Store, changed: str, what: str
) -> None:
    def rewrite(folder: Path) -> None:
        table = pq.read_table(folder / "outcomes.parquet")
        pq.write_table(REWRITTEN[what](table), folder / "outcomes.parquet")

    resealed(store, changed, rewrite)
    with pytest.raises(InputError, match=rf"{changed} is damaged: remove it and run"):
        TransferMatrix.of(store)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "{}",
        "[]",
        '{"n": 8, "metrics": {"acc": 0.5}, "proof": {"tensors_sha256": ""}}',
        '{"n": 8, "metrics": {"acc": 0.5, "acc_norm": 0.5}, "proof": {}}',
        '{"n": 8, "metrics": {"acc": 0.5, "acc_norm": "a"}, "proof": {"tensors_sha256": ""}}',
    ],
)
def test_a_cell_that_is_sealed_but_not_ours_is_told(store: Store, text: str) -> None:
    resealed(store, key(20), lambda folder: (folder / "cell.json").write_text(text))
    with pytest.raises(InputError, match=rf"{key(20)}.* is damaged: remove it and run"):
        TransferMatrix.of(store)


def test_answers_that_are_no_table_are_told(store: Store) -> None:
    resealed(store, key(20), lambda folder: (folder / "outcomes.parquet").write_text("x"))
    with pytest.raises(InputError, match=rf"{key(20)} is damaged: remove it and run"):
        TransferMatrix.of(store)


def test_a_matrix_is_read_by_the_name_of_its_folder_and_shows_its_size(store: Store) -> None:
    matrix = TransferMatrix.of(str(store.folder))
    assert matrix == TransferMatrix.of(store)
    assert repr(matrix) == (
        "TransferMatrix(8 cells; source: 2, target: 2, recipe: 1, condition: 1, metric: 2)"
    )


def test_every_format_says_the_same(store: Store) -> None:
    matrix = TransferMatrix.of(store)
    rows = list(csv.DictReader(io.StringIO(matrix.to_csv())))
    assert len(rows) == 8
    assert rows[0]["source_families"] == "sentiment+arithmetic"
    assert (rows[0]["gain"], rows[-1]["gain"], rows[-1]["status"]) == ("0.25", "", "failed")
    assert [row["gain"] for row in json.loads(matrix.to_json())] == [r.gain for r in matrix.rows]
    frame = matrix.to_pandas()
    assert list(frame.columns) == list(rows[0])
    assert frame["gain"].isna().tolist() == [row["gain"] == "" for row in rows]
    table = pq.read_table(pa.BufferReader(matrix.to_parquet()))
    assert table.to_pylist() == json.loads(matrix.to_json())


def test_the_columns_are_those_that_are_documented(store: Store) -> None:
    from crosstune.results import cells, matrix

    found = TransferMatrix.of(store)
    for columns, module in ((found.cells, cells), (found.scores, matrix)):
        told = set(re.findall(r"\w+", module.__doc__ or ""))
        assert [name for name in columns.column_names if name not in told] == []


def test_a_score_has_its_origin_in_scores_csv(store: Store) -> None:
    matrix = TransferMatrix.of(store)
    rows = list(csv.DictReader(io.StringIO(matrix.scores_csv())))
    assert len(rows) == 8
    assert rows[0]["key"] == planned()[0]["key"]
    assert (rows[0]["tensors_sha256"], rows[-1]["tensors_sha256"]) == ("feed", "")


LEGEND = [
    "",
    "* q < 0.05  ** q < 0.01  *** q < 0.001, of this model, not this source (one seed)",
    "! test rows of the target stand in the source's training rows",
]


def test_the_table_shows_a_dash_for_what_is_missing(store: Store) -> None:
    assert TransferMatrix.of(store).table().splitlines() == [
        "lora · zero-shot · base score and gains × 100",
        "target  metric  n  base      mood     sums",
        "mood    acc     8  50.0  +25.0     +0.0",
        "sums    acc     8  50.0  -25.0!       –!",
        *LEGEND,
    ]


def test_the_table_has_stars_where_q_is_small(store: Store) -> None:
    many = [row | {"key": key(90 + i), "base_key": key(80)} for i, row in enumerate(planned())]
    store.write("plan.json", json.dumps(many))
    put(store, key(80), 0.0)
    put(store, key(90), 1.0)
    lines = TransferMatrix.of(store).table().splitlines()
    assert lines[2].split() == ["mood", "acc", "8", "0.0", "+100.0**=", "–"]
    assert lines[-1] == "= the tuned model gives nearly one answer only"


def test_the_mean_over_seeds_needs_every_seed(store: Store) -> None:
    more = [row | {"seed": 1, "key": key(50 + i)} for i, row in enumerate(planned())]
    store.write("plan.json", json.dumps(planned() + more))
    put(store, key(50), 1.0)
    matrix = TransferMatrix.of(store)
    lines = matrix.table().splitlines()
    assert lines[0].endswith("mean of 2 seeds")
    assert lines[2].split() == ["mood", "acc", "8", "50.0", "+37.5", "–"]
    assert lines[3].split() == ["sums", "acc", "8", "50.0", "–!", "–!"]
    assert lines[5].endswith("of this source")
    first, last = matrix.cells.to_pylist()[0], matrix.cells.to_pylist()[-1]
    assert (first["seeds"], first["scope"], first["method"]) == (2, "this source", "t")
    assert first["seeds_error"] > 0
    assert (last["status"], last["gain"], last["low"], last["q"]) == ("failed", None, None, None)


def test_status_counts_from_the_listing(store: Store) -> None:
    now = status(store.folder)
    assert (now.jobs, now.jobs_done, now.cells, now.cells_done) == (3, 2, 6, 5)
    assert now.failures == ("sums → sums: out of memory",)
    put(store, key(31), 1.0)
    now = status(store.folder)
    assert (now.jobs_done, now.cells_done, now.failures) == (3, 6, ())


def test_a_study_without_a_plan_is_told(store: Store) -> None:
    (store.folder / "plan.json").unlink()
    for read in (status, TransferMatrix.of):
        with pytest.raises(InputError, match="was never planned: run it first"):
            read(store.folder)


READERS = pytest.mark.parametrize("read", [status, TransferMatrix.of])
WRONG: dict[str, tuple[object, ...]] = {
    "seed": (None, True, "0", -1, 10**30),
    **dict.fromkeys(("leaked", "contained"), (None, True, "0", -1, 10**30)),
    **dict.fromkeys(("metrics", "source_families", "source_tasks"), (None, [], [1], "acc")),
    **dict.fromkeys(("key", "base_key", "job_key", "base_job_key"), (None, 1, "../x", "")),
    **dict.fromkeys(
        "source target target_family relation recipe condition scoring".split(), (None, 1, [])
    ),
}


def test_every_field_of_a_plan_can_be_wrong() -> None:
    assert set(WRONG) == set(planned()[0])


@READERS
@pytest.mark.parametrize(
    "content",
    [
        *("[{}]", "{}", "[]", "[1]", "null", '"plan"', '[{"source": "a"', "[" * 100_000),
        *(
            json.dumps([planned()[0], planned()[1] | {name: value}])
            for name, values in WRONG.items()
            for value in values
        ),
    ],
    ids=lambda content: content[-40:],
)
def test_a_plan_that_is_none_is_told(store: Store, read: Any, content: str) -> None:
    (store.folder / "plan.json").write_text(content)
    with pytest.raises(InputError, match=r"plan\.json is damaged: remove it and run") as caught:
        read(store.folder)
    assert "\n" not in str(caught.value)


def test_rows_may_be_given(store: Store) -> None:
    """A run that another one overtakes reads the matrix of its own plan."""
    store.write("plan.json", json.dumps(planned()[2:]))
    assert {row.source for row in TransferMatrix.of(store).rows} == {"sums"}
    assert {row.source for row in TransferMatrix.of(store, tuple(planned()[:2])).rows} == {"mood"}


@READERS
def test_a_reader_tells_nobody_unless_it_is_asked_to(
    store: Store, read: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.folder / "scores" / key(20) / "cell.json").write_text("{}")
    (store.folder / "failures" / f"{key(31)}.json").write_text("{")
    read(store.folder)
    assert capsys.readouterr() == ("", "")
