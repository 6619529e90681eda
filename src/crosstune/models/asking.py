"""The asking loop: log-likelihoods of choices, and greedy text.

No token is computed twice and no logits are computed that nobody reads: the choices of a prompt
are one tree, what all prompts begin with is read once, and the output layer sees only the places
whose next token is scored.

Memory: one batch's activations and its scored logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from crosstune.models.encoding import Alternatives, Encoded, shared_beginning
from crosstune.models.forest import Tree
from crosstune.models.protocol import ChoiceAnswer, Progress, TextAnswer
from crosstune.models.reading import (
    Model,
    Padded,
    Place,
    Reader,
    exact_output,
    grown,
    output_at,
    runs,
)

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
            order, lambda i: max(len(asked[i].tree), dear * len(asked[i].places)), budget
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
    whole = torch.cat([part.logsumexp(-1) for part in logits.float().split(_ROWS)])
    values = logits[at[:, 0], at[:, 1]].float() - whole[at[:, 0]]
    for (row, _, _, choice), value in zip(wanted, values.tolist(), strict=True):
        scores[row][choice] += value


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


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[Encoded],
    *,
    reader: Reader,
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
        reader: How it reads.
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
            model,
            [prompts[i].tokens for i in batch],
            decode,
            ends,
            stop,
            max_new_tokens,
            base=reader.base,
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
    *,
    base: PreTrainedModel,
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
        with output_at(base, every, torch.full_like(every, ids.shape[1] - 1)):
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
