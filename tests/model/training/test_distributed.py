"""One run in two processes, as torchrun starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.network.checkpoint import load_decoder, save_encoder
from model.network.encoder import Encoder, encoder_config
from model.training.train import main
from tests.conftest import ROOT


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_the_first_alone_writes(tmp_path: Path) -> None:
    images = []
    for number in range(7):  # batches of 4 and 3 images: the shares of the processes differ
        colour, words = (("red", "red ."), ("blue", "a blue picture"))[number % 2]
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), colour).save(tmp_path / "images" / f"{number}.png")
        images.append({"filename": f"{number}.png", "split": "train", "sentences": [{"raw": words}]})
    images += [{**image, "split": "val"} for image in images[:2]]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder.safetensors", Encoder(encoder_config("mobilenet_v3_small")))
    sizes = "--batch 4 --epochs 3 --embedding 8 --hidden 8 --attention 8 --min-count 1 --dropout 0 --warmup 1"
    options = f"{sizes} --precision fp32 --device cpu --threads 1 --pictures 0".split()
    options += ["--data", str(tmp_path), "--validation", str(tmp_path), "--cache", str(tmp_path / "cache")]
    options += ["--encoder", str(tmp_path / "encoder.safetensors")]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    two = [
        subprocess.Popen(
            [sys.executable, "-m", "model.training.train", *options, "--out", str(tmp_path / "two")],
            cwd=ROOT,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert main([*options, "--out", str(tmp_path / "one")]) == 0

    logs = [(tmp_path / out / "log.jsonl").read_text().splitlines() for out in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 3  # the second process wrote no lines
    for line, other in zip(*logs, strict=True):
        assert abs(json.loads(line)["validation_loss"] - json.loads(other)["validation_loss"]) < 1e-3
    one, two_ = (load_decoder(tmp_path / out / "attention.safetensors").decoder for out in ("one", "two"))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two_.state_dict()[name], tensor, atol=2e-3, rtol=1e-2, msg=name)
