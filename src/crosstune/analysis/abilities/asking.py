"""Abilities of a study, of a table in Python, and of a CSV file.

Costs some seconds for each recipe and condition of 50 × 100, apart from reading the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from crosstune.analysis.abilities.factors import Rotation
from crosstune.analysis.abilities.found import Words, abilities
from crosstune.analysis.abilities.reading import read_table
from crosstune.analysis.abilities.tables import analysis
from crosstune.analysis.findings import ANALYSES, Analysis, edited
from crosstune.analysis.wording import counted, listed
from crosstune.results.grid import Grid
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store


def abilities_of(
    table: Float[np.ndarray, "models tasks"],
    models: Sequence[str],
    tasks: Sequence[str],
    *,
    families: Sequence[str] = (),
    noise: Float[np.ndarray, "models tasks"] | None = None,
    scale: bool = True,
    rotation: Rotation = "varimax",
    seed: int = 0,
) -> Analysis:
    """Abilities of any table of models × tasks.

    Args:
        table: Scores or gains; what is not finite is not known.
        models: Names of the rows, each once.
        tasks: Names of the columns, each once.
        families: Of the tasks, for proposing names.
        noise: Standard error of each number, without what is common to a task.
        scale: Divide each task by its standard deviation; its mean is always taken out.
        rotation: Of several abilities.
        seed: Of everything that is drawn.

    Example:
        >>> table = np.random.default_rng(0).standard_normal((5, 6))
        >>> abilities_of(table, list("abcde"), list("uvwxyz")).sentences
        ('Nothing is said of the abilities: 5 models, at least 8 are needed.',)
    """
    words = Words("model", "task")
    found = abilities(
        table,
        models,
        tasks,
        families=families,
        noise=noise,
        words=words,
        scale=scale,
        rotation=rotation,
        seed=seed,
    )
    return analysis({"": found}, words, scale=scale, rotation=rotation)


def abilities_of_file(
    path: Path | str,
    *,
    tasks: Sequence[str] = (),
    scale: bool = True,
    rotation: Rotation = "varimax",
    seed: int = 0,
) -> Analysis:
    """Abilities of a table of models × tasks in a CSV file; rows with gaps are left out.

    Args:
        path: The first column names the models, the first row the tasks.
        tasks: The columns to take; all that hold numbers if empty.
        scale: Divide each task by its standard deviation; its mean is always taken out.
        rotation: Of several abilities.
        seed: Of everything that is drawn.

    Raises:
        InputError: There is no such file, or it is no such table; says where.
    """
    read = read_table(path, tasks=tasks)
    made = abilities_of(
        read.table, read.models, read.tasks, scale=scale, rotation=rotation, seed=seed
    )
    told = []
    if read.left_out:
        gaps = counted(len(read.left_out), "model")
        told.append(
            f"Left out as they have gaps: {gaps} ({listed([*read.left_out])}); "
            f"{read.gaps:,} of them in {read.emptiest}, which has most."
        )
    if not tasks:
        told.append(
            f"All columns of numbers were taken as tasks ({listed([*read.tasks])}); "
            "naming some (--task) takes these alone."
        )
    if read.texts:
        told.append(f"Columns without numbers, not used: {listed([*read.texts])}.")
    return replace(made, sentences=(*made.sentences, *told))


@ANALYSES.add("abilities")
def study_abilities(store: Store, matrix: TransferMatrix) -> Analysis:
    """Abilities behind the gains, for every recipe and condition; edited sources are left out."""
    words, left_out, found = Words("source", "target"), edited(store), {}
    for (recipe, condition), part in matrix.slices().items():
        grid = part.grid()
        rows = [i for i, source in enumerate(grid.sources) if source not in left_out]
        found[f"{recipe} × {condition}"] = abilities(
            grid.gains[rows],
            [grid.sources[i] for i in rows],
            grid.targets,
            families=grid.target_families,
            noise=own_noise(grid)[rows],
            words=words,
        )
    made = analysis(found, words, scale=True, rotation="varimax")
    if not left_out:
        return made
    told = f"Left out, being copies of other sources: {listed(sorted(left_out))}."
    return replace(made, sentences=(*made.sentences, told))


def own_noise(grid: Grid) -> Float[np.ndarray, "sources targets"]:
    """Standard errors of the gains without what a target's cells share; of examples for one seed.

    What the cells of a target share (same examples, same base) moves all of them alike, and is
    taken out with the mean of the target.
    """
    own = np.square(grid.examples_error) - np.square(np.nan_to_num(grid.shared_error))
    both: np.ndarray = np.sqrt(
        np.maximum(np.nan_to_num(own), 0.0) + np.square(np.nan_to_num(grid.seeds_error))
    )
    return both
