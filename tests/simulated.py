"""Matrices whose true gains are known, with outcomes that resemble those of real models.

Every example has a difficulty that base and tuned models share; a model adds its own luck, part of
it common to the seeds of a source. A seed moves the whole score of its model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from crosstune.results.inference import Inference, inference, q_values
from crosstune.results.paired import Paired, paired


@dataclass(frozen=True)
class Setting:
    """What a simulated study is like.

    Attributes:
        sources: Rows.
        targets: Columns.
        seeds: Models a source.
        seed_sd: Standard deviation of a score over seeds (root mean square over the cells).
        shared: Whether a model's seed moves all targets by the same draw, or each by its own.
        spread: Standard deviation over the cells of the logarithm of the seeds' standard deviation.
        text: Outcomes skewed in [0, 1] with many zeros; else 0 or 1.
        examples: Least and most test examples of a target.
        gain: True gains are drawn between −gain and gain.
        level: Expected score of the base; drawn for every target if None.
    """

    sources: int = 4
    targets: int = 10
    seeds: int = 1
    seed_sd: float = 0.03
    shared: bool = True
    spread: float = 0.0
    text: bool = False
    examples: tuple[int, int] = (100, 500)
    gain: float = 0.2
    level: float | None = None


@dataclass(frozen=True)
class Simulated:
    """Sums and truth; one entry a cell, targets one after another, sources within."""

    cells: Paired
    truth: Float[np.ndarray, " cells"]
    seed_sd: Float[np.ndarray, " cells"]
    gains: Float[np.ndarray, "cells seeds"]
    sources: np.ndarray

    def inference(self) -> Inference:
        """All cells as one pool."""
        return inference(self.cells, pools=np.zeros_like(self.sources), sources=self.sources)


def simulated(
    setting: Setting,
    generator: np.random.Generator,
    *,
    gains: Float[np.ndarray, "targets sources"] | None = None,
    kept: float = 0.0,
    resamples: int = 1000,
) -> Simulated:
    """One matrix. With one seed the truth is the gain of the very models, else the expected one.

    Args:
        setting: What it is like.
        generator: Of everything that is drawn.
        gains: The true ones; drawn if None.
        kept: Share of the examples that every tuned model answers as the base does.
        resamples: Of bootstrap and permutation.
    """
    sources, seeds = setting.sources, setting.seeds
    common = generator.standard_normal((sources, seeds))
    parts, truth, sds, found = [], [], [], []
    for target in range(setting.targets):
        zeros = generator.uniform(0.1, 0.6) if setting.text and setting.level is None else 0.0
        level = (1 - zeros) / 3 if setting.text else generator.uniform(0.3, 0.9)
        level = level if setting.level is None else setting.level
        top = 0.8 * (1 - zeros) if setting.text else 0.9
        drawn = generator.uniform(-setting.gain, setting.gain, sources)
        wanted = drawn if gains is None else gains[target]
        gain = np.clip(level + wanted, 0.1 if setting.text else 0.15, top) - level
        sd = setting.seed_sd * np.exp(
            setting.spread * generator.standard_normal(sources) - setting.spread**2
        )
        effect = common if setting.shared else generator.standard_normal((sources, seeds))
        score = np.clip(level + gain[:, None] + sd[:, None] * effect, 0.02, 0.98 - zeros)
        n = int(generator.integers(setting.examples[0], setting.examples[1], endpoint=True))
        base, tuned = _outcomes(level, score, n=n, zeros=zeros, text=setting.text, luck=generator)
        tuned = np.where(generator.uniform(size=tuned.shape) < kept, base, tuned)
        parts.append(paired(base, tuned, resamples=resamples))
        truth.append((1 - kept) * (gain if seeds > 1 else score[:, 0] - level))
        sds.append(sd)
        found.append((tuned - base).mean(axis=2))
    return Simulated(
        Paired.joined(parts),
        np.concatenate(truth),
        np.concatenate(sds),
        np.concatenate(found),
        np.tile(np.arange(sources), setting.targets),
    )


def _outcomes(
    level: float,
    score: Float[np.ndarray, "sources seeds"],
    *,
    n: int,
    zeros: float,
    text: bool,
    luck: np.random.Generator,
) -> tuple[Float[np.ndarray, " examples"], Float[np.ndarray, "sources seeds examples"]]:
    """Outcomes of base and tuned models with these expected scores."""
    difficulty = luck.standard_normal(n)
    base = np.sqrt(0.8) * difficulty + np.sqrt(0.2) * luck.standard_normal(n)
    tuned = np.sqrt(0.6) * difficulty + np.sqrt(0.2) * luck.standard_normal((len(score), 1, n))
    tuned = tuned + np.sqrt(0.2) * luck.standard_normal((*score.shape, n))
    if not text:
        return (base < ndtri(level)) * 1.0, (tuned < ndtri(score)[:, :, None]) * 1.0
    return _skewed(base, level, zeros), _skewed(tuned, score[:, :, None], zeros)


def _skewed(latent: np.ndarray, mean: np.ndarray | float, zeros: float) -> np.ndarray:
    """Zero with this probability, else a power of a uniform number that gives this mean."""
    uniform = np.maximum(ndtr(latent) - zeros, 0.0) / (1 - zeros)
    scores: np.ndarray = uniform ** ((1 - zeros) / mean - 1)
    return scores


@dataclass(frozen=True)
class Coverage:
    """Shares of cells whose interval holds the truth.

    `noisiest` looks only at the tenth of the cells whose seeds vary most.
    """

    ours: float
    noisiest: float
    naive: dict[str, float]


def coverage(setting: Setting, *, matrices: int, seed: int = 0, resamples: int = 1000) -> Coverage:
    """How often 95 % intervals hold the truth, ours and naive ones."""
    generator = np.random.default_rng(seed)
    ours, noisiest = [], []
    naive: dict[str, list[float]] = {}
    for _ in range(matrices):
        drawn = simulated(setting, generator, resamples=resamples)
        found = drawn.inference()
        hit = (found.low <= drawn.truth) & (drawn.truth <= found.high)
        ours.append(hit.mean())
        noisiest.append(hit[drawn.seed_sd >= np.quantile(drawn.seed_sd, 0.9)].mean())
        for name, (low, high) in _naive(drawn, generator).items():
            naive.setdefault(name, []).append(
                ((low <= drawn.truth) & (drawn.truth <= high)).mean().item()
            )
    return Coverage(
        float(np.mean(ours)),
        float(np.mean(noisiest)),
        {name: float(np.mean(shares)) for name, shares in naive.items()},
    )


def _naive(
    drawn: Simulated, generator: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Intervals of whoever does not think of pairs, of seeds, or of examples."""
    cells, seeds = drawn.cells, drawn.gains.shape[1]
    gain = cells.gain
    by_examples = (cells.squares - np.square(gain)) / (cells.n - 1)
    score = cells.base + gain
    apart = (cells.base * (1 - cells.base) + score * (1 - score)) / cells.n
    found = {"unpaired": 1.96 * np.sqrt(apart), "seeds ignored": 1.96 * np.sqrt(by_examples)}
    intervals = {name: (gain - half, gain + half) for name, half in found.items()}
    if seeds == 1:
        return intervals
    picked = generator.integers(0, seeds, (1000, seeds))
    means = drawn.gains[:, picked].mean(axis=2)
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return intervals | {"bootstrap over seeds": (low, high)}


@dataclass(frozen=True)
class Discoveries:
    """Share of matrices with a false discovery among their null cross-task cells.

    All cross-task cells are null, so that is also the expected share of false ones among the
    discoveries. `power` is the share of the strong same-task cells that are found.
    """

    within: float
    over_all: float
    power: float


def false_discoveries(*, matrices: int, seed: int = 0) -> Discoveries:
    """Ten sources × 24 targets; three strong same-task cells a source, all others without gain."""
    generator = np.random.default_rng(seed)
    setting = Setting(sources=10, targets=24, seed_sd=0.0, examples=(200, 400), level=0.5)
    target, source = np.indices((24, 10))
    strong = (target - source) % 24 < 3
    within, over_all, power = [], [], []
    for _ in range(matrices):
        drawn = simulated(setting, generator, gains=0.25 * strong)
        p, relation = drawn.inference().p, strong.ravel().astype(np.int64)
        found = q_values(p, families=relation) < 0.05
        within.append(found[relation == 0].any())
        power.append(found[relation == 1].mean())
        careless = q_values(p, families=np.zeros_like(relation)) < 0.05
        over_all.append(careless[relation == 0].any())
    return Discoveries(*(float(np.mean(each)) for each in (within, over_all, power)))
