"""From prompts to token ids: the one place where text becomes tokens.

Context and answer are encoded together, so that tokens across their border are those the model
would read; spaces that end a context belong to the answer. Tuning and asking use the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from crosstune.errors import JobFailure
from crosstune.tasks.example import Prompt

_WORTH_SHARING = 12
"""Tokens that all texts begin with are read apart from this number on."""


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A choice prompt: the same context before each choice.

    Attributes:
        id: The prompt's id.
        rows: Tokens of context and choice, for each choice.
        starts: Position, in its row, of each choice's first token that is scored; never 0.
        truncated: Whether the context lost its beginning.
    """

    id: str
    rows: list[list[int]]
    starts: list[int]
    truncated: bool

    def first_tokens(self) -> Alternatives:
        """The same with each choice cut to its first token."""
        rows = [row[: start + 1] for row, start in zip(self.rows, self.starts, strict=True)]
        return replace(self, rows=rows)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one text.

    Attributes:
        id: The prompt's id.
        tokens: All of them.
        start: Position of the answer's first token; never 0.
        truncated: Whether the context lost its beginning.
        end: Position after the answer's last token, where there is an answer: what ends the turn
            begins there.
    """

    id: str
    tokens: list[int]
    start: int
    truncated: bool
    end: int = 0


def shared_beginning(rows: Sequence[list[int]], starts: Sequence[int]) -> int:
    """Tokens that all rows begin with and that predict nothing, where reading them once pays.

    Example:
        >>> shared_beginning([[7] * 20 + [1, 2], [7] * 20 + [3]], [21, 20])
        19
    """
    if len(rows) < 2:
        return 0
    # What the first and the last in order share is shared by all.
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(min(rows), max(rows), strict=False))
    common = min([sum(1 for _ in equal), *(start - 1 for start in starts)])
    return common if common >= _WORTH_SHARING else 0


class Encoder:
    """A tokenizer with the rules of this room."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        special = tokenizer("")["input_ids"]
        bos = tokenizer.bos_token_id
        self._bos: list[int] = [bos] if bos is not None and bos in special else []
        # A text of no tokens still needs one to predict from.
        self._first: list[int] = self._bos or [
            next(i for i in (bos, tokenizer.eos_token_id, 0) if i is not None)
        ]
        self._turn_end: str | None = None

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer brings one."""
        return bool(self.tokenizer.chat_template)

    def context(self, prompt: Prompt) -> str:
        """The text before the answer, the chat template applied when the prompt has turns."""
        if not prompt.turns:
            return prompt.context
        messages = [{"role": role, "content": text} for role, text in prompt.turns]
        rendered = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return str(rendered) + prompt.context

    def alternatives(self, prompts: Sequence[Prompt]) -> list[Alternatives]:
        """Encode choice prompts; all choices of a prompt see the same context.

        Raises:
            JobFailure: A choice alone is longer than the model takes.
        """
        contexts = [self.context(prompt) for prompt in prompts]
        texts = [
            c + answer for c, p in zip(contexts, prompts, strict=True) for answer in p.continuations
        ]
        whole = iter(self._encode(texts))
        bare = self._encode([context.rstrip() for context in contexts])
        encoded = []
        for prompt, context_tokens in zip(prompts, bare, strict=True):
            rows = [next(whole) for _ in prompt.continuations]
            chat = bool(prompt.turns)
            encoded.append(self._alternatives(prompt.id, context_tokens, rows, chat=chat))
        return encoded

    def _alternatives(
        self, id_: str, context: list[int], rows: list[list[int]], *, chat: bool
    ) -> Alternatives:
        head = self._head(context, chat=chat) if context else self._first
        if not head and (len({row[0] for row in rows}) > 1 or min(map(len, rows)) < 2):
            # The choices share no token (the border of a tiny context merged into them).
            head = self._first
        starts = [len(head) + min(len(context), len(row) - 1) for row in rows]
        rows = [head + row for row in rows]
        # The last token is predicted, never read.
        surplus = max(len(row) for row in rows) - 1 - self.max_length
        if surplus > 0:
            keep = len(head)
            if surplus >= min(starts) - keep:
                raise JobFailure(
                    f"example {id_}: an answer alone is longer than the {self.max_length} tokens "
                    "the model takes"
                )
            rows = [row[:keep] + row[keep + surplus :] for row in rows]
            starts = [start - surplus for start in starts]
        return Alternatives(id_, rows, starts, truncated=surplus > 0)

    def alike(self, prompts: Sequence[Prompt]) -> tuple[str, str] | None:
        """Two choices that first tokens cannot tell apart; None where there are none.

        They begin with the same token, or merge with their context in different ways.
        """
        for prompt, asked in zip(prompts, self.alternatives(prompts), strict=True):
            seen: dict[int, str] = {}
            first, *_ = rows = asked.first_tokens().rows
            for choice, row in zip(prompt.continuations, rows, strict=True):
                other = seen.setdefault(row[-1], choice)
                if other != choice or row[:-1] != first[:-1]:
                    return (other if other != choice else prompt.continuations[0]), choice
        return None

    def contexts(self, prompts: Sequence[Prompt], *, room: int) -> list[Encoded]:
        """Encode prompts to be continued, leaving room for that many new tokens.

        Raises:
            JobFailure: The model takes no more tokens than the room.
        """
        longest = self.max_length - room
        if longest < 1:
            raise JobFailure(
                f"{room} new tokens do not fit a model that takes {self.max_length} tokens"
            )
        # Spaces that end a context are the answer's to write, as tuning teaches it.
        rows = self._encode([self.context(prompt).rstrip(" ") for prompt in prompts])
        encoded = []
        for prompt, row in zip(prompts, rows, strict=True):
            head = self._head(row, chat=bool(prompt.turns)) if row else self._first
            tokens = head + row[max(0, len(head) + len(row) - longest) :]
            encoded.append(
                Encoded(prompt.id, tokens, len(tokens), len(tokens) < len(head) + len(row))
            )
        return encoded

    def lessons(self, prompts: Sequence[Prompt], *, max_tokens: int) -> list[Encoded]:
        """Encode prompts with their right answer and what ends a turn, for tuning.

        A text longer than `max_tokens` (or than the model takes) loses the beginning of its
        context; an answer that is longer alone loses its end.
        """
        longest = min(max_tokens, self.max_length)
        contexts = [self.context(prompt) for prompt in prompts]
        texts = [c + p.completion for c, p in zip(contexts, prompts, strict=True)]
        # Line breaks that end a context are the template's: they carry no loss.
        bare = self._encode([context.rstrip(" ") for context in contexts])
        encoded = []
        for prompt, row, context in zip(prompts, self._encode(texts), bare, strict=True):
            chat = bool(prompt.turns)
            head = self._head(context, chat=chat) if context else self._first
            answer = min(len(context), len(row) - 1)
            body = row + self._ending(chat=chat)
            surplus = max(0, len(head) + len(body) - longest)
            cut = min(surplus, answer)
            tokens = (head + body[cut:])[:longest]
            start, end = (len(head) + place - cut for place in (answer, len(row)))
            encoded.append(
                Encoded(prompt.id, tokens, max(1, start), surplus > 0, min(end, len(tokens)))
            )
        return encoded

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return encoded

    def _head(self, tokens: list[int], *, chat: bool) -> list[int]:
        """The beginning-of-text token, where it is wanted and not there already."""
        return [] if chat or tokens[: len(self._bos)] == self._bos else self._bos

    def ends(self, *, chat: bool) -> set[int]:
        """Tokens that end an answer, as tuning teaches it."""
        return set(self._ending(chat=chat)[:1])

    def _ending(self, *, chat: bool) -> list[int]:
        """What ends an answer: the template's end of turn, or the end-of-text token."""
        eos = self.tokenizer.eos_token_id
        if not chat:
            return [eos] if eos is not None else []
        if self._turn_end is None:
            mark = "ANSWER"
            turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": mark}]
            text = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
            self._turn_end = text.rpartition(mark)[2].rstrip()
        return self._encode([self._turn_end])[0] or ([eos] if eos is not None else [])
