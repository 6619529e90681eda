"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import standin
from crosstune import cli, models, registry
from crosstune.analysis.findings import ANALYSES, Analysis, Table
from crosstune.errors import JobFailure
from crosstune.results.matrix import TransferMatrix
from small import folder_of_tasks, small_study

SOURCES = ("mood", "sums", "both")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tasks and STUDY.yaml; models are stand-ins."""
    folder = folder_of_tasks(tmp_path / "desk")
    study = small_study(seeds=0).model_dump(mode="json")
    write_study(folder, study | {"tasks": ["mood.yaml", "tone.yaml", "sums.yaml"]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "load", standin.load)
    return folder


def write_study(folder: Path, study: dict[str, object]) -> None:
    (folder / "STUDY.yaml").write_text(yaml.safe_dump(study))


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit status of `crosstune words`."""
    monkeypatch.setattr(sys, "argv", ["crosstune", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def run(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    return call(monkeypatch, "run", folder / "STUDY.yaml", "--out", "out", "--device", "cpu")


def test_a_study_from_plan_to_matrix(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "plan", folder / "STUDY.yaml", "--device", "cpu") == 0
    told = capsys.readouterr().out
    assert "study    small: 3 sources × 3 targets × 1 recipe × 1 condition × 1 seed" in told
    assert "jobs     4 (the bare base and 3 tuned models)" in told
    assert "cells    12" in told
    assert "in float32" in told
    assert not Path("out").exists()

    assert run(monkeypatch, folder) == 0
    told, progress = capsys.readouterr()
    assert "lora · zero-shot · base score and gains × 100" in told
    assert "results: out" in told
    assert "both (lora, seed 0) → sums" in progress
    assert "100%" in progress

    assert call(monkeypatch, "status", "out") == 0
    assert "jobs   4 of 4 done\ncells  12 of 12 done, 0 missing" in capsys.readouterr().out

    assert run(monkeypatch, folder) == 0
    assert "tuning" not in capsys.readouterr().err


def test_every_format_of_the_matrix(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    capsys.readouterr()
    assert call(monkeypatch, "matrix", "out") == 0
    assert "target  metric" in capsys.readouterr().out
    assert call(monkeypatch, "matrix", "out", "--format", "csv") == 0
    told = capsys.readouterr().out
    assert told == Path("out/matrix.csv").read_text()
    assert call(monkeypatch, "matrix", "out", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(list(csv.reader(told.splitlines()))) - 1
    for name in ("same task", "out-of-domain", "cross-task"):
        assert call(monkeypatch, "matrix", "out", "--format", "csv", "--relation", name) == 0
        head, *part = capsys.readouterr().out.splitlines()
        assert [head, *part] == [told.splitlines()[0], *(x for x in told.splitlines() if name in x)]
        assert 0 < len(part) < len(rows)
    assert call(monkeypatch, "matrix", "out", "--relation", "out-of-domian") == 2
    assert "Did you mean 'out-of-domain'?" in capsys.readouterr().err
    assert call(monkeypatch, "matrix", "out", "--condition", "zero-shoot") == 2
    assert "Did you mean 'zero-shot'?" in capsys.readouterr().err
    assert call(monkeypatch, "matrix", "out", "--format", "xml") == 2
    assert "'xml' is not one of" in capsys.readouterr().err


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """An analysis of the name `shape` with a table of every cell, and a long one."""

    def found(_: object, matrix: TransferMatrix) -> Analysis:
        """What shape a study has.

        It takes no time.
        """
        cells = matrix.cells.select(["source", "target", "gain", "n"])
        tables = (
            Table("cells", "Cells", "A row is a cell.", cells),
            Table("long", "Long", "", pa.table({"x": range(100)})),
        )
        return Analysis("shape", "The shape", (f"There are {cells.num_rows} cells.",), tables)

    monkeypatch.setitem(ANALYSES._items, "shape", found)


@pytest.mark.usefixtures("shape")
def test_every_analysis_can_be_asked_for_and_is_a_section(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    assert "The shape" in Path("out/report.html").read_text()
    capsys.readouterr()
    assert call(monkeypatch, "analyze", "out", "shape") == 0
    told = capsys.readouterr().out
    assert told.startswith("The shape\n- There are 15 cells.\n\nCells (cells)\nA row is a cell.\n")
    assert told.endswith("--table long: Long (100)\n")
    assert call(monkeypatch, "analyze", "out", "shape", "--table", "long") == 0
    assert capsys.readouterr().out.splitlines()[-1].strip() == "99"
    assert call(monkeypatch, "analyze", "out", "shape", "--table", "cells", "--format", "csv") == 0
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert call(monkeypatch, "matrix", "out", "--format", "csv") == 0
    whole = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert found == [{name: row[name] for name in found[0]} for row in whole]
    assert call(monkeypatch, "analyze", "out", "shape", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["tables"][1]["rows"][99] == {"x": 99}
    part = ("--relation", "same task", "--target-family", "arithmetic")
    assert (
        call(monkeypatch, "analyze", "out", "shape", "--table", "cells", "--format", "csv", *part)
        == 0
    )
    chosen = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["target"] for row in chosen} == {"sums"}
    assert {row["source"] for row in chosen} == {"sums", "both"}
    for command in (("analyze", "out", "shape", "--table", "cells"), ("matrix", "out")):
        only = ("--format", "csv", "--source", "both", "--target", "sums")
        assert call(monkeypatch, *command, *only) == 0
        (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
        assert (row["source"], row["target"]) == ("both", "sums")
        assert call(monkeypatch, *command, "--target", "sum") == 2
        assert "target: no 'sum'. Did you mean 'sums'?" in capsys.readouterr().err
    assert call(monkeypatch, "analyze", "out", "shape", "--relation", "near") == 2
    assert "relation: no 'near'" in capsys.readouterr().err


@pytest.mark.usefixtures("shape")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--table", "cell"],
            "no table called 'cell' for this study. Did you mean 'cells'?",
        ),
        (["--format", "csv"], "A CSV file holds one table; choose it with --table: cells, long"),
        (["--format", "parquet"], "'parquet' is not one of"),
    ],
)
def test_what_an_analysis_does_not_have_is_status_2(
    words: list[str],
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(monkeypatch, folder)
    capsys.readouterr()
    assert call(monkeypatch, "analyze", "out", "shape", *words) == 2
    ended = capsys.readouterr()
    assert (told in ended.err, ended.out, "Traceback" in ended.err) == (True, "", False)


@pytest.mark.usefixtures("shape")
def test_gaps_make_the_status_of_an_analysis_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    (folder.parent / "out" / "scores" / base_key("sums")).rename("aside")
    capsys.readouterr()
    assert call(monkeypatch, "analyze", "out", "shape") == 1
    ended = capsys.readouterr()
    assert ended.out.startswith("The shape\n")
    assert ended.err.endswith("3 scores are missing; run the study again\n")
    assert call(monkeypatch, "analyze", "nowhere", "shape") == 2


@pytest.mark.usefixtures("shape")
def test_analyses_are_listed_and_hinted_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    capsys.readouterr()
    assert call(monkeypatch, "analyze", "out") == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [*ANALYSES.names()]
    width = max(map(len, ANALYSES.names()))
    assert f"{'shape':{width}}  What shape a study has." in told
    assert call(monkeypatch, "analyze", "out", "shap") == 2
    ended = capsys.readouterr()
    words = "There is no analysis called 'shap'. Did you mean 'shape'?\n"
    assert (ended.out, ended.err) == ("", words)
    assert call(monkeypatch, "analyze", "nowhere") == 2


def test_an_analysis_with_a_command_of_its_own_is_the_same_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    capsys.readouterr()
    options = ("--table", "arms", "--format", "csv", "--source", "sums")
    told = []
    for words in (("analyze", "out", "generalization"), ("generalization", "out")):
        assert call(monkeypatch, *words, *options) == 0
        told.append(capsys.readouterr().out)
        assert call(monkeypatch, *words, "--recipe", "nothing") == 2
        assert "recipe: no 'nothing'" in capsys.readouterr().err
    assert told[0] == told[1] != ""
    assert call(monkeypatch, "generalization", "--help") == 0
    help_ = capsys.readouterr().out
    assert "Which arm" in help_ or "which arm to ship" in help_
    assert "--target-family" in help_


def test_an_analysis_of_another_package_can_be_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    point = EntryPoint("outside", "test_cli:outside", "crosstune.analysis")

    def points(*, group: str, name: str = "outside") -> list[EntryPoint]:
        return [point] if (group, name) == (point.group, point.name) else []

    monkeypatch.setattr(registry, "entry_points", points)
    monkeypatch.setattr(ANALYSES, "_items", {})

    def broken(_: EntryPoint) -> None:
        raise ImportError("it is not there")

    monkeypatch.setattr(EntryPoint, "load", broken)
    capsys.readouterr()
    assert call(monkeypatch, "analyze", "out") == 0
    assert capsys.readouterr().out == "outside\n"
    found = Analysis("outside", "From outside", ("It came.",), ())
    monkeypatch.setattr(EntryPoint, "load", lambda _: lambda *_: found)
    assert call(monkeypatch, "analyze", "out", "outside") == 0
    assert capsys.readouterr().out == "From outside\n- It came.\n"


def test_a_table_of_any_models_is_asked_for_its_abilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(0)
    skill = chance.standard_normal((40, 1))
    scores = skill + 0.3 * chance.standard_normal((40, 6))
    lines = [f"model {i},{','.join(map(str, row))}" for i, row in enumerate(scores)]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["model,a,b,c,d,e,f", *lines]))
    assert call(monkeypatch, "abilities", path) == 0
    assert "1 ability" in capsys.readouterr().out
    tasks = ("--task", "b", "--task", "a", "--task", "c", "--task", "e")
    assert (
        call(monkeypatch, "abilities", path, *tasks, "--table", "loadings", "--format", "csv") == 0
    )
    rows = csv.DictReader(capsys.readouterr().out.splitlines())
    assert {row["name"] for row in rows} == {"a", "b", "c", "e"}
    assert call(monkeypatch, "abilities", tmp_path / "none.csv") == 2


MODELS = Path(__file__).resolve().parents[2] / "shared/data/matrices/obs_scaling"


@pytest.mark.skipif(not MODELS.is_dir(), reason="the published tables are not there")
def test_published_shares_are_had_without_scaling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "MMLU ARC-C HellaSwag Winograd TruthfulQA GSM8K XWinograd HumanEval".split()
    chosen = [word for name in names for word in ("--task", name)]
    path = MODELS / "base_llm_benchmark_eval.csv"
    shares = []
    for unscaled in (["--unscaled"], []):
        shown = ("--table", "shares", "--format", "csv")
        assert call(monkeypatch, "abilities", path, *chosen, *unscaled, *shown) == 0
        rows = csv.DictReader(capsys.readouterr().out.splitlines())
        shares.append([float(row["share"]) for row in rows if row["curve"] == "observed"][:3])
    assert shares[0] == pytest.approx([0.8431, 0.0997, 0.0309], abs=5e-5)
    assert shares[1] != pytest.approx(shares[0], abs=1e-2)


def test_the_help_imports_no_analysis() -> None:
    script = (
        "import sys; from crosstune import cli; sys.argv = ['crosstune', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "slow = ('crosstune.analysis', 'numpy', 'pyarrow', 'scipy')\n"
        "print([name for name in sys.modules if name.startswith(slow)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.endswith("[]\n")


def test_the_page_is_written_by_run_and_by_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    page = Path("out/report.html")
    assert f"page:    {page}" in capsys.readouterr().out
    written = page.read_text()
    assert "<h1>small</h1>" in written
    page.unlink()
    assert call(monkeypatch, "report", "out") == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text() == written
    assert call(monkeypatch, "report", "out", "--out", "elsewhere.html") == 0
    assert Path("elsewhere.html").read_text() == written
    assert call(monkeypatch, "report", "out", "--out", "no/such/folder.html") == 2
    assert "no/such/folder.html cannot be written" in capsys.readouterr().err
    assert call(monkeypatch, "report", "nowhere") == 2
    page.unlink()
    page.mkdir()
    assert run(monkeypatch, folder) == 0
    assert "no page: out/report.html cannot be written" in capsys.readouterr().err


def test_a_matrix_as_parquet_goes_to_standard_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    run(monkeypatch, folder)
    capsysbinary.readouterr()
    assert call(monkeypatch, "matrix", "out", "--format", "parquet") == 0
    rows = pq.read_table(pa.BufferReader(capsysbinary.readouterr().out)).to_pylist()
    assert call(monkeypatch, "matrix", "out", "--format", "json") == 0
    assert json.loads(capsysbinary.readouterr().out) == rows


def test_a_failed_cell_makes_the_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(standin.StandIn):
        def generate(self, *_: object, **__: object) -> list[models.TextAnswer]:
            raise JobFailure("an answer alone is longer than the model takes")

    monkeypatch.setattr(models, "load", lambda reference, **_: Failing(reference.identity))
    assert run(monkeypatch, folder) == 1
    told = capsys.readouterr()
    assert "–" in told.out
    words = "an answer alone is longer than the model takes"
    ended = "".join(f"failed: {name} (lora, seed 0) → sums: {words}\n" for name in SOURCES)
    ended += "3 scores failed\n"
    assert told.err.endswith(ended)
    assert "missing" not in told.err
    assert call(monkeypatch, "status", "out") == 1
    assert f"failed: base → sums: {words}" in capsys.readouterr().out
    assert call(monkeypatch, "matrix", "out") == 1
    assert capsys.readouterr() == (told.out.split("\nresults:")[0], ended)
    monkeypatch.setattr(models, "load", standin.load)
    assert run(monkeypatch, folder) == 0


def test_a_failed_job_is_told_once_and_not_as_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(standin.StandIn):
        def tune(self, *given: Any, **named: Any) -> models.Tuning:
            if self.calls.count("tune"):
                raise JobFailure("the loss is not finite")
            return super().tune(*given, **named)

    monkeypatch.setattr(models, "load", lambda reference, **_: Failing(reference.identity))
    assert run(monkeypatch, folder) == 1
    ended = [
        "failed: sums (lora, seed 0): the loss is not finite",
        "failed: both (lora, seed 0): the loss is not finite",
        "6 scores failed",
    ]
    assert capsys.readouterr().err.splitlines()[-3:] == ended
    (folder.parent / "out" / "scores" / base_key("mood")).rename("aside")
    assert call(monkeypatch, "matrix", "out") == 1
    missing = ["missing: mood → mood (lora, zero-shot, seed 0)"]
    assert capsys.readouterr().err.splitlines() == [
        *ended[:2],
        *missing,
        ended[2],
        "1 score is missing; run the study again",
    ]


def base_key(target: str) -> str:
    rows = csv.DictReader(Path("out/scores.csv").read_text().splitlines())
    return next(row["base_key"] for row in rows if row["target"] == target)


def test_an_interrupt_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(standin.StandIn):
        def tune(self, *_: object, **__: object) -> models.Tuning:
            raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", lambda reference, **_: Stopped(reference.identity))
    assert run(monkeypatch, folder) == 130
    assert "what was finished stays; run the same command again" in capsys.readouterr().err
    assert call(monkeypatch, "status", "out") == 0
    assert "cells  3 of 12 done, 9 missing" in capsys.readouterr().out
    assert call(monkeypatch, "matrix", "out") == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "missing: mood → mood (lora, zero-shot, seed 0)"
    assert told[9:] == ["9 scores are missing; run the study again"]
    assert run(monkeypatch, folder) == 130


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sources": ["moood"]}, "sources[0]: there is no task called 'moood'. Did you mean"),
        ({"seeds": []}, "STUDY.yaml cannot be run:\n  - seeds: must not be empty"),
        ({"model": "nothing/../here"}, "There is no model called 'nothing/../here'"),
        ({"tasks": ["none/*.yaml"]}, "none/*.yaml"),
        ({"name": "../x"}, "name: '../x' is not a name"),
    ],
)
def test_wrong_input_is_status_2_and_only_its_text(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    words: str,
) -> None:
    study = yaml.safe_load((folder / "STUDY.yaml").read_text())
    write_study(folder, study | change)
    assert run(monkeypatch, folder) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert "Traceback" not in told.err
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["status", "matrix"])
def test_a_folder_without_a_study_is_status_2(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, command, tmp_path / "nothing") == 2
    assert "There is no study in" in capsys.readouterr().err


def test_tasks_are_listed_shown_and_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ["--tasks", str(folder / "mood.yaml")]
    assert call(monkeypatch, "tasks", "list", *mine) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()].count("mood") == 1
    assert call(monkeypatch, "tasks", "show", "mood", *mine) == 0
    shown = capsys.readouterr().out
    assert "first test example:" in shown
    assert "Mood:" in shown
    assert call(monkeypatch, "tasks", "check", "mood", *mine) == 0
    assert capsys.readouterr().out == "mood: good\n"
    assert call(monkeypatch, "tasks", "check", "moood", *mine) == 2
    assert "There is no task called:\n  - 'moood'. Did you mean 'mood'?" in capsys.readouterr().err


def test_a_task_that_breaks_its_contract_is_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mood-test.jsonl").write_text((folder / "mood-train.jsonl").read_text())
    assert call(monkeypatch, "tasks", "check", "mood", "--tasks", folder / "mood.yaml") == 1
    assert "mood: " in capsys.readouterr().out


def test_doctor_tells_versions_and_numeric_types(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "doctor") == 0
    told = capsys.readouterr().out
    for word in (
        "python",
        "torch",
        "transformers",
        "peft",
        "numeric type 'auto' means",
        "embedded",
    ):
        assert word in told


def test_status_answers_at_once_and_imports_nothing_heavy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, folder)
    code = (
        "import sys; sys.argv = ['crosstune', 'status', 'out']\n"
        "from crosstune.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 3
    heavy = ("torch", "transformers", "datasets", "pandas", "pyarrow", "yaml", "numpy")
    assert [name for name in heavy if f"'{name}'" in done.stdout] == []


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crosstune", "status", "nowhere"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "There is no study in nowhere\n")


@pytest.mark.parametrize("place", ["file/x", "/proc/x"])
def test_a_folder_that_cannot_be_made_is_status_2(
    place: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("")
    assert call(monkeypatch, "run", folder / "STUDY.yaml", "--out", place, "--device", "cpu") == 2
    assert f"{place} cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "matrix"])
def test_altered_files_are_told_in_a_line(
    command: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(monkeypatch, folder)
    (Path("out/failures") / f"{'0' * 64}.json").write_text('{"title": ')
    capsys.readouterr()
    assert call(monkeypatch, command, "out") == 0
    told = capsys.readouterr().err
    assert told == f"failures/{'0' * 64}.json is damaged; it is left out\n"
    for name, content in {"plan.json": "{}", "study.json": "[1]"}.items():
        Path("out", name).write_text(content)
        assert call(monkeypatch, command, "out") == 2
        told = capsys.readouterr().err
        assert told == f"out/{name} is damaged: remove it and run the study again\n"


def test_damaged_files_are_mended_as_the_message_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, folder)
    failure = Path("out/failures") / f"{'0' * 64}.json"
    failure.write_text("")
    Path("out/study.json").write_text('{"format"')
    whole = Path("out/matrix.csv").read_text()
    assert run(monkeypatch, folder) == 2
    assert "study.json is damaged: remove it and run the study again" in capsys.readouterr().err
    Path("out/study.json").unlink()
    assert run(monkeypatch, folder) == 0
    told = capsys.readouterr().err
    assert f"{failure.name} is damaged" in told
    assert "tuning" not in told
    assert not failure.exists()
    assert Path("out/matrix.csv").read_text() == whole
