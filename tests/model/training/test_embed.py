"""The joint embedding: its loss, its ranks, its file, a run that goes on where it stopped, and retrieval by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.embedding import EMBEDDING_FILE, EmbeddingConfig, JointEmbedding
from model.network.checkpoint import CheckpointError
from model.network.vocabulary import Vocabulary
from model.training import embed, retrieval
from model.training.embed import hinge, ranks_of, recalls, start_words
from model.training.retrieval import reranked, shortlisted
from tests.conftest import WEIGHTS

Run = tuple[JointEmbedding, torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]


def test_the_hardest_wrong_pair_counts_or_all_of_them() -> None:
    photos, texts = torch.eye(3), torch.tensor([[1.0, 0, 0], [0.9, 0.95, 0], [0, 0, 1.0]])
    # texts of photo 0: own 1.0, wrong 0.9 and 0; photos of text 1: own 0.95, wrong 0.9
    assert float(hinge(photos, texts, 0.2, hardest=True)) == pytest.approx((0.1 + 0.15) / 3)
    assert float(hinge(photos, texts, 1.0, hardest=False)) == pytest.approx(
        ((0.9 + 0.0) + (0.05 + 0.05) + 0 + (0.0 + 0.0) + (0.95 + 0.05) + 0) / 30
    )


def test_ranks_are_of_the_best_own_text_and_of_the_own_photo() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.8, 0.3], [0.2, 0.7, 0.95, 0.7]])
    owner = torch.tensor([0, 0, 1, 1])
    texts, photos = ranks_of(scores, owner)
    assert texts.tolist() == [0, 0]
    assert photos.tolist() == [0, 1, 0, 0]
    assert recalls(torch.tensor([0, 3, 7, 30])) == (25.0, 50.0, 75.0)
    first, last = shortlisted(scores, 1)
    assert first.tolist() == [[True, False, False, False], [False, False, True, False]]
    assert last.tolist() == [[True, False, False, False], [False, True, True, True]]
    finer = torch.tensor([[0.0, 9, 9, 9], [9, 0, 0, 9]])
    assert reranked(scores, finer, owner, 1)[0].tolist() == [0, 0]  # nothing to choose among
    assert reranked(scores, finer, owner, 2)[1].tolist() == [1, 0, 1, 1]


def test_it_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    embedding = JointEmbedding(EmbeddingConfig(6, len(vocabulary), 4, 8), vocabulary).eval()
    path = tmp_path / EMBEDDING_FILE
    embedding.save(path, "encoder")
    again = JointEmbedding.load(path, "encoder")
    texts = ["a dog runs", "the cat", "a xylophone on the grass"]
    torch.testing.assert_close(again.encode(texts), embedding.encode(texts), atol=5e-3, rtol=0.01)
    torch.testing.assert_close(again.encode(texts)[1:2], again.encode(texts[1:2]))  # whatever is beside it
    torch.testing.assert_close(again.photos(torch.randn(2, 6)).norm(dim=1), torch.ones(2))
    with pytest.raises(CheckpointError, match="not fitted to this encoder"):
        JointEmbedding.load(path, "another")
    assert start_words(torch.randn(14, 9), 4).shape == (14, 4)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, vocabulary: Vocabulary) -> None:
    def begin() -> Run:
        torch.manual_seed(0)
        embedding = JointEmbedding(EmbeddingConfig(6, len(vocabulary), 4, 8), vocabulary)
        optimizer = torch.optim.AdamW(embedding.parameters(), lr=1e-3)
        return embedding, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=9)

    def train(
        run: tuple[JointEmbedding, torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR], *steps: int
    ) -> None:
        for step in steps:
            torch.manual_seed(step)
            loss = hinge(run[0].photos(torch.randn(3, 6)), run[0].texts([[4, 5], [6], [7, 4]]), 0.2, hardest=step > 2)
            run[1].zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            run[1].step()
            run[2].step()

    whole, stopped, again = begin(), begin(), begin()
    train(whole, *range(6))
    train(stopped, *range(3))
    embed._keep(tmp_path / embed.STATE, *stopped, 3, 12.5)
    assert embed._resume(tmp_path / embed.STATE, *again) == (3, 12.5)
    train(again, 3, 4, 5)
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(again[0].state_dict()[name], tensor)


@pytest.mark.slow
def test_training_goes_on_where_it_stopped_and_retrieval_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], captioner: Captioner, photo_files: list[Path]
) -> None:
    """On the photos of the tests, whose captions are their names."""
    (tmp_path / "data").mkdir()
    rows = []
    for split in ("train", "val", "test"):
        for number, file in enumerate(photo_files):
            Image.open(file).convert("RGB").resize((64, 64)).save(tmp_path / "data" / f"{split}-{number}.png")
            sentences = [{"raw": f"a {file.stem} and a dog"}, {"raw": f"a man beside a {file.stem}"}]
            rows.append({"filename": f"{split}-{number}.png", "split": split, "sentences": sentences})
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"images": rows}))
    common = ["--weights", str(WEIGHTS), "--data", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    small = ["--word", "8", "--space", "16", "--batch", "3", "--every", "1"]
    parts = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "_keep", _killing(embed._keep, 2))
        with pytest.raises(KeyboardInterrupt):
            embed.main([*common, *small, "--out", str(parts), "--passes", "4"])
    capsys.readouterr()
    assert embed.main([*common, *small, "--out", str(parts), "--passes", "4"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["pass 3", "pass 4"]
    measure = ["--embedding", str(parts / EMBEDDING_FILE), "--fit-photos", "4", "--device", "cpu"]
    assert retrieval.main([*common, *measure]) == 0
    first = capsys.readouterr().out
    assert "data test: 7 photos, 14 captions" in first
    assert [line.split(" | ")[0] for line in first.splitlines()[-3:]] == [
        "| joint embedding",
        "| PMI, first 20",
        "| both, first 20",
    ]
    assert retrieval.main([*common, *measure]) == 0  # from what is kept
    assert capsys.readouterr().out.splitlines()[-3:] == first.splitlines()[-3:]


def _killing(keep, passes: int):  # type: ignore[no-untyped-def]
    def killed(path, embedding, optimizer, schedule, done, best):  # type: ignore[no-untyped-def]
        keep(path, embedding, optimizer, schedule, done, best)
        if done == passes:
            raise KeyboardInterrupt

    return killed
