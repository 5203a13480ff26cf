"""A dataclass of options as a command line: each field an option, `_` as `-`."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

Options = TypeVar("Options")


def parse_options(kind: type[Options], arguments: Sequence[str] | None, *, program: str, description: str) -> Options:
    """An instance of the dataclass `kind` from the command line; a field without default must be given.

    Fields are str, int, float, bool (a flag without value) or tuple[str, ...] (one or more values); a field's
    metadata may hold `choices`.
    """
    parser = argparse.ArgumentParser(
        prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # `kind` is a dataclass
        name = "--" + field.name.replace("_", "-")
        settings: dict[str, Any] = {"default": field.default}
        if field.default is dataclasses.MISSING:
            settings = {"required": True}
        elif isinstance(field.default, bool):
            settings["action"] = "store_true"
        elif isinstance(field.default, tuple):
            settings["nargs"] = "+"
        else:
            settings["type"] = type(field.default)
        if "choices" in field.metadata:
            settings["choices"] = field.metadata["choices"]
        parser.add_argument(name, **settings)
    values = vars(parser.parse_args(arguments))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
