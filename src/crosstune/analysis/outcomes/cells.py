"""What the matrix, the plan and the sources' profiles add to the answers of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from crosstune.analysis.findings import Facts
from crosstune.analysis.outcomes.summaries import Summary
from crosstune.results.content import Damaged, content
from crosstune.results.inference import q_values
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store

SIGNIFICANT = 0.05
MOST_ROWS = 20_000
"""Rows that a table holds."""

Item = TypeVar("Item")
Name = tuple[str, str, str, str]
"""Source, recipe, target and condition of a cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a matrix says of a cell of the main metric.

    Attributes:
        relation: Of source and target.
        p: Of no gain.
        q: Corrected.
    """

    relation: str
    p: float | None
    q: float | None


def known(matrix: TransferMatrix) -> dict[Name, Known]:
    """The cells of the main metric by name."""
    cells = matrix.cells.filter(matrix.cells["main"])
    names = ("source", "recipe", "target", "condition", "relation", "p", "q")
    rows = zip(*(cells[name].to_pylist() for name in names), strict=True)
    return {row[:4]: Known(*row[4:]) for row in rows}


def named(name: Name) -> dict[str, str]:
    """The first columns of a table whose rows are of a cell.

    Example:
        >>> named(("imdb", "lora", "rte", "zero-shot"))["target"]
        'rte'
    """
    return dict(zip(("source", "recipe", "target", "condition"), name, strict=True))


def name_of(row: Mapping[str, Any]) -> Name:
    """The cell of such a row."""
    return (row["source"], row["recipe"], row["target"], row["condition"])


def names(found: Sequence[Summary]) -> list[tuple[Summary, Name]]:
    """All cells of these targets in their order."""
    return [
        (each, (source, recipe, each.target, each.condition))
        for each in found
        for source, recipe in each.tuned
    ]


def corrected(
    p: Float[np.ndarray, " tests"], cells: Sequence[Name], known: Mapping[Name, Known]
) -> Float[np.ndarray, " tests"]:
    """q-values of tests on cells, within relation, recipe and condition as in the matrix."""
    return q_values(p, families=codes([(known[n].relation, n[1], n[3]) for n in cells]))


def with_q(rows: Sequence[Facts], known: Mapping[Name, Known]) -> list[Facts]:
    """Rows of cells with the q-values of their p."""
    if not rows:
        return []
    q = corrected(np.array([row["p"] for row in rows]), [*map(name_of, rows)], known)
    return [row | {"q": value} for row, value in zip(rows, q.tolist(), strict=True)]


def codes(labels: Sequence[Any]) -> Int[np.ndarray, " labels"]:
    """A number for every distinct label.

    Example:
        >>> codes(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def told(name: Name, many: Mapping[str, int]) -> str:
    """A cell in words; recipe and condition only where a study has several.

    Example:
        >>> told(("imdb", "lora", "rte", "zero"), {"recipe": 1, "condition": 2})
        'imdb → rte (zero)'
    """
    source, recipe, target, condition = name
    ways = [w for w, n in ((recipe, "recipe"), (condition, "condition")) if many[n] > 1]
    return f"{source} → {target}" + (f" ({', '.join(ways)})" if ways else "")


def varied(items: Sequence[Item], name: Callable[[Item], Name]) -> list[Item]:
    """The first item of every pair of source and target, so that few of them show many pairs.

    Example:
        >>> varied(["axt", "ayt", "bxt"], lambda text: (*text, ""))
        ['axt', 'bxt']
    """
    first: dict[tuple[str, str], Item] = {}
    for item in items:
        source, _, target, _ = name(item)
        first.setdefault((source, target), item)
    return [*first.values()]


def variety(found: Sequence[Summary]) -> dict[str, int]:
    """How many recipes and conditions these cells have."""
    recipes = {recipe for each in found for _, recipe in each.tuned}
    return {"recipe": len(recipes), "condition": len({each.condition for each in found})}


def profiles(store: Store) -> dict[tuple[str, str], dict[str, Any] | None]:
    """Profiles of what was tuned on, by source and recipe; None where unavailable."""
    keys = {(row["source"], row["recipe"]): row.get("source_profile") for row in store.plan()}
    found = {key: store.profile(key) for key in {*keys.values()} if key}
    return {cell: found.get(key) for cell, key in keys.items()}


def taught(store: Store) -> dict[tuple[str, str], dict[str, float | None]]:
    """Shares of the labels that a source teaches, by source and recipe.

    From its profile; else the labels alone from its job, their shares not known.
    """
    shares: dict[tuple[str, str], dict[str, float | None]] = {}
    measured = profiles(store)
    for row in store.plan():
        cell = (row["source"], row["recipe"])
        if cell not in shares:
            labels = (measured[cell] or {}).get("labels")
            if labels:
                whole = sum(labels.values())
                shares[cell] = {str(label): n / whole for label, n in labels.items()}
            else:
                shares[cell] = dict.fromkeys(_labels(store, row["job_key"]))
    return shares


def _labels(store: Store, job_key: str) -> list[str]:
    try:
        record = content(store.folder / "adapters" / job_key / "job.json")
    except Damaged:
        return []
    labels = record.get("labels") if isinstance(record, dict) else None
    return [str(label) for label in labels] if isinstance(labels, list) else []
