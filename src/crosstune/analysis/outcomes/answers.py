"""What every model answered to one target in one condition, as arrays over the same examples.

Reading costs about half a millisecond a score of 500 examples; memory is that of one target in one
condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from crosstune.results.cells import other_examples
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.outcomes import answers_table
from crosstune.results.store import Store

Model = tuple[str, str, int]
"""Source, recipe and seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What one model answered, in the order of `Answered.ids`.

    Attributes:
        values: Main metric, in [0, 1].
        answer: Position in `Answered.classes`, −1 for none of them; None where there are none.
        confidence: Softmax probability of the choice that was picked, from the log-likelihoods
            over the choices of its row; None where nothing was ranked.
        characters: Length of the answer.
        texts: The answers.
    """

    values: Float[np.ndarray, " examples"]
    answer: Int[np.ndarray, " examples"] | None
    confidence: Float[np.ndarray, " examples"] | None
    characters: Int[np.ndarray, " examples"]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """One target in one condition, and what all its models answered.

    Attributes:
        target: Its name.
        family: Its family.
        condition: How it was asked.
        scoring: How answers became scores.
        metric: The main one.
        ids: Names of the examples.
        classes: Fixed classes by name; `choice 1` … where every row offers its own; none for a
            text, or where choices of its own were answered in writing.
        fixed: Whether all rows offer the same classes.
        truth: Position in `classes`; None where there are none.
        truths: First reference.
        references: Characters of the first reference.
        prompt_tokens: Of the prompt.
        base: The bare base's.
        tuned: By source, recipe and seed; only of cells that are known, so with all their seeds.
    """

    target: str
    family: str
    condition: str
    scoring: str
    metric: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    fixed: bool
    truth: Int[np.ndarray, " examples"] | None
    truths: Sequence[str]
    references: Int[np.ndarray, " examples"]
    prompt_tokens: Int[np.ndarray, " examples"]
    base: Given
    tuned: Mapping[Model, Given]


def answered(store: Store, matrix: TransferMatrix) -> Iterator[Answered]:
    """The targets and conditions of a matrix, or of a slice of it, in the order of the study.

    Those whose base is not known are left out.

    Raises:
        InputError: A tuned model was not asked the same examples as the base, or a file does not
            hold what crosstune has written.
    """
    spots: dict[tuple[str, str], list[Row]] = {}
    for row in matrix.rows:
        if row.main and row.base is not None:
            spots.setdefault((row.target, row.condition), []).append(row)
    for rows in spots.values():
        yield _answered(store, rows)


def _answered(store: Store, rows: Sequence[Row]) -> Answered:
    """Read the base's score of one target and condition, and those of its tuned models."""
    first = rows[0]
    # As the matrix has it: a cell of which a seed lacks is missing.
    gaps = {(row.source, row.recipe) for row in rows if row.score is None}
    rows = [row for row in rows if (row.source, row.recipe) not in gaps]
    columns = ("references", "prompt_tokens")
    base = answers_table(store.outcomes(first.base_key), [first.metric], *columns)
    ids, labels = base["id"], base["label"]
    references = base["references"].combine_chunks()
    truths = references.flatten().take(pa.array(_begins(references)))
    ranked, written = (not base[name].null_count for name in ("log_likelihoods", "label"))
    fixed = _is_fixed(base, truths, ranked=ranked) if written else False
    files = {first.base_key: base}
    for row in rows:
        if row.key not in files:
            files[row.key] = answers_table(store.outcomes(row.key), [row.metric])
            if not files[row.key]["id"].equals(ids):
                raise other_examples(row.source, row.target, row.key)
    classes: tuple[str, ...] = ()
    if fixed:
        named = {*truths.unique().to_pylist()}
        for table in files.values() if ranked else ():
            named |= {*table["answer"].unique().to_pylist()}
        classes = tuple(sorted(named))
    elif ranked:
        longest = max(_lengths(table).max() for table in files.values())
        classes = tuple(f"choice {1 + i}" for i in range(longest))
    given = {
        key: _given(table, first.metric, classes=classes if fixed else None)
        for key, table in files.items()
    }
    truth = _positions(truths, classes) if fixed else labels.to_numpy() if ranked else None
    return Answered(
        target=first.target,
        family=first.target_family,
        condition=first.condition,
        scoring=first.scoring,
        metric=first.metric,
        ids=tuple(ids.to_pylist()),
        classes=classes,
        fixed=fixed,
        truth=truth,
        truths=truths.to_pylist(),
        references=_characters(truths),
        prompt_tokens=base["prompt_tokens"].to_numpy(),
        base=given[first.base_key],
        tuned={(row.source, row.recipe, row.seed): given[row.key] for row in rows},
    )


def _is_fixed(table: pa.Table, truths: pa.Array, *, ranked: bool) -> bool:
    """Whether all rows seem to offer the same choices.

    Where they were ranked, there are no more answers and truths than choices in a row; where one
    was written, every label has one text and every text one label.
    """
    if ranked:
        named = pa.chunked_array([*table["answer"].chunks, truths]).unique()
        return len(named) <= int(_lengths(table)[0])
    pairs = {*zip(table["label"].to_pylist(), truths.to_pylist(), strict=True)}
    return len(pairs) == len({label for label, _ in pairs}) == len({text for _, text in pairs})


def _given(table: pa.Table, metric: str, *, classes: Sequence[str] | None) -> Given:
    """One model's answers; None for `classes` where the position of a choice is its class."""
    answer = confidence = None
    if not table["log_likelihoods"].null_count:
        answer, confidence = _picked(table)
    texts = table["answer"].combine_chunks()
    if classes is not None:
        answer = _positions(texts, classes)
    return Given(
        table[metric].to_numpy(), answer, confidence, _characters(texts), texts.to_pylist()
    )


def _picked(
    table: pa.Table,
) -> tuple[Int[np.ndarray, " examples"], Float[np.ndarray, " examples"]]:
    """Position of the likeliest choice, and its probability among those of its row."""
    lengths = _lengths(table)
    padded = np.full((len(lengths), lengths.max()), -np.inf)
    padded[np.arange(lengths.max()) < lengths[:, None]] = (
        table["log_likelihoods"].combine_chunks().flatten().to_numpy().clip(min=-1e30)
    )
    best = padded.argmax(axis=1)
    rest = np.exp(padded - padded.max(axis=1, keepdims=True)).sum(axis=1)
    return best, 1 / rest


def _lengths(table: pa.Table) -> Int[np.ndarray, " examples"]:
    """How many choices each row offers."""
    found: np.ndarray = pc.list_value_length(table["log_likelihoods"]).to_numpy()
    return found


def _begins(lists: pa.ListArray) -> Int[np.ndarray, " examples"]:
    """Where each list begins among the values of all."""
    found: np.ndarray = lists.offsets.to_numpy()[:-1] - lists.offsets[0].as_py()
    return found


def _positions(texts: pa.Array, classes: Sequence[str]) -> Int[np.ndarray, " examples"]:
    """Of each text among the classes; −1 where it is none of them."""
    found: np.ndarray = pc.fill_null(
        pc.index_in(texts, pa.array(classes, pa.string())), -1
    ).to_numpy()
    return found


def _characters(texts: pa.Array) -> Int[np.ndarray, " examples"]:
    found: np.ndarray = pc.utf8_length(texts).to_numpy()
    return found
