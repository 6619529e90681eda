"""Where in its depth a model holds what it learned.

- `segmentation`: the layers at which a curve over depth bends, if any can be told
"""

from crosstune.analysis.layers.segmentation import Segmentation, segmentation

__all__ = ["Segmentation", "segmentation"]
