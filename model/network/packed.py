"""Linear layers whose weights are read in half the time: in fp16, the products and sums in fp32."""

import functools
from typing import Any

import torch
from torch import Tensor


class PackedLinear:
    """A linear layer for inference on a CPU: FBGEMM reads its weights in fp16 and computes in fp32.

    A step of a decoder has few rows: reading the weights is what takes its time. Weights files hold fp16, so that
    nothing is lost. Quick on any x86 with AVX2; no BF16 is needed.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight: (outputs, inputs), bias: (outputs,), as those of `nn.Linear`; they are copied."""
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(
            weight.detach().float().contiguous(), bias.detach().float().contiguous()
        )

    def __call__(self, x: Tensor) -> Tensor:
        """x: (…, inputs) float32 → (…, outputs) float32."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x.contiguous(), self._packed)
        return out

    @staticmethod
    @functools.cache
    def possible() -> bool:
        """Whether this PyTorch and this processor can do it."""
        try:
            layer = PackedLinear(torch.eye(8), torch.zeros(8))
            return torch.equal(layer(torch.ones(1, 8)), torch.ones(1, 8))
        except (AttributeError, RuntimeError):  # no FBGEMM, or a processor without AVX2
            return False
