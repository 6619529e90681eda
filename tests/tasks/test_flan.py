"""Task files for FLAN on the Hub, and the study of its layers: as documented, worded, scored.

The rows are made up, in the documented form; no test reaches the network.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crosstune.study.schema import load_study
from crosstune.tasks import METRICS, Task, examples, load, prompts
from tasks.test_hub import FakeHub, put

ROOT = Path(__file__).parents[2]
COMMIT = "049702ca5ffc5b3c62bf226aac67ba1493e8d548"
CARD = (  # the tasks that the dataset's card lists, without `_10templates`
    "aeslc ag_news_subset anli_r1 anli_r2 anli_r3 arc_challenge arc_easy bool_q cb cnn_dailymail"
    " cola common_gen copa coqa cosmos_qa dart definite_pronoun_resolution drop e2e_nlg fix_punct"
    " gigaword glue_mrpc glue_qqp hellaswag imdb_reviews math_dataset mnli_matched mnli_mismatched"
    " multi_news multirc natural_questions openbookqa opinion_abstracts_idebate"
    " opinion_abstracts_rotten_tomatoes para_crawl_enes paws_wiki piqa qnli quac record rte samsum"
    " sentiment140 snli squad_v1 squad_v2 sst2 story_cloze stsb trec trivia_qa true_case web_nlg_en"
    " wic wiki_lingua_english_en wmt14_enfr wmt16_translate_csen wmt16_translate_deen"
    " wmt16_translate_fien wmt16_translate_roen wmt16_translate_ruen wmt16_translate_tren wnli"
    " word_segment wsc yelp_polarity_reviews"
).split()
CLUSTERS = {
    "nli": 10,
    "reading_comprehension": 6,
    "commonsense": 4,
    "sentiment": 4,
    "closed_book_qa": 4,
    "paraphrase": 4,
    "coreference": 2,
    "reading_comprehension_with_commonsense": 2,
    "struct_to_text": 4,
    "translation": 8,
    "summarisation": 9,
    "miscellaneous": 9,
}
HELD_OUT = {"coreference", "reading_comprehension_with_commonsense"}
ANSWER = {"math_dataset": "-4", "stsb": "3", "coqa": "1. white\n2. in a barn"}
LOADED = load(["studies/flan/*.yaml"], folder=ROOT)
TASKS = {name.removeprefix("flan."): task for name, task in LOADED.items() if "flan." in name}
every_task = pytest.mark.parametrize("name", CARD)


class FlanHub(FakeHub):
    """Gives rows in the documented form, of the file that is asked for."""

    def load_dataset(self, *args: Any, **kwargs: Any) -> Any:
        super().load_dataset(*args, **kwargs)
        (file,) = kwargs["data_files"][kwargs["split"]]
        name = Path(file).name.partition("_10templates")[0]
        task, right = f"{name}_10templates", ANSWER.get(name, "It's so")
        rows = type("Rows", (list,), {})(
            [
                {
                    "inputs": f"Is it so?\n\nOPTIONS:\n- {right}\n",
                    "targets": f"{right} ",
                    "task": task,
                },
                {"inputs": "Write about it.", "targets": "[It is so]", "task": task},
                {"inputs": "And why?", "targets": " ", "task": task},
            ]
        )
        rows.cache_files = [{"filename": f"cache/default-1/0.0.0/{COMMIT}/json-test.arrow"}]
        return rows


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return put(monkeypatch, FlanHub())


def test_there_is_a_file_for_every_task_of_the_card_in_twelve_clusters() -> None:
    assert sorted(TASKS) == sorted(CARD)
    assert Counter(task.family for task in TASKS.values()) == CLUSTERS
    assert {f"{name}.yaml" for name in CARD} == {task.path.name for task in TASKS.values()}


@every_task
def test_it_reads_one_file_a_split_at_the_documented_commit(name: str, hub: FakeHub) -> None:
    task = fresh(name)
    files = {split: [f"{split}/{name}_10templates_{split}.jsonl"] for split in ("train", "test")}
    assert examples(task, "train").revision == examples(task, "test").revision == COMMIT
    asked = {"revision": COMMIT, "data_files": files, "data_dir": None}
    place = ("Muennighoff/flan", None)
    assert hub.asked == [(place, {"split": split, **asked}) for split in files]
    assert not hub.resolved
    assert task.metadata == {"version": 1, "state": "not yet run"}


@every_task
@pytest.mark.usefixtures("hub")
def test_a_documented_row_is_worded_and_its_answer_is_right(name: str) -> None:
    task, right = fresh(name), ANSWER.get(name, "It's so")
    found = examples(task, "test")
    assert (len(found.items), found.dropped) == (2, 1)
    question = f"Is it so?\n\nOPTIONS:\n- {right}"
    first, second = prompts(task, found.items)
    assert (first.context, first.completion) == (f"[INST] {question} [/INST]", f" {right}")
    assert second.completion == " [It is so]"
    plain = prompts(task, examples(task, "test", prompt="plain").items, variant="plain")[0]
    assert (plain.context, plain.completion) == (f"{question}\n", right)
    assert (task.kind, 16 <= task.max_new_tokens <= 384) == ("text", True)
    assert not any(stop in right for stop in task.stop)
    for metric, options in task.metric_options.items():
        if metric == "rougeL":  # its package takes seconds to load, and has tests of its own
            continue
        assert METRICS[metric](right, [right], **options) == 1
        assert METRICS[metric]("7 no", [right], **options) == 0


def test_the_study_has_a_control_of_every_task_and_holds_two_clusters_out() -> None:
    study = load_study(ROOT / "studies" / "layers-flan.yaml")
    assert study.name == "layers-flan"
    assert set(study.targets) == {f"flan.{name}" for name in CARD}
    *controls, mixture = study.sources
    assert [source.name for source in controls] == list(study.targets)
    assert all(source.tasks == (source.name,) for source in controls)
    mixed = [name for name in study.targets if LOADED[name].family not in HELD_OUT]
    assert (mixture.name, list(mixture.tasks)) == ("mixture", mixed)
    assert mixture.examples == 5_500 * len(mixed)
    assert (study.cells, study.layers is not None) == ("own", True)


def fresh(name: str) -> Task:
    """The task as its own value, so that rows of another test are not kept with it."""
    return TASKS[name].model_copy()
