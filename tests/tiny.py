"""Tiny random models with a real tokenizer, for tests of the real engine.

A folder takes a second to make and a few hundred kilobytes; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXT = (
    "The film was a quiet joy. It never raises its voice and never needs to. Is that right or "
    "wrong? yes no positive negative true false entailment neutral contradiction one two three "
    "Question: Answer: What is 12 + 7 = 19, 3 - 1 = 2? The capital of France is Paris. user "
) * 4
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SHARED: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "tie_word_embeddings": True,
    "initializer_range": 0.4,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "gpt_neox": {"tie_word_embeddings": False},
    "gemma3_text": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_hidden_layers": 3,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "final_logit_softcapping": 5.0,
    },
}


def tiny_tokenizer(*, bos: bool = False, chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 320 tokens, trained on the spot."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    if chat:
        fast.chat_template = CHAT
    return fast


def tiny_model(
    folder: Path,
    architecture: str = "llama",
    *,
    bos: bool = False,
    chat: bool = True,
    seed: int = 0,
) -> Path:
    """Write a tiny random model with its tokenizer into a folder, and give the folder back."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **{**_SHARED, **ARCHITECTURES[architecture]})
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tiny_tokenizer(bos=bos, chat=chat).save_pretrained(folder)
    return folder
