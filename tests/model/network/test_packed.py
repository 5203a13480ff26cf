"""Layers whose weights are read in fp16 compute what the layers of the checkpoint compute."""

import copy
from pathlib import Path

import pytest
import torch

from model.captioner import Captioner
from model.network.decoder import Decoder, build_decoder
from model.network.packed import PackedConvolution, PackedLinear
from tests.conftest import WEIGHTS, tiny_config

pytestmark = pytest.mark.skipif(not PackedLinear.possible(), reason="no FBGEMM, or no AVX2")


@pytest.mark.parametrize("rows", [1, 2, 6, 11, 50])
def test_a_packed_layer_computes_what_the_layer_computes(rows: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 40)
    layer.weight.data = layer.weight.data.half().float()
    x = torch.randn(3, rows, 96)
    torch.testing.assert_close(PackedLinear(layer.weight, layer.bias)(x), layer(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "kernel", "side"), [(768, 1, 17), (192, 3, 35), (128, (1, 7), 17)])
def test_a_packed_convolution_keeps_the_order_that_is_wanted_for_any_number_of_images(
    inputs: int, kernel: int | tuple[int, int], side: int, dtype: torch.dtype
) -> None:
    if not PackedConvolution.possible(dtype):
        pytest.skip(f"not on this processor in {dtype}")
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(inputs, 192, kernel).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    packed = PackedConvolution(layer, (inputs, side, side))
    order = torch.ops.mkldnn._get_mkldnn_serialized_md
    for images in (1, 2, 3, 8):
        shape = [images, inputs, side, side]
        wanted = torch.ops.mkldnn._reorder_convolution_weight(layer.weight, [0, 0], [1, 1], [1, 1], 1, shape)
        assert torch.equal(order(packed._weights[images > 1]), order(wanted))
        x = torch.randn(shape).to(dtype=dtype, memory_format=torch.channels_last)
        torch.testing.assert_close(packed(x), layer(x), atol=0.02, rtol=0.02)


def _stepped(decoder: Decoder, features: torch.Tensor) -> list[torch.Tensor]:
    """What three steps give, of two sequences an image."""
    state, found = decoder.init_state(features).repeat(2), []
    for word in (2, 7, 9):
        logits, state, looked = decoder.step(torch.full((len(features), 2), word), state)
        found += [logits, state.hidden, *([] if looked is None else [looked])]
    return found


@torch.inference_mode()
@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["attention", "baseline", "transformer"])
def test_a_packed_decoder_steps_as_before(kind: str, rnn: str) -> None:
    torch.manual_seed(0)
    config = tiny_config(kind)
    object.__setattr__(config, "rnn", rnn)
    decoder = build_decoder(config).eval()
    features = torch.randn(3, 4, config.channels)
    assert not copy.deepcopy(decoder).pack().packed  # its weights would change
    decoder.half().float()
    plain = _stepped(decoder, features)
    assert decoder.pack().packed
    for ours, expected in zip(_stepped(decoder, features), plain, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["attention", "baseline"])
@pytest.mark.slow
def test_captions_are_those_of_the_layers_that_were_packed(
    model: str, photos: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = Captioner.load(Path(WEIGHTS), "cpu", model=model, precision="fp32")  # type: ignore[arg-type]
    monkeypatch.setattr(PackedLinear, "possible", lambda: False)
    plain = Captioner.load(Path(WEIGHTS), "cpu", model=model, precision="fp32")  # type: ignore[arg-type]
    assert packed.decoder.packed
    assert not plain.decoder.packed
    features = plain.encode(plain.squares(photos[:4]))  # type: ignore[arg-type]
    ours, expected = (each.caption_features(features, samples=2, beam=3) for each in (packed, plain))
    for one, other in zip(ours, expected, strict=True):
        assert one.greedy.text == other.greedy.text
        assert one.main.text == other.main.text
        assert abs(one.greedy.confidence - other.greedy.confidence) < 1e-3
