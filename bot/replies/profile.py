"""What Telegram shows of the bot: descriptions and menus of commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiogram.types import BotCommand
from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import gettext as translated

from bot.sample_options import COUNTS
from bot.texts import N_
from model.decoding.sampling import TEMPERATURES
from model.edits import STRENGTH
from model.tagging.lists import DESCRIPTIONS, names


@dataclass(frozen=True)
class CommandRow:
    """A command that people can send. Its texts are translated where they are shown.

    Handlers are registered by these rows, see `handlers/command_table.py`.
    """

    name: str
    description: str  # in the menu
    help: str = ""  # in the answer to /help
    figures: Mapping[str, object] = field(default_factory=dict)  # in that
    in_menu: bool = True
    in_groups: bool = False  # in their menu, too; the others are a person's own business
    for_admins: bool = False  # in no other menu than theirs, and understood nowhere else
    under_media: bool = False  # understood in the caption of a picture or clip, too
    works: bool = False  # causes work, which /cancel stops
    of_editor: bool = False  # there is such a command only where workers have a network that edits


COMMANDS: Final = (  # in the order of the menu
    CommandRow("start", N_("An example of my answers"), in_menu=False),  # Telegram has a button for it
    CommandRow(
        "caption",
        N_("Describe a picture: send this as a reply to it"),
        N_("/caption, as a reply to a picture or a clip, also one of another chat, describes that one."),
        in_groups=True,
        under_media=True,
        works=True,
    ),
    CommandRow(
        "sample",
        N_("More captions of the last picture"),
        N_(
            "/sample gives more captions of the last picture. "
            "To choose another picture, send /sample as a reply to it.\n"
            "/sample 8 gives eight captions; you can ask for {least} to {most}.\n"
            "/sample 8 t=1.2 makes them more varied; the temperature can be {coldest} to {hottest}."
        ),
        {"least": COUNTS[0], "most": COUNTS[1], "coldest": TEMPERATURES[0], "hottest": TEMPERATURES[1]},
        in_groups=True,
        under_media=True,
        works=True,
    ),
    CommandRow(
        "colours",
        N_("The last picture, as seen with colour blindness"),
        N_("/colours shows the last picture, or the one that you reply to, as people with colour blindness see it."),
        in_groups=True,
        under_media=True,
        works=True,
    ),
    CommandRow(
        "tags",
        N_("Which of many words fit the last picture"),
        N_(
            "/tags tells which of some {count} everyday words fit the last picture, or the one that you reply to, and "
            "how sure I am; /tags hotel does it for what guests of a hotel look for.\n"
            "/tags sofa, two beds judges these, and /tags set sofa, two beds makes them the list of this chat, "
            "in English or Russian; /tags reset goes back to mine."
        ),
        {"count": len(names("default")) // 10 * 10},
        in_groups=True,
        works=True,
        under_media=True,
    ),
    CommandRow(
        "choose",
        N_("Which of your descriptions fits the last picture best"),
        N_("/choose a dog on grass | a cat on a sofa tells which of {least} to {most} descriptions fits best, if any."),
        {"least": DESCRIPTIONS[0], "most": DESCRIPTIONS[1]},
        in_groups=True,
        works=True,
        under_media=True,
    ),
    CommandRow(
        "edit",
        N_("Change the last picture by words"),
        N_(
            "/edit make it look like winter lets a machine change the last picture, or the one that you reply to. Your "
            "words are best in English. strength={strength} after them says how much may change, in percent; the same "
            "seed, as in seed=3, gives the same picture again."
        ),
        {"strength": STRENGTH},
        in_groups=True,
        works=True,
        under_media=True,
        of_editor=True,
    ),
    CommandRow(
        "find",
        N_("Find your photos in this chat by words"),
        N_(
            "/find a dog on a beach finds the photos that you sent in this chat and that fit these words best, in "
            "English or Russian. I remember photos only if you switched history on in /settings."
        ),
        in_groups=True,
        works=True,
        under_media=True,
    ),
    CommandRow(
        "settings",
        N_("How I answer in this chat"),
        N_("/settings chooses the model, how many captions you get, the heatmap and more."),
        in_groups=True,
    ),
    CommandRow(
        "language",
        N_("Choose my language"),
        N_("/language chooses the language in which I speak, and that of the captions."),
    ),
    CommandRow(
        "cancel", N_("Stop what I am working on"), N_("/cancel stops the work on what you sent."), in_groups=True
    ),
    CommandRow("help", N_("What I can do"), in_groups=True),
    CommandRow(
        "privacy",
        N_("What I keep, and for how long"),
        N_("/privacy tells what I keep and for how long, and /forget deletes it."),
    ),
    CommandRow("forget", N_("Delete what I keep of this chat")),
    CommandRow("stats", N_("How the bot is doing"), for_admins=True),
)


def description() -> str:
    """In an empty chat, above the button that begins; at most 512 characters."""
    return _(
        "Send me a photo, and I will tell you in words what is in it, how sure I am, and where I see it. "
        "Of a video or a GIF I show you the moments that differ most. "
        "My captions are in English, or translated into Russian."
    )


def short_description() -> str:
    """On the bot's profile page and with links to it; at most 120 characters."""
    return _("I say in words what is in your photos, videos and GIFs.")


def commands(*, groups: bool = False, admins: bool = False, edits: bool = False) -> list[BotCommand]:
    """The menu of commands: in groups; of those who run the bot, in their private chats; of all others.

    `edits`: there is a network that edits.
    """
    return [
        BotCommand(command=row.name, description=translated(row.description))
        for row in COMMANDS
        if row.in_menu
        and (row.in_groups or not groups)
        and (admins or not row.for_admins)
        and (edits or not row.of_editor)
    ]


def help_on_commands(*, edits: bool) -> str:
    rows = (row for row in COMMANDS if row.help and (edits or not row.of_editor))
    return "\n".join(translated(row.help).format(**row.figures) for row in rows)
