"""The encoder, the decoders and their checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from model.decoding.search import BeamSearch, Stepwise, decode
from model.network.checkpoint import (
    CheckpointError,
    fingerprint,
    load_decoder,
    load_encoder,
    save_decoder,
    save_encoder,
)
from model.network.config import NETWORKS, ConfigError, DecoderConfig, EncoderConfig
from model.network.decoder import AttentionDecoder, TransformerDecoder, build_decoder
from model.network.encoder import Encoder
from model.network.vocabulary import END, START, Vocabulary
from model.training.losses import caption_loss
from tests.conftest import tiny_config


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().eval()


@torch.inference_mode()
def test_encoder_gives_a_grid_row_by_row(encoder: Encoder) -> None:
    image = torch.zeros(1, 3, 299, 299)
    lit = image.clone()
    lit[..., :60, 240:] = 1.0  # the upper right corner
    change = (encoder(lit) - encoder(image)).abs().sum(dim=-1).view(8, 8)
    assert encoder(image).shape == (1, 64, 1280)
    assert change[0, 7] > change[7, 0]


@torch.inference_mode()
def test_bytes_and_scaled_floats_are_the_same_image(encoder: Encoder) -> None:
    pixels = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    torch.testing.assert_close(encoder(pixels), encoder(pixels.float() / 127.5 - 1), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_fusing_changes_no_output(encoder: Encoder) -> None:
    images = torch.rand(1, 3, 299, 299)
    fused = Encoder()
    fused.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(fused.fuse()(images), encoder(images), atol=1e-4, rtol=1e-3)


def test_average_pooling_leaves_the_padding_out(encoder: Encoder) -> None:
    """On a constant input a mean that counted padding would be smaller at the rim."""
    block: Any = encoder.backbone.Mixed_5b
    pooled: list[torch.Tensor] = []
    handle = block.branch_pool.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    with torch.inference_mode():
        block(torch.ones(1, 192, 5, 5))
    handle.remove()
    torch.testing.assert_close(pooled[0], torch.ones(1, 192, 5, 5))


def test_batch_normalisation_never_learns_its_statistics(encoder: Encoder) -> None:
    encoder.train()
    modules = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert modules
    assert not any(m.training for m in modules)
    encoder.eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_step_shapes_and_attention_sums_to_one(kind: str) -> None:
    decoder = build_decoder(tiny_config(kind)).eval()
    state = decoder.init_state(torch.randn(2, 9, 6)).repeat(3)
    logits, state, attention = decoder.step(torch.full((2, 3), START), state)
    assert logits.shape == (2, 3, 14)
    assert state.hidden.shape == (2, 3, 8)
    if kind == "baseline":
        assert attention is None
    else:
        assert attention is not None
        assert attention.shape == (2, 3, 9)
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3))


def test_attention_decoder_follows_the_equations() -> None:
    """One step of one sequence, written out from Xu et al. with the module's own matrices."""
    d = build_decoder(tiny_config()).eval()
    assert isinstance(d, AttentionDecoder)
    a = torch.randn(1, 9, 6)
    n = functional.layer_norm(a[0], (6,), d.features_norm.weight, d.features_norm.bias)
    values, keys = d.values(n), d.keys(n)
    h = torch.tanh(d.init_hidden(values.mean(0)))
    assert d.init_cell is not None
    c = torch.tanh(d.init_cell(values.mean(0)))
    scores = torch.stack([d.score.weight[0] @ torch.tanh(key + d.query.weight @ h) for key in keys])
    alpha = scores.softmax(0)
    z = torch.sigmoid(d.gate(h)) * sum(alpha[i] * values[i] for i in range(9))
    word = d.embedding.weight[START]
    assert d.lstm is not None
    h, c = d.lstm(torch.cat([word, z])[None], (h[None], c[None]))
    output = word + d.output_hidden(h[0]) + d.output_context.weight @ z
    expected = d.embedding.weight @ output + d.output_bias
    logits, _, attention = d.step(torch.tensor([[START]]), d.init_state(a))
    assert attention is not None
    torch.testing.assert_close(attention[0, 0], alpha)
    torch.testing.assert_close(logits[0, 0], expected)


def test_a_transformer_reads_each_word_in_the_light_of_those_before() -> None:
    """Step by step over its cache it says what one causal pass over the whole caption says."""
    torch.manual_seed(5)
    d = build_decoder(tiny_config("transformer")).eval()
    assert isinstance(d, TransformerDecoder)
    features, words = torch.randn(2, 9, 6), torch.tensor([[START, 5, 6, 7], [START, 9, 8, 4]])
    state, said = d.init_state(features), []
    for t in range(4):
        logits, state, _ = d.step(words[:, t : t + 1], state)
        said.append(logits[:, 0])
    regions = d.regions(d.features_norm(features))
    x = d.embedding(words) + d.positions.weight[:4]
    causal = torch.full((4, 4), -torch.inf).triu(1)
    for layer in d._layers():
        q, k, v = layer.own(layer.own_norm(x)).view(2, 4, 3, 8, 1).permute(2, 0, 3, 1, 4)
        looked = functional.scaled_dot_product_attention(q, k, v, attn_mask=causal)
        x = x + layer.own_output(looked.transpose(1, 2).flatten(2))
        q = layer.query(layer.look_norm(x)).view(2, 4, 8, 1).transpose(1, 2)
        k, v = layer.pairs(regions).view(2, 9, 2, 8, 1).permute(2, 0, 3, 1, 4)
        x = x + layer.look_output(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + layer.outer(functional.gelu(layer.inner(layer.forward_norm(x))))
    torch.testing.assert_close(torch.stack(said, dim=1), d.predict(d.norm(x)))
    with pytest.raises(ConfigError, match="evenly"):
        dataclasses.replace(tiny_config("transformer"), heads=3)


@pytest.mark.parametrize("kind", NETWORKS)
def test_loss_of_captions_of_many_lengths_is_that_of_each_alone(kind: str) -> None:
    """Sorting by length and dropping what is over must change nothing."""
    decoder = build_decoder(tiny_config(kind)).eval()
    features = torch.randn(2, 9, 6)
    captions = [[[4, 5, 6, 7], [8]], [[5, 5], [9, 10, 11], [4]]]
    together, words = caption_loss(decoder, features, captions, label_smoothing=0.1)
    total = torch.zeros(())
    for image, several in enumerate(captions):
        for caption in several:
            state = decoder.init_state(features[image : image + 1])
            for word, target in zip([START, *caption], [*caption, END], strict=True):
                logits, state, _ = decoder.step(torch.tensor([[word]]), state)
                total = total + functional.cross_entropy(logits[0], torch.tensor([target]), label_smoothing=0.1)
    assert words == 4 + 1 + 2 + 3 + 1 + 5
    torch.testing.assert_close(together, total / words)


@pytest.mark.parametrize("kind", ["attention", "baseline"])
def test_a_gru_decodes_and_is_written_into_the_checkpoint(kind: str, tmp_path: Path, vocabulary: Vocabulary) -> None:
    torch.manual_seed(1)
    decoder = build_decoder(dataclasses.replace(tiny_config(kind), rnn="gru")).eval()
    assert not any("lstm" in name or "cell" in name for name in decoder.state_dict())
    save_decoder(tmp_path / "d.safetensors", decoder, vocabulary, "", torch.float32)
    loaded = load_decoder(tmp_path / "d.safetensors").decoder
    state = loaded.init_state(torch.randn(2, 9, 6))
    greedy = decode(loaded, state, Stepwise(samples=3), max_words=5)[0]
    best = decode(loaded, state, BeamSearch(width=3), max_words=5)[0]
    assert greedy.tokens.shape[:2] == (2, 4)
    assert best.tokens.shape[:2] == (2, 1)
    before, tokens = loaded.init_state(torch.randn(1, 9, 6)), torch.tensor([[START]])
    _, after, _ = loaded.step(tokens, before)
    assert loaded.gru is not None
    assert not torch.equal(before.hidden, after.hidden)


def test_decoders_made_before_there_were_grus_have_lstms() -> None:
    config = DecoderConfig.from_json('{"kind": "baseline", "vocabulary_size": 9}')
    assert config.rnn == "lstm"
    with pytest.raises(ConfigError, match="unknown recurrent network"):
        dataclasses.replace(config, rnn="rnn")  # type: ignore[arg-type]


def test_coverage_is_the_sum_of_squares_of_equation_14() -> None:
    torch.manual_seed(2)
    decoder = build_decoder(tiny_config()).eval()
    features, captions = torch.randn(2, 9, 6), [[[4, 5, 6]], [[7], [8, 9]]]
    plain, words = caption_loss(decoder, features, captions)
    regularised = caption_loss(decoder, features, captions, coverage=0.5).mean
    expected = torch.zeros(())
    for image, several in enumerate(captions):
        for caption in several:
            state, looked = decoder.init_state(features[image][None]), torch.zeros(9)
            for word in [START, *caption]:
                _, state, attention = decoder.step(torch.tensor([[word]]), state)
                assert attention is not None
                looked += attention[0, 0].detach()
            expected += (1 - looked).square().sum()
    torch.testing.assert_close((regularised - plain).detach() * words, 0.5 * expected)


def test_scheduled_sampling_reads_the_decoders_own_words() -> None:
    """A decoder that always says one word reads nothing else from the second step on, whatever the reference says."""
    decoder = build_decoder(tiny_config("baseline")).eval()
    with torch.no_grad():
        decoder.output_bias[5] = 100.0
    read: list[torch.Tensor] = []
    handle = decoder.embedding.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    caption_loss(decoder, torch.randn(1, 9, 6), [[[6, 7, 8], [9, 9]]], own_words=1.0)
    handle.remove()
    assert [words.flatten().tolist() for words in read] == [[START, START], [5, 5], [5, 5], [5]]


def test_checkpoints_round_trip(tmp_path: Path, encoder: Encoder, vocabulary: Vocabulary) -> None:
    save_encoder(tmp_path / "encoder.safetensors", encoder)
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    for name, tensor in encoder.backbone.state_dict().items():
        torch.testing.assert_close(loaded.backbone.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    decoder = build_decoder(tiny_config())
    sha256 = fingerprint(tmp_path / "encoder.safetensors")
    save_decoder(tmp_path / "attention.safetensors", decoder, vocabulary, sha256)
    checkpoint = load_decoder(tmp_path / "attention.safetensors")
    assert checkpoint.vocabulary.words == vocabulary.words
    assert checkpoint.encoder_sha256 == sha256
    assert checkpoint.decoder.config == decoder.config


def test_damaged_checkpoints_are_named(tmp_path: Path, vocabulary: Vocabulary) -> None:
    path = tmp_path / "attention.safetensors"
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_decoder(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_decoder(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"attention\.safetensors"):
        load_decoder(path)
    with pytest.raises(CheckpointError, match="Missing key"):
        load_encoder(path)
    save_decoder(path, build_decoder(tiny_config(vocabulary_size=9)), vocabulary, "")
    with pytest.raises(CheckpointError, match="14 words, but 9 outputs"):
        load_decoder(path)


def test_configs_refuse_what_no_network_has() -> None:
    with pytest.raises(ConfigError, match="unknown encoder"):
        EncoderConfig(name="resnet9000")
    with pytest.raises(ConfigError, match="dropout"):
        DecoderConfig(kind="baseline", vocabulary_size=9, dropout=1.0)
    with pytest.raises(ConfigError, match="unexpected keyword"):
        DecoderConfig.from_json('{"kind": "baseline", "vocabulary_size": 9, "depth": 2}')
    config = DecoderConfig(kind="baseline", vocabulary_size=9)
    assert DecoderConfig.from_json(config.to_json()) == config
