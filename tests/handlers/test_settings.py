"""/settings and /language: a menu that edits itself, as people see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.answers.keyboards import OpenSettings
from bot.answers.settings_menu import MenuPress
from bot.answers.status import Rhythm
from bot.chat_settings import LANGUAGE_NAMES, SETTINGS, ChatSettings, written
from bot.i18n import create_i18n
from model.errors import NotAnImage
from tests.support.conversation import becomes, buttons, menu_of, press, tampered
from tests.support.fake_queue import FakeQueue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.pictures import PHOTO
from tests.support.records import kept
from tests.support.voices import Spoken


class Mute:
    async def available(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed where the tests run."""
    monkeypatch.setattr("bot.app.Voice", Mute)


def edits(server: FakeTelegram) -> int:
    return len([call for call in server.calls if call.method == "editMessageText"])


async def test_settings_are_told_in_words_and_on_buttons(queue: FakeQueue, ann: Person) -> None:
    question = await ann.send_text("/settings")
    menu = await ann.next_message()
    assert menu["reply_to_message"]["message_id"] == question["message_id"]
    lines = [
        "Model: attention",
        "Other captions: 5",
        "Words by: likeliest (top-k)",
        "Temperature: 0.6",
        "Main caption: thorough (beam)",
        "Heatmap: on",
        "Language: as in Telegram",
        "Captions in: the same language",
        "Voice message: not available",
        "Short answer first: off",
        "Alt text: off",
        "History: off",
    ]
    assert menu["text"].split("\n\n")[1].split("\n") == lines
    assert buttons(menu) == [*lines, "↺ Reset all", "✖ Close"]
    assert "the program that speaks is not installed" in menu["text"]


async def test_a_choice_is_opened_made_and_left_in_one_message(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    menu = await menu_of(ann)
    assert await press(ann, menu, "Temperature: 0.6") is None
    page = await becomes(ann, menu, "the more varied")
    assert page["text"].startswith("Temperature: 0.6\n")
    assert buttons(page) == ["0.3", "✓ 0.6", "0.8", "1.0", "1.2", "1.5", "◀ All settings", "✖ Close"]
    assert await press(ann, menu, "1.2") == "Temperature: 1.2"
    page = await becomes(ann, menu, "Temperature: 1.2\n")
    assert "✓ 1.2" in buttons(page)
    await press(ann, menu, "◀ All settings")
    assert "Temperature: 1.2" in buttons(await becomes(ann, menu, "Settings of this chat"))
    await press(ann, menu, "✖ Close")
    await eventually(lambda: not ann.bot_messages())


@pytest.mark.parametrize("name", [each.name for each in SETTINGS if not each.is_switch])
async def test_each_choice_of_each_setting_is_kept(
    server: FakeTelegram, ann: Person, tmp_path: Path, name: str
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        assert await tampered(ann, menu, MenuPress(do="show", name=name).pack()) is None
        assert await server.until(lambda: edits(server) or None, 60)
        page = server.stored_message(menu)
        rows = page["reply_markup"]["inline_keyboard"]
        for data in [each["callback_data"] for row in rows for each in row if ":set:" in each["callback_data"]]:
            assert len(data.encode()) <= 64
            assert await press(ann, menu, data)
            await eventually(partial(_is_marked, server, menu, data))
    [last] = [list(each.choices)[-1] for each in SETTINGS if each.name == name]
    assert getattr(await kept(tmp_path, ann.id), name) == last


def _is_marked(server: FakeTelegram, menu: Message, data: str) -> bool:
    rows = server.stored_message(menu)["reply_markup"]["inline_keyboard"]
    return any(each["callback_data"] == data and each["text"].startswith("✓") for row in rows for each in row)


async def test_switches_switch_and_say_so(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        for before, after in (
            ("Main caption: thorough (beam)", "Main caption: quick (greedy)"),
            ("Heatmap: on", "Heatmap: off"),
            ("Short answer first: off", "Short answer first: on"),
        ):
            assert await press(ann, menu, before) == after
            assert after in buttons(await becomes(ann, menu, after))
    assert await kept(tmp_path, ann.id) == ChatSettings(beam=False, heatmap=False, short_first=True)


async def test_what_is_chosen_already_changes_nothing(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    menu = await menu_of(ann)
    await press(ann, menu, "Model: attention")
    await becomes(ann, menu, "one part of the picture after another")
    done = edits(server)
    assert await press(ann, menu, "✓ attention") == "Model: attention"
    await press(ann, menu, "✓ attention")
    await menu_of(ann)
    assert edits(server) == done


async def test_a_press_that_counts_twice_is_as_one(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    """Such as when the bot is killed between the change and its answer, or the button is pressed twice."""
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        off = MenuPress(do="set", name="heatmap", value="0").pack()
        for _ in range(2):
            await tampered(ann, menu, off)
        await becomes(ann, menu, "Heatmap: off")
    assert await kept(tmp_path, ann.id) == ChatSettings(heatmap=False)


async def test_presses_at_the_same_time_are_all_kept(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        changes = [("heatmap", "0"), ("beam", "0"), ("short_first", "1"), ("samples", "8"), ("model", "baseline")]
        await asyncio.gather(
            *(tampered(ann, menu, MenuPress(do="set", name=name, value=value).pack()) for name, value in changes)
        )
    expected = ChatSettings(heatmap=False, beam=False, short_first=True, samples=8, model="baseline")
    assert await kept(tmp_path, ann.id) == expected


async def test_settings_outlive_the_bot_and_are_the_chats_own(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        await press(ann, menu, "Short answer first: off")
    async with running_bot(server, FakeQueue(), tmp_path):
        assert "Short answer first: on" in (await menu_of(ann))["text"]
        assert "Short answer first: off" in (await menu_of(server.person("Bob")))["text"]
        assert await press(ann, menu, "↺ Reset all") == "All settings are back to their defaults."
        await becomes(ann, menu, "Short answer first: off")
    assert await kept(tmp_path, ann.id) == ChatSettings()


async def test_the_baseline_model_has_no_heatmap_and_the_menu_says_so(queue: FakeQueue, ann: Person) -> None:
    menu = await menu_of(ann)
    await press(ann, menu, "Model: attention")
    await becomes(ann, menu, "one part of the picture after another")
    assert await press(ann, menu, "baseline") == "Model: baseline"
    await becomes(ann, menu, "Model: baseline")
    await press(ann, menu, "◀ All settings")
    shown = await becomes(ann, menu, "Heatmap: none with this model")
    assert "choose the attention model" in shown["text"]
    assert "choose the attention model" in str(await press(ann, menu, "Heatmap: none with this model"))
    await press(ann, menu, "Model: baseline")
    await becomes(ann, menu, "one part of the picture after another")
    await press(ann, menu, "attention")
    await becomes(ann, menu, "Model: attention")
    await press(ann, menu, "◀ All settings")
    await becomes(ann, menu, "Heatmap: on")  # as it was


async def test_help_tells_of_heatmaps_where_the_chat_has_them(queue: FakeQueue, ann: Person) -> None:
    await ann.send_text("/help")
    assert "where in yours I find" in (await ann.next_message())["text"]
    await press(ann, await menu_of(ann), "Heatmap: on")
    await ann.send_text("/Help")
    assert "where in yours I find" not in (await ann.next_message())["text"]


async def test_the_operators_model_is_the_one_shown(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path, model="baseline"):
        menu = await menu_of(ann)
        assert "Model: baseline" in menu["text"]
        await press(ann, menu, "Model: baseline")
        await becomes(ann, menu, "one part of the picture after another")
        await press(ann, menu, "✓ baseline")
    assert (await kept(tmp_path, ann.id)).model == ""


async def test_a_voice_that_is_missing_cannot_be_switched_on(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        said = await press(ann, menu, "Voice message: not available")
        assert said is not None
        assert "not installed where I run" in said
    assert not (await kept(tmp_path, ann.id)).voice


async def test_a_voice_that_is_there_is_switched_on_and_when_it_goes_off(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("bot.app.Voice", Spoken)
        async with running_bot(server, FakeQueue(), tmp_path):
            menu = await menu_of(ann)
            assert "not installed" not in menu["text"]
            assert await press(ann, menu, "Voice message: off") == "Voice message: on"
    assert (await kept(tmp_path, ann.id)).voice
    async with running_bot(server, FakeQueue(), tmp_path):
        await press(ann, await menu_of(ann), "Voice message: not available")
    assert not (await kept(tmp_path, ann.id)).voice


@pytest.mark.parametrize(
    "data",
    [
        "set:set:model:gpt",
        "set:set:temperature:99",
        "set:set:samples:-1",
        "set:set:samples:",
        "set:set:voice:yes",
        "set:set:beam:2",
        "set:set:__class__:1",
        "set:set:colour:red",
        "set:show:colour:",
        "set:show:voice:",
        "set:explode::",
        "set:set",
        "set::::::",
        "s:x",
    ],
)
async def test_tampered_presses_are_answered_and_change_nothing(
    server: FakeTelegram, ann: Person, tmp_path: Path, data: str
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann)
        assert await tampered(ann, menu, data) in (None, "There is no such choice here. Nothing was changed.")
        await menu_of(ann)
        assert edits(server) == 0
    assert await kept(tmp_path, ann.id) == ChatSettings()


async def test_a_menu_that_is_too_old_says_so(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    gone: dict[str, Any] = {"message_id": 3, "date": 0, "chat": ann.shape}
    said = await tampered(ann, gone, MenuPress(do="set", name="heatmap", value="0").pack())
    assert said == "This message is too old for its buttons. Please send the command again."
    assert await tampered(ann, gone, OpenSettings().pack()) == said


async def test_a_menu_that_can_no_longer_be_deleted_loses_its_buttons(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    menu = await menu_of(ann)
    server.faults.add("deleteMessage", "too_old", times=1)
    await press(ann, menu, "✖ Close")
    await eventually(lambda: "reply_markup" not in server.stored_message(menu))


async def test_the_button_under_an_answer_opens_the_settings_as_a_reply(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    await ann.send_photo(PHOTO)
    answer = await ann.next_message()
    assert await tampered(ann, answer, OpenSettings().pack()) is None
    menu = await ann.next_message()
    assert menu["text"].startswith("Settings of this chat")
    assert menu["reply_to_message"]["message_id"] == answer["message_id"]


# Languages


async def test_language_is_chosen_by_buttons_and_all_follows(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    menu = await menu_of(ann, "/language")
    assert menu["text"].startswith("Language: as in Telegram")
    captions = "Captions in: the same language"
    assert buttons(menu) == ["English", "Русский", "✓ as in Telegram", captions, "◀ All settings", "✖ Close"]
    assert await press(ann, menu, "Русский") == "Язык: Русский"
    page = await becomes(ann, menu, "На этом языке я здесь говорю")
    captions = "Язык описаний: тот же"
    assert buttons(page) == ["English", "✓ Русский", "как в Telegram", captions, "◀ Все настройки", "✖ Закрыть"]
    await ann.send_text("hello")
    assert "Пришлите мне фото" in (await ann.next_message())["text"]
    queue.outcome = lambda job, media: NotAnImage("x")
    await ann.send_photo(PHOTO)
    assert "не могу открыть как картинку" in (await ann.next_message())["text"]
    await press(ann, menu, "как в Telegram")
    await becomes(ann, menu, "Language: as in Telegram")
    await ann.send_text("hello")
    assert "Send me a photo" in (await ann.next_message())["text"]


async def test_the_language_of_a_chat_wins_over_those_of_its_people(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person
) -> None:
    group = server.group("Cats", ann)
    await olga.send_text("/start", chat=group)
    assert "Здравствуйте" in (await group.next_message())["text"]
    menu = await menu_of(ann, "/language", group)
    await press(ann, menu, "English")
    await becomes(ann, menu, "Language: English")
    await olga.send_text("/start", chat=group)
    assert "Hello" in (await group.next_message())["text"]
    await olga.send_text("/start")
    assert "Здравствуйте" in (await olga.next_message())["caption"]


async def test_words_sent_outside_of_handlers_follow_the_chats_language(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue(alive=0)
    async with running_bot(server, queue, tmp_path, rhythm=Rhythm(after=0.1)):
        await press(ann, await menu_of(ann, "/language"), "Русский")
        queue.open.clear()
        await ann.send_photo(PHOTO)
        assert "ждёт в очереди" in (await ann.next_message())["text"]
        queue.alive = 1
        queue.outcome = lambda job, media: RuntimeError("unforeseen")
        queue.open.set()
        assert "осталось без ответа" in (await ann.next_message())["text"]
        misunderstood = {"message_id": 99, "date": "yesterday", "chat": ann.shape, "from": ann.user, "text": "hello"}
        server.push("message", misunderstood)
        assert "осталось без ответа" in (await ann.next_message())["text"]


def test_every_language_of_the_interface_can_be_chosen_by_its_own_name() -> None:
    assert set(LANGUAGE_NAMES) == set(create_i18n().available_locales)


def test_every_setting_is_in_the_menu_and_fits_a_button() -> None:
    others = {"tags"}  # that /tags sets
    assert {setting.name for setting in SETTINGS} == set(ChatSettings.__dataclass_fields__) - others
    for setting in SETTINGS:
        for value in setting.choices:
            data = MenuPress(do="set", name=setting.name, value=written(value)).pack()
            assert len(data.encode()) <= 64
            assert setting.parse(MenuPress.unpack(data).value) == value
            assert getattr(ChatSettings.of(json.loads(json.dumps({setting.name: value}))), setting.name) == value


async def test_the_menu_in_russian(queue: FakeQueue, olga: Person) -> None:
    menu = await menu_of(olga)
    assert _lines(menu["text"])[:3] == [
        "Модель: с вниманием",
        "Других описаний: 5",
        "Подбор слов: самые вероятные (top-k)",
    ]


def _lines(text: str) -> Sequence[str]:
    return text.split("\n\n")[1].split("\n")
