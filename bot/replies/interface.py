"""What the bot says of itself: greetings, help, and what it does not do."""

from __future__ import annotations

from typing import Final

from aiogram.utils.i18n import gettext as _

from bot.replies.photos import photo_answer
from bot.replies.profile import help_on_commands
from model.serving.tasks.photo import PhotoResult, WireCaption

EXAMPLE: Final = PhotoResult(  # the answer that README.md shows with docs/answer.jpg
    WireCaption("a close up of a cup of coffee on a table", 0.77),
    (
        WireCaption("a close up of a bowl of a cup on a table", 0.0),
        WireCaption("a cup of coffee sitting on top of a table", 0.0),
        WireCaption("a close up of a cup of a bowl of coffee", 0.0),
        WireCaption("a cup of a bowl on a red plate", 0.0),
        WireCaption("a close up of a cup of coffee", 0.0),
    ),
    None,
)


def closed() -> str:
    return _("This bot serves a closed circle of people, and you are not on its list. Please ask whoever runs it.")


def start() -> str:
    return _(
        "Hello! Send me a photo, and I will tell you in words what is in it.\n\n/help tells you what else I can do."
    )


def start_with_example() -> str:
    """The same with the example under its picture."""
    return "\n\n".join(
        [
            _("Hello! Send me a photo, and I will answer like this:"),
            photo_answer(EXAMPLE).markup,
            _("/help tells you what else I can do."),
        ]
    )


def example() -> str:
    """The example alone, for those who asked for something without a picture."""
    return "\n\n".join([photo_answer(EXAMPLE).markup, _("So I answer a photo. Send me one of yours.")])


def about(*, sheets: bool, edits: bool) -> str:
    """The answer to /help. `sheets`: answers come with a heatmap. `edits`: there is a network that edits."""
    paragraphs = [
        _(
            "Send me a photo, a sticker, a picture as a file, a video or a GIF, "
            "and I will tell you in words what is in it."
        ),
        _(
            "The first line of my answer is my best caption. "
            "Below it stand how sure I am of it and some other captions of the same picture."
        ),
        _("The picture in my answer shows, word by word, where I looked in yours.") if sheets else "",
        _("Photos that you send together, as an album, I describe together, in one numbered answer."),
        _("Of a clip I show the most dissimilar moments, each with its time and a caption."),
        help_on_commands(edits=edits),
        _(
            "The buttons below an answer give more captions, show where I looked for the words of any of them and "
            "which other words I weighed, show how colour-blind people see your photo, and compare my two models."
        ),
        _("The captions themselves are in English."),
        _(
            "In a group I answer only when I am mentioned, replied to or given a command: a photo, for example, "
            "when its caption mentions me. Only administrators change the settings there."
        ),
    ]
    return "\n\n".join(filter(None, paragraphs))


def send_a_photo(*, group: bool) -> str:
    """The answer to words; in a `group` the bot sees only what is addressed to it."""
    if group:
        return _(
            "Send a photo with my name in its caption, or /caption as a reply to a photo, "
            "and I will tell you in words what is in it. /help tells you what else I can do."
        )
    return _("Send me a photo, and I will tell you in words what is in it. /help tells you what else I can do.")


def guest_waits() -> str:
    """In a chat that the bot is no member of, until there is an answer."""
    return _("I am looking at it. The captions will come here.")


def guest_hint() -> str:
    """The answer there to words about no picture."""
    return _("Mention me in reply to a photo or a clip, or in the words under one, and I will tell you what is in it.")


def unknown_command() -> str:
    return _("I do not know this command. /help tells you what I can do.")
