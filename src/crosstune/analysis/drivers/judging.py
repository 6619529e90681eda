"""How well traits predict what was left out, against means, and which of them do it.

A judgement refits everything for every unit that is left out: milliseconds a unit. A test of
importance takes 200 permutations, and 1,000 where these leave it open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from crosstune.analysis.drivers.regression import (
    additive,
    filled,
    left_out,
    mixed,
    ridge_of_means,
    ridge_of_pairs,
)
from crosstune.analysis.drivers.traits import Side

LOOKS = (200, 1000)
"""Permutations of a test, and where it is not clearly above 5 % after these."""
OPEN = 0.06
RESAMPLES = 2000
MIXED, SUM, WITH_TRAITS = "mixed model", "sum of both means", "sum of both means and traits"
OF_PAIRS = ("mean of the source", "mean of the target", SUM, WITH_TRAITS)
_FOLDS = 10
ROUNDING = 1e-12
"""Of the squared gains: squares below this share are rounding."""

Errors = dict[str, Float[np.ndarray, " units"]]
"""Summed squared errors of the known gains of each unit, by predictor."""


def _parted(gains: Float[np.ndarray, "units others"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the others, of the units about these, and what is left; rounding is 0."""
    middle, least = gains.mean(axis=0), ROUNDING * np.square(gains).sum()
    means = (gains - middle).mean(axis=1)
    rest = gains - middle - means[:, None]
    means *= len(middle) * np.square(means).sum() > least
    rest *= np.square(rest).sum() > least
    return middle, means, rest


@dataclass(frozen=True, slots=True)
class Importance:
    """Of a group of traits for one kind of left-out unit.

    Attributes:
        held_out: What was left out.
        group: Whose traits.
        importance_share: What the group takes away beyond what it does with permuted units, a share
            of the squared error of the others' mean.
        null_low: Lower end of 95 % of the permutations, likewise about their mean.
        null_high: Upper end of these.
        p: How often permuted traits do as well.
        p_beyond: Likewise, of what all other groups leave unexplained.
        permutations: How many.
    """

    held_out: str
    group: str
    importance_share: float
    null_low: float
    null_high: float
    p: float
    p_beyond: float
    permutations: int


def importance(side: Side, group: str, *, seed: int, looks: Sequence[int] = LOOKS) -> Importance:
    """How much worse left-out units are predicted when a group's traits are another unit's.

    The rows of the group are permuted among units as a whole, families kept together, and the model
    is made anew, penalties included. Units' means are few, so there the group stands alone, and is
    credited with what it shares with others; `p_beyond` is of the means that all other groups leave
    of left-out units. Pairs are many: there all groups are fitted together. Either part may show
    it: the smaller of both parts' ranks is ranked again.

    A p well above 5 % after 200 permutations stays; else 1,000 are made and counted, so that no p
    below 5 % rests on a first look.

    Args:
        side: Gaps are filled.
        group: Permuted as a whole.
        seed: Of the permutations.
        looks: Numbers of permutations after which to stop if p is well above 5 %.

    Source:
        Hooker, Mentch & Zhou (2021), Unrestricted permutation forces extrapolation (permute and
        relearn); Pesarin & Salmaso (2010), Permutation tests, section 4.2 (combination).
    """
    _, means, rest = _parted(filled(side.gains, side.known))
    units, others = rest.shape
    generator = np.random.default_rng(seed)
    only, pairs, shared = side.of_groups([group]), side.pairs.copy(), side.pair_groups == group
    both = np.stack([means, _unexplained(side.own[:, side.own_groups != group], means)])

    def saved(order: Int[np.ndarray, " units"]) -> list[float]:
        """What the group takes away of the means, of what others leave of these, of the rest."""
        part = only.permuted(order)
        errors = np.square(left_out(part.own, both)).sum(axis=2)
        pairs[:, :, shared] = part.pairs
        of_pairs = ridge_of_pairs(pairs, rest).saved if shared.any() else 0.0
        return [*(others * (errors[-1] - errors.min(axis=0))), of_pairs]

    draws = [saved(np.arange(units))]
    for look in looks:
        draws += [saved(side.reordered(generator)) for _ in range(look + 1 - len(draws))]
        of_means, of_beyond, of_pairs = np.transpose(draws)
        p, p_beyond = (_combined(np.stack([part, of_pairs])) for part in (of_means, of_beyond))
        if p > OPEN:
            break
    whole = (others * np.square(means).sum() + np.square(rest).sum()) * (units / (units - 1)) ** 2
    shares = _share(of_means + of_pairs, np.full(len(draws), whole))
    shares -= shares[1:].mean()
    low, high = np.quantile(shares[1:], (0.025, 0.975))
    value, count = float(shares[0]), len(draws) - 1
    return Importance(side.held_out, group, value, float(low), float(high), p, p_beyond, count)


def _unexplained(
    traits: Float[np.ndarray, "units traits"], means: Float[np.ndarray, " units"]
) -> Float[np.ndarray, " units"]:
    """What traits do not say of units that were left out, at the best penalty; centred."""
    found = left_out(traits, means[None])[:, 0]
    best = found[np.square(found).sum(axis=1).argmin()] * (1 - 1 / len(means))
    rest: np.ndarray = best - best.mean()
    return rest


def _combined(values: Float[np.ndarray, "parts draws"]) -> float:
    """p of the first draw from several statistics, each larger the more it speaks."""
    levels = np.round(values / max(values.max(), 1e-300), 12)  # rounding makes no difference
    ranks = len(values[0]) + 1 - rankdata(levels, method="min", axis=1)
    best = ranks.min(axis=0)
    return float((best <= best[0]).mean())


def judged(side: Side, sets: Mapping[str, Sequence[str]]) -> Errors:
    """Errors on each unit of models and means that were made without it.

    Of a unit that was left out its own mean is not known: what remains is the mean of all gains, or
    for each of the others the mean over the units that are there. Gaps are filled from what is
    left, and are not judged. Penalties are chosen within what is left (nested).

    Args:
        side: With gaps.
        sets: Groups of traits a ridge regression may use, by the predictor's name.

    Returns:
        By predictor: `grand mean`, `mean of the target` (or `source`), those of `sets`, and
        `mixed model` where there are enough units: the first principal component of each group,
        but for those that the rest of the units does not tell apart when one is left out.
    """
    units = len(side.gains)
    other = {"source": "mean of the target", "target": "mean of the source"}[side.held_out]
    components = _apart(_components(side))
    fits_mixed = components.size > 0 and _of_units(components) + 3 < units
    names = ["grand mean", other, *sets, *([MIXED] if fits_mixed else [])]
    errors = {name: np.zeros(units) for name in names}
    for u in range(units):
        rest = np.arange(units) != u
        known, truth = side.known[u], side.gains[u]
        gains = filled(side.gains[rest], side.known[rest])
        left = side.without(u, gains)
        middle, means, others = _parted(gains)
        own, pairs = side.own[u] - side.own[rest].mean(axis=0), side.pairs[u]
        pairs = pairs - side.pairs[rest].mean(axis=0)
        told = {"grand mean": np.full(len(truth), gains.mean()), other: middle}
        for name, groups in sets.items():
            part = left.of_groups(groups)
            mine, shared = np.isin(side.own_groups, groups), np.isin(side.pair_groups, groups)
            told[name] = middle + own[mine] @ ridge_of_means(part.own, means).weights
            told[name] += pairs[:, shared] @ ridge_of_pairs(part.pairs, others).weights
        if fits_mixed:
            model = mixed(gains, components[rest])
            told[MIXED] = model.intercept + components[u] @ model.coefficients + model.columns
        for name, values in told.items():
            errors[name][u] = np.square(truth - values)[known].sum()
    return _without_rounding(errors, side)


def _components(side: Side) -> Float[np.ndarray, "units others components"]:
    """First principal component of each group, of the units' traits and of the pairs'."""
    units, others = side.known.shape
    found = []
    for values, groups in (
        (np.broadcast_to(side.own[:, None], (units, others, side.own.shape[1])), side.own_groups),
        (side.pairs, side.pair_groups),
    ):
        for group in dict.fromkeys(groups):
            flat = values[:, :, groups == group].reshape(units * others, -1)
            component = flat @ np.linalg.eigh(flat.T @ flat)[1][:, -1]
            found.append(component.reshape(units, others))
    return np.stack(found, axis=2) if found else np.zeros((units, others, 0))


def _apart(
    components: Float[np.ndarray, "units others components"],
) -> Float[np.ndarray, "units others kept"]:
    """Those that vary, and are no mixture of those before them, whichever unit is left out."""
    units, others, count = components.shape
    centred = components - components.mean(axis=(0, 1))
    centred = centred / np.maximum(np.sqrt(np.square(centred).mean(axis=(0, 1))), 1e-9)
    squares, sums = centred.transpose(0, 2, 1) @ centred, centred.sum(axis=1)
    outer = sums[:, :, None] * sums[:, None] / ((units - 1) * others)
    left = squares.sum(axis=0) - squares - outer  # all sums are 0 before one is left out
    kept: list[int] = []
    for new in range(count):
        tried = [*kept, new]
        roots = np.linalg.eigvalsh(left[:, tried][:, :, tried])
        if roots.min() > 1e-9 * units * others:
            kept = tried
    return components[:, :, kept]


def _of_units(components: Float[np.ndarray, "units others components"]) -> int:
    """How many are the same for all others."""
    return int((np.ptp(components, axis=1) < 1e-9).all(axis=0).sum())


def judged_pairs(side: Side, *, seed: int) -> Errors:
    """Errors on pairs that were left out a tenth at a time, so that both means are known.

    What traits of units could say is in the means; traits of pairs are left. Units are sources.

    Returns:
        By predictor and unit: each of the means, their sum, and the sum with traits.
    """
    units, others = side.known.shape
    folds = np.random.default_rng(seed).permutation(units * others).reshape(units, others) % _FOLDS
    told = {name: np.zeros((units, others)) for name in OF_PAIRS}
    for fold in range(_FOLDS):
        known, out = side.known & (folds != fold), folds == fold
        gains, pairs = filled(side.gains, known), filled(side.pairs, known)
        both, expected = additive(gains), additive(pairs)
        weights = ridge_of_pairs(pairs - expected, gains - both).weights
        rows = np.broadcast_to(gains.mean(axis=1, keepdims=True), gains.shape)
        columns = np.broadcast_to(gains.mean(axis=0, keepdims=True), gains.shape)
        values = (rows, columns, both, both + (side.pairs - expected) @ weights)
        for name, value in zip(told, values, strict=True):
            told[name][out] = value[out]
    squared = {name: np.square(side.gains - values) for name, values in told.items()}
    errors = {name: np.where(side.known, s, 0.0).sum(axis=1) for name, s in squared.items()}
    return _without_rounding(errors, side)


def _without_rounding(errors: Errors, side: Side) -> Errors:
    least = ROUNDING * np.square(side.gains[side.known]).sum()
    return {name: np.where(found > least, found, 0.0) for name, found in errors.items()}


def explained(
    errors: Float[np.ndarray, " units"], against: Float[np.ndarray, " units"], *, seed: int
) -> tuple[float, float, float]:
    """Share of the squared error of one predictor that another takes away, out of sample.

    Returns:
        1 − the ratio of the sums; and the 95 % interval by bootstrap over units, which is too
        narrow for fewer than about ten. 0 where there is no error to take away.
    """
    return share_of(against - errors, against, seed=seed)


def share_of(
    part: Float[np.ndarray, " units"], whole: Float[np.ndarray, " units"], *, seed: int
) -> tuple[float, float, float]:
    """Ratio of the sums, and its 95 % interval by bootstrap over units."""
    chosen = np.random.default_rng(seed).integers(len(part), size=(RESAMPLES, len(part)))
    shares = _share(part[chosen].sum(axis=1), whole[chosen].sum(axis=1))
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(_share(part.sum(), whole.sum())), float(low), float(high)


def _share(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """Their ratio; 0 of nothing."""
    some = np.greater(whole, 0)
    return np.where(some, part / np.where(some, whole, 1.0), 0.0)
