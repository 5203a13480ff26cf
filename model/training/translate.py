"""Training of the translator: `python -m model.training.translate --pairs FILE --out runs/russian`.

The pairs are split before anything is learned from them (`model.training.pairs`). A killed run resumes from its last
epoch. The run's folder holds the weights whose greedy translations of the validation pairs have the best chrF, the mean
of both origins, after any epoch.
"""

import copy
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from model.network.device import PRECISIONS, autocast, choose_device
from model.network.subwords import Subwords
from model.network.translator import Translator, TranslatorConfig
from model.network.vocabulary import END, PAD, START, UNKNOWN
from model.training.data import resolve_data, step_seed
from model.training.journal import Journal, Pace
from model.training.optimise import descend, follow, load_state, save_state, set_rates
from model.training.options import exit_status, parse_options
from model.training.pairs import content, load_pairs, photos_of, split_pairs
from model.training.translation_scores import score
from model.translation import RussianFile, Translations


@dataclass(frozen=True, kw_only=True)
class TranslateConfig:
    """Everything that a run depends on; each field is an option of the command line."""

    pairs: str  # the table of pairs
    out: str  # the folder of this run
    photos: tuple[str, ...] = ("flickr8k", "coco")  # data sets, so that captions of one photo stay in one part
    extra: str = ""  # a table of further pairs to train on; those near a held-out one are left out
    start_from: str = ""  # a translator to continue, subword units as there; empty: a fresh one

    source_size: int = 4000
    target_size: int = 4000
    width: int = 256
    layers: int = 3
    heads: int = 4
    feed_forward: int = 768
    hidden: int = 256
    dropout: float = 0.3

    epochs: int = 40
    batch: int = 2000  # target pieces, at most
    rate: float = 1e-3
    final_rate: float = 0.02
    warmup: int = 300
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    label_smoothing: float = 0.1
    merge_dropout: float = 0.1  # of the subword units
    word_dropout: float = 0.05  # the share of pieces read as <unk>
    network_twice: bool = False  # pairs of the network's own sentences twice an epoch

    threads: int = 0
    device: str = "auto"
    precision: str = field(default="auto", metadata={"choices": PRECISIONS})
    seed: int = 0


class Run:
    """A training run: its network, optimiser and epoch, saved and restored together."""

    def __init__(self, config: TranslateConfig) -> None:
        self.config, self.out = config, Path(config.out)
        if config.threads:
            torch.set_num_threads(config.threads)
        parts = split_pairs(load_pairs(resolve_data(config.pairs)), photos_of(map(resolve_data, config.photos)))
        self.validation = parts["val"]
        self.pairs = parts["train"]
        if config.network_twice:
            self.pairs = self.pairs + [pair for pair in self.pairs if pair.origin == "network"]
        held_out = {content(pair.english) for pair in parts["val"] + parts["test"]}
        if config.extra:
            more = load_pairs(resolve_data(config.extra))
            self.pairs = self.pairs + [pair for pair in more if content(pair.english) not in held_out]
        print(
            f"{len(self.pairs)} pairs to train on, {len(parts['val'])} for validation, {len(parts['test'])} for tests"
        )
        self.device = choose_device(config.device)
        self.file = self._start(config)
        self.model = self.file.translator.to(self.device).train()
        self.averaged = copy.deepcopy(self.model).eval()
        matrices = [parameter for parameter in self.model.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in self.model.parameters() if parameter.dim() == 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "peak": config.rate, "weight_decay": config.weight_decay},
            {"params": others, "peak": config.rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        self.autocast = autocast(self.device, config.precision)
        self.epoch = self.step = 0
        self.best = -math.inf
        self.total = config.epochs * len(self._batches(0))

    def _start(self, config: TranslateConfig) -> RussianFile:
        if config.start_from:
            file = RussianFile.load(Path(config.start_from))
            for module in file.translator.modules():
                if isinstance(module, nn.Dropout):
                    module.p = config.dropout
            return file
        source = Subwords.train((pair.english for pair in self.pairs), config.source_size)
        target = Subwords.train((pair.russian for pair in self.pairs), config.target_size)
        sizes = {
            name: getattr(config, name) for name in ("width", "layers", "heads", "feed_forward", "hidden", "dropout")
        }
        torch.manual_seed(config.seed)
        translator = Translator(TranslatorConfig(len(source), len(target), **sizes))
        known = sorted({word for pair in self.pairs for word in pair.english.split()})
        return RussianFile(translator, source, target, frozenset(known))

    def train(self) -> None:
        """Train from where the run stopped to its last epoch."""
        progress = load_state(self.out / "resume.safetensors", self._modules(), self.optimizer)
        if progress is not None:
            self.epoch, self.step, self.best = int(progress["epoch"]), int(progress["step"]), float(progress["best"])
        journal, pace = Journal(self.out), Pace(self.step, self.total)
        for epoch in range(self.epoch + 1, self.config.epochs + 1):
            self.epoch = epoch
            for source, target in self._batches(self.epoch):
                loss = self._learn(source, target)
                self.step += 1
                pace.update(self.step, loss=loss)
            self._save()
            scores = self._validate()
            journal.write(self.step, epoch=epoch, **pace.means(), **scores)
            chrf = (scores["chrf_network"] + scores["chrf_reference"]) / 2
            if chrf >= self.best:
                self.best = chrf
                self.file.with_translator(self.averaged).save(self.out / "russian.safetensors")
                self._save()
        journal.close()

    def _save(self) -> None:
        """Write the state to resume from: a run that is killed while it validates goes on with the next epoch."""
        progress = {"epoch": str(self.epoch), "step": str(self.step), "best": str(self.best)}
        save_state(self.out / "resume.safetensors", self._modules(), self.optimizer, progress)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "averaged": self.averaged}

    def _learn(self, source: Tensor, target: Tensor) -> float:
        """One step. source: (B, S); target: (B, T), <start> … <end>."""
        torch.manual_seed(step_seed(self.config.seed, self.step))
        set_rates(self.optimizer, self.step, total=self.total, warmup=self.config.warmup, floor=self.config.final_rate)
        source, target = source.to(self.device), target.to(self.device)
        with self.autocast:
            logits, _ = self.model(self._masked(source), self._masked(target[:, :-1]))
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1),
            target[:, 1:].flatten(),
            ignore_index=PAD,
            label_smoothing=self.config.label_smoothing,
        )
        descend(loss, self.optimizer, self.scaler, self.config.clip)
        follow(self.averaged, self.model, self.config.ema, self.step)
        return loss.item()

    def _masked(self, pieces: Tensor) -> Tensor:
        """Some pieces at random read as <unk>."""
        hidden = torch.rand(pieces.shape, device=pieces.device) < self.config.word_dropout
        return pieces.masked_fill(hidden & (pieces > UNKNOWN), UNKNOWN)

    def _batches(self, epoch: int) -> list[tuple[Tensor, Tensor]]:
        """The pairs in the order of this epoch, sentences of about one length together."""
        rng = random.Random(self.config.seed * 1000 + epoch)
        dropout = self.config.merge_dropout
        sources = self.file.source.encode([pair.english for pair in self.pairs], dropout=dropout)
        targets = self.file.target.encode([pair.russian for pair in self.pairs], dropout=dropout)
        order = sorted(range(len(sources)), key=lambda i: (len(targets[i]) + 1, len(sources[i]), rng.random()))
        batches, rows = [], list[int]()
        for i in order:
            if rows and (len(rows) + 1) * (len(targets[i]) + 1) > self.config.batch:
                batches.append(rows)
                rows = []
            rows.append(i)
        batches.append(rows)
        rng.shuffle(batches)
        return [(_padded([sources[i] for i in b]), _padded([[START, *targets[i], END] for i in b])) for b in batches]

    def _validate(self) -> dict[str, float]:
        """BLEU and chrF of the averaged weights' greedy translations."""
        translations = Translations(self.file.with_translator(self.averaged))
        scores: dict[str, float] = {}
        for origin in ("network", "reference"):
            pairs = [pair for pair in self.validation if pair.origin == origin]
            scores |= {f"{name}_{origin}": value for name, value in score(translations, pairs, beam=1).items()}
        return scores


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def main(arguments: Sequence[str] | None = None) -> int:
    program = "python -m model.training.translate"
    config = parse_options(TranslateConfig, arguments, program=program, description=__doc__)
    return exit_status(lambda: Run(config).train())


if __name__ == "__main__":
    sys.exit(main())
