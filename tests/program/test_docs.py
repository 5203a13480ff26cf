"""The pictures of docs/model.md can be drawn by anybody, and what the model card says of the files is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from docs import figures
from docs.architecture import draw_architecture
from model.network.checkpoint import fingerprint
from tests.conftest import ROOT
from tests.support.corpus import WORKER_MEMORY


def test_pictures_need_nothing_but_the_repository(tmp_path: Path) -> None:
    for name, draw in (("architecture.png", draw_architecture), ("curves.png", figures.draw_curves)):
        draw(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200, name


def test_a_kept_log_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "LOGS", tmp_path / "kept")
    run = tmp_path / "tuned"
    run.mkdir()
    lines = [
        {"step": 25, "epoch": 0, "loss": 5.0, "seconds_per_step": 1.2},
        {"step": 50, "epoch": 0, "loss": 4.5},
        {"step": 50, "epoch": 0, "loss": 4.0},  # a killed run that went on from step 25
        {"step": 50, "epoch": 0, "validation_loss": 3.0},
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures.keep(run)
    assert figures.read("tuned") == [
        {"step": 25, "loss": 5.0},
        {"step": 50, "loss": 4.0},
        {"step": 50, "validation_loss": 3.0},
    ]


def test_each_kept_log_is_in_the_curves() -> None:
    drawn = {run for runs in figures.CHAINS.values() for run in runs} | set(figures.SELF_CRITICAL.values())
    kept = {file.stem for file in figures.LOGS.glob("*.jsonl")}
    assert kept
    assert kept <= drawn


def test_the_model_card_names_each_file_by_its_sha256() -> None:
    card = (ROOT / "weights" / "README.md").read_text()
    named = dict(re.findall(r"^\| `([\w-]+\.safetensors)` .* `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    assert named == {file.name: fingerprint(file) for file in (ROOT / "weights").glob("*.safetensors")}


def test_each_picture_and_file_that_the_documents_point_to_is_there() -> None:
    for document in (ROOT / "README.md", ROOT / "weights" / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_the_cap_on_a_workers_memory_is_stated() -> None:
    stated = re.search(r"worker's memory, on a CPU: under (\d+) GiB", (ROOT / "docs" / "operations.md").read_text())
    assert stated is not None
    assert int(stated[1]) * 1024**3 == WORKER_MEMORY
