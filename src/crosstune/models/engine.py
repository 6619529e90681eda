"""The torch engine: one resident base, adapters attached, tuned, swapped and removed.

Loading costs seconds; everything after reuses it. The base's own tensors are never written to, so
taking an adapter or tuned weights off gives the base back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, logging

from crosstune.errors import DamagedFile, InputError, JobFailure, ProofFailure
from crosstune.models import adapters, asking, protocol, states, tuning, writing
from crosstune.models.devices import device_of
from crosstune.models.embedded import embedded_folder
from crosstune.models.encoding import Encoder
from crosstune.models.forest import Tree
from crosstune.models.lowrank import use_low_rank
from crosstune.models.protocol import (
    Assignment,
    ChoiceAnswer,
    Position,
    Progress,
    Proof,
    TextAnswer,
    Tuning,
)
from crosstune.models.reading import Model, Reader, exact_output, memory_told
from crosstune.models.recipe import Recipe
from crosstune.models.reference import ModelReference
from crosstune.tasks.example import Prompt

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.5}
"""Largest probe error in nats between machines: fp32 differs by about 2e-5, bf16 by up to 0.4."""
SESSION_TOLERANCE = 1e-4
"""Largest probe error within one process, where the same computation is repeated."""
_BUSY = 2e12
"""Tokens of a step times weights of the base that keep an accelerator busy."""

_MOST_AT_ONCE = 16

_PROBES = (
    "The capital of France is",
    "Question: Is water wet? Answer:",
    "12 + 7 =",
    "The film was dull, slow and far too long. Sentiment:",
)
_PROBED_TOKENS = 64

_NUMERIC_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class _Attached:
    """What answers at the moment, with what it said to the probe when it was attached."""

    record: adapters.Record
    said: Tensor


class TorchModel:
    """A causal language model of transformers with PEFT adapters; see `protocol.LanguageModel`."""

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        *,
        reference: ModelReference,
        numeric_type: str,
    ) -> None:
        self._base = model
        self._model: Model = model
        self._mixed = False
        self._encoder = encoder
        self._reference = reference
        self._numeric_type = numeric_type
        self._originals = {name: p.data for name, p in model.named_parameters()}
        model.eval().requires_grad_(False)
        self._reader = Reader(model)
        self._base_sha256 = adapters.tensors_sha256(self._originals)
        said = self._probe()
        self._bare = _Attached(self._record(self._base_sha256, "", said, 0.0), said)
        self._attached = self._bare

    @staticmethod
    def load(reference: ModelReference, *, numeric_type: str, device: str = "auto") -> TorchModel:
        """Load weights and tokenizer; safetensors only, and never code from a model's folder.

        Raises:
            InputError: The files cannot be loaded, or the device is not there.
        """
        place = device_of(device)
        logging.disable_progress_bar()
        where, revision = reference.name, reference.revision or None
        if reference.kind == "hub" and Path(reference.name).exists():
            # transformers would take it for the model that is meant.
            raise InputError(
                f"The working directory has a folder '{reference.name}', which would be loaded "
                "in place of the Hub's model of that name; work elsewhere, or rename it"
            )
        if reference.kind == "embedded":
            where = str(embedded_folder())
        elif reference.folder is not None:
            where = str(reference.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, revision=revision, trust_remote_code=False
            )
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where,
                revision=revision,
                dtype=_NUMERIC_TYPES[numeric_type],
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).replace(where, reference.name).split())
            raise InputError(f"The model '{reference.name}' cannot be loaded: {reason}") from None
        model, loading = loaded
        if absent := sorted(map(str, loading["missing_keys"])):
            raise InputError(
                f"The model '{reference.name}' lacks weights that would be random: "
                f"{', '.join(absent[:3])}{' …' if len(absent) > 3 else ''}"
            )
        # Every place a tokenizer or a configuration may state a limit; absurd defaults drop out.
        config = model.config.get_text_config()
        limits = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
        longest = min((n for n in limits if n and n < 10**9), default=4096)
        return TorchModel(
            model.to(place),
            Encoder(tokenizer, longest),
            reference=reference,
            numeric_type=numeric_type,
        )

    @property
    def identity(self) -> str:
        """Name and content of the base."""
        return self._reference.identity

    @property
    def has_chat_template(self) -> bool:
        """Whether prompts with turns can be rendered."""
        return self._encoder.has_chat_template

    @property
    def packs(self) -> bool:
        """Whether batches are read without padding."""
        return self._reader.packs

    def tune(
        self,
        prompts: Sequence[Prompt],
        *,
        recipe: Recipe,
        seed: int,
        folder: Path,
        progress: Progress,
    ) -> Tuning:
        """Tune from the bare base and write weights and proof; see the protocol."""
        one = Assignment(prompts, seed, folder)
        [report] = self.tune_together([one], recipe=recipe, progress=progress)
        return report

    def at_once(self, prompts: Sequence[Prompt], recipe: Recipe) -> int:
        """How many models it pays to tune at once; see the protocol."""
        if self._base.device.type == "cpu" or not self._goes_together(recipe):
            return 1
        lessons = self._encoder.lessons(prompts[:64], max_tokens=recipe.max_tokens)
        tokens = recipe.batch_size * sum(len(x.tokens) for x in lessons) / max(1, len(lessons))
        work = max(1, tokens) * sum(p.numel() for p in self._base.parameters())
        return max(1, min(_MOST_AT_ONCE, int(_BUSY / work)))

    def _goes_together(self, recipe: Recipe) -> bool:
        chance = recipe.dropout or self._reader.drops  # would fall otherwise than one by one
        return recipe.method == "lora" and self._reader.packs and not chance

    def tune_together(
        self, assignments: Sequence[Assignment], *, recipe: Recipe, progress: Progress
    ) -> list[Tuning]:
        """Tune several adapters in common batches; see the protocol."""
        self.detach()
        lessons = [
            self._encoder.lessons(one.prompts, max_tokens=recipe.max_tokens) for one in assignments
        ]
        seeds = [one.seed for one in assignments]
        if len(seeds) > 1 and not self._goes_together(recipe):
            raise JobFailure("this model or recipe is tuned one model at a time")
        weights = self._masters() if recipe.method == "full" else self._lora(recipe, seeds)
        with weights as trained, self._reader.reading():
            reports = tuning.tune(
                self._model,
                lessons,
                reader=self._reader,
                trained=list(trained.values()),
                recipe=recipe,
                seeds=seeds,
                arithmetic=self._arithmetic,
                progress=progress,
            )
            digests = [
                self._save(one.folder, recipe, name)
                for one, name in zip(assignments, trained, strict=True)
            ]
        return [
            replace(report, **self._prove_new(one.folder, digest))
            for report, one, digest in zip(reports, assignments, digests, strict=True)
        ]

    def attach(self, folder: Path) -> Proof:
        """Answer as the tuned model of that folder from now on."""
        self.detach()
        record = adapters.Record.read(folder)
        if record.base_sha256 != self._base_sha256 or record.numeric_type != self._numeric_type:
            raise ProofFailure(
                f"the weights were made from another base ({record.base}, "
                f"{record.numeric_type}, {record.base_sha256[:12]}…)"
            )
        tensors = adapters.load_tensors(folder)
        if adapters.settings_sha256(folder) != record.settings_sha256:
            raise DamagedFile("adapter_config.json is altered: its hash is not the recorded one")
        if (found := adapters.tensors_sha256(tensors)) != record.tensors_sha256:
            raise DamagedFile(
                f"the file of tuned weights is altered: its tensors' hash is {found[:12]}…, "
                f"not {record.tensors_sha256[:12]}… as recorded"
            )
        try:
            self._put_on(folder, tensors)
            self._attached = _Attached(record, self._probe())
            return self.check()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Answer as the bare base from now on, bit for bit."""
        adapters.unwrap(self._base)
        for name, parameter in self._base.named_parameters():
            parameter.data = self._originals[name]
            parameter.grad = None
        self._base.eval().requires_grad_(False)
        self._model = self._base
        self._mixed = False
        self._attached = self._bare

    def check(self) -> Proof:
        """Prove that what answers is what was recorded."""
        attached = self._attached
        record = attached.record
        found = adapters.tensors_sha256(self._tensors())
        if found != record.tensors_sha256:
            raise ProofFailure(
                f"the attached tensors' hash is {found[:12]}…, not "
                f"{record.tensors_sha256[:12]}… as recorded"
            )
        if isinstance(self._model, PeftModel) and (idle := adapters.inactive_layers(self._model)):
            raise ProofFailure(f"the adapter does not take part in the answers: {idle[0]}")
        now = self._probe()
        drift = float((now - attached.said).abs().max())
        error = float((now - torch.tensor(record.probe)).abs().max())
        distance = float((now - self._bare.said).abs().max())
        if not drift <= SESSION_TOLERANCE:
            raise ProofFailure(
                f"the model answers the probe otherwise than when attached ({drift:.2g} nats)"
            )
        if not error <= TOLERANCE[self._numeric_type]:
            raise ProofFailure(
                f"the model misses what it said to the probe when it was made by {error:.2g} nats"
            )
        if record.distance_from_base > 0 and distance == 0:
            raise ProofFailure("the model answers the probe exactly as the bare base does")
        return Proof(self._base_sha256, found, error, distance)

    def alike(self, prompts: Sequence[Prompt]) -> tuple[str, str] | None:
        """Two choices of a prompt that first tokens cannot tell apart; see the protocol."""
        return self._encoder.alike(prompts)

    def measure(self, prompts: Sequence[Prompt]) -> protocol.Measured:
        """Lengths in tokens and mean states; see the protocol."""
        lessons = self._encoder.lessons(prompts, max_tokens=self._encoder.max_length)
        with self._arithmetic():
            return self._reader.measured(self._model, lessons)

    def activations(
        self,
        prompts: Sequence[Prompt],
        *,
        position: Position,
        tokens_per_batch: int,
        progress: Progress,
    ) -> protocol.Activations:
        """Hidden states of every layer; see the protocol."""
        encoded = self._encoder.contexts(prompts, room=1)
        with memory_told(tokens_per_batch), self._arithmetic():
            found = states.activations(
                self._model,
                encoded,
                reader=self._reader,
                position=position,
                budget=tokens_per_batch,
                progress=progress,
            )
        cut = sum(prompt.truncated for prompt in encoded)
        return protocol.Activations(np.asarray(found.numpy()), cut)

    def moved(self) -> tuple[float, ...]:
        """How far each block's weights are from the base's; see the protocol."""
        return adapters.moved(self._model, self._originals)

    def score_choices(
        self,
        prompts: Sequence[Prompt],
        *,
        first_token: bool = False,
        tokens_per_batch: int,
        progress: Progress,
    ) -> list[ChoiceAnswer]:
        """Log-likelihood of every continuation; see the protocol."""
        encoded = self._encoder.alternatives(prompts)
        if first_token:
            encoded = [asked.first_tokens() for asked in encoded]
        with memory_told(tokens_per_batch), self._arithmetic():
            return asking.score_choices(
                self._model,
                encoded,
                reader=self._reader,
                budget=tokens_per_batch,
                progress=progress,
            )

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        tokens_per_batch: int,
        progress: Progress,
    ) -> list[TextAnswer]:
        """Greedy text after every prompt; see the protocol."""
        encoded = self._encoder.contexts(prompts, room=max_new_tokens)
        tokenizer = self._encoder.tokenizer
        with memory_told(tokens_per_batch), self._arithmetic():
            return writing.generate(
                self._model,
                encoded,
                reader=self._reader,
                decode=lambda tokens: str(tokenizer.decode(tokens, skip_special_tokens=True)),
                ends=self._ends(chat=any(prompt.turns for prompt in prompts)),
                stop=stop,
                max_new_tokens=max_new_tokens,
                budget=tokens_per_batch,
                progress=progress,
            )

    def _ends(self, *, chat: bool) -> frozenset[int]:
        """Tokens that end a text: those the model states, and those that tuning teaches."""
        stated = self._base.generation_config.eos_token_id
        ends = stated if isinstance(stated, list) else [stated]
        taught = self._encoder.ends(chat=chat) | self._encoder.ends(chat=False)
        return frozenset(token for token in ends if token is not None) | taught

    def _probe(self) -> Tensor:
        """Log-probabilities of fixed tokens after fixed texts, through the asking path."""
        rows = [self._encoder.tokenizer(text)["input_ids"] for text in _PROBES]
        trees = [Tree(row) for row in sorted(rows, key=len)]
        places = [(i, len(tree) - 1) for i, tree in enumerate(trees)]
        with (
            torch.inference_mode(),
            self._reader.reading(),
            exact_output(self._base),
            self._arithmetic(),
        ):
            table = self._reader.logits(self._model, trees, places).float().log_softmax(-1)
        # Spread over the vocabulary, so that any change of the last state shows.
        step = max(1, table.shape[1] // _PROBED_TOKENS)
        return table[:, ::step].flatten().cpu()

    def _record(self, digest: str, settings: str, said: Tensor, distance: float) -> adapters.Record:
        return adapters.Record(
            base=self._reference.identity,
            base_sha256=self._base_sha256,
            tensors_sha256=digest,
            settings_sha256=settings,
            numeric_type=self._numeric_type,
            probe=tuple(said.tolist()),
            distance_from_base=distance,
        )

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors that make the attached model what it is."""
        if isinstance(self._model, PeftModel):
            return adapters.adapter_tensors(self._model)
        return {name: p.data for name, p in self._base.named_parameters()}

    @contextmanager
    def _lora(
        self, recipe: Recipe, seeds: Sequence[int]
    ) -> Iterator[dict[str, list[nn.Parameter]]]:
        """The base with a fresh adapter in fp32 for each seed; bare again afterwards."""
        modules = recipe.target_modules
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,  # type: ignore[arg-type]  # a fraction works too
            lora_dropout=recipe.dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
            task_type="CAUSAL_LM",
        )
        use_low_rank(config)
        names = ["default", *(f"other{i}" for i in range(1, len(seeds)))]
        try:
            for name, seed in zip(names, seeds, strict=True):
                torch.manual_seed(seed)
                self._model = adapters.inject(self._model, config, name)
            self._mixed = adapters.computes_mixed(self._model)
            if len(names) > 1:
                if self._mixed:
                    raise JobFailure("these modules are tuned one model at a time")
                lora: Any = self._model.base_model
                lora.set_adapter(names)
            yield {
                name: [p for n, p in self._model.named_parameters() if f".{name}." in n]
                for name in names
            }
        finally:
            self.detach()

    @contextmanager
    def _masters(self) -> Iterator[dict[str, list[nn.Parameter]]]:
        """All weights as fp32 copies, since bf16 loses small updates; bare again afterwards."""
        try:
            for parameter in self._base.parameters():
                parameter.data = parameter.data.to(torch.float32, copy=True)
                parameter.requires_grad_(True)
            self._mixed = True
            yield {"": list(self._base.parameters())}
        finally:
            self.detach()

    def _arithmetic(self) -> AbstractContextManager[None]:
        """Compute in the study's numeric type wherever weights are kept in fp32.

        Left after each step of tuning: within one such context torch keeps converted copies of
        weights and would not see them change.
        """
        low = _NUMERIC_TYPES[self._numeric_type]
        return torch.autocast(
            self._base.device.type, dtype=low, enabled=self._mixed and low != torch.float32
        )

    def _save(self, folder: Path, recipe: Recipe, name: str) -> str:
        """Write the tuned weights as they will be asked; returns their hash."""
        if isinstance(self._model, PeftModel):
            tensors = adapters.adapter_tensors(self._model, name)
            if adapters.is_zero(tensors) and recipe.learning_rate > 0:
                raise JobFailure("tuning changed nothing: LoRA B is still all zero")
            return adapters.save_adapter(self._model, folder, name=name, base=self._reference.name)
        tensors = {
            name: p.detach().to(_NUMERIC_TYPES[self._numeric_type]).contiguous().cpu()
            for name, p in self._base.named_parameters()
        }
        save_file(tensors, folder / adapters.FULL_FILE, metadata={"format": "pt"})
        return adapters.tensors_sha256(tensors)

    def _put_on(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        if (folder / adapters.ADAPTER_FILE).exists():
            self._model = adapters.put_on(self._base, folder)
            self._mixed = adapters.computes_mixed(self._model)
            return
        if missing := self._originals.keys() ^ tensors.keys():
            raise ProofFailure(f"the tuned weights do not fit the base: {sorted(missing)[0]}")
        for name, parameter in self._base.named_parameters():
            parameter.data = tensors[name].to(parameter.device)

    def _prove_new(self, folder: Path, digest: str) -> dict[str, Any]:
        """Record what stored weights say to the probe, read back; tells how far they moved."""
        try:
            self._put_on(folder, adapters.load_tensors(folder))
            said = self._probe()
            moved = adapters.movement(self._model, self._originals)
        finally:
            self.detach()
        if not bool(torch.isfinite(said).all()):
            raise JobFailure("the tuned model's answers to the probe are not finite; tune slower")
        distance = float((said - self._bare.said).abs().max())
        self._record(digest, adapters.settings_sha256(folder), said, distance).write(folder)
        return moved
