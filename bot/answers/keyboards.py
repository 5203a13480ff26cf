"""Buttons, and what they carry: at most 64 bytes, and never a file id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Literal, get_args

from aiogram.filters.callback_data import CallbackData
from aiogram.types import CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.utils.i18n import I18n, get_i18n
from aiogram.utils.i18n import gettext as _
from pydantic import Field

from bot import replies
from model.drawing.labels import Deficiency
from model.edits import SEEDS, STRENGTHS

MOST_MOMENTS = 10  # as many pictures as an album holds
MOST_NUMBERS = 99  # Telegram takes up to 100 buttons under a message
MOST_COPIED = 256  # characters that a button can copy
IN_A_ROW = 5
STRONGER = 20  # percent
ANY_KEY: Final = "*"  # in place of a key, in buttons that are copied for each key


class OpenSettings(CallbackData, prefix="s"):
    """Show the settings of the chat."""


class Cancel(CallbackData, prefix="x"):
    """Stop what is in work for `user` in this chat."""

    user: int


class OtherMoments(CallbackData, prefix="m"):
    """Choose another number of moments of the clip noted under `key`."""

    key: str
    count: int = Field(ge=1, le=MOST_MOMENTS)  # whatever a client sends


class AllCaptions(CallbackData, prefix="t"):
    """The captions of all frames of the clip noted under `key`, as a text file."""

    key: str


class Forget(CallbackData, prefix="forget"):
    """Delete what is kept of the chat, or only of one person in it; "ask" comes before "yes"."""

    do: Literal["ask", "yes", "no"]
    user: int | None = None


class ShowExample(CallbackData, prefix="e"):
    """Show `user`, who asked for something without a picture, what an answer looks like."""

    user: int


class MoreCaptions(CallbackData, prefix="am"):
    """Add other captions to the answer noted under `key`."""

    key: str


class ChooseHeatmap(CallbackData, prefix="an"):
    """Show the numbers of the captions of an answer, or (not `choosing`) its buttons again."""

    key: str
    choosing: bool


class Heatmap(CallbackData, prefix="ah"):
    """The sheet of the caption with this number."""

    key: str
    number: int


class WeighedWords(CallbackData, prefix="aw"):
    """The chart of the words that were weighed for the main caption."""

    key: str


class ShowColours(CallbackData, prefix="av"):
    """The photo of an answer as people with a colour vision deficiency see it."""

    key: str


class ChooseColours(CallbackData, prefix="ak"):
    """Under a sheet of `ShowColours` or /colours: the same photo with this deficiency."""

    key: str
    kind: Deficiency


class ShowTags(CallbackData, prefix="ag"):
    """The tags of the photo of an answer."""

    key: str


class EditAgain(CallbackData, prefix="ay"):
    """Under an edited photo: the same words, with this strength and seed; None: with another seed."""

    key: str
    strength: int = Field(ge=STRENGTHS[0], le=STRENGTHS[1])
    seed: int | None = Field(ge=SEEDS[0], le=SEEDS[1])


class InEnglish(CallbackData, prefix="ae"):
    """The English captions of an answer that shows their translations."""

    key: str


class CompareModels(CallbackData, prefix="ac"):
    """The main captions of both models."""

    key: str


class AsClip(CallbackData, prefix="al"):
    """The moments of the live photo whose still picture was answered."""

    key: str


class DeleteAnswer(CallbackData, prefix="ad"):
    """Delete an answer. Whose it is says what is noted under `key`: `user` is there for earlier versions."""

    key: str
    user: int | None = None


class AlbumSheet(CallbackData, prefix="as"):
    """Draw where the words of the captions of the album noted under `key` are; `user`: as in `DeleteAnswer`."""

    key: str
    user: int | None = None


class DeleteAlbum(CallbackData, prefix="az"):
    """As `DeleteAnswer`, under answers to albums of an earlier version."""

    key: str
    user: int | None = None


Button = tuple[str, CallbackData | CopyTextButton]  # the label, and what it carries


def keyboard(*rows: Sequence[Button]) -> InlineKeyboardMarkup:
    """Buttons below a message; empty rows are left out."""
    return InlineKeyboardMarkup(inline_keyboard=[[_button(*button) for button in row] for row in rows if row])


def _button(label: str, carried: CallbackData | CopyTextButton) -> InlineKeyboardButton:
    if isinstance(carried, CopyTextButton):
        return InlineKeyboardButton(text=label, copy_text=carried)
    return InlineKeyboardButton(text=label, callback_data=carried.pack())


def in_rows(buttons: Sequence[Button], columns: int) -> list[list[Button]]:
    return [list(buttons[start : start + columns]) for start in range(0, len(buttons), columns)]


def cancel_button(user: int) -> InlineKeyboardMarkup:
    return keyboard([(_("✖ Cancel"), Cancel(user=user))])


def example_button(user: int) -> InlineKeyboardMarkup:
    return keyboard([(_("👁 Show an example"), ShowExample(user=user))])


def forget_buttons(user: int | None, *, sure: bool = False) -> InlineKeyboardMarkup:
    """`sure`: for the second press."""
    no = [(_("No, keep it"), Forget(do="no", user=user))]
    if sure:
        return keyboard(no, [(_("🗑 Yes, delete it"), Forget(do="yes", user=user))])
    return keyboard([(_("🗑 Delete"), Forget(do="ask", user=user))], no)


def clip_buttons(key: str, count: int, most: int, *, translated: bool = False) -> InlineKeyboardMarkup:
    """Under the answer to a clip: fewer and more moments, where there can be (`most`, or what an album holds), and the
    captions of all frames. `translated`: its captions are translations.
    """
    choice: list[Button] = []
    if count > 1:
        choice.append((_("➖ Fewer moments"), OtherMoments(key=key, count=count - 1)))
    if count < min(MOST_MOMENTS, most):
        choice.append((_("➕ More moments"), OtherMoments(key=key, count=count + 1)))
    words: list[Button] = [(_("📄 All captions"), AllCaptions(key=key)), *_in_english(key, translated)]
    return keyboard(choice, words, _last_row(key))


def answer_buttons(
    key: str, caption: str, *, heatmaps: bool, colours: bool = True, live: bool = False, translated: bool = False
) -> InlineKeyboardMarkup:
    """Under an answer to a photo. `caption`: the main one, to be copied; empty: it is not known.

    `heatmaps`: there are captions to choose from, of a model that has heatmaps. `colours`: the photo may be shown
    again. `live`: the photo moves. `translated`: there are translations among its captions.
    """
    i18n, text = get_i18n(), _copied(caption)
    made = _answer_template(
        i18n, i18n.current_locale, bool(text), heatmaps=heatmaps, colours=colours, live=live, translated=translated
    )

    def own(button: InlineKeyboardButton) -> InlineKeyboardButton:
        if button.copy_text is not None:
            return button.model_copy(update={"copy_text": CopyTextButton(text=text)})
        return button.model_copy(update={"callback_data": str(button.callback_data).replace(ANY_KEY, key)})

    rows = [[own(button) for button in row] for row in made.inline_keyboard]
    return made.model_copy(update={"inline_keyboard": rows})


@lru_cache(maxsize=256)
def _answer_template(
    _i18n: I18n, _locale: str, copied: bool, *, heatmaps: bool, colours: bool, live: bool, translated: bool
) -> InlineKeyboardMarkup:
    """As `answer_buttons`, to be copied: to make so many buttons anew takes a photo's bot four times as long."""
    key = ANY_KEY
    more: list[Button] = [(_("🎲 More captions"), MoreCaptions(key=key))]
    if heatmaps:
        more.append((_("🔥 Heatmap"), ChooseHeatmap(key=key, choosing=True)))
    seen: list[Button] = [(_("🎨 Colours"), ShowColours(key=key))] if colours else []
    last = [*_copy("a caption" if copied else ""), *_in_english(key, translated)]
    if live:
        last.append((_("▶ As a clip"), AsClip(key=key)))
    return keyboard(
        more,
        [(_("📊 Words weighed"), WeighedWords(key=key)), *seen],
        [(_("🏷 Tags"), ShowTags(key=key)), (_("↔ Compare models"), CompareModels(key=key))],
        last,
        _last_row(key),
    )


def copy_buttons(caption: replies.Reading) -> InlineKeyboardMarkup | None:
    """Under an answer in a chat that the bot is no member of: there no other button works."""
    buttons = _copy(caption.text)
    if caption.text != caption.english:
        buttons += [(_("📋 In English"), carried) for _label, carried in _copy(caption.english)]
    return keyboard(buttons) if buttons else None


def _copy(caption: str) -> list[Button]:
    text = _copied(caption)
    return [(_("📋 Copy"), CopyTextButton(text=text))] if text else []


def _copied(caption: str) -> str:
    return replies.cut_at_word(replies.one_line(caption), MOST_COPIED)


def _in_english(key: str, translated: bool) -> list[Button]:
    return [(_("🔤 In English"), InEnglish(key=key))] if translated else []


def album_buttons(key: str, *, sheet: bool, translated: bool = False) -> InlineKeyboardMarkup:
    """`key`: under which the album is noted. `sheet`: there is one to be drawn. `translated`: its captions are."""
    heatmaps: list[Button] = [(_("🔥 Heatmaps"), AlbumSheet(key=key))] if sheet else []
    return keyboard([*heatmaps, *_in_english(key, translated)], _last_row(key))


def _last_row(key: str) -> list[Button]:
    return [(_("⚙ Settings"), OpenSettings()), (_("🗑 Delete"), DeleteAnswer(key=key))]


def number_buttons(key: str, numbers: Sequence[int]) -> InlineKeyboardMarkup:
    """The captions of one message of an answer, by number, and the way back."""
    buttons = [(str(number), Heatmap(key=key, number=number)) for number in numbers[-MOST_NUMBERS:]]
    return keyboard(*in_rows(buttons, IN_A_ROW), [(_("◀ Back"), ChooseHeatmap(key=key, choosing=False))])


def colours_buttons(key: str, shown: Deficiency, *, alone: bool) -> InlineKeyboardMarkup:
    """Under a sheet of colours. `alone`: else it is deleted with the answer that it belongs to."""
    kinds: tuple[Deficiency, ...] = get_args(Deficiency)
    rows = [[(replies.deficiency(k, chosen=k == shown), ChooseColours(key=key, kind=k))] for k in kinds]
    return keyboard(*rows, [(_("🗑 Delete"), DeleteAnswer(key=key))] if alone else [])


def edit_buttons(key: str, strength: int, seed: int) -> InlineKeyboardMarkup:
    """Under an edited photo. Weaker and stronger keep the seed, so that nothing else changes."""
    other: list[Button] = []
    if strength > STRENGTHS[0]:
        other.append((_("➖ Weaker"), EditAgain(key=key, strength=max(STRENGTHS[0], strength - STRONGER), seed=seed)))
    if strength < STRENGTHS[1]:
        other.append((_("➕ Stronger"), EditAgain(key=key, strength=min(STRENGTHS[1], strength + STRONGER), seed=seed)))
    again = [(_("🎲 Another seed"), EditAgain(key=key, strength=strength, seed=None))]
    return keyboard(again, other, [(_("🗑 Delete"), DeleteAnswer(key=key))])


def delete_button(key: str) -> InlineKeyboardMarkup:
    """Under an answer in words that has no other buttons."""
    return keyboard([(_("🗑 Delete"), DeleteAnswer(key=key))])


def carried_below(message: Message) -> list[str]:
    """What the buttons under a message carry."""
    rows = message.reply_markup.inline_keyboard if message.reply_markup is not None else ()
    return [button.callback_data or "" for row in rows for button in row]


Kind = Literal["clip", "answer", "colours", "edit", "album"]
KEYS: Final[Mapping[type[Any], Kind]] = {
    AllCaptions: "clip",
    MoreCaptions: "answer",
    ChooseHeatmap: "answer",
    ChooseColours: "colours",
    EditAgain: "edit",
    DeleteAnswer: "album",  # the last row: an album has no other
    DeleteAlbum: "album",
}
"""What a message is the answer to under which one of these buttons stands; "colours": a sheet beside an answer."""

UNDER: Final[Mapping[type[Any], tuple[Kind, ...]]] = {
    OtherMoments: ("clip",),
    AllCaptions: ("clip",),
    **dict.fromkeys((MoreCaptions, ChooseHeatmap, Heatmap, WeighedWords, ShowColours), ("answer",)),
    **dict.fromkeys((ShowTags, CompareModels, AsClip), ("answer",)),
    ChooseColours: ("colours", "answer"),
    EditAgain: ("edit",),
    InEnglish: ("answer", "clip", "album"),
    AlbumSheet: ("album",),
    DeleteAlbum: ("album",),
    DeleteAnswer: get_args(Kind),
}
"""Of which kind a message is under which a button with a key stands."""


def key_below(message: Message) -> tuple[Kind, str] | None:
    """Of what this message of the bot is the answer, by its buttons, and under which key that is noted."""
    for carried in carried_below(message):
        for button, kind in KEYS.items():
            with suppress(ValueError, TypeError):  # another button, or one of another version
                return kind, button.unpack(carried).key
    return None


def stands_under(pressed: CallbackData, message: Message) -> bool:
    """Whether the bot put such a button under this message. A client may send any data for any message.

    With a key: one of that key. Else one of the same class, and for the same person where it names one. Buttons that
    were replaced since count: a press may be made before an edit is seen.
    """
    if (kinds := UNDER.get(type(pressed))) is not None:
        below = key_below(message)
        return below is not None and below[0] in kinds and below[1] == getattr(pressed, "key", None)
    for carried in carried_below(message):
        with suppress(ValueError, TypeError):
            other = type(pressed).unpack(carried)
            if getattr(other, "user", None) == getattr(pressed, "user", None):
                return True
    return False
