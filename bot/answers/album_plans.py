"""Who answers which items of an album: agreed in notes of the chat, so that kills and several processes do no harm.

Telegram delivers an album as messages of their own that share a media_group_id, in no certain order, to any bot
process, and says nothing at its end. So each item is noted; when no new one has come for a while, the first of those
that are in no plan yet writes one, and leads:

    album:GROUP:item:MESSAGE   what the item is
    album:GROUP:plan:LEADER    which items are answered with it, and whether in one message
    album:GROUP:done:LEADER    these have been answered, or never will be

Pictures that turn out to move are not done with their plan: they are noted as clips, and make one of their own.

A plan to answer together is a lease, which its leader renews; should its process die, the inbox gives its update to
another, which leads again, and if that fails too, the item after it does. Items that come too late make a plan of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from bot.storage.chats import Note, Picture, Storage
from bot.storage.notes import ALBUM

QUIET: Final = 1.0  # seconds without a new item after which an album is taken to be complete
SILENCE: Final = 3.0  # the same for an album in which nobody has spoken to the bot
LEASE: Final = 30.0  # seconds for which a plan holds unless its leader renews it
STAGGER: Final = 2.0  # seconds between two items that would lead where nobody does


@dataclass(frozen=True)
class Item:
    """One message of an album. A message that was tried again by hand has another `received`."""

    message: int
    update: int
    received: float
    picture: Picture
    clip: bool
    addressed: bool


@dataclass(frozen=True)
class Plan:
    """`together`: all items in one message; else each has an answer of its own."""

    leader: int
    items: tuple[int, ...]
    together: bool


@dataclass(frozen=True)
class Done:
    """Items by message, each with its `received`; of those that are to be kept for another try by hand, the reason."""

    items: dict[int, float]
    given_up: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Album:
    """What is noted of an album."""

    items: dict[int, Item]
    plans: tuple[Plan, ...] = ()
    done: tuple[Done, ...] = ()

    def position(self, message: int) -> int:
        """Of an item in its album, from 1, as far as is known."""
        return 1 + sum(other < message for other in self.items)


@dataclass(frozen=True)
class Wait:
    """For more items, or for one that is to lead."""


@dataclass(frozen=True)
class Lead:
    """Carry out this plan; `new`: it is to be noted first."""

    plan: Plan
    new: bool


@dataclass(frozen=True)
class Follow:
    """Another item leads: wait until it is done."""

    plan: Plan


@dataclass(frozen=True)
class Over:
    """The item needs nothing more, or is given up for a reason."""

    given_up: str | None = None


@dataclass(frozen=True)
class NotMeant:
    """Nobody spoke to the bot."""


Verdict: TypeAlias = Wait | Lead | Follow | Over | NotMeant


def decide(album: Album, me: Item, still: float) -> Verdict:
    """What an item is to do. `still`: seconds for which nothing in the notes has changed."""
    for done in album.done:
        if done.items.get(me.message) == me.received:
            return Over(done.given_up.get(me.message))
    for plan in album.plans:
        if me.message in plan.items:
            return Lead(plan, new=False) if plan.leader == me.message or not plan.together else Follow(plan)
    if not any(item.addressed for item in album.items.values()):
        return NotMeant() if still >= SILENCE else Wait()
    settled = {message for plan in album.plans for message in plan.items}
    settled |= {m for m, item in album.items.items() for done in album.done if done.items.get(m) == item.received}
    unplanned = sorted(album.items.keys() - settled)
    rank = unplanned.index(me.message)
    if still < QUIET or (rank and still < LEASE + STAGGER * rank):
        return Wait()
    together = len(unplanned) > 1 and not any(item.clip for item in album.items.values())
    return Lead(Plan(me.message, tuple(unplanned), together), new=True)


class AlbumNotes:
    """The notes of one album. All methods raise StorageError."""

    def __init__(self, storage: Storage, chat: int, group: str) -> None:
        self._storage = storage
        self._chat = chat
        self._group = group

    async def read(self, me: Item) -> Album:
        """What is noted; `me` is an item in any case."""
        items, plans, done = {me.message: me}, [], []
        for name, found in (await ALBUM.find_all(self._storage, self._chat, f"{self._group}:")).items():
            kind, _, number = name.partition(":")
            match kind:
                case "item":
                    noted = Item(**{**found, "picture": Picture(**found["picture"])})
                    items[noted.message] = noted if noted.message != me.message else replace(me, clip=noted.clip)
                case "plan":
                    plans.append(Plan(int(number), tuple(found["items"]), found["together"]))
                case "done":
                    given_up = {int(message): reason for message, reason in found["buried"].items()}
                    done.append(Done({int(message): when for message, when in found["items"].items()}, given_up))
        return Album(items, tuple(plans), tuple(done))

    async def add(self, item: Item) -> None:
        await self._keep(self._note(f"item:{item.message}", item))

    async def remove(self, item: Item) -> None:
        await self._keep(self._note(f"item:{item.message}", item, 0.0))

    async def plan(self, plan: Plan) -> None:
        """Note a plan, or renew it. One to answer each item by itself needs no leader, and holds for good."""
        about = {"items": plan.items, "together": plan.together}
        await self._keep(self._note(f"plan:{plan.leader}", about, LEASE if plan.together else None))

    async def done(self, leader: int, done: Done) -> None:
        """The plan of this leader has been carried out."""
        over = {"items": [], "together": True}
        about = {"items": done.items, "buried": done.given_up}  # as earlier versions wrote it
        await self._keep(self._note(f"done:{leader}", about), self._note(f"plan:{leader}", over, 0.0))

    async def refused(self) -> bool:
        """Whether the person was told already that there is no room for this album."""
        return await ALBUM.exists(self._storage, self._chat, f"{self._group}:busy:0")

    async def refuse(self) -> None:
        await self._keep(self._note("busy:0", {}, LEASE))

    async def _keep(self, *notes: Note) -> None:
        await self._storage.note_all(self._chat, notes)

    def _note(self, part: str, about: object, lifetime: float | None = None) -> Note:
        return ALBUM.note(f"{self._group}:{part}", about, lifetime)
