"""How a model reads a batch of token trees, and what it says at the places that are asked for.

Packed where the model's attention can be told who sees whom, which is proved when it is loaded;
else path by path in padded rows, as any causal language model of transformers understands.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from crosstune.errors import OutOfMemory
from crosstune.models.attention import reading, told_who_sees_whom
from crosstune.models.encoding import Encoded
from crosstune.models.forest import Forest, Memory, Tree, sent
from crosstune.models.protocol import MEASURED, Measured
from crosstune.models.slots import Slots

Model = PreTrainedModel | PeftModel
"""A causal language model, adapters attached or not."""

Item = TypeVar("Item")

Place = tuple[int, int]
"""A tree and one of its nodes: where a next token is predicted."""

_HEAD_ROWS = 2**14
"""Rows of the output layer that are copied to fp32 at a time."""

_HEAD_COPY = 2**28
"""Weights of an output layer that are kept in fp32 while a target is asked (1 GB); a larger one
is copied again for every batch."""

_AGREES = {torch.float32: 1 - 1e-5}
_AGREES_LOW = 0.98
"""Least correlation of the logits of packed and of plain reading, at every place: in
bfloat16 0.996 and more, and down to 0.76 where trees see each other."""

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows of token ids made one rectangle, on the model's device."""

    ids: Int[Tensor, "rows columns"]
    mask: Int[Tensor, "rows columns"]

    @staticmethod
    def of(rows: Sequence[Sequence[int]], *, left: bool, device: torch.device) -> Padded:
        """Pad with zeros on one side; masked positions are never read."""
        columns = max(map(len, rows))
        ids = torch.zeros(len(rows), columns, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(columns - len(row), columns) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row)
            mask[i, place] = 1
        return Padded(ids.to(device), mask.to(device))


@contextmanager
def output_at(base: PreTrainedModel, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Let only these positions reach the output layer; logits come as (1, positions, vocabulary).

    Works for every architecture, whatever it does to its logits afterwards.
    """

    def selected(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0][rows, columns][None],)

    hook = base.get_output_embeddings().register_forward_pre_hook(selected)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def exact_output(base: PreTrainedModel) -> Iterator[None]:
    """Compute logits in fp32: rounded to bf16 they tie too often to rank choices."""
    head: Any = base.get_output_embeddings()
    # An adapter on the output layer replaces the module; then its own arithmetic is kept.
    simple = type(head) is nn.Linear
    if not simple or head.weight.dtype == torch.float32:
        yield
        return
    bias = None if head.bias is None else head.bias.float()
    parts: list[Tensor] = []
    if head.weight.numel() <= _HEAD_COPY and not head.weight.is_cuda:
        parts = [part.float() for part in torch.split(head.weight, _HEAD_ROWS)]

    def lifted(hidden: Tensor) -> Tensor:
        # Autocast would take both operands back down.
        with torch.autocast(hidden.device.type, enabled=False):
            if hidden.is_cuda and hidden.dtype == head.weight.dtype:
                rows = hidden.flatten(0, -2)
                logits = torch.mm(rows, head.weight.T, out_dtype=torch.float32)
                logits = logits.view(*hidden.shape[:-1], -1)
            else:
                wide = hidden.float()
                lifts = parts or (part.float() for part in torch.split(head.weight, _HEAD_ROWS))
                logits = torch.cat([wide @ part.T for part in lifts], dim=-1)
            return logits if bias is None else logits + bias

    head.forward = lifted
    try:
        yield
    finally:
        del head.forward


class Reader:
    """Reads trees with one base model, whatever is attached to it.

    Attributes:
        base: The base, for its output layer and its attention.
        packs: Whether it can be told who sees whom.
        drops: Whether the base itself drops something at random while it is tuned.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.base = base
        config = base.config.get_text_config()
        self._heads = int(getattr(config, "num_attention_heads", 1))
        self.packs = (
            bool(getattr(base, "_supports_attention_backend", False))
            and set(getattr(config, "layer_types", None) or ()) <= _KNOWN_LAYERS
            and not _stretches(config)
        )
        self.drops = any(
            isinstance(module, nn.Dropout) and module.p > 0 for module in base.modules()
        ) or any(getattr(config, name, 0.0) for name in ("attention_dropout", "attn_pdrop"))
        self.packs = self.packs and self._agrees()

    def reading(self) -> AbstractContextManager[None]:
        """What `logits` and `remember` are called within; nothing else may be read meanwhile."""
        return told_who_sees_whom(self.base) if self.packs else nullcontext()

    def logits(
        self,
        model: Model,
        trees: Sequence[Tree],
        places: Sequence[Place],
        *,
        memory: Memory | None = None,
    ) -> Float[Tensor, "places vocabulary"]:
        """What the model predicts behind each place.

        Args:
            model: The base, or what is attached to it.
            trees: In any order.
            places: Where; in any order.
            memory: What all trees follow, as `remember` gave it.
        """
        if self.packs:
            return self._packed(model, trees, places, memory=memory)
        assert memory is None
        rows: list[list[int]] = []
        where: dict[Place, Place] = {}
        for number, tree in enumerate(trees):
            for path in tree.paths():
                where.update({(number, node): (len(rows), i) for i, node in enumerate(path)})
                rows.append([tree.tokens[node] for node in path])
        batch = Padded.of(rows, left=False, device=self.base.device)
        at = torch.tensor([where[place] for place in places], device=batch.ids.device)
        with output_at(self.base, *at.unbind(1)):
            logits: Tensor = model(
                input_ids=batch.ids, attention_mask=batch.mask, use_cache=False
            ).logits
        return logits[0]

    def states(
        self,
        model: Model,
        trees: Sequence[Tree],
        begins: Sequence[int],
        *,
        memory: Memory | None = None,
    ) -> Float[Tensor, "layers trees width"]:
        """Mean hidden states of each chain from a token on, in fp32 on the CPU.

        Args:
            model: The base, or what is attached to it.
            trees: Chains, in any order.
            begins: The first token of each that counts; all behind it count.
            memory: What all trees follow, as `remember` gave it.
        """
        if self.packs:
            forest = Forest.of(trees, heads=self._heads, device=self.base.device, before=memory)
            starts = list(itertools.accumulate(map(len, trees), initial=0))
            ways: dict[str, Any] = {"input_ids": forest.ids, "position_ids": forest.positions}
            within: AbstractContextManager[None] = reading(forest)
        else:
            assert memory is None
            batch = Padded.of([tree.tokens for tree in trees], left=False, device=self.base.device)
            starts = [i * batch.ids.shape[1] for i in range(len(trees))]
            ways, within = {"input_ids": batch.ids, "attention_mask": batch.mask}, nullcontext()
        counts = [len(tree) - begin for tree, begin in zip(trees, begins, strict=True)]
        firsts = [start + begin for start, begin in zip(starts, begins, strict=False)]
        at = torch.cat([torch.arange(a, a + n) for a, n in zip(firsts, counts, strict=True)])
        at = at.to(self.base.device)
        one = torch.zeros(1, dtype=torch.long, device=self.base.device)
        with within, output_at(self.base, one, one):  # one place, as nobody reads its logits
            layers = model(**ways, use_cache=False, output_hidden_states=True).hidden_states
        means = []
        for layer in layers:
            kept = layer.flatten(0, 1)[at].float()
            if max(counts) > 1:
                kept = torch.stack([part.mean(0) for part in kept.split(counts)])
            means.append(kept.cpu())
        return torch.stack(means)

    @torch.inference_mode()
    def state(self, model: Model, tokens: Sequence[int]) -> Float[Tensor, " width"]:
        """Mean of the last layer's states over a text, in fp32."""
        ids = torch.tensor([tokens], device=self.base.device)
        kept: list[Tensor] = []
        head = self.base.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            with output_at(self.base, torch.tensor([0]), torch.tensor([0])):
                model(input_ids=ids, use_cache=False)
        finally:
            hook.remove()
        return kept[0][0].float().mean(0)

    def measured(self, model: Model, lessons: Sequence[Encoded]) -> Measured:
        """Lengths in tokens of contexts and answers, and the mean state of the first contexts."""
        states = [self.state(model, lesson.tokens[: lesson.start]) for lesson in lessons[:MEASURED]]
        return Measured(
            tuple(lesson.start for lesson in lessons),
            tuple(max(0, lesson.end - lesson.start) for lesson in lessons),
            tuple(torch.stack(states).mean(0).tolist()),
        )

    def remember(self, model: Model, prefix: Sequence[int]) -> Memory:
        """Read what all trees of later batches follow; their trees begin behind it."""
        memory = Memory(len(prefix))
        self._packed(model, [Tree(prefix)], [(0, 0)], kept=memory)
        return memory

    def begin(
        self, model: Model, rows: Sequence[Sequence[int]], room: int, *, before: Memory | None
    ) -> tuple[Slots, Float[Tensor, "texts vocabulary"]]:
        """Read texts that are to be written on; says what comes next in each."""
        own = Memory(0)
        ends = [(i, len(row) - 1) for i, row in enumerate(rows)]
        logits = self._packed(model, [Tree(row) for row in rows], ends, memory=before, kept=own)
        return Slots.of([len(row) for row in rows], room, before=before, own=own), logits

    def go_on(
        self, model: Model, slots: Slots, tokens: Int[Tensor, " texts"]
    ) -> Float[Tensor, "texts vocabulary"]:
        """Read one more token of each text; says what comes next."""
        with reading(slots):
            logits: Tensor = model(
                input_ids=tokens[None], position_ids=slots.lengths[None], use_cache=False
            ).logits
        slots.go_on()
        return logits[0]

    def _packed(
        self,
        model: Model,
        trees: Sequence[Tree],
        places: Sequence[Place],
        *,
        memory: Memory | None = None,
        kept: Memory | None = None,
    ) -> Tensor:
        device = self.base.device
        forest = Forest.of(trees, heads=self._heads, device=device, before=memory, kept=kept)
        begins = [0, *itertools.accumulate(map(len, trees))]
        at = torch.tensor([begins[tree] + node for tree, node in places])
        at = sent(at, device)
        with reading(forest), output_at(self.base, torch.zeros_like(at), at):
            logits: Tensor = model(
                input_ids=forest.ids, position_ids=forest.positions, use_cache=False
            ).logits
        return logits[0]

    @torch.inference_mode()
    def _agrees(self) -> bool:
        """Whether packed trees get the answers that plain rows get."""
        vocabulary = int(self.base.config.get_text_config().vocab_size)
        ids = [(37 * i + i * i) % vocabulary for i in range(40)]
        prefix = ids[:5]
        rows = [ids[5:12], [*ids[5:10], *ids[20:26]], ids[30:33]]
        trees = [grown(rows[:2])[0], Tree(rows[2])]
        ends = [(0, 6), (0, len(trees[0]) - 1), (1, 2)]
        try:
            with self.reading():
                memory = self.remember(self.base, prefix)
                told = self._packed(self.base, trees, ends, memory=memory)
        except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            return False
        # A window may be longer than these texts: then that attention is told of it has to do.
        if {window or None for window in memory.windows} != _windows(self.base.config):
            return False
        plain = [
            self.base(input_ids=torch.tensor([prefix + row], device=self.base.device)).logits[0, -1]
            for row in rows
        ]
        alike = [
            torch.corrcoef(torch.stack([a, b]).float())[0, 1]
            for a, b in zip(told, plain, strict=True)
        ]
        return bool(torch.stack(alike).min() >= _AGREES.get(self.base.dtype, _AGREES_LOW))


def _windows(config: Any) -> set[int | None]:
    """The windows of a model's layers, as its configuration states them; None for no window."""
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None) or None
    layers = getattr(config, "layer_types", None)
    if not layers:
        return {window}
    return {window if layer == "sliding_attention" else None for layer in layers}


def _stretches(config: Any) -> bool:
    """Whether positions mean something else where a batch's longest text is longer."""
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = [rotary, *(part for part in rotary.values() if isinstance(part, dict))]
    return any(kind.get("rope_type") in {"longrope", "dynamic"} for kind in kinds)


def grown(rows: Sequence[Sequence[int]]) -> tuple[Tree, list[list[int]]]:
    """One tree of several rows, their common beginnings once, and each row's nodes in it.

    Example:
        >>> grown([[5, 6, 7], [5, 6, 8]])
        (Tree(tokens=[5, 6, 7, 8], parents=[-1, 0, 1, 1]), [[0, 1, 2], [0, 1, 3]])
    """
    tokens: list[int] = []
    parents: list[int] = []
    children: dict[tuple[int, int], int] = {}
    paths = []
    for row in rows:
        at, path = -1, []
        for token in row:
            known = children.get((at, token))
            if known is None:
                known = children[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
            at = known
            path.append(at)
        paths.append(path)
    chain = parents == list(range(-1, len(parents) - 1))
    return Tree(tokens, None if chain else parents), paths


def runs(items: Sequence[Item], cost: Callable[[Item], int], budget: int) -> Iterator[list[Item]]:
    """Cut a sequence into runs whose summed cost stays within the budget.

    Example:
        >>> list(runs([2, 0, 1], [3, 2, 5].__getitem__, 8))
        [[2, 0], [1]]
    """
    run: list[Item] = []
    spent = 0
    for item in items:
        if run and spent + cost(item) > budget:
            yield run
            run, spent = [], 0
        run.append(item)
        spent += cost(item)
    if run:
        yield run


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that a batch did not fit, on a GPU or in main memory."""
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    known: Any = torch.OutOfMemoryError
    return isinstance(error, known) or any(w in str(error) for w in words)


@contextmanager
def memory_told(budget: int) -> Iterator[None]:
    """Turn what torch says of a batch that did not fit into our own words."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(f"a batch of {budget} tokens does not fit the memory") from None
