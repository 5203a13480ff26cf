"""Cross-entropy training: `python -m model.training.train --data flickr8k coco --encoder FILE --out runs/attention`.

Without `--finetune` the encoder stays as it is and its features are computed once; with it, all of its layers
are trained together with the decoder, on augmented images. A killed run resumes from its last checkpoint. The run's
folder holds the weights whose greedy captions of the validation split have the best CIDEr-D, after any epoch.
On several GPUs: `torchrun --nproc-per-node 8 -m model.training.train …`; see docs/training.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from model.network.config import NETWORKS
from model.network.vocabulary import Vocabulary
from model.training.data import Example, encode_captions
from model.training.loop import Objective, RunConfig, run_command
from model.training.losses import caption_loss
from model.training.networks import Networks, continued, fresh, named_encoder


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """The options of cross-entropy training. `encoder` may also be the name of a backbone."""

    encoder_weights: str = ""  # of a named backbone, a state dict; empty: torchvision's own, downloaded
    image_size: int = 0  # pixels a side of what a named backbone is to see; 0: as it was trained with
    decoder: str = field(default="attention", metadata={"choices": NETWORKS})
    rnn: str = field(default="lstm", metadata={"choices": ("lstm", "gru")})
    start_from: str = ""  # a decoder checkpoint to continue, sizes and words as there; empty: a fresh decoder
    only: tuple[str, ...] = ()  # the decoder's parts that are trained, e.g. keys query score; (): all
    embedding: int = 512
    hidden: int = 512
    attention: int = 512
    layers: int = 3  # of a transformer
    heads: int = 8
    min_count: int = 4  # rarer words are <unk>
    max_words: int = 20

    label_smoothing: float = 0.1
    dropout: float = 0.5
    scheduled_sampling: float = 0.0  # by the end, the share of input words that the decoder draws itself
    coverage: float = 0.0  # weight of the doubly stochastic attention (Show, Attend and Tell, eq. 14); there it is 1

    def networks(self, examples: Sequence[Example]) -> Networks:
        encoder_file = named_encoder(self.encoder, self.encoder_weights, Path(self.out), self.image_size)
        if self.start_from:
            return continued(encoder_file, Path(self.start_from), dropout=self.dropout)
        return fresh(
            encoder_file,
            self.vocabulary(examples),
            kind=self.decoder,
            rnn=self.rnn,
            embedding=self.embedding,
            hidden=self.hidden,
            attention=self.attention,
            layers=self.layers,
            heads=self.heads,
            dropout=self.dropout,
            max_words=self.max_words,
        )

    def vocabulary(self, examples: Sequence[Example]) -> Vocabulary:
        """The words of a fresh decoder."""
        captions = (caption for example in examples for caption in example.captions)
        return Vocabulary.build(captions, min_count=self.min_count)

    def objective(self, networks: Networks, examples: Sequence[Example]) -> Objective:
        return CrossEntropy(networks, examples, self)

    def peak_rates(self, objective: Objective) -> list[tuple[nn.Module, float]]:
        rates = super().peak_rates(objective)
        if not self.only:
            return rates
        parts = dict(objective.decoder.named_children())
        if unknown := set(self.only) - set(parts):
            raise ValueError(f"the decoder has no {', '.join(sorted(unknown))}; its parts are {', '.join(parts)}")
        objective.decoder.requires_grad_(False)
        return [*((parts[name].requires_grad_(True), self.rate) for name in self.only), *rates[1:]]


class CrossEntropy(Objective):
    """The cross-entropy of the reference captions, by teacher forcing; its value to log is `loss`."""

    def __init__(self, networks: Networks, examples: Sequence[Example], config: TrainConfig) -> None:
        super().__init__(networks, tuned=config.finetune)
        self.config = config
        self.captions = encode_captions(examples, networks.vocabulary, config.max_words)

    def forward(self, inputs: Tensor, rows: list[int], progress: float) -> tuple[Tensor, int, dict[str, float]]:
        features = inputs if self.encoder is None else self.encoder(inputs)
        return self.loss(features, [self.captions[row] for row in rows], progress)

    def loss(
        self, features: Tensor, captions: Sequence[Sequence[Sequence[int]]], progress: float
    ) -> tuple[Tensor, int, dict[str, float]]:
        """What `forward` returns, from the regions (B, R, C) and the captions of each image as indices."""
        loss, words = caption_loss(
            self.decoder,
            features,
            captions,
            label_smoothing=self.config.label_smoothing,
            own_words=self.config.scheduled_sampling * progress,
            coverage=self.config.coverage,
        )
        return loss, words, {"loss": loss.item()}


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(TrainConfig, arguments, program="python -m model.training.train", description=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
