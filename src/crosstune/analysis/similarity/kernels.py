"""Centred kernels of states: their inner products are independence criteria (HSIC).

Cost of one kernel is O(examples² · width) and examples² numbers; of a pair, examples² products.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg.blas import dsyrk

FEWEST = 4
"""Examples without which the unbiased criterion is not defined."""

Kernel = Float[np.ndarray, "examples examples"]


def centred_states(
    states: Float[np.ndarray, "examples width"], *, fewest: int = FEWEST
) -> Float[np.ndarray, "examples width"]:
    """States less their mean, in double precision.

    Raises:
        ValueError: Too few examples, a number is not finite, or all examples have one state.
    """
    if len(states) < fewest:
        raise ValueError(f"{len(states)} examples are too few; at least {fewest} are needed")
    wide = states.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("states hold numbers that are not finite")
    centred = wide - wide.mean(axis=0)
    # The mean of equal numbers is off by rounding, never by more than this.
    if np.abs(centred).max() <= 1e-12 * np.abs(wide).max():
        raise ValueError("the states are constant over the examples, so nothing can be compared")
    return np.asarray(centred)


def linear_kernel(states: Float[np.ndarray, "examples width"]) -> Kernel:
    """Inner products of centred states."""
    upper = dsyrk(1.0, np.asfortranarray(centred_states(states)))
    return np.asarray(upper + np.triu(upper, 1).T)


def gaussian(products: Kernel, bandwidth: float = 0.8) -> Kernel:
    """The Gaussian kernel of states, from their inner products.

    exp(−d² / 2σ²) of distances d; σ is this share of their median, so units do not matter.

    Source:
        Kornblith et al. (2019), section 4: 0.8 of the median finds corresponding layers best.
    """
    sizes = products.diagonal()
    squares = np.maximum(sizes[:, None] + sizes - 2 * products, 0)
    width = bandwidth**2 * np.median(squares[np.triu_indices(len(squares), 1)])
    if width == 0:
        raise ValueError("most examples have one state, so distances have no scale")
    return np.asarray(np.exp(-squares / (2 * width)))


def unbiased(kernel: Kernel) -> Kernel:
    """U-centred, with an empty diagonal: inner products are n(n − 3) × the unbiased HSIC.

    Source:
        Song et al. (2012), eq. 5, in the form of Székely & Rizzo (2014), definition 2.
    """
    n = len(kernel)
    made = kernel.copy()
    np.fill_diagonal(made, 0)
    sums = made.sum(axis=0) / (n - 2)
    made -= sums[:, None] + (sums - sums.sum() / (n - 1))
    np.fill_diagonal(made, 0)
    return np.asarray(made)


def biased(kernel: Kernel) -> Kernel:
    """Centred by rows and columns: inner products are (n − 1)² × the biased HSIC.

    Source:
        Gretton et al. (2005), eq. 9; near 1 for unrelated states wider than there are examples.
    """
    means = kernel.mean(axis=0)
    return np.asarray(kernel - means - means[:, None] + means.mean())


def normalised(kernel: Kernel) -> Kernel:
    """Of length 1, so that an inner product is an alignment."""
    return np.asarray(kernel / np.linalg.norm(kernel))


def alignment(x: Kernel, y: Kernel) -> float:
    """Inner product of two kernels, prepared alike."""
    return float(np.vdot(x, y))
