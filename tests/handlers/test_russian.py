"""Captions in Russian, from the settings to every kind of answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import soundfile

from bot.answers.keyboards import InEnglish
from bot.chat_settings import CaptionLanguage, ChatSettings
from model import speech
from model.serving.jobs import Job, Outcome
from model.serving.tasks.album import AlbumResult, AlbumTask
from model.serving.tasks.photo import PhotoResult, WireCaption
from tests.support.conversation import (
    ONLY_ADMINISTRATORS,
    answered,
    becomes,
    button_rows,
    buttons,
    edited,
    menu_of,
    press,
    tampered,
    words,
)
from tests.support.fake_queue import Decide, FakeQueue, captions, eventually, last, next_answer, running_bot, worked
from tests.support.fake_telegram import FakeTelegram, Message, Person, caption_part
from tests.support.jobs import photo_of
from tests.support.local_queue import clip_result
from tests.support.pictures import PHOTO, SHEET
from tests.support.records import keep, kept
from tests.support.russian import translating
from tests.support.voices import Spoken

pytestmark = pytest.mark.usefixtures("unpaced")

BOT = "@captions_test_bot"
ENGLISH, COPY, MORE = "🔤 По-английски", "📋 Скопировать", "🎲 Ещё описания"
HEATMAP, HEATMAPS, WEIGHED = "🔥 Тепловая карта", "🔥 Тепловые карты", "📊 Варианты слов"
NBSP = "\N{NO-BREAK SPACE}"
CAT = f"кошка на{NBSP}диване"  # "a cat on a sofa"
NOTE = f"(без{NBSP}перевода)"
LEGS = [f"кошка с{NBSP}{number} <лапами>" for number in range(6)]


def found(job: Job, media: bytes) -> Outcome | Exception:
    if job.line == "clip":
        return clip_result()
    if isinstance(job.task, AlbumTask):
        return AlbumResult(SHEET, len(job.task.captions))
    return worked(job, media, sheet=SHEET, chart=SHEET)


@pytest.fixture
def outcome() -> Decide:
    return translating(found)


def language(queue: FakeQueue) -> str:
    """Of the last job."""
    return str(getattr(last(queue).task, "language", None))


def data_of(message: Message, label: str) -> str:
    rows = message["reply_markup"]["inline_keyboard"]
    return next(str(button["callback_data"]) for row in rows for button in row if button["text"] == label)


async def original(person: Person, message: Message) -> list[str]:
    """What the button says that shows the English captions."""
    before = {each["message_id"] for each in person.bot_messages()}
    await press(person, message, ENGLISH)
    return words(await person.wait_for(lambda m: m.get("text", "")[:3] == "По-" and m["message_id"] not in before))


# Settings


@pytest.mark.parametrize(
    ("person", "chat", "operator", "expected"),
    [
        ("en", ChatSettings(), "auto", "en"),
        ("ru", ChatSettings(), "auto", "ru"),
        ("de", ChatSettings(), "auto", "en"),
        ("en", ChatSettings(language="ru"), "auto", "ru"),
        ("ru", ChatSettings(caption_language="en"), "auto", "en"),
        ("en", ChatSettings(caption_language="ru"), "en", "ru"),
        ("ru", ChatSettings(), "en", "en"),
        ("en", ChatSettings(), "ru", "ru"),
        ("ru", ChatSettings(caption_language="auto"), "en", "ru"),
    ],
)
async def test_captions_are_asked_for_in_the_language_of_the_chat_or_of_the_person(
    server: FakeTelegram, tmp_path: Path, person: str, chat: ChatSettings, operator: CaptionLanguage, expected: str
) -> None:
    ann, queue = server.person("Ann", language_code=person), FakeQueue(translating(found))
    await keep(tmp_path, ann.id, chat)
    async with running_bot(server, queue, tmp_path, caption_language=operator):
        assert words(await answered(ann))[0] == {"ru": CAT, "en": "a cat on a sofa"}[expected]
    assert language(queue) == expected


@pytest.mark.parametrize(
    ("code", "command", "page", "line", "chosen", "other"),
    [
        ("en", "/language", "Captions in: the same language", "Captions in: {}", "Русский", "Language: as in Telegram"),
        ("ru", "/settings", "Язык описаний: тот же", "Язык описаний: {}", "English", "Язык: как в Telegram"),
    ],
)
async def test_the_language_of_captions_is_chosen_apart(
    server: FakeTelegram,
    queue: FakeQueue,
    tmp_path: Path,
    code: str,
    command: str,
    page: str,
    line: str,
    chosen: str,
    other: str,
) -> None:
    person = server.person("P", language_code=code)
    menu = await menu_of(person, command)
    await press(person, menu, page)
    assert other in buttons(await becomes(person, menu, f"{page}\n"))
    assert await press(person, menu, chosen) == line.format(chosen)
    await becomes(person, menu, line.format(chosen))
    assert (await kept(tmp_path, person.id)).language == ""
    await answered(person)
    assert language(queue) == {"en": "ru", "ru": "en"}[code]
    await press(person, menu, other)  # and from there to the language of the interface
    await becomes(person, menu, f"{other}\n")


async def test_in_a_group_each_is_answered_in_their_own_language_unless_an_administrator_chose_one(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person
) -> None:
    group = server.group("Cats", ann)
    for person, expected in ((ann, "en"), (olga, "ru")):
        await answered(person, BOT, group)
        assert language(queue) == expected
    menu = await menu_of(ann, "/language", group)
    await press(ann, menu, "Captions in: the same language")
    await becomes(ann, menu, "Captions in: the same language\n")
    assert await press(olga, menu, "English") not in (None, "Captions in: English")
    assert await press(ann, menu, "English") == "Captions in: English"
    await answered(olga, BOT, group)
    assert language(queue) == "en"
    assert await press(server.person("Bob"), menu, "Русский") == ONLY_ADMINISTRATORS


# Answers


async def test_english_answers_are_as_they_were_before_there_was_a_choice(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    answer = await answered(ann)
    upload = next(call for call in server.sent(ann.id, "sendPhoto"))
    expected = [f"{number}. a cat with {number} &lt;legs&gt;" for number in range(1, 6)]
    assert upload.params["caption"] == "\n".join(["<b>a cat on a sofa</b>", "fairly sure (47 %)", *expected])
    assert button_rows(answer) == [
        ["🎲 More captions", "🔥 Heatmap"],
        ["📊 Words weighed", "🎨 Colours"],
        ["🏷 Tags", "↔ Compare models"],
        ["📋 Copy"],
        ["⚙ Settings", "🗑 Delete"],
    ]


async def test_a_photo_and_all_its_buttons_in_russian(server: FakeTelegram, queue: FakeQueue, olga: Person) -> None:
    answer = await answered(olga)
    assert words(answer) == [CAT, "скорее уверен (47 %)", *(f"{n}. {LEGS[n]}" for n in range(1, 6))]
    row = next(row for row in answer["reply_markup"]["inline_keyboard"] if row[0]["text"] == COPY)
    assert row[0]["copy_text"] == {"text": "кошка на диване"}
    english = ["a cat on a sofa", *(f"{n}. a cat with {n} <legs>" for n in range(1, 6))]
    assert await original(olga, answer) == ["По-английски, до перевода:", *english]
    await press(olga, answer, MORE)
    answer = await edited(olga, answer, lambda m: "10. " in m["caption"])
    assert words(answer)[7] == f"6. кошка с{NBSP}6 <лапами>"
    assert photo_of(last(queue)).exclude == ("a cat on a sofa", *(f"a cat with {n} <legs>" for n in range(1, 6)))
    assert (await original(olga, answer))[-1] == "10. a cat with 10 <legs>"
    await press(olga, answer, HEATMAP)
    await edited(olga, answer, lambda m: "3" in buttons(m))
    await press(olga, answer, "3")
    assert await olga.wait_for(lambda m: m.get("caption", "").startswith(f"{LEGS[3]}\nНа картинке показано"))
    assert (photo_of(last(queue)).explain, language(queue)) == ("a cat with 3 <legs>", "ru")
    await press(olga, answer, "◀ Назад")
    answer = await edited(olga, answer, lambda m: ENGLISH in buttons(m))
    await press(olga, answer, WEIGHED)
    chart = await olga.wait_for(lambda m: "←" in m.get("caption", ""))
    assert words(chart)[0] == CAT
    assert "кошка ← <cat> 41 % (dog 22 %, man 20 %, sofa 10 %)" in words(chart)
    assert "Слова я подбираю английские" in words(chart)[1]
    await press(olga, answer, "↔ Сравнить модели")
    compared = await olga.wait_for(lambda m: "без внимания" in m.get("text", ""))
    assert words(compared)[::3] == [CAT, f"возможно: собака на{NBSP}диване"]


async def test_buttons_keep_the_language_of_their_answer(server: FakeTelegram, queue: FakeQueue, olga: Person) -> None:
    answer = await answered(olga)
    await olga.send_video(b"mp4", duration=64)
    timeline = await olga.wait_for(lambda m: "момента" in m.get("caption", ""), 60)
    await olga.send_text("/settings")
    menu = await olga.wait_for(lambda m: "Язык описаний: тот же" in buttons(m))
    await press(olga, menu, "Язык описаний: тот же")
    await becomes(olga, menu, "Язык описаний: тот же\n")
    await press(olga, menu, "English")
    await press(olga, answer, MORE)
    await edited(olga, answer, lambda m: f"6. кошка с{NBSP}6" in m["caption"])
    await press(olga, timeline, "📄 Все описания")
    await olga.wait_for(lambda m: "document" in m, 60)
    assert language(queue) == "ru"
    await olga.send_photo(PHOTO)
    await olga.wait_for(lambda m: m.get("caption", "").startswith("a cat"), 60)
    assert language(queue) == "en"


async def test_buttons_keep_the_language_of_who_asked_whoever_presses_them(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person
) -> None:
    group = server.group("Cats", ann)
    answer = await answered(ann, "@captions_test_bot", group)
    await press(olga, answer, "🔥 Heatmap")
    assert buttons(await edited(group, answer, lambda m: "3" in buttons(m)))[-1] == "◀ Back"
    await press(olga, answer, "◀ Back")
    assert button_rows(await edited(group, answer, lambda m: "3" not in buttons(m))) == button_rows(answer)
    await press(olga, answer, "🎲 More captions")
    longer = await edited(group, answer, lambda m: "10. " in m["caption"])
    assert button_rows(longer) == button_rows(answer)
    await press(olga, answer, "🔥 Heatmap")
    await press(olga, answer, "3")
    assert words(await group.wait_for(lambda m: "На картинке" in m.get("caption", "")))  # what is said to her


async def test_sampled_captions_in_russian_never_read_alike(queue: FakeQueue, olga: Person) -> None:
    await answered(olga)
    queue.outcome = translating(lambda job, media: captions("a cat", "the cat", "a dog", "a cat sits"))
    await olga.send_text("/sample 4")
    answer = await olga.next_message()
    assert words(answer) == ["кошка", "2. собака", "3. кошка сидит"]
    assert await original(olga, answer) == ["По-английски, до перевода:", "1. a cat", "2. a dog", "3. a cat sits"]
    queue.outcome = translating(lambda job, media: captions("the dog", "a dog", "the small animal"))
    await press(olga, answer, MORE)
    answer = await edited(olga, answer, lambda m: "4. " in m["text"])
    assert words(answer)[3:] == ["4. маленький зверь"]
    assert set(photo_of(last(queue)).exclude or ()) == {"a cat", "the cat", "a dog", "a cat sits"}


@pytest.mark.parametrize(("model", "sheet"), [("attention", True), ("baseline", False)])
async def test_an_album_in_russian(
    server: FakeTelegram,
    olga: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    voice: Spoken,
    model: str,
    sheet: bool,
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.3)
    queue = FakeQueue(translating(found))
    await keep(tmp_path, olga.id, ChatSettings(voice=True))
    async with running_bot(server, queue, tmp_path, model=model):
        await olga.send_album([PHOTO] * 2)
        answer = await next_answer(olga)
        assert words(answer) == [f"{number}. {CAT} · скорее уверен (47 %)" for number in (1, 2)]
        english = ["По-английски, до перевода:", "1. a cat on a sofa", "2. a cat on a sofa"]
        assert await original(olga, answer) == english
        assert (HEATMAPS in buttons(answer)) is sheet
        if sheet:
            await press(olga, answer, HEATMAPS)
            drawn = await olga.wait_for(lambda m: "photo" in m and m["from"]["is_bot"])
            assert words(drawn)[:-1] == [f"{number}. {CAT}" for number in (1, 2)]
            assert words(drawn)[-1].startswith("На картинке показано")
            assert language(queue) == "ru"
            assert button_rows(await edited(olga, answer, lambda m: HEATMAPS not in buttons(m)))[0] == [ENGLISH]
        await eventually(lambda: voice.texts)
    assert (voice.texts, voice.languages) == ([f"1. {CAT}. 2. {CAT}"], ["ru"])


async def test_a_clip_in_russian(server: FakeTelegram, olga: Person, tmp_path: Path, voice: Spoken) -> None:
    queue = FakeQueue(translating(found, "scene <1>"))
    await keep(tmp_path, olga.id, ChatSettings(voice=True, short_first=True))
    async with running_bot(server, queue, tmp_path):
        await olga.send_video(b"mp4", duration=64)
        timeline = await olga.wait_for(lambda m: "момента" in m.get("caption", ""), 60)
        moments = ["сцена <0>", f"scene <1> {NOTE}", "сцена <2>"]
        short, *album = [m for m in olga.bot_messages() if m["message_id"] < timeline["message_id"]]
        assert words(short) == moments
        assert [m["caption"] for m in album] == [f"{text} · 0:{8 * n:02}" for n, text in enumerate(moments)]
        assert (await original(olga, timeline))[1:] == ["0:00 scene <0>", "0:08 scene <1>", "0:16 scene <2>"]
        await press(olga, timeline, "📄 Все описания")
        file = await olga.wait_for(lambda m: "document" in m, 60)
        lines = server.file_bytes(file["document"]["file_id"]).decode().splitlines()
        assert lines[:2] == ["* 0:00  сцена <0>  [scene <0>]", f"* 0:08  scene <1> {NOTE}"]
        await eventually(lambda: voice.texts)
    assert (voice.texts, voice.languages) == (["сцена <0>. scene <1>. сцена <2>"], ["ru"])


# Translations that cannot be trusted, and doubtful captions

DOUBTFUL = WireCaption("a cat on a sofa", 0.2, beginning="a cat")
WHOLE, UNTRANSLATED = f"возможно, целиком: {CAT}", f"возможно, целиком: a cat on a sofa {NOTE}"


@pytest.mark.parametrize(
    ("caption", "refused", "shown", "copied", "spoken"),
    [
        (captions().greedy, "a cat on a sofa", [f"a cat on a sofa {NOTE}"], "a cat on a sofa", "a cat on a sofa"),
        (DOUBTFUL, "", ["возможно: кошка", WHOLE], "кошка на диване", "возможно: кошка"),
        (DOUBTFUL, "a cat", [f"возможно: a cat {NOTE}", WHOLE], "кошка на диване", "perhaps: a cat"),
        (DOUBTFUL, "a cat on a sofa", ["возможно: кошка", UNTRANSLATED], "a cat on a sofa", "возможно: кошка"),
    ],
)
async def test_what_cannot_be_translated_stays_english_with_a_note(
    server: FakeTelegram,
    olga: Person,
    tmp_path: Path,
    voice: Spoken,
    caption: WireCaption,
    refused: str,
    shown: list[str],
    copied: str,
    spoken: str,
) -> None:
    queue = FakeQueue(translating(lambda *_: PhotoResult(caption, ()), refused))
    await keep(tmp_path, olga.id, ChatSettings(voice=True))
    async with running_bot(server, queue, tmp_path):
        answer = await answered(olga)
        said = words(answer)
        assert [said[0], *said[2:]] == shown
        row = next(row for row in answer["reply_markup"]["inline_keyboard"] if row[0]["text"] == COPY)
        assert row[0]["copy_text"] == {"text": copied}
        assert (ENGLISH in buttons(answer)) == (copied != "a cat on a sofa")
        await eventually(lambda: voice.texts)
    assert (voice.texts, voice.languages) == ([spoken], ["ru" if spoken[0] > "z" else "en"])


async def test_a_translation_is_spoken_by_the_russian_voice(server: FakeTelegram, olga: Person, tmp_path: Path) -> None:
    """By the engine itself, in a process of its own."""
    await keep(tmp_path, olga.id, ChatSettings(voice=True))
    queue = FakeQueue(translating(lambda *_: PhotoResult(WireCaption("a cat on a sofa", 0.9), ()), ""))
    async with running_bot(server, queue, tmp_path):
        await answered(olga)
        spoken = await olga.wait_for(lambda now: "voice" in now, 300)
        sound = server.file_bytes(spoken["voice"]["file_id"])
    said = {language: speech.speak(CAT, language) for language in ("ru", "en")}
    samples = {name: len(soundfile.read(io.BytesIO(each))[0]) for name, each in {**said, "bot": sound}.items()}
    assert samples["bot"] == samples["ru"] != samples["en"]


@pytest.mark.parametrize(
    ("refused", "shown"),
    [("", f"Кошка на{NBSP}диване."), ("a cat on a sofa", f"A cat on a sofa.\n{NOTE}")],
)
async def test_an_alt_text_in_russian(
    server: FakeTelegram, olga: Person, tmp_path: Path, refused: str, shown: str
) -> None:
    await keep(tmp_path, olga.id, ChatSettings(alt_text=True))
    async with running_bot(server, FakeQueue(translating(found, refused)), tmp_path):
        assert (await answered(olga))["text"] == shown


# The English captions


async def test_the_english_captions_go_with_their_answer_and_are_about_the_same_photo(
    server: FakeTelegram, queue: FakeQueue, olga: Person
) -> None:
    answer, other = await answered(olga), await answered(olga)
    await press(olga, answer, ENGLISH)
    shown = await olga.wait_for(lambda m: m.get("text", "").startswith("По-английски"))
    await olga.send_text("/sample 1", reply_to=shown)
    await olga.wait_for(lambda m: m.get("text") == LEGS[1], 60)
    pressed = data_of(answer, ENGLISH)
    before = len(olga.bot_messages())
    await tampered(olga, other, pressed)  # it stands not there
    await eventually(lambda: len(olga.bot_messages()) == before + 1)
    assert "больше не знаю" in olga.bot_messages()[-1]["text"]
    await press(olga, answer, "🗑 Удалить")
    await eventually(lambda: {answer["message_id"], shown["message_id"]}.isdisjoint(olga.messages))
    before = len(olga.bot_messages())
    assert await tampered(olga, answer, pressed) is None
    await olga.send_text("/help")
    await olga.wait_for(lambda m: "/sample 8 t=1.2" in m.get("text", ""))
    assert len(olga.bot_messages()) == before + 1


async def test_a_forged_button_under_an_english_answer_shows_nothing(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    key = data_of(answer, "🗑 Delete").split(":")[1]
    await tampered(ann, answer, InEnglish(key=key).pack())
    assert "no longer know" in (await ann.next_message())["text"]


async def test_a_live_photo_in_russian(queue: FakeQueue, olga: Person) -> None:
    await olga.send_live_photo(PHOTO, b"moving")
    answer = await olga.next_message()
    assert (await original(olga, answer))[1] == "a cat on a sofa"
    await press(olga, answer, "▶ Как ролик")
    timeline = await olga.wait_for(lambda m: "момента" in m.get("caption", ""), 60)
    assert (await original(olga, timeline))[1] == "0:00 scene <0>"


# Elsewhere


async def test_a_guest_is_answered_in_russian_and_can_copy_the_english_caption(
    server: FakeTelegram, queue: FakeQueue, olga: Person
) -> None:
    message = server.elsewhere(olga, server.store_photo(PHOTO) | caption_part(BOT))
    answer = await server.guest_answer(server.push_guest(message), lambda m: m["text"].startswith(CAT))
    [row] = answer["reply_markup"]["inline_keyboard"]
    assert [button["copy_text"]["text"] for button in row] == ["кошка на диване", "a cat on a sofa"]


async def test_history_remembers_what_was_read(
    server: FakeTelegram, queue: FakeQueue, olga: Person, tmp_path: Path
) -> None:
    await press(olga, await menu_of(olga), "История: нет")
    await answered(olga)
    offered = (await server.inline(olga, "диван"))["results"]
    assert [each["sent"]["caption"] for each in offered] == [CAT]
