"""Leakage: test inputs that stand in training rows, told before anything is tuned.

Cost is linear in the words of both sides: every test field waits under eight of its words, and
one pass over each set of training rows slides a window of eight words over its inputs. A core
reads about 25,000 training rows of 60 words in a second; memory follows the test rows.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crosstune.tasks.example import Example

WHOLE = 4
"""Words an input needs so that another task's question about it counts as leakage."""

WINDOW = 8
"""Words a field needs so that finding it within a training input counts."""

_TOKEN = re.compile(r"\w+|[^\w\s](?=\W{0,3}\d)")

Training = TypeVar("Training", bound=Hashable)
Test = TypeVar("Test", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Leakage:
    """What the test rows of a target share with a source's training rows.

    Attributes:
        leaked: Test rows whose whole input is the input of a training row.
        contained: Test rows of which a field of eight words or more stands, word by word, in the
            input of a training row; leaked rows with such a field among them.
    """

    leaked: int
    contained: int


def leakage(
    trainings: Mapping[Training, Sequence[Example]], tests: Mapping[Test, Sequence[Example]]
) -> dict[tuple[Training, Test], Leakage]:
    """What each set of test rows shares with each set of training rows.

    Texts are compared in Unicode's form NFKC without regard to case and white space. A test row is
    *leaked* when its question is the question of a training row, or when its fields, one behind
    the other, are those of a training row, word by word, with four words or more. So the same
    input is found in another wording, while a single word or number that two tasks ask different
    things about is none. A test row is *contained* when one of its fields has eight words or more
    and they stand in this order, without a gap, in the question of a training row or in its
    fields, one behind the other; or when it is leaked and has a field of that length.

    A word is a run of letters, digits and underscores. Among words, punctuation and other signs
    do not matter, but right before a number they do: `12 - 5` is not `12 * 5`. Answers and choices
    that the question does not show are no part of an input. In scripts without spaces a sentence
    is few words, so that mostly the same questions are found. The other way round, a training
    field within a longer test field, is not sought.

    Args:
        trainings: Training rows, by any name; equal ones are read once.
        tests: Test rows, by any name.

    Returns:
        Counts of test rows, for every pair of names.

    Example:
        >>> def row(context, *fields):
        ...     return Example("", context, (), None, ("yes",), fields)
        >>> story = "Robin went home early, since nobody had come to see the film."
        >>> tests = [row(f"{story} Why?", story), row("Past tense of go:", "go")]
        >>> training = [row(f"Sum up: {story.upper()}", story.upper()), row("Is go a verb?", "go")]
        >>> leakage({"summary": training}, {"why": tests})
        {('summary', 'why'): Leakage(leaked=1, contained=1)}
    """
    asked: defaultdict[Example, list[Test]] = defaultdict(list)
    for test, examples in tests.items():
        for example in examples:
            asked[example].append(test)
    index = _Index(asked)
    read: dict[tuple[Example, ...], tuple[Counter[Test], Counter[Test]]] = {}
    found: dict[tuple[Training, Test], Leakage] = {}
    for training, examples in trainings.items():
        rows = tuple(examples)
        if rows not in read:
            leaked, contained = index.found_in(rows)
            read[rows] = _counted(leaked, asked), _counted(contained, asked)
        both = read[rows]
        found |= {(training, test): Leakage(both[0][test], both[1][test]) for test in tests}
    return found


def _counted(rows: set[Example], asked: Mapping[Example, list[Test]]) -> Counter[Test]:
    return Counter(test for row in rows for test in asked[row])


class _Index:
    """Test rows by their question, by their fields, and by eight words of each long field."""

    def __init__(self, tests: Iterable[Example]) -> None:
        self.questions: defaultdict[str, set[Example]] = defaultdict(set)
        self.inputs: defaultdict[str, set[Example]] = defaultdict(set)
        self.fields: defaultdict[str, set[Example]] = defaultdict(set)
        self.waiting: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for example in tests:
            self.questions[_plain(example.context)].add(example)
            parts = [_words(field) for field in example.fields]
            whole = [word for part in parts for word in part]
            if _length(whole) >= WHOLE:
                self.inputs[_line(whole)].add(example)
            for part in parts:
                if _length(part) >= WINDOW:
                    self._wait(part)
                    self.fields[_line(part)].add(example)
        self.long = set().union(*self.fields.values())

    def _wait(self, words: list[str]) -> None:
        """Put a field under the eight of its words where the fewest fields wait so far.

        Under the first eight, all fields that begin with the same instruction would wait at one
        place, and each training row with that instruction would be compared with all of them.
        """
        field = _line(words)
        if field not in self.fields:
            starts = range(0, len(words) - WINDOW + 1, WINDOW)
            windows = [tuple(words[start : start + WINDOW]) for start in starts]
            free = min(windows, key=lambda window: len(self.waiting.get(window, ())))
            self.waiting[free].append(field)

    def found_in(self, training: Iterable[Example]) -> tuple[set[Example], set[Example]]:
        """The test rows that training rows leak, and those of which they contain a field."""
        leaked: set[Example] = set()
        fields: set[str] = set()
        for example in training:
            leaked |= self.questions.get(_plain(example.context), set())
            question = _words(example.context)
            fields |= self._fields_in(question)
            whole = [word for field in example.fields for word in _words(field)]
            line = _line(whole)
            leaked |= self.inputs.get(line, set())
            if line not in _line(question):
                fields |= self._fields_in(whole)
        contained = set().union(*(self.fields[field] for field in fields))
        return leaked, contained | (leaked & self.long)

    def _fields_in(self, words: list[str]) -> set[str]:
        windows = zip(*(words[start:] for start in range(WINDOW)), strict=False)
        places = [window for window in windows if window in self.waiting]
        if not places:
            return set()
        line = _line(words)
        return {field for place in places for field in self.waiting[place] if field in line}


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(text: str) -> list[str]:
    """Words, and the signs right before numbers, as `leakage` compares them."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def _length(words: Sequence[str]) -> int:
    return sum(word[0] == "_" or word[0].isalnum() for word in words)


def _line(words: Sequence[str]) -> str:
    """Words with a space around each, so that text within text is words within words."""
    return f" {' '.join(words)} "
