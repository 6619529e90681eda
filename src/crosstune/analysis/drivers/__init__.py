"""Which traits of datasets explain the gains of a matrix, and whether any does.

- `explanation`: everything about one table of gains, as a frozen value
- `Trait`, `measured`: traits of sources, targets and pairs; those of stored profiles
- `judged`, `judged_pairs`, `explained`, `importance`: predictions of what was left out, importance
- `mixed`: the mixed model with crossed sources and targets in closed form
- `drivers`: the analysis, from a store to sentences and tables
"""

from crosstune.analysis.drivers.explanation import Explanation, explanation
from crosstune.analysis.drivers.judging import (
    Importance,
    explained,
    importance,
    judged,
    judged_pairs,
)
from crosstune.analysis.drivers.regression import Mixed, mixed
from crosstune.analysis.drivers.tables import drivers
from crosstune.analysis.drivers.traits import Side, Trait, measured

__all__ = [
    "Explanation",
    "Importance",
    "Mixed",
    "Side",
    "Trait",
    "drivers",
    "explained",
    "explanation",
    "importance",
    "judged",
    "judged_pairs",
    "measured",
    "mixed",
]
