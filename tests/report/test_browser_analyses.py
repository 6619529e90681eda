"""What analyses found, as figures in a real browser: every number where it belongs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from crosstune.analysis.findings import NEEDED, Figure
from report.browser import Reader, contrast
from report.expected import points
from report.tables import (
    ARMS,
    HOSTILE,
    INTERVAL,
    SIZES,
    analysed_page,
    analysis,
    arms,
    example,
    page_of,
    sizes,
)

SETTINGS = ["in-domain", "out-of-domain", "cross-task"]
HOST = "[data-analysis]"
LEAVES = ("imdb", "sst2", "mnli", "snli")
GRID = Figure(
    "grid", "grid", "Loadings", "See.", {"row": "target", "column": "ability", "value": "loading"}
)
POINTS = Figure(
    "points", "points", "Biplot", "See.", {"name": "name", "x": "a", "y": "b", "series": "kind"}
)
TREE = Figure("tree", "tree", "Alike", "See.", {name: name for name in sorted(NEEDED["tree"])})


def loadings() -> list[dict[str, Any]]:
    values = [(0.9, -0.3), (0.8, None), (0.0, 0.6), (-0.75, 0.123)]
    return [
        {"target": leaf, "ability": ability, "loading": value}
        for leaf, row in zip(LEAVES, values, strict=True)
        for ability, value in zip(("first", "second"), row, strict=True)
    ]


def places() -> list[dict[str, Any]]:
    return [
        {"name": name, "a": a, "b": b, "kind": kind}
        for name, a, b, kind in (
            ("left", -2.0, 1.0, "source"),
            ("right", 2.0, -1.0, "target"),
            ("same place", 2.0, -1.0, "source"),
            ("nowhere", None, 3.0, "target"),
        )
    ]


def merges() -> list[dict[str, Any]]:
    """As scipy's linkage of (imdb, sst2) at 1, (mnli, snli) at 2, and both at 4."""
    leaves = [{"name": leaf, "left": None, "right": None, "height": None} for leaf in LEAVES]
    joins = [(2, 3, 2.0), (0, 1, 1.0), (4, 5, 4.0)]
    names = ("left", "right", "height")
    return leaves + [{"name": None} | dict(zip(names, join, strict=True)) for join in joins]


EVERY: dict[str, tuple[Figure, list[dict[str, Any]]]] = {
    "dots": (ARMS, arms()),
    "grid": (GRID, loadings()),
    "points": (POINTS, places()),
    "curves": (SIZES, sizes()),
    "tree": (TREE, merges()),
}


def show(
    browser: Reader, *drawn: tuple[Figure, Sequence[dict[str, Any]]], **look: Any
) -> list[str]:
    """Open a page with these figures; what the console complains of."""
    rows: dict[str, Any] = {figure.table: table for figure, table in drawn}
    found = analysis(figures=[figure for figure, _ in drawn], **rows)
    browser.open(page_of(example(), analyses=[found]), **look)
    return browser.complaints()


@pytest.fixture
def analysed(browser: Reader) -> Reader:
    browser.open(analysed_page())
    return browser


# --- dots -------------------------------------------------------------------------------------


def test_every_dot_stands_in_its_panel_and_group_with_its_interval(analysed: Reader) -> None:
    panels = f"{HOST} svg[aria-label='Scores of the arms'] > g.panel"
    assert analysed.texts(f"{panels} text.panel") == SETTINGS
    expected = []
    for row in sorted(arms(), key=lambda row: SETTINGS.index(row["setting"])):
        told = f"{row['setting']}, {row['family']}, {row['recipe']} · {row['condition']}: "
        told += points(row["score"])
        if row["score_low"] is not None:
            told += " ({} to {})".format(*(points(row[f"score_{end}"]) for end in ("low", "high")))
        expected.append(told)
    assert analysed.texts(f"{panels} .dot > title") == expected
    assert analysed.texts(f"{panels} .group") == ["all families", "sentiment"] * 3


def test_dots_stand_at_the_value_and_lines_from_low_to_high(analysed: Reader) -> None:
    drawn = analysed.asked(
        f"[...document.querySelectorAll('{HOST} .panel:nth-of-type(4) .dot')].map((g) => ["
        " g.querySelector('.mark').transform.baseVal[0].matrix.e,"
        " g.querySelector('line')?.x1.baseVal.value, g.querySelector('line')?.x2.baseVal.value])"
    )
    rows = [row for row in arms() if row["setting"] == "in-domain"]
    zero = float(analysed.one(f"{HOST} .zero").get_attribute("x1") or "nan")
    last = max(range(len(rows)), key=lambda i: rows[i]["score"])
    scale = (drawn[last][0] - zero) / rows[last]["score"]
    assert len(drawn) == len(rows)
    for (dot, low, high), row in zip(drawn, rows, strict=True):
        assert dot == pytest.approx(zero + scale * row["score"], abs=0.1)
        if row["score_low"] is None:
            assert (low, high) == (None, None)
        else:
            ends = [zero + scale * row[f"score_{end}"] for end in ("low", "high")]
            assert [low, high] == pytest.approx(ends, abs=0.1)


def test_series_differ_in_shape_and_colour_alike_in_the_key(analysed: Reader) -> None:
    figure = f"{HOST} svg[aria-label='Scores of the arms']"
    looks = "(m) => `${m.tagName} ${m.getAttribute('points')} ${m.getAttribute('fill')}`"
    key = analysed.asked(f"[...document.querySelectorAll(`{figure} .key .mark`)].map({looks})")
    assert len({look.rpartition(" ")[0] for look in key}) == len({look[-7:] for look in key}) == 3
    assert analysed.texts(f"{figure} .key") == ["base", "lora", "fticl"]
    drawn = analysed.asked(f"[...document.querySelectorAll(`{figure} .dot .mark`)].map({looks})")
    recipes = [row["recipe"] for row in arms()]
    assert [key.index(look) for look in drawn[:6]] == [
        ["base", "lora", "fticl"].index(recipe) for recipe in recipes[:6]
    ]


# --- curves -----------------------------------------------------------------------------------


def test_curves_have_a_log_axis_where_x_grows_by_factors_and_a_line_a_series(
    analysed: Reader,
) -> None:
    figure = f"{HOST} svg[aria-label='Scores by training examples']"
    lines = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .curve polyline[fill=none]`)].map((line) =>"
        " [...line.points].map(({x, y}) => [x, y]))"
    )
    assert [len(line) for line in lines] == [3] * 4
    for (a, top), (b, _), (c, low) in lines:
        assert b - a == pytest.approx(c - b, abs=0.2)  # tenfold each
        assert low < top
    assert analysed.texts(f"{figure} > .key") == ["zero-shot", "four-shot"]
    styles = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .curve polyline[fill=none]`)].map((line) =>"
        " [line.getAttribute('stroke-dasharray'), line.nextElementSibling.tagName])"
    )
    assert styles == [["none", "circle"], ["7 3", "polygon"]] * 2
    whiskers = analysed.asked(
        f"[...document.querySelectorAll(`{figure} .whisker`)].map((line) =>"
        " line.y1.baseVal.value - line.y2.baseVal.value)"
    )
    assert len(whiskers) == len(sizes())
    assert all(math.isclose(length, whiskers[0], abs_tol=0.01) for length in whiskers)
    assert analysed.texts(f"{figure} text.panel") == [
        "sentiment · in-domain",
        "entailment · in-domain",
    ]
    assert {"100", "1,000", "10,000", "training examples (log)", "score ×100"} <= set(
        analysed.texts(f"{figure} text")
    )


def test_a_long_curve_has_a_band_and_even_steps_no_log_axis(browser: Reader) -> None:
    rows: list[dict[str, Any]] = [
        {"component": i, "kind": kind, "eigenvalue": 20 / i, "low": 15 / i, "high": 25 / i}
        for kind in ("matrix", "chance")
        for i in range(1, 21)
    ]
    rows[3] |= {"eigenvalue": None}
    columns = {"x": "component", "y": "eigenvalue", "series": "kind"} | INTERVAL
    assert show(browser, (Figure("curves", "scree", "Scree", "See.", columns), rows)) == []
    lines = browser.asked(
        f"[...document.querySelectorAll('{HOST} .curve polyline')].map((l) => l.points.length)"
    )
    assert lines == [19, 20]
    assert browser.asked(f"document.querySelector('{HOST} .band').points.length") == 38
    assert "component" in browser.texts(f"{HOST} text")
    assert len(browser.all(f"{HOST} .whisker, {HOST} .curve .mark")) == 0


# --- grid -------------------------------------------------------------------------------------


def test_cells_of_a_grid_have_their_number_place_colour_and_strength(browser: Reader) -> None:
    assert show(browser, EVERY["grid"]) == []
    cells = browser.asked(
        f"[...document.querySelectorAll('{HOST} .cell')].map((g) => {{"
        " const box = g.querySelector('rect');"
        " return [g.querySelector('text').textContent, box.x.baseVal.value, box.y.baseVal.value,"
        " box.getAttribute('class'), Number(box.getAttribute('fill-opacity'))]; })"
    )
    texts = ["0.90", "−0.30", "0.80", "–", "0.00", "0.60", "−0.75", "0.12"]
    assert [cell[0] for cell in cells] == texts
    assert len({cell[1] for cell in cells}) == 2
    assert all(one[1:3] != other[1:3] for one, other in pairwise(cells))
    kinds = ["above", "below", "above", "above", "above", "above", "below", "above"]
    assert [cell[3] for cell in cells] == kinds
    strengths = [min(1, abs(row["loading"] or 0) / 0.9) for row in loadings()]
    assert [cell[4] for cell in cells] == pytest.approx(strengths, abs=0.001)
    assert browser.texts(f"{HOST} .cell > title")[6] == "snli, first: −0.75"


def test_panels_of_a_grid_have_one_order(browser: Reader) -> None:
    rows = [row | {"panel": "one"} for row in loadings()]
    rows += [row | {"panel": "other"} for row in loadings()[:1:-1]]
    figure = replace(GRID, columns={**GRID.columns, "panel": "panel"})
    assert show(browser, (figure, rows)) == []
    for panel, leaves in ((1, LEAVES), (2, LEAVES[1:])):
        texts = browser.texts(f"{HOST} g.panel:nth-of-type({panel}) text:not(.cell text, .panel)")
        assert texts == ["first", "second", *leaves]


def test_a_grid_too_narrow_for_numbers_shows_signs(browser: Reader) -> None:
    rows = [
        {"row": f"row {r}", "column": f"column {c}", "gain": (r - 2) / 100}
        for r in range(5)
        for c in range(60)
    ]
    figure = Figure(
        "grid", "gains", "Gains", "", {"row": "row", "column": "column", "value": "gain"}
    )
    assert show(browser, (figure, rows)) == []
    texts = browser.texts(f"{HOST} .cell text")
    assert [texts[60 * r] for r in range(5)] == ["−", "−", "", "+", "+"]


# --- points -----------------------------------------------------------------------------------


def test_points_stand_at_x_and_y_and_no_label_covers_another(browser: Reader) -> None:
    assert show(browser, EVERY["points"]) == []
    drawn = browser.asked(
        f"[...document.querySelectorAll('{HOST} .point')].map((g) => {{"
        " const {e, f} = g.querySelector('.mark').transform.baseVal[0].matrix;"
        " return [g.querySelector('title').textContent, e, f]; })"
    )
    assert [title for title, *_ in drawn] == [
        "source, left: −2, 1",
        "target, right: 2, −1",
        "source, same place: 2, −1",
    ]
    (_, a, b), (_, c, d), (_, e, f) = drawn
    assert (c, d) == (e, f)
    assert (a < c, b < d) == (True, True)
    assert browser.texts(f"{HOST} .key") == ["source", "target"]
    assert overlaps(browser) == []
    rows = [{"name": f"point {i}", "a": i % 7, "b": i % 5, "kind": None} for i in range(100)]
    assert show(browser, (POINTS, rows)) == []
    assert len(browser.all(f"{HOST} .point text")) > 20
    assert overlaps(browser) == []


def overlaps(reader: Reader) -> list[list[str]]:
    found: list[list[str]] = reader.asked(
        f"(() => {{ const texts = [...document.querySelectorAll('{HOST} .point text')];"
        " const box = (e) => e.getBoundingClientRect(); return texts.flatMap((a, i) =>"
        " texts.slice(i + 1).filter((b) => box(a).left < box(b).right - 1 && box(b).left <"
        " box(a).right - 1 && box(a).top < box(b).bottom - 3 && box(b).top < box(a).bottom - 3)"
        " .map((b) => [a.textContent, b.textContent])); })()"
    )
    return found


# --- tree -------------------------------------------------------------------------------------


def test_a_tree_joins_its_rows_at_their_heights(browser: Reader) -> None:
    assert show(browser, EVERY["tree"]) == []
    assert browser.texts(f"{HOST} .leaf > text") == ["mnli", "snli", "imdb", "sst2"]
    leaves = browser.asked(
        f"[...document.querySelectorAll('{HOST} .leaf > text')].map((text) =>"
        " +text.getAttribute('y') - 4)"
    )
    paths = browser.asked(
        f"[...document.querySelectorAll('{HOST} .merge path')].map((p) => p.getAttribute('d')"
        ".match(/[\\d.]+/g).map(Number))"
    )
    zero = paths[0][0]
    heights = [path[2] - zero for path in paths]
    assert heights == pytest.approx([heights[2] / 2, heights[2] / 4, heights[2]], abs=0.1)
    assert [(path[1], path[3]) for path in paths[:2]] == [tuple(leaves[:2]), tuple(leaves[2:])]
    assert paths[2][1] == pytest.approx(sum(leaves[:2]) / 2)
    assert (paths[2][0], paths[2][4]) == pytest.approx((paths[0][2], paths[1][2]), abs=0.1)


def test_a_tree_that_is_none_is_still_drawn(browser: Reader) -> None:
    rows = merges()
    rows[5] |= {"left": 6, "right": -1}  # later rows and none cannot be joined
    assert show(browser, (TREE, rows)) == []
    assert len(browser.all(f"{HOST} .leaf")) == 5
    assert len(browser.all(f"{HOST} .merge")) == 2


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(EVERY))
def test_a_figure_is_saved_with_the_rows_of_its_table(browser: Reader, kind: str) -> None:
    figure, rows = EVERY[kind]
    assert show(browser, (figure, rows)) == []
    ElementTree.fromstring(browser.saved(f"Save {figure.title} as SVG"))
    text = browser.saved(f"Save {figure.title} as CSV").decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert found[0].keys() == rows[0].keys()
    for row, told in zip(rows, found, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                assert float(told[name]) == value
            else:
                assert told[name] == ("" if value is None else str(value))
    assert browser.texts(f"{HOST} figcaption") == [figure.note]
    assert browser.one(f"{HOST} svg").get_attribute("aria-label") == figure.title


@pytest.mark.parametrize("kind", sorted(EVERY))
def test_what_a_figure_names_stays_text_and_gaps_are_no_numbers(browser: Reader, kind: str) -> None:
    figure, rows = EVERY[kind]
    wild = [
        {name: HOSTILE[i % 3] if isinstance(value, str) else value for name, value in row.items()}
        for i, row in enumerate(rows)
    ]
    said = replace(figure, title=HOSTILE[0], note=HOSTILE[1])
    assert show(browser, (said, wild)) == []
    assert browser.asked("window.broken ?? null") is None
    assert browser.all("img, [onerror]") == []
    assert browser.texts(f"{HOST} h3") == [HOSTILE[0]]
    gaps = [
        {n: None if isinstance(v, float) and i % 2 else v for n, v in row.items()}
        for i, row in enumerate(rows)
    ]
    assert show(browser, (figure, gaps)) == []
    assert browser.asked(f"document.querySelector('{HOST} svg').outerHTML.includes('NaN')") is False
    blank = [dict.fromkeys(row) for row in rows]
    assert show(browser, (figure, blank)) == []
    assert browser.texts(f"{HOST} h3 + p") == ["Not drawn: no value is known."]
    assert show(browser, (figure, rows[:1])) == []
    assert browser.asked(f"document.querySelector('{HOST} svg').outerHTML.includes('NaN')") is False


def test_a_grid_has_the_colours_of_its_key_and_curves_run_along_x(browser: Reader) -> None:
    assert show(browser, EVERY["grid"], (SIZES, sizes()[::-1])) == []
    fills = [
        {part.get_attribute("fill") for part in browser.all(f"{HOST} rect.{side}")}
        for side in ("above", "below")
    ]
    assert [len(its) for its in fills] == [1, 1]
    assert fills[0] != fills[1]
    lines = browser.all(f"{HOST} .curve polyline")
    assert lines
    for line in lines:
        xs = [float(place.split(",")[0]) for place in (line.get_attribute("points") or "").split()]
        assert len(xs) > 1
        assert xs == sorted(xs)


def test_a_thousand_rows_are_drawn_and_more_are_told_of(browser: Reader) -> None:
    def row(i: int) -> dict[str, Any]:
        return {"name": f"name {i}", "kind": f"kind {i % 40}", "a": math.sin(i), "b": i / 1000}

    figures = [
        Figure("dots", "rows", "Dots", "", {"name": "name", "value": "a"}),
        Figure("grid", "rows", "Grid", "", {"row": "name", "column": "kind", "value": "a"}),
        Figure("points", "rows", "Points", "", {"name": "name", "x": "a", "y": "b"}),
        Figure("curves", "rows", "Curves", "", {"x": "b", "y": "a", "series": "kind"}),
        Figure("dots", "longer", "More", "", {"name": "name", "value": "a"}),
    ]
    rows = [row(i) for i in range(1000)]
    longer = [row(i) for i in range(1001)]
    tree: list[dict[str, Any]] = [
        {"name": f"leaf {i}", "left": None, "right": None, "height": None} for i in range(500)
    ]
    for i in range(499):
        left = 0 if i == 0 else 499 + i
        tree.append({"name": None, "left": left, "right": i + 1, "height": 1.0 + i})
    found = analysis(figures=[*figures, TREE], rows=rows, longer=longer, tree=tree)
    browser.open(page_of(example(), analyses=[found]))
    assert browser.complaints() == []
    counts = [len(browser.all(f"{HOST} .{kind}")) for kind in ("dot", "cell", "point", "curve")]
    assert counts == [1000, 1000, 1000, 40]
    assert len(browser.all(f"{HOST} .merge")) == 499
    assert browser.texts(f"{HOST} h3 + p") == ["Not drawn: the table 'longer' has 1,001 rows."]
    assert browser.asked("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("width", [320, 700, 1280])
def test_figures_of_an_analysis_fit_the_screen(browser: Reader, width: int) -> None:
    assert show(browser, *EVERY.values(), width=width) == []
    browser.unfold()
    assert browser.asked("document.documentElement.scrollWidth") <= width
    scales = browser.asked(
        f"[...document.querySelectorAll('{HOST} svg text')].map((text) =>"
        " Math.hypot(text.getScreenCTM().c, text.getScreenCTM().d))"
    )
    assert len(scales) > 50
    assert min(scales) > 0.99
    edge = "(part) => part.getBoundingClientRect()"
    over = browser.asked(
        f"[...document.querySelectorAll('{HOST} svg text')].filter((part) => {{"
        f" const [own, all] = [part, part.ownerSVGElement].map({edge});"
        " return own.right > all.right + 1 || own.left < all.left - 1; }).map((e) => e.textContent)"
    )
    assert over == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_and_marks_stand_out_from_what_is_behind_them(browser: Reader, scheme: str) -> None:
    strong = [
        row | {"loading": row["loading"] and math.copysign(1, row["loading"])} for row in loadings()
    ]
    assert show(browser, (GRID, strong), EVERY["dots"], scheme=scheme) == []
    colours = browser.asked(
        f"[...document.querySelectorAll('{HOST} .cell')].map((g) => ["
        "...['text', 'rect'].map((tag) => getComputedStyle(g.querySelector(tag)).fill),"
        " getComputedStyle(document.body).backgroundColor,"
        " Number(g.querySelector('rect').getAttribute('fill-opacity'))])"
    )

    def numbers(css: str) -> tuple[float, ...]:
        return tuple(float(part) / 255 for part in css[4:-1].split(","))

    for ink, box, ground, share in colours:
        behind = tuple(
            share * a + (1 - share) * b for a, b in zip(numbers(box), numbers(ground), strict=True)
        )
        assert contrast(numbers(ink), behind) >= 4.5, (ink, box)
    marks = browser.asked(
        f"[...document.querySelectorAll('{HOST} .mark')].map((m) => getComputedStyle(m).fill)"
    )
    assert min(contrast(numbers(mark), numbers(colours[0][2])) for mark in marks) >= 3
