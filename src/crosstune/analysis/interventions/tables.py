"""What edits of a source caused: tables, sentences and a figure of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table
from crosstune.analysis.interventions.changes import TRAITS, Intervention, interventions_of
from crosstune.analysis.interventions.differences import differences, means, pairs
from crosstune.analysis.interventions.effects import sentences
from crosstune.analysis.outcomes.cells import profiles
from crosstune.analysis.wording import listed
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

_COLUMNS = {
    "interventions": "intervention source edit edited_source recipe condition target relation "
    "original_score edited_score difference low high p q detectable_difference seeds examples",
    "summary": "intervention source edit recipe condition relation targets known difference low "
    "high up down detectable_difference",
    "traits": "source edit recipe trait original edited",
}
_TITLES = {
    "interventions": "Edited against original, target by target",
    "summary": "What each change did, by relation of the targets",
    "traits": "Whether the edit changed what it was meant to change",
}
_NOTES = {
    "interventions": "A row is one target asked of models that differ in one change alone: edited "
    "− original on the same examples and seeds, 95 % interval. q is corrected within one change of "
    "one source, same-task targets apart from all others. A row without a difference lacks a "
    "score. With several seeds the interval is about tuning anew, with one about these models. "
    "detectable_difference: would have been found with a power of 80 %, before correction.",
    "summary": "Mean difference over the targets of one relation, each of which counts the same, "
    "and its 95 % interval for just these targets; up and down: targets with q below 0.05; "
    "detectable_difference: of half of the targets.",
    "traits": "Measured on the training rows as they were taught.",
}
_TITLE = "What edits of a source caused"


@ANALYSES.add("interventions")
def interventions(store: Store, matrix: TransferMatrix) -> Analysis:
    """What changing one trait of a source, and nothing else, did to every target."""
    study = store.study.get("study", {})
    planned, alone = interventions_of(study.get("sources", []), study.get("recipes", []))
    conditions = [condition["name"] for condition in study.get("conditions", [])]
    found = pairs(matrix, planned, conditions=conditions)
    if not found:
        why = "No source has edits and no recipes differ in loss alone"
        why = (
            "This part of the matrix lacks every edited source or its original" if planned else why
        )
        why = f"The originals of {listed(alone)} are not in the study" if alone else why
        return Analysis("interventions", _TITLE, (f"{why}, so nothing tells causes.",), ())
    known = differences(store, found)
    rows = {"interventions": known.rows, "summary": means(known), "traits": _traits(store, planned)}
    tables = tuple(
        Table.of(name, _TITLES[name], _NOTES[name], columns=_COLUMNS[name].split(), rows=told)
        for name, told in rows.items()
        if told
    )
    columns = {"name": "target", "value": "difference", "low": "low", "high": "high"}
    several = (
        len({row["recipe"] for row in known.rows if row["edited_source"] != row["source"]}) > 1
    )
    columns |= {"panel": "intervention", "series": "recipe" if several else "relation"}
    note = "A drawing is one change of one source; where the line crosses zero, none is shown."
    figure = Figure("dots", "interventions", "Edited minus original, by target", note, columns)
    told = sentences(
        planned, known.rows, summary=rows["summary"], traits=rows["traits"], alone=alone
    )
    return Analysis("interventions", _TITLE, told, tables, (figure,))


def _traits(store: Store, planned: Sequence[Intervention]) -> list[Facts]:
    """Measured traits of original and edited rows, where the study has stored them."""
    measured = profiles(store)
    told: list[Facts] = []
    for each in planned:
        for ways in each.ways:
            if ways[0][0] == ways[1][0]:
                continue  # a loss changes no rows
            for trait, path in TRAITS.items():
                original, edited = (_number(measured.get(way), path) for way in ways)
                if original is not None and edited is not None:
                    shared: Facts = {"source": each.source, "edit": each.change}
                    shared |= {"recipe": ways[1][1], "trait": trait}
                    told.append(shared | {"original": original, "edited": edited})
    return told


def _number(profile: Any, path: Sequence[str]) -> float | None:
    for name in path:
        profile = profile.get(name) if isinstance(profile, Mapping) else None
    return float(profile) if isinstance(profile, (int, float)) else None
