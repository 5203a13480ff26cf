"""The training loop of all objectives: resuming, validation, journal, early stop, averaging, several processes."""

import copy
import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from model.captioner import Captioner
from model.network.device import PRECISIONS, autocast, choose_device
from model.network.encoder import Encoder
from model.training.data import (
    Example,
    Features,
    load_split,
    prefetch,
    resolve_data,
    shuffled_batches,
    step_seed,
)
from model.training.distributed import Processes, processes
from model.training.journal import Journal, Pace
from model.training.networks import Networks
from model.training.optimise import descend, follow, load_state, save_state, set_rates
from model.training.options import exit_status, parse_options
from model.training.validate import validate


class Objective(nn.Module):
    """The loss of a batch in one call, as DistributedDataParallel wants it."""

    validates_at_start = False  # whether the weights that the run starts from compete for the best

    def __init__(self, networks: Networks, *, tuned: bool = False) -> None:
        """tuned: the encoder is trained too and reads images; otherwise the decoder reads cached features."""
        super().__init__()
        self.decoder = networks.decoder
        self.encoder: Encoder | None = networks.encoder if tuned else None

    def forward(self, inputs: Tensor, rows: list[int], progress: float) -> tuple[Tensor, int, dict[str, float]]:
        """Return the mean loss over words, their number, and the values to log.

        inputs: features (B, R, C), or (B, 3, size, size) uint8 images of an encoder in training; rows: the places of
        the images among the training examples; progress: 0 at the start of the run, 1 at its end.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run depends on; each field is an option of the command line."""

    encoder: str  # the file of the encoder's weights
    out: str  # the folder of this run
    data: tuple[str, ...] = ("flickr8k",)  # data sets whose train splits are used together
    validation: str = "flickr8k"  # the data set whose val split chooses the weights to keep, by greedy CIDEr-D

    epochs: int = 5
    steps: int = 0  # instead of epochs
    batch: int = 32  # images, of all processes together; each comes with all of its captions
    rate: float = 1e-3  # peak learning rate of the decoder
    final_rate: float = 0.0  # at the end of the cosine, as a share of the peak
    warmup: int = 100  # steps
    weight_decay: float = 0.01
    clip: float = 5.0  # gradient norm of the decoder; the encoder's is clipped separately
    finetune: bool = False  # train the encoder too, on augmented images
    encoder_rate: float = 5e-5  # peak learning rate of the encoder
    ema: float = 0.0  # e.g. 0.999: validate and keep the exponential moving average of the weights; 0: none
    patience: int = 0  # stop after so many epochs without a better CIDEr-D; 0: never

    cache: str = "cache"  # the folder of encoder features
    save_every: int = 150  # steps between checkpoints to resume from
    validate_every: int = 0  # steps; 0: after each epoch
    pictures: int = 4  # validation images whose captions and heatmaps TensorBoard shows
    threads: int = 0  # CPU threads; 0: PyTorch's own choice
    workers: int = 1  # threads that load images
    device: str = "auto"
    precision: str = field(default="auto", metadata={"choices": PRECISIONS})
    seed: int = 0

    def splits(self) -> tuple[list[Example], list[Example]]:
        """The examples to train on and those to validate on. Raises DataError."""
        train = [example for name in self.data for example in load_split(resolve_data(name), "train")]
        return train, load_split(resolve_data(self.validation), "val")

    def networks(self, examples: Sequence[Example]) -> Networks:
        """The networks that the run starts from."""
        raise NotImplementedError

    def objective(self, networks: Networks, examples: Sequence[Example]) -> Objective:
        """What the run minimises."""
        raise NotImplementedError

    def peak_rates(self, objective: Objective) -> list[tuple[nn.Module, float]]:
        """The trained modules and the peak learning rate of each."""
        encoder = [] if objective.encoder is None else [(objective.encoder, self.encoder_rate)]
        return [(objective.decoder, self.rate), *encoder]


class Run:
    """A training run: its networks, optimiser and place in the data, saved and restored together."""

    def __init__(self, config: RunConfig, process: Processes | None = None) -> None:
        self.config = config
        self.process = process or Processes(choose_device(config.device))
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.out)
        self.examples, self.validation = config.splits()
        self.journal = Journal(self.out) if self.process.first else None
        with self.process.first_alone():
            self.networks = config.networks(self.examples)
        encoder, decoder = self.networks.encoder.to(self.process.device), self.networks.decoder.to(self.process.device)
        encoder.to(memory_format=torch.channels_last)  # in which its gradients come, too
        self.objective = objective = config.objective(self.networks, self.examples).to(self.process.device)
        self.tuned = objective.encoder is not None
        self.prepare()
        self.averaged = self.networks  # what is validated and exported
        if config.ema:
            copied = copy.deepcopy(encoder) if self.tuned else encoder
            self.averaged = dataclasses.replace(self.networks, encoder=copied, decoder=copy.deepcopy(decoder))
        groups = [{"params": list(m.parameters()), "peak": peak} for m, peak in config.peak_rates(objective)]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.autocast = autocast(self.process.device, config.precision)
        half = self.autocast.fast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.process.device.type, enabled=half)
        self.loss = self.process.wrap(objective)
        self.steps_per_epoch = len(self.batches(0))
        if not self.steps_per_epoch:
            raise ValueError(f"{self.process.count} processes are too many for batches of {config.batch} images")
        self.total = config.steps or self.steps_per_epoch * config.epochs
        self.step = 0
        self.best, self.best_epoch = -math.inf, 0  # CIDEr-D, and when it was

    def train(self) -> None:
        """Train from the last checkpoint to the end, or until no better captions are to be expected."""
        self.resume()
        if self.step == 0 and self.objective.validates_at_start:
            self.validate(0)
        pace = Pace(self.step, self.total, shown=self.process.first)
        while self.step < self.total:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if self.config.patience and epoch - self.best_epoch > self.config.patience:
                break
            batches = self.batches(epoch)[done : done + self.total - self.step]
            shares = [rows[self.process.rank :: self.process.count] for rows in batches]
            for rows, inputs in zip(shares, self.inputs(epoch, shares), strict=True):
                pace.update(self.step + 1, **self.learn(rows, inputs))
                self.step += 1
                if self.step % 25 == 0:
                    self.write(epoch=epoch, **pace.means())
                due = self.step % (self.config.validate_every or self.steps_per_epoch) == 0 or self.step == self.total
                if due:
                    self.validate(epoch)
                if due or self.step % self.config.save_every == 0:
                    self.save()
        if self.journal is not None:
            self.journal.close()

    def prepare(self) -> None:
        """Have the features at hand that an encoder gives that is not in training."""
        if not self.tuned:
            self.features, self.validation_features = self.cached(self.examples), self.cached(self.validation)

    def batches(self, epoch: int) -> list[list[int]]:
        """Rows of the examples; each process takes its share of each batch, and none may be left without."""
        return shuffled_batches(
            len(self.examples), self.config.batch, seed=self.config.seed, epoch=epoch, least=self.process.count
        )

    def inputs(self, epoch: int, batches: list[list[int]]) -> Iterator[Tensor]:
        """What the objective reads of each batch: cached features, or augmented images for an encoder in training."""
        if self.tuned:
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

    def learn(self, rows: list[int], inputs: Tensor) -> dict[str, float]:
        """One step on the examples at `rows`, this process's share of the batch; returns the whole batch's values."""
        torch.manual_seed(step_seed(self.config.seed, self.step, self.process.rank))
        config = self.config
        set_rates(self.optimizer, self.step, total=self.total, warmup=config.warmup, floor=config.final_rate)
        self.loss.train()
        with self.autocast:
            loss, words, values = self.loss(inputs.to(self.process.device), rows, self.step / self.total)
        all_words = self.process.total(words)
        # Gradients are averaged over processes: weighted so, they are those of the mean over all words.
        descend(loss * (words * self.process.count / all_words), self.optimizer, self.scaler, config.clip)
        if config.ema:
            follow(self.averaged.decoder, self.networks.decoder, config.ema, self.step)
            if self.tuned:
                follow(self.averaged.encoder, self.networks.encoder, config.ema, self.step)
        return {name: self.process.total(value * words) / all_words for name, value in values.items()}

    def validate(self, epoch: int) -> None:
        """Validate, export the weights if they are the best so far, and show their captions."""
        if self.journal is not None:
            networks = self.averaged
            captioner = Captioner(networks.encoder.eval(), networks.decoder.eval(), networks.vocabulary, torch.float32)
            features = self.features_to_validate(captioner)
            found = validate(captioner.decoder, captioner.vocabulary, self.validation, features, self.autocast)
            self.write(
                epoch=epoch, validation_loss=found.loss, validation_cider=found.cider, validation_words=found.words
            )
            if found.cider >= self.best:
                self.best, self.best_epoch = found.cider, epoch
                networks.export(self.out, self.config, tuned=self.tuned)
            self.journal.show(self.step, captioner, [e.path for e in self.validation[: self.config.pictures]])
        self.best_epoch = int(self.process.total(self.best_epoch if self.process.first else 0))

    def features_to_validate(self, captioner: Captioner) -> Iterator[Tensor]:
        """Features of the validation split, (B, R, C) at a time."""
        starts = range(0, len(self.validation), self.config.batch)
        if not self.tuned:
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
        """Log the values of this step; only the first process does."""
        if self.journal is not None:
            self.journal.write(self.step, **values)

    def modules(self) -> dict[str, nn.Module]:
        """What is in the state to resume from."""
        modules = dict(self.objective.named_children())
        if self.config.ema:
            averaged = {"decoder": self.averaged.decoder, "encoder": self.averaged.encoder}
            modules |= {f"averaged_{name}": module for name, module in averaged.items() if name in modules}
        return modules

    def save(self) -> None:
        """Write the state to resume from."""
        if self.process.first:
            progress = {"step": str(self.step), "best": str(self.best), "best_epoch": str(self.best_epoch)}
            save_state(self.out / "resume.safetensors", self.modules(), self.optimizer, progress)

    def resume(self) -> None:
        """Restore the state that `save` wrote, if there is one."""
        progress = load_state(self.out / "resume.safetensors", self.modules(), self.optimizer)
        if progress is not None:
            self.step = int(progress["step"])
            self.best, self.best_epoch = float(progress.get("best", -math.inf)), int(progress.get("best_epoch", 0))
            print(f"resumed at step {self.step}", flush=True)


def run_command(
    kind: type[RunConfig], arguments: Sequence[str] | None, *, program: str, description: str, run: type[Run] = Run
) -> int:
    """Train as the command line says; returns the exit status."""

    def train() -> None:
        config = parse_options(kind, arguments, program=program, description=description)  # its checks raise, too
        with processes(config.device) as process:
            run(config, process).train()

    return exit_status(train)
