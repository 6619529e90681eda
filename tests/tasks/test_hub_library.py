"""Task files for the Hub: documented, found by name, worded from the documented fields alone.

The rows are made up, in the documented form; no test reaches the network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from crosstune.study.plan import plan
from crosstune.tasks import METRICS, Task, examples, load, prompts
from crosstune.tasks.loading import HUB, hub_names
from small import folder_of_tasks, small_study

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "crosstune" / "tasks" / "hub"
PAGE = ROOT / "docs" / "hub-tasks.md"
COMMIT = "c" * 40
# A large split is read in runs: the sizes that the dataset cards give.
SIZES = {
    ("fancyzhx/ag_news", "train"): 120_000,
    ("fancyzhx/amazon_polarity", "train"): 3_600_000,
    ("fancyzhx/amazon_polarity", "test"): 400_000,
    ("google/civil_comments", "train"): 1_804_874,
    ("google/civil_comments", "test"): 97_320,
    ("abisee/cnn_dailymail", "train"): 287_113,
    ("stanfordnlp/imdb", "test"): 25_000,
    ("meta-math/MetaMathQA", "train"): 395_000,
    ("nyu-mll/glue", "train"): 363_846,
    ("nyu-mll/glue", "validation"): 40_430,
    ("EdinburghNLP/xsum", "train"): 204_045,
    ("Yelp/yelp_review_full", "train"): 650_000,
    ("Yelp/yelp_review_full", "test"): 50_000,
}
PAIR = {"sentence1": "One.", "sentence2": "Two.", "idx": 7}
NLI = {"premise": "P.", "hypothesis": "H.", "idx": 7}
OFFERED = {"text": ["iron", "it's wood"], "label": ["A", "B"]}
SIQA = {"context": "C.", "question": "Q?", "answerA": "a", "answerB": "b's", "answerC": "c"}
SCIQ = {
    "question": "Q?",
    "distractor1": "x",
    "distractor2": "y",
    "distractor3": "z",
    "correct_answer": "w",
    "support": "S.",
}
# A row in the documented form, and its right answer by the documented order of labels.
ROWS: dict[str, tuple[Mapping[str, Any], str]] = {
    "ag_news": ({"text": "T.", "label": 3}, "technology"),
    "amazon_polarity": ({"label": 1, "title": "T", "content": "C."}, "positive"),
    "arc_challenge": ({"id": "7", "question": "Q?", "choices": OFFERED, "answerKey": "A"}, "iron"),
    "arc_easy": ({"id": "7", "question": "Q?", "choices": OFFERED, "answerKey": "B"}, "it's wood"),
    "boolq": ({"question": "is it", "answer": True, "passage": "P."}, "yes"),
    "civil_comments": ({"text": "T.", "toxicity": 0.5, "insult": 0.1}, "yes"),
    "cnn_dailymail": ({"article": "A.", "highlights": "H.\nI.", "id": "7"}, "H.\nI."),
    "cola": ({"sentence": "S.", "label": 0, "idx": 7}, "no"),
    "commonsense_qa": (
        {
            "id": "7",
            "question": "Q?",
            "question_concept": "q",
            "choices": OFFERED,
            "answerKey": "B",
        },
        "it's wood",
    ),
    "gsm8k": ({"question": "Q?", "answer": "1 + 1 = 2\n#### 2"}, "1 + 1 = 2\n#### 2"),
    "hellaswag": (
        {"activity_label": "A", "ctx": "C", "endings": ["e", "f", "g", "h's"], "label": "3"},
        "h's",
    ),
    "imdb": ({"text": "T.", "label": 0}, "negative"),
    "metamath": (
        {"type": "GSM_Rephrased", "query": "Q?", "original_question": "O?", "response": "It is: 2"},
        "It is: 2",
    ),
    "mnli": ({**NLI, "label": 2}, "contradiction"),
    "mnli_mismatched": ({**NLI, "label": 0}, "entailment"),
    "mrpc": ({**PAIR, "label": 1}, "yes"),
    "openbookqa": ({"question_stem": "Q", "choices": OFFERED, "answerKey": "A"}, "iron"),
    "paws": ({"id": 7, "sentence1": "One.", "sentence2": "Two.", "label": 1}, "yes"),
    "qqp": ({"question1": "A?", "question2": "B?", "label": 0, "idx": 7}, "no"),
    "rte": ({**PAIR, "label": 0}, "yes"),
    "sciq": (SCIQ, "w"),
    "sciq_question": (SCIQ, "Q?"),
    "social_iqa": ({**SIQA, "label": "2"}, "b's"),
    "social_iqa_question": ({**SIQA, "label": "2"}, "Q?"),
    "squad": (
        {
            "id": "7",
            "title": "T",
            "context": "C.",
            "question": "Q?",
            "answers": {"text": ["it's", "it"], "answer_start": [0, 0]},
        },
        "it's",
    ),
    "sst2": ({"sentence": "S. ", "label": 1, "idx": 7}, "positive"),
    "stsb": ({**PAIR, "label": 3.5}, "no"),
    "tweet_qa_question": (
        {"Question": "Q?", "Answer": ["a", "b"], "Tweet": "T.", "qid": "7"},
        "Q?",
    ),
    "winogrande": (
        {"sentence": "A _ b.", "option1": "Ann", "option2": "Bea's", "answer": "2"},
        "Bea's",
    ),
    "xsum": ({"document": "D.", "summary": "S.", "id": "7"}, "S."),
    "yelp": ({"label": 4, "text": "T."}, "positive"),
    "yelp_stars": ({"label": 0, "text": "T."}, "1"),
}
TASKS = sorted(ROWS)


@cache
def text_of(task: str) -> str:
    return (FOLDER / f"{task}.yaml").read_text("utf-8")


@cache
def spec(task: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(text_of(task))
    return read


def citations(task: str) -> list[str]:
    """Where a file says that its dataset is documented."""
    return re.findall(r"^#   (.*)$", text_of(task), re.MULTILINE)


@cache
def loaded(task: str) -> Task:
    return load(folder=ROOT)[HUB + task]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for `datasets` and `huggingface_hub`; gives `rows`, keeps what it was asked."""
    fake = SimpleNamespace(rows=[], resolved=[], splits=[])

    def info(name: str, *, revision: str | None) -> SimpleNamespace:
        fake.resolved.append((name, revision))
        return SimpleNamespace(sha=COMMIT)

    def given(*_: Any, split: str, **__: Any) -> Any:
        fake.splits.append(split)
        rows = type("Rows", (list,), {})(fake.rows)
        rows.cache_files = [{"filename": f"cache/default/0.0.0/{COMMIT}/rows.arrow"}]
        return rows

    offline = SimpleNamespace(HF_HUB_OFFLINE=False)
    fake.config = fake.constants = offline
    fake.load_dataset = given
    fake.HfApi = lambda: SimpleNamespace(dataset_info=info)
    for name in ("datasets", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, fake)
    return fake


def test_every_file_has_a_row_here_and_a_name_that_is_its_files() -> None:
    assert [path.stem for path in sorted(FOLDER.iterdir())] == TASKS
    assert hub_names() == tuple(HUB + task for task in TASKS)
    assert {spec(task)["task"] for task in TASKS} == set(hub_names())


def test_they_are_found_by_name_and_otherwise_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    there = Path.read_text

    def noted(path: Path, *args: Any, **kwargs: Any) -> str:
        read.append(path.parent.name)
        return there(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", noted)
    known = load(folder=ROOT)
    assert set(read) == {"library"}
    assert "hub.sst2" in known
    assert not [name for name in known if name.startswith(HUB)]
    assert known["hub.sst2"] is known["hub.sst2"]
    assert read[-1] == "hub"
    assert read.count("hub") == 1
    for name in ("hub.nothing", "hub.", "sst2", "hub.../library/parity"):
        assert name not in known
        with pytest.raises(KeyError):
            known[name]


def test_a_task_of_the_user_comes_first(tmp_path: Path) -> None:
    mine = {**spec("sst2"), "licence": "mine"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    assert load(["mine.yaml"], folder=tmp_path)["hub.sst2"].licence == "mine"


@pytest.mark.parametrize("task", TASKS)
def test_it_says_what_it_is_and_where_that_is_documented(task: str) -> None:
    told = spec(task)
    assert told["metadata"] == {"version": 1, "state": "not yet run"}
    assert told["licence"]
    assert told["family"] != "other"
    assert set(told["prompts"]) == {"instruct"}
    about, _, cited = text_of(task).partition("# Documented:\n")
    assert about.startswith("# ")
    places = citations(task)
    assert cited.startswith("#   ")
    assert all(re.match(r"(https://|github\.com/)[\w.-]+/[\w.-]+", place) for place in places)
    subset = spec(task)["dataset_path"].split("/")[1]
    assert any(re.search(rf"/{re.escape(subset)}[/. ]", place) for place in places)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_pinned_and_no_code_of_a_dataset_is_run(task: str) -> None:
    kwargs = spec(task).get("dataset_kwargs", {})
    assert kwargs == ({"revision": "refs/convert/parquet"} if task == "xsum" else {})
    assert re.search(r"revision|trust_remote_code", text_of(task)) is None or task == "xsum"


@pytest.mark.parametrize("task", TASKS)
def test_large_splits_are_read_in_runs_that_exist_and_do_not_overlap(task: str) -> None:
    runs: dict[str, list[tuple[int, int]]] = {}
    for key in ("training_split", "test_split"):
        for part in spec(task).get(key, "").split("+"):
            if cut := re.fullmatch(r"(\w+)\[(\d*):(\d+)\]", part):
                runs.setdefault(cut[1], []).append((int(cut[2] or 0), int(cut[3])))
            else:
                assert re.fullmatch(r"train|test|validation(_(mis)?matched)?", part), part
    for split, found in runs.items():
        flat = [edge for run in found for edge in run]
        assert flat == sorted(set(flat))
        assert flat[-1] <= SIZES[spec(task)["dataset_path"], split]


@pytest.mark.parametrize("variant", ["default", "instruct"])
@pytest.mark.parametrize("task", TASKS)
def test_a_documented_row_is_asked_and_the_commit_is_known(
    task: str, variant: str, hub: SimpleNamespace
) -> None:
    row, right = ROWS[task]
    hub.rows = [row]
    known = load(folder=ROOT)[HUB + task]  # its own, as the rows of a task are kept
    for split, stated in (("train", known.train_split), ("test", known.test_split)):
        found = examples(known, split, prompt=variant)  # type: ignore[arg-type]
        assert hub.splits[-1] == stated
        assert found.revision == COMMIT
        (example,) = found.items
        (prompt,) = prompts(known, found.items, variant=variant)
        assert prompt.completion == f" {right}"
        assert not re.search(r"[{}]|None|\n\n", prompt.context)
        assert prompt.context == prompt.context.strip()
        assert len(set(example.choices)) == len(example.choices) != 1
        assert right == example.references[0]
    assert {revision for _, revision in hub.resolved} == {
        "refs/convert/parquet" if task == "xsum" else None
    }
    if known.kind == "text":
        assert METRICS[known.metrics[0]](right, [right]) == 1


def test_what_lies_between_the_classes_is_dropped_or_belongs_to_one(hub: SimpleNamespace) -> None:
    def answers(task: str, rows: list[dict[str, Any]]) -> list[str]:
        hub.rows = rows
        found = examples(load(folder=ROOT)[HUB + task], "test")
        assert found.dropped == len(rows) - len(found.items)
        return [example.references[0] for example in found.items]

    stars = [{"label": label, "text": f"{label}"} for label in range(5)]
    assert answers("yelp", stars) == ["negative", "negative", "positive", "positive"]
    assert answers("yelp_stars", stars) == ["1", "2", "3", "4", "5"]
    toxic = [{"text": "T.", "toxicity": share} for share in (0.0, 0.49, 0.5, 1.0)]
    assert answers("civil_comments", toxic) == ["no", "no", "yes", "yes"]
    alike = [{**PAIR, "label": rating} for rating in (0.0, 3.5, 3.6, 5.0)]
    assert answers("stsb", alike) == ["no", "no", "yes", "yes"]
    topics = [{"text": "T.", "label": label} for label in range(4)]
    assert answers("ag_news", topics) == ["world", "sports", "business", "technology"]
    relations = [{**NLI, "label": label} for label in range(3)]
    assert answers("mnli", relations) == ["entailment", "neutral", "contradiction"]


def test_a_study_keeps_the_commit_it_read(hub: SimpleNamespace, tmp_path: Path) -> None:
    hub.rows = [
        {name: f"{text} {n}" for name, text in PAIR.items()}
        | {"sentence": f"S {n}.", "label": n % 2}
        for n in range(8)
    ]
    study = small_study(
        sources=["hub.cola"], targets=["hub.rte"], recipes={"examples": 4},
        conditions={"examples": 4, "shots": 1},
    )  # fmt: skip
    planned = plan(study, folder=folder_of_tasks(tmp_path), device="cpu")
    read = ("hub.cola train", "hub.rte test", "hub.rte fewshot")
    assert planned.revisions == dict.fromkeys(read, COMMIT)


def fields(task: str) -> list[str]:
    """What the wordings of a task read of a row."""
    told = spec(task)
    wordings = {key: told[key] for key in ("doc_to_text", "doc_to_choice", "doc_to_target")
                if isinstance(told.get(key), str)}  # fmt: skip
    forms = [*wordings.values(), told["prompts"]["instruct"]["doc_to_text"]]
    read = {word for form in forms for part in re.findall(r"{{(.*?)}}", form)
            for word in re.findall(r"(?<![.\w'])[A-Za-z]\w*", part)}  # fmt: skip
    return [name for name in ROWS[task][0] if name in read | set(forms)]


def test_the_page_lists_them_as_they_are() -> None:
    rows = [
        "| "
        + " | ".join(
            [
                f"`{HUB}{task}`",
                f"`{told['dataset_path']}`",
                f"`{told['dataset_name']}`" if "dataset_name" in told else "—",
                told["family"],
                loaded(task).kind,
                ", ".join(f"`{name}`" for name in fields(task)),
                told["licence"],
                f"[{len(citations(task))} cited](../src/crosstune/tasks/hub/{task}.yaml)",
                told["metadata"]["state"],
            ]
        )
        + " |"
        for task in TASKS
        for told in [spec(task)]
    ]
    shown = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `hub.")]
    assert shown == rows, "\n".join(rows)
