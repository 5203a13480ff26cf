"""Whether maps lie on what a word names."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import grounding
from benchmarks.grounding import covered, main, measure_collages, measure_people, peak
from model.captioner import Captioner
from model.captions import Caption
from model.training.data import Example, compose, load_split
from model.training.fit_localizer import HALVES, Box, inside
from tests.conftest import PHOTOS, WEIGHTS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red and a blue photo, the one of a man, and where he is."""
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    Image.new("RGB", (80, 60), "red").save(root / "images" / "red.png")
    Image.new("RGB", (60, 80), "blue").save(root / "images" / "blue.png")
    rows = ["image,caption,split", "red.png,a man runs,val", "blue.png,a dog sits on a flurbulant,val"]
    rows += ["blue.png,a dog sits,val"]
    (root / "captions.csv").write_text("\n".join(rows))
    (root / "person_boxes.json").write_text(json.dumps({"red.png": [[0.25, 0.5, 0.5, 1.0]]}))
    return root


def looker(monkeypatch: pytest.MonkeyPatch, *, at_red: bool) -> None:
    """Attention on the red photo of a collage alone, or on the other; in the upper left corner of a single photo."""

    def mapped(captioner: Captioner, images: Sequence[Image.Image], texts: Sequence[str]) -> Iterator[Caption]:
        for image, text in zip(images, texts, strict=True):
            red_left = image.convert("RGB").getpixel((2, 2)) == (255, 0, 0)
            attention = np.zeros((8, 8), np.float32)
            attention[0, 0 if red_left == at_red else 7] = 1.0
            words = tuple(text.split())
            yield Caption(words, np.zeros(len(words), np.float32), np.stack([attention] * len(words)))

    monkeypatch.setattr(grounding, "mapped", mapped)


def test_attention_on_the_named_photo_scores_one_and_on_the_other_nothing(
    data: Path, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = load_split(data, "val")
    looker(monkeypatch, at_red=True)
    mute = Example(blue.name, blue.path, ("flurbulant",))  # a caption that the network cannot say is never scored
    found = measure_collages(captioner, [red, mute], 12)
    assert (found.share, found.pointing) == (1.0, 1.0)
    assert 2 <= found.words < 24
    looker(monkeypatch, at_red=False)
    found = measure_collages(captioner, [red, mute], 12)
    assert (found.share, found.pointing) == (0.0, 0.0)


def test_words_that_the_other_photo_has_too_are_not_scored(
    data: Path, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = load_split(data, "val")
    looker(monkeypatch, at_red=True)
    same = Example(blue.name, blue.path, ("a man runs",))
    with pytest.raises(ValueError, match="no collage"):
        measure_collages(captioner, [red, same], 4)


def test_people_are_found_in_their_boxes(data: Path, captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    looker(monkeypatch, at_red=True)
    boxes: dict[str, list[Box]] = json.loads((data / "person_boxes.json").read_text())
    found = measure_people(captioner, load_split(data, "val"), boxes)
    assert (found.words, found.pointing, found.middle) == (1, 1.0, 1.0)
    assert found.chance == pytest.approx(0.5)
    looker(monkeypatch, at_red=False)
    assert measure_people(captioner, load_split(data, "val"), boxes).pointing == 0.0
    with pytest.raises(ValueError, match="no photo with boxes"):
        measure_people(captioner, load_split(data, "val"), {})


def test_peaks_boxes_and_collages() -> None:
    attention = np.zeros((8, 8), np.float32)
    attention[2, 7] = 1.0
    assert peak(attention) == (7.5 / 8, 2.5 / 8)
    boxes: list[Box] = [(0.25, 0.5, 0.5, 1.0), (0.25, 0.5, 0.5, 1.0)]
    assert inside(0.1, 0.9, boxes)
    assert not inside(0.6, 0.9, boxes)
    assert covered(boxes) == pytest.approx(0.5)
    joined = compose(zip([Image.new("RGB", (9, 9), "red"), Image.new("L", (9, 5), 255)], HALVES, strict=True))
    assert (joined.getpixel((255, 9)), joined.getpixel((256, 9))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.slow
def test_the_command_measures_the_shipped_network(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo, file in (("photographer", "red"), ("cat", "blue")):
        shutil.copy(PHOTOS / f"{photo}.jpg", data / "images" / f"{file}.png")
    arguments = ["--weights", str(WEIGHTS), "--data", str(data), "--count", "4", "--device", "cpu"]
    assert main([*arguments, "--people", str(data), "--people-split", "val"]) == 0
    said = capsys.readouterr().out
    assert "share on the right photo 0." in said or "photo 1.000" in said
    assert "people:" in said
    assert main([*arguments, "--people", "", "--attention"]) == 0
    assert capsys.readouterr().out not in said
    assert main([*arguments, "--people", str(tmp_path)]) == 2
    assert "person_boxes" in capsys.readouterr().err
