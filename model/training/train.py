"""Training: `python -m model.training.train --data flickr8k coco --encoder FILE --out runs/attention`.

Without `--finetune` the encoder stays as it is and its features are computed once; with it, all of its layers
are trained together with the decoder, on augmented images. A killed run goes on from its last checkpoint. Of all
epochs, the one whose greedy captions of the validation split have the best CIDEr-D is what the run's folder holds.
On several GPUs: `torchrun --nproc-per-node 8 -m model.training.train …`; see docs/training.md.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from model.captioner import Captioner
from model.network.checkpoint import CheckpointError
from model.network.device import PRECISIONS, autocast, choose_device
from model.training.data import DataError, Example, Features, encode_captions, load_split, prefetch, resolve_data
from model.training.distributed import Processes, processes
from model.training.journal import Journal, Pace
from model.training.losses import caption_loss
from model.training.networks import Networks, continued, fresh, named_encoder
from model.training.optimise import descend, follow, rate_share, set_rates
from model.training.options import parse_options
from model.training.order import shuffled_batches, step_seed
from model.training.resume import load_state, save_state
from model.training.validate import validate


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on; each field is an option of the command line."""

    encoder: str  # the encoder's weights to start from: a file, or the name of a torchvision backbone
    out: str  # the folder of this run
    data: tuple[str, ...] = ("flickr8k",)  # data sets whose train splits are used together
    validation: str = "flickr8k"  # the data set whose val split chooses the epoch to keep
    encoder_weights: str = ""  # of a named backbone, a torchvision state dict; empty: torchvision's own, downloaded
    decoder: str = field(default="attention", metadata={"choices": ("attention", "baseline")})
    rnn: str = field(default="lstm", metadata={"choices": ("lstm", "gru")})
    start_from: str = ""  # a decoder checkpoint to go on from, sizes and words as there; empty: a fresh decoder
    finetune: bool = False  # train the encoder too
    embedding: int = 512
    hidden: int = 512
    attention: int = 512
    min_count: int = 4  # rarer words are <unk>
    max_words: int = 20

    epochs: int = 5
    batch: int = 32  # images, of all processes together; each comes with all of its captions
    rate: float = 1e-3  # peak learning rate of the decoder
    final_rate: float = 0.0  # at the end of the cosine, as a share of the peak
    encoder_rate: float = 5e-5  # peak learning rate of the encoder
    warmup: int = 100  # steps
    weight_decay: float = 0.01
    clip: float = 5.0  # gradient norm of the decoder; the encoder's is clipped apart
    ema: float = 0.0  # e.g. 0.999: validate and keep the exponential moving average of the weights; 0: none
    patience: int = 0  # stop after so many epochs without a better CIDEr-D; 0: never

    label_smoothing: float = 0.1
    dropout: float = 0.5
    scheduled_sampling: float = 0.0  # by the end, the share of input words that the decoder draws itself
    coverage: float = 0.0  # weight of the doubly stochastic attention (Show, Attend and Tell, eq. 14); there it is 1

    cache: str = "cache"  # where encoder features are kept
    save_every: int = 150  # steps between checkpoints to resume from
    pictures: int = 4  # validation images whose captions and heatmaps TensorBoard shows after each epoch
    threads: int = 0  # CPU threads; 0: PyTorch's own choice
    workers: int = 1  # threads that load images
    device: str = "auto"
    precision: str = field(default="auto", metadata={"choices": PRECISIONS})
    seed: int = 0


class Objective(nn.Module):
    """The loss of a batch in one call, as DistributedDataParallel wants it."""

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__()
        self.decoder = networks.decoder
        self.encoder = networks.encoder if config.finetune else None
        self.config = config

    def forward(self, inputs: Tensor, captions: list[list[list[int]]], progress: float) -> tuple[Tensor, int]:
        """inputs: features (B, R, C), or the images of an encoder in training, (B, 3, size, size) uint8.

        progress: 0 at the start of the run, 1 at its end. Returns the mean over words and their number.
        """
        return caption_loss(
            self.decoder,
            inputs if self.encoder is None else self.encoder(inputs),
            captions,
            label_smoothing=self.config.label_smoothing,
            own_words=self.config.scheduled_sampling * progress,
            coverage=self.config.coverage,
        )


class Run:
    """A training run: its networks, optimiser and place in the data, saved and restored together."""

    def __init__(self, config: TrainConfig, process: Processes | None = None) -> None:
        self.config = config
        self.process = process or Processes(choose_device(config.device))
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.out)
        self.examples = [example for name in config.data for example in load_split(resolve_data(name), "train")]
        self.validation = load_split(resolve_data(config.validation), "val")
        self.journal = Journal(self.out) if self.process.first else None
        with self.process.first_alone():
            encoder_file = named_encoder(config.encoder, config.encoder_weights, self.out)
        if config.start_from:
            self.networks = continued(encoder_file, Path(config.start_from), dropout=config.dropout)
        else:
            self.networks = fresh(
                encoder_file,
                self.examples,
                config.min_count,
                kind=config.decoder,
                rnn=config.rnn,
                embedding=config.embedding,
                hidden=config.hidden,
                attention=config.attention,
                dropout=config.dropout,
                max_words=config.max_words,
            )
        encoder, decoder = self.networks.encoder.to(self.process.device), self.networks.decoder.to(self.process.device)
        encoder.to(memory_format=torch.channels_last)  # in which its gradients come, too
        if not config.finetune:
            self.features, self.validation_features = self.cached(self.examples), self.cached(self.validation)
        self.averaged = self.networks  # what is validated and exported
        if config.ema:
            copied = copy.deepcopy(encoder) if config.finetune else encoder
            self.averaged = dataclasses.replace(self.networks, encoder=copied, decoder=copy.deepcopy(decoder))
        self.captions = encode_captions(self.examples, self.networks.vocabulary, config.max_words)
        groups = [{"params": list(decoder.parameters()), "peak": config.rate}]
        if config.finetune:
            groups.append({"params": list(encoder.parameters()), "peak": config.encoder_rate})
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.autocast = autocast(self.process.device, config.precision)
        half = self.autocast.fast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=half)
        self.objective = self.process.wrap(Objective(self.networks, config))
        self.steps_per_epoch = len(self.batches(0))
        if not self.steps_per_epoch:
            raise ValueError(f"{self.process.count} processes are too many for batches of {config.batch} images")
        self.total = self.steps_per_epoch * config.epochs
        self.step = 0
        self.best, self.best_epoch = -math.inf, 0  # CIDEr-D, and when it was

    def train(self) -> None:
        self.resume()
        first_epoch, done = divmod(self.step, self.steps_per_epoch)
        pace = Pace(self.step, self.total, shown=self.process.first)
        for epoch in range(first_epoch, self.config.epochs):
            if self.config.patience and epoch - self.best_epoch > self.config.patience:
                break
            batches = [rows[self.process.rank :: self.process.count] for rows in self.batches(epoch)[done:]]
            done = 0
            for rows, inputs in zip(batches, self.inputs(epoch, batches), strict=True):
                pace.update(self.step + 1, loss=self.learn(rows, inputs))
                self.step += 1
                if self.step % 25 == 0:
                    self.write(epoch=epoch, **pace.means())
                if self.step % self.config.save_every == 0 and self.step % self.steps_per_epoch:
                    self.save()
            self.validate(epoch)
            self.save()
        if self.journal is not None:
            self.journal.close()

    def batches(self, epoch: int) -> list[list[int]]:
        """Rows of the examples; each process takes its share of each batch, and none may be left without."""
        return shuffled_batches(
            len(self.examples), self.config.batch, seed=self.config.seed, epoch=epoch, least=self.process.count
        )

    def inputs(self, epoch: int, batches: list[list[int]]) -> Iterator[Tensor]:
        """What the objective reads of each batch: cached features, or augmented images for an encoder in training."""
        if self.config.finetune:
            rng = random.Random(self.config.seed * 1000 + epoch + self.process.rank * 500_000_003)
            chunks = [[self.examples[row] for row in rows] for rows in batches]
            size = self.networks.encoder.config.image_size
            yield from prefetch(chunks, size, rng, workers=self.config.workers)
        else:
            for rows in batches:
                yield self.features[rows]

    def cached(self, examples: Sequence[Example]) -> Features:
        """Features of the encoder as it is on disk; the first process computes what is not in the cache."""
        with self.process.first_alone():
            networks, workers = self.networks, self.config.workers
            cache = Path(self.config.cache)
            return Features.cached(cache, networks.encoder, networks.encoder_sha256, examples, workers=workers)

    def learn(self, rows: list[int], inputs: Tensor) -> float:
        """One step on the examples at `rows`, this process's share of the batch; returns the whole batch's loss."""
        torch.manual_seed(step_seed(self.config.seed, self.step, self.process.rank))
        config = self.config
        share = rate_share(self.step, total=self.total, warmup=config.warmup, floor=config.final_rate)
        set_rates(self.optimizer, share)
        self.objective.train()
        with self.autocast:
            captions = [self.captions[row] for row in rows]
            loss, words = self.objective(inputs.to(self.process.device), captions, self.step / self.total)
        all_words = self.process.total(words)
        # Gradients are averaged over processes: weighted so, they are those of the mean over all words.
        descend(loss * (words * self.process.count / all_words), self.optimizer, self.scaler, config.clip)
        if config.ema:
            follow(self.averaged.decoder, self.networks.decoder, config.ema, self.step)
            if config.finetune:
                follow(self.averaged.encoder, self.networks.encoder, config.ema, self.step)
        return self.process.total(loss.item() * words) / all_words

    def validate(self, epoch: int) -> None:
        """Validate, export the weights if they are the best so far, and show what they say."""
        if self.journal is not None:
            networks = self.averaged
            captioner = Captioner(networks.encoder.eval(), networks.decoder.eval(), networks.vocabulary, torch.float32)
            features = self.seen_in_validation(captioner)
            found = validate(captioner.decoder, captioner.vocabulary, self.validation, features, self.autocast)
            self.write(
                epoch=epoch, validation_loss=found.loss, validation_cider=found.cider, validation_words=found.words
            )
            if found.cider >= self.best:
                self.best, self.best_epoch = found.cider, epoch
                networks.export(self.out, self.config, tuned=self.config.finetune)
            self.journal.show(self.step, captioner, [e.path for e in self.validation[: self.config.pictures]])
        self.best_epoch = int(self.process.total(self.best_epoch if self.process.first else 0))

    def seen_in_validation(self, captioner: Captioner) -> Iterator[Tensor]:
        """Features of the validation split, (B, R, C) at a time."""
        starts = range(0, len(self.validation), self.config.batch)
        if not self.config.finetune:
            for start in starts:
                rows = range(start, min(start + self.config.batch, len(self.validation)))
                yield self.validation_features[rows].to(self.process.device)
            return
        chunks = [self.validation[start : start + self.config.batch] for start in starts]
        size = captioner.encoder.config.image_size
        for images in prefetch(chunks, size, None, workers=self.config.workers):
            with self.autocast:
                features = captioner.encode(images)
            yield features

    def write(self, **values: float) -> None:
        if self.journal is not None:
            self.journal.write(self.step, **values)

    def modules(self) -> dict[str, nn.Module]:
        """What is in the state to resume from."""
        modules: dict[str, nn.Module] = {"decoder": self.networks.decoder}
        if self.config.finetune:
            modules["encoder"] = self.networks.encoder
        if self.config.ema:
            modules |= {f"averaged_{name}": getattr(self.averaged, name) for name in list(modules)}
        return modules

    def save(self) -> None:
        if self.process.first:
            progress = {"step": str(self.step), "best": str(self.best), "best_epoch": str(self.best_epoch)}
            save_state(self.out / "resume.safetensors", self.modules(), self.optimizer, progress)

    def resume(self) -> None:
        progress = load_state(self.out / "resume.safetensors", self.modules(), self.optimizer)
        if progress is not None:
            self.step = int(progress["step"])
            self.best, self.best_epoch = float(progress.get("best", -math.inf)), int(progress.get("best_epoch", 0))
            print(f"resumed at step {self.step}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    return parse_options(TrainConfig, arguments, program="python -m model.training.train", description=__doc__ or "")


def main(arguments: Sequence[str] | None = None) -> int:
    config = parse(arguments)
    try:
        with processes(config.device) as process:
            Run(config, process).train()
    except (DataError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
