"""Hidden states of one model on one probe, kept small: what every similarity needs of them.

    held.npy        float16 (layers, examples, width): centred states over their layer's scale; or
                    float32 (layers, pairs): inner products of centred states, the upper triangle
                    of examples × examples row by row. Whichever is smaller
    means.npy       float32 (layers, width): mean state
    variances.npy   float32 (layers, width): of each dimension over the examples
    largest.npy     float32 (layers, LARGEST, examples): centred values of the dimensions of
                    largest variance, so that they can be left out
    states.json     sizes, scales, which layers are constant, and the record of who made them

Inner products hold all of the states but their mean, a rotation and a rounding of 1e-7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crosstune.results.content import content, damaged
from crosstune.results.store import Store

LARGEST = 4
"""Dimensions that can be left out to see what a few of them do."""

_SAME = 1e-12
"""Share of a layer's largest number up to which its states are one state."""


def bytes_of(layers: int, examples: int, width: int) -> int:
    """What the states of one probe take on the disk, but for some kilobytes.

    Example:
        >>> bytes_of(31, 500, 576) == 31 * (4 * 500 * 501 // 2 + 4 * 500 * 4 + 8 * 576)
        True
    """
    return layers * (_held_bytes(examples, width) + 4 * examples * LARGEST + 8 * width)


def _held_bytes(examples: int, width: int) -> int:
    return min(2 * examples * width, 4 * examples * (examples + 1) // 2)


def largest_of(variances: Float[np.ndarray, " width"]) -> Int[np.ndarray, " few"]:
    """The dimensions of largest variance, the first ones of equal ones."""
    return np.argsort(-variances, kind="stable")[:LARGEST]


def write_states(
    folder: Path, states: Float[np.ndarray, "layers examples width"], record: Mapping[str, Any]
) -> None:
    """Write the states of all layers into an empty folder.

    Args:
        folder: Existing and empty.
        states: Of all layers, the embedding first.
        record: Plain values, kept in states.json beside the sizes.

    Raises:
        ValueError: A state is not finite.
    """
    layers, examples, width = states.shape
    whole = _held_bytes(examples, width) == 2 * examples * width
    upper = np.triu_indices(examples)
    held = np.empty(
        (layers, examples, width) if whole else (layers, len(upper[0])),
        dtype=np.float16 if whole else np.float32,
    )
    means, variances = np.empty((2, layers, width), dtype=np.float32)
    largest = np.empty((layers, min(LARGEST, width), examples), dtype=np.float32)
    scales, constant = [], []
    for i, layer in enumerate(states):
        wide = layer.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ValueError(f"a hidden state of layer {i} is not finite")
        mean = wide.mean(axis=0)
        wide -= mean
        away = float(np.abs(wide).max())
        constant.append(away <= _SAME * float(np.abs(layer).max()))
        scales.append(away or 1.0)
        means[i], variances[i] = mean, wide.var(axis=0)
        largest[i] = wide[:, largest_of(variances[i])].T
        held[i] = wide / scales[i] if whole else (wide @ wide.T)[upper]
    arrays = {"held": held, "means": means, "variances": variances, "largest": largest}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    told = {
        **record,
        "layers": layers,
        "examples": examples,
        "width": width,
        "held": "states" if whole else "products",
        "scales": scales,
        "constant": constant,
    }
    text = json.dumps(told, indent=1, sort_keys=True)
    (folder / "states.json").write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Kept states of one model on one probe; layers are read from the disk when asked for.

    Attributes:
        layers: How many, the embedding among them.
        examples: Of the probe.
        width: Of the model.
        constant: Whether all examples have one state there, for each layer.
        means: Mean state.
        variances: Of each dimension.
        record: What else states.json says.
    """

    layers: int
    examples: int
    width: int
    constant: tuple[bool, ...]
    means: Float[np.ndarray, "layers width"]
    variances: Float[np.ndarray, "layers width"]
    record: Mapping[str, Any]
    _held: np.ndarray
    _largest: np.ndarray

    def packed(self, layer: int) -> Float[np.ndarray, " pairs"]:
        """The upper triangle of `products`, row by row, as it is kept where it is."""
        if self.record["held"] == "products":
            return np.asarray(self._held[layer])
        return np.asarray(self.products(layer)[np.triu_indices(self.examples)])

    def products(
        self, layer: int, *, without_largest: bool = False
    ) -> Float[np.ndarray, "examples examples"]:
        """Inner products of the centred states of a layer.

        Args:
            layer: 0 is the embedding.
            without_largest: Whether the `LARGEST` dimensions of largest variance are left out.
        """
        if self.record["held"] == "states":
            states = self._states(layer)
            if without_largest:
                states[:, largest_of(self.variances[layer])] = 0
            return np.asarray(states @ states.T)
        found = np.zeros((self.examples, self.examples))
        found[np.triu_indices(self.examples)] = self._held[layer]
        found += np.triu(found, 1).T
        if without_largest:
            left_out = self._largest[layer].astype(np.float64)
            found -= left_out.T @ left_out
        return np.asarray(found)

    def largest_share(self) -> Float[np.ndarray, " layers"]:
        """Part of the variance in the `LARGEST` dimensions; NaN where there is none."""
        whole = self.variances.sum(axis=1)
        held = np.sort(self.variances, axis=1)[:, -LARGEST:].sum(axis=1)
        shares = np.divide(held, whole, out=np.full(self.layers, np.nan), where=whole > 0)
        return np.asarray(shares)

    def _states(self, layer: int) -> Float[np.ndarray, "examples width"]:
        scaled = self._held[layer].astype(np.float64)
        return np.asarray(scaled * self.record["scales"][layer])


def read_states(folder: Path) -> States:
    """States of a sound entry.

    Raises:
        InputError: The files are not what `write_states` made.
    """
    told = content(folder / "states.json")
    try:
        held, means, variances, largest = (
            np.load(folder / f"{name}.npy", allow_pickle=False, mmap_mode="r")
            for name in ("held", "means", "variances", "largest")
        )
        found = States(
            layers=told["layers"],
            examples=told["examples"],
            width=told["width"],
            constant=tuple(map(bool, told["constant"])),
            means=np.asarray(means, dtype=np.float64),
            variances=np.asarray(variances, dtype=np.float64),
            record=told,
            _held=held,
            _largest=largest,
        )
        if held.shape[0] != found.layers or len(found.constant) != found.layers:
            raise ValueError("layers are missing")
    except (OSError, ValueError, TypeError, KeyError):
        raise damaged(folder / "states.json") from None
    return found


def states_of(store: Store, key: str) -> States | None:
    """Sound states of a study; None when there are none.

    Raises:
        InputError: As `read_states`.
    """
    folder = store.entry("states", key)
    return None if folder is None else read_states(folder)
