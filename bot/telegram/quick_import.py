"""Whoever imports this first imports aiogram in a third of the time: a model of its is built when it is first used.

aiogram asks pydantic to build its models late (`defer_build`), then has all 300 of them built at the end of
`aiogram.types`, because their annotations name classes of other modules. That takes longer than all other imports of
the bot together. Here the modules are given those names instead, so that pydantic finds them when it builds a model.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def _import_aiogram() -> None:
    names: dict[str, Any] = {}

    def later(
        model: type[BaseModel], /, *, _types_namespace: Mapping[str, Any] | None = None, **options: Any
    ) -> bool | None:
        if _types_namespace is None:  # of somebody else
            return bool(rebuild.__get__(None, model)(**options))
        names.update(_types_namespace)
        return None

    rebuild = BaseModel.__dict__["model_rebuild"]
    BaseModel.model_rebuild = classmethod(later)  # type: ignore[assignment]
    try:
        import aiogram  # noqa: F401
    finally:
        BaseModel.model_rebuild = rebuild  # type: ignore[method-assign]
    for name, module in list(sys.modules.items()):
        if name.startswith("aiogram.types."):
            vars(module).update({name: each for name, each in names.items() if name not in vars(module)})


if "aiogram" not in sys.modules:
    _import_aiogram()
