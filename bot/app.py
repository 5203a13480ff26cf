"""Puts the bot together and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from aiogram import Bot, Dispatcher
from aiogram.client.default import DefaultBotProperties
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ParseMode
from aiogram.exceptions import AiogramError
from aiogram.utils.i18n import I18n

from bot import replies
from bot.album_sheets import AlbumSheets
from bot.albums import Albums
from bot.captioning import Captioning
from bot.clips import Clips
from bot.config import Settings
from bot.i18n import DEFAULT, LanguageMiddleware, create_i18n
from bot.inbox import Inbox
from bot.memory import open_memory
from bot.metrics import BotMetrics, bot_metrics, watch_queue
from bot.middlewares import AccessMiddleware, ChatMiddleware
from bot.notices import NOTICE_AFTER, Notices
from bot.pacing import Pacer
from bot.polling import Conflict, WrongToken, poll, until_connected
from bot.processing import Processor
from bot.progress import Progress
from bot.requests import Requests
from bot.session import RetryMiddleware, Session
from bot.storage import Storage, StorageError
from handlers import create_routers
from model.serving.health import FOLDER, POLL_SECONDS, Deadline, Heartbeat
from model.serving.queue import JobProducer
from model.serving.redis_connection import RedisRefused

log = logging.getLogger(__name__)

OK: Final = 0
NO_DATA: Final = 1
WRONG_TOKEN: Final = 2
CONFLICT: Final = 3
LAST_WORDS: Final = 5.0
GRACE: Final = 10.0  # seconds for what is in work when the bot stops


def create_bot(settings: Settings, metrics: BotMetrics | None = None) -> Bot:
    """Raises ConfigurationError when there is no token."""
    server = TelegramAPIServer.from_base(settings.api_url, is_local=settings.api_local)
    session = Session(api=server)
    session.middleware(RetryMiddleware(Pacer(), metrics=metrics))
    if settings.metrics_port is not None and metrics is not None:
        from bot.prometheus import CountRequests

        session.middleware(CountRequests(metrics))
    default = DefaultBotProperties(parse_mode=ParseMode.HTML, allow_sending_without_reply=True)
    return Bot(settings.require_token(), session=session, default=default)


def create_dispatcher(
    i18n: I18n, storage: Storage, allowed: frozenset[int] = frozenset(), **dependencies: Any
) -> Dispatcher:
    """All handlers; `dependencies` are what they take as parameters, by name. `allowed`: whom to serve; empty: all."""
    dispatcher = Dispatcher(disable_fsm=True)
    dispatcher.workflow_data.update(dependencies, storage=storage)
    dispatcher.update.outer_middleware(ChatMiddleware(storage))
    LanguageMiddleware(i18n).setup(dispatcher)
    if allowed:
        for observer in (dispatcher.message, dispatcher.callback_query):
            observer.outer_middleware(AccessMiddleware(allowed))
    dispatcher.include_routers(*create_routers())
    return dispatcher


async def run_polling(
    settings: Settings,
    queue: JobProducer,
    stop: asyncio.Event,
    *,
    grace: float = GRACE,
    notice_after: float = NOTICE_AFTER,
) -> int:
    """Run the bot until `stop` is set; an exit status.

    `grace`: seconds for what is in work then. `notice_after`: seconds with no worker until people are told.
    0: stopped as asked. 1: DATA_DIR cannot be used, or Redis refuses the bot. 2: Telegram does not know the token.
    3: another process polls with the same token. Raises ConfigurationError when there is no token.
    """
    with bot_metrics(settings.metrics_port) as metrics:
        return await _run_counted(settings, queue, stop, metrics, grace, notice_after)


async def _run_counted(
    settings: Settings, queue: JobProducer, stop: asyncio.Event, metrics: BotMetrics, grace: float, notice_after: float
) -> int:
    bot = create_bot(settings, metrics)
    contact = Deadline("no answer to getUpdates", POLL_SECONDS)
    contact.set()
    try:
        async with (
            open_memory(settings, bot.id) as (inbox, storage),
            Heartbeat(settings.data_dir / FOLDER, "bot", [contact]),
        ):
            return await _run(bot, settings, queue, stop, inbox, storage, metrics, contact, grace, notice_after)
    except WrongToken as error:
        log.error(
            "BOT_TOKEN: Telegram (%s) does not know this token: %s. Copy it again from @BotFather "
            "into .env, or wherever it is set.",
            settings.api_url,
            error,
        )
        return WRONG_TOKEN
    except Conflict as error:
        log.error("Another process receives the updates of this BOT_TOKEN. Only one can. Telegram says: %s", error)
        return CONFLICT
    except RedisRefused as error:
        log.error("%s", error)
        return NO_DATA
    except StorageError as error:
        log.error("DATA_DIR %s cannot be used: %s", settings.data_dir, error)
        return NO_DATA
    finally:
        await bot.session.close()


async def _run(
    bot: Bot,
    settings: Settings,
    queue: JobProducer,
    stop: asyncio.Event,
    inbox: Inbox,
    storage: Storage,
    metrics: BotMetrics,
    contact: Deadline,
    grace: float,
    notice_after: float,
) -> int:
    stopped = asyncio.create_task(stop.wait())
    i18n = create_i18n()
    notices = Notices(queue, inbox, notice_after)
    requests = Requests(settings, queue, notices, metrics=metrics)
    captioning = Captioning(settings, requests, storage)
    clips = Clips(settings, requests, captioning, storage, Progress(inbox))
    sheets = AlbumSheets(requests, storage)
    allowed = settings.allowed_ids | settings.admin_ids if settings.allowed_ids else frozenset[int]()
    dispatcher = create_dispatcher(
        i18n,
        storage,
        allowed,
        captioning=captioning,
        clips=clips,
        albums=Albums(settings, requests, storage, sheets),
        album_sheets=sheets,
        settings=settings,
        queue=queue,
        metrics=metrics,
    )
    processor = Processor(dispatcher, bot, inbox, i18n, requests.settle, max_attempts=settings.max_attempts)

    def heard(updates: int) -> None:
        contact.set()
        metrics.polled(updates)

    receiving = asyncio.create_task(_receive(bot, dispatcher, inbox, processor, notices, i18n, heard))
    watching = [asyncio.create_task(watch_queue(queue, inbox, metrics))] if settings.metrics_port is not None else []
    try:
        await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not receiving.done():
            log.info("stopping")
            receiving.cancel()
        for task in watching:
            task.cancel()
        await asyncio.wait([receiving, *watching])
        await processor.drain(grace, requests.sending)
        await notices.close()
        stopped.cancel()
        with contextlib.suppress(StorageError, RedisRefused, TimeoutError):
            async with asyncio.timeout(LAST_WORDS):  # a Redis that is away is not waited for
                await inbox.stopped()
                log.info("stopped; %d unanswered messages wait for the next start", len(await inbox.waiting()))
    if not receiving.cancelled():
        receiving.result()  # raises what ended it
    return OK


async def _receive(
    bot: Bot,
    dispatcher: Dispatcher,
    inbox: Inbox,
    processor: Processor,
    notices: Notices,
    i18n: I18n,
    heard: Callable[[int], None],
) -> None:
    me = await until_connected(bot.me)
    await until_connected(lambda: bot.delete_webhook(drop_pending_updates=False))
    recovered = await processor.recover()
    log.info("@%s is ready; %d messages from before are taken up again", me.username, recovered)
    beside = [_set_commands(bot, i18n), notices.remove_left(bot), processor.watch()]
    tasks = [asyncio.create_task(each) for each in beside]
    try:
        await poll(bot, inbox, processor, dispatcher.resolve_used_update_types(), heard)
    finally:
        for task in tasks:
            task.cancel()


async def _set_commands(bot: Bot, i18n: I18n) -> None:
    for locale in i18n.available_locales:
        with i18n.context(), i18n.use_locale(locale):
            commands = replies.commands()
        try:
            await bot.set_my_commands(commands, language_code=None if locale == DEFAULT else locale)
        except AiogramError as error:
            log.warning("the menu of commands could not be set (%s)", type(error).__name__)
            return
