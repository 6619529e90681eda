"""What tuning does beside what it is for: tables, sentences and figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstune.analysis.findings import ANALYSES, Analysis, Facts, Figure, Table, edited
from crosstune.analysis.outcomes.cells import known, profiles, taught, variety
from crosstune.analysis.outcomes.summaries import Summary, summaries
from crosstune.analysis.side_effects.drawn import (
    LEAST_DISTANCE,
    LEAST_ERRORS,
    Way,
    drifts,
    labels_written,
    pulls,
)
from crosstune.analysis.side_effects.effects import sentences
from crosstune.analysis.side_effects.harm import CLEAR, LEAST_BASE, asymmetry, by_source, forgetting
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

TITLE = "What tuning does beside what it is for"
_COLUMNS = {
    "sources": "source recipe condition targets harmed unchanged helped unknown forgotten "
    "mean_gain worst_target worst_gain best_target best_gain own_gain",
    "forgetting": "source recipe condition target relation chance_score base score gain low high "
    "p q kept_share fell",
    "asymmetry": "first second recipe condition relation first_to_second_gain "
    "second_to_first_gain difference low high p q",
    "labels": "source recipe condition target relation base_share tuned_share difference",
    "pull": "source recipe condition way target relation source_length before_length after_length "
    "pull from to p q",
    "drift": "source recipe condition target relation label source_share gold_share base_share "
    "tuned_share difference low high p q base_distance tuned_distance moved",
}
_TITLES = {
    "sources": "Targets harmed and helped by source",
    "forgetting": "What the base clearly can, and what is left of it",
    "asymmetry": "One way against the other",
    "labels": "Labels of the source written where text was asked for",
    "pull": "Lengths pulled towards those of the source's answers",
    "drift": "Answers drawn towards the source's classes",
}
_NOTES = {
    "sources": "A row is one way to tune on a source, the worst first. Its own tasks count in "
    "own_gain only. harmed and helped: q of the matrix below 0.05, of which worst_target and "
    "best_target moved most; unchanged: not shown to change. "
    "forgotten: harmed targets that the base clearly could do. Edited sources are left out.",
    "forgetting": f"Targets whose base score is over {CLEAR:.2f} standard errors above chance. "
    f"Chance is the most frequent class or an even guess; of a text {100 * LEAST_BASE:.0f} points "
    "must be exceeded. kept: (score − chance) / (base − chance). fell: a gain below 0 with q of "
    "the matrix below 0.05. Interval and q are those of the matrix.",
    "asymmetry": "Pairs of tasks that are both tuned on and asked, the better way first: gain of "
    "second after tuning on first minus the reverse, in points of either target. Interval and p "
    "from the errors of both cells; q within relation, recipe and condition.",
    "labels": "Share of the outputs on a text target that are, but for case and outer "
    "punctuation, a label of the source; of the texts that the matrix names (5 % of the outputs, "
    "at most five), so rather too low; counted, not tested.",
    "pull": "Lengths are means of log(1 + characters). pull: (tuned − base) / (source − "
    "base): 0 is as the base, 1 as the source; its 95 % interval is Fieller's, of these very "
    f"models. Undefined where source and base differ by less than {LEAST_ERRORS:.0f} standard "
    f"errors or {LEAST_DISTANCE:g} in the logarithm. p and q: of no change of length. A source "
    "whose answers were not measured counts as its own task's references do. A shift that all "
    "sources share is no pull of any one of them.",
    "drift": "Where source and target have the same labels. label: the most frequent one of the "
    "source, where classes are uneven; its share of the answers, 95 % interval and q as in "
    "`confusion`. distance: half the sum of the absolute differences between the shares of "
    "answers and those of the source. moved: whether any class "
    "is answered more or less often (q < 0.05). A source that was not measured counts as its own "
    "task's test rows do.",
}


@ANALYSES.add("side-effects")
def side_effects(store: Store, matrix: TransferMatrix) -> Analysis:
    """What tuning harms, makes forget, and draws towards the source, the worst first.

    Raises:
        InputError: A file is damaged.
    """
    left_out = edited(store)
    cells = [
        row
        for row in matrix.cells.filter(matrix.cells["main"]).to_pylist()
        if row["source"] not in left_out
    ]
    if all(row["gain"] is None for row in cells):
        why = "No gain is known yet." if cells else "All sources are edits, which are left out."
        return Analysis("side-effects", TITLE, (why,), ())
    found, every = summaries(store, matrix), known(matrix)
    wanted = {name: cell for name, cell in every.items() if name[0] not in left_out}
    tasks = {row["source"]: tuple(row["source_tasks"]) for row in store.plan()}
    single = {source: its[0] for source, its in tasks.items() if len(its) == 1}
    labels = {way: its for way, its in taught(store).items() if way[0] not in left_out}
    fallen = forgetting(cells, found)
    rows = {
        "sources": by_source(cells, fallen),
        "forgetting": fallen,
        "asymmetry": asymmetry(cells, single),
        "labels": labels_written(cells, labels),
        "pull": pulls(found, wanted, _lengths(store, found, single)),
        "drift": drifts(found, every, _shares(labels, found, single)),
    }
    tables = tuple(
        Table.of(name, _TITLES[name], _NOTES[name], columns=_COLUMNS[name].split(), rows=told)
        for name, told in rows.items()
        if told
    )
    told = sentences(rows, variety(found))
    if max(row["seeds"] or 0 for row in cells) == 1:
        told += ("One seed: all of this is of these very models; tuning anew moves gains too.",)
    return Analysis("side-effects", TITLE, told, tables, _figures(rows))


def _lengths(
    store: Store, found: Sequence[Summary], single: Mapping[str, str]
) -> dict[Way, Sequence[int]]:
    """How long the answers of each source are; where unmeasured, as its own task's references."""
    references = {each.target: each.references.tolist() for each in found}
    told: dict[Way, Sequence[int]] = {}
    for way, profile in profiles(store).items():
        measured = ((profile or {}).get("lengths") or {}).get("answer") or {}
        if "counts" in measured.get("characters", ()):
            told[way] = measured["characters"]["counts"]
        elif single.get(way[0]) in references:
            told[way] = references[single[way[0]]]
    return told


def _shares(
    labels: Mapping[Way, Mapping[str, float | None]],
    found: Sequence[Summary],
    single: Mapping[str, str],
) -> dict[Way, Mapping[str, float]]:
    """How often a source teaches each label; where unmeasured, as in its own task's test rows."""
    gold = {
        each.target: dict(zip(each.classes, each.gold.tolist(), strict=True))
        for each in found
        if each.fixed
    }
    told: dict[Way, Mapping[str, float]] = {}
    for way, shares in labels.items():
        measured = {label: share for label, share in shares.items() if share is not None}
        told[way] = measured or (gold.get(single.get(way[0], ""), {}) if shares else {})
    return told


def _figures(rows: Mapping[str, Sequence[Facts]]) -> tuple[Figure, ...]:
    drawn = []
    if rows["forgetting"]:
        columns = {"name": "target", "value": "gain", "low": "low", "high": "high"}
        columns |= {"panel": "source", "series": "recipe"}
        note = "Only what the base clearly can do is drawn: left of zero it was lost."
        drawn.append(
            Figure("dots", "forgetting", "What became of the base's abilities", note, columns)
        )
    if any(row.get("pull") is not None for row in rows["pull"]):
        columns = {"row": "source", "column": "target", "value": "pull", "panel": "way"}
        note = (
            "Near 1 a target is answered at the length of the source's answers, near 0 as before."
        )
        drawn.append(Figure("grid", "pull", "Lengths pulled towards the source's", note, columns))
    return tuple(drawn)
