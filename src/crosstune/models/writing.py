"""Texts: what a model writes after each prompt, greedily.

Prompts are read without padding, what all begin with once; then one token of every text is read
at a time. A text that has ended leaves its batch, so that nothing is computed for it any more.

Memory: keys and values of one batch's texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from crosstune.models.encoding import Encoded, shared_beginning
from crosstune.models.forest import Memory
from crosstune.models.protocol import Progress, TextAnswer
from crosstune.models.reading import Model, Padded, Reader, output_at, runs
from crosstune.models.slots import Slots

_HELD_PER_BUDGET = 4
"""Tokens whose keys and values are held cost memory but hardly time: this many budgets of them."""


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[Encoded],
    *,
    reader: Reader,
    decode: Callable[[list[int]], str],
    ends: frozenset[int],
    stop: Sequence[str],
    max_new_tokens: int,
    budget: int,
    progress: Progress,
) -> list[TextAnswer]:
    """Greedy text after each prompt, ended by an end token, a stop string or the length.

    Args:
        model: The model that answers, in evaluation mode.
        prompts: Encoded prompts with room for the new tokens.
        reader: How it reads.
        decode: Token ids to text, special tokens left out.
        ends: Token ids that end a text.
        stop: Strings that end a text and are cut from it.
        max_new_tokens: Longest answer.
        budget: Tokens read at once.
        progress: Told after each batch.
    """
    tail = max((len(s.encode()) for s in stop), default=0) + 1

    def ended(written: list[int]) -> bool:
        if written[-1] in ends or len(written) == max_new_tokens:
            return True
        text = decode(written[-tail:])
        return any(s in text for s in stop if s)

    answers: dict[int, TextAnswer] = {}
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].tokens), i))
    rows = [prompt.tokens for prompt in prompts]
    shared = shared_beginning(rows, [len(row) for row in rows]) if reader.packs else 0
    with reader.reading():
        before = reader.remember(model, rows[0][:shared]) if shared else None

        def cost(i: int) -> int:
            read, held = len(rows[i]) - shared, len(rows[i]) + max_new_tokens
            return max(read, held // _HELD_PER_BUDGET)

        for batch in runs(order, cost, budget):
            texts: _Texts = (
                _PackedTexts(model, reader, before, max_new_tokens)
                if reader.packs
                else _PaddedTexts(model, reader)
            )
            written = _write(texts, [rows[i][shared:] for i in batch], ended)
            for i, tokens in zip(batch, written, strict=True):
                text = decode([token for token in tokens if token not in ends])
                cuts = [at for s in stop if s and (at := text.find(s)) >= 0]
                p = prompts[i]
                answers[i] = TextAnswer(
                    p.id, text[: min(cuts, default=None)], len(p.tokens), len(tokens), p.truncated
                )
            progress(len(answers), len(prompts), "")
    return [answers[i] for i in range(len(prompts))]


class _Texts(Protocol):
    """Texts of one batch that are being written."""

    def begin(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts; logits of what comes next, (texts, vocabulary)."""

    def go_on(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        """Read one more token of each text that is kept (None: all); logits again."""


def _write(
    texts: _Texts, rows: Sequence[Sequence[int]], ended: Callable[[list[int]], bool]
) -> list[list[int]]:
    """New tokens of each row."""
    written: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))
    logits = texts.begin(rows)
    while True:
        new = logits.argmax(-1)
        for row, token in zip(alive, new.tolist(), strict=True):
            written[row].append(token)
        going = [i for i, row in enumerate(alive) if not ended(written[row])]
        if not going:
            return written
        kept = None
        if len(going) < len(alive):
            kept = torch.tensor(going, device=new.device)
            new, alive = new[kept], [alive[i] for i in going]
        logits = texts.go_on(new, kept)


class _PackedTexts:
    """Texts of a model that can be told who sees whom."""

    def __init__(self, model: Model, reader: Reader, before: Memory | None, room: int) -> None:
        self._model, self._reader, self._before, self._room = model, reader, before, room
        self._slots: Slots

    def begin(self, rows: Sequence[Sequence[int]]) -> Tensor:
        self._slots, logits = self._reader.begin(self._model, rows, self._room, before=self._before)
        return logits

    def go_on(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        if kept is not None:
            self._slots.keep(kept)
        return self._reader.go_on(self._model, self._slots, tokens)


class _PaddedTexts:
    """Texts of any model that keeps a cache of transformers."""

    def __init__(self, model: Model, reader: Reader) -> None:
        self._model, self._base = model, reader.base
        self._cache = DynamicCache(config=reader.base.config)
        self._mask: Tensor

    def begin(self, rows: Sequence[Sequence[int]]) -> Tensor:
        batch = Padded.of(rows, left=True, device=self._base.device)
        self._mask = batch.mask
        return self._read(batch.ids)

    def go_on(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        if kept is not None:
            self._cache.batch_select_indices(kept)
            self._mask = self._mask[kept]
        self._mask = torch.cat([self._mask, torch.ones_like(tokens[:, None])], dim=1)
        return self._read(tokens[:, None])

    def _read(self, ids: Tensor) -> Tensor:
        every = torch.arange(len(ids), device=ids.device)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        # Through `output_at`: a slice of one column sends torch's CPU product astray (6 GB, 10 s).
        with output_at(self._base, every, torch.full_like(every, ids.shape[1] - 1)):
            logits: Tensor = self._model(
                input_ids=ids,
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            ).logits
        return logits[0]
