"""Sketches: a thousand numbers that tell how much two sets of texts share, of whatever size.

Every word, and every run of five words, has a hash; the smallest 1,024 of a set are a random part
of it, the same part in every set. So the share of two sets' union that both hold can be estimated
from the smallest hashes of the union; its standard error is √(J(1 − J)/1024), at most 0.016, and
none for sets of fewer.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt64

SIZE = 1_024
WINDOW = 5
"""Words of a shingle; a shorter text is one shingle."""
_BITS = 53
"""Of a hash that are kept: a JSON reader holds whole numbers up to 2⁵³ exactly."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, of no pattern: 2⁶⁴ divided by the golden ratio
_WORD = re.compile(r"\w+")

Hashes = UInt64[np.ndarray, " hashes"]


def jaccard(a: Collection[int], b: Collection[int]) -> float | None:
    """The share of two sets' union that both hold, estimated from their sketches.

    Args:
        a: A sketch.
        b: Another one, made in the same way.

    Returns:
        From 0 to 1; None when both are empty.

    Source:
        Broder (1997), On the resemblance and containment of documents: one permutation, the
        smallest elements.

    Example:
        >>> jaccard([1, 2, 3], [2, 3, 4]), jaccard([], [])
        (0.5, None)
    """
    union = sorted({*a, *b})[:SIZE]
    both = {*a} & {*b}
    return sum(value in both for value in union) / len(union) if union else None


@dataclass(slots=True)
class Sketches:
    """Sketches of the texts so far; the order of the texts does not matter.

    Attributes:
        words: The smallest hashes of the words that occur, in lower case.
        shingles: Those of the runs of five words within a text.
    """

    words: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    shingles: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, texts: Iterable[str]) -> None:
        """Take texts in; cost is linear in their words."""
        hashes: list[int] = []
        starts: list[int] = []  # of the shingles
        for text in texts:
            found = [*map(_hashed, _WORD.findall(text.lower()))]
            if found:
                found += [0] * (WINDOW - len(found))
                starts += range(len(hashes), len(hashes) + len(found) - WINDOW + 1)
                hashes += found
        words, first = np.array(hashes, np.uint64), np.array(starts, np.intp)
        mixed = np.zeros(len(first), np.uint64)
        for step in range(WINDOW):  # overflow is meant
            mixed = (mixed ^ (mixed >> np.uint64(29))) * _FACTOR + words[first + step]
        mixed = (mixed ^ (mixed >> np.uint64(32))) * _FACTOR
        mixed ^= mixed >> np.uint64(29)
        self.words = _smallest(self.words, words[words > 0])
        self.shingles = _smallest(self.shingles, mixed)

    def described(self) -> dict[str, list[int]]:
        """Both, as lists of whole numbers in order."""
        return {"words": self.words.tolist(), "shingles": self.shingles.tolist()}


@functools.lru_cache(2**16)
def _hashed(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) or 1


def _smallest(kept: Hashes, more: UInt64[np.ndarray, " more"]) -> UInt64[np.ndarray, " smallest"]:
    cut = more >> np.uint64(64 - _BITS)
    if len(kept) == SIZE:
        cut = cut[cut < kept[-1]]
    return np.unique(np.concatenate([kept, cut]))[:SIZE]
