"""The asking loop: log-likelihoods of choices, and greedy text.

No token is computed twice and no logits are computed that nobody reads: the output layer sees
only the positions whose next token is scored; the choices of a prompt share its computation, then
branch from a copy of its cache. Rows of a batch have like lengths. Stems are padded on the left,
branches on the right, so that distances between tokens stay true (sliding windows count them).

Memory: one batch's cache (at most a few token budgets) and its scored logits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from crosstune.models.encoding import Branches, Encoded
from crosstune.models.protocol import ChoiceAnswer, Progress, TextAnswer

Model = PreTrainedModel | PeftModel
"""A causal language model, adapters attached or not."""

_CACHED_TOKENS_PER_BUDGET = 4
"""Cached tokens cost memory but hardly time: a batch may hold this many budgets of them."""

_LOGITS = 2**26
"""Logits of one batch at most: 256 MB of fp32, whatever the vocabulary."""

_HEAD_ROWS = 2**14
"""Rows of the output layer that are copied to fp32 at a time."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that a batch did not fit, on a GPU or in main memory."""
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)


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
def output_at(model: Model, rows: Tensor, columns: Tensor, *, exact: bool) -> Iterator[None]:
    """Let only these positions reach the output layer; logits come as (1, positions, vocabulary).

    Works for every architecture, whatever it does to its logits afterwards.

    Args:
        model: A causal language model, adapters attached or not.
        rows: Row of each position that is read.
        columns: Column of each position that is read.
        exact: Compute the logits in fp32: rounded to bf16 they tie too often to rank choices.
    """
    head = model.get_output_embeddings()
    # An adapter on the output layer replaces the module; then its own arithmetic is kept.
    lift = exact and type(head) is nn.Linear and head.weight.dtype != torch.float32
    plain = head.forward

    def selected(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden = inputs[0][rows, columns]
        return (hidden[None].float() if lift else hidden[None],)

    def lifted(hidden: Tensor) -> Tensor:
        # Autocast would take both operands back down; in parts, since a copy can be gigabytes.
        with torch.autocast(hidden.device.type, enabled=False):
            parts = [hidden @ part.float().T for part in head.weight.split(_HEAD_ROWS)]
            logits = torch.cat(parts, dim=-1)
            return logits if head.bias is None else logits + head.bias.float()

    hook = head.register_forward_pre_hook(selected)
    if lift:
        head.forward = lifted
    try:
        yield
    finally:
        hook.remove()
        if lift:
            del head.forward
            assert head.forward == plain


def log_probabilities(
    model: Model, batch: Padded, rows: Tensor, columns: Tensor, **past: object
) -> Float[Tensor, "positions vocabulary"]:
    """Natural log-probabilities of the token that follows each given position."""
    with output_at(model, rows, columns, exact=True):
        logits = model(input_ids=batch.ids, **past).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def batches(order: Sequence[int], cost: Callable[[int], int], budget: int) -> Iterator[list[int]]:
    """Cut an order of falling cost into runs whose padded cost stays within the budget.

    Example:
        >>> list(batches([2, 0, 1], [3, 2, 5].__getitem__, 8))
        [[2], [0, 1]]
    """
    run: list[int] = []
    for i in order:
        if run and (len(run) + 1) * cost(run[0]) > budget:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


@dataclass(frozen=True, slots=True)
class Wanted:
    """One token to be scored: where in a batch it is predicted, and whose score it adds to."""

    row: int
    column: int
    token: int
    prompt: int
    choice: int


@torch.inference_mode()
def score_choices(
    model: Model, prompts: Sequence[Branches], *, budget: int, progress: Progress
) -> list[ChoiceAnswer]:
    """Log-likelihood of each choice of each prompt; batches are formed from these prompts alone.

    Args:
        model: The model that answers, in evaluation mode.
        prompts: Encoded choice prompts.
        budget: Padded tokens in one batch.
        progress: Told after each batch.
    """
    scores = [[0.0] * len(prompt.branches) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].stem), i))
    done = 0
    dearest = _dearest(model, budget)
    for batch in batches(order, lambda i: max(len(prompts[i].stem), dearest), budget):
        _score_batch(model, [prompts[i] for i in batch], [scores[i] for i in batch], budget)
        done += len(batch)
        progress(done, len(prompts), "")
    return [
        ChoiceAnswer(
            p.id,
            tuple(score),
            prompt_tokens=min(p.starts),
            answer_tokens=sum(
                len(p.stem) + len(b) - s for b, s in zip(p.branches, p.starts, strict=True)
            ),
            truncated=p.truncated,
        )
        for p, score in zip(prompts, scores, strict=True)
    ]


def _dearest(model: Model, budget: int) -> int:
    """What one scored token costs at least, so that a budget's logits stay within bounds."""
    return max(1, budget * int(model.get_output_embeddings().weight.shape[0]) // _LOGITS)


def _score_batch(
    model: Model, prompts: list[Branches], scores: list[list[float]], budget: int
) -> None:
    """Stems first, then what is left of the branches, from copies of the stems' cache."""
    long = [(p, c) for p, e in enumerate(prompts) for c, b in enumerate(e.branches) if len(b) > 1]
    long.sort(key=lambda pc: -len(prompts[pc[0]].branches[pc[1]]))
    stems = Padded.of([p.stem for p in prompts], left=True, device=model.device)
    width = stems.ids.shape[1]
    wanted = []
    for p, prompt in enumerate(prompts):
        pad = width - len(prompt.stem)
        for c, (branch, start) in enumerate(zip(prompt.branches, prompt.starts, strict=True)):
            row = [*prompt.stem, branch[0]]
            wanted += [Wanted(p, pad + at - 1, row[at], p, c) for at in range(start, len(row))]
    cache = DynamicCache(config=model.config) if long else None
    _collect(
        model,
        stems,
        wanted,
        scores,
        attention_mask=stems.mask,
        position_ids=(stems.mask.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=cache is not None,
    )
    if cache is None:
        return
    dearest = _dearest(model, budget)

    def cost(i: int) -> int:
        fed = len(prompts[long[i][0]].branches[long[i][1]]) - 1
        return max(fed + width // _CACHED_TOKENS_PER_BUDGET, fed * dearest)

    for run in batches(range(len(long)), cost, budget):
        _score_branches(model, prompts, [long[i] for i in run], scores, stems=stems, cache=cache)


def _score_branches(
    model: Model,
    prompts: list[Branches],
    which: list[tuple[int, int]],
    scores: list[list[float]],
    *,
    stems: Padded,
    cache: DynamicCache,
) -> None:
    fed = [prompts[p].branches[c][:-1] for p, c in which]
    batch = Padded.of(fed, left=False, device=model.device)
    rows = torch.tensor([p for p, _ in which], device=model.device)
    wanted = []
    for i, (p, c) in enumerate(which):
        branch = prompts[p].branches[c]
        first = max(prompts[p].starts[c] - len(prompts[p].stem), 1)
        wanted += [Wanted(i, at - 1, branch[at], p, c) for at in range(first, len(branch))]
    columns = torch.arange(batch.ids.shape[1], device=model.device)
    _collect(
        model,
        batch,
        wanted,
        scores,
        attention_mask=torch.cat([stems.mask[rows], batch.mask], dim=1),
        position_ids=stems.mask.sum(1)[rows][:, None] + columns,
        past_key_values=branch_of(cache, rows),
        use_cache=True,
    )


def _collect(
    model: Model,
    batch: Padded,
    wanted: list[Wanted],
    scores: list[list[float]],
    **past: object,
) -> None:
    """Add the log-probability of every wanted token to its choice's score."""
    # A stem may have nothing to score itself (all of it is context); its cache is still needed.
    places = sorted({(w.row, w.column) for w in wanted}) or [(0, 0)]
    index = {place: i for i, place in enumerate(places)}
    rows, columns = torch.tensor(places, device=model.device).unbind(1)
    table = log_probabilities(model, batch, rows, columns, **past)
    at = torch.tensor([index[w.row, w.column] for w in wanted], dtype=torch.long)
    tokens = torch.tensor([w.token for w in wanted], dtype=torch.long)
    values = table[at.to(table.device), tokens.to(table.device)].tolist()
    for w, value in zip(wanted, values, strict=True):
        scores[w.prompt][w.choice] += value


def branch_of(cache: DynamicCache, rows: Int[Tensor, " chosen"]) -> DynamicCache:
    """A copy of the cache with the given rows, repeated where asked; the original stays whole."""
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    branch.batch_select_indices(rows)
    return branch


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[Encoded],
    *,
    decode: Callable[[list[int]], str],
    ends: frozenset[int],
    stop: Sequence[str],
    max_new_tokens: int,
    budget: int,
    progress: Progress,
) -> list[TextAnswer]:
    """Greedy text after each prompt, ended by an end token, a stop string or the length.

    A row that has ended leaves its batch, so that nothing is computed for it any more.

    Args:
        model: The model that answers, in evaluation mode.
        prompts: Encoded prompts with room for the new tokens.
        decode: Token ids to text, special tokens left out.
        ends: Token ids that end a text.
        stop: Strings that end a text and are cut from it.
        max_new_tokens: Longest answer.
        budget: Padded tokens in one batch, new ones included.
        progress: Told after each batch.
    """
    answers: dict[int, TextAnswer] = {}
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].tokens), i))
    for batch in batches(order, lambda i: len(prompts[i].tokens) + max_new_tokens, budget):
        written = _write(
            model, [prompts[i].tokens for i in batch], decode, ends, stop, max_new_tokens
        )
        for i, tokens in zip(batch, written, strict=True):
            text = decode([token for token in tokens if token not in ends])
            cuts = [at for s in stop if s and (at := text.find(s)) >= 0]
            p = prompts[i]
            answers[i] = TextAnswer(
                p.id, text[: min(cuts, default=None)], len(p.tokens), len(tokens), p.truncated
            )
        progress(len(answers), len(prompts), "")
    return [answers[i] for i in range(len(prompts))]


def _write(
    model: Model,
    rows: list[list[int]],
    decode: Callable[[list[int]], str],
    ends: frozenset[int],
    stop: Sequence[str],
    max_new_tokens: int,
) -> list[list[int]]:
    """New tokens of each row."""
    written: list[list[int]] = [[] for _ in rows]
    tail = max((len(s.encode()) for s in stop), default=0) + 1
    stems = Padded.of(rows, left=True, device=model.device)
    cache = DynamicCache(config=model.config)
    ids, mask = stems.ids, stems.mask
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    alive = list(range(len(rows)))
    for _ in range(max_new_tokens):
        every = torch.arange(len(alive), device=model.device)
        # Through `output_at`: a slice of one column sends torch's CPU product astray (6 GB, 10 s).
        with output_at(model, every, torch.full_like(every, ids.shape[1] - 1), exact=False):
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).logits[0]
        new = logits.argmax(-1)
        for row, token in zip(alive, new.tolist(), strict=True):
            written[row].append(token)
        going = [
            i
            for i, row in enumerate(alive)
            if written[row][-1] not in ends
            and not any(s in decode(written[row][-tail:]) for s in stop if s)
        ]
        if not going:
            break
        ids, positions = new[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        if len(going) < len(alive):
            kept = torch.tensor(going, device=model.device)
            ids, positions, mask = ids[kept], positions[kept], mask[kept]
            cache.batch_select_indices(kept)
            alive = [alive[i] for i in going]
    return written
