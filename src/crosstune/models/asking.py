"""Choices: how likely a model finds each one.

No token is computed twice and no logits are computed that nobody reads: the choices of a prompt
are one tree, what all prompts begin with is read once, and the output layer sees only the places
whose next token is scored.

Memory: one batch's activations and its scored logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstune.models.encoding import Alternatives, shared_beginning
from crosstune.models.forest import Tree
from crosstune.models.protocol import ChoiceAnswer, Progress
from crosstune.models.reading import Model, Place, Reader, exact_output, grown, runs

_LOGITS = 2**26
"""Logits of one batch at most: 256 MB of fp32, whatever the vocabulary."""

_ROWS = 32
"""Rows of logits whose normalisers are computed together, so that they stay in a cache."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A choice prompt as a tree, and what is scored in it.

    Attributes:
        tree: Context and choices.
        scored: Node that predicts, token that is scored, and the choice it adds to.
    """

    tree: Tree
    scored: list[tuple[int, int, int]]

    @staticmethod
    def of(prompt: Alternatives, shared: int) -> _Asked:
        """Grow the tree of what stands behind the first `shared` tokens."""
        # The last token is predicted, never read.
        tree, paths = grown([row[shared:-1] for row in prompt.rows])
        return _Asked(
            tree,
            [
                (path[at - 1 - shared], row[at], choice)
                for choice, (row, start, path) in enumerate(
                    zip(prompt.rows, prompt.starts, paths, strict=True)
                )
                for at in range(start, len(row))
            ],
        )

    def tokens(self, reader: Reader) -> int:
        """What is read of it."""
        return len(self.tree) if reader.packs else sum(map(len, self.tree.paths()))

    @property
    def places(self) -> list[int]:
        """Nodes that predict something."""
        return sorted({node for node, _, _ in self.scored})


@torch.inference_mode()
def score_choices(
    model: Model,
    prompts: Sequence[Alternatives],
    *,
    reader: Reader,
    budget: int,
    progress: Progress,
) -> list[ChoiceAnswer]:
    """Log-likelihood of each choice of each prompt; batches are formed from these prompts alone.

    Args:
        model: The model that answers, in evaluation mode.
        prompts: Encoded choice prompts.
        reader: How it reads.
        budget: Tokens in one batch.
        progress: Told after each batch.
    """
    shared = 0
    if reader.packs:
        shared = shared_beginning(
            [row for p in prompts for row in p.rows], [s for p in prompts for s in p.starts]
        )
    asked = [_Asked.of(prompt, shared) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-len(asked[i].tree), i))
    # What one scored place costs at least, so that a batch's logits stay within bounds.
    dear = budget * int(reader.base.get_output_embeddings().weight.shape[0]) // _LOGITS
    scores = [[0.0] * len(prompt.rows) for prompt in prompts]
    done = 0
    with reader.reading(), exact_output(reader.base):
        memory = reader.remember(model, prompts[0].rows[0][:shared]) if shared else None
        for batch in runs(
            order, lambda i: max(asked[i].tokens(reader), dear * len(asked[i].places)), budget
        ):
            trees = [asked[i].tree for i in batch]
            places = [(row, node) for row, i in enumerate(batch) for node in asked[i].places]
            logits = reader.logits(model, trees, places, memory=memory)
            _collect(logits, places, [asked[i] for i in batch], [scores[i] for i in batch])
            done += len(batch)
            progress(done, len(prompts), "")
    return [
        ChoiceAnswer(
            p.id,
            tuple(score),
            prompt_tokens=min(p.starts),
            answer_tokens=sum(len(row) - s for row, s in zip(p.rows, p.starts, strict=True)),
            truncated=p.truncated,
        )
        for p, score in zip(prompts, scores, strict=True)
    ]


def _collect(
    logits: Tensor, places: Sequence[Place], asked: Sequence[_Asked], scores: list[list[float]]
) -> None:
    """Add the log-probability of every scored token to its choice's score."""
    index = {place: i for i, place in enumerate(places)}
    wanted = [(row, *one) for row, tree in enumerate(asked) for one in tree.scored]
    at = torch.tensor([(index[row, node], token) for row, node, token, _ in wanted])
    at = at.to(logits.device)
    # The whole table of log-probabilities is never written: only its normaliser is needed.
    whole = torch.cat([part.logsumexp(-1) for part in torch.split(logits.float(), _ROWS)])
    values = logits[at[:, 0], at[:, 1]].float() - whole[at[:, 0]]
    for (row, _, _, choice), value in zip(wanted, values.tolist(), strict=True):
        scores[row][choice] += value
