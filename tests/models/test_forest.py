"""A node of a packed tree is told what its path alone would be told, and teaches the same."""

from __future__ import annotations

import copy
import random
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from crosstune.models import attention, forest
from crosstune.models.attention import Heads, reading
from crosstune.models.engine import TorchModel
from crosstune.models.forest import Forest, Memory, Tree
from crosstune.models.reading import Place, Reader, grown

PREFIXES = [[], [7, 9, 11], list(range(40, 60))]


def random_tree(chance: random.Random, size: int, kind: str) -> Tree:
    """A chain (its parents stated or not), a tree that branches, or trees with no common root."""
    tokens = [chance.randrange(320) for _ in range(size)]
    if kind == "chain":
        return Tree(tokens)
    parents = [-1]
    for node in range(1, size):
        far = {"stated": 0.0, "seldom": 0.1, "often": 0.7, "roots": 0.4}[kind]
        parent = chance.randrange(node) if chance.random() < far else node - 1
        parents.append(-1 if kind == "roots" and chance.random() < 0.2 else parent)
    return Tree(tokens, parents)


def random_trees(seed: int) -> list[Tree]:
    """Sizes from 1 to 40, many of one size, and some trees twice."""
    chance = random.Random(seed)
    kinds = ("chain",) if seed % 4 == 0 else ("chain", "stated", "seldom", "often", "roots")
    sizes = [1, 40, *[chance.choice([6, 6, 6, 13, 27]) for _ in range(5)]]
    trees = [random_tree(chance, size, chance.choice(kinds)) for size in sizes]
    trees += trees[2:4]
    chance.shuffle(trees)
    return trees if seed % 2 else sorted(trees, key=len)


def way(tree: Tree, node: int) -> list[int]:
    """From its root down to a node, step by step."""
    if tree.parents is None:
        return list(range(node + 1))
    steps = [node]
    while tree.parents[steps[0]] != -1:
        steps.insert(0, tree.parents[steps[0]])
    return steps


def every_place(trees: list[Tree]) -> list[Place]:
    return [(number, node) for number, tree in enumerate(trees) for node in range(len(tree))]


def plain_logits(base: Any, trees: list[Tree], prefix: list[int]) -> Tensor:
    """Each node's path read alone; a path that another one begins with is read with that one."""
    told = []
    for tree in trees:
        rows: dict[int, Tensor] = {}
        for leaf in reversed(range(len(tree))):
            steps = way(tree, leaf)
            if leaf not in rows:
                ids = torch.tensor([prefix + [tree.tokens[node] for node in steps]])
                rows.update(zip(steps, base(input_ids=ids).logits[0, len(prefix) :], strict=True))
        told += [rows[node] for node in range(len(tree))]
    return torch.stack(told)


def packed_logits(reader: Reader, model: Any, trees: list[Tree], prefix: list[int]) -> Tensor:
    with reader.reading():
        memory = reader.remember(model, prefix) if prefix else None
        return reader.logits(model, trees, every_place(trees), memory=memory)


@pytest.mark.parametrize("prefix", PREFIXES, ids=len)
@pytest.mark.parametrize("seed", range(8))
def test_every_node_is_told_what_its_path_alone_is_told(
    any_model: TorchModel, seed: int, prefix: list[int]
) -> None:
    """Gemma's window of 8 is shorter than prefixes, chains and branches here."""
    trees, base = random_trees(seed), any_model._base
    with torch.inference_mode():
        packed = packed_logits(any_model._reader, base, trees, prefix)
        plain = plain_logits(base, trees, prefix)
    torch.testing.assert_close(packed, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("limits", [{"_SCORES": 1}, {"_FEW_SCORES": 0}, {"_SCORES": 60_000}])
def test_groups_change_nothing(
    any_model: TorchModel, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trees, prefix = random_trees(7), PREFIXES[1]
    with torch.inference_mode():
        whole = packed_logits(any_model._reader, any_model._base, trees, prefix)
        for name, limit in limits.items():
            monkeypatch.setattr(forest, name, limit)
        cut = list(forest._like(trees, 4, len(prefix)))
        assert len(cut) > 1
        groups = packed_logits(any_model._reader, any_model._base, trees, prefix)
    torch.testing.assert_close(groups, whole, atol=1e-4, rtol=0)


def test_places_may_come_in_any_order_and_twice(any_model: TorchModel) -> None:
    trees, reader = random_trees(3), any_model._reader
    places = every_place(trees)
    random.Random(0).shuffle(places)
    places += places[:9]
    with torch.inference_mode(), reader.reading():
        told = reader.logits(any_model._base, trees, places)
        table = reader.logits(any_model._base, trees, every_place(trees))
    number = {place: i for i, place in enumerate(every_place(trees))}
    assert told.shape == (len(places), 320)
    torch.testing.assert_close(told, table[[number[place] for place in places]])


@pytest.mark.parametrize("kind", ["chain", "stated", "seldom", "often", "roots"])
@pytest.mark.parametrize("seed", range(5))
def test_a_tree_knows_its_paths_ancestors_and_depths(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    tree = random_tree(chance, chance.randrange(1, 30), kind)
    ways = [way(tree, node) for node in range(len(tree))]
    assert tree.depths() == [len(steps) - 1 for steps in ways]
    expected = torch.zeros(len(tree), len(tree), dtype=torch.bool)
    for node, steps in enumerate(ways):
        expected[node, steps] = True
    assert torch.equal(tree.ancestors(), expected)
    inner = {parent for steps in ways for parent in steps[:-1]}
    leaves = sorted(set(range(len(tree))) - inner)
    assert sorted(tree.paths()) == sorted(ways[leaf] for leaf in leaves)


@pytest.mark.parametrize("few", [0, 2_000, 2**40])
@pytest.mark.parametrize("most", [1, 5_000, 40_000, 2**40])
def test_groups_hold_every_tree_once_in_order_and_stay_small(
    few: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forest, "_FEW_SCORES", few)
    monkeypatch.setattr(forest, "_SCORES", most)

    def fits(sizes: list[int], prefix: int) -> bool:
        scores = 4 * len(sizes) * max(sizes) * (prefix + max(sizes))
        wasted = scores - 4 * sum(size * (prefix + size) for size in sizes)
        return scores <= most and (min(sizes) >= 0.8 * max(sizes) or wasted <= few)

    for seed in range(30):
        chance = random.Random(seed)
        prefix = chance.choice([0, 15])
        sizes = [chance.randrange(1, 41) for _ in range(chance.randrange(1, 40))]
        if seed % 2:
            sizes.sort()
        cuts = list(forest._like([Tree([1] * size) for size in sizes], 4, prefix))
        assert [i for start, end in cuts for i in range(start, end)] == list(range(len(sizes)))
        for start, end in cuts:
            assert end - start == 1 or fits(sizes[start:end], prefix)
            # No smaller than need be: the next tree would not have fitted.
            assert end == len(sizes) or not fits(sizes[start : end + 1], prefix)


def learner(any_model: TorchModel) -> tuple[Any, Reader]:
    base = copy.deepcopy(any_model._base)
    reader = Reader(base)
    return base.requires_grad_(True).train(), reader


def gradients(base: Any, logits: Tensor) -> dict[str, Tensor]:
    """Of a loss in which every logit has another weight."""
    base.zero_grad(set_to_none=True)
    targets = torch.arange(len(logits)) * 7 % logits.shape[1]
    weights = torch.linspace(0.2, 1.8, len(logits))
    losses = functional.cross_entropy(logits, targets, reduction="none")
    loss: Any = (losses * weights).mean()
    loss.backward()
    found = {name: p.grad for name, p in base.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], share: float) -> None:
    """Equal up to a share of each gradient's length, or of a small part of the longest one."""
    longest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        apart = float((found[name] - gradient).norm())
        assert apart <= share * max(float(gradient.norm()), 1e-2 * longest), name


@pytest.mark.parametrize("kept", [0, 2**40], ids=["again", "kept"])
@pytest.mark.parametrize("prefix", PREFIXES, ids=len)
def test_gradients_are_those_of_plain_rows(
    any_model: TorchModel, prefix: list[int], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where scores are computed again on the way back, and through the prefix."""
    computed: list[int] = []
    usual = checkpoint

    def counted(*arguments: Any, **options: Any) -> Any:
        computed.append(1)
        return usual(*arguments, **options)

    monkeypatch.setattr(forest, "_KEPT_SCORES", kept)
    monkeypatch.setattr(forest, "checkpoint", counted)
    base, reader = learner(any_model)
    trees = random_trees(1)[:6]
    packed = gradients(base, packed_logits(reader, base, trees, prefix))
    assert bool(computed) == (kept == 0)
    plain = gradients(base, plain_logits(base, trees, prefix))
    assert_alike(packed, plain, 1e-4)


def test_chains_learn_what_padded_rows_learn(any_model: TorchModel) -> None:
    """All rows at once with transformers' own padding, as any training loop has them."""
    base, reader = learner(any_model)
    chance = random.Random(5)
    rows = [[chance.randrange(320) for _ in range(n)] for n in (3, 9, 9, 14, 30, 31)]
    packed = gradients(base, packed_logits(reader, base, [Tree(row) for row in rows], []))
    ids, mask = (torch.zeros(len(rows), 31, dtype=torch.long) for _ in range(2))
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
    logits = base(input_ids=ids, attention_mask=mask).logits
    plain = gradients(base, torch.cat([logits[i, : len(row)] for i, row in enumerate(rows)]))
    assert_alike(packed, plain, 1e-4)


def test_a_grown_tree_learns_what_its_rows_learn(any_model: TorchModel) -> None:
    """A shared beginning counts once for every row that runs through it."""
    base, reader = learner(any_model)
    rows = [[5, 6, 7, 8, 9], [5, 6, 7, 20], [5, 6, 7], [30, 31]]
    tree, paths = grown(rows)
    assert len(tree) == 8
    with reader.reading():
        told = reader.logits(base, [tree], [(0, path[-1]) for path in paths])
    packed = gradients(base, told)
    alone = [base(input_ids=torch.tensor([row])).logits[0, -1] for row in rows]
    assert_alike(packed, gradients(base, torch.stack(alone)), 1e-4)


def textbook(
    q: Tensor, k: Tensor, v: Tensor, steps: list[int], window: int | None, cap: float | None
) -> Tensor:
    """What the last of these nodes gets, head by head; (heads, depth)."""
    heads, shared = q.shape[1], k.shape[1]
    near = steps if window is None else steps[-window:]
    out = []
    for head in range(heads):
        own = head * shared // heads
        scores = k[near, own] @ q[steps[-1], head] * 0.3
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        out.append(torch.softmax(scores, 0) @ v[near, own])
    return torch.stack(out)


def asked(layer: int) -> Any:
    """Attention as a layer of transformers finds and calls it."""
    module: Any = nn.Module()
    module.layer_idx = layer
    return partial(ALL_ATTENTION_FUNCTIONS[attention.NAME], module)


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("length", [0, 6])
@pytest.mark.parametrize("kinds", [("chain",), ("seldom", "often", "roots")], ids=len)
def test_attention_is_the_textbooks(
    kinds: tuple[str, ...], length: int, window: int | None, cap: float | None
) -> None:
    """Softcap, window, shared heads, values of another width, and a prefix, in fp64."""
    chance = random.Random(2)
    trees = [random_tree(chance, size, chance.choice(kinds)) for size in (1, 9, 9, 14)]
    nodes = sum(map(len, trees))
    torch.manual_seed(0)
    q, k, v = (
        3 * torch.randn(length + nodes, heads, width, dtype=torch.float64)
        for heads, width in ((6, 5), (2, 5), (2, 7))
    )
    memory = Memory(length, {3: (k[:length], v[:length])}) if length else None
    options: dict[str, Any] = {"scaling": 0.3, "sliding_window": window, "softcap": cap}
    batch = Forest.of(trees, heads=6, device=torch.device("cpu"), before=memory)
    rows = [x[length:].transpose(0, 1)[None] for x in (q, k, v)]
    with reading(batch):
        found, _ = asked(3)(*rows, None, **options)
    first, expected = length, []
    for tree in trees:
        for node in range(len(tree)):
            steps = [*range(length), *(first + step for step in way(tree, node))]
            expected.append(textbook(q, k, v, steps, window, cap))
        first += len(tree)
    torch.testing.assert_close(found[0], torch.stack(expected))


def test_the_usual_scale_is_that_of_the_width() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 16) for _ in range(3))
    batch = Forest.of([Tree([1] * 9)], heads=2, device=torch.device("cpu"))
    with reading(batch):
        found, _ = asked(0)(q, k, v, None)
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(found, expected.transpose(1, 2))


@pytest.mark.parametrize("window", [None, 1, 4, 14, 40])
@pytest.mark.parametrize("prefix", [0, 6])
@pytest.mark.parametrize("kinds", [("chain",), ("seldom", "often", "roots")], ids=len)
def test_fused_attention_is_that_of_two_products(
    kinds: tuple[str, ...], prefix: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an accelerator computes, here on the CPU."""
    chance = random.Random(4)
    trees = [random_tree(chance, size, chance.choice(kinds)) for size in (9, 9, 14)]
    torch.manual_seed(0)
    q, k, v = (
        2 * torch.randn(prefix + 32, heads, width, dtype=torch.float64)
        for heads, width in ((6, 5), (2, 5), (2, 7))
    )
    memory = Memory(prefix, {0: (k[:prefix], v[:prefix])}) if prefix else None
    batch = Forest.of(trees, heads=6, device=torch.device("cpu"), before=memory)
    heads = Heads(0, q[prefix:], k[prefix:], v[prefix:], 0.3, window, None, 0.0)
    plain = batch.attend(heads)
    monkeypatch.setattr(forest, "_fuses", lambda _: True)
    monkeypatch.setattr(forest, "plain", None)
    torch.testing.assert_close(batch.attend(heads), plain)
