"""The page of a study's folder: as far as the study is, and though files of it are damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from crosstune.analysis.findings import ANALYSES
from crosstune.errors import InputError
from crosstune.models import ModelReference
from crosstune.report.page import report
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.study.run import run
from report.parsed import SECTIONS, Parsed
from small import Told, folder_of_tasks, small_study
from standin import StandIn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of 3 sources, 3 targets and 2 seeds."""
    folder = folder_of_tasks(tmp_path_factory.mktemp("desk"))

    def load(reference: ModelReference, **_: str) -> StandIn:
        return StandIn(reference.identity)

    out, told = folder / "out", Told()
    run(small_study(), out=out, folder=folder, device="cpu", reporter=told, load=load)
    return out


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "study"))


def section(folder: Path, name: str) -> str:
    return Parsed(report(folder)).section(name)


def test_the_page_of_a_finished_study(made: Path) -> None:
    parsed = Parsed(report(made))
    what = parsed.section("what")
    assert (
        "was tuned on 3 sources with 1 recipe and 2 seeds; the base and the 6 tuned models" in what
    )
    assert "complete: 18 scores" in what
    assert "known of" not in what
    assert "2 seeds: intervals hold for the source." in parsed.section("matrix")
    drawn: dict[str, Any] = parsed.payload()
    cells = TransferMatrix.of(made).cells
    assert drawn["cells"]["gain"] == pytest.approx(cells["gain"].to_pylist(), rel=1e-5)
    assert len(drawn["losses"]) == 6
    assert report(made) == report(Store(made), matrix=TransferMatrix.of(made))


def test_a_part_of_a_study_has_a_page(made: Path) -> None:
    part = TransferMatrix.of(made).slice(target_family="arithmetic")
    parsed = Parsed(report(made, matrix=part))
    assert [target["name"] for target in parsed.payload()["targets"]] == ["sums"]
    assert "asked 1 target in 1 condition: 3 cells from 6 scores" in parsed.section("what")


def test_the_folder_is_left_as_it_is(copied: Path) -> None:
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}

    before = state()
    report(copied)
    assert state() == before


@pytest.mark.parametrize("text", ["{", "[]", '{"tuning": {"losses": [1]}}', None])
def test_a_damaged_or_absent_record_of_tuning_is_merely_not_known(
    copied: Path, text: str | None
) -> None:
    job = copied / "adapters" / TransferMatrix.of(copied).rows[0].job_key / "job.json"
    job.unlink() if text is None else job.write_text(text)
    assert "Not known for 1 model." in section(copied, "losses")
    assert "(known of 5 out of 6)" in section(copied, "what")


def test_a_cell_that_is_gone_is_missing(copied: Path) -> None:
    row = TransferMatrix.of(copied).rows[0]
    shutil.rmtree(copied / "scores" / row.key)
    worse = section(copied, "worse")
    assert f"{row.source} (lora, zero-shot, seed 0): 1 cell not made yet: {row.target}." in worse


def test_a_failure_is_told_with_its_reason(copied: Path) -> None:
    row = TransferMatrix.of(copied).rows[0]
    shutil.rmtree(copied / "scores" / row.key)
    store = Store(copied, writable=True)
    store.fail(row.key, {"title": "mood", "reason": "<b>memory</b> & more"})
    assert "Reason: mood: <b>memory</b> & more" in section(copied, "worse")


def test_a_planned_study_has_a_page_before_its_first_answer(copied: Path) -> None:
    for kind in ("adapters", "scores"):
        shutil.rmtree(copied / kind)
    parsed = Parsed(report(copied))
    ids = [str(attributes["id"]) for attributes, _ in parsed.all("section")]
    expected = [*SECTIONS]
    expected.insert(SECTIONS.index("losses"), "silent")
    assert [name for name in ids if not name.startswith("analysis-")] == expected
    assert "(generalization): No score is known yet." in parsed.section("silent")
    assert "could not be made" not in parsed.section("silent")
    assert "0 of 18 scores done, 18 missing, 0 failed" in parsed.section("what")


def test_every_analysis_of_a_whole_study_is_told_of(copied: Path) -> None:
    html = report(copied)
    assert "It could not be made" not in html
    parsed = Parsed(html)
    told = [part.get("id") for tag in ("section", "li") for part, _ in parsed.all(tag)]
    assert {f"analysis-{name}" for name in ANALYSES.names()} <= {*told}


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no study in"):
        report(tmp_path)
