import pytest

from model.network.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, tokenize


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A dog runs .", ["a", "dog", "runs"]),
        ("Two men, one T-shirt!", ["two", "men", "one", "t-shirt"]),
        ("the dog’s ball - it 's red", ["the", "dog's", "ball", "it", "s", "red"]),
        ("", []),
        ("… ?!", []),
    ],
)
def test_tokenize_keeps_words_and_drops_punctuation(caption: str, words: list[str]) -> None:
    assert tokenize(caption) == words


def test_build_keeps_common_words_commonest_first() -> None:
    vocabulary = Vocabulary.build(["a dog", "a cat", "a dog", "The cat", "zebra"], min_count=2)
    assert vocabulary.words[4:] == ("a", "cat", "dog")


def test_words_survive_encoding_and_rare_ones_become_unknown(vocabulary: Vocabulary) -> None:
    indices = vocabulary.encode("A red dog eats the ball.")
    assert indices[3] == UNKNOWN
    assert vocabulary.decode([START, *indices, END, indices[0], PAD]) == ["a", "red", "dog", "the", "ball"]


def test_json_round_trip(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_json(vocabulary.to_json()).words == vocabulary.words


@pytest.mark.parametrize("words", [["dog", "dog"], ["<end>"]])
def test_repeated_or_special_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(words)
