"""What the page has to show of the example's cells, worked out from the cells themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from report.tables import example

ROWS = example().cells.to_pylist()


def points(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    tenths = Decimal(100 * value).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    return f"{tenths + 0:{'+' if sign and tenths else ''}}".replace("-", "−")


def stars(row: Mapping[str, Any]) -> str:
    limits = (0.05, 0.01, 0.001)
    return "" if row["q"] is None else "*" * sum(row["q"] < limit for limit in limits)


def shown(row: Mapping[str, Any]) -> str:
    marks = {"missing": "–", "failed": "✕"}
    return marks.get(row["status"], points(row["gain"], sign=True) + stars(row))


def rows_of(condition: str = "zero-shot", metric: str | None = None) -> list[dict[str, Any]]:
    here = [row for row in ROWS if row["condition"] == condition]
    return [row for row in here if (row["main"] if metric is None else row["metric"] == metric)]


def gain_of(source: str, target: str) -> float | None:
    found = [r for r in rows_of() if (r["source"], r["target"]) == (source, target)]
    gain: float | None = found[0]["gain"]
    return gain


def mean_of(rows: list[dict[str, Any]], relation: str = "cross-task") -> float | None:
    gains = [r["gain"] for r in rows if r["relation"] == relation and r["gain"] is not None]
    return sum(gains) / len(gains) if gains else None


def best_first(names: list[str], value: Callable[[str], float | None]) -> list[str]:
    known = [name for name in names if value(name) is not None]
    return sorted(known, key=lambda name: -(value(name) or 0)) + [
        name for name in names if name not in known
    ]


def told(row: Mapping[str, Any]) -> dict[str, str]:
    def chance(value: float) -> str:
        return "< 0.001" if value < 0.001 else f"{value:.3f}"

    facts = {"base → tuned": f"{points(row['base'])} → {points(row['score'])}"}
    if row["gain"] is not None:
        low, high = (points(row[end], sign=True) for end in ("low", "high"))
        facts["95 % interval"] = f"{low} to {high} ({row['method']})"
        facts["holds for"] = "this model, not this source: one seed"
        facts["q"] = f"{chance(row['q'])} (p {chance(row['p'])})"
        facts["could have shown"] = f"{points(row['detectable'])} points or more"
    facts["test examples"] = f"{row['n']}, seeds {row['seeds']}"
    whole = f"⚑ {row['leaked']} test inputs stand in the source's training rows"
    part = f"⚐ {row['contained']} test rows have a field contained in a training input"
    facts["leakage"] = whole if row["leaked"] else part if row["contained"] else "none found"
    return facts


def row_at(source: str, target: str) -> dict[str, Any]:
    return next(r for r in rows_of() if (r["source"], r["target"]) == (source, target))
