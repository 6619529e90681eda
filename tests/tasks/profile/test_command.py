"""`crosstune profile`: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crosstune import cli
from crosstune.report.profile import told
from crosstune.tasks.profile import FEATURES, Text, grammar, profile
from tasks.making import MakeTask

ROWS = [{"text": f"Is it {n} or not?", "label": "yes" if n % 4 else "no"} for n in range(40)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with rows, and without the parser (others test it; it takes seconds)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grammar, "_parser", lambda: None)
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), "utf-8")


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["crosstune", "profile", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_rows_are_told_in_words_and_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "rows.jsonl") == 0
    shown, notes = capsys.readouterr()
    lines = shown.splitlines()
    assert lines[:6] == [
        "rows.jsonl: 40 rows, 0 duplicates; the answers are labels or choices",
        "",
        "2 labels: entropy 0.81 bits, skew 0.19 (0 balanced, 1 not)",
        "label  rows  share",
        "yes      30   75 %",
        "no       10   25 %",
    ]
    assert "prompt, words" in shown
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in FEATURES)
    assert "nouns" in shown
    assert max(map(len, lines)) <= 100
    assert notes == "some features need an extra: pip install 'crosstune[language]'\n"


def test_json_is_the_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "rows.jsonl", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == profile(Text(row["text"], row["label"], True) for row in ROWS)
    assert call(monkeypatch, "rows.jsonl", "--input", "label", "--answer", "text") == 0
    assert "the answers are free text" in capsys.readouterr().out


def test_tasks_by_name_and_by_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_task: MakeTask
) -> None:
    rows = [{"q": f"Is it {n}?", "a": n % 2} for n in range(6)]
    task = make_task(
        train=rows,
        test=rows[:4],
        doc_to_text="q",
        doc_to_target="a",
        doc_to_choice=["no", "yes"],
    )
    file = task.path.name
    for words in ([file], [task.name, "--tasks", file]):
        assert call(monkeypatch, *words) == 0
        assert f"{task.name}, train: 6 rows, 0 duplicates" in capsys.readouterr().out
    assert call(monkeypatch, file, "--split", "test") == 0
    assert f"{task.name}, test: 4 rows" in capsys.readouterr().out
    assert call(monkeypatch, "review_sentiment", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"bad": 300, "good": 300}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["parityy"], "There is no task called"),
        (["none.yaml"], "'none.yaml' matches no file"),
        (["none.jsonl"], "none.jsonl cannot be read: No such file or directory"),
        (["rows.jsonl", "--split", "test"], "--split and --tasks are about a task"),
        (["parity", "--input", "q"], "--input and --answer are about a file of rows"),
        (["rows.jsonl", "--input", "txt", "--answer", "label"], "Did you mean 'text'?"),
        (["broken.jsonl"], "broken.jsonl, line 41: the field 'label' is missing"),
    ],
)
def test_mistakes_are_told_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
) -> None:
    rows = [*ROWS, {"text": "a"}]
    Path("broken.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert call(monkeypatch, *words) == 2
    shown, notes = capsys.readouterr()
    assert text in notes
    assert shown == ""


def test_many_and_strange_labels_keep_to_their_lines() -> None:
    rows = [Text("x", f"{n}\n" if n % 2 else "", True) for n in range(60) for _ in range(2)]
    shown = told(profile(rows), title="rows", meanings={})
    assert "… and 19 more labels" in shown
    assert "'1\\n'" in shown
    assert "\n''" in shown
