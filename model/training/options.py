"""Command lines: a dataclass of options, each field an option with `-` for `_`, and the exit status."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
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


def fit_options(description: str, *, file: str, data: str) -> argparse.ArgumentParser:
    """The options that all programs have that fit a file of the weights folder to the encoder's features.

    description: the program's docstring, whose first line is shown; file: its name; data: what the data sets are for.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m model.training.fit_{Path(file).stem}", description=description.split("\n")[0]
    )
    parser.add_argument("--weights", default="weights", help="the folder of the weights; the file is written there")
    parser.add_argument("--out", default="", metavar="FILE", help=f"where to write it instead of {file} there")
    parser.add_argument("--data", nargs="+", default=["flickr8k", "coco"], help=data)
    parser.add_argument("--cache", default="cache", help="the folder of encoder features")
    parser.add_argument("--device", default="auto")
    return parser
