"""Made-up studies need not survive a power cut, and waiting for the disk is most of their cost."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
