"""Brings the catalogues in line with the code: `make locales`.

New texts come in, those that are used no more go; English says what the code says. What a translator has left to do is
printed. Then both are compiled.
"""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from bot.i18n import DEFAULT, DOMAIN, LOCALES

ROOT = Path(__file__).resolve().parent.parent.parent


def refresh(locale: str) -> list[str]:
    """Write a catalogue anew; the texts that are not translated."""
    path = LOCALES / locale / "LC_MESSAGES" / f"{DOMAIN}.po"
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    with path.open("rb") as file:
        before = read_po(file, locale=locale)
    after = Catalog(locale=locale)
    untranslated = []
    for folder in ("bot", "handlers"):
        for _, _, original, _, _ in extract_from_dir(ROOT / folder):
            known = before.get(original if isinstance(original, str) else original[0])
            words = original if locale == DEFAULT else known.string if known is not None else None
            if not words or not all([words] if isinstance(words, str) else words):
                untranslated.append(str(original))
                words = None
            after.add(original, words).flags.discard("python-format")  # "90 % of" is none
    with path.open("wb") as file:
        file.write(f"{header}\n\n".encode())
        write_po(file, after, omit_header=True, no_location=True, width=100)
    with path.open("rb") as file:
        finished = read_po(file, locale=locale)
    with path.with_suffix(".mo").open("wb") as file:
        write_mo(file, finished)
    return untranslated


def main() -> int:
    missing = {locale.name: refresh(locale.name) for locale in LOCALES.iterdir() if locale.is_dir()}
    for locale, texts in missing.items():
        for text in texts:
            print(f"{locale}: no translation of {text}")
    return int(any(missing.values()))


if __name__ == "__main__":
    sys.exit(main())
