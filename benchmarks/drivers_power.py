"""How often `drivers` finds a driver that is there, and claims one where there is none.

    python benchmarks/drivers_power.py               # the tables of docs/method.md; an hour
    python benchmarks/drivers_power.py null 200      # claims without any driver
    python benchmarks/drivers_power.py power 40      # one driver, by number of sources
    python benchmarks/drivers_power.py speed         # 50 × 100

Gains have a noise of 3 points a cell, sources of 3, targets of 6 and pairs of 2 points (standard
deviations); traits go together (see tests/analysis/drivers/simulated.py).
"""

from __future__ import annotations

import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from analysis.drivers.simulated import sides, simulated
from crosstune.analysis.drivers.explanation import claimed, explanation, importances
from crosstune.analysis.drivers.traits import CLASSES, LENGTH, SURFACE

DRIVERS = (("source", CLASSES), ("pair", LENGTH), ("pair", SURFACE))
SHARES = (0.2, 0.1, 0.3)


def claims(
    sources: int, targets: int, *, driver: tuple[str, str] | None, share: float, seed: int
) -> set[tuple[str, str]]:
    """Kind of what was left out and group of all that is claimed."""
    gains, traits = simulated(sources, targets, driver=driver, share=share, seed=seed)
    # An early look spares draws without a driver; a claim still takes 1,000 permutations.
    rows = importances(sides(gains, traits), seed=seed, looks=(50, 200, 1000))
    kinds = ("source", "target")
    parts = {kind: [row for row in rows if row["held_out"] == kind] for kind in kinds}
    return {(kind, group) for kind in kinds for group in claimed(parts[kind])}


def null(draws: int) -> None:
    """Share of the draws with any claim, where traits do nothing."""
    for sources, targets in ((5, 20), (10, 30), (20, 30)):
        found = [
            bool(claims(sources, targets, driver=None, share=0.0, seed=seed))
            for seed in range(draws)
        ]
        print(f"null: {sources} × {targets}: {sum(found)} of {draws} draws claim", flush=True)


def power(draws: int, targets: int = 30) -> None:
    """Share of the draws in which the driver's group is claimed, and in which any other is."""
    print("| driver | share of variance | 5 sources | 10 | 20 | 50 | another group claimed |")
    print("|---|---|---|---|---|---|---|")
    for share, (level, group) in product(SHARES, DRIVERS):
        cells, others = [], []
        for sources in (5, 10, 20, 50):
            found = [
                {
                    name
                    for _, name in claims(
                        sources, targets, driver=(level, group), share=share, seed=seed
                    )
                }
                for seed in range(draws)
            ]
            cells.append(np.mean([group in names for names in found]))
            others.append(np.mean([bool(names - {group}) for names in found]))
        told = " | ".join(f"{100 * cell:.0f} %" for cell in cells)
        most = f"at most {100 * max(others):.0f} %"
        print(f"| {group} of the {level} | {100 * share:.0f} % | {told} | {most} |", flush=True)


def answers(draws: int, targets: int = 30) -> None:
    """How often the direct answer is yes, no, or that it cannot be told."""
    for driver in (*DRIVERS, None):
        for sources in (10, 20, 50):
            found = []
            for seed in range(draws):
                gains, traits = simulated(sources, targets, driver=driver, share=0.2, seed=seed)
                known = np.ones(gains.shape, dtype=bool)
                found.append(explanation(gains, known, traits=traits, seed=seed).answer())
            told = ", ".join(f"{name} {found.count(name)}" for name in dict.fromkeys(found))
            print(f"answer: {driver}, {sources} sources: {told} of {draws}", flush=True)


def speed() -> None:
    """Seconds of one core for 50 × 100 with everything."""
    gains, traits = simulated(50, 100, driver=DRIVERS[0], share=0.2, seed=0)
    known = np.ones(gains.shape, dtype=bool)
    known[np.arange(50), np.arange(50)] = False
    begin = time.process_time()
    explanation(gains, known, traits=traits)
    seconds = time.process_time() - begin
    print(f"speed: 50 × 100, {len(traits)} traits, the same task left out: {seconds:.1f} s")


if __name__ == "__main__":
    chosen, count = [*sys.argv[1:], "", ""][:2]
    if chosen in ("", "speed"):
        speed()
    if chosen in ("", "null"):
        null(int(count or 400))
    if chosen in ("", "power"):
        power(int(count or 50))
    if chosen in ("", "answers"):
        answers(int(count or 20))
