"""A profile of rows for people on a terminal: counts, then classes, lengths and language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crosstune.analysis.wording import counted, percent

SHOWN_LABELS = 12
_LENGTHS = ("mean", "sd", "min", "q05", "q25", "median", "q75", "q95", "max")


def told(profile: Mapping[str, Any], *, title: str, meanings: Mapping[str, str]) -> str:
    """A profile in words and aligned tables.

    Args:
        profile: As `tasks.profile` makes it.
        title: What it is the profile of.
        meanings: What each feature of language is, in a line.
    """
    repeated = counted(profile["duplicates"], "duplicate")
    kind = {"choice": "labels or choices", "text": "free text"}[profile["kind"]]
    head = f"{title}: {counted(profile['rows'], 'row')}, {repeated}; the answers are {kind}"
    parts = [head, _classes(profile), _lengths(profile["lengths"])]
    parts.append(_language(profile["language"], meanings))
    return "\n\n".join(filter(None, parts))


def _classes(profile: Mapping[str, Any]) -> str:
    labels, rows = profile["labels"], profile["rows"]
    if labels is None:
        return ""
    skew = "" if profile["skew"] is None else f", skew {profile['skew']:.2f} (0 balanced, 1 not)"
    head = f"{counted(len(labels), 'label')}: entropy {profile['entropy']:.2f} bits{skew}"
    shown = [*labels.items()][:SHOWN_LABELS]
    lines = [["label", "rows", "share"]]
    lines += [[_line(label), f"{count:,}", percent(count / rows)] for label, count in shown]
    rest = [] if len(labels) == len(shown) else [f"… and {len(labels) - len(shown):,} more labels"]
    return "\n".join([head, *_aligned(lines), *rest])


def _lengths(lengths: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = [["length", *_LENGTHS]]
    for part, units in lengths.items():
        for unit, found in units.items():
            lines.append([f"{part}, {unit}", *(_number(found[name]) for name in _LENGTHS)])
    return "\n".join(_aligned(lines))


def _language(found: Mapping[str, float | None], meanings: Mapping[str, str]) -> str:
    lines = [["language of the prompts", "value", "meaning"]]
    for name, value in found.items():
        shown = "–" if value is None else f"{value:.3g}".replace("-", "−")
        lines.append([name, shown, meanings.get(name, "")])
    return "\n".join(_aligned(lines, texts=(0, 2)))


def _aligned(lines: Sequence[Sequence[str]], *, texts: Iterable[int] = (0,)) -> list[str]:
    """Columns of one width each: texts to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {*texts}
    return [
        "  ".join(
            f"{cell:{width}}" if place in left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _line(text: str) -> str:
    """A label on one line, spaces around it made visible."""
    return text if text.isprintable() and text == text.strip() and text else repr(text)
