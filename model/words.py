"""Kinds of English words in captions. Free of torch.

A word's place in `BAD_ENDINGS` was checked against the training captions, where each but "on" (1.6 %, "looks on"),
"over" (0.9 %) and "be", "after", "do" ends fewer than 0.5 % of the captions that it could end. Words that often end a
good caption ("by", "up", "off", "around", "her") are not in it.
"""

from collections.abc import Sequence
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS: Final = _words("a an the this these those some his its their our my your each every")
CONJUNCTIONS: Final = _words("and or but nor as than while because if when where which who whose that")  # relatives too
PREPOSITIONS: Final = _words(
    "of in on at to for from with without into onto upon over under between among against through across along near "
    "beside next during toward towards atop like before after"
)
AUXILIARIES: Final = _words(
    "is are was were be been being am has have had do does did could will would should may might must"
)
BAD_ENDINGS: Final = DETERMINERS | CONJUNCTIONS | PREPOSITIONS | AUXILIARIES | _words("wearing holding very")
# What a caption may say more than once; any other word only once, see `model.decoding.blocking`.
FUNCTION_WORDS: Final = BAD_ENDINGS | _words(
    "by up down out off around away past behind above below inside outside back "
    "it he she they him her them himself herself itself themselves other others another both not there "
    "one two three four five several many front top side"
)
NUMBERS: Final = _words("one two three four five several many")  # they can be seen, too
SAME: Final = {"gray": "grey"}  # spellings of one word
COLOURS: Final = _words("red blue green yellow orange pink purple brown black white grey gray")
RUSSIAN_LITTLE: Final = _words(  # as the translator writes what is in FUNCTION_WORDS and _NOWHERE
    "а в во вдоль вместе внутри вокруг вниз вверх возле вперёд до друг друга другом другому для его ей ему её за и из "
    "или их к ко как когда который которая которое которые кто-то крупным между на над не него ней нём них но о об "
    "около один одна одно от перед по под позади планом пока при рядом с себя со среди у фото фотографии фотография "
    "через что что-то"
)
WITHOUT_PLACE: Final = FUNCTION_WORDS - NUMBERS  # what is nowhere to be seen
_NOWHERE: Final = _words("close together forward alone high low shot view picture photo image something someone while")
_PLACELESS: Final = WITHOUT_PLACE | _NOWHERE | RUSSIAN_LITTLE
_DESCRIBING: Final = _words(
    "large small big little huge tiny tall long short young old new wooden metal plastic stone dark light bright busy "
    "crowded empty open indoor outdoor public inflatable formal colorful colourful striped plaid wet dry muddy rocky "
    "sandy snowy grassy water rock ice"
)
_DOES: Final = _words(
    "sits stands runs walks jumps plays rides looks swims holds wears catches throws leaps climbs flies lies lays "
    "leans poses smiles skates surfs skis hits kicks carries chases performs eats drinks sleeps talks watches pulls"
)
_POSTURES: Final = _words("sitting standing laying lying kneeling leaning resting hanging")
_THINGS: Final = _words(  # that end as verbs do
    "building ceiling railing clothing string ring king wing swing frosting icing painting wedding evening morning "
    "crossing awning spring stuffing topping dressing landing opening"
)


def is_doing(word: str) -> bool:
    """Whether a word is likely to say what somebody does, not what is seen at one place."""
    return word in _DOES or (word.endswith("ing") and word not in _THINGS)


def bare(word: str) -> str:
    """A word without the comma behind it: Russian captions have some."""
    return word.rstrip(",;:")


def placed(words: Sequence[str], most: int) -> list[int]:
    """The places in a caption of at most `most` words that name something to look at: things and colours first.

    The caption may be Russian, but then only its little words are told from the others.

    Numbers come after these, and last what somebody does; within each kind the order is the caption's. Of a caption
    that has no such words, the first ones.
    """
    words = [bare(word) for word in words]
    named = [i for i, word in enumerate(words) if word not in _PLACELESS]
    ranked = sorted(named or range(len(words)), key=lambda i: (is_doing(words[i]), words[i] in NUMBERS))
    return ranked[:most]


def phrase_ends(words: Sequence[str]) -> list[int]:
    """The lengths of a caption's beginnings that name something and can stand alone, up to that of all of it.

    A posture needs its place, or a verb before it: "a cup is standing", but not "a cup standing".

    >>> phrase_ends("a cat and a dog lying on a blanket".split())
    [5, 9]
    """

    def can_stand_alone(end: int) -> bool:
        before, word = words[end - 1], words[end]
        compound = word.endswith("ing") and before in COLOURS | _DESCRIBING  # "a large living room"
        begins = word in FUNCTION_WORDS - DETERMINERS - {"and", "of", "up"} or (is_doing(word) and not compound)
        unplaced = before in _POSTURES and (end < 2 or words[end - 2] not in AUXILIARIES)
        return begins and not unplaced and before not in FUNCTION_WORDS | {"dressed"}

    return [*filter(can_stand_alone, range(1, len(words))), len(words)]
