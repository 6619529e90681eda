"""What a matrix means: pure functions, a frozen value in, a frozen value out.

- `findings`: what every analysis gives, and where all are named
- `abilities`: what few directions the gains have, with a scree against chance
- `profile`: what the rows of sources and targets are like, and how alike they are
- `drivers`: which traits of a source explain its gains
- `side_effects`: what a source did beside its own task
- `interventions`: what one change of a source's rows or loss caused
- `outcomes`: answers read once for confusion, flips and lengths
- `generalization`: which arm to ship for which use, and how surely
- `similarity`: how alike two sets of hidden states are, in six measures
- `layers`: in which layers models hold what tuning on a task teaches
- `wording`: how numbers are written in sentences

This room reads `tasks` and `results`; it never imports torch or `study`, so that it runs on a
laptop over results made anywhere. Importing it names its analyses.
"""

from crosstune.analysis import (
    abilities,
    drivers,
    generalization,
    interventions,
    layers,
    outcomes,
    profile,
    side_effects,
)

__all__ = [
    "abilities",
    "drivers",
    "generalization",
    "interventions",
    "layers",
    "outcomes",
    "profile",
    "side_effects",
]
