"""Kept states give the similarities of the whole ones, in whichever form is smaller."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crosstune.errors import InputError
from crosstune.results.states import LARGEST, bytes_of, read_states, write_states

WIDE, NARROW = 60, 12
N = 30


def made(width: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(3, N, width)) + 50
    states[2, :, 3] *= 400  # one dimension beyond the others
    states[0] = states[0, 0]
    return np.asarray(states, dtype=np.float32)


def kept(folder: Path, states: np.ndarray) -> Path:
    folder.mkdir()
    write_states(folder, states, {"task": "mood"})
    return folder


@pytest.mark.parametrize(("width", "form"), [(WIDE, "products"), (NARROW, "states")])
def test_products_are_those_of_centred_states(tmp_path: Path, width: int, form: str) -> None:
    states = made(width)
    found = read_states(kept(tmp_path / "a", states))
    assert found.record["held"] == form
    assert (found.layers, found.examples, found.width) == (3, N, width)
    assert found.constant == (True, False, False)
    tolerance = 1e-6 if form == "products" else 2e-3
    for layer in (1, 2):
        centred = states[layer].astype(float) - states[layer].mean(axis=0, dtype=float)
        expected = centred @ centred.T
        size = np.abs(expected).max()
        np.testing.assert_allclose(found.products(layer), expected, atol=tolerance * size)
        few = centred[:, np.sort(np.argsort(-centred.var(axis=0))[LARGEST:])]
        expected = few @ few.T
        size = np.abs(expected).max()
        # Single precision keeps what is small beside the four; half precision rounds it alone.
        np.testing.assert_allclose(
            found.products(layer, without_largest=True), expected, atol=5e-3 * size
        )
    np.testing.assert_allclose(found.means, states.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.variances[1:], states[1:].astype(float).var(axis=1), rtol=1e-5)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_size_is_what_was_told(tmp_path: Path, width: int) -> None:
    folder = kept(tmp_path / "a", made(width))
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
    assert 0 <= size - bytes_of(3, N, width) <= 4 * 128  # the headers of four files


def test_states_that_half_precision_cannot_hold_are_scaled(tmp_path: Path) -> None:
    states = made(NARROW) * 1e6
    found = read_states(kept(tmp_path / "a", states))
    centred = states[2].astype(float) - states[2].mean(axis=0, dtype=float)
    np.testing.assert_allclose(
        found.products(2), centred @ centred.T, atol=2e-3 * np.abs(centred @ centred.T).max()
    )


def test_a_state_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    states = made(NARROW)
    states[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="layer 1 is not finite"):
        kept(tmp_path / "a", states)


@pytest.mark.parametrize("wrong", ["held", "layers", "json"])
def test_damaged_files_are_told(tmp_path: Path, wrong: str) -> None:
    folder = kept(tmp_path / "a", made(NARROW))
    if wrong == "held":
        (folder / "held.npy").write_bytes(b"nonsense")
    elif wrong == "json":
        (folder / "states.json").write_text("[]")
    else:
        told = json.loads((folder / "states.json").read_text())
        (folder / "states.json").write_text(json.dumps(told | {"layers": 7}))
    with pytest.raises(InputError, match="damaged"):
        read_states(folder)
