"""What the worker runs its batches through: pictures and frames in, captions out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from model.captioner import Captioner, Precision
from model.captions import Caption, CaptionSet
from model.clip_moments import DescribedFrame, PreparedFrame, describe
from model.decoding.explain import Unexplainable
from model.decoding.sampling import Sampling
from model.errors import JobFailed
from model.network.checkpoint import CheckpointError
from model.network.config import DecoderKind
from model.serving.tasks.photo import PhotoTask
from model.variety import varied_captions

log = logging.getLogger(__name__)

OTHER: Final = {"attention": "baseline", "baseline": "attention"}  # with which each model is compared


@dataclass(frozen=True)
class Picture:
    """A task that is ready for the network: its picture has been decoded, or its features are known from before."""

    task: PhotoTask
    photo: Image.Image | None  # None: not decoded
    square: npt.NDArray[np.uint8] | None  # what the encoder sees, (size, size, 3); None: it need not
    features: Tensor | None = None  # (regions, channels), from before
    job_id: str = ""


@dataclass(frozen=True)
class Findings:
    """What the network found of a picture."""

    captions: CaptionSet  # the main one with its steps, where a chart is asked for
    features: Tensor | None = None  # (regions, channels) on the CPU, where the encoder ran and they may be kept
    other: Caption | None = None  # the other model's main caption, where it is asked for


class Network(Protocol):
    """What a worker runs its batches through."""

    @property
    def image_size(self) -> int:
        """The side of the squares that `Picture.square` holds, in pixels."""

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
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
        """Raises CheckpointError for one that is not there, or cannot be used."""
        if model not in self._loaded:
            self._loaded[model] = self.encoder.beside(self.weights, cast(DecoderKind, model))
        return self._loaded[model]

    @property
    def image_size(self) -> int:
        return self.encoder.encoder.config.image_size

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
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

    def _together(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        features = self._features(pictures)
        groups: dict[_Settings, list[int]] = {}
        for row, picture in enumerate(pictures):
            groups.setdefault(_Settings.of(picture.task), []).append(row)
        results: dict[int, Findings | Exception] = {}
        for settings, rows in groups.items():
            found = self._found(settings, features[rows], [pictures[row].task for row in rows])
            results |= dict(zip(rows, found, strict=True))
        for row, picture in enumerate(pictures):
            result = results[row]
            if picture.features is None and picture.task.picture and isinstance(result, Findings):
                kept = features[row].to(
                    "cpu", self.encoder.dtype, copy=True
                )  # as the network made them: nothing is lost
                results[row] = replace(result, features=kept)
        return [results[row] for row in range(len(pictures))]

    def _features(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, regions, channels); the encoder runs over the pictures whose features are not known from before."""
        squares = [picture.square for picture in pictures if picture.square is not None and picture.features is None]
        encoded: Sequence[Tensor] | Tensor = ()
        if squares:
            encoded = self.encoder.encode(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))
            if len(squares) == len(pictures):
                return encoded
        fresh = iter(encoded)
        return torch.stack(
            [
                next(fresh) if picture.features is None else picture.features.to(self.encoder.device).float()
                for picture in pictures
            ]
        )

    def _found(self, settings: _Settings, features: Tensor, tasks: Sequence[PhotoTask]) -> list[Findings | Exception]:
        """Of tasks with the same settings. A task fails whose words or whose decoder cannot be used."""
        try:
            return list(self._group(settings, features, tasks))
        except CheckpointError as error:
            log.error("a decoder that was asked for cannot be loaded: %s", error)
            return [JobFailed(str(error))] * len(tasks)
        except Unexplainable as error:
            if len(tasks) == 1:
                return [JobFailed(f"a caption that cannot be explained: {error}")]
        rows = [slice(row, row + 1) for row in range(len(tasks))]
        return [self._found(settings, features[row], tasks[row])[0] for row in rows]

    def _group(self, settings: _Settings, features: Tensor, tasks: Sequence[PhotoTask]) -> list[Findings]:
        captioner = self[settings.model]
        seeds = [task.seed for task in tasks]
        if settings.explain:
            captions = [CaptionSet(each, ()) for each in captioner.explain(features, [task.explain for task in tasks])]
        elif settings.varied:
            captions = varied_captions(
                captioner,
                features,
                count=settings.samples,
                exclude=[task.exclude or () for task in tasks],
                sampling=settings.sampling,
                beam=settings.beam,
                seed=seeds,
            )
        else:
            captions = captioner.caption_features(
                features, samples=settings.samples, sampling=settings.sampling, beam=settings.beam, seed=seeds
            )
        if settings.chart and not settings.explain:
            explained = captioner.explain(features, [each.main.text for each in captions])
            captions = [each.with_steps(known.steps) for each, known in zip(captions, explained, strict=True)]
        others: Sequence[Caption | None] = [None] * len(tasks)
        if settings.compare:
            other = self[OTHER[settings.model]]
            others = [each.main for each in other.caption_features(features, samples=0, beam=settings.beam)]
        return [Findings(each, other=other) for each, other in zip(captions, others, strict=True)]

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        try:
            captioner = self[model]
        except CheckpointError as error:
            log.error("a decoder that was asked for cannot be loaded: %s", error)
            raise JobFailed(str(error)) from error
        try:
            return describe(captioner, frames)
        except Exception as error:
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            if len(frames) == 1:
                raise
            log.warning("%d frames failed together (%s); trying their halves", len(frames), type(error).__name__)
        middle = len(frames) // 2
        return self.describe(model, frames[:middle]) + self.describe(model, frames[middle:])


@dataclass(frozen=True)
class _Settings:
    """What tasks must have in common to be decoded together."""

    model: str
    samples: int
    sampling: Sampling
    beam: int | None
    explain: bool
    varied: bool
    chart: bool
    compare: bool

    @classmethod
    def of(cls, task: PhotoTask) -> _Settings:
        explain = bool(task.explain)
        return cls(
            model=task.model,
            samples=0 if explain else task.samples,
            sampling=Sampling() if explain else task.sampling,
            beam=task.beam,
            explain=explain,
            varied=task.exclude is not None,
            chart=task.chart,
            compare=task.compare,
        )
