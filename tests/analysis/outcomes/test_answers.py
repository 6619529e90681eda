"""Answers read as arrays say what the files say row by row; what cannot be read says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from analysis.made import Made, key
from crosstune.analysis.outcomes import Answered, answered
from crosstune.errors import InputError
from crosstune.results.matrix import TransferMatrix
from crosstune.results.outcomes import (
    Outcome,
    answers_table,
    read_answers,
    read_outcomes,
    write_outcomes,
)
from crosstune.results.store import Store

MADE = Made(
    sources={"a": ["left"], "b": ["right"]},
    targets={"words": "left", "own": "right", "text": "none"},
    recipes={"plain": {}},
    conditions={"zero": {}},
    texts=frozenset({"text"}),
    n={"words": 30, "own": 12, "text": 9},
)


def choice(i: int, choices: list[str], label: int, sums: list[float]) -> Outcome:
    pick = int(np.argmax(sums))
    right = {"acc": float(pick == label)}
    answer, truth = choices[pick], (choices[label],)
    return Outcome(f"{i:03}", "", answer, tuple(sums), label, truth, right, 5 + i, 1, False)


def classes(spot: tuple[Any, ...]) -> list[Outcome]:
    draw = np.random.default_rng(int(key(*spot)[:8], 16))
    sums = draw.normal(size=(30, 3)).tolist()
    return [choice(i, ["red", "blue", "green"], i % 3, sums[i]) for i in range(30)]


def own(spot: tuple[Any, ...]) -> list[Outcome]:
    """Every row has its own choices, the first one fewer."""
    draw = np.random.default_rng(int(key(*spot)[:8], 16))
    rows = []
    for i in range(12):
        choices = [f"{i} {c}" for c in range(3 + (i > 0))]
        rows.append(choice(i, choices, i % 3, draw.normal(size=len(choices)).tolist()))
    return rows


def text(spot: tuple[Any, ...]) -> list[Outcome]:
    draw = np.random.default_rng(int(key(*spot)[:8], 16))
    return [
        Outcome(
            f"{i:03}", "", "é" * int(draw.integers(9)), None, None, ("ab" * i, "other"),
            {"rougeL": float(draw.random())}, 7, 3, False,
        )
        for i in range(9)
    ]  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, TransferMatrix]:
    """A study of three kinds of targets; a second seed of one cell is missing, so the cell is."""
    rows: dict[str, Callable[[tuple[Any, ...]], list[Outcome]]] = {
        "words": classes,
        "own": own,
        "text": text,
    }
    monkeypatch.setattr(
        Made, "_put", lambda self, store, spot, _: self._store(store, spot, rows[spot[-1]](spot))
    )
    gone = frozenset({("b", "plain", 1, "zero", "words")})
    return MADE.changed(missing=gone).write(tmp_path / "study")


def by_target(store: Store, matrix: TransferMatrix) -> dict[str, Answered]:
    return {found.target: found for found in answered(store, matrix)}


def test_arrays_say_what_the_rows_say(made: tuple[Store, TransferMatrix]) -> None:
    store, matrix = made
    found = by_target(store, matrix)
    assert [*found] == ["words", "own", "text"]
    for row in matrix.rows:
        each = found[row.target]
        if (row.source, row.target) == ("b", "words"):
            assert (row.source, row.recipe, row.seed) not in each.tuned
            continue
        for file, given in (
            (row.key, each.tuned[row.source, row.recipe, row.seed]),
            (row.base_key, each.base),
        ):
            outcomes = read_outcomes(store.outcomes(file))
            assert each.ids == tuple(o.id for o in outcomes)
            assert given.values.tolist() == [o.metrics[each.metric] for o in outcomes]
            assert [*given.texts] == [o.answer for o in outcomes]
            assert given.characters.tolist() == [len(o.answer) for o in outcomes]
            assert each.references.tolist() == [len(o.references[0]) for o in outcomes]
            assert each.prompt_tokens.tolist() == [o.prompt_tokens for o in outcomes]
            if each.target == "text":
                assert given.answer is given.confidence is each.truth is None
                continue
            assert given.answer is not None
            assert given.confidence is not None
            sums = [np.array(o.log_likelihoods) for o in outcomes]
            assert np.allclose(given.confidence, [softmax(row).max() for row in sums])
            if each.fixed:
                assert [each.classes[c] for c in given.answer] == [o.answer for o in outcomes]
            else:
                assert given.answer.tolist() == [int(row.argmax()) for row in sums]
    assert len(found["words"].tuned) == 2
    assert len(found["own"].tuned) == 4


def test_classes_are_named_where_they_are_fixed(made: tuple[Store, TransferMatrix]) -> None:
    found = by_target(*made)
    assert found["words"].fixed
    assert found["words"].classes == ("blue", "green", "red")
    assert found["words"].truth is not None
    assert [found["words"].classes[c] for c in found["words"].truth[:3]] == ["red", "blue", "green"]
    assert not found["own"].fixed
    assert found["own"].classes == tuple(f"choice {i}" for i in (1, 2, 3, 4))
    assert found["text"].classes == ()


@pytest.mark.parametrize("several", [False, True])
def test_a_choice_that_was_written_may_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """With texts of its own in every row nothing is known of which choice was meant."""

    def written() -> list[Outcome]:
        names = [(f"yes {i}", f"no {i}") if several else ("yes", "no") for i in range(6)]
        said = ["dunno", *(name[0] for name in names[1:])]
        return [
            Outcome(
                f"{i}", "", said[i], None, i % 2, (names[i][i % 2],),
                {"acc": float(said[i] == names[i][i % 2])}, 1, 1, False,
            )
            for i in range(6)
        ]  # fmt: skip

    monkeypatch.setattr(
        Made, "_put", lambda self, store, spot, _: self._store(store, spot, written())
    )
    (found,) = answered(*MADE.changed(targets={"words": "left"}).write(tmp_path / "study"))
    assert found.base.confidence is None
    if several:
        assert found.classes == ()
        assert found.base.answer is None
    else:
        assert found.base.answer is not None
        assert found.base.answer.tolist() == [-1, 1, 1, 1, 1, 1]


def test_choices_that_are_impossible_have_a_confidence_all_the_same(tmp_path: Path) -> None:
    def ranked(*spot: Any) -> tuple[np.ndarray, np.ndarray]:
        sums = np.full((spot[-1], 2), -np.inf)
        sums[1::2, 1] = -3.0
        return np.zeros(spot[-1], int), sums

    names = dict.fromkeys(MADE.targets, ("yes", "no"))
    store, matrix = MADE.changed(texts=frozenset(), classes=names, ranked=ranked).write(tmp_path)
    for found in answered(store, matrix):
        assert found.base.confidence is not None
        assert np.allclose(found.base.confidence[:4], [0.5, 1, 0.5, 1])


def test_one_target_is_read_at_a_time(made: tuple[Store, TransferMatrix]) -> None:
    store, matrix = made
    for row in matrix.rows:
        if row.target != "words" and row.status == "done":
            store.outcomes(row.key).unlink(missing_ok=True)
    found = answered(store, matrix)
    assert next(found).target == "words"
    with pytest.raises(InputError, match=r"scores/"):
        next(found)


def test_other_examples_than_the_base_s_are_refused(made: tuple[Store, TransferMatrix]) -> None:
    store, matrix = made
    row = next(row for row in matrix.rows if row.target == "words")
    path = store.outcomes(row.key)
    write_outcomes(path, [*reversed(read_outcomes(path))])
    with pytest.raises(InputError, match="a → words: its examples are not those of the base"):
        [*answered(store, matrix)]


@pytest.mark.parametrize("column", ["id", "answer", "prompt_tokens", "references", "acc"])
def test_a_file_without_a_column_is_damaged(
    made: tuple[Store, TransferMatrix], column: str
) -> None:
    store, matrix = made
    row = next(row for row in matrix.rows if row.target == "words")
    path = store.outcomes(row.base_key)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(InputError, match=r"damaged|does not hold"):
        next(answered(store, matrix))


def test_the_table_holds_what_the_lists_hold(made: tuple[Store, TransferMatrix]) -> None:
    store, matrix = made
    for row in matrix.rows[:1]:
        path = store.outcomes(row.key)
        table = answers_table(path, ["acc"], "prompt_tokens")
        assert table.drop_columns(["prompt_tokens"]).to_pydict() == read_answers(path, ["acc"])
        assert table["prompt_tokens"].to_pylist() == [o.prompt_tokens for o in read_outcomes(path)]
