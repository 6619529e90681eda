"""What a matrix means: pure functions, a frozen value in, a frozen value out.

- `findings`: what every analysis gives, and where all are named
- `generalization`: which arm to ship for which use, and how surely
- `arms`, `comparison`, `sensitivity`, `advice`: its parts, from outcomes to sentences
- `wording`: how numbers are written in sentences

This room reads `tasks` and `results`; it never imports torch or `study`, so that it runs on a
laptop over results made anywhere. Importing it names its analyses.
"""

from crosstune.analysis import generalization

__all__ = ["generalization"]
