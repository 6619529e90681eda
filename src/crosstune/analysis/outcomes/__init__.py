"""What models answered, row by row, and how that changed.

- `answers`: the answers of all models to one target, read as arrays
"""

from crosstune.analysis.outcomes.answers import Answered, Given, answered

__all__ = ["Answered", "Given", "answered"]
