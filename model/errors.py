"""What can go wrong with a picture, a clip or a job, as types. Free of torch.

CaptionError
├── MediaError                 the person's file is at fault; trying again will not help
│   ├── EmptyFile              "empty"        zero bytes
│   ├── NotAnImage             "not_image"    not a picture
│   │   ├── UnreadImage        "unread_image" a good picture, of a kind that is not read here
│   │   ├── VectorDrawing      "svg"          lines to be drawn, not pixels
│   │   ├── PdfDocument        "pdf"          pages
│   │   ├── WebPage            "web_page"     HTML, such as what a server says in place of a picture
│   │   └── OnlyZeros          "zeros"        as copies are that failed
│   ├── AnimatedPicture        "animated"     it moves: to be asked for as a clip
│   ├── TruncatedImage         "truncated"    a picture that breaks off
│   ├── DamagedImage           "damaged"      a picture that does not decode
│   ├── ImageTooLarge          "too_large"    more pixels than are decoded here
│   ├── NotAClip               "not_a_clip"       not a clip, or sound without pictures
│   │   └── UnreadClip         "unread_clip"      a good clip, of a kind that is not read here
│   ├── DamagedClip            "damaged_clip"     not one frame of it decodes
│   ├── ClipTooLong            "clip_too_long"    more seconds than are watched here
│   ├── ClipTooLarge           "clip_too_large"   more bytes, or more pixels a frame, than are decoded here
│   └── ClipTooSlow            "clip_too_slow"    it takes more time to decode than it may
├── OptionError                what was asked for cannot be had of any picture
│   ├── EditTextTooLong        "edit_text"      more words than the network that edits reads
│   ├── Unexplainable          "unexplainable"  this model cannot have said the caption; the message says why
│   └── UnknownWord            "unknown_word"   this model does not know the word
└── JobError                   the work failed, not the picture
    ├── JobCrashed             "crashed"      it brought a worker down, several times
    ├── JobCancelled           "cancelled"    the person wanted it no more
    ├── JobFailed              "failed"       an unforeseen error in the worker
    ├── OutOfMemory            "out_of_memory"  the decoder got no memory; trying again may help
    ├── EditTooSlow            "edit_too_slow"  an edit takes more time than it may
    ├── EditRefused            "edit_refused"   the edited picture is not one to be shown
    ├── EditsUnavailable       "edits_unavailable"  this worker has no network that edits
    ├── FeaturesGone           "features_gone"  no worker has the features of a picture that was not sent again
    └── ClipsUnavailable       "clips_unavailable"  this machine lacks what decodes clips

MetricsError, that a process cannot show its metrics, ends the process at its start.

`kind` travels over the wire; the bot turns it into the reader's language, the command line prints `str(error)`.
"""

from __future__ import annotations

from typing import ClassVar


class MetricsError(Exception):
    """The metrics cannot be served; the message says why and what to do."""


class CaptionError(Exception):
    """Base of all of them; `kind` names the leaf."""

    kind: ClassVar[str] = "failed"


class MediaError(CaptionError):
    pass


class EmptyFile(MediaError):
    kind = "empty"


class NotAnImage(MediaError):
    kind = "not_image"


class UnreadImage(NotAnImage):
    kind = "unread_image"


class VectorDrawing(NotAnImage):
    kind = "svg"


class PdfDocument(NotAnImage):
    kind = "pdf"


class WebPage(NotAnImage):
    kind = "web_page"


class OnlyZeros(NotAnImage):
    kind = "zeros"


class AnimatedPicture(MediaError):
    kind = "animated"


class TruncatedImage(MediaError):
    kind = "truncated"


class DamagedImage(MediaError):
    kind = "damaged"


class ImageTooLarge(MediaError):
    kind = "too_large"


class NotAClip(MediaError):
    kind = "not_a_clip"


class UnreadClip(NotAClip):
    kind = "unread_clip"


class DamagedClip(MediaError):
    kind = "damaged_clip"


class ClipTooLong(MediaError):
    kind = "clip_too_long"


class ClipTooLarge(MediaError):
    kind = "clip_too_large"


class ClipTooSlow(MediaError):
    kind = "clip_too_slow"


class OptionError(CaptionError):
    pass


class Unexplainable(OptionError):
    kind = "unexplainable"


class UnknownWord(OptionError):
    kind = "unknown_word"


class EditTextTooLong(OptionError):
    kind = "edit_text"


class JobError(CaptionError):
    pass


class JobCrashed(JobError):
    kind = "crashed"


class JobCancelled(JobError):
    kind = "cancelled"


class JobFailed(JobError):
    kind = "failed"


class OutOfMemory(JobError):
    kind = "out_of_memory"


class EditTooSlow(JobError):
    kind = "edit_too_slow"


class EditRefused(JobError):
    kind = "edit_refused"


class EditsUnavailable(JobError):
    kind = "edits_unavailable"


class FeaturesGone(JobError):
    kind = "features_gone"


class ClipsUnavailable(JobError):
    kind = "clips_unavailable"


KINDS: dict[str, type[CaptionError]] = {
    leaf.kind: leaf
    for leaf in (
        EmptyFile,
        NotAnImage,
        UnreadImage,
        VectorDrawing,
        PdfDocument,
        WebPage,
        OnlyZeros,
        AnimatedPicture,
        TruncatedImage,
        DamagedImage,
        ImageTooLarge,
        NotAClip,
        UnreadClip,
        DamagedClip,
        ClipTooLong,
        ClipTooLarge,
        ClipTooSlow,
        Unexplainable,
        UnknownWord,
        EditTextTooLong,
        EditTooSlow,
        EditRefused,
        EditsUnavailable,
        JobCrashed,
        JobCancelled,
        JobFailed,
        OutOfMemory,
        FeaturesGone,
        ClipsUnavailable,
    )
}


def error_of(kind: str, message: str) -> CaptionError:
    """The error that `kind` names; JobFailed for a kind from a newer or older version."""
    return KINDS.get(kind, JobFailed)(message)
