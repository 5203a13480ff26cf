"""The only entry point: `python start.py` runs the bot and its worker; see `python start.py --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    from model.sampling import TEMPERATURES

    parser = argparse.ArgumentParser(prog="start.py", description="A Telegram bot that captions photos.")
    commands = parser.add_subparsers(
        dest="command", metavar="command", title="without a command: the bot and its worker"
    )
    caption = commands.add_parser("caption", help="caption photos in the terminal; needs no token")
    caption.add_argument("files", nargs="+", metavar="FILE")
    caption.add_argument("--model", choices=["attention", "baseline"], default="attention")
    caption.add_argument("--samples", type=_number(int, 0, 10), default=5, metavar="N", help="0–10, default 5")
    caption.add_argument(
        "--temperature", type=_number(float, *TEMPERATURES), metavar="T", help="of the sampled captions, default 0.8"
    )
    caption.add_argument("--seed", type=_number(int, 0, 2**63 - 1), default=0, metavar="S", help="default 0")
    caption.add_argument("--json", action="store_true", help="one JSON object per file and line")
    caption.add_argument("--output", type=Path, metavar="DIR", help="write heatmap sheets there")
    worker = commands.add_parser("worker", help="a worker process; the embedded queue starts its own")
    worker.add_argument("--embedded", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _number(kind: type[int] | type[float], low: float, high: float):  # type: ignore[no-untyped-def]
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, not {text!r}")
        return value

    return convert
