"""Every kind of note is declared in one list, and /forget finds all that are one person's."""

import ast
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.answers.notes import Answer, Page, Subject
from bot.config import Settings
from bot.storage.chats import Note, Picture, Storage
from bot.storage.notes import (
    ABOUT,
    ALBUM_HEATMAP,
    ANSWER,
    BESIDE,
    CLIP,
    DELETED,
    FOUND,
    KINDS,
    KNOWN,
    forget_answer,
    forget_person,
)
from bot.storage.opening import open_memory
from tests.conftest import ROOT

CHAT, ANN, BOB = -100, 7, 8
PICTURE = Picture("file", "unique", 12)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with open_memory(Settings(data_dir=tmp_path), 1) as (_, storage):
        yield storage


def answer(user: int) -> Answer:
    return Answer(PICTURE, user, "attention", "a cat", ("a dog",), (Page("<b>a cat</b>", (1, 2), 5),))


async def test_a_dataclass_comes_back_as_it_was_kept(storage: Storage) -> None:
    await ANSWER.keep(storage, CHAT, "key", answer(ANN))
    await CLIP.keep(storage, CHAT, "key", Subject(PICTURE, ANN, clip=True))
    await BESIDE.keep(storage, CHAT, "key", [1, 2])
    await KNOWN.keep(storage, CHAT, "unique")
    assert await ANSWER.find(storage, CHAT, "key", Answer.of) == answer(ANN)
    assert await CLIP.find(storage, CHAT, "key", Subject.of) == Subject(PICTURE, ANN, clip=True)
    assert await BESIDE.find(storage, CHAT, "key", list) == [1, 2]
    assert await KNOWN.exists(storage, CHAT, "unique")
    assert not await KNOWN.exists(storage, CHAT, "other")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"captions": 3}'])
async def test_a_note_of_another_version_counts_as_none(storage: Storage, text: str) -> None:
    await storage.note_all(CHAT, [Note("answer:key", text, 60.0)])
    assert await ANSWER.find(storage, CHAT, "key", Answer.of) is None


async def test_notes_of_earlier_versions_are_understood(storage: Storage) -> None:
    earlier = {
        "known:unique": "1",
        "deleted:key": "",
        "clip:key": '{"file_id": "file", "file_unique_id": "unique", "file_size": 12}',
        "beside:key": "[5, 6]",
    }
    await storage.note_all(CHAT, [Note(key, text, 60.0) for key, text in earlier.items()])
    assert await KNOWN.exists(storage, CHAT, "unique")
    assert await DELETED.exists(storage, CHAT, "key")
    assert await CLIP.find(storage, CHAT, "key", Subject.of) == Subject(PICTURE, clip=True)
    assert await BESIDE.find(storage, CHAT, "key", list) == [5, 6]


async def test_the_notes_of_one_person_are_forgotten(storage: Storage) -> None:
    for kind in KINDS:
        for user in (ANN, BOB):
            await kind.keep(storage, CHAT, user, {"user": user})
    assert await forget_person(storage, CHAT, ANN)
    for kind in KINDS:
        assert await kind.exists(storage, CHAT, ANN) is not kind.personal
        assert await kind.exists(storage, CHAT, BOB)
    assert not await forget_person(storage, CHAT, ANN)


async def test_what_belongs_to_an_answer_is_forgotten_with_it(storage: Storage) -> None:
    for kind in KINDS:
        await kind.keep(storage, CHAT, "key", {})
    await forget_answer(storage, CHAT, "key")
    gone = [kind for kind in KINDS if not await kind.exists(storage, CHAT, "key")]
    assert gone == [ANSWER, CLIP, ALBUM_HEATMAP, FOUND, BESIDE]


def test_kinds_have_different_prefixes() -> None:
    assert len({kind.prefix for kind in KINDS}) == len(KINDS)
    assert ABOUT in KINDS
    assert all(field.default is dataclasses.MISSING for field in dataclasses.fields(ABOUT) if field.name == "personal")


def test_only_kinds_of_notes_build_keys() -> None:
    """A key that is built elsewhere would be missed by /forget."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("bot", "handlers")
        for path in (ROOT / folder).rglob("*.py")
        if path.parent.name != "storage"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in ("note", "noted", "notes", "forget_note"))
            or (isinstance(node.func, ast.Name) and node.func.id == "Note")
        )
        and any(
            isinstance(each, ast.JoinedStr) or (isinstance(each, ast.Constant) and each.value) for each in node.args
        )
        and not (isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "").isupper())
    ]
    assert found == []
