"""Files from the body of a request: counted while they stream, kept in memory only, nothing read past the limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from web.errors import ApiError, ClientGone

FIELD_BYTES: Final = 4096  # of one option in a form
MOST_FIELDS: Final = 32
FORM_BYTES: Final = 256 * 1024  # of a form beside its files
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what is wrong with a form is answered, not logged
WHOLE_FILES: Final = ("image/", "video/", "application/octet-stream")  # content types of a body that is the file


@dataclass
class File:
    name: str
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Upload:
    """What a body held."""

    files: list[File] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    size: int = 0  # bytes of the body


@dataclass(frozen=True)
class UploadLimits:
    file_bytes: int
    files: int
    total_bytes: int  # of all files
    chunk_seconds: float
    body_seconds: float

    def most(self, request: Request) -> int:
        """How many bytes this body can have: what it says, else what is allowed. Raises ApiError."""
        allowed = self.total_bytes + FORM_BYTES
        said = request.headers.get("content-length")
        if said is None:
            return allowed if "transfer-encoding" in request.headers else 0
        if not (said.isascii() and said.isdecimal()):
            raise ApiError("malformed", "Content-Length is not a number.")
        if len(said) > 15 or int(said) > allowed:
            raise ApiError("too_many_bytes")
        return int(said)


async def read_upload(request: Request, limits: UploadLimits) -> Upload:
    """The files and options of a body: a form, or one file that is the whole body. No body: no files.

    Raises ApiError, and ClientGone when the client hangs up before the end.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    content_type = kind.decode("latin-1").strip().lower()
    try:
        async with asyncio.timeout(limits.body_seconds), aclosing(_chunks(request, limits)) as chunks:
            return await _read(content_type, options, chunks, limits)
    except TimeoutError:
        raise ApiError("slow_body") from None


async def _read(
    content_type: str, options: Mapping[bytes, bytes], chunks: AsyncIterator[bytes], limits: UploadLimits
) -> Upload:
    if content_type == "multipart/form-data":
        if not (boundary := options.get(b"boundary")):
            raise ApiError("malformed", "The form has no boundary.")
        return await _read_form(chunks, boundary, limits)
    whole = content_type.startswith(WHOLE_FILES)
    upload = Upload()
    file = File("")
    async for chunk in chunks:
        if chunk and not whole:
            raise ApiError("content_type")
        file.data += chunk
        if len(file.data) > limits.file_bytes:
            raise ApiError("too_many_bytes")
    upload.size = len(file.data)
    if whole:
        upload.files.append(file)
    return upload


async def _chunks(request: Request, limits: UploadLimits) -> AsyncGenerator[bytes]:
    """The body as it comes, up to the limit. Raises TimeoutError."""
    size, allowed = 0, limits.total_bytes + FORM_BYTES
    while True:
        async with asyncio.timeout(limits.chunk_seconds):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > allowed:
            raise ApiError("too_many_bytes")
        yield chunk
        if not message.get("more_body", False):
            return


async def _read_form(chunks: AsyncIterator[bytes], boundary: bytes, limits: UploadLimits) -> Upload:
    form = _Form(limits)
    try:
        parser = form.parser(boundary)
        async for chunk in chunks:
            form.upload.size += len(chunk)
            parser.write(chunk)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError):
        raise ApiError("malformed") from None
    if not form.ended:
        raise ApiError("malformed", "The form breaks off.")
    return form.upload


class _Form:
    """Takes the parts of a form as they stream."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self.upload = Upload()
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._name = ""
        self._file: File | None = None  # the part is one; None: an option
        self._text = bytearray()

    def parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise ApiError("malformed", "A part of the form has no name.")
        self._name = options[b"name"].decode()
        self._text.clear()
        self._file = None
        if b"filename" in options or self._name in ("file", "files"):
            self._file = File(options.get(b"filename", b"").decode("utf-8", "replace")[:200])
            self.upload.files.append(self._file)
            if len(self.upload.files) > self._limits.files:
                raise ApiError("too_many_files", f"At most {self._limits.files} can be sent in one request.")
        elif self._name in self.upload.fields:
            raise ApiError("option", f"{self._name[:40]!r} is given twice.")
        elif len(self.upload.fields) >= MOST_FIELDS:
            raise ApiError("option", "There are too many options.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._text += data[start:end]
            if len(self._text) > FIELD_BYTES:
                raise ApiError("option", f"{self._name[:40]!r} is too long.")
            return
        self._file.data += data[start:end]
        if len(self._file.data) > self._limits.file_bytes:
            raise ApiError("too_many_bytes")

    def _end(self) -> None:
        if self._file is None:
            self.upload.fields[self._name] = self._text.decode()

    def _finish(self) -> None:
        self.ended = True
