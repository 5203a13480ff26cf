"""BLEU and chrF of a translator: `python -m model.training.translation_scores --pairs FILE --split test`.

The split is that of training. With `--fit` it writes what checks need into the translator's file: the grammar of the
Russian forms that it was trained on, and the probability below which a translation is not trusted. That one is found on
the validation split: a translation whose sentence chrF is below 40 counts as wrong, and to show a wrong one costs three
times as much as to leave a right one in English.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from model.captions import Translation
from model.training.data import resolve_data
from model.training.morphology import grammar_of
from model.training.options import exit_status, parse_options
from model.training.pairs import Pair, load_pairs, photos_of, split_pairs
from model.translation import BEAM, RussianFile, Translations

WRONG: Final = 40.0  # sentence chrF below which a translation counts as wrong
WORSE: Final = 3.0  # how much worse it is to show a wrong one than to leave a right one in English


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """The options of the command line."""

    pairs: str  # the table of pairs
    weights: str = "weights/russian.safetensors"
    photos: tuple[str, ...] = ("flickr8k", "coco")  # as in training
    split: str = field(default="val", metadata={"choices": ("val", "test")})
    beam: int = BEAM
    device: str = "cpu"
    fit: bool = False
    show: int = 0  # print so many of each origin, with their references


def score(translations: Translations, pairs: Sequence[Pair], *, beam: int) -> dict[str, float]:
    """BLEU and chrF of the translations of these pairs, by sacreBLEU, without typography."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    said = [found.plain for found in translations.translate([pair.english for pair in pairs], beam=beam)]
    references = [[pair.russian for pair in pairs]]
    return {"bleu": BLEU().corpus_score(said, references).score, "chrf": CHRF().corpus_score(said, references).score}


def fit_threshold(found: Sequence[Translation], pairs: Sequence[Pair]) -> float:
    """The probability below which more is lost by showing a translation than by not showing it."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    judged = sorted(
        (each.probability, chrf.sentence_score(each.plain, [pair.russian]).score < WRONG)
        for each, pair in zip(found, pairs, strict=True)
    )
    best, least, cost = 0.0, 0.0, 0.0  # relative to showing all
    for probability, wrong in judged:
        cost += -WORSE if wrong else 1.0
        if cost < least:
            best, least = probability, cost
    return best


def report(config: ScoreConfig) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    path = resolve_data(config.weights)
    pairs = split_pairs(load_pairs(resolve_data(config.pairs)), photos_of(map(resolve_data, config.photos)))
    translations = Translations.load(path, config.device)
    if config.fit:
        forms = (word.rstrip(",") for pair in pairs["train"] for word in pair.russian.split())
        file = replace(RussianFile.load(path), threshold=0.0, grammar=grammar_of(forms))
        found = Translations(file).translate([pair.english for pair in pairs["val"]], beam=config.beam)
        file = replace(file, threshold=round(fit_threshold(found, pairs["val"]) + 1e-4, 4))
        file.save(path)
        translations = Translations(file)
        print(f"threshold: {file.threshold}")
    for origin in ("network", "reference"):
        some = [pair for pair in pairs[config.split] if pair.origin == origin]
        found = translations.translate([pair.english for pair in some], beam=config.beam)
        print(f"{origin}, {config.split}: {len(some)} pairs, beam {config.beam}")
        for metric in (BLEU(), CHRF()):
            result = metric.corpus_score([each.plain for each in found], [[pair.russian for pair in some]])
            print(f"  {result.format(width=1, signature=str(metric.get_signature()))}")
        refused = [each for each in found if not each.passed]
        low = sum("low probability" in each.failed for each in refused)
        print(f"  refused: {len(refused) / len(found):.1%}, for a low probability {low / len(found):.1%}")
        for pair, each in list(zip(some, found, strict=True))[: config.show]:
            print(f"    {each.probability:.2f} {pair.english} | {each.plain} | {pair.russian}")


def main(arguments: Sequence[str] | None = None) -> int:
    program = "python -m model.training.translation_scores"
    config = parse_options(ScoreConfig, arguments, program=program, description=str(__doc__))
    return exit_status(lambda: report(config))


if __name__ == "__main__":
    sys.exit(main())
