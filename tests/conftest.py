"""Shared by all tests: no network, no colour, and shapes in signatures that are checked."""

from __future__ import annotations

import os

# Set before anything reads them: a test that reaches for the network is a defect.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

from jaxtyping import install_import_hook

# Before their first import: the modules whose signatures name shapes are checked at every call.
SOURCE = Path(__file__).parent.parent / "src"
SHAPED = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if "from jaxtyping import" in path.read_text("utf-8")
]
install_import_hook(SHAPED, "beartype.beartype")

import pytest  # noqa: E402 (after the hook)


@pytest.fixture(autouse=True)
def _parser_where_it_is_meant(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser reads datasets where its numbers are the matter: it takes seconds a dataset."""
    if "profile" not in request.node.path.as_posix():
        monkeypatch.setattr("crosstune.tasks.profile.grammar._parser", lambda: None)
