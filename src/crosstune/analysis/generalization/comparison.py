"""Arms compared with one another within groups of pairs, on the same examples.

Targets are read one after another into sums, so memory does not grow with their number. A mean
over sources and seeds is linear, so every pair of arms costs one subtraction a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from crosstune.analysis.generalization.arms import ALL, BASE, Arm, Asked, Design, Group, asked
from crosstune.errors import InputError
from crosstune.results.inference import Mixture, moderated_variances, q_values
from crosstune.results.store import Store

_ROUNDING = 1e-12


@dataclass(slots=True, eq=False)
class _Sums:
    """Running sums of one group over its targets; pairs are all (later arm, earlier arm)."""

    targets: int
    examples: int = 0
    scoring: list[tuple[str, ...]] = field(default_factory=list)
    score: np.ndarray | float = 0.0
    pairs: dict[str, np.ndarray] = field(default_factory=dict)

    def add(
        self,
        values: Float[np.ndarray, "sources arms seeds examples"],
        scoring: tuple[str, ...],
    ) -> None:
        self.scoring.append(scoring)
        means = values.mean(axis=0)
        self.score = self.score + means.mean(axis=(1, 2)) / self.targets
        blocks = [_summed(means[a + 1 :] - means[a], self.targets) for a in range(len(means) - 1)]
        for name in blocks[0]:
            more = np.concatenate([block[name] for block in blocks])
            self.pairs[name] = self.pairs[name] + more if name in self.pairs else more


def _summed(
    differences: Float[np.ndarray, "pairs seeds examples"], targets: int
) -> dict[str, np.ndarray]:
    """What one target adds to the sums of these pairs of arms.

    As Bonett & Price have it, two examples are added that differ as much as those that differ do
    on average; a mean of T targets shares the two, as Price & Bonett do for sums of proportions.
    """
    _, seeds, n = differences.shape
    means = differences.mean(axis=1)
    gain, squares = means.mean(axis=1), np.square(means).sum(axis=1)
    by_seed = differences.mean(axis=2)
    rest = differences - means[:, None] - (by_seed - gain[:, None])[:, :, None]
    freedom = max(seeds - 1, 1) * max(n - 1, 1)
    padded = n + 2 / targets
    centre = gain * n / padded
    return {
        "difference": gain / targets,
        "centre": centre / targets,
        "variance": (squares / padded - np.square(centre)) / padded / targets**2,
        "slope": np.full(len(gain), 2 / targets / padded**2 / targets**2),
        "squares": squares,
        "differing": np.count_nonzero(np.abs(means) > _ROUNDING, axis=1),
        "by_seed": by_seed / targets,
        "interaction": np.square(rest).sum(axis=(1, 2)) / freedom / (seeds * n) / targets**2,
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """How two arms differ in a group: first minus second, in [−1, 1]."""

    difference: float
    low: float
    high: float
    p: float
    q: float

    def reversed(self) -> Difference:
        """Second minus first."""
        return Difference(-self.difference, -self.high, -self.low, self.p, self.q)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All arms in all groups.

    Attributes:
        design: What is compared.
        examples: Of each group.
        scoring: Of each group and arm: by target, in the order of their names.
        score: NaN where any score is missing.
        differences: By positions of group, later and earlier arm, of all pairs that are known and
            scored in the same way.
        dropped: Examples left out as not all arms of a target were asked them.
    """

    design: Design
    examples: tuple[int, ...]
    scoring: Mapping[tuple[int, int], tuple[str, ...]]
    score: Float[np.ndarray, "groups arms"]
    differences: Mapping[tuple[int, int, int], Difference]
    dropped: int

    def difference(self, first: Arm, second: Arm, *, group: Group) -> Difference:
        """First minus second arm, on the same examples.

        Args:
            first: Recipe, or `base`, and condition.
            second: Likewise.
            group: Family, or `all`, and setting.

        Raises:
            InputError: There is no such arm or group, a score is missing, or the two are scored in
                different ways, so that the scores have no common scale.
        """
        groups, arms = [*self.design.groups], self.design.arms
        problems = [f"there is no arm {arm}" for arm in (first, second) if arm not in arms]
        problems += [] if group in groups else [f"there is no group {group}"]
        if problems:
            raise InputError("Arms cannot be compared", problems)
        g, a, b = groups.index(group), arms.index(first), arms.index(second)
        if self.scoring[g, a] != self.scoring[g, b]:
            told = [f"{', '.join(arms[x])}: {self.scored(g, x)}" for x in (a, b)]
            told.append("a score depends on the way of scoring as much as on the model")
            raise InputError("Arms that are scored in different ways cannot be compared", told)
        found = self.known(g, a, b)
        if found is None:
            why = "they are the same" if a == b else "a score of theirs is missing"
            raise InputError("Arms cannot be compared", [why])
        return found

    def known(self, g: int, a: int, b: int) -> Difference | None:
        """First minus second by their positions; None when it is not known."""
        found = self.differences.get((g, max(a, b), min(a, b)))
        return found if found is None or a > b else found.reversed()

    def scored(self, g: int, a: int) -> str:
        """Ways of scoring of an arm over the targets of a group."""
        return " + ".join(sorted({way for way in self.scoring[g, a] if way}))


def compared(
    store: Store, design: Design, *, look: Callable[[Asked], None] = lambda _: None
) -> Comparison:
    """Read all targets and compare all arms.

    Args:
        store: The study's.
        design: What is to be compared.
        look: Is shown every target's outcomes while they are in memory.
    """
    sums = {group: _Sums(len(targets)) for group, targets in design.groups.items()}
    dropped = 0
    for target in design.rows:
        found = asked(store, design, target)
        dropped += found.dropped
        for group, targets in design.groups.items():
            if target in targets:
                sums[group].examples += found.examples
                sums[group].add(found.values[targets[target]], found.scoring)
        look(found)
    scoring = {
        (g, a): tuple(ways[a] for ways in each.scoring)
        for g, each in enumerate(sums.values())
        for a in range(len(design.arms))
    }
    return Comparison(
        design=design,
        examples=tuple(each.examples for each in sums.values()),
        scoring=scoring,
        score=np.array([each.score for each in sums.values()]),
        differences=_concluded(design, [*sums.values()], scoring),
        dropped=dropped,
    )


def _concluded(
    design: Design, sums: list[_Sums], scoring: Mapping[tuple[int, int], tuple[str, ...]]
) -> dict[tuple[int, int, int], Difference]:
    """Intervals and tests of all pairs, the seeds' variance moderated over all of them."""
    earlier, later = np.triu_indices(len(design.arms), 1)
    alike = [
        scoring[g, a] == scoring[g, b]
        for g in range(len(sums))
        for a, b in zip(later.tolist(), earlier.tolist(), strict=True)
    ]
    pairs = {name: np.concatenate([each.pairs[name] for each in sums]) for name in sums[0].pairs}
    kept = np.array(alike) & ~np.isnan(pairs["difference"])
    group = np.repeat(np.arange(len(sums)), len(earlier))[kept]
    first, second = np.tile(later, len(sums))[kept], np.tile(earlier, len(sums))[kept]
    pairs = {name: values[kept] for name, values in pairs.items()}
    step = np.where(
        pairs["differing"] > 0, pairs["squares"] / np.maximum(pairs["differing"], 1), 1.0
    )
    tuned = np.array([arm[0] != BASE for arm in design.arms])[first]
    models = len(design.sources) * len(design.recipes)
    variance, freedom = _of_seeds(pairs["by_seed"], tuned, models=models)
    interaction = np.where(variance > 0, pairs["interaction"], 0.0)
    found = Mixture.of(
        pairs["centre"],
        pairs["variance"] + step * pairs["slope"],
        seeds=variance,
        freedom=freedom,
        interaction=interaction,
    )
    settings = [*dict.fromkeys(setting for _, setting in design.groups)]
    families = [2 * settings.index(setting) + (family == ALL) for family, setting in design.groups]
    p = found.p()
    q = q_values(p, families=np.array(families)[group])
    keys = zip(group.tolist(), first.tolist(), second.tolist(), strict=True)
    columns = (pairs["difference"], *found.interval(), p, q)
    values = zip(*(column.tolist() for column in columns), strict=True)
    return {key: Difference(*told) for key, told in zip(keys, values, strict=True)}


def _of_seeds(
    by_seed: Float[np.ndarray, "pairs seeds"], tuned: Bool[np.ndarray, " pairs"], *, models: int
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Variance of the mean over seeds and its degrees of freedom; 0 and 1 where nothing is tuned.

    No more is known of it than as many models can say as were tuned.
    """
    seeds = by_seed.shape[1]
    variance, freedom = np.zeros(len(by_seed)), np.ones(len(by_seed))
    if seeds > 1 and tuned.any():
        own = by_seed[tuned].var(axis=1, ddof=1)
        moderated, worth = moderated_variances(own, freedom=seeds - 1)
        variance[tuned] = moderated / seeds
        freedom[tuned] = min(worth, float(models * (seeds - 1)))
    return variance, freedom
