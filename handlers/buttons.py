"""The buttons under an answer to a photo."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import CallbackQuery

from bot import replies
from bot.answers.keyboards import (
    ChooseHeatmap,
    CompareModels,
    DeleteAlbum,
    DeleteAnswer,
    Heatmap,
    MoreCaptions,
    WeighedWords,
)
from bot.answers.photo_buttons import Buttons
from bot.chat_settings import ChatSettings
from bot.storage.inbox import Accepted
from handlers.presses import acknowledge


def create_router() -> Router:
    router = Router(name=__name__)
    router.callback_query.register(more, MoreCaptions.filter())
    router.callback_query.register(choose_heatmap, ChooseHeatmap.filter())
    router.callback_query.register(heatmap, Heatmap.filter())
    router.callback_query.register(weighed_words, WeighedWords.filter())
    router.callback_query.register(compare, CompareModels.filter())
    router.callback_query.register(delete, DeleteAnswer.filter())
    router.callback_query.register(delete, DeleteAlbum.filter())
    return router


async def more(
    query: CallbackQuery,
    bot: Bot,
    callback_data: MoreCaptions,
    buttons: Buttons,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    await acknowledge(query)
    await buttons.more(bot, query, callback_data.key, accepted, chat_settings)


async def choose_heatmap(
    query: CallbackQuery, bot: Bot, callback_data: ChooseHeatmap, buttons: Buttons, chat_settings: ChatSettings
) -> None:
    await acknowledge(query, replies.choose_heatmap() if callback_data.choosing else None)
    await buttons.choose_heatmap(bot, query, callback_data.key, callback_data.choosing, chat_settings)


async def heatmap(
    query: CallbackQuery,
    bot: Bot,
    callback_data: Heatmap,
    buttons: Buttons,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    await acknowledge(query)
    await buttons.heatmap(bot, query, callback_data.key, callback_data.number, accepted, chat_settings)


async def weighed_words(
    query: CallbackQuery,
    bot: Bot,
    callback_data: WeighedWords,
    buttons: Buttons,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    await acknowledge(query)
    await buttons.weighed_words(bot, query, callback_data.key, accepted, chat_settings)


async def compare(
    query: CallbackQuery,
    bot: Bot,
    callback_data: CompareModels,
    buttons: Buttons,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    await acknowledge(query)
    await buttons.compare(bot, query, callback_data.key, accepted, chat_settings)


async def delete(query: CallbackQuery, bot: Bot, callback_data: DeleteAnswer | DeleteAlbum, buttons: Buttons) -> None:
    allowed = await buttons.may_delete(bot, query, callback_data.key, callback_data.user)
    await acknowledge(query, None if allowed else replies.not_your_answer())
    if allowed:
        await buttons.delete(bot, query, callback_data.key)
