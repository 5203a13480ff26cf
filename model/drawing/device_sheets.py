"""The sheet of `model.drawing.heatmap`, its tiles and its JPEG file made on a GPU.

Words and scale are drawn by Pillow on the canvas, which is small work, and the photo is reduced by whole numbers there,
so that less is copied. The rest is plain PyTorch, the same on any device.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from model.drawing.heatmap import Sheet, draw_sheet, lay_out
from model.drawing.labels import ENGLISH, Labels
from model.drawing.style import veil_colours
from model.media.images import QUALITY

DeviceEncode: TypeAlias = Callable[[Tensor], bytes]  # (3, height, width) uint8 → a JPEG file
_ALIKE: Final = 3.0  # levels of 255 between a sheet and that of the CPU, on average


def nvjpeg(device: torch.device) -> DeviceEncode:
    """Encodes on a device. Raises ImportError without torchvision; its result does where that lacks nvJPEG."""
    from torchvision.io import encode_jpeg

    def encode(sheet: Tensor) -> bytes:
        if device.type != "cuda":
            return bytes(encode_jpeg(sheet, QUALITY).numpy())
        # nvJPEG runs on a stream of torchvision, which does not wait for ours, and writes on the default one.
        torch.cuda.current_stream(device).synchronize()
        file = encode_jpeg(sheet, QUALITY)
        with torch.cuda.stream(torch.cuda.default_stream(device)):
            return bytes(file.cpu().numpy())

    return encode


class DeviceSheets:
    """Draws on one device, each thread on a stream of its own."""

    def __init__(self, device: torch.device, encode: DeviceEncode) -> None:
        self.device = device
        self._encode = encode
        self._own = threading.local()

    def __call__(
        self, photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
    ) -> bytes:
        """As `model.drawing.heatmap.sheet_file`. Raises whatever PyTorch and the encoder raise."""
        sheet = lay_out(photo, words, attention, labels)
        with torch.inference_mode():
            if self.device.type != "cuda":
                return self._encode(composite(sheet, self.device))
            if not hasattr(self._own, "stream"):
                self._own.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            with torch.cuda.device(self.device), torch.cuda.stream(self._own.stream):
                return self._encode(composite(sheet, self.device))

    def check(self) -> None:
        """Draw a sheet. Raises ValueError unless it is about that of the CPU, and whatever drawing raises."""
        photo = Image.linear_gradient("L").convert("RGB")
        maps = np.zeros((2, 8, 8), np.float32)
        maps[0, range(8), range(8)] = maps[1, 3] = 0.125
        drawn = draw_sheet(photo, ["one", "two"], maps)
        with Image.open(io.BytesIO(self(photo, ["one", "two"], maps))) as found:
            apart = np.abs(np.asarray(found, dtype=float) - np.asarray(drawn, dtype=float)).mean()
        if not apart <= _ALIKE:
            raise ValueError(f"a sheet is not as it should be, by {apart:.1f} levels on average")


def composite(sheet: Sheet, device: torch.device) -> Tensor:
    """The whole sheet as `draw_sheet` draws it, but for rounding: (3, height, width) uint8."""
    across, down = sheet.tile
    canvas = _pixels(sheet.canvas, device)
    photo = _scaled(_pixels(sheet.photo, device).float(), down, across)  # (3, down, across)
    maps = _on(torch.from_numpy(np.ascontiguousarray(sheet.shares, np.float32)), device).mul(255.0).round_()
    tiles = [photo]
    if len(maps):
        levels = _scaled(maps, down, across).long()  # (maps, down, across)
        veils = _veils(device)[:, levels]  # (4, maps, down, across)
        tiles += (photo.unsqueeze(1) * (1 - veils[3] / 255) + veils[:3]).round_().unbind(1)
    for (left, top), tile in zip(sheet.corners, tiles, strict=True):
        canvas[:, top : top + down, left : left + across] = tile
    return canvas.contiguous()


def _scaled(planes: Tensor, down: int, across: int) -> Tensor:
    """Planes (…, rows, columns) of whole numbers from 0 to 255, bicubic as Pillow does it: (…, down, across)."""
    found = functional.interpolate(planes.unsqueeze(0), (down, across), mode="bicubic", antialias=True)
    return found[0].round_().clamp_(0, 255)


def _pixels(image: Image.Image, device: torch.device) -> Tensor:
    """An RGB image on a device: (3, height, width) uint8."""
    return _on(torch.from_numpy(np.array(image)), device).permute(2, 0, 1)


def _on(values: Tensor, device: torch.device) -> Tensor:
    """On a device; the copy waits for nothing."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


@functools.cache
def _veils(device: torch.device) -> Tensor:
    """`veil_colours` on a device, as (4, 256) float32."""
    return torch.from_numpy(veil_colours().view(np.uint8).reshape(256, 4).T.astype(np.float32)).to(device)
