"""Frames, and plain dataclasses inside them. No pickle, no torch.

A frame is the magic b"CAPT", one version byte, the length of a JSON header (4 bytes, big endian), the header, and
then the attachments one after the other; the header lists their lengths. A `bytes` field of a dataclass travels as an
attachment, and the header holds its index.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import struct
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

MAGIC: Final = b"CAPT"
VERSION: Final = 5
_PREFIX: Final = struct.Struct(">4sBI")

_PLAIN: Final = {float, int, str, bool}

T = TypeVar("T")
Decoder: TypeAlias = Callable[[Any, Sequence[bytes]], Any]


class WireError(ValueError):
    """Bytes that are no frame of a version that is understood here, or a header of another shape."""


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


def encode(value: Any, attachments: list[bytes]) -> Any:
    """A dataclass, tuple or plain value as JSON; its bytes are appended to `attachments`."""
    if isinstance(value, bytes):
        attachments.append(value)
        return len(attachments) - 1
    if isinstance(value, tuple):
        return list(value) if set(map(type, value)) <= _PLAIN else [encode(item, attachments) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name), attachments) for name in _fields(type(value))}
    return value


def decode(kind: type[T], value: Any, attachments: Sequence[bytes] = ()) -> T:
    """The dataclass that `encode` was given. Raises WireError where the fields, their types or values differ."""
    try:
        found: T = _decoder(cast(Any, kind))(value, attachments)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise WireError(f"not a {kind.__name__}: {error}") from error
    return found


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def _decoder(kind: Any) -> Decoder:
    """For a type of values: made once, as an answer has thousands of figures."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return lambda value, attachments: kind(  # type: ignore[operator]
            **{name: _decoder(hints[name])(each, attachments) for name, each in value.items()}
        )
    if kind is bytes:
        return lambda value, attachments: attachments[value]
    if origin in (Union, types.UnionType):
        [some] = [_decoder(argument) for argument in arguments if argument is not types.NoneType]
        return lambda value, attachments: None if value is None else some(value, attachments)
    if origin is tuple:
        return _tuple_decoder(arguments)
    return _plain_decoder(kind, arguments if origin is Literal else ())


def _tuple_decoder(arguments: tuple[Any, ...]) -> Decoder:
    every = _decoder(arguments[0]) if arguments[1:] == (...,) else None
    parts = [] if every else [_decoder(argument) for argument in arguments]
    floats = arguments == (float, ...)

    def decoded(value: Any, attachments: Sequence[bytes]) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        if floats and set(map(type, value)) <= {float}:
            return tuple(value)
        if every is not None:
            return tuple([every(each, attachments) for each in value])
        return tuple(part(each, attachments) for part, each in zip(parts, value, strict=True))

    return decoded


def _plain_decoder(kind: Any, allowed: Sequence[Any]) -> Decoder:
    types = (int, float) if kind is float else kind

    def decoded(value: Any, attachments: Sequence[bytes]) -> Any:
        if value not in allowed if allowed else not isinstance(value, types):
            raise TypeError(f"{value!r} is no {kind}")
        return value

    return decoded
