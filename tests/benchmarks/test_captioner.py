import argparse
import re
from pathlib import Path

import pytest
import torch

from benchmarks.captioner import matmul_speed, measure_worker, operations
from model.captioner import Captioner
from model.network.config import EncoderConfig
from model.network.encoder import Encoder
from tests.support.graphs import RecordingCpu


def test_operations_are_counted_without_computing_them(tiny: Captioner) -> None:
    """Inception v3 takes 5.7 G multiplications and additions at 299 pixels, up to Mixed_7a less."""
    tiny.encoder = Encoder(EncoderConfig())
    assert 7.5e9 < operations(tiny) < 11.4e9
    tiny.encoder = Encoder(EncoderConfig(image_size=139, rows=3, columns=3))
    assert operations(tiny) < 2e9


def test_a_product_of_matrices_has_a_speed() -> None:
    assert 1e6 < matmul_speed(torch.device("cpu"), torch.float32, 64) < 1e15


@pytest.mark.slow
def test_a_worker_on_a_gpu_is_measured(small_weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    cpu = RecordingCpu()
    options = argparse.Namespace(weights=Path(small_weights), device="cpu", model="attention", repeats=1)
    measure_worker(options, batch=2, side=256, recorder=cpu)
    assert cpu.replayed > cpu.recorded
    roofline, answers = capsys.readouterr().out.splitlines()
    pattern = r"encoder at batch 2: 1\.\d GFLOP a photo, \S+ TFLOP/s, \d+% of the \S+ TFLOP/s of a product of matrices"
    assert re.match(pattern, roofline)
    assert re.fullmatch(r"answers of a worker, beam of 10 and sheets, at batch 2: \d+\.\d a second", answers)
