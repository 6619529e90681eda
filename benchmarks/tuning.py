"""LoRA tuning by crosstune and by TRL's SFTTrainer: tokens a second at the same hyperparameters.

    pip install trl==1.16.0
    python benchmarks/tuning.py --rows 64               # two sources, three ways, one after another
    python benchmarks/tuning.py --rows 256 --tasks sst2,mnli

Base in bf16, LoRA of rank 16 on all linear layers, loss on the answer only, batches of 8, one
epoch.
Tokens are those of the texts, padding not counted, so all rates are of the same work. TRL runs as
its defaults have it, and at its best: batches of similar length, and no recomputed activations.
crosstune's time holds encoding, writing and proving the adapter too; TRL's is its loop alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import numpy as np
from asking import product_rate, ready, weights_of

from crosstune import Recipe, models, tasks
from crosstune.models.embedded import embedded_folder
from crosstune.tasks.example import Prompt

HERE = Path(__file__).resolve().parent
MODEL = "smollm2-135m-q4_1"
BATCH, RANK, RATE = 8, 16, 5e-4
BEST = {"train_sampling_strategy": "group_by_length", "gradient_checkpointing": False}


def nothing(*_: object, **__: object) -> None:
    """Report no progress."""


def lessons(name: str, rows: int) -> list[Prompt]:
    """Training rows of a task in their final wording."""
    task = tasks.load([str(HERE / "tasks" / "*.yaml")], folder=HERE)[name]
    return tasks.prompts(task, tasks.subset(tasks.examples(task, "train").items, rows, seed=0))


def ours(model: models.LanguageModel, prompts: list[Prompt]) -> tuple[float, int, float]:
    """Seconds, tokens, and mean loss of the last quarter of the steps."""
    recipe = Recipe(
        rank=RANK, alpha=2 * RANK, learning_rate=RATE, batch_size=BATCH, examples=len(prompts)
    )
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = model.tune(prompts, recipe=recipe, seed=0, folder=Path(folder), progress=nothing)
        seconds = time.perf_counter() - begin
    return seconds, found.tokens, _end(list(found.losses))


def theirs(prompts: list[Prompt], **changes: Any) -> tuple[float, float]:
    """Seconds of the trainer's loop, and mean loss of the last quarter of the steps."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = embedded_folder()
    rows = [{"prompt": p.context, "completion": p.completion} for p in prompts]
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "output_dir": out,
            "per_device_train_batch_size": BATCH,
            "num_train_epochs": 1,
            "learning_rate": RATE,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "max_length": 512,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": True,
            "seed": 0,
        }
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
            args=SFTConfig(**settings | changes),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
        )
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints every loss
            trainer.train()
        seconds = time.perf_counter() - begin
    return seconds, _end([row["loss"] for row in trainer.state.log_history if "loss" in row])


def _end(losses: list[float]) -> float:
    return float(np.mean(losses[-max(1, len(losses) // 4) :]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="sst2,mnli", help="sources, joined by commas")
    parser.add_argument("--rows", type=int, default=64)
    given = parser.parse_args()
    ready("trl")
    logging.disable(logging.WARNING)
    import peft
    import torch
    import transformers
    import trl

    torch.set_num_threads(os.cpu_count() or 1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, peft {peft.__version__}, trl {trl.__version__}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        reference = models.resolve(MODEL, revision=None, folder=Path(folder))
    model = models.load(reference, numeric_type="bfloat16", device="cpu")
    product, share = product_rate("bfloat16"), dict[str, float]()
    print("| source | rows | tokens | way | tokens/s | crosstune is | loss at the end |")
    print("|---|---|---|---|---|---|---|")
    for name in given.tasks.split(","):
        prompts = lessons(name, given.rows)
        ours(model, prompts[:BATCH])
        seconds, tokens, end = ours(model, prompts)
        left = f"| {name} | {len(prompts)} | {tokens} |"
        print(f"{left} crosstune | {tokens / seconds:.0f} | | {end:.3f} |", flush=True)
        # LoRA: forward, and the gradient of the layers' inputs; the weights' own is tiny.
        share[name] = 4 * weights_of(model) * tokens / seconds / product
        for way, changes in (("TRL, defaults", {}), ("TRL, at its best", BEST)):
            other, end = theirs(prompts, **changes)
            ratio = f"{other / seconds:.1f} × faster"
            print(f"{left} {way} | {tokens / other:.0f} | {ratio} | {end:.3f} |", flush=True)
    told = ", ".join(f"{name} {part:.0%}" for name, part in share.items())
    print(f"\nof the {product / 1e9:.0f} GFLOP/s of a matrix product crosstune uses: {told}")


if __name__ == "__main__":
    main()
