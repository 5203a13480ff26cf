"""Layers whose weights are read in fp16 compute what the layers of the checkpoint compute, those in int8 nearly."""

import copy
from pathlib import Path

import pytest
import torch

from model.captioner import Captioner
from model.network.checkpoint import load_decoder
from model.network.config import Precision
from model.network.decoder import Decoder, build_decoder
from model.network.packed import Int8Linear, PackedConvolution, PackedLinear
from tests.conftest import WEIGHTS, tiny_config

pytestmark = pytest.mark.skipif(not PackedLinear.possible(), reason="no FBGEMM, or no AVX2")


@pytest.mark.parametrize("rows", [1, 2, 6, 11, 50])
def test_a_packed_layer_computes_what_the_layer_computes(rows: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 40)
    layer.weight.data = layer.weight.data.half().float()
    x = torch.randn(3, rows, 96)
    torch.testing.assert_close(PackedLinear(layer.weight, layer.bias)(x), layer(x), atol=1e-5, rtol=1e-5)


in_int8 = pytest.mark.skipif(not Int8Linear.possible(), reason="no VNNI")


@in_int8
@pytest.mark.parametrize("rows", [1, 2, 11, 50])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_in_int8_rounds_by_less_than_two_hundredths(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(512, 40, bias=bias)
    of_rows, of_outputs = torch.logspace(-3, 3, rows)[:, None], torch.logspace(-2, 2, 40)  # each has a scale of its own
    layer.weight.data *= of_outputs[:, None]
    x = torch.randn(3, rows, 512) * of_rows
    found, expected = Int8Linear(layer.weight, layer.bias)(x), layer(x)
    assert found.shape == expected.shape
    error, products = found - expected, torch.nn.functional.linear(x, layer.weight)
    assert (error / of_rows / of_outputs).abs().mean() < 0.02 * (products / of_rows / of_outputs).abs().mean()


@in_int8
def test_in_int8_no_row_changes_another() -> None:
    torch.manual_seed(1)
    layer = Int8Linear(torch.randn(40, 96), torch.randn(40))
    x = torch.randn(20, 96)
    x[7] *= 1000
    x[8] = 0
    together = layer(x)
    assert torch.equal(together[8], layer(torch.zeros(1, 96))[0])
    for row in range(len(x)):
        assert torch.equal(layer(x[row : row + 1])[0], together[row])


@in_int8
def test_in_int8_the_largest_sums_do_not_overflow() -> None:
    layer = Int8Linear(torch.ones(16, 512), None)
    for sign in (1, -1):
        torch.testing.assert_close(layer(sign * torch.ones(2, 512)), torch.full((2, 16), sign * 512.0))


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


@torch.inference_mode()
@in_int8
@pytest.mark.parametrize("kind", ["attention", "baseline", "transformer"])
def test_a_decoder_in_int8_steps_nearly_as_before(kind: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(tiny_config(kind)).eval()
    features = torch.randn(3, 4, decoder.config.channels)
    plain = _stepped(decoder, features)
    assert decoder.packing == ""
    assert decoder.pack(int8=True).packing == "in int8"
    for ours, expected in zip(_stepped(decoder, features), plain, strict=True):
        assert (ours - expected).abs().mean() < 0.03 * expected.abs().mean()


@torch.inference_mode()
@in_int8
@pytest.mark.slow
def test_in_int8_captions_do_not_depend_on_batch_mates_and_most_stay_the_same(photos: list[object]) -> None:
    exact = Captioner.load(Path(WEIGHTS), "cpu", precision="fp32")
    rounded = Captioner.load(Path(WEIGHTS), "cpu", precision="fp32")
    rounded.decoder = load_decoder(Path(WEIGHTS) / "attention.safetensors").decoder.pack(int8=True)
    rounded._steps = rounded.decoder
    features = exact.encode(exact.squares(photos))  # type: ignore[arg-type]
    together = rounded.caption_features(features, samples=2, beam=3)
    for row, several in enumerate(together):
        [alone] = rounded.caption_features(features[row : row + 1], samples=2, beam=3)
        assert alone.greedy.words == several.greedy.words
        assert alone.main.words == several.main.words
        assert [each.words for each in alone.samples] == [each.words for each in several.samples]
    plain = exact.caption_features(features, samples=2, beam=3)
    assert sum(a.main.words == b.main.words for a, b in zip(plain, together, strict=True)) >= 0.7 * len(plain)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_rounded_arithmetic_has_a_decoder_in_int8(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Captioner.load(Path(WEIGHTS), "cpu", precision=precision, alone=True)
    in_integers = precision != "fp32" and Int8Linear.possible()
    assert known.decoder.packing == ("in int8" if in_integers else "packed in fp16")
    assert known.engine.endswith(f", decoder {known.decoder.packing}")
    monkeypatch.setattr(Int8Linear, "possible", lambda: False)
    elsewhere = Captioner.load(Path(WEIGHTS), "cpu", precision=precision, alone=True)
    assert elsewhere.decoder.packing == "packed in fp16"


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
