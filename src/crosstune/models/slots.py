"""Texts that are being written, one token of each at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosstune.models.attention import Heads, plain
from crosstune.models.forest import Memory


@dataclass(slots=True)
class Slots:
    """Texts that are being written: keys and values of each, and room for more.

    One token of every text is read at a time.

    Attributes:
        lengths: Tokens of each text that have been read.
        layers: Keys and values by layer, each (texts, shared heads, room, width).
        longest: No text has more tokens than this.
    """

    lengths: Int[Tensor, " texts"]
    layers: dict[int, tuple[Tensor, Tensor]]
    longest: int
    _biases: dict[int | None, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(sizes: Sequence[int], room: int, *, before: Memory | None, own: Memory) -> Slots:
        """Room for texts of these sizes that were read as chains behind what all follow."""
        prefix = before.length if before is not None else 0
        device = next(iter(own.layers.values()))[0].device
        text = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        place = torch.cat([torch.arange(prefix, prefix + size) for size in sizes])
        text, place = text.to(device), place.to(device)

        def laid(rows: Tensor, above: Tensor | None) -> Tensor:
            slots = rows.new_zeros(len(sizes), prefix + max(sizes) + room, *rows.shape[1:])
            slots[text, place] = rows
            if above is not None:
                slots[:, :prefix] = above
            return slots.transpose(1, 2).contiguous()

        layers = {}
        for layer in list(own.layers):
            pair = own.layers.pop(layer)  # not held twice
            above = before.layers[layer] if before is not None else (None, None)
            layers[layer] = (laid(pair[0], above[0]), laid(pair[1], above[1]))
        return Slots(torch.tensor(sizes, device=device) + prefix, layers, prefix + max(sizes))

    def keep(self, texts: Int[Tensor, " kept"]) -> None:
        """Go on with these texts alone."""
        self.lengths = self.lengths[texts]
        for layer, (k, v) in self.layers.items():  # one by one: never all of it twice
            self.layers[layer] = (k[texts], v[texts])

    def go_on(self) -> None:
        """One more token of every text was read."""
        self.lengths = self.lengths + 1
        self.longest += 1
        self._biases.clear()

    @property
    def nodes(self) -> int:
        """One token of every text."""
        return len(self.lengths)

    def attend(self, heads: Heads) -> Float[Tensor, "texts heads depth"]:
        """Attention of each text's newest token to its text."""
        keys, values = self.layers[heads.layer]
        texts, shared = len(heads.k), heads.k.shape[1]
        every = torch.arange(texts, device=heads.k.device)
        keys[every, :, self.lengths] = heads.k
        values[every, :, self.lengths] = heads.v
        bias = self._bias(heads.window, heads.q.dtype)
        width = bias.shape[-1]
        queries = heads.q.view(texts, shared, -1, heads.q.shape[-1])
        bias = bias.expand(-1, -1, queries.shape[2], -1)
        out = plain(queries, keys[:, :, :width], values[:, :, :width], bias, heads)
        return out.flatten(1, 2)

    def _bias(self, window: int | None, numeric_type: torch.dtype) -> Tensor:
        found = self._biases.get(window)
        if found is None:
            places = torch.arange(self.longest + 1, device=self.lengths.device)
            near = places <= self.lengths[:, None]
            if window is not None:
                near = near & (places > self.lengths[:, None] - window)
            found = torch.zeros(near.shape, dtype=numeric_type, device=near.device)
            found = found.masked_fill_(~near, float("-inf"))[:, None, None]
            self._biases[window] = found
        return found
