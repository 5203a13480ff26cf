"""The shipped translator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.captioner import Captioner
from model.captions import Caption
from model.decoding.pruned import pruned_beam
from model.decoding.search import word_log_probs
from model.drawing.heatmap import draw_sheet
from model.network.checkpoint import CheckpointError
from model.network.vocabulary import START
from model.translation import RUSSIAN_FILE, Translations
from tests.conftest import WEIGHTS

SAID = Path(__file__).with_name("said_words.txt")  # by the shipped captioner of Flickr8k's validation photos


@pytest.fixture(scope="module")
def translations() -> Translations:
    return Translations.load(WEIGHTS / RUSSIAN_FILE, "cpu")


@pytest.mark.parametrize(
    ("english", "stems"),
    [
        ("a black dog is running through the grass", ["чёрн", "собак", "бежит", "трав"]),
        ("two men are playing soccer", ["мужчин", "футбол"]),
        ("a woman in a red shirt", ["женщин", "красн", "рубашк"]),
        ("a cat is sleeping on a couch", ["кошка", "спит", "диван"]),
        ("a man riding a wave on a surfboard", ["мужчина", "волн", "доск"]),
    ],
)
def test_captions_are_translated(translations: Translations, english: str, stems: list[str]) -> None:
    [found] = translations.translate([english])
    assert found.passed
    assert all(stem in found.plain for stem in stems)


def test_words_are_aligned_with_those_that_they_come_from(translations: Translations) -> None:
    english = ["a", "woman", "in", "a", "red", "shirt", "is", "holding", "a", "cat"]
    [found] = translations.translate([" ".join(english)])
    np.testing.assert_allclose(found.alignment.sum(axis=1), 1, atol=1e-4)
    for stem, word in {"женщина": "woman", "красн": "red", "рубашк": "shirt", "кошк": "cat"}.items():
        [row] = [row for said, row in zip(found.words, found.alignment, strict=True) if said.startswith(stem)]
        assert english[row.argmax()] == word
        assert stem in found.words_from(english)[english.index(word)]


def test_maps_of_russian_words_are_those_of_the_english_ones(
    translations: Translations, captioner: Captioner, photos: list[Image.Image]
) -> None:
    [captions] = captioner.caption(photos[:1], samples=0)
    assert captions.main.attention is not None
    [found] = translations.translate([captions.main.text])
    maps = found.attention(captions.main.attention)
    assert maps.shape == (len(found.words), *captions.main.attention.shape[1:])
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-3)
    assert draw_sheet(photos[0], found.words, maps).size[0] > 100


@pytest.mark.parametrize(
    ("english", "count", "beginning"),
    [
        ("a brown dog is jumping over a log in a park", 3, "коричневая собака"),
        ("two girls on a ride at a park", 2, "две девочки"),
        ("a group of people are standing in front of a crowd", 4, "группа людей"),
        ("a black and brown dog playing with a stuffed toy", 5, "чёрно-коричневая собака"),
        ("a man dressed in a green uniform is doing a trick on a grass field", 3, None),  # no word for "dressed"
        ("a zebra sailing under a violin of soup on fire hydrants", 2, None),  # the whole is not trusted
    ],
)
def test_the_beginning_of_a_caption_is_that_of_its_translation(
    translations: Translations, english: str, count: int, beginning: str | None
) -> None:
    [whole] = translations.translate([english])
    found = whole.first_words(english.split(), count)
    assert (found.text if found.passed else None) == beginning
    assert found.alignment.shape == (len(found.words), len(english.split()))


@pytest.mark.parametrize(
    ("english", "count", "said"),
    [
        ("two girls on a ride at a park", 2, "две девочки"),
        ("two people are riding on a motorcycle", 4, "два человека едут на\u00a0мотоцикле"),
    ],
)
def test_where_the_translation_of_a_beginning_cannot_be_cut_all_of_it_is_said(
    translations: Translations, english: str, count: int, said: str
) -> None:
    words = tuple(english.split())
    log_probs = np.full(len(words), -0.1, np.float32)
    caption = Caption(words, log_probs, None, beliefs=(0.9,) * count + (0.1,) * (len(words) - count))
    assert len(caption.beginning) == count
    [whole] = translations.translate([english])
    assert whole.of_beginning(caption).text == said
    certain = Caption(words, log_probs, None)
    assert whole.of_beginning(certain).text == whole.text


@torch.inference_mode()
def test_translations_have_the_probability_that_the_trained_network_gives_them(translations: Translations) -> None:
    captions = ["a dog runs", "a woman in a red shirt is holding a cat", "a man riding a wave on a surfboard", "people"]
    file = translations.file
    sources = file.source.encode(captions)
    found = pruned_beam(translations.translator, sources, width=2, length_power=1.0, max_words=20)
    for caption, source, each in zip(captions, sources, found, strict=True):
        logits, attention = file.translator(torch.tensor([source]), torch.tensor([[START, *each.tokens]]))
        distributions = torch.stack([word_log_probs(row, t) for t, row in enumerate(logits[0])])
        expected = distributions[torch.arange(len(each.tokens)), torch.tensor(each.tokens)]
        np.testing.assert_allclose(each.log_probs, expected, atol=1e-4)
        np.testing.assert_allclose(each.attention[:, : len(source)], attention[0, :-1], atol=1e-4)
        [translation] = translations.translate([caption])
        assert translation.probability == pytest.approx(float(expected.mean().exp()), abs=1e-4)


def test_as_many_translations_as_captions(translations: Translations) -> None:
    captions = ["a dog", "", "?!", "a dog", "A Dog.", "dog " * 300, "zxqv пёс 42", *(f"{n} dogs" for n in range(80))]
    found = translations.translate(captions)
    assert len(found) == len(captions)
    assert found[0].plain == found[3].plain == found[4].plain
    assert found[4].text[0].isupper()
    assert [each.text for each in found[1:3]] == ["", ""]
    assert not any(found[i].passed for i in (1, 2, 5, 6))
    assert "unknown: zxqv" in found[6].failed


def test_each_word_that_the_captioner_says_is_known(translations: Translations) -> None:
    said = SAID.read_text(encoding="utf-8").split()
    assert len(said) > 500
    assert set(said) <= translations.file.known


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("кошка в большой синей галстуке", "синей галстуке"),  # "синей" is an imperative, too
        ("мужчина в рыжей костюме", "рыжей костюме"),
        ("кошка сидит на маленькой белой поле", "белой поле"),  # "пола", of which there is such a form, is a rare word
        ("кошка сидит на белом поле в синей рубашке", ""),
        ("два животных бегут, а стеклянная банка стоит на столе", ""),
    ],
)
def test_adjectives_agree_with_their_nouns_by_the_shipped_grammar(
    translations: Translations, text: str, wrong: str
) -> None:
    assert translations.file.grammar.failures(text) == ([f"agreement: {wrong}"] if wrong else [])


def test_low_probability_is_not_trusted(translations: Translations) -> None:
    found = translations.translate(["a dog runs", "a zebra sailing under a violin of soup on fire hydrants"])
    assert found[0].probability > found[1].probability
    assert 0 < translations.file.threshold < 1


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    for content in (None, b"nonsense"):
        if content:
            (tmp_path / RUSSIAN_FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match=RUSSIAN_FILE):
            Translations.load(tmp_path / RUSSIAN_FILE, "cpu")
