"""What is known of sources, targets and pairs, in groups, ready for a regression. Costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from crosstune.analysis.drivers.regression import additive, filled

Level = Literal["source", "target", "pair"]


@dataclass(frozen=True, slots=True, eq=False)
class Trait:
    """One number for every source, target or pair.

    Attributes:
        name: For people.
        group: Traits of a group are judged together.
        level: What it is a trait of.
        values: For every pair; equal along rows for a source's; NaN is not known.
    """

    name: str
    group: str
    level: Level
    values: Float[np.ndarray, "sources targets"]


def usable(
    traits: Sequence[Trait], sources: Bool[np.ndarray, " sources"], targets: Bool[np.ndarray, " targets"]
) -> list[Trait]:
    """The traits of these sources and targets that are mostly known and vary; gaps get the mean."""
    found = []
    for trait in traits:
        values = trait.values[sources][:, targets]
        known = np.isfinite(values)
        if known.mean() > 0.5:
            values = np.where(known, values, values[known].mean())
            if np.ptp(values) > 1e-9 * (1 + np.abs(values).max()):
                found.append(replace(trait, values=values))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A table of gains seen from what is left out: its units are sources, or targets.

    Attributes:
        held_out: What the units are.
        gains: Those not known are NaN.
        known: Whether a gain is known, and counts.
        own: Traits of a unit, and the means over the others of what is a trait of a pair; centred,
            with standard deviation 1.
        pairs: Traits of a pair without their means of rows and columns; their mean square is 1.
        own_groups: Of each trait in `own`.
        pair_groups: Of each trait in `pairs`.
    """

    held_out: Literal["source", "target"]
    gains: Float[np.ndarray, "units others"]
    known: Bool[np.ndarray, "units others"]
    own: Float[np.ndarray, "units own"]
    pairs: Float[np.ndarray, "units others pairs"]
    own_groups: np.ndarray
    pair_groups: np.ndarray

    @classmethod
    def of(
        cls,
        gains: Float[np.ndarray, "sources targets"],
        known: Bool[np.ndarray, "sources targets"],
        *,
        traits: Sequence[Trait],
        held_out: Literal["source", "target"],
    ) -> Side:
        """From traits without gaps; traits of what is not left out are of no use and dropped."""
        turned = held_out == "target"
        mine = [trait for trait in traits if trait.level == held_out]
        shared = [trait for trait in traits if trait.level == "pair"]
        turn = (lambda a: a.T) if turned else (lambda a: a)
        known = turn(known)
        own = np.zeros((len(known), 0))
        pairs = np.zeros((*known.shape, 0))
        if mine:
            own = np.stack([turn(trait.values)[:, 0] for trait in mine], axis=1)
        if shared:
            pairs = filled(np.stack([turn(trait.values) for trait in shared], axis=2), known)
            own = np.concatenate([own, pairs.mean(axis=1)], axis=1)
            pairs = pairs - additive(pairs)
        own = own - own.mean(axis=0)
        return cls(
            held_out,
            np.where(known, turn(gains), np.nan),
            known,
            own / _sizes(own),
            pairs / _sizes(pairs),
            np.array([trait.group for trait in mine + shared], dtype=object),
            np.array([trait.group for trait in shared], dtype=object),
        )

    def of_groups(self, groups: Sequence[str]) -> Side:
        """With the traits of these groups alone."""
        own, pairs = np.isin(self.own_groups, groups), np.isin(self.pair_groups, groups)
        return replace(
            self,
            own=self.own[:, own],
            pairs=self.pairs[:, :, pairs],
            own_groups=self.own_groups[own],
            pair_groups=self.pair_groups[pairs],
        )

    def permuted(self, order: Int[np.ndarray, " units"], groups: Sequence[str]) -> Side:
        """With the traits of these groups given to other units, as whole rows."""
        own, pairs = self.own.copy(), self.pairs
        mine, shared = np.isin(self.own_groups, groups), np.isin(self.pair_groups, groups)
        own[:, mine] = own[np.ix_(order, mine.nonzero()[0])]
        if shared.any():
            pairs = pairs.copy()
            pairs[:, :, shared] = pairs[order][:, :, shared]
        return replace(self, own=own, pairs=pairs)


def _sizes(values: np.ndarray) -> np.ndarray:
    """Root mean square of each trait; 1 where it is nothing but rounding."""
    sizes: np.ndarray = np.sqrt(np.square(values).mean(axis=tuple(range(values.ndim - 1))))
    return np.where(sizes > 1e-9, sizes, np.inf)
