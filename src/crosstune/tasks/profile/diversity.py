"""How varied the words of a text are, by two measures that hardly depend on its length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

THRESHOLD = 0.72
DRAWN = 42


def mtld(words: Sequence[str]) -> float | None:
    """Mean length of a stretch of words in which few repeat (MTLD).

    Linear in the words; both directions are read.

    Args:
        words: In the order of the text, in one case.

    Returns:
        Words; larger is more varied. The number of words where none repeats; None without words.

    Source:
        McCarthy and Jarvis (2010), Behavior Research Methods 42: a stretch ends where different
        words fall to a share of 0.72, the last one counts in part.

    Example:
        >>> mtld("to be or not to be".split()), mtld(["to", "be"])
        (6.0, 2.0)
    """
    if not words:
        return None
    both = [_stretches(words), _stretches(reversed(words))]
    return float(np.mean([len(words) / (stretches or 1) for stretches in both]))


def _stretches(words: Iterable[str]) -> float:
    ended, length, share = 0, 0, 1.0
    seen: set[str] = set()
    for word in words:
        length += 1
        seen.add(word)
        share = len(seen) / length
        if share <= THRESHOLD:
            ended, length, share = ended + 1, 0, 1.0
            seen = set()
    return ended + (1 - share) / (1 - THRESHOLD)


def hdd(words: Sequence[str]) -> float | None:
    """The share of different words to expect among 42 drawn without replacement (HD-D).

    Args:
        words: In any order, in one case.

    Returns:
        From 0 to 1; None for fewer than 42 words.

    Source:
        McCarthy and Jarvis (2007), Language Testing 24: from the hypergeometric distribution.

    Example:
        >>> round(hdd([str(n) for n in range(100)]), 6), round(42 * hdd(["so"] * 84), 6)
        (1.0, 1.0)
    """
    total = len(words)
    if total < DRAWN:
        return None
    others = total - np.array([*Counter(words).values()], float)
    unseen = np.exp(_log_ways(others) - _log_ways(total))  # 0 with fewer than 42 others
    return float((len(others) - unseen.sum()) / DRAWN)


def _log_ways(count: ArrayLike) -> NDArray[np.float64]:
    """Log of the ways to draw, up to a constant."""
    return np.asarray(gammaln(np.add(count, 1)) - gammaln(np.add(count, 1 - DRAWN)))
