"""LoRA layers that cost little more than the layers they sit on.

PEFT computes `W x`, then `B (A x)` in fp32, scales it and adds it: five passes over the output.
Here the low-rank product is accumulated into the output by the second product itself, forward and
back, in the numeric type of the input; the weights stay fp32. Adapters are PEFT's in every other
respect: its injection, its names, its files.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional


class _Product(torch.autograd.Function):
    """`x Wᵀ + b + scale · (x Aᵀ) Bᵀ` for rows x, W frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        low = x @ a.mT
        ctx.save_for_backward(x, w, a, b, low)
        ctx.scale = scale
        return functional.linear(x, w, bias).addmm_(low, b.mT, alpha=scale)

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, w, a, b, low = ctx.saved_tensors
        back = (gradient @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ w).addmm_(back, a)
        return to_x, None, None, back.mT @ x, (gradient.mT @ low).mul_(ctx.scale), None


class LowRankLinear(Linear):
    """PEFT's LoRA layer on a linear one, with one adapter that is not merged."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """The layer's output with the adapter's part; shape (..., output)."""
        if self.disable_adapters or self.merged:
            plain: Tensor = super().forward(x)
            return plain
        base: Any = self.get_base_layer()
        [name] = self.active_adapters
        a, b = (low[name].weight.to(x.dtype) for low in (self.lora_A, self.lora_B))
        dropout, scale = self.lora_dropout[name], self.scaling[name]
        if base.weight.requires_grad or (self.training and not isinstance(dropout, nn.Identity)):
            out: Tensor = base(x) + scale * (dropout(x) @ a.mT @ b.mT)
            return out
        rows = x.reshape(-1, x.shape[-1])
        out = _Product.apply(rows, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        shaped: Tensor = out.view(*x.shape[:-1], -1)
        return shaped


def use_low_rank(config: LoraConfig) -> LoraConfig:
    """Let PEFT put these layers on linear ones when it injects this adapter."""
    config._register_custom_module({nn.Linear: LowRankLinear})
    return config
