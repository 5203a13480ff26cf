"""Puts the bot together and runs it."""

from __future__ import annotations

from bot.telegram import quick_import  # noqa: F401

# isort: split
import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiogram import Bot, Dispatcher, Router
from aiogram.client.default import DefaultBotProperties
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ParseMode
from aiogram.utils.i18n import I18n

from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.albums import Albums
from bot.answers.answer import Answering
from bot.answers.ask import AskMiddleware
from bot.answers.asked import asked_for
from bot.answers.cancelling import Cancelling
from bot.answers.clips import Clips
from bot.answers.colours import Colours
from bot.answers.example import Example
from bot.answers.find import Finding
from bot.answers.forgetting import Forgetting
from bot.answers.guests import Guests
from bot.answers.inline import InlineHistory
from bot.answers.notes import Answers
from bot.answers.originals import Originals
from bot.answers.photo_buttons import Buttons
from bot.answers.photos import Captioning
from bot.answers.picture_edits import PictureEdits
from bot.answers.reactions import Reactions
from bot.answers.sending import TelegramDelivery
from bot.answers.settings_menu import SettingsMenu
from bot.answers.status import RHYTHM, Rhythm, Waiting
from bot.answers.tags import Tags
from bot.answers.voice import Voice
from bot.chat_settings import ChatSettings
from bot.config import Settings
from bot.errors import Conflict, StorageError, WrongToken
from bot.i18n import LanguageMiddleware, create_i18n
from bot.logs import log_unhandled
from bot.metrics import BotMetrics, watch_queue
from bot.service.in_progress import InWork
from bot.service.jobs import job_id
from bot.service.limits import Refusals, Throttle
from bot.service.requests import OPEN_DOWNLOADS, Requests
from bot.service.turns import Turns
from bot.stats import Stats, open_stats
from bot.storage.chats import Storage
from bot.storage.inbox import Inbox
from bot.storage.opening import open_memory
from bot.telegram.access import AccessMiddleware, CountPeople, PeopleMiddleware
from bot.telegram.acknowledge import AcknowledgeMiddleware
from bot.telegram.editing import Edits
from bot.telegram.pacing import Pacer
from bot.telegram.polling import receive_by_polling
from bot.telegram.processing import Processor
from bot.telegram.profile import set_profile
from bot.telegram.receiving import Receive, Reception
from bot.telegram.session import CountRequests, RetryMiddleware, Session
from model.serving.health import CONTACT_SECONDS, FOLDER, Deadline, heartbeat
from model.serving.metrics import served_registry
from model.serving.queue import JobProducer
from model.serving.redis.address import RedisRefused

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

OK: Final = 0
NO_DATA: Final = 1
WRONG_TOKEN: Final = 2
CONFLICT: Final = 3
LAST_WORDS: Final = 5.0
CONNECTIONS: Final = OPEN_DOWNLOADS + 128  # to Telegram at once: files that stall leave some to messages
GRACE: Final = 10.0  # seconds for what is in work when the bot stops


def create_bot(settings: Settings, metrics: BotMetrics | None = None, pacer: Pacer | None = None) -> Bot:
    """Raises ConfigurationError when there is no token."""
    server = TelegramAPIServer.from_base(settings.api_url, is_local=settings.api_local)
    session = Session(api=server, limit=CONNECTIONS)
    session.middleware(RetryMiddleware(pacer or Pacer(), metrics=metrics))
    if settings.metrics_port is not None and metrics is not None:
        session.middleware(CountRequests(metrics))
    default = DefaultBotProperties(parse_mode=ParseMode.HTML, allow_sending_without_reply=True)
    return Bot(settings.require_token(), session=session, default=default)


def of_chats(settings: Settings) -> ChatSettings:
    """What holds in chats that chose nothing."""
    return ChatSettings(model=settings.model, caption_language=settings.caption_language)


def create_dispatcher(
    i18n: I18n,
    storage: Storage,
    routers: Sequence[Router],
    allowed: frozenset[int] = frozenset(),
    **dependencies: Any,
) -> Dispatcher:
    """The handlers of `routers`; `dependencies`: what they take as parameters, by name.

    `allowed`: whom to serve; empty: all.
    """
    dispatcher = Dispatcher(disable_fsm=True)
    dispatcher.workflow_data.update(dependencies, storage=storage)
    dispatcher.update.outer_middleware(AskMiddleware(storage, of_chats(dependencies["settings"])))
    LanguageMiddleware(i18n).setup(dispatcher)
    dispatcher.message.outer_middleware(PeopleMiddleware())
    dispatcher.callback_query.middleware(AcknowledgeMiddleware())
    if allowed:
        for name, observer in dispatcher.observers.items():
            if name not in ("update", "error"):
                observer.outer_middleware(AccessMiddleware(allowed))
    dispatcher.include_routers(*routers)
    return dispatcher


async def run_bot(
    settings: Settings,
    queue: JobProducer,
    routers: Sequence[Router],
    stop: asyncio.Event,
    *,
    redis: Redis | None = None,
    grace: float = GRACE,
    rhythm: Rhythm = RHYTHM,
) -> int:
    """Run the bot with these handlers until `stop` is set; an exit status.

    Behind a webhook where WEBHOOK_URL is set, else it polls.

    `redis`: the connection of a queue in Redis. `grace`: seconds for what is in work when it stops. `rhythm`: when
    people who wait are told how far it is.
    0: stopped as asked. 1: DATA_DIR cannot be used, or Redis refuses the bot. 2: Telegram does not know the token.
    3: another process polls with the same token. Raises ConfigurationError when there is no token, or when the port or
    the address of the webhook cannot be used.
    """
    asyncio.get_running_loop().set_exception_handler(log_unhandled)
    if settings.webhook_url is None:
        contact = Deadline("no answer to getUpdates", CONTACT_SECONDS)
        return await _run_counted(settings, queue, routers, stop, receive_by_polling, contact, redis, grace, rhythm)
    from bot.telegram.webhook import receive_by_webhook  # aiohttp's server is not needed to poll

    contact = Deadline("Telegram has not confirmed the webhook", CONTACT_SECONDS)
    return await _run_counted(settings, queue, routers, stop, receive_by_webhook, contact, redis, grace, rhythm)


async def _run_counted(
    settings: Settings,
    queue: JobProducer,
    routers: Sequence[Router],
    stop: asyncio.Event,
    receive: Receive,
    contact: Deadline,
    redis: Redis | None,
    grace: float,
    rhythm: Rhythm,
) -> int:
    with served_registry(settings.metrics_port) as registry:
        metrics, pacer = BotMetrics(registry), Pacer()
        bot = create_bot(settings, metrics, pacer)
        contact.set()
        try:
            async with (
                open_memory(settings, bot.id, redis) as (inbox, storage),
                open_stats(settings, bot.id) as stats,
                heartbeat(settings.data_dir / FOLDER, "bot", [contact]),
            ):
                waiting = Waiting(bot, queue, inbox, pacer, rhythm)
                return await _run(
                    bot,
                    settings,
                    queue,
                    routers,
                    stop,
                    inbox,
                    storage,
                    metrics,
                    stats,
                    receive,
                    contact,
                    grace,
                    waiting,
                )
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
    routers: Sequence[Router],
    stop: asyncio.Event,
    inbox: Inbox,
    storage: Storage,
    metrics: BotMetrics,
    stats: Stats,
    receive: Receive,
    contact: Deadline,
    grace: float,
    waiting: Waiting,
) -> int:
    stopped = asyncio.create_task(stop.wait())
    metrics.stats = stats
    i18n = create_i18n()
    in_work = InWork()
    delivery = TelegramDelivery(bot, waiting)
    turns = Turns()
    throttle, refusals = Throttle(settings.admin_ids), Refusals()
    requests = Requests(settings, queue, in_work, delivery, throttle, turns, metrics=metrics)
    answers = Answers(storage)
    voice = Voice()
    captioning = Captioning(requests, storage, answers, voice)
    clips = Clips(settings, requests, captioning, storage, answers)
    sheets = AlbumSheets(requests, storage, answers)
    picture_edits = PictureEdits(
        requests,
        storage,
        answers,
        queue,
        configured=settings.edit_model is not None,
        unlimited=settings.admin_ids,
    )
    allowed = settings.allowed_ids | settings.admin_ids if settings.allowed_ids else frozenset[int]()
    dispatcher = create_dispatcher(
        i18n,
        storage,
        routers,
        allowed,
        captioning=captioning,
        buttons=Buttons(requests, answers),
        clips=clips,
        colours=Colours(requests, storage, answers),
        tags=Tags(requests, storage, answers),
        picture_edits=picture_edits,
        finding=Finding(requests, storage, answers),
        albums=Albums(requests, storage, sheets, answers, captioning),
        album_sheets=sheets,
        reactions=Reactions(storage, metrics),
        answering=Answering(requests, captioning, clips, answers, storage),
        edits=Edits(),
        example=Example(),
        originals=Originals(storage, answers),
        guests=Guests(requests, storage, of_chats(settings), throttle, refusals, on=settings.guest_mode),
        inline=InlineHistory(storage),
        forgetting=Forgetting(storage, inbox, queue, stats),
        settings_menu=SettingsMenu(storage, i18n, of_chats(settings), voice),
        cancelling=Cancelling(in_work, inbox, queue),
        settings=settings,
        queue=queue,
        metrics=metrics,
        refusals=refusals,
        statistics=stats,
        inbox=inbox,
    )
    for observer in (dispatcher.message, dispatcher.callback_query, dispatcher.guest_message):
        observer.middleware(CountPeople(stats))

    async def settle(update_id: int, again: bool) -> None:
        await requests.settle(job_id(bot.id, update_id), again=again)

    asked = partial(asked_for, bot)
    attempts = settings.max_attempts
    processor = Processor(
        dispatcher, bot, inbox, i18n, settle, asked, storage, turns=turns, max_attempts=attempts, metrics=metrics
    )

    beside: list[asyncio.Task[None]] = []

    def spawn(*works: Coroutine[Any, Any, None]) -> None:
        beside.extend(map(asyncio.create_task, works))

    async def show_profile() -> None:
        await set_profile(bot, i18n, settings.admin_ids, edits=picture_edits.offered)

    async def began(recovered: int) -> None:
        me = await bot.me()
        log.info("@%s is ready; %d messages from before are taken up again", me.username, recovered)
        spawn(picture_edits.watch(show_profile), waiting.remove_left(), processor.watch())

    used = [kind for kind in dispatcher.resolve_used_update_types() if settings.guest_mode or kind != "guest_message"]
    reception = Reception(settings, bot, queue, processor, used, contact, metrics, began)
    receiving = asyncio.ensure_future(receive(reception))
    if settings.metrics_port is not None:
        spawn(watch_queue(queue, inbox, metrics))
    try:
        await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not receiving.done():
            log.info("stopping")
            receiving.cancel()
        await asyncio.wait([receiving])
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await processor.drain(grace, requests.sending)
        await waiting.close()
        stopped.cancel()
        with contextlib.suppress(StorageError, RedisRefused, TimeoutError):
            async with asyncio.timeout(LAST_WORDS):  # a Redis that is away is not waited for
                await inbox.stopped()
                log.info("stopped; %d unanswered messages wait for the next start", len(await inbox.waiting()))
    if not receiving.cancelled():
        receiving.result()  # raises what ended it
    return OK
