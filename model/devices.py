"""Which device computes, and in which arithmetic."""

from __future__ import annotations

import math
import time

import torch


def device_named(name: str) -> torch.device:
    """auto: CUDA where there is one. Raises ValueError for a device that this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: auto, cpu, cuda or cuda:1 …") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


@torch.inference_mode()
def bf16_is_faster(device: torch.device) -> bool:
    """Time one convolution of the encoder's kind in both precisions, the best of twelve each, in turns."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    best = {}
    work = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Conv2d(192, 192, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        work[dtype] = (layer, torch.zeros(2, 192, 35, 35, dtype=dtype).contiguous(memory_format=torch.channels_last))
        best[dtype] = math.inf
    for _ in range(12):
        for dtype, (layer, inputs) in work.items():
            started = time.perf_counter()
            layer(inputs)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.bfloat16] < 0.8 * best[torch.float32]
