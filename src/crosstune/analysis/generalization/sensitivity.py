"""How far a score hangs on the wording, the draw or the order of demonstrations, against chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from crosstune.analysis.generalization.arms import BASE, Asked, Design, Group, series
from crosstune.analysis.generalization.comparison import Comparison

KINDS = {"prompt": "prompt", "draw": "draw", "order": "order", "sampler": "sampler"}
KINDS["shots_from"] = "file of demonstrations"
"""What differs, by the field of a condition."""
DRAWS = 2_000
_BLOCK = 2**20
"""Numbers in one block of permutations: 8 MiB."""
_ROUNDING = 1e-14


@dataclass(slots=True, eq=False)
class Sensitivity:
    """Group means of conditions whose labels were permuted within each example.

    One set of permutations serves all groups and recipes of a target. Memory is that of the sums:
    draws × conditions × recipes of each group.
    """

    design: Design
    sets: list[tuple[str, list[str]]] = field(init=False)
    _sums: dict[tuple[int, Group], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sets = [
            (kind, [*named])
            for name, kind in KINDS.items()
            for named in series(self.design.conditions, name)
        ]

    def look(self, found: Asked) -> None:
        """Add one target to the sums."""
        there = {
            group: targets
            for group, targets in self.design.groups.items()
            if found.target in targets
        }
        if not there:
            return
        means = np.stack(
            [found.values[targets[found.target]].mean(axis=(0, 2)) for targets in there.values()]
        )
        for s, (_, names) in enumerate(self.sets):
            luck = np.random.default_rng([s, [*self.design.rows].index(found.target)])
            asked = means[:, self._arms(names)].transpose(1, 0, 2, 3)
            rows = asked.reshape(len(names), -1, asked.shape[3])
            shuffled = permuted_means(rows, draws=DRAWS, generator=luck)
            parts = np.split(shuffled, len(there), axis=2)
            for (group, targets), part in zip(there.items(), parts, strict=True):
                self._sums[s, group] = self._sums.get((s, group), 0.0) + part / len(targets)

    def rows(self, comparison: Comparison) -> list[dict[str, object]]:
        """Of every set, group and recipe: the range of the scores, and p against chance."""
        found: list[dict[str, object]] = []
        for s, (kind, names) in enumerate(self.sets):
            arms = self._arms(names)
            for g, (family, setting) in enumerate(self.design.groups):
                drawn = self._sums[s, (family, setting)].var(axis=1)
                for r, recipe in enumerate((BASE, *self.design.recipes)):
                    scores = comparison.score[g, arms[:, r]]
                    row: dict[str, object] = {
                        "kind": kind,
                        "family": family,
                        "setting": setting,
                        "recipe": recipe,
                        "conditions": " / ".join(names),
                    }
                    if not np.isnan(scores).any():
                        reached = np.count_nonzero(drawn[:, r] >= scores.var() - _ROUNDING)
                        row |= {"lowest": float(scores.min()), "highest": float(scores.max())}
                        row |= {"range": float(np.ptp(scores)), "p": (reached + 1) / (DRAWS + 1)}
                    found.append(row)
        return found

    def _arms(self, names: list[str]) -> np.ndarray:
        """Positions of the arms, conditions × recipes."""
        places: Mapping[tuple[str, str], int] = {arm: a for a, arm in enumerate(self.design.arms)}
        recipes = (BASE, *self.design.recipes)
        return np.array([[places[recipe, name] for recipe in recipes] for name in names])


def permuted_means(
    values: Float[np.ndarray, "conditions rows examples"],
    *,
    draws: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "draws conditions rows"]:
    """Means over the examples after the conditions were permuted within each of them.

    The same permutations serve all rows.
    """
    conditions, rows, n = values.shape
    flat = values.transpose(2, 0, 1).reshape(n * conditions, rows)
    whole = values.mean(axis=2).sum(axis=0)
    found = np.empty((draws, conditions, rows))
    size = max(1, _BLOCK // (n * conditions))
    for begin in range(0, draws, size):
        part = found[begin : begin + size]
        order = generator.random((len(part), n, conditions)).argsort(axis=2)
        for c in range(conditions - 1):
            chosen = order[:, :, c, None] == np.arange(conditions)
            part[:, c] = chosen.reshape(len(part), -1).astype(np.float64) @ flat / n
        part[:, -1] = whole - part[:, :-1].sum(axis=1)
    return found
