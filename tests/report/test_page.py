"""The page is whole, opens without a network, and nothing a study names becomes markup."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable
from importlib import resources
from itertools import pairwise
from typing import Any

import pytest

from crosstune.errors import InputError
from crosstune.report import page as module
from report.parsed import SECTIONS, Parsed
from report.tables import (
    HOSTILE,
    UNKNOWN,
    believable,
    cell,
    example,
    example_page,
    job,
    jobs,
    matrix,
    page_of,
    recipe,
    study,
)

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@pytest.fixture(scope="module")
def whole() -> Parsed:
    return Parsed(example_page())


# --- the frame --------------------------------------------------------------------------------


def test_sections_stand_in_the_order_a_reader_asks(whole: Parsed) -> None:
    assert [attributes["id"] for attributes, _ in whole.all("section")] == SECTIONS
    ids = [a["id"] for _, a in whole.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for attributes, _ in whole.all("section"):
        assert attributes["aria-labelledby"] in ids
    links = [attributes["href"] for attributes, _ in whole.all("a")]
    assert links == [f"#{name}" for name in SECTIONS]
    assert {"heatmap", "by-source", "by-target", "loss-curves", "payload"} <= set(ids)


def test_headings_go_down_one_level_at_a_time(whole: Parsed) -> None:
    levels = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 == levels[0]
    assert levels.count(2) == len(SECTIONS)
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_page_loads_nothing(whole: Parsed) -> None:
    policies = [a for a, _ in whole.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = (text for attributes, text in whole.all("script") if not attributes)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert [policy["content"] for policy in policies] == [POLICY.format(digest)]
    tags = {tag for tag, _ in whole.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio"}
    names = {name for _, attributes in whole.elements for name in attributes}
    assert not names & {"src", "srcset", "action", "style"}
    assert not [name for name in names if name.startswith("on")]
    (style,) = (text for _, text in whole.all("style"))
    assert not re.search(r"@import|https?:|url\((?!['\"]?data:)", style)


def test_what_is_put_into_the_page_cannot_end_its_element() -> None:
    room = resources.files("crosstune.report")
    for file in ("page.css", *module._SCRIPTS):
        assert not re.search(r"</(?:script|style)|<!--|<script", (room / file).read_text("utf-8"))


def test_the_same_results_give_the_same_bytes() -> None:
    assert example_page().encode() == example_page().encode()
    assert example_page().startswith("<!doctype html>\n")


# --- nothing breaks out -----------------------------------------------------------------------


def through_every_channel(text: str) -> str:
    """A page of a study that says this wherever it can say anything."""
    counts = json.dumps({text: 149, "plain": 1})
    plain = text.encode("utf-8", "replace").decode("utf-8")  # a table holds no half surrogate
    names = {
        name: f"{plain} {name}" for name in ("source", "target", "recipe", "condition", "metric")
    }
    named: dict[str, Any] = {**names, "source_families": plain, "target_family": plain}
    distributions = {"answers": counts, "base_answers": counts, "truth": counts, "constant": True}
    rows = [
        cell(**named | distributions, gain=-0.3, leaked=3, contained=4),
        cell(**named | {"target": f"{plain} up"}, relation="out-of-domain"),
        cell(**named | {"target": f"{plain} gone"}, **UNKNOWN | {"status": "failed"}),
        cell(**named | {"target": f"{plain} open"}, **UNKNOWN | {"status": "missing"}),
    ]
    found = matrix(rows, reason=text)
    told = job() | {"versions": {text: text}}
    way = {"name": text, "examples": text, "shots": text, "prompt": text, "chat_template": text}
    return page_of(
        found,
        study=study(
            name=text,
            model=f"{text}@{text}",
            numeric_type=text,
            base_sha256={text: text},
            study={
                "sources": [{"name": text, "tasks": [text, text]}],
                "recipes": [recipe(**dict.fromkeys(recipe(), text) | {"method": "lora"})],
                "conditions": [way],
            },
        ),
        jobs=dict.fromkeys(jobs(found), told),
        cells={row.key: {"seconds": 1.0, "versions": {text: text}} for row in found.rows},
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_becomes_an_element(hostile: str) -> None:
    tame, wild = Parsed(through_every_channel("tame")), Parsed(through_every_channel(hostile))
    assert wild.shape == tame.shape
    assert wild.comments == tame.comments == []
    shown = " ".join(hostile.encode("utf-8", "replace").decode("utf-8").split())
    for section in ("what", "worse", "provenance"):
        assert tame.section(section).count("tame") == wild.section(section).count(shown) > 0
    assert wild.payload()["study"] == hostile
    assert list(wild.payload()["cells"]["answers"][0]) == [hostile, "plain"]
    assert "49" not in wild.all("h1")[0][1]  # {{7*7}} is no template here


# --- what it says -----------------------------------------------------------------------------


def test_the_example_tells_all_it_has(whole: Parsed) -> None:
    what, worse = whole.section("what"), whole.section("worse")
    assert "54 of 56 scores done, 1 missing, 1 failed" in what
    assert [text for _, text in whole.all("h3")] == [
        "Scores that fell",
        "Answers of nearly one class",
        "Test rows seen in training",
        "Cells that failed",
        "Cells that are missing",
    ]
    assert f"Reason: entail (lora, seed 0): {HOSTILE[0]}" in worse
    assert "No score is known to have fallen" not in worse
    assert "One seed: intervals hold for this model, not for this source." in whole.section(
        "matrix"
    )


def test_every_score_names_the_weights_that_answered(whole: Parsed) -> None:
    rows = example().rows
    lines = [attributes["title"] for attributes, _ in whole.all("code") if "title" in attributes]
    keys = [k for r in rows for k in (r.key, r.base_key, r.job_key, r.tensors_sha256) if k]
    assert lines == keys
    text = whole.section("provenance")
    assert f"{len(rows)} rows, one for every cell, seed and metric" in text
    assert rows[0].tensors_sha256 is not None
    assert rows[0].tensors_sha256[:12] in text
    assert study()["base_sha256"]["bfloat16"] in text


def test_a_long_table_of_provenance_is_left_to_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SCORES", len(example().rows) - 1)
    parsed = Parsed(example_page())
    assert parsed.all("table") == []
    told = parsed.section("provenance")
    assert "64 rows, one for every cell, seed and metric, are too many for a page: they" in told


def test_nothing_to_warn_of_is_said() -> None:
    assert "Nothing to warn of" in Parsed(page_of(matrix([cell()]))).section("worse")
    quiet = Parsed(page_of(matrix([cell(leaked=3)]))).section("worse")
    assert "Nothing to warn of" not in quiet
    assert "No score is known to have fallen (q < 0.05)" in quiet


@pytest.mark.parametrize(("losses", "folded"), [(25, 0), (26, 1), (40, 15)])
def test_the_worst_are_visible_and_the_rest_folded(losses: int, folded: int) -> None:
    rows = [cell(target=f"t{i}", gain=-0.9 + i / 100) for i in range(losses)]
    parsed = Parsed(page_of(matrix(rows)))
    worse = parsed.section("worse")
    assert worse.count("lowered") == losses
    assert (f"{folded} more" in worse) is (folded > 0)
    assert [a["start"] for a, _ in parsed.all("ol") if "start" in a] == ["26"] * (folded > 0)
    assert worse.index("lowered t0 ") < worse.index("lowered t24 ")


@pytest.mark.parametrize(
    ("seeds", "scope"),
    [
        (1, "hold for this model, not for this source"),
        (3, "3 seeds: intervals hold for the source"),
    ],
)
def test_the_scope_of_intervals_is_told(seeds: int, scope: str) -> None:
    assert scope in Parsed(page_of(matrix([cell(seeds=seeds)]))).section("matrix")


def test_models_without_a_loss_curve_are_counted() -> None:
    found = matrix([cell(source="a"), cell(source="b")])
    assert "Not known" not in Parsed(page_of(found)).section("losses")
    assert "Not known for 2 models." in Parsed(page_of(found, jobs={})).section("losses")


@pytest.mark.parametrize(
    "rows",
    [[], [cell(**UNKNOWN | {"status": "missing", "n": None, "leaked": None, "contained": None})]],
    ids=["empty", "nothing done"],
)
def test_a_study_without_answers_still_has_a_page(rows: list[dict[str, Any]]) -> None:
    parsed = Parsed(page_of(matrix(rows), jobs={}))
    assert [attributes["id"] for attributes, _ in parsed.all("section")] == SECTIONS
    assert "No cell is known yet." in parsed.section("what")
    assert "Nothing to warn of" not in parsed.section("worse")
    assert parsed.payload()["cells"]["gain"] == [None] * len(rows)


# --- size -------------------------------------------------------------------------------------


def large(classes: list[str]) -> Any:
    axes = {f"a_name_of_usual_length_{i:03}": f"family {i % 9}" for i in range(100)}
    return matrix(believable(axes, axes, classes=classes))


@pytest.mark.parametrize(
    ("classes", "left_out"),
    [(["no", "yes"], False), (["a long class " * 10, "another long class " * 10], True)],
    ids=["short", "long"],
)
def test_ten_thousand_pairs_in_two_conditions_fit(classes: list[str], left_out: bool) -> None:
    text = page_of(large(classes))
    assert len(text.encode()) <= 20_000_000
    assert ("How often each class was answered is left out" in text) is left_out
    assert text.count("too many for a page") == 1


def test_what_is_too_large_for_a_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    make: Callable[[], str] = example_page
    with pytest.raises(InputError, match=r"cannot hold this matrix \(64 cells\): make one of a"):
        make()
