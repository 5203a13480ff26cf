"""Whether neighbouring Russian words agree."""

from dataclasses import replace

import pytest

from model.grammar import CASES, Grammar, mask

GRAMMAR = Grammar(
    adjectives={
        "красном": mask(["loct"], ["masc", "neut"]),
        "красной": mask(["gent", "datv", "ablt", "loct"], ["femn"]),
        "больших": mask(["gent", "accs", "loct"], ["plur"]),
        "чёрные": mask(["nomn", "accs"], ["plur"]),
        "синем": mask(["loct"], ["masc", "neut"]),
    },
    nouns={
        "машине": mask(["datv", "loct"], ["femn"]),
        "машины": mask(["gent"], ["femn"]) | mask(["nomn", "accs"], ["plur"]),
        "платье": mask(["nomn", "accs", "loct"], ["neut"]),
        "дивана": mask(["gent"], ["masc"]),
        "собаки": mask(["gent"], ["femn"]) | mask(["nomn"], ["plur"]),
        "лес": mask(["nomn", "accs"], ["masc"]),
        "пальто": mask(CASES),
    },
)


@pytest.mark.parametrize(
    "text",
    [
        "в красном платье",
        "в красной машине",
        "в красном пальто",
        "через лес",
        "две машины",
        "два дивана",
        "два больших дивана",
        "чёрные собаки",
        "в синем, красной машине",
        "неизвестное слово в доме",
        "",
    ],
)
def test_what_agrees_passes(text: str) -> None:
    assert GRAMMAR.failures(text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("в красном машине", "красном машине"),
        ("в красной платье", "красной платье"),
        ("через дивана", "через дивана"),
        ("рядом с дивана", "с дивана"),
        ("два машины", "два машины"),
        ("в синем красной машине", "синем красной"),
        ("большой и больших дивана", "больших дивана"),  # not counted
        ("под красном платье, у лес", "под красном"),
    ],
)
def test_what_does_not_agree_is_named(text: str, wrong: str) -> None:
    assert GRAMMAR.failures(text)[0] == f"agreement: {wrong}"


def test_a_form_that_was_never_seen_is_named() -> None:
    known = replace(GRAMMAR, others=frozenset(["в", "бежит"]))
    assert known.failures("в красной машине, бежит") == []
    assert known.failures("сине-белая бежит") == []
    assert known.failures("бежит лесев, в") == ["unknown form: лесев"]


def test_a_grammar_is_kept_as_text() -> None:
    known = replace(GRAMMAR, others=frozenset(["бежит"]))
    assert Grammar.from_text(known.to_text()) == known
    with pytest.raises(ValueError, match="not enough"):
        Grammar.from_text("x y")
    with pytest.raises(ValueError, match="not a form"):
        Grammar.from_text("x y 1")
