"""Hidden states of prompts: all layers of a model from one forward pass.

No logits are computed, padded positions are never read, and what all prompts begin with is read
once where only their last tokens count.

Memory: all layers of one batch, and one state for every layer and prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crosstune.models.encoding import Encoded, shared_beginning
from crosstune.models.forest import Tree
from crosstune.models.protocol import Position, Progress
from crosstune.models.reading import Model, Reader, runs


@torch.inference_mode()
def activations(
    model: Model,
    prompts: Sequence[Encoded],
    *,
    reader: Reader,
    position: Position,
    budget: int,
    progress: Progress,
) -> Float[Tensor, "layers prompts width"]:
    """States of each prompt in fp32 on the CPU; batches are formed from these prompts alone.

    Args:
        model: The model that is read, in evaluation mode.
        prompts: Encoded, without their answers.
        reader: How it reads.
        position: Whose state stands for a prompt.
        budget: Tokens in one batch.
        progress: Told after each batch.
    """
    rows = [prompt.tokens for prompt in prompts]
    whole = position == "mean"
    shared = 0
    if reader.packs and not whole:
        shared = shared_beginning(rows, [len(row) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    found: list[Tensor] = []
    with reader.reading():
        memory = reader.remember(model, rows[0][:shared]) if shared else None
        for batch in runs(order, lambda i: len(rows[i]) - shared, budget):
            trees = [Tree(rows[i][shared:]) for i in batch]
            begins = [0 if whole else len(tree) - 1 for tree in trees]
            found.append(reader.states(model, trees, begins, memory=memory))
            progress(sum(part.shape[1] for part in found), len(rows), "")
    back = torch.tensor(order).argsort()
    return torch.cat(found, dim=1)[:, back]
