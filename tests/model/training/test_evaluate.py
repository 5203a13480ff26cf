"""Metrics, faults and variety; the whole command on a tiny data set with the shipped weights."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.captioner import Caption
from model.training import evaluate
from model.training import scores as metrics
from model.training.evaluate import Decodings, as_markdown
from model.training.scores import EvaluationError, Faults, Variety, java, meteor, score, words_of
from tests.conftest import PHOTOS, WEIGHTS

REFERENCES = [["A dog runs on the grass .", "A brown dog is running"], ["Two men eat pizza", "Men eating a pizza ."]]
needs_java = pytest.mark.skipif(not java(), reason="needs Java")


def truth() -> list[list[str]]:
    return [words_of(several, "simple") for several in REFERENCES]


def test_a_reference_scores_best_and_nonsense_least() -> None:
    right = score(words_of([several[0] for several in REFERENCES], "simple"), truth())
    assert right.bleu == pytest.approx((100, 100, 100, 100), abs=0.01)
    assert right.rouge == pytest.approx(100)
    assert right.meteor is None
    some = score(["a dog runs on the grass", "a cat sleeps"], truth())
    assert 0 < some.bleu[3] < 100
    assert 0 < some.cider < right.cider
    assert 0 < some.rouge < 100
    assert some.each_cider[0] > 1 > some.each_cider[1]
    assert 100 * some.each_cider.mean() == pytest.approx(some.cider)


def test_no_captions_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="no captions"):
        score([], [])


def test_the_simple_tokeniser_drops_case_and_punctuation() -> None:
    assert words_of(["A dog's ball , thrown .", ""], "simple") == ["a dog's ball thrown", ""]


@needs_java
def test_the_ptb_tokeniser_is_pycocoevalcaps() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = [
        "A dog's ball , thrown ( high ) .",
        'He says "no" -- twice...',
        "caf\u00e9 na\u00efve",
        "two\nlines",
        "it isn't",
    ]
    official = PTBTokenizer().tokenize({i: [{"caption": caption}] for i, caption in enumerate(captions)})
    assert words_of([*captions, "", "end"], "PTB") == [*(official[i][0] for i in range(len(captions))), "", "end"]


METEOR = """#!{python}
import os, sys
open({pid!r}, "w").write(str(os.getpid()))
for line in sys.stdin:
    kind, *parts = line.strip().split(" ||| ")
    if kind == "SCORE":
        print(len(parts), flush=True)  # "statistics": how many texts
    else:
        print(*(float(part) for part in parts), sum(map(int, parts)) / 100, sep="\\n", flush=True)
"""


def test_meteor_is_spoken_to_line_by_line_and_its_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that speaks METEOR's protocol (METEOR itself takes half a minute to load its tables)."""
    program, pid = tmp_path / "java", tmp_path / "pid"
    program.write_text(METEOR.format(python=sys.executable, pid=str(pid)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with meteor() as scorer:
        for _ in range(2):
            assert scorer(["a dog", "a ||| cat"], [["a dog", "dogs"], ["cat"]]) == pytest.approx((3 + 2) / 100)
        assert score(["a dog"], [["a dog", "dogs"]], scorer).meteor == pytest.approx(3)
        os.kill(int(pid.read_text()), 0)  # it is there
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_java_program_that_hangs_or_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for java that never answers, and one that fails at once."""
    program = tmp_path / "java"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(metrics, "TIMEOUT", 0.2)
    with pytest.raises(EvaluationError, match="did not end"):
        words_of(["a dog"], "PTB")
    with pytest.raises(EvaluationError, match="METEOR ended"), meteor(timeout=0.2) as scorer:
        scorer(["a dog"], [["a dog"]])
    program.write_text("#!/bin/sh\necho 'no such class' >&2\nexit 1\n")
    with pytest.raises(EvaluationError, match="no such class"):
        words_of(["a dog"], "PTB")
    with pytest.raises(EvaluationError, match="METEOR"), meteor() as scorer:
        scorer(["a dog"], [["a dog"]])


def split(*captions: str) -> list[list[str]]:
    return [caption.split() for caption in captions]


def test_faults_are_counted() -> None:
    captions = split("a dog runs", "a man in a", "a bowl of a bowl", "dogs run")
    faults = Faults.of(captions, training={"a dog runs"})
    assert (faults.words, faults.bad_endings, faults.repeats, faults.novel) == (3.5, 0.25, 0.25, 0.75)
    assert Faults.of(captions).novel is None


def test_variety_is_least_for_captions_all_alike() -> None:
    alike = Variety.of([split("a dog runs on the grass", "a dog runs on the grass")])
    assert alike.distinct == 1
    assert alike.mbleu_4 == pytest.approx(1)
    assert alike.div_2 == pytest.approx(5 / 12)
    other = Variety.of([split("a dog runs on the grass", "two men eat pizza at home")])
    assert (other.distinct, other.mbleu_4) == (2, 0)
    assert other.div_2 == pytest.approx(10 / 12)
    with pytest.raises(ValueError, match="two captions"):
        Variety.of([split("a dog runs")])


def test_mutual_bleu_is_the_official_one() -> None:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    pair = ("a dog runs on the green grass", "a dog runs on the street today with a man")
    expected = [BleuScorer(a, [b], n=4).compute_score(option="closest", verbose=0)[0][3] for a, b in (pair, pair[::-1])]
    assert Variety.of([split(*pair)]).mbleu_4 == pytest.approx(np.mean(expected), rel=1e-4)


def caption(text: str) -> Caption:
    return Caption(tuple(text.split()), np.full(len(text.split()), -1.0, np.float32), None)


def test_each_way_of_decoding_has_a_row() -> None:
    right, wrong = [caption("a dog runs on the grass"), caption("two men eat pizza")], [caption("a cat in a")] * 2
    drawn: list[tuple[Caption, ...]] = list(zip(right, wrong, strict=True))
    table = evaluate.evaluate(Decodings({"greedy": wrong, "beam 3": right}, drawn), REFERENCES, tokenizer="simple")
    assert list(table) == ["greedy", "beam 3", "mean of 2 samples"]
    greedy, beam, samples = table.values()
    assert beam["BLEU-4"] == pytest.approx(100, abs=0.01)
    assert (greedy["bad endings %"], beam["bad endings %"], samples["bad endings %"]) == (100, 0, 50)
    assert greedy["CIDEr"] is not None
    assert beam["CIDEr"] is not None
    assert samples["CIDEr"] == pytest.approx((greedy["CIDEr"] + beam["CIDEr"]) / 2)
    assert samples["distinct of 2"] == 2
    lines = as_markdown(table).splitlines()
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    assert "METEOR" not in lines[0]  # there is none without Java
    assert lines[2].endswith("| – | – | – |")  # variety is of sampled captions


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, with a train split whose captions are no news."""
    root = tmp_path_factory.mktemp("pair")
    (root / "images").mkdir()
    images = []
    for subject in ("cat", "temple"):
        with Image.open(PHOTOS / f"{subject}.jpg") as photo:
            photo.resize((64, 64)).save(root / "images" / f"{subject}.png")
        sentences = [{"raw": f"A {subject} here ."}, {"raw": f"a {subject} outside"}]
        images += [{"filename": f"{subject}.png", "split": s, "sentences": sentences} for s in ("dev", "train")]
    (root / "dataset_pair.json").write_text(json.dumps({"images": images}))
    return root


def test_the_command_writes_a_table_and_json_and_marks_what_is_not_official(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "java", lambda: False)
    file = tmp_path / "out" / "figures.json"
    options = ["--data", str(dataset), "--training", str(dataset), "--beam", "2", "3", "--samples", "2"]
    assert evaluate.main([*options, "--weights", str(WEIGHTS), "--device", "cpu", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "install a JRE" in err
    assert "split dev, images 2, tokenizer simple (not official)" in out
    written = json.loads(file.read_text())
    assert written["tokenizer"] == "simple (not official)"
    beams = ["beam 2", "beam 3", "beam 2, likeliest", "beam 3, likeliest"]
    assert list(written["figures"]) == ["greedy", *beams, "mean of 2 samples"]
    assert written["figures"]["greedy"]["METEOR"] is None
    assert written["figures"]["greedy"]["novel %"] is not None
    assert all(f"| {name} |" in out for name in written["figures"])


def test_what_is_missing_is_named(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, reason in (
        (["--data", str(tmp_path)], "no dataset"),
        (["--data", str(dataset), "--split", "val"], "no images in split 'val'"),
        (["--data", str(dataset), "--weights", str(tmp_path)], "no such weights file"),
    ):
        assert evaluate.main(options) == 2
        assert reason in capsys.readouterr().err
    for bad in (["--samples", "-1"], ["--batch", "0"]):
        with pytest.raises(SystemExit):
            evaluate.main(bad)
        assert bad[0] in capsys.readouterr().err
