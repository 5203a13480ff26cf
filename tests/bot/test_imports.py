"""The bot starts fast because it imports little, and imports go down only."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.support.processes import imported, run_python

HEAVY = ("torch", "torchvision", "numpy", "PIL", "av", "redis", "sqlite3")


@pytest.mark.slow
def test_the_bot_imports_nothing_heavy() -> None:
    modules = "bot.app, bot.logs, handlers, model.serving.tasks, model.speech"
    assert imported(modules, HEAVY) == "[]"


@pytest.mark.slow
def test_telegrams_types_are_built_when_first_used() -> None:
    code = (
        "import bot.app, handlers, pydantic, aiogram.types, aiogram.methods\n"
        "def below(kind): return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]\n"
        "models = [each for each in below(pydantic.BaseModel) if each.__module__.startswith('aiogram.')]\n"
        "late = [each for each in models if not each.__pydantic_complete__]\n"
        "for each in late: each.model_rebuild()\n"
        "print(aiogram.types.Update in late, len(late) > 400, all(each.__pydantic_complete__ for each in models))"
    )
    assert run_python(code) == "True True True\n"


def test_the_import_rules_hold() -> None:
    """In a process of its own: import-linter configures the log of the one that it runs in."""
    run_python("import importlinter.cli as cli, sys; sys.exit(cli.lint_imports(no_cache=True))")


def test_a_worker_and_a_look_at_dead_letters_import_no_bot() -> None:
    modules = "start, bot.dead_letters, bot.storage.sqlite_inbox, bot.storage.sqlite_chats"
    assert imported(modules, ["aiogram"]) == "[]"


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("service", ("aiogram", "bot.answers", "bot.telegram", "bot.replies")),
        ("storage", ("aiogram", "bot.answers", "bot.telegram", "bot.replies", "bot.service", "bot.stats")),
    ],
)
def test_lower_layers_know_no_telegram_and_nothing_above_them(folder: str, above: tuple[str, ...]) -> None:
    modules = ", ".join(f"bot.{folder}.{path.stem}" for path in (ROOT / "bot" / folder).glob("[a-z]*.py"))
    assert imported(modules, above) == "[]"
