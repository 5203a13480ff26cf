"""What can go wrong with a picture or a job, as types. Free of torch.

CaptionError
├── MediaError                 the person's file is at fault; trying again will not help
│   ├── EmptyFile              "empty"        zero bytes
│   ├── NotAnImage             "not_image"    not a picture of a kind that is read here
│   ├── DamagedImage           "damaged"      a picture that breaks off or does not decode
│   └── ImageTooLarge          "too_large"    more pixels than are decoded here
└── JobError                   the work failed, not the picture
    ├── JobCrashed             "crashed"      it brought a worker down, several times
    ├── JobCancelled           "cancelled"    the person wanted it no more
    └── JobFailed              "failed"       an unforeseen error in the worker

`kind` travels over the wire; the bot turns it into the reader's language, the command line prints `str(error)`.
"""

from __future__ import annotations

from typing import ClassVar


class CaptionError(Exception):
    """Base of all of them; `kind` names the leaf."""

    kind: ClassVar[str] = "failed"


class MediaError(CaptionError):
    pass


class EmptyFile(MediaError):
    kind = "empty"


class NotAnImage(MediaError):
    kind = "not_image"


class DamagedImage(MediaError):
    kind = "damaged"


class ImageTooLarge(MediaError):
    kind = "too_large"


class JobError(CaptionError):
    pass


class JobCrashed(JobError):
    kind = "crashed"


class JobCancelled(JobError):
    kind = "cancelled"


class JobFailed(JobError):
    kind = "failed"


KINDS: dict[str, type[CaptionError]] = {
    leaf.kind: leaf
    for leaf in (EmptyFile, NotAnImage, DamagedImage, ImageTooLarge, JobCrashed, JobCancelled, JobFailed)
}


def error_of(kind: str, message: str) -> CaptionError:
    """The error that `kind` names; JobFailed for a kind from a newer or older version."""
    return KINDS.get(kind, JobFailed)(message)
