"""What runs the encoder: the choice with stand-ins, and int8 on the shipped weights."""

import importlib.util
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from model.captioner import Captioner
from model.network import engine, int8
from model.network.checkpoint import ENCODER_FILE, fingerprint, load_encoder, write_tensors
from model.network.config import EncoderConfig, Precision
from model.network.device import multiplies_int8
from model.network.encoder import Encoder, encoder_config
from model.network.engine import ALIKE, GAIN, Unusable, alike, choose_engine, open_int8, pictures
from model.network.int8 import INT8_FILE
from model.network.packed import Int8Linear
from model.training.quantize import BINS, cut
from model.training.quantize import main as quantize
from tests.conftest import PHOTOS, WEIGHTS

CPU = torch.device("cpu")
SHA256 = fingerprint(WEIGHTS / ENCODER_FILE)


class StandIn(Encoder):
    """Finds the pixels themselves; `upside_down`: nothing like them."""

    def __init__(self, *, upside_down: bool = False) -> None:
        nn.Module.__init__(self)
        self.config = EncoderConfig(image_size=8)
        self.sign = nn.Parameter(torch.tensor(-1.0 if upside_down else 1.0))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(2).transpose(1, 2) * self.sign


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., engine.Engine]:
    """Choose between a stand-in for PyTorch's encoder, which takes a second, and one for int8."""

    def chosen(
        precision: Precision = "auto",
        *,
        opened: Encoder | Unusable,
        takes: float = 0.1,
        bf16: bool = False,
    ) -> engine.Engine:
        def open_it(*_: object) -> Encoder:
            if isinstance(opened, Unusable):
                raise opened
            return opened

        monkeypatch.setattr(engine, "open_int8", open_it)
        monkeypatch.setattr(engine, "bf16_is_faster", lambda device: bf16)
        monkeypatch.setattr(engine, "seconds", lambda encoders, pixels: [takes, 1.0])
        return choose_engine(StandIn(), WEIGHTS, SHA256, CPU, precision)

    return chosen


def test_int8_is_taken_where_it_is_faster_and_alike(choose: Callable[..., engine.Engine]) -> None:
    quantised = StandIn()
    found = choose(opened=quantised, takes=GAIN - 0.01)
    assert found.encoder is quantised
    assert found.precision == "int8"
    assert found.dtype == torch.float32
    assert found.why == f"a photo takes {1000 * GAIN - 10:.0f} ms in int8, 1000 ms in fp32"


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("opened", "takes", "why"),
    [
        (Unusable("this test says no"), 0.1, "no int8: this test says no"),
        (StandIn(upside_down=True), 0.1, "too different"),
        (StandIn(), GAIN, "ms in int8, 1000 ms in"),
    ],
)
def test_else_pytorch_runs_it_in_what_is_faster_there(
    choose: Callable[..., engine.Engine], opened: Encoder | Unusable, takes: float, why: str, bf16: bool
) -> None:
    found = choose(opened=opened, takes=takes, bf16=bf16)
    assert found.encoder is not opened
    assert found.precision == ("bf16" if bf16 else "fp32")
    assert next(found.encoder.parameters()).dtype == found.dtype
    assert why in found.why


def test_what_is_set_is_taken_whatever_is_faster(choose: Callable[..., engine.Engine]) -> None:
    quantised = StandIn()
    assert choose("int8", opened=quantised, takes=2.0).encoder is quantised
    assert choose("bf16", opened=quantised).dtype == torch.bfloat16
    assert choose("fp32", opened=quantised, bf16=True).dtype == torch.float32
    with pytest.raises(ValueError, match="int8 cannot be used: this test says no"):
        choose("int8", opened=Unusable("this test says no"))


def test_why_int8_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, file = StandIn(), tmp_path / INT8_FILE
    with pytest.raises(Unusable, match="on CPUs only"):
        open_int8(encoder, file, SHA256, torch.device("cuda"))
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(Unusable, match=r"requirements-cpu\.txt \(onnx and onnxruntime missing\)"):
            open_int8(encoder, file, SHA256, CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(Unusable, match="no such weights file"):
        open_int8(encoder, file, SHA256, CPU)
    write_tensors(file, {"Conv2d_1a_3x3.conv": torch.tensor([0.0, 1.0])}, {"encoder_sha256": SHA256})
    with pytest.raises(Unusable, match="not fitted to this encoder"):
        open_int8(encoder, file, "of another", CPU)


def test_the_share_of_a_range_that_is_kept() -> None:
    even = torch.ones(BINS, dtype=torch.float64)
    assert cut(even, (-1.0, 2.0)) == (-1.0, 2.0)
    crowded = torch.zeros(BINS, dtype=torch.float64)
    crowded[: BINS // 4] = 1000.0
    crowded[-1] = 1.0  # one value far away
    assert 0.25 <= cut(crowded, (0.0, 1.0))[1] < 1.0


@pytest.fixture(scope="module")
def quantised() -> Captioner:
    pytest.importorskip("onnxruntime")
    return Captioner.load(WEIGHTS, "cpu", precision="int8")


@pytest.mark.slow
def test_in_int8_it_finds_nearly_the_same(
    quantised: Captioner, captioner: Captioner, photos: list[Image.Image]
) -> None:
    squares = captioner.squares(photos)
    exact, rough = captioner.encode(squares), quantised.encode(squares)
    assert (rough.shape, rough.dtype, rough.is_contiguous()) == (exact.shape, exact.dtype, True)
    assert torch.nn.functional.cosine_similarity(exact.flatten(1), rough.flatten(1)).min() > 0.99
    assert alike(captioner.encoder, quantised.encoder, pictures(2, 299)) > (1 + ALIKE) / 2
    assert quantised.engine == f"cpu, int8, decoder {'in int8' if Int8Linear.possible() else 'packed in fp16'}"
    assert quantised.why == "as set"
    assert quantised.gate is not None
    assert quantised.gate(rough) == [None] * len(photos)  # all are photos
    assert torch.equal(quantised.encode(squares[2:3])[0], rough[2])  # whatever else is in the batch
    assert not list(quantised.encoder.parameters())  # those of PyTorch's encoder take no memory


@pytest.mark.parametrize("precision", ["int8", "auto"])
@pytest.mark.slow
def test_int8_keeps_nothing_that_it_was_made_of(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither PyTorch's encoder nor the graph as bytes: tens of MiB each."""
    pytest.importorskip("onnxruntime")
    made_of: list[weakref.ref[object]] = []

    def load(path: Path) -> Encoder:
        encoder = load_encoder(path)
        made_of.extend(weakref.ref(each) for each in (encoder, *encoder.modules()))
        return encoder

    monkeypatch.setattr("model.captioner.load_encoder", load)
    monkeypatch.setattr(engine, "seconds", lambda encoders, pixels: [0.1, 1.0])
    loaded = Captioner.load(WEIGHTS, "cpu", precision=precision)
    assert isinstance(loaded.encoder, int8.Int8Encoder)
    assert len(made_of) > 100
    assert [each() for each in made_of if each() is not None] == []
    assert not [each for each in vars(loaded.encoder._session).values() if isinstance(each, bytes)]


@pytest.mark.parametrize("vnni", [True, False])
def test_only_processors_without_vnni_are_told_to_be_careful(vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "multiplies_int8", lambda: vnni)
    encoder = Captioner.load(WEIGHTS, "cpu", precision="int8").encoder
    assert isinstance(encoder, int8.Int8Encoder)
    told = encoder._session.get_session_options()
    if vnni:
        with pytest.raises(RuntimeError):
            told.get_session_config_entry("session.x64quantprecision")
    else:
        assert told.get_session_config_entry("session.x64quantprecision") == "1"


@pytest.mark.parametrize(
    ("flags", "known"),
    [("fpu avx2 avx512_vnni", True), ("avx2 avx_vnni sha_ni", True), ("avx2 avx512f", False), ("avx_vnni_int8", False)],
)
def test_vnni_is_a_flag_of_the_processor(flags: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: avx_vnni\n")
    assert multiplies_int8() is known


@pytest.mark.slow
def test_in_int8_most_captions_stay_the_same(
    quantised: Captioner, captioner: Captioner, photos: list[Image.Image]
) -> None:
    answers, exact = quantised.caption(photos, samples=1), captioner.caption(photos, samples=1)
    assert sum(a.greedy.text == b.greedy.text for a, b in zip(answers, exact, strict=True)) >= len(photos) // 2
    assert all(answer.greedy.attention is not None for answer in answers)
    [other] = quantised.beside(WEIGHTS, "baseline").caption(photos[:1], samples=0)
    assert other.greedy.words


@pytest.mark.slow
def test_ranges_are_measured_on_training_photos(tmp_path: Path, captioner: Captioner) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "pair" / "images").mkdir(parents=True)
    listed = []
    for name, split in (("cat", "train"), ("temple", "train"), ("coffee", "val")):
        shutil.copy(PHOTOS / f"{name}.jpg", tmp_path / "pair" / "images")
        listed.append({"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": name}]})
    (tmp_path / "pair" / "images" / "coffee.jpg").write_bytes(b"not to be read")
    (tmp_path / "pair" / "dataset_pair.json").write_text(json.dumps({"images": listed}))
    file = tmp_path / INT8_FILE
    assert quantize(["--weights", str(WEIGHTS), "--out", str(file), "--data", str(tmp_path / "pair")]) == 0
    encoder = load_encoder(WEIGHTS / ENCODER_FILE).fuse()
    found = open_int8(encoder, file, SHA256, CPU)
    assert alike(encoder, found, pictures(1, 299)) > ALIKE


def test_another_backbone_is_left_to_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_tensors(tmp_path / INT8_FILE, {"x": torch.zeros(2)}, {"encoder_sha256": "its own"})
    with pytest.raises(Unusable, match="mobilenet_v3_small cannot be quantised"):
        open_int8(Encoder(encoder_config("mobilenet_v3_small")).fuse(), tmp_path / INT8_FILE, "its own", CPU)
