"""How tuned models generalise: arms in the same domain, on other domains and on other tasks.

Costs reading every score of the study once more; memory is that of one target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.generalization.advice import sentences
from crosstune.analysis.generalization.arms import BASE, Arm, Asked, Design, bare, series
from crosstune.analysis.generalization.comparison import Comparison, compared
from crosstune.analysis.generalization.sensitivity import DRAWS, Sensitivity
from crosstune.analysis.wording import points
from crosstune.results.content import Damaged, content
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.store import Store

SIGNIFICANT = 0.05
LEAST_BASE = 0.05
"""A ratio of change to a base score below this says nothing."""
COLUMNS = {
    "settings": "family recipe condition scoring in_domain out_of_domain cross_task",
    "arms": "family setting recipe condition scoring sources targets seeds examples score gain low "
    "high score_low score_high p q ratio_of_change ratio_pairs ratio_left_out fell harmed status",
    "differences": "family setting scoring first_recipe first_condition second_recipe "
    "second_condition difference low high p q",
    "sizes": "series family setting condition training_examples recipe score gain low high "
    "score_low score_high",
    "sensitivity": "kind family setting recipe conditions lowest highest range p",
    "scoring": "target recipe condition scoring score",
    "collapse": "source recipe condition target examples tuned base",
    "movement": "recipe models mean_change relative_change least_change most_change",
}
_TITLES = {
    "settings": "Arms by setting",
    "arms": "Arms in each setting",
    "differences": "Arms against one another",
    "sizes": "More training examples",
    "sensitivity": "What the wording and the demonstrations change",
    "scoring": "What the way of scoring alone changes",
    "collapse": "Labels written where text was asked for",
    "movement": "How far the weights moved",
}
_NOTES = {
    "settings": "An arm is a recipe (or the bare base) and a condition; a family is that of the "
    "source; in domain takes in the same task. Score × 100; in brackets the 95 % interval of its "
    "gain against the base in the same condition, a star where q is below 0.05. Accuracy and ROUGE "
    "weigh the same where targets of both kinds meet.",
    "arms": "An arm is a recipe (or the bare base) and a condition. Score: mean over sources, "
    "seeds and the examples that all arms of a target share, then over targets; unknown where any "
    "is missing. Gain, its 95 % interval, p and q: against the base in the same condition; "
    "score_low and score_high: that interval drawn around the score. ratio_of_change: mean of "
    "(score − base) / base over the pairs of source and target whose base "
    f"is at least {LEAST_BASE}; ratio_left_out counts the others. fell: share of pairs with a gain "
    "below 0; harmed: and q below 0.05 in the matrix.",
    "differences": "First minus second on the same examples, 95 % interval. q is corrected over "
    "families and pairs within a setting, apart for all families together. Arms that are scored in "
    "different ways are not compared.",
    "sizes": "Recipes that differ in the number of training examples alone; the gain is against "
    "the base in the same condition.",
    "sensitivity": "Conditions that differ in one thing alone: lowest and highest score. p: how "
    f"often a variance as large comes of {DRAWS:,} permutations of the conditions within each "
    "example; not corrected for the number of rows.",
    "scoring": "Accuracy in conditions that differ in scoring alone; mean over all sources and "
    "seeds. Such scores have no common scale, so nothing is tested.",
    "collapse": "Share of the outputs on a text target that are, but for case and outer "
    "punctuation, one of the labels that the source teaches; mean over seeds.",
    "movement": "mean_change: mean over all weights of the base of the absolute change, mean over "
    "models, lowest and highest model; relative_change: norm of the change by norm of the weights.",
}


@ANALYSES.add("generalization")
def generalization(store: Store, matrix: TransferMatrix) -> Analysis:
    """Which arm to ship for which use, and how surely.

    Raises:
        InputError: The conditions of a target have no example in common, or a file is damaged.
    """
    title = "How tuned models generalise"
    design = Design.of(store, matrix)
    if all(row.base is None and row.score is None for rows in design.rows.values() for row in rows):
        return Analysis("generalization", title, ("No score is known yet.",), ())
    jobs = _jobs(store, design)
    sensitivity = Sensitivity(design)
    collapse: list[Facts] = []

    def look(found: Asked) -> None:
        sensitivity.look(found)
        collapse.extend(_collapse(design, jobs, found) if found.written else [])

    comparison = compared(store, design, look=look)
    arms = _arms(comparison, matrix)
    rows = {
        "settings": _settings(arms),
        "arms": arms,
        "differences": _differences(comparison),
        "sizes": _sizes(design, arms),
        "sensitivity": sensitivity.rows(comparison),
        "scoring": _scoring(design, matrix),
        "collapse": collapse,
        "movement": _movement(design, jobs),
    }
    tables = tuple(_table(name, found) for name, found in rows.items() if found)
    return Analysis("generalization", title, sentences(comparison, rows), tables, _figures(arms))


def _table(name: str, rows: Iterable[Mapping[str, Any]]) -> Table:
    columns = COLUMNS[name].split()
    return Table.of(name, _TITLES[name], _NOTES[name], columns=columns, rows=rows)


def _figures(arms: list[Facts]) -> tuple[Figure, ...]:
    """Arms and sizes; ways of scoring are named where there are several."""
    groups = {(row["family"], row["setting"]) for row in arms}
    ways = {(row["family"], row["setting"], row["scoring"]) for row in arms}
    named = " scoring" if len(ways) > len(groups) else ""
    conditions = len({row["condition"] for row in arms}) > 1
    values = {"low": "score_low", "high": "score_high"}
    lines = "95 % interval of the gain over the base in the same condition, drawn around the score."
    return (
        Figure(
            "dots",
            "arms",
            "Scores of the arms",
            f"An arm beats the base where its line leaves the base's score behind. Lines: {lines}",
            values
            | {"name": f"recipe condition{named}", "value": "score", "series": "recipe"}
            | {"panel": "setting", "group": "family"},
        ),
        Figure(
            "curves",
            "sizes",
            "Scores by training examples",
            f"A line that rises says that more examples would still help. Lines: {lines}",
            values
            | {"x": "training_examples", "y": "score", "panel": "family setting"}
            | {"series": "series condition" if conditions else "series"},
        ),
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _arms(comparison: Comparison, matrix: TransferMatrix) -> list[Facts]:
    """Every arm in every group, known or not."""
    design, rows = comparison.design, []
    cells, statuses = _cells(matrix), design.statuses()
    for g, (group, targets) in enumerate(design.groups.items()):
        for a, arm in enumerate(design.arms):
            row: Facts = dict(zip(("family", "setting"), group, strict=True)) | {
                "recipe": arm[0],
                "condition": arm[1],
                "scoring": comparison.scored(g, a),
                "sources": len({source for members in targets.values() for source in members}),
                "targets": len(targets),
                "examples": comparison.examples[g],
                "score": _known(comparison.score[g, a]),
                "status": statuses[group, arm],
            }
            base = design.arms.index((BASE, arm[1]))
            found = comparison.known(g, a, base)
            if arm[0] != BASE:
                row["seeds"] = len(design.seeds)
            if found is not None and arm[0] != BASE:
                row |= asdict(found) | {"gain": found.difference}
                below = row["score"] - found.difference
                row |= {"score_low": below + found.low, "score_high": below + found.high}
                row |= _changes(
                    cells.get((*arm, design.sources[source], target))
                    for target, members in targets.items()
                    for source in members
                )
            rows.append(row)
    return rows


Cell = tuple[float, float, float | None]
"""Base, gain and q of a pair."""


def _cells(matrix: TransferMatrix) -> dict[tuple[str, ...], Cell]:
    """What is known of the pairs, by recipe, condition, source and target."""
    found = matrix.cells.filter(matrix.cells["main"])
    names = ("recipe", "condition", "source", "target", "base", "gain", "q")
    rows = zip(*(found[name].to_pylist() for name in names), strict=True)
    return {row[:4]: row[4:] for row in rows if row[5] is not None}


def _changes(cells: Iterable[Cell | None]) -> Facts:
    """Ratio of change, and shares of the pairs that fell, of an arm of which all are known."""
    pairs = [cell for cell in cells if cell is not None]
    ratios = [gain / base for base, gain, _ in pairs if base >= LEAST_BASE]
    fell = [gain < 0 for _, gain, _ in pairs]
    harmed = [gain < 0 and q is not None and q < SIGNIFICANT for _, gain, q in pairs]
    return {
        "ratio_of_change": fmean(ratios) if ratios else None,
        "ratio_pairs": len(ratios),
        "ratio_left_out": len(pairs) - len(ratios),
        "fell": fmean(fell),
        "harmed": fmean(harmed),
    }


def _settings(arms: list[Facts]) -> list[Facts]:
    """The table of arms with a column for each setting, in few words."""
    rows: dict[tuple[str, ...], Facts] = {}
    for arm in arms:
        named = {name: arm[name] for name in ("family", "recipe", "condition")}
        row = rows.setdefault(tuple(named.values()), named | {"scoring": arm["scoring"]})
        row[arm["setting"].replace("-", "_")] = _in_brief(arm)
    return [*rows.values()]


def _in_brief(arm: Facts) -> str:
    if arm["score"] is None:
        return str(arm["status"])
    if arm.get("gain") is None:
        return f"{100 * arm['score']:.1f}"
    star = "*" if arm["q"] < SIGNIFICANT else ""
    return f"{100 * arm['score']:.1f} ({points(arm['low'])} to {points(arm['high'])}){star}"


def _differences(comparison: Comparison) -> list[Facts]:
    design, rows = comparison.design, []
    groups = [*design.groups]
    for (g, a, b), found in comparison.differences.items():
        row: Facts = dict(zip(("family", "setting"), groups[g], strict=True)) | asdict(found)
        row["scoring"] = comparison.scored(g, a)
        for which, arm in (("first", a), ("second", b)):
            row[f"{which}_recipe"], row[f"{which}_condition"] = design.arms[arm]
        rows.append(row)
    return rows


def _sizes(design: Design, arms: list[Facts]) -> list[Facts]:
    names = ("family", "setting", "recipe", "condition")
    by_arm = {tuple(row[name] for name in names): row for row in arms}
    rows = []
    for named in series(design.recipes, "examples"):
        ordered = sorted(named, key=named.__getitem__)
        rows += [
            by_arm[*group, recipe, condition]
            | {"series": " / ".join(ordered), "training_examples": named[recipe]}
            for group, condition, recipe in product(design.groups, design.conditions, ordered)
        ]
    return rows


def _jobs(store: Store, design: Design) -> dict[str, Facts]:
    """Labels and movement of every planned model whose job.json tells them."""
    keys = dict.fromkeys(row.job_key for rows in design.rows.values() for row in rows)
    folder, there = store.folder / "adapters", store.names("adapters")
    return {key: _told(folder / key / "job.json") for key in keys if key in there}


def _told(path: Path) -> Facts:
    """What a job.json says, as far as it says it as crosstune does."""
    try:
        record = content(path)
    except Damaged:
        return {}
    record = record if isinstance(record, dict) else {}
    labels, tuning = record.get("labels"), record.get("tuning")
    told: Facts = {"labels": labels if isinstance(labels, list) else []}
    for name in ("mean_change", "relative_change"):
        value = tuning.get(name) if isinstance(tuning, dict) else None
        told[name] = value if isinstance(value, float) else None
    return told


def _movement(design: Design, jobs: Mapping[str, Facts]) -> list[Facts]:
    recipes = {row.job_key: row.recipe for rows in design.rows.values() for row in rows}
    rows = []
    for recipe in design.recipes:
        told = [job for key, job in jobs.items() if recipes[key] == recipe]
        moved, relative = (
            [job[name] for job in told if job.get(name) is not None]
            for name in ("mean_change", "relative_change")
        )
        if moved:
            row: Facts = {"recipe": recipe, "models": len(moved), "mean_change": fmean(moved)}
            row["relative_change"] = fmean(relative) if relative else None
            rows.append(row | {"least_change": min(moved), "most_change": max(moved)})
    return rows


def _scoring(design: Design, matrix: TransferMatrix) -> list[Facts]:
    """Accuracy on choice targets in the conditions that differ in scoring alone."""
    found: dict[tuple[str, str, str, str], list[float | None]] = {}
    sets = [set(named) for named in series(design.conditions, "scoring")]
    for row in matrix.rows:
        if row.metric == "acc" and any(row.condition in names for names in sets):
            for recipe, score in ((BASE, row.base), (row.recipe, row.score)):
                name = (row.target, recipe, row.condition, row.scoring)
                found.setdefault(name, []).append(score)
    names = ("target", "recipe", "condition", "scoring")
    return [
        dict(zip(names, name, strict=True))
        | {"score": None if None in scores else fmean(s for s in scores if s is not None)}
        for name, scores in found.items()
    ]


def _collapse(design: Design, jobs: Mapping[str, Facts], found: Asked) -> list[Facts]:
    """One text target's rows of the sources that teach labels."""
    models: dict[tuple[str, Arm], list[Row]] = {}
    for row in design.rows[found.target]:
        models.setdefault((row.source, (row.recipe, row.condition)), []).append(row)
    told, seen = [], set()
    for source, arm in product(design.sources, design.arms):
        rows = models.get((source, arm), [])
        labels = {bare(str(x)) for row in rows for x in jobs.get(row.job_key, {}).get("labels", [])}
        if labels and rows[0].key not in seen:  # scoring makes no difference to text
            seen |= {row.key for row in rows}
            tuned = [_share(found.written.get(row.key), labels) for row in rows]
            known = [share for share in tuned if share is not None]
            facts: Facts = {"source": source, "recipe": arm[0], "condition": arm[1]}
            facts |= {"target": found.target, "examples": found.examples}
            facts["tuned"] = fmean(known) if len(known) == len(tuned) else None
            told.append(facts | {"base": _share(found.written.get(rows[0].base_key), labels)})
    return told


def _share(written: Iterable[str] | None, labels: set[str]) -> float | None:
    """Share of the texts that are a label."""
    return None if written is None else fmean(float(text in labels) for text in written)
