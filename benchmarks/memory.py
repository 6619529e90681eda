"""Peak memory of a study: what it grows with, and what it does not.

    python benchmarks/memory.py

Each line is a study of its own process on the embedded model; its peak is what the system reports
(resident memory, the model's weights included). With 16 training rows every model sees one and the
same batch; with more, the peak is that of the longest batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from asking import ready

os.environ["HF_HUB_OFFLINE"] = "1"

HERE = Path(__file__).resolve().parent
MODEL = "smollm2-135m-q4_1"
TARGETS = ["sst2", "mnli", "trec", "cola", "rte", "subj", "mrpc", "boolq_prompted"]
SOURCES = ["sst2"]


def study(
    sources: list[str],
    targets: list[str],
    *,
    rows: int,
    asked: int,
    seeds: int = 1,
    budget: int = 4096,
) -> dict[str, Any]:
    """A small study; every choice that is not varied is the same in all."""
    return {
        "name": "memory",
        "model": MODEL,
        "tasks": [str(HERE / "tasks" / "*.yaml")],
        "sources": sources,
        "targets": targets,
        "recipes": [{"name": "lora", "examples": rows, "batch_size": 16}],
        "conditions": [{"name": "zero-shot", "examples": asked}],
        "seeds": list(range(seeds)),
        "tokens_per_batch": budget,
    }


STUDIES = {
    "1 source, 1 target": study(SOURCES, TARGETS[:1], rows=16, asked=40),
    "1 source, 8 targets": study(SOURCES, TARGETS, rows=16, asked=40),
    "1 source with 6 seeds, 1 target": study(SOURCES, TARGETS[:1], rows=16, asked=40, seeds=6),
    "1 source, 1 target, 8 times the examples": study(SOURCES, TARGETS[:1], rows=256, asked=320),
    "1 source of longer texts, 1 target": study(["mnli"], TARGETS[:1], rows=16, asked=40),
    "1 source, 1 target of 77 choices": study(SOURCES, ["banking77"], rows=16, asked=40),
    "the same, a fourth of the tokens at once": study(
        SOURCES, ["banking77"], rows=16, asked=40, budget=1024
    ),
}


def peak(content: dict[str, Any]) -> float:
    """Peak resident memory of a run, in MB."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "study.yaml"
        file.write_text(json.dumps(content))
        command = [sys.executable, "-m", "crosstune", "run", str(file), "--out", f"{name}/out"]
        log = Path(name) / "log"
        with log.open("w") as told:
            process = subprocess.Popen(command, stdout=told, stderr=told)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(log.read_text()[-2000:])
    return used.ru_maxrss / 1024


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    ready()
    peak(study(SOURCES, TARGETS[:1], rows=8, asked=4))  # unpacks the model, where it must
    print("| study | peak |\n|---|---|")
    for name, content in STUDIES.items():
        print(f"| {name} | {peak(content):,.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
