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


def _add(rows: Tensor, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """Add `scale · left @ right` to rows in place."""
    add = rows.addmm_ if rows.ndim == 2 else rows.baddbmm_
    return add(left, right, alpha=scale)


class _Product(torch.autograd.Function):
    """`x Wᵀ + b + scale · (x Aᵀ) Bᵀ` for rows x, W frozen.

    With a first dimension, x, A and B are those of several adapters, each with its own rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        low = x @ a.mT
        ctx.save_for_backward(x, w, a, b, low)
        ctx.scale = scale
        return _add(functional.linear(x, w, bias), low, b.mT, scale)

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, w, a, b, low = ctx.saved_tensors
        back = (gradient @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _add(gradient @ w, back, a)
        return to_x, None, None, back.mT @ x, (gradient.mT @ low).mul_(ctx.scale), None


class LowRankLinear(Linear):
    """PEFT's LoRA layer on a linear one, never merged.

    When several adapters are active they do not add up: each has its share of the rows, all of
    one length, in order.
    """

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """The layer's output with the adapter's part; shape (..., output)."""
        if self.disable_adapters or self.merged:
            plain: Tensor = super().forward(x)
            return plain
        base: Any = self.get_base_layer()
        names = self.active_adapters
        dropout, scale = self.lora_dropout[names[0]], self.scaling[names[0]]
        a, b = (self._weights(low, x.dtype) for low in (self.lora_A, self.lora_B))
        if base.weight.requires_grad or (self.training and not isinstance(dropout, nn.Identity)):
            out: Tensor = base(x) + scale * (dropout(x) @ a.mT @ b.mT)
            return out
        rows = x.reshape(*a.shape[:-2], -1, x.shape[-1])
        out = _Product.apply(rows, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        shaped: Tensor = out.view(*x.shape[:-1], -1)
        return shaped

    def _weights(self, low: nn.ModuleDict, wide: torch.dtype) -> Tensor:
        """A or B of the active adapter; of several, one above the other."""
        layers: list[Any] = [low[name] for name in self.active_adapters]
        if len(layers) == 1:
            only: Tensor = layers[0].weight.to(wide)
            return only
        return torch.stack([layer.weight for layer in layers]).to(wide)


def use_low_rank(config: LoraConfig) -> LoraConfig:
    """Let PEFT put these layers on linear ones when it injects this adapter."""
    config._register_custom_module({nn.Linear: LowRankLinear})
    return config
