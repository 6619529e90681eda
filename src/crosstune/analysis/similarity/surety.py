"""How sure a similarity is: against chance, and over the examples it was measured on.

Cost is that of the measure, two times the number of draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crosstune.analysis.similarity.measures import Measure, States, linear_cka


class Surety(NamedTuple):
    """A similarity with what is known of it.

    Attributes:
        value: The similarity of all examples.
        low: Lower end of the 95 % interval over examples.
        high: Upper end.
        chance: Mean of the similarity where examples are paired by chance.
        p: Share of such pairings that are at least as similar, itself counted; one-sided.
        examples: How many.
        widths: Of the first and of the second states.
    """

    value: float
    low: float
    high: float
    chance: float
    p: float
    examples: int
    widths: tuple[int, int]


def surety(
    x: States, y: States, measure: Measure = linear_cka, *, draws: int = 200, seed: int = 0
) -> Surety:
    """The similarity with a permutation null and an interval.

    An example drawn twice would be its own neighbour, which no unbiased measure may have. So the
    interval is not of a bootstrap with replacement but of halves: half of the examples, drawn
    without replacement, scatter about the whole as the whole does about the truth.

    Args:
        x: States.
        y: States of the same examples in the same order.
        measure: Any.
        draws: Permutations, and as many halves.
        seed: Of both.

    Raises:
        ValueError: As the measure, of half of the examples too.

    Source:
        Politis & Romano (1994) for the halves; Mantel (1967) for the permutations.
    """
    value = measure(x, y)
    generator = np.random.default_rng(seed)
    half = len(x) // 2
    scatter, null = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        order = generator.permutation(len(x))
        null[draw] = measure(x, y[order])
        part = np.sort(order[:half])
        scatter[draw] = measure(x[part], y[part])
    # Halves are biased where the measure depends on n; only their scatter is taken.
    away = scatter - scatter.mean()
    away *= np.sqrt(half / (len(x) - half))
    low, high = value - np.quantile(away, [0.975, 0.025])
    p = (1 + (null >= value - 1e-12).sum()) / (1 + draws)
    widths = (x.shape[1], y.shape[1])
    return Surety(value, float(low), float(high), float(null.mean()), float(p), len(x), widths)
