"""Training: `python -m model.train --data flickr8k coco --encoder FILE --out runs/attention`.

Without `--finetune` the encoder stays as it is and its features are computed once; with it, all of its layers
are trained together with the decoder, on augmented images. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model.checkpoint import fingerprint, load_decoder, load_encoder, save_decoder, save_encoder
from model.config import DecoderConfig
from model.data import Example, Features, encode_captions, load_split, prefetch, resolve_data
from model.decoder import build_decoder
from model.losses import caption_loss
from model.options import parse_options
from model.resume import load_state, save_state
from model.schedule import rate_share, shuffled_batches
from model.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on; each field is an option of the command line."""

    encoder: str  # the encoder's weights to start from
    out: str  # the folder of this run
    data: tuple[str, ...] = ("flickr8k",)  # data sets whose train splits are used together
    validation: str = "flickr8k"  # the data set whose val split gives the validation loss
    decoder: str = "attention"  # attention or baseline
    start_from: str = ""  # a decoder checkpoint to go on from, sizes and words as there; empty: a fresh decoder
    finetune: bool = False  # train the encoder too
    epochs: int = 5
    batch: int = 32  # images; each comes with all of its captions
    rate: float = 1e-3  # peak learning rate of the decoder
    final_rate: float = 0.0  # at the end of the cosine, as a share of the peak
    encoder_rate: float = 5e-5  # peak learning rate of the encoder
    warmup: int = 100  # steps
    weight_decay: float = 0.01
    clip: float = 5.0  # gradient norm of the decoder; the encoder's is clipped apart
    label_smoothing: float = 0.1
    dropout: float = 0.5
    embedding: int = 512
    hidden: int = 512
    attention: int = 512
    min_count: int = 4  # rarer words are <unk>
    max_words: int = 20
    cache: str = "cache"  # where encoder features are kept
    save_every: int = 150  # steps between checkpoints to resume from
    threads: int = 0  # CPU threads; 0: PyTorch's own choice
    seed: int = 0


class Run:
    """A training run: its networks, optimiser and place in the data, saved and restored together."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.out)
        self.examples = [example for name in config.data for example in load_split(resolve_data(name), "train")]
        self.validation = load_split(resolve_data(config.validation), "val")
        self.encoder = load_encoder(Path(config.encoder))
        self.encoder_sha256 = fingerprint(Path(config.encoder))
        if config.start_from:
            checkpoint = load_decoder(Path(config.start_from))
            self.decoder, self.vocabulary = checkpoint.decoder, checkpoint.vocabulary
            self.decoder.config = dataclasses.replace(self.decoder.config, dropout=config.dropout)
            self.decoder.dropout.p = config.dropout
        else:
            self.vocabulary = Vocabulary.build(
                (caption for example in self.examples for caption in example.captions), min_count=config.min_count
            )
            self.decoder = build_decoder(
                DecoderConfig(
                    kind=config.decoder,  # type: ignore[arg-type]  # checked by DecoderConfig
                    vocabulary_size=len(self.vocabulary),
                    channels=self.encoder.config.channels,
                    embedding=config.embedding,
                    hidden=config.hidden,
                    attention=config.attention,
                    dropout=config.dropout,
                    max_words=config.max_words,
                )
            )
        self.captions = encode_captions(self.examples, self.vocabulary, config.max_words)
        groups = [{"params": list(self.decoder.parameters()), "peak": config.rate}]
        if config.finetune:
            groups.append({"params": list(self.encoder.parameters()), "peak": config.encoder_rate})
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.steps_per_epoch = math.ceil(len(self.examples) / config.batch)
        self.step = 0

    # -- resuming

    def _modules(self) -> dict[str, nn.Module]:
        return {"decoder": self.decoder, "encoder": self.encoder} if self.config.finetune else {"decoder": self.decoder}

    def save(self) -> None:
        save_state(self.out / "resume.safetensors", self._modules(), self.optimizer, {"step": str(self.step)})

    def resume(self) -> None:
        progress = load_state(self.out / "resume.safetensors", self._modules(), self.optimizer)
        if progress is not None:
            self.step = int(progress["step"])
            print(f"resumed at step {self.step}", flush=True)

    # -- training

    def features(self, epoch: int, batches: list[list[int]]) -> Iterator[Tensor]:
        """Features of each batch: from the cache, or through the encoder in training."""
        if self.config.finetune:
            rng = random.Random(self.config.seed * 1000 + epoch)
            chunks: list[list[Example]] = [[self.examples[row] for row in batch] for batch in batches]
            for images in prefetch(chunks, self.encoder.config.image_size, rng):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    yield self.encoder(images)
        else:
            cache = Features.cached(Path(self.config.cache), self.encoder, self.encoder_sha256, self.examples)
            for batch in batches:
                yield cache[batch]

    def train(self) -> None:
        self.resume()
        total = self.steps_per_epoch * self.config.epochs
        first_epoch, done = divmod(self.step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.config.epochs):
            batches = shuffled_batches(len(self.examples), self.config.batch, seed=self.config.seed, epoch=epoch)[done:]
            done = 0
            self.decoder.train()
            self.encoder.train(self.config.finetune)
            started, seen = time.monotonic(), 0.0
            for batch, features in zip(batches, self.features(epoch, batches), strict=True):
                share = rate_share(self.step, total=total, warmup=self.config.warmup, floor=self.config.final_rate)
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * share
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss, _ = caption_loss(
                        self.decoder, features, [self.captions[row] for row in batch], self.config.label_smoothing
                    )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                for group in self.optimizer.param_groups:
                    nn.utils.clip_grad_norm_(group["params"], self.config.clip)
                self.optimizer.step()
                self.step += 1
                seen = 0.98 * seen + 0.02 * loss.item() if seen else loss.item()
                if self.step % 25 == 0:
                    pace = (time.monotonic() - started) / (self.step - epoch * self.steps_per_epoch)
                    self.log(epoch=epoch, step=self.step, loss=round(seen, 4), seconds_per_step=round(pace, 2))
                if self.step % self.config.save_every == 0:
                    self.save()
            self.save()
            self.log(epoch=epoch, step=self.step, validation_loss=round(self.validation_loss(), 4))
            self.export()

    def validation_loss(self) -> float:
        """Cross-entropy per word on the validation split, without label smoothing."""
        self.decoder.eval()
        self.encoder.eval()
        captions = encode_captions(self.validation, self.vocabulary, self.config.max_words)
        cache = None
        if not self.config.finetune:
            cache = Features.cached(Path(self.config.cache), self.encoder, self.encoder_sha256, self.validation)
        starts = range(0, len(self.validation), self.config.batch)
        chunks = [self.validation[start : start + self.config.batch] for start in starts]
        images = prefetch(chunks, self.encoder.config.image_size, None) if cache is None else None
        total, count = 0.0, 0
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for start, chunk in zip(starts, chunks, strict=True):
                rows = range(start, start + len(chunk))
                if cache is not None:
                    features = cache[rows]
                else:
                    assert images is not None
                    features = self.encoder(next(images))
                loss, words = caption_loss(self.decoder, features, [captions[row] for row in rows], 0.0)
                total, count = total + loss.item() * words, count + words
        return total / count

    def export(self) -> None:
        """Write what the captioner loads: fp16 safetensors, and the configuration of this run."""
        sha256 = self.encoder_sha256
        if self.config.finetune:
            save_encoder(self.out / "encoder.safetensors", self.encoder)
            sha256 = fingerprint(self.out / "encoder.safetensors")
        kind = self.decoder.config.kind
        save_decoder(self.out / f"{kind}.safetensors", self.decoder, self.vocabulary, sha256)
        (self.out / "config.json").write_text(json.dumps(dataclasses.asdict(self.config), indent=1))

    def log(self, **values: object) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        line = json.dumps(values)
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    return parse_options(TrainConfig, arguments, program="python -m model.train", description=__doc__ or "")


if __name__ == "__main__":
    Run(parse()).train()
