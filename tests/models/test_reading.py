"""Packed and padded reading agree, everywhere down to answers and tuned weights."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from crosstune.models import adapters, asking, attention, encoding, reading, tuning
from crosstune.models.engine import TorchModel
from crosstune.models.forest import Tree
from crosstune.models.protocol import Tuning
from crosstune.models.reading import (
    Padded,
    Reader,
    exact_output,
    grown,
    is_out_of_memory,
    output_at,
    runs,
)
from crosstune.models.recipe import Recipe
from crosstune.tasks.example import Prompt
from models_support import choice_prompts, load, quiet
from tiny import _SHARED

ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 20], [5, 6, 7], [30, 31], [5, 6, 21, *range(40, 60)]]
LORA = Recipe(learning_rate=1e-2, batch_size=8, epochs=2, rank=4, alpha=8)
FULL = Recipe(method="full", learning_rate=1e-3, batch_size=8)
BEGINNING = "The film was a quiet joy. It never raises its voice and never needs to. "


def alone(base: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """What comes behind each row, read one by one."""
    with torch.inference_mode():
        return torch.stack([base(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])


def told(reader: Reader, rows: Sequence[Sequence[int]]) -> Tensor:
    """The same from one batch: a tree of all rows, and every row as a chain."""
    tree, paths = grown(rows)
    trees = [tree, *map(Tree, rows)]
    places = [(0, path[-1]) for path in paths] + [(i, len(r) - 1) for i, r in enumerate(rows, 1)]
    with torch.inference_mode(), reader.reading():
        return reader.logits(reader.base, trees, places)


def bare(architecture: str, **config: Any) -> Any:
    torch.manual_seed(0)
    whole = AutoConfig.for_model(architecture, **{**_SHARED, **config})
    return AutoModelForCausalLM.from_config(whole).eval()


def unpacked(model: TorchModel, monkeypatch: pytest.MonkeyPatch) -> TorchModel:
    monkeypatch.setattr(model._reader, "packs", False)
    return model


def test_the_tested_architectures_are_packed(any_model: TorchModel) -> None:
    assert any_model._reader.packs


def test_packed_and_padded_reading_say_the_same(
    any_model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = told(any_model._reader, ROWS)
    padded = told(unpacked(any_model, monkeypatch)._reader, ROWS)
    expected = alone(any_model._base, ROWS).repeat(2, 1)
    torch.testing.assert_close(packed, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(padded, expected, atol=1e-4, rtol=0)


LONG = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "factor": 2.0,
    "original_max_position_embeddings": 64,
}
"""Positions that mean something else once a batch has a text of more than 64 tokens."""


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("bloom", {}),
        ("mamba", {}),
        ("phi3", {"num_key_value_heads": 2, "pad_token_id": 1, "rope_parameters": LONG}),
        ("phimoe", {"num_key_value_heads": 2, "num_local_experts": 2, "sliding_window": 20}),
        ("llama4_text", {"num_local_experts": 2, "head_dim": 8, "num_key_value_heads": 2}),
        ("gpt_oss", {"num_local_experts": 4, "num_key_value_heads": 2, "head_dim": 8}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_packed_is_read_in_padded_rows(
    architecture: str, config: dict[str, Any]
) -> None:
    """Bloom adds distances to scores, mamba has no attention, others need what is not given."""
    base = bare(architecture, **config)
    reader = Reader(base)
    assert not reader.packs
    expected = alone(base, ROWS).repeat(2, 1)
    torch.testing.assert_close(told(reader, ROWS), expected, atol=1e-4, rtol=0)


def everyone(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **rest: Any):  # type: ignore[no-untyped-def]
    """Attention to all that stands before in the batch, whatever tree it belongs to."""
    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return sdpa(module, query, key, value, None, is_causal=True, scaling=rest.get("scaling"))


@pytest.mark.parametrize("numeric_type", [torch.float32, torch.bfloat16])
def test_trees_that_see_each_other_are_found_out(
    any_model: TorchModel, numeric_type: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base: Any = copy.deepcopy(any_model._base)
    base.to(numeric_type)
    assert Reader(base).packs
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, attention.NAME, everyone)
    assert not Reader(base).packs


@pytest.mark.parametrize("attribute", ["depths", "ancestors"])
def test_wrong_places_and_wrong_ancestors_are_found_out(
    any_model: TorchModel, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        "depths": lambda tree: list(range(len(tree))),
        "ancestors": lambda tree: torch.ones(len(tree), len(tree), dtype=torch.bool).tril(),
    }
    monkeypatch.setattr(Tree, attribute, wrong[attribute])
    assert not Reader(any_model._base).packs


def test_attention_is_given_back_also_after_an_error(any_model: TorchModel) -> None:
    base = any_model._base
    usual = base.config._attn_implementation
    with any_model._reader.reading():
        assert base.config._attn_implementation == attention.NAME != usual
    assert base.config._attn_implementation == usual
    with pytest.raises(KeyError), any_model._reader.reading():
        raise KeyError
    assert base.config._attn_implementation == usual
    assert attention._current.get() is None


def test_a_failed_batch_leaves_no_trace(any_model: TorchModel) -> None:
    expected = alone(any_model._base, ROWS)
    with pytest.raises(IndexError), any_model._reader.reading():
        any_model._reader.logits(any_model._base, [Tree([5, 6])], [(0, 99)])
    assert attention._current.get() is None
    assert torch.equal(alone(any_model._base, ROWS), expected)


def test_only_the_places_asked_for_reach_the_output_layer(any_model: TorchModel) -> None:
    base: Any = any_model._base
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    rows, columns = torch.tensor([1, 0, 1, 1]), torch.tensor([3, 0, 0, 3])
    with torch.inference_mode():
        whole = base(input_ids=ids).logits
        with output_at(base, rows, columns):
            some = base(input_ids=ids).logits
        with pytest.raises(KeyError), output_at(base, rows, columns):
            raise KeyError
        again = base(input_ids=ids).logits
    assert some.shape == (1, 4, 320)
    torch.testing.assert_close(some[0], whole[rows, columns])
    assert torch.equal(again, whole)


@pytest.mark.parametrize(("copied", "rows"), [(2**28, 2**14), (2**28, 100), (0, 100)])
@pytest.mark.parametrize("biased", [False, True])
def test_logits_are_computed_in_fp32_and_the_head_is_given_back(
    folders: dict[str, Path],
    copied: int,
    rows: int,
    biased: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_HEAD_COPY", copied)
    monkeypatch.setattr(reading, "_HEAD_ROWS", rows)
    base: Any = load(folders["gpt_neox"], "bfloat16")._base
    head = base.get_output_embeddings()
    if biased:
        head.bias = nn.Parameter(torch.randn(320).bfloat16(), requires_grad=False)
    hidden = torch.randn(1, 6, 32).bfloat16()
    bias = head.bias.float() if biased else 0
    expected = hidden.float() @ head.weight.float().T + bias
    with torch.inference_mode(), exact_output(base), torch.autocast("cpu", torch.bfloat16):
        exact = head(hidden)
    assert exact.dtype == torch.float32
    torch.testing.assert_close(exact, expected)
    with pytest.raises(KeyError), exact_output(base):
        raise KeyError
    assert head(hidden).dtype == torch.bfloat16
    assert "forward" not in vars(head)


def test_an_fp32_head_is_left_alone(model: TorchModel) -> None:
    with exact_output(model._base):
        assert "forward" not in vars(model._base.get_output_embeddings())


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=8))
def test_a_grown_tree_holds_every_row_and_no_beginning_twice(rows: list[list[int]]) -> None:
    tree, paths = grown(rows)
    parents = list(range(-1, len(tree) - 1)) if tree.parents is None else list(tree.parents)
    assert [[tree.tokens[node] for node in path] for path in paths] == rows
    for path in paths:
        assert [parents[node] for node in path] == [-1, *path[:-1]]
    assert all(parent < node for node, parent in enumerate(parents))
    assert len(tree) == len({tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)})
    longest = max(rows, key=len)
    assert (tree.parents is None) == all(longest[: len(row)] == row for row in rows)


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 30))
def test_runs_keep_the_order_and_the_budget(costs: list[int], budget: int) -> None:
    order = random.Random(0).sample(range(len(costs)), len(costs))
    cut = list(runs(order, costs.__getitem__, budget))
    assert [i for run in cut for i in run] == order
    assert all(cut)
    for number, run in enumerate(cut):
        spent = sum(costs[i] for i in run)
        assert spent <= budget or len(run) == 1
        if number + 1 < len(cut):
            assert spent + costs[cut[number + 1][0]] > budget


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_masked_on_its_side(left: bool) -> None:
    rows = [[5, 6, 7], [8], [9, 10]]
    padded = Padded.of(rows, left=left, device=torch.device("cpu"))
    assert padded.ids.shape == (3, 3)
    for ids, mask, row in zip(padded.ids, padded.mask, rows, strict=True):
        assert ids[mask.bool()].tolist() == row
        assert mask.tolist() == sorted(mask.tolist(), reverse=not left)


def test_only_a_batch_that_did_not_fit_is_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("full"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def asked(model: TorchModel, prompts: list[Prompt], budget: int = 300) -> np.ndarray:
    answers = model.score_choices(prompts, tokens_per_batch=budget, progress=quiet)
    assert [answer.id for answer in answers] == [prompt.id for prompt in prompts]
    return np.array([answer.log_likelihoods for answer in answers])


def tuned(model: TorchModel, prompts: list[Prompt], recipe: Recipe, folder: Path) -> Tuning:
    folder.mkdir()
    return model.tune(prompts, recipe=recipe, seed=0, folder=folder, progress=quiet)


def assert_same_tuning(a: Tuning, b: Tuning, folders: Sequence[Path]) -> None:
    np.testing.assert_allclose(a.losses, b.losses, atol=1e-3)
    assert (a.tokens, a.loss_tokens) == (b.tokens, b.loss_tokens)
    first, second = map(adapters.load_tensors, folders)
    assert first.keys() == second.keys()
    # Where the true gradient is zero (a key's bias), AdamW makes steps out of rounding.
    apart = torch.cat([(second[name] - tensor).abs().flatten() for name, tensor in first.items()])
    assert float((apart > 1e-3).float().mean()) < 1e-3
    assert float(apart.square().mean().sqrt()) < 1e-4


@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_padded_rows_answer_and_learn_as_packed_ones(
    any_model: TorchModel, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, folders = choice_prompts(16), [tmp_path / "packed", tmp_path / "padded"]
    answers = asked(any_model, prompts)
    packed = tuned(any_model, prompts, recipe, folders[0])
    any_model.attach(folders[0])
    after = asked(any_model, prompts)
    unpacked(any_model, monkeypatch)
    np.testing.assert_allclose(asked(any_model, prompts), after, atol=1e-3)
    any_model.detach()
    np.testing.assert_allclose(asked(any_model, prompts), answers, atol=1e-3)
    padded = tuned(any_model, prompts, recipe, folders[1])
    assert_same_tuning(packed, padded, folders)


def beginning_alike(count: int, choices: tuple[str, ...]) -> list[Prompt]:
    return [
        Prompt(p.id, (), BEGINNING + p.context, p.continuations, p.completion)
        for p in choice_prompts(count, choices)
    ]


def remembered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the beginnings are that are read apart."""
    lengths: list[int] = []
    usual = Reader.remember

    def noted(self: Reader, model: Any, prefix: Sequence[int]) -> Any:
        lengths.append(len(prefix))
        return usual(self, model, prefix)

    monkeypatch.setattr(Reader, "remember", noted)
    return lengths


@pytest.mark.parametrize(
    "prompts",
    [
        beginning_alike(12, (" yes", " no")),
        beginning_alike(9, (" yes", " yes indeed", " yes indeed it is", "")),
        beginning_alike(5, (" no", " never")) * 2,
        beginning_alike(1, (" yes", " no")),
        beginning_alike(1, (" yes", " no")) * 3,
    ],
    ids=["plain", "prefixes", "duplicates", "one", "one thrice"],
)
def test_a_beginning_read_once_changes_no_answer(
    any_model: TorchModel, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = remembered(monkeypatch)
    shared = asked(any_model, prompts)
    assert len(lengths) == 1
    assert lengths[0] >= encoding._WORTH_SHARING
    monkeypatch.setattr(encoding, "_WORTH_SHARING", 10**9)
    whole = asked(any_model, prompts)
    assert len(lengths) == 1
    np.testing.assert_allclose(shared, whole, atol=1e-4)
    encoded = any_model._encoder.alternatives(prompts)
    for row, prompt in zip(shared, encoded, strict=True):
        expected = [
            plain_score(any_model, *x) for x in zip(prompt.rows, prompt.starts, strict=True)
        ]
        np.testing.assert_allclose(row, expected, atol=1e-4)


def plain_score(model: TorchModel, row: list[int], start: int) -> float:
    with torch.inference_mode():
        logits = model._model(input_ids=torch.tensor([row])).logits[0].double()
    table = torch.log_softmax(logits, -1)
    return sum(float(table[i - 1, row[i]]) for i in range(start, len(row)))


@given(
    st.integers(8, 20),
    st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=6), min_size=1, max_size=5),
    st.integers(9, 24),
)
def test_what_is_shared_is_the_longest_beginning_that_predicts_nothing(
    length: int, ends: list[list[int]], start: int
) -> None:
    common = [i % 3 for i in range(length)]
    rows = [common + end for end in ends]
    starts = [min(start + i, len(row) - 1) for i, row in enumerate(rows)]
    shared = encoding.shared_beginning(rows, starts)
    allowed = min(starts) - 1
    longest = max(n for n in range(allowed + 1) if len({tuple(row[:n]) for row in rows}) == 1)
    worth = longest >= encoding._WORTH_SHARING and len(rows) > 1
    assert shared == (longest if worth else 0)


@pytest.mark.parametrize("loss", ["completion", "all"])
@pytest.mark.parametrize("recipe", [LORA, FULL], ids=["lora", "full"])
def test_lessons_that_begin_alike_teach_the_same_read_once(
    any_model: TorchModel,
    recipe: Recipe,
    loss: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small pieces, so that a beginning is read for several of one step."""
    recipe = recipe.model_copy(update={"loss": loss})
    monkeypatch.setattr(tuning, "_PIECE_TOKENS", {"cpu": 200})
    prompts, folders = beginning_alike(16, (" yes", " no")), [tmp_path / "once", tmp_path / "whole"]
    lengths = remembered(monkeypatch)
    once = tuned(any_model, prompts, recipe, folders[0])
    assert bool(lengths) == (loss == "completion")
    assert all(length >= encoding._WORTH_SHARING for length in lengths)
    seen = len(lengths)
    monkeypatch.setattr(encoding, "_WORTH_SHARING", 10**9)
    whole = tuned(any_model, prompts, recipe, folders[1])
    assert len(lengths) == seen
    assert_same_tuning(once, whole, folders)


def test_lessons_that_are_all_the_same_are_read_once_up_to_what_predicts(
    model: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, folders = beginning_alike(1, (" yes",)) * 12, [tmp_path / "once", tmp_path / "whole"]
    lesson = model._encoder.lessons(prompts, max_tokens=512)[0]
    lengths = remembered(monkeypatch)
    read: list[int] = []
    hook = model._base.get_input_embeddings().register_forward_hook(
        lambda _m, inputs, _o: read.append(inputs[0].numel()) if torch.is_grad_enabled() else None
    )
    once = tuned(model, prompts, LORA, folders[0])
    hook.remove()
    steps = len(once.losses)
    assert lengths == [lesson.start - 1] * steps
    # The last token is predicted, never read.
    behind = len(lesson.tokens) - 1 - lengths[0]
    assert sum(read) == sum(lengths) + LORA.epochs * len(prompts) * behind
    monkeypatch.setattr(encoding, "_WORTH_SHARING", 10**9)
    assert_same_tuning(once, tuned(model, prompts, LORA, folders[1]), folders)


def test_a_prompts_tree_reads_every_token_once(model: TorchModel) -> None:
    """Choices share what they have in common; the last token of each is predicted, never read."""
    prompt = model._encoder.alternatives(beginning_alike(1, (" yes", " yes indeed", " no")))[0]
    whole = asking._Asked.of(prompt, 0)
    beginnings = {tuple(row[:n]) for row in prompt.rows for n in range(1, len(row))}
    assert len(whole.tree) == len(beginnings)
    behind = asking._Asked.of(prompt, 12)
    assert len(behind.tree) == len(beginnings) - 12
    assert len(behind.scored) == sum(
        len(row) - start for row, start in zip(prompt.rows, prompt.starts, strict=True)
    )
    assert [(t, c) for _, t, c in behind.scored] == [(t, c) for _, t, c in whole.scored]


@pytest.mark.parametrize("budget", [1, 60, 100_000])
def test_batches_do_not_change_answers_behind_a_shared_beginning(
    any_model: TorchModel, budget: int
) -> None:
    prompts = beginning_alike(10, (" yes", " yes indeed", " no"))
    np.testing.assert_allclose(
        asked(any_model, prompts, budget), asked(any_model, prompts), atol=1e-4
    )


def test_a_model_that_does_not_fit_is_not_taken_for_one_that_cannot_be_packed(
    any_model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(any_model._base), "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        Reader(any_model._base)
