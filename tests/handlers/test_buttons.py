"""Conversations with the buttons under an answer to a photo, and what a chat's settings make of the answer."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from aiogram import Bot

from bot import replies
from bot.answers.keyboards import Forget
from bot.answers.notes import Answers
from bot.chat_settings import ChatSettings
from bot.errors import StorageError
from bot.i18n import create_i18n
from bot.replies.text import length
from bot.storage.chats import Note
from bot.storage.sqlite import Database
from bot.storage.sqlite_chats import SqliteStorage
from model.decoding.sampling import Sampling
from model.doubt import NotPhoto
from model.serving.jobs import Job
from model.serving.tasks.colours import ColoursResult
from model.serving.tasks.photo import PhotoResult, WeighedWord, WireCaption
from model.serving.tasks.tags import TagsResult
from model.tagging.answers import Tag
from tests.support import bot_api_rules as rules
from tests.support.conversation import (
    BACK,
    COLOURS,
    COMPARE,
    COPY,
    DELETE,
    HEATMAP,
    MORE,
    SETTINGS,
    TAGS,
    WEIGHED,
    answered,
    button_rows,
    carried,
    edited,
    inaccessible,
    key_of,
    press,
    replied,
    tampered,
    words,
)
from tests.support.fake_queue import Decide, FakeQueue, captions, eventually, last, running_bot, worked
from tests.support.fake_telegram import TOKEN, FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.pictures import PHOTO, SHEET, picture
from tests.support.records import BOT_ID, everything, forget_notes, keep, note_keys, waiting_in
from tests.support.voices import Spoken

CHART = picture(400, 300, "PNG")
GROUP = "what is it, @captions_test_bot ?"

work = partial(worked, sheet=SHEET, chart=CHART)

pytestmark = pytest.mark.usefixtures("unpaced")


@pytest.fixture
def outcome() -> Decide:
    return work


def says(text: str, message: Message) -> bool:
    return text in "".join(words(message))


def offers(button: str, message: Message) -> bool:
    return any(button in row for row in button_rows(message))


async def test_an_answer_has_its_buttons(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    assert button_rows(answer) == [[MORE, HEATMAP], [WEIGHED, COLOURS], [TAGS, COMPARE], [COPY], [SETTINGS, DELETE]]
    job, photo = last(queue), ann.messages[1]["photo"][-1]
    assert (job.place, photo_of(job).picture) == (f"{BOT_ID}:{ann.id}", photo["file_unique_id"])
    assert not photo_of(job).known


@pytest.mark.parametrize(
    ("caption", "copied"),
    [
        ("a cat on a sofa", "a cat on a sofa"),
        ("a  <b> &\n cat", "a <b> & cat"),
        ("a man and " * 40, "a man and " * 25 + "a man…"),
        ("я" * 300, "я" * 255 + "…"),
        ("🐈" * 300, "🐈" * 127 + "…"),
    ],
)
async def test_the_main_caption_can_be_copied_as_plain_text(
    queue: FakeQueue, ann: Person, caption: str, copied: str
) -> None:
    queue.outcome = lambda job, media: captions(greedy=caption)
    answer = await answered(ann)
    [button] = [each for row in answer["reply_markup"]["inline_keyboard"] for each in row if each["text"] == COPY]
    assert button == {"text": COPY, "copy_text": {"text": copied}}


async def test_with_no_caption_there_is_nothing_to_copy(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(greedy="")
    assert all(COPY not in row for row in button_rows(await answered(ann)))


@pytest.mark.parametrize(
    ("language", "off", "on"),
    [("en", "Alt text: off", "Alt text: on"), ("ru", "Альт-текст: нет", "Альт-текст: да")],
)
async def test_alt_text_is_one_sentence_to_copy(
    server: FakeTelegram, queue: FakeQueue, language: str, off: str, on: str
) -> None:
    person = server.person("Ann", language_code=language)
    await person.send_text("/settings")
    menu = await person.next_message()
    assert await press(person, menu, off) == on
    queue.outcome = lambda job, media: captions(greedy="a photo of a cat & a dog")
    answer = await answered(person)
    assert answer["text"] == "A cat & a dog."
    assert [each["type"] for each in answer["entities"]] == ["pre"]
    task = photo_of(last(queue))
    assert (task.samples, task.sheet) == (0, False)
    assert [MORE in row or "🎲 Ещё описания" in row for row in button_rows(answer)] == [True, *[False] * 4]
    queue.outcome = work
    await press(person, answer, button_rows(answer)[0][0])
    more = await edited(person, answer, lambda m: "1. a cat with 1 <legs>" in m["text"])
    assert words(more)[0] == "A cat & a dog."


async def test_buttons_speak_russian(queue: FakeQueue, olga: Person) -> None:
    answer = await answered(olga)
    assert button_rows(answer) == [
        ["🎲 Ещё описания", "🔥 Тепловая карта"],
        ["📊 Варианты слов", "🎨 Цвета"],
        ["🏷 Теги", "↔ Сравнить модели"],
        ["📋 Скопировать"],
        ["⚙ Настройки", "🗑 Удалить"],
    ]
    assert "Выберите номер" in str(await press(olga, answer, "🔥 Тепловая карта"))
    queue.outcome = lambda job, media: captions("a cat with 1 <legs>")
    await press(olga, await edited(olga, answer, lambda m: button_rows(m)[0][0] == "1"), "◀ Назад")
    await edited(olga, answer, lambda m: button_rows(m)[0][0] == "🎲 Ещё описания")
    await press(olga, answer, "🎲 Ещё описания")
    assert "не нахожу" in words(await olga.next_message())[0]


async def test_more_captions_come_below_the_others_and_none_comes_twice(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    assert await press(ann, answer, MORE) is None
    longer = await edited(ann, answer, lambda m: "10. " in m["caption"])
    assert words(longer)[:3] == ["a cat on a sofa", "fairly sure (47 %)", "1. a cat with 1 <legs>"]
    assert words(longer)[2:] == [f"{number}. a cat with {number} <legs>" for number in range(1, 11)]
    assert longer["caption_entities"] == answer["caption_entities"]
    assert button_rows(longer) == button_rows(answer)
    task = photo_of(last(queue))
    shown = ("a cat on a sofa", *(f"a cat with {number} <legs>" for number in range(1, 6)))
    assert (task.exclude, task.samples, task.sheet, task.known) == (shown, 5, False, True)
    await press(ann, answer, MORE)
    await edited(ann, answer, lambda m: "15. a cat with 15 <legs>" in m["caption"])
    assert len({photo_of(job).seed for job in queue.jobs.values()}) == 3
    assert len(ann.bot_messages()) == 1


async def test_what_is_no_photo_has_captions_only_when_they_are_asked_for(
    server: FakeTelegram, ann: Person, tmp_path: Path, voice: Spoken
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(voice=True))

    def refused(job: Job, media: bytes) -> PhotoResult:
        return dataclasses.replace(worked(job, media), not_photo=NotPhoto("screen", 0.98))

    async with running_bot(server, FakeQueue(refused), tmp_path):
        await ann.send_photo(PHOTO)
        answer, _spoken = [await ann.next_message() for _ in range(2)]
        said = "This looks like text or a screenshot; I only describe photos."
        assert words(answer) == voice.texts == [said]
        await press(ann, answer, MORE)
        longer = await edited(ann, answer, lambda m: "5. a cat" in m["text"])
        assert words(longer) == [said, *(f"{number}. a cat with {number} <legs>" for number in range(1, 6))]


async def test_captions_without_a_sheet_grow_as_well(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue(outcome=worked)
    async with running_bot(server, queue, tmp_path):
        answer = await answered(ann)
        await press(ann, answer, MORE)
        await edited(ann, answer, lambda m: "10. a cat" in m["text"])


async def test_two_presses_at_once_neither_lose_nor_repeat_a_caption(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    queue.open.clear()
    for _ in range(3):
        await press(ann, answer, MORE)
    queue.open.set()
    longer = await edited(ann, answer, lambda m: "20. " in m["caption"])
    assert words(longer)[2:] == [f"{number}. a cat with {number} <legs>" for number in range(1, 21)]


async def test_when_a_message_is_full_captions_go_on_in_a_reply(queue: FakeQueue, ann: Person) -> None:
    """Telegram counts the sign as two, and the markup not at all."""
    numbers = iter(range(1, 1000))
    sign = "🐈" * 74 + " & "

    def outcome(job: Job, media: bytes) -> PhotoResult:
        new = [f"{sign}{next(numbers):03}" for _ in range(photo_of(job).samples)]
        return captions(*new, sheet=SHEET if photo_of(job).sheet else None)

    queue.outcome = outcome
    answer = await answered(ann)
    pages = [answer]
    for end in range(10, 40, 5):
        await press(ann, pages[-1], MORE)
        await ann.wait_for(partial(says, f" & {end:03}"), 60)
        pages = ann.bot_messages()
    lengths = [rules.utf16_length("\n".join(words(page))) for page in pages]
    assert len(pages) == 3
    assert 1024 - 160 < lengths[0] <= 1024
    assert 4096 - 160 < lengths[1] <= 4096
    assert [replied(page) for page in pages[1:]] == [page["message_id"] for page in pages[:-1]]
    assert not words(pages[1])[0].startswith("7."), "an answer begins with a caption"
    shown = [line[-3:] for page in pages for line in words(page) if "🐈" in line]
    assert shown == [f"{number:03}" for number in range(1, 36)]
    # The numbers under a page are those of its captions.
    await press(ann, pages[1], HEATMAP)
    numbered = await edited(ann, pages[1], lambda m: BACK in button_rows(m)[-1])
    assert button_rows(numbered)[0][0] == "7"
    await press(ann, numbered, "8")
    await eventually(lambda: photo_of(last(queue)).explain == f"{sign}008")


async def test_what_another_process_adds_meanwhile_is_not_lost(queue: FakeQueue, ann: Person, tmp_path: Path) -> None:
    """Of several bots behind a webhook, each gets some of the presses."""
    answer = await answered(ann)
    queue.open.clear()
    await press(ann, answer, MORE)
    await eventually(lambda: len(queue.jobs) == 2)
    database = await Database.open(tmp_path)
    answers = Answers(SqliteStorage(database, BOT_ID))
    key = key_of(carried(answer)[0])
    noted = await answers.find(ann.id, key)
    assert noted is not None
    first = dataclasses.replace(noted.pages[0], markup=f"{noted.pages[0].markup}\n6. a cat elsewhere", numbers=(1, 7))
    theirs = dataclasses.replace(noted, captions=(*noted.captions, "a cat elsewhere"), pages=(first,))
    await answers.keep(ann.id, key, theirs)
    await database.close()
    queue.open.set()
    longer = await edited(ann, answer, lambda m: "7. a cat with 6" in m.get("caption", ""))
    before = [f"{n}. a cat with {n} <legs>" for n in range(1, 6)]
    assert words(longer)[2:9] == [*before, "6. a cat elsewhere", "7. a cat with 6 <legs>"]


async def test_no_more_captions_are_said_to_be_no_more(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    queue.outcome = lambda job, media: captions("a cat with 2 <legs>", "a cat on a sofa")  # against what was asked
    await press(ann, answer, MORE)
    assert words(await ann.next_message()) == ["I find no more captions of this picture than those that I have shown."]
    assert ann.messages[answer["message_id"]]["caption"] == answer["caption"]


async def test_the_heatmap_of_a_sampled_caption(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    assert "number of a caption" in str(await press(ann, answer, HEATMAP))
    choice = await edited(ann, answer, lambda m: BACK in button_rows(m)[-1])
    assert button_rows(choice) == [["1", "2", "3", "4", "5"], [BACK]]
    await press(ann, answer, "3")
    sheet = await ann.next_message()
    assert sheet["photo"][-1]["width"] == 320
    assert words(sheet) == ["a cat with 3 <legs>", "The picture shows where I find what the words name."]
    assert replied(sheet) == answer["message_id"]
    task = photo_of(last(queue))
    assert (task.explain, task.sheet, task.samples, task.known) == ("a cat with 3 <legs>", True, 0, False)
    await press(ann, answer, BACK)
    await edited(ann, answer, lambda m: button_rows(m) == button_rows(answer))


@pytest.mark.parametrize("settings", [ChatSettings(model="baseline"), ChatSettings(samples=0)])
async def test_no_heatmap_is_offered_where_there_can_be_none(
    server: FakeTelegram, ann: Person, tmp_path: Path, settings: ChatSettings
) -> None:
    await keep(tmp_path, ann.id, settings)
    queue = FakeQueue(outcome=work)
    async with running_bot(server, queue, tmp_path):
        answer = await answered(ann)
        assert button_rows(answer)[0] == [MORE]
        assert photo_of(last(queue)).sheet is (settings.model != "baseline")
        await press(ann, answer, MORE)
        longer = await edited(ann, answer, lambda m: ". a cat with" in "".join(words(m)) and "edit_date" in m)
    assert (HEATMAP in button_rows(longer)[0]) is (settings.model != "baseline")


async def test_the_words_that_were_weighed(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    await press(ann, answer, WEIGHED)
    chart = await ann.next_message()
    assert words(chart) == [
        "a cat on a sofa",
        "For each word, how likely I found it, and in brackets which others I weighed:",
        "a 83 % (two 9 %, the < 1 %)",
        "<cat> 41 % (dog 22 %, man 20 %, sofa 10 %)",
        "(end) 0 %",
    ]
    assert not any("likeliest" in line for line in words(chart))
    assert server.file_bytes(chart["photo"][-1]["file_id"]) == CHART
    task = photo_of(last(queue))
    assert (task.explain, task.chart, task.sheet, task.known) == ("a cat on a sofa", True, False, True)


async def test_a_command_in_reply_to_what_stands_beside_an_answer_is_about_its_picture(
    server: FakeTelegram, ann: Person, tmp_path: Path, voice: Spoken
) -> None:
    """A chart, a comparison, a heatmap, the short answer, a voice message; not about the chat's last picture."""
    await keep(tmp_path, ann.id, ChatSettings(short_first=True, voice=True))
    queue = FakeQueue(outcome=work)
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        short, answer, spoken = [await ann.next_message() for _ in range(3)]
        beside = [short, spoken]
        for buttons_pressed in ([WEIGHED], [COMPARE], [HEATMAP, "2"]):
            for button in buttons_pressed:
                await edited(ann, answer, partial(offers, button))
                await press(ann, answer, button)
            beside.append(await ann.next_message())
        await ann.send_photo(picture(99, 66))
        for _ in range(3):
            await ann.next_message()
        for message in (answer, *beside):
            await ann.send_text("/sample 1", reply_to=message)
            assert "a cat" in str((await ann.next_message()).get("text"))
            assert photo_of(last(queue)).picture == photo["photo"][-1]["file_unique_id"]
            assert "voice" in await ann.next_message()
        await eventually(lambda: not queue.admitted)
        await press(ann, answer, BACK)
        await edited(ann, answer, partial(offers, DELETE))
        await press(ann, answer, DELETE)
        gone = {message["message_id"] for message in (answer, *beside)}
        await eventually(lambda: not gone & {message["message_id"] for message in ann.bot_messages()})


async def test_what_comes_beside_an_answer_at_once_is_all_noted(tmp_path: Path) -> None:
    database = await Database.open(tmp_path)
    answers = Answers(SqliteStorage(database, BOT_ID))
    await asyncio.gather(*(answers.add_beside(Bot(TOKEN), 7, "key", [number]) for number in range(5)))
    assert sorted(await answers.beside(7, "key")) == [0, 1, 2, 3, 4]
    await database.close()


async def test_a_command_in_reply_to_a_picture_of_the_bot_that_is_about_none_asks_which(
    queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    answer = await answered(ann)
    await press(ann, answer, WEIGHED)
    chart = await ann.next_message()
    await eventually(lambda: not queue.admitted)
    forget_notes(tmp_path, "about:%")
    await ann.send_text("/sample", reply_to=chart)
    assert "Which picture do you mean?" in (await ann.next_message())["text"]


@pytest.mark.parametrize(("locale", "why"), [("en", "repetitions are ruled out"), ("ru", "повторы исключаются")])
def test_it_is_said_why_a_likelier_word_was_not_taken(locale: str, why: str) -> None:
    steps = WeighedWord("cat", 0.4, (("dog", 0.3),)), WeighedWord("dog", 0.001, (("cat", 0.9),))
    with (i18n := create_i18n()).context(), i18n.use_locale(locale):
        texts = [replies.weighed_words(PhotoResult(WireCaption("cat dog", 0.5), (), weighed=(step,))) for step in steps]
        assert [why in text.splitlines()[-1] for text in texts] == [False, True]


@pytest.mark.parametrize("locale", ["en", "ru"])
def test_a_long_caption_keeps_within_what_telegram_takes(locale: str) -> None:
    step = WeighedWord("counterrevolutionaries", 0.4, (("counterrevolutionary", 0.5),) * 5)
    result = PhotoResult(WireCaption("a cat " * 50, 0.5), (), chart=CHART, weighed=(step,) * 40)
    with (i18n := create_i18n()).context(), i18n.use_locale(locale):
        text = replies.weighed_words(result)
    assert 900 < length(re.sub("<[^>]*>", "", text)) <= 1024


async def test_a_russian_reads_russian_on_pictures_too(queue: FakeQueue, olga: Person) -> None:
    await olga.send_photo(PHOTO)
    answer = await olga.next_message()
    assert photo_of(last(queue)).labels.photo == "фото"
    await press(olga, answer, "📊 Варианты слов")
    chart = await olga.next_message()
    assert words(chart)[1:] == [
        "Для каждого слова — насколько вероятным оно мне показалось, а в скобках — какие ещё слова я рассматривал:",
        "a 83 % (two 9 %, the < 1 %)",
        "<cat> 41 % (dog 22 %, man 20 %, sofa 10 %)",
        "(конец) 0 %",
    ]
    assert (photo_of(last(queue)).labels.end, "внимания" in photo_of(last(queue)).labels.attention) == ("(конец)", True)


async def test_captions_that_are_in_work_when_all_is_forgotten_are_shown(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    queue.open.clear()
    await press(ann, answer, MORE)
    await eventually(lambda: len(queue.jobs) == 2)
    await ann.send_text("/forget")
    question = await ann.next_message()
    await tampered(ann, question, Forget(do="yes").pack())
    await ann.wait_for(lambda m: "will be answered" in m.get("text", ""), 60)
    queue.open.set()
    longer = await edited(ann, answer, lambda m: "10. " in m["caption"])
    await press(ann, longer, MORE)
    await edited(ann, answer, lambda m: "15. a cat with 15 <legs>" in m["caption"])


async def test_a_press_after_its_answer_was_deleted_is_not_answered(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())
    for data in carried(answer):
        if not data.startswith(("s", "ad:")):
            await tampered(ann, answer, data)
    await ann.send_text("/help")
    await ann.next_message()
    assert len(ann.bot_messages()) == 1


@pytest.mark.parametrize(("language", "said"), [("en", "you wrote: my <cat>"), ("ru", "вы написали: my <cat>")])
async def test_what_the_person_wrote_stands_beside_what_the_models_say(
    server: FakeTelegram, queue: FakeQueue, language: str, said: str
) -> None:
    person = server.person("Ann", language_code=language)
    compare = {"en": COMPARE, "ru": "↔ Сравнить модели"}[language]
    await press(person, await answered(person, "my  <cat>"), compare)
    assert words(await person.next_message())[-1] == said
    for caption in (None, "/caption please"):
        await press(person, await answered(person, caption), compare)
        assert said[:5] not in words(await person.next_message())[-1]


async def test_what_somebody_wrote_is_not_repeated_to_others(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    theirs = await answered(bob, "Marked-Words")
    forwarded = await ann.forward(next(iter(bob.messages.values())))
    asked = [(ann, await ann.next_message())]
    in_group = await answered(ann, f"Marked-Words {GROUP}", group)
    asked += [(ann, in_group), (bob, in_group), (ann, theirs)]  # the last one is forged
    for presser, answer in asked:
        await tampered(presser, answer, next(data for data in carried(answer) if data.startswith("ac:")))
    await eventually(lambda: len(queue.jobs) == 7)
    await eventually(lambda: len(group.bot_messages()) == 3)
    said = [words(each) for chat in (ann, bob, group) for each in chat.bot_messages()]
    assert "Marked" in forwarded["caption"]
    assert "Marked" not in str(said) + caplog.text
    await eventually(lambda: "Marked" not in everything(tmp_path))


async def test_both_models_side_by_side(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    await press(ann, answer, COMPARE)
    assert words(await ann.next_message()) == [
        "a cat on a sofa",
        "fairly sure (47 %) · the model with attention",
        "",
        "perhaps: a dog on a sofa",
        "unsure (20 %) · the model without attention",
    ]
    task = photo_of(last(queue))
    assert (task.compare, task.samples, task.beam, task.sheet) == (True, 0, 10, False)


async def test_a_press_is_answered_before_any_work(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    queue.open.clear()
    for button in (MORE, MORE, WEIGHED, COMPARE):
        assert "text" not in await ann.callback_answer(await ann.press(answer, button), 60)
    queue.open.set()


async def test_an_answer_can_be_deleted_with_all_that_belongs_to_it(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(short_first=True, samples=10))
    queue = FakeQueue(outcome=work)
    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO)
        short, answer = await ann.next_message(), await ann.next_message()
        for _ in range(4):
            await press(ann, answer, MORE)
        continued = await ann.next_message()
        await edited(ann, continued, lambda m: "50. " in m["text"])
        await press(ann, continued, DELETE)
        await eventually(lambda: not ann.bot_messages())
        deleted = {call.params["message_id"] for call in server.sent(ann.id, "deleteMessage")}
        assert deleted == {message["message_id"] for message in (short, answer, continued)}
    assert not any(key.startswith("answer:") for key in note_keys(tmp_path))


async def test_in_a_group_only_who_asked_and_administrators_delete(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Cats", ann, eve)
    answer = await answered(bob, GROUP, group)
    assert "Удалить это может только" in str(await press(olga, answer, "🗑 Delete"))
    assert len(group.bot_messages()) == 1
    await press(bob, answer, DELETE)
    await eventually(lambda: not group.bot_messages())
    answer = await answered(bob, GROUP, group)
    await press(eve, answer, DELETE)
    await eventually(lambda: not group.bot_messages())


async def test_what_telegram_does_not_delete_any_more_is_said(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    answer = await answered(ann)
    server.faults.add("deleteMessage", "too_old", times=1)
    await press(ann, answer, DELETE)
    assert "48 hours" in words(await ann.next_message())[0]
    await press(ann, answer, MORE)  # and its buttons go on working
    await edited(ann, answer, lambda m: "10. " in m["caption"])


async def test_captions_for_an_answer_that_was_deleted_meanwhile_are_not_sent(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    answer = await answered(ann)
    queue.open.clear()
    await press(ann, answer, MORE)
    await eventually(lambda: len(queue.jobs) == 2)
    await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())
    await asyncio.sleep(0)
    queue.open.set()
    await ann.send_text("/help")
    assert "/sample" in (await ann.next_message())["text"]


@pytest.mark.parametrize(
    ("button", "method"), [(WEIGHED, "sendPhoto"), (COLOURS, "sendPhoto"), (TAGS, "sendMessage"), (MORE, "sendMessage")]
)
async def test_what_is_being_sent_when_its_answer_is_deleted_goes_with_it(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, button: str, method: str
) -> None:
    answer = await answered(ann)
    others = {"colours": ColoursResult(SHEET), "tags": TagsResult((Tag("cat", 0.9, holds=True),))}
    queue.outcome = lambda job, media: others.get(job.task.NAME) or work(job, media)
    server.faults.add("editMessageCaption", "too_old")
    slow = server.faults.add(method, "delay", times=1, seconds=60.0)
    await ann.press(answer, button)
    await eventually(lambda: slow.fired)
    await press(ann, answer, DELETE)
    slow.over.set()
    await eventually(lambda: not waiting_in(tmp_path))
    assert ann.bot_messages() == []
    assert not re.search("'(answer|beside):", everything(tmp_path))


async def test_buttons_caption_the_photo_anew_when_the_note_of_the_answer_is_gone(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """After /forget, or 90 days. No caption is read out of the message."""
    answer = await answered(ann)
    forget_notes(tmp_path)
    await press(ann, answer, HEATMAP)
    assert words(await ann.next_message())[0].startswith("I no longer know which picture this was: ")
    await press(ann, answer, MORE)
    added = await ann.next_message()
    first = words(added)[0]
    task = photo_of(last(queue))
    assert (task.exclude, task.known) == ((), False)
    assert task.picture == ann.messages[1]["photo"][-1]["file_unique_id"]
    await press(ann, added, HEATMAP)
    await press(ann, await edited(ann, added, lambda m: BACK in button_rows(m)[-1]), "1")
    assert words(await ann.next_message())[0] == first
    await press(ann, answer, WEIGHED)
    await ann.next_message()
    assert (photo_of(last(queue)).explain, photo_of(last(queue)).beam) == ("", 10)  # of the caption that a photo gets


async def test_a_button_says_why_it_cannot_do_its_work(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    answer = await answered(ann)
    del ann.messages[answer["message_id"]]["reply_to_message"]  # the photo was deleted
    forget_notes(tmp_path, "answer:%")
    for button in (MORE, WEIGHED, COMPARE):
        await press(ann, answer, button)
        assert words(await ann.next_message())[0].startswith("I no longer know which picture this was: ")
    again = await answered(ann)
    forget_notes(tmp_path, "known:%")
    server.faults.add("getFile", "gone")
    await press(ann, again, HEATMAP)
    await press(ann, await edited(ann, again, lambda m: BACK in button_rows(m)[-1]), "1")
    assert "Telegram no longer gives me this file" in words(await ann.next_message())[0]


async def test_buttons_of_a_message_that_telegram_shows_no_more_still_work(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    forum = server.group("Forum", ann, is_forum=True)
    await ann.send_photo(PHOTO, GROUP, chat=forum, thread_id=7)
    answer = await forum.next_message()
    data = {
        button["text"]: button.get("callback_data", "")
        for row in answer["reply_markup"]["inline_keyboard"]
        for button in row
    }
    await ann.delete(answer)

    async def pressed(callback_data: str) -> Message:
        await ann.callback_answer(inaccessible(server, ann, answer, callback_data))
        message = await forum.next_message()
        assert message["message_thread_id"] == 7
        return message

    assert words(await pressed(data[COMPARE]))[3] == "perhaps: a dog on a sofa"
    assert words(await pressed(data[WEIGHED]))[0] == "a cat on a sofa"
    choice = await pressed(data[HEATMAP])
    assert words(choice)[1] == "2. a cat with 2 <legs>"
    await ann.press(choice, "2")
    assert words(await forum.next_message())[0] == "a cat with 2 <legs>"
    more = await pressed(data[MORE])
    assert words(more) == ["a cat with 6 <legs>", *(f"{n}. a cat with {n} <legs>" for n in range(7, 11))]
    await ann.press(more, MORE)
    await edited(forum, more, lambda m: "15. " in m["text"])
    await ann.callback_answer(inaccessible(server, ann, answer, "am:forgotten"))
    assert "no longer know which picture" in words(await forum.next_message())[0]
    await ann.callback_answer(inaccessible(server, ann, more, data[DELETE]))
    await eventually(lambda: more["message_id"] not in forum.messages)


async def test_more_captions_that_are_out_are_not_added_again(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot ends after it has added them, before that is written down."""
    queue, hanging = FakeQueue(outcome=work), asyncio.Event()

    async def hangs(_: str) -> None:
        hanging.set()
        await asyncio.Event().wait()

    async with running_bot(server, queue, tmp_path, grace=0.2):
        answer = await answered(ann)
        await eventually(lambda: not queue.admitted)
        with monkeypatch.context() as patched:
            patched.setattr(queue, "forget", hangs)
            await press(ann, answer, MORE)
            await edited(ann, answer, lambda m: "10. " in m["caption"])
            await hanging.wait()
    async with running_bot(server, queue, tmp_path):
        await eventually(lambda: not queue.admitted)
        assert "11. " not in ann.messages[answer["message_id"]]["caption"]
        await press(ann, answer, MORE)
        await edited(ann, answer, lambda m: "15. " in m["caption"] and "16. " not in m["caption"])
    assert ["answered twice" in warning for warning in server.warnings] == [True]  # Telegram minds it no more than that
    server.warnings.clear()


async def test_the_settings_of_a_chat_are_obeyed(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    bob = server.person("Bob")
    await keep(tmp_path, ann.id, ChatSettings(samples=2, strategy="top-p", temperature=1.1, beam=False, heatmap=False))
    await keep(tmp_path, bob.id, ChatSettings(model="baseline"))
    queue = FakeQueue(outcome=work)
    async with running_bot(server, queue, tmp_path):
        answer = await answered(ann)
        assert words(answer)[2:] == ["1. a cat with 1 <legs>", "2. a cat with 2 <legs>"]
        assert "photo" not in answer
        task, nucleus = photo_of(last(queue)), Sampling(temperature=1.1, top_k=0, top_p=0.9)
        assert (task.model, task.samples, task.sampling) == ("attention", 2, nucleus)
        assert (task.beam, task.sheet) == (None, False)
        await press(ann, answer, MORE)
        await edited(ann, answer, lambda m: "4. " in m["text"])
        assert (photo_of(last(queue)).samples, photo_of(last(queue)).sampling) == (2, nucleus)
        await answered(bob)
        task = photo_of(last(queue))
        assert (task.model, task.beam, task.sheet) == ("baseline", 10, False)


async def test_a_short_answer_comes_first_and_a_voice_last(
    server: FakeTelegram, ann: Person, tmp_path: Path, voice: Spoken
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(short_first=True, voice=True))
    queue = FakeQueue(outcome=lambda job, media: captions(greedy="a <cat>", sheet=SHEET))
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        short, answer, spoken = [await ann.next_message() for _ in range(3)]
        assert (short["text"], "entities" in short) == ("a <cat>", False)
        assert words(answer)[:2] == ["a <cat>", "fairly sure (47 %)"]
        assert spoken["voice"]["duration"] == 2
        assert voice.texts == ["a <cat>"]
        assert {replied(message) for message in (short, answer, spoken)} == {photo["message_id"]}
        await press(ann, answer, DELETE)
        await eventually(lambda: not ann.bot_messages())


@pytest.mark.usefixtures("voice")
async def test_a_voice_that_is_switched_on_in_the_menu_is_heard(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(outcome=work), tmp_path):
        await ann.send_text("/settings")
        assert await press(ann, await ann.next_message(), "Voice message: off") == "Voice message: on"
        await ann.send_photo(PHOTO)
        await ann.wait_for(lambda m: "voice" in m, 60)


@pytest.mark.parametrize("broken", ["sendPhoto", "sendVoice"])
@pytest.mark.usefixtures("voice")
async def test_a_part_that_is_out_is_not_sent_again(
    server: FakeTelegram, ann: Person, tmp_path: Path, broken: str
) -> None:
    """The bot ends between the messages of an answer."""
    await keep(tmp_path, ann.id, ChatSettings(short_first=True, voice=True))
    queue = FakeQueue(outcome=work)
    fault = server.faults.add(broken, "500")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await ann.send_photo(PHOTO)
        await eventually(lambda: fault.fired)
    server.faults.clear()
    async with running_bot(server, queue, tmp_path):
        await ann.wait_for(lambda m: "voice" in m, 60)
        await eventually(lambda: not queue.admitted)
    kinds = ("text", "photo", "voice")
    assert [next(kind for kind in kinds if kind in message) for message in ann.bot_messages()] == list(kinds)


@pytest.mark.parametrize("kind", ["answer", "rated", "history", "parts", "beside", "about"])
@pytest.mark.usefixtures("voice")
async def test_an_answer_that_cannot_be_noted_is_not_sent_again(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    keep_notes = SqliteStorage.note_all
    failed: list[str] = []

    async def note_all(self: SqliteStorage, chat_id: int, notes: Sequence[Note]) -> None:
        if notes[0].key.startswith(f"{kind}:") and len(failed) < 3:
            failed.append(kind)
            raise StorageError("the disk is full")
        await keep_notes(self, chat_id, notes)

    monkeypatch.setattr(SqliteStorage, "note_all", note_all)
    await keep(tmp_path, ann.id, ChatSettings(history=True, voice=True))
    async with running_bot(server, FakeQueue(outcome=work), tmp_path):
        answer = await answered(ann)
        await eventually(lambda: len(ann.bot_messages()) == 2 and not waiting_in(tmp_path))
        await ann.press(answer, WEIGHED)
        await eventually(lambda: failed and len(ann.bot_messages()) == 3 and not waiting_in(tmp_path))
    assert len(ann.bot_messages()) == 3


@pytest.mark.usefixtures("voice")
async def test_who_takes_no_voice_messages_gets_the_answer(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    await keep(tmp_path, ann.id, ChatSettings(voice=True))
    server.faults.add("sendVoice", "blocked")
    queue = FakeQueue(outcome=work)
    async with running_bot(server, queue, tmp_path):
        assert words(await answered(ann))[0] == "a cat on a sofa"
        await eventually(lambda: not queue.admitted)
    assert len(ann.bot_messages()) == 1
