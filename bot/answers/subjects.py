"""Which picture or clip a person means."""

from __future__ import annotations

from typing import Final

from aiogram import Bot
from aiogram.enums import MessageEntityType
from aiogram.types import ExternalReplyInfo, Message

from bot.answers.keyboards import key_below
from bot.answers.notes import Answers
from bot.errors import Forgotten, LinkInstead, NoClip, NoPicture, NotOfClips, WhichOne
from bot.storage.chats import Picture, Storage, remember_last
from bot.telegram.media import Medium, SentClip, check_shown, medium_of
from bot.telegram.pacing import is_private

LINKS: Final = (MessageEntityType.URL, MessageEntityType.TEXT_LINK)


async def medium_meant(bot: Bot, message: Message, answers: Answers, storage: Storage) -> Medium:
    """What a command is about: what it came with, else what it replies to, else the chat's last picture.

    A reply to an answer of the bot means the picture or clip that was answered. Raises LinkInstead where the person
    shows nothing but an address, what `check_shown` raises where they point at something else, Forgotten or NoClip for
    an answer of which nothing is known any more, WhichOne for one that is about several, NoPicture when nothing is
    known at all.
    """
    own = medium_of(message)
    if own is not None:
        if isinstance(own, Picture):
            await remember_last(storage, message.chat.id, own)
        return own
    if (shown := replied_medium(bot, message)) is not None:
        return shown
    if (answered := await _answered(bot, message, answers, storage)) is not None:
        return answered
    if has_link(message) or (message.reply_to_message is not None and has_link(message.reply_to_message)):
        raise LinkInstead
    if (replied := message.external_reply or message.reply_to_message) is not None:
        check_shown(replied)
    last = await storage.last_picture(message.chat.id)
    if last is None:
        raise NoPicture(group=not is_private(message.chat.id))
    return last


async def picture_meant(bot: Bot, message: Message, answers: Answers, storage: Storage) -> Picture:
    """The same for what is done with pictures only. Raises NotOfClips as well."""
    medium = await medium_meant(bot, message, answers, storage)
    if isinstance(medium, SentClip) and not medium.maybe_still:
        raise NotOfClips
    return medium.file if isinstance(medium, SentClip) else medium


def replied_medium(bot: Bot, message: Message) -> Medium | None:
    """The picture or clip of the message that this one replies to, here or in another chat, but for the bot's own.

    Those are sheets and timelines, and what is wanted are captions of what they are about.
    """
    other = message.external_reply
    if other is not None:
        return None if _origin(other) == bot.id else medium_of(other)
    replied = message.reply_to_message
    if replied is None:
        return None
    return medium_of(replied) if not _is_by(replied, bot) else _medium_of_reply(replied, bot)


def has_link(message: Message) -> bool:
    """Whether its text, not its caption, has an address in it."""
    text = message.text or ""
    return "://" in text or any(entity.type in LINKS for entity in message.entities or ())


async def _answered(bot: Bot, message: Message, answers: Answers, storage: Storage) -> Medium | None:
    """What a message of the bot that is replied to is about. Raises Forgotten, NoClip or WhichOne.

    It may be an answer, by its buttons, or stand beside one, such as a chart. Words about no picture are passed
    over.
    """
    replied, chat_id = message.reply_to_message, message.chat.id
    if replied is None or not _is_by(replied, bot):
        return None
    if (subject := await answers.about(chat_id, replied.message_id)) is not None:
        return SentClip(subject.picture) if subject.clip else subject.picture
    below = key_below(replied)
    if below is None:
        if replied.photo or replied.voice or replied.document:
            raise WhichOne
        return None
    kind, key = below
    if kind != "clip":
        if (answer := await answers.find(chat_id, key)) is None:  # an album, unless its buttons tell otherwise
            raise WhichOne if kind == "album" else Forgotten
        return answer.picture
    if (clip := await answers.clip(chat_id, key)) is None:
        raise NoClip
    return SentClip(clip.picture)


def _medium_of_reply(answer: Message, bot: Bot) -> Medium | None:
    """Telegram leaves out to what a message that is replied to was itself a reply; should it not, this is it."""
    asked = answer.reply_to_message
    return medium_of(asked) if asked is not None and not _is_by(asked, bot) else None


def _is_by(message: Message, bot: Bot) -> bool:
    return message.from_user is not None and message.from_user.id == bot.id


def _origin(other: ExternalReplyInfo) -> int | None:
    """Who wrote the message in the other chat, where that is told."""
    sender = getattr(other.origin, "sender_user", None)
    return sender.id if sender is not None else None
