"""What a study compares: arms, groups of pairs, and the outcomes of one target at a time.

An arm is how a task is answered: a recipe (or `base`) and a condition. A group is the pairs whose
source is of one family (or `all`) and whose target is related to it in one way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crosstune.analysis.findings import edited
from crosstune.errors import InputError
from crosstune.results.cells import NO_FAMILY, RELATIONS
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.outcomes import read_answers
from crosstune.results.store import Store

BASE, ALL = "base", "all families"
SETTINGS = {RELATIONS[0]: "in-domain"} | {relation: relation for relation in RELATIONS[1:]}
"""The setting of a pair, by the relation of its source and target."""

_STATES = ("done", "missing", "failed")

Arm = tuple[str, str]
Group = tuple[str, str]
"""Family and setting."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What is there to compare; the order of the plan plays no part.

    Attributes:
        arms: The base's first, in the order of the study.
        sources: By name.
        seeds: In their order.
        rows: Of the main metric, by target.
        groups: By group and target, the positions of the group's sources.
        recipes: Of the study, by name.
        conditions: Likewise.
    """

    arms: tuple[Arm, ...]
    sources: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: Mapping[str, Sequence[Row]]
    groups: Mapping[Group, Mapping[str, Sequence[int]]]
    recipes: Mapping[str, Mapping[str, Any]]
    conditions: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, store: Store, matrix: TransferMatrix) -> Design:
        """What a matrix, or a slice of it, holds of its study; edited sources are left out."""
        study = store.study.get("study", {})
        changed = edited(store)
        rows = [row for row in matrix.rows if row.main and row.source not in changed]
        sources = tuple(sorted({row.source for row in rows}))
        recipes = _ordered(study.get("recipes", []), {row.recipe for row in rows})
        conditions = _ordered(study.get("conditions", []), {row.condition for row in rows})
        by_target: dict[str, list[Row]] = {}
        groups: dict[Group, dict[str, set[int]]] = {}
        for row in sorted(rows, key=lambda row: row.target):
            by_target.setdefault(row.target, []).append(row)
            for family in {ALL, *row.source_families.split("+")} - {NO_FAMILY}:
                members = groups.setdefault((family, SETTINGS[row.relation]), {})
                members.setdefault(row.target, set()).add(sources.index(row.source))
        places = [*dict.fromkeys(SETTINGS.values())]
        ordered = sorted(groups, key=lambda g: (g[0] != ALL, g[0], places.index(g[1])))
        return cls(
            arms=tuple((recipe, name) for recipe in (BASE, *recipes) for name in conditions),
            sources=sources,
            seeds=tuple(sorted({row.seed for row in rows})),
            rows=by_target,
            groups={
                group: {target: sorted(found) for target, found in groups[group].items()}
                for group in ordered
            },
            recipes=recipes,
            conditions=conditions,
        )

    def statuses(self) -> dict[tuple[Group, Arm], str]:
        """Done, or why an arm is not known in a group: a score is missing or failed."""
        found: dict[tuple[Group, Arm], str] = {}
        for group, targets in self.groups.items():
            for target, members in targets.items():
                names = {self.sources[member] for member in members}
                for row in (row for row in self.rows[target] if row.source in names):
                    for recipe, value in ((BASE, row.base), (row.recipe, row.score)):
                        spot = group, (recipe, row.condition)
                        state = "done" if value is not None else row.status
                        found[spot] = max(found.get(spot, "done"), state, key=_STATES.index)
        return found


def _ordered(told: Sequence[Mapping[str, Any]], there: set[str]) -> dict[str, Mapping[str, Any]]:
    """What the study says of the things that are there, in its order."""
    known = {each["name"]: each for each in told if each["name"] in there}
    return known | {name: {} for name in sorted(there - {*known})}


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One target's outcomes of the main metric, on the examples that all its arms have in common.

    Attributes:
        target: Its name.
        examples: How many; where none is known the values have one column all the same.
        values: NaN where a score is not known; the base's stand for every source and seed.
        scoring: Of each arm; empty where it was not asked.
        dropped: Examples that only some arms were asked.
        written: What was written, as `bare`, by the key of a score; empty for a choice target.
    """

    target: str
    examples: int
    values: Float[np.ndarray, "sources arms seeds examples"]
    scoring: tuple[str, ...]
    dropped: int
    written: Mapping[str, Sequence[str]]


def asked(store: Store, design: Design, target: str) -> Asked:
    """Read every score of one target.

    Raises:
        InputError: The conditions have no example in common, or a file is damaged.
    """
    rows = design.rows[target]
    keys = {row.key: row.metric for row in rows if row.score is not None}
    keys |= {row.base_key: row.metric for row in rows if row.base is not None}
    alike: dict[tuple[str, ...], tuple[str, ...]] = {}  # one copy of the ids that all share
    files: dict[str, tuple[tuple[str, ...], np.ndarray, list[str]]] = {}
    for key, metric in keys.items():
        answers = read_answers(store.outcomes(key), [metric])
        ids = tuple(answers["id"])
        texts = answers["answer"] if answers["label"][0] is None else []
        files[key] = alike.setdefault(ids, ids), np.array(answers[metric]), [*map(bare, texts)]
    common = sorted(set.intersection(*map(set, alike))) if alike else []
    if files and not common:
        raise InputError(f"{target}: its conditions have no example in common to compare")
    places = {ids: _places(ids, common) for ids in alike}
    outcomes = {key: found[places[ids]] for key, (ids, found, _) in files.items()}
    written = {
        key: [texts[i] for i in places[ids]] for key, (ids, _, texts) in files.items() if texts
    }
    shape = (len(design.sources), len(design.arms), len(design.seeds), max(1, len(common)))
    values = np.full(shape, np.nan)
    scoring = [""] * len(design.arms)
    place = {arm: a for a, arm in enumerate(design.arms)}
    for row in rows:
        base, tuned = place[BASE, row.condition], place[row.recipe, row.condition]
        scoring[base] = scoring[tuned] = row.scoring
        if row.base_key in outcomes:
            values[:, base] = outcomes[row.base_key]
        if row.key in outcomes:
            spot = (design.sources.index(row.source), tuned, design.seeds.index(row.seed))
            values[spot] = outcomes[row.key]
    dropped = max(map(len, alike), default=0) - len(common)
    return Asked(target, len(common), values, tuple(scoring), dropped, written)


def _places(ids: Sequence[str], wanted: Sequence[str]) -> list[int]:
    there = {name: place for place, name in enumerate(ids)}
    return [there[name] for name in wanted]


def bare(text: str) -> str:
    """The first line without outer white space, punctuation and case.

    A text of punctuation alone keeps it, so that no label is empty.

    Example:
        >>> bare(" 'Positive'.\\nIt was fun."), bare("+")
        ('positive', '+')
    """
    first = text.strip().split("\n")[0].strip()
    return (re.sub(r"^[\W_]+|[\W_]+$", "", first) or first).casefold()


def series(things: Mapping[str, Mapping[str, Any]], field: str) -> list[dict[str, Any]]:
    """Sets of recipes or conditions that differ in one field alone: its value by name.

    Example:
        >>> series({"a": {"draw": 0, "shots": 4}, "b": {"draw": 1, "shots": 4}}, "draw")
        [{'a': 0, 'b': 1}]
    """
    found: dict[str, dict[str, Any]] = {}
    for name, thing in things.items():
        rest = {key: value for key, value in thing.items() if key not in ("name", field)}
        same = json.dumps(rest, sort_keys=True, default=str)
        found.setdefault(same, {})[name] = thing.get(field)
    return [named for named in found.values() if _distinct(named.values()) > 1]


def _distinct(values: Iterable[Any]) -> int:
    return len({json.dumps(value, default=str) for value in values})
