"""What analyses found, as figures in a real browser: every number where it belongs."""

from __future__ import annotations

import csv
import io
import math
from xml.etree import ElementTree

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from report.browser import Reader
from report.expected import points
from report.tables import HOSTILE, analysed_page, analysis, arms, example, page_of, sizes

SETTINGS = ["in-domain", "out-of-domain", "cross-task"]
HOST = "[data-analysis]"


@pytest.fixture
def analysed(browser: Reader) -> Reader:
    browser.open(analysed_page())
    return browser


def test_every_arm_stands_in_its_setting_and_family_with_its_interval(analysed: Reader) -> None:
    panels = f"{HOST} svg[aria-label='Scores of the arms'] > g"
    assert [texts[0] for texts in panel_texts(analysed, panels)] == SETTINGS
    expected = []
    for row in sorted(arms(), key=lambda row: SETTINGS.index(row["setting"])):
        told = f"{row['family']} {row['setting']}, {row['recipe']} · {row['condition']}: "
        told += points(row["score"])
        if row["gain"] is not None:
            before = row["score"] - row["gain"]
            ends = (points(before + row["low"]), points(before + row["high"]))
            told += ", 95 % interval {} to {}".format(*ends)
        expected.append(told)
    assert analysed.texts(f"{panels} .arm > title") == expected
    heads = [
        [t for t in texts if t in ("all families", "sentiment")]
        for texts in panel_texts(analysed, panels)
    ]
    assert heads == [["all families", "sentiment"]] * 3


def panel_texts(reader: Reader, selector: str) -> list[list[str]]:
    script = f"[...document.querySelectorAll(`{selector}`)].map((panel) =>"
    found: list[list[str]] = reader.asked(
        f"{script} [...panel.querySelectorAll('text')].map((text) => text.textContent))"
    )
    return found


def test_dots_stand_at_the_score_and_whiskers_around_it(analysed: Reader) -> None:
    drawn = analysed.asked(
        f"[...document.querySelectorAll('{HOST} svg > g:nth-of-type(1) .arm')].map((g) => ["
        " g.querySelector('.base, .tuned').transform.baseVal[0].matrix.e,"
        " g.querySelector('line')?.x1.baseVal.value, g.querySelector('line')?.x2.baseVal.value])"
    )
    rows = [row for row in arms() if row["setting"] == "in-domain"]
    zero = float(analysed.one(f"{HOST} .zero[y1='24']").get_attribute("x1") or "nan")
    last = max(range(len(rows)), key=lambda i: rows[i]["score"])
    scale = (drawn[last][0] - zero) / rows[last]["score"]
    for (dot, low, high), row in zip(drawn, rows, strict=True):
        assert dot == pytest.approx(zero + scale * row["score"], abs=0.1)
        if row["gain"] is None:
            assert (low, high) == (None, None)
        else:
            ends = [zero + scale * (row["score"] - row["gain"] + row[e]) for e in ("low", "high")]
            assert [low, high] == pytest.approx(ends, abs=0.1)


def test_the_base_is_told_apart_by_its_shape(analysed: Reader) -> None:
    shapes = analysed.asked(
        f"[...document.querySelectorAll('{HOST} .arm')].map((g) =>"
        " g.querySelector('.base, .tuned').tagName)"
    )
    rows = sorted(arms(), key=lambda row: SETTINGS.index(row["setting"]))
    assert shapes == ["polygon" if row["recipe"] == "base" else "circle" for row in rows]
    legend = analysed.texts(f"{HOST} svg[aria-label='Scores of the arms'] > text")
    assert legend == ["base", "tuned", "95 % interval"]
    said = analysed.texts(f"{HOST} figcaption")
    assert said[0].startswith(
        "Lines: 95 % interval of the gain over the base in the same condition"
    )


def test_scores_over_examples_have_a_log_axis_and_a_line_a_condition(analysed: Reader) -> None:
    figure = f"{HOST} svg[aria-label='Scores by training examples']"
    lines = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .size polyline[fill=none]`)].map((line) =>"
        " [...line.points].map(({x, y}) => [x, y]))"
    )
    assert [len(line) for line in lines] == [3] * 4
    for (a, top), (b, _), (c, low) in lines:
        assert b - a == pytest.approx(c - b, abs=0.2)  # tenfold each
        assert low < top
    assert analysed.texts(f"{figure} > g:not(:has(.size)) text") == ["zero-shot", "four-shot"]
    styles = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .size polyline[fill=none]`)].map((line) =>"
        " [line.getAttribute('stroke-dasharray'), line.nextElementSibling.tagName])"
    )
    assert styles == [["none", "circle"], ["7 3", "polygon"]] * 2
    whiskers = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .whisker`)].map((line) =>"
        " line.y1.baseVal.value - line.y2.baseVal.value)"
    )
    assert len(whiskers) == len(sizes())
    assert all(math.isclose(length, whiskers[0], abs_tol=0.01) for length in whiskers)
    texts = panel_texts(analysed, f"{figure} > g:has(.size)")
    assert [panel[0] for panel in texts] == ["sentiment, in-domain", "entailment, in-domain"]
    assert {"100", "1,000", "10,000", "training examples (log)"} <= set(texts[0])


def test_figures_of_an_analysis_are_saved_with_their_rows(analysed: Reader) -> None:
    for label, rows in (("Scores of the arms", arms()), ("Scores by training examples", sizes())):
        ElementTree.fromstring(analysed.saved(f"Save {label} as SVG"))
        text = analysed.saved(f"Save {label} as CSV").decode()
        found = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [row["score"] for row in found] == [f"{row['score']:g}" for row in rows]
        assert found[0].keys() == rows[0].keys()


def test_what_analyses_name_stays_text_and_what_they_lack_is_left_out(browser: Reader) -> None:
    wild = [row | {"family": HOSTILE[0], "recipe": HOSTILE[1], "gain": None} for row in arms()[:4]]
    wild[0] |= {"score": None, "low": None}
    lacking = [{"arm": "lora", "gain": 0.1}]
    found = [analysis(say=HOSTILE[2], arms=wild, sizes=sizes()), analysis(arms=lacking)]
    browser.open(page_of(example(), analyses=found))
    assert browser.complaints() == []
    assert browser.asked("window.broken ?? null") is None
    assert browser.all("img, [onerror]") == []
    assert browser.texts(".arm > title")[0].endswith(": –")
    assert [len(browser.all(f"[data-analysis='{i}'] svg")) for i in (0, 1)] == [2, 0]


@pytest.mark.parametrize("width", [400, 1280])
def test_figures_of_an_analysis_fit_the_screen(browser: Reader, width: int) -> None:
    browser.open(analysed_page(), width=width)
    browser.unfold()
    assert browser.asked("document.documentElement.scrollWidth") <= width
    scales = browser.asked(
        f"[...document.querySelectorAll('{HOST} svg text')].map((text) => text.getScreenCTM().d)"
    )
    assert len(scales) > 50
    assert min(scales) > 0.99
    edge = "(part) => part.getBoundingClientRect().right"
    over = browser.asked(
        f"[...document.querySelectorAll('{HOST} svg text')].filter((part) =>"
        f" ({edge})(part) > ({edge})(part.ownerSVGElement) + 1).length"
    )
    assert over == 0
