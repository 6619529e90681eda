"""Asking in batches, with shared stems and copied caches, changes no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crosstune.errors import JobFailure, OutOfMemory
from crosstune.models.engine import TorchModel
from crosstune.tasks.example import Prompt
from models_support import choice_prompts, load, quiet
from tiny import tiny_model


def one_by_one(model: TorchModel, prompts: list[Prompt]) -> np.ndarray:
    """The textbook way: one whole sequence a pass, all logits, sums in double precision."""
    tokenizer, base = model._encoder.tokenizer, model._model
    rows = []
    for prompt in prompts:
        context = model._encoder.context(prompt)
        scores = []
        for continuation in prompt.continuations:
            whole = tokenizer(context + continuation)["input_ids"]
            start = min(len(tokenizer(context.rstrip())["input_ids"]), len(whole) - 1)
            with torch.no_grad():
                logits = base(input_ids=torch.tensor([whole])).logits[0].double()
            table = torch.log_softmax(logits, dim=-1)
            scores.append(sum(float(table[i - 1, whole[i]]) for i in range(start, len(whole))))
        rows.append(scores)
    return np.array(rows)


def asked(model: TorchModel, prompts: list[Prompt], budget: int = 300) -> np.ndarray:
    answers = model.score_choices(prompts, tokens_per_batch=budget, progress=quiet)
    assert [a.id for a in answers] == [p.id for p in prompts]
    return np.array([a.log_likelihoods for a in answers])


@pytest.mark.parametrize(
    "choices",
    [
        ("A", "B"),
        (" yes", " yes indeed", " no", " never ever at all"),
        (" very very dull", " very very quiet"),
        ("yes", "no"),
        ("", " no"),
    ],
    ids=["single", "prefixes", "shared beginnings", "no space", "empty"],
)
def test_choices_score_as_one_by_one(any_model: TorchModel, choices: tuple[str, ...]) -> None:
    prompts = choice_prompts(12, choices)
    np.testing.assert_allclose(asked(any_model, prompts), one_by_one(any_model, prompts), atol=1e-4)


def test_trailing_spaces_belong_to_the_answer(model: TorchModel) -> None:
    bare = choice_prompts(5, (" yes", " no"))
    spaced = [
        Prompt(p.id, (), p.context + " ", tuple(c[1:] for c in p.continuations), p.completion)
        for p in bare
    ]
    np.testing.assert_array_equal(asked(model, bare), asked(model, spaced))


def test_an_attached_adapter_answers_through_every_path(
    any_model: TorchModel, tmp_path: Path
) -> None:
    from crosstune.models.recipe import Recipe

    prompts = choice_prompts(12)
    bare = asked(any_model, prompts)
    recipe = Recipe(learning_rate=1e-2, batch_size=4)
    any_model.tune(prompts, recipe=recipe, seed=0, folder=tmp_path, progress=quiet)
    any_model.attach(tmp_path)
    tuned, expected = asked(any_model, prompts), one_by_one(any_model, prompts)
    any_model.detach()
    np.testing.assert_allclose(tuned, expected, atol=1e-4)
    assert np.abs(tuned - bare).max() > 0.1
    np.testing.assert_array_equal(asked(any_model, prompts), bare)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_batches_change_rounding_only(any_model: TorchModel, budget: int) -> None:
    prompts = choice_prompts(9)
    np.testing.assert_allclose(
        asked(any_model, prompts, budget), asked(any_model, prompts, 300), atol=1e-4
    )


def test_the_beginning_of_text_token_is_read_once(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "bos", bos=True))
    prompts = choice_prompts(4)
    np.testing.assert_allclose(asked(model, prompts), one_by_one(model, prompts), atol=1e-4)
    already = [Prompt(p.id, (), "<s>" + p.context, p.continuations, p.completion) for p in prompts]
    np.testing.assert_array_equal(asked(model, prompts), asked(model, already))


def test_a_chat_template_wraps_the_turns(model: TorchModel) -> None:
    prompt = choice_prompts(1)[0]
    turns = (("system", "Be brief."), ("user", prompt.context))
    chat = Prompt("c", turns, "", ("yes", "no"), "yes")
    text = f"<|system|>Be brief.<|end|>\n<|user|>{prompt.context}<|end|>\n<|assistant|>"
    assert model._encoder.context(chat) == text
    np.testing.assert_allclose(asked(model, [chat]), one_by_one(model, [chat]), atol=1e-4)


def test_a_long_context_loses_its_beginning_for_all_choices_alike(model: TorchModel) -> None:
    long = Prompt("long", (), "a quiet joy " * 300 + "Is that right?", (" yes", " no way"), " yes")
    answer = model.score_choices([long], tokens_per_batch=300, progress=quiet)[0]
    assert answer.truncated
    tokens = model._encoder.tokenizer(long.context)["input_ids"]
    longest = model._encoder.tokenizer(" no way")["input_ids"]
    assert answer.prompt_tokens == 256 - (len(longest) - 1) < len(tokens)


def test_a_choice_longer_than_the_model_is_a_failure(model: TorchModel) -> None:
    prompt = Prompt("x", (), "Is it?", (" yes", " no" * 400), " yes")
    with pytest.raises(JobFailure, match="an answer alone is longer than the 256 tokens"):
        model.score_choices([prompt], tokens_per_batch=300, progress=quiet)


@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("beginning", ["", "The film was a quiet joy, and never dull. " * 2])
def test_text_is_what_transformers_writes_greedily(
    any_model: TorchModel, beginning: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(any_model._reader, "packs", packs)
    prompts = [replace(p, context=beginning + p.context) for p in choice_prompts(10)]
    answers = any_model.generate(
        prompts, stop=["\n", "quiet"], max_new_tokens=12, tokens_per_batch=200, progress=quiet
    )
    tokenizer, base = any_model._encoder.tokenizer, any_model._base
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([tokenizer(prompt.context)["input_ids"]])
        new = base.generate(  # type: ignore[operator]
            ids, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(ids)
        )[0, ids.shape[1] :]
        text = str(tokenizer.decode(new, skip_special_tokens=True))
        assert answer.text == text.split("\n")[0].split("quiet")[0]
        told = (str(tokenizer.decode(new[:k])) for k in range(1, len(new) + 1))
        ended = (k for k, so_far in enumerate(told, 1) if "\n" in so_far or "quiet" in so_far)
        assert answer.tokens == next(ended, len(new))
        assert answer.prompt_tokens == ids.shape[1]


def test_text_ends_at_the_models_own_end(model: TorchModel) -> None:
    prompt = choice_prompts(1)[0]
    free = model.generate([prompt], stop=[], max_new_tokens=6, tokens_per_batch=99, progress=quiet)[
        0
    ]
    first = model._encoder.tokenizer(prompt.context + free.text)["input_ids"]
    third = first[len(model._encoder.tokenizer(prompt.context)["input_ids"]) + 2]
    model._base.generation_config.eos_token_id = [third]
    ended = model.generate(
        [prompt], stop=[], max_new_tokens=6, tokens_per_batch=99, progress=quiet
    )[0]
    assert ended.tokens == 3
    assert free.text.startswith(ended.text)
    assert len(ended.text) < len(free.text)


def test_no_logits_are_computed_that_nobody_reads(model: TorchModel) -> None:
    seen: list[tuple[int, ...]] = []
    head = model._base.get_output_embeddings()
    hook = head.register_forward_hook(lambda _m, inputs, _o: seen.append(tuple(inputs[0].shape)))
    prompts = choice_prompts(10, ("A", "B"))
    asked(model, prompts, 10_000)
    assert seen == [(1, 10, 32)]
    seen.clear()
    model.generate(prompts, stop=["e"], max_new_tokens=5, tokens_per_batch=10_000, progress=quiet)
    hook.remove()
    # One row for every prompt that is still being answered; never fewer dimensions merged.
    assert [shape[::2] for shape in seen] == [(1, 32)] * len(seen)
    counts = [shape[1] for shape in seen]
    assert counts[0] == 10
    assert counts == sorted(counts, reverse=True)


def test_choices_are_ranked_by_logits_in_fp32_also_on_a_bf16_base(
    folders: dict[str, Path],
) -> None:
    """bf16 logits have so few values that choices tie, and a tie favours the first choice."""
    model = load(folders["llama"], "bfloat16")
    head = model._base.get_output_embeddings()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = head.register_forward_hook(lambda _m, inputs, output: seen.append((inputs[0], output)))
    answers = asked(model, choice_prompts(10, ("A", "B", "C")), 10_000)
    hook.remove()
    [(hidden, logits)] = seen
    assert logits.dtype == torch.float32
    expected = hidden.float() @ head.weight.float().T
    torch.testing.assert_close(logits, expected)
    assert not torch.equal(logits, logits.bfloat16().float())
    assert len(np.unique(answers)) == answers.size


def test_a_chat_answer_ends_where_tuning_taught_it_to(tmp_path: Path) -> None:
    """The template's end of turn is another token than the end of text."""
    from crosstune.models.recipe import Recipe

    model = load(tiny_model(tmp_path / "chat"))
    lessons = [
        Prompt(f"{i}", (("user", f"Is it {i}?"),), "", (), ("yes", "no")[i % 2]) for i in range(16)
    ]
    recipe = Recipe(learning_rate=2e-2, epochs=12, batch_size=4)
    (tmp_path / "tuned").mkdir()
    model.tune(lessons, recipe=recipe, seed=0, folder=tmp_path / "tuned", progress=quiet)
    model.attach(tmp_path / "tuned")
    answers = model.generate(
        lessons, stop=[], max_new_tokens=12, tokens_per_batch=999, progress=quiet
    )
    right = [a.text == lesson.completion for a, lesson in zip(answers, lessons, strict=True)]
    assert sum(right) > 8
    assert all(a.tokens < 12 for a, fine in zip(answers, right, strict=True) if fine)


def test_spaces_that_end_a_context_are_written_by_the_model(model: TorchModel) -> None:
    bare = choice_prompts(4)
    spaced = [Prompt(p.id, (), p.context + " ", (), p.completion) for p in bare]
    written = [
        model.generate(ps, stop=[], max_new_tokens=6, tokens_per_batch=99, progress=quiet)
        for ps in (bare, spaced)
    ]
    assert written[0] == written[1]


def test_a_batch_that_does_not_fit_is_told(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(model._base), "forward", full)
    with pytest.raises(OutOfMemory, match="a batch of 300 tokens does not fit"):
        asked(model, choice_prompts(2))
