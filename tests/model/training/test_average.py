"""Averaging decoders of one lineage."""

from pathlib import Path

import pytest
import torch

from model.network.checkpoint import load_decoder, save_decoder
from model.network.config import DecoderConfig
from model.network.decoder import build_decoder
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


def test_what_cannot_be_averaged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = decoder_file(tmp_path / "one.safetensors", 1)
    words = decoder_file(tmp_path / "words.safetensors", 1, ("a bird flies", "a cow eats"))
    encoder = decoder_file(tmp_path / "encoder.safetensors", 1, sha="another")
    for other, reason in ((words, "different words"), (encoder, "different encoders"), (tmp_path / "no", "no")):
        assert main([str(one), str(other), "--shares", "1", "1", "--out", str(tmp_path / "out")]) == 2
        assert reason in capsys.readouterr().err
    assert main([str(one), "--shares", "1", "1", "--out", str(tmp_path / "out")]) == 2
    assert "one each" in capsys.readouterr().err
