"""The gate for what is no photo, by itself and in the captioner."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFont
from torch import Tensor

from model.captioner import Captioner
from model.command import CaptionRequest, caption_files
from model.doubt import NotPhoto
from model.gate import GATE_FILE, Gate, pooled
from model.network.checkpoint import fingerprint
from model.training.fit_gate import fit, log_odds, main, operating_point, roc_area
from model.training.not_photos import FITTED, HELD_OUT, KINDS, fonts, pictures
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.fitted import photo_set, refuses_what_is_not_its_own

KINDS_OF_TWO = ("photo", "blank")


def flat_gate(channels: int, bias: float = 1.0) -> Gate:
    """Takes a picture for a photo if its regions differ."""
    weight = torch.zeros(2, 2 * channels)
    weight[0, channels:] = 10.0
    return Gate(KINDS_OF_TWO, weight, torch.tensor([0.0, bias]))


def test_the_gate_says_what_a_refused_picture_is() -> None:
    torch.manual_seed(0)
    features = torch.stack([torch.randn(4, 3), torch.ones(4, 3)])
    photo, blank = flat_gate(3)(features)
    assert photo is None
    assert blank is not None
    assert blank.kind == "blank"
    assert blank.probability == pytest.approx(torch.tensor(1.0).sigmoid().item())
    assert flat_gate(3, bias=-1.0)(features) == [None, None]
    expected = torch.cat([features.mean(dim=1), features.std(dim=1, correction=0)], dim=-1)
    torch.testing.assert_close(pooled(features), expected, atol=1e-5, rtol=1e-5)


def test_a_gate_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path) -> None:
    path = tmp_path / GATE_FILE
    gate = flat_gate(3, bias=0.7)
    gate.save(path, "encoder")
    again = Gate.load(path, "encoder")
    features = torch.randn(5, 4, 3)
    assert again.kinds == gate.kinds
    torch.testing.assert_close(again.probabilities(features), gate.probabilities(features))
    refuses_what_is_not_its_own(Gate.load, path)
    with pytest.raises(ValueError, match="photo"):
        Gate(("blank", "photo"), gate.weight, gate.bias)


def test_the_fit_separates_and_its_operating_point_spares_photos() -> None:
    torch.manual_seed(1)
    photos, blanks, noises = torch.randn(200, 6) + 2, torch.randn(20, 6) - 2, torch.randn(20, 6)
    noises[:, 0] -= 9
    inputs = torch.cat([photos, blanks, noises])
    targets = torch.tensor([0] * 200 + [1] * 20 + [2] * 20)
    weight, bias = fit(inputs, targets, 3, decay=1e-3)
    assert float(((inputs @ weight.T + bias).argmax(dim=-1) == targets).float().mean()) > 0.97
    scores = torch.arange(100.0)
    point = operating_point([scores, scores / 2], 0.02)
    assert int((scores > point).sum()) == 2
    assert operating_point([scores[:3]], 0.02) == 2.0  # of three none may be refused
    odds = log_odds(inputs, weight, bias)
    assert float(odds[:200].max()) < float(odds[200:].min())
    assert roc_area(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0])) == pytest.approx((2 + 0 + 0.5) / 4)


@pytest.mark.parametrize(("name", "kind", "draw"), [(n, *each) for n, each in {**FITTED, **HELD_OUT}.items()])
def test_each_drawing_is_repeatable_and_varied(name: str, kind: str, draw: object) -> None:
    first, again = (pictures(draw, 4, name) for _ in range(2))  # type: ignore[arg-type]
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert len({image.tobytes() for image in first}) == 4
    assert {image.mode for image in first} == {"RGB"}
    assert kind in KINDS


def test_no_drawing_is_both_fitted_and_measured() -> None:
    assert not {draw for _, draw in FITTED.values()} & {draw for _, draw in HELD_OUT.values()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, captioner: Captioner) -> Path:
    """The shipped weights with a gate that refuses what is flatter than the photos here."""
    folder = tmp_path_factory.mktemp("weights")
    for file in WEIGHTS.glob("*.safetensors"):
        if file.name != GATE_FILE:
            shutil.copy(file, folder)
    channels = captioner.encoder.config.channels
    plain, cat = (deviation(captioner, image) for image in (Image.new("RGB", (99, 99), "grey"), cat_photo()))
    weight = torch.zeros(2, 2 * channels)
    weight[0, channels:] = 1.0
    gate = Gate(KINDS_OF_TWO, weight, torch.tensor([0.0, float(plain + cat) / 2]))
    gate.save(folder / GATE_FILE, fingerprint(folder / "encoder.safetensors"))
    return folder


def cat_photo() -> Image.Image:
    return Image.open(PHOTOS / "cat.jpg")


def deviation(captioner: Captioner, image: Image.Image) -> Tensor:
    features = captioner.encode(captioner.squares([image.convert("RGB")]))
    return features.std(dim=1, correction=0).sum()


def test_captions_of_a_picture_that_is_no_photo_are_marked(weights: Path) -> None:
    gated = Captioner.load(weights, "cpu", precision="fp32")
    blank, cat = gated.caption([Image.new("RGB", (99, 99), "grey"), cat_photo()], samples=1)
    assert isinstance(blank.not_photo, NotPhoto)
    assert blank.not_photo.kind == "blank"
    assert blank.greedy.words  # still to be had, for whoever asks
    assert cat.not_photo is None
    assert gated.beside(weights, "baseline").caption([Image.new("RGB", (9, 9))])[0].not_photo is not None
    gated.gate = None
    assert gated.caption([Image.new("RGB", (99, 99), "grey")], samples=0)[0].not_photo is None


def test_the_terminal_says_in_json_what_is_no_photo(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (99, 99), "grey").save(tmp_path / "grey.png")
    files = [str(tmp_path / "grey.png"), str(PHOTOS / "cat.jpg")]
    request = CaptionRequest(files, weights=weights, device="cpu", samples=0, beam=1, as_json=True)
    assert caption_files(request) == 0
    grey, cat = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert grey["not_photo"]["kind"] == "blank"
    assert 0.5 < grey["not_photo"]["probability"] <= 1
    assert cat["not_photo"] is None


@pytest.mark.slow
def test_a_gate_is_fitted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted(photo.stem for photo in PHOTOS.glob("*.jpg"))
    rows = [(photo, "a photo", "val" if number > 4 else "train") for number, photo in enumerate(names)]
    data = photo_set(tmp_path / "photos", rows)
    arguments = ["--weights", str(WEIGHTS), "--data", str(data), "--cache", str(tmp_path / "cache"), "--count", "2"]
    assert main([*arguments, "--out", str(tmp_path / GATE_FILE), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "| all drawings | 30 |" in said
    assert Gate.load(tmp_path / GATE_FILE, fingerprint(WEIGHTS / "encoder.safetensors")).kinds == ("photo", *KINDS)
    assert main([*arguments[:2], "--data", str(tmp_path / "nowhere"), "--device", "cpu"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_fonts_of_one_size_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of emoji, which many machines have."""
    pixels, truetype = fonts()[0], ImageFont.truetype

    def opened(path: str, size: float) -> ImageFont.FreeTypeFont:
        if path == str(pixels):
            raise OSError("invalid pixel size")
        return truetype(path, size)

    monkeypatch.setattr(ImageFont, "truetype", opened)
    assert set(fonts()) - set(fonts.__wrapped__()) == {pixels}
