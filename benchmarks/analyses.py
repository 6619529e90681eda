"""Seconds that the analyses of a large study take, reading its answers included.

    python benchmarks/analyses.py [--sources 50] [--targets 100] [--examples 500] [--seeds 1]
    python benchmarks/analyses.py --table 1000     abilities of a square table alone

The study is made up: a store as a run leaves it, with profiles, a tenth of the targets text, a
tenth of the sources edited. Making it takes longer than reading it; its folder is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crosstune.analysis.abilities import abilities_of
from crosstune.analysis.findings import ANALYSES
from crosstune.results.matrix import TransferMatrix
from crosstune.results.store import Store
from crosstune.tasks.profile import Text, profile

WORDS = "a few words that texts are made of so that they differ from one another now".split()
CLASSES = ("no", "yes", "maybe")


def key(*parts: object) -> str:
    """A name of an entry."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def made(folder: Path, *, sources: int, targets: int, examples: int, seeds: int) -> None:
    """Write a study's folder."""
    rng = np.random.default_rng(0)
    originals = max(2, round(0.9 * sources))
    names = [f"source{i}" for i in range(originals)]
    tasks = {name: name for name in names}
    tasks |= {f"{names[i]}-balanced": names[i] for i in range(sources - originals)}
    asked = [f"target{i}" for i in range(targets)]
    texts = set(asked[::10])
    plan = [
        {
            "source": source,
            "source_families": [f"family{int(task[6:]) % 7}"],
            "source_tasks": [task],
            "target": target,
            "target_family": f"family{int(target[6:]) % 7}",
            "relation": "out-of-domain"
            if int(task[6:]) % 7 == int(target[6:]) % 7
            else "cross-task",
            "recipe": "lora",
            "condition": "zero-shot",
            "scoring": "generation" if target in texts else "likelihood",
            "seed": seed,
            "metrics": ["rougeL" if target in texts else "acc"],
            "leaked": 0,
            "contained": 0,
            "source_profile": key("profile", source),
            "target_profile": key("profile", target),
            "job_key": key(source, seed),
            "base_job_key": key("base"),
            "key": key(source, seed, target),
            "base_key": key("base", target),
        }
        for (source, task), target, seed in product(tasks.items(), asked, range(seeds))
    ]
    study = {
        "sources": [
            {"name": n, "tasks": [t], "edits": [] if n == t else [{"edit": "balance"}]}
            for n, t in tasks.items()
        ],
        "recipes": [{"name": "lora", "loss": "completion"}],
        "conditions": [{"name": "zero-shot"}],
        "targets": asked,
        "seeds": list(range(seeds)),
    }
    store = Store(folder, writable=True)
    facts = {"format": 1, "name": "made", "model": "m", "numeric_type": "float32"}
    store.write("study.json", json.dumps({**facts, "base_sha256": {}, "study": study}))
    store.write("plan.json", json.dumps(plan))
    levels = {name: rng.uniform(-0.5, 0.5) for name in (*tasks, "base")}
    for target in asked:
        hard = rng.standard_normal(examples)
        for who in ("base", *product(tasks, range(seeds))):
            level = levels[who if who == "base" else who[0]]
            values = hard + rng.standard_normal(examples) < level
            table = outcomes(target, values, text=target in texts, rng=rng)
            put(store, "scores", key(who, target) if who == "base" else key(*who, target), table)
    for name in (*tasks, *asked):
        put(store, "profiles", key("profile", name), dict(described(rng)))


def outcomes(target: str, right: np.ndarray, *, text: bool, rng: np.random.Generator) -> pa.Table:
    """Answers of one model to one target."""
    n = len(right)
    truth = np.arange(n) % 3
    picked = np.where(right, truth, (truth + 1 + rng.integers(0, 2, n)) % 3)
    sums = rng.normal(-3, 1, (n, 3))
    sums[np.arange(n), picked] = sums.max(axis=1) + 0.1
    said = [" ".join(rng.choice(WORDS, 1 + i % 9)) for i in range(n)]
    empty = pa.nulls(n)
    return pa.table(
        {
            "id": pa.array([f"{target}-{i}" for i in range(n)]),
            "prompt_sha256": pa.array([""] * n),
            "answer": pa.array(said if text else [CLASSES[i] for i in picked]),
            "log_likelihoods": (empty if text else pa.array(sums.tolist())).cast(
                pa.list_(pa.float64())
            ),
            "label": empty.cast(pa.int64()) if text else pa.array(truth, pa.int64()),
            "references": pa.array([["some words"] if text else [CLASSES[i]] for i in truth]),
            "prompt_tokens": pa.array(20 + np.arange(n) % 50, pa.int64()),
            "answer_tokens": pa.array(np.ones(n), pa.int64()),
            "truncated": pa.array([False] * n),
            "rougeL" if text else "acc": pa.array(right * (0.5 if text else 1.0)),
        }
    )


def described(rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """A profile of rows that are made up too."""
    share, words = rng.uniform(0.1, 0.9), rng.choice(WORDS, 12)
    rows = [
        Text(" ".join(rng.choice(words, 12)), CLASSES[int(rng.random() < share)], True)
        for _ in range(60)
    ]
    yield from profile(rows, embedding=rng.standard_normal(32).tolist()).items()


def put(store: Store, kind: Any, name: str, content: Any) -> None:
    """An entry with one file, and with what the matrix needs of a score."""

    def fill(folder: Path) -> None:
        if kind == "profiles":
            (folder / "profile.json").write_text(json.dumps(content))
            return
        pq.write_table(content, folder / "outcomes.parquet")
        metric = content.column_names[-1]
        mean = float(np.mean(content[metric].to_numpy()))
        cell = {"n": content.num_rows, "metrics": {metric: mean}, "proof": {"tensors_sha256": ""}}
        (folder / "cell.json").write_text(json.dumps(cell))

    store.put(kind, name, fill)


def timed_table(size: int) -> None:
    """Abilities of a square table with three planted ones."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((size, 3)) @ rng.standard_normal((3, size))
    table += rng.standard_normal((size, size))
    names = [str(i) for i in range(size)]
    began = time.perf_counter()
    found = abilities_of(table, names, names)
    print(f"abilities of {size} × {size}: {time.perf_counter() - began:.1f} s, {peak()}")
    print(found.sentences[0])


def peak() -> str:
    """Most memory of this process so far."""
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


def main() -> None:
    """Make a study, then time its matrix and every analysis."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("sources", 50), ("targets", 100), ("examples", 500), ("seeds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--table", type=int, default=0)
    sizes = vars(parser.parse_args())
    if size := sizes.pop("table"):
        timed_table(size)
        return
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder) / "study", **sizes)
        print(f"made {sizes}", file=sys.stderr)
        store = Store(Path(folder) / "study")
        began = time.perf_counter()
        matrix = TransferMatrix.of(store)
        print(f"{'matrix':16} {time.perf_counter() - began:6.1f} s")
        whole = 0.0
        for name in sorted(ANALYSES.names()):
            began = time.perf_counter()
            ANALYSES[name](store, matrix)
            whole += (spent := time.perf_counter() - began)
            print(f"{name:16} {spent:6.1f} s", flush=True)
        print(f"{'all analyses':16} {whole:6.1f} s, {peak()}")


if __name__ == "__main__":
    main()
