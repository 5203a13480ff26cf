"""Self-critical training: `python -m model.training.scst --encoder FILE --start-from FILE --out runs/scst`.

A decoder that cross-entropy has trained is trained further for the metric itself (Rennie et al., CVPR 2017): it
samples captions of each image, and those that score above the image's other samples (leave-one-out baseline, Luo,
arXiv 2003.09971) are made likelier, the others less likely. The reward is CIDEr-D with `<end>` as a word of captions
and references, without which captions stop at "a man in a". As in cross-entropy training, the encoder stays as it is
unless `--finetune` is given.

Captions are sampled with their gradient, so one pass through the decoder serves both: what is drawn and what is
differentiated is the same distribution, dropout included.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.decoding.search import word_log_probs
from model.network.decoder import Decoder, DecoderState
from model.network.vocabulary import END, PAD, SPECIAL, START, Vocabulary, tokenize
from model.training.data import Example, encode_captions
from model.training.loop import Objective, RunConfig, run_command
from model.training.losses import caption_loss, draw, leave_one_out, policy_loss
from model.training.networks import Networks, continued
from model.training.scores import CiderD


@dataclass(frozen=True, kw_only=True)
class ScstConfig(RunConfig):
    """The options of self-critical training. `encoder` is the one that the decoder was trained on.

    Raises ValueError for fewer than two samples: an image's other samples are the baseline.
    """

    start_from: str  # the decoder to begin with: the best that cross-entropy gave
    samples: int = 5  # captions drawn of each image
    temperature: float = 1.0
    xe_weight: float = 0.0  # of the references' cross-entropy, mixed in to keep language and variety
    dropout: float = 0.0
    epochs: int = 10
    rate: float = 5e-5  # peak learning rate
    final_rate: float = 0.2  # at the end of the cosine, as a share of the peak
    warmup: int = 50  # steps
    weight_decay: float = 0.0
    clip: float = 1.0  # gradient norm
    save_every: int = 50  # steps between checkpoints to resume from
    validate_every: int = 150  # steps
    pictures: int = 0  # validation images whose captions and heatmaps TensorBoard shows

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"the baseline is the mean of an image's other samples: {self.samples} are too few")

    def networks(self, examples: Sequence[Example]) -> Networks:
        return continued(Path(self.encoder), Path(self.start_from), dropout=self.dropout)

    def objective(self, networks: Networks, examples: Sequence[Example]) -> Objective:
        return SelfCritical(networks, examples, self)


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
    all_rows, all_log_probs = [], []
    for t in range(max_words):
        logits, state, _ = decoder.step(tokens, state)
        if t == 0:  # an image's captions all begin alike: one step serves them all
            state = state.repeat(samples)
            logits = logits.expand(-1, samples, -1)
        distribution = word_log_probs(logits.float() / temperature, t)  # (B', K', V)
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


class SelfCritical(Objective):
    """The policy gradient of sampled captions; logs the means of their rewards, words and log-probabilities."""

    validates_at_start = True

    def __init__(self, networks: Networks, examples: Sequence[Example], config: ScstConfig) -> None:
        super().__init__(networks, tuned=config.finetune)
        self.config = config
        self.reward = Reward(examples, networks.vocabulary)
        self.captions = encode_captions(examples, networks.vocabulary, self.decoder.config.max_words)

    def forward(self, inputs: Tensor, rows: list[int], progress: float) -> tuple[Tensor, int, dict[str, float]]:
        features = inputs if self.encoder is None else self.encoder(inputs)
        sampled = sample_captions(
            self.decoder,
            self.decoder.init_state(features),
            samples=self.config.samples,
            max_words=self.decoder.config.max_words,
            temperature=self.config.temperature,
        )
        rewards = self.reward(sampled.tokens, rows)  # (B, K)
        advantages = leave_one_out(rewards).flatten().to(features.device)  # (B * K,)
        loss = policy_loss(sampled.log_probs, advantages[sampled.rows])
        if self.config.xe_weight:
            captions = [self.captions[row] for row in rows]
            loss = loss + self.config.xe_weight * caption_loss(self.decoder, features, captions).mean
        values = {
            "reward": float(rewards.mean()),
            "words": float((sampled.tokens > END).sum()) / rewards.numel(),
            "log_prob": float(sampled.log_probs.detach().mean()),
        }
        return loss, len(sampled.rows), values


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(ScstConfig, arguments, program="python -m model.training.scst", description=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
