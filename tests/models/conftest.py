"""One tiny model of each architecture for the whole session."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstune.models.engine import TorchModel
from models_support import load
from tiny import ARCHITECTURES, tiny_model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: tiny_model(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="session", params=sorted(ARCHITECTURES))
def any_model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> TorchModel:
    return load(folders[request.param])


@pytest.fixture
def model(folders: dict[str, Path]) -> TorchModel:
    return load(folders["llama"])
