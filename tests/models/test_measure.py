"""Lengths and states that analyses read later are those of the model itself."""

from __future__ import annotations

import numpy as np
import torch

from crosstune.models.engine import TorchModel
from crosstune.models.protocol import MEASURED
from crosstune.tasks.example import Prompt


def prompt(number: int) -> Prompt:
    context, answer = f"the film number {number} was" + " very" * (number % 4), " good"
    return Prompt(str(number), (), context, (), answer)


def test_states_are_the_mean_of_the_last_layer(any_model: TorchModel) -> None:
    prompts = [prompt(number) for number in range(3)]
    measured = any_model.measure(prompts)
    base, encoder = any_model._base, any_model._encoder
    expected = []
    for lesson in encoder.lessons(prompts, max_tokens=10**6):
        ids = torch.tensor([lesson.tokens[: lesson.start]])
        with torch.inference_mode():
            told = base(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        expected.append(told[0].float().mean(0).numpy())
    np.testing.assert_allclose(measured.states, np.mean(expected, axis=0), rtol=1e-4, atol=1e-4)
    assert measured.prompt_tokens == tuple(
        lesson.start for lesson in encoder.lessons(prompts, max_tokens=10**6)
    )


def test_answers_are_counted_without_what_ends_them(any_model: TorchModel) -> None:
    [count] = any_model.measure([prompt(0)]).answer_tokens
    assert count == len(
        any_model._encoder.tokenizer(" good", add_special_tokens=False)["input_ids"]
    )


def test_an_answer_is_where_it_is_when_the_context_lost_its_beginning(
    any_model: TorchModel,
) -> None:
    encoder = any_model._encoder
    [whole] = encoder.lessons([prompt(3)], max_tokens=10**6)
    [cut] = encoder.lessons([prompt(3)], max_tokens=len(whole.tokens) - 2)
    assert cut.truncated
    assert cut.tokens[cut.start : cut.end] == whole.tokens[whole.start : whole.end]
    assert cut.tokens[cut.end :] == whole.tokens[whole.end :] != []
    [short] = encoder.lessons([prompt(0)], max_tokens=2)
    assert short.end <= len(short.tokens) == 2


def test_an_empty_answer_has_no_tokens(any_model: TorchModel) -> None:
    empty = Prompt("0", (), "a", (), "")
    assert any_model.measure([empty]).answer_tokens[0] >= 0


def test_only_the_first_prompts_are_read(any_model: TorchModel) -> None:
    few = [prompt(number) for number in range(MEASURED)]
    more = any_model.measure([*few, prompt(99)])
    assert more.states == any_model.measure(few).states
    assert len(more.prompt_tokens) == MEASURED + 1
