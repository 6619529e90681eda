"""What every analysis gives: sentences first, then tables; and the one place where it is named.

A decorated function is a command of the command line and a section of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from crosstune.registry import Registry
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Numbers with how to read them.

    Attributes:
        name: Its word on the command line.
        title: For people.
        note: What a row is, units, what is left out.
        rows: A column's name says what it is; null is not known.
    """

    name: str
    title: str
    note: str
    rows: pa.Table


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What an analysis found in a study.

    Attributes:
        name: Its word on the command line.
        title: For people.
        sentences: What it says in words, the most useful first; plain text.
        tables: What the words rest on; none when it has nothing to say of this study.
    """

    name: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


ANALYSES: Registry[Callable[[Store, TransferMatrix], Analysis]] = Registry("analysis")
"""Analyses by name; each reads a study's store and its matrix."""
