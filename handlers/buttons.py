"""The buttons under an answer to a photo."""

from aiogram import Router
from aiogram.utils.callback_answer import CallbackAnswer

from bot import replies
from bot.answers.ask import Ask
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
from bot.telegram.acknowledge import WITH_TEXT


def create_router() -> Router:
    router = Router(name=__name__)
    router.callback_query.register(more, MoreCaptions.filter())
    router.callback_query.register(choose_heatmap, ChooseHeatmap.filter(), flags=WITH_TEXT)
    router.callback_query.register(heatmap, Heatmap.filter())
    router.callback_query.register(weighed_words, WeighedWords.filter())
    router.callback_query.register(compare, CompareModels.filter())
    router.callback_query.register(delete, DeleteAnswer.filter(), flags=WITH_TEXT)
    router.callback_query.register(delete, DeleteAlbum.filter(), flags=WITH_TEXT)
    return router


async def more(_: object, ask: Ask, callback_data: MoreCaptions, buttons: Buttons) -> None:
    await buttons.more(ask, callback_data.key)


async def choose_heatmap(
    _: object, ask: Ask, callback_data: ChooseHeatmap, buttons: Buttons, callback_answer: CallbackAnswer
) -> None:
    if callback_data.choosing:
        callback_answer.text = replies.choose_heatmap()
    await buttons.choose_heatmap(ask, callback_data.key, callback_data.choosing)


async def heatmap(_: object, ask: Ask, callback_data: Heatmap, buttons: Buttons) -> None:
    await buttons.heatmap(ask, callback_data.key, callback_data.number)


async def weighed_words(_: object, ask: Ask, callback_data: WeighedWords, buttons: Buttons) -> None:
    await buttons.weighed_words(ask, callback_data.key)


async def compare(_: object, ask: Ask, callback_data: CompareModels, buttons: Buttons) -> None:
    await buttons.compare(ask, callback_data.key)


async def delete(
    _: object, ask: Ask, callback_data: DeleteAnswer | DeleteAlbum, buttons: Buttons, callback_answer: CallbackAnswer
) -> None:
    if await buttons.may_delete(ask, callback_data.key, callback_data.user):
        await buttons.delete(ask, callback_data.key)
    else:
        callback_answer.text = replies.not_your_answer()
