"""Where in its depth a model holds what it learned.

- `probes`: which kept states belong together
- `curves`: similarity with a task's control, layer by layer, with its error over examples
- `depth`: what curves of many tasks have in common
- `pair`: two models on the same prompts
- `segmentation`: the layers at which a curve over depth bends, if any can be told
- `telling`, `tables`: the analysis, from a store to sentences, tables and figures
"""

from crosstune.analysis.layers.curves import measure_of
from crosstune.analysis.layers.pair import compare
from crosstune.analysis.layers.segmentation import Segmentation, segmentation
from crosstune.analysis.layers.tables import layers, layers_by

__all__ = ["Segmentation", "compare", "layers", "layers_by", "measure_of", "segmentation"]
