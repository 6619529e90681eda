"""Everything about one table of gains: how well traits predict, which do, and the question asked.

Costs some seconds for 50 sources × 100 targets, nearly all of it for permutations.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from crosstune.analysis.drivers.judging import (
    LOOKS,
    ROUNDING,
    SUM,
    Errors,
    explained,
    importance,
    judged,
    judged_pairs,
    share_of,
)
from crosstune.analysis.drivers.regression import additive, filled, mixed
from crosstune.analysis.drivers.traits import CLASSES, GROUPS, LENGTH, SURFACE, Side, Trait, usable
from crosstune.analysis.findings import Facts
from crosstune.results.inference import q_values

LEAST, LEAST_KNOWN = 5, 3
"""Sources, and targets, below which nothing is asked; known gains that each must have."""
SURE = 0.05
EVERYTHING, HIDDEN = "all traits", f"{CLASSES} and {LENGTH}"
_SIDES: tuple[Literal["source", "target"], ...] = ("source", "target")


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What traits explain of one table of gains.

    Attributes:
        sources: Which of them were used.
        targets: Which of them were used.
        judged: Rows: predictors of what was left out.
        groups: Rows: importance of groups of traits; q over all of them.
        traits: Rows: one trait at a time; q over all of them.
        advantage: What class distributions and answer lengths explain of left-out sources beyond
            what surface similarity does, a share of the target means' squared error, and the 95 %
            interval.
    """

    sources: Bool[np.ndarray, " sources"]
    targets: Bool[np.ndarray, " targets"]
    judged: list[Facts]
    groups: list[Facts]
    traits: list[Facts]
    advantage: tuple[float, float, float]

    def claimed(self, held_out: str) -> list[str]:
        """Groups that matter when such units are left out, the most important first."""
        return claimed([row for row in self.groups if row["held_out"] == held_out])

    def unmeasured(self) -> list[str]:
        """Of the groups in question those that tell no source from another."""
        there = {row["group"] for row in self.groups if row["held_out"] == "source"}
        return [group for group in (CLASSES, LENGTH, SURFACE) if group not in there]

    def askable(self) -> bool:
        """Whether something of either side is known, so that they can be compared."""
        gone = self.unmeasured()
        return SURFACE not in gone and len(gone) < 2

    def answer(self) -> Literal["yes", "no", "cannot be told"]:
        """Whether class distributions and answer lengths explain more than surface similarity.

        Only groups that matter beyond chance are believed, so that permutations guard the answer.
        What one side would explain is not known where nothing of it was measured.
        """
        found = self.claimed("source") if self.askable() else []
        _, low, high = self.advantage
        if low > 0 and {CLASSES, LENGTH} & {*found}:
            return "yes"
        return "no" if high < 0 and SURFACE in found else "cannot be told"


def explanation(
    gains: Float[np.ndarray, "sources targets"],
    known: Bool[np.ndarray, "sources targets"],
    *,
    traits: Sequence[Trait],
    families: tuple[Sequence[Hashable], Sequence[Hashable]] = ((), ()),
    seed: int = 0,
) -> Explanation:
    """What traits explain of gains = mean + source + target + weights · traits + rest.

    Ridge regressions of the units' means and of the pairs' deviations, each with a penalty of its
    own; and a mixed model. Sources and targets with few known gains are left out.

    Args:
        gains: Those not known are not read.
        known: Whether a gain is known and shall count.
        traits: Of any level; gaps get the mean, traits that are mostly unknown are left out.
        families: Of sources and of targets, whose members are no independent units; each is one of
            its own if empty.
        seed: Of permutations and resamples.

    Raises:
        ValueError: Fewer than five sources or targets have enough known gains, or no gain or no
            trait varies.
    """
    sources, targets = enough(known)
    if min(sources.sum(), targets.sum()) < LEAST:
        raise ValueError(f"fewer than {LEAST} sources or targets have enough known gains")
    known = known[sources][:, targets]
    traits = usable(traits, sources, targets, known)
    if not traits:
        raise ValueError("no trait varies")
    gains = np.where(known, gains[sources][:, targets], np.nan)
    if not np.ptp(gains[known]):
        raise ValueError("all gains are the same")
    there = [group for group in GROUPS if any(trait.group == group for trait in traits)]
    hidden = {HIDDEN: [CLASSES, LENGTH]} if {CLASSES, LENGTH} & {*there} else {}
    sets = {EVERYTHING: there, **hidden, **{group: [group] for group in there}}
    sides = [
        Side.of(gains, known, traits=traits, held_out=held_out, families=[*compress(of, used)])
        for held_out, of, used in zip(_SIDES, families, (sources, targets), strict=True)
    ]
    rows: list[Facts] = []
    errors = {side.held_out: judged(side, sets) for side in sides}
    for held_out, found in errors.items():
        rows += _judged(found, held_out, means=[*found][:2], count=int(known.sum()), seed=seed)
    found = judged_pairs(sides[0], seed=seed)
    rows += _judged(found, "pair", means=[SUM], count=int(known.sum()), seed=seed)
    return Explanation(
        sources,
        targets,
        rows,
        importances(sides, seed=seed),
        _singly(gains, known, traits),
        _advantage(errors["source"], seed=seed),
    )


def importances(sides: Sequence[Side], *, seed: int, looks: Sequence[int] = LOOKS) -> list[Facts]:
    """Importance of each group for each kind of left-out unit, corrected over all of them."""
    tests = [
        importance(side, group, seed=seed, looks=looks)
        for side in sides
        for group in GROUPS
        if group in side.own_groups or group in side.pair_groups
    ]
    p = np.array([test.p for test in tests])
    q = q_values(p, families=np.zeros(len(p), dtype=np.int64))
    return [asdict(test) | {"q": float(own)} for test, own in zip(tests, q, strict=True)]


def enough(
    known: Bool[np.ndarray, "sources targets"],
) -> tuple[Bool[np.ndarray, " sources"], Bool[np.ndarray, " targets"]]:
    """The sources and targets of which three gains and half of all are known."""
    sources, targets = (np.ones(size, dtype=bool) for size in known.shape)
    while True:
        part = known & sources[:, None] & targets
        rows = sources & (part.sum(axis=1) >= max(LEAST_KNOWN, targets.sum() / 2))
        columns = targets & (part.sum(axis=0) >= max(LEAST_KNOWN, sources.sum() / 2))
        if (rows == sources).all() and (columns == targets).all():
            return sources, targets
        sources, targets = rows, columns


def claimed(rows: Sequence[Facts]) -> list[str]:
    """Groups with q below 5 %, the most important first.

    Where some of these explain what all other groups leave, the rest only goes together with them.
    """
    sure = [row for row in rows if row["q"] < SURE]
    apart = [row for row in sure if row["p_beyond"] < SURE] or sure
    return [row["group"] for row in sorted(apart, key=lambda row: -row["importance_share"])]


def _judged(
    errors: Errors, held_out: str, *, means: Sequence[str], count: int, seed: int
) -> list[Facts]:
    """A row a predictor, against the best of the means."""
    best = min(means, key=lambda name: float(errors[name].sum()))
    rows = []
    for name, found in errors.items():
        share, low, high = explained(found, errors[best], seed=seed)
        row: Facts = {"held_out": held_out, "predictor": name, "best_mean": best}
        row["gain_error"] = float(np.sqrt(found.sum() / count))
        rows.append(row | {"explained_share": share, "low": low, "high": high})
    return rows


def _advantage(errors: Errors, *, seed: int) -> tuple[float, float, float]:
    """Difference of what two sets explain of the same left-out sources, and its interval."""
    mean = errors["mean of the target"]
    return share_of(errors.get(SURFACE, mean) - errors.get(HIDDEN, mean), mean, seed=seed)


def _singly(
    gains: Float[np.ndarray, "sources targets"],
    known: Bool[np.ndarray, "sources targets"],
    traits: Sequence[Trait],
) -> list[Facts]:
    """The mixed model with one trait at a time, in gain per standard deviation of the trait.

    A gap that was filled has no error of its own: errors are those of the known gains alone. Gains
    that are sums of a source's and a target's part have no error at all, and are not asked.
    """
    worth = np.sqrt(known.size / known.sum())
    gains = filled(gains, known)
    if np.square(gains - additive(gains)).sum() <= ROUNDING * np.square(gains).sum():
        return []
    sizes = dict(zip(("source", "target"), gains.shape, strict=True))
    sizes["pair"] = min(gains.shape)
    rows: list[Facts] = []
    for trait in traits:
        values = filled(trait.values, known) if trait.level == "pair" else trait.values
        values = (values - values.mean()) / values.std()
        model = mixed(gains, values[:, :, None])
        model = replace(model, errors=worth * model.errors)
        low, high, p = model.interval(sizes[trait.level] - 2)[0]
        row: Facts = {"trait": trait.name, "group": trait.group, "level": trait.level}
        row |= {"gain_per_sd": float(model.coefficients[0]), "low": float(low), "high": float(high)}
        rows.append(row | {"p": float(p)})
    p = np.array([row["p"] for row in rows])
    q = q_values(p, families=np.zeros(len(p), dtype=np.int64))
    rows = [row | {"q": float(corrected)} for row, corrected in zip(rows, q, strict=True)]
    return sorted(rows, key=lambda row: float(row["p"]))
