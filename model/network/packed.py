"""Linear layers whose weights are read in half the time: in fp16, the products and sums in fp32."""

import functools
from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear:
    """A linear layer for inference on a CPU: FBGEMM reads its weights in fp16 and computes in fp32.

    A step of a decoder has few rows: reading the weights is what takes its time. Weights files hold fp16, so that
    nothing is lost. Quick on any x86 with AVX2; no BF16 is needed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: (outputs, inputs), bias: (outputs,), as those of `nn.Linear`; they are copied."""
        bias = None if bias is None else bias.detach().float().contiguous()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight.detach().float().contiguous(), bias)

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


class PackedLSTM:
    """One step of an LSTM layer, as `nn.LSTMCell`, its two matrices packed as one."""

    def __init__(self, inputs: Tensor, hidden: Tensor, *biases: Tensor) -> None:
        """inputs: (4 H, inputs), hidden: (4 H, H), biases: (4 H,), in PyTorch's order of the gates."""
        self._gates = PackedLinear(torch.cat([inputs, hidden], dim=1), torch.stack(biases).sum(dim=0))

    def __call__(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """inputs: (…, inputs); hidden, cell: (…, H). Returns the next hidden and cell."""
        into, forget, content, out = self._gates(torch.cat([inputs, hidden], dim=-1)).chunk(4, dim=-1)
        cell = (forget.sigmoid() * cell).addcmul_(into.sigmoid(), content.tanh())
        return out.sigmoid() * cell.tanh(), cell


def exact_in_fp16(module: nn.Module) -> bool:
    """Whether packing would change no weight of it."""
    return all(torch.equal(each, each.half().float()) for each in module.parameters())
