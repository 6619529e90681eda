"""Hidden states that are kept are those of plain forward passes, at the true last token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from crosstune.models.engine import TorchModel
from crosstune.models.recipe import Recipe
from crosstune.tasks.example import Prompt
from models_support import choice_prompts, quiet

# What all begin with is long enough to be read once.
SAME = "Is that right or wrong? The film was a quiet joy and never raises its voice. "


def prompts(count: int = 7, before: str = "") -> list[Prompt]:
    return [
        Prompt(str(i), (), f"{before}{'very ' * (3 * i % 7)}dull film {i} was", (), " good")
        for i in range(count)
    ]


def states(
    model: TorchModel, asked: Sequence[Prompt], position: str = "last_prompt_token", batch: int = 64
) -> np.ndarray:
    return model.activations(
        asked,
        position=position,  # type: ignore[arg-type]
        tokens_per_batch=batch,
        progress=quiet,
    ).states


def plain(model: TorchModel, asked: Sequence[Prompt], position: str) -> np.ndarray:
    """One unpadded forward pass a prompt."""
    found = []
    for prompt in asked:
        [encoded] = model._encoder.contexts([prompt], room=1)
        with torch.inference_mode():
            told = model._model(
                input_ids=torch.tensor([encoded.tokens]), output_hidden_states=True
            ).hidden_states
        layers = torch.stack(told)[:, 0].float()
        found.append(layers[:, -1] if position == "last_prompt_token" else layers.mean(1))
    return torch.stack(found, dim=1).numpy()


@pytest.mark.parametrize("before", ["", SAME])
@pytest.mark.parametrize("position", ["last_prompt_token", "mean"])
def test_states_are_those_of_plain_passes(
    any_model: TorchModel, position: str, before: str
) -> None:
    asked = prompts(before=before)
    found = states(any_model, asked, position)
    config = any_model._base.config.get_text_config()
    assert found.shape == (config.num_hidden_layers + 1, len(asked), config.hidden_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain(any_model, asked, position), rtol=1e-3, atol=1e-3)


def test_a_batch_changes_nothing_but_rounding(any_model: TorchModel) -> None:
    asked = prompts()
    alone = states(any_model, asked, batch=8)
    np.testing.assert_allclose(alone, states(any_model, asked, batch=4096), rtol=1e-3, atol=1e-3)


def test_padded_reading_gives_the_same(model: TorchModel, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {p: states(model, prompts(before=SAME), p) for p in ("last_prompt_token", "mean")}
    monkeypatch.setattr(model._reader, "packs", False)
    for position, told in packed.items():
        np.testing.assert_allclose(
            states(model, prompts(before=SAME), position), told, rtol=1e-3, atol=1e-3
        )


def test_the_embedding_is_constant_where_all_prompts_end_alike(model: TorchModel) -> None:
    found = states(model, prompts())
    assert np.ptp(found[0], axis=0).max() == 0
    assert np.ptp(found[1], axis=0).max() > 0


def test_the_answers_are_not_read(model: TorchModel) -> None:
    other = [Prompt(p.id, (), p.context, (" a", " b"), " a") for p in prompts()]
    np.testing.assert_array_equal(states(model, prompts()), states(model, other))


def test_a_tuned_model_has_its_own_states_and_moves_the_blocks_it_changed(
    model: TorchModel, tmp_path: Path
) -> None:
    bare = states(model, prompts())
    assert model.moved() == (0.0, 0.0)
    recipe = Recipe(examples=8, batch_size=4, learning_rate=0.01, target_modules=("q_proj",))
    model.tune(choice_prompts(8), recipe=recipe, seed=0, folder=tmp_path, progress=quiet)
    np.testing.assert_array_equal(states(model, prompts()), bare)
    model.attach(tmp_path)
    tuned = states(model, prompts())
    np.testing.assert_array_equal(tuned[0], bare[0])
    assert np.abs(tuned[1:] - bare[1:]).max() > 1e-3
    np.testing.assert_allclose(
        tuned, plain(model, prompts(), "last_prompt_token"), rtol=1e-3, atol=1e-3
    )
    weights = dict(model._originals)
    expected = []
    for block in range(2):
        sizes = sum(
            float(w.square().sum())
            for name, w in weights.items()
            if f"layers.{block}." in name and w.ndim > 1
        )
        layer = model._base.model.layers[block].self_attn.q_proj
        expected.append(float(layer.get_delta_weight("default").norm()) / sizes**0.5)
    np.testing.assert_allclose(model.moved(), expected, rtol=1e-5)
    model.detach()
    assert model.moved() == (0.0, 0.0)


def test_full_tuning_moves_every_block(model: TorchModel, tmp_path: Path) -> None:
    recipe = Recipe(method="full", examples=8, batch_size=4, learning_rate=0.001)
    model.tune(choice_prompts(8), recipe=recipe, seed=0, folder=tmp_path, progress=quiet)
    model.attach(tmp_path)
    assert len(model.moved()) == 2
    assert min(model.moved()) > 0
    model.detach()
