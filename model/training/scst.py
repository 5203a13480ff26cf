"""Self-critical training: `python -m model.training.scst --encoder FILE --start-from FILE --out runs/scst`.

A decoder that cross-entropy has trained is trained further for the metric itself (Rennie et al., CVPR 2017): it
samples captions of each image, and those that score above the image's other samples (leave-one-out baseline, Luo,
arXiv 2003.09971) are made likelier, the others less likely. The reward is CIDEr-D with `<end>` as a word of captions
and references, without which captions stop at "a man in a". The encoder stays as it is; its features are computed
once.

Captions are sampled with their gradient, so one pass through the decoder serves both: what is drawn and what is
differentiated is the same distribution, dropout included.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.network.checkpoint import CheckpointError
from model.network.decoder import Decoder, DecoderState
from model.network.device import PRECISIONS, autocast, choose_device
from model.network.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary, tokenize
from model.training.cider import CiderD
from model.training.data import DataError, Example, Features, encode_captions, load_split, resolve_data
from model.training.journal import Journal, Pace
from model.training.losses import caption_loss, draw, leave_one_out, policy_loss
from model.training.networks import continued
from model.training.optimise import descend, rate_share, set_rates
from model.training.options import parse_options
from model.training.order import shuffled_batches, step_seed
from model.training.resume import load_state, save_state
from model.training.validate import validate


@dataclass(frozen=True)
class ScstConfig:
    """Everything that a run depends on; each field is an option of the command line."""

    encoder: str  # the encoder that the decoder was trained on
    start_from: str  # the decoder to begin with: the best that cross-entropy gave
    out: str  # the folder of this run
    data: tuple[str, ...] = ("flickr8k",)  # data sets whose train splits are used together
    validation: str = "flickr8k"  # the data set whose val split chooses the best weights, by greedy CIDEr-D
    epochs: int = 10
    steps: int = 0  # instead of epochs
    batch: int = 32  # images
    samples: int = 5  # captions drawn of each image
    temperature: float = 1.0
    rate: float = 5e-5  # peak learning rate
    final_rate: float = 0.2  # at the end of the cosine, as a share of the peak
    warmup: int = 50  # steps
    weight_decay: float = 0.0
    clip: float = 1.0  # gradient norm
    xe_weight: float = 0.0  # of the references' cross-entropy, mixed in to keep language and variety
    dropout: float = 0.0
    cache: str = "cache"  # where encoder features are kept
    save_every: int = 50  # steps between checkpoints to resume from
    validate_every: int = 150  # steps
    threads: int = 0  # CPU threads; 0: PyTorch's own choice
    device: str = "auto"
    precision: str = field(default="auto", metadata={"choices": PRECISIONS})
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """K captions drawn of each of B images, M words in all, each caption's `<end>` among them."""

    tokens: Tensor  # (B, K, T) int64; after <end>, <pad>
    rows: Tensor  # (M,) int64, whose word it is: b * K + k
    log_probs: Tensor  # (M,), differentiable


def sample_captions(
    decoder: Decoder, state: DecoderState, *, samples: int, max_words: int, temperature: float = 1.0
) -> Samples:
    """Draw captions from the full softmax at `temperature`, by PyTorch's global random numbers.

    As in search, <pad>, <start> and <unk> are never said, nor <end> before the first word. A caption that has not
    ended after `max_words` has no <end>. Log-probabilities are those of the distribution drawn from.
    """
    images, device = state.hidden.shape[0], state.hidden.device
    words = torch.full((images * samples, max_words + 1), PAD, device=device)
    place = torch.arange(images * samples, device=device).view(images, samples)  # whose turn each row of the batch is
    tokens = torch.full((images, 1), START, device=device)
    finished = torch.zeros((images, samples), dtype=torch.bool, device=device)
    never = torch.zeros(decoder.config.vocabulary_size, device=device)
    never[[PAD, START, UNKNOWN]] = -torch.inf
    not_first = never.clone()
    not_first[END] = -torch.inf
    all_rows, all_log_probs = [], []
    for t in range(max_words):
        logits, state, _ = decoder.step(tokens, state)
        if t == 0:  # an image's captions all begin alike: one step serves them all
            state = state.repeat(samples)
            logits = logits.expand(-1, samples, -1)
        scores = logits.float() / temperature + (not_first if t == 0 else never)
        distribution = scores.log_softmax(dim=-1)  # (B', K', V)
        tokens = draw(distribution.detach())
        live = ~finished  # a row said <end> the step before, or is kept to fill the batch
        rows, said = place[live], tokens[live]
        words[rows, t] = said
        all_rows.append(rows)
        all_log_probs.append(distribution.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)[live])
        finished = finished | (tokens == END)
        left = (~finished).sum(dim=1)  # (B',)
        if not bool(left.any()):
            break
        keep = left.nonzero().squeeze(1)
        most = int(left.max())
        if most < finished.shape[1] or len(keep) < len(left):  # drop what is over
            order = finished[keep].to(torch.int8).argsort(dim=1, stable=True)[:, :most]  # the live ones first
            state = state.images(keep).reorder(order)
            place, tokens, finished = (x[keep].gather(1, order) for x in (place, tokens, finished))
    longest = int((words != PAD).sum(dim=1).max())
    return Samples(
        tokens=words[:, :longest].view(images, samples, longest),
        rows=torch.cat(all_rows),
        log_probs=torch.cat(all_log_probs),
    )


class Reward:
    """CIDEr-D of captions as indices, `<end>` a word of theirs and of the references."""

    def __init__(self, examples: Sequence[Example], vocabulary: Vocabulary) -> None:
        """The document frequencies are those of the examples' captions, tokenised as the vocabulary does."""
        self.vocabulary = vocabulary
        self.references = [[[*tokenize(text), SPECIAL[END]] for text in example.captions] for example in examples]
        self.metric = CiderD(self.references)

    def __call__(self, tokens: Tensor, rows: Sequence[int]) -> Tensor:
        """tokens: (B, K, T), see `Samples`; rows: the images' places among the examples. Returns (B, K) float32."""
        names = self.vocabulary.words
        scores = [
            self.metric.score([[names[t] for t in caption if t != PAD] for caption in captions], self.references[row])
            for row, captions in zip(rows, tokens.tolist(), strict=True)
        ]
        return torch.tensor(scores)


class Run:
    """A self-critical run: the decoder, its optimiser and place in the data, saved and restored together."""

    def __init__(self, config: ScstConfig) -> None:
        if config.samples < 2:
            raise ValueError(f"the baseline is the mean of an image's other samples: {config.samples} are too few")
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.out)
        self.device = choose_device(config.device)
        self.examples = [example for name in config.data for example in load_split(resolve_data(name), "train")]
        self.validation = load_split(resolve_data(config.validation), "val")
        self.networks = continued(Path(config.encoder), Path(config.start_from), dropout=config.dropout)
        self.decoder = self.networks.decoder.to(self.device)
        self.max_words = self.decoder.config.max_words
        encoder, sha256 = self.networks.encoder.to(self.device), self.networks.encoder_sha256
        self.features = Features.cached(Path(config.cache), encoder, sha256, self.examples)
        self.validation_features = Features.cached(Path(config.cache), encoder, sha256, self.validation)
        self.reward = Reward(self.examples, self.networks.vocabulary)
        self.captions = encode_captions(self.examples, self.networks.vocabulary, self.max_words)
        self.optimizer = torch.optim.AdamW(
            [{"params": list(self.decoder.parameters()), "peak": config.rate}], weight_decay=config.weight_decay
        )
        self.autocast = autocast(self.device, config.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast.fast_dtype == torch.float16)
        self.steps_per_epoch = math.ceil(len(self.examples) / config.batch)
        self.total = config.steps or self.steps_per_epoch * config.epochs
        self.journal = Journal(self.out)
        self.step, self.best = 0, -math.inf

    def train(self) -> None:
        self.resume()
        if self.step == 0:
            self.validate()
        pace = Pace(self.step, self.total)
        while self.step < self.total:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            batches = shuffled_batches(len(self.examples), self.config.batch, seed=self.config.seed, epoch=epoch)
            for rows in batches[done : done + self.total - self.step]:
                pace.update(self.step + 1, **self.learn(rows))
                self.step += 1
                if self.step % 25 == 0:
                    self.journal.write(self.step, epoch=epoch, **pace.means())
                if self.step % self.config.validate_every == 0 or self.step == self.total:
                    self.validate()
                if self.step % self.config.save_every == 0 or self.step == self.total:
                    self.save()
        self.journal.close()

    def learn(self, rows: list[int]) -> dict[str, float]:
        """One step on the images at `rows`; returns the means of its samples' rewards, words and log-probabilities."""
        torch.manual_seed(step_seed(self.config.seed, self.step))
        config = self.config
        set_rates(
            self.optimizer, rate_share(self.step, total=self.total, warmup=config.warmup, floor=config.final_rate)
        )
        self.decoder.train()
        features = self.features[rows].to(self.device)
        with self.autocast:
            sampled = sample_captions(
                self.decoder,
                self.decoder.init_state(features),
                samples=config.samples,
                max_words=self.max_words,
                temperature=config.temperature,
            )
        rewards = self.reward(sampled.tokens, rows)  # (B, K)
        advantages = leave_one_out(rewards).flatten().to(self.device)  # (B * K,)
        loss = policy_loss(sampled.log_probs, advantages[sampled.rows])
        if config.xe_weight:
            with self.autocast:
                cross_entropy, _ = caption_loss(self.decoder, features, [self.captions[row] for row in rows])
            loss = loss + config.xe_weight * cross_entropy
        descend(loss, self.optimizer, self.scaler, config.clip)
        return {
            "reward": float(rewards.mean()),
            "words": float((sampled.tokens > END).sum()) / rewards.numel(),
            "log_prob": float(sampled.log_probs.detach().mean()),
        }

    def validate(self) -> None:
        """Validate the greedy captions; the weights are exported if their CIDEr-D is the best so far."""
        rows = range(len(self.validation))
        batches = (self.validation_features[rows[start : start + 64]].to(self.device) for start in rows[::64])
        found = validate(self.decoder, self.networks.vocabulary, self.validation, batches, self.autocast)
        self.journal.write(
            self.step, validation_loss=found.loss, validation_cider=found.cider, validation_words=found.words
        )
        if found.cider >= self.best:
            self.best = found.cider
            self.networks.export(self.out, self.config, tuned=False)

    def save(self) -> None:
        progress = {"step": str(self.step), "best": str(self.best)}
        save_state(self.out / "resume.safetensors", {"decoder": self.decoder}, self.optimizer, progress)

    def resume(self) -> None:
        progress = load_state(self.out / "resume.safetensors", {"decoder": self.decoder}, self.optimizer)
        if progress is not None:
            self.step, self.best = int(progress["step"]), float(progress["best"])
            print(f"resumed at step {self.step}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> ScstConfig:
    return parse_options(ScstConfig, arguments, program="python -m model.training.scst", description=__doc__ or "")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        Run(parse(arguments)).train()
    except (DataError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
