"""Language from captions without photos: `python -m model.training.pretrain --encoder FILE --out runs/text`.

The decoder learns to write a photo's captions from what another caption of the same photo names. Each region that it
attends to shows one content word of that caption: some words are left out, some appear several times, and a few regions
show words of other photos. So it learns to choose from what it sees, as it must with the regions of a photo. What
turns a word into a region is used here alone. `train --start-from runs/text/attention.safetensors` goes on with photos.

The vocabulary is that of the photos' captions (`--data`), and after it the words that are frequent in the text.
"""

import gzip
import itertools
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from model.captioner import Captioner
from model.network.decoder import Decoder
from model.network.vocabulary import SPECIAL, UNKNOWN, Vocabulary
from model.training.data import DataError, Example, encode_captions, load_split, resolve_data
from model.training.loop import Objective, Run, run_command
from model.training.networks import Networks
from model.training.train import CrossEntropy, TrainConfig
from model.words import FUNCTION_WORDS, NUMBERS

HELD_OUT: Final = 50  # one photo of so many is for validation


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """The options of training without photos. `encoder` is the one that the decoder is meant for; only its sizes count.

    Raises ValueError for `finetune`: there is nothing that an encoder could read.
    """

    text: str = "captions_text"  # a folder with captions.jsonl.gz, or its name in DATASETS_DIR
    text_count: int = 20  # words of the text alone that are rarer are <unk>
    regions: int = 16
    strangers: int = 3  # regions that show a word of another photo
    left_out: float = 0.25  # the share of a caption's words that no region shows
    noise: float = 1.0  # standard deviation, as a share of that of the regions
    pictures: int = 0

    def __post_init__(self) -> None:
        if self.finetune:
            raise ValueError("without photos there is nothing to train an encoder on")
        if not 0 <= self.strangers < self.regions:
            raise ValueError(
                f"{self.strangers} strangers leave none of {self.regions} regions to the photo's own words"
            )

    def splits(self) -> tuple[list[Example], list[Example]]:
        text = load_text(resolve_data(self.text))
        return [e for i, e in enumerate(text) if i % HELD_OUT], text[::HELD_OUT]

    def vocabulary(self, examples: Sequence[Example]) -> Vocabulary:
        photos = [example for name in self.data for example in load_split(resolve_data(name), "train")]
        known = super().vocabulary(photos).words[len(SPECIAL) :]
        captions = (caption for example in examples for caption in example.captions)
        frequent = Vocabulary.build(captions, min_count=self.text_count).words[len(SPECIAL) :]
        return Vocabulary(list(dict.fromkeys([*known, *frequent])))

    def objective(self, networks: Networks, examples: Sequence[Example]) -> Objective:
        return TextObjective(networks, examples, self)

    def peak_rates(self, objective: Objective) -> list[tuple[nn.Module, float]]:
        assert isinstance(objective, TextObjective)
        return [*super().peak_rates(objective), (objective.projection, self.rate)]


def load_text(root: Path) -> list[Example]:
    """The photos of `captions.jsonl.gz` that have two captions or more, without their photos. Raises DataError."""
    path = root / "captions.jsonl.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            groups = [tuple(json.loads(line)["captions"]) for line in file]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path}: not lines of {{"captions": [...]}}, compressed ({error!r})') from error
    examples = [Example(f"{root.name}/{i}", path, captions) for i, captions in enumerate(groups) if len(captions) > 1]
    if len(examples) <= HELD_OUT:
        raise DataError(f"{path}: {len(examples)} photos with two captions are too few: {HELD_OUT + 1} are the least")
    return examples


class TextObjective(CrossEntropy):
    """The cross-entropy of a photo's captions, its regions words of the others among its captions."""

    def __init__(self, networks: Networks, examples: Sequence[Example], config: PretrainConfig) -> None:
        super().__init__(networks, examples, config)
        self.text = config
        sizes = networks.decoder.config
        self.projection = nn.Linear(sizes.embedding, sizes.channels, bias=False)  # it would hide the small embedding
        words = networks.vocabulary.words
        self.unseen = {UNKNOWN, *(i for i, word in enumerate(words) if word in FUNCTION_WORDS - NUMBERS)}

    def regions(self, words: Sequence[Sequence[int]], decoder: Decoder) -> Tensor:
        """Words as regions, (B, R, C). words: R of each photo; decoder: whose embedding they have."""
        embedded = decoder.embedding(torch.tensor(words, device=self.projection.weight.device))
        regions: Tensor = self.projection(self.decoder.dropout(embedded))
        return regions

    def shown(self, captions: Sequence[Sequence[int]]) -> list[int]:
        """The words of captions that can be seen, each once."""
        return list(dict.fromkeys(word for caption in captions for word in caption if word not in self.unseen))

    def forward(self, inputs: Tensor, rows: list[int], progress: float) -> tuple[Tensor, int, dict[str, float]]:
        """inputs: not read; which captions are shown and which are learnt is drawn here, anew for each epoch."""
        rng = random.Random(int(torch.randint(2**31, ())))
        seen, learnt = [], []
        for row in rows:
            captions = rng.sample(self.captions[row], len(self.captions[row]))
            count = rng.randint(1, min(2, max(1, len(captions) - 1)))
            seen.append(self.shown(captions[:count]))
            learnt.append(captions[count:])
        everything = list(itertools.chain.from_iterable(seen)) or [UNKNOWN]
        words = [[*self.fill(own, rng), *rng.choices(everything, k=self.text.strangers)] for own in seen]
        features = self.regions(words, self.decoder)
        features = features + self.text.noise * features.detach().std() * torch.randn_like(features)
        return self.loss(features, learnt, progress)

    def fill(self, words: Sequence[int], rng: random.Random | None = None) -> list[int]:
        """The words of a photo's own regions: some left out, some repeated; without `rng` all, one after the other."""
        count = self.text.regions - self.text.strangers
        if rng is None:
            return list(itertools.islice(itertools.cycle(words or [UNKNOWN]), count))
        kept = [word for word in words if rng.random() >= self.text.left_out] or list(words) or [UNKNOWN]
        kept = rng.sample(kept, min(len(kept), count))
        return [*kept, *rng.choices(kept, k=count - len(kept))]


class TextRun(Run):
    """A run whose inputs the objective draws itself. In validation the first caption is shown, the others count."""

    objective: TextObjective

    def prepare(self) -> None:
        limit = self.networks.decoder.config.max_words
        encoded = encode_captions(self.validation, self.networks.vocabulary, limit)
        self.validation_words = [self.objective.fill(self.objective.shown(captions[:1])) for captions in encoded]
        self.validation = [Example(e.name, e.path, e.captions[1:]) for e in self.validation]

    def inputs(self, epoch: int, batches: list[list[int]]) -> Iterator[Tensor]:
        for rows in batches:
            yield torch.tensor(rows)

    def features_to_validate(self, captioner: Captioner) -> Iterator[Tensor]:
        self.objective.eval()
        for start in range(0, len(self.validation_words), self.config.batch):
            yield self.objective.regions(self.validation_words[start : start + self.config.batch], captioner.decoder)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(
        PretrainConfig, arguments, program="python -m model.training.pretrain", description=__doc__ or "", run=TextRun
    )


if __name__ == "__main__":
    sys.exit(main())
