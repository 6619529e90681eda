"""The cells of a matrix as one table, computed from the stored outcomes.

One target at a time is in memory, so cost grows with the answers that are read and memory does
not. Columns (an empty field is not known; it never means 0):

    source, source_families     what was tuned on; families joined by '+'
    target, target_family       what was asked
    relation                    `same task`, `in-domain`, `out-of-domain` or `cross-task`
    recipe, condition           how it was tuned, how it was asked
    scoring                     how answers became scores: likelihood, first_token, generation
    metric, main                name, and whether it is the target's first metric
    seeds, n                    tuned models; test examples
    base, score                 means over examples, and seeds, of the bare base and of the tuned
    gain                        score − base: same examples, same condition
    low, high                   95 % interval of the gain
    scope                       what it is about: `this model` (one seed) or `this source`
    method                      `closed form`, `bootstrap` or `t`
    p, q                        of no gain; q is corrected within relation, recipe and condition
    detectable                  smallest gain that these examples and seeds could have shown
    examples_error, seeds_error standard errors of the gain from examples and from seeds
    shared_error                part of examples_error that all cells of the target share
    answers, base_answers       how often each class was answered, as a JSON object; of texts the
                                frequent ones, and `(all others)`
    truth                       how often each class was right, likewise
    constant                    whether the tuned models give (nearly) one answer only
    leaked                      test rows whose whole input stands in the source's training rows
    contained                   test rows with a long field that is contained in a training input
    status                      done, missing or failed
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crosstune.errors import InputError
from crosstune.results.inference import inference, q_values
from crosstune.results.outcomes import read_answers
from crosstune.results.paired import Paired, paired

RELATIONS = ("same task", "in-domain", "out-of-domain", "cross-task")
"""Of a source to a target, the nearest first."""
CONSTANT = 0.95
"""Share of answers that are one class, from which on a model is said to answer only that."""
OTHERS = "(all others)"
_FREQUENT, _MOST = 0.05, 5
"""Texts with this share of the answers are named, at most so many."""
NO_FAMILY = "other"
"""What a task without a family has; it is no family of its own."""

_TEXTS = (
    "source source_families target target_family relation recipe condition scoring metric".split()
)
_NUMBERS = "base score gain low high p q detectable examples_error seeds_error shared_error".split()
SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXTS]
    + [("main", pa.bool_()), ("seeds", pa.int64()), ("n", pa.int64())]
    + [(name, pa.float64()) for name in _NUMBERS[:5]]
    + [("scope", pa.string()), ("method", pa.string())]
    + [(name, pa.float64()) for name in _NUMBERS[5:]]
    + [(name, pa.string()) for name in ("answers", "base_answers", "truth")]
    + [("constant", pa.bool_()), ("leaked", pa.int64()), ("contained", pa.int64())]
    + [("status", pa.string())]
)

Row = Mapping[str, Any]


def cells(
    planned: Sequence[Row],
    *,
    status: Mapping[str, str],
    bases: Collection[str],
    outcomes: Callable[[str], Path],
) -> pa.Table:
    """All cells of a study in the order of its plan.

    Args:
        planned: The plan's rows, one for every score.
        status: Done, missing or failed, by the key of a score.
        bases: Keys of the base's scores that are there.
        outcomes: The file of a score that is there.

    Raises:
        InputError: A tuned model was not asked the same examples as the base, or a file does not
            hold what crosstune has written.
    """
    spots: dict[tuple[str, ...], list[Row]] = {}
    for row in planned:
        name = tuple(row[part] for part in ("recipe", "source", "target", "condition"))
        spots.setdefault(name, []).append(row)
    facts: list[dict[str, Any]] = []
    asked: dict[tuple[Any, ...], dict[int, list[Row]]] = {}
    for rows in spots.values():
        shared = [rows[0][name] for name in ("base_key", "recipe", "condition")]
        asked.setdefault((*shared, len(rows), *rows[0]["metrics"]), {})[len(facts)] = rows
        facts += _facts(rows, status)
    sums: list[Paired] = []
    where: list[int] = []
    for (base_key, *_), members in asked.items():
        if base_key in bases:
            for position, found in _compared(outcomes, base_key, members=members, facts=facts):
                where += position
                sums.append(found)
    columns = {name: [fact.get(name) for fact in facts] for name in SCHEMA.names}
    return concluded(columns, Paired.joined(sums) if sums else None, where=np.array(where, int))


def _facts(rows: Sequence[Row], status: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the plan knows of a cell, once for every metric."""
    first = rows[0]
    states = {status[row["key"]] for row in rows}
    state = next(s for s in ("failed", "missing", "done") if s in states)
    shared = {name: first[name] for name in _PLANNED} | {
        "source_families": "+".join(first["source_families"]),
        "seeds": len(rows),
        "status": state,
    }
    return [
        shared | {"metric": metric, "main": i == 0} for i, metric in enumerate(first["metrics"])
    ]


def relation(target: str, family: str, *, tasks: Collection[str], families: Collection[str]) -> str:
    """How a target is related to a source of these tasks and families, the nearest decides.

    Another task of a family is out of domain: that two datasets are of one domain, nothing but a
    study can say.

    Example:
        >>> relation("yelp", "sentiment", tasks=["imdb", "gsm8k"], families=["sentiment", "sums"])
        'out-of-domain'
    """
    if target in tasks:
        return "same task"
    return "out-of-domain" if family in {*families} - {NO_FAMILY} else "cross-task"


_PLANNED = "source target target_family relation recipe condition scoring leaked contained".split()


@dataclass(frozen=True, slots=True)
class _Answers:
    """One model's answers to one target: outcomes by metric, and answers by class."""

    ids: list[str]
    values: Float[np.ndarray, "metrics examples"]
    given: Counter[str]
    right: Counter[str]
    fixed: bool
    text: bool


def _answers(path: Path, metrics: Sequence[str], *, fixed: bool | None = None) -> _Answers:
    """Read a score; `fixed` says whether all rows offer the same choices, found out if None."""
    found = read_answers(path, metrics)
    labels, texts = found["label"], found["answer"]
    truth = [references[0] for references in found["references"]]
    text = found["log_likelihoods"][0] is None
    if fixed is None:
        fixed = not text and len({*truth, *texts}) <= len(found["log_likelihoods"][0])
    if text:
        texts, truth = ([part.strip() or "(empty)" for part in side] for side in (texts, truth))
    elif not fixed:
        texts = [f"choice {1 + int(np.argmax(row))}" for row in found["log_likelihoods"]]
        truth = [f"choice {1 + label}" for label in labels]
    values = np.array([found[metric] for metric in metrics])
    return _Answers(found["id"], values, Counter(texts), Counter(truth), fixed, text)


def _compared(
    outcomes: Callable[[str], Path],
    base_key: str,
    *,
    members: Mapping[int, Sequence[Row]],
    facts: list[dict[str, Any]],
) -> list[tuple[list[int], Paired]]:
    """Compare all models of one recipe with the base of one target; adds the answers to the facts.

    All have the same metrics and as many seeds.
    """
    metrics = next(iter(members.values()))[0]["metrics"]
    base = _answers(outcomes(base_key), metrics)
    for begin in members:
        for m, mean in enumerate(base.values.mean(axis=1)):
            told = {
                "base_answers": _counted(base.given, text=base.text),
                "truth": _counted(base.right, text=base.text),
            }
            facts[begin + m].update(base=float(mean), n=len(base.ids), **told)
    known = [begin for begin in members if facts[begin]["status"] == "done"]
    if not known:
        return []
    seeds = len(members[known[0]])
    tuned = np.empty((len(metrics), len(known), seeds, len(base.ids)))
    for c, begin in enumerate(known):
        given, most = Counter[str](), 0
        for k, row in enumerate(members[begin]):
            answers = _answers(outcomes(row["key"]), metrics, fixed=base.fixed)
            if answers.ids != base.ids:
                raise other_examples(row["source"], row["target"], row["key"])
            tuned[:, c, k] = answers.values
            given += answers.given
            most += max(answers.given.values(), default=0)
        said, constant = _counted(given, text=base.text), most >= CONSTANT * given.total()
        for m in range(len(metrics)):
            facts[begin + m].update(answers=said, constant=constant)
    return [
        ([begin + m for begin in known], paired(values, tuned[m]))
        for m, values in enumerate(base.values)
    ]


def other_examples(source: str, target: str, key: str) -> InputError:
    """What to say of a score whose examples are not those of the base's."""
    return InputError(
        f"{source} → {target}: its examples are not those of the base; remove scores/{key} and "
        "run the study again"
    )


def _counted(counts: Counter[str], *, text: bool) -> str:
    """Counts as a JSON object, the most frequent first; of texts only those that are frequent."""
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    if text:
        least = max(2, _FREQUENT * counts.total())
        named = {name: n for name, n in [*ordered.items()][:_MOST] if n >= least}
        rest = counts.total() - sum(named.values())
        ordered = {**named, OTHERS: rest} if rest else named
    return json.dumps(ordered, ensure_ascii=False)


def concluded(
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    sums: Paired | None,
    *,
    where: Int[np.ndarray, " known"],
) -> pa.Table:
    """The table of cells: what is known of them, and what can be concluded from their sums.

    Args:
        columns: Facts about all cells, by the names of `SCHEMA`; None is not known. What is
            concluded may be left out.
        sums: Of the cells that are known.
        where: Their positions among all cells.
    """
    count = len(columns["source"])
    nothing = [None] * count
    made = {
        name: pa.array(columns.get(name, nothing), SCHEMA.field(name).type) for name in SCHEMA.names
    }
    if sums is None:
        return pa.table(made, SCHEMA)
    known = {name: made[name].take(pa.array(where)) for name in _DECISIVE}
    pools = _codes(known, "recipe", "condition", "metric")
    found = inference(sums, pools=pools, sources=_codes(known, "source"))
    families = _codes(known, "recipe", "condition", "relation", "main")
    results = {
        "score": sums.base + sums.gain,
        "gain": sums.gain,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "q": q_values(found.p, families=families),
        "detectable": found.detectable,
        "examples_error": found.examples_error,
        "seeds_error": found.seeds_error,
        "shared_error": found.shared_error,
        "scope": np.where(sums.seeds > 1, "this source", "this model"),
        "method": found.method,
    }
    for name, values in results.items():
        spread = np.full(count, None if values.dtype.kind == "U" else np.nan, dtype=object)
        spread[where] = values
        made[name] = pa.array(spread, SCHEMA.field(name).type, from_pandas=True)
    return pa.table(made, SCHEMA)


_DECISIVE = ("source", "recipe", "condition", "metric", "relation", "main")


def _codes(columns: Mapping[str, pa.Array], *names: str) -> Int[np.ndarray, " cells"]:
    """A number for every combination of values."""
    codes = np.zeros(len(columns["source"]), dtype=np.int64)
    for name in names:
        encoded = columns[name].dictionary_encode()
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
    return codes
