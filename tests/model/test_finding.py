"""Photos found by words: what fits, against how well the words fit photos at large, and what cannot be compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from model.embedding import EMBEDDING_FILE, EmbeddingConfig, JointEmbedding
from model.finding import FIND_FILE, Finder, FindFit, coarse, marginal_score
from model.found import NAME_BYTES, Kept
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.network.vocabulary import Vocabulary
from tests.conftest import WEIGHTS

SPACE = 16


@pytest.fixture
def embedding(vocabulary: Vocabulary) -> JointEmbedding:
    torch.manual_seed(1)
    return JointEmbedding(EmbeddingConfig(6, len(vocabulary), word=8, space=SPACE), vocabulary).eval()


@pytest.fixture
def finder(embedding: JointEmbedding) -> Finder:
    bank = coarse(torch.randn(50, SPACE))
    return Finder(embedding, "mine", bank, FindFit(1.0, -2.0, least=0.5, floor=0.4))


def packed(vectors: torch.Tensor, first: int = 0) -> bytes:
    """Vectors, (K, S), with the names 0, 1 …"""
    rows = coarse(vectors).numpy()
    return b"".join((first + n).to_bytes(NAME_BYTES, "big") + row.tobytes() for n, row in enumerate(rows))


def name(number: int) -> str:
    return number.to_bytes(NAME_BYTES, "big").hex()


def towards(embedding: JointEmbedding, text: str, *shares: float) -> torch.Tensor:
    """Vectors with these cosines to a text, (K, S)."""
    said = embedding.encode([text])[0].detach()
    across = functional.normalize(torch.randn(SPACE) - 0.0 * said, dim=-1)
    across = functional.normalize(across - (across @ said) * said, dim=-1)
    return torch.stack([share * said + (1 - share**2) ** 0.5 * across for share in shares])


def test_coarse_vectors_keep_their_directions() -> None:
    vectors = functional.normalize(torch.randn(20, 512), dim=-1)
    kept = functional.normalize(coarse(vectors).float(), dim=-1)
    assert ((vectors * kept).sum(dim=-1) > 0.999).all()
    assert coarse(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]


def test_z_is_measured_against_the_bank() -> None:
    bank = torch.tensor([[0.1, 0.3], [0.4, 0.8]])
    scores = marginal_score(torch.tensor([[0.2], [0.6]]), bank)
    assert scores.tolist() == [[0.0], [pytest.approx(0.0, abs=1e-6)]]
    assert marginal_score(bank, bank).abs().max() < 1


def test_the_best_photos_come_first_and_those_that_do_not_fit_are_left_out(finder: Finder) -> None:
    photos = towards(finder._embedding, "a dog on grass", 0.2, 0.99, 0.9, -0.9, 0.95, 0.97, 0.94, 0.93)
    found = finder.find("a dog on grass", [Kept("mine", 8, SPACE)], packed(photos))
    assert [hit.name for hit in found.hits] == [name(n) for n in (1, 5, 4, 6, 7)]
    assert found.compared == 8
    assert [hit.probability for hit in found.hits] == sorted((hit.probability for hit in found.hits), reverse=True)
    least = finder.find("a dog on grass", [Kept("mine", 2, SPACE)], packed(photos[[0, 3]]))
    assert least.hits == ()


def test_vectors_of_other_models_are_not_compared(finder: Finder) -> None:
    photos = towards(finder._embedding, "a cat", 0.99, 0.98)
    parts = [Kept("before", 3, 5), Kept("mine", 1, SPACE), Kept("other", 1, SPACE)]
    sent = b"x" * 3 * (NAME_BYTES + 5) + packed(photos, first=7)
    found = finder.find("a cat", parts, sent)
    assert [hit.name for hit in found.hits] == [name(7)]
    assert found.compared == 1
    assert finder.find("a cat", parts[:1], sent[: 3 * (NAME_BYTES + 5)]).compared == 0
    for wrong in ([Kept("mine", 9, SPACE)], [Kept("mine", 2, SPACE - 1)], parts[:2]):
        with pytest.raises(ValueError, match="bytes"):
            finder.find("a cat", wrong, sent)


def test_unknown_words_are_left_out_and_named(finder: Finder) -> None:
    photos = packed(towards(finder._embedding, "a dog", 0.99))
    kept = [Kept("mine", 1, SPACE)]
    plain = finder.find("a dog", kept, photos)
    odd = finder.find("a xylophone dog", kept, photos)
    assert odd.unknown == ("xylophone",)
    assert odd.hits == plain.hits != ()
    nothing = finder.find("ксилофон", kept, photos)
    assert (nothing.understood, nothing.hits, nothing.unknown) == (False, (), ("ксилофон",))
    russian = finder.find("собака", kept, photos)
    assert russian == finder.find("dog", kept, photos)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, finder: Finder) -> None:
    sha256 = fingerprint(WEIGHTS / ENCODER_FILE)
    with pytest.raises(CheckpointError, match="No such file"):
        Finder.load(tmp_path, sha256)
    shutil.copy(WEIGHTS / EMBEDDING_FILE, tmp_path)
    with pytest.raises(CheckpointError, match=FIND_FILE):
        Finder.load(tmp_path, sha256)
    Finder.save(tmp_path / FIND_FILE, coarse(torch.randn(3, 512)), FindFit(1.0, 0.0, 0.5, 0.1), "another")
    with pytest.raises(CheckpointError, match="not fitted to this embedding"):
        Finder.load(tmp_path, sha256)
    sha = fingerprint(tmp_path / EMBEDDING_FILE)
    Finder.save(tmp_path / FIND_FILE, coarse(torch.randn(3, 512)), FindFit(1.0, 0.0, 0.5, 0.1), sha)
    assert Finder.load(tmp_path, sha256).model == sha[:16]
