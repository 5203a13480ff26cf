"""What `start.py caption` prints, with the shipped captioner in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.captioner import Captioner
from model.command import CaptionRequest, caption_files
from tests.conftest import WEIGHTS


def test_the_main_caption_comes_first_and_the_greedy_one_where_it_differs(
    captioner: Captioner,
    photo_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(Captioner, "load", lambda *_, **__: captioner)
    files = [str(file) for file in photo_files]

    def run(**options: object) -> list[str]:
        request = CaptionRequest(files=files, weights=WEIGHTS, device="cpu", samples=1, **options)  # type: ignore[arg-type]
        assert caption_files(request) == 0
        return capsys.readouterr().out.splitlines()

    answers = [json.loads(line) for line in run(as_json=True)]
    differ = [answer for answer in answers if answer["best"]["text"] != answer["greedy"]["text"]]
    assert differ  # or this test sees nothing
    lines = run(output=tmp_path)
    assert len(lines) == 3 * len(files) + len(differ)
    for answer in answers:
        place = lines.index(answer["file"])
        assert lines[place + 1].startswith(f"  {answer['best']['text']}  (")
        assert lines[place + 2].startswith(f"  greedy: {answer['greedy']['text']}") is (answer in differ)
    for picture in ("heatmap.jpg", "words.png"):
        assert len(list(tmp_path.glob(f"*.{picture}"))) == len(files)
    greedy = [json.loads(line) for line in run(as_json=True, beam=1)]
    assert all("best" not in answer for answer in greedy)
    assert [answer["greedy"]["text"] for answer in greedy] == [answer["greedy"]["text"] for answer in answers]
