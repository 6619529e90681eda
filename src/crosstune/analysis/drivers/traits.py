"""What is known of sources, targets and pairs, in groups, ready for a regression.

Costs what the measures of pairs cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from crosstune.analysis.drivers.regression import additive, filled
from crosstune.analysis.outcomes.cells import codes
from crosstune.analysis.profile import Profile, length, pairs

CLASSES, LENGTH, LANGUAGE = "class distribution", "answer length", "language"
SURFACE, SIZE, KIND = "surface similarity", "size", "kind of task"
GROUPS = (CLASSES, LENGTH, SURFACE, LANGUAGE, SIZE, KIND)
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
    traits: Sequence[Trait],
    sources: Bool[np.ndarray, " sources"],
    targets: Bool[np.ndarray, " targets"],
    known: Bool[np.ndarray, "used_sources used_targets"],
) -> list[Trait]:
    """The traits of these sources and targets that are mostly there and vary; gaps get the mean.

    A trait of pairs must vary among those whose gain is known.
    """
    found = []
    for trait in traits:
        values = trait.values[sources][:, targets]
        there = np.isfinite(values)
        if there.mean() > 0.5:
            values = np.where(there, values, values[there].mean())
            seen = values[known] if trait.level == "pair" else values
            if np.ptp(seen) > 1e-9 * (1 + np.abs(seen).max()):
                found.append(replace(trait, values=values))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A table of gains seen from what is left out: its units are sources, or targets.

    Attributes:
        held_out: What the units are.
        gains: Those not known are NaN.
        known: Whether a gain is known, and counts.
        alone: Traits of a unit, as they are.
        whole: Traits of a pair, as they are, where gains are not known too.
        own: Traits of a unit, and the means over the others of what is a trait of a pair; centred,
            with standard deviation 1.
        pairs: Traits of a pair without their means of rows and columns, and 0 where gains are not
            known; their mean square is 1.
        own_groups: Of each trait in `own`.
        pair_groups: Of each trait in `pairs`.
        families: Number of each unit's family.
    """

    held_out: Literal["source", "target"]
    gains: Float[np.ndarray, "units others"]
    known: Bool[np.ndarray, "units others"]
    alone: Float[np.ndarray, "units alone"]
    whole: Float[np.ndarray, "units others pairs"]
    own: Float[np.ndarray, "units own"]
    pairs: Float[np.ndarray, "units others pairs"]
    own_groups: np.ndarray
    pair_groups: np.ndarray
    families: Int[np.ndarray, " units"]

    @classmethod
    def of(
        cls,
        gains: Float[np.ndarray, "sources targets"],
        known: Bool[np.ndarray, "sources targets"],
        *,
        traits: Sequence[Trait],
        held_out: Literal["source", "target"],
        families: Sequence[Hashable] = (),
    ) -> Side:
        """From traits without gaps; traits of what is not left out are of no use and dropped.

        Each unit is a family of its own if `families` is empty.
        """

        def turned(values: np.ndarray) -> np.ndarray:
            return values.T if held_out == "target" else values

        mine = [trait for trait in traits if trait.level == held_out]
        shared = [trait for trait in traits if trait.level == "pair"]
        gains, known = turned(gains), turned(known)
        alone = np.zeros((len(known), len(mine)))
        whole = np.zeros((*known.shape, len(shared)))
        for i, trait in enumerate(mine):
            alone[:, i] = turned(trait.values)[:, 0]
        for i, trait in enumerate(shared):
            whole[:, :, i] = turned(trait.values)
        return cls(
            held_out,
            np.where(known, gains, np.nan),
            known,
            alone,
            whole,
            *_ready(alone, whole, known),
            np.array([trait.group for trait in mine + shared], dtype=object),
            np.array([trait.group for trait in shared], dtype=object),
            codes(families or range(len(known))),
        )

    def without(self, unit: int, gains: Float[np.ndarray, "left others"]) -> Side:
        """All other units, with these gains of theirs, and traits that have no mean over them."""
        rest = np.arange(len(self.known)) != unit
        own, pairs = (part[rest] - part[rest].mean(axis=0) for part in (self.own, self.pairs))
        left = ("known", "families", "alone", "whole")
        parts = {name: getattr(self, name)[rest] for name in left}
        return replace(self, gains=gains, own=own, pairs=pairs, **parts)

    def of_groups(self, groups: Sequence[str]) -> Side:
        """With the traits of these groups alone."""
        own, pairs = np.isin(self.own_groups, groups), np.isin(self.pair_groups, groups)
        return replace(
            self,
            alone=self.alone[:, own[: self.alone.shape[1]]],
            whole=self.whole[:, :, pairs],
            own=self.own[:, own],
            pairs=self.pairs[:, :, pairs],
            own_groups=self.own_groups[own],
            pair_groups=self.pair_groups[pairs],
        )

    def permuted(self, order: Int[np.ndarray, " units"]) -> Side:
        """The traits of unit order[i] given to unit i as whole rows, the gains left as they are.

        What is done to traits because of gaps is done anew, else those of the pairs with a known
        gain would not be like the ones that were there.
        """
        alone, whole = self.alone[order], self.whole[order]
        own, pairs = _ready(alone, whole, self.known)
        return replace(self, alone=alone, whole=whole, own=own, pairs=pairs)

    def reordered(self, generator: np.random.Generator) -> Int[np.ndarray, " units"]:
        """An order of the units: families of one size change places, and members within each.

        What a family has in common stays together, so traits and gains that both are alike within
        families are not taken for related.

        Source:
            Winkler et al. (2015), Multi-level block permutation.
        """
        order = np.arange(len(self.families))
        sizes = np.bincount(self.families)[self.families]
        for size in np.unique(sizes):
            members = np.flatnonzero(sizes == size)
            blocks = members[np.argsort(self.families[members], kind="stable")].reshape(-1, size)
            order[blocks] = generator.permuted(generator.permutation(blocks), axis=1)
        return order


def _ready(
    alone: Float[np.ndarray, "units alone"],
    whole: Float[np.ndarray, "units others pairs"],
    known: Bool[np.ndarray, "units others"],
) -> tuple[Float[np.ndarray, "units own"], Float[np.ndarray, "units others pairs"]]:
    """Traits of units, and of pairs, as a regression takes them: see `Side`."""
    pairs = filled(whole, known)
    own = np.concatenate([alone, pairs.mean(axis=1)], axis=1)
    own = own - own.mean(axis=0)
    pairs = pairs - additive(pairs)
    return own / _sizes(own), pairs / _sizes(pairs)


def _sizes(values: np.ndarray) -> np.ndarray:
    """Root mean square of each trait; 1 where it is nothing but rounding."""
    sizes: np.ndarray = np.sqrt(np.square(values).mean(axis=tuple(range(values.ndim - 1))))
    return np.where(sizes > 1e-9, sizes, np.inf)


def measured(sources: Mapping[str, Profile], targets: Mapping[str, Profile]) -> list[Trait]:
    """Traits of datasets and of pairs from their profiles.

    What a source's entropy and answer length do may depend on whether the target is answered by
    choices or text, so both are traits of the pair too, as are differences and divergences.
    """
    mine, theirs = ([_own(profile) for profile in role.values()] for role in (sources, targets))
    size = (len(mine), len(theirs))
    text = np.array([profile["kind"] == "text" for profile in targets.values()])
    found = []
    groups = {name: group for each in (*mine, *theirs) for name, (group, _) in each.items()}
    for name, group in groups.items():
        first = np.array([each[name][1] if name in each else np.nan for each in mine])[:, None]
        second = np.array([each[name][1] if name in each else np.nan for each in theirs])[None]
        levels: list[tuple[str, Level, np.ndarray]] = [
            (f"{name} of the source", "source", first),
            (f"{name} of the target", "target", second),
        ]
        if name in _COMPARED:
            levels.append((f"difference in {name}", "pair", np.abs(first - second)))
        if name in _BY_KIND:
            known = first[np.isfinite(first)]
            inside = np.where(text, first - known.mean(), 0.0) if len(known) else first
            levels.append((f"{name} of the source, for text", "pair", inside))
        found += [Trait(n, group, level, np.broadcast_to(v, size)) for n, level, v in levels]
    measures = pairs([*sources.values()], [*targets.values()])
    shared = [Trait(n, group, "pair", measures[m]) for n, (group, m) in _OF_PAIRS.items()]
    return found + shared


_COMPARED = ("text", "entropy", "log2 answer length", "log2 prompt length")
_BY_KIND = ("entropy", "log2 answer length")
_OF_PAIRS = {
    "divergence of class shapes": (CLASSES, "class_shape_divergence"),
    "divergence of labels": (CLASSES, "class_label_divergence"),
    "shared vocabulary": (SURFACE, "vocabulary"),
    "shared prompts": (SURFACE, "prompts"),
    "similarity of embeddings": (SURFACE, "embedding"),
    "shared label words": (SURFACE, "label_words"),
}


def _own(profile: Profile) -> dict[str, tuple[str, float]]:
    """Group and value of each trait of one dataset; NaN is not known."""
    answer, prompt = (max(length(profile, part), 1.0) for part in ("answer", "prompt"))
    labels = profile["labels"]
    found = {
        "text": (KIND, float(profile["kind"] == "text")),
        "log2 answer length": (LENGTH, float(np.log2(answer))),
        "spread of answer length": (LENGTH, length(profile, "answer", "sd") / answer),
        "log2 prompt length": (SIZE, float(np.log2(prompt))),
        "log2 rows": (SIZE, float(np.log2(profile["rows"]))),
        "duplicates": (SIZE, profile["duplicates"] / profile["rows"]),
        "log2 classes": (CLASSES, float(np.log2(len(labels))) if labels else np.nan),
    }
    found |= {n: (CLASSES, _number(profile[n])) for n in ("entropy", "majority", "skew")}
    return found | {name: (LANGUAGE, _number(value)) for name, value in profile["language"].items()}


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
