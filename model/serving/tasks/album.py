"""Draw one sheet of where the words of an album's captions are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from model.drawing.labels import ENGLISH, Labels
from model.errors import CaptionError, EmptyFile
from model.serving.codec import pack, unpack
from model.serving.tasks.base import CaptionOptions, Findings, Language, Picture, Result, Task, Tools

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


@dataclass(frozen=True)
class AlbumResult(Result):
    """Where the words of an album's captions are, on one sheet: a JPEG file."""

    sheet: bytes
    drawn: int  # how many of its pictures are on it


@dataclass(frozen=True)
class AlbumTask(Task):
    """The media are the album's pictures, as `pack_album` packs them."""

    NAME: ClassVar[str] = "album"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = AlbumResult

    captions: tuple[str, ...] = ()  # one for each picture
    model: str = "attention"
    labels: Labels = ENGLISH  # what is written on the sheet
    language: Language = "en"  # of the captions on the sheet; `captions` are English

    async def work(self, media: bytes, tools: Tools) -> AlbumResult:
        pictures = await tools.pixels(partial(_prepare, self, media, tools.models.image_size))
        found: list[Findings | Exception] = []
        for start in range(0, len(pictures), tools.max_batch):
            some = [each.picture for each in pictures[start : start + tools.max_batch]]
            found += await tools.network(partial(tools.models.caption, some), len(some))
        return await tools.pixels(partial(_compose, self, pictures, found))


def pack_album(pictures: Sequence[bytes]) -> bytes:
    """The media of an album: its pictures, empty for one that cannot be had."""
    return pack({}, pictures)


@dataclass(frozen=True)
class _AlbumPicture:
    """A picture of an album, made small, as a task of its own for the network."""

    number: int  # its place in the album, from 1
    photo: Image.Image  # to be drawn
    picture: Picture  # for the network


def _prepare(task: AlbumTask, media: bytes, size: int) -> list[_AlbumPicture]:
    """The pictures that can be read, each to be explained by its caption.

    size: of the squares that the network sees. One picture is open at a time and only a small copy of it is kept, so
    an album takes little more memory than its largest photo. Raises CaptionError when none can be read, and WireError.
    """
    from model.drawing.album_heatmap import PHOTO_SIDE
    from model.media.images import open_image
    from model.network.encoder import to_square

    _, files = unpack(media)
    found: list[_AlbumPicture] = []
    wrong: CaptionError = EmptyFile("no pictures")
    for number, (data, caption) in enumerate(zip(files, task.captions, strict=True), 1):
        try:
            photo = open_image(data)
        except CaptionError as error:
            wrong = error
            continue
        square = to_square(photo, size)
        photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        options = CaptionOptions(model=task.model, explain=caption, language=task.language)
        found.append(_AlbumPicture(number, photo, Picture(options, square)))
    if not found:
        raise wrong
    return found


def _compose(task: AlbumTask, pictures: Sequence[_AlbumPicture], found: Sequence[Findings | Exception]) -> AlbumResult:
    """The sheet; a picture that the network failed on is left out. Raises its error when it failed on all."""
    from model.drawing.album_heatmap import Captioned, draw_contact_sheet
    from model.media.images import encode_jpeg

    items = [
        Captioned(each.number, each.photo, *_shown(result))
        for each, result in zip(pictures, found, strict=True)
        if not isinstance(result, Exception)
    ]
    if not items:
        raise next(result for result in found if isinstance(result, Exception))
    return AlbumResult(encode_jpeg(draw_contact_sheet(items, task.labels)), len(items))


def _shown(found: Findings) -> tuple[tuple[str, ...], npt.NDArray[np.float32] | None]:
    """The words of the caption, and where they are."""
    caption = found.captions.main
    translation = found.translations.get(caption.text)
    if translation is None or not translation.passed:
        return caption.words, caption.attention
    return translation.words, None if caption.attention is None else translation.attention(caption.attention)
