"""What a study may do but may not mean to: lines for its plan, told before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from crosstune.results.cells import NO_FAMILY
from crosstune.study.schema import Study
from crosstune.tasks import Example, Leakage

Way = tuple[str, str]
"""A source and a recipe, or a target and a condition, by name."""

SHOWN_LEAKS = 20
SHOWN_CLASSES = 5


def mismatches(study: Study) -> list[str]:
    """Recipes that tune with another template or prompt variant than a condition asks with."""
    return [
        f"recipe {recipe.name} tunes with {what} '{getattr(recipe, what)}' but condition "
        f"{condition.name} asks with '{getattr(condition, what)}': gains mix the two"
        for recipe, condition in product(study.recipes, study.conditions)
        for what in ("chat_template", "prompt")
        if getattr(recipe, what) != getattr(condition, what)
    ]


def without_original(study: Study) -> list[str]:
    """Edited sources of which nothing tells what the edits did."""
    originals = {source.tasks for source in study.sources if not source.edits}
    return [
        f"source {source.name} is edited, but {' + '.join(source.tasks)} as it is is no source: "
        "nothing tells what the edit did"
        for source in study.sources
        if source.edits and source.tasks not in originals
    ]


def absent_classes(who: str, task: str, shown: Sequence[Example]) -> list[str]:
    """A line where demonstrations leave out classes: answers that all of them offer.

    Args:
        who: The recipe or condition.
        task: Whose demonstrations they are.
        shown: The demonstrations.
    """
    offered = {example.choices for example in shown}
    if len(offered) != 1:
        return []
    [classes] = offered
    absent = [name for name in classes if name not in {e.references[0] for e in shown}]
    if not absent:
        return []
    named = ", ".join(absent[:SHOWN_CLASSES]) + (", …" if len(absent) > SHOWN_CLASSES else "")
    shows = f"{len(classes) - len(absent)} of its {len(classes)} classes, not {named}"
    return [f"{who}: the demonstrations of {task} show {shows}"]


def without_family(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line that names the targets without a family, from the plan's rows."""
    names = dict.fromkeys(row["target"] for row in rows if row["target_family"] == NO_FAMILY)
    if not names:
        return []
    return [
        f"no family is stated for {', '.join(names)}: tuning on other tasks counts as cross-task"
    ]


def leaks(shared: Mapping[tuple[Way, Way], Leakage], asked: Mapping[Way, int]) -> list[str]:
    """A line for each source that is tuned on inputs of a target, the worst first.

    A line is about the recipe and condition that share most; plan.json has them all.

    Args:
        shared: Counts for every source in a recipe and every target in a condition.
        asked: Number of test examples, by target and condition.

    Returns:
        At most twenty lines, and one that counts the pairs that are left out.

    Example:
        >>> leaks({(("a", "lora"), ("b", "zero-shot")): Leakage(2, 5)}, {("b", "zero-shot"): 9})
        ['source a: 2 of the 9 inputs of target b stand in its training rows, 5 have a field of 8 words or more there']
    """  # noqa: E501 (a line as it is told)
    worst: dict[Way, tuple[float, float, str]] = {}
    for ((source, _), (target, condition)), found in shared.items():
        if found.leaked or found.contained:
            count = asked[target, condition]
            line = f"source {source}: {_told(found, target, count)}"
            rank = (found.leaked / count, found.contained / count, line)
            worst[source, target] = max(worst.get((source, target), rank), rank)
    lines = [line for *_, line in sorted(worst.values(), key=lambda rank: (-rank[0], -rank[1]))]
    rest = len(lines) - SHOWN_LEAKS
    more = f"{rest} more pairs of source and target share inputs (see matrix.csv)"
    return lines[:SHOWN_LEAKS] + ([f"and {more}"] if rest > 0 else [])


def _told(found: Leakage, target: str, count: int) -> str:
    asked = f"of the {count} inputs of target {target}"
    have = "has" if found.contained == 1 else "have"
    if not found.leaked:
        field = "a field of 8 words or more in its training rows"
        return f"{found.contained} {asked} {have} {field}"
    stand = "stands" if found.leaked == 1 else "stand"
    whole = f"{found.leaked} {asked} {stand} in its training rows"
    if found.contained <= found.leaked:
        return whole
    return f"{whole}, {found.contained} {have} a field of 8 words or more there"
