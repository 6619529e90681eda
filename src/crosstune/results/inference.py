"""What the cells of a matrix allow to conclude: intervals, tests, corrections, shares of variance.

Closed forms over arrays with one entry a cell: a million cells take a few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, polygamma, psi, stdtr, stdtrit
from scipy.stats import false_discovery_control

from crosstune.results.paired import Paired, bonett_price, mcnemar_mid_p
from crosstune.results.resampling import LEVEL

POWER = 0.8
CLOSED, BOOTSTRAP, T = METHODS = ("closed form", "bootstrap", "t")


@dataclass(frozen=True, slots=True)
class Inference:
    """What is known of each cell's gain; every attribute has one entry a cell.

    Attributes:
        low: Lower end of the 95 % interval of the gain.
        high: Upper end.
        method: `closed form` (paired proportions), `bootstrap` or `t` (several seeds).
        p: Two-sided, of no gain.
        detectable: Smallest gain that a test at 5 % would have found with a power of 80 %.
        examples_error: Standard error of the gain from the choice of examples.
        shared_error: The part of it that the other cells of the target share, as they have the
            same examples and base.
        seeds_error: Standard error from the choice of seeds; NaN for one seed.
    """

    low: Float[np.ndarray, " cells"]
    high: Float[np.ndarray, " cells"]
    method: np.ndarray
    p: Float[np.ndarray, " cells"]
    detectable: Float[np.ndarray, " cells"]
    examples_error: Float[np.ndarray, " cells"]
    shared_error: Float[np.ndarray, " cells"]
    seeds_error: Float[np.ndarray, " cells"]


def inference(
    cells: Paired, *, pools: Int[np.ndarray, " cells"], sources: Int[np.ndarray, " cells"]
) -> Inference:
    """Intervals and tests of all cells.

    One seed: the interval is about the one model that was tuned. Several: about the source, as
    the seeds' variance, moderated over the cells of a pool, is added to that of the examples.

    The sum of a well known variance and a poorly known one has no t distribution. Satterthwaite's
    degrees of freedom come out too large when the seeds happen to agree: with 2 seeds its interval
    covers 91 to 95 %. Here normal and t tails are averaged, weighted by the two variances, as
    Cochran weights their quantiles: 93 to 97 % in the same simulations.

    Args:
        cells: Their sums.
        pools: Cells of equal number share what is learned of the seeds' variance.
        sources: Cells of equal number were tuned on the same source, so their seeds are the same
            models and count once.

    Source:
        Bonett & Price (2012); Fagerland et al. (2013); Efron (1987); Smyth (2004) for the
        moderated variance; Cochran (1964) for the weights, which we put on tails instead of
        quantiles so that interval and p agree.
    """
    centre, error = bonett_price(cells.gain, cells.squares, cells.n, differing=cells.differing)
    closed = np.square(error)
    several = cells.seeds > 1
    variance, freedom, levelled = _of_seeds(cells, several, pools=pools, sources=sources)
    interaction = np.where(several, cells.residual, 0.0) / (cells.seeds * cells.n)
    whole = Mixture.of(centre, closed, seeds=variance, freedom=freedom, interaction=interaction)
    low, high = whole.interval()
    drawn = ~np.isnan(cells.low)
    examples = (cells.squares - np.square(cells.gain)) / np.maximum(cells.n - 1, 1)
    # Differences that are all equal, or just one, do not say how they would scatter.
    examples = np.where(examples > _ROUNDING, examples, closed)
    return Inference(
        low=np.where(drawn, cells.low, low),
        high=np.where(drawn, cells.high, high),
        method=np.where(several, T, np.where(drawn, BOOTSTRAP, CLOSED)),
        p=_p(cells, whole),
        detectable=np.minimum(
            (whole.critical(1 - LEVEL) + whole.critical(2 * (1 - POWER))) * whole.error, 1.0
        ),
        examples_error=np.sqrt(examples),
        shared_error=np.sqrt(np.clip(cells.shared, 0.0, examples)),
        seeds_error=np.where(several, np.sqrt(np.maximum(levelled - interaction, 0.0)), np.nan),
    )


_ROUNDING = 1e-20
"""A variance below this is the rounding of equal differences."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Means whose errors come from examples, which is normal, and from few seeds, which is t.

    Attributes:
        centre: Of the interval.
        error: Standard error.
        share: Of the seeds in the squared error; 0 for one seed, which leaves the normal alone.
        freedom: Degrees of freedom of what is known of the seeds' variance.
    """

    centre: Float[np.ndarray, " means"]
    error: Float[np.ndarray, " means"]
    share: Float[np.ndarray, " means"]
    freedom: Float[np.ndarray, " means"]

    @classmethod
    def of(
        cls,
        centre: Float[np.ndarray, " means"],
        examples: Float[np.ndarray, " means"],
        *,
        seeds: Float[np.ndarray, " means"],
        freedom: Float[np.ndarray, " means"],
        interaction: Float[np.ndarray, " means"],
    ) -> Mixture:
        """From the variance that comes from the examples, never 0, and from the seeds.

        Both hold the interaction of examples and seeds, so it is taken out once.
        """
        error = np.sqrt(examples + np.maximum(seeds - interaction, 0.0))
        return cls(centre, error, np.minimum(seeds / np.square(error), 1.0), freedom)

    def critical(self, tails: float) -> Float[np.ndarray, " means"]:
        """How many standard errors off both tails together have this weight."""
        return _critical(self.share, self.freedom, tails=tails)

    def interval(self) -> tuple[Float[np.ndarray, " means"], Float[np.ndarray, " means"]]:
        """Both ends of the 95 % interval of a difference, which is in [−1, 1]."""
        half = self.critical(1 - LEVEL) * self.error
        return np.maximum(self.centre - half, -1.0), np.minimum(self.centre + half, 1.0)

    def p(self) -> Float[np.ndarray, " means"]:
        """Two-sided, of no difference; agrees with the interval."""
        ratio = np.abs(self.centre) / self.error
        tails = (1 - self.share) * ndtr(-ratio) + self.share * stdtr(self.freedom, -ratio)
        p: Float[np.ndarray, " means"] = np.maximum(2 * tails, np.finfo(np.float64).tiny)
        return p


def _p(cells: Paired, whole: Mixture) -> Float[np.ndarray, " cells"]:
    """Of McNemar's or the permutation test for one seed; else of the interval's distribution."""
    p = np.where(np.isnan(cells.p), 1.0, cells.p)
    counted = cells.up >= 0
    p[counted] = mcnemar_mid_p(cells.up[counted], cells.down[counted])
    return np.maximum(np.where(cells.seeds > 1, whole.p(), p), np.finfo(np.float64).tiny)


def _critical(
    share: Float[np.ndarray, " cells"], freedom: Float[np.ndarray, " cells"], *, tails: float
) -> Float[np.ndarray, " cells"]:
    """Where both tails of the mixture of t (by its share) and normal together have this weight.

    Solved the other way round, share by place, on a grid; error below 1e-6.
    """
    normal = float(ndtri(1 - tails / 2))
    found = np.full(len(share), normal)
    for members in _groups(np.unique(freedom, return_inverse=True)[1], skipped=-1):
        widest = float(stdtrit(freedom[members[0]], 1 - tails / 2))
        if widest > normal + 1e-6:
            places = np.linspace(normal, widest, 4001)
            thin, thick = 2 * ndtr(-places), 2 * stdtr(freedom[members[0]], -places)
            found[members] = np.interp(share[members], (tails - thin) / (thick - thin), places)
    return found


def _of_seeds(
    cells: Paired,
    several: Bool[np.ndarray, " cells"],
    *,
    pools: Int[np.ndarray, " cells"],
    sources: Int[np.ndarray, " cells"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Variance of the mean over seeds, and its degrees of freedom; 0 and 1 for one seed.

    One model's seed may move all its targets alike, so a pool knows no more than its models do.
    The moderated variances of a pool are like a geometric mean and sum to less than their own, by a
    quarter with 2 seeds; the third value is raised to the same sum.
    """
    variance, freedom = np.zeros(len(several)), np.ones(len(several))
    levelled = np.zeros(len(several))
    for members in _groups(np.where(several, pools, -1), skipped=-1):
        for seeds in np.unique(cells.seeds[members]):
            same = members[cells.seeds[members] == seeds]
            found, pooled = moderated_variances(cells.seed_variance[same], freedom=int(seeds) - 1)
            models = len(np.unique(sources[same])) * (seeds - 1)
            variance[same], freedom[same] = found / seeds, min(pooled, float(models))
            whole = float(found.sum())
            own = float(cells.seed_variance[same].sum())
            levelled[same] = found / seeds * (own / whole if whole > 0 else 1.0)
    return variance, freedom, levelled


def moderated_variances(
    variances: Float[np.ndarray, " cells"], *, freedom: int
) -> tuple[Float[np.ndarray, " cells"], float]:
    """Variances drawn towards a common one as far as their scatter shows that they have it.

    With few seeds a variance of its own is nearly worthless, and one common variance is wrong
    where cells differ. Their scatter beyond chance tells how many degrees of freedom the common
    one is worth to a single cell.

    Args:
        variances: One a cell, each of `freedom` degrees.
        freedom: Seeds − 1.

    Returns:
        The moderated variances, and their degrees of freedom; infinite when the scatter is no
        larger than chance.

    Source:
        Smyth (2004), Linear models and empirical Bayes methods, section 6.2.
    """
    positive = variances[variances > 0]
    if len(positive) == 0:
        return np.zeros(len(variances)), float(freedom)
    if len(variances) == 1:
        return variances, float(freedom)
    # A variance of exactly 0 says little, and its logarithm would say everything.
    logs = np.log(np.maximum(variances, 1e-5 * np.median(positive)))
    logs += np.log(freedom / 2) - psi(freedom / 2)
    scatter = logs.var(ddof=1) - float(polygamma(1, freedom / 2))
    if scatter <= 0:
        return np.full(len(variances), variances.mean()), np.inf
    prior = 2 * _trigamma_inverse(scatter)
    common = np.exp(logs.mean() + psi(prior / 2) - np.log(prior / 2))
    return (prior * common + freedom * variances) / (prior + freedom), prior + freedom


def _trigamma_inverse(value: float) -> float:
    low, high = 1e-6, 1e12  # where trigamma is about 1e12 and 1e-12
    if not polygamma(1, high) < value < polygamma(1, low):
        return high if value <= polygamma(1, high) else low
    return float(brentq(lambda y: polygamma(1, y) - value, low, high, xtol=1e-9, rtol=1e-9))


def q_values(
    p: Float[np.ndarray, " cells"], *, families: Int[np.ndarray, " cells"]
) -> Float[np.ndarray, " cells"]:
    """Benjamini–Hochberg within each family of tests; NaN where p is.

    A family is one relation in one slice. Over all cells at once, strong same-task cells would
    make false cross-task cells significant.

    Source:
        Benjamini & Hochberg (1995).

    Example:
        >>> p = np.array([0.01, 0.02, np.nan, 0.04])
        >>> q_values(p, families=np.array([0, 0, 0, 1])).tolist()
        [0.02, 0.02, nan, 0.04]
    """
    q = np.full(len(p), np.nan)
    for members in _groups(np.where(np.isnan(p), -1, families), skipped=-1):
        q[members] = false_discovery_control(p[members], method="bh")
    return q


def _groups(labels: Int[np.ndarray, " cells"], *, skipped: int) -> Iterator[Int[np.ndarray, " _"]]:
    """Positions of the entries with equal labels."""
    order = np.argsort(labels, kind="stable")
    _, begins = np.unique(labels[order], return_index=True)
    for members in np.split(order, begins[1:]):
        if len(members) and labels[members[0]] != skipped:
            yield members


def variance_shares(
    gains: Float[np.ndarray, "sources targets"],
    *,
    examples_error: Float[np.ndarray, "sources targets"],
    seeds_error: Float[np.ndarray, "sources targets"],
    shared_error: Float[np.ndarray, "sources targets"] | None = None,
) -> dict[str, float | None]:
    """Where the differences between the gains of a matrix come from.

    A two-way analysis of variance with random effects, by the method of moments; a negative part
    counts as 0. Examples are the same down a column, so part of their noise shows as a difference
    between targets; it is taken out of `target` and left in `examples`. What a model's seed does to
    all its targets alike cannot be told from its source, and counts there.

    Args:
        gains: Complete.
        examples_error: Standard errors from the choice of examples.
        seeds_error: Standard errors from the choice of seeds; NaN for one seed.
        shared_error: The part of `examples_error` that the cells of a column share; none if None.

    Returns:
        Shares in [0, 1] of `source`, `target`, `pair` (what is particular to one source with one
        target), `seeds` (None for one seed, where `pair` holds it) and `examples`. They sum to 1;
        all None when nothing varies.

    Raises:
        ValueError: Fewer than two sources or targets, or gains that are not known.

    Source:
        Searle, Casella & McCulloch (1992), Variance components, chapter 4.
    """
    sources, targets = gains.shape
    if min(sources, targets) < 2 or np.isnan(gains).any():
        raise ValueError("shares of variance need two sources, two targets, and no gap")
    rows = gains.mean(axis=1, keepdims=True) - gains.mean()
    columns = gains.mean(axis=0, keepdims=True) - gains.mean()
    rest = gains - gains.mean() - rows - columns
    between = np.square(rest).sum() / ((sources - 1) * (targets - 1))
    one_seed = bool(np.isnan(seeds_error).any())
    examples = float(np.square(examples_error).mean())
    shared = 0.0 if shared_error is None else float(np.square(shared_error).mean())
    seeds = 0.0 if one_seed else float(np.square(seeds_error).mean())
    found = {
        "source": max(np.square(rows).sum() / (sources - 1) - between / targets, 0.0),
        "target": max(np.square(columns).sum() / (targets - 1) - between / sources - shared, 0.0),
        "pair": max(between - (examples - shared) - seeds, 0.0),
        "seeds": seeds,
        "examples": examples,
    }
    whole = float(sum(found.values()))
    shares = {name: float(part) / whole if whole > 0 else None for name, part in found.items()}
    return shares | ({"seeds": None} if one_seed else {})
