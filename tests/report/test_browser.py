"""The matrix in a real browser shows what the cells say, to eyes, mouse and keyboard."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from report.browser import Reader
from report.expected import (
    best_first,
    gain_of,
    mean_of,
    points,
    row_at,
    rows_of,
    shown,
    stars,
    told,
)
from report.tables import (
    SOURCES,
    TARGETS,
    believable,
    cell,
    example_page,
    matrix,
    page_of,
)

INTERESTING = {
    "same task": ("reviews", "reviews"),
    "leaked": ("entail", "syllogism"),
    "contained": ("entail", "counting"),
    "two metrics": ("mix", "spelled"),
    "missing": ("reviews", "sums"),
    "failed": ("entail", "words"),
}


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


def test_markup_that_got_into_the_page_would_not_run(reader: Reader) -> None:
    planted = "<script>broken = 1</script><img src=x onerror='broken = 1'><base href='http://x/'>"
    reader.open(example_page().replace("<header>", f"{planted}<header>"))
    assert reader.all("[role=grid] tbody td")
    assert reader.asked("typeof broken") == "undefined"
    assert reader.asked("document.baseURI").startswith("file:")
    assert len(reader.complaints()) >= 3


def test_every_cell_shows_its_gain_and_stars(reader: Reader) -> None:
    drawn = reader.matrix()
    assert {(r["target"], r["source"]): shown(r) for r in rows_of()}.items() <= drawn.items()
    for target in TARGETS:
        rows = [r for r in rows_of() if r["target"] == target]
        assert drawn[target, "mean, cross-task"] == points(mean_of(rows), sign=True)
        base = next(r["base"] for r in rows if r["base"] is not None)
        assert drawn[target, "base score"] == points(base)
    for source in SOURCES:
        rows = [r for r in rows_of() if r["source"] == source]
        assert drawn["mean, cross-task", source] == points(mean_of(rows), sign=True)
    assert drawn["mean, cross-task", "mean, cross-task"] == points(mean_of(rows_of()), sign=True)


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
    way = [row[name] for name in ("relation", "recipe", "condition", "scoring", "metric")]
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
        found[name] = [part.text for part in line.find_elements(By.TAG_NAME, "td")]
    assert found == {
        name: [f"{100 * part[name] // sum(part.values())} %" for part in parts] for name in parts[0]
    }
    widths = reader.asked(
        "[...document.querySelectorAll('#detail .bar')].map((e) => e.style.cssText)"
    )
    assert widths[1] == f"--share: {100 * max(parts[1].values()) / 150:.1f}%;"
    reader.point_at(reader.cell("mix", "spelled"))
    assert reader.all("#detail .answers") == []


def test_several_seeds_speak_of_the_source(browser: Reader) -> None:
    browser.open(page_of(matrix(believable(seeds=3))))
    browser.point_at(browser.cell("sums", "words"))
    assert browser.detail()[1]["holds for"] == "this source: 3 seeds"


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
    assert reader.matrix()["mean, cross-task", "sums"] == points(mean_of(left), sign=True)
    reader.choose("targets' family", "all")
    assert reader.rows() == list(TARGETS)


def test_one_relation_alone_can_be_shown(reader: Reader) -> None:
    before = reader.texts("#by-source summary")
    for relation in ("in-domain", "same task"):
        reader.choose("relation", relation)
        there = [r for r in rows_of() if r["relation"] == relation]
        assert set(reader.rows()) == {r["target"] for r in there}
        assert set(reader.columns()) == {r["source"] for r in there}
        drawn = reader.matrix()
        gains = {(r["target"], r["source"]): shown(r) for r in there}
        pairs = {(target, source) for target in reader.rows() for source in reader.columns()}
        assert {pair: drawn[pair] for pair in pairs} == dict.fromkeys(pairs, "") | gains
        gain = mean_of(there, relation)
        assert drawn[f"mean, {relation}", f"mean, {relation}"] == points(gain, sign=True)
    assert reader.texts("#by-source summary") != before
    label = reader.one("#by-source svg").get_attribute("aria-label")
    assert label == "Gains of reviews by target, lora · zero-shot · same task"
    reader.choose("relation", "all")
    assert reader.rows() == list(TARGETS)
    assert reader.texts("#by-source summary") == before


def test_relations_are_told_apart_without_colour(reader: Reader) -> None:
    frames = {}
    for row in rows_of():
        found = reader.cell(row["source"], row["target"])
        frames[row["relation"]] = reader.asked(
            "[getComputedStyle(arguments[0]).boxShadow !== 'none',"
            " getComputedStyle(arguments[0], '::before').borderTopStyle]",
            found,
        )
    assert frames == {
        "same task": [True, "none"],
        "in-domain": [False, "dashed"],
        "out-of-domain": [False, "dotted"],
        "cross-task": [False, "none"],
    }


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
    assert reader.texts("#detail .quiet")[0].endswith("lora · four-shot · generation · f1")
    reader.choose("targets' family", "sentiment")
    assert reader.texts("#heatmap .box") == ["No cell is left by these choices."]


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
