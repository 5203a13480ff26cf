"""Conversations about /sample: what can be asked of it, in which words, and what it answers to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.chat_settings import ChatSettings
from bot.errors import WrongArguments
from bot.sample_options import SEEDS, TOP_K, TOP_P, parse_sample
from bot.storage.redaction import reduced
from model.decoding.sampling import Sampling
from tests.support.conversation import DELETE, MORE, answered, button_rows, edited, press, words
from tests.support.fake_queue import Decide, FakeQueue, captions, eventually, last, running_bot, worked
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.jobs import photo_of
from tests.support.pictures import PHOTO
from tests.support.records import keep
from tests.support.voices import Spoken


@pytest.fixture
def outcome() -> Decide:
    return worked


@pytest.fixture
async def ann(server: FakeTelegram, queue: FakeQueue) -> Person:
    """She has sent a photo, and has its answer."""
    ann = server.person("Ann")
    await answered(ann)
    return ann


async def asked(person: Person, command: str) -> list[str]:
    await person.send_text(command)
    return words(await person.next_message())


async def test_sample_draws_distinct_captions_of_the_last_photo(queue: FakeQueue, ann: Person) -> None:
    assert await asked(ann, "/sample 3") == ["a cat with 1 <legs>", "2. a cat with 2 <legs>", "3. a cat with 3 <legs>"]
    photo = ann.messages[1]["photo"][-1]["file_unique_id"]
    task = photo_of(last(queue))
    assert (task.picture, task.known, task.samples, task.exclude, task.sheet) == (photo, True, 3, (), False)


async def test_samples_are_read_aloud_where_a_chat_wants_that_and_deleted_with_their_answer(
    server: FakeTelegram, tmp_path: Path, voice: Spoken
) -> None:
    ann = server.person("Ann")
    await keep(tmp_path, ann.id, ChatSettings(voice=True))
    async with running_bot(server, FakeQueue(outcome=worked), tmp_path):
        await answered(ann)
        await ann.wait_for(lambda m: "voice" in m, 60)
        before = len(ann.bot_messages())
        await ann.send_text("/sample 2")
        sampled = await ann.wait_for(lambda m: "2. a cat" in m.get("text", ""), 60)
        await eventually(lambda: len(ann.bot_messages()) == before + 2)
        assert voice.texts == ["a cat on a sofa", "a cat with 1 <legs>. a cat with 2 <legs>"]
        await press(ann, sampled, DELETE)
        await eventually(lambda: len(ann.bot_messages()) == before)


@pytest.mark.parametrize(
    ("command", "count", "sampling"),
    [
        ("/sample", 5, Sampling()),
        ("/sample 8", 8, Sampling()),
        ("/sample 8 t=1.2", 8, Sampling(1.2)),
        ("/sample t=1,2 8", 8, Sampling(1.2)),
        ("/sample 8 т = 1,2", 8, Sampling(1.2)),
        ("/sample 3 1.5", 3, Sampling(1.5)),
        ("/sample top_k=5", 5, Sampling(top_k=5)),
        ("/sample top_k=0", 5, Sampling(top_k=0)),
        ("/sample top_p=0,9 t=.8", 5, Sampling(0.8, top_k=0, top_p=0.9)),
        ("/sample top_p=.9 2 top_k=50", 2, Sampling(top_k=50, top_p=0.9)),
        ("/sample LADDER 4", 4, Sampling(top_k=0, ladder=True)),
        ("/sample@captions_test_bot seed=3 ladder t=2 10", 10, Sampling(2.0, top_k=0, ladder=True)),
    ],
)
async def test_what_can_be_asked_for(
    queue: FakeQueue, ann: Person, command: str, count: int, sampling: Sampling
) -> None:
    await asked(ann, command)
    assert (photo_of(last(queue)).samples, photo_of(last(queue)).sampling) == (count, sampling)


async def test_a_seed_gives_the_same_captions_again_and_none_gives_others(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(f"a cat of seed {photo_of(job).seed}")
    first, again = [await asked(ann, "/sample seed=7") for _ in range(2)]
    assert first == again == ["a cat of seed 7"]
    other, another = [await asked(ann, "/sample") for _ in range(2)]
    assert other != another


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("/sample 0", "0"),
        ("/sample 11", "11"),
        ("/sample 1.5", "1.5"),
        ("/sample many", "many"),
        ("/sample 5 t=9", "t=9"),
        ("/sample t=x 5", "t=x"),
        ("/sample t=0.05", "t=0.05"),
        ("/sample 3 4 5", "4"),
        ("/sample t=1 t=1", "t=1"),
        ("/sample ladder ladder", "ladder"),
        ("/sample top_k=1001", "top_k=1001"),
        ("/sample top_k=1.5", "top_k=1.5"),
        ("/sample top_p=0", "top_p=0"),
        ("/sample top_p=1.1 3", "top_p=1.1"),
        ("/sample seed=-1", "seed=-1"),
        ("/sample 5 <b>=3", "<b>=3"),
        ("/sample seed=", "seed="),
        ("/sample =", "="),
        ("/sample " + "w" * 4000, "w" * 39 + "…"),
    ],
)
async def test_wrong_arguments_are_named_and_the_ranges_told(
    queue: FakeQueue, ann: Person, command: str, wrong: str
) -> None:
    said = "\n".join(await asked(ann, command))
    assert said.startswith(f"I did not understand “{wrong}”.")
    for low, high in (("1", "10"), ("0.1", "2.0"), (str(TOP_K[0]), str(TOP_K[1])), map(str, TOP_P), map(str, SEEDS)):
        assert f"from {low}" in said
        assert f"to {high}" in said
    assert len(queue.jobs) == 1


async def test_a_russian_is_told_in_russian(queue: FakeQueue, olga: Person) -> None:
    assert (await asked(olga, "/sample т=9"))[0].startswith("Не понимаю «т=9»")
    await answered(olga)
    assert (await asked(olga, "/sample 2 т=1,1"))[0] == "a cat with 1 <legs>"
    assert photo_of(last(queue)).sampling.temperature == 1.1


async def test_what_is_not_said_is_as_the_chat_has_set_it(server: FakeTelegram, tmp_path: Path) -> None:
    bob = server.person("Bob")
    await keep(tmp_path, bob.id, ChatSettings(model="baseline", samples=3, strategy="ladder", temperature=1.4))
    queue = FakeQueue(outcome=worked)
    async with running_bot(server, queue, tmp_path):
        await answered(bob)
        await asked(bob, "/sample")
        assert (photo_of(last(queue)).model, photo_of(last(queue)).samples) == ("baseline", 3)
        assert photo_of(last(queue)).sampling == ChatSettings(strategy="ladder", temperature=1.4).sampling
        await asked(bob, "/sample t=1")
        assert photo_of(last(queue)).sampling == ChatSettings(strategy="ladder", temperature=1.0).sampling
        await asked(bob, "/sample top_p=0.5")
        assert photo_of(last(queue)).sampling == Sampling(1.4, top_k=0, top_p=0.5)


async def test_the_captions_of_sample_can_be_continued_and_looked_into(queue: FakeQueue, ann: Person) -> None:
    await ann.send_text("/sample 2")
    answer = await ann.next_message()
    await press(ann, answer, MORE)
    longer = await edited(ann, answer, lambda m: "7. " in m["text"])
    assert words(longer) == ["a cat with 1 <legs>", *(f"{n}. a cat with {n} <legs>" for n in range(2, 8))]
    assert photo_of(last(queue)).exclude == ("a cat with 1 <legs>", "a cat with 2 <legs>")
    await press(ann, answer, "🔥 Heatmap")
    await press(ann, await edited(ann, answer, lambda m: button_rows(m)[0][0] == "1"), "1")
    assert words(await ann.next_message()) == ["a cat with 1 <legs>"]


async def test_a_picture_that_was_never_looked_at_is_sent_along(server: FakeTelegram, queue: FakeQueue) -> None:
    bob = server.person("Bob")
    await bob.send_photo(PHOTO, "/sample 2")
    await bob.next_message()
    assert photo_of(last(queue)).known is False
    await asked(bob, "/sample 2")
    assert photo_of(last(queue)).known is True


def test_a_dead_letter_keeps_of_a_command_what_it_takes_to_try_again() -> None:
    def kept(text: str) -> str:
        message = {"message_id": 1, "chat": {"id": 5, "type": "private"}, "text": text}
        text = reduced({"update_id": 1, "message": message}, 424242)["message"]["text"]
        return text

    asked_for = "/sample 8 t=1,2 top_p=.9 ladder seed=3"
    assert kept(asked_for) == asked_for
    assert kept("/sample of my diary") == "/sample"
    with pytest.raises(WrongArguments):
        parse_sample("of my diary")
