"""What travels between the bot and a worker: plain dataclasses and a versioned codec. No pickle, no torch.

A frame is the magic b"CAPT", one version byte, the length of a JSON header (4 bytes, big endian), the header, and
then the attachments one after the other; the header lists their lengths.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from model.decoding.sampling import Sampling
from model.drawing.labels import ENGLISH, Labels

MAGIC: Final = b"CAPT"
VERSION: Final = 2
_PREFIX: Final = struct.Struct(">4sBI")
MAX_HEADER: Final = 1 << 20
PICTURES: Final = ("sheet", "chart")  # of a result, that travel as attachments


Kind: TypeAlias = Literal["photo", "clip"]


class WireError(ValueError):
    """Bytes that are no frame of a version that is understood here."""


@dataclass(frozen=True)
class Job:
    """One picture or clip to caption. `id` is chosen by the bot and is the same for each delivery of one request."""

    id: str
    user: int  # who asked, for fairness
    kind: Kind = "photo"
    request: str = ""  # jobs of one request, such as an album's items, count as one; empty: the job is one by itself
    model: str = "attention"
    samples: int = 5
    sampling: Sampling = Sampling()
    seed: int = 0
    beam: int | None = None  # width of a beam search for the main caption; None: the greedy one
    sheet: bool = True  # draw the heatmap sheet (where the model has attention)
    moments: int | None = None  # of a clip; None: as many as differ
    chart: bool = False  # draw the words that were weighed at each step
    explain: str = ""  # a caption from before: nothing is searched for, sheet and chart are those of this one
    exclude: tuple[str, ...] | None = None  # not None: samples differ from these captions and from each other
    compare: bool = False  # the main caption of the other model, too
    place: str = ""  # the chat; what workers keep of its media is forgotten together
    picture: str = ""  # the name of the file there: grid features are kept under it for a while; empty: they are not
    album: tuple[
        str, ...
    ] = ()  # one caption for each picture in the media (`pack_album`); wanted is a sheet of them all
    labels: Labels = ENGLISH  # what is written on drawn pictures
    known: bool = False  # sent without its media, in the hope that a worker has its features (else: features_gone)


@dataclass(frozen=True)
class WireCaption:
    text: str
    confidence: float  # geometric mean of the word probabilities, in [0, 1]


@dataclass(frozen=True)
class WeighedWord:
    """One step of a caption that was explained."""

    word: str  # that was said; empty: the caption ends
    probability: float  # in [0, 1]
    others: tuple[tuple[str, float], ...]  # the likeliest other words, the likeliest first


@dataclass(frozen=True)
class JobResult:
    """The captions of one picture, and its heatmap sheet as a JPEG file, where one was drawn.

    Of a job that explains a caption, that one is `greedy`, and there are no others.
    """

    greedy: WireCaption
    samples: tuple[WireCaption, ...]
    sheet: bytes | None = None  # of the main caption
    best: WireCaption | None = None  # the beam's, where one was asked for
    chart: bytes | None = None  # a PNG file, where one was asked for
    weighed: tuple[WeighedWord, ...] = ()  # what is on the chart
    other: WireCaption | None = None  # the other model's main caption, where it was asked for

    @property
    def main(self) -> WireCaption:
        """The caption to show first."""
        return self.best or self.greedy


@dataclass(frozen=True)
class ClipFrame:
    """One frame that was looked at."""

    time: float  # seconds from the clip's start
    text: str
    score: float  # in [0, 1], how unlike the rest of the clip
    chosen: bool  # a moment


@dataclass(frozen=True)
class ClipResult:
    """The moments of a clip."""

    duration: float  # seconds
    frames: tuple[ClipFrame, ...]
    variedness: float  # in [0, 1]
    still: bool  # one shot in which little changes
    pictures: tuple[bytes, ...]  # the chosen frames, in the order of time, as JPEG files
    timeline: bytes  # a JPEG file

    @property
    def moments(self) -> tuple[ClipFrame, ...]:
        return tuple(frame for frame in self.frames if frame.chosen)


@dataclass(frozen=True)
class AlbumResult:
    """What the captions of an album looked at, on one sheet: a JPEG file."""

    sheet: bytes
    drawn: int  # how many of its pictures are on it


Outcome: TypeAlias = JobResult | ClipResult | AlbumResult


@dataclass(frozen=True)
class JobFailure:
    """Why there is no result: a kind of `model.errors.KINDS`, and a message for the log (never shown to people)."""

    kind: str
    message: str


def pack(header: dict[str, Any], attachments: Sequence[bytes] = ()) -> bytes:
    """A frame. `header` must be JSON; the key "attachments" is the codec's own."""
    text = json.dumps({**header, "attachments": [len(a) for a in attachments]}, ensure_ascii=False).encode()
    return b"".join([_PREFIX.pack(MAGIC, VERSION, len(text)), text, *attachments])


def unpack(frame: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The header and attachments of a whole frame. Raises WireError."""
    try:
        magic, version, length = _PREFIX.unpack_from(frame)
    except struct.error as error:
        raise WireError("shorter than a frame's prefix") from error
    if magic != MAGIC:
        raise WireError(f"not a frame: it begins with {magic!r}")
    if version != VERSION:
        raise WireError(f"frame of version {version}; this program reads version {VERSION}")
    start = _PREFIX.size + length
    try:
        header: dict[str, Any] = json.loads(frame[_PREFIX.size : start])
        lengths = header.pop("attachments")
        attachments = []
        for size in lengths:
            attachments.append(frame[start : start + size])
            start += size
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError(f"damaged frame header: {error}") from error
    if start != len(frame):
        raise WireError(f"a frame of {len(frame)} bytes whose header promises {start}")
    return header, attachments


def pack_album(pictures: Sequence[bytes]) -> bytes:
    """The media of a job with an album: its pictures, empty for one that cannot be had."""
    return pack({}, pictures)


def encode_job(job: Job) -> dict[str, Any]:
    return dataclasses.asdict(job)


def decode_job(header: dict[str, Any]) -> Job:
    """Raises WireError."""
    try:
        exclude = header.get("exclude")
        changed = {
            "sampling": Sampling(**header["sampling"]),
            "exclude": None if exclude is None else tuple(exclude),
            "album": tuple(header.get("album", ())),
            "labels": Labels(**header.get("labels", {})),
        }
        return Job(**{**header, **changed})
    except (TypeError, KeyError, ValueError) as error:
        raise WireError(f"not a job: {error}") from error


def encode_outcome(result: Outcome) -> tuple[dict[str, Any], list[bytes]]:
    if isinstance(result, ClipResult):
        fields = dataclasses.asdict(result)
        return {"clip": fields}, [fields.pop("timeline"), *fields.pop("pictures")]
    if isinstance(result, AlbumResult):
        return {"album": {"drawn": result.drawn}}, [result.sheet]
    header = {
        "greedy": dataclasses.asdict(result.greedy),
        "samples": [dataclasses.asdict(sample) for sample in result.samples],
        "best": None if result.best is None else dataclasses.asdict(result.best),
        "other": None if result.other is None else dataclasses.asdict(result.other),
        "weighed": [dataclasses.asdict(step) for step in result.weighed],
    }
    pictures = {name: data for name in PICTURES if (data := getattr(result, name)) is not None}
    return {**header, "pictures": list(pictures)}, list(pictures.values())


def decode_outcome(header: dict[str, Any], attachments: Sequence[bytes]) -> Outcome:
    """Raises WireError."""
    try:
        if "clip" in header:
            fields = header["clip"]
            frames = tuple(ClipFrame(**frame) for frame in fields["frames"])
            timeline, *pictures = attachments
            return ClipResult(**{**fields, "frames": frames, "timeline": timeline, "pictures": tuple(pictures)})
        if "album" in header:
            [sheet] = attachments
            return AlbumResult(sheet, **header["album"])
        return JobResult(
            greedy=WireCaption(**header["greedy"]),
            samples=tuple(WireCaption(**sample) for sample in header["samples"]),
            best=WireCaption(**header["best"]) if header.get("best") else None,
            other=WireCaption(**header["other"]) if header.get("other") else None,
            weighed=tuple(
                WeighedWord(step["word"], step["probability"], tuple((word, p) for word, p in step["others"]))
                for step in header.get("weighed", ())
            ),
            **{name: data for name, data in zip(header["pictures"], attachments, strict=True) if name in PICTURES},
        )
    except (TypeError, KeyError, ValueError) as error:
        raise WireError(f"not a result: {error}") from error
