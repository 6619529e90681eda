"""Lengths of texts: what is told of many of them, from counts of the lengths that occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

EDGES: tuple[int, ...] = tuple(dict.fromkeys(round(2 ** (step / 4)) for step in range(65)))
"""Edges of the bins of every density: 1, 2 … 65,536, a quarter of an octave apart and whole.

Bin 0 holds what is below the first (empty texts), bin i what is at least `EDGES[i - 1]` and below
`EDGES[i]`, the last one what is at least the last.
"""
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def described(counts: Mapping[int, int]) -> dict[str, Any]:
    """Mean, spread, quantiles and density of lengths.

    Args:
        counts: How many texts have each length; at least one text.

    Returns:
        Numbers by name. Quantiles are exact, between two lengths as `numpy.quantile` has them.

    Example:
        >>> found = described({3: 1, 5: 2, 0: 1})
        >>> found["mean"], found["median"], found["max"], sum(found["counts"])
        (3.25, 4.0, 5, 4)
    """
    lengths = np.array(sorted(counts))
    times = np.array([counts[length] for length in lengths.tolist()])
    upto = np.cumsum(times)
    rows = int(upto[-1])
    mean = float(lengths @ times) / rows
    places = np.array([*QUANTILES.values()]) * (rows - 1)
    ends = (np.floor(places), np.ceil(places))
    below, above = (lengths[np.searchsorted(upto, end, "right")] for end in ends)
    quantiles = below + (places - ends[0]) * (above - below)
    bins = np.searchsorted(EDGES, lengths, "right")
    return {
        "mean": mean,
        "sd": float((times @ (lengths - mean) ** 2 / rows) ** 0.5),
        "min": int(lengths[0]),
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
        "max": int(lengths[-1]),
        "counts": np.bincount(bins, times, len(EDGES) + 1).astype(int).tolist(),
    }
