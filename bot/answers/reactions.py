"""What people think of answers, by their reactions: counted by how the answer was made, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiogram.types import MessageReactionUpdated, ReactionTypeUnion

from bot.answers.notes import Rated
from bot.metrics import BotMetrics
from bot.storage.chats import Storage
from bot.storage.notes import RATED

GOOD: Final = frozenset(
    (
        *("👍", "❤", "🔥", "🥰", "👏", "🎉", "🤩", "🙏", "👌", "😍", "❤\u200d🔥", "💯", "⚡", "🏆", "🤝"),
        *("🤗", "🫡", "🆒", "💘", "😘", "😇", "😎"),
    )
)
BAD: Final = frozenset(("👎", "💩", "🤮", "🤬", "😢", "🤡", "🥱", "💔", "🤨", "😐", "🖕", "😡", "😭", "🙈"))


class Reactions:
    """Counts reactions to the answers that `Answers.rate` noted."""

    def __init__(self, storage: Storage, metrics: BotMetrics) -> None:
        self._storage = storage
        self._metrics = metrics

    async def count(self, changed: MessageReactionUpdated) -> None:
        """Count what a person added to an answer and what they took back; what is no answer is passed over."""
        rated = await RATED.find(self._storage, changed.chat.id, changed.message_id, lambda about: Rated(**about))
        if rated is None:
            return
        before, after = verdicts(changed.old_reaction), verdicts(changed.new_reaction)
        for verdict in sorted(after - before):
            self._metrics.reaction(rated.model, rated.decoding, verdict)
        for verdict in sorted(before - after):
            self._metrics.reaction(rated.model, rated.decoding, verdict, taken_back=True)


def verdicts(reactions: Iterable[ReactionTypeUnion]) -> set[str]:
    """What a person's reactions to one message say, each verdict once."""
    return {_verdict(getattr(reaction, "emoji", "")) for reaction in reactions}


def _verdict(emoji: str) -> str:
    return "good" if emoji in GOOD else "bad" if emoji in BAD else "other"
