"""Training: `python -m model.train --data flickr8k coco --encoder FILE --out runs/attention`.

Without `--finetune` the encoder stays as it is and its features are computed once; with it, all of its layers
are trained together with the decoder, on augmented images. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from model.checkpoint import fingerprint, load_decoder, load_encoder, save_decoder, save_encoder
from model.config import DecoderConfig
from model.data import Example, Features, encode_captions, load_split, pad_captions, prefetch, resolve_data
from model.decoder import Decoder, build_decoder
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


def caption_loss(
    decoder: Decoder, features: Tensor, captions: Sequence[Sequence[Sequence[int]]], label_smoothing: float
) -> tuple[Tensor, int]:
    """Mean cross-entropy of a batch's words (teacher forcing), and their number.

    features: (B, R, C); captions[b]: the captions of image b, as indices. The captions are sorted by length, so
    that each step runs only the sequences that are not yet over.
    """
    flat = [(image, caption) for image, several in enumerate(captions) for caption in several]
    flat.sort(key=lambda pair: -len(pair[1]))
    rows = torch.tensor([image for image, _ in flat])  # (N,)
    inputs, targets = pad_captions([caption for _, caption in flat])  # (N, T)
    lengths = [len(caption) + 1 for _, caption in flat]
    inputs, targets = inputs.to(features.device), targets.to(features.device)
    state = decoder.init_state(features).images(rows.to(features.device))
    total = features.new_zeros(())
    for t in range(inputs.shape[1]):
        active = sum(length > t for length in lengths)
        state = state.images(slice(active))
        logits, state, _ = decoder.step(inputs[:active, t : t + 1], state)  # (active, 1, V)
        total = total + functional.cross_entropy(
            logits.squeeze(1).float(), targets[:active, t], reduction="sum", label_smoothing=label_smoothing
        )
    words = sum(lengths)
    return total / words, words


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
        """Write the state to resume from, and replace the former one only when it is whole."""
        tensors = {
            f"{prefix}.{name}": tensor.contiguous()
            for prefix, module in self._modules().items()
            for name, tensor in module.state_dict().items()
        }
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.out / "resume.partial"
        save_file(tensors, partial, {"step": str(self.step)})
        partial.replace(self.out / "resume.safetensors")

    def resume(self) -> None:
        path = self.out / "resume.safetensors"
        if not path.exists():
            return
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.step = int(file.metadata()["step"])
        for prefix, module in self._modules().items():
            module.load_state_dict(
                {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        print(f"resumed at step {self.step}", flush=True)

    # -- training

    def rate(self, step: int) -> float:
        """The share of the peak learning rate: linear warm-up, then a cosine down to `final_rate`."""
        if step < self.config.warmup:
            return (step + 1) / self.config.warmup
        total = self.steps_per_epoch * self.config.epochs
        progress = (step - self.config.warmup) / max(1, total - self.config.warmup)
        floor = self.config.final_rate
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def batches(self, epoch: int) -> list[list[int]]:
        """Rows of `examples`, shuffled by the seed and the epoch alone."""
        order = list(range(len(self.examples)))
        random.Random(self.config.seed * 1000 + epoch).shuffle(order)
        return [order[i : i + self.config.batch] for i in range(0, len(order), self.config.batch)]

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
        first_epoch, done = divmod(self.step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.config.epochs):
            batches = self.batches(epoch)[done:]
            done = 0
            self.decoder.train()
            self.encoder.train(self.config.finetune)
            started, seen = time.monotonic(), 0.0
            for batch, features in zip(batches, self.features(epoch, batches), strict=True):
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * self.rate(self.step)
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
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    for field in dataclasses.fields(TrainConfig):
        name = "--" + field.name.replace("_", "-")
        if field.name == "data":
            parser.add_argument(name, nargs="+", default=field.default)
        elif isinstance(field.default, bool):
            parser.add_argument(name, action="store_true")
        elif field.default is dataclasses.MISSING:
            parser.add_argument(name, required=True)
        else:
            parser.add_argument(name, type=type(field.default), default=field.default)
    values = vars(parser.parse_args(arguments))
    return TrainConfig(**{**values, "data": tuple(values["data"])})


if __name__ == "__main__":
    Run(parse()).train()
