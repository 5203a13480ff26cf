"""What carries a picture and what does not, in words."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _


def drawn_sticker() -> str:
    return _(
        "This sticker is a moving drawing, and I only see pictures and videos. "
        "Please send a still sticker, a video sticker or a photo."
    )


def locked_media() -> str:
    return _("This picture is for sale, and I only see it once it is paid for. Please send me the picture itself.")


def only_pictures() -> str:
    return _("I only look at pictures and clips. Please send me a photo, and I will tell you in words what is in it.")


def shown_instead(kind: str) -> str:
    """What is said of something that is no picture; `kind`: as Telegram names it."""
    match kind:
        case "sticker":
            return drawn_sticker()
        case "paid_media":
            return locked_media()
    return only_pictures()


def not_of_clips() -> str:
    return _(
        "/sample, /colours, /tags and /choose are for still pictures, and this one moves. "
        "To see its moments, send /caption as a reply to it."
    )


def no_links() -> str:
    return _("I do not open links. Please send me the picture itself, as a photo or as a file.")


def not_a_picture() -> str:
    return _(
        "This file is not a picture that I can read. Please send a photo, a JPEG, PNG, WebP or HEIC file, or a video."
    )
