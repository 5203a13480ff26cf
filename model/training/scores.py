"""Scores of captions: the official metrics, CIDEr-D as a reward, and what needs no references (faults, variety).

The official metrics are those of pycocoevalcap, with its PTB tokeniser and METEOR run safely.

The tokeniser and METEOR are Java programs. Without Java, BLEU, ROUGE-L and CIDEr are computed on the words of
`model.network.vocabulary.tokenize` and marked so: close to the official figures, and not to be quoted beside them.
"""

import contextlib
import importlib.util
import math
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt

from model.decoding.blocking import ends_badly, repeats
from model.network.vocabulary import tokenize

Tokenizer = Literal["PTB", "simple"]

TIMEOUT: Final = 600.0  # seconds without an end before a Java process is killed
_ENGLISH: Final = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")  # 0.5, not 0,5
_PTB_JAR: Final = Path("tokenizer", "stanford-corenlp-3.4.1.jar")
_METEOR_JAR: Final = Path("meteor", "meteor-1.5.jar")
# What pycocoevalcap takes out after tokenising.
_BRACKETS: Final = {"-LRB-", "-RRB-", "-LCB-", "-RCB-"}
_PUNCTUATION: Final = _BRACKETS | {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}


class EvaluationError(Exception):
    """A program or package is missing for an evaluation, or a metric's program failed; the message says which."""


@dataclass(frozen=True)
class Scores:
    """× 100, over one caption an image; `meteor` is None without Java."""

    bleu: tuple[float, float, float, float]
    meteor: float | None
    rouge: float
    cider: float
    each_cider: npt.NDArray[np.float64]  # (images,), × 1: what calibration's threshold speaks of


def java() -> bool:
    """Whether the official tokeniser and METEOR can be run."""
    return shutil.which("java") is not None


def _installed(part: Path | str = "") -> Path:
    """The path of a part of pycocoevalcap. Raises EvaluationError where it is not installed."""
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise EvaluationError("pycocoevalcap is missing: pip install -r requirements-dev.txt")
    return Path(found.submodule_search_locations[0]) / part


def words_of(captions: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Captions as their tokens, joined by spaces, without punctuation. Raises EvaluationError."""
    if tokenizer == "simple":
        return [" ".join(tokenize(caption)) for caption in captions]
    if not captions:
        return []
    command = ["java", *_ENGLISH, "-cp", str(_installed(_PTB_JAR)), "edu.stanford.nlp.process.PTBTokenizer"]
    text = "\n".join(" ".join(caption.split()) for caption in captions) + "\n"
    try:  # captions through standard input: no files to be left behind, and a process that ends or is killed
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase"], input=text.encode(), capture_output=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise EvaluationError(f"the PTB tokeniser did not end within {TIMEOUT:.0f} s") from error
    lines = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise EvaluationError(f"the PTB tokeniser gave {len(lines)} lines for {len(captions)} captions: {reason}")
    return [" ".join(word for word in line.split() if word not in _PUNCTUATION) for line in lines]


MeteorScorer = Callable[[Sequence[str], Sequence[Sequence[str]]], float]


@contextlib.contextmanager
def meteor(timeout: float = TIMEOUT) -> Iterator[MeteorScorer]:
    """METEOR 1.5 as one process for several scorings, of tokenised captions; it is ended however the block ends.

    The scorer raises EvaluationError when the process dies or one scoring takes longer than `timeout` seconds.
    """
    command = ["java", *_ENGLISH, "-Xmx2G", "-jar", str(_installed(_METEOR_JAR)), "-", "-", "-stdio", "-l", "en"]
    with subprocess.Popen(
        [*command, "-norm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield lambda found, truth: _meteor_score(process, timeout, found, truth)
        finally:
            process.kill()
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # what a dead process did not read
                process.stdin.close()


def _meteor_score(
    process: subprocess.Popen[bytes], timeout: float, found: Sequence[str], truth: Sequence[Sequence[str]]
) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def ask(line: str) -> None:
        requests.write(line.encode() + b"\n")
        requests.flush()

    def answer() -> str:
        line = answers.readline().decode().strip()
        if not line:
            raise EvaluationError(f"METEOR ended, or was ended after {timeout:.0f} s, before it had answered")
        return line

    watch = threading.Timer(timeout, process.kill)  # then reading ends
    watch.start()
    try:
        statistics = []
        for caption, references in zip(found, truth, strict=True):
            ask(" ||| ".join(["SCORE", *(text.replace("|||", "") for text in (*references, caption))]))
            statistics.append(answer())  # before the next is asked: neither side fills the other's pipe
        ask(" ||| ".join(["EVAL", *statistics]))
        for _ in statistics:  # each image's own score; then that of all
            answer()
        return float(answer())
    except (OSError, ValueError) as error:
        raise EvaluationError(f"METEOR failed: {error}") from error
    finally:
        watch.cancel()


def score(found: Sequence[str], truth: Sequence[Sequence[str]], meteor_scorer: MeteorScorer | None = None) -> Scores:
    """Score one tokenised caption an image against its tokenised references. Raises EvaluationError."""
    _installed()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    if not found:
        raise EvaluationError("there are no captions to score")
    references = {image: list(several) for image, several in enumerate(truth)}
    candidates = {image: [caption] for image, caption in enumerate(found)}
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    rouge, _ = Rouge().compute_score(references, candidates)
    cider, each = Cider().compute_score(references, candidates)
    result = None if meteor_scorer is None else 100 * meteor_scorer(found, truth)
    assert result is None or math.isfinite(result)
    return Scores(
        bleu=(100 * bleu[0], 100 * bleu[1], 100 * bleu[2], 100 * bleu[3]),
        meteor=result,
        rouge=100 * float(rouge),
        cider=100 * float(cider),
        each_cider=np.asarray(each, dtype=np.float64),
    )


LONGEST: Final = 4  # words in an n-gram
SIGMA: Final = 6.0  # words; of the Gaussian penalty on a difference in length

Words = Sequence[str]
Ngram = tuple[str, ...]
# One caption: tf-idf of its n-grams by n, their Euclidean norms, and its number of words.
Vector = tuple[list[dict[Ngram, float]], list[float], int]


def _ngrams(words: Words, n: int) -> list[Ngram]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


class CiderD:
    """CIDEr-D (Vedantam et al., CVPR 2015) as a reward: fast for a few captions at a time, equal to pycocoevalcap's.

    Captions and references are sequences of words, tokenised alike by the caller. The document frequencies are
    counted once, over a corpus that the caller chooses.
    """

    def __init__(self, corpus: Iterable[Sequence[Sequence[str]]]) -> None:
        """`corpus`: for each image its reference captions; an n-gram's document frequency is in how many images'."""
        frequency: Counter[Ngram] = Counter()
        images = 0
        for references in corpus:
            images += 1
            frequency.update({ngram for words in references for n in range(LONGEST) for ngram in _ngrams(words, n + 1)})
        self._rarest = math.log(max(1, images))  # idf of an n-gram in one image, or in none
        self._idf = {ngram: self._rarest - math.log(count) for ngram, count in frequency.items() if count > 1}

    def vector(self, words: Sequence[str]) -> Vector:
        weights = []
        for n in range(LONGEST):
            counts = Counter(_ngrams(words, n + 1))
            weights.append({ngram: count * self._idf.get(ngram, self._rarest) for ngram, count in counts.items()})
        norms = [math.sqrt(sum(weight * weight for weight in by_ngram.values())) for by_ngram in weights]
        return weights, norms, len(words)

    def score(self, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[float]:
        """The CIDEr-D of each candidate for one image, on pycocoevalcap's scale: 10 for a caption that equals its
        only reference. references: at least one.
        """
        against = [self.vector(words) for words in references]
        return [self._score(self.vector(words), against) for words in candidates]

    @staticmethod
    def _score(candidate: Vector, references: Sequence[Vector]) -> float:
        weights, norms, length = candidate
        total = 0.0
        for reference_weights, reference_norms, reference_length in references:
            similarity = 0.0
            for n, theirs in enumerate(reference_weights):
                shared = ((weight, theirs[ngram]) for ngram, weight in weights[n].items() if ngram in theirs)
                # Clipped: saying a word twice earns nothing.
                if dot := sum(min(mine, other) * other for mine, other in shared):
                    similarity += dot / (norms[n] * reference_norms[n])
            total += similarity * math.exp(-((length - reference_length) ** 2) / (2 * SIGMA**2))
        return 10.0 * total / (LONGEST * len(references))


@dataclass(frozen=True)
class Faults:
    """Over all captions given."""

    words: float  # mean length
    bad_endings: float  # share, see `model.decoding.blocking.ends_badly`
    repeats: float  # share, see `model.decoding.blocking.repeats`
    novel: float | None  # share that is no training caption, word for word; None: not known

    @classmethod
    def of(cls, captions: Sequence[Words], training: Collection[str] | None = None) -> Self:
        """training: the training captions' words, joined by spaces. Raises ValueError for no captions."""
        if not captions:
            raise ValueError("there are no captions")
        count = len(captions)
        return cls(
            words=sum(map(len, captions)) / count,
            bad_endings=sum(map(ends_badly, captions)) / count,
            repeats=sum(map(repeats, captions)) / count,
            novel=None if training is None else sum(" ".join(words) not in training for words in captions) / count,
        )


@dataclass(frozen=True)
class Variety:
    """Variety of the captions of one image; the mean over images."""

    distinct: float  # different captions
    div_2: float  # different bigrams by words (Shetty et al., 2017)
    mbleu_4: float  # BLEU-4 of each caption against the image's others (Wang and Chan, 2019); low is varied

    @classmethod
    def of(cls, images: Sequence[Sequence[Words]]) -> Self:
        """Raises ValueError for no images, or fewer than two captions of one."""
        if not images or min(map(len, images)) < 2:
            raise ValueError("variety is of two captions an image, or more")
        return cls(
            distinct=sum(len(set(map(tuple, captions))) for captions in images) / len(images),
            div_2=sum(map(_div_2, images)) / len(images),
            mbleu_4=sum(map(_mutual_bleu, images)) / len(images),
        )


def _div_2(captions: Sequence[Words]) -> float:
    return len({pair for words in captions for pair in _ngrams(words, 2)}) / max(1, sum(map(len, captions)))


def _mutual_bleu(captions: Sequence[Words]) -> float:
    others = ([*captions[:i], *captions[i + 1 :]] for i in range(len(captions)))
    return sum(map(_bleu_4, captions, others)) / len(captions)


def _bleu_4(caption: Words, references: Sequence[Words]) -> float:
    """BLEU-4 of one caption (Papineni et al., 2002), 0 where an order has no match."""
    logarithms = 0.0
    for n in range(1, 5):
        found = Counter(_ngrams(caption, n))
        most: Counter[Ngram] = Counter()
        for reference in references:
            most |= Counter(_ngrams(reference, n))
        matches = (found & most).total()
        if not matches:
            return 0.0
        logarithms += math.log(matches / found.total()) / 4
    closest = min((abs(len(r) - len(caption)), len(r)) for r in references)[1]
    return math.exp(logarithms + min(0.0, 1 - closest / len(caption)))
