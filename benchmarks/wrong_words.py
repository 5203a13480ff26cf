"""What captions say that nobody saw: `python -m benchmarks.wrong_words ENCODER DECODER`.

Captions of validation photos are compared, word by word, with what five people wrote of each: sex, colours, numbers,
and content words at large. A word that no reference says need not be wrong, for five people do not mention
everything, so the shares are upper bounds; those of sex count only photos whose references name one sex alone.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.ablation import cached
from model.consensus import Consensus
from model.decoding.search import USUAL_BEAM, BeamSearch
from model.network.checkpoint import CheckpointError, fingerprint
from model.network.vocabulary import tokenize
from model.training.data import DataError, load_split, resolve_data
from model.words import COLOURS, FUNCTION_WORDS, SAME


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MEN: Final = _words("man men boy boys guy guys male males he his him gentleman gentlemen father son")
WOMEN: Final = _words("woman women girl girls lady ladies female females she her mother daughter")
NUMBERS: Final = _words("two three four five six seven eight")

Words = Sequence[str]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}, {part / whole:.1%}" if whole else "none"


def _mean(captions: Sequence[Words]) -> float:
    return sum(map(len, captions)) / len(captions)


def _counts(captions: Iterable[Words], kinds: frozenset[str]) -> int:
    """How many captions have a word of these."""
    return sum(not kinds.isdisjoint(words) for words in captions)


def compare(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> dict[str, str]:
    """captions: one an image; references: each image's. Findings by name."""
    seen = [{SAME.get(word, word) for words in several for word in words} for several in references]
    found: dict[str, str] = {}
    for name, own, other in (("women called men", WOMEN, MEN), ("men called women", MEN, WOMEN)):
        alone = [set(said) for said, words in zip(captions, seen, strict=True) if words & own and not words & other]
        told = [said for said in alone if said & (own | other)]  # that name a sex at all
        found[name] = _share(sum(bool(said & other) and not said & own for said in told), len(told))
    content = frozenset(word for said in captions for word in said) - FUNCTION_WORDS
    for name, kinds in (("colours", COLOURS), ("numbers", NUMBERS), ("content words", content)):
        said = [
            (SAME.get(word, word) in words)
            for caption, words in zip(captions, seen, strict=True)
            for word in caption
            if word in kinds
        ]
        found[f"{name} that no reference says"] = _share(said.count(False), len(said))
    whole = Counter(" ".join(words) for words in captions)
    [(commonest, times)] = whole.most_common(1)
    found["different captions"] = _share(len(whole), len(captions))
    found["the commonest caption"] = f"“{commonest}”, {times} times"
    found["different words"] = str(len({word for words in captions for word in words}))
    men, women = _counts(captions, MEN), _counts(captions, WOMEN)
    found["captions with men : with women"] = f"{men} : {women}"
    flat = [words for several in references for words in several]
    men, women = _counts(flat, MEN), _counts(flat, WOMEN)
    found["references with men : with women"] = f"{men} : {women}, {men / max(1, women):.2f}"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wrong_words", description=__doc__.split("\n")[0])
    parser.add_argument("encoder", type=Path)
    parser.add_argument("decoder", type=Path)
    parser.add_argument("--data", default="flickr8k", help="a folder, or its name in DATASETS_DIR")
    parser.add_argument("--split", default="val")
    parser.add_argument("--beam", type=int, default=USUAL_BEAM)
    parser.add_argument("--consensus", type=Path, help="what ranks the beam's hypotheses; default: their likelihood")
    parser.add_argument("--cache", default="cache", help="where training keeps encoder features")
    parser.add_argument("--training", nargs="*", default=["flickr8k", "coco"], help="what it was trained on")
    options = parser.parse_args(arguments)
    try:
        captioner, features, examples = cached(
            options.encoder, options.decoder, options.data, options.split, options.cache
        )
        if options.consensus is not None:
            captioner.consensus = Consensus.load(options.consensus, fingerprint(options.encoder))
        training = [
            tokenize(caption)
            for name in options.training
            for example in load_split(resolve_data(name), "train")
            for caption in example.captions
        ]
    except (CheckpointError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    captions: list[Words] = []
    shown: list[Words] = []
    for start in range(0, len(examples), 32):
        rows = range(start, min(start + 32, len(examples)))
        [found] = captioner.decode(features[rows], BeamSearch(options.beam))
        captions += [caption.words for [caption] in found]
        shown += [caption.beginning or caption.words for [caption] in found]
    references = [[tokenize(caption) for caption in example.captions] for example in examples]
    men, women = _counts(training, MEN), _counts(training, WOMEN)
    print(f"training captions with men : with women: {men} : {women}, {men / max(1, women):.2f}")
    for name, value in compare(captions, references).items():
        print(f"{name}: {value}")
    as_shown = compare(shown, references)
    for name in ("colours that no reference says", "content words that no reference says"):
        print(f"{name}, as doubtful captions are shown: {as_shown[name]}")
    cut = sum(said != caption for said, caption in zip(shown, captions, strict=True))
    print(f"doubtful captions of which only the beginning is shown: {_share(cut, len(shown))}")
    print(f"words a caption, and as shown: {_mean(captions):.1f}, {_mean(shown):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
