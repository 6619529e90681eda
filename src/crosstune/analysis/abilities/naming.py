"""Names for abilities, proposed from what loads on them; a person decides what they are.

Costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from crosstune.analysis.wording import listed

HIGH = 0.5
"""A column is high from this correlation with an ability on, low from its negative."""
_GENERAL = 0.8
_MOSTLY = 0.5
_SHOWN = 4
_NO_FAMILY = frozenset({"", "other"})


def proposal(families: Sequence[str], correlations: Float[np.ndarray, " columns"]) -> str:
    """What an ability may be called.

    `general` when nearly all columns are high; else the family, or two, that hold at least half of
    the squared correlations of the high columns; else `mixed`. Empty when families say nothing.

    Args:
        families: Of the columns.
        correlations: Of the columns with the ability.

    Example:
        >>> proposal(["mood", "mood", "sums"], np.array([0.9, 0.7, -0.6]))
        'mood'
    """
    high = correlations >= HIGH
    if not high.any() or not {*families} - _NO_FAMILY:
        return ""
    if high.mean() >= _GENERAL:
        return "general"
    weights: dict[str, float] = {}
    for family, weight in zip(families, np.square(correlations) * high, strict=True):
        weights[family] = weights.get(family, 0.0) + float(weight)
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    whole = sum(weights.values())
    for count in (1, 2):
        first = ordered[:count]
        if sum(weight for _, weight in first) >= _MOSTLY * whole:
            named = [family for family, weight in first if family not in _NO_FAMILY and weight > 0]
            return " and ".join(named) if len(named) == count else "mixed"
    return "mixed"


def extremes(names: Sequence[str], correlations: Float[np.ndarray, " columns"]) -> str:
    """The columns that are high and those that are low, the strongest first.

    Example:
        >>> extremes(["sst2", "gsm8k", "boolq"], np.array([0.9, -0.6, 0.1]))
        'sst2 high; gsm8k low'
    """
    order = np.argsort(-np.abs(correlations), kind="stable")
    high = [names[i] for i in order if correlations[i] >= HIGH]
    low = [names[i] for i in order if correlations[i] <= -HIGH]
    told = [
        f"{listed(found, _SHOWN).replace(';', ',')} {how}"
        for found, how in ((high, "high"), (low, "low"))
        if found
    ]
    return "; ".join(told) or f"no column reaches {HIGH:g}"
