"""Which traits explain gains: the analysis, from a store to sentences and tables.

Costs some seconds for each recipe and condition of 50 sources × 100 targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from crosstune.analysis.drivers.explanation import (
    EVERYTHING,
    LEAST,
    SURE,
    Explanation,
    explanation,
)
from crosstune.analysis.drivers.judging import WITH_TRAITS
from crosstune.analysis.drivers.traits import measured
from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table, edited
from crosstune.analysis.profile import Datasets, stored
from crosstune.analysis.wording import counted, listed, percent, points, probability
from crosstune.results.cells import NO_FAMILY
from crosstune.results.grid import Grid
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

TITLE = "Which traits explain gains"
FEW = 20
"""Fewer sources than these seldom tell which of their own traits matter (docs/method.md)."""
_SLICES, _TRAITS = 2, 3
"""Recipes and conditions that are told of, traits that are named."""
_SLICE = ("recipe", "condition")
_COLUMNS = {
    "judged": "held_out predictor gain_error best_mean explained_share low high",
    "groups": "held_out group importance_share null_low null_high p q p_beyond permutations",
    "traits": "trait group level gain_per_sd low high p q",
}
_TITLES = {
    "judged": "Predictions of what was left out",
    "groups": "Groups of traits",
    "traits": "Traits one at a time",
}
_LEFT_OUT = (
    "Pairs of the same task are left out, and edited sources; gains that are not known are no part "
    "of any judgement."
)
_NOTES = {
    "judged": "gain_error: root mean squared error. explained_share: of the squared error of the "
    "best mean, what the predictor takes away; negative where it adds some; 95 % interval by "
    "bootstrap over what was left out. Ridge regressions on the named groups; mixed model: one "
    "component of each group. " + _LEFT_OUT,
    "groups": "importance_share: what a group takes away of the squared error of left-out sources "
    "(or targets) beyond what it does with permuted ones, families kept together; null_low, "
    "null_high: 95 % of the permutations. q over all rows of a recipe and condition. p_beyond: of "
    "the units' means that all other groups leave unexplained, not corrected. " + _LEFT_OUT,
    "traits": "gain_per_sd: gain for one standard deviation of the trait in a mixed model with "
    "random sources and targets, other traits ignored; 95 % t interval; q over all traits of a "
    "recipe and condition. Traits go together: read it after the groups. " + _LEFT_OUT,
}
_FIGURES = (
    Figure(
        kind="dots",
        table="judged",
        title="What predictors explain beyond the best mean",
        note="Right of 0 a predictor beats the best mean that can be known of what was left out; "
        "an interval that holds 0 does not tell.",
        columns={
            "name": "predictor",
            "value": "explained_share",
            "low": "low",
            "high": "high",
            "panel": "held_out",
        },
    ),
    Figure(
        kind="dots",
        table="groups",
        title="Importance of groups of traits",
        note="The line is what 95 % of the permutations give: a group matters where its dot lies "
        "to the right of its line.",
        columns={
            "name": "group",
            "value": "importance_share",
            "low": "null_low",
            "high": "null_high",
            "panel": "held_out",
        },
    ),
)


@ANALYSES.add("drivers")
def drivers(store: Store, matrix: TransferMatrix) -> Analysis:
    """Which traits of the datasets explain gains, for each recipe and condition.

    Raises:
        InputError: A profile is damaged.
    """
    found: dict[tuple[str, str], Explanation] = {}
    refused: dict[str, list[str]] = {}
    changed, profiles = edited(store), stored(store)
    for where, part in matrix.slices().items():
        try:
            found[where] = _explained(part.grid(), profiles[where], without=changed)
        except ValueError as why:
            refused.setdefault(str(why), []).append(" × ".join(where))
    told = [f"Cannot be told for {listed(names)}: {why}." for why, names in refused.items()]
    if not found:
        return Analysis("drivers", TITLE, tuple(told[:_SLICES]), ())
    tables = []
    for name, columns in _COLUMNS.items():
        rows: list[Facts] = [
            dict(zip(_SLICE, where, strict=True)) | row
            for where, each in found.items()
            for row in getattr(each, name)
        ]
        listed_columns = [*_SLICE, *columns.split()]
        tables.append(
            Table.of(name, _TITLES[name], _NOTES[name], columns=listed_columns, rows=rows)
        )
    sentences = [
        f"{' × '.join(where)}: {sentence}" if len(found) > 1 else sentence
        for where, each in [*found.items()][:_SLICES]
        for sentence in _sentences(each)
    ]
    if len(found) > _SLICES:
        sentences.append(f"{counted(len(found) - _SLICES, 'more slice')}: see the tables.")
    return Analysis("drivers", TITLE, (*sentences, *told[:1]), tuple(tables), _FIGURES)


def _explained(grid: Grid, datasets: Datasets, *, without: frozenset[str]) -> Explanation:
    """Of the sources and targets that have a profile.

    Raises:
        ValueError: There are too few, with the reason.
    """
    if not (datasets.sources or datasets.targets):
        raise ValueError("this study has no profiles; run it again, what is stored stays")
    rows = [s for s, n in enumerate(grid.sources) if n in datasets.sources and n not in without]
    columns = [t for t, name in enumerate(grid.targets) if name in datasets.targets]
    if min(len(rows), len(columns)) < LEAST:
        raise ValueError(
            f"{counted(len(rows), 'source')} and {counted(len(columns), 'target')} have a profile "
            f"and are no edits; {LEAST} of each are needed"
        )
    part = np.ix_(rows, columns)
    same = grid.relation[part] == "same task"
    known = grid.known[part] & ~same
    found = measured(
        {grid.sources[s]: datasets.sources[grid.sources[s]] for s in rows},
        {grid.targets[t]: datasets.targets[grid.targets[t]] for t in columns},
    )
    # How a task is like itself is no trait that permutations may give to another pair.
    traits = [
        replace(trait, values=np.where(same, np.nan, trait.values))
        if trait.level == "pair"
        else trait
        for trait in found
    ]
    families = (
        [_family(grid.source_families[s], grid.sources[s]) for s in rows],
        [_family((grid.target_families[t],), grid.targets[t]) for t in columns],
    )
    return explanation(grid.gains[part], known, traits=traits, families=families)


def _family(families: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Those of a source or target; what has none stands for itself."""
    return families if {*families} - {"", NO_FAMILY} else (name,)


def _sentences(found: Explanation) -> Iterator[str]:
    """The answer, whether anything beats the mean, which groups and which traits."""
    sources = counted(int(found.sources.sum()), "source")
    value, low, high = found.advantage
    told = (
        f"{points(value)} % of the squared error of left-out sources "
        f"(95 % interval {points(low)} to {points(high)})"
    )
    if gone := found.unmeasured():
        why = f"nothing is known that tells sources apart by {listed(gone)}"
        told = f"{told}; {why}" if found.askable() else why
    subject = "Class distributions and answer lengths explain"
    match found.answer():
        case "yes":
            yield f"{subject} more than surface similarity does: {told}."
        case "no":
            yield f"{subject} less than surface similarity does: {told}."
        case _:
            yield (
                "Whether class distributions and answer lengths explain more than surface "
                f"similarity cannot be told with {sources}: {told}."
            )
    claims = {held_out: found.claimed(held_out) for held_out in ("source", "target")}
    if any(claims.values()):
        yield from _claimed(found, claims)
    else:
        smallest = min(row["q"] for row in found.groups)
        few = found.sources.sum() < FEW
        limit = f"; with {sources}, of their own traits only very strong ones show" if few else ""
        yield (
            "Nothing beats the mean: no group of traits predicts left-out sources or targets "
            f"better than permuted traits do (smallest q {probability(smallest)}){limit}."
        )
    sizes = ((found.sources, "source"), (found.targets, "target"))
    if gone := [counted(int((~used).sum()), name) for used, name in sizes if not used.all()]:
        yield f"Left out as too few gains are known: {' and '.join(gone)}."


def _claimed(found: Explanation, claims: Mapping[str, list[str]]) -> Iterator[str]:
    rows = {(row["held_out"], row["group"]): row for row in found.groups}
    judged = {(row["held_out"], row["predictor"]): row for row in found.judged}
    for held_out, groups in claims.items():
        if groups:
            told = [f"{g} (q {probability(rows[held_out, g]['q'])})" for g in groups]
            best = max(
                (judged[held_out, name] for name in (*groups, EVERYTHING)),
                key=lambda row: float(row["explained_share"]),
            )
            together = any(rows[held_out, g]["p_beyond"] >= SURE for g in groups)
            apart = ", which cannot be told apart" if together and len(groups) > 1 else ""
            verb = "takes" if best["low"] > 0 else "is not shown to take"
            yield (
                f"What matters for a {held_out} that was left out: {listed(told)}{apart}; "
                f"the best regression of {len(groups) + 1}, on {best['predictor']}, {verb} away "
                f"error of the {best['best_mean']}: {percent(best['explained_share'])} (95 % "
                f"interval {percent(best['low'])} to {percent(best['high'])})."
            )
    pair = judged["pair", WITH_TRAITS]
    if pair["low"] > 0:
        yield (
            "Where the means of both source and target are known, traits of the pair still take "
            f"away {percent(pair['explained_share'])} of the squared error."
        )
    matter = {group for groups in claims.values() for group in groups}
    names = [
        f"{row['trait']} ({points(row['gain_per_sd'])} points per standard deviation)"
        for row in found.traits
        if row["q"] < SURE and row["group"] in matter
    ]
    if names:
        yield f"In these groups, one at a time: {listed(names, _TRAITS)}."
