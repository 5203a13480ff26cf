"""What a translation must not lose, invent or repeat: numbers, colours, negations. Free of torch.

A row of a table names English words and the Russian ones that each of them may become; a Russian colour or number also
needs an English word that it may come from. `tests/model/test_translation_checks.py` says what the tables mean, and
docs/russian.md how rarely they are wrong about pairs that were translated well.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final

_WORD: Final = re.compile(r"[а-яё]+")  # "светло-коричневый" is two words here
_ENDING: Final = (
    "(?:ый|ий|ой|ая|яя|ое|ее|ые|ие|ого|его|ому|ему|ым|им|ом|ем|ую|юю|ей|ых|их|ыми|ими|[ео]ват[а-я]+|о|е|[ео]?ньк[а-я]+)"
)
_ALPHABET: Final = re.compile(r"[а-яё, -]*")
# English words: Russian ones. "~": with the ending of an adjective; "*": with any. After "|" what it also becomes, but
# does not need to come from.
_NUMBERS: Final = """
    two 2: два две двух двум двумя двое двоих двумстам дву* | оба обе обеи* обоих пара пары пару парой вдво* втор*
    three 3: три трёх трём тремя трое троих трой* трёх* | втро* трех* трет*
    four 4: четыре четырёх четырём четырьмя четверо четверых четырёх* | квадро* внедорожн* полнопривод* четвер* четвёр*
    five 5: пять пяти пятью пятеро пятерых пяти* | пят*
    six 6: шесть шести шестью шестеро шестерых шести* | шест*
    seven 7: семь семи семью семеро семерых семи* | седьм*
    eight 8: восемь восьми восемью восьмеро восьми* | восьм*
    nine 9: девять девяти девятью девятеро девяти* | девят*
    ten 10: десять десяти десятью десятеро десяти* | десят*
    eleven 11: одиннадцать одиннадцати одиннадцатью | одиннадцат*
    twelve 12: двенадцать двенадцати двенадцатью | двенадцат* дюжин*
    bunk both couple pair pairs twin twins duo double second half doubles: | два две двух двум двумя двое двоих дву*
    dozen: | двенадцат* дюжин*
    tri calico tricycle tricycles third trio triple triplets: | три трёх* трое трой* тремя
    fourth quad all-fours fours: | четыре четырёх*
"""
_COLOURS: Final = """
    black: чёрн~ чёрно* | чернокож* темнокож* черномо* брюнет* черноволос*
    white: бел~ бело* | белокож* белок* беломо* седо* сед~
    red: красн~ красно* | рыж* багров* ал~ кирпичн* ред
    blue: син~ голуб~ сине* голубо* | джинсов* лазурн* бирюзов*
    green: зелён~ зелено* | зелен* салатов* стручков*
    yellow: жёлт~ жёлто* | желт* палев*
    brown: коричнев~ коричнево* | кар~ каре* бур~ шатен* рус* каштанов* рыж* тёмн* смугл*
    orange: оранжев~ оранжево* | рыж* апельсин*
    pink: розов~ розово*
    purple: фиолетов~ фиолетово* лилов~ пурпурн~ | сиренев*
    gray grey: сер~ серо* | сед~ седо* пасмурн*
    tan beige: бежев~ бежево* | рыж* коричнев* загор* загар* песочн* светло*
    gold golden: золот~ золотист~ золото* | ретривер*
    silver: серебрян~ серебрист~ серебр* | сер~ серо*
    blond blonde: светл~ светло* блонд* | белокур* белобрыс* белоголов*
    rose roses: | розов*
    lavender violet lilac: | фиолетов~ сиренев* лилов~
    pigeon pigeons: | голубей
    redheaded reddish read: | красн~
    navy turquoise bluejeans teal aqua denim: | син~ голуб~
    maroon scarlet burgundy crimson brick: | красн~
    khaki cream chocolate dark-haired: | коричнев~ бежев~ бел~
    greenery grassy lime leafy: | зелён~
    polar snow-white snowy whitewater whitewashed whiteboard caucasian wedding: | бел~ бело*
    orangutan oranges carrot: | оранжев~
    light bright fair pale lit lighted lights clear well-lit lightly colored: | светл~ светло*
    concrete grayish greyish stone steel: | сер~
    bronze brass goldfish gilded: | золот~ золотист~
    metallic chrome metal shiny foil: | серебрян~ серебрист~ серебр*
    dark african-american african: | чёрн~ чёрно*
"""
_NEGATIONS: Final = """
    no not without nobody nothing none never isn't aren't doesn't don't can't: | без не ни нет запре* ни* без*
"""


def _pattern(forms: str) -> str:
    escaped = (re.escape(form).replace(r"\~", "~") for form in forms.split())
    return "|".join(form.replace("~", _ENDING).replace(r"\*", "[а-яё]*") for form in escaped)


def _tables(text: str) -> tuple[dict[str, re.Pattern[str]], re.Pattern[str], frozenset[str]]:
    """Per English word what it may become; what needs an English word; the words that must become something."""
    table, needing, must = dict[str, re.Pattern[str]](), list[str](), set[str]()
    for line in text.strip().splitlines():
        words, forms = line.split(":")
        own, _, also = forms.partition("|")
        patterns = [_pattern(part) for part in (own, also) if part.strip()]
        table |= {word: re.compile("|".join(patterns)) for word in words.split()}
        if own.strip():
            needing.append(patterns[0])
            must |= set(words.split())
    return table, re.compile("|".join(needing) or "(?!)"), frozenset(must or table)


_TABLES: Final = {"number": _tables(_NUMBERS), "colour": _tables(_COLOURS), "negation": _tables(_NEGATIONS)}


def failures(english: Sequence[str], russian: str) -> list[str]:
    """What is wrong, a line each, such as "lost colour: red"; empty where all checks pass.

    english: the words of the caption.
    """
    read = list(dict.fromkeys([*english, *(part for word in english if "-" in word for part in word.split("-"))]))
    said = _WORD.findall(russian.lower())
    wrong = [] if _ALPHABET.fullmatch(russian) else ["letters"]
    for name, (table, needing, must) in _TABLES.items():
        wrong += [f"lost {name}: {word}" for word in read if word in must and not _any(table[word], said)]
        patterns = [table[word] for word in read if word in table]
        if name == "number" and any(word.isdecimal() and word not in table for word in read):
            continue  # 25 may become any
        wrong += [
            f"invented {name}: {word}"
            for word in dict.fromkeys(said)
            if needing.fullmatch(word) and not any(pattern.fullmatch(word) for pattern in patterns)
        ]
    words = russian.split()
    twice = [word for word, following in itertools.pairwise(words) if word == following]
    pairs = list(itertools.pairwise(words))
    again = [f"{a[0]} {a[1]}" for a, b in zip(pairs, pairs[2:], strict=False) if a == b]
    return wrong + [f"repeated: {words}" for words in twice + again]


def _any(pattern: re.Pattern[str], words: Iterable[str]) -> bool:
    return any(pattern.fullmatch(word) for word in words)
