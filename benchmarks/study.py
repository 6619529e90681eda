"""A whole study by crosstune, and by TRL and the lm-evaluation-harness: the same table, how fast.

    pip install trl==1.16.0 lm_eval==0.4.13
    python benchmarks/study.py                      # 3 sources × 7 targets; half an hour and more
    python benchmarks/study.py --best               # TRL at its best
    python benchmarks/study.py --rows 16 --asked 6  # minutes, to see that it works

One side is `crosstune run study.yaml` into an empty folder. The other is what a user does without
it: a process with TRL's SFTTrainer for each source, which saves the adapter, then one process of
`lm_eval run` for each of the models (the base and the tuned ones), batches of 16. Every process
starts, loads and ends on the clock. On both sides: base in bf16, LoRA of rank 16 on all linear
layers, loss on the answer only, batches of 16, one epoch, and the very same training rows and
prompts, which reach the peers as JSON files and task files made before the clock runs. The
embedded model is unpacked before, too. Nothing is downloaded; all is written to a temporary folder.

`--best` is TRL with batches of similar length and no recomputed activations.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from crosstune.study.plan import Job, Plan

# Taken before anything is imported that adds to it: each side is to start as from a shell.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
SOURCES = "sst2,mnli,commonsense_qa"
TARGETS = "sst2,mnli,commonsense_qa,ag_news,paws,boolq_prompted,trec"
BATCH = 16
BASE = "base"
FLIPS = 2
"""Right answers by which a target may differ in bf16: near ties fall either way."""


@dataclass(frozen=True)
class Side:
    """What one side took and found.

    Attributes:
        seconds: By stage; `tune X`, `ask X`, and what belongs to none.
        accuracies: By model and target.
    """

    seconds: dict[str, float]
    accuracies: dict[tuple[str, str], float]


def timed(command: list[str], *, folder: Path) -> float:
    """Seconds of a process from its start to its end; when it fails, what it said last."""
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | {"HF_HOME": str(folder / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return time.perf_counter() - begin


def study_file(given: argparse.Namespace, *, folder: Path) -> Path:
    """The study as a user writes it."""
    from tuning import HERE, MODEL, RANK, RATE

    study = {
        "name": "study",
        "model": MODEL,
        "tasks": str(HERE / "tasks" / "*.yaml"),
        "sources": given.sources.split(","),
        "targets": given.targets.split(","),
        "recipes": {
            "rank": RANK,
            "alpha": 2 * RANK,
            "learning_rate": RATE,
            "batch_size": BATCH,
            "examples": given.rows,
        },
        "conditions": {"examples": given.asked},
        "numeric_type": "bfloat16",
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


def ours(study: Path) -> Side:
    """crosstune's run; its stages as its own records have them, start and proofs apart."""
    import crosstune

    out = study.parent / "crosstune"
    command = [sys.executable, "-m", "crosstune", "run", str(study), "--out", str(out)]
    whole = timed([*command, "--device", "cpu"], folder=study.parent)
    stages: dict[str, float] = {}
    for path in sorted(out.glob("adapters/*/job.json")):
        job = json.loads(path.read_text(encoding="utf-8"))
        stages[f"tune {job['source']}"] = job["tuning"]["seconds"]
    for path in sorted(out.glob("scores/*/cell.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        stage = f"ask {cell['source'] or BASE}"
        stages[stage] = stages.get(stage, 0.0) + cell["seconds"]
    stages["start, load, save, prove"] = whole - sum(stages.values())
    rows = [row for row in crosstune.TransferMatrix.of(out).rows if row.metric == "acc"]
    found = {(row.source, row.target): row.score for row in rows}
    found |= {(BASE, row.target): row.base for row in rows}
    return Side(stages, {key: value for key, value in found.items() if value is not None})


def theirs(planned: Plan, *, model: str, folder: Path, best: bool) -> Side:
    """The peers' processes, one after another."""
    stages: dict[str, float] = {}
    accuracies: dict[tuple[str, str], float] = {}
    asked = lm_eval_tasks(planned, folder=folder / "tasks")
    tuned = [job for job in planned.jobs if job.source]
    for job in tuned:
        settings = trl_settings(job, model=model, folder=folder, best=best)
        command = [sys.executable, str(Path(__file__).resolve()), "--train", str(settings)]
        stages[f"tune {job.source}"] = timed(command, folder=folder)
    for name in [BASE, *(str(job.source) for job in tuned)]:
        adapter = "" if name == BASE else f",peft={folder / name}"
        out = folder / f"{name}-results"
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf"]
        command += ["--model_args", f"pretrained={model},dtype=bfloat16{adapter}"]
        command += ["--tasks", ",".join(asked), "--include_path", str(folder / "tasks")]
        command += ["--device", "cpu", "--batch_size", str(BATCH), "--output_path", str(out)]
        stages[f"ask {name}"] = timed(command, folder=folder)
        (results,) = out.rglob("results_*.json")
        found = json.loads(results.read_text(encoding="utf-8"))["results"]
        accuracies |= {(name, target): found[task]["acc,none"] for task, target in asked.items()}
    return Side(stages, accuracies)


def lm_eval_tasks(planned: Plan, *, folder: Path) -> dict[str, str]:
    """Write the targets as tasks of the harness: final prompts, choices as columns.

    Returns:
        Targets by the name of their task; its own tasks have the plain names.
    """
    folder.mkdir()
    named = {}
    for question in planned.jobs[0].questions.values():
        name = f"asked_{question.task.name}"
        rows = [
            {"context": p.context, "choices": list(p.continuations), "label": example.label}
            for p, example in zip(question.prompts, question.examples, strict=True)
        ]
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": written(folder / f"{name}.jsonl", rows)}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "context",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        named[name] = question.task.name
    return named


def trl_settings(job: Job, *, model: str, folder: Path, best: bool) -> Path:
    """Write what `train` needs for one source."""
    from tuning import BEST, RANK, RATE

    rows = [{"prompt": p.context, "completion": p.completion} for p in job.prompts]
    config = {
        "output_dir": str(folder / str(job.source)),
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "max_length": 512,
        "report_to": "none",
        "use_cpu": True,
        "bf16": True,
        "seed": 0,
    }
    settings = {
        "model": model,
        "rows": written(folder / f"{job.source}.jsonl", rows),
        "config": config | (BEST if best else {}),
        "lora": {"r": RANK, "lora_alpha": 2 * RANK, "target_modules": "all-linear"},
    }
    path = folder / f"{job.source}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as JSON Lines, and give the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def train(settings: Path) -> None:
    """Tune one source with TRL and save the adapter; a process of its own, without crosstune."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    given = json.loads(settings.read_text(encoding="utf-8"))
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.bfloat16),
        args=SFTConfig(**given["config"]),
        train_dataset=load_dataset("json", data_files=given["rows"], split="train"),
        processing_class=AutoTokenizer.from_pretrained(given["model"]),
        peft_config=LoraConfig(**given["lora"]),
    )
    trainer.train()
    trainer.save_model()


def print_seconds(left: Side, right: Side) -> None:
    """Stages of both sides; start and end of each of the peers' processes is in its stage."""
    print("| stage | crosstune | TRL and harness, a process each | ratio |")
    print("|---|---|---|---|")
    for stage in right.seconds:
        mine, other = left.seconds[stage], right.seconds[stage]
        print(f"| {stage} | {mine:.1f} s | {other:.1f} s | {other / mine:.1f} |")
    for stage in left.seconds.keys() - right.seconds.keys():
        print(f"| {stage} | {left.seconds[stage]:.1f} s | in each | |")
    mine, other = sum(left.seconds.values()), sum(right.seconds.values())
    print(f"| the whole study | {mine:.0f} s | {other:.0f} s | {other / mine:.1f} |\n")


def print_answers(left: Side, right: Side, *, planned: Plan) -> None:
    """Right answers of both sides in each cell, and whether those of the base are the same."""
    names = [str(job.source or BASE) for job in planned.jobs]
    print(f"Right answers, crosstune / harness:\n\n| target | asked | {' | '.join(names)} |")
    print("|---" * (2 + len(names)) + "|")
    off = []
    for question in planned.jobs[0].questions.values():
        target, n = question.task.name, len(question.prompts)
        pairs = [[round(s.accuracies[name, target] * n) for s in (left, right)] for name in names]
        cells = " | ".join(f"{mine} / {other}" for mine, other in pairs)
        print(f"| {target} | {n} | {cells} |")
        off.append(abs(pairs[0][0] - pairs[0][1]))
    verdict = "the same but for bf16's rounding" if max(off) <= FLIPS else "NOT the same"
    print(
        f"\nBase: right answers differ by {max(off)} at most in a target, by {sum(off)} in all: "
        f"{verdict}. The tuned models have read the same rows in another order."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256, help="training rows of a source")
    parser.add_argument("--asked", type=int, default=100, help="test rows of a target")
    parser.add_argument("--sources", default=SOURCES, help="tasks, joined by commas")
    parser.add_argument("--targets", default=TARGETS, help="choice tasks, joined by commas")
    parser.add_argument("--best", action="store_true", help="TRL at its best, not its defaults")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        train(given.train)
        return
    from asking import ready

    ready("lm_eval", "trl")
    import crosstune
    from crosstune.models.embedded import embedded_folder

    way = "at its best" if given.best else "as its defaults have it"
    packages = ("torch", "transformers", "peft", "trl", "lm_eval")
    print(f"{platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in packages), end="")
    print(f"; {given.rows} training rows a source, TRL {way}\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = study_file(given, folder=folder)
        try:
            model = str(embedded_folder())
            planned = crosstune.plan(crosstune.load_study(file), folder=folder, device="cpu")
        except crosstune.CrosstuneError as error:
            sys.exit(str(error))
        asked = [question.task for question in planned.jobs[0].questions.values()]
        if texts := [task.name for task in asked if task.kind != "choice"]:
            sys.exit(f"not choice tasks: {', '.join(texts)}")
        # Off the clock, so that neither side is the first to read a package from the disk.
        timed([sys.executable, "-c", "from trl import SFTTrainer\nimport lm_eval"], folder=folder)
        left = ours(file)
        right = theirs(planned, model=model, folder=folder, best=given.best)
    print_seconds(left, right)
    print_answers(left, right, planned=planned)


if __name__ == "__main__":
    main()
