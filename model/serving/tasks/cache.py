"""One-hour worker cache of what the network found in media; never pixels.

Of a photo its grid features, so that asking again costs only decoding; of a clip the captions and descriptors of its
frames, so that another choice of moments costs no network. Both are a chat's, and forgotten together. No torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from cachetools import TTLCache

if TYPE_CHECKING:
    from torch import Tensor

    from model.clip_moments import FrameDescription

SECONDS: Final = 3600.0
FEATURE_BYTES: Final = 256 * 2**20  # 1,638 photos in bf16, 819 in fp32
CLIPS: Final = 32  # each takes up to some 1 MB
FORGOTTEN: Final = 100_000  # chats; a few bytes each

Described: TypeAlias = "Mapping[float, FrameDescription]"  # frames of a clip by their times


class Cache:
    """Not thread-safe. `put`, where it is asked for: when the job was put in line, on this clock."""

    def __init__(
        self,
        *,
        feature_bytes: int = FEATURE_BYTES,
        clips: int = CLIPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._features: TTLCache[tuple[str, str], Tensor] = TTLCache(
            feature_bytes, SECONDS, clock, getsizeof=lambda features: features.nbytes
        )
        self._clips: TTLCache[tuple[str, bytes, str], Described] = TTLCache(clips, SECONDS, clock)
        self._forgotten: TTLCache[str, float] = TTLCache(FORGOTTEN, SECONDS, clock)  # place → when it was forgotten

    def features(self, place: str, picture: str) -> Tensor | None:
        """(regions, channels) of the picture with this name, on the CPU."""
        return self._features.get((place, picture))

    def keep_features(self, place: str, picture: str, features: Tensor, put: float) -> None:
        """Where picture and place have names, unless the place has been forgotten since the job was put."""
        if place and picture and not self._is_forgotten(place, put) and features.nbytes <= self._features.maxsize:
            self._features[place, picture] = features

    def frames(self, place: str, model: str, digest: bytes) -> Described:
        """What is known of the clip with this digest; nothing, perhaps."""
        return self._clips.get((place, digest, model)) or {}

    def keep_frames(
        self, place: str, model: str, digest: bytes, frames: Sequence[FrameDescription], put: float
    ) -> None:
        if not self._is_forgotten(place, put):
            self._clips[place, digest, model] = {frame.time: frame for frame in frames}

    def forget(self, places: Iterable[str]) -> None:
        """Drop what is cached of these places, and cache nothing of jobs that are in line or in flight now."""
        forgotten = set(places)
        for place in forgotten:
            self._forgotten[place] = self._clock()
        for features in [key for key in self._features if key[0] in forgotten]:
            self._features.pop(features, None)
        for clip in [key for key in self._clips if key[0] in forgotten]:
            self._clips.pop(clip, None)

    def expire(self) -> None:
        """Drop what has been cached for an hour. Call it from time to time."""
        for cache in (self._features, self._clips, self._forgotten):
            cache.expire()

    def _is_forgotten(self, place: str, put: float) -> bool:
        forgotten = self._forgotten.get(place)
        return forgotten is not None and put <= forgotten
