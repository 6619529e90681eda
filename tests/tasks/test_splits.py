"""Splits, parts of them and demonstrations: stable, nested, balanced, and never the asked rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune.errors import InputError
from crosstune.tasks import Example, demonstrations, examples, subset
from tasks.making import COLOURS, MakeTask, colour_rows, write_rows

POOL = tuple(Example(f"id{n}", f"thing {n}", (), None, ("x",)) for n in range(50))


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(), st.randoms(use_true_random=False))
def test_parts_are_nested_and_do_not_depend_on_order(
    few: int, more: int, seed: int, random: object
) -> None:
    mixed = list(POOL)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    few, more = sorted((few, more))
    part = subset(mixed, more, seed=seed)
    assert part[:few] == subset(POOL, few, seed=seed)
    assert len(part) == len(set(part)) == min(more, len(POOL))


def test_seeds_differ_and_every_example_is_drawn_alike() -> None:
    first = Counter(subset(POOL, 1, seed=seed)[0].id for seed in range(2000))
    assert len(first) == len(POOL)
    assert max(first.values()) < 2000 / len(POOL) * 2
    with pytest.raises(ValueError, match="negative"):
        subset(POOL, -1, seed=0)


def test_a_part_is_the_same_in_another_process() -> None:
    code = (
        "from crosstune.tasks import Example, subset\n"
        "pool = [Example(f'id{n}', '', (), None, ('x',)) for n in range(50)]\n"
        "print([e.id for e in subset(pool, 5, seed=3)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(n), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for n in (1, 2)
    }
    assert told == {str([example.id for example in subset(POOL, 5, seed=3)])}


def test_ids_depend_on_content_alone(make_task: MakeTask) -> None:
    rows = colour_rows(0, 6)
    turned = [dict(reversed(row.items())) for row in reversed(rows)]
    ids = [example.id for example in examples(make_task(train=rows), "train").items]
    assert [e.id for e in examples(make_task(train=turned), "train").items] == ids[::-1]
    twice = examples(make_task(train=[rows[0], rows[1], rows[0]]), "train").items
    assert [example.id for example in twice] == [ids[0], ids[1], f"{ids[0]}-2"]


def test_a_prompt_variant_changes_words_and_no_id(make_task: MakeTask) -> None:
    task = make_task(prompts={"asked": {"doc_to_text": "Which colour has {{ text }}?"}})
    default, asked = (examples(task, "test", prompt=name).items for name in ("default", "asked"))
    assert [e.id for e in default] == [e.id for e in asked]
    assert asked[0].context == "Which colour has thing 12?"
    with pytest.raises(InputError, match=r"no prompt variant 'askd'\. Did you mean 'asked'"):
        examples(task, "test", prompt="askd")


def test_rows_are_read_once_and_worded_once(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(prompts={"other": {"doc_to_text": "text"}})
    first = examples(task, "train")
    (tmp_path / "train.jsonl").unlink()
    assert examples(task, "train") is first
    assert len(examples(task, "train", prompt="other").items) == len(first.items)


@pytest.mark.parametrize("shots", range(1, 13))
@pytest.mark.parametrize("seed", range(3))
def test_demonstrations_are_balanced_solved_and_not_asked(
    make_task: MakeTask, shots: int, seed: int
) -> None:
    task = make_task()
    drawn = demonstrations(task, shots, seed=seed)
    classes = Counter(example.label for example in drawn)
    assert len(set(drawn)) == shots
    assert len(classes) == min(shots, len(COLOURS))
    assert max(classes.values()) - min(classes.values()) <= 1
    assert drawn == demonstrations(task, shots, seed=seed)
    assert not {e.context for e in drawn} & {e.context for e in examples(task, "test").items}


def test_classes_do_not_always_come_in_the_same_order(make_task: MakeTask) -> None:
    task = make_task()
    orders = {tuple(e.label for e in demonstrations(task, 3, seed=seed)) for seed in range(40)}
    assert len(orders) == 6


def test_classes_are_mixed_and_do_not_come_in_rounds(make_task: MakeTask) -> None:
    task = make_task()
    halves = [{e.label for e in demonstrations(task, 6, seed=seed)[:3]} for seed in range(20)]
    assert min(map(len, halves)) < 3


def test_where_demonstrations_come_from(make_task: MakeTask, tmp_path: Path) -> None:
    write_rows(tmp_path / "other.jsonl", colour_rows(50, 3))
    files = {"train": "train.jsonl", "test": "test.jsonl", "other": "other.jsonl"}
    keys = {"dataset_kwargs": {"data_files": files}}
    only = make_task(**keys, fewshot_split="other", fewshot_config={"sampler": "first_n"})
    assert [e.context for e in demonstrations(only, 2)] == ["thing 50:", "thing 51:"]
    valid = make_task(**keys, training_split=None, validation_split="other")
    assert {e.context for e in examples(valid, "fewshot").items} == {
        f"thing {n}:" for n in (50, 51, 52)
    }
    inline = make_task(fewshot_config={"sampler": "first_n", "samples": colour_rows(70, 2)})
    assert [e.context for e in demonstrations(inline, 2)] == ["thing 70:", "thing 71:"]
    with pytest.raises(InputError, match="2 examples to demonstrate with, not 3"):
        demonstrations(inline, 3)
    for none in (
        make_task(training_split=None, test_split=None, validation_split="test"),
        make_task(fewshot_split="test"),
    ):
        assert demonstrations(none, 0) == ()
        with pytest.raises(InputError, match="cannot be rows that are asked"):
            demonstrations(none, 1)


def test_validation_is_asked_when_there_is_no_test(make_task: MakeTask) -> None:
    task = make_task(test_split=None, validation_split="test")
    assert examples(task, "test").items[0].context == "thing 12:"


def test_labels_to_drop_are_counted_and_others_are_errors(make_task: MakeTask) -> None:
    rows = [*colour_rows(0, 4), {"text": "odd", "label": "-", "colour": "-"}]
    dropping = examples(make_task(test=rows, drop=["-"]), "test")
    assert (len(dropping.items), dropping.dropped) == (4, 1)
    with pytest.raises(InputError, match=r"test.jsonl, line 5: the label '-' is not among the"):
        examples(make_task(test=rows), "test")
    with pytest.raises(InputError, match=r"test split of the task 'colours' is empty \(1 rows"):
        examples(make_task(test=rows[-1:], drop=["-"]), "test")
    with pytest.raises(InputError, match="empty"):
        examples(make_task(test=[]), "test")


def test_all_faulty_rows_are_told_and_long_lists_cut(make_task: MakeTask) -> None:
    rows = [{"text": "only"}] * 12 + colour_rows(0, 2)
    with pytest.raises(InputError) as caught:
        examples(make_task(test=rows), "test")
    assert caught.value.problems[0] == (
        "test.jsonl, line 1: the field 'label' is missing (fields: text)"
    )
    assert caught.value.problems[-1] == "and 2 more"
    assert len(caught.value.problems) == 11


def test_half_a_character_is_a_faulty_row(make_task: MakeTask) -> None:
    rows = [*colour_rows(0, 2), {"text": "\ud83d", "label": 1}]
    with pytest.raises(InputError, match=r"test\.jsonl, line 3: .*surrogates not allowed"):
        examples(make_task(test=rows), "test")


def test_one_faulty_row_is_the_whole_message(make_task: MakeTask) -> None:
    rows = [*colour_rows(0, 2), {"text": "x", "stars": 1}]
    with pytest.raises(InputError) as caught:
        examples(make_task(test=rows), "test")
    told = "test.jsonl, line 3: the field 'label' is missing (fields: text, stars)"
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"text": "a", "label": 0}\n\n{"text": \n', r"line 3: not valid JSON"),
        ('["a"]\n', "item 1: not an object"),
        ('{"a": 1}\n7\n', "line 2: not an object"),
        ("[{]", "not valid JSON"),
        (b'{"text": "\xff"}\n', "line 1: not valid JSON"),
    ],
)
def test_a_broken_line_is_named(
    make_task: MakeTask, tmp_path: Path, content: str | bytes, problem: str
) -> None:
    task = make_task()
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "test.jsonl").write_bytes(raw)
    with pytest.raises(InputError, match=f"test.jsonl, .*{problem}|test.jsonl, {problem}"):
        examples(task, "test")


def test_a_missing_file_or_split_is_named(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task()
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(InputError, match=r"test.jsonl: No such file .*split 'test' of 'colours'"):
        examples(task, "test")
    with pytest.raises(InputError, match=r"no files for the split 'dev' \(there are: test, train"):
        examples(make_task(test_split="dev"), "test")
    with pytest.raises(InputError, match="no training_split"):
        examples(make_task(training_split=None), "train")


@pytest.mark.parametrize("kind", ["lines", "array", "csv", "parquet"])
def test_every_format_gives_the_same_examples(
    make_task: MakeTask, tmp_path: Path, kind: str
) -> None:
    rows = [{"text": f'a, \u2028 "{n}"\né', "colour": COLOURS[n % 3]} for n in range(4)]
    expected = [row["text"] for row in rows]
    path = tmp_path / f"rows.{kind}"
    if kind == "lines":
        write_rows(path, rows)
    elif kind == "array":
        path.write_text("\ufeff" + json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    elif kind == "csv":
        quoted = [f'"{row["text"].replace(chr(34), chr(34) * 2)}",{row["colour"]}' for row in rows]
        path.write_text("\n".join(["text,colour", *quoted]), encoding="utf-8", newline="")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    task = make_task(
        dataset_path={"lines": "jsonl", "array": "json"}.get(kind, kind),
        dataset_kwargs={"data_files": {"test": path.name}},
        training_split=None,
        doc_to_text="text",
        doc_to_target="colour",
    )
    items = examples(task, "test").items
    assert [example.context for example in items] == expected
    assert [example.label for example in items] == [0, 1, 2, 0]


def test_csv_values_stay_text_and_broken_lines_are_named(
    make_task: MakeTask, tmp_path: Path
) -> None:
    keys = {
        "dataset_path": "csv",
        "dataset_kwargs": {"data_files": {"test": "rows.csv"}},
        "training_split": None,
        "doc_to_text": "text",
    }
    (tmp_path / "rows.csv").write_text("text,label\n007,1\n", encoding="utf-8")
    (example,) = examples(make_task(**keys), "test").items
    assert (example.context, example.label) == ("007", 1)
    (tmp_path / "rows.csv").write_text("text,label\na,1\nb\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"rows\.csv, line 3: 1 values, but the header names 2"):
        examples(make_task(**keys), "test")


def test_rows_of_one_file_may_differ_in_their_keys(make_task: MakeTask) -> None:
    rows = [
        {"text": "a", "label": 0, "idx": 1},
        {"text": "b", "label": 1},
        {"label": 2, "text": "c"},
    ]
    assert len(examples(make_task(test=rows), "test").items) == 3


def test_several_files_make_one_split(make_task: MakeTask, tmp_path: Path) -> None:
    write_rows(tmp_path / "more.jsonl", colour_rows(40, 2))
    files = {"train": ["train.jsonl", "more.jsonl"], "test": "test.jsonl"}
    assert len(examples(make_task(dataset_kwargs={"data_files": files}), "train").items) == 14


def test_two_thousand_rows_take_little_time(make_task: MakeTask) -> None:
    import time

    task = make_task(train=colour_rows(100, 2000))
    start = time.perf_counter()
    examples(task, "train")
    assert time.perf_counter() - start < 3  # about 0.1 s; the margin is for a busy machine


def test_draws_and_orders_are_many_and_each_is_stable(make_task: MakeTask) -> None:
    task = make_task()
    draws = [frozenset(demonstrations(task, 3, draw=n)) for n in range(6)]
    assert len(set(draws)) >= 4
    assert all(len({e.label for e in draw}) == 3 for draw in draws)
    orders = [demonstrations(task, 6, order=n) for n in range(6)]
    assert len({frozenset(shown) for shown in orders}) == 1
    assert len(set(orders)) >= 5
    assert orders == [demonstrations(task, 6, order=n) for n in range(6)]


def test_the_first_ones_keep_the_order_of_the_file(make_task: MakeTask) -> None:
    task = make_task()
    pool = examples(task, "fewshot").items
    assert demonstrations(task, 4, sampler="first", draw=3, seed=9) == pool[:4]
    turned = demonstrations(task, 4, sampler="first", order=1)
    assert {*turned} == {*pool[:4]}
    assert turned != pool[:4]
    first = make_task(fewshot_config={"sampler": "first_n"})
    assert demonstrations(first, 4) == examples(first, "fewshot").items[:4]
    assert demonstrations(first, 4, sampler="drawn") != demonstrations(first, 4)


def test_demonstrations_of_a_file(make_task: MakeTask, tmp_path: Path) -> None:
    task, file = make_task(), tmp_path / "shown.jsonl"
    write_rows(file, colour_rows(40, 5))
    shown = demonstrations(task, 5, file=file, sampler="first")
    assert [e.context for e in shown] == [f"thing {n}:" for n in range(40, 45)]
    with pytest.raises(InputError, match="has 5 examples to demonstrate with, not 6"):
        demonstrations(task, 6, file=file)
    write_rows(file, [{"text": "x", "label": 7}])
    with pytest.raises(InputError, match=r"shown\.jsonl, line 1: the label 7"):
        demonstrations(task.model_copy(), 1, file=tmp_path / "shown.jsonl")
