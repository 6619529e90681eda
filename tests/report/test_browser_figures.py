"""Figures, files and screens of the page in a real browser; what others wrote stays text."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from xml.etree import ElementTree

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from report.browser import Reader, colour, contrast
from report.expected import points, row_at, rows_of, shown, stars
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
            f"{', ▬ nearly one answer only' if r['constant'] else ''}"
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
    texts = "relation recipe condition scoring metric scope method status".split()
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


def test_a_saved_matrix_says_why_cells_are_blank(reader: Reader) -> None:
    why = "Blank: may be chance."
    assert why not in reader.saved("Save matrix as SVG").decode("utf-8")
    reader.control("significant only").click()
    assert why in reader.saved("Save matrix as SVG").decode("utf-8")


def test_parts_of_rows_that_leak_whole_are_not_told_again(browser: Reader) -> None:
    for contained, parts in ((2, 0), (3, 1)):
        browser.open(page_of(matrix([cell(leaked=2, contained=contained)])))
        browser.point_at(browser.cell("reviews", "entail"))
        told = browser.detail()[1]["leakage"]
        assert (told.count("⚑"), told.count("⚐")) == (1, parts)


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


def test_the_origin_of_every_score_is_saved_in_full(reader: Reader) -> None:
    reader.unfold()
    text = reader.saved("Save scores as CSV").decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    names = {"key": "score key", "base_key": "base key", "job_key": "adapter key"}
    names |= {"tensors_sha256": "weights"}
    names |= {name: name for name in ("status", "source", "relation", "scoring")}
    for line, row in zip(found, example().rows, strict=True):
        assert {name: line[head] or None for name, head in names.items()} == {
            name: getattr(row, name) for name in names
        }


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
    assert min(tint("entail", "counting")) > 0.8


def test_a_figure_marks_what_may_not_be_learning(reader: Reader) -> None:
    row = next(r for r in rows_of() if r["leaked"])
    reader.unfold("#by-target details")
    place = list(TARGETS).index(row["target"]) + 1
    figure = f"#by-target details:nth-child({place}) svg"
    told = next(t for t in reader.texts(f"{figure} g title") if t.startswith(row["source"]))
    assert told.endswith(f"⚑ {row['leaked']} test inputs stand in the source's training rows")
    labels = reader.texts(f"{figure} g text:first-of-type")
    assert f"⚑ {row['source']}" in [label.replace("▬", "") for label in labels]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dots_and_whiskers_tell_gain_from_loss(browser: Reader, scheme: str) -> None:
    browser.open(example_page(), scheme=scheme)
    browser.unfold()
    for kind, sign in (("gain", 1), ("loss", -1)):
        strokes = browser.asked(
            f"[...document.querySelectorAll('#by-source svg .{kind}')].map((e) =>"
            " getComputedStyle(e).stroke)"
        )
        assert len(strokes) > 10
        for red, _, blue in (colour(stroke, under=(1, 1, 1)) for stroke in strokes):
            assert sign * (blue - red) > 0.3


def test_a_dark_screen_is_dark_and_a_light_one_light(browser: Reader) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        browser.open(example_page(), scheme=scheme)
        grounds[scheme] = browser.colours("h1")[0][2]
    assert min(grounds["light"]) > 0.9
    assert max(grounds["dark"]) < 0.2
