"""Official caption metrics: the scorers of pycocoevalcap, with its PTB tokeniser and METEOR run safely.

The tokeniser and METEOR are Java programs. Without Java, BLEU, ROUGE-L and CIDEr are computed on the words of
`model.network.vocabulary.tokenize` and marked so: close to the official figures, and not to be quoted beside them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

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
    """What is missing on this machine for an evaluation, or why a metric's program failed."""


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
    """Where a part of pycocoevalcap lies."""
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
