"""Scores as Yang et al. (2024, NAACL) compute them, against others' implementations of them.

Text: their code calls Hugging Face's `load_metric("rouge")`, which is rouge-score without stemming,
on the first paragraph of what was written, and reports the bootstrap's middle F-measure. Choices:
the largest logit after the prompt among the first tokens of the labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from crosstune import tasks
from crosstune.errors import InputError
from crosstune.models.embedded import embedded_folder
from crosstune.models.reference import embedded_file
from crosstune.tasks.example import Example, Prompt
from crosstune.tasks.metrics import rouge_l
from crosstune.tasks.scoring import outcome
from models_support import load, quiet
from tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]
KNOWN = json.loads((ROOT / "tests" / "reference" / "rouge_l.json").read_text(encoding="utf-8"))
LABELS = {
    "sentiment": ("positive", "negative"),
    "paraphrase": ("yes", "no"),
    "entailment": ("entailment", "neutral", "contradiction"),
}


# --- ROUGE-L ----------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Runs of a-z and 0-9 after lower-casing: all else separates words."""
    return re.findall("[a-z0-9]+", text.lower())


def textbook(answer: str, reference: str) -> float:
    """Lin (2004), section 3.1: R = LCS / m, P = LCS / n, and F with beta = 1, by the full table."""
    x, y = words_of(reference), words_of(answer)
    table = np.zeros((len(x) + 1, len(y) + 1), dtype=int)
    for i, left in enumerate(x, 1):
        for j, right in enumerate(y, 1):
            same = table[i - 1, j - 1] + 1
            table[i, j] = same if left == right else max(table[i - 1, j], table[i, j - 1])
    if not table[-1, -1]:
        return 0.0
    recall, precision = table[-1, -1] / len(x), table[-1, -1] / len(y)
    return float(2 * recall * precision / (recall + precision))


texts = st.lists(st.sampled_from(["a", "B", "the", "it's", "x-1", "é", ".", "\n"])).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(texts, texts)
def test_rouge_l_is_the_textbook_s(answer: str, reference: str) -> None:
    assert rouge_l(answer, [reference]) == pytest.approx(textbook(answer, reference), abs=1e-12)


@pytest.mark.parametrize(("package", "least"), [("torchmetrics", 120), ("rouge", 20)])
def test_rouge_l_is_that_of_other_packages(package: str, least: int) -> None:
    known = [row for row in KNOWN["rows"] if package in row]
    assert len(known) >= least
    assert len({row[package] for row in known}) > least / 4
    for row in known:
        assert rouge_l(row["answer"], [row["reference"]]) == pytest.approx(row[package], abs=2e-6)


def test_the_reported_middle_of_a_bootstrap_is_the_mean_within_its_own_noise() -> None:
    from rouge_score.scoring import BootstrapAggregator, Score

    draw = np.random.default_rng(0)
    off = []
    for scale in (0.5, 2.0, 6.0):  # many zeros, as where models collapse, up to mostly right
        values = draw.beta(scale, 4.0, size=250)
        aggregator = BootstrapAggregator()  # Hugging Face's, as called: 1,000 resamples
        for value in values:
            aggregator.add_scores({"rougeL": Score(value, value, value)})
        np.random.seed(int(scale))  # noqa: NPY002  (rouge-score draws from the global state)
        middle = aggregator.aggregate()["rougeL"].mid.fmeasure
        off.append((middle - values.mean()) / (values.std() / len(values) ** 0.5))
    # The median of 1,000 resamples strays by 1.25 / sqrt(1,000) = 0.04 of the mean's own error.
    assert max(map(abs, off)) < 0.16, off
    assert max(map(abs, off)) > 0


@pytest.mark.parametrize("name", ["p3.xsum", "p3.socialqa"])
@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["who", "ran", " ", "\n", "\n\n", "\t", "."])).map("".join))
def test_what_is_scored_is_the_first_paragraph(name: str, written: str) -> None:
    task = STUDIED[name]
    example = Example("x", "", (), None, ("who ran.",))
    theirs = written.strip().split("\n\n")[0]
    assert tasks.answer(task, example, text=written) == theirs.strip()
    assert outcome(task, example, text=written)["rougeL"] == rouge_l(theirs, ["who ran."])


STUDIED = tasks.load(["studies/p3/*.yaml"], folder=ROOT)


# --- the first token of each label ------------------------------------------------------------


def largest_logits(folder: Path, prompts: Sequence[Prompt]) -> tuple[list[int], np.ndarray]:
    """One prompt a pass, no cache, no batch: what is picked, and log-probabilities of all."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    picks, rows = [], []
    for prompt in prompts:
        ids = [tokenizer(label)["input_ids"][0] for label in prompt.continuations]
        assert len(set(ids)) == len(ids)
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(prompt.context)["input_ids"]])).logits[0, -1]
        picks.append(int(logits[ids].argmax()))
        rows.append(torch.log_softmax(logits.double(), dim=-1)[ids].tolist())
    return picks, np.array(rows)


def same_as_theirs(folder: Path, prompts: Sequence[Prompt], *, atol: float) -> list[int]:
    model = load(folder)
    assert model.alike(prompts) is None
    answers = model.score_choices(prompts, first_token=True, tokens_per_batch=300, progress=quiet)
    ours = np.array([answer.log_likelihoods for answer in answers])
    picks, theirs = largest_logits(folder, prompts)
    np.testing.assert_allclose(ours, theirs, atol=atol)
    assert ours.argmax(axis=1).tolist() == picks
    return picks


@pytest.mark.parametrize("family", LABELS)
def test_the_first_token_is_that_of_a_plain_pass(tmp_path: Path, family: str) -> None:
    folder, labels = tiny_model(tmp_path, "llama"), LABELS[family]
    prompts = [
        Prompt(f"p{n}", (), f"Question {n}: is it a joy{' never' * (n % 7)}?\n###:", labels, "")
        for n in range(24)
    ]
    same_as_theirs(folder, prompts, atol=1e-4)


@pytest.mark.slow
def test_the_first_token_is_that_of_a_plain_pass_of_the_real_model() -> None:
    try:
        embedded_file()
    except InputError as error:
        pytest.skip(str(error))
    known, picks = tasks.load(folder=ROOT), set()
    for name in ("review_sentiment", "kind_entailment", "role_paraphrase"):
        task = known[name]
        asked = tasks.subset(tasks.examples(task, "test").items, 12, seed=0)
        prompts = tasks.prompts(task, asked, demonstrations=tasks.demonstrations(task, 2))
        picks |= {(name, pick) for pick in same_as_theirs(embedded_folder(), prompts, atol=1e-3)}
    assert len(picks) > 3  # not one answer for all
