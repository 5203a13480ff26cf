"""What can be set for a chat, and what it means for its jobs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias

from bot.texts import N_
from model.decoding.sampling import LADDER, TEMPERATURES, Sampling
from model.tagging.lists import MOST_TAGS

NUCLEUS: Final = 0.9  # of the strategy top-p
SAMPLES: Final = (0, 10)
BEAM: Final = 10  # width of the search for the main caption
CaptionLanguage: TypeAlias = Literal["auto", "en", "ru"]  # auto: as the interface speaks to who asks
LANGUAGE_NAMES: Final = {"en": "English", "ru": "Русский"}  # each in itself
ON_OFF: Final = {True: N_("on"), False: N_("off")}


@dataclass(frozen=True)
class Setting:
    """One setting in the menu. Its texts are translated where they are shown."""

    name: str  # of the field of `ChatSettings`
    line: str  # as it is now, with its value in words
    choices: Mapping[Any, str]  # values, in the order of the menu, and each in words
    meaning: str = ""  # stands above the choices; empty for a switch, which is pressed in the list of all settings
    figures: Mapping[str, object] = field(default_factory=dict)  # in the meaning
    limits: tuple[float, float] | None = None  # what is in between may be set, too
    columns: int = 1  # of buttons
    personal: bool = False  # only to be had in private chats
    missing: str = ""  # the line where it is not to be had
    why: str = ""
    beside: str = ""  # the setting whose button stands among the choices of this one, too

    @property
    def is_switch(self) -> bool:
        return not self.meaning

    def parse(self, text: str) -> Any:
        """The value that a button carries as `text`. Raises KeyError."""
        return {written(value): value for value in self.choices}[text]

    def allows(self, value: Any) -> bool:
        return value in self.choices or (self.limits is not None and self.limits[0] <= value <= self.limits[1])


def written(value: object) -> str:
    """A value as buttons carry it."""
    return str(int(value)) if isinstance(value, bool) else str(value)


SETTINGS: Final = (  # in the order of the menu
    Setting(
        "model",
        N_("Model: {value}"),
        {"attention": N_("attention"), "baseline": N_("baseline")},
        N_(
            "The attention model looks at one part of the picture after another and can show where it finds what it "
            "names. The baseline model looks at the whole picture once and has no heatmap."
        ),
    ),
    Setting(
        "samples",
        N_("Other captions: {value}"),
        {count: str(count) for count in (0, 1, 2, 3, 5, 8, 10)},
        N_("How many other captions stand below the main one."),
        limits=SAMPLES,
        columns=4,
    ),
    Setting(
        "strategy",
        N_("Words by: {value}"),
        {"top-k": N_("likeliest (top-k)"), "top-p": N_("nucleus (top-p)"), "ladder": N_("ladder")},
        N_(
            "Each next word of another caption is drawn among the {count} likeliest ones (top-k), or among the "
            "few that share {percent} % of the likelihood (top-p), or among {first}, later {second}, and in the "
            "end only the likeliest (ladder)."
        ),
        figures={
            "count": Sampling.top_k,
            "percent": round(100 * NUCLEUS),
            "first": LADDER[0][1],
            "second": LADDER[1][1],
        },
    ),
    Setting(
        "temperature",
        N_("Temperature: {value}"),
        {value: str(value) for value in (0.3, 0.6, 0.8, 1.0, 1.2, 1.5)},
        N_("The higher the temperature, the more varied the other captions, and the more daring."),
        limits=TEMPERATURES,
        columns=3,
    ),
    Setting("beam", N_("Main caption: {value}"), {True: N_("thorough (beam)"), False: N_("quick (greedy)")}),
    Setting(
        "heatmap",
        N_("Heatmap: {value}"),
        ON_OFF,
        missing=N_("Heatmap: none with this model"),
        why=N_("The baseline model has no heatmap; choose the attention model to have one."),
    ),
    Setting(
        "language",
        N_("Language: {value}"),
        LANGUAGE_NAMES | {"": N_("as in Telegram")},
        N_(
            "I speak this language here; as in Telegram means the language of each person's Telegram. "
            "The captions have a language of their own."
        ),
        beside="caption_language",
    ),
    Setting(
        "caption_language",
        N_("Captions in: {value}"),
        LANGUAGE_NAMES | {"auto": N_("the same language")},
        N_(
            "The captions are in this language; the same language means the one in which I speak. I find captions in "
            "English and translate them. One that I cannot translate well enough stays English, with a note. "
            "The button “In English” under an answer shows what I found. Answers from before stay as they are."
        ),
        beside="language",
    ),
    Setting(
        "voice",
        N_("Voice message: {value}"),
        ON_OFF,
        missing=N_("Voice message: not available"),
        why=N_("Voice messages are not available: the program that speaks is not installed where I run."),
    ),
    Setting("short_first", N_("Short answer first: {value}"), ON_OFF),
    Setting("alt_text", N_("Alt text: {value}"), ON_OFF),
    Setting("history", N_("History: {value}"), ON_OFF, personal=True),
)
BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class ChatSettings:
    """The settings of one chat. Raises ValueError for values that `SETTINGS` does not allow."""

    model: Literal["attention", "baseline", ""] = ""  # empty: the operator's choice
    samples: int = 5
    strategy: Literal["top-k", "top-p", "ladder"] = "top-k"
    temperature: float = Sampling.temperature
    beam: bool = True  # else the main caption is the greedy one
    heatmap: bool = True
    language: str = ""  # of the interface; empty: as each person's Telegram says
    caption_language: CaptionLanguage | Literal[""] = ""  # empty: the operator's choice
    voice: bool = False
    tags: tuple[str, ...] = ()  # what /tags judges; empty: the dictionary that ships
    short_first: bool = False  # the caption alone in a message of its own, for screen readers; then the whole answer
    alt_text: bool = False  # a photo is answered with one sentence, to be copied, and nothing else
    history: bool = False  # consent: the photos of this private chat are remembered, for inline mode and /find

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            if value != getattr(ChatSettings, setting.name) and not setting.allows(value):
                raise ValueError(f"{setting.name}: {value!r} is not allowed")

    @property
    def sampling(self) -> Sampling:
        """How sampled captions are drawn."""
        match self.strategy:
            case "top-p":
                return Sampling(temperature=self.temperature, top_k=0, top_p=NUCLEUS)
            case "ladder":
                return Sampling(temperature=self.temperature, ladder=True)
        return Sampling(temperature=self.temperature)

    @property
    def beam_width(self) -> int | None:
        """Of the search for the main caption; None: greedy."""
        return BEAM if self.beam else None

    @property
    def decoding(self) -> Literal["beam", "greedy"]:
        """How the main caption is found."""
        return "beam" if self.beam else "greedy"

    def in_use(self, operator: ChatSettings) -> Self:
        """The same with the operator's choice where this chat made none."""
        model, language = self.model or operator.model, self.caption_language or operator.caption_language
        return dataclasses.replace(self, model=model, caption_language=language)

    def changes(self) -> dict[str, Any]:
        """What differs from the defaults, to be kept."""
        default = ChatSettings()
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(default, name)}

    @classmethod
    def of(cls, changes: dict[str, Any]) -> Self:
        """From `changes`, perhaps those of another version: what is not understood is passed over."""
        settings = cls()
        if isinstance(own := changes.get("tags"), list) and all(isinstance(tag, str) for tag in own):
            settings = cls(tags=tuple(own[:MOST_TAGS]))
        for name in BY_NAME.keys() & changes.keys():
            value, default = changes[name], getattr(settings, name)
            if type(value) is not type(default) and not (type(value) is int and type(default) is float):
                continue
            try:
                settings = dataclasses.replace(settings, **{name: value})
            except ValueError:
                continue
        return settings

    @classmethod
    def read(cls, text: str | bytes | None) -> Self:
        """From the JSON of `changes`; the defaults for what is none."""
        try:
            changes = json.loads(text or "{}")
        except ValueError:
            return cls()
        return cls.of(changes) if isinstance(changes, dict) else cls()
