"""The tuning loop: AdamW over random batches without padding, loss where it counts.

Only tokens that carry loss reach the output layer. A batch is cut into pieces that fit; each
token weighs the same whatever the cut, so pieces change rounding only (and what dropout drops).
Costs about three forward passes (LoRA) a token; memory is one piece's activations, the trained
weights and their two moments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from crosstune.errors import JobFailure
from crosstune.models.encoding import Encoded, shared_beginning
from crosstune.models.forest import Tree, sent
from crosstune.models.protocol import Progress, Tuning
from crosstune.models.reading import Model, Reader, is_out_of_memory, runs
from crosstune.models.recipe import Recipe

_PIECE_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one piece of a batch; halved when it does not fit the memory."""

_LOOK = {"cpu": 1, "cuda": 16}
"""Steps from one look at the losses to the next: a GPU stands idle while it is waited for."""

_Row = tuple[list[int], list[int]]
"""Tokens of a training example up to the last one that carries loss, and the places that do."""


def tune(
    model: Model,
    lessons: Sequence[Sequence[Encoded]],
    *,
    reader: Reader,
    trained: Sequence[Sequence[nn.Parameter]],
    recipe: Recipe,
    seeds: Sequence[int],
    arithmetic: Callable[[], AbstractContextManager[None]],
    progress: Progress,
) -> list[Tuning]:
    """Tune weights in place: those of one model, or of several adapters at once.

    Args:
        model: The model, adapters attached or full; put into training mode here.
        lessons: Encoded training examples of each; as many of each.
        reader: How the model reads.
        trained: Weights of each to change, in fp32.
        recipe: How.
        seeds: Decide order and dropout (initialisation is the caller's).
        arithmetic: Context of each forward pass (its numeric type).
        progress: Told after each step, with loss and tokens/s.

    Raises:
        JobFailure: Nothing carries loss, a loss is not finite, or one example does not fit.
    """
    rows = [[_row(x, recipe) for x in examples] for examples in lessons]
    if not all(any(places for _, places in part) for part in rows):
        raise JobFailure("no token of the training examples carries loss")
    orders = [_order(len(part), recipe, seed) for part, seed in zip(rows, seeds, strict=True)]
    steps = len(orders[0])
    shared = 0
    if reader.packs and not reader.drops and len(rows) == 1:
        there = [row for row in rows[0] if row[1]]
        shared = shared_beginning([row[0] for row in there], [row[1][0] for row in there])
    optimizer = _adamw([p for part in trained for p in part], recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factors(recipe, steps))
    torch.manual_seed(seeds[0])
    model.train()
    losses: list[Tensor] = []
    device, known = reader.base.device.type, math.nan
    look, piece = _LOOK[device], _PIECE_TOKENS[device]
    read, began = 0, time.perf_counter()
    for number, batch in enumerate(zip(*orders, strict=True), 1):
        step = [[part[i] for i in chosen] for part, chosen in zip(rows, batch, strict=True)]
        loss, piece = _step_gradient(model, reader, step, shared, piece, arithmetic)
        losses.append(loss)
        if recipe.clip:
            for part in trained:
                nn.utils.clip_grad_norm_(part, recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if (number - 1) % look == 0:
            known = _finite(losses, look, steps)
        read += sum(len(tokens) for part in step for tokens, _ in part)
        rate = read / (time.perf_counter() - began)
        progress(number, steps, f"loss {known:.3f}, {rate:.0f} tokens/s")
    _finite(losses, look, steps)
    model.eval()
    seconds = time.perf_counter() - began
    curves = torch.stack(losses).T.tolist()
    return [
        _report(examples, curve, recipe, seconds)
        for examples, curve in zip(lessons, curves, strict=True)
    ]


def _order(examples: int, recipe: Recipe, seed: int) -> list[list[int]]:
    """The examples of every step."""
    return [
        batch
        for epoch in range(recipe.epochs)
        for batch in epoch_batches(examples, recipe.batch_size, (seed, epoch))
    ]


def _row(lesson: Encoded, recipe: Recipe) -> _Row:
    question, answer = range(1, lesson.start), range(lesson.start, lesson.end)
    ending = range(max(lesson.start, lesson.end), len(lesson.tokens))
    places = {
        "completion": [*answer, *ending],
        "all": [*question, *answer, *ending],
        "label_only": [*answer],
        "all_but_label": [*question, *ending],
    }[recipe.loss]
    return lesson.tokens[: places[-1] + 1] if places else [], places


def _report(
    lessons: Sequence[Encoded], losses: Sequence[float], recipe: Recipe, seconds: float
) -> Tuning:
    return Tuning(
        losses=tuple(losses),
        examples=len(lessons),
        tokens=recipe.epochs * sum(len(x.tokens) for x in lessons),
        loss_tokens=recipe.epochs * sum(len(_row(x, recipe)[1]) for x in lessons),
        truncated=sum(x.truncated for x in lessons),
        seconds=seconds,
    )


def epoch_batches(examples: int, size: int, seed: int | tuple[int, ...]) -> Iterator[list[int]]:
    """One epoch's batches in random order; the last one may be smaller.

    Example:
        >>> sorted(sum(epoch_batches(4, 2, 0), []))
        [0, 1, 2, 3]
    """
    order = np.random.default_rng(seed).permutation(examples).tolist()
    for start in range(0, examples, size):
        yield order[start : start + size]


def rate_factors(recipe: Recipe, steps: int) -> Callable[[int], float]:
    """Learning rate of each step as a factor of the peak, in [0, 1].

    Warm-up rises linearly to 1 and never starts at 0: a first step at rate 0 would be wasted.

    Example:
        >>> f = rate_factors(Recipe(warmup=0.5, schedule="linear"), 4)
        >>> [round(f(step), 2) for step in range(4)]
        [0.33, 0.67, 1.0, 0.5]
    """
    rising = math.floor(recipe.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        left = (step - rising) / max(1, steps - rising)
        if recipe.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * left))
        return 1.0 - left if recipe.schedule == "linear" else 1.0

    return factor


def _adamw(trained: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases and norms do not decay."""
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True
    )


def _finite(losses: Sequence[Tensor], look: int, steps: int) -> float:
    """The last loss, if those since the last look are finite."""
    recent = torch.stack(list(losses[-look:])).mean(1).tolist()
    for number, loss in enumerate(recent, len(losses) - len(recent) + 1):
        if not math.isfinite(loss):
            raise JobFailure(f"the loss is {loss} at step {number} of {steps}; tune slower")
    return float(recent[-1])


def _step_gradient(
    model: Model,
    reader: Reader,
    step: list[list[_Row]],
    shared: int,
    piece: int,
    arithmetic: Callable[[], AbstractContextManager[None]],
) -> tuple[Float[Tensor, " models"], int]:
    """Gradient of each model's mean loss a token of its batch, and the piece that fitted."""
    device = reader.base.device
    step = [sorted((row for row in part if row[1]), key=_longest) for part in step]
    totals = [sum(len(carrying) for _, carrying in part) for part in step]
    weights = sent(torch.tensor([1 / max(1, total) for total in totals]), device)
    nothing: list[_Row] = []
    while True:
        summed = torch.zeros(len(step), device=device)
        try:
            cuts = [
                runs(part, lambda row: len(row[0]) - shared, piece // len(step)) for part in step
            ]
            for parts in zip_longest(*cuts, fillvalue=nothing):
                with arithmetic():
                    loss = _piece_losses(model, reader, parts, shared) * weights
                loss.sum().backward()  # type: ignore[no-untyped-call]
                summed += loss.detach()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            model.zero_grad(set_to_none=True)
            if piece < max(len(part[0][0]) for part in step if part):
                raise JobFailure("one training example alone does not fit the memory") from None
            piece //= 2
        else:
            return summed, piece


def _longest(row: _Row) -> int:
    return -len(row[0])


def _piece_losses(
    model: Model, reader: Reader, parts: Sequence[Sequence[_Row]], shared: int
) -> Float[Tensor, " models"]:
    """Summed loss of each model's part of a piece, in nats."""
    memory = reader.remember(model, parts[0][0][0][:shared]) if shared else None
    # The last token is predicted, never read.
    sizes = [[len(tokens) - 1 - shared for tokens, _ in part] for part in parts]
    longest, most = max(map(max, filter(None, sizes))), max(map(sum, sizes))
    trees: list[Tree] = []
    places, targets, owners = [], [], []
    for model_number, part in enumerate(parts):
        for tokens, carrying in part:
            places += [(len(trees), at - 1 - shared) for at in carrying]
            targets += [tokens[at] for at in carrying]
            owners += [model_number] * len(carrying)
            trees.append(Tree(tokens[shared:-1]))
        if missing := most - sum(sizes[model_number]):
            # Every adapter has as many rows; nobody reads what stands in these.
            trees += [Tree([0] * min(longest, missing - at)) for at in range(0, missing, longest)]
    logits = reader.logits(model, trees, places, memory=memory)
    at = sent(torch.tensor([targets, owners]), logits.device)
    losses = nn.functional.cross_entropy(logits.float(), at[0], reduction="none")
    return losses.new_zeros(len(parts)).index_add(0, at[1], losses)
