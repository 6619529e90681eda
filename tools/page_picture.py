"""Take pictures of a study's page: its matrix with one cell pointed at, or figures side by side.

    python tools/page_picture.py STUDY/report.html docs/images/page.png SOURCE TARGET
    python tools/page_picture.py STUDY/report.html docs/images/FIGURES.png \\
        --figure "A TITLE" "ANOTHER" --wide "A THIRD"

Needs chromium and chromedriver. Costs a few seconds.
"""

from __future__ import annotations

import argparse
import base64
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

WIDTH, SCALE, MARGIN = 1240, 1.25, 24
OPTIONS = "headless=new no-sandbox disable-gpu no-first-run disable-background-networking".split()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def matrix(page: Path, source: str, target: str) -> bytes:
    """A PNG of the matrix, that cell pointed at."""
    with browser() as driver:
        _open(driver, page.resolve().as_uri(), WIDTH)
        driver.execute_script(FOCUS, source, target)
        return _shot(driver, "#matrix")


def figures(page: Path, titles: Sequence[str], wide: Sequence[str]) -> bytes:
    """A PNG of figures by their titles, on paper's colours: side by side, then wide ones below."""
    panels = []
    with browser() as driver:
        # Figures are drawn for the room they have.
        for named, across, room in ((titles, len(titles), WIDTH), (wide, 1, 5 * WIDTH // 4)):
            if named:
                _open(driver, page.resolve().as_uri(), room // across)
                panels += [[*driver.execute_script(FIGURE, title), across] for title in named]
        _open(driver, "about:blank", WIDTH + 4 * MARGIN)
        driver.execute_script(SIDE_BY_SIDE, panels, max(1, len(titles)))
        return _shot(driver, "main")


def _open(driver: webdriver.Chrome, address: str, width: int) -> None:
    size = {"width": width, "height": 1400, "deviceScaleFactor": SCALE, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(address)


def _shot(driver: webdriver.Chrome, selector: str) -> bytes:
    box = driver.find_element(By.CSS_SELECTOR, selector).rect
    corner = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN}
    extent = {side: box[side] + 2 * MARGIN for side in ("width", "height")}
    clip = corner | extent | {"scale": 1}
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    return base64.b64decode(shot["data"])


# Headers and cells as a reader finds them: by their text and their place.
FOCUS = r"""
const words = (cell) => cell.textContent.replace(/\s|\u200b/g, "");
const names = (cells) => Array.from(cells, words);
const table = document.querySelector("#heatmap table");
const column = names(table.tHead.rows[0].cells).indexOf(arguments[0]);
const row = names(Array.from(table.tBodies[0].rows, (row) => row.cells[0])).indexOf(arguments[1]);
table.tBodies[0].rows[row].cells[column].focus();
"""
FIGURE = r"""
const heads = Array.from(document.querySelectorAll("h3"));
const head = heads.find((head) => head.textContent === arguments[0]);
if (!head) throw new Error(`no figure is called '${arguments[0]}'`);
let figure = head.nextElementSibling;
while (figure.tagName !== "FIGURE") figure = figure.nextElementSibling;
return [arguments[0], new XMLSerializer().serializeToString(figure.querySelector("svg"))];
"""
SIDE_BY_SIDE = r"""
const [panels, across] = arguments;
const main = document.createElement("main");
main.style = `display: grid; grid-template-columns: repeat(${across}, minmax(0, 1fr));
  gap: 20px 28px; align-items: start; margin: 16px; color: #1d2329;
  font: 15px system-ui, sans-serif`;
for (const [title, svg, beside] of panels) {
  const panel = document.createElement("section"), head = document.createElement("b");
  head.textContent = title;
  const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  drawn.style = "display: block; width: 100%; height: auto; margin-top: 8px";
  if (beside === 1) panel.style.gridColumn = "1 / -1";
  panel.append(head, drawn);
  main.append(panel);
}
document.body.replaceChildren(main);
document.body.style.background = "#fff";
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("source", nargs="?", default="")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--figure", nargs="+", metavar="TITLE", default=[])
    parser.add_argument("--wide", nargs="+", metavar="TITLE", default=[])
    given = parser.parse_args()
    made = (
        figures(given.page, given.figure, given.wide)
        if given.figure or given.wide
        else matrix(given.page, given.source, given.target)
    )
    given.picture.write_bytes(made)
