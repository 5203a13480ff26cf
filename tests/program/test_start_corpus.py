"""Bad, odd and moving files, sent to the real program: what each is answered with, and what they cost the worker."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from model.errors import DamagedImage
from model.media.images import open_image
from tests.support import corpus
from tests.support.fake_queue import is_status
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.program import Program, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATIENCE = 120.0  # seconds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake
        assert fake.violations == []  # sheets are within the limits of photos, among other things


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(
    server: FakeTelegram, tmp_path_factory: pytest.TempPathFactory, small_weights: str
) -> AsyncIterator[Program]:
    """Its network has no gate: many of these pictures are drawn by a script, and are to be captioned."""
    program = Program.bot(server, tmp_path_factory.mktemp("bot"), WEIGHTS_DIR=small_weights)
    async with running(program):
        assert await server.until(lambda: "the worker is ready" in program.log.read_text() or None, PATIENCE)
        [worker] = program.worker_pids()
        yield program
        assert program.worker_pids() == [worker]  # nothing brought it down
        assert "Traceback" not in program.log.read_text()


async def send(person: Person, sent: corpus.Sent) -> int:
    message = await person.send_document(sent.data, sent.name, sent.mime_type)
    number: int = message["message_id"]
    return number


async def answer_to(person: Person, number: int) -> Message:
    """Not what is shown to those who wait: machines differ in speed."""

    def is_answer(message: Message) -> bool:
        return message.get("reply_to_message", {}).get("message_id") == number and not is_status(message)

    return await person.wait_for(is_answer, PATIENCE)


def words(message: Message) -> str:
    return str(message.get("caption") or message.get("text"))


def captioned(message: Message) -> bool:
    """Whether the line below the caption says how sure the bot is."""
    _, *lines = words(message).splitlines()
    return bool(lines) and re.search(r"\(\d+ %\)$", lines[0]) is not None


async def test_each_bad_file_gets_its_own_clear_words(bot: Program, server: FakeTelegram) -> None:
    bad = corpus.bad_files()
    people = (server.person("Ann"), server.person("Ольга", language_code="ru"))
    for language, person in enumerate(people):
        sent = {await send(person, each.sent): each for each in bad}
        said = {}
        for number, each in sent.items():
            said[each.sent.name] = words(await answer_to(person, number))
            assert each.words[language] in said[each.sent.name], each.sent.name
        assert len(set(said.values())) == len({each.words for each in bad})  # its own, and not another's
        assert sum(not is_status(message) for message in person.bot_messages()) == len(bad)


async def test_what_still_decodes_after_bits_flipped_is_captioned(bot: Program, server: FakeTelegram) -> None:
    ann, olga = server.person("Ann"), server.person("Ольга", language_code="ru")
    for each in corpus.flipped_files():
        if decodes(each.data):
            assert captioned(await answer_to(ann, await send(ann, each)))
        else:
            assert "is damaged" in words(await answer_to(ann, await send(ann, each)))
            assert "повреждена" in words(await answer_to(olga, await send(olga, each)))


def decodes(data: bytes) -> bool:
    try:
        open_image(data)
    except DamagedImage:
        return False
    return True


async def test_odd_but_good_pictures_are_captioned_with_a_sheet(bot: Program, server: FakeTelegram) -> None:
    ann = server.person("Ann")
    sent = {await send(ann, each): each.name for each in corpus.odd_files()}
    for number, name in sent.items():
        answer = await answer_to(ann, number)
        assert captioned(answer), (name, words(answer))
        assert "photo" in answer, name
        sheet = Image.open(io.BytesIO(server.file_bytes(answer["photo"][-1]["file_id"])))
        assert 300 < max(sheet.size) <= 1280, name


async def test_what_moves_is_treated_as_a_clip(bot: Program, server: FakeTelegram) -> None:
    person = server.person("Vic")
    for each in corpus.moving_files():
        number = await send(person, each)
        timeline = await timeline_for(person, number)
        duration = "3:20" if each.name == "long.gif" else "0:06"
        assert re.match(rf"(\d+ moments in|One shot of) {duration} ", words(timeline)), (each.name, words(timeline))


async def timeline_for(person: Person, number: int) -> Message:
    """The last message of an answer to a clip."""
    return await person.wait_for(
        lambda m: {"photo", "reply_markup"} <= m.keys() and m.get("reply_to_message", {}).get("message_id") == number,
        PATIENCE,
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process took at most")
async def test_the_worker_stays_under_its_cap(bot: Program) -> None:
    """After all of the above, the largest picture that is taken among them."""
    [worker] = bot.worker_pids()
    status = Path(f"/proc/{worker}/status").read_text()
    most = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert most is not None
    print(f"the worker took {int(most[1]) / 1024:.0f} MiB at most")
    assert int(most[1]) * 1024 < corpus.WORKER_MEMORY
