"""What the statistics of a matrix cost, and how often their intervals hold the truth.

    python benchmarks/uncertainty.py              # all three parts, some minutes
    python benchmarks/uncertainty.py bootstrap    # 20 × 40 cells of text, against scipy
    python benchmarks/uncertainty.py million      # 1000 × 1000 cells from counts to Parquet
    python benchmarks/uncertainty.py coverage     # the table of docs/method.md

Parts run in processes of their own, so each peak of memory is that part's.
"""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy
from scipy.stats import bootstrap as scipy_bootstrap

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from crosstune.results.cells import RELATIONS, concluded
from crosstune.results.inference import inference, q_values
from crosstune.results.paired import Paired, paired
from simulated import Setting, coverage, false_discoveries

SIDE = 1000


def bootstrap() -> None:
    """20 sources × 40 targets × 500 examples × 10,000 resamples: interval and p of each cell."""
    drawn = np.random.default_rng(0)
    outcomes = [
        (drawn.beta(0.5, 2, 500), drawn.beta(0.5, 1.8, (20, 1, 500)).round(3)) for _ in range(40)
    ]
    begin, memory = time.perf_counter(), peak()
    cells = Paired.joined([paired(base, tuned) for base, tuned in outcomes])
    ours = time.perf_counter() - begin
    used = peak() - memory
    differences = outcomes[0][1][:5, 0] - outcomes[0][0]
    begin = time.perf_counter()
    for row in differences:
        scipy_bootstrap((row,), np.mean, n_resamples=10_000, method="BCa", rng=0)
    theirs = (time.perf_counter() - begin) / len(differences)
    each = ours / len(cells.n)
    print(f"bootstrap: {len(cells.n)} cells × 500 examples × 10,000 resamples")
    print(f"  interval and permutation p      {ours:6.1f} s, {used:.0f} MiB more at the peak")
    print(f"  a cell                          {1000 * each:6.1f} ms")
    print(f"  scipy.stats.bootstrap, BCa      {1000 * theirs:6.1f} ms a cell (interval alone)")
    print(f"  ratio                           {theirs / each:6.0f}")


def million() -> None:
    """1000 × 1000 cells of one seed from counts to intervals, p, q, and a table in a file."""
    drawn = np.random.default_rng(0)
    count = SIDE * SIDE
    n = np.full(count, 500)
    up, down = drawn.binomial(n, 0.08), drawn.binomial(n, 0.07)
    unknown, nothing = np.full(count, np.nan), np.zeros(count)
    sums = Paired(
        n=n,
        seeds=np.ones(count, dtype=np.int64),
        base=np.full(count, 0.5),
        gain=(up - down) / n,
        squares=(up + down) / n,
        differing=up + down,
        shared=nothing,
        binary=np.ones(count, dtype=bool),
        up=up,
        down=down,
        seed_variance=unknown,
        residual=unknown,
        low=unknown,
        high=unknown,
        p=unknown,
    )
    sources, targets = np.divmod(np.arange(count), SIDE)
    relation = (sources != targets).astype(np.int64) + (sources % 20 != targets % 20)
    memory = peak()
    begin = time.perf_counter()
    found = inference(sums, pools=np.zeros(count, dtype=np.int64), sources=sources)
    q_values(found.p, families=relation)
    arrays = time.perf_counter() - begin
    print("million: 1000 × 1000 cells of one seed, 500 examples each")
    print(f"  counts to intervals, p and q    {arrays:6.1f} s, {peak() - memory:.0f} MiB more")
    begin = time.perf_counter()
    columns = facts(sources, targets, relation)
    table = concluded(columns, sums, where=np.arange(count))
    made = time.perf_counter() - begin
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "matrix.parquet")
        size = (Path(folder) / "matrix.parquet").stat().st_size / 2**20
    written = time.perf_counter() - begin
    print(f"  counts to the table of cells    {made:6.1f} s")
    print(f"  table to Parquet                {written:6.1f} s, {size:.0f} MiB")
    print(f"  peak of all                     {peak():6.0f} MiB")


def facts(
    sources: np.ndarray, targets: np.ndarray, relation: np.ndarray
) -> dict[str, list[object] | np.ndarray]:
    """What is known of the cells of a large matrix before their outcomes are."""
    count = len(sources)
    names = np.array([f"task {i}" for i in range(SIDE)], dtype=object)
    families = np.array([f"family {i % 20}" for i in range(SIDE)], dtype=object)

    def same(value: object) -> np.ndarray:
        return np.full(count, value, dtype=object)

    return {
        "source": names[sources],
        "source_families": families[sources],
        "target": names[targets],
        "target_family": families[targets],
        "relation": np.array(RELATIONS, dtype=object)[relation],
        "recipe": same("lora"),
        "condition": same("bare"),
        "metric": same("acc"),
        "main": same(True),
        "seeds": np.ones(count, dtype=np.int64),
        "n": np.full(count, 500),
        "base": np.full(count, 0.5),
        "leaked": np.zeros(count, dtype=np.int64),
        "contained": np.zeros(count, dtype=np.int64),
        "status": same("done"),
    }


def covered() -> None:
    """Coverage of 95 % intervals in simulated matrices, as rows of a Markdown table."""
    print("| outcomes | matrix | seeds | seeds' effect | ours | noisiest tenth | seeds ignored |")
    print("|---|---|---|---|---|---|---|")
    for text in (False, True):
        for size in ((4, 10), (10, 24)):
            for seeds in (1, 2, 3, 5):
                for shared, spread in ((True, 0.0), (False, 0.0), (True, 0.5), (False, 0.5)):
                    if seeds > 1 or (shared and not spread):
                        row(size, seeds=seeds, shared=shared, spread=spread, text=text)
    found = false_discoveries(matrices=1000)
    print(f"\nMatrices of 10 × 24 with a false cross-task discovery: {found.within:.1%} when")
    print(f"corrected within relations, {found.over_all:.1%} over all cells at once.")


def row(size: tuple[int, int], *, seeds: int, shared: bool, spread: float, text: bool) -> None:
    """One row: over several sizes of the seeds' effect, each with matrices of its own."""
    deviations = (0.01, 0.03) if text else (0.01, 0.03, 0.05)
    few = text and seeds == 1
    found = [
        coverage(
            Setting(
                sources=size[0],
                targets=size[1],
                seeds=seeds,
                seed_sd=deviation,
                shared=shared,
                spread=spread,
                text=text,
                gain=0.1 if text else 0.2,
            ),
            matrices=(50 if few else 500) if size[0] == 4 else (20 if few else 150),
            seed=2,
        )
        for deviation in deviations
    ]

    def span(values: list[float]) -> str:
        low, high = f"{100 * min(values):.1f}", f"{100 * max(values):.1f}"
        return low if low == high else f"{low}–{high}"

    effect = "the model is the target" if seeds == 1 else "shared" if shared else "own"
    effect += ", varying" if spread else ""
    cells = ["text" if text else "0 or 1", f"{size[0]} × {size[1]}", str(seeds), effect]
    cells += [span([each.ours for each in found])]
    cells += [span([each.noisiest for each in found]) if spread else "–"]
    cells += [span([each.naive["seeds ignored"] for each in found])]
    print("| " + " | ".join(cells) + " |", flush=True)


def peak() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PARTS: dict[str, Callable[[], None]] = {
    "bootstrap": bootstrap,
    "million": million,
    "coverage": covered,
}


def main() -> None:
    if len(sys.argv) > 1:
        PARTS[sys.argv[1]]()
        return
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, ",
        end="",
    )
    print(
        f"numpy {np.__version__}, scipy {scipy.__version__}, pyarrow {pa.__version__}\n", flush=True
    )
    for name in PARTS:
        subprocess.run([sys.executable, __file__, name], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
