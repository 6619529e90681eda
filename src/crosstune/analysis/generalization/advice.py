"""What a comparison of arms says in sentences: which arm to ship for which use, and how surely."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from crosstune.analysis.generalization.arms import ALL, BASE, Arm, series
from crosstune.analysis.generalization.comparison import Comparison, Difference
from crosstune.analysis.wording import counted, listed, percent, points, probability

_USES = {
    "in-domain": "the same domain",
    "out-of-domain": "other domains",
    "cross-task": "other tasks",
}
_SURE = 0.05
"""Below this q an arm is told apart."""
_SEVERAL = 2
"""Series or pairs of recipes that are told, at most."""
_FAMILIES = 4
"""Families of sources up to which each has sentences of its own."""
_OF_SHOTS = ("sampler", "draw", "order", "shots_from")

Rows = Sequence[Mapping[str, Any]]


def sentences(comparison: Comparison, rows: Mapping[str, Rows]) -> tuple[str, ...]:
    """Advice for every use, then for every family and use, then a sentence for each subject."""
    groups = [*comparison.design.groups]
    families = len({family for family, _ in groups} - {ALL})
    told = [
        _advice(comparison, g)
        for g, (family, _) in enumerate(groups)
        if family == ALL or 1 < families <= _FAMILIES
    ]
    if families > _FAMILIES:
        told.append(f"What holds for each of the {families:,} families of sources: table settings.")
    told += [
        *_sizes(comparison),
        *_demonstrations(comparison),
        *_in_context(comparison),
        *_harmed(rows["arms"]),
        *_sensitivity(rows["sensitivity"]),
        *_scoring(rows["scoring"]),
        *_collapse(rows["collapse"]),
        *_movement(rows["movement"]),
        *_limits(comparison, rows["arms"]),
    ]
    return tuple(filter(None, told))


def _named(arm: Arm) -> str:
    return f"{arm[0]} × {arm[1]}"


def _certainty(found: Difference) -> str:
    return f"95 % interval {points(found.low)} to {points(found.high)}, q {probability(found.q)}"


def _advice(comparison: Comparison, g: int) -> str:
    """The best arm of a group, its lead over the best one of the other kind, and its equals.

    Only arms of one way of scoring have a best; it is the way that most arms have.
    """
    design, score = comparison.design, comparison.score[g]
    family, setting = [*design.groups][g]
    where = f"For {_USES[setting]}" + ("" if family == ALL else f" (sources: {family})")
    known = [a for a in range(len(design.arms)) if not np.isnan(score[a])]
    if all(design.arms[a][0] == BASE for a in known):
        return f"{where}, nothing can be said: no tuned arm is known in full."
    mine = _one_way(comparison, g, known)
    how = f" of those scored by {comparison.scored(g, mine[0])}" if len(mine) < len(known) else ""
    best = max(mine, key=lambda a: float(score[a]))
    based = design.arms[best][0] == BASE
    told, verb = f"{_named(design.arms[best])} has the best mean score{how}, ", "ship"
    told += f"{100 * score[best]:.1f}"
    if rivals := [a for a in mine if (design.arms[a][0] == BASE) != based]:
        rival = max(rivals, key=lambda a: float(score[a]))
        kind = "best tuned arm" if based else "best arm with nothing to tune"
        if (lead := comparison.known(g, best, rival)) is not None:
            told += f", {points(lead.difference)} points against the {kind}, "
            told += f"{_named(design.arms[rival])} ({_certainty(lead)})"
            sure = "tune nothing" if based else "ship"
            verb = sure if lead.q < _SURE else "tuning is not shown to help"
    else:
        told += " (the base is not known in full)"
        verb = "nothing is compared with the base"
    leads = {a: comparison.known(g, best, a) for a in mine if a != best}
    equal = [_named(design.arms[a]) for a, lead in leads.items() if lead and lead.q >= _SURE]
    if not leads:
        return f"{where}, {verb}: {told}."
    if not equal:
        return f"{where}, {verb}: {told}; every other arm is worse (q < 0.05)."
    some = len(equal) < max(2, len(leads))
    which = listed(equal) if some else f"any of the {len(leads):,} others"
    return f"{where}, {verb}: {told}; not to be told apart from it (q ≥ 0.05): {which}."


def _one_way(comparison: Comparison, g: int, arms: Sequence[int]) -> list[int]:
    """The arms that are scored in the way that most of them are."""
    ways = [comparison.scoring[g, a] for a in arms]
    way = max(dict.fromkeys(ways), key=ways.count)
    return [a for a, its in zip(arms, ways, strict=True) if its == way]


def _changes(comparison: Comparison, first: Arm, second: Arm) -> str:
    """First minus second over all families, a part for every use; empty when nothing is known."""
    design = comparison.design
    a, b = (design.arms.index(arm) for arm in (first, second))
    told = []
    for g, (family, setting) in enumerate(design.groups):
        found = comparison.known(g, a, b) if family == ALL else None
        if found is not None:
            change = f"{points(found.difference)} points on {_USES[setting]}"
            told.append(f"{change} (q {probability(found.q)})")
    return ", ".join(told)


def _best(
    comparison: Comparison, recipes: Collection[str], conditions: Collection[str]
) -> Arm | None:
    """The best of these arms in the nearest setting in which one is known."""
    design = comparison.design
    for g, (family, _) in enumerate(design.groups):
        known = [
            a
            for a, (recipe, condition) in enumerate(design.arms)
            if recipe in recipes and condition in conditions
            if not np.isnan(comparison.score[g, a])
        ]
        if family == ALL and known:
            scores = {a: float(comparison.score[g, a]) for a in _one_way(comparison, g, known)}
            return design.arms[max(scores, key=scores.__getitem__)]
    return None


def _sizes(comparison: Comparison) -> Iterator[str]:
    for named in series(comparison.design.recipes, "examples")[:_SEVERAL]:
        small, large = (pick(named, key=named.__getitem__) for pick in (min, max))
        best = _best(comparison, [large], comparison.design.conditions)
        told = best and _changes(comparison, best, (small, best[1]))
        if best and told:
            sizes = f"{named[small]:,} to {named[large]:,} training examples"
            yield f"More examples: from {sizes} ({small} to {large}, {best[1]}), {told}."


def _without(things: Mapping[str, Mapping[str, Any]], *fields: str) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in thing.items() if key not in fields}
        for name, thing in things.items()
    }


def _demonstrations(comparison: Comparison) -> Iterator[str]:
    """With the most demonstrations against none, for the base and for the best tuned recipe."""
    design = comparison.design
    for named in series(_without(design.conditions, *_OF_SHOTS), "shots")[:_SEVERAL]:
        few, none = max(named, key=named.__getitem__), min(named, key=named.__getitem__)
        if named[none] == 0:
            best = _best(comparison, comparison.design.recipes, [none])
            recipes = [BASE, *([best[0]] if best else [])]
            told = {r: _changes(comparison, (r, few), (r, none)) for r in recipes}
            parts = [f"{recipe} {change}" for recipe, change in told.items() if change]
            if parts:
                yield f"Demonstrations when asking ({few} against {none}): {'; '.join(parts)}."


def _in_context(comparison: Comparison) -> Iterator[str]:
    """Recipes with demonstrations against equal ones without, each in its best condition."""
    recipes = _without(comparison.design.recipes, "sampler", "draw")
    for named in series(recipes, "demonstrations")[:_SEVERAL]:
        plain = min(named, key=named.__getitem__)
        for other in [name for name in named if named[name] > named[plain] == 0][:1]:
            conditions = comparison.design.conditions
            first, second = (_best(comparison, [name], conditions) for name in (other, plain))
            if first and second and (told := _changes(comparison, first, second)):
                yield (
                    "Demonstrations while tuning, each recipe in its best condition "
                    f"({_named(first)} against {_named(second)}): {told}."
                )


def _harmed(arms: Rows) -> Iterator[str]:
    """What tuning does to other tasks: ratio of change and share of pairs that fell."""
    rows = [
        row
        for row in arms
        if (row["family"], row["setting"]) == (ALL, "cross-task") and row.get("harmed") is not None
    ]
    if rows:
        least, most = (pick(rows, key=lambda row: row["harmed"]) for pick in (min, max))
        told = f"in {_fallen(least)}"
        if most["harmed"] > least["harmed"]:
            told = f"least {told}, most in {_fallen(most)}"
        yield f"Other tasks are harmed (a gain below 0, q < 0.05) {told}."


def _fallen(row: Mapping[str, Any]) -> str:
    told = f"{percent(row['harmed'])} of the pairs with {_named((row['recipe'], row['condition']))}"
    if row["ratio_of_change"] is None:
        return told
    left = row["ratio_left_out"]
    without = f", without {counted(left, 'pair')} whose base is below 5" if left else ""
    return f"{told} (mean ratio of change {points(row['ratio_of_change'])} %{without})"


def _sensitivity(rows: Rows) -> Iterator[str]:
    for kind in dict.fromkeys(row["kind"] for row in rows):
        known = [row for row in rows if row["kind"] == kind and row.get("p") is not None]
        whole = [row for row in known if row["family"] == ALL]
        if whole:
            widest = max(whole, key=lambda row: row["range"])
            beyond = sum(row["p"] < _SURE for row in known)
            yield (
                f"The {kind} alone moves a mean score by up to {100 * widest['range']:.1f} points "
                f"({widest['recipe']}, {_USES[widest['setting']]}: {widest['conditions']}; "
                f"p {probability(widest['p'])}); {beyond:,} of {len(known):,} ranges are beyond "
                "chance (p < 0.05, not corrected)."
            )


def _scoring(rows: Rows) -> Iterator[str]:
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["score"] is not None:
            scores.setdefault((row["target"], row["recipe"]), {})[row["scoring"]] = row["score"]
    apart = {name: max(its.values()) - min(its.values()) for name, its in scores.items()}
    if apart:
        widest = max(apart, key=apart.__getitem__)
        ways = ", ".join(f"{way} {100 * score:.1f}" for way, score in scores[widest].items())
        yield (
            f"The way of scoring alone moves a score by up to {100 * apart[widest]:.1f} points "
            f"({widest[1]} on {widest[0]}: {ways}), so arms scored in different ways are never "
            "compared."
        )


def _collapse(rows: Rows) -> Iterator[str]:
    known = [row for row in rows if row["tuned"] is not None and row["base"] is not None]
    shares: dict[Arm, list[float]] = {}
    for row in known:
        shares.setdefault((row["recipe"], row["condition"]), []).append(row["tuned"])
    if known:
        told = [f"{_named(arm)} in {percent(fmean(its))}" for arm, its in shares.items()]
        base = percent(fmean(row["base"] for row in known))
        yield (
            "Asked for text, models tuned on labels write just such a label, of the outputs: "
            f"{listed(told, 12)} (base {base})."
        )


def _movement(rows: Rows) -> Iterator[str]:
    if rows:
        ordered = sorted(rows, key=lambda row: row["mean_change"])
        told = [f"{row['recipe']} {row['mean_change']:.2e}" for row in ordered]
        yield f"Weights moved by (mean |Δw| over all of the base, least first): {listed(told, 12)}."


def _limits(comparison: Comparison, arms: Rows) -> Iterator[str]:
    """What the sentences do not hold for."""
    gaps = sum(row["status"] != "done" for row in arms)
    if gaps:
        yield (
            f"{gaps:,} of {len(arms):,} arms and groups lack scores and are left out whole; "
            "another run may fill them."
        )
    if comparison.dropped:
        yield (
            f"Arms are compared on the examples that all were asked; {comparison.dropped:,} others "
            "are left out."
        )
    if len(comparison.design.seeds) == 1:
        yield "One seed: intervals and q hold for these models, not for tuning them anew."
    else:
        yield "Intervals and q hold for tuning anew on these sources, asked these targets."
