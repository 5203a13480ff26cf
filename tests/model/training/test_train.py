"""Data sets, the feature cache, training and resuming, on two photos."""

import dataclasses
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.network.checkpoint import fingerprint, load_decoder
from model.network.decoder import Decoder
from model.network.vocabulary import END, PAD, START
from model.training.data import DataError, augment, load_images, load_split, pad_captions, prefetch
from model.training.journal import Journal
from model.training.loop import Run
from model.training.optimise import follow
from model.training.options import parse_options
from model.training.train import TrainConfig, main
from model.training.validate import Validation
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attention", "baseline"])
def test_training_on_cached_features_learns_the_captions(
    dataset: Path, encoder_file: Path, tmp_path: Path, kind: str
) -> None:
    settings = config(
        dataset, encoder_file, tmp_path / "run", decoder=kind, epochs=60, rate=1e-2, dropout=0.0, label_smoothing=0.0
    )
    settings = dataclasses.replace(settings, save_every=1000)
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
    settings = config(dataset, encoder_file, tmp_path / "run", dropout=0.3, precision="fp32")
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


@pytest.mark.slow
def test_fine_tuning_changes_and_ships_the_encoder(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    Run(config(dataset, encoder_file, tmp_path / "run", finetune=True, epochs=1, batch=4, encoder_rate=1e-2)).train()
    captioner = Captioner.load(tmp_path / "run", "cpu", precision="fp32")  # they belong together
    assert fingerprint(tmp_path / "run" / "encoder.safetensors") != fingerprint(encoder_file)
    assert len(captioner.caption([Image.new("RGB", (9, 9))], samples=1)) == 1


def test_the_epoch_with_the_best_captions_is_kept_and_a_run_without_hope_stops(
    dataset: Path, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([Validation(3.0, 10.0, 5.0), Validation(2.0, 30.0, 5.0), *[Validation(1.0, 20.0, 5.0)] * 9])
    kept: list[float] = []

    def validate(decoder: Decoder, *rest: object) -> Validation:
        kept.append(float(decoder.output_bias.detach().norm()))
        return next(scores)

    monkeypatch.setattr("model.training.loop.validate", validate)
    settings = config(dataset, encoder_file, tmp_path / "run", epochs=9, patience=2)
    Run(settings).train()
    assert len(kept) == 4  # two epochs more than the best
    exported = load_decoder(tmp_path / "run" / "attention.safetensors").decoder
    assert float(exported.output_bias.detach().norm()) == pytest.approx(kept[1], rel=1e-3)
    Run(settings).train()
    assert len(kept) == 4  # begun again, it is still over


@pytest.mark.slow
def test_averaged_weights_are_what_is_kept(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    settings = config(dataset, encoder_file, tmp_path / "run", ema=0.9, precision="fp32")
    run = Run(settings)
    run.train()
    exported = load_decoder(tmp_path / "run" / "attention.safetensors").decoder.output_bias
    torch.testing.assert_close(exported, run.averaged.decoder.output_bias, atol=1e-5, rtol=1e-3)
    assert not torch.allclose(exported, run.networks.decoder.output_bias, atol=1e-5, rtol=1e-3)
    resumed = Run(settings)
    resumed.resume()
    torch.testing.assert_close(resumed.averaged.decoder.output_bias, run.averaged.decoder.output_bias)


def test_an_average_forgets_at_its_decay_and_faster_in_the_beginning() -> None:
    average, module = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(average.weight, 1.0)
    torch.nn.init.constant_(module.weight, 3.0)
    follow(average, module, 0.75, step=1000)
    assert float(average.weight.detach()) == pytest.approx(0.75 * 1 + 0.25 * 3)
    follow(average, module, 0.75, step=0)
    assert float(average.weight.detach()) == pytest.approx(0.1 * 1.5 + 0.9 * 3)


@pytest.mark.slow
def test_tensorboard_shows_what_is_said_and_where_was_looked(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Run(config(dataset, encoder_file, tmp_path / "run", epochs=1, pictures=1)).train()
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"validation_loss", "validation_cider"} <= set(tags["scalars"])
    assert tags["images"] == ["4.png"]
    [text] = events.Tensors("4.png/text_summary")
    assert text.tensor_proto.string_val[0].count(b"* ") >= 5


def test_training_without_tensorboard_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    journal = Journal(tmp_path)
    journal.write(3, loss=0.123456)
    journal.close()
    assert "TensorBoard is not installed" in capsys.readouterr().err
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 3, "loss": 0.1235}


def test_cocos_subfolders_and_its_rest_of_validation_are_found(tmp_path: Path) -> None:
    (tmp_path / "images" / "val2014").mkdir(parents=True)
    (tmp_path / "images" / "val2014" / "7.jpg").touch()
    entry = {"filename": "7.jpg", "filepath": "val2014", "split": "restval", "sentences": [{"raw": " A cat. "}]}
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": [entry]}))
    [example] = load_split(tmp_path, "train")
    assert example.path == tmp_path / "images" / "val2014" / "7.jpg"
    assert example.captions == ("A cat.",)


def test_a_table_of_captions_is_a_data_set(tmp_path: Path) -> None:
    lines = ["image,caption"]
    for number in range(80):
        (tmp_path / f"{number}.jpg").touch()
        lines += [f'{number}.jpg,"A cat, here"', f"{number}.jpg,a cat"]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    splits = {split: {example.name for example in load_split(tmp_path, split)} for split in ("train", "val", "test")}
    assert sum(map(len, splits.values())) == 80
    assert len(splits["train"]) > 50
    assert load_split(tmp_path, "val")[0].captions == ("A cat, here", "a cat")
    (tmp_path / "captions.csv").write_text("image,caption,split\n1.jpg,a dog,val\n2.jpg,a cat,train")
    assert [example.captions for example in load_split(tmp_path, "val")] == [("a dog",)]
    (tmp_path / "captions.csv").write_text("file,text\n1.jpg,a dog")
    with pytest.raises(DataError, match="columns image and caption"):
        load_split(tmp_path, "train")


def test_mistakes_end_in_a_line_not_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--encoder", "e", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "no dataset" in capsys.readouterr().err


def test_every_field_is_an_option() -> None:
    arguments = ["--encoder", "e", "--out", "o", "--data", "a", "b", "--finetune", "--rate", "0.5", "--batch", "7"]
    settings = parse_options(TrainConfig, arguments, program="train", description="")
    assert settings == TrainConfig(encoder="e", out="o", data=("a", "b"), finetune=True, rate=0.5, batch=7)


@pytest.mark.slow
def test_only_the_named_parts_of_a_decoder_are_trained(dataset: Path, encoder_file: Path, tmp_path: Path) -> None:
    settings = config(dataset, encoder_file, tmp_path / "run", epochs=1, only=("keys", "query"))
    run = Run(settings)
    before = {name: tensor.clone() for name, tensor in run.networks.decoder.state_dict().items()}
    run.train()
    changed = {n for n, t in run.networks.decoder.state_dict().items() if not torch.equal(t, before[n])}
    assert {name.partition(".")[0] for name in changed} == {"keys", "query"}
    with pytest.raises(ValueError, match="no eyes"):
        Run(dataclasses.replace(settings, only=("eyes",)))
