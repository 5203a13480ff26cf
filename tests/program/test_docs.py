"""The documentation: its pictures can be drawn, its links and paths exist, its figures are those of the code."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from docs import figures
from docs.architecture import draw_architecture
from model.network.checkpoint import fingerprint
from tests.conftest import ROOT
from tests.support.corpus import WORKER_MEMORY

DOCUMENTS: Final = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "weights" / "README.md", *(ROOT / "docs").glob("*.md")]
)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.slow
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", document.read_text()):
        file = document.parent / target if target else document
        assert file.exists(), f"no file {target}"
        if anchor:
            assert anchor in anchors(file), f"no heading #{anchor} in {file.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_named_files_and_modules_exist(document: Path) -> None:
    text = document.read_text()
    paths = re.findall(r"`((?:bot|handlers|model|tests|docs|weights|benchmarks)/[\w/.-]*)`", text)
    modules = re.findall(r"-m ((?:model|tests|docs|benchmarks)(?:\.\w+)*)", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing + [module for module in modules if importlib.util.find_spec(module) is None] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


@pytest.mark.parametrize("command", ["run", "test", "lint", "locales"])
def test_the_documented_make_targets_exist(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.slow
def test_the_example_of_the_library_runs() -> None:
    written = (ROOT / "docs" / "library.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", written, re.MULTILINE | re.DOTALL)
    code = "\n".join(examples).replace("photo.jpg", str(ROOT / "tests" / "photos" / "cat.jpg"))
    code = code.replace("clip.mp4", str(ROOT / "tests" / "clips" / "greys.ogv"))
    code = code.replace('"weights', f'"{ROOT}/weights')
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["captions"].main.attention.shape[1:] == (8, 8)
    assert names["explained"].text == "a dog on a bench"
    assert names["russian"].text


def test_the_cap_on_a_workers_memory_is_stated() -> None:
    stated = re.search(r"worker's memory, on a CPU: under (\d+) GiB", (ROOT / "docs" / "operations.md").read_text())
    assert stated is not None
    assert int(stated[1]) * 1024**3 == WORKER_MEMORY
