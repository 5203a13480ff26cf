"""The real program against the loopback Bot API: conversations, mistakes, kills."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from model.network.packed import Int8Linear
from tests.conftest import ROOT
from tests.support import clips
from tests.support.corpus import png_bomb
from tests.support.fake_queue import is_status, next_answer
from tests.support.fake_telegram import TOKEN, Call, FakeTelegram
from tests.support.program import PATIENCE, Program, environment, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@contextlib.asynccontextmanager
async def running_bot(server: FakeTelegram, data: Path, **settings: str) -> AsyncIterator[Program]:
    program = Program.bot(server, data, **settings)
    async with running(program):
        yield program


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake
        assert fake.violations == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(server: FakeTelegram, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Program]:
    async with running_bot(server, tmp_path_factory.mktemp("bot")) as program:
        # On a loaded machine this takes so long that people would be told to wait, which is not what is tested here.
        assert await server.until(lambda: "the worker is ready" in program.log.read_text() or None, PATIENCE)
        yield program


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def twenty(photos: list[Image.Image]) -> list[bytes]:
    """Twenty pictures that differ: the photos whole, mirrored, and cropped."""
    mirrored = [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for photo in photos]
    cropped = [photo.crop((0, 0, photo.width * 2 // 3, photo.height)) for photo in photos]
    return [jpeg(photo) for photo in (photos + mirrored + cropped)[:20]]


def lines(message: dict[str, object]) -> list[str]:
    return str(message.get("caption") or message.get("text")).splitlines()


async def captioned(*arguments: str) -> list[dict[str, Any]]:
    """What `start.py caption` prints. Beside: the loopback server must go on answering."""
    command = [sys.executable, "start.py", "caption", "--json", *arguments]
    caption = partial(subprocess.run, command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    printed = await asyncio.to_thread(caption)
    return [json.loads(line) for line in printed.stdout.splitlines()]


async def test_a_russian_reader_gets_the_translations_and_on_a_press_what_they_were_made_of(
    bot: Program, server: FakeTelegram, photo_files: list[Path]
) -> None:
    """The bot's captions are those that `start.py caption --language ru` prints of the same file."""
    file = next(path for path in photo_files if path.stem == "coffee")
    person = server.person("Ольга", language_code="ru")
    await person.send_photo(file.read_bytes())
    answer = await next_answer(person, PATIENCE)
    [entry] = await captioned("--language", "ru", str(file))
    assert entry["best"]["translation"]["passed"]  # else another photo is needed here
    samples = {each["text"]: each for each in reversed(entry["samples"])}  # of equal translations the first
    samples = {each["text"]: samples[each["text"]] for each in entry["samples"]}
    note = {True: "", False: " (без\N{NO-BREAK SPACE}перевода)"}
    shown = [text + note[each["translation"]["passed"]] for text, each in samples.items()]
    headline, whole = entry["headline"], entry["best"]["text"]
    assert lines(answer)[0] == headline
    full = [f"возможно, целиком: {whole}"] if headline != whole else []
    assert lines(answer)[2:] == [*full, *(f"{number}. {text}" for number, text in enumerate(shown, 1))]
    await person.press(answer, "🔤 По-английски")
    original = await person.wait_for(lambda m: m.get("text", "").startswith("По-английски"), PATIENCE)
    english = [f"{number}. {each['english']}" for number, each in enumerate(samples.values(), 1)]
    assert lines(original)[1:] == [entry["best"]["english"], *english]


async def test_twenty_photos_at_once_each_get_their_own_captions(
    bot: Program, server: FakeTelegram, photos: list[Image.Image], tmp_path: Path
) -> None:
    """The bot's captions of each photo are those that `start.py caption` prints of the same file."""
    files = []
    for number, data in enumerate(twenty(photos)):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(data)
    person = server.person("Ann")
    sent = [await person.send_photo(file.read_bytes()) for file in files]
    answers: dict[int, dict[str, object]] = {}
    for _ in files:
        answer = await next_answer(person, PATIENCE)
        answers[answer["reply_to_message"]["message_id"]] = answer
    assert len(answers) == 20
    expected = await captioned(*map(str, files))
    assert [entry["file"] for entry in expected] == [str(file) for file in files]
    for message, entry in zip(sent, expected, strict=True):
        answer = answers[message["message_id"]]
        main, greedy = entry["best"], entry["greedy"]
        headline = entry["headline"]  # hedged, or only the first phrase, where the whole is doubtful
        assert lines(answer)[0] == headline
        first = answer["caption_entities"][0]  # type: ignore[index]
        assert (first["type"], first["offset"], first["length"]) == ("bold", 0, len(headline))
        assert f"{main['confidence']:.0%}".rstrip("%") in lines(answer)[1]
        others = lines(answer)[2:]
        samples = [text for text in dict.fromkeys(each["text"] for each in entry["samples"]) if text != main["text"]]
        if headline.removeprefix("perhaps: ") != main["text"]:
            assert others.pop(0) == f"perhaps in full: {main['text']}"
        if greedy["text"] not in (main["text"], *samples):
            assert others.pop(0) == f"my first thought: {greedy['text']}"
        assert others == [f"{number}. {text}" for number, text in enumerate(samples, 1)]
    assert len({lines(answer)[0] for answer in answers.values()}) >= 7  # seven subjects
    # One message for each: the sheet, with the words under it.
    uploads = server.sent(person.id, "sendPhoto")
    assert len(uploads) == 20
    assert len([call for call in server.sent(person.id) if not is_status(call.result)]) == 20
    for call in uploads:
        sheet = Image.open(io.BytesIO(next(iter(call.files.values())).data))
        assert 900 < max(sheet.size) <= 1280


async def test_sample_draws_other_captions_of_the_last_photo(
    bot: Program, server: FakeTelegram, photo_files: list[Path]
) -> None:
    person = server.person("Sam")
    await person.send_photo(photo_files[0].read_bytes())
    await next_answer(person, PATIENCE)
    await person.send_text("/sample 8 t=1.5")
    first = lines(await next_answer(person, PATIENCE))
    await person.send_text("/sample 8 t=1.5")
    second = lines(await next_answer(person, PATIENCE))
    assert 4 <= len(set(first)) <= 9
    assert set(first) != set(second)
    await person.send_text("/sample 99")
    assert "10" in " ".join(lines(await next_answer(person, PATIENCE)))


async def test_a_russian_reads_russian(bot: Program, server: FakeTelegram, photo_files: list[Path]) -> None:
    person = server.person("Аня", language_code="ru")
    await person.send_text("/start")
    assert "фото" in " ".join(lines(await next_answer(person, PATIENCE))).lower()
    await person.send_document(b"<html></html>", file_name="page.jpg", mime_type="image/jpeg")
    assert any("а" <= letter <= "я" for letter in lines(await next_answer(person, PATIENCE))[0])
    await person.send_photo(photo_files[1].read_bytes())
    answer = lines(await next_answer(person, PATIENCE))
    assert not answer[0].removeprefix("возможно: ").isascii()
    assert not answer[1].isascii()


async def test_each_bad_picture_gets_words_of_its_own_and_harms_nobody(
    bot: Program, server: FakeTelegram, photo_files: list[Path]
) -> None:
    good = photo_files[2].read_bytes()
    person, other = server.person("Bob"), server.person("Eve")
    await person.send_document(b"<html>no picture</html>", file_name="a.jpg", mime_type="image/jpeg")
    await person.send_photo(good[: len(good) // 3])
    await person.send_document(b"", file_name="b.png", mime_type="image/png")
    await person.send_document(png_bomb(), file_name="c.png", mime_type="image/png")
    await person.send_document(b"x", file_name="d.jpg", mime_type="image/jpeg", file_size=25_000_000)
    await other.send_photo(good)
    assert len(lines(await next_answer(other, PATIENCE))) in (7, 8)
    words = {" ".join(lines(await next_answer(person, PATIENCE))) for _ in range(5)}
    assert len(words) == 5
    assert any("20 MB" in text for text in words)
    await person.send_photo(good)
    assert len(lines(await next_answer(person, PATIENCE))) in (7, 8)


async def test_clips_are_watched_and_answered(
    bot: Program, server: FakeTelegram, photos: list[Image.Image], tmp_path: Path
) -> None:
    """A film of two scenes, one that is damaged, one in which nothing happens, and no film at all."""
    scenes = [np.asarray(photo.convert("RGB").resize((320, 240))) for photo in (photos[0], photos[3])]
    film = clips.video(tmp_path / "film.mp4", [scene for scene in scenes for _ in range(30)], rate=10.0)
    person = server.person("Vic")
    await person.send_video(film, duration=6)
    timeline = await person.wait_for(lambda m: "2 moments in 0:06" in m.get("caption", ""), PATIENCE)
    first = [row[0]["text"] for row in timeline["reply_markup"]["inline_keyboard"]]
    assert first[-2:] == ["📄 All captions", "⚙ Settings"]
    [album] = server.sent(person.id, "sendMediaGroup")
    times = [message["caption"].rpartition(" · ")[2] for message in album.result]
    assert times[0] in ("0:00", "0:01", "0:02")
    assert times[1] in ("0:03", "0:04", "0:05")
    for upload in album.files.values():
        assert Image.open(io.BytesIO(upload.data)).size == (320, 240)
    await person.send_animation(film[: len(film) * 2 // 3])
    await person.send_document(clips.video(tmp_path / "still.avi", scenes[:1] * 20, codec="MJPG"), "a.avi", "video/avi")
    await person.send_video_note(b"<html>")
    await person.wait_for(lambda m: "damaged" in m.get("text", "") or "moment" in m.get("caption", ""), PATIENCE)
    await person.wait_for(lambda m: "One shot of 0:02" in m.get("caption", ""), PATIENCE)
    await person.wait_for(lambda m: "no moving picture" in m.get("text", ""), PATIENCE)


async def test_a_killed_worker_is_replaced_and_its_photo_answered(
    bot: Program, server: FakeTelegram, photo_files: list[Path]
) -> None:
    people = [server.person("Kay"), server.person("Ken")]
    [before] = bot.worker_pids()
    for number in range(30):
        await people[number % 2].send_photo(photo_files[3].read_bytes())
    await next_answer(people[0])  # it has begun, and has more in its hands
    os.kill(before, signal.SIGKILL)

    def answered() -> list[Call]:
        return [call for person in people for call in server.sent(person.id, "sendPhoto")]

    assert await server.until(lambda: len(answered()) >= 30 or None, PATIENCE)
    [after] = bot.worker_pids()
    assert after != before
    replied = {(c.params["chat_id"], c.result["reply_to_message"]["message_id"]) for c in answered()}
    assert len(replied) == len(answered()) == 30


async def test_a_worker_asked_to_stop_finishes_and_is_replaced(
    bot: Program, server: FakeTelegram, photo_files: list[Path]
) -> None:
    person = server.person("Sig")
    assert await server.until(lambda: bot.worker_pids() or None, PATIENCE)
    for _ in range(5):
        await person.send_photo(photo_files[4].read_bytes())
    await next_answer(person, PATIENCE)
    os.kill(bot.worker_pids()[0], signal.SIGTERM)
    for _ in range(4):
        await next_answer(person, PATIENCE)
    assert await server.until(lambda: "the worker ended (status 0)" in bot.log.read_text() or None, PATIENCE)
    assert "Traceback" not in bot.log.read_text()


async def test_ten_photos_survive_a_kill_of_everything(
    tmp_path: Path, photos: list[Image.Image], small_weights: str
) -> None:
    async with FakeTelegram() as own:
        person = own.person("Ten")
        program = Program.bot(own, tmp_path / "data", WEIGHTS_DIR=small_weights)
        await program.start()
        sent = [await person.send_photo(data) for data in twenty(photos)[:10]]
        assert await own.until(lambda: all(own.confirmed(message) for message in sent) or None, PATIENCE)
        [worker] = program.worker_pids()
        await program.kill()
        assert len(own.sent(person.id, "sendPhoto")) < 10
        assert await gone(worker)
        await program.start()
        try:
            await own.until(lambda: len(own.sent(person.id, "sendPhoto")) >= 10 or None, PATIENCE)
            await asyncio.sleep(1)  # for an eleventh, which must not come
        finally:
            await program.stop()
        print(program.log.read_text())
        replied = {call.result["reply_to_message"]["message_id"] for call in own.sent(person.id, "sendPhoto")}
        assert replied == {message["message_id"] for message in sent}
        assert len(own.sent(person.id, "sendPhoto")) == 10
        assert own.violations == []


async def gone(pid: int) -> bool:
    """Whether the process ends within a minute; a worker whose parent was killed must, once it is imported."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] == "Z":
            return True
        await asyncio.sleep(0.1)
    return False


async def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    async with FakeTelegram() as own:
        program = Program.bot(own, tmp_path)
        await program.start()
        assert await own.until(lambda: [c for c in own.calls if c.method == "getUpdates"] or None, PATIENCE)
        assert program.process is not None
        [worker] = program.worker_pids()
        os.kill(program.process.pid, signal.SIGKILL)  # the parent alone
        await program.process.wait()
        assert await gone(worker)


async def test_the_baseline_answers_without_a_heatmap(tmp_path: Path, photo_files: list[Path]) -> None:
    async with FakeTelegram() as own, running_bot(own, tmp_path, MODEL="baseline"):
        person = own.person("Bea")
        await person.send_photo(photo_files[0].read_bytes())
        answer = await person.wait_for(lambda message: "text" in message and len(lines(message)) in (7, 8, 9), PATIENCE)
        assert "photo" not in answer


async def test_in_int8_a_photo_gets_its_captions_and_its_sheet(tmp_path: Path, photo_files: list[Path]) -> None:
    async with FakeTelegram() as own, running_bot(own, tmp_path, PRECISION="int8") as program:
        person = own.person("Ivy")
        await person.send_photo(photo_files[0].read_bytes())
        answer = lines(await next_answer(person, PATIENCE))
        assert len(answer) in (7, 8, 9)
        assert "%" in answer[1]
        [call] = own.sent(person.id, "sendPhoto")
        [file] = call.files.values()
        assert 900 < max(Image.open(io.BytesIO(file.data)).size) <= 1280
        packing = "in int8" if Int8Linear.possible() else "packed in fp16"
        assert f"attention on cpu, int8, decoder {packing} (as set)" in program.log.read_text()
        assert own.violations == []


async def test_a_wrong_token_is_said_and_ends_the_program(tmp_path: Path) -> None:
    async with FakeTelegram(token="4242:AnotherTokenThanTheOneThatIsSet") as own:
        program = Program.bot(own, tmp_path)
        await program.start()
        assert program.process is not None
        assert await asyncio.wait_for(program.process.wait(), PATIENCE) == 2
    log = program.log.read_text()
    assert "BOT_TOKEN" in log
    assert TOKEN.partition(":")[2] not in log
