"""A headless Chromium and what a reader does in it: look, point, type, choose, save."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--hide-scrollbars --window-size=1280,900"""


def chromium(profile: Path) -> webdriver.Chrome:
    """A browser with a profile of its own; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    service = shutil.which("chromedriver")
    if not (program and service):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")  # an alert has to fail a test
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(service))


class Reader:
    """Someone who reads a report."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, html: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Open a page from disk on a screen of that width."""
        path = self.folder / "report.html"
        path.write_text(html, "utf-8")
        self.command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", {"features": features})
        self.command("Emulation.setTouchEmulationEnabled", {"enabled": width < 500})
        self.complaints()
        self.driver.get(path.as_uri())

    def command(self, name: str, values: dict[str, Any]) -> None:
        """Tell the browser itself, through its developer tools."""
        self.driver.execute_cdp_cmd(name, values)

    def complaints(self) -> list[str]:
        """What the console has said since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def asked(self, script: str, *arguments: object) -> Any:
        """The value of an expression."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Elements of the page."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The first such element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Their texts, seen or not."""
        script = "[...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        found: list[str] = self.asked(script, selector)
        return found

    def matrix(self) -> dict[tuple[str, str], str]:
        """Texts of the drawn matrix, by names of row and column, in the order they are drawn."""
        rows = self.asked(
            "[...document.querySelectorAll('[role=grid] tr')].map((row) => [...row.cells].map("
            "(cell) => cell.querySelector('button, span')?.textContent"
            " + (cell.querySelector('sup')?.textContent ?? '')))"
        )
        return {
            (row[0], column): text
            for row in rows[1:]
            for column, text in zip(rows[0][1:], row[1:], strict=True)
        }

    def rows(self) -> list[str]:
        """Names of the rows, from above."""
        return self.texts("[role=grid] tbody th")

    def columns(self) -> list[str]:
        """Names of the sources, from the left."""
        return self.texts("[role=grid] thead th")[2:-1]

    def cell(self, source: str, target: str) -> WebElement:
        """The cell where a row and a column meet."""
        row, column = self.rows().index(target), self.columns().index(source)
        return self.all("[role=grid] tbody tr")[row].find_elements(By.TAG_NAME, "td")[column + 1]

    def header(self, name: str, place: str) -> WebElement:
        """The button in a header of the head or the body of the matrix."""
        found = self.all(f"[role=grid] {place} th button")
        return next(button for button in found if button.text == name)

    def point_at(self, element: WebElement) -> None:
        """Hold the mouse over it."""
        ActionChains(self.driver, duration=0).move_to_element(element).perform()

    def tap(self, element: WebElement) -> None:
        """Touch it with a finger."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        where = self.asked(
            "(({x, y, width, height}) => ({x: x + width / 2, y: y + height / 2}))"
            "(arguments[0].getBoundingClientRect())",
            element,
        )
        self.command("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [where]})
        self.command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def press(self, *keys: str) -> None:
        """Type on the keyboard, wherever the focus is."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def choose(self, label: str, value: str) -> None:
        """Pick an option of the control with that label."""
        Select(self.control(label)).select_by_visible_text(value)

    def unfold(self, selector: str = "") -> None:
        """Open what is folded, and wait for the figures inside."""
        folded = f"[...document.querySelectorAll('{selector or 'details'}')]"
        self.driver.execute_script(f"{folded}.forEach((details) => {{ details.open = true; }})")
        drawn = f"{folded}.every((e) => !e.closest('[id^=by-]') || e.querySelector('svg'))"
        end = time.monotonic() + 20
        while not self.asked(drawn):
            assert time.monotonic() < end, "a figure is not drawn"

    def control(self, label: str) -> WebElement:
        """The select or checkbox with that label."""
        found = [e for e in self.all("label") if e.text.split("\n")[0] == label]
        return found[0].find_element(By.CSS_SELECTOR, "select, input")

    def detail(self) -> tuple[str, dict[str, str]]:
        """Heading and facts of the cell that is told of; empty when none is."""
        terms, told = self.texts("#detail dt"), self.texts("#detail dd")
        return "".join(self.texts("#detail h3")), dict(zip(terms, told, strict=True))

    def active(self) -> list[str]:
        """Where the focus is: row and column of the matrix, or nothing."""
        place: list[str] = self.asked(
            "(({dataset = {}}) => [dataset.row, dataset.column].filter((part) => part))"
            "(document.activeElement.closest('td, th') ?? {})"
        )
        return place

    def saved(self, label: str) -> bytes:
        """The file that the button with that label saves."""
        folder = self.folder / "saved"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        values = {"behavior": "allow", "downloadPath": str(folder)}
        self.command("Browser.setDownloadBehavior", values)
        self.one(f"button[aria-label='{label}']").click()
        suffix = f".{label.rsplit(' ', 1)[1].lower()}"
        end = time.monotonic() + 20
        while time.monotonic() < end:
            done = [p for p in folder.iterdir() if p.suffix == suffix and p.stat().st_size]
            if done and len(list(folder.iterdir())) == 1:
                return done[0].read_bytes()
            time.sleep(0.05)
        raise AssertionError(f"nothing was saved by: {label}")

    def colours(self, selector: str) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
        """Text, its colour and the colour behind it, of each such element that has text."""
        found = self.asked(
            "[...document.querySelectorAll(arguments[0])].filter((e) => e.textContent).map((e) =>"
            " [e.textContent, getComputedStyle(e).color, getComputedStyle(e).backgroundColor])",
            selector,
        )
        page = colour(self.asked("getComputedStyle(document.body).backgroundColor"), under=(1,) * 3)
        return [(text, colour(ink, under=page), colour(b, under=page)) for text, ink, b in found]


def colour(css: str, *, under: tuple[float, ...]) -> tuple[float, ...]:
    """Red, green and blue in [0, 1] of a computed colour over an opaque one."""
    numbers = [float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", css)]
    whole = 1 if css.startswith("color(srgb") else 255
    assert css.startswith(("rgb", "color(srgb")), css
    alpha = numbers[3] if len(numbers) > 3 else 1.0
    shares = [number / whole for number in numbers[:3]]
    return tuple(alpha * top + (1 - alpha) * low for top, low in zip(shares, under, strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Between two colours, 1 to 21 (WCAG 2.2, relative luminance of sRGB)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(shares: tuple[float, ...]) -> float:
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
