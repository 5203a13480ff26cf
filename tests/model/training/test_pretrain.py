"""Language from captions without photos."""

import dataclasses
import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from model.network.checkpoint import load_decoder
from model.network.device import autocast
from model.network.vocabulary import UNKNOWN
from model.training import loop
from model.training.data import DataError
from model.training.distributed import Processes
from model.training.loop import Run
from model.training.pretrain import PretrainConfig, TextObjective, TextRun, load_text, main
from model.training.train import TrainConfig
from tests.conftest import PHOTOS, WEIGHTS

THINGS = ("zebra", "bicycle", "kite", "train")
ENCODER = WEIGHTS / "encoder.safetensors"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose captions know one of the words of the text."""
    root = tmp_path_factory.mktemp("photos")
    (root / "images").mkdir()
    lines = ["image,caption,split"]
    for number, split in enumerate(("train", "train", "val")):
        shutil.copy(PHOTOS / "cat.jpg", root / "images" / f"{number}.jpg")
        lines.append(f"{number}.jpg,a cat on a train,{split}")
    (root / "captions.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of one thing each, 54 with two captions that name it and one with a single caption."""
    root = tmp_path_factory.mktemp("text")
    groups = [[f"A {thing} outside.", f"a {thing} outside"] for thing in THINGS * 13 + THINGS[:2]]
    with gzip.open(root / "captions.jsonl.gz", "wt", encoding="utf-8") as file:
        for captions in [*groups, ["a lonely caption"]]:
            file.write(json.dumps({"source": "coco", "captions": captions}) + "\n")
    return root


def config(photos: Path, text: Path, out: Path, **changes: object) -> PretrainConfig:
    base = PretrainConfig(
        encoder=str(ENCODER),
        out=str(out),
        data=(str(photos),),
        text=str(text),
        text_count=5,
        min_count=2,
        epochs=12,
        batch=9,
        warmup=1,
        rate=1e-2,
        dropout=0.0,
        label_smoothing=0.0,
        embedding=64,
        hidden=64,
        attention=16,
        regions=6,
        strangers=1,
        save_every=3,
        precision="fp32",
        device="cpu",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def validations(out: Path) -> list[dict[str, float]]:
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in log if "validation_loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attention", "baseline"])
def test_the_decoder_learns_to_name_what_it_is_shown(photos: Path, text: Path, tmp_path: Path, kind: str) -> None:
    TextRun(config(photos, text, tmp_path, decoder=kind, epochs=30, warmup=20, noise=0.2)).train()
    assert min(line["validation_loss"] for line in validations(tmp_path)) < 0.15  # a guess at the thing: log 4 / 4


def test_words_of_photos_come_first_and_frequent_words_of_the_text_after_them(photos: Path, text: Path) -> None:
    settings = config(photos, text, Path("unused"))
    words = settings.vocabulary(settings.splits()[0]).words
    assert words[4:8] == ("a", "cat", "on", "train")
    assert set(words[8:]) == {"zebra", "bicycle", "kite", "outside"}
    assert "lonely" not in words


def test_training_with_photos_goes_on_from_there(photos: Path, text: Path, tmp_path: Path) -> None:
    TextRun(config(photos, text, tmp_path / "text", epochs=1)).train()
    file = tmp_path / "text" / "attention.safetensors"
    settings = TrainConfig(
        encoder=str(ENCODER),
        out=str(tmp_path / "photos"),
        data=(str(photos),),
        validation=str(photos),
        start_from=str(file),
        epochs=1,
        pictures=0,
        cache=str(tmp_path / "cache"),
        device="cpu",
    )
    run = Run(settings)
    pretrained = load_decoder(file)
    assert torch.equal(run.networks.decoder.embedding.weight, pretrained.decoder.embedding.weight)
    run.train()
    assert "zebra" in load_decoder(tmp_path / "photos" / "attention.safetensors").vocabulary.words


def test_a_killed_run_goes_on_with_its_projection(photos: Path, text: Path, tmp_path: Path) -> None:
    settings = config(photos, text, tmp_path / "run", epochs=1, dropout=0.3)
    TextRun(dataclasses.replace(settings, out=str(tmp_path / "whole"))).train()
    run = TextRun(settings)
    rows = run.batches(0)[: settings.save_every]
    for batch, inputs in zip(rows, run.inputs(0, rows), strict=True):
        run.learn(batch, inputs)
        run.step += 1
    run.save()
    TextRun(settings).train()
    whole, resumed = (load_decoder(tmp_path / name / "attention.safetensors").decoder for name in ("whole", "run"))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-3, rtol=1e-2, msg=name)


def test_regions_show_content_words_of_the_photo_and_strangers(photos: Path, text: Path) -> None:
    settings = config(photos, text, Path("unused"), regions=8, strangers=2, left_out=0.5)
    examples, _ = settings.splits()
    networks = settings.networks(examples)
    objective = TextObjective(networks, examples, settings)
    two_trains = networks.vocabulary.encode("two trains a train on outside")
    names = [networks.vocabulary.words[word] for word in objective.shown([two_trains, two_trains])]
    assert names == ["train"]  # "two" and "trains" are unknown here; "a", "on", "outside" cannot be seen
    rng = random.Random(0)
    filled = [objective.fill([4, 5, 6], rng) for _ in range(50)]
    assert all(len(words) == 6 and set(words) <= {4, 5, 6} for words in filled)
    assert len({frozenset(words) for words in filled}) > 3  # not always all of them
    assert objective.fill([4, 5, 6]) == [4, 5, 6, 4, 5, 6]
    assert objective.fill([], rng) == [UNKNOWN] * 6


def test_mistakes_are_named(photos: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="encoder"):
        config(photos, text, tmp_path, finetune=True)
    with pytest.raises(ValueError, match="strangers"):
        config(photos, text, tmp_path, strangers=6)
    (tmp_path / "captions.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="compressed"):
        load_text(tmp_path)
    with gzip.open(tmp_path / "captions.jsonl.gz", "wt") as file:
        file.write('{"captions": ["a cat", "the cat"]}\n')
    with pytest.raises(DataError, match="too few"):
        load_text(tmp_path)
    arguments = ["--encoder", str(ENCODER), "--out", str(tmp_path / "o"), "--data", str(photos), "--device", "cpu"]
    assert main([*arguments, "--text", str(tmp_path / "nowhere")]) == 2
    assert "captions.jsonl.gz" in capsys.readouterr().err


def test_no_photo_is_both_learnt_and_held_out(text: Path) -> None:
    train, held_out = config(text, text, Path("unused")).splits()
    assert len(train) + len(held_out) == 54
    assert not {example.name for example in train} & {example.name for example in held_out}


def test_the_projection_is_where_the_decoder_is(
    photos: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = torch.device("meta")  # in place of a GPU
    monkeypatch.setattr(loop, "autocast", lambda _, precision: autocast(torch.device("cpu"), precision))
    run = TextRun(config(photos, text, tmp_path), Processes(elsewhere))
    assert {parameter.device for parameter in run.objective.parameters()} == {elsewhere}
    assert run.objective.regions([[4, 5], [6, 7]], run.networks.decoder).shape[:2] == (2, 2)
