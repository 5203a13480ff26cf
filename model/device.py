"""Where to compute and in what arithmetic."""

from __future__ import annotations

from typing import Final, Literal

import torch

TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """auto (CUDA where there is one), cpu, cuda, cuda:1 … Raises ValueError for one that this machine has not got."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: auto, cpu, cuda or cuda:1 …") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast of a training step. auto: bf16, but fp16 on a GPU that only emulates bf16.

    fp16 wants its losses scaled: see `torch.amp.GradScaler`. Raises ValueError for an unknown precision.
    """
    if precision == "auto":
        emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "fp16" if emulated else "bf16"
    if precision not in _DTYPES:
        raise ValueError(f"unknown precision {precision!r}: {', '.join(PRECISIONS)}")
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
