"""The split of the pairs, and a small translator that learns a few of them."""

import json
from pathlib import Path

import pytest

from model.training.pairs import Pair, content, load_pairs, split_pairs
from model.training.translate import main
from model.translation import Translations

NOUNS = {"dog": "собака", "cat": "кошка", "woman": "женщина", "girl": "девочка", "bird": "птица", "cow": "корова"}
COLOURS = {"black": "чёрная", "white": "белая", "red": "красная", "": ""}
SAID = [("a dog", "runs"), ("the dog is", "runs"), ("a dog", "sleeps")]
VERBS = {"runs": "бежит", "sleeps": "спит", "stands": "стоит"}


def made() -> list[Pair]:
    return [
        Pair(
            "network" if verb == "runs" else "reference",
            " ".join(f"a {colour} {noun} {verb}".split()),
            " ".join(f"{COLOURS[colour]} {NOUNS[noun]} {VERBS[verb]}".split()),
        )
        for noun in NOUNS
        for colour in COLOURS
        for verb in VERBS
    ]


def write(path: Path, pairs: list[Pair]) -> Path:
    rows = ["origin\tenglish\trussian", *(f"{pair.origin}\t{pair.english}\t{pair.russian}" for pair in pairs)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_near_duplicates_and_captions_of_one_photo_are_in_one_part() -> None:
    captions = [f"{start} {i} {verb}" for i in range(300) for start, verb in SAID]
    pairs = [Pair("reference", caption, "") for caption in captions]
    photos = [[f"a dog {i} runs", f"a dog {i} sleeps"] for i in range(300)]
    parts = split_pairs(pairs, photos)
    assert sum(map(len, parts.values())) == len(pairs)
    groups = [{next(filter(str.isdecimal, pair.english.split())) for pair in part} for part in parts.values()]
    assert all(groups)
    assert sum(map(len, groups)) == 300  # each photo in one part alone
    assert split_pairs(list(reversed(pairs)), photos)["test"] == list(reversed(parts["test"]))
    assert content("a dog is running on the grass") == content("dog running on grass")


@pytest.mark.slow
def test_a_small_translator_learns_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write(tmp_path / "pairs.tsv", made())
    assert load_pairs(pairs) == made()
    extra = write(tmp_path / "extra.tsv", [Pair("self", "the dog", "собака")])
    data = tmp_path / "photos"
    data.mkdir()
    images = [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A dog runs."}, {"raw": "A cat sleeps."}]}]
    (data / "dataset.json").write_text(json.dumps({"images": images}))
    out = tmp_path / "run"
    common = ["--pairs", str(pairs), "--extra", str(extra), "--photos", str(data), "--out", str(out), "--device", "cpu"]
    sizes = ["--width", "64", "--layers", "1", "--hidden", "64", "--feed-forward", "64", "--dropout", "0"]
    rest = ["--batch", "60", "--warmup", "10", "--rate", "0.003", "--ema", "0.9", "--merge-dropout", "0"]
    sizes += ["--word-dropout", "0", "--precision", "fp32"]
    assert main([*common, *sizes, *rest, "--epochs", "10"]) == 0
    assert main([*common, *sizes, *rest, "--epochs", "20"]) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == list(range(1, 21))
    translations = Translations.load(out / "russian.safetensors", "cpu")
    held_out = split_pairs(made(), [["a dog runs", "a cat sleeps"]])["test"]
    found = translations.translate([pair.english for pair in held_out])
    right = [each.plain == pair.russian for each, pair in zip(found, held_out, strict=True)]
    assert held_out
    assert sum(right) >= 0.7 * len(right)
    assert main([*common, *sizes, "--pairs", str(tmp_path / "none.tsv")]) == 2
    assert "none.tsv" in capsys.readouterr().err
