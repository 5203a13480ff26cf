"""What Telegram shows of the bot: descriptions and menus of commands."""

from __future__ import annotations

from typing import Final

from aiogram.types import BotCommand
from aiogram.utils.i18n import gettext as _

# The others are a person's own business.
IN_GROUPS: Final = ("caption", "sample", "colours", "settings", "cancel", "help")


def description() -> str:
    """In an empty chat, above the button that begins; at most 512 characters."""
    return _(
        "Send me a photo, and I will tell you in words what is in it, how sure I am, and where I looked. "
        "Of a video or a GIF I show you the moments that differ most. "
        "The words of my captions are in English."
    )


def short_description() -> str:
    """On the bot's profile page and with links to it; at most 120 characters."""
    return _("I say in words what is in your photos, videos and GIFs.")


def commands() -> list[BotCommand]:
    """The menu of commands."""
    return [
        BotCommand(command="caption", description=_("Describe a picture: send this as a reply to it")),
        BotCommand(command="sample", description=_("More captions of the last picture")),
        BotCommand(command="colours", description=_("The last picture, as seen with colour blindness")),
        BotCommand(command="settings", description=_("How I answer in this chat")),
        BotCommand(command="language", description=_("Choose my language")),
        BotCommand(command="cancel", description=_("Stop what I am working on")),
        BotCommand(command="help", description=_("What I can do")),
        BotCommand(command="privacy", description=_("What I keep, and for how long")),
        BotCommand(command="forget", description=_("Delete what I keep of this chat")),
    ]


def group_commands() -> list[BotCommand]:
    return [command for command in commands() if command.command in IN_GROUPS]


def admin_commands() -> list[BotCommand]:
    """The menu of those who run the bot, in their private chats."""
    return [*commands(), BotCommand(command="stats", description=_("How the bot is doing"))]
