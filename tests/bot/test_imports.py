"""The bot starts fast because it imports little."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

HEAVY = ("torch", "torchvision", "numpy", "PIL", "av", "redis", "sqlite3")


def test_the_bot_imports_nothing_heavy() -> None:
    code = f"import sys, bot.app, bot.logs; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_and_a_look_at_dead_letters_import_no_bot() -> None:
    modules = "start, bot.dead_letters, bot.storage.sqlite_inbox, bot.storage.sqlite_chats"
    code = f"import sys, {modules}; print('aiogram' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
