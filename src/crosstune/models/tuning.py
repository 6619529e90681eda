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

import numpy as np
import torch
from torch import Tensor, nn

from crosstune.errors import JobFailure
from crosstune.models.encoding import Encoded, shared_beginning
from crosstune.models.forest import Tree
from crosstune.models.protocol import Progress, Tuning
from crosstune.models.reading import Model, Reader, is_out_of_memory, runs
from crosstune.models.recipe import Recipe

_PIECE_TOKENS = 2048
"""Tokens of one piece of a batch; halved when it does not fit the memory."""


def tune(
    model: Model,
    lessons: Sequence[Encoded],
    *,
    reader: Reader,
    trained: Sequence[nn.Parameter],
    recipe: Recipe,
    seed: int,
    arithmetic: Callable[[], AbstractContextManager[None]],
    progress: Progress,
) -> Tuning:
    """Tune the given weights in place.

    Args:
        model: The model, adapters attached or full; put into training mode here.
        lessons: Encoded training examples.
        reader: How the model reads.
        trained: Weights to change, in fp32.
        recipe: How.
        seed: Decides order and dropout (initialisation is the caller's).
        arithmetic: Context of each forward pass (its numeric type).
        progress: Told after each step, with loss and tokens/s.

    Raises:
        JobFailure: Nothing carries loss, a loss is not finite, or one example does not fit.
    """
    starts = [1 if recipe.loss == "all" else lesson.start for lesson in lessons]
    if not any(len(lesson.tokens) > s for lesson, s in zip(lessons, starts, strict=True)):
        raise JobFailure("no token of the training examples carries loss")
    steps = [
        step
        for epoch in range(recipe.epochs)
        for step in epoch_batches(len(lessons), recipe.batch_size, (seed, epoch))
    ]
    shared = 0
    if reader.packs:
        shared = shared_beginning([lesson.tokens for lesson in lessons], starts)
    optimizer = _adamw(trained, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factors(recipe, len(steps)))
    torch.manual_seed(seed)
    model.train()
    losses: list[Tensor] = []
    read, began, piece = 0, time.perf_counter(), _PIECE_TOKENS
    for number, step in enumerate(steps, 1):
        rows = [(lessons[i].tokens, starts[i]) for i in step]
        loss, piece = _step_gradient(model, reader, rows, shared, piece, arithmetic)
        losses.append(loss)
        if recipe.clip:
            nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        # One step behind, so that a GPU has work while its last result is waited for.
        known = _finite(losses, max(number - 1, 1), len(steps))
        read += sum(len(tokens) for tokens, _ in rows)
        rate = read / (time.perf_counter() - began)
        progress(number, len(steps), f"loss {known:.3f}, {rate:.0f} tokens/s")
    _finite(losses, len(losses), len(steps))
    model.eval()
    return Tuning(
        losses=tuple(torch.stack(losses).tolist()),
        examples=len(lessons),
        tokens=read,
        loss_tokens=recipe.epochs
        * sum(len(x.tokens) - s for x, s in zip(lessons, starts, strict=True)),
        truncated=sum(lesson.truncated for lesson in lessons),
        seconds=time.perf_counter() - began,
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


def _finite(losses: Sequence[Tensor], number: int, steps: int) -> float:
    """The loss of a step."""
    loss = float(losses[number - 1])
    if not math.isfinite(loss):
        raise JobFailure(f"the loss is {loss} at step {number} of {steps}; tune slower")
    return loss


def _step_gradient(
    model: Model,
    reader: Reader,
    rows: list[tuple[list[int], int]],
    shared: int,
    piece: int,
    arithmetic: Callable[[], AbstractContextManager[None]],
) -> tuple[Tensor, int]:
    """Gradient of the mean loss over all loss tokens of a batch, and the piece that fitted."""
    rows = sorted((row for row in rows if len(row[0]) > row[1]), key=lambda row: -len(row[0]))
    total = sum(len(tokens) - start for tokens, start in rows)
    if total == 0:
        return torch.zeros(()), piece
    while True:
        try:
            losses = []
            for part in runs(range(len(rows)), lambda i: len(rows[i][0]), piece):
                with arithmetic():
                    loss = _piece_loss(model, reader, [rows[i] for i in part], shared) / total
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            model.zero_grad(set_to_none=True)
            if piece < len(rows[0][0]):
                raise JobFailure("one training example alone does not fit the memory") from None
            piece //= 2
        else:
            return torch.stack(losses).sum(), piece


def _piece_loss(
    model: Model, reader: Reader, rows: list[tuple[list[int], int]], shared: int
) -> Tensor:
    """Summed loss of a piece, in nats."""
    memory = reader.remember(model, rows[0][0][:shared]) if shared else None
    # The last token is predicted, never read.
    trees = [Tree(tokens[shared:-1]) for tokens, _ in rows]
    places = [
        (row, at - 1 - shared)
        for row, (tokens, start) in enumerate(rows)
        for at in range(start, len(tokens))
    ]
    targets = torch.tensor([token for tokens, start in rows for token in tokens[start:]])
    logits = reader.logits(model, trees, places, memory=memory)
    targets = targets.to(logits.device, non_blocking=True)
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
