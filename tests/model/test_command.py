"""What `start.py caption` prints, with the shipped captioner in this process."""

import errno
import io
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import command
from model.captioner import Captioner
from model.command import (
    CaptionRequest,
    Engine,
    caption_files,
    show_colours,
    show_found,
    show_ranking,
    show_tags,
    translate_lines,
)
from tests.conftest import PHOTOS, ROOT, WEIGHTS
from tests.support import clips

ENGINE: Engine = ("cpu", "fp32")


def captioned(capsys: pytest.CaptureFixture[str], files: list[str], **options: object) -> list[str]:
    """The lines that are printed of these files."""
    request = CaptionRequest(files=files, weights=WEIGHTS, device="cpu", samples=1, **options)  # type: ignore[arg-type]
    assert caption_files(request) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_the_main_caption_comes_first_and_the_greedy_one_where_it_differs(
    captioner: Captioner,
    photo_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(Captioner, "load", lambda *_, **__: captioner)
    files = [str(file) for file in photo_files]
    run = partial(captioned, capsys, files)
    answers = [json.loads(line) for line in run(as_json=True)]
    differ = [answer for answer in answers if answer["best"]["text"] != answer["greedy"]["text"]]
    assert differ  # or this test sees nothing
    lines = run(output=tmp_path)
    headlines = {answer["headline"].removeprefix("perhaps: ") for answer in answers}
    cut = [answer for answer in answers if answer["best"]["text"] not in headlines]  # only the first phrase is shown
    assert {answer["headline"].startswith("perhaps: ") for answer in answers} == {True, False}
    assert len(lines) == 3 * len(files) + len(differ) + len(cut)
    for answer in answers:
        place = lines.index(answer["file"])
        assert lines[place + 1].startswith(f"  {answer['headline']}  (")
        if answer in cut:
            place += 1
            assert lines[place + 1] == f"  perhaps in full: {answer['best']['text']}"
        assert lines[place + 2].startswith(f"  greedy: {answer['greedy']['text']}") is (answer in differ)
    for picture in ("heatmap.jpg", "words.png"):
        assert len(list(tmp_path.glob(f"*.{picture}"))) == len(files)
    greedy = [json.loads(line) for line in run(as_json=True, beam=1)]
    assert all("best" not in answer for answer in greedy)
    assert [answer["greedy"]["text"] for answer in greedy] == [answer["greedy"]["text"] for answer in answers]


def test_colours_are_written_beside_the_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, broken = tmp_path / "red.png", tmp_path / "broken.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    broken.write_bytes(b"<html>")
    files = [str(photo), str(broken)]
    assert show_colours(files, "protanopia", tmp_path / "out", as_json=True) == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good == {"file": files[0], "colours": "protanopia", "sheet": str(tmp_path / "out" / "red.protanopia.jpg")}
    with Image.open(good["sheet"]) as sheet:
        assert sheet.size[0] > 80
    assert (bad["file"], set(bad["error"])) == (files[1], {"kind", "message"})
    assert show_colours(files[:1], "tritanopia", tmp_path) == 0
    assert capsys.readouterr().out == f"{photo}: {tmp_path / 'red.tritanopia.jpg'}\n"


@pytest.mark.slow
def test_captions_in_russian_keep_the_english_ones(
    captioner: Captioner,
    photo_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = partial(captioned, capsys, [str(photo_files[0])])
    monkeypatch.setattr(Captioner, "load", lambda *_, **__: captioner)
    english, russian = (json.loads(run(as_json=True, language=language)[0]) for language in ("en", "ru"))
    assert russian.pop("language") == "ru"
    for caption in (russian["greedy"], russian["best"], *russian["samples"]):
        translation, original = caption.pop("translation"), caption.pop("english")
        assert caption["text"] == (translation["text"] if translation["passed"] else original)
        assert len(translation["words"]) == len(translation["aligned"])
        caption["text"] = original
    assert list(russian) == list(english)
    headlines = russian.pop("headline"), english.pop("headline")
    assert headlines[0].startswith("perhaps: женщина")
    assert headlines[1].startswith("perhaps: a woman")
    assert russian == english
    line = run(language="ru", output=tmp_path)[1]
    assert re.search("[а-яё]", line) or "not translated" in line
    assert len(list(tmp_path.glob("*.heatmap.jpg"))) == 1
    request = CaptionRequest(files=[str(PHOTOS / "cat.jpg")], weights=WEIGHTS, device="cpu", samples=0, language="ru")
    assert caption_files(replace(request, as_json=True)) == 0
    headline = json.loads(capsys.readouterr().out)["headline"]
    assert "кошка" in headline
    assert caption_files(request) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"  {headline}  (")


def test_lines_are_translated_one_for_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = ["a dog runs", "", "Two cats sleep on a bed.\r", *(f"a man with {n} dogs" for n in range(70))]
    text = "\n".join(lines)  # without an end of the last line
    assert translate_lines(WEIGHTS, "cpu", io.StringIO(text)) == 0
    plain = capsys.readouterr().out.split("\n")[:-1]
    assert translate_lines(WEIGHTS, "cpu", io.StringIO(text), as_json=True) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == plain
    assert [answer["english"] for answer in answers] == [line.rstrip() for line in lines]
    assert plain[1] == ""
    assert not answers[1]["passed"]
    assert all(re.search("[а-яё]", line) for line in plain[:1] + plain[2:])  # its best, even where a check fails
    assert translate_lines(tmp_path, "cpu", io.StringIO(text)) == 2
    assert "russian.safetensors" in capsys.readouterr().err


@pytest.mark.slow
def test_tags_are_printed_with_what_cannot_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, broken, own = str(PHOTOS / "cat.jpg"), tmp_path / "broken.png", tmp_path / "tags.txt"
    broken.write_bytes(b"<html>")
    own.write_text("кошка\nlaptop\nminibar\n", encoding="utf-8")
    assert show_tags([cat, str(broken)], str(own), WEIGHTS, ENGINE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == cat
    assert lines[1].startswith("  кошка  (")
    assert lines[2:] == ["  cannot be judged: minibar (unknown: minibar)"]
    assert show_tags([cat], "hotel", WEIGHTS, ENGINE, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["tags"]) + len(found["unjudgeable"]) == 15
    assert found["none_fits"] == (not any(tag["holds"] for tag in found["tags"]))
    own.write_text(" , ", encoding="utf-8")
    assert show_tags([cat], str(own), WEIGHTS, ENGINE) == 2
    assert "there is nothing in the list" in capsys.readouterr().err


@pytest.mark.slow
def test_descriptions_are_printed_the_likeliest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, file = str(PHOTOS / "cat.jpg"), tmp_path / "texts.txt"
    file.write_text("a dog on grass\na close up of a cat\na dog on grass\n", encoding="utf-8")
    assert show_ranking(cat, ["a xylophone"], file, WEIGHTS, ENGINE) == 0
    said = capsys.readouterr()
    assert "more than once" in said.err
    lines = [line.rpartition("  (")[0] or line for line in said.out.splitlines()[1:]]
    unknown = "  cannot be judged: a xylophone (unknown: xylophone)"
    assert lines == ["  a close up of a cat", "  a dog on grass", unknown, "  none of these"]
    assert show_ranking(cat, ["a dog on grass", "two men play football"], None, WEIGHTS, ENGINE, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["best"] is None
    assert show_ranking(cat, ["a cat", "a xylophone"], None, WEIGHTS, ENGINE, as_json=True) == 0
    ranked = json.loads(capsys.readouterr().out)
    assert [set(choice) for choice in ranked["choices"]] == [{"text", "probability"}]
    assert ranked["unjudgeable"] == [{"text": "a xylophone", "unknown": ["xylophone"]}]
    assert show_ranking(cat, ["a cat"], None, WEIGHTS, ENGINE) == 2
    assert show_ranking(str(tmp_path / "none.jpg"), ["a cat", "a dog"], None, WEIGHTS, ENGINE) == 1


@pytest.mark.slow
def test_output_that_cannot_be_written_is_an_error_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command, "_print_json", full)
    assert translate_lines(WEIGHTS, "cpu", io.StringIO("a dog runs\n"), as_json=True) == 2
    assert show_tags([str(PHOTOS / "cat.jpg")], "default", WEIGHTS, ENGINE, as_json=True) == 2
    assert capsys.readouterr().err == 2 * "error: No space left on device\n"


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, none, folder = str(PHOTOS / "cat.jpg"), tmp_path / "none.txt", tmp_path

    def said(status: int) -> str:
        assert status == 2
        return capsys.readouterr().err

    for file, why in ((folder, "Is a directory"), (Path(cat), "no text in UTF-8")):
        assert said(show_tags([cat], str(file), WEIGHTS, ENGINE)) == f"error: {file}: {why}\n"
        assert said(show_ranking(cat, ["a cat"], file, WEIGHTS, ENGINE)) == f"error: {file}: {why}\n"
    assert "neither default, nor hotel, nor a file" in said(show_tags([cat], str(none), WEIGHTS, ENGINE))
    assert said(show_ranking(cat, [], none, WEIGHTS, ENGINE)) == f"error: {none}: No such file or directory\n"


@pytest.mark.slow
def test_the_mark_before_a_text_file_is_no_part_of_its_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, file = str(PHOTOS / "cat.jpg"), tmp_path / "texts.txt"
    file.write_text("a dog\na cat\n", encoding="utf-8-sig")  # as Windows writes text files
    assert show_ranking(cat, [], file, WEIGHTS, ENGINE, as_json=True) == 0
    assert {choice["text"] for choice in json.loads(capsys.readouterr().out)["choices"]} == {"a dog", "a cat"}
    assert show_tags([cat], str(file), WEIGHTS, ENGINE, as_json=True) == 0
    assert {tag["name"] for tag in json.loads(capsys.readouterr().out)["tags"]} == {"a dog", "a cat"}


@pytest.mark.slow
def test_a_clip_may_come_through_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in `cat clip.mp4 | start.py caption /dev/stdin`: it can be read once."""
    data = clips.video(tmp_path / "clip.mp4", clips.greys(4), rate=2.0)

    def asked(ask: Callable[[str], int]) -> dict[str, Any]:
        os.mkfifo(pipe := tmp_path / "pipe")
        writing = threading.Thread(target=pipe.write_bytes, args=(data,))
        writing.start()
        ask(str(pipe))
        writing.join()
        pipe.unlink()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    def captioned(file: str) -> int:
        return caption_files(
            CaptionRequest(files=[file], weights=WEIGHTS, device="cpu", precision="fp32", as_json=True)
        )

    assert asked(captioned)["duration"] == 2.0
    refused = asked(lambda file: show_tags([file], "hotel", WEIGHTS, ENGINE, as_json=True))
    assert refused["error"]["kind"] == "animated"


@pytest.mark.slow
def test_only_photos_are_looked_at_for_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, moving = tmp_path / "clip.mp4", tmp_path / "moving.gif"
    frames = [np.full((64, 96, 3), shade, np.uint8) for shade in (0, 200)]
    clips.video(clip, frames, rate=2.0)
    moving.write_bytes(clips.animation([Image.fromarray(frame) for frame in frames], [500, 500], "GIF"))
    assert show_tags([str(clip), str(moving)], "hotel", WEIGHTS, ENGINE, as_json=True) == 1
    refused, first_frame = map(json.loads, capsys.readouterr().out.splitlines())
    assert (refused["file"], refused["error"]["kind"]) == (str(clip), "animated")
    assert "clip" in refused["error"]["message"]
    assert first_frame["tags"]


@pytest.mark.slow
def test_tags_of_the_dictionaries_are_named_in_russian(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cat, own = str(PHOTOS / "cat.jpg"), tmp_path / "tags.txt"
    own.write_text("cat")
    assert show_tags([cat], "default", WEIGHTS, ENGINE, "ru") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("  кошка  (")
    assert show_tags([cat], str(own), WEIGHTS, ENGINE, "ru") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("  cat  (")


@pytest.mark.slow
def test_json_has_the_documented_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usage = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    documented = [_outer_fields(line) for line in re.findall(r'^\{"(?:file|text)".*\}$', usage, re.MULTILINE)]
    cat, clip = str(PHOTOS / "cat.jpg"), tmp_path / "clip.mp4"
    clips.video(clip, clips.greys(4), rate=2.0)
    files = [cat, str(clip), str(tmp_path / "none.jpg")]
    caption_files(CaptionRequest(files=files, weights=WEIGHTS, device="cpu", precision="fp32", as_json=True))
    show_tags([cat], "hotel", WEIGHTS, ENGINE, as_json=True)
    show_colours([cat], "protanopia", tmp_path, as_json=True)
    show_ranking(cat, ["a cat", "a dog"], None, WEIGHTS, ENGINE, as_json=True)
    show_found([cat], "a cat", WEIGHTS, ENGINE, as_json=True)
    printed = [list(json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 7
    assert sorted(printed) == sorted(documented)


def _outer_fields(line: str) -> list[str]:
    """Of an object that the documentation sketches, without those inside it."""
    inside = line[1:-1]
    while inside != (inside := re.sub(r"\{[^{}]*\}|\[[^][]*\]", "", inside)):
        pass
    return re.findall(r'"(\w+)"', inside)


def test_json_has_only_characters_that_the_output_can_have() -> None:
    fields = {"file": os.fsdecode(b"bad\xff.jpg"), "text": "кошка 🐈"}
    for encoding in ("utf-8", "ascii", "latin-1", None):
        text = command._json_text(fields, encoding)
        assert json.loads(text.encode(encoding or "utf-8")) == fields
    assert "кошка" in command._json_text({"text": "кошка"}, "utf-8")


@pytest.mark.slow
def test_photos_are_found_by_words_of_both_languages(
    capsys: pytest.CaptureFixture[str], photo_files: list[Path], tmp_path: Path
) -> None:
    files = [*map(str, photo_files), str(tmp_path / "gone.jpg")]
    for text in ("a cup of coffee", "чашка кофе"):
        assert show_found(files, text, WEIGHTS, ENGINE, as_json=True) == 1  # one cannot be read
        found = json.loads(capsys.readouterr().out)  # one object, what could not be read in it
        assert Path(found["found"][0]["file"]).name == "coffee.jpg"
        assert (found["none_fits"], found["compared"], found["unknown"]) == (False, len(photo_files), [])
        assert [(each["file"], each["error"]["kind"]) for each in found["failed"]] == [(files[-1], "unreadable")]
    assert show_found(files[:1], "xylofoon", WEIGHTS, ENGINE, as_json=True) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: not one word is known: xylofoon\n")
    assert show_found(files[-1:], "a dog", WEIGHTS, ENGINE) == 1
    assert capsys.readouterr().out == ""  # no photo was compared, so it is not said that none fits
    assert show_found(files[:1], "a xylofoon with a cup", WEIGHTS, ENGINE) == 0
    said = capsys.readouterr()
    assert said.err == "unknown words: xylofoon\n"
    assert said.out
    assert show_found(files, "a dog", tmp_path, ENGINE) == 2
    capsys.readouterr()
    for text, why in (("🐕", "no words"), ("dog " * 3000, "longer than")):
        assert show_found(files, text, WEIGHTS, ENGINE) == 2
        assert why in capsys.readouterr().err
