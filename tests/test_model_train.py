"""Data sets, the feature cache, training and resuming, on two photos."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.checkpoint import fingerprint, load_decoder
from model.data import DataError, augment, load_images, load_split, pad_captions, prefetch
from model.train import Run, TrainConfig, parse
from model.vocabulary import END, PAD, START
from tests.conftest import PHOTOS, WEIGHTS

SUBJECTS = ("cat", "temple")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of two subjects in the Karpathy layout."""
    root = tmp_path_factory.mktemp("pair")
    (root / "images").mkdir()
    images = []
    for number in range(6):
        subject = SUBJECTS[number % 2]
        with Image.open(PHOTOS / f"{subject}.jpg") as photo:
            photo.crop((number, 0, 300, 300)).save(root / "images" / f"{number}.png")
        sentences = [{"raw": f"{subject.title()} here ."}, {"raw": f"{subject} outside"}]
        split = "train" if number < 4 else "val"
        images.append({"filename": f"{number}.png", "split": split, "sentences": sentences})
    (root / "dataset_pair.json").write_text(json.dumps({"images": images}))
    return root


@pytest.fixture(scope="module")
def encoder_file() -> Path:
    """The shipped one: a random one hardly tells colours apart."""
    return WEIGHTS / "encoder.safetensors"


def config(dataset: Path, encoder_file: Path, out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig(
        encoder=str(encoder_file),
        out=str(out),
        data=(str(dataset),),
        validation=str(dataset),
        epochs=2,
        batch=2,
        warmup=1,
        embedding=64,
        hidden=64,
        attention=16,
        min_count=1,
        cache=str(out.parent / "cache"),
        save_every=1,
        pictures=0,
        device="cpu",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_splits_are_read_and_mistakes_named(dataset: Path, tmp_path: Path) -> None:
    examples = load_split(dataset, "train")
    assert len(examples) == 4
    assert examples[0].captions == ("Cat here .", "cat outside")
    with pytest.raises(DataError, match="no images in split 'test'"):
        load_split(dataset, "test")
    with pytest.raises(DataError, match="no dataset"):
        load_split(tmp_path, "train")
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (copy / "images" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        load_split(copy, "train")


def test_padding_frames_captions() -> None:
    inputs, targets = pad_captions([[4, 5], [6]])
    assert inputs.tolist() == [[START, 4, 5], [START, 6, PAD]]
    assert targets.tolist() == [[4, 5, END], [6, END, PAD]]


def test_prefetch_keeps_the_order(dataset: Path) -> None:
    examples = load_split(dataset, "train")
    batches = [[examples[0], examples[1]], [examples[2]], [examples[3]]]
    found = list(prefetch(batches, 16, None))
    assert [len(images) for images in found] == [2, 1, 1]
    assert torch.equal(found[1], load_images([examples[2]], 16))
    assert list(prefetch([], 16, None)) == []


def test_augmentation_changes_pixels_but_not_the_subject() -> None:
    image = Image.new("RGB", (100, 80), (200, 20, 20))
    changed = np.asarray(augment(image, random.Random(0), flip=True), dtype=int)
    assert changed.shape[0] <= 80
    assert changed[..., 0].mean() > 3 * changed[..., 2].mean()


@pytest.mark.parametrize("kind", ["attention", "baseline"])
def test_training_on_cached_features_learns_the_captions(
    dataset: Path, encoder_file: Path, tmp_path: Path, kind: str
) -> None:
    settings = config(
        dataset, encoder_file, tmp_path / "run", decoder=kind, epochs=60, rate=1e-2, dropout=0.0, label_smoothing=0.0
    )
    Run(settings).train()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in log if "validation_loss" in line]
    assert losses[-1] < 0.3 < losses[0]  # 0.23 is the least there is: two captions a picture, log 2 in 3 words
    shutil.copy(encoder_file, tmp_path / "run" / "encoder.safetensors")
    captioner = Captioner.load(tmp_path / "run", "cpu", model=kind, precision="fp32")  # type: ignore[arg-type]
    captions = captioner.caption([Image.open(PHOTOS / f"{subject}.jpg") for subject in SUBJECTS], samples=0)
    assert "cat" in captions[0].greedy.words
    assert "temple" in captions[1].greedy.words


def test_a_killed_run_goes_on_where_it_was(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    """Stopped after three of four steps and begun again, it ends with the same weights as one that never stopped."""
    settings = config(dataset, encoder_file, tmp_path / "run", dropout=0.0)
    whole = dataclasses.replace(settings, out=str(tmp_path / "whole"))
    Run(whole).train()

    class Killed(Exception):
        pass

    run = Run(settings)
    save = run.save

    def save_and_die() -> None:
        save()
        if run.step == 3:
            raise Killed

    run.save = save_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run.train()
    Run(settings).train()
    resumed = load_decoder(tmp_path / "run" / "attention.safetensors").decoder.state_dict()
    expected = load_decoder(tmp_path / "whole" / "attention.safetensors").decoder.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-3, rtol=1e-2, msg=name)


def test_fine_tuning_changes_and_ships_the_encoder(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    Run(config(dataset, encoder_file, tmp_path / "run", finetune=True, epochs=1, batch=4, encoder_rate=1e-2)).train()
    captioner = Captioner.load(tmp_path / "run", "cpu", precision="fp32")  # they belong together
    assert fingerprint(tmp_path / "run" / "encoder.safetensors") != fingerprint(encoder_file)
    assert len(captioner.caption([Image.new("RGB", (9, 9))], samples=1)) == 1


def test_every_field_is_an_option() -> None:
    settings = parse(
        ["--encoder", "e", "--out", "o", "--data", "a", "b", "--finetune", "--rate", "0.5", "--batch", "7"]
    )
    assert settings == TrainConfig(encoder="e", out="o", data=("a", "b"), finetune=True, rate=0.5, batch=7)
