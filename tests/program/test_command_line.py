"""What `start.py` says and does in a terminal, without Telegram."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bot.storage.sqlite import Database
from bot.storage.sqlite_inbox import SqliteInbox
from tests.conftest import ROOT
from tests.support import clips
from tests.support.fake_telegram import TOKEN
from tests.support.processes import imported
from tests.support.program import environment

pytestmark = pytest.mark.slow


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "start.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(**settings), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def test_no_token_and_no_terminal_says_what_to_do() -> None:
    for command in ([sys.executable, "start.py"], ["make", "--silent", "run"]):
        result = subprocess.run(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        assert result.returncode != 0
        assert "BOT_TOKEN" in result.stderr
        assert "@BotFather" in result.stderr


def test_a_typed_token_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    """In a terminal the program asks, does not show what is typed, and writes .env with mode 600."""
    env_file = tmp_path / ".env"
    env_file.write_text("# mine\nMODEL=baseline\nBOT_TOKEN=\n")
    script = (
        "import start, pathlib\n"
        f"start.ENV_FILE = pathlib.Path({str(env_file)!r})\n"
        "start.keep_token(start.ask_for_token())"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-c", script], environment())
    shown = _type(terminal, ["nonsense", TOKEN])
    os.close(terminal)  # what still waits for an answer ends now
    os.waitpid(pid, 0)
    assert TOKEN not in shown
    assert "not a token" in shown
    assert env_file.read_text() == f"# mine\nMODEL=baseline\nBOT_TOKEN={TOKEN}\n"
    assert env_file.stat().st_mode & 0o777 == 0o600


def _type(terminal: int, answers: list[str]) -> str:
    """Answer each prompt of a program in a terminal, once it is there; all that the program showed."""
    shown = b""
    given = 0
    with contextlib.suppress(OSError):  # how a pty says that the other end is gone
        while select.select([terminal], [], [], 60)[0] and (data := os.read(terminal, 1024)):
            shown += data
            if shown.count(b"paste):") > given:
                os.write(terminal, answers[given].encode() + b"\n")
                given += 1
    return shown.decode()


@pytest.mark.parametrize("command", ["bot", "worker"])
def test_a_part_alone_needs_redis_and_says_so(command: str) -> None:
    result = start(command, BOT_TOKEN=TOKEN)
    assert result.returncode == 2
    assert "REDIS_URL" in result.stderr


def test_dead_letters_are_listed_and_dropped_in_the_terminal(tmp_path: Path) -> None:
    async def give_up() -> None:
        database = await Database.open(tmp_path)
        inbox = SqliteInbox(database, int(TOKEN.partition(":")[0]))
        for number in (7, 8):
            await inbox.record([{"update_id": number, "message": {"chat": {"id": 5}, "text": "/sample 3"}}])
            await inbox.dead_letter(number, "brought down a worker 3 times", 3)
        await database.close()

    asyncio.run(give_up())
    settings = {"BOT_TOKEN": TOKEN, "DATA_DIR": str(tmp_path)}
    listed = start("dead", "list", **settings)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["ID", "7", "8"]
    assert start("dead", "drop", "7", **settings).returncode == 0
    assert start("dead", "drop", "7", **settings).returncode == 1
    lines = start("dead", "list", "--json", **settings).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [8]
    assert start("dead", "retry", "all", **settings).stdout == "1 to be tried again\n"
    for mistake in (["retry"], ["drop", "seven"], ["bury", "7"]):
        assert start("dead", *mistake, **settings).returncode == 2


@pytest.mark.parametrize(
    ("command", "model", "said"),
    [
        (["edit", "photo.jpg", "--text", "winter", "--output", "winter.jpg"], "", "edit needs EDIT_MODEL"),
        ([], "no-such-folder", "EDIT_MODEL: there is no"),
    ],
)
def test_a_model_for_edits_that_is_not_there_is_said_at_once(command: list[str], model: str, said: str) -> None:
    done = start(*command, EDIT_MODEL=model, BOT_TOKEN=TOKEN)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_the_bot_process_never_imports_torch() -> None:
    modules = "start, bot.app, handlers, model.serving.embedded.process, model.serving.embedded.queue"
    assert imported(modules, ("torch", "torchvision", "PIL", "numpy", "av")) == "[]"


def test_caption_writes_json_sheets_and_errors(tmp_path: Path, photo_files: list[Path]) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    again = tmp_path / photo_files[0].name
    again.write_bytes(photo_files[1].read_bytes())
    command = [sys.executable, "start.py", "caption", str(photo_files[0]), str(bad), str(tmp_path / "none"), str(again)]
    options = ["--json", "--samples", "2", "--temperature", "1.2", "--seed", "7", "--output", str(tmp_path / "sheets")]
    result = subprocess.run([*command, *options], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert result.returncode == 1
    good, damaged, missing, other = (json.loads(line) for line in result.stdout.splitlines())
    assert good["model"] == "attention"
    assert len(good["samples"]) == 2
    assert 0 < good["greedy"]["confidence"] < 1
    assert 0 < good["best"]["confidence"] < 1
    assert damaged["error"]["kind"] == "not_image"
    assert missing["error"]["kind"] == "unreadable"
    assert other["greedy"]["text"] != good["greedy"]["text"]
    stem = photo_files[0].stem
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == [
        f"{stem}-2.heatmap.jpg",
        f"{stem}-2.words.png",
        f"{stem}.heatmap.jpg",
        f"{stem}.words.png",
    ]


def test_caption_takes_photos_and_clips_together(tmp_path: Path, photo_files: list[Path]) -> None:
    """What a file is shows in its bytes: here a clip is called .jpg and a photo .mp4."""
    stills = [Image.open(file).convert("RGB").resize((160, 120)) for file in photo_files[:2]]
    clip, photo, page = tmp_path / "clip.jpg", tmp_path / "photo.mp4", tmp_path / "page.mp4"
    clip.write_bytes(clips.animation(stills, [2000, 2000], "GIF"))
    photo.write_bytes(photo_files[0].read_bytes())
    page.write_bytes(b"<html>")
    video = tmp_path / "video.mp4"
    clips.video(video, [np.asarray(stills[0])] * 4, rate=4.0)
    out = tmp_path / "out"
    command = [sys.executable, "start.py", "caption", *map(str, (clip, photo, page, video)), "--samples", "0"]
    environ = environment() | {"MAX_VIDEO_SECONDS": "5"}
    result = subprocess.run(
        [*command, "--json", "--output", str(out)], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert result.returncode == 1
    moving, still, bad, plain = (json.loads(line) for line in result.stdout.splitlines())
    assert moving["duration"] == 4.0
    assert [moment["time"] for moment in moving["moments"]] == [0.0, 2.0]
    assert moving["moments"] == [
        {key: frame[key] for key in ("time", "text", "score")} for frame in moving["frames"] if frame["chosen"]
    ]
    assert all(0 <= frame["score"] <= 1 for frame in moving["frames"])
    assert moving["still"] is False
    assert still["greedy"]["text"]
    assert bad["error"]["kind"] == "web_page"
    assert plain["still"] is True
    assert len(plain["moments"]) == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "clip.json",
        "clip.moment-01.jpg",
        "clip.moment-02.jpg",
        "clip.timeline.jpg",
        "photo.heatmap.jpg",
        "photo.words.png",
        "video.json",
        "video.moment-01.jpg",
        "video.timeline.jpg",
    ]
    assert json.loads((out / "clip.json").read_text()) == moving
    assert "\r" not in result.stderr  # progress is for terminals


def test_caption_says_what_is_wrong_with_clips(tmp_path: Path) -> None:
    long, broken = tmp_path / "long.avi", tmp_path / "broken.mp4"
    clips.video(long, clips.greys(30), rate=5.0, codec="MJPG")
    broken.write_bytes(b"\0\0\0\x18ftypisom" + bytes(50))
    command = [sys.executable, "start.py", "caption", str(long), str(broken), "--json"]
    environ = environment() | {"MAX_VIDEO_SECONDS": "5"}
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert result.returncode == 1
    assert [json.loads(line)["error"]["kind"] for line in result.stdout.splitlines()] == [
        "clip_too_long",
        "damaged_clip",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--samples", "11"], "must be a whole number from 0 to 10, not '11'"),
        (["--samples", "2.5"], "must be a whole number from 0 to 10, not '2.5'"),
        (["--beam", "0"], "must be a whole number from 1 to 10"),
        (["--temperature", "0"], "must be a number from 0.1 to 2.0"),
        (["--model", "gpt"], "invalid choice"),
        (["--tags", "hotel", "--colours", "protanopia"], "not allowed with"),
        (["--tags", "hotel", "--output", "sheets"], "--tags draws nothing"),
    ],
)
def test_caption_refuses_bad_options(options: list[str], said: str) -> None:
    result = start("caption", "x.jpg", *options)
    assert (result.returncode, said in result.stderr) == (2, True)


CAPTION = ["caption", "tests/photos/cat.jpg", "--samples", "0"]


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(CAPTION, ""), (CAPTION, "1"), (["health"], ""), (["health"], "1"), (["--help"], "")]
)
def test_output_that_nobody_reads_any_more_ends_a_command_without_a_word(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    """As in `start.py caption *.jpg | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    settings = environment(DATA_DIR=str(tmp_path)) | {"PYTHONUNBUFFERED": unbuffered}
    with open(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "start.py", *arguments], cwd=ROOT, env=settings, stdout=closed, stderr=subprocess.PIPE
        )
    assert (done.stderr, done.returncode) == (b"", 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["rank", "tests/photos/cat.jpg", "--text", "a cat", "--text", "a dog"], ""),
        (["health"], ""),
        (["health"], "1"),
    ],
)
def test_output_that_cannot_be_written_is_said_once(arguments: list[str], unbuffered: str, tmp_path: Path) -> None:
    settings = environment(DATA_DIR=str(tmp_path)) | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "start.py", *arguments], cwd=ROOT, env=settings, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert line.endswith("No space left on device")


def test_a_bot_without_a_token_and_without_standard_input_says_what_is_missing() -> None:
    command = ["sh", "-c", 'exec "$0" start.py <&-', sys.executable]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: BOT_TOKEN is not set.")


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:surrogateescape"])  # the last is that of the locale C
def test_characters_that_the_output_does_not_have_are_escaped(encoding: str, tmp_path: Path) -> None:
    """Those of a language that it cannot write, and bytes of a file name that are no text."""
    photo = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.jpg")
    Path(photo).write_bytes((ROOT / "tests" / "photos" / "cat.jpg").read_bytes())
    command = [sys.executable, "start.py", "caption", photo, "--samples", "0", "--language", "ru"]
    environ = environment() | {"PYTHONIOENCODING": encoding}
    said, written = (
        subprocess.run([*command, *options], cwd=ROOT, env=environ, capture_output=True, check=True).stdout
        for options in ([], ["--json"])
    )
    answer = json.loads(written)
    assert answer["file"] == photo
    assert "кошка" in answer["headline"]
    assert said.count(b"perhaps in full: ") == 1


def test_translate_needs_standard_input() -> None:
    closed = subprocess.run(
        ["sh", "-c", 'exec "$0" start.py translate --to ru <&-', sys.executable],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert closed.returncode == 2
    assert closed.stderr == "error: translate reads captions from standard input, which is closed\n"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="Linux shows what a process began with")
def test_a_worker_of_redis_keeps_no_token(tmp_path: Path) -> None:
    """Neither in its environment nor in what Linux shows of the one that it was started with."""
    settings = environment(BOT_TOKEN=TOKEN, WEB_TOKEN="x" * 20, REDIS_URL="redis://127.0.0.1:1", DATA_DIR=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "start.py", "worker"], cwd=ROOT, env=settings, stderr=subprocess.DEVNULL
    )
    try:
        shown = b"BOT_TOKEN"
        while b"BOT_TOKEN" in shown or b"REDIS_URL" not in shown:
            shown = Path(f"/proc/{process.pid}/environ").read_bytes()
            assert process.poll() is None
            time.sleep(0.05)
        assert TOKEN.encode() not in shown
        assert b"WEB_TOKEN" not in shown
    finally:
        process.kill()
        process.wait()
