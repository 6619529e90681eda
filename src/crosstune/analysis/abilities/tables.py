"""Abilities as sentences, tables and figures. Costs one more decomposition of each table."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from crosstune.analysis.abilities.components import components, standardised
from crosstune.analysis.abilities.factors import Rotation
from crosstune.analysis.abilities.found import Abilities, Words
from crosstune.analysis.abilities.naming import extremes
from crosstune.analysis.abilities.stability import REPLICATES
from crosstune.analysis.abilities.telling import sentences
from crosstune.analysis.findings import Analysis, Facts, Figure, Table

_COLUMNS = {
    "abilities": "arm ability proposal share congruence replication replicates summary",
    "shares": "arm component curve share",
    "held_out": "arm components curve error",
    "loadings": "arm ability name family loading loading_from loading_to same_from same_to "
    "communality",
    "positions": "arm ability name position",
    "merges": "name left right height",
    "biplot": "arm name kind x y",
}
_OPTIONAL = ("arm", "family", "same_from", "same_to")
"""Columns that are left out where nothing is known."""
_TITLES = {
    "abilities": "Abilities",
    "shares": "Components against chance (scree)",
    "held_out": "How well held-out cells are told",
    "loadings": "What each ability does to each {1}",
    "positions": "How much of each ability each {0} has",
    "merges": "Which {1}s go together",
    "biplot": "{0}s and {1}s on the first two components",
}
_NOTES = {
    "abilities": "Proposals are made from the families of the {1}s that are high, for a person to "
    "judge. Share: of the variance of all {1}s. Congruence: Tucker's φ between the loadings of "
    "random halves of the {0}s, median; replication: what it would be between two tables of this "
    f"size; an ability replicates from {REPLICATES} on. Only then it is named. {{ready}}",
    "shares": "Share of each component in the variance of all {1}s, and 95th percentiles of "
    "tables in which each {1} is shuffled over the {0}s: whole, and once the components before are "
    "taken out, which decides. {ready}",
    "held_out": "Squared error of cells told from other {0}s and {1}s with so many components, "
    "against that of telling the mean: below 1 helps.",
    "loadings": "Loading: change of a {1} with one standard deviation of the ability; rotation: "
    "{rotation}. {ready} loading_from and loading_to: 95 % interval for other {0}s, their own "
    "examples and seeds with them (bootstrap over {0}s); same_from and same_to, where errors are "
    "known: for these very {0}s with other examples and seeds. Communality: share of the variance "
    "of the {1} that all abilities hold.",
    "positions": "In standard deviations over the {0}s; 0 is their mean.",
    "merges": "First a row for each {1}, then one for each join of two rows before it (left and "
    "right: their numbers, from 0). Average linkage; height: mean of 1 − correlation over the "
    "{0}s, 0 for {1}s that move together, 1 for unrelated ones.",
    "biplot": "Unrotated components. {0}s by their scores in standard deviations, {1}s by their "
    "loadings, stretched to reach as far.",
}
_FIGURES = (
    Figure(
        "curves",
        "shares",
        "Components against chance",
        "Leading components above what chance gives without those before them may be abilities.",
        {"x": "component", "y": "share", "series": "curve", "panel": "arm"},
    ),
    Figure(
        "curves",
        "held_out",
        "Held-out cells",
        "Where the curve is lowest, so many components say something of unseen cells.",
        {"x": "components", "y": "error", "series": "curve", "panel": "arm"},
    ),
    Figure(
        "dots",
        "loadings",
        "Loadings",
        "What is far from 0, with an interval that leaves it out, belongs to the ability.",
        {
            "name": "name",
            "value": "loading",
            "low": "loading_from",
            "high": "loading_to",
            "group": "family",
            "panel": "arm ability",
        },
    ),
    Figure(
        "points",
        "biplot",
        "Two components",
        "What lies in one direction from the middle goes together.",
        {"name": "name", "x": "x", "y": "y", "series": "kind", "panel": "arm"},
    ),
    Figure(
        "tree",
        "merges",
        "Dendrogram",
        "What joins far to the left of 1 rises and falls together.",
        {"name": "name", "left": "left", "right": "right", "height": "height"},
    ),
)


def analysis(
    found: Mapping[str, Abilities], words: Words, *, scale: bool, rotation: Rotation
) -> Analysis:
    """All that is said of these tables.

    Args:
        found: By name; one table alone may have an empty one.
        words: For rows and columns.
        scale: As they were analysed.
        rotation: Likewise.
    """
    rows: dict[str, list[Facts]] = {name: [] for name in _COLUMNS}
    for arm, its in found.items():
        if its.number is not None:
            _number_rows(rows, arm, its)
        if its.solution is not None:
            _ability_rows(rows, arm, its)
            rows["merges"] += _merges(arm, its, first=len(rows["merges"]))
            rows["biplot"] += _biplot(arm, its, words, scale=scale)
    units = "each scaled to a standard deviation of 1" if scale else "not scaled"
    ready = f"The mean of each {words.column} is taken out; they are {units}."
    unknown = {n for n in _OPTIONAL if not any(row.get(n) for its in rows.values() for row in its)}
    tables = tuple(
        Table.of(
            name,
            _TITLES[name].format(*words),
            _NOTES[name].format(*words, ready=ready, rotation=rotation),
            columns=[column for column in _COLUMNS[name].split() if column not in unknown],
            rows=its,
        )
        for name, its in rows.items()
        if its
    )
    drawn = tuple(
        replace(figure, columns=_without(figure.columns, unknown))
        for figure in _FIGURES
        if rows[figure.table]
    )
    title = f"Abilities behind {words.row}s × {words.column}s"
    return Analysis("abilities", title, sentences(found, words), tables, drawn)


def _without(columns: Mapping[str, str], unknown: Set[str]) -> dict[str, str]:
    """A figure's columns but for those that are not there."""
    left = {
        word: " ".join(column for column in named.split() if column not in unknown)
        for word, named in columns.items()
    }
    return {word: named for word, named in left.items() if named}


def _number_rows(rows: dict[str, list[Facts]], arm: str, found: Abilities) -> None:
    number = found.number
    assert number is not None
    for curve, shares in (
        ("observed", number.shares),
        ("by chance", number.null),
        ("by chance, without those before", number.stepwise),
    ):
        rows["shares"] += [
            {"arm": arm, "component": i, "curve": curve, "share": float(share)}
            for i, share in enumerate(shares, start=1)
            if not np.isnan(share)
        ]
    rows["held_out"] += [
        {"arm": arm, "components": i, "curve": "held-out cells", "error": float(error)}
        for i, error in enumerate(number.errors)
    ]


def _ability_rows(rows: dict[str, list[Facts]], arm: str, found: Abilities) -> None:
    solved, sure = found.solution, found.stability
    assert solved is not None
    assert sure is not None
    assert found.shares is not None
    assert found.correlations is not None
    assert found.communality is not None
    held = found.communality
    ends = (solved.loadings, sure.low, sure.high, sure.same_low, sure.same_high)
    names = ("loading", "loading_from", "loading_to", "same_from", "same_to")
    for i in range(found.count):
        label: Facts = {"arm": arm, "ability": f"ability {i + 1}"}
        rows["abilities"].append(
            label
            | {
                "proposal": found.names[i],
                "share": float(found.shares[i]),
                "congruence": float(sure.congruence[i]),
                "replication": float(sure.replication[i]),
                "replicates": bool(sure.replication[i] >= REPLICATES),
                "summary": extremes(found.columns, found.correlations[:, i]),
            }
        )
        rows["loadings"] += [
            label
            | {"name": column, "family": family, "communality": float(held[c])}
            | {
                name: None if np.isnan(end[c, i]) else float(end[c, i])
                for name, end in zip(names, ends, strict=True)
            }
            for c, (column, family) in enumerate(zip(found.columns, found.families, strict=True))
        ]
        rows["positions"] += [
            label | {"name": row, "position": float(solved.scores[r, i])}
            for r, row in enumerate(found.rows)
        ]


def _merges(arm: str, found: Abilities, *, first: int) -> list[Facts]:
    """The columns, and how they join by the mean of 1 − r between their members.

    Args:
        arm: Name of the table.
        found: What it holds.
        first: The number of its first row among those of all tables.
    """
    ready = standardised(found.table)
    apart = np.maximum(1 - ready.T @ ready / (len(ready) - 1), 0.0)
    np.fill_diagonal(apart, 0.0)
    joins = linkage(squareform(apart, checks=False), method="average")
    leaves: list[Facts] = [{"name": f"{arm}: {c}" if arm else c} for c in found.columns]
    return leaves + [
        {"left": first + int(left), "right": first + int(right), "height": float(height)}
        for left, right, height, _ in joins
    ]


def _biplot(arm: str, found: Abilities, words: Words, *, scale: bool) -> list[Facts]:
    """Rows by their scores, columns by their loadings, drawn out to reach as far."""
    first = components(found.table, scale=scale)
    # There may be one component alone.
    scores, loadings = (
        np.pad(part, ((0, 0), (0, 1)))[:, :2] for part in (first.scores, first.loadings)
    )
    stretch = np.abs(scores).max() / np.abs(loadings).max()
    return [
        {"arm": arm, "name": name, "kind": kind, "x": float(x), "y": float(y)}
        for kind, names, places in (
            (words.row, found.rows, scores),
            (words.column, found.columns, loadings * stretch),
        )
        for name, (x, y) in zip(names, places, strict=True)
    ]
