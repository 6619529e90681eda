"""Targets harmed and helped, abilities of the base that fell, one way against the other.

All of it is read from the cells of the matrix; costs next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from statistics import fmean
from typing import Any

import numpy as np

from crosstune.analysis.findings import Facts
from crosstune.analysis.outcomes.cells import SIGNIFICANT, codes
from crosstune.analysis.outcomes.summaries import Summary
from crosstune.results.cells import RELATIONS
from crosstune.results.inference import Mixture, q_values

LEAST_BASE = 0.05
"""A text score below this is no ability."""
CLEAR = 2.576
"""Standard errors above chance, a test at 0.5 %. A base that was lucky is chosen and then seems to
fall: among targets at chance that pass 1.645 errors 17 % do so by chance (simulated), so few may
pass."""
_WAY = ("source", "recipe", "condition")
_SHOWN = "source recipe condition target relation base score gain low high p q".split()


def by_source(cells: Sequence[Facts], fallen: Sequence[Facts]) -> list[Facts]:
    """Harmed, helped and unchanged targets of every way to tune on a source, the worst first."""
    groups: dict[tuple[str, ...], list[Facts]] = {}
    for row in cells:
        groups.setdefault(tuple(row[name] for name in _WAY), []).append(row)
    lost = Counter(
        tuple(row[name] for name in _WAY) for row in fallen if row["fell"] and is_other(row)
    )
    told = []
    for name, members in groups.items():
        others = [row for row in members if is_other(row)]
        there = [row for row in others if row["gain"] is not None]
        moved = sorted(filter(is_moved, there), key=lambda row: (row["gain"], row["target"]))
        harmed, helped = (
            [row for row in moved if row["gain"] < 0],
            [row for row in reversed(moved) if row["gain"] > 0],
        )
        own = [row["gain"] for row in members if not is_other(row) and row["gain"] is not None]
        facts: Facts = dict(zip(_WAY, name, strict=True))
        facts |= {
            "targets": len(others),
            "harmed": len(harmed),
            "helped": len(helped),
            "unchanged": len(there) - len(harmed) - len(helped),
            "unknown": len(others) - len(there),
            "forgotten": lost[name],
            "own_gain": fmean(own) if own else None,
        }
        if there:
            facts["mean_gain"] = fmean(each["gain"] for each in there)
        for which, some in (("worst", harmed), ("best", helped)):
            if some:
                facts |= {f"{which}_target": some[0]["target"], f"{which}_gain": some[0]["gain"]}
        told.append(facts)
    return sorted(
        told,
        key=lambda row: (
            row["targets"] == row["unknown"],
            -row["harmed"] / max(row["targets"] - row["unknown"], 1),
            row.get("mean_gain", 0),
        ),
    )


def is_other(row: Mapping[str, Any]) -> bool:
    """Whether the target is another task than the source's."""
    return bool(row["relation"] != RELATIONS[0])


def is_moved(row: Mapping[str, Any]) -> bool:
    """Whether the change is beyond chance."""
    return row.get("q") is not None and row["q"] < SIGNIFICANT


def forgetting(cells: Sequence[Facts], found: Sequence[Summary]) -> list[Facts]:
    """Cells of targets that the base can clearly do better than by chance, what fell most first."""
    chance: dict[tuple[str, str], float] = {}
    for each in found:
        guess = max(1 / len(each.classes), float(each.gold.max())) if each.classes else 0.0
        spread = np.sqrt(each.base.score * (1 - each.base.score) / each.examples)
        if each.base.score - CLEAR * spread > (guess if each.classes else LEAST_BASE):
            chance[each.target, each.condition] = guess
    told = []
    for row in cells:
        guess = chance.get((row["target"], row["condition"]), np.nan)
        if row["gain"] is not None and not np.isnan(guess):
            facts = {name: row[name] for name in _SHOWN}
            facts |= {"chance_score": guess, "fell": is_moved(row) and row["gain"] < 0}
            facts["kept_share"] = (row["score"] - guess) / (row["base"] - guess)
            told.append(facts)
    return sorted(told, key=lambda row: (not row["fell"], row["gain"]))


def asymmetry(cells: Iterable[Mapping[str, Any]], tasks: Mapping[str, str]) -> list[Facts]:
    """How much more one task helps another than the reverse, the surest first.

    The two cells have other models and other examples, so their errors add.

    Args:
        cells: Of the main metric, as the matrix has them.
        tasks: The one task of each source.
    """
    at = {(c["recipe"], c["condition"], c["source"], c["target"]): c for c in cells}
    # Seeds move some models more than others, and few of them tell little of one cell alone.
    by_model: dict[tuple[str, ...], list[float]] = {}
    for name, c in at.items():
        if c["gain"] is not None:
            by_model.setdefault(name[:3], []).append(np.square(c["seeds_error"] or 0.0))
    usual = {name: fmean(squares) for name, squares in by_model.items()}
    pairs = []
    for recipe, condition in dict.fromkeys(name[:2] for name in at):
        for first, second in permutations(sorted(tasks), 2):
            there = at.get((recipe, condition, first, tasks[second]))
            back = at.get((recipe, condition, second, tasks[first]))
            gains = (side["gain"] if side else None for side in (there, back))
            if not (there and back) or None in gains or tasks[first] == tasks[second]:
                continue
            # The better way first; of equal ones, that of the first name.
            if (-there["gain"], first) < (-back["gain"], second):
                pairs.append((there, back))
    if not pairs:
        return []
    examples = np.array([sum(np.square(s["examples_error"]) for s in pair) for pair in pairs])
    seeds = np.array(
        [
            sum(
                max(
                    np.square(s["seeds_error"] or 0.0),
                    usual[s["recipe"], s["condition"], s["source"]],
                )
                for s in pair
            )
            for pair in pairs
        ]
    )
    freedom = np.array([2.0 * max(pair[0]["seeds"] - 1, 1) for pair in pairs])
    gaps = np.array([pair[0]["gain"] - pair[1]["gain"] for pair in pairs])
    whole = Mixture.of(
        gaps, examples, seeds=seeds, freedom=freedom, interaction=np.zeros(len(pairs))
    )
    half, p = whole.critical(0.05) * whole.error, whole.p()
    near = [[side["relation"] for side in pair] for pair in pairs]
    relation = [min(both, key=RELATIONS.index) for both in near]
    ways = [(pair[0]["recipe"], pair[0]["condition"]) for pair in pairs]
    q = q_values(p, families=codes([*zip(ways, relation, strict=True)]))
    rows = [
        {
            "first": there["source"],
            "second": back["source"],
            "recipe": there["recipe"],
            "condition": there["condition"],
            "relation": relation[i],
            "first_to_second_gain": there["gain"],
            "second_to_first_gain": back["gain"],
            "difference": float(gaps[i]),
            "low": float(gaps[i] - half[i]),
            "high": float(gaps[i] + half[i]),
            "p": float(p[i]),
            "q": float(q[i]),
        }
        for i, (there, back) in enumerate(pairs)
    ]
    return sorted(rows, key=lambda row: (row["q"] >= SIGNIFICANT, -row["difference"]))
