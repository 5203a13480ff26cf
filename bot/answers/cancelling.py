"""What a person cancels: what is in work here, and what is accepted and waits elsewhere."""

from __future__ import annotations

from collections import Counter

from aiogram import Bot

from bot.answers.asked import asked_for
from bot.service.in_progress import InWork
from bot.service.jobs import job_id
from bot.storage.inbox import Accepted, Inbox, Place
from bot.telegram.updates import understood
from model.serving.jobs import Kind
from model.serving.queue import JobProducer


class Cancelling:
    """Stops what one person asked for at one place.

    Most of it is in work in this process. The inbox tells of the rest: what another bot process has in work, waits for
    another try or for the rest of its album, or is not yet taken up after a restart.
    """

    def __init__(self, in_work: InWork, inbox: Inbox, queue: JobProducer) -> None:
        self._in_work = in_work
        self._inbox = inbox
        self._queue = queue

    async def cancel(self, bot: Bot, place: Place, accepted: Accepted) -> Counter[Kind]:
        """Stop what came before the update `accepted` and is not being sent yet: how many of each kind.

        Raises StorageError or RedisRefused.
        """
        here = self._in_work.jobs(place)
        stopped = self._in_work.cancel(place, accepted)
        for entry in await self._inbox.waiting():
            job = job_id(bot.id, entry.id)
            if job in here or self._in_work.is_answered(job) or (entry.received, entry.id) >= accepted.order:
                continue
            asked = entry.asked or await asked_for(bot, understood(entry.body, bot, quietly=True))
            if asked is not None and asked.work is not None and asked.place == place:
                await self._queue.cancel(job)
                await self._inbox.acknowledge(entry.id)  # nor is it taken up after a restart
                stopped[job] = asked.work
        return Counter(stopped.values())
