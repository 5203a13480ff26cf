"""Sheets as a GPU draws them, drawn on the CPU: the same but for rounding."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model.drawing.device_sheets import DeviceSheets, composite, nvjpeg
from model.drawing.heatmap import draw_sheet, lay_out, sheet_file
from model.media.images import QUALITY
from model.serving.worker.network import Captioners
from tests.support.attention_maps import maps

CPU = torch.device("cpu")
WORDS = ["a", "brown", "dog", "on", "the", "grass"]
SIZES = ((640, 480), (480, 640), (1280, 853), (3, 2), (1, 1), (2000, 90), (90, 2000), (300, 300))


def _by_pillow(sheet: Tensor) -> bytes:
    """In place of an encoder that is not there."""
    out = io.BytesIO()
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _apart(one: Image.Image | bytes, other: Image.Image | bytes) -> float:
    first, second = (Image.open(io.BytesIO(each)) if isinstance(each, bytes) else each for each in (one, other))
    assert first.size == second.size
    assert first.mode == second.mode == "RGB"
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean())


@pytest.mark.parametrize("size", SIZES)
def test_a_sheet_is_that_of_the_cpu(photos: list[Image.Image], size: tuple[int, int]) -> None:
    attention = maps(*[(row, 7 - row) for row in range(len(WORDS))], height=0.6)
    for photo in photos[:2]:
        picture = photo.convert("RGB").resize(size)
        drawn = draw_sheet(picture, WORDS, attention)
        tensor = composite(lay_out(picture, WORDS, attention), CPU)
        assert tensor.is_contiguous()  # nvJPEG reads row by row
        assert _apart(Image.fromarray(tensor.permute(1, 2, 0).numpy()), drawn) < 0.5
        assert (
            _apart(DeviceSheets(CPU, _by_pillow)(picture, WORDS, attention), sheet_file(picture, WORDS, attention)) < 1
        )


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities")  # torchcodec is to have them
def test_torchvision_encodes_about_the_same_file(photos: list[Image.Image]) -> None:
    pytest.importorskip("torchvision")
    attention = maps(*[(row, 7 - row) for row in range(len(WORDS))], height=0.6)
    sheets = DeviceSheets(CPU, nvjpeg(CPU))
    sheets.check()
    for photo in photos:
        assert _apart(sheets(photo, WORDS, attention), sheet_file(photo, WORDS, attention)) < 1.5


def test_a_sheet_without_maps_has_its_photo(photos: list[Image.Image]) -> None:
    nothing = np.zeros((0, 8, 8), np.float32)
    found = composite(lay_out(photos[0], [], nothing), CPU)
    assert _apart(Image.fromarray(found.permute(1, 2, 0).numpy()), draw_sheet(photos[0], [], nothing)) < 0.5


def test_a_worker_draws_on_the_cpu_where_the_device_does_it_wrong(
    small_weights: str, photos: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    attention = maps((1, 1), (5, 5))
    expected = sheet_file(photos[0], ["a", "b"], attention)
    captioners = Captioners(Path(small_weights), "cpu", "attention", "fp32")
    works = True

    def encode(sheet: Tensor) -> bytes:
        if not works:
            raise RuntimeError("nvjpeg: 5\nand more")
        return _by_pillow(sheet)

    assert captioners.sheet(photos[0], ["a", "b"], attention) == expected
    captioners.draw_on(CPU, encode)
    assert captioners.sheet(photos[0], ["a", "b"], attention) != expected  # but as good
    works = False
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert captioners.sheet(photos[0], ["a", "b"], attention) == expected
        assert [record.getMessage() for record in caplog.records] == [
            "heatmap sheets are drawn on the CPU (RuntimeError: nvjpeg: 5)"
        ]
        for wrong in (encode, lambda sheet: _by_pillow(255 - sheet), lambda sheet: b""):
            captioners.draw_on(CPU, wrong)
            assert captioners.sheet(photos[0], ["a", "b"], attention) == expected
    assert len(caplog.records) == 4
