"""Made-up gains with a known driver, or none, and traits that go together with each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from crosstune.analysis.drivers.traits import (
    CLASSES,
    GROUPS,
    KIND,
    LANGUAGE,
    LENGTH,
    SIZE,
    SURFACE,
    Side,
    Trait,
)

OWN = {CLASSES: 4, LENGTH: 2, LANGUAGE: 20, SIZE: 3, KIND: 1}
OF_PAIRS = {CLASSES: 4, LENGTH: 2, SURFACE: 4, SIZE: 1, KIND: 1}
NOISE, SOURCES, TARGETS, PAIRS = 0.03, 0.03, 0.06, 0.02
"""Standard deviations of gains: a cell's error, sources, targets, and what is particular to a
pair."""


def together(generator: np.random.Generator, count: int, traits: int) -> np.ndarray:
    """Traits that share three causes, which are half of what they are."""
    causes = generator.standard_normal((count, 3)) @ generator.standard_normal((3, traits))
    found: np.ndarray = causes / np.sqrt(3) + generator.standard_normal((count, traits))
    return found


def simulated(
    sources: int, targets: int, *, driver: tuple[str, str] | None, share: float, seed: int
) -> tuple[np.ndarray, list[Trait]]:
    """Gains and traits.

    Args:
        sources: How many.
        targets: How many.
        driver: Level and group of the one trait that makes gains; none if None.
        share: Of the variance of all gains that the driver makes.
        seed: Of everything.
    """
    generator = np.random.default_rng(seed)
    size = (sources, targets)
    mine, theirs = (together(generator, count, sum(OWN.values())) for count in size)
    names = [(group, i) for group, count in OWN.items() for i in range(count)]
    traits = []
    for j, (group, i) in enumerate(names):
        for level, values in (("source", mine[:, j, None]), ("target", theirs[None, :, j])):
            spread = np.broadcast_to(values, size)
            traits.append(Trait(f"{level} {group} {i}", group, level, spread))  # type: ignore[arg-type]
    common = generator.standard_normal(size)
    for group, count in OF_PAIRS.items():
        for i in range(count):
            own = [generator.standard_normal(shape) for shape in ((sources, 1), (1, targets), size)]
            values = 0.5 * common + 0.5 * own[0] + 0.5 * own[1] + own[2]
            traits.append(Trait(f"pair {group} {i}", group, "pair", values))
    shapes = ((sources, 1), (1, targets), size, size)
    spreads = (SOURCES, TARGETS, PAIRS, NOISE)
    gains = sum(
        sd * generator.standard_normal(shape) for sd, shape in zip(spreads, shapes, strict=True)
    )
    if driver is not None:
        level, group = driver
        values = next(t.values for t in traits if (t.level, t.group) == (level, group))
        sd = np.sqrt(np.square(spreads).sum() * share / (1 - share))
        gains = gains + sd * (values - values.mean()) / values.std()
    return np.asarray(gains), traits


def sides(
    gains: np.ndarray,
    traits: list[Trait],
    families: tuple[Sequence[Hashable], Sequence[Hashable]] = ((), ()),
) -> list[Side]:
    """Sources left out, and targets, of a table without gaps."""
    known = np.ones(gains.shape, dtype=bool)
    return [
        Side.of(gains, known, traits=traits, held_out="source", families=families[0]),
        Side.of(gains, known, traits=traits, held_out="target", families=families[1]),
    ]


def related(seed: int) -> tuple[np.ndarray, list[Trait], tuple[list[int], list[int]]]:
    """Gains and traits that are unrelated, but both much alike within four and five families."""
    gains, traits = simulated(4, 5, driver=None, share=0, seed=seed)
    families = ([*np.repeat(np.arange(4), 3).tolist()], [*np.repeat(np.arange(5), 4).tolist()])
    generator = np.random.default_rng(seed)

    def members(values: np.ndarray, level: str, spread: float) -> np.ndarray:
        own = spread * generator.standard_normal((12, 20))
        if level != "pair":
            own = own[:, :1] if level == "source" else own[:1]
        return values[np.ix_(*families)] + own

    grown = [replace(t, values=members(t.values, t.level, 0.5)) for t in traits]
    return members(gains, "pair", NOISE), grown, families


assert {*GROUPS} == {*OWN, *OF_PAIRS}
