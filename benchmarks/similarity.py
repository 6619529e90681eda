"""All layers against all layers of two models on the same states: crosstune and two peers.

    pip install --no-deps torch_cka==0.21 pytorch-cka==1.1.3 && pip install matplotlib tqdm
    python benchmarks/similarity.py map     # seconds and memory of all sides
    python benchmarks/similarity.py curves  # what `crosstune layers` costs after forward passes

The peers take models: the very same states are replayed through modules, one a layer, in one
batch without padding. Peak memory is that of a process of each side's own, less what it had before.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

PEERS = {"torch_cka": "torch_cka==0.21", "cka": "pytorch-cka==1.1.3"}
SIDES = ("crosstune", "pytorch-cka", "torch_cka")
SEED = 0


def states(layers: int, n: int, width: int, *, model: int) -> np.ndarray:
    """Made-up states of a model: layers that go over into each other, in single precision."""
    generator = np.random.default_rng(SEED)
    prompts = generator.normal(size=(n, width))
    own = np.random.default_rng([SEED, 1 + model])
    found = np.empty((layers, n, width), dtype=np.float32)
    for layer in range(layers):
        prompts = prompts + 0.4 * own.normal(size=prompts.shape)
        found[layer] = prompts
    return found


def replayed(found: np.ndarray) -> Any:
    """A module whose children give the states, layer by layer."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self, told: np.ndarray) -> None:
            super().__init__()
            self.told = torch.from_numpy(told)

        def forward(self, rows: Any) -> Any:
            return self.told[rows]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer(told) for told in found)

        def forward(self, rows: Any) -> Any:
            for layer in self.layers:
                last = layer(rows)
            return last

    return Model()


def made(side: str, layers: int, n: int, width: int) -> Callable[[], np.ndarray]:
    """What is timed: the map of all pairs of layers."""
    first, second = (states(layers, n, width, model=model) for model in (0, 1))
    if side == "crosstune":
        from crosstune.analysis.similarity import similarities

        return lambda: similarities([*first], [*second])
    import torch

    names = [f"layers.{i}" for i in range(layers)]
    rows = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(n)), batch_size=n
    )
    models = replayed(first), replayed(second)
    if side == "pytorch-cka":
        from cka import compute_cka

        def fast() -> np.ndarray:
            [found] = compute_cka(*models, rows, layers=names, device="cpu", progress=False)
            return np.asarray(found)

        return fast
    from torch_cka import CKA

    peer = CKA(*models, "first", "second", names, names, device="cpu")

    def slow() -> np.ndarray:
        with redirect_stderr(io.StringIO()):
            peer.compare(rows)
        return np.asarray(peer.hsic_matrix)

    return slow


def one(side: str, layers: int, n: int, width: int, repeats: int) -> dict[str, Any]:
    """Seconds of one side and the memory it took, in this process."""
    warnings.simplefilter("ignore")
    run = made(side, layers, n, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side != "torch_cka":
        run()  # warm
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - begin)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": statistics.median(seconds),
        "mib": (after - before) / 1024,
        "corner": found[:3, :3].tolist(),
        "diagonal": float(np.diagonal(found).mean()),
    }


def compare(layers: int, n: int, width: int, rounds: int) -> None:
    """All sides in turn, so that whatever else the machine does meets them alike."""
    missing = [f"pip install --no-deps {PEERS[peer]}" for peer in PEERS if find_spec(peer) is None]
    if missing:
        raise SystemExit("\n".join(["This benchmark needs:", *missing]))
    print(f"{layers} × {layers} layers, {n} examples, width {width}; {platform.processor()}")
    told: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES:
            if side == "torch_cka" and number:
                continue
            repeats = 1 if side == "torch_cka" else 5
            asked = [side, *map(str, (layers, n, width, repeats))]
            done = subprocess.run(
                [sys.executable, __file__, "one", *asked],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"TQDM_DISABLE": "1"},
            )
            told[side].append(json.loads(done.stdout.splitlines()[-1]))
    ours = statistics.median(row["seconds"] for row in told["crosstune"])
    for side, rows in told.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        print(
            f"{side:12} {seconds:9.3f} s   {seconds / ours:7.1f} × crosstune's   "
            f"memory {max(row['mib'] for row in rows):7.0f} MiB   "
            f"mean of the diagonal {rows[0]['diagonal']:.5f}"
        )


def curves(tasks: int, layers: int, n: int, width: int) -> None:
    """`crosstune layers` on made-up states: controls, the base and one mixture."""
    from crosstune.analysis.layers.depth import gathered, groups
    from crosstune.analysis.layers.probes import Probed
    from crosstune.results.states import write_states
    from crosstune.results.store import Store

    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch), writable=True)
        facts = {"name": "made", "model": "m", "numeric_type": "float32", "base_sha256": {}}
        store.write("study.json", json.dumps({"format": 1, **facts}))
        store = Store(Path(scratch), writable=True)
        probes = []
        for task in range(tasks):
            keys = [f"{task * 3 + who:064x}" for who in range(3)]
            for who, name in enumerate(keys):
                found = states(layers, n, width, model=task * 3 + who)
                store.put("states", name, lambda to, found=found: write_states(to, found, {}))
            base, control, mixture = keys
            probes.append(
                Probed(
                    *("lora", f"t{task}", f"t{task}", "f", base),
                    {0: control},
                    {("mixture", 0): mixture},
                    {"mixture": True},
                )
            )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        found = gathered(store, probes, "linear_cka")
        groups(found.tasks)
        seconds = time.perf_counter() - begin
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{tasks} tasks × {layers} layers × base and mixture, {n} examples, width {width}: "
            f"curves with errors, maps, sensitivity to dimensions: {seconds:.1f} s, "
            f"{(after - before) / 1024:.0f} MiB more at the peak"
        )


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["map", "curves", "one"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--layers", type=int, default=31)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=24)
    given = parser.parse_args()
    if given.what == "one":
        side, *numbers = given.rest
        print(json.dumps(one(side, *map(int, numbers))))
    elif given.what == "map":
        compare(given.layers, given.examples, given.width, given.rounds)
    else:
        curves(given.tasks, given.layers, given.examples, given.width)


if __name__ == "__main__":
    main()
