"""How alike two sets of hidden states of the same examples are.

- `measures`: the measures by name, each with what it does not see (its invariances)
- `kernels`: centred kernels, from which kernel alignments are one product a pair
- `subspaces`: spans of states, and how they stand to each other
- `surety`: a permutation null and an interval over examples

States are arrays of examples × width. Everything of one set of states alone is made once
(`Measure.prepared`), so that all layers against all layers cost one small product a pair.
"""

from crosstune.analysis.similarity.measures import (
    MEASURES,
    Measure,
    cca,
    linear_cka,
    procrustes,
    pwcca,
    rbf_cka,
    similarities,
    svcca,
)
from crosstune.analysis.similarity.surety import Surety, surety

__all__ = [
    "MEASURES",
    "Measure",
    "Surety",
    "cca",
    "linear_cka",
    "procrustes",
    "pwcca",
    "rbf_cka",
    "similarities",
    "surety",
    "svcca",
]
