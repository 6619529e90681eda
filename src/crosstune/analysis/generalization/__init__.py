"""How tuned models generalise: which arm to ship for which use, and how surely.

- `arms`: what is compared: arms, groups of pairs, the outcomes of one target at a time
- `comparison`: arms against one another on the same examples
- `sensitivity`: what wording and demonstrations alone change
- `advice`: what to say of it
- `tables`: the analysis, from a store to sentences and tables
"""

from crosstune.analysis.generalization.tables import generalization

__all__ = ["generalization"]
