"""One self-contained page about a study: no network, opens from disk.

Everything the study names itself is escaped: text by the template, values for the script by
`payload`. The same results give the same bytes. Cost is a few passes over the cells: a page of
100 sources and 100 targets in two ways takes seconds and has about 7 MB.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from crosstune.analysis.findings import ANALYSES, Analysis
from crosstune.analysis.wording import counted
from crosstune.errors import CrosstuneError, InputError
from crosstune.report.facts import Entries, facts, sentence, tuned_models, tuning
from crosstune.report.findings import readable
from crosstune.report.payload import embedded, payload
from crosstune.report.words import headlines, shares, warnings
from crosstune.results.content import Damaged, content
from crosstune.results.matrix import Row, TransferMatrix
from crosstune.results.store import Kind, Store

MOST_SCORES = 5_000
"""Rows of the table of provenance; a longer one is left to scores.csv."""

MOST_BYTES = 12_000_000
"""Of what is drawn, so that a page has less than 20 MB."""

MOST_ROWS = 200
"""Rows of a table of an analysis; a longer one is left to the command line."""

FEW_ROWS = 12
"""Rows of a table of an analysis that is not folded away, as the first one is not either."""

VISIBLE = 25
"""Warnings of a kind that are not folded away."""

_FIRST = ("interventions", "drivers", "abilities", "side-effects", "generalization")
"""Analyses that stand before the others, which follow by name."""

_SCRIPTS = ("figures.js", "matrix.js", "analyses.js", "page.js")


def report(store: Store | Path, *, matrix: TransferMatrix | None = None) -> str:
    """The page of a stored study.

    Args:
        store: The study's.
        matrix: The study's, or a part of it; read from the store if None, which costs hashing
            every score.

    Returns:
        HTML. What is not known is told as such: the study may be incomplete.

    Raises:
        InputError: There is no study, it was never planned, its files cannot be read, or the
            matrix is too large for a page.
    """
    store = store if isinstance(store, Store) else Store(store)
    matrix = TransferMatrix.of(store) if matrix is None else matrix
    return page(
        matrix,
        study=store.study,
        jobs=_entries(store, "adapters", matrix=matrix, columns=["job_key"]),
        cells=_entries(store, "scores", matrix=matrix, columns=["key", "base_key"]),
        analyses=[*_analyses(store, matrix)],
    )


def _analyses(store: Store, matrix: TransferMatrix) -> Iterator[Analysis]:
    """What every analysis found; one that cannot be made says why, and costs the page no more.

    Costs what they cost, mostly reading every score once more.
    """
    names = ANALYSES.names()
    for name in sorted(names, key=[*_FIRST, *names].index):
        try:
            yield ANALYSES[name](store, matrix)
        except Exception as error:  # noqa: BLE001 (one of another package may raise anything)
            kind = "" if isinstance(error, CrosstuneError) else f"{type(error).__name__}: "
            told = f"It could not be made: {kind}{error}"
            yield Analysis(name, name.replace("-", " ").capitalize(), (told,), ())


def page(
    matrix: TransferMatrix,
    *,
    study: Mapping[str, Any],
    jobs: Entries,
    cells: Entries,
    analyses: Sequence[Analysis] = (),
) -> str:
    """The page of a study that was read.

    Args:
        matrix: The study's.
        study: What study.json says.
        jobs: What job.json says, by the key of the adapter; of planned ones, as far as known.
        cells: What cell.json says, by the key of the score; likewise, the base's among them.
        analyses: What was found in it, each a section; those without tables share one.

    Raises:
        InputError: The matrix is too large for a page.
    """
    room = resources.files("crosstune.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scores, told = matrix.rows, warnings(matrix)
    shown = [analysis for analysis in analyses if analysis.tables]
    drawn, left_out = _drawn(matrix, study=str(study["name"]), jobs=jobs, analyses=shown)
    script = "\n".join((room / name).read_text("utf-8") for name in _SCRIPTS)
    text = environment.from_string((room / "page.html").read_text("utf-8")).render(
        name=str(study["name"]),
        model=str(study["model"]),
        base_sha256=study["base_sha256"],
        sentence=sentence(scores, study),
        headlines=headlines(matrix.cells.to_pylist()),
        facts=facts(matrix.cells, scores, study=study, jobs=jobs, cells=cells),
        scope=_scope(matrix),
        warnings=told,
        fall_free="Scores that fell" not in told,
        visible=VISIBLE,
        unknown_curves=_unknown_curves(scores, jobs),
        count=len(scores),
        scores=scores if len(scores) <= MOST_SCORES else None,
        shares=shares(matrix),
        analyses=shown,
        silent=[analysis for analysis in analyses if not analysis.tables],
        few=FEW_ROWS,
        readable=readable,
        most_rows=MOST_ROWS,
        css=(room / "page.css").read_text("utf-8"),
        script=script,
        script_hash=_hash(script),
        payload=drawn,
        left_out=left_out,
    )
    # JSON can hold half a pair of surrogates, which no file can.
    return text.strip().encode("utf-8", "replace").decode("utf-8") + "\n"


def _hash(script: str) -> str:
    """What the page's policy knows its script by: a browser runs no other, should one get in."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _drawn(matrix: TransferMatrix, **beside: Any) -> tuple[str, bool]:
    """What the script draws, and whether distributions of answers had to be left out of it."""
    for answers in (True, False):
        drawn = embedded(payload(matrix, answers=answers, **beside))
        if len(drawn) <= MOST_BYTES:
            return drawn, not answers
    raise InputError(
        f"A page cannot hold this matrix ({matrix.cells.num_rows:,} cells): make one of a "
        "part of it with TransferMatrix.slice, or read matrix.csv"
    )


def _entries(
    store: Store, kind: Kind, *, matrix: TransferMatrix, columns: Sequence[str]
) -> dict[str, Any]:
    """What the JSON files of planned entries say, not verified; damaged ones are left out."""
    name = "job.json" if kind == "adapters" else "cell.json"
    keys = {key: None for column in columns for key in matrix.scores[column].unique().to_pylist()}
    found = {key: _content(store.folder / kind / key / name) for key in keys}
    return {key: told for key, told in found.items() if isinstance(told, dict)}


def _content(path: Path) -> Any:
    try:
        return content(path)
    except Damaged:
        return None


def _scope(matrix: TransferMatrix) -> str:
    seeds = max(matrix.cells["seeds"].to_pylist(), default=0)
    if seeds == 1:
        return "One seed: intervals hold for this model, not for this source."
    return f"{counted(seeds, 'seed')}: intervals hold for the source." if seeds else ""


def _unknown_curves(scores: Sequence[Row], jobs: Entries) -> str:
    models = {model.key for model in tuned_models(scores)}
    unknown = [key for key in models if tuning(jobs.get(key, {})) is None]
    return counted(len(unknown), "model") if unknown else ""
