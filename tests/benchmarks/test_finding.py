"""What `benchmarks.finding` looks for, and what it counts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks.finding import Russian, Search, drawn, summary
from model.training.pairs import Pair, split_pairs

NOUNS = ("dog", "cat", "bird", "horse", "man", "woman", "child", "car", "boat", "train", "tree", "flower", "table")
PAIRS = [Pair("reference", f"a {one} near a {two}", f"{one} по-русски {two}") for one in NOUNS for two in NOUNS]
HELD_OUT = [pair for part in ("val", "test") for pair in split_pairs(PAIRS)[part]]


@pytest.fixture
def photos(tmp_path: Path) -> argparse.Namespace:
    """Of thirty photos one has a caption that is held out, one has one that the dictionary was made of."""
    captions = [["Nobody says this."] for _ in range(30)]
    captions[20] = ["Nobody says this.", f"{HELD_OUT[0].english.capitalize()}."]
    captions[25] = [split_pairs(PAIRS)["train"][0].english]
    entries = [
        {"filename": f"{at}.jpg", "split": "val", "sentences": [{"raw": text} for text in each]}
        for at, each in enumerate(captions)
    ]
    for entry in entries:
        (tmp_path / str(entry["filename"])).touch()
    (tmp_path / "dataset.json").write_text(json.dumps({"images": entries}))
    return argparse.Namespace(data=str(tmp_path), split="val", seed=0, photos=10)


def test_photos_with_translated_captions_are_sent_first(photos: argparse.Namespace) -> None:
    russian = Russian(PAIRS)
    sent, others = drawn(photos, russian)
    assert (len(sent), len(others), len({*sent, *others})) == (10, 10, 20)
    assert [photo.path.stem for photo in sent[:2]] == ["20", "25"]
    [query] = russian.of(sent[0])
    assert (query.english, query.russian, query.held_out) == (HELD_OUT[0].english, HELD_OUT[0].russian, True)
    assert [query.held_out for query in russian.of(sent[1])] == [False]
    assert not any(russian.of(photo) for photo in (*sent[2:], *others))
    assert drawn(photos)[0] != sent


def test_what_is_not_shown_is_not_found() -> None:
    found = [Search(0, 5, 0.1), Search(4, 5, 0.1), Search(None, 3, 0.1), Search(None, 0, 0.1)]
    assert summary(found) == "recall@1 25.0%, recall@5 50.0%, nothing fits 25.0%"
