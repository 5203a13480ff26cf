"""Align Russian words with the English ones of their captions: `python -m model.training.align_words --pairs FILE`.

IBM model 1 (Brown et al., 1993) in both directions, on the training part of the pairs. What is written are Russian
forms by the word of the joint embedding's vocabulary that they mean, where both directions say so; or by two
neighbouring words. Articles and copulas mean nothing here. Validation pairs tell how much of Russian captions is
understood.
"""

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from model.embedding import EMBEDDING_FILE
from model.network.checkpoint import read_tensors
from model.network.vocabulary import SPECIAL, Vocabulary, tokenize
from model.tagging.lists import ALIGNED, FOLDER, Words
from model.training.options import exit_status
from model.training.pairs import Pair, load_pairs, split_pairs
from model.words import FUNCTION_WORDS

EMPTY: Final = ""  # what words come from that translate none
MEANINGLESS: Final = frozenset(["a", "an", "the", "is", "are", "be", "being", "been", "was", "were", "am", "'s"])
HEAD: Final = """# Russian forms by the English words that they mean, as the dictionaries write theirs. Made by
# `python -m model.training.align_words` of caption pairs that a language model translated; the entries of the other
# dictionaries, which people wrote, come first.
"""
Sentence = tuple[str, ...]
Table = dict[str, dict[str, float]]


def translation_table(pairs: Sequence[tuple[Sentence, Sentence]], rounds: int) -> Table:
    """P(word | source word) of IBM model 1, by source word. pairs: of source and target."""
    table: Table = defaultdict(lambda: defaultdict(lambda: 1.0))
    for _ in range(rounds):
        counts: Table = defaultdict(lambda: defaultdict(float))
        for source, target in pairs:
            rows = [(word, table[word]) for word in (*source, EMPTY)]
            for word in target:
                weights = [row[word] for _, row in rows]
                total = sum(weights)
                for (said, _), weight in zip(rows, weights, strict=True):
                    counts[said][word] += weight / total
        table = defaultdict(dict)
        for said, row in counts.items():
            total = sum(row.values())
            table[said] = defaultdict(float, {word: count / total for word, count in row.items() if count > 1e-4})
    return table


def aligned(
    pairs: Iterable[Pair], known: frozenset[str], *, least: int = 3, sure: float = 0.4, rounds: int = 6
) -> dict[str, str]:
    """The English of Russian forms that were seen at least `least` times; `sure`: the least P(English | Russian)."""
    sentences = [
        (tuple(tokenize(pair.russian)), tuple(word for word in tokenize(pair.english) if word not in MEANINGLESS))
        for pair in pairs
    ]
    seen = Counter(word for russian, _ in sentences for word in set(russian))
    there = translation_table(sentences, rounds)
    back = translation_table([(english, russian) for russian, english in sentences], rounds)
    beside: Counter[tuple[str, str, str]] = Counter()
    for russian, english in sentences:
        for pair in set(itertools.pairwise(english)):
            beside.update((form, *pair) for form in set(russian))
    found = {}
    for form, count in sorted(seen.items()):
        likely = sorted(there[form].items(), key=lambda item: (-item[1], item[0]))[:2]
        if count < least or not likely:
            continue
        (first, share), second = likely[0], likely[1] if len(likely) > 1 else ("", 0.0)
        two = {first, second[0]}
        both = [pair for pair in itertools.permutations(sorted(two), 2) if beside[form, *pair] >= 0.6 * count]
        if both and FUNCTION_WORDS.isdisjoint(two) and second[1] >= 0.25 and known.issuperset(both[0]):
            found[form] = " ".join(both[0])
        elif share >= sure and first in known and back[first].get(form, 0.0) >= 0.005:
            found[form] = first
    return found


def lines_of(meanings: dict[str, str]) -> list[str]:
    """Lines of a dictionary: the English, and the forms that mean it."""
    forms: dict[str, list[str]] = defaultdict(list)
    for form, english in meanings.items():
        forms[english].append(form)
    return [f"{english} = {', '.join(sorted(each))}" for english, each in sorted(forms.items())]


def understood(pairs: Iterable[Pair], words: Words) -> tuple[float, float, float]:
    """Shares: of Russian words that are known; of what they are said to mean that the English says; of what the English
    says, but for what means nothing, that they mean.
    """
    said = known = meant = right = wanted = met = 0
    for pair in pairs:
        meaning = words.meaning(pair.russian)
        english = Counter(word for word in tokenize(pair.english) if word not in MEANINGLESS)
        russian = tokenize(pair.russian)
        said += len(russian)
        known += len(russian) - sum(word in meaning.unknown for word in russian)
        both = Counter(meaning.known) & english
        meant, right = meant + len(meaning.known), right + both.total()
        wanted, met = wanted + english.total(), met + both.total()
    return known / max(1, said), right / max(1, meant), met / max(1, wanted)


def run(options: argparse.Namespace) -> None:
    _, metadata = read_tensors(Path(options.weights) / EMBEDDING_FILE)
    vocabulary = Vocabulary.from_json(metadata["vocabulary"]).words[len(SPECIAL) :]
    parts = split_pairs(load_pairs(Path(options.pairs)))
    found = aligned(parts["train"], frozenset(vocabulary))
    out = Path(options.out or FOLDER / f"{ALIGNED}.txt")
    out.write_text(HEAD + "\n".join(lines_of(found)) + "\n", encoding="utf-8")
    print(f"{len(found)} forms of {len(set(found.values()))} words: {out}")
    share, right, met = understood(parts["val"], Words(vocabulary))
    print(
        f"{len(parts['val'])} validation pairs: {share:.1%} of Russian words are known; of what they are said to mean"
    )
    print(f"the English captions say {right:.1%}, of what those say {met:.1%} is met (other words may be as good)")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.align_words", description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", required=True, metavar="FILE", help="origin, english and russian, apart by tabs")
    parser.add_argument("--weights", default="weights", help="the folder of the weights, for the words that are known")
    parser.add_argument("--out", default="", metavar="FILE", help=f"default: {ALIGNED}.txt beside the dictionaries")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
