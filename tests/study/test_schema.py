"""A study's mistakes are told by place and in words, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstune.errors import InputError
from crosstune.study.schema import Source, Study, load_study

GOOD = "name: a\nmodel: m\nsources: [sst2]\ntargets: [sst2, paws]\n"


def told(tmp_path: Path, text: str) -> str:
    path = tmp_path / "STUDY.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_study(path)
    return str(caught.value)


def test_yaml_and_python_make_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "STUDY.yaml"
    path.write_text(
        GOOD + "recipes: {rank: 8, learning_rate: 5e-4}\nconditions: {shots: 2}\nseeds: 3\n"
    )
    built = Study(
        name="a",
        model="m",
        sources=["sst2"],
        targets=["sst2", "paws"],
        recipes=[{"rank": 8, "learning_rate": 5e-4}],
        conditions=[{"shots": 2}],
        seeds=[3],
    )
    assert load_study(path) == built
    assert built.sources == (Source(name="sst2", tasks=("sst2",)),)


def test_a_mixture_is_a_source() -> None:
    mixture = {"name": "both", "tasks": ["sst2", "mnli"]}
    study = Study(name="a", model="m", sources=["sst2", mixture], targets=["sst2"])
    assert study.sources[1].tasks == ("sst2", "mnli")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = (
        "name: a\nsources: []\ntargets: [b]\nseed: 1\nseeds: []\n"
        "recipes: [{rank: 0, rnak: 3, alpha: .inf, method: loar}]\n"
        "conditions: [{shots: -1}, {chat_template: models}]\n"
    )
    assert told(tmp_path, text).splitlines() == [
        "STUDY.yaml cannot be run:",
        "  - model: is missing",
        "  - sources: must not be empty",
        "  - recipes[0].method: 'loar' is not one of lora, full. Did you mean 'lora'?",
        "  - recipes[0].rank: 0 is not positive",
        "  - recipes[0].alpha: inf is not a finite number",
        "  - recipes[0].rnak: there is no such key. Did you mean 'rank'?",
        "  - conditions[0].shots: -1 is not allowed: it should be greater than or equal to 0",
        "  - conditions[1].chat_template: 'models' is not one of none, model. Did you mean 'model'?",  # noqa: E501
        "  - seeds: must not be empty",
        "  - seed: there is no such key. Did you mean 'seeds'?",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds: [1, 1]", "seeds: 1 stands there twice"),
        ("seeds: [-1]", "seeds[0]: -1 is not allowed: it should be greater than or equal to 0"),
        ("seeds: [true]", "seeds[0]: should be a valid integer, not True"),
        ("test_seed: true", "test_seed: should be a valid integer, not True"),
        ("seeds: [1.5]", "seeds[0]: should be a valid integer, not 1.5"),
        ("recipes: [{name: x}, {name: x}]", "recipes: x stands there twice"),
        ("recipes: {name: base}", "recipes: 'base' is the word for the model before tuning"),
        ("recipes: [{learning_rate: fast}]", "should be a valid number, not 'fast'"),
        ("recipes: [{learning_rate: .nan}]", "nan is not a finite number"),
        ("recipes: [{name: ../x}]", "recipes: '../x' is not a name: letters, digits"),
        ("conditions: [{name: a/b}]", "conditions: 'a/b' is not a name: letters, digits"),
        ("tokens_per_batch: 3", "tokens_per_batch: 3 is not allowed"),
        ("tasks: {a: 1}", "tasks[0]: should be a valid string, not a dict"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    assert words in told(tmp_path, f"{GOOD}{line}\n")


@pytest.mark.parametrize(
    "name", ["../up", "/root", "a/b", ".hidden", "-rf", "a b", "", "a\\b", "a\n"]
)
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(InputError, match="is not a name"):
        Study(name=name, model="m", sources=["a"], targets=["a"])
    with pytest.raises(InputError, match="is not a name"):
        Study(name="a", model="m", sources=[{"name": name, "tasks": ["a"]}], targets=["a"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [\n", "STUDY.yaml, line 2: not valid YAML: expected the node content"),
        ("name: a\n\tmodel: b\n", "STUDY.yaml, line 2: not valid YAML: found character"),
        ("name: a\nname: b\n", "STUDY.yaml, line 2: not valid YAML: the key 'name' stands there"),
        ("- a\n", "STUDY.yaml is not a study"),
        ("", "STUDY.yaml is not a study"),
        ("name: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        ("name: 2020-13-45\n", "STUDY.yaml: not valid YAML: month must be in"),
        ("? [a]\n: b\n", "STUDY.yaml, line 1: not valid YAML: found unhashable key"),
        ("a: " + "[" * 5000, "STUDY.yaml"),
    ],
)
def test_what_is_not_yaml_is_one_message(tmp_path: Path, text: str, words: str) -> None:
    message = told(tmp_path, text)
    assert words in message
    assert len(message.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml cannot be read: No such file"):
        load_study(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yaml is not a text file"):
        load_study(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    with pytest.raises(InputError, match=r"larger than a file written by hand can be"):
        load_study(tmp_path / "large.yaml")
