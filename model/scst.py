"""Self-critical training: `python -m model.scst --encoder FILE --start-from FILE --out runs/scst`.

A decoder that cross-entropy has trained is trained further for the metric itself (Rennie et al., CVPR 2017): it
samples captions of each image, and those that score above the image's other samples (leave-one-out baseline, Luo,
arXiv 2003.09971) are made likelier, the others less likely. The reward is CIDEr-D with `<end>` as a word of captions
and references, without which captions stop at "a man in a". The encoder stays as it is; its features are computed
once.

Captions are sampled with their gradient, so one pass through the decoder serves both: what is drawn and what is
differentiated is the same distribution, dropout included.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from model.checkpoint import fingerprint, load_decoder, load_encoder, save_decoder
from model.cider import CiderD
from model.data import Example, Features, encode_captions, load_split, resolve_data
from model.decoder import Decoder, DecoderState
from model.device import PRECISIONS, autocast, choose_device
from model.losses import caption_loss, leave_one_out, policy_loss
from model.options import parse_options
from model.resume import load_state, save_state
from model.schedule import rate_share, shuffled_batches, step_seed
from model.search import decode
from model.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary, tokenize


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
        with torch.no_grad():
            cumulative = distribution.exp().cumsum(dim=-1)
            drawn = torch.rand(*finished.shape, 1, device=device) * cumulative[..., -1:]
            tokens = torch.searchsorted(cumulative, drawn, right=True).squeeze(-1)
            tokens = tokens.clamp_(max=distribution.shape[-1] - 1)
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
        checkpoint = load_decoder(Path(config.start_from))
        self.decoder, self.vocabulary = checkpoint.decoder.to(self.device), checkpoint.vocabulary
        self.decoder.config = dataclasses.replace(self.decoder.config, dropout=config.dropout)
        self.decoder.dropout.p = config.dropout
        self.max_words = self.decoder.config.max_words
        encoder = load_encoder(Path(config.encoder))
        self.encoder_sha256 = fingerprint(Path(config.encoder))
        cache = Path(config.cache)
        self.features = Features.cached(cache, encoder, self.encoder_sha256, self.examples)
        self.validation_features = Features.cached(cache, encoder, self.encoder_sha256, self.validation)
        self.reward = Reward(self.examples, self.vocabulary)
        self.captions = encode_captions(self.examples, self.vocabulary, self.max_words) if config.xe_weight else []
        self.optimizer = torch.optim.AdamW(self.decoder.parameters(), lr=config.rate, weight_decay=config.weight_decay)
        self.autocast = autocast(self.device, config.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast.fast_dtype == torch.float16)
        self.step, self.best = 0, -math.inf

    def train(self) -> None:
        self.resume()
        per_epoch = math.ceil(len(self.examples) / self.config.batch)
        total = self.config.steps or per_epoch * self.config.epochs
        if self.step == 0:
            self.validate()
        began, started = self.step, time.monotonic()
        seen: dict[str, float] = {}
        while self.step < total:
            epoch, done = divmod(self.step, per_epoch)
            batches = shuffled_batches(len(self.examples), self.config.batch, seed=self.config.seed, epoch=epoch)
            for rows in batches[done : done + total - self.step]:
                share = rate_share(self.step, total=total, warmup=self.config.warmup, floor=self.config.final_rate)
                self.optimizer.param_groups[0]["lr"] = self.config.rate * share
                for name, value in self.learn(rows).items():
                    seen[name] = 0.95 * seen.get(name, value) + 0.05 * value
                self.step += 1
                if self.step % 25 == 0:
                    pace = (time.monotonic() - started) / (self.step - began)
                    means = {name: round(value, 4) for name, value in seen.items()}
                    self.log(epoch=epoch, step=self.step, **means, seconds_per_step=round(pace, 2))
                if self.step % self.config.validate_every == 0 or self.step == total:
                    self.validate()
                if self.step % self.config.save_every == 0 or self.step == total:
                    self.save()

    def learn(self, rows: list[int]) -> dict[str, float]:
        """One step on the images at `rows`; returns the means of its samples' rewards, words and log-probabilities."""
        torch.manual_seed(step_seed(self.config.seed, self.step))
        self.decoder.train()
        features = self.features[rows].to(self.device)
        with self.autocast:
            sampled = sample_captions(
                self.decoder,
                self.decoder.init_state(features),
                samples=self.config.samples,
                max_words=self.max_words,
                temperature=self.config.temperature,
            )
        rewards = self.reward(sampled.tokens, rows)  # (B, K)
        advantages = leave_one_out(rewards).flatten().to(self.device)  # (B * K,)
        loss = policy_loss(sampled.log_probs, advantages[sampled.rows])
        if self.config.xe_weight:
            with self.autocast:
                cross_entropy, _ = caption_loss(self.decoder, features, [self.captions[row] for row in rows], 0.0)
            loss = loss + self.config.xe_weight * cross_entropy
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {
            "reward": float(rewards.mean()),
            "words": float((sampled.tokens > END).sum()) / rewards.numel(),
            "log_prob": float(sampled.log_probs.detach().mean()),
        }

    def validate(self) -> None:
        """CIDEr-D (× 100) of greedy captions of the validation split; the weights are exported if it is the best."""
        cider, words = greedy_cider(
            self.decoder, self.vocabulary, self.validation_features, self.validation, self.autocast
        )
        self.log(step=self.step, validation_cider=round(cider, 2), words=round(words, 2))
        if cider > self.best:
            self.best = cider
            save_decoder(
                self.out / f"{self.decoder.config.kind}.safetensors", self.decoder, self.vocabulary, self.encoder_sha256
            )
            (self.out / "config.json").write_text(json.dumps(dataclasses.asdict(self.config), indent=1))

    def save(self) -> None:
        progress = {"step": str(self.step), "best": str(self.best)}
        save_state(self.out / "resume.safetensors", {"decoder": self.decoder}, self.optimizer, progress)

    def resume(self) -> None:
        progress = load_state(self.out / "resume.safetensors", {"decoder": self.decoder}, self.optimizer)
        if progress is not None:
            self.step, self.best = int(progress["step"]), float(progress["best"])
            print(f"resumed at step {self.step}", flush=True)

    def log(self, **values: object) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        line = json.dumps(values)
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")


@torch.inference_mode()
def greedy_cider(
    decoder: Decoder,
    vocabulary: Vocabulary,
    features: Features,
    examples: Sequence[Example],
    precision: torch.autocast,
    *,
    batch: int = 64,
) -> tuple[float, float]:
    """CIDEr-D (× 100) of greedy captions, and their mean number of words.

    As pycocoevalcap's, with document frequencies from these examples, but with the vocabulary's tokeniser.
    """
    decoder.eval()
    device = next(decoder.parameters()).device
    references = [[tokenize(caption) for caption in example.captions] for example in examples]
    metric = CiderD(references)
    total, words = 0.0, 0
    for start in range(0, len(examples), batch):
        rows = range(start, min(start + batch, len(examples)))
        with precision:
            state = decoder.init_state(features[rows].to(device))
            decoded = decode(decoder, state, max_words=decoder.config.max_words)
        for row, tokens in zip(rows, decoded.tokens[:, 0].tolist(), strict=True):
            said = vocabulary.decode(tokens)
            total += metric.score([said], references[row])[0]
            words += len(said)
    return 100 * total / len(examples), words / len(examples)


def parse(arguments: Sequence[str] | None = None) -> ScstConfig:
    return parse_options(ScstConfig, arguments, program="python -m model.scst", description=__doc__ or "")


if __name__ == "__main__":
    Run(parse()).train()
