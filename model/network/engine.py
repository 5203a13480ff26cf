"""What runs the encoder: PyTorch in fp32 or bf16, or ONNX Runtime in int8; the fastest here unless told."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import torch
from torch import Tensor
from torch.nn import functional

from model.network.checkpoint import CheckpointError, read_fitted
from model.network.config import ConfigError, Precision
from model.network.device import bf16_is_faster
from model.network.encoder import Encoder
from model.network.int8 import INT8_FILE, Int8Encoder, build

PACKAGES: Final = ("onnx", "onnxruntime")
GAIN: Final = 0.8  # int8 must take less than this share of PyTorch's time
ALIKE: Final = 0.985  # the least cosine similarity between the features of both


class Unusable(Exception):
    """int8 cannot be used here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """An encoder on its device, and why it is this one."""

    encoder: Encoder
    precision: Precision
    why: str

    @property
    def dtype(self) -> torch.dtype:
        """Of what computes with the features, and in which they are kept."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_engine(
    encoder: Encoder, folder: Path, encoder_sha256: str, device: torch.device, precision: Precision = "auto"
) -> Engine:
    """encoder: fused, in fp32, on the CPU; it may be changed. folder: where `INT8_FILE` may be.

    Raises ValueError for a precision that is none of these, and for int8 where it cannot be used.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"unknown precision {precision!r}: {', '.join(get_args(Precision))}")
    if precision in ("fp32", "bf16"):
        return _torch(encoder, device, precision, "as set")
    try:
        quantised = open_int8(encoder, folder / INT8_FILE, encoder_sha256, device)
    except Unusable as error:
        if precision == "int8":
            raise ValueError(f"precision int8 cannot be used: {error}") from error
        return _torch(encoder, device, precision, f"no int8: {error}")
    if precision == "int8":
        return Engine(quantised, "int8", "as set")
    pixels = pictures(1, encoder.config.image_size)
    similarity = alike(encoder, quantised, pixels)
    if not similarity >= ALIKE:  # nor where it is no number
        return _torch(encoder, device, precision, f"no int8: its features are too different ({similarity:.3f})")
    plain = _torch(encoder, device, precision, "")
    rounded, best = seconds([quantised, plain.encoder], pixels)
    why = f"a photo takes {1000 * rounded:.0f} ms in int8, {1000 * best:.0f} ms in {plain.precision}"
    return Engine(quantised, "int8", why) if rounded < GAIN * best else Engine(plain.encoder, plain.precision, why)


def _torch(encoder: Encoder, device: torch.device, precision: Precision, why: str) -> Engine:
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(device) else "fp32"
    if precision == "fp32" and device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    engine = Engine(encoder, precision, why)
    encoder.to(device, engine.dtype)
    if device.type == "cpu":
        encoder.pack()
    return engine


def open_int8(encoder: Encoder, file: Path, encoder_sha256: str, device: torch.device) -> Encoder:
    """The same in int8. Raises Unusable."""
    if device.type != "cpu":
        raise Unusable("it runs on CPUs only")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise Unusable(f"pip install -r requirements-cpu.txt ({' and '.join(missing)} missing)")
    try:
        ranges, _ = read_fitted(file, encoder_sha256)
        model = build(encoder, {name: (float(low), float(high)) for name, (low, high) in ranges.items()})
        return Int8Encoder(encoder.config, model)
    except (CheckpointError, ConfigError) as error:
        raise Unusable(str(error)) from error
    except Exception as error:  # ONNX Runtime's own have no base in common; the worker can do without it
        raise Unusable(f"ONNX Runtime failed ({type(error).__name__}: {error})") from error


def pictures(count: int, size: int) -> Tensor:
    """Random pictures with about as much at each scale as photos have: (count, 3, size, size) uint8."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.zeros(count, 3, size, size)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        pixels += functional.interpolate(noise, size=(size, size), mode="bilinear") * cells**-0.5
    return (pixels * 60 + 128).clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def alike(one: Encoder, other: Encoder, pixels: Tensor) -> float:
    """The least cosine similarity between what they find in each picture."""
    found = functional.cosine_similarity(one(pixels).float().flatten(1), other(pixels).float().flatten(1))
    return float(found.min())


@torch.inference_mode()
def seconds(encoders: Sequence[Encoder], pixels: Tensor) -> list[float]:
    """The best of five runs of each, in turns, after one to warm up."""
    best = [math.inf] * len(encoders)
    for run in range(6):
        for number, encoder in enumerate(encoders):
            started = time.perf_counter()
            encoder(pixels)
            if run:
                best[number] = min(best[number], time.perf_counter() - started)
    return best
