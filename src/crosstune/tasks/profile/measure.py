"""The profile of a set of rows, read once; a core reads about 25,000 rows of 60 words a second.

Memory is that of a few counters, of two sketches and of the rows that language is measured on, and
about twenty bytes a row. The order of the rows decides nothing, unless there are more than
`DISTINCT` different answers: those that come first are counted then.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import log2
from typing import Any, Literal, NamedTuple

import numpy as np

from crosstune.tasks.example import Example, Prompt
from crosstune.tasks.profile.language import language
from crosstune.tasks.profile.lengths import described
from crosstune.tasks.profile.sketches import Sketches

VERSION = 1
SAMPLE = 2_000
"""Different prompts, at most, that language is measured on: those of the smallest hashes."""
SAMPLED_CHARACTERS = 10_000
"""So much of each of them, from its beginning."""
LABELS = 200
"""More different labels than these are no classes; of other answers as many are named."""
DISTINCT = 4_096
"""Different answers that are counted."""
ANSWER_CHARACTERS = 100
_BATCH = 1_024

Kind = Literal["choice", "text"]


class Text(NamedTuple):
    """A row: what is asked, the right answer, and whether that is one of a few fixed labels."""

    prompt: str
    answer: str
    is_label: bool = False


def profile(
    rows: Iterable[Text],
    *,
    kind: Kind | None = None,
    tokens: tuple[Sequence[int], Sequence[int]] | None = None,
    embedding: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Measured traits of a set of rows, as a JSON value.

    Args:
        rows: Prompts and answers; read once, never held.
        kind: Of the answers. None: `choice` when there are at most 200 different labels, each
            seen twice on average.
        tokens: Lengths in tokens of every row's prompt and answer, where a tokenizer counted.
        embedding: Mean hidden state of a model over the rows, where one was measured.

    Returns:
        - `rows`, `duplicates`: rows, and those that repeat the prompt and the answer of another.
        - `labels`: label → count, most frequent first; None for text, for more than 200 labels,
          and when fewer than half of the rows have one. Of these `entropy` (bits), `majority`
          (share of the most frequent) and `skew` = 1 − entropy/log2(classes that occur), from 0
          (balanced) to 1; None for one class.
        - `lengths`: of `prompt` and `answer` in `words` (runs between white space), `characters`
          and `tokens`: `mean`, `sd` (of the rows themselves, not an estimate), `min`, quantiles,
          `max`, and `counts` over the bins of `EDGES`.
        - `language`: the features of `FEATURES`, of at most 2,000 different prompts.
        - `answers`: up to 200 different ones, most frequent first, in lower case, cut to 100
          characters.
        - `sketches`: of the prompts' `words` and `shingles`, see `Sketches`.
        - `embedding`: as given. `version` and `kind`.

    Raises:
        ValueError: No rows.

    Example:
        >>> found = profile([Text("Is it so?", "yes", True), Text("Is it?", "no", True)])
        >>> found["kind"], found["labels"], found["entropy"]
        ('text', None, None)
        >>> found = profile([Text("Is it so?", "yes", True)] * 3 + [Text("Is it?", "no", True)])
        >>> found["kind"], found["duplicates"], found["labels"], found["majority"]
        ('choice', 2, {'yes': 3, 'no': 1}, 0.75)
    """
    seen, stream = _Seen(), iter(rows)
    while batch := [*islice(stream, _BATCH)]:
        seen.add(batch)
    count = len(seen.rows)
    if not count:
        raise ValueError("there are no rows to profile")
    for part, lengths in zip(("prompt", "answer"), tokens or (), strict=False):
        seen.lengths[part]["tokens"].update(lengths)
    few = 0 < len(seen.labels) <= min(LABELS, count / 2)
    kind = kind or ("choice" if few else "text")
    classes = kind == "choice" and len(seen.labels) <= LABELS and 2 * seen.labelled >= count
    return {
        "version": VERSION,
        "kind": kind,
        "rows": count,
        "duplicates": count - len(np.unique(np.asarray(seen.rows))),
        **_balance(seen.labels if classes else {}),
        "lengths": {
            part: {unit: described(counts) for unit, counts in units.items()}
            for part, units in seen.lengths.items()
        },
        "language": language([*seen.sample.values()]),
        "answers": seen.answers(),
        "sketches": seen.sketches.described(),
        "embedding": None if embedding is None else [float(value) for value in embedding],
    }


def profile_of(
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    *,
    kind: Kind,
    tokens: tuple[Sequence[int], Sequence[int]] | None = None,
    embedding: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The profile of examples: of their questions, and of their first right answers.

    An answer is a label where another example offers the same choices, in any order; rows that
    each offer choices of their own have no classes.

    Args:
        examples: At least one.
        prompts: How a model reads them, in the same order; what `tokens` counts.
        kind: Of the task.
        tokens: Lengths in tokens of every prompt and of every answer.
        embedding: Mean hidden state of a model over the prompts.

    Raises:
        ValueError: No examples, or prompts or tokens that are not theirs.
    """
    counts = {len(examples), len(prompts), *map(len, tokens or ())}
    if len(counts) > 1 or any(e.id != p.id for e, p in zip(examples, prompts, strict=True)):
        raise ValueError("examples, prompts and tokens are not of the same rows")
    offered = Counter(frozenset(example.choices) for example in examples)
    rows = (
        Text(
            example.context,
            example.references[0],
            example.label is not None and offered[frozenset(example.choices)] > 1,
        )
        for example in examples
    )
    return profile(rows, kind=kind, tokens=tokens, embedding=embedding)


@dataclass(slots=True)
class _Seen:
    """What is kept of the rows so far."""

    rows: array[int] = field(default_factory=lambda: array("Q"))
    lengths: dict[str, defaultdict[str, Counter[int]]] = field(
        default_factory=lambda: {part: defaultdict(Counter) for part in ("prompt", "answer")}
    )
    labels: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    sample: dict[bytes, str] = field(default_factory=dict)
    sketches: Sketches = field(default_factory=Sketches)

    def add(self, rows: Sequence[Text]) -> None:
        for part, texts in zip(("prompt", "answer"), zip(*rows, strict=True), strict=False):
            self.lengths[part]["words"].update(len(text.split()) for text in texts)
            self.lengths[part]["characters"].update(map(len, texts))
        for row in rows:
            prompt = _hash(row.prompt)
            self.rows.append(int.from_bytes(_hash(row.answer, salt=prompt)))
            self.sample[prompt] = row.prompt[:SAMPLED_CHARACTERS]
            self.labelled += row.is_label
            counts, answer = self.labels if row.is_label else self.others, row.answer
            answer = answer[:ANSWER_CHARACTERS]
            if answer in counts or len(counts) < DISTINCT:
                counts[answer] += 1
        self.sample = dict(sorted(self.sample.items())[:SAMPLE])
        self.sketches.add([row.prompt for row in rows])

    def answers(self) -> list[str]:
        found: Counter[str] = Counter()
        for answer, count in (self.labels + self.others).items():
            found[answer.lower()[:ANSWER_CHARACTERS]] += count
        return [*_most_frequent(found)][:LABELS]


def _hash(text: str, *, salt: bytes = b"") -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest()


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first, equally frequent ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _balance(labels: Mapping[str, int]) -> dict[str, Any]:
    if not labels:
        return dict.fromkeys(("labels", "entropy", "majority", "skew"))
    shares = [count / sum(labels.values()) for count in labels.values()]
    entropy = sum(share * log2(1 / share) for share in sorted(shares))
    skew = max(0.0, 1 - entropy / log2(len(shares))) if len(shares) > 1 else None
    told = {"labels": _most_frequent(labels), "entropy": entropy}
    return told | {"majority": max(shares), "skew": skew}
