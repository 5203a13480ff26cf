"""What the bot says of itself: greetings, help, the menu, and what it does not do."""

from __future__ import annotations

from aiogram.types import BotCommand
from aiogram.utils.i18n import gettext as _

from bot.arguments import COUNTS
from model.sampling import TEMPERATURES


def closed() -> str:
    return _("This bot serves a closed circle of people, and you are not on its list. Please ask whoever runs it.")


def start() -> str:
    return _(
        "Hello! Send me a photo, and I will tell you in words what is in it.\n\n/help tells you what else I can do."
    )


def about(*, sheets: bool) -> str:
    """The answer to /help; `sheets`: answers come with a heatmap."""
    paragraphs = [
        _(
            "Send me a photo, or a picture as a file. The first line of my answer is my best caption. "
            "Below it stand how sure I am of it and some other captions of the same picture."
        ),
        _("The picture in my answer shows, word by word, where I looked in yours.") if sheets else "",
        _(
            "Send me a video, a GIF or a video note, and I will show you its most dissimilar moments, "
            "each with its time and a caption."
        ),
        _("Photos that you send together, as an album, I describe together, in one numbered answer."),
        _(
            "/sample gives more captions of the last picture. "
            "To choose another picture, send /sample as a reply to it.\n"
            "/sample 8 gives eight captions; you can ask for {least} to {most}.\n"
            "/sample 8 t=1.2 makes them more varied; the temperature can be {coldest} to {hottest}."
        ).format(least=COUNTS[0], most=COUNTS[1], coldest=TEMPERATURES[0], hottest=TEMPERATURES[1]),
        _("The captions themselves are in English."),
        _("In a group I answer a photo when its caption mentions me, or when it is sent as a reply to me."),
    ]
    return "\n\n".join(filter(None, paragraphs))


def send_a_photo() -> str:
    return _("Send me a photo, and I will tell you in words what is in it. /help tells you what else I can do.")


def unknown_command() -> str:
    return _("I do not know this command. /help tells you what I can do.")


def no_links() -> str:
    return _("I do not open links. Please send me the picture itself, as a photo or as a file.")


def no_stickers() -> str:
    return _("I cannot describe stickers. Please send me a photo.")


def only_pictures() -> str:
    return _("I only look at pictures. Please send me a photo, and I will tell you in words what is in it.")


def commands() -> list[BotCommand]:
    """The menu of commands."""
    return [
        BotCommand(command="sample", description=_("More captions of the last picture")),
        BotCommand(command="help", description=_("What I can do")),
        BotCommand(command="start", description=_("Begin")),
    ]
