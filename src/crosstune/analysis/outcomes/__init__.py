"""What models answered, row by row, and how tuning changed it.

- `answers`: the answers of all models to one target, as arrays over the same examples
- `summaries`: the one pass over all answers that reduces them to counts, shared by what follows
- `traits`: rows whose correctness changed, and what they have in common
- `cells`: what matrix, plan and profiles add to a cell
- `confusion`, `flips`, `lengths`: the analyses
"""

from crosstune.analysis.outcomes.answers import Answered, Given, answered
from crosstune.analysis.outcomes.confusion import Shift, confusion, dense, precision_recall, shifts
from crosstune.analysis.outcomes.flips import flipped, flips, shared_traits
from crosstune.analysis.outcomes.lengths import densities, lengths
from crosstune.analysis.outcomes.summaries import Calibration, Counts, Summary, summaries, summary
from crosstune.analysis.outcomes.traits import Trait, flipped_rows, traits

__all__ = [
    "Answered",
    "Calibration",
    "Counts",
    "Given",
    "Shift",
    "Summary",
    "Trait",
    "answered",
    "confusion",
    "dense",
    "densities",
    "flipped",
    "flipped_rows",
    "flips",
    "lengths",
    "precision_recall",
    "shared_traits",
    "shifts",
    "summaries",
    "summary",
    "traits",
]
