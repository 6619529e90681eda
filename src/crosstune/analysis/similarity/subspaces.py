"""Spans of states: canonical correlations, and what a rotation leaves.

A set of states is kept as its thin singular decomposition, from which a pair costs one product
and one decomposition of about width × width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from crosstune.analysis.similarity.kernels import Kernel, centred_states


class Span(NamedTuple):
    """Centred states as basis · sizes · directions; what is zero up to rounding is left out.

    Attributes:
        basis: Orthonormal columns.
        sizes: Singular values, falling.
        directions: Orthonormal rows.
    """

    basis: Float[np.ndarray, "examples rank"]
    sizes: Float[np.ndarray, " rank"]
    directions: Float[np.ndarray, "rank width"]


def span(states: Float[np.ndarray, "examples width"]) -> Span:
    """All directions in which the states vary."""
    centred = centred_states(states, fewest=3)
    basis, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    kept = int((sizes > sizes[0] * max(centred.shape) * np.finfo(np.float64).eps).sum())
    return Span(basis[:, :kept], sizes[:kept], directions[:kept])


def span_of_products(products: Kernel) -> Span:
    """The same from inner products of centred states; directions are then not known.

    Squares lose half of the digits: directions below 1e-5 of the largest are taken for rounding,
    as those of half-precision states are.
    """
    squares, basis = np.linalg.eigh(products)
    kept = squares > squares[-1] * 1e-10
    sizes = np.sqrt(squares[kept][::-1])
    return Span(basis[:, kept][:, ::-1], sizes, np.zeros((len(sizes), 0)))


def leading_span(states: Float[np.ndarray, "examples width"], share: float = 0.99) -> Span:
    """The fewest leading directions that hold this share of the variance."""
    return leading(span(states), share)


def leading(whole: Span, share: float = 0.99) -> Span:
    """The part of a span that holds this share of the variance, in the fewest directions."""
    basis, sizes, directions = whole
    held = np.cumsum(sizes**2) / np.sum(sizes**2)
    kept = int(np.searchsorted(held, share - 1e-12)) + 1
    return Span(basis[:, :kept], sizes[:kept], directions[:kept])


def canonical_correlations(x: Span, y: Span) -> Float[np.ndarray, " fewer"]:
    """Falling, in [0, 1]; as many as the smaller span has directions.

    Raises:
        ValueError: The spans fill the room that so many examples leave, so they agree whatever
            the states are.

    Source:
        Björck & Golub (1973): singular values of the product of orthonormal bases.
    """
    _has_room(x, y)
    found = np.linalg.svd(x.basis.T @ y.basis, compute_uv=False)
    return np.asarray(np.clip(found, 0, 1))


def mean_correlation(x: Span, y: Span) -> float:
    """Mean canonical correlation."""
    return float(canonical_correlations(x, y).mean())


def weighted_correlation(x: Span, y: Span) -> float:
    """Canonical correlations weighted by how much of x's neurons each of its variates explains.

    Source:
        Morcos et al. (2018), section 3.
    """
    _has_room(x, y)
    turned, found, _ = np.linalg.svd(x.basis.T @ y.basis, full_matrices=False)
    # Inner products of x's variates with x's columns.
    weights = np.abs((turned.T * x.sizes) @ x.directions).sum(axis=1)
    return float(np.average(np.clip(found, 0, 1), weights=weights))


def rotated_overlap(x: Span, y: Span) -> float:
    """1 − half the squared Procrustes distance of centred states of size 1: in [0, 1].

    Source:
        Schönemann (1966); Williams et al. (2021), eq. 6.
    """
    product = (x.basis * x.sizes).T @ (y.basis * y.sizes)
    overlap = np.linalg.svd(product, compute_uv=False).sum()
    return float(min(1.0, overlap / np.linalg.norm(x.sizes) / np.linalg.norm(y.sizes)))


def _has_room(x: Span, y: Span) -> None:
    examples, filled = len(x.basis), len(x.sizes) + len(y.sizes)
    if filled > examples - 1:
        raise ValueError(
            f"states of {len(x.sizes)} and {len(y.sizes)} directions need at least {filled + 1} "
            f"examples to be correlated, not {examples}; linear_cka does with fewer"
        )
