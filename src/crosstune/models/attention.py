"""Attention of what is being read, in place of the model's own.

transformers lets a model's attention be named; here it asks what is being read at the moment (a
forest, or texts that are being written) who sees whom. Everything else is the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

NAME = "crosstune_forest"


@dataclass(frozen=True, slots=True)
class Heads:
    """One layer's attention, as the model asks for it.

    Attributes:
        layer: Its number.
        q: Queries, (nodes, heads, width).
        k: Keys, (nodes, shared heads, width).
        v: Values, (nodes, shared heads, depth).
        scale: Factor of the scores.
        window: Nodes that are seen at most, itself included; None for all.
        softcap: Bound of the scores, drawn in smoothly; None for none.
        dropout: Share of the attention that is dropped, while the base is tuned with it.
    """

    layer: int
    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    window: int | None
    softcap: float | None
    dropout: float


@runtime_checkable
class Read(Protocol):
    """What is being read."""

    @property
    def nodes(self) -> int:
        """Tokens that the model is given."""

    def attend(self, heads: Heads) -> Float[Tensor, "nodes heads depth"]:
        """What each node gets from those it sees."""


_current: ContextVar[Read | None] = ContextVar("current", default=None)


@contextmanager
def reading(read: Read) -> Iterator[None]:
    """Until left, this is what the model reads."""
    token = _current.set(read)
    try:
        yield
    finally:
        _current.reset(token)


def nodes_read() -> int:
    """Tokens of what is being read; 0 when nothing is."""
    read = _current.get()
    return 0 if read is None else read.nodes


@contextmanager
def told_who_sees_whom(base: PreTrainedModel) -> Iterator[None]:
    """Until left, the base's attention is this one, and reads nothing else."""
    usual = base.config._attn_implementation
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation(usual)


def _attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads nodes width"],
    key: Float[Tensor, "1 shared nodes width"],
    value: Float[Tensor, "1 shared nodes depth"],
    _: None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unknown: Any,
) -> tuple[Float[Tensor, "1 nodes heads depth"], None]:
    """Attention as transformers calls it."""
    read = _current.get()
    strange = [x for x in ("s_aux", "sinks", "position_bias") if unknown.get(x) is not None]
    if read is None or strange:
        raise ValueError(f"attention with {', '.join(strange) or 'nothing to read'}")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    heads = Heads(int(layer), q, k, v, scale, sliding_window, softcap, dropout)
    return read.attend(heads)[None], None


AttentionInterface.register(NAME, _attention)


def plain(
    queries: Float[Tensor, "trees shared rows width"],
    keys: Float[Tensor, "trees shared columns width"],
    values: Float[Tensor, "trees shared columns depth"],
    bias: Tensor,
    heads: Heads,
) -> Float[Tensor, "trees shared rows depth"]:
    """Attention by two plain products: on a CPU faster than the fused one, way back most of all.

    Args:
        queries: Those that have the same keys as rows of one product.
        keys: For each tree and shared head.
        values: Likewise.
        bias: Added to the scores; broadcast to (trees, shared, rows, columns).
        heads: Scale, soft cap and dropout.
    """
    flat = queries.flatten(0, 1)
    across = keys.flatten(0, 1).mT
    bias = bias.expand(*queries.shape[:2], -1, -1).reshape(len(flat), *bias.shape[2:])
    if heads.softcap is None:
        scores = torch.baddbmm(bias, flat, across, alpha=heads.scale)
    else:
        shares = torch.bmm(flat, across) * (heads.scale / heads.softcap)
        scores = torch.tanh(shares) * heads.softcap + bias
    weights = torch.softmax(scores, dim=-1)
    if heads.dropout:
        weights = functional.dropout(weights, heads.dropout)
    out = torch.bmm(weights, values.flatten(0, 1))
    return out.view(*queries.shape[:2], *out.shape[1:])


def fused(
    queries: Float[Tensor, "trees heads size width"],
    keys: Float[Tensor, "trees shared columns width"],
    values: Float[Tensor, "trees shared columns depth"],
    bias: Tensor | None,
    heads: Heads,
) -> Float[Tensor, "trees heads size depth"]:
    """Attention by torch's fused kernels, for an accelerator; without bias each sees all before."""
    if bias is not None:
        share = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(share, 1), values.repeat_interleave(share, 1)
        bias = bias.expand(len(queries), -1, -1, -1)
    return functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=bias,
        dropout_p=heads.dropout,
        is_causal=bias is None,
        scale=heads.scale,
        enable_gqa=bias is None,
    )
