"""The options that requests take and the shapes of what is answered; the OpenAPI document is made from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from model.decoding.sampling import TEMPERATURES, Sampling
from model.drawing.labels import Deficiency
from model.edits import LONGEST, SEEDS, STRENGTH, STRENGTHS
from model.found import MOST_FOUND, Found
from model.serving.tasks.base import Language, WireTranslation
from model.serving.tasks.clip import ClipFrame
from model.serving.tasks.photo import WeighedWord, WireCaption
from model.tagging.answers import Ranking, Tag, likeliest_first
from model.tagging.lists import DESCRIPTIONS, MOST_TAGS, Shipped
from web.settings import Model

PictureId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")]

DEFAULT: Sampling = Sampling()


def _is_none(value: object) -> bool:
    return value is None


class Options(BaseModel):
    """As query parameters, or as fields of the form, which win."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownOptions(Options):
    """Of what can be asked again about a photo that workers know."""

    keep: bool = Field(
        False,
        description="Workers keep the photo's features (not its pixels) for up to an hour; `picture` in the answer "
        "names them.",
    )
    picture: PictureId | None = Field(
        None,
        description="Instead of a file: a photo that an answer named. Each worker keeps its own: be ready to send the "
        "file after `picture_gone`.",
    )


class PhotoOptions(KnownOptions):
    model: Model | None = Field(None, description="Default: the server's MODEL.")
    language: Language = Field("en", description="Of captions, and of the words on drawn pictures.")


class TagsOptions(KnownOptions):
    list: Shipped = Field("default", description="The dictionary whose tags are judged, where `tags` is empty.")
    tags: str = Field(
        "",
        max_length=4_000,
        examples=["cat, sofa"],
        description=f"A list of one's own, between commas: up to {MOST_TAGS}, in English or Russian.",
    )


class RankQuery(KnownOptions):
    texts: str = Field("", max_length=4_000)


class RankOptions(RankQuery):
    texts: str = Field(
        min_length=1,
        max_length=4_000,
        examples=["a cat on a sofa | a dog on grass"],
        description="The descriptions, between | or line ends: {} to {}, in English or Russian.".format(*DESCRIPTIONS),
    )


class FindQuery(Options):
    text: str = Field("", max_length=4_000)


class FindOptions(FindQuery):
    text: str = Field(
        min_length=1,
        max_length=4_000,
        examples=["a dog on a beach"],
        description="What to look for, in English or Russian.",
    )


class CaptionOptions(PhotoOptions):
    samples: int = Field(5, ge=0, le=10, description="How many sampled captions.")
    temperature: float = Field(DEFAULT.temperature, ge=TEMPERATURES[0], le=TEMPERATURES[1], allow_inf_nan=False)
    top_k: int = Field(DEFAULT.top_k, ge=0, le=10_000, description="Sample among so many words; 0: all.")
    top_p: float = Field(DEFAULT.top_p, gt=0.0, le=1.0, allow_inf_nan=False, description="Mass of the nucleus.")
    ladder: bool = Field(DEFAULT.ladder, description="Varied at the beginning, safe at the end.")
    seed: int = Field(0, ge=0, le=2**63 - 1)
    beam: int = Field(10, ge=1, le=10, description="Width of the beam search for the main caption; 1: greedy only.")
    sheet: bool = Field(False, description="Draw the heatmap sheet of the main caption (attention model).")

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, self.ladder)


class ExplainOptions(PhotoOptions):
    caption: str = Field(
        min_length=1,
        max_length=500,
        examples=["a cat on a sofa"],
        description="In English, also with language=ru. Its words are weighed, step by step.",
    )
    chart: bool = Field(False, description="Draw the words as a chart, too.")


class ExplainQuery(ExplainOptions):
    """The caption may be in the form instead."""

    caption: str = Field("", max_length=500)


class ColoursOptions(Options):
    kind: Deficiency = Field("protanopia", description="The colour vision deficiency that is simulated.")
    language: Language = Field("en", description="Of the words on the picture.")


class EditQuery(Options):
    text: str = Field("", max_length=10 * LONGEST)
    strength: int = Field(STRENGTH, ge=STRENGTHS[0], le=STRENGTHS[1], description="How much may change, in percent.")
    seed: int = Field(0, ge=SEEDS[0], le=SEEDS[1])


class EditOptions(EditQuery):
    text: str = Field(max_length=10 * LONGEST, description="What to change, best in English.")


class FeaturesOptions(Options):
    layout: Literal["pooled", "grid"] = Field("pooled", description="Their mean over the photo, or each region's.")
    format: Literal["npy", "json"] = Field("npy", description="npy: a file for `numpy.load`, of float32.")


class WordOptions(Options):
    model: Model | None = Field(None, description="Default: the server's MODEL.")
    nearest: int = Field(10, ge=0, le=100, description="How many of the nearest words.")


class ClipOptions(Options):
    model: Model | None = Field(None, description="Default: the server's MODEL.")
    language: Language = Field("en", description="Of captions, and of the words on the timeline.")
    moments: int | None = Field(None, ge=1, le=10, description="How many; default: as many as differ.")


class ErrorDetail(BaseModel):
    kind: str = Field(description="For programs.")
    message: str = Field(description="For people, in English.")


class ErrorBody(BaseModel):
    error: ErrorDetail


class Translation(BaseModel):
    """A Russian caption, and how certain it is."""

    text: str
    probability: float = Field(description="Geometric mean of the probabilities of its pieces.", ge=0, le=1)
    passed: bool = Field(description="false: it is not certain enough to be shown in place of the English caption.")
    failed: list[str] = Field(description="The checks that it failed.")
    words: list[str]
    aligned: list[list[int]] = Field(
        description="For each word, the places of the English words that it comes from, from 0."
    )

    @classmethod
    def of(cls, translation: WireTranslation) -> Translation:
        return cls.model_construct(
            text=translation.text,
            probability=translation.probability,
            passed=translation.passed,
            failed=[*translation.failed],
            words=[*translation.words],
            aligned=[[*places] for places in translation.aligned],
        )


class Translatable(BaseModel):
    """What has a caption in the language that was asked for, as `text`."""

    english: str | None = Field(None, description="With language=ru: the English caption.", exclude_if=_is_none)
    translation: Translation | None = Field(
        None,
        description="With language=ru. `text` is its text if it passed, else the English caption. Missing where the "
        "workers have no translator.",
        exclude_if=_is_none,
    )


def _shown(english: str, translation: WireTranslation | None, language: Language) -> dict[str, Any]:
    """The fields of `Translatable`, and its `text`."""
    if language == "en":
        return {"text": english, "english": None, "translation": None}
    return {
        "text": translation.text if translation is not None and translation.passed else english,
        "english": english,
        "translation": None if translation is None else Translation.of(translation),
    }


class Word(TypedDict):  # which costs less to make and to write than a model; an answer has some fifty
    text: str
    log_prob: Annotated[float, Field(description="Natural logarithm of its probability.")]
    attention: Annotated[
        list[list[float]] | None,
        Field(description="Where it is: rows × columns over the photo, summing to 1; null: the baseline."),
    ]


class Caption(Translatable):
    text: str
    confidence: float = Field(description="Estimated probability that the caption is right.", ge=0, le=1)
    beginning: str = Field(description="Where the end is not believed: the words before it, in English; else empty.")
    translated_beginning: Translation | None = Field(
        None,
        description="Of `beginning`, or of the whole where that cannot be cut, with language=ru only.",
        exclude_if=_is_none,
    )
    words: list[Word] = Field(description="Of the English caption.")

    @classmethod
    def of(cls, caption: WireCaption, language: Language) -> Caption:
        maps: list[list[list[float]] | None] = [None] * len(caption.words)
        if caption.attention is not None:
            maps = [*caption.attention.as_lists()]
        beginning = caption.translated_beginning
        return cls.model_construct(
            **_shown(caption.text, caption.translation, language),
            confidence=caption.confidence,
            beginning=caption.beginning,
            translated_beginning=None if beginning is None else Translation.of(beginning),
            words=[
                Word(text=text, log_prob=log_prob, attention=attention)
                for text, log_prob, attention in zip(caption.words, caption.log_probs, maps, strict=True)
            ],
        )


class NotPhoto(BaseModel):
    kind: str = Field(description="What it looks like: blank, drawing, noise, screen or text.")
    probability: float = Field(description="That it is no photo.", ge=0, le=1)


class Photo(BaseModel):
    file: str = Field(description="The name it was sent under; may be empty.")
    model: Model
    not_photo: NotPhoto | None = Field(
        description="Not null: it is probably no photo. Its captions are inventions then, and no sheet is drawn."
    )
    greedy: Caption
    best: Caption | None = Field(description="The beam's; null for beam=1.")
    samples: list[Caption]
    sheet: str | None = Field(description="Where the heatmap sheet lies for an hour, as JPEG.")
    picture: str | None = Field(description="With keep=true: the name under which to ask about this photo again.")


class FailedPhoto(BaseModel):
    file: str
    error: ErrorDetail


class Photos(BaseModel):
    """One for each file, in their order. Of several files, some may have failed; one alone fails with a status."""

    photos: list[Photo | FailedPhoto]


class JudgedTag(BaseModel):
    name: str
    probability: float = Field(description="That one of five people who describe the photo mentions it.", ge=0, le=1)
    holds: bool = Field(description="The probability is above the tag's threshold.")


class Unjudgeable(BaseModel):
    text: str
    unknown: list[str] = Field(description="Its words that the network does not know.")


class Tags(BaseModel):
    file: str
    none_fits: bool
    tags: list[JudgedTag] = Field(description="Those that hold first, then the others, each by probability.")
    unjudgeable: list[Unjudgeable]
    picture: str | None

    @classmethod
    def of(cls, tags: Sequence[Tag], file: str, picture: str | None) -> Tags:
        judged = [tag for tag in likeliest_first(tags) if tag.probability is not None]
        return cls(
            file=file,
            none_fits=not any(tag.holds for tag in judged),
            tags=[JudgedTag(name=tag.name, probability=tag.probability or 0.0, holds=tag.holds) for tag in judged],
            unjudgeable=[Unjudgeable(text=tag.name, unknown=[*tag.unknown]) for tag in tags if tag.probability is None],
            picture=picture,
        )


class RankedText(BaseModel):
    text: str
    probability: float = Field(description="That it is the one that belongs to the photo.", ge=0, le=1)


class Ranked(BaseModel):
    file: str
    best: str | None = Field(description="null: none of them fits.")
    none: float = Field(description="The probability that none fits.", ge=0, le=1)
    choices: list[RankedText] = Field(description="The likeliest first.")
    unjudgeable: list[Unjudgeable]
    picture: str | None

    @classmethod
    def of(cls, ranking: Ranking, file: str, picture: str | None) -> Ranked:
        judged = [choice for choice in ranking.choices if choice.probability is not None]
        return cls(
            file=file,
            best=None if ranking.best is None else ranking.best.text,
            none=ranking.none,
            choices=[RankedText(text=choice.text, probability=choice.probability or 0.0) for choice in judged],
            unjudgeable=[
                Unjudgeable(text=choice.text, unknown=[*choice.unknown])
                for choice in ranking.choices
                if choice.probability is None
            ],
            picture=picture,
        )


class FoundPhoto(BaseModel):
    index: int = Field(description="Its place among the files of the request, from 0.", ge=0)
    file: str = Field(description="The name it was sent under; may be empty.")
    probability: float = Field(description="That most of what was asked for is in it.", ge=0, le=1)


class UnreadPhoto(FailedPhoto):
    index: int = Field(description="Its place among the files of the request, from 0.", ge=0)


class FoundPhotos(BaseModel):
    text: str
    none_fits: bool = Field(description="Not one of the photos that were compared fits well.")
    found: list[FoundPhoto] = Field(description=f"Those that fit, the best first: {MOST_FOUND} at most.")
    compared: int = Field(description="With how many photos the text was compared.", ge=0)
    unknown: list[str] = Field(description="Words of the text that are not known, and were left out.")
    failed: list[UnreadPhoto] = Field(description="Such as files that are no photos. One alone fails with a status.")

    @classmethod
    def of(cls, text: str, found: Found, files: Sequence[str], failed: Sequence[UnreadPhoto]) -> FoundPhotos:
        """files: their names; photos are named by their places among them."""
        hits = [(int(hit.name, 16), hit.probability) for hit in found.hits]
        return cls(
            text=text,
            none_fits=found.compared > 0 and not hits,
            found=[FoundPhoto(index=at, file=files[at], probability=probability) for at, probability in hits],
            compared=found.compared,
            unknown=[*found.unknown],
            failed=[*failed],
        )


class OtherWord(BaseModel):
    word: str | None
    probability: float


class Step(BaseModel):
    word: str | None = Field(description="That was said; null: the caption ends.")
    probability: float = Field(description="The network's own, before temperature and filters.")
    others: list[OtherWord] = Field(description="The likeliest other words.")
    translated: str | None = Field(
        None,
        description="With language=ru: the words of the translation that come from it; may be empty.",
        exclude_if=_is_none,
    )

    @classmethod
    def of(cls, step: WeighedWord, language: Language) -> Step:
        others = [OtherWord(word=word or None, probability=probability) for word, probability in step.others]
        translated = None if language == "en" else step.translated
        return cls(word=step.word or None, probability=step.probability, others=others, translated=translated)


class Explanation(BaseModel):
    file: str
    model: Model
    caption: Caption
    steps: list[Step] = Field(description="One for each word, and one for the end.")
    chart: str | None = Field(description="Where the chart lies for an hour, as PNG.")
    picture: str | None


class Features(BaseModel):
    layout: Literal["pooled", "grid"]
    shape: list[int] = Field(description="(channels) or (rows, columns, channels).")
    features: list[float] | list[list[list[float]]]


def npy_file(shape: Sequence[int], values: bytes) -> bytes:
    """A file for `numpy.load` (its format 1.0) of float32. values: little-endian, in C order."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}".encode()
    header = header.ljust(-(len(header) + 11) % 64 + len(header)) + b"\n"  # with what is before it, 64 bytes or several
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


class NearWord(BaseModel):
    word: str
    similarity: float = Field(description="Cosine, in [-1, 1].")


class WordNeighbours(BaseModel):
    word: str
    model: Model
    embedding: list[float]
    nearest: list[NearWord] = Field(description="The nearest first.")


class Frame(Translatable):
    time: float = Field(description="Seconds from the beginning.")
    text: str
    score: float = Field(description="How unlike the rest of the clip, in [0, 1].")
    chosen: bool = Field(description="A moment.")

    @classmethod
    def of(cls, frame: ClipFrame, language: Language) -> Frame:
        shown = _shown(frame.text, frame.translation, language)
        return cls(**shown, time=frame.time, score=frame.score, chosen=frame.chosen)


class Moment(Translatable):
    time: float
    text: str
    score: float
    picture: str | None = Field(description="Where the frame lies for an hour, as JPEG.")

    @classmethod
    def of(cls, frame: ClipFrame, picture: str | None, language: Language) -> Moment:
        shown = _shown(frame.text, frame.translation, language)
        return cls(**shown, time=frame.time, score=frame.score, picture=picture)


class ClipMoments(BaseModel):
    model: Model
    duration: float
    still: bool = Field(description="One shot in which little changes.")
    variedness: float
    moments: list[Moment]
    frames: list[Frame]
    timeline: str | None = Field(description="Where it lies for an hour, as JPEG.")


class JobState(BaseModel):
    id: str
    state: Literal["waiting", "working", "done", "failed", "cancelled"]
    place: int = Field(description="How many jobs are before it in line.")
    percent: int = Field(ge=0, le=100)
    error: ErrorDetail | None = None


class ClipState(JobState):
    result: ClipMoments | None = None


class EditedPhoto(BaseModel):
    picture: str | None = Field(description="Where it lies for an hour, as JPEG. A machine edited it.")
    strength: int = Field(description="In percent.")
    seed: int


class EditState(JobState):
    result: EditedPhoto | None = None


class Health(BaseModel):
    status: Literal["ok", "unavailable"]
    workers: int


class ModelInfo(BaseModel):
    name: Model
    attention: bool
    bytes: int | None = Field(description="Of its weights, where they are on this machine.")


class LimitsInfo(BaseModel):
    photo_bytes: int
    clip_bytes: int
    clip_seconds: int
    files: int
    find_files: int
    open_requests_per_client: int
    requests_per_second: float


class Info(BaseModel):
    version: str
    model: Model = Field(description="Where a request names none.")
    models: list[ModelInfo]
    limits: LimitsInfo
