"""Command lines: a dataclass of options, each field an option with `-` for `_`, and the exit status."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from model.network.checkpoint import CheckpointError
from model.training.data import DataError
from model.training.scores import EvaluationError

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


def exit_status(work: Callable[[], object]) -> int:
    """0 when the work is done; 2 when data, weights, options or a scorer cannot be used, which is said on stderr."""
    try:
        work()
    except (DataError, EvaluationError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
