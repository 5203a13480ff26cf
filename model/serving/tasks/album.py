"""The pictures of an album → one contact sheet of what their captions looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from model.drawing.album_heatmap import PHOTO_SIDE, Captioned, draw_contact_sheet
from model.errors import CaptionError, EmptyFile
from model.media.images import encode_jpeg, open_image, to_square
from model.serving.jobs import AlbumResult, Job, unpack
from model.serving.queue import Lease
from model.serving.worker.network import Findings, Picture


@dataclass(frozen=True)
class AlbumPicture:
    """A picture of an album, made small, as a job of its own for the network."""

    number: int  # its place among the captions of the job, from 1
    photo: Image.Image  # to be drawn
    picture: Picture  # for the network


def prepare_album(lease: Lease, size: int) -> list[AlbumPicture]:
    """The pictures of a job's album that can be read, each to be explained by its caption.

    size: of the squares that the network sees. One picture is open at a time and only a small copy of it is kept, so
    an album takes little more memory than its largest photo. Raises CaptionError when none can be read, and WireError.
    """
    _, media = unpack(lease.media)
    found: list[AlbumPicture] = []
    wrong: CaptionError = EmptyFile("no pictures")
    for number, (data, caption) in enumerate(zip(media, lease.job.album, strict=True), 1):
        try:
            photo = open_image(data)
        except CaptionError as error:
            wrong = error
            continue
        square = to_square(photo, size)
        photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        job = dataclasses.replace(lease.job, album=(), explain=caption, samples=0, sheet=False)
        found.append(AlbumPicture(number, photo, Picture(Lease(job, b""), None, square)))
    if not found:
        raise wrong
    return found


def compose_album(job: Job, pictures: Sequence[AlbumPicture], findings: Sequence[Findings | Exception]) -> AlbumResult:
    """The sheet; a picture that the network failed on is left out. Raises its error when it failed on all."""
    items = [
        Captioned(each.number, each.photo, found.captions.main.words, found.captions.main.attention)
        for each, found in zip(pictures, findings, strict=True)
        if not isinstance(found, Exception)
    ]
    if not items:
        raise next(found for found in findings if isinstance(found, Exception))
    return AlbumResult(encode_jpeg(draw_contact_sheet(items, job.labels)), len(items))
