"""Measures of similarity by name, each with the changes of the states that it does not see.

A value depends on the number of examples n and on the widths: tell them beside it. `linear_cka`,
`rbf_cka` are about 0 for unrelated states at any width; all others rise with width / n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from crosstune.analysis.similarity import kernels, subspaces
from crosstune.analysis.similarity.alignments import aligned_map, stacked
from crosstune.registry import Registry

States = Float[np.ndarray, "_ _"]
"""Hidden states, one row an example."""

Invariance = Literal["shift", "scale", "rotation", "linear"]
"""`shift`: one vector added to all states; `scale`: all multiplied by one number; `rotation`: an
orthogonal matrix; `linear`: any invertible one. Of either of the two sets of states."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A similarity of two sets of states of the same examples.

    Attributes:
        prepared: What of it is of one set alone; made once for every model and layer.
        between: The similarity of two that are prepared.
        of_products: As `prepared`, from inner products of centred states; None where these do not
            hold what the measure needs.
        invariances: What it does not see, in either set.
    """

    prepared: Callable[[Any], Any]
    between: Callable[[Any, Any], float]
    invariances: frozenset[Invariance]
    of_products: Callable[[Any], Any] | None = None

    def __call__(self, x: States, y: States) -> float:
        """The similarity of two sets of states, rows in the same order.

        Raises:
            ValueError: The examples are not the same number, too few, or all alike.
        """
        if len(x) != len(y):
            raise ValueError(f"{len(x)} and {len(y)} examples cannot be the same ones")
        return self.between(self.prepared(x), self.prepared(y))


def _alignment(kernel: Callable[[Any], Any], centred: Callable[[Any], Any]) -> Measure:
    def of_products(products: kernels.Kernel) -> kernels.Kernel:
        return kernels.normalised(centred(kernel(products)))

    def prepared(states: States) -> kernels.Kernel:
        return of_products(kernels.linear_kernel(states))

    invariances: frozenset[Invariance] = frozenset({"shift", "scale", "rotation"})
    return Measure(prepared, kernels.alignment, invariances, of_products)


def _itself(products: kernels.Kernel) -> kernels.Kernel:
    return products


linear_cka = _alignment(_itself, kernels.unbiased)
"""Centred kernel alignment, unbiased: 1 if one is a rotation and rescaling of the other, about 0
for unrelated states (a little below is possible). Song et al. (2012); Kornblith et al. (2019)."""

biased_cka = _alignment(_itself, kernels.biased)
"""The alignment as it was first published. Wrong where states are wide: unrelated ones of width
1,024 have .91 with 100 examples and .51 with 1,000."""

rbf_cka = _alignment(kernels.gaussian, kernels.unbiased)
"""`linear_cka` of a Gaussian kernel: near neighbours count, not directions of large variance."""

cca = Measure(
    subspaces.span,
    subspaces.mean_correlation,
    frozenset({"shift", "scale", "rotation", "linear"}),
    subspaces.span_of_products,
)
"""Mean canonical correlation, in [0, 1]. Directions of noise count as much as any."""

svcca = Measure(
    subspaces.leading_span,
    subspaces.mean_correlation,
    frozenset({"shift", "scale", "rotation"}),
    lambda products: subspaces.leading(subspaces.span_of_products(products)),
)
"""`cca` of the leading directions that hold 99 % of the variance. Raghu et al. (2017)."""

pwcca = Measure(subspaces.span, subspaces.weighted_correlation, frozenset({"shift", "scale"}))
"""`cca` weighted by what the variates explain of the first states, neuron by neuron; so it sees
rotations, and which states are named first. Morcos et al. (2018)."""

procrustes = Measure(
    subspaces.span,
    subspaces.rotated_overlap,
    frozenset({"shift", "scale", "rotation"}),
    subspaces.span_of_products,
)
"""What the best rotation leaves in common, in [0, 1]. Schönemann (1966)."""

MEASURES: Registry[Measure] = Registry("similarity")
"""Measures by name."""

for _name, _measure in (
    ("linear_cka", linear_cka),
    ("biased_cka", biased_cka),
    ("rbf_cka", rbf_cka),
    ("cca", cca),
    ("svcca", svcca),
    ("pwcca", pwcca),
    ("procrustes", procrustes),
):
    MEASURES.add(_name)(_measure)


def similarities(
    xs: Sequence[States], ys: Sequence[States], measure: Measure = linear_cka
) -> Float[np.ndarray, "layers_x layers_y"]:
    """Every layer of one model against every layer of another, on the same examples.

    What is of one layer alone is made once; memory is that of the prepared layers: for
    `linear_cka`, which is computed in single precision, 4 examples² bytes a layer.

    Example:
        >>> layers = [np.random.default_rng(i).normal(size=(50, 8)) for i in range(2)]
        >>> similarities(layers, layers).round(2).diagonal()
        array([1., 1.])
    """
    if measure is linear_cka:
        return aligned_map(stacked(xs), stacked(ys))
    rows, columns = [[measure.prepared(states) for states in part] for part in (xs, ys)]
    return np.array([[measure.between(row, column) for column in columns] for row in rows])
