"""Abilities: latent columns of a table of models × tasks, and how surely they are there.

- `components`: principal components
- `factors`: factor analysis and rotations, components where factors cannot be had
- `number`: how many are beyond chance and tell held-out cells
- `stability`: intervals of loadings, and halves against each other
- `naming`: what an ability may be called
- `found`: all of it for one table
- `tables`, `telling`: what is shown and said
- `reading`: a table from a CSV file
- `asking`: the analysis of a study, of a table, of a file
"""

from crosstune.analysis.abilities.asking import (
    abilities_of,
    abilities_of_file,
    study_abilities,
)
from crosstune.analysis.abilities.components import Components, components
from crosstune.analysis.abilities.factors import Solution, rotated, solution
from crosstune.analysis.abilities.found import Abilities, abilities
from crosstune.analysis.abilities.number import Number, held_out_errors, number_of_abilities
from crosstune.analysis.abilities.reading import Scores, read_table
from crosstune.analysis.abilities.stability import Stability, congruence, stability

__all__ = [
    "Abilities",
    "Components",
    "Number",
    "Scores",
    "Solution",
    "Stability",
    "abilities",
    "abilities_of",
    "abilities_of_file",
    "components",
    "congruence",
    "held_out_errors",
    "number_of_abilities",
    "read_table",
    "rotated",
    "solution",
    "stability",
    "study_abilities",
]
