"""Simulated colour vision against published matrices and known colours."""

import io
import sys
import warnings
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from model.drawing.colour_vision import GAP, MACHADO, TITLE, draw_sheet, simulate
from model.drawing.labels import ENGLISH, Labels
from model.errors import AnimatedPicture
from model.serving.jobs import Job, decode_job, decode_outcome, encode_job, encode_outcome
from model.serving.tasks.colours import ColoursResult, ColoursTask, _draw


def seen(colour: tuple[int, int, int], kind: str) -> list[int]:
    return [int(value) for value in simulate(np.array(colour, np.uint8), kind)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 0, 0), (109, 95, 0)),
        ((0, 255, 0), (255, 229, 0)),
        ((0, 0, 255), (0, 89, 255)),
        ((255, 128, 0), (166, 145, 0)),
    ],
)
def test_colours_as_seen_with_protanopia(colour: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert seen(colour, "protanopia") == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("kind", ["protanopia", "deuteranopia", "tritanopia"])
def test_greys_and_white_are_unchanged(kind: str) -> None:
    for value in (0, 1, 64, 128, 200, 255):
        assert seen((value, value, value), kind) == pytest.approx([value] * 3, abs=1)


@pytest.mark.parametrize(("kind", "name"), [("protanopia", "Protanomaly"), ("deuteranopia", "Deuteranomaly")])
def test_matrices_are_those_of_the_colour_package(kind: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from colour.blindness import matrix_cvd_Machado2009
    # Where SciPy is not installed it leaves stand-ins, which other libraries would take for SciPy.
    for module in [name for name, module in sys.modules.items() if isinstance(module, Mock)]:
        del sys.modules[module]
    assert np.allclose(MACHADO[kind], matrix_cvd_Machado2009(name, 1.0), atol=1e-6)


def test_the_sheet_shows_the_original_beside_the_simulation() -> None:
    sheet = draw_sheet(Image.new("RGB", (80, 60), (255, 0, 0)), "protanopia")
    assert sheet.size == (2 * 80 + GAP, 60 + TITLE)
    assert sheet.getpixel((40, TITLE + 30)) == (255, 0, 0)
    assert sheet.getpixel((80 + GAP + 40, TITLE + 30)) == pytest.approx((109, 95, 0), abs=1)


def test_transparency_becomes_white_and_orientation_is_honoured() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(out, "PNG")
    with Image.open(io.BytesIO(_draw(out.getvalue(), ColoursTask("deuteranopia")).sheet)) as sheet:
        assert sheet.format == "JPEG"
        assert min(sheet.getpixel((20, TITLE + 20))) > 250  # type: ignore[arg-type]
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "red").save(turned, "JPEG", exif=exif)
    with Image.open(io.BytesIO(_draw(turned.getvalue(), ColoursTask("tritanopia")).sheet)) as sheet:
        assert sheet.size == (2 * 40 + GAP, 80 + TITLE)


def test_titles_are_in_the_language_of_who_asks() -> None:
    photo = Image.new("RGB", (300, 60), "red")
    english, russian = (
        np.asarray(draw_sheet(photo, "protanopia", labels))
        for labels in (ENGLISH, Labels(original="оригинал", protanopia="протанопия"))
    )
    assert (english[TITLE:] == russian[TITLE:]).all()
    for half in (slice(0, 300), slice(300 + GAP, None)):
        assert (english[:TITLE, half] != russian[:TITLE, half]).any()


def test_a_picture_that_moves_is_refused() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(AnimatedPicture):
        _draw(out.getvalue(), ColoursTask())


def test_colours_jobs_and_results_survive_the_wire() -> None:
    job = Job("1", 2, ColoursTask("tritanopia", Labels(tritanopia="тританопия")))
    assert decode_job(encode_job(job)) == job
    result = ColoursResult(b"jpeg")
    assert decode_outcome(*encode_outcome(result)) == result


@pytest.mark.parametrize("size", [(4000, 20), (20, 4000), (1, 1)])
def test_telegram_takes_the_sheet_of_any_photo(size: tuple[int, int]) -> None:
    sheet = draw_sheet(Image.new("RGB", size), "protanopia")
    assert max(sheet.size) <= 20 * min(sheet.size)
