"""What one change of a source, or of the tokens that carry its loss, did: cause, not correlation.

- `changes`: what a study changed on purpose, and what it is compared with
- `differences`: edited minus original on the same examples and seeds
- `effects`: what to say of it
- `tables`: the analysis, from a store to sentences and tables
"""

from crosstune.analysis.interventions.changes import Intervention, interventions_of
from crosstune.analysis.interventions.differences import against_originals, mean_intervals
from crosstune.analysis.interventions.tables import interventions

__all__ = [
    "Intervention",
    "against_originals",
    "interventions",
    "interventions_of",
    "mean_intervals",
]
