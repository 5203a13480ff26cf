"""Images in, captions out: the library's face.

>>> captioner = Captioner.load("weights")
>>> [captions] = captioner.caption([Image.open("dog.jpg")])
>>> captions.greedy.text, captions.greedy.confidence, [sample.text for sample in captions.samples]
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from model.calibration import Calibration, Fit
from model.captions import Caption, CaptionSet, NearWords, Step
from model.consensus import CONSENSUS_FILE, Consensus
from model.decoding.blocking import Blocking
from model.decoding.explain import steps_of, tokens_of, weigh
from model.decoding.sampling import Sampling
from model.decoding.search import BeamSearch, Decoded, Search, StepModel, Stepwise, decode
from model.errors import UnknownWord
from model.gate import GATE_FILE, Gate
from model.localizer import LOCALIZER_FILE, Localizer
from model.media.images import upright_rgb
from model.media.memory import trim
from model.network.checkpoint import (
    ENCODER_FILE,
    SAMPLER_SUFFIX,
    CheckpointError,
    DecoderCheckpoint,
    fingerprint,
    load_decoder,
    load_encoder,
)
from model.network.config import NetworkKind, Precision
from model.network.decoder import Decoder
from model.network.device import choose_device
from model.network.encoder import Encoder, to_square
from model.network.engine import choose_engine
from model.network.graphs import GraphedDecoder, Graphs, Recorder
from model.network.int8 import Int8Encoder
from model.network.packed import Int8Linear
from model.network.threads import one_thread
from model.network.vocabulary import SPECIAL, UNKNOWN, Vocabulary
from model.tagging.answers import Ranking, Tag
from model.tagging.tagger import TAGS_FILE, Tagger

__all__ = ["Caption", "CaptionSet", "Captioner", "Precision"]

Fitted = TypeVar("Fitted", Consensus, Gate, Localizer, Tagger)
Floats = npt.NDArray[np.float32]
# Photos whose steps in int8 are so small that threads only wait for each other.
FEW: Final = 2
LIKELIEST: Final = 5  # words in each step of an explained caption


class Captioner:
    """An encoder and one of its decoders, ready to caption. Not thread-safe: one call at a time.

    A second decoder over the same encoder may draw the sampled captions: what makes the main caption best
    (self-critical training) makes the sampled ones alike.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        vocabulary: Vocabulary,
        dtype: torch.dtype,
        *,
        calibration: Calibration | None = None,
        sampler: Captioner | None = None,
        gate: Gate | None = None,
        tagger: Tagger | None = None,
        consensus: Consensus | None = None,
        localizer: Localizer | None = None,
    ) -> None:
        """`dtype` is the arithmetic of both, but a packed decoder has its own; words and logits are in fp32 always.

        Both must be on the same device.

        sampler: a captioner over the same encoder whose decoder draws the sampled captions; None: `decoder` does.
        gate: what tells photos from other pictures; None: every picture is taken for a photo. tagger: what judges tags
        and ranks descriptions; None: neither can be asked for. consensus: what chooses among a beam's hypotheses and
        judges words; None: the likeliest one wins, and all of it is believed. localizer: what finds words in photos;
        None: captions have the decoder's attention.
        """
        self.encoder = encoder
        self.decoder = decoder
        self.vocabulary = vocabulary
        self.dtype = dtype
        self.calibration = calibration
        self.sampler = sampler
        self.gate = gate
        self.tagger = tagger
        self.consensus = consensus
        self.localizer = localizer
        self.device = next(decoder.parameters()).device
        self.why = ""  # why the encoder runs as it does
        self._blocking = Blocking.of(vocabulary, self.device)
        self._graphs: Graphs | None = None
        self._steps: StepModel = decoder
        self._fixed = self.device.type == "cuda"  # a CPU is faster when what is finished leaves the batch

    @classmethod
    def load(
        cls,
        path: str | Path = "weights",
        device: str = "auto",
        *,
        model: NetworkKind = "attention",
        precision: Precision = "auto",
        alone: bool = False,
    ) -> Self:
        """Load `encoder.safetensors`, `<model>.safetensors` and, where there are such, `<model>-sampling.safetensors`,
        `gate.safetensors`, `tags.safetensors`, `consensus.safetensors` and `localizer.safetensors`.

        device: auto (CUDA where there is one), cpu, cuda, cuda:1 … precision: of the encoder; auto measures once what
        is fastest on this machine. With any but fp32 a decoder on a CPU with VNNI computes in int8. alone: without
        these last four, which may be of an earlier encoder.
        Raises CheckpointError for files that are missing, damaged or do not belong together, and ValueError for a
        device that this machine does not have, or int8 where it cannot be used.
        """
        folder = Path(path)
        target = choose_device(device)
        checkpoints = _decoders_of(folder, model)
        encoder = load_encoder(folder / ENCODER_FILE).fuse().to(memory_format=torch.channels_last)
        sha256 = checkpoints[0].encoder_sha256
        engine = choose_engine(encoder, folder, sha256, target, precision)

        def fitted(kind: type[Fitted], name: str) -> Fitted | None:
            return kind.load(folder / name, sha256).to(target) if (folder / name).is_file() and not alone else None

        consensus, localizer = fitted(Consensus, CONSENSUS_FILE), fitted(Localizer, LOCALIZER_FILE)
        captioner = cls._over(engine.encoder, checkpoints, target, engine.dtype, consensus, localizer)
        captioner.why = engine.why
        del encoder, engine
        gc.collect()  # with int8, PyTorch's encoder, which the cycles of a traced graph would keep
        trim()
        captioner.gate, captioner.tagger = fitted(Gate, GATE_FILE), fitted(Tagger, TAGS_FILE)
        return captioner

    def beside(self, path: str | Path, model: NetworkKind) -> Captioner:
        """Another decoder of the same folder, sharing this captioner's encoder. Raises CheckpointError."""
        checkpoints = _decoders_of(Path(path), model)
        captioner = self._over(self.encoder, checkpoints, self.device, self.dtype, self.consensus, self.localizer)
        captioner.gate, captioner.tagger = self.gate, self.tagger
        return captioner

    @classmethod
    def _over(
        cls,
        encoder: Encoder,
        checkpoints: Sequence[DecoderCheckpoint],
        device: torch.device,
        dtype: torch.dtype,
        consensus: Consensus | None,
        localizer: Localizer | None,
    ) -> Self:
        """checkpoints: the decoder's, and the sampler's if there is one."""
        main, *others = checkpoints
        decoder = main.decoder.to(device)
        if device.type == "cpu":
            decoder.pack(int8=dtype != torch.float32 or isinstance(encoder, Int8Encoder))  # faster than bf16
        if not decoder.packed:
            decoder.lower(dtype)
        return cls(
            encoder,
            decoder,
            main.vocabulary,
            dtype,
            calibration=(None if consensus is None else consensus.calibrations.get(main.sha256)) or main.calibration,
            sampler=cls._over(encoder, others, device, dtype, consensus, localizer) if others else None,
            consensus=consensus,
            localizer=localizer,
        )

    @property
    def engine(self) -> str:
        """What computes: the device, the arithmetic, and how the decoder's weights are kept."""
        packing = f", decoder {self.decoder.packing}" if self.decoder.packing else ""
        return f"{self.device}, {self.arithmetic}{packing}"

    @property
    def arithmetic(self) -> str:
        """Of the encoder: float32, bfloat16, or int8 on ONNX Runtime."""
        return "int8" if isinstance(self.encoder, Int8Encoder) else str(self.dtype).removeprefix("torch.")

    def squares(self, images: Sequence[Image.Image]) -> Tensor:
        """Upright RGB images as input of the encoder: (B, 3, size, size) uint8, on the CPU."""
        size = self.encoder.config.image_size
        return self.stack([to_square(image, size) for image in images])

    def stack(self, squares: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Pictures of the encoder's size, (size, size, 3) each, as `squares` returns them, ready for the device."""
        pixels = torch.empty(len(squares), *squares[0].shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.stack(squares, out=pixels.numpy())
        return pixels.permute(0, 3, 1, 2)

    @torch.inference_mode()
    def encode(self, squares: Tensor) -> Tensor:
        """Grid features, (B, regions, channels) float32 on the captioner's device. squares: from `squares`."""
        if self.device.type == "cuda" and squares.device.type == "cpu":
            squares = squares.pin_memory()  # else the copy waits for what the device does
        pixels = squares.to(self.device, non_blocking=True)
        features = self.encoder(pixels) if self._graphs is None else self._graphs.run(self._encoded, pixels)[0]
        assert features is not None
        return features.float()

    def _encoded(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.encoder(pixels),)

    @contextlib.contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """What runs within is recorded as graphs, which run what comes later in the same shapes; see `Graphs`."""
        graphs = Graphs(recorder)
        for captioner in (self, *([] if self.sampler is None else [self.sampler])):
            captioner._graphs, captioner._steps = graphs, GraphedDecoder(captioner.decoder, graphs)
            captioner._fixed = True
        with graphs.recording():
            yield

    @torch.inference_mode()
    def caption_features(
        self,
        features: Tensor,
        *,
        samples: int = 5,
        sampling: Sampling | None = None,
        beam: int | None = None,
        seed: int | Sequence[int] = 0,
        blocking: bool = True,
    ) -> list[CaptionSet]:
        """Captions from grid features; the arguments are those of `caption`."""
        if samples < 0:
            raise ValueError(f"samples must not be negative: {samples}")
        if beam is not None and beam < 1:
            raise ValueError(f"a beam must be at least 1 wide, not {beam}")
        if not len(features):
            return []
        seeds = list(seed) if isinstance(seed, Sequence) else [int(seed)] * len(features)
        if len(seeds) != len(features):
            raise ValueError(f"{len(seeds)} seeds for {len(features)} images")
        if min(seeds) < 0:
            raise ValueError(f"a seed must not be negative: {min(seeds)}")
        own = self.sampler is None or not samples  # whether one decoder does it all
        main = Stepwise(samples if own else 0, sampling, seeds)
        beams = [] if beam is None else [BeamSearch(beam)]
        several, *best = self.decode(features, main, *beams, blocking=blocking)
        if self.sampler is not None and not own:
            [drawn] = self.sampler.decode(features, Stepwise(samples, sampling, seeds, greedy=False), blocking=blocking)
            several = [[*greedy, *rest] for greedy, rest in zip(several, drawn, strict=True)]
        refused = [None] * len(features) if self.gate is None else self.gate(features)
        return [
            CaptionSet(captions[0], tuple(captions[1:]), best[0][row][0] if best else None, refused[row])
            for row, captions in enumerate(several)
        ]

    @torch.inference_mode()
    def decode(
        self, features: Tensor, *searches: Search, blocking: bool = True, ranked: bool = True
    ) -> list[list[list[Caption]]]:
        """For each search, for each image, the captions that this decoder finds, all searches in one run.

        ranked: of a beam that gives one caption, the one with the best score by the consensus wins, where there is one.
        """
        if not len(features):
            return [[] for _ in searches]
        wide = [self._with_all_hypotheses(search) if ranked else search for search in searches]
        small = len(features) <= FEW and isinstance(self.decoder.packed.get("words"), Int8Linear)
        with one_thread() if small else contextlib.nullcontext():
            decoded = decode(
                self._steps,
                self.decoder.init_state(features),
                *wide,
                max_words=self.decoder.config.max_words,
                blocking=self._blocking if blocking else None,
                fixed=self._fixed,
                attention=self.localizer is None,
            )
        found = [self._captions(each, search.fit) for each, search in zip(decoded, searches, strict=True)]
        if self.consensus is not None:
            codes = self.consensus.codes(features)
            judged = [list(map(self.consensus.judged, codes, images)) for images in found]
            found = [
                images if asked is searched else [[max(captions, key=self.consensus.score)] for captions in images]
                for images, asked, searched in zip(judged, searches, wide, strict=True)
            ]
        return self._located(features, found)

    def _located(self, features: Tensor, found: list[list[list[Caption]]]) -> list[list[list[Caption]]]:
        """The same captions, of each search and image, with the localizer's maps, if there is one."""
        localizer, grid = self.localizer, (self.encoder.config.rows, self.encoder.config.columns)
        if localizer is None or self.decoder.config.kind == "baseline":
            return found

        def located(keys: Tensor, captions: Sequence[Caption]) -> list[Caption]:
            maps = localizer.maps(keys, [caption.words for caption in captions])
            return [
                replace(caption, attention=each.reshape(-1, *grid))
                for caption, each in zip(captions, maps, strict=True)
            ]

        keys = localizer.keys(features)
        return [list(map(located, keys, images)) for images in found]

    def _with_all_hypotheses(self, search: Search) -> Search:
        """The search itself, unless the consensus is to choose among what it finds."""
        if self.consensus is None or not isinstance(search, BeamSearch) or search.hypotheses > 1:
            return search
        return replace(search, hypotheses=search.width)

    def explain(self, features: Tensor, texts: Sequence[str]) -> list[Caption]:
        """How the network comes to a given caption of each image, as a `Caption` with `steps`.

        Its maps and log-probabilities are those that the same caption has when it is searched for, up to rounding;
        each step has LIKELIEST words. Confidence is by the greedy captions' fit. Where another decoder draws the
        sampled captions, the explanation is that of the decoder that gives the caption the higher probability.
        Raises Unexplainable for a text that this model cannot produce, and ValueError unless each image has one.
        """
        if len(texts) != len(features):
            raise ValueError(f"{len(texts)} texts for {len(features)} images")
        captions = self._explained(features, texts)
        if self.sampler is None:
            return captions
        drawn = self.sampler._explained(features, texts)
        return [max(pair, key=lambda caption: caption.log_probs.sum()) for pair in zip(captions, drawn, strict=True)]

    def tags(self, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        """Judge tags of one photo, in their order. features: (regions, channels). Raises CheckpointError without
        `tags.safetensors`.
        """
        return self._tagger().tags(self.decoder, self.vocabulary, features, tags)

    def rank(self, features: Tensor, texts: Sequence[str]) -> Ranking:
        """Which of these descriptions fits one photo best. features and errors: as in `tags`."""
        return self._tagger().rank(self.decoder, self.vocabulary, features, texts)

    def _tagger(self) -> Tagger:
        if self.tagger is None:
            raise CheckpointError(f"{TAGS_FILE}: no such weights file")
        return self.tagger

    @torch.inference_mode()
    def pooled(self, features: Tensor) -> Floats:
        """The mean over the regions of grid features: (B, channels)."""
        return features.mean(dim=1).cpu().numpy()

    @torch.inference_mode()
    def near_words(self, word: str, count: int = 10) -> NearWords:
        """A word of the vocabulary, and the `count` words nearest to it. Raises UnknownWord."""
        tokens = self.vocabulary.encode(word)
        if len(tokens) != 1 or tokens[0] == UNKNOWN:
            raise UnknownWord("not a word of the model's vocabulary")
        weight = self.decoder.embedding.weight.float()  # (V, E)
        similarities = F.cosine_similarity(weight, weight[tokens], dim=-1)  # (V,)
        similarities[[*range(len(SPECIAL)), *tokens]] = -torch.inf
        found = similarities.topk(min(count, len(self.vocabulary) - len(SPECIAL) - 1))
        return NearWords(
            self.vocabulary.words[tokens[0]],
            weight[tokens[0]].cpu().numpy(),
            tuple(
                (self.vocabulary.words[index], similarity)
                for index, similarity in zip(found.indices.tolist(), found.values.tolist(), strict=True)
            ),
        )

    def caption(
        self,
        images: Sequence[Image.Image],
        *,
        samples: int = 5,
        sampling: Sampling | None = None,
        beam: int | None = None,
        seed: int | Sequence[int] = 0,
        blocking: bool = True,
    ) -> list[CaptionSet]:
        """Caption images of any mode and size; EXIF orientation is honoured.

        samples: how many sampled captions besides the greedy one. sampling: how they are drawn. beam: also search
        with a beam of this width. seed: one for all images, or one each; an image's captions depend on its own
        seed and not on the images beside it. blocking: rules against repetition and unfinished captions, see
        `model.decoding.blocking`.
        The encoder runs once per image, however many captions are drawn. Raises ValueError for bad arguments.
        """
        if not images:
            return []
        features = self.encode(self.squares([upright_rgb(image) for image in images]))
        return self.caption_features(
            features, samples=samples, sampling=sampling, beam=beam, seed=seed, blocking=blocking
        )

    def _explained(self, features: Tensor, texts: Sequence[str]) -> list[Caption]:
        tokens = [tokens_of(text, self.vocabulary, self.decoder.config.max_words) for text in texts]
        if not tokens:
            return []
        with torch.inference_mode():
            state, kept = self.decoder.init_state(features), self.localizer is None
            weighed = weigh(self.decoder, state, tokens, LIKELIEST, attention=kept)
        log_probs, attention = weighed.log_probs.cpu().numpy(), _on_cpu(weighed.attention)
        captions = [
            self._caption(words, log_probs[row], None if attention is None else attention[row], "greedy", steps)
            for row, (words, steps) in enumerate(zip(tokens, steps_of(weighed, tokens, self.vocabulary), strict=True))
        ]
        found = [[each] for each in captions]
        if self.consensus is not None:
            found = list(map(self.consensus.judged, self.consensus.codes(features), found))
        [found] = self._located(features, [found])
        return [each for [each] in found]

    def _captions(self, decoded: Decoded, fit: Fit) -> list[list[Caption]]:
        """Per image, its K captions."""
        tokens, lengths = decoded.tokens.tolist(), decoded.lengths.tolist()
        log_probs, attention = decoded.log_probs.cpu().numpy(), _on_cpu(decoded.attention)
        return [
            [
                self._caption(row[:length], log_probs[b, k], None if attention is None else attention[b, k], fit)
                for k, (row, length) in enumerate(zip(rows, row_lengths, strict=True))
            ]
            for b, (rows, row_lengths) in enumerate(zip(tokens, lengths, strict=True))
        ]

    def _caption(
        self, tokens: list[int], log_probs: Floats, attention: Floats | None, fit: Fit, steps: tuple[Step, ...] = ()
    ) -> Caption:
        """log_probs: (T,), attention: (T, regions), T at least the number of tokens, which are words alone."""
        said, grid = len(tokens), (self.encoder.config.rows, self.encoder.config.columns)
        return Caption(
            words=tuple(self.vocabulary.decode(tokens)),
            log_probs=log_probs[:said].copy(),
            attention=None if attention is None else attention[:said].reshape(said, *grid).copy(),
            calibrated=None if self.calibration is None else self.calibration.fit_of(fit),
            steps=steps,
        )


def _on_cpu(attention: Tensor | None) -> Floats | None:
    return None if attention is None else attention.cpu().numpy()


def _decoders_of(path: Path, model: NetworkKind) -> list[DecoderCheckpoint]:
    """A folder's decoder and, if there is one, its sampler, made for the encoder there. Raises CheckpointError."""
    files = [path / f"{model}.safetensors"]
    if (sampler := path / f"{model}{SAMPLER_SUFFIX}.safetensors").is_file():
        files.append(sampler)
    checkpoints = [load_decoder(file) for file in files]
    if not (path / ENCODER_FILE).is_file():
        raise CheckpointError(f"{path / ENCODER_FILE}: no such weights file")
    encoder = fingerprint(path / ENCODER_FILE)
    for file, checkpoint in zip(files, checkpoints, strict=True):
        if checkpoint.encoder_sha256 != encoder:
            raise CheckpointError(f"{path}: {file.name} was not trained on this {ENCODER_FILE}")
    return checkpoints
