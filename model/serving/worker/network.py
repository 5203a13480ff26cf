"""What the worker runs its batches through: pictures and frames in, captions out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from model.captioner import Captioner
from model.captions import Caption, CaptionSet, NearWords, Translation
from model.clip_moments import DescribedFrame, PreparedFrame, describe
from model.decoding.sampling import Sampling
from model.decoding.search import USUAL_BEAM
from model.drawing.device_sheets import DeviceEncode, DeviceSheets, nvjpeg
from model.drawing.heatmap import sheet_file
from model.drawing.labels import ENGLISH, Labels
from model.errors import JobFailed, OptionError
from model.finding import Finder
from model.found import Found, Kept, Vector
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.network.config import MODELS, DecoderKind, Precision
from model.network.graphs import CudaRecorder, Recorder, sizes_up_to
from model.serving.tasks.base import CaptionOptions, Findings, Picture
from model.tagging.answers import Ranking, Tag
from model.tagging.tagger import TAGGING
from model.translation import RUSSIAN_FILE, Translations
from model.variety import varied_captions

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class Captioners:
    """The decoders of one weights folder over one encoder, each loaded when first asked for; a `Network`."""

    def __init__(self, weights: Path, device: str, model: DecoderKind, precision: Precision = "auto") -> None:
        """Loads the encoder and the decoder named by `model`. Raises what `Captioner.load` raises."""
        self.weights = weights
        first = Captioner.load(weights, device, model=model, precision=precision)
        self._loaded: dict[str, Captioner] = {model: first}
        self.encoder = first
        self._sheets: DeviceSheets | None = None
        self._translations: Translations | None = None
        self._finder: Finder | None = None

    def __getitem__(self, model: str) -> Captioner:
        """Raises JobFailed for one that is not there, or cannot be used."""
        if model not in self._loaded:
            try:
                self._loaded[model] = self.encoder.beside(self.weights, cast(DecoderKind, model))
            except CheckpointError as error:
                log.error("a decoder that was asked for cannot be loaded: %s", error)
                raise JobFailed(str(error)) from error
        return self._loaded[model]

    def warm_up(self, batch: int, recorder: Recorder | None = None) -> None:
        """Caption grey pictures, one and `batch` together: of each size, a GPU's first run takes seconds.

        With what records graphs (that of the device, where there is one): of each size that batches are padded to, as
        photos and albums are captioned.
        """
        grey = np.full((self.image_size, self.image_size, 3), 127, np.uint8)
        [model] = self._loaded
        if recorder is None and self.encoder.device.type == "cuda":
            recorder = CudaRecorder(self.encoder.device)
        sizes, beams = sorted({1, batch}), list[int | None]([USUAL_BEAM])
        with ExitStack() as recording:
            if recorder is not None:
                recording.enter_context(self.encoder.recording(recorder))
                sizes, beams = sizes_up_to(batch)[::-1], [USUAL_BEAM, None]  # the small find room where the large were
            for size, beam in itertools.product(sizes, beams):
                found = self.caption([Picture(CaptionOptions(model, beam=beam), grey)] * size)
                if failed := [each for each in found if isinstance(each, Exception)]:
                    log.warning("%d of %d pictures failed in the first run: %s", len(failed), size, failed[0])

    @property
    def image_size(self) -> int:
        return self.encoder.encoder.config.image_size

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        """As `Network.caption`: the pictures may differ in their options, the encoder runs once over all."""
        return self._in_halves(self._together, pictures)

    def features(self, square: npt.NDArray[np.uint8]) -> Tensor:
        encoded = self.encoder.encode(self.encoder.stack([square]))
        return encoded[0].to("cpu", self.encoder.dtype, copy=True)

    def tags(self, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        return self._tagging(lambda captioner: captioner.tags(features.to(captioner.device).float(), tags))

    def rank(self, features: Tensor, texts: Sequence[str]) -> Ranking:
        return self._tagging(lambda captioner: captioner.rank(features.to(captioner.device).float(), texts))

    def vector(self, features: Tensor) -> Vector:
        return self._finding().vectors(features[None])[0]

    def find(self, text: str, kept: Sequence[Kept], vectors: bytes) -> Found:
        return self._finding().find(text, kept, vectors)

    def _finding(self) -> Finder:
        """Raises JobFailed."""
        if self._finder is None:
            try:
                self._finder = Finder.load(self.weights, fingerprint(self.weights / ENCODER_FILE))
            except CheckpointError as error:
                raise JobFailed(str(error)) from error
        return self._finder

    def _tagging(self, ask: Callable[[Captioner], R]) -> R:
        """By the decoder that tags were fitted with, whichever captions. Raises JobFailed where there is no tagger."""
        try:
            return ask(self[TAGGING])
        except CheckpointError as error:
            raise JobFailed(str(error)) from error

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        found = self._in_halves(partial(describe, self[model]), frames)
        failed = [each for each in found if isinstance(each, Exception)]
        if failed:
            raise failed[0]
        return [each for each in found if not isinstance(each, Exception)]

    def translate(self, captions: Sequence[str]) -> Mapping[str, Translation]:
        if not captions:
            return {}
        if self._translations is None:
            try:
                self._translations = Translations.load(self.weights / RUSSIAN_FILE, str(self.encoder.device))
            except CheckpointError as error:
                log.error("captions stay English: %s", error)
                return {}
        return dict(zip(captions, self._translations.translate(captions), strict=True))

    def encode(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """As `Network.encode`."""
        config = self.encoder.encoder.config
        features = self.encoder.encode(self.encoder.stack(squares))
        grid: npt.NDArray[np.float32] = features.cpu().numpy()
        return grid.reshape(len(squares), config.rows, config.columns, -1)

    def near_words(self, model: str, word: str, count: int) -> NearWords:
        return self[model].near_words(word, count)

    def sheet(
        self, photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
    ) -> bytes:
        if (sheets := self._sheets) is not None:
            try:
                return sheets(photo, words, attention, labels)
            except Exception as error:  # it can be drawn on the CPU as well
                self._draw_on_cpu(error)
        return sheet_file(photo, words, attention, labels)

    def draw_on(self, device: torch.device, encode: DeviceEncode | None = None) -> None:
        """Draw sheets on a device from now on, if one that is drawn to try it is right; see `DeviceSheets`."""
        try:
            sheets = DeviceSheets(device, encode or nvjpeg(device))
            sheets.check()
            self._sheets = sheets
        except Exception as error:  # torchvision is optional, and built in many ways
            self._draw_on_cpu(error)

    def _draw_on_cpu(self, error: Exception) -> None:
        reason = next(iter(str(error).splitlines()), "")
        log.warning("heatmap sheets are drawn on the CPU (%s: %s)", type(error).__name__, reason)
        self._sheets = None

    def _in_halves(
        self, run: Callable[[Sequence[T]], Sequence[R | Exception]], batch: Sequence[T]
    ) -> list[R | Exception]:
        """What `run` returns for a batch.

        When it fails (a picture that upsets the network, memory that runs out), its halves are tried apart, so that in
        the end only what fails alone has an exception for a result.
        """
        try:
            return list(run(batch))
        except Exception as error:
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()  # raises if the device itself is lost: then this process must end
                torch.cuda.empty_cache()
            if len(batch) == 1:
                return [error]
            log.warning("a batch of %d failed (%s); trying its halves", len(batch), type(error).__name__)
        middle = len(batch) // 2
        return self._in_halves(run, batch[:middle]) + self._in_halves(run, batch[middle:])

    def _together(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        features = self._features(pictures)
        groups: dict[CaptionOptions, list[int]] = {}
        for row, picture in enumerate(pictures):
            groups.setdefault(_shared(picture.options), []).append(row)
        results: dict[int, Findings | Exception] = {}
        for shared, rows in groups.items():
            found = self._found(shared, features[rows], [pictures[row].options for row in rows])
            results |= dict(zip(rows, found, strict=True))
        for row, picture in enumerate(pictures):
            result = results[row]
            if picture.features is None and picture.keep and isinstance(result, Findings):
                # As the network made them: nothing is lost.
                kept = features[row].to("cpu", self.encoder.dtype, copy=True)
                results[row] = replace(result, features=kept)
        self._add_vectors(pictures, features, results)
        return self._translated(pictures, [results[row] for row in range(len(pictures))])

    def _add_vectors(
        self, pictures: Sequence[Picture], features: Tensor, results: dict[int, Findings | Exception]
    ) -> None:
        """To the findings of those pictures that want one. features: (B, regions, channels)."""
        rows = [row for row, each in enumerate(pictures) if each.options.vector]
        if not rows:
            return
        try:
            vectors = self._finding().vectors(features[rows])
        except JobFailed as error:
            log.error("photos cannot be found later: %s", error)
            return
        for row, vector in zip(rows, vectors, strict=True):
            if isinstance(result := results[row], Findings):
                results[row] = replace(result, vector=vector)

    def _translated(
        self, pictures: Sequence[Picture], found: Sequence[Findings | Exception]
    ) -> list[Findings | Exception]:
        """The same, with the translations of those pictures' captions that want them."""
        texts = [
            each.texts if picture.options.language == "ru" and isinstance(each, Findings) else []
            for picture, each in zip(pictures, found, strict=True)
        ]
        known = self.translate(list(dict.fromkeys(itertools.chain.from_iterable(texts))))

        def translated(each: Findings, own: Sequence[str]) -> Findings:
            return replace(each, translations={text: known[text] for text in own if text in known})

        return [
            translated(each, own) if own and isinstance(each, Findings) else each
            for each, own in zip(found, texts, strict=True)
        ]

    def _features(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, regions, channels); the encoder runs over the pictures whose features are not known from before."""
        squares = [picture.square for picture in pictures if picture.square is not None and picture.features is None]
        encoded: Sequence[Tensor] | Tensor = ()
        if squares:
            encoded = self.encoder.encode(self.encoder.stack(squares))
            if len(squares) == len(pictures):
                return encoded
        fresh = iter(encoded)
        return torch.stack(
            [
                next(fresh) if picture.features is None else picture.features.to(self.encoder.device).float()
                for picture in pictures
            ]
        )

    def _found(
        self, shared: CaptionOptions, features: Tensor, each: Sequence[CaptionOptions]
    ) -> list[Findings | Exception]:
        """Of pictures with the same shared options. One fails whose words or whose decoder cannot be used."""
        try:
            return list(self._group(shared, features, each))
        except JobFailed as error:
            return [error] * len(each)
        except OptionError as error:
            if len(each) == 1:
                return [error]
        rows = [slice(row, row + 1) for row in range(len(each))]
        return [self._found(shared, features[row], each[row])[0] for row in rows]

    def _group(self, shared: CaptionOptions, features: Tensor, each: Sequence[CaptionOptions]) -> list[Findings]:
        captioner = self[shared.model]
        seeds = [options.seed for options in each]
        if shared.explain:
            explained = captioner.explain(features, [options.explain for options in each])
            captions = [CaptionSet(caption, ()) for caption in explained]
        elif shared.exclude is not None:
            captions = varied_captions(
                captioner,
                features,
                count=shared.samples,
                exclude=[options.exclude or () for options in each],
                sampling=shared.sampling,
                beam=shared.beam,
                seed=seeds,
            )
        else:
            captions = captioner.caption_features(
                features, samples=shared.samples, sampling=shared.sampling, beam=shared.beam, seed=seeds
            )
        if shared.chart and not shared.explain:
            explained = captioner.explain(features, [found.main.text for found in captions])
            captions = [found.with_steps(known.steps) for found, known in zip(captions, explained, strict=True)]
        others: Sequence[Caption | None] = [None] * len(each)
        if shared.compare:
            other = self[MODELS[cast(DecoderKind, shared.model)].compared_with]
            others = [found.main for found in other.caption_features(features, samples=0, beam=shared.beam)]
        return [Findings(found, other=other) for found, other in zip(captions, others, strict=True)]


def _shared(options: CaptionOptions) -> CaptionOptions:
    """What options must have in common to be decoded together. `explain` and `exclude`: whether there are any."""
    explain = bool(options.explain)
    return CaptionOptions(
        model=options.model,
        samples=0 if explain else options.samples,
        sampling=Sampling() if explain else options.sampling,
        beam=options.beam,
        chart=options.chart,
        explain="…" if explain else "",
        exclude=None if options.exclude is None else (),
        compare=options.compare,
    )
