"""What the bot says of itself: greetings, help, and what it does not do."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aiogram.utils.i18n import gettext as _

from bot.replies.photos import photo_answer
from bot.replies.profile import help_on_commands
from model.serving.tasks.base import Language, WireTranslation
from model.serving.tasks.photo import PhotoResult, WireCaption

EXAMPLE: Final = (  # the captions of the answer that README.md shows with docs/answer.jpg, and their translations
    ("a cup of coffee sitting on top of a wooden table", "чашка кофе стоит на деревянном столе"),
    ("a close up of a bowl of coffee on a table", "миска кофе на столе крупным планом"),
    ("a cup of coffee sitting on top of a table", "чашка кофе стоит на столе"),
    ("a close up of a cup of coffee on a table", "чашка кофе на столе крупным планом"),
    ("a cup of a bowl on a red plate", "чашка в миске на красной тарелке"),
    ("a close up of a cup of coffee", "чашка кофе крупным планом"),
)
EXAMPLE_BEGINNING: Final = ("a cup of coffee", "чашка кофе")  # what is said first of the first one
EXAMPLE_CONFIDENCE: Final = 0.65


def closed() -> str:
    return _("This bot serves a closed circle of people, and you are not on its list. Please ask whoever runs it.")


def start(*, group: bool) -> str:
    if group:  # where a photo alone is not answered
        return _(
            "Hello! Send a photo with my name in its caption, or /caption as a reply to a photo, and I will tell you "
            "in words what is in it.\n\n/help tells you what else I can do."
        )
    return _(
        "Hello! Send me a photo, and I will tell you in words what is in it.\n\n/help tells you what else I can do."
    )


def start_with_example(language: Language) -> str:
    """The same with the example under its picture. `language`: of captions."""
    return "\n\n".join(
        [
            _("Hello! Send me a photo, and I will answer like this:"),
            _example_answer(language),
            _("/help tells you what else I can do."),
        ]
    )


def example(language: Language) -> str:
    """The example alone, for those who asked for something without a picture."""
    return "\n\n".join([_example_answer(language), _("This is how I answer a photo. Send me one of yours.")])


def _example_answer(language: Language) -> str:
    def translation(translated: str) -> WireTranslation | None:
        return WireTranslation(translated, 0.0, (), tuple(translated.split()), ()) if language != "en" else None

    main, *others = (
        WireCaption(english, EXAMPLE_CONFIDENCE, translation=translation(translated)) for english, translated in EXAMPLE
    )
    beginning, translated = EXAMPLE_BEGINNING
    main = replace(main, beginning=beginning, translated_beginning=translation(translated))
    return photo_answer(PhotoResult(main, tuple(others))).markup


def about(*, sheets: bool, edits: bool, language: Language) -> str:
    """The answer to /help. `sheets`: answers come with a heatmap. `edits`: there is a network that edits.

    `language`: of captions.
    """
    paragraphs = [
        _(
            "Send me a photo, a sticker, a picture as a file, a video or a GIF, "
            "and I will tell you in words what is in it."
        ),
        _(
            "The first line of my answer is my best caption. "
            "Below it I say how sure I am of it, and then come some other captions of the same picture."
        ),
        _("The picture in my answer shows, word by word, where in yours I find what I name.") if sheets else "",
        _("Photos that you send together, as an album, I describe together, in one numbered answer."),
        _("Of a clip I show the most dissimilar moments, each with its time and a caption."),
        help_on_commands(edits=edits),
        _(
            "The buttons below an answer give more captions, show where I find the words of any of them and "
            "which other words I weighed, show how colour-blind people see your photo, tell which everyday words fit "
            "it, and compare my two models."
        ),
        _("The captions themselves are in English.")
        if language == "en"
        else _(
            "I find captions in English and translate them. One that I cannot translate well enough stays English. "
            "The button “In English” shows what I found; /language chooses the language of the captions."
        ),
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
