"""What the worker runs its batches through: pictures and frames in, captions out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model.captioner import Captioner, CaptionSet, Precision
from model.config import DecoderKind
from model.moments import DescribedFrame, PreparedFrame, describe
from model.sampling import Sampling
from model.serving.jobs import Job
from model.serving.queue import Lease

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A job whose picture has been decoded."""

    lease: Lease
    photo: Image.Image
    square: npt.NDArray[np.uint8]  # what the encoder sees, (size, size, 3)

    @property
    def job(self) -> Job:
        return self.lease.job


class Network(Protocol):
    """What a worker runs its batches through."""

    @property
    def image_size(self) -> int:
        """The side of the squares that `Picture.square` holds, in pixels."""

    def caption(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        """The captions of each picture, or why it has none. Called on one thread."""

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        """The same for frames of a clip: all of them, or what was wrong is raised."""


class Captioners:
    """The decoders of one weights folder over one encoder, each loaded when first asked for; a `Network`."""

    def __init__(self, weights: Path, device: str, model: DecoderKind, precision: Precision = "auto") -> None:
        """Loads the encoder and the decoder named by `model`. Raises what `Captioner.load` raises."""
        self.weights = weights
        first = Captioner.load(weights, device, model=model, precision=precision)
        self._loaded: dict[str, Captioner] = {model: first}
        self.encoder = first

    def __getitem__(self, model: str) -> Captioner:
        if model not in self._loaded:
            self._loaded[model] = self.encoder.beside(self.weights, cast(DecoderKind, model))
        return self._loaded[model]

    @property
    def image_size(self) -> int:
        return self.encoder.encoder.config.image_size

    def caption(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        """As `Network.caption`: the pictures may differ in model and sampling, the encoder runs once over all.

        When the batch fails (a picture that upsets the network, memory that runs out), its halves are tried apart, so
        that in the end only what fails alone has an exception for a result.
        """
        try:
            return self._together(pictures)
        except Exception as error:
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()  # raises if the device itself is lost: then this process must end
                torch.cuda.empty_cache()
            if len(pictures) == 1:
                return [error]
            log.warning("a batch of %d failed (%s); trying its halves", len(pictures), type(error).__name__)
        middle = len(pictures) // 2
        return self.caption(pictures[:middle]) + self.caption(pictures[middle:])

    def _together(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        squares = torch.from_numpy(np.stack([picture.square for picture in pictures])).permute(0, 3, 1, 2)
        features = self.encoder.encode(squares)
        groups: dict[tuple[str, int, Sampling, int | None], list[int]] = {}
        for row, picture in enumerate(pictures):
            job = picture.job
            groups.setdefault((job.model, job.samples, job.sampling, job.beam), []).append(row)
        results: dict[int, CaptionSet | Exception] = {}
        for (model, samples, sampling, beam), rows in groups.items():
            captions = self[model].caption_features(
                features[rows],
                samples=samples,
                sampling=sampling,
                beam=beam,
                seed=[pictures[row].job.seed for row in rows],
            )
            results |= dict(zip(rows, captions, strict=True))
        return [results[row] for row in range(len(pictures))]

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        try:
            return describe(self[model], frames)
        except Exception as error:
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            if len(frames) == 1:
                raise
            log.warning("%d frames failed together (%s); trying their halves", len(frames), type(error).__name__)
        middle = len(frames) // 2
        return self.describe(model, frames[:middle]) + self.describe(model, frames[middle:])
