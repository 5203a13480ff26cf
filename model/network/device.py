"""Choice of device and precision."""

import contextlib
import functools
import math
import re
import time
from pathlib import Path
from typing import Final

import torch

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


def usual_batch(device: torch.device) -> int:
    """How many photos a worker captions in one run of the network at most, where nothing else is set."""
    return 64 if device.type == "cuda" else 16


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast of a training step. auto: bf16 where that is faster; else fp16 on a GPU and fp32 on a CPU.

    fp16 wants its losses scaled: see `torch.amp.GradScaler`. Raises ValueError for an unknown precision.
    """
    if precision == "auto":
        slower = "fp16" if device.type == "cuda" else "fp32"
        precision = "bf16" if bf16_is_faster(device) else slower
    if precision not in _DTYPES:
        raise ValueError(f"unknown precision {precision!r}: {', '.join(PRECISIONS)}")
    dtype = _DTYPES[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@functools.cache
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


def multiplies_int8() -> bool:
    """Whether the processor is known to have VNNI, which sums products of 8-bit integers in 32 bits."""
    with contextlib.suppress(OSError):
        return re.search(r"^flags\s*:.*\bavx(512)?_vnni\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE) is not None
    return False
