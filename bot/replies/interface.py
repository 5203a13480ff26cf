"""What the bot says of itself: greetings, help, and what it does not do."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _

from bot.sample_options import COUNTS
from model.decoding.sampling import TEMPERATURES


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
        _(
            "/sample gives more captions of the last picture. "
            "To choose another picture, send /sample as a reply to it.\n"
            "/sample 8 gives eight captions; you can ask for {least} to {most}.\n"
            "/sample 8 t=1.2 makes them more varied; the temperature can be {coldest} to {hottest}."
        ).format(least=COUNTS[0], most=COUNTS[1], coldest=TEMPERATURES[0], hottest=TEMPERATURES[1]),
        _(
            "/caption, as a reply to a picture or a clip, also one of another chat, describes that one.\n"
            "/colours shows the last picture, or the one that you reply to, as people with colour blindness see it.\n"
            "/cancel stops the work on what you sent.\n"
            "/settings chooses the model, how many captions you get, the heatmap and more.\n"
            "/language chooses the language in which I speak.\n"
            "/privacy tells what I keep and for how long, and /forget deletes it."
        ),
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


def unknown_command() -> str:
    return _("I do not know this command. /help tells you what I can do.")
