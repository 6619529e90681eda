"""An analysis as a terminal, a file and the page tell it: readable there, in full here."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crosstune.analysis.findings import Analysis, Figure, Table
from crosstune.errors import InputError, JobFailure
from crosstune.registry import Registry
from crosstune.report import page as module
from crosstune.report import payload as payload_module
from crosstune.report.findings import readable, written
from crosstune.report.page import report
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from report.parsed import SECTIONS, Parsed
from report.tables import (
    ARMS,
    HOSTILE,
    SIZES,
    analysed_page,
    analysis,
    arms,
    example,
    example_page,
    matrix,
    page_of,
    sizes,
)

# --- on a terminal ----------------------------------------------------------------------------


def test_numbers_are_readable_and_heads_say_their_unit() -> None:
    row: dict[str, Any] = {
        "arm": "lora\n · zero-shot",
        "score": 0.7512,
        "mean_gain": -0.0,
        "low": -0.123,
        "p": 0.04167,
        "q": 0.0001,
        "mean_change": 7.954e-5,
        "tokens_mean": -12345.6,
        "highest": 8e-5,
        "score_n": 12000,
        "significant": True,
        "unknown": None,
    }
    heads, rows, numeric = readable(pa.Table.from_pylist([row]))
    assert dict(zip(heads, rows[0], strict=True)) == {
        "arm": "lora · zero-shot",
        "score ×100": "75.1",
        "mean_gain ×100": "0.0",
        "low ×100": "−12.3",
        "p": "0.042",
        "q": "< 0.001",
        "mean_change": "7.95e−05",
        "tokens_mean": "−12,346",
        "highest": "8e−05",
        "score_n": "12,000",
        "significant": "yes",
        "unknown": "–",
    }
    assert numeric == [False, *[True] * 9, False, False]
    long = pa.table({"text": ["x" * 500], "gain": [float("nan")]})
    assert readable(long).rows == [[f"{'x' * 59}…", "–"]]


def test_an_interval_is_read_as_what_it_is_about() -> None:
    def heads(*names: str) -> list[str]:
        return readable(pa.table({name: [0.5] for name in names})).heads

    assert heads("gain", "low", "p_low") == ["gain ×100", "low ×100", "p_low"]
    assert heads("loading", "low", "high") == ["loading", "low", "high"]
    table = Table("t", "T", "", pa.table({"gain": [0.5, 0.5], "low": [0.25, 0.35]}))
    text = written(Analysis("a", "A", ("It is.",), (table,)), table=None, form="table")
    assert "In every row: gain ×100 50.0." in text
    assert text.splitlines()[-3:] == ["low ×100", "    25.0", "    35.0"]


def test_a_narrow_terminal_cuts_texts_and_takes_more_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [
        {"text": f"{i} is a long text" * 5, "gain": 0.125 * i}
        | {f"number_{n}": 1000 * n + n * 0.125 * i for n in range(5)}
        for i in (1, 2)
    ]
    found = analysis(wide=rows)
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = written(found, table="wide", form="table").splitlines()
    assert len(wide[-1]) > 100
    monkeypatch.setenv("COLUMNS", "50")
    narrow = written(found, table="wide", form="table").splitlines()
    assert max(map(len, narrow)) <= 50
    *_, head, head_2, _, _, row, row_2 = narrow
    assert (head + head_2).split() == wide[-3].split()
    assert row.startswith("2 is a long… ")
    assert (row + row_2).split()[4:] == wide[-1].split()[-5:]
    assert {line.index(word) + len(word) for line, word in ((head, "×100"), (row, "25.0"))} == {
        12 + 2 + len("gain ×100")
    }


def test_no_text_commands_the_terminal_and_json_has_no_other_numbers() -> None:
    wild = [{"name": "red\x1b[31m\x9b5n", "times": float("inf"), "low": float("nan")}]
    table = Table.of("wild", "W\x1b", "N\x07", columns=["name", "times", "low"], rows=wild)
    found = Analysis("a", "A", ("It says '\x1b]0;own\x07'.",), (table,))
    shown = written(found, table=None, form="table")
    assert "red [31m 5n" in shown
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    told = json.loads(written(found, table=None, form="json"), parse_constant=pytest.fail)
    assert told["tables"][0]["rows"] == [{"name": wild[0]["name"], "times": None, "low": None}]


def test_sentences_are_bullets_and_columns_stand_under_their_heads() -> None:
    found = analysis(say=" word" * 40, arms=arms()[:3])
    text = written(found, table=None, form="table")
    sentences, _, table = text.partition("\n\n")
    assert [line[:2] for line in sentences.splitlines()[1:4]] == ["- ", "  ", "  "]
    assert max(map(len, sentences.splitlines()[1:])) <= 100
    assert " ".join(sentences.split()).count("- Ship lora") == 1
    head, *rows = table.splitlines()[-4:]
    assert re.split(r"\s{2,}", head) == [
        "recipe",
        "condition",
        "score ×100",
        "gain ×100",
        "q",
        "low ×100",
        "high ×100",
        "score_low ×100",
        "score_high ×100",
    ]
    assert "In every row: family all families, setting in-domain, pairs 1,200.\n" in table
    ends = {line.index(word) + len(word) for line, word in ((head, "×100"), (rows[0], "36.7"))}
    assert len(ends) == 1
    assert head.index("condition") == rows[0].index("zero-shot") == rows[1].index("four-shot")


def test_a_long_table_is_cut_and_says_how_to_get_all() -> None:
    found = analysis(arms=arms() * 4, sizes=sizes())
    text = written(found, table=None, form="table")
    assert "… 44 more rows: --table arms shows all" in text
    assert text.endswith(f"\n\n--table sizes: Table of sizes ({len(sizes())})")
    assert text.count("more row") == 1
    assert "more row" not in written(found, table="arms", form="table")
    assert len(written(found, table="arms", form="table").splitlines()) == 144 + 4


@pytest.mark.parametrize("form", ["csv", "json"])
def test_files_have_every_row_and_digit(form: Any) -> None:
    text = written(analysis(arms=arms() * 2), table="arms", form=form)
    if form == "json":
        assert json.loads(text) == arms() * 2
        return
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["low"] for row in rows] == [
        "" if row["low"] is None else repr(row["low"]) for row in arms() * 2
    ]


def test_everything_at_once_is_json() -> None:
    found = json.loads(written(analysis(arms=arms(), sizes=sizes()), table=None, form="json"))
    assert found["sentences"] == ["Ship lora · zero-shot.", "The second sentence."]
    assert [table["name"] for table in found["tables"]] == ["arms", "sizes"]
    assert found["tables"][1]["rows"] == sizes()


@pytest.mark.parametrize(
    ("table", "form", "words"),
    [
        (
            "arm",
            "table",
            "no table called 'arm' for this study. Did you mean 'arms'?",
        ),
        ("zzz", "json", "no table called 'zzz' for this study. There are: arms, sizes."),
        (None, "csv", "A CSV file holds one table; choose it with --table: arms, sizes"),
    ],
)
def test_a_table_that_is_not_there_is_told(table: Any, form: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        written(analysis(arms=arms(), sizes=sizes()), table=table, form=form)


def test_an_analysis_without_tables_says_why() -> None:
    assert written(analysis(), table=None, form="table").endswith("- The second sentence.")
    with pytest.raises(InputError, match=r"has no tables for this study\. Ship lora · zero-shot"):
        written(analysis(), table="arms", form="table")
    with pytest.raises(InputError, match="--table: there is none for this study"):
        written(analysis(), table=None, form="csv")


# --- on the page ------------------------------------------------------------------------------


def test_an_analysis_is_a_section_between_targets_and_losses() -> None:
    parsed = Parsed(analysed_page())
    name = "analysis-generalization"
    expected = [*SECTIONS]
    expected.insert(SECTIONS.index("losses"), name)
    assert [attributes["id"] for attributes, _ in parsed.all("section")] == expected
    assert [a["href"] for a, _ in parsed.all("a")] == [f"#{section}" for section in expected]
    text = parsed.section(name)
    assert text.startswith(
        "How tuned models generalise Ship lora · zero-shot. The second sentence."
    )
    assert "Table of arms (36 rows) A row is one of arms. family setting recipe condition" in text
    assert "all familiesin-domainbasezero-shot36.7––––––1,200" in text
    (told,) = parsed.payload()["analyses"]
    assert {name: rows_of(columns) for name, columns in told["tables"].items()} == {
        "arms": arms(),
        "sizes": sizes(),
    }
    drawn = {figure["kind"]: figure for figure in told["figures"]}
    assert drawn["dots"]["columns"]["name"] == ["recipe", "condition"]
    assert drawn["dots"]["units"] | {"value": "points"} == drawn["dots"]["units"]
    assert (drawn["curves"]["units"]["x"], drawn["curves"]["rows"]) == ("", len(sizes()))


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_the_first_table_is_open_and_so_are_short_ones() -> None:
    found = analysis(arms=arms(), sizes=sizes(), long=arms(), short=arms()[:3])
    parsed = Parsed(page_of(example(), analyses=[found]))
    opened = [
        (text.split("(")[0].strip(), "open" in attributes)
        for attributes, text in parsed.all("details")
        if text.strip().startswith("Table of ")
    ]
    assert opened == [
        ("Table of arms", True),
        ("Table of sizes", True),
        ("Table of long", False),
        ("Table of short", True),
    ]


def test_a_page_without_an_analysis_has_no_such_section() -> None:
    assert Parsed(example_page()).payload()["analyses"] == []
    assert "data-analysis=" not in example_page()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_of_an_analysis_becomes_an_element(hostile: str) -> None:
    def through(text: str) -> Parsed:
        plain = text.encode("utf-8", "replace").decode("utf-8")
        named = dict.fromkeys(("family", "setting", "recipe", "condition"), plain)
        rows = [row | named for row in arms()]
        found = analysis(say=text, figures=(ARMS,), arms=rows, other=rows)
        silent = Analysis("none", text, (text,), ())
        return Parsed(page_of(example(), analyses=[found, silent]))

    tame, wild = through("tame"), through(hostile)
    assert wild.shape == tame.shape
    shown = " ".join(hostile.encode("utf-8", "replace").decode("utf-8").split())
    for section, least in (("analysis-generalization", 200), ("silent", 2)):
        texts = [page.section(section) for page in (tame, wild)]
        assert texts[0].count("tame") == texts[1].count(shown) >= least


def test_a_long_table_is_cut_on_the_page_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 20)
    monkeypatch.setitem(payload_module.MOST_DRAWN, "dots", 30)
    found = analysis(figures=(ARMS, SIZES), arms=arms(), sizes=sizes())
    parsed = Parsed(page_of(example(), analyses=[found]))
    (text,) = (text for text, rows in tables_of(parsed) if rows == 20)
    assert "1,200" in text
    told = parsed.section("analysis-generalization")
    assert "The first 20 rows; the command line has all: " in told
    assert "crosstune analyze DIR generalization --table arms --format csv" in told
    assert "--table sizes" not in told
    (drawn,) = parsed.payload()["analyses"]
    assert [*drawn["tables"]] == ["sizes"]
    assert [figure["rows"] for figure in drawn["figures"]] == [36, 12]


def tables_of(parsed: Parsed) -> list[tuple[str, int]]:
    """Text and number of rows of every table body."""
    return [(text, len(text.strip().splitlines())) for _, text in parsed.all("tbody")]


def test_what_is_no_number_is_not_drawn() -> None:
    rows = [{"recipe": "lora", "score": float("nan"), "day": None}]
    figure = Figure("dots", "arms", "Scores", "", {"name": "recipe", "value": "score"})
    absent = replace(figure, table="another")
    found = analysis(figures=(figure, absent), arms=rows)
    (told,) = Parsed(page_of(example(), analyses=[found])).payload()["analyses"]
    assert told["tables"] == {"arms": {"recipe": ["lora"], "score": [None], "day": [None]}}
    assert [drawn["table"] for drawn in told["figures"]] == ["arms"]


def test_a_figure_that_cannot_be_drawn_is_refused() -> None:
    figure = Figure("dots", "arms", "Scores", "", {"name": "recipe", "low": "nowhere recipe"})
    words = "figure 'Scores' of 'generalization' lacks: nowhere, value"
    with pytest.raises(ValueError, match=words):
        analysis(figures=[figure], arms=[{"recipe": "lora"}])


# --- from a folder ----------------------------------------------------------------------------


class Empty(Store):
    """A study of nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = {"name": "x", "model": "m", "numeric_type": "float32", "base_sha256": {}}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """The analyses of a test alone."""
    found: Registry[Any] = Registry("nothing")
    monkeypatch.setattr(module, "ANALYSES", found)
    return found


def test_every_analysis_that_applies_is_made_once(registry: Registry[Any], tmp_path: Path) -> None:
    given: list[tuple[Store, TransferMatrix]] = []

    def shape(store: Store, matrix: TransferMatrix) -> Analysis:
        given.append((store, matrix))
        return analysis(arms=arms())

    registry.add("shape")(shape)
    registry.add("silent")(lambda *_: analysis())
    store, found = Empty(tmp_path), matrix([])
    parsed = Parsed(report(store, matrix=found))
    assert given == [(store, found)]
    ids = [attributes["id"] for attributes, _ in parsed.all("section")]
    assert [name for name in ids if name not in SECTIONS] == ["analysis-generalization", "silent"]
    assert parsed.section("silent").endswith(
        "How tuned models generalise (generalization): Ship lora · zero-shot. The second sentence."
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("a file is damaged"), "a file is damaged"),
        (JobFailure("it broke"), "it broke"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_an_analysis_that_fails_leaves_the_page_and_its_reason(
    error: Exception, told: str, registry: Registry[Any], tmp_path: Path
) -> None:
    def shape(*_: object) -> Analysis:
        raise error

    registry.add("side-shape")(shape)
    parsed = Parsed(report(Empty(tmp_path), matrix=matrix([])))
    text = parsed.section("silent")
    assert text.endswith(f"Side shape (side-shape): It could not be made: {told}")
