"""What a worker keeps of media beyond their jobs, for an hour: what the network found, never a picture.

Of a photo its grid features, so that asking again costs only decoding; of a clip the captions and descriptors of its
frames, so that another choice of moments costs no network. Both are a chat's, and forgotten together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from torch import Tensor

from model.clip_moments import FrameDescription
from model.serving.jobs import Job
from model.serving.worker.recent import Recent

FEATURE_BYTES: Final = 256 * 2**20  # 1,638 photos in bf16, 819 in fp32
CLIPS: Final = 32  # each takes up to some 1 MB
FORGOTTEN: Final = 100_000  # chats; a few bytes each

Described: TypeAlias = Mapping[float, FrameDescription]  # frames of a clip by their times


class Kept:
    """Not thread-safe. `put`, where it is asked for: when the job was put in line, on this clock."""

    def __init__(
        self,
        *,
        feature_bytes: int = FEATURE_BYTES,
        clips: int = CLIPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._features: Recent[tuple[str, str], Tensor] = Recent(
            feature_bytes, size=lambda features: features.nbytes, clock=clock
        )
        self._clips: Recent[tuple[str, bytes, str], Described] = Recent(clips, clock=clock)
        self._forgotten: Recent[str, float] = Recent(FORGOTTEN, clock=clock)  # place → when this was heard

    def features(self, job: Job) -> Tensor | None:
        """(regions, channels) of the job's picture, on the CPU."""
        return self._features.get((job.place, job.picture))

    def keep_features(self, job: Job, features: Tensor, put: float) -> None:
        """Of a job whose picture has a name and a place, unless the place has been forgotten since the job was put."""
        if job.place and job.picture and not self._is_forgotten(job.place, put):
            self._features.keep((job.place, job.picture), features)

    def frames(self, job: Job, digest: bytes) -> Described:
        """What is known of the clip with this digest; nothing, perhaps."""
        return self._clips.get((job.place, digest, job.model)) or {}

    def keep_frames(self, job: Job, digest: bytes, frames: Sequence[FrameDescription], put: float) -> None:
        if not self._is_forgotten(job.place, put):
            self._clips.keep((job.place, digest, job.model), {frame.time: frame for frame in frames})

    def forget(self, places: Iterable[str]) -> None:
        """Of these places nothing is kept any more, nor will be of jobs that are in line or in work now."""
        told = set(places)
        for place in told:
            self._forgotten.keep(place, self._clock())
        if told:
            self._features.forget(lambda key: key[0] in told)
            self._clips.forget(lambda key: key[0] in told)

    def expire(self) -> None:
        """Drop what has been kept for an hour. Call it from time to time."""
        for recent in (self._features, self._clips, self._forgotten):
            recent.expire()

    def _is_forgotten(self, place: str, put: float) -> bool:
        heard = self._forgotten.get(place)
        return heard is not None and put <= heard
