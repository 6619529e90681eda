"""Take pictures of a study's page: its matrix with one cell pointed at, or a figure.

    python tools/page_picture.py STUDY/report.html docs/images/page.png SOURCE TARGET
    python tools/page_picture.py STUDY/report.html docs/images/FIGURE.png --figure "ITS TITLE"

Needs chromium and chromedriver. Costs a few seconds.
"""

from __future__ import annotations

import argparse
import base64
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

WIDTH, SCALE, MARGIN = 1240, 1.25, 24
OPTIONS = "headless=new no-sandbox disable-gpu no-first-run disable-background-networking".split()


def picture(page: Path, *, source: str = "", target: str = "", figure: str = "") -> bytes:
    """A PNG of the matrix, that cell pointed at, or of the figure with that title."""
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        size = {"width": WIDTH, "height": 1400, "deviceScaleFactor": SCALE, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(page.resolve().as_uri())
        if figure:
            shown = driver.find_element(By.XPATH, f"//h3[.='{figure}']/following-sibling::figure")
        else:
            driver.execute_script(FOCUS, source, target)
            shown = driver.find_element(By.CSS_SELECTOR, "#matrix")
        box = shown.rect
        corner = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN}
        extent = {side: box[side] + 2 * MARGIN for side in ("width", "height")}
        clip = corner | extent | {"scale": 1}
        shot = driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        return base64.b64decode(shot["data"])
    finally:
        driver.quit()


# Headers and cells as a reader finds them: by their text and their place.
FOCUS = r"""
const words = (cell) => cell.textContent.replace(/\s|\u200b/g, "");
const names = (cells) => Array.from(cells, words);
const table = document.querySelector("#heatmap table");
const column = names(table.tHead.rows[0].cells).indexOf(arguments[0]);
const row = names(Array.from(table.tBodies[0].rows, (row) => row.cells[0])).indexOf(arguments[1]);
table.tBodies[0].rows[row].cells[column].focus();
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("source", nargs="?", default="")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--figure", default="")
    given = parser.parse_args()
    made = picture(given.page, source=given.source, target=given.target, figure=given.figure)
    given.picture.write_bytes(made)
