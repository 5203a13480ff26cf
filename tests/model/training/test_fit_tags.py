"""Fitting of tags: each step on made-up figures, and the command on a few photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.network.checkpoint import fingerprint
from model.tagging.lists import Entry
from model.tagging.tagger import TAGS_FILE, Fit, Tagger
from model.training import evaluate_tags, fit_tags
from model.training.data import Example
from model.training.evaluate_tags import average_precision, mean_average_precision
from model.training.fit_tags import (
    common_phrases,
    descriptions,
    fit_head,
    fit_ranking,
    labels,
    logistic,
    ranking_table,
    short_texts,
    thresholds,
)
from tests.conftest import WEIGHTS


def test_a_photo_has_the_tags_that_its_captions_say_in_whole_words() -> None:
    entries = [Entry(("dog", "dogs"), ()), Entry(("hot dog",), ()), Entry(("cat",), ())]
    examples = [Example("", Path(), ("Dogs run.", "A man")), Example("", Path(), ("a hot dog", "cats, catalogue"))]
    assert labels(examples, entries).tolist() == [[True, False, False], [True, True, False]]
    assert common_phrases(examples, 2) == [("cats", "catalogue"), ("dogs", "run")]


def test_classifiers_and_calibration_find_what_made_the_outcomes() -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(4000, 5) + 1, torch.tensor([[1.0, 0, 0, 0, 0], [0, -1.0, 0, 0, 0]])
    targets = torch.rand(4000, 2) < torch.sigmoid(inputs @ weight.T - 1)
    found, bias = fit_head(inputs, targets, decay=0.0, epochs=100)
    torch.testing.assert_close(found, weight, atol=0.2, rtol=0.1)
    torch.testing.assert_close(bias, torch.tensor([-1.0, -1.0]), atol=0.2, rtol=0.1)
    assert logistic(inputs[:, :1], targets[:, 0]) == pytest.approx([1.0, -1.0], abs=0.2)


def test_a_tag_of_few_photos_has_nearly_the_common_threshold() -> None:
    probabilities = torch.linspace(0.01, 0.99, 400)[:, None].expand(-1, 2)
    targets = probabilities > torch.tensor([0.6, 0.985])
    (often, seldom), common = thresholds(probabilities, targets)
    assert float(often) == pytest.approx(0.6, abs=0.03)
    assert abs(float(seldom) - common) < abs(0.8 - common) / 4


def test_the_ranking_is_sharp_where_descriptions_tell_photos_apart() -> None:
    torch.manual_seed(0)
    noise, own = torch.randn(60, 60), torch.eye(60, dtype=torch.bool)
    (sharpness,), none = fit_ranking((noise + 8 * own)[..., None], own, 60, draws=100)
    (vague,), _ = fit_ranking((noise + 0.5 * own)[..., None], own, 60, draws=100)
    assert sharpness > 0.9 > vague
    assert 1 < none / sharpness < 8  # between the scores of wrong descriptions and of right ones


def test_short_texts_win_where_they_are_right_by_what_makes_up_for_their_small_pmi() -> None:
    """A text's PMI is at most -log p(text): of the short ones 3, of the whole captions 20."""
    torch.manual_seed(0)
    right = torch.eye(40, dtype=torch.bool).repeat(1, 2)
    rare = torch.cat([torch.full((40,), 20.0), torch.full((40,), 3.0)]).expand(40, 80)
    pmi = torch.where(right, 0.8 * rare, -0.2 * rare) + 0.2 * rare * torch.randn(40, 80)
    fits = []
    for evidence in (torch.stack([pmi], dim=-1), torch.stack([pmi, -rare, pmi / rare], dim=-1)):
        weights, none = fit_ranking(evidence, right, 40, draws=100)
        fit = Fit(0, 0, 0, 0.5, none=none, **dict(zip(("sharpness", "common", "lift"), weights, strict=False)))
        whole = torch.cat([evidence, torch.zeros(40, 80, 3 - evidence.shape[-1])], dim=-1)
        found = [line.split(" | ") for line in ranking_table(fit, whole, right, 40, draws=100)]
        fits.append({line[0].strip("| "): float(line[3].removesuffix(" %")) for line in found if line[1] == "2 to 5"})
    without, beside = fits
    assert set(beside) == {"whole captions", "short texts", "both"}
    assert beside["short texts"] < 5 < 50 < without["short texts"]
    assert beside["whole captions"] < 5


def test_a_short_text_is_right_where_a_photos_captions_say_all_of_it(tiny: Captioner) -> None:
    assert short_texts("A man with a hat on chased; a red") == [("a", "man"), ("a", "hat")]
    assert short_texts("a cup of coffee on an old ox cart") == [
        ("a", "cup", "of", "coffee"),
        ("an", "old", "ox", "cart"),
        ("a", "cart"),
    ]
    examples = [
        Example("", Path(), ("a red dog runs", "dog on grass")),
        Example("", Path(), ("two cat runs", "a xylophone by a dog")),
        Example("", Path(), ("the cat on red grass",)),
    ]
    texts, right, whole = descriptions(tiny.vocabulary, examples)
    said = {" ".join(text): row for text, row in zip(texts, right.T.tolist(), strict=True)}
    assert [" ".join(text) for text in texts[:whole]] == ["a red dog runs", "two cat runs", "the cat on red grass"]
    assert said["a red dog runs"] == [True, False, False]
    assert said["a red dog"] == [True, False, False]
    assert said["a dog"] == [True, True, False]
    assert said["the cat"] == [False, True, True]


def test_average_precision_takes_ties_together() -> None:
    assert average_precision([3, 2, 1], [True, False, True]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == 0.25  # as common as it is
    assert average_precision([1, 1, 0], [False, True, True]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    rows = np.array([[True, False], [False, False]])
    assert mean_average_precision(np.array([[0.9, 0.1], [0.5, 0.5]]), rows) == 100.0


@pytest.mark.slow
def test_the_commands_fit_and_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], captioner: Captioner, photo_files: list[Path]
) -> None:
    """On the photos of the tests, whose captions are made up."""
    (tmp_path / "data").mkdir()
    rows = []
    for split in ("train", "val", "test"):
        for number, file in enumerate(photo_files):
            name = f"{split}-{number}.png"
            Image.open(file).convert("RGB").resize((64, 64)).save(tmp_path / "data" / name)
            captions = [f"a {file.stem} and a black dog", f"a man sits beside a {file.stem}"]
            rows.append({"filename": name, "split": split, "sentences": [{"raw": caption} for caption in captions]})
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"images": rows}))
    data, cache, out = str(tmp_path / "data"), str(tmp_path / "cache"), tmp_path / TAGS_FILE
    few = ["--epochs", "1", "--bank", "2", "--photos", "6", "--phrases", "4", "--ranked", "6"]
    common = ["--weights", str(WEIGHTS), "--data", data, "--cache", cache, "--device", "cpu"]
    assert fit_tags.main([*common, *few, "--out", str(out)]) == 0
    assert "descriptions:" in capsys.readouterr().out
    tagger = Tagger.load(out, fingerprint(WEIGHTS / "encoder.safetensors"))
    again = tmp_path / "again.safetensors"
    assert fit_tags.main([*common, *few, "--ranking-only", "--check", "test", "--out", str(again)]) == 0
    assert "| both | 2 to 5 |" in capsys.readouterr().out
    kept = Tagger.load(again, fingerprint(WEIGHTS / "encoder.safetensors"))
    assert captioner.tagger is not None
    assert torch.equal(kept.head.weight, captioner.tagger.head.weight)
    assert kept.fit.slope == captioner.tagger.fit.slope
    assert kept.fit.none != captioner.tagger.fit.none
    assert tagger.bank.shape == (2, 16, captioner.encoder.config.channels)
    assert (
        evaluate_tags.main([*common, "--split", "test", "--training", data, "--plot", str(tmp_path / "plot.png")]) == 0
    )
    printed = capsys.readouterr().out
    for run in ("tags", "words of the greedy caption", "frequency of the tag"):
        assert f"| data test (7) | {run} |" in printed
    assert "| a minibar | cannot be judged: minibar |" in printed
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert fit_tags.main([*common, "--split", "none"]) == 2
