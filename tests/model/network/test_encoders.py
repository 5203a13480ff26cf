"""Backbones by torchvision's names."""

import copy
import sys
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from model.captioner import Captioner
from model.network.checkpoint import CheckpointError, load_encoder, pretrained_encoder, save_encoder
from model.network.config import ENCODERS, ConfigError, DecoderConfig, EncoderConfig
from model.network.decoder import build_decoder
from model.network.efficientnet import LITE2, SameConvolution, efficientnet_lite2
from model.network.encoder import Encoder, encoder_config, to_square, torchvision_models
from model.network.packed import PackedConvolution
from model.network.vocabulary import Vocabulary
from tests.conftest import WORDS

SMALL = (
    *("alexnet", "vgg11_bn", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny"),
    LITE2,
)


def random_statistics(encoder: Encoder) -> None:
    """As if the batch normalisations had been trained."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1280, 720), (224, 224), (299, 299), (33, 500), (1, 1)])
def test_the_square_is_what_pillow_makes_of_the_whole_picture(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    square = to_square(photo, 299)
    away = np.abs(square.astype(int) - np.asarray(photo.resize((299, 299), Image.Resampling.BICUBIC)))
    assert away.max() <= 2
    assert away.mean() < 0.01
    assert np.array_equal(square, to_square(np.asarray(photo), 299))
    assert to_square(photo.convert("L"), 299).shape == square.shape == (299, 299, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_a_backbone_gives_the_grid_it_is_configured_for_and_fuses(name: str) -> None:
    torch.manual_seed(0)
    config = encoder_config(name)
    encoder = Encoder(config).eval()
    random_statistics(encoder)
    images = torch.randint(0, 256, (1, 3, config.image_size, config.image_size), dtype=torch.uint8)
    features = encoder(images)
    assert features.shape == (1, config.regions, config.channels)
    fused = copy.deepcopy(encoder).fuse()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    scale = float(features.abs().max())
    torch.testing.assert_close(fused(images), features, atol=1e-4 * scale, rtol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_an_encoder_with_packed_weights_finds_the_same(name: str, dtype: torch.dtype) -> None:
    if not PackedConvolution.possible(dtype):
        pytest.skip(f"not on this processor in {dtype}")
    torch.manual_seed(0)
    encoder = Encoder(encoder_config(name))
    random_statistics(encoder)
    plain = encoder.fuse().to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    packed = copy.deepcopy(plain).pack()
    assert any(isinstance(module, PackedConvolution) for module in packed.modules())
    side = encoder.config.image_size
    for batch in (1, 3):
        images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
        features = plain(images)
        error = (packed(images) - features).abs().max() / features.abs().max()
        assert error < (1e-4 if dtype == torch.float32 else 0.02)


def test_an_encoder_stays_as_it_is_where_its_weights_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedConvolution, "possible", lambda dtype: False)
    encoder = Encoder(encoder_config("mobilenet_v3_small")).fuse()
    modules = list(encoder.modules())
    assert list(encoder.pack().modules()) == modules


def test_all_names_but_one_are_torchvisions_and_all_are_configured() -> None:
    assert set(ENCODERS) - set(torchvision_models().list_models()) == {LITE2}
    config = encoder_config("resnet101")
    assert (config.image_size, config.rows, config.columns, config.channels) == (224, 7, 7, 2048)
    assert config.mean == (0.485, 0.456, 0.406)
    assert EncoderConfig.from_json(config.to_json()) == config
    assert encoder_config("inception_v3") == EncoderConfig()
    assert (encoder_config("vgg16").rows, encoder_config("vgg16").channels) == (14, 512)
    with pytest.raises(ConfigError, match="unknown encoder"):
        encoder_config("resnet9000")


def test_a_network_may_see_larger_pictures_and_gives_a_finer_grid() -> None:
    config = encoder_config(LITE2)
    assert (config.image_size, config.rows, config.columns, config.channels) == (260, 9, 9, 1280)
    assert (encoder_config(LITE2, 320).image_size, encoder_config(LITE2, 320).regions) == (320, 100)
    assert encoder_config("inception_v3", 427).regions == 144
    with pytest.raises(ConfigError, match="cannot see pictures of 20 pixels"):
        encoder_config("inception_v3", 20)


@pytest.mark.parametrize("size", [1, 7, 8, 260])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@torch.inference_mode()
def test_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    """What is missing goes around the picture, and an odd pixel after it."""
    torch.manual_seed(0)
    convolution, picture = SameConvolution(1, 1, kernel, stride), torch.randn(1, 1, size, size)
    left = -(-size // stride)
    missing = max((left - 1) * stride + kernel - size, 0)
    before, after = missing // 2, missing - missing // 2
    padded = torch.zeros(1, 1, size + missing, size + missing)
    padded[:, :, before : before + size, before : before + size] = picture
    found = convolution(picture)
    assert found.shape[2:] == (left, left)
    assert after - before in (0, 1)
    torch.testing.assert_close(found, functional.conv2d(padded, convolution.weight, None, stride))


def test_lite2_has_the_parameters_of_its_paper_and_no_weights_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    network = efficientnet_lite2()
    classifier = 1280 * 1000 + 1000
    assert round((sum(p.numel() for p in network.parameters()) + classifier) / 1e6, 1) == 6.1
    with pytest.raises(CheckpointError, match="--encoder-weights"):
        pretrained_encoder(LITE2)


@torch.inference_mode()
def test_inception_is_torchvisions_with_tensorflows_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    own = Encoder()
    random_statistics(own)
    theirs = torchvision_models().Inception3(init_weights=False).eval()
    state = own.backbone.state_dict()
    assert [name for name in theirs.state_dict() if name in state] == list(state)
    theirs.load_state_dict({**theirs.state_dict(), **state})
    without_padding = partial(functional.avg_pool2d, count_include_pad=False)
    monkeypatch.setattr(functional, "avg_pool2d", without_padding)
    grids: list[torch.Tensor] = []
    theirs.Mixed_7a.register_forward_hook(lambda *call: grids.append(call[-1]))
    images = torch.randn(1, 3, 299, 299)
    theirs(images)
    torch.testing.assert_close(own.eval()(images), grids[0].flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_other_backbones_need_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert Encoder().config.name == "inception_v3"
    with pytest.raises(ConfigError, match="needs the package torchvision"):
        Encoder(EncoderConfig(name="resnet18"))


@torch.inference_mode()
@pytest.mark.slow
def test_bytes_are_normalised_as_torchvision_does() -> None:
    config = encoder_config("alexnet")
    encoder = Encoder(config).eval()
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    transform = torchvision_models().AlexNet_Weights.DEFAULT.transforms(crop_size=224, resize_size=224)
    torch.testing.assert_close(encoder(pixels), encoder(transform(pixels)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@torch.inference_mode()
def test_a_state_dict_of_torchvisions_fills_a_named_encoder(suffix: str, tmp_path: Path) -> None:
    whole = torchvision_models().mobilenet_v3_small().eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(whole.state_dict(), path)
    else:
        save_file(whole.state_dict(), path)
    encoder = pretrained_encoder("mobilenet_v3_small", path)
    images = torch.randn(1, 3, 224, 224)
    grid = whole.features(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder(images), grid, atol=1e-5, rtol=1e-4)
    save_encoder(tmp_path / "encoder.safetensors", encoder)
    assert load_encoder(tmp_path / "encoder.safetensors").config == encoder.config
    with pytest.raises(CheckpointError, match="Missing key"):
        pretrained_encoder("resnet18", path)


def test_without_a_network_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="--encoder-weights"):
        pretrained_encoder("alexnet")


def test_a_captioner_sees_through_any_backbone() -> None:
    encoder = Encoder(encoder_config("mobilenet_v3_small")).fuse()
    decoder = build_decoder(DecoderConfig("attention", len(WORDS) + 4, channels=576, embedding=8, hidden=8, rnn="gru"))
    captioner = Captioner(encoder, decoder.eval(), Vocabulary(WORDS), torch.float32)
    [captions] = captioner.caption([Image.new("RGB", (30, 20), "red")], samples=2, beam=2)
    assert captions.greedy.attention is not None
    assert captions.greedy.attention.shape[1:] == (7, 7)
