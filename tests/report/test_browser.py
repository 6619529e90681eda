"""The page in a real browser shows the numbers of the cells, to eyes, mouse, keyboard and files."""

from __future__ import annotations

import csv
import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from report.browser import Reader, chromium, contrast
from report.tables import (
    HOSTILE,
    SOURCES,
    TARGETS,
    believable,
    cell,
    example,
    example_page,
    jobs,
    matrix,
    page_of,
    study,
)

SVG = "{http://www.w3.org/2000/svg}"
ROWS = example().cells.to_pylist()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield Reader(driver, tmp_path_factory.mktemp("page"))
    driver.quit()


@pytest.fixture
def reader(browser: Reader) -> Iterator[Reader]:
    browser.open(example_page())
    yield browser
    assert browser.complaints() == []


# --- the same numbers, worked out here --------------------------------------------------------


def points(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    told = float(f"{value:.6g}")  # as many digits as the page holds
    tenths = Decimal(100 * told).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    return f"{tenths + 0:{'+' if sign and tenths else ''}}".replace("-", "−")


def stars(row: Mapping[str, Any]) -> str:
    limits = (0.05, 0.01, 0.001)
    return "" if row["q"] is None else "*" * sum(row["q"] < limit for limit in limits)


def shown(row: Mapping[str, Any]) -> str:
    marks = {"missing": "–", "failed": "✕"}
    return marks.get(row["status"], points(row["gain"], sign=True) + stars(row))


def rows_of(condition: str = "zero-shot", metric: str | None = None) -> list[dict[str, Any]]:
    here = [row for row in ROWS if row["condition"] == condition]
    return [row for row in here if (row["main"] if metric is None else row["metric"] == metric)]


def gain_of(source: str, target: str) -> float | None:
    found = [r for r in rows_of() if (r["source"], r["target"]) == (source, target)]
    gain: float | None = found[0]["gain"]
    return gain


def mean_of(rows: list[dict[str, Any]]) -> float | None:
    abroad = [r["gain"] for r in rows if r["relation"] == "other family" and r["gain"] is not None]
    return sum(abroad) / len(abroad) if abroad else None


def best_first(names: list[str], value: Callable[[str], float | None]) -> list[str]:
    known = [name for name in names if value(name) is not None]
    return sorted(known, key=lambda name: -(value(name) or 0)) + [
        name for name in names if name not in known
    ]


def told(row: Mapping[str, Any]) -> dict[str, str]:
    def chance(value: float) -> str:
        return "< 0.001" if value < 0.001 else f"{value:.3f}"

    facts = {"base → tuned": f"{points(row['base'])} → {points(row['score'])}"}
    if row["gain"] is not None:
        low, high = (points(row[end], sign=True) for end in ("low", "high"))
        facts["95 % interval"] = f"{low} to {high}"
        facts["speaks of"] = "this model, not this source: one seed"
        facts["q"] = f"{chance(row['q'])} (p {chance(row['p'])}, {row['method']})"
        facts["could have shown"] = f"{points(row['detectable'])} or more"
    facts["test examples"] = f"{row['n']}, seeds {row['seeds']}"
    whole = f"⚑ {row['leaked']} test inputs stand in the source's training rows"
    part = f"⚐ {row['contained']} test rows have a field contained in a training input"
    facts["leakage"] = whole if row["leaked"] else part if row["contained"] else "none found"
    return facts


INTERESTING = {
    "same task": ("reviews", "reviews"),
    "leaked": ("entail", "syllogism"),
    "contained": ("entail", "counting"),
    "two metrics": ("mix", "spelled"),
    "missing": ("reviews", "sums"),
    "failed": ("entail", "words"),
}


def row_at(source: str, target: str) -> dict[str, Any]:
    return next(r for r in rows_of() if (r["source"], r["target"]) == (source, target))


def test_what_is_picked_out_below_is_what_it_is_called() -> None:
    found = {name: row_at(*place) for name, place in INTERESTING.items()}
    assert found["leaked"]["leaked"] == 12
    assert found["contained"]["contained"] == 47
    assert [found[name]["status"] for name in ("missing", "failed")] == ["missing", "failed"]


# --- loading ----------------------------------------------------------------------------------


def test_the_page_opens_from_disk_quietly_and_asks_nothing_of_a_network(reader: Reader) -> None:
    reader.unfold()
    assert reader.asked("performance.getEntriesByType('resource')") == []
    assert reader.asked("document.title") == "example · crosstune"
    empty = [
        i for i in ("heatmap", "by-source", "by-target", "loss-curves") if not reader.all(f"#{i} *")
    ]
    assert empty == []


def test_every_cell_shows_its_gain_and_stars(reader: Reader) -> None:
    drawn = reader.matrix()
    assert {(r["target"], r["source"]): shown(r) for r in rows_of()}.items() <= drawn.items()
    for target in TARGETS:
        rows = [r for r in rows_of() if r["target"] == target]
        assert drawn[target, "mean gain"] == points(mean_of(rows), sign=True)
        base = next(r["base"] for r in rows if r["base"] is not None)
        assert drawn[target, "base score"] == points(base)
    for source in SOURCES:
        rows = [r for r in rows_of() if r["source"] == source]
        assert drawn["mean gain", source] == points(mean_of(rows), sign=True)
    assert drawn["mean gain", "mean gain"] == points(mean_of(rows_of()), sign=True)


def test_marks_stand_on_the_cells_they_are_about_and_nowhere_else(reader: Reader) -> None:
    for row in rows_of():
        found = reader.cell(row["source"], row["target"])
        marks = "⚑" if row["leaked"] else "⚐" if row["contained"] else ""
        marks += "▬" if row["constant"] else ""
        assert "".join(e.text for e in found.find_elements(By.TAG_NAME, "i")) == marks
        kinds = (found.get_attribute("class") or "").split()
        assert row["relation"].replace(" ", "-") in kinds
        assert (row["status"] in kinds) == (row["status"] != "done")
        assert ("sure" in kinds) == bool(stars(row))


def test_stars_come_from_q_and_an_unknown_q_has_none(browser: Reader) -> None:
    values = {"a": 0.0009, "b": 0.001, "c": 0.0099, "d": 0.01, "e": 0.0499, "f": 0.05, "g": None}
    browser.open(page_of(matrix([cell(source=name, q=q) for name, q in values.items()])))
    drawn = browser.matrix()
    found = {name: drawn["entail", name].removeprefix("+10.0") for name in values}
    assert found == {"a": "***", "b": "**", "c": "**", "d": "*", "e": "*", "f": "", "g": ""}


def test_ties_are_rounded_as_in_the_tables_beside(browser: Reader) -> None:
    gains = {"a": 0.0625, "b": 0.0675, "c": -0.0625, "d": -0.00049, "e": 0.1234}
    browser.open(page_of(matrix([cell(source=name, gain=gain) for name, gain in gains.items()])))
    drawn = browser.matrix()
    found = {name: drawn["entail", name].rstrip("*") for name in gains}
    assert found == {"a": "+6.2", "b": "+6.8", "c": "−6.2", "d": "0.0", "e": "+12.3"}


# --- one cell ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", INTERESTING.values(), ids=INTERESTING)
def test_pointing_at_a_cell_tells_its_numbers(reader: Reader, place: tuple[str, str]) -> None:
    row = row_at(*place)
    reader.point_at(reader.cell(*place))
    assert reader.detail() == (f"{row['source']} → {row['target']}", told(row))
    way = [row[name] for name in ("relation", "recipe", "condition", "metric")]
    assert reader.texts("#detail .quiet")[0] == " · ".join(way)
    headline = f"{points(row['gain'], sign=True)} points {stars(row)}".strip()
    state = f"{shown(row)} {row['status']}"
    expected = headline if row["status"] == "done" else state
    assert reader.texts("#detail .headline") == [expected]


def test_the_mouse_that_leaves_gives_way_to_the_focus(reader: Reader) -> None:
    reader.point_at(reader.cell("sums", "words"))
    reader.point_at(reader.one("#detail dd"))  # to read it, or copy from it
    assert reader.detail()[0] == "sums → words"
    reader.point_at(reader.one("#matrix h2"))
    assert reader.detail() == ("", {})
    reader.cell("mix", "sums").click()
    for elsewhere in ("#detail dd", "#matrix h2"):
        reader.point_at(reader.cell("sums", "words"))
        assert reader.detail()[0] == "sums → words"
        reader.point_at(reader.one(elsewhere))
        assert reader.detail()[0] == "mix → sums"


@pytest.mark.parametrize("place", INTERESTING.values(), ids=INTERESTING)
def test_so_does_the_keyboard(reader: Reader, place: tuple[str, str]) -> None:
    reader.driver.execute_script("arguments[0].focus()", reader.cell(*place))
    row = row_at(*place)
    assert reader.detail() == (f"{row['source']} → {row['target']}", told(row))
    assert reader.one("#detail").get_attribute("aria-live") == "polite"
    reader.press(Keys.ESCAPE)
    assert reader.detail() == ("", {})


def test_answers_of_base_and_tuned_model_stand_beside_the_truth(reader: Reader) -> None:
    row = row_at("entail", "counting")
    reader.point_at(reader.cell("entail", "counting"))
    assert reader.texts("#detail .answers thead th") == ["answer", "base", "tuned", "truth"]
    parts = [json.loads(row[name]) for name in ("base_answers", "answers", "truth")]
    found = {}
    for line in reader.all("#detail .answers tbody tr"):
        name = line.find_element(By.TAG_NAME, "th").text
        found[name] = [int(part.text) for part in line.find_elements(By.TAG_NAME, "td")]
    assert found == {name: [part[name] for part in parts] for name in parts[0]}
    widths = reader.asked(
        "[...document.querySelectorAll('#detail .bar')].map((e) => e.style.cssText)"
    )
    assert widths[1] == f"--share: {100 * max(parts[1].values()) / 150:.1f}%;"
    reader.point_at(reader.cell("mix", "spelled"))
    assert reader.all("#detail .answers") == []


def test_several_seeds_speak_of_the_source(browser: Reader) -> None:
    browser.open(page_of(matrix(believable(seeds=3))))
    browser.point_at(browser.cell("sums", "words"))
    assert browser.detail()[1]["speaks of"] == "this source: 3 seeds"


def test_a_tap_tells_of_a_cell_until_it_is_closed(browser: Reader) -> None:
    browser.open(example_page(), width=400)
    browser.tap(browser.cell("reviews", "words"))
    assert browser.detail() == ("reviews → words", told(row_at("reviews", "words")))
    browser.tap(browser.one("#detail .close"))
    assert browser.detail() == ("", {})


# --- the keyboard -----------------------------------------------------------------------------


def test_the_keyboard_alone_reaches_the_matrix_and_walks_in_it(reader: Reader) -> None:
    presses = 0
    while not reader.active():
        reader.press(Keys.TAB)
        presses += 1
        assert presses < 40
    assert reader.active() == ["0", "base"]
    walk = {
        Keys.ARROW_RIGHT: ["0", "0"],
        Keys.ARROW_DOWN: ["1", "0"],
        Keys.END: ["1", "mean"],
        Keys.ARROW_LEFT: ["1", "3"],
        Keys.ARROW_UP: ["0", "3"],
        Keys.HOME: ["0", "name"],
    }
    for key, place in walk.items():
        reader.press(key)
        assert reader.active() == place
    reader.press(Keys.ARROW_LEFT)
    assert reader.active() == ["0", "name"]
    assert len(reader.all('[role=grid] [tabindex="0"]')) == 1
    reader.press(Keys.TAB)
    assert reader.active() == []


def test_sorting_by_the_keyboard_keeps_the_place(reader: Reader) -> None:
    reader.driver.execute_script("arguments[0].focus()", reader.header("sums", "thead"))
    reader.press(Keys.ENTER)
    assert reader.one("[aria-sort]").text == "sums"
    assert reader.active() == ["head", "2"]


def test_what_has_the_focus_is_seen_to_have_it(reader: Reader) -> None:
    reader.driver.execute_script("arguments[0].focus()", reader.cell("sums", "words"))
    reader.press(Keys.ARROW_DOWN)
    style = "getComputedStyle(document.activeElement)"
    assert reader.asked(f"{style}.outlineStyle") == "solid"
    assert reader.asked(f"{style}.outlineWidth") == "3px"


# --- order and choice -------------------------------------------------------------------------


def test_a_columns_header_sorts_the_rows_by_its_gain(reader: Reader) -> None:
    up = best_first(list(TARGETS), lambda target: gain_of("reviews", target))
    assert up[-1] == "sums"  # it is missing
    down = [*up[:-1][::-1], "sums"]
    for order, state in ((up, "descending"), (down, "ascending"), (list(TARGETS), None)):
        reader.header("reviews", "thead").click()
        assert reader.rows() == order
        assert [e.get_attribute("aria-sort") for e in reader.all("[aria-sort]")] == (
            [state] if state else []
        )
    assert reader.columns() == list(SOURCES)


def test_a_rows_header_sorts_the_columns_by_its_gain(reader: Reader) -> None:
    up = best_first(list(SOURCES), lambda source: gain_of(source, "words"))
    assert up[-1] == "entail"  # it failed
    for order in (up, [*up[:-1][::-1], "entail"], list(SOURCES)):
        reader.header("words", "tbody").click()
        assert reader.columns() == order
    assert reader.rows() == list(TARGETS)


def test_numbers_go_with_their_row_and_column_when_sorted(reader: Reader) -> None:
    before = reader.matrix()
    reader.header("mix", "thead").click()
    reader.header("counting", "tbody").click()
    after = reader.matrix()
    assert list(after) != list(before)
    assert after == before
    reader.point_at(reader.cell("sums", "words"))
    assert reader.detail() == ("sums → words", told(row_at("sums", "words")))


def test_orders_can_be_chosen(reader: Reader) -> None:
    def mean(name: str) -> float | None:
        return mean_of([r for r in rows_of() if name == r["source"]])

    expected = {
        "name": sorted(SOURCES),
        "family": sorted(SOURCES, key=lambda name: SOURCES[name]),
        "mean gain": best_first(list(SOURCES), mean),
        "order of the study": list(SOURCES),
    }
    for order, names in expected.items():
        reader.choose("order of sources", order)
        assert reader.columns() == names
    reader.choose("order of targets", "name")
    assert reader.rows() == sorted(TARGETS)
    reader.header("mix", "thead").click()
    assert reader.control("order of targets").get_attribute("value") == "clicked"


def test_families_can_be_left_out(reader: Reader) -> None:
    reader.choose("targets' family", "sentiment")
    assert reader.rows() == [name for name in TARGETS if TARGETS[name] == "sentiment"]
    reader.choose("sources' family", "arithmetic")
    assert reader.columns() == ["sums", "mix"]
    left = [r for r in rows_of() if r["source"] == "sums" and r["target"] in ("reviews", "words")]
    assert reader.matrix()["mean gain", "sums"] == points(mean_of(left), sign=True)
    reader.choose("targets' family", "all")
    assert reader.rows() == list(TARGETS)


def test_only_significant_gains_can_be_shown(reader: Reader) -> None:
    reader.control("significant only").click()
    drawn = reader.matrix()
    for row in rows_of():
        text = shown(row) if stars(row) or row["status"] != "done" else ""
        assert drawn[row["target"], row["source"]] == text
    reader.control("significant only").click()
    assert drawn != reader.matrix()


def test_the_condition_and_the_metric_can_be_chosen(reader: Reader) -> None:
    reader.choose("recipe · condition", "lora · four-shot")
    four = {(r["target"], r["source"]): shown(r) for r in rows_of("four-shot")}
    assert four.items() <= reader.matrix().items()
    reader.choose("metric", "f1")
    assert reader.rows() == ["spelled"]
    f1 = {(r["target"], r["source"]): shown(r) for r in rows_of("four-shot", "f1")}
    assert f1.items() <= reader.matrix().items()
    reader.point_at(reader.cell("mix", "spelled"))
    assert reader.texts("#detail .quiet")[0].endswith("lora · four-shot · f1")
    reader.choose("targets' family", "sentiment")
    assert reader.texts("#heatmap .box") == ["No source or no target is of that family."]


# --- sources, targets, losses -----------------------------------------------------------------


def test_each_source_and_target_has_its_gains_and_a_summary(reader: Reader) -> None:
    for place, field, names in (
        ("#by-source", "source", SOURCES),
        ("#by-target", "target", TARGETS),
    ):
        for number, name in enumerate(names):
            rows = [r for r in rows_of() if r[field] == name]
            up = sum(bool(stars(r)) and r["gain"] > 0 for r in rows)
            down = sum(bool(stars(r)) and r["gain"] < 0 for r in rows)
            unknown = sum(r["gain"] is None for r in rows)
            text = f"{name} {up} significantly up, {down} down, {len(rows) - up - down - unknown}"
            text += " undecided" + (f", {unknown} not known" if unknown else "")
            assert reader.texts(f"{place} summary")[number] == text
    assert [e.get_attribute("open") for e in reader.all("#by-source details")][:2] == ["true", None]


def test_a_figure_shows_gains_with_their_intervals_and_follows_the_condition(
    reader: Reader,
) -> None:
    def titles(condition: str) -> list[str]:
        rows = [r for r in rows_of(condition) if r["source"] == "sums"]
        rows.sort(key=lambda r: -r["gain"])
        return [
            f"{r['target']} ({r['relation']}): {points(r['gain'], sign=True)}, 95 % interval "
            f"{points(r['low'], sign=True)} to {points(r['high'], sign=True)}"
            for r in rows
        ]

    reader.unfold("#by-source details:nth-child(3)")
    figure = "#by-source details:nth-child(3) svg"
    assert reader.texts(f"{figure} g title") == titles("zero-shot")
    reader.choose("recipe · condition", "lora · four-shot")
    assert reader.texts(f"{figure} g title") == titles("four-shot")
    label = "Gains of sums by target, lora · four-shot"
    assert reader.one(figure).get_attribute("aria-label") == label


def test_a_whisker_reaches_from_low_to_high_on_the_axis(reader: Reader) -> None:
    drawn = reader.asked(
        "[...document.querySelectorAll('#by-source details:first-child svg g')].map((g) =>"
        " [g.querySelector('text').textContent, ...['x1', 'x2'].map((x) =>"
        " Number(g.querySelector('line')?.getAttribute(x))),"
        " Number(g.querySelector('circle')?.getAttribute('cx'))])"
    )
    zero = float(reader.one("#by-source .zero").get_attribute("x1") or "nan")
    rows = {r["target"]: r for r in rows_of() if r["source"] == "reviews"}
    known = [(x, rows[name]) for name, *x in drawn if rows[name]["gain"] is not None]
    assert len(drawn) == len(known) + 1 == len(TARGETS)
    scale = (known[0][0][2] - zero) / known[0][1]["gain"]
    for (low, high, middle), row in known:
        expected = [zero + scale * row[name] for name in ("low", "high", "gain")]
        assert [low, high, middle] == pytest.approx(expected, abs=0.05)


def test_loss_curves_have_a_panel_for_every_source_and_a_range_of_their_own(reader: Reader) -> None:
    panels = "#loss-curves svg > g"
    names = reader.texts(f"{panels} > title")
    assert names == [f"{source}: lora, seed 0" for source in SOURCES]
    every = "[...document.querySelectorAll('#loss-curves polyline')]"
    lines = f"{every}.map((line) => line.getAttribute('points'))"
    shared = reader.asked(lines)
    assert [len(line.split()) for line in shared] == [50] * 2 * len(SOURCES)
    highest = [min(float(p.split(",")[1]) for p in line.split()) for line in shared[::2]]
    assert highest == sorted(
        highest, reverse=True
    )  # the example's losses rise from source to source
    assert len(set(highest)) == len(SOURCES)
    reader.control("same range for all").click()
    own = [min(float(p.split(",")[1]) for p in line.split()) for line in reader.asked(lines)[::2]]
    assert len(set(own)) == 1


# --- files ------------------------------------------------------------------------------------


def test_the_matrix_is_saved_as_a_picture_with_all_its_cells(reader: Reader) -> None:
    root = ElementTree.fromstring(reader.saved("Save matrix as SVG"))
    assert len(root.findall(f".//{SVG}rect[@class='cell']")) == len(SOURCES) * len(TARGETS)
    drawn = {
        "".join("".join(part.itertext()) for part in group.findall(f"{SVG}text")).rstrip("⚑⚐▬")
        for group in root.iter(f"{SVG}g")
    }
    assert drawn == {shown(row) for row in rows_of()}
    assert set(SOURCES) | set(TARGETS) <= {"".join(e.itertext()) for e in root.iter(f"{SVG}text")}
    reader.choose("targets' family", "sentiment")
    root = ElementTree.fromstring(reader.saved("Save matrix as SVG"))
    assert len(root.findall(f".//{SVG}rect[@class='cell']")) == len(SOURCES) * 2


def test_and_as_pixels(reader: Reader) -> None:
    root = ElementTree.fromstring(reader.saved("Save matrix as SVG"))
    picture = reader.saved("Save matrix as PNG")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    size = struct.unpack(">II", picture[16:24])
    assert size == pytest.approx([2 * float(root.attrib[n]) for n in ("width", "height")], abs=2)
    parts, place = b"", 8
    while place < len(picture):
        length, kind = struct.unpack_from(">I4s", picture, place)
        parts += picture[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += length + 12
    assert len(set(zlib.decompress(parts))) > 100  # an empty canvas has but zeros


def test_what_is_shown_is_saved_as_numbers(reader: Reader) -> None:
    def saved(label: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(reader.saved(label).decode("utf-8"), newline="")))

    found = {(row["source"], row["target"]): row for row in saved("Save matrix as CSV")}
    assert len(found) == len(rows_of())
    texts = ("relation", "recipe", "condition", "metric", "scope", "method", "status")
    numbers = "seeds n base score gain low high p q detectable leaked contained".split()
    for row in rows_of():
        line = found[row["source"], row["target"]]
        assert [line[name] or None for name in texts] == [row[name] for name in texts]
        known = [name for name in numbers if row[name] is not None]
        assert [name for name in numbers if line[name]] == known
        read = [float(line[name]) for name in known]
        assert read == pytest.approx([row[name] for name in known], rel=1e-5)
        constant = "" if row["constant"] is None else str(row["constant"]).lower()
        assert line["constant"] == constant
    reader.control("significant only").click()
    left = {(row["source"], row["target"]) for row in saved("Save matrix as CSV")}
    sure = [r for r in rows_of() if stars(r) or r["status"] != "done"]
    assert left == {(r["source"], r["target"]) for r in sure}


def test_figures_are_saved_with_the_table_behind_them(reader: Reader) -> None:
    for label in ("Gains of reviews by target", "Gains on reviews by source", "loss curves"):
        ElementTree.fromstring(reader.saved(f"Save {label} as SVG"))
    lines = reader.saved("Save Gains of reviews by target as CSV").decode().splitlines()
    assert len(lines) == 1 + len(TARGETS)
    text = reader.saved("Save loss curves as CSV").decode()
    losses = list(csv.DictReader(io.StringIO(text, newline="")))
    told = [entry["tuning"]["losses"] for entry in jobs(example()).values()]
    assert [float(row["loss"]) for row in losses] == [loss for part in told for loss in part]
    assert [int(row["step"]) for row in losses[:50]] == list(range(1, 51))


# --- what others wrote ------------------------------------------------------------------------


def test_no_name_becomes_more_than_text(browser: Reader) -> None:
    ends = (*HOSTILE[:5], "a\u2028b\u2029c", 'quote",comma\nline', "\x01control")
    names = dict.fromkeys(ends, "<b>family</b>")
    targets = {**names, "</title><svg onload='window.broken = 1'>": "<i>other</i>"}
    found = matrix(believable(names, targets, conditions=HOSTILE[:2], classes=HOSTILE[2:4]))
    browser.open(page_of(found, study=study(name=HOSTILE[1])))
    assert browser.complaints() == []
    browser.unfold()
    for place in range(len(targets)):
        browser.point_at(
            browser.all("[role=grid] tbody tr")[place].find_elements(By.TAG_NAME, "td")[3]
        )
    assert browser.detail()[0].startswith(f"{HOSTILE[2]} → </title>")
    assert browser.asked("window.broken ?? null") is None
    assert browser.all("img, b b, [onerror], [onload], #heatmap svg, iframe, object") == []
    assert len(browser.all("script")) == 2
    assert browser.texts("[role=grid] tbody th")[1] == HOSTILE[1]
    root = ElementTree.fromstring(browser.saved("Save matrix as SVG"))
    assert not [e for e in root.iter() if e.tag in (f"{SVG}script", f"{SVG}img")]
    text = browser.saved("Save matrix as CSV").decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["source"] for row in rows} >= {HOSTILE[0], HOSTILE[1], 'quote",comma\nline'}
    assert browser.complaints() == []


# --- screens ----------------------------------------------------------------------------------


def test_on_a_narrow_screen_the_matrix_scrolls_and_the_page_does_not(browser: Reader) -> None:
    browser.open(example_page(), width=400)
    browser.unfold()
    browser.driver.execute_script("arguments[0].focus()", browser.cell("sums", "words"))
    assert browser.asked("document.documentElement.scrollWidth") <= 400
    box = "document.querySelector('#heatmap .box')"
    assert browser.asked(f"{box}.scrollWidth > {box}.clientWidth")
    browser.driver.execute_script(f"{box}.scrollLeft = 10000")
    label = "document.querySelector('[role=grid] tbody th').getBoundingClientRect().left"
    assert browser.asked(f"{label} - {box}.getBoundingClientRect().left") == pytest.approx(0, abs=1)
    drawn = "[...document.querySelectorAll('svg text')].map((text) => text.getScreenCTM())"
    scales = browser.asked(f"{drawn}.map(({{a, b}}) => Math.hypot(a, b))")
    assert min(scales) > 0.99  # no figure is shrunk until nobody can read it


def test_what_stays_in_view_hides_no_cell_that_has_the_focus(browser: Reader) -> None:
    browser.open(example_page(), width=400)
    browser.driver.execute_script("arguments[0].focus()", browser.cell("mix", "reviews"))
    edges = "(({left, bottom}) => [left, bottom])(document.activeElement.getBoundingClientRect())"
    names = "document.querySelector('[role=grid] tbody th').getBoundingClientRect().right"
    sheet = "document.querySelector('#detail').getBoundingClientRect().top"
    walk = [Keys.ARROW_DOWN] * 6 + [Keys.ARROW_LEFT] * 3
    for key in walk:
        browser.press(key)
        left, bottom = browser.asked(edges)
        assert left >= browser.asked(names)
        assert bottom <= browser.asked(sheet)
    assert browser.active() == ["6", "0"]


def test_on_paper_stars_and_marks_stay_in_their_cells(reader: Reader) -> None:
    reader.command("Emulation.setEmulatedMedia", {"media": "print"})
    box = "(e) => (({x, y, right, bottom}) => [x, y, right, bottom])(e.getBoundingClientRect())"
    inside = reader.asked(
        "[...document.querySelectorAll('[role=grid] :is(sup, i)')].map((e) =>"
        f" [({box})(e.closest('td')), ({box})(e)])"
    )
    reader.command("Emulation.setEmulatedMedia", {"media": ""})
    assert len(inside) > 10
    for (x, y, right, bottom), part in inside:
        assert x <= part[0] <= part[2] <= right
        assert y <= part[1] <= part[3] <= bottom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_colour(browser: Reader, scheme: str) -> None:
    browser.open(example_page(), scheme=scheme)
    browser.point_at(browser.cell("entail", "counting"))
    selector = "[role=grid] :is(td, th, th button), #detail :is(dt, dd, p, th, td), .legend li, h2"
    found = browser.colours(f"{selector}, .quiet:not(svg *), summary, nav a, label span, .swatch")
    assert len(found) > 100
    poor = [(text, contrast(ink, ground)) for text, ink, ground in found]
    assert [(text, ratio) for text, ratio in poor if ratio < 4.5] == []


def test_colours_tell_gain_from_loss_and_are_pale_when_it_may_be_chance(reader: Reader) -> None:
    def tint(source: str, target: str) -> tuple[float, ...]:
        place = [list(TARGETS).index(target), list(SOURCES).index(source)]
        selector = "[role=grid] td[data-row='{}'][data-column='{}']".format(*place)
        return reader.colours(selector)[0][2]

    red, _, blue = tint("sums", "sums")
    assert blue - red > 0.3  # the largest gain
    red, _, blue = tint("entail", "spelled")
    assert red - blue > 0.3  # the largest loss
    assert not stars(row_at("entail", "counting"))
    assert min(tint("entail", "counting")) > 0.85


def test_a_dark_screen_is_dark_and_a_light_one_light(browser: Reader) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        browser.open(example_page(), scheme=scheme)
        grounds[scheme] = browser.colours("h1")[0][2]
    assert min(grounds["light"]) > 0.9
    assert max(grounds["dark"]) < 0.2


def test_a_large_matrix_is_drawn_and_sorted_at_once(browser: Reader) -> None:
    names = {f"task_{i}": f"family_{i % 10}" for i in range(100)}
    rows = believable(names, names, conditions=["zero-shot"])
    browser.open(page_of(matrix(rows)))
    assert len(browser.all("[role=grid] td")) == 101 * 102
    began = time.monotonic()
    browser.driver.execute_script("turn('rows', 3); document.body.offsetHeight")
    assert time.monotonic() - began < 5
    best = best_first(
        list(names),
        lambda t: next(r["gain"] for r in rows if (r["source"], r["target"]) == ("task_3", t)),
    )
    assert browser.rows() == best
