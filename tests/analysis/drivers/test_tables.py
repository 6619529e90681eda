"""From a store with profiles to sentences: who is left out, and what is said."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.made import Made
from analysis.profiles import told, written
from crosstune.analysis.drivers import drivers, measured
from crosstune.analysis.drivers.tables import _family
from crosstune.analysis.findings import ANALYSES, Analysis

SOURCES = [f"s{i}" for i in range(8)]
TARGETS = [*SOURCES[:2], *(f"t{i}" for i in range(6))]
MADE = Made(
    sources={name: [name] for name in SOURCES},
    targets={name: name for name in TARGETS},
    recipes={"plain": {}},
    conditions={"zero": {}},
    seeds=(0,),
)


def profiles() -> dict[tuple[str, str], dict[str, Any]]:
    """Sources differ in their answers' lengths; everything else is as chance has it."""
    generator = np.random.default_rng(0)
    found = {}
    for role, names in (("source", SOURCES), ("target", TARGETS)):
        for i, name in enumerate(names):
            found[role, name] = told(
                answer=2.0 ** (i + 1) if role == "source" else 8.0,
                prompt=float(generator.integers(50, 500)),
                labels={"yes": int(generator.integers(50, 90)), "no": 30},
                words=tuple(generator.choice(40, 20, replace=False).tolist()),
                embedding=generator.standard_normal(4).tolist(),
                language={"mtld": float(generator.uniform(20, 90))},
            )
    return found


def longer_is_better(source: str, *spot: Any) -> np.ndarray:
    """Of 40 answers 10 are right, 2 more for every doubling of the answers taught, and luck."""
    luck = zlib.crc32(f"{source} {spot[-2]}".encode()) % 2
    right = 10 if source == "base" else 10 + 2 * SOURCES.index(source) + luck
    return np.arange(40) < right


def found(folder: Path, **more: Any) -> Analysis:
    return drivers(*written(MADE, folder / "study", profiles(), longer_is_better, **more))


def test_the_driver_is_told_first_in_words(tmp_path: Path) -> None:
    analysis = found(tmp_path)
    assert ANALYSES["drivers"] is drivers
    words = "explain more than surface similarity does: +"
    assert analysis.sentences[0].startswith(f"Class distributions and answer lengths {words}")
    assert "for a source that was left out: answer length (q" in analysis.sentences[1]
    assert "log2 answer length of the source (+" in analysis.sentences[-1]
    assert [table.name for table in analysis.tables] == ["judged", "groups", "traits"]
    for figure in analysis.figures:
        rows = next(table.rows for table in analysis.tables if table.name == figure.table)
        assert {*figure.columns.values()} <= {*rows.column_names}


def test_the_same_task_and_edited_sources_are_no_part(tmp_path: Path) -> None:
    def enormous(source: str, *spot: Any) -> np.ndarray:
        if source == spot[-2] or source == "s7":
            return np.ones(40)
        return longer_is_better(source, *spot)

    without = ("s7",)
    first = found(tmp_path / "a", changed=without)
    second = drivers(*written(MADE, tmp_path / "b", profiles(), enormous, changed=without))
    for one, other in zip(first.tables, second.tables, strict=True):
        assert one.rows.equals(other.rows)


def test_families_are_permuted_together(tmp_path: Path) -> None:
    two = MADE.changed(sources={name: ["ab"[i // 4]] for i, name in enumerate(SOURCES)})
    tables = [
        drivers(*written(made, tmp_path / name, profiles(), longer_is_better)).tables
        for name, made in (("one", MADE), ("two", two))
    ]
    (judged, groups), (same, others) = ([t.rows for t in its[:2]] for its in tables)
    assert judged.equals(same)
    ends = [
        [row["null_high"] for row in rows.to_pylist() if row["held_out"] == "source"]
        for rows in (groups, others)
    ]
    assert ends[0] != ends[1]
    assert _family(("other",), "a") == _family(("",), "a") == ("a",)
    assert _family(("mood", "other"), "a") == ("mood", "other")


def test_nothing_is_said_of_chance(tmp_path: Path) -> None:
    analysis = drivers(*written(MADE, tmp_path / "study", profiles()))
    assert "cannot be told with 8 sources" in analysis.sentences[0]
    assert analysis.sentences[1].startswith("Nothing beats the mean: ")
    assert "with 8 sources, of their own traits only very strong ones show" in analysis.sentences[1]


def test_one_source_of_text_and_targets_of_choices_are_no_reason_to_refuse(tmp_path: Path) -> None:
    some = profiles()
    some["source", "s0"] = told(kind="text", answer=40.0, language={"mtld": 50.0})
    analysis = drivers(*written(MADE, tmp_path / "study", some))
    assert [table.name for table in analysis.tables] == ["judged", "groups", "traits"]


def test_what_was_not_measured_is_named(tmp_path: Path) -> None:
    some = {
        spot: profile | {"answers": ["yes", "no"], "sketches": {"words": [1], "shingles": [1]}}
        for spot, profile in profiles().items()
    }
    for profile in some.values():
        profile["embedding"] = None
    first = drivers(*written(MADE, tmp_path / "study", some, longer_is_better)).sentences[0]
    assert first.endswith("nothing is known that tells sources apart by surface similarity.")
    assert "similarity cannot be told with 8 sources: nothing" in first


@pytest.mark.parametrize("known", [0, 4])
def test_too_few_sources_are_refused(tmp_path: Path, known: int) -> None:
    some = {
        name: profile
        for name, profile in profiles().items()
        if name[0] == "target" or name[1] in SOURCES[:known]
    }
    analysis = drivers(*written(MADE, tmp_path / "study", some))
    assert analysis.tables == ()
    assert f"{known} sources and 8 targets have a profile" in analysis.sentences[0]
    assert "5 of each are needed" in analysis.sentences[0]


def test_missing_scores_are_left_out(tmp_path: Path) -> None:
    spots = frozenset(("s3", "plain", 0, "zero", target) for target in TARGETS[:6])
    made = MADE.changed(missing=spots)
    analysis = drivers(*written(made, tmp_path / "study", profiles(), longer_is_better))
    assert analysis.sentences[-1] == "Left out as too few gains are known: 1 source."


def test_traits_know_where_they_are_unknown() -> None:
    sources = {"a": told(kind="text", answer=64), "b": told()}
    targets = {"c": told(), "d": told(kind="text")}
    traits = {trait.name: trait for trait in measured(sources, targets)}
    assert np.isnan(traits["entropy of the source"].values).tolist() == [[True] * 2, [False] * 2]
    assert traits["difference in log2 answer length"].values[:, 0].tolist() == [4, 0]
    inside = traits["log2 answer length of the source, for text"].values
    assert inside.tolist() == [[0, 2], [0, -2]]
    assert traits["difference in text"].values.tolist() == [[1, 0], [0, 1]]
    assert {trait.group for trait in traits.values()} >= {"language", "size", "surface similarity"}
