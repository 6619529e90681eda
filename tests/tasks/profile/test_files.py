"""Rows of files: every format gives the same, and what is wrong with them is told."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosstune.errors import InputError
from crosstune.tasks.profile import Text, file_texts

ROWS: list[dict[str, Any]] = [
    {"text": f"Is it {n}?", "label": n % 2, "more": "x"} for n in range(7)
]
TEXTS = [Text(row["text"], str(row["label"]), True) for row in ROWS]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file of rows, in the format its ending names."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"rows.{ending}", ROWS)
    assert [*file_texts(path)] == TEXTS
    assert next(file_texts(path, prompt="more", answer="text")) == Text("x", "Is it 0?", True)


def test_a_list_stands_for_its_first_element_and_an_empty_text_for_itself(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"input": "", "output": ["a", "b"]},
        {"input": "x", "output": 2.5},
    ]
    path = written(tmp_path / "rows.jsonl", rows)
    assert [text[:2] for text in file_texts(path)] == [("", "a"), ("x", "2.5")]


@pytest.mark.parametrize(
    ("row", "given"),
    [
        ({"review": "x", "stars": 1}, {}),
        ({"text": "x", "label": 1, "question": "y", "answer": "z"}, {}),
        ({"text": "x", "label": 1}, {"answer": "label"}),
        ({}, {}),
    ],
)
def test_fields_that_are_not_obvious_must_be_told(
    tmp_path: Path, row: dict[str, Any], given: dict[str, str]
) -> None:
    with pytest.raises(InputError) as caught:
        [*file_texts(written(tmp_path / "rows.jsonl", [row]), **given)]
    assert str(caught.value) == (
        "Say which field of rows.jsonl is the input and which the answer: --input FIELD "
        f"--answer FIELD (fields: {', '.join(row) or 'none'})"
    )


def test_all_faulty_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [
        '{"text": "a", "label": "b"}',
        "",
        '{"text": "a"}',
        "[1]",
        "{",
        '{"text": null, "label": "b"}',
        '{"text": "a", "label": {}}',
        '{"text": "\\ud800", "label": "b"}',
        '{"text": "a", "label": []}',
        '{"text": "a", "label": NaN}',
        '{"text": "a", "labels": "b"}',
    ]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(InputError) as caught:
        [*file_texts(path)]
    error = caught.value
    assert error.what == "The rows of rows.jsonl cannot be used"
    start = "rows.jsonl, line "
    assert [problem.split(": ")[0].removeprefix(start) for problem in error.problems] == [
        *"345678",
        *("9", "10", "11"),
    ]
    told = [problem.split(": ", 1)[1] for problem in error.problems]
    assert told[0] == "the field 'label' is missing (fields: text)"
    assert told[1] == "not an object with fields"
    assert told[2].startswith("not valid JSON")
    assert told[3] == "the field 'text' is empty"
    assert told[4] == "the field 'label' is no text"
    assert "surrogates not allowed" in told[5]
    assert told[6] == told[7] == "the field 'label' is empty"
    assert told[8].endswith("(fields: text, labels). Did you mean 'labels'?")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.txt", b"", "rows.txt ends in none of .json, .jsonl, .csv, .parquet"),
        ("rows.jsonl", b"\n\n", "rows.jsonl has no rows"),
        ("rows.csv", b"text,label\n", "rows.csv has no rows"),
        ("rows.csv", b"text,label\na,b\na\n", "rows.csv, line 3: 1 values, but the header names 2"),
        ("rows.csv", b"text,label\n\xff,a\n", "not valid CSV"),
        ("rows.parquet", b"no", "not valid Parquet"),
        ("rows.jsonl", None, "rows.jsonl cannot be read: No such file or directory"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        [*file_texts(path)]
    assert told in str(caught.value)


def test_a_field_of_a_table_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label\n{'a' * 200_000},b\n")
    assert [len(text.prompt) for text in file_texts(path)] == [200_000]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_file_is_not_held_in_memory(tmp_path: Path, ending: str) -> None:
    rows = [{"text": f"{n} " * 100, "label": "a"} for n in range(10_000)]
    path = written(tmp_path / f"rows.{ending}", rows)
    size = sum(len(row["text"]) for row in rows)
    next(file_texts(path))  # what is imported once
    tracemalloc.start()
    count = sum(1 for _ in file_texts(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(rows)
    assert peak < size / 3
