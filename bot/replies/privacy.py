"""What is kept of people, for how long, and how it is deleted."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.storage.chats import LONGEST_NOTE, MOST_IN_ROOM, PICTURE_KEPT
from bot.storage.inbox import DEAD_KEPT, REMEMBERED
from bot.storage.notes import GUEST, HISTORY, RATED, VECTOR, WORKING
from model.serving.tasks.cache import SECONDS

HOUR = 3600.0
HEARD = 2 * HOUR  # for how long programs are told which chats were deleted; FORGOTTEN_SECONDS of the queue in Redis


def privacy(*, edits: bool) -> str:
    """The answer to /privacy. `edits`: there is a network that edits."""
    kept = [
        _("Your picture or clip itself: only while I work on it."),
        _(
            "Your message: until it is answered. After that only its number, for {time}, so that nothing is "
            "answered twice."
        ).format(time=_hours(REMEMBERED)),
        _("While you wait: the number of my message that says how far I am, until I have deleted it."),
        _("The settings of this chat, with its list of tags: until they are changed or deleted."),
        _(
            "The last picture in this chat: not the picture, but the name under which Telegram keeps it, for {time}. "
            "/sample, /colours, /tags and /choose need it."
        ).format(time=_days(PICTURE_KEPT)),
        _(
            "The pictures and clips that I answered: their names at Telegram, the number there of who asked, and the "
            "captions that I gave, for {time} at most. The buttons under my answers need them."
        ).format(time=_days(LONGEST_NOTE)),
        _(
            "Of a picture or clip that is covered as a spoiler, or protected from being passed on: only what the "
            "buttons under my answer need. It does not count as the last picture of the chat."
        ),
        _(
            "Only where you switched history on in /settings: the photos of our private chat, by their names at "
            "Telegram, with my captions, for {time} at most, until you switch it off. Photos that are covered or "
            "protected are never among them. You find them by my name with @ in any chat; nobody else does."
        ).format(time=_days(HISTORY.lifetime)),
        _(
            "Also only with history on, for /find: of the photos that you sent me here and in groups, some numbers "
            "that tell what they look like, their names at Telegram, when you sent them and in which message, for "
            "{time} and at most {count} in each chat, until you switch it off or delete my answer. No pictures, no "
            "words, nothing covered or protected, and nobody else finds them."
        ).format(time=_days(VECTOR.lifetime), count=MOST_IN_ROOM),
        _(
            "That I answered a message in which you mentioned me: as a code made of its number, for {time}, for it may "
            "come to me twice."
        ).format(time=_hours(GUEST.lifetime)),
        _(
            "What I need while I answer, by numbers and names at Telegram: which messages belong to my answer, which "
            "pictures to an album, which pictures I looked at lately, and which answers were deleted; for {time} at "
            "most."
        ).format(time=_hours(max(kind.lifetime for kind in WORKING))),
        _(
            "How I made an answer: with the numbers of its message and of who asked, for {time}. Reactions to it are "
            "counted as good, bad or other, without who reacted; the counts last about a day."
        ).format(time=_hours(RATED.lifetime)),
        _(
            "What I found in recent pictures and clips: numbers, and the captions of a clip's frames, in the memory of "
            "the program only, for {time} at most."
        ).format(time=_hours(SECONDS)),
        _(
            "A message that I could not answer in spite of several tries: for {time}. That is numbers at Telegram "
            "(yours, this chat's, and of who wrote what you replied to), the time, your language, the name and kind of "
            "the file there, and the command; not the picture, no other words, and nobody's name."
        ).format(time=_days(DEAD_KEPT)),
        _(
            "That somebody used me: for about a day, as a code made of your number with a secret key, to count how "
            "many there were."
        ),
        _(
            "Who asked or cancelled lately, and where I wrote: numbers at Telegram, in the memory of the program only, "
            "so that everybody is served in turn. Usually for minutes, at most until the program is started anew."
        ),
    ]
    if edits:
        kept.append(
            _(
                "What /edit shall change: your words and the edited picture only while I work on it. The words then "
                "stand under my answer, where you asked, and its buttons read them there."
            )
        )
    paragraphs = [
        _("This is all that I keep:"),
        "\n".join(f"• {line}" for line in kept),
        _(
            "My log has neither names nor numbers of people, and nothing of what they send, unless whoever runs this "
            "bot makes it tell everything for a while to find a mistake."
        ),
        _(
            "Nothing goes to third parties. Programs of whoever runs this bot look at the pictures; "
            "what you send and what I answer travels through Telegram."
        ),
        _(
            "/forget deletes what I keep of this chat, and that you used me, now. For {time} this chat's number stays, "
            "so that every part of the program hears of it."
        ).format(time=_hours(HEARD)),
    ]
    return "\n\n".join(paragraphs)


def forget_offer(*, whole: bool) -> str:
    """`whole`: all of the chat may be deleted, not only what is the person's own."""
    if not whole:
        return _(
            "What I keep of the whole group only its administrators can delete. "
            "I can delete what I noted of my answers to you here, those messages of yours that I could not answer, and "
            "that you used me."
        )
    return _(
        "I can delete all that I keep of this chat: its settings, which pictures and clips I answered, and messages "
        "that I could not answer; also that you used me. The buttons under my earlier answers may then stop working. "
        "The messages in this chat stay as they are."
    )


def forget_sure() -> str:
    return _("Shall I really delete it? It cannot be undone.")


def forgotten(letters: int, *, notes: bool, settings: bool, whole: bool) -> str:
    """What was deleted. `letters`: how many dead letters; `whole`: all of the chat."""
    lines = [
        _("the settings of this chat") if settings else "",
        _("what I noted of pictures, clips and my answers, for their buttons") if notes else "",
        ngettext("{count} message that I could not answer", "{count} messages that I could not answer", letters).format(
            count=letters
        )
        if letters
        else "",
    ]
    found = [f"• {line}" for line in lines if line]
    head = _("I have deleted:") if found else _("There is nothing left to delete.")
    text = "\n".join([head, *found, "", _("I no longer have a record that you used me.")])
    if not whole:
        return text
    rest = _(
        "What I computed from recent pictures goes from memory within seconds. What I am still working on "
        "will be answered, and the buttons under that answer will work."
    )
    return f"{text}\n\n{rest}"


def not_forgotten() -> str:
    return _("Nothing was deleted.")


def too_old_to_press() -> str:
    return _("This message is too old for its buttons. Please send the command again.")


def not_your_question() -> str:
    return _("Only the person who asked for this can press it.")


def _days(seconds: float) -> str:
    count = round(seconds / (24 * HOUR))
    return ngettext("{count} day", "{count} days", count).format(count=count)


def _hours(seconds: float) -> str:
    count = round(seconds / HOUR)
    return ngettext("{count} hour", "{count} hours", count).format(count=count)
