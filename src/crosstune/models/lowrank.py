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

from crosstune.errors import JobFailure
from crosstune.models.attention import nodes_read


def _add(rows: Tensor, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
    """Add `scale · left @ right` to rows in place."""
    add = rows.addmm_ if rows.ndim == 2 else rows.baddbmm_
    return add(left, right, alpha=scale)


class _Product(torch.autograd.Function):
    """`x Wᵀ + b + scale · (x Aᵀ) Bᵀ` for rows x, W frozen; computed in the numeric type of x.

    With a first dimension, A and B are those of several adapters, and the rows are cut alike.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        ctx.scale, ctx.shape, ctx.wide = scale, x.shape, a.dtype
        rows = x.reshape(*a.shape[:-2], -1, x.shape[-1])
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = rows @ a.mT
        ctx.save_for_backward(rows, w, a, b, low)
        out = _add(functional.linear(rows, w, bias), low, b.mT, scale)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, w, a, b, low = ctx.saved_tensors
        gradient = gradient.reshape(*low.shape[:-1], -1)
        back = (gradient @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _add(gradient @ w, back, a).view(ctx.shape)
        to_b = (gradient.mT @ low).mul_(ctx.scale)
        to_a = back.mT @ rows
        return to_x, None, None, to_a.to(ctx.wide), to_b.to(ctx.wide), None


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
        name = self.active_adapters[0]
        dropout, scale = self.lora_dropout[name], self.scaling[name]
        a, b = self._weights(self.lora_A), self._weights(self.lora_B)
        drops = self.training and not isinstance(dropout, nn.Identity)
        odd = drops or base.weight.requires_grad or type(base) is not nn.Linear
        if a.ndim > 2 and (odd or x.shape[:-1].numel() != nodes_read()):
            raise JobFailure("these modules are tuned one model at a time")
        if odd:
            added = dropout(x) @ a.to(x.dtype).mT @ b.to(x.dtype).mT
            out: Tensor = base(x) + scale * added
            return out
        x = x.to(base.weight.dtype)
        told: Tensor = _Product.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        return told

    def _weights(self, low: nn.ModuleDict) -> Tensor:
        """A or B of the active adapter; of several, one above the other."""
        layers: list[Any] = [low[name] for name in self.active_adapters]
        only: Tensor = layers[0].weight
        return only if len(layers) == 1 else torch.stack([layer.weight for layer in layers])


def use_low_rank(config: LoraConfig) -> LoraConfig:
    """Let PEFT put these layers on linear ones when it injects this adapter."""
    config._register_custom_module({nn.Linear: LowRankLinear})
    return config
