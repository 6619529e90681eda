"""Task files: existing ones load, wrong ones are told all at once and by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosstune.errors import InputError
from crosstune.tasks import load
from tasks.making import MakeTask, colour_rows, write_rows

GOOD: dict[str, Any] = {
    "task": "mine",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "text",
    "doc_to_target": "label",
    "doc_to_choice": ["a", "b"],
}


def problems_of(folder: Path, text: str, *patterns: str) -> tuple[str, ...]:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(patterns or ["*.yaml"], folder=folder)
    assert caught.value.what == "The tasks cannot be loaded"
    return caught.value.problems


def test_the_defaults_are_those_of_the_harness(make_task: MakeTask) -> None:
    text = make_task(output_type=None, doc_to_choice=None, doc_to_target="colour")
    assert (text.kind, text.metrics) == ("text", ("exact_match",))
    assert (text.stop, text.max_new_tokens) == (("\n\n",), 256)
    assert text.prompts["default"].target_delimiter == " "
    choice = make_task()
    assert (choice.kind, choice.metrics) == ("choice", ("acc", "acc_norm"))
    assert (choice.family, choice.licence) == ("other", "not stated")
    assert make_task(tag=["x", "y"]).family == "x"
    assert make_task(tag=["x+y", "y"]).family == "y"


def test_keys_of_no_effect_are_read(make_task: MakeTask) -> None:
    plain = make_task().described()
    ignored = {
        "task_alias": "C",
        "repeats": 1,
        "should_decontaminate": True,
        "doc_to_decontamination_query": "text",
        "process_docs": None,
        "dataset_name": None,
    }
    assert make_task(**ignored).described() == plain


def test_generation_follows_the_file(make_task: MakeTask) -> None:
    keys = {"output_type": "generate_until", "doc_to_target": "colour"}
    wanted = {"until": ["\n", "Q:"], "max_gen_toks": 9, "do_sample": False, "temperature": 0.0}
    task = make_task(**keys, generation_kwargs=wanted)
    assert (task.stop, task.max_new_tokens) == (("\n", "Q:"), 9)
    alone = make_task(**keys, generation_kwargs={"until": "###"}, fewshot_delimiter="\n--\n")
    assert (alone.stop, alone.max_new_tokens) == (("###",), 256)
    unset = make_task(**keys, generation_kwargs={"max_gen_toks": 3}, fewshot_delimiter="\n--\n")
    assert unset.stop == ("\n--\n",)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"family": "a+b"}, "family: '+' joins the families of a mixture; take another sign"),
        ({"famly": "x"}, "famly: there is no such key. Did you mean 'family'?"),
        ({"process_docs": "x"}, "process_docs: this key is not supported"),
        ({"group": "x"}, "group: this key is not supported"),
        ({"task": None}, "task: is missing"),
        ({"task": "../up"}, "task: '../up' must be one word"),
        ({"task": "/etc/passwd"}, "task: '/etc/passwd' must be one word"),
        ({"task": ["a"]}, "task: should be a valid string, not a list"),
        (
            {"output_type": "loglikelihood"},
            "output_type: 'loglikelihood' is not one of generate_until, multiple_choice.",
        ),
        ({"doc_to_text": None}, "doc_to_text: is missing"),
        ({"doc_to_text": 1}, "doc_to_text: should be a valid string, not 1"),
        ({"doc_to_target": None}, "doc_to_target: is missing"),
        ({"doc_to_choice": None}, "output_type: multiple_choice needs doc_to_choice"),
        ({"doc_to_choice": [False, True]}, "doc_to_choice: must be two or more texts"),
        ({"doc_to_choice": ["a"]}, "doc_to_choice: must be two or more texts"),
        ({"doc_to_choice": ["a", ""]}, "doc_to_choice: must be two or more texts"),
        ({"doc_to_text": "{{ text"}, "doc_to_text: the template is refused"),
        ({"doc_to_target": "{% include 'x' %}"}, "doc_to_target: the template is refused"),
        ({"description": "{{ text }}"}, "description: the field 'text' is missing"),
        ({"gen_prefix": "{{ text }}"}, "gen_prefix: the field 'text' is missing"),
        ({"dataset_path": None}, "dataset_path: is missing"),
        ({"dataset_path": "../x/y"}, "dataset_path: '../x/y' is neither json"),
        ({"dataset_kwargs": {"field": "x"}}, "dataset_kwargs.field: there is no such key."),
        (
            {"dataset_kwargs": {"data_files": {"test": 3}}},
            "data_files.test[0]: should be a valid string",
        ),
        ({"dataset_kwargs": None}, "data_files, and nothing else, must name a file for each"),
        ({"test_split": None}, "test_split: is missing (and there is no validation_split)"),
        ({"repeats": 3}, "repeats: 3 is not allowed: it should be less than or equal to 1"),
        ({"num_fewshot": "five"}, "num_fewshot: should be a valid integer, not 'five'"),
        ({"metric_list": [{"metric": "f1"}]}, "There is no metric of choices called 'f1'"),
        ({"metric_list": ["acc"]}, "metric_list[0]: should be a valid dictionary"),
        (
            {"metric_list": [{"metric": "acc", "x": 1}]},
            "'acc' cannot be used with {'x': 1}: got an unexpected",
        ),
        (
            {"metric_list": [{"metric": "acc", "aggregation": "median"}]},
            "metric_list[0].aggregation: 'median' is not one of mean.",
        ),
        (
            {"metric_list": [{"metric": "acc", "higher_is_better": False}]},
            "metric_list[0].higher_is_better: False is not True",
        ),
        (
            {"filter_list": [{"filter": "x"}]},
            "filter_list[0].filter: should be a valid list, not 'x'",
        ),
        (
            {"filter_list": [{"filter": [{"function": "regx"}]}]},
            "filter[0]: There is no filter called 'regx'. Did you",
        ),
        (
            {"filter_list": [{"filter": [{"function": "regex", "regex_pattern": "("}]}]},
            "the filter 'regex' cannot be used",
        ),
        (
            {"filter_list": [{"filter": [{"function": "lowercase", "x": 1}]}]},
            "the filter 'lowercase' cannot be used",
        ),
        (
            {"fewshot_config": {"sampler": "x"}},
            "fewshot_config.sampler: 'x' is not one of default, first_n.",
        ),
        (
            {"fewshot_config": {"doc_to_text": "x"}},
            "fewshot_config.doc_to_text: there is no such key.",
        ),
        (
            {"fewshot_config": {"samples": [1]}},
            "fewshot_config.samples[0]: should be a valid dictionary, not 1",
        ),
        ({"generation_kwargs": {"do_sample": True}}, "sampling is not supported"),
        ({"generation_kwargs": {"temperature": 0.7}}, "sampling is not supported"),
        (
            {"generation_kwargs": {"num_beams": 4}},
            "num_beams: 4 is not allowed: it should be less than or equal to 1",
        ),
        ({"generation_kwargs": {"until": 3}}, "until[0]: should be a valid string, not 3"),
        (
            {"generation_kwargs": {"max_gen_toks": 0}},
            "generation_kwargs.max_gen_toks: 0 is not positive",
        ),
        (
            {"prompts": {"x": {"doc_to_txt": "a"}}},
            "prompts.x.doc_to_txt: there is no such key. Did",
        ),
        ({"prompts": {"x": {"task": "a"}}}, "prompts.x.task: there is no such key."),
        ({"prompts": {"x": {"doc_to_text": "{{"}}}, "prompts.x.doc_to_text: the template"),
        ({"prompts": {"default": {}}}, "prompts: 'default' is the file itself"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(
    tmp_path: Path, keys: dict[str, Any], problem: str
) -> None:
    raw = {key: value for key, value in {**GOOD, **keys}.items() if value is not None}
    found = problems_of(tmp_path, yaml.safe_dump(raw))
    assert all(line.startswith("mine.yaml: ") for line in found)
    assert any(problem in line for line in found), found
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"metric": "rouge"}, "There is no metric called 'rouge'. Did you mean 'rougeL'?"),
        (
            {"metric": "f1", "ignore_case": True},
            "the metric 'f1' cannot be used with {'ignore_case': True}: got an unexpected keyword",
        ),
        ({"metric": "exact_match", "regexes_to_ignore": ["("]}, "cannot be used with"),
        ({"metric": "exact_match", "regexes_to_ignore": 3}, "cannot be used with"),
    ],
)
def test_what_is_wrong_with_a_metric_of_text_is_told(
    tmp_path: Path, entry: dict[str, Any], problem: str
) -> None:
    raw = {**GOOD, "output_type": "generate_until", "metric_list": [entry]}
    (found,) = problems_of(tmp_path, yaml.safe_dump(raw))
    assert problem in found


def test_every_wrong_part_of_a_list_is_told(tmp_path: Path) -> None:
    raw = {**GOOD, "metric_list": [{"metric": "ac"}, {"metric": "acc"}, {"metric": "f1"}]}
    found = problems_of(tmp_path, yaml.safe_dump(raw))
    assert [problem.split(":")[1].strip() for problem in found] == [
        "metric_list[0]",
        "metric_list[2]",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: [", "mine.yaml, line 1: not valid YAML: expected the node content"),
        (
            "task: a\ntask: b\n",
            "mine.yaml, line 2: not valid YAML: the key 'task' stands there twice",
        ),
        ("a: &a [*a]\n", "mine.yaml: not valid YAML"),
        (
            "a: &a [x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
                for old, new in zip("abcdefghi", "bcdefghij", strict=True)
            ),
            "mine.yaml: not valid YAML: too large",
        ),
        ("- a\n", "mine.yaml: not a mapping of keys to values"),
        ("", "mine.yaml: not a mapping of keys to values"),
        (
            "task: !!python/object/apply:os.system [ls]\n",
            "mine.yaml, line 1: not valid YAML: could not",
        ),
        (
            "task: a\ndoc_to_text: !function evil.run\n",
            "mine.yaml: doc_to_text: Python functions are not supported (!function evil.run)",
        ),
        (
            "metric_list:\n  - metric: acc\n    aggregation: !function m.n\n",
            "mine.yaml: metric_list.0.aggregation: Python functions are not supported (!function",
        ),
    ],
)
def test_a_file_that_is_no_task_file(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(problem)


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: [", encoding="utf-8")
    raw = {**GOOD, "famly": 1, "repeats": 2}
    found = problems_of(tmp_path, yaml.safe_dump(raw), "*.yaml", "none/*.yaml")
    assert found[0] == "tasks: 'none/*.yaml' matches no file"
    assert [problem.partition(":")[0] for problem in found[1:]] == ["a.yaml, line 1"] + [
        "mine.yaml"
    ] * 2


def test_two_tasks_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    (found,) = problems_of(tmp_path, yaml.safe_dump(GOOD))
    assert found == "mine.yaml: there is already a task called 'mine' (a.yaml)"
    for embedded in list(load(folder=tmp_path))[:1]:
        (tmp_path / "a.yaml").unlink()
        (found,) = problems_of(tmp_path, yaml.safe_dump({**GOOD, "task": embedded}))
        assert f"there is already a task called '{embedded}'" in found


@pytest.mark.parametrize("pattern", ["none.yaml", "", "a**b", "/none/*.yaml", "."])
def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        load([pattern], folder=tmp_path)
    assert caught.value.problems == (f"tasks: '{pattern}' matches no file",)


def test_a_file_matched_twice_is_one_task(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    assert "mine" in load(["a.yaml", "*.yaml", str(tmp_path / "a.yaml")], folder=tmp_path)


def test_includes_are_relative_and_own_keys_win(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    shared = {key: value for key, value in GOOD.items() if key != "task"}
    (tmp_path / "_shared.yaml").write_text(yaml.safe_dump(shared), encoding="utf-8")
    middle = {"include": "../_shared.yaml", "family": "middle", "licence": "L"}
    (tmp_path / "deep" / "_middle.yaml").write_text(yaml.safe_dump(middle), encoding="utf-8")
    top = {"include": "_middle.yaml", "task": "top", "family": "own"}
    (tmp_path / "deep" / "top.yaml").write_text(yaml.safe_dump(top), encoding="utf-8")
    task = load(["**/*.yaml"], folder=tmp_path)["top"]
    assert (task.family, task.licence) == ("own", "L")
    assert task.prompts["default"].doc_to_text == "text"


@pytest.mark.parametrize(
    ("include", "problem"),
    [
        ("mine.yaml", "includes itself"),
        ("/etc/hostname", "include: 'hostname' is outside of"),
        ("../secret.yaml", "include: 'secret.yaml' is outside of"),
        ("gone.yaml", "include: gone.yaml cannot be read: No such file"),
    ],
)
def test_an_include_stays_inside_and_ends(tmp_path: Path, include: str, problem: str) -> None:
    (tmp_path / "secret.yaml").write_text("family: secret", encoding="utf-8")
    folder = tmp_path / "tasks"
    folder.mkdir()
    (found,) = problems_of(folder, yaml.safe_dump({**GOOD, "include": include}))
    assert problem in found
    assert str(tmp_path) not in found


def test_a_description_names_no_folder_and_tells_changes(tmp_path: Path) -> None:
    told = []
    for place in ("one", "two"):
        folder = tmp_path / place
        folder.mkdir()
        files = {"test": str(folder / "rows.jsonl")}
        raw = {**GOOD, "dataset_kwargs": {"data_files": files}}
        (folder / "mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        told.append(json.dumps(load(["mine.yaml"], folder=folder)["mine"].described()))
    assert told[0] == told[1]
    assert str(tmp_path) not in told[0]
    changed = {**GOOD, "doc_to_choice": ["a", "c"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    assert json.dumps(load(["mine.yaml"], folder=tmp_path)["mine"].described()) != told[0]


def test_rows_lie_relative_to_the_task_file(tmp_path: Path) -> None:
    from crosstune.tasks import examples

    (tmp_path / "tasks").mkdir()
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / "test.jsonl", colour_rows(0, 2))
    raw = {**GOOD, "dataset_kwargs": {"data_files": {"test": "../rows/test.jsonl"}}}
    (tmp_path / "tasks" / "mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    task = load(["tasks/*.yaml"], folder=tmp_path)["mine"]
    assert len(examples(task, "test").items) == 2
