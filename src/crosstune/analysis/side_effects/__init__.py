"""What tuning on a source does beside what it was tuned for, the worst first.

- `harm`: targets harmed and helped, abilities of the base that fell, one way against the other
- `drawn`: labels written where text was asked for, lengths and classes drawn towards the source's
- `effects`: what to say of it
- `tables`: the analysis, from a store to sentences and tables
"""

from crosstune.analysis.side_effects.drawn import length_pull
from crosstune.analysis.side_effects.harm import asymmetry
from crosstune.analysis.side_effects.tables import side_effects

__all__ = ["asymmetry", "length_pull", "side_effects"]
