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
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from crosstune.models.attention import Heads, fused, plain

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
        index: Place in the group of every node; any place for padding.
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
    """What was read of a batch.

    Attributes:
        length: Nodes of its chain.
        layers: Keys and values by layer; as in `Heads`.
        windows: Windows that its layers were asked to keep to.
    """

    length: int
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    windows: set[int | None] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Forest:
    """One batch.

    Attributes:
        ids: Tokens of all trees, one after the other.
        positions: Their distances from the beginning of the text.
        groups: The trees by size.
        order: Nodes in the order of the groups, and back; None where it is the batch's own.
        before: What all trees follow.
        kept: Takes up this batch's keys and values.
    """

    ids: Int[Tensor, "1 nodes"]
    positions: Int[Tensor, "1 nodes"]
    groups: list[Group]
    order: tuple[Tensor, Tensor] | None
    before: Memory | None
    kept: Memory | None

    @staticmethod
    def of(
        trees: Sequence[Tree],
        *,
        heads: int,
        device: torch.device,
        before: Memory | None = None,
        kept: Memory | None = None,
    ) -> Forest:
        """Lay trees end to end."""
        prefix = before.length if before is not None else 0
        depths = [tree.depths() for tree in trees]
        order = sorted(range(len(trees)), key=lambda i: -len(trees[i]))
        ranked, deep = [trees[i] for i in order], [depths[i] for i in order]
        groups = [
            _group(ranked[start:end], deep[start:end], prefix, device)
            for start, end in _like(ranked, heads, prefix)
        ]
        ids = torch.tensor([token for tree in trees for token in tree.tokens])
        positions = torch.tensor([prefix + depth for row in depths for depth in row])
        nodes = None
        if order != list(range(len(trees))):
            ranges = torch.arange(len(ids)).split([len(tree) for tree in trees])  # type: ignore[no-untyped-call]
            there = torch.cat([ranges[i] for i in order])
            nodes = (sent(there, device), sent(there.argsort(), device))
        return Forest(
            sent(ids[None], device), sent(positions[None], device), groups, nodes, before, kept
        )

    @property
    def nodes(self) -> int:
        """Tokens of all trees."""
        return self.ids.shape[1]

    def attend(self, heads: Heads) -> Float[Tensor, "nodes heads depth"]:
        """Attention of every tree to itself and to what all trees follow."""
        if self.kept is not None:
            self.kept.layers[heads.layer] = (heads.k, heads.v)
            self.kept.windows.add(heads.window)
        before = None if self.before is None else self.before.layers[heads.layer]
        if self.order is not None:
            parts = [_moved(rows, *self.order) for rows in (heads.q, heads.k, heads.v)]
            heads = replace(heads, q=parts[0], k=parts[1], v=parts[2])
        learns = torch.is_grad_enabled() and heads.q.requires_grad
        written, first = [], 0
        for group in self.groups:
            nodes = slice(first, first + len(group.inverse))
            q, k, v = heads.q[nodes], heads.k[nodes], heads.v[nodes]
            scores = q.shape[1] * len(group.index) * (group.prefix + group.size)
            if learns and scores > _KEPT_SCORES and not _fuses(heads):
                part = checkpoint(
                    _attend,
                    *(q, k, v, group, before, heads),
                    use_reentrant=False,
                    preserve_rng_state=bool(heads.dropout),
                )
            else:
                part = _attend(q, k, v, group, before, heads)
            written.append(part)
            first = nodes.stop
        out = torch.cat(written) if len(written) > 1 else written[0]
        return out if self.order is None else _moved(out, *self.order[::-1])


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
    prefix: int,
    device: torch.device,
) -> Group:
    size = max(map(len, trees))
    index = torch.zeros(len(trees), size, dtype=torch.long)
    deep = torch.zeros(len(trees), size, dtype=torch.long)
    inverse, first, seen = [], 0, None
    if any(tree.parents is not None for tree in trees):
        seen = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        nodes = len(tree)
        index[row, :nodes] = torch.arange(first, first + nodes)
        deep[row, :nodes] = prefix + torch.tensor(depths[row])
        inverse.append(torch.arange(row * size, row * size + nodes))
        if seen is not None:
            seen[row, :nodes, :nodes] = tree.ancestors()
        first += nodes
    return Group(
        trees=len(trees),
        size=size,
        index=sent(index.flatten(), device),
        inverse=sent(torch.cat(inverse), device),
        seen=None if seen is None else sent(seen, device),
        depths=sent(deep, device),
        prefix=prefix,
    )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to a GPU without waiting for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class _Lay(torch.autograd.Function):
    """Rows of a batch laid out as a rectangle; what padding gets back is not theirs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None


def _moved(rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
    moved: Tensor = _Lay.apply(rows.reshape(len(rows), -1), there, back)  # type: ignore[no-untyped-call]
    return moved.view(len(rows), *rows.shape[1:])


def _fuses(heads: Heads) -> bool:
    """Whether torch has a kernel that never writes the scores down."""
    return heads.q.is_cuda and heads.softcap is None


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    group: Group,
    before: tuple[Tensor, Tensor] | None,
    heads: Heads,
) -> Float[Tensor, "nodes heads depth"]:
    """One group's attention; queries that share keys stand together as rows of one product."""
    trees, size, shared = group.trees, group.size, k.shape[1]
    share = q.shape[1] // shared
    full = len(group.index) == len(group.inverse)

    def lay(rows: Tensor) -> Float[Tensor, "trees shared share size width"]:
        flat = rows.reshape(len(rows), -1)
        if not full:
            flat = _Lay.apply(flat, group.index, group.inverse)  # type: ignore[no-untyped-call]
        return flat.view(trees, size, shared, -1, rows.shape[-1]).permute(0, 2, 3, 1, 4)

    queries, keys, values = lay(q), lay(k)[:, :, 0], lay(v)[:, :, 0]
    if before is not None:
        above = [x.transpose(0, 1).expand(trees, -1, -1, -1) for x in before]
        keys, values = torch.cat([above[0], keys], 2), torch.cat([above[1], values], 2)
    if _fuses(heads):
        chains = group.seen is None and not group.prefix
        free = heads.window is None or heads.window > group.size
        bias = None if chains and free else group.bias(heads.window, q.dtype, 1)
        out = fused(queries.flatten(1, 2), keys, values, bias, heads)
    else:
        bias = group.bias(heads.window, q.dtype, share)
        out = plain(queries.flatten(2, 3), keys, values, bias, heads)
        out = out.view(trees, shared * share, size, -1)
    out = out.transpose(1, 2).reshape(trees * size, q.shape[1], -1)
    return out if full else out.index_select(0, group.inverse)
