"""One browser for every file of tests that needs one; they are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from report.tables import example_page

if TYPE_CHECKING:
    from report.browser import Reader


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    from report.browser import Reader, chromium  # needs selenium

    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield Reader(driver, tmp_path_factory.mktemp("page"))
    driver.quit()


@pytest.fixture
def reader(browser: Reader) -> Iterator[Reader]:
    browser.open(example_page())
    yield browser
    assert browser.complaints() == []
