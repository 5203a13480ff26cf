"""Averaging decoders of one lineage."""

from pathlib import Path

import pytest
import torch

from model.network.checkpoint import fingerprint, load_decoder, load_encoder, save_decoder, save_encoder
from model.network.config import DecoderConfig, EncoderConfig
from model.network.decoder import build_decoder
from model.network.encoder import Encoder
from model.network.vocabulary import Vocabulary
from model.training.average import main


def decoder_file(
    path: Path, seed: int, captions: tuple[str, ...] = ("a dog runs", "a cat sits"), sha: str = "e"
) -> Path:
    torch.manual_seed(seed)
    vocabulary = Vocabulary.build(captions, min_count=1)
    config = DecoderConfig(
        kind="attention", vocabulary_size=len(vocabulary), channels=8, embedding=4, hidden=4, attention=4, max_words=5
    )
    save_decoder(path, build_decoder(config), vocabulary, sha, torch.float32)
    return path


def test_the_mean_lies_between(tmp_path: Path) -> None:
    one, two = (decoder_file(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    out = tmp_path / "made" / "mean.safetensors"
    assert main([str(one), str(two), "--shares", "1", "3", "--out", str(out)]) == 0
    first, second, mean = (load_decoder(path).decoder.state_dict() for path in (one, two, out))
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, 0.25 * first[name] + 0.75 * second[name], atol=2e-3, rtol=2e-3)
    assert load_decoder(out).encoder_sha256 == "e"


def test_encoders_are_averaged_beside_their_decoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = EncoderConfig()
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoder = tmp_path / f"encoder-{seed}.safetensors"
        save_encoder(encoder, Encoder(config))
        files.append((decoder_file(tmp_path / f"{seed}.safetensors", seed, sha=fingerprint(encoder)), encoder))
    (one, its), (two, other) = files
    out = tmp_path / "made" / "attention.safetensors"
    decoders, last = [str(one), str(two), "--shares", "1", "3"], ["--out", str(out)]
    assert main([*decoders, "--encoders", str(other), str(its), *last]) == 2
    assert "name the encoder of each decoder" in capsys.readouterr().err
    assert not out.exists()
    assert main([*decoders, "--encoders", str(its), str(other), *last]) == 0
    written = out.parent / "encoder.safetensors"
    first, second, mean = (dict(load_encoder(path).named_parameters()) for path in (its, other, written))
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, 0.25 * first[name] + 0.75 * second[name], atol=2e-3, rtol=2e-3)
    assert load_decoder(out).encoder_sha256 == fingerprint(written)
    middle = load_decoder(out).decoder.output_bias
    expected = 0.25 * load_decoder(one).decoder.output_bias + 0.75 * load_decoder(two).decoder.output_bias
    torch.testing.assert_close(middle, expected, atol=2e-3, rtol=2e-3)


def test_what_cannot_be_averaged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = decoder_file(tmp_path / "one.safetensors", 1)
    words = decoder_file(tmp_path / "words.safetensors", 1, ("a bird flies", "a cow eats"))
    encoder = decoder_file(tmp_path / "encoder.safetensors", 1, sha="another")
    for other, reason in ((words, "different words"), (encoder, "different encoders"), (tmp_path / "no", "no")):
        assert main([str(one), str(other), "--shares", "1", "1", "--out", str(tmp_path / "out")]) == 2
        assert reason in capsys.readouterr().err
    assert main([str(one), "--shares", "1", "1", "--out", str(tmp_path / "out")]) == 2
    assert "one each" in capsys.readouterr().err
