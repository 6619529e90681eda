"""What a study changed on purpose: edits of a source, or the loss of a recipe. Costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crosstune.analysis.findings import is_original
from crosstune.analysis.generalization.arms import series
from crosstune.analysis.wording import counted, percent

Way = tuple[str, str]
"""A source and a recipe: what a model was tuned on, and how."""
TRAITS = {
    "share of the largest class": ("majority",),
    "words in an answer": ("lengths", "answer", "words", "mean"),
    "rows": ("rows",),
}
"""Where a profile has what edits are meant to change."""
_WHOLE = ("completion", "all")
"""Losses that others are compared with, the first that is there."""
_CLASSES, _WORDS, _ROWS = ((trait,) for trait in TRAITS)
_EDITS: dict[str, tuple[str, tuple[str, ...]]] = {
    "balance": ("balancing the classes", _CLASSES),
    "skew": ("skewing the classes", _CLASSES),
    "shorten": ("shortening the answers", _WORDS),
    "lengthen": ("lengthening the answers", _WORDS),
    "shuffle_labels": ("shuffling the labels", ()),
    "rename_labels": ("renaming the labels", ()),
    "subset": ("taking a part of the rows", _ROWS),
}


@dataclass(frozen=True, slots=True)
class Intervention:
    """One change of one source, in every way it was tuned.

    Attributes:
        source: The original.
        change: In words.
        doing: The same as a verb, for sentences.
        meant: Traits that it is meant to change and that a profile measures.
        ways: Original and edited; a pair for every recipe, or one of recipes.
    """

    source: str
    change: str
    doing: str
    meant: tuple[str, ...]
    ways: tuple[tuple[Way, Way], ...]


def interventions_of(
    sources: Sequence[Mapping[str, Any]], recipes: Sequence[Mapping[str, Any]]
) -> tuple[list[Intervention], list[str]]:
    """What a study changed on purpose, and the edited sources whose original it lacks.

    The original of an edited source has the same tasks and no edits, else the longest beginning of
    its edits. Recipes that differ in loss alone are compared with `completion`, else with `all`,
    on every source without edits.

    Args:
        sources: As the study has them.
        recipes: Likewise.

    Example:
        >>> plain, changed = {"name": "a", "tasks": ["t"]}, {"name": "b", "tasks": ["t"]}
        >>> changed["edits"] = [{"edit": "balance"}]
        >>> found, alone = interventions_of([plain, changed], [{"name": "lora"}])
        >>> found[0].source, found[0].change, found[0].ways, alone
        ('a', 'balance', ((('a', 'lora'), ('b', 'lora')),), [])
    """
    found, alone = [], []
    for source in sources:
        near = [each for each in sources if is_original(each, source)]
        if near:
            origin = max(near, key=lambda each: (not _edits(each), _edits(each)))
            new, both = source["edits"][_edits(origin) :], (origin["name"], source["name"])
            ways = tuple(((both[0], r["name"]), (both[1], r["name"])) for r in recipes)
            found.append(_edited(origin["name"], new, ways))
        elif source.get("edits"):
            alone.append(source["name"])
    found = _told_apart(found)
    plain = [source["name"] for source in sources if not source.get("edits")]
    for losses in series({recipe["name"]: recipe for recipe in recipes}, "loss"):
        first = next((name for loss in _WHOLE for name in losses if losses[name] == loss), None)
        for name, loss in losses.items():
            if first is not None and loss != losses[first]:
                what = f"loss on {_spaced(loss)} instead of {_spaced(losses[first])}"
                found += [
                    Intervention(at, what, f"{what}, tuned on", (), (((at, first), (at, name)),))
                    for at in plain
                ]
    return found, alone


def _told_apart(found: list[Intervention]) -> list[Intervention]:
    """Changes that read alike, such as two texts to lengthen by, told by their edited sources."""
    alike = Counter((each.source, each.change) for each in found)
    return [
        each
        if alike[each.source, each.change] == 1
        else replace(
            each,
            change=f"{each.change} ({each.ways[0][1][0]})",
            doing=f"({each.ways[0][1][0]}) {each.doing}",
        )
        for each in found
    ]


def _edits(source: Mapping[str, Any]) -> int:
    return len(source.get("edits") or [])


def _edited(
    source: str, new: Sequence[Mapping[str, Any]], ways: tuple[tuple[Way, Way], ...]
) -> Intervention:
    words: list[str] = []
    verbs: list[str] = []
    meant: list[str] = []
    for edit in new:
        name, details = _spaced(edit["edit"]), _details(edit)
        verb, traits = _EDITS.get(edit["edit"], (name, ()))
        words.append(f"{name}: {details}" if details else name)
        verbs.append(f"{verb} ({details})" if details else verb)
        meant += traits
    return Intervention(
        source, " + ".join(words), f"{' and '.join(verbs)} of", tuple(dict.fromkeys(meant)), ways
    )


def _details(edit: Mapping[str, Any]) -> str:
    """What an edit says beyond its name.

    Example:
        >>> _details({"edit": "skew", "label": "yes", "share": 0.9}), _details({"edit": "balance"})
        ('90 % yes', '')
    """
    told: dict[str, Callable[[Any], str]] = {
        "share": lambda share: f"{percent(share)} {edit.get('label', '')}".strip(),
        "words": lambda count: f"{counted(count, 'word')} at the {edit.get('keep', 'begin')}",
        "to": lambda to: "own names" if edit.get("names") else f"to {to}",
        "examples": lambda count: counted(count, "example"),
        "labels": lambda labels: f"only {', '.join(labels)}",
        "shortest": lambda share: f"shortest {percent(share)}",
        "longest": lambda share: f"longest {percent(share)}",
    }
    return ", ".join(tell(edit[name]) for name, tell in told.items() if edit.get(name))


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")
