"""A picture or a clip, answered as what it turns out to be."""

from __future__ import annotations

from functools import partial

from bot.answers.ask import Ask
from bot.answers.clips import Clips
from bot.answers.notes import Answers
from bot.answers.photos import Captioning
from bot.answers.subjects import medium_meant
from bot.service.requests import Requests
from bot.storage.chats import Storage
from bot.storage.notes import MOVES
from bot.telegram.media import Medium, SentClip
from model.errors import AnimatedPicture, NotAClip


class Answering:
    """What handlers ask of whatever a message shows."""

    def __init__(
        self, requests: Requests, captioning: Captioning, clips: Clips, answers: Answers, storage: Storage
    ) -> None:
        self._requests = requests
        self._captioning = captioning
        self._clips = clips
        self._answers = answers
        self._storage = storage

    async def caption(self, ask: Ask) -> None:
        """Answer /caption. Raises what `medium_meant` and `answer` raise."""
        await self.answer(ask, await medium_meant(ask.bot, ask.message, self._answers, self._storage))

    async def answer(self, ask: Ask, medium: Medium) -> None:
        """A picture with its captions, a clip with its moments. Raises what `Clips.watch` raises.

        The worker tells whether a file moves. A picture that moves is asked for again as a clip, and a clip that does
        not, where Telegram leaves it open, as a picture. It is noted first, so that after a restart nobody takes the
        outcome of the one for that of the other.
        """
        clip = medium if isinstance(medium, SentClip) else SentClip(medium)
        photo, moves = partial(self._captioning.describe, ask, clip.file), partial(self._clips.watch, ask, clip)
        if isinstance(medium, SentClip):
            tries = (moves, photo) if clip.maybe_still else (moves,)
        elif ask.accepted.again and await MOVES.exists(self._storage, ask.chat, ask.accepted.id):
            tries = (moves, moves)  # what is in the queue may be the outcome for a picture
        else:
            tries = (photo, moves)
        for task in tries[:-1]:
            try:
                return await task()
            except (AnimatedPicture, NotAClip) as error:
                if isinstance(error, AnimatedPicture):
                    await MOVES.keep(self._storage, ask.chat, ask.accepted.id)
                await self._requests.forget(ask.job)
        await tries[-1]()
