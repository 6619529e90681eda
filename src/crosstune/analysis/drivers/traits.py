"""What is known of sources, targets and pairs, in groups, ready for a regression.

Costs what the measures of pairs cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from crosstune.analysis.drivers.regression import additive, filled
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

    def centred(self) -> Side:
        """With traits that have no mean over these units."""
        own, pairs = (part - part.mean(axis=0) for part in (self.own, self.pairs))
        return replace(self, own=own, pairs=pairs)

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

    def permuted(
        self, order: Int[np.ndarray, " units"], group: str
    ) -> Float[np.ndarray, "units others pairs"]:
        """Traits of the pairs with this group's given to other units, as whole rows."""
        return np.where(self.pair_groups == group, self.pairs[order], self.pairs)


def _sizes(values: np.ndarray) -> np.ndarray:
    """Root mean square of each trait; 1 where it is nothing but rounding."""
    sizes: np.ndarray = np.sqrt(np.square(values).mean(axis=tuple(range(values.ndim - 1))))
    return np.where(sizes > 1e-9, sizes, np.inf)


def measured(sources: Mapping[str, Profile], targets: Mapping[str, Profile]) -> list[Trait]:
    """Traits of datasets and of pairs from their profiles.

    A trait of the source may work differently on targets of text: what a source's entropy and
    answer length are for these alone are traits of the pair, as are differences and divergences.
    """
    size = (len(sources), len(targets))
    mine, theirs = ([_own(profile) for profile in role.values()] for role in (sources, targets))
    found = []
    for name, group in {
        name: group for told in (*mine, *theirs) for name, (group, _) in told.items()
    }.items():
        columns = [
            np.array([told.get(name, (group, np.nan))[1] for told in role])
            for role in (mine, theirs)
        ]
        first, second = columns[0][:, None], columns[1][None]
        found += [
            Trait(f"{name} of the source", group, "source", np.broadcast_to(first, size)),
            Trait(f"{name} of the target", group, "target", np.broadcast_to(second, size)),
        ]
        if name in _COMPARED:
            found.append(Trait(f"difference in {name}", group, "pair", np.abs(first - second)))
        if name in _BY_KIND:
            text = np.array([profile["kind"] == "text" for profile in targets.values()])
            inside = np.where(text, first - np.nanmean(first), 0.0)
            found.append(Trait(f"{name} of the source, for text", group, "pair", inside))
    measures = pairs([*sources.values()], [*targets.values()])
    return found + [
        Trait(name, group, "pair", measures[measure])
        for name, (group, measure) in _OF_PAIRS.items()
    ]


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
    found = {
        "text": (KIND, float(profile["kind"] == "text")),
        "log2 answer length": (LENGTH, np.log2(max(length(profile, "answer"), 1.0))),
        "spread of answer length": (
            LENGTH,
            length(profile, "answer", "sd") / max(length(profile, "answer"), 1.0),
        ),
        "log2 prompt length": (SIZE, np.log2(max(length(profile, "prompt"), 1.0))),
        "log2 rows": (SIZE, np.log2(profile["rows"])),
        "duplicates": (SIZE, profile["duplicates"] / profile["rows"]),
    }
    told = {"log2 classes": np.log2(len(profile["labels"])) if profile["labels"] else None}
    told |= {name: profile[name] for name in ("entropy", "majority", "skew")}
    found |= {name: (CLASSES, _number(value)) for name, value in told.items()}
    return found | {name: (LANGUAGE, _number(value)) for name, value in profile["language"].items()}


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
