"""What abilities say in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosstune.analysis.abilities.found import Abilities, Words
from crosstune.analysis.abilities.naming import extremes
from crosstune.analysis.abilities.stability import REPLICATES
from crosstune.analysis.wording import counted, listed, percent

_ARMS = 4
"""Tables that get a sentence of their own."""


def sentences(found: Mapping[str, Abilities], words: Words) -> tuple[str, ...]:
    """One for each table, those with most abilities first, then what holds for all.

    Args:
        found: By the name of the table, which may be empty.
        words: For rows and columns.
    """
    told = {name: its for name, its in found.items() if not its.refusal}
    ordered = sorted(told.items(), key=lambda item: -item[1].count)
    sentences = [_sentence(name, its, words) for name, its in ordered[:_ARMS]]
    if more := [f"{name}: {its.count}" for name, its in ordered[_ARMS:]]:
        sentences.append(f"Numbers of abilities elsewhere: {listed(more)}.")
    refusals: dict[str, list[str]] = {}
    for name, its in found.items():
        if its.refusal:
            refusals.setdefault(its.refusal, []).append(name)
    for refusal, names in refusals.items():
        where = f" of {listed(names)}" if any(names) else ""
        sentences.append(f"Nothing is said of the abilities{where}: {refusal}.")
    return (*sentences, *_limits(told, words))


def _sentence(name: str, found: Abilities, words: Words) -> str:
    number = found.number
    assert number is not None
    size = f"{counted(len(found.rows), words.row)} × {counted(len(found.columns), words.column)}"
    where = f"{name} ({size})" if name else size.capitalize()
    how = f"parallel analysis {number.parallel}, held-out reconstruction {number.reconstruction}"
    if found.count == 0:
        why = "what is beyond chance does not tell held-out cells"
        why = why if number.parallel else "nothing is beyond chance"
        return f"{where}: no ability, {why} ({how}); none is named."
    kind = "ability" if found.count == 1 else "abilities"
    parts = [_ability(found, i) for i in range(found.count)]
    return f"{where}: {found.count} {kind} ({how}). {' '.join(parts)}"


def _ability(found: Abilities, i: int) -> str:
    assert found.stability is not None
    assert found.correlations is not None
    assert found.shares is not None
    told = f"{percent(found.shares[i])} of the variance: "
    told += extremes(found.columns, found.correlations[:, i])
    expected = found.stability.replication[i]
    if expected < REPLICATES:
        return (
            f"Ability {i + 1} does not replicate (congruence {expected:.2f}, {REPLICATES} is "
            f"needed) and is not named; {told}."
        )
    unnamed = ", no name is proposed" if any(found.families) else ""
    name = f", {found.names[i]} (proposal)" if found.names[i] else unnamed
    return f"Ability {i + 1}{name}, {told} (replicates: congruence {expected:.2f})."


def _limits(told: Mapping[str, Abilities], words: Words) -> Iterator[str]:
    """How it was computed, and what the sentences do not hold for."""
    reasons = [its.solution.why_components for its in told.values() if its.solution]
    for reason in dict.fromkeys(filter(None, reasons)):
        yield f"Abilities are principal components, no factors: {reason}."
    for name, its in told.items():
        if its.left_out:
            where = f" of {name}" if name else ""
            yield f"Left out{where}: {'; '.join(its.left_out)}."
    luck = [its.luck for its in told.values() if its.luck is not None]
    if luck:
        least, most = percent(min(luck)), percent(max(luck))
        share = least if least == most else f"{least} to {most}"
        yield (
            f"Of the differences between {words.row}s, {share} are luck of examples, and of seeds "
            "where there are several. A seed that moves all answers of its model alike cannot be "
            "told from an ability."
        )
