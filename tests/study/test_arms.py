"""Relations, demonstrations and scoring modes: what a study says of them reaches plan and store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from crosstune.errors import InputError
from crosstune.models import ModelReference
from crosstune.results.matrix import TransferMatrix
from crosstune.study.draft import Question
from crosstune.study.plan import Plan, plan
from crosstune.study.run import run
from crosstune.study.schema import Study
from small import Told, folder_of_tasks, small_study, write_rows
from standin import StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tasks(tmp_path_factory.mktemp("tasks"))


def planned(folder: Path, **changes: Any) -> Plan:
    return plan(small_study(seeds=0, **changes), folder=folder, device="cpu")


def questions(found: Plan) -> dict[tuple[str, str], Question]:
    return {question.way: question for question in found.jobs[0].questions.values()}


def done(study: Study, folder: Path, out: Path) -> TransferMatrix:
    def load(reference: ModelReference, **_: str) -> StandIn:
        return StandIn(reference.identity)

    return run(study, out=out, folder=folder, device="cpu", load=load, reporter=Told())


def test_a_study_overrides_what_families_say(folder: Path) -> None:
    usual = {(r["source"], r["target"]): r["relation"] for r in planned(folder).rows}
    assert usual["mood", "mood"] == usual["both", "sums"] == "same task"
    assert usual["mood", "tone"] == usual["both", "tone"] == "out-of-domain"
    assert usual["mood", "sums"] == "cross-task"
    said = {"in-domain": {"mood": "tone"}, "cross-task": {"both": ["tone"]}}
    stated = {
        (r["source"], r["target"]): r["relation"] for r in planned(folder, relations=said).rows
    }
    assert stated == usual | {("mood", "tone"): "in-domain", ("both", "tone"): "cross-task"}


def test_relations_of_nothing_are_told_with_all_else() -> None:
    with pytest.raises(InputError) as caught:
        small_study(
            relations={
                "in-domain": {"moood": ["tone"], "mood": ["tones", "tone"]},
                "cross-task": {"mood": ["tone"]},
            }
        )
    assert caught.value.problems == (
        "relations.in-domain: there is no source called 'moood'. Did you mean 'mood'?",
        "relations.in-domain: there is no target called 'tones'. Did you mean 'tone'?",
        "relations: mood → tone stands there twice",
    )
    with pytest.raises(InputError, match="relations"):
        small_study(relations={"near": {"mood": ["tone"]}})


def test_demonstrations_stand_before_every_training_input(folder: Path) -> None:
    recipes = [{"name": "plain", "examples": 20}, {"name": "shown", "examples": 20}]
    recipes[1]["demonstrations"] = 3
    _, plain, shown = planned(folder, sources=["mood"], recipes=recipes).jobs
    beginnings = {prompt.context.rpartition("\n\n")[0] for prompt in shown.prompts}
    assert len(beginnings) == 1
    [beginning] = beginnings
    assert beginning.count("\n\n") == 2
    assert all("\n\n" not in prompt.completion for prompt in shown.prompts)
    assert not any(beginning in prompt.context for prompt in plain.prompts)
    # The same examples, but for those that are shown.
    asked = [p.context.rpartition("\n\n")[2] for p in shown.prompts]
    assert not {*beginning.split("\n\n")} & {a + " good" for a in asked}
    assert len({*asked} & {p.context for p in plain.prompts}) >= 17
    assert shown.key != plain.key


def test_sizes_are_nested(folder: Path) -> None:
    recipes = [{"name": str(n), "examples": n} for n in (8, 16, 40)]
    _, few, more, most = planned(folder, sources=["mood"], recipes=recipes).jobs
    assert few.prompts == more.prompts[:8]
    assert more.prompts == most.prompts[:16]


def test_labels_are_those_a_source_teaches(folder: Path) -> None:
    found = {job.source: job.labels for job in planned(folder).jobs}
    assert found == {None: (), "mood": ("bad", "good"), "sums": (), "both": ("bad", "good")}


def test_demonstrations_come_from_a_file_of_the_target(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    (folder / "shots").mkdir()
    rows = [{"text": f"the sky was {n}", "label": n % 2} for n in range(4)]
    for name in ("mood", "tone"):
        write_rows(folder / "shots" / f"{name}.jsonl", rows)
    way = {"name": "shown", "examples": 5, "shots": 3, "sampler": "first"}
    found = planned(folder, targets=["mood", "tone"], conditions=way | FROM)
    assert found.warnings == ()
    for question in questions(found).values():
        for prompt in question.prompts:
            assert prompt.context.startswith(
                "the sky was 0\nMood: bad\n\nthe sky was 1\nMood: good"
            )
    with pytest.raises(InputError, match=r"sums\.jsonl: No such file"):
        planned(folder, conditions=way | FROM)
    with pytest.raises(InputError, match=r"shots\.txt ends in none of \.json"):
        planned(folder, conditions=way | {"shots_from": "shots.txt"})


FROM = {"shots_from": "shots/{target}.jsonl"}


def test_absent_classes_and_asked_demonstrations_are_told(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    tests = [json.loads(line) for line in (folder / "mood-test.jsonl").read_text().splitlines()]
    write_rows(folder / "mood.jsonl", [row for row in tests if row["label"]][:3])
    way = {"name": "w", "examples": 99, "shots": 2, "sampler": "first", "shots_from": "mood.jsonl"}
    found = planned(folder, sources=["mood"], targets=["mood"], conditions=way)
    assert found.warnings == (
        "condition w: the demonstrations of mood show 1 of its 2 classes, not bad",
        "mood: test rows that stand among its demonstrations are not asked: 2",
    )
    bare = {"name": "bare", "examples": 99}
    both = questions(planned(folder, sources=["mood"], targets=["mood"], conditions=[way, bare]))
    asked = [{e.id for e in both["mood", name].examples} for name in ("w", "bare")]
    assert asked[0] == asked[1]
    shown = {example["text"] for example in tests if example["label"]}
    texts = {e.context.partition("\n")[0] for e in both["mood", "bare"].examples}
    assert len(texts) == len(tests) - 2
    assert len(texts & shown) == len(shown) - 2


def test_a_mode_changes_the_key_of_choices_alone(folder: Path) -> None:
    ways = [
        {"name": mode, "examples": 5, "scoring": mode}
        for mode in ("likelihood", "first_token", "generation")
    ]
    found = planned(folder, conditions=ways)
    keys = {(r["target"], r["condition"]): r["base_key"] for r in found.rows}
    assert len({keys["mood", way["name"]] for way in ways}) == 3
    assert len({keys["sums", way["name"]] for way in ways}) == 1
    modes = {(r["target"], r["condition"]): r["scoring"] for r in found.rows}
    assert modes["mood", "first_token"] == "first_token"
    assert {modes["sums", way["name"]] for way in ways} == {"generation"}
    asked = questions(found)
    assert asked["mood", "likelihood"].metrics == ("acc", "acc_norm")
    assert asked["mood", "first_token"].metrics == asked["mood", "generation"].metrics == ("acc",)
    # The longest choice has four letters, and at least two bytes a token.
    assert asked["mood", "generation"].max_new_tokens == 6
    assert asked["sums", "generation"].max_new_tokens == 4


def test_every_mode_runs_and_is_told(folder: Path, tmp_path: Path) -> None:
    modes = ("likelihood", "first_token", "generation")
    ways = [{"name": mode, "examples": 12, "scoring": mode} for mode in modes]
    study = small_study(sources=["mood"], conditions=ways, seeds=0)
    matrix = done(study, folder, tmp_path / "out")
    assert matrix.is_complete
    rows = [row for row in matrix.cells.to_pylist() if row["target"] == "mood" and row["main"]]
    assert [(row["condition"], row["scoring"]) for row in rows] == [(m, m) for m in modes]
    assert {row.scoring for row in matrix.rows if row.target == "sums"} == {"generation"}
    written = next(row for row in matrix.rows if row.scoring == "generation" and row.main)
    table = pq.read_table(tmp_path / "out" / "scores" / written.key / "outcomes.parquet")
    assert table["log_likelihoods"].null_count == table.num_rows == 12
    assert table["label"].null_count == 0
    assert table["acc"].to_pylist() == [0.0] * 12  # the stand-in writes numbers


def test_first_tokens_are_what_is_asked_for(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    text = (folder / "mood.yaml").read_text()
    (folder / "mood.yaml").write_text(text.replace("- bad\n- good", "- bad one\n- good one"))
    ways = [{"name": n, "examples": 8, "scoring": n} for n in ("likelihood", "first_token")]
    study = small_study(sources=["mood"], targets=["mood"], conditions=ways, seeds=0)
    keys = {row.condition: row.base_key for row in done(study, folder, tmp_path / "out").rows}
    whole, first = (
        pq.read_table(tmp_path / "out" / "scores" / keys[n] / "outcomes.parquet")
        for n in ("likelihood", "first_token")
    )
    assert whole["id"] == first["id"]
    assert whole["log_likelihoods"] != first["log_likelihoods"]


def test_first_tokens_that_are_alike_are_refused_before_tuning(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    text = (folder / "mood.yaml").read_text()
    text = text.replace("- bad\n- good", "- very bad\n- very good")
    (folder / "mood.yaml").write_text(text)
    way = {"name": "first", "examples": 5, "scoring": "first_token"}
    with pytest.raises(InputError) as caught:
        done(small_study(conditions=way, targets=["mood", "tone"]), folder, tmp_path / "out")
    assert caught.value.problems == (
        (
            "condition first: the choices 'very bad' and 'very good' of mood cannot be told apart "
            "by their first token; ask them by likelihood"
        ),
    )
    assert not any((tmp_path / "out" / "adapters").iterdir())


def test_what_a_job_teaches_and_how_it_is_related_is_stored(folder: Path, tmp_path: Path) -> None:
    matrix = done(small_study(seeds=0), folder, tmp_path / "out")
    [mood] = {row.job_key for row in matrix.rows if row.source == "mood"}
    record = json.loads((tmp_path / "out" / "adapters" / mood / "job.json").read_text())
    assert record["labels"] == ["bad", "good"]
    assert "relation" in matrix.scores.column_names
    assert {row.relation for row in matrix.rows} == {"same task", "out-of-domain", "cross-task"}


def test_choices_that_are_the_same_when_written_are_refused(tmp_path: Path) -> None:
    folder = folder_of_tasks(tmp_path)
    text = (folder / "mood.yaml").read_text()
    (folder / "mood.yaml").write_text(text.replace("- bad\n- good", "- us\n- US"))
    way = {"name": "free", "examples": 5, "scoring": "generation"}
    words = r"the choices 'us' and 'US' of mood are the same when written; ask them by likelihood"
    with pytest.raises(InputError, match=words):
        planned(folder, conditions=way)
    assert planned(folder, conditions=way | {"scoring": "likelihood"}).rows


def test_a_shown_input_is_never_trained_on(tmp_path: Path) -> None:
    """Also where its row says something else beside the input, so that its id is another."""
    folder = folder_of_tasks(tmp_path)
    rows = [json.loads(line) for line in (folder / "mood-train.jsonl").read_text().splitlines()]
    write_rows(folder / "shown.jsonl", [row | {"note": "x"} for row in rows[:3]])
    keys = yaml.safe_load((folder / "mood.yaml").read_text())
    keys["dataset_kwargs"]["data_files"]["fewshot"] = "shown.jsonl"
    keys |= {"fewshot_split": "fewshot", "fewshot_config": {"sampler": "first_n"}}
    (folder / "mood.yaml").write_text(yaml.safe_dump(keys))
    recipe = {"name": "shown", "examples": 999, "demonstrations": 3}
    _, job = planned(folder, sources=["mood"], recipes=recipe).jobs
    assert len(job.prompts) == len(rows) - 3
    inputs = {prompt.context.rpartition("\n\n")[2] for prompt in job.prompts}
    assert not inputs & {f"{row['text']}\nMood:" for row in rows[:3]}


def test_demonstrations_carry_no_loss() -> None:
    with pytest.raises(InputError, match="with them, loss must be completion"):
        small_study(recipes={"demonstrations": 2, "loss": "all"})


def test_a_plan_of_an_earlier_version_is_told(folder: Path, tmp_path: Path) -> None:
    study = small_study(sources=["mood"], targets=["mood"], seeds=0)
    before = done(study, folder, tmp_path / "out").to_csv()
    plan_file = tmp_path / "out" / "plan.json"
    rows = json.loads(plan_file.read_text())
    old = [{n: v for n, v in row.items() if n not in ("relation", "scoring")} for row in rows]
    plan_file.write_text(json.dumps(old))
    with pytest.raises(InputError, match="by an earlier version: run the same command again"):
        TransferMatrix.of(tmp_path / "out")
    assert done(study, folder, tmp_path / "out").to_csv() == before


def test_edits_change_what_is_taught_and_stand_in_key_and_store(
    folder: Path, tmp_path: Path
) -> None:
    named = {"name": "mood2", "tasks": "mood", "edits": ["rename_labels"]}
    study = small_study(sources=["mood", named], seeds=0)
    found = plan(study, folder=folder, device="cpu")
    plain, edited = found.jobs[1:]
    assert plain.ingredients == planned(folder, sources=["mood"]).jobs[1].ingredients
    assert [p.context for p in plain.prompts] == [p.context for p in edited.prompts]
    assert edited.labels == ("0", "1")
    assert edited.ingredients["edits"][0]["edit"] == "rename_labels"
    done(study, folder, tmp_path / "out")
    stored = json.loads((tmp_path / "out/study.json").read_text())["study"]["sources"]
    assert stored[0]["edits"] == []
    assert stored[1]["edits"][0]["to"] == "digits"
    job = json.loads((tmp_path / f"out/adapters/{edited.key}/job.json").read_text())
    assert job["ingredients"]["edits"] == edited.ingredients["edits"]


def test_what_an_edit_cannot_do_is_told_with_all_else(folder: Path) -> None:
    wrong = [
        {"name": "a", "tasks": "sums", "edits": ["balance"]},
        {"name": "b", "tasks": "mood", "edits": [{"edit": "skew", "label": "x", "share": 0.5}]},
        {"name": "c", "tasks": "mood", "edits": ["lengthen"]},
    ]
    with pytest.raises(InputError) as caught:
        planned(folder, sources=wrong, recipes=[{"name": "shown", "demonstrations": 2}])
    told = str(caught.value)
    assert "source a: edit balance needs a task" in told
    assert "source b: edit skew: there is no label 'x'" in told
    assert "source c: edits and demonstrations (shown) exclude each other" in told


def test_repeated_rows_and_a_lacking_original_are_told(folder: Path) -> None:
    change = {"edit": "skew", "label": "good", "share": 0.9}
    named = {"name": "mood2", "tasks": "mood", "edits": [change]}
    found = planned(folder, sources=[named], recipes=[{"name": "all", "examples": 50}])
    told = "\n".join(found.warnings)
    assert "source mood2 is edited, but mood as it is is no source" in told
    assert "training examples stand there before" in told
    assert len({prompt.id for prompt in found.jobs[1].prompts}) == len(found.jobs[1].prompts)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("shufle_labels", "no edit called 'shufle_labels'. Did you mean 'shuffle_labels'"),
        ({"edit": "grow"}, "There are: balance, skew"),
        ({"shuffle_labels": True}, "needs the key 'edit'"),
    ],
)
def test_what_is_no_edit_is_told(edit: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        small_study(sources=[{"name": "a", "tasks": "mood", "edits": [edit]}])
    assert told in str(caught.value)
    assert "tag" not in str(caught.value)


def test_an_edit_that_changes_nothing_is_told(folder: Path) -> None:
    edit = {"edit": "shorten", "words": 9}
    named = {"name": "mood2", "tasks": "mood", "edits": [edit]}
    assert "source mood2: its edits change nothing" in planned(folder, sources=[named]).warnings
