"""Batches without padding: token trees laid end to end, each seeing only itself.

A training text is a tree that is a chain; a choice prompt is a tree whose branches are its
choices, so that what they share is computed once; what all prompts of a batch share is one more
chain, the prefix, computed once for all. Everything in a model but attention works token by
token, so a batch is one row of exactly the tokens that matter; attention is computed here, tree
by tree, through the interface that transformers offers for it.

Costs a copy of queries, keys and values, and scores of trees × heads × nodes².
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, PreTrainedModel

NAME = "crosstune_forest"

_LIKE = 0.8
"""Trees of one group have at least this share of its largest one's nodes, where it matters."""

_FEW_SCORES = 2**19
"""Scores a group may waste on padding: what one group more would cost besides."""

_SCORES = 2**25
"""Attention scores of one group at most (of one tree, if that alone has more)."""

_KEPT_SCORES = 2**22
"""Scores of a group that are kept for the way back; more are computed again."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens in an order in which parents come first.

    Attributes:
        tokens: One id a node.
        parents: Index of each node's parent, -1 for a root; None for a chain.
    """

    tokens: Sequence[int]
    parents: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def depths(self) -> list[int]:
        """Number of nodes above each node."""
        if self.parents is None:
            return list(range(len(self.tokens)))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return depths

    def paths(self) -> list[list[int]]:
        """The nodes from a root to each leaf."""
        if self.parents is None:
            return [list(range(len(self.tokens)))]
        found = []
        for leaf in sorted(set(range(len(self.tokens))) - set(self.parents)):
            path, node = [leaf], self.parents[leaf]
            while node >= 0:
                path.append(node)
                node = self.parents[node]
            found.append(path[::-1])
        return found

    def ancestors(self) -> Bool[Tensor, "nodes nodes"]:
        """Which nodes each node sees: itself and all above it."""
        size = len(self.tokens)
        if self.parents is None:
            return torch.ones(size, size, dtype=torch.bool).tril()
        seen = torch.eye(size, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


@dataclass(slots=True)
class Group:
    """Trees of like size, made one rectangle for attention alone.

    Attributes:
        trees: How many.
        size: Nodes of the largest one.
        index: Place in the batch of every node; padding repeats its tree's first one.
        inverse: Place in the rectangle of every node, in the batch's order.
        seen: Which nodes each node sees; None for chains, which see all before.
        depths: Of every node.
        prefix: Nodes before the tree that all its nodes see.
    """

    trees: int
    size: int
    index: Int[Tensor, " padded"]
    inverse: Int[Tensor, " nodes"]
    seen: Bool[Tensor, "trees size size"] | None
    depths: Int[Tensor, "trees size"]
    prefix: int
    _biases: dict[tuple[int | None, torch.dtype, int], Tensor] = field(default_factory=dict)

    def bias(self, window: int | None, numeric_type: torch.dtype, share: int) -> Tensor:
        """What is added to the scores: 0 where a node is seen, else minus infinity.

        Shape (trees or 1, 1, share * size, prefix + size): queries of `share` heads stand
        together, as they have the same keys.
        """
        if window is not None and window > self.prefix + self.size:
            window = None
        found = self._biases.get((window, numeric_type, share))
        if found is None:
            seen = self.seen
            if seen is None:
                square = torch.ones(1, self.size, self.size, dtype=torch.bool)
                seen = square.tril().to(self.index.device)
            prefix = seen.new_ones(*seen.shape[:2], self.prefix)
            seen = torch.cat([prefix, seen], dim=2)
            if window is not None:
                above = torch.arange(self.prefix, device=seen.device).expand(self.trees, -1)
                keys = torch.cat([above, self.depths], dim=1)
                seen = seen & (self.depths[:, :, None] - keys[:, None, :] < window)
            found = torch.zeros(seen.shape, dtype=numeric_type, device=seen.device)
            found = found.masked_fill_(~seen, float("-inf")).repeat(1, share, 1)[:, None]
            self._biases[window, numeric_type, share] = found
        return found


@dataclass(frozen=True, slots=True)
class Memory:
    """Keys and values of a prefix, layer by layer, once it has been read."""

    length: int
    layers: dict[int, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Forest:
    """One batch.

    Attributes:
        ids: Tokens of all trees, one after the other.
        positions: Their distances from the beginning of the text.
        groups: The trees by size.
        memory: The prefix that was read before, to be filled or to be used.
        fills: Whether this batch is that prefix.
    """

    ids: Int[Tensor, "1 nodes"]
    positions: Int[Tensor, "1 nodes"]
    groups: list[Group]
    memory: Memory | None
    fills: bool

    @staticmethod
    def of(
        trees: Sequence[Tree],
        *,
        heads: int,
        device: torch.device,
        memory: Memory | None = None,
        fills: bool = False,
    ) -> Forest:
        """Lay trees end to end; those of like size should be neighbours."""
        prefix = memory.length if memory is not None and not fills else 0
        depths = [tree.depths() for tree in trees]
        groups, first = [], 0
        for start, end in _like(trees, heads, prefix):
            groups.append(_group(trees[start:end], depths[start:end], first, prefix, device))
            first += sum(map(len, trees[start:end]))
        ids = torch.tensor([token for tree in trees for token in tree.tokens])
        positions = torch.tensor([prefix + depth for row in depths for depth in row])
        return Forest(ids[None].to(device), positions[None].to(device), groups, memory, fills)


def _like(trees: Sequence[Tree], heads: int, prefix: int) -> Iterator[tuple[int, int]]:
    """Runs of trees whose sizes are alike and whose scores fit."""
    start = 0
    while start < len(trees):
        end, low, high, needed = start, len(trees[start]), 0, 0
        while end < len(trees):
            size = len(trees[end])
            low, high, needed = min(low, size), max(high, size), needed + size * (prefix + size)
            scores = (end + 1 - start) * high * (prefix + high)
            unlike = low < _LIKE * high and (scores - needed) * heads > _FEW_SCORES
            if end > start and (unlike or scores * heads > _SCORES):
                break
            end += 1
        yield start, end
        start = end


def _group(
    trees: Sequence[Tree],
    depths: Sequence[Sequence[int]],
    first: int,
    prefix: int,
    device: torch.device,
) -> Group:
    size = max(map(len, trees))
    index = torch.zeros(len(trees), size, dtype=torch.long)
    deep = torch.zeros(len(trees), size, dtype=torch.long)
    inverse = []
    seen = None
    if any(tree.parents is not None for tree in trees):
        seen = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        nodes = len(tree)
        index[row] = first
        index[row, :nodes] = torch.arange(first, first + nodes)
        deep[row] = prefix
        deep[row, :nodes] = prefix + torch.tensor(depths[row])
        inverse.append(torch.arange(row * size, row * size + nodes))
        if seen is not None:
            seen[row, :nodes, :nodes] = tree.ancestors()
        first += nodes
    return Group(
        trees=len(trees),
        size=size,
        index=index.flatten().to(device),
        inverse=torch.cat(inverse).to(device),
        seen=None if seen is None else seen.to(device),
        depths=deep.to(device),
        prefix=prefix,
    )


class _Lay(torch.autograd.Function):
    """Rows of a batch laid out as a rectangle; what padding gets back is not theirs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor, first: int) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.first, ctx.shape = first, rows.shape
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None, None


_current: ContextVar[Forest | None] = ContextVar("forest", default=None)


def _forest_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads nodes width"],
    key: Float[Tensor, "1 shared nodes width"],
    value: Float[Tensor, "1 shared nodes depth"],
    attention_mask: None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unknown: Any,
) -> tuple[Float[Tensor, "1 nodes heads depth"], None]:
    """Attention of every tree to itself and to the prefix; transformers calls it."""
    forest = _current.get()
    assert forest is not None
    assert not dropout
    for name in ("s_aux", "position_bias", "sinks"):
        if unknown.get(name) is not None:
            raise NotImplementedError(name)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    before = None
    if forest.memory is not None:
        if forest.fills:
            forest.memory.layers[int(module.layer_idx)] = (k, v)  # type: ignore[arg-type]
        else:
            before = forest.memory.layers[int(module.layer_idx)]  # type: ignore[arg-type]
    written, first = [], 0
    for group in forest.groups:
        nodes = len(group.inverse)
        part = slice(first, first + nodes)
        scores = query.shape[1] * len(group.index) * (group.prefix + group.size)
        again = torch.is_grad_enabled() and scores > _KEPT_SCORES and query.requires_grad
        arguments = (q[part], k[part], v[part], group, first, before, scale, sliding_window, softcap)
        if again:
            written.append(checkpoint(_attend, *arguments, use_reentrant=False))
        else:
            written.append(_attend(*arguments))
        first += nodes
    return torch.cat(written)[None] if len(written) > 1 else written[0][None], None


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    group: Group,
    first: int,
    before: tuple[Tensor, Tensor] | None,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Float[Tensor, "nodes heads depth"]:
    trees, size, shared = group.trees, group.size, k.shape[1]
    share = q.shape[1] // shared
    full = len(group.index) == len(group.inverse)

    def lay(rows: Tensor) -> Tensor:
        flat = rows.reshape(len(rows), -1)
        if not full:
            flat = _Lay.apply(flat, group.index - first, group.inverse, first)  # type: ignore[no-untyped-call]
        return flat.view(trees, size, shared, -1, rows.shape[-1]).permute(0, 2, 3, 1, 4)

    queries = lay(q).reshape(trees * shared, share * size, -1)
    keys, values = lay(k)[:, :, 0], lay(v)[:, :, 0]
    if before is not None:
        above = [x.transpose(0, 1)[None].expand(trees, -1, -1, -1) for x in before]
        keys, values = torch.cat([above[0], keys], 2), torch.cat([above[1], values], 2)
    bias = group.bias(window, q.dtype, share)
    keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    if softcap is None:
        wide = bias.expand(trees, shared, -1, -1).reshape(trees * shared, *bias.shape[2:])
        scores = torch.baddbmm(wide, queries, keys.mT, alpha=scale)
    else:
        capped = torch.tanh(torch.bmm(queries, keys.mT) * (scale / softcap)) * softcap
        scores = (capped.view(trees, shared, *bias.shape[2:]) + bias).flatten(0, 1)
    out = torch.bmm(torch.softmax(scores, dim=-1), values)
    out = out.view(trees, shared, share, size, -1).permute(0, 3, 1, 2, 4)
    out = out.reshape(trees * size, q.shape[1], -1)
    return out if full else out.index_select(0, group.inverse)


AttentionInterface.register(NAME, _forest_attention)


@contextmanager
def attends_forests(base: PreTrainedModel) -> Iterator[None]:
    """Until left, the base can read forests, and nothing else."""
    usual = base.config._attn_implementation
    base.set_attn_implementation(NAME)
    try:
        yield
    finally:
        base.set_attn_implementation(usual)


@contextmanager
def current(forest: Forest) -> Iterator[None]:
    """The forest that is being read."""
    token = _current.set(forest)
    try:
        yield
    finally:
        _current.reset(token)
