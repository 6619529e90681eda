"""A maker of tasks in the test's own folder."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tasks.making import MakeTask, task_in


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    return functools.partial(task_in, tmp_path)
