"""The only entry point: `python start.py` runs the bot and its worker; see `python start.py --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import getpass
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.config import TOKEN, ConfigurationError, Settings
from bot.logs import configure_logging
from model.sampling import TEMPERATURES, Sampling

ROOT = Path(__file__).resolve().parent
ENV_FILE = ROOT / ".env"
USAGE_ERROR = 2
log = logging.getLogger("start")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="start.py",
        description="A Telegram bot that captions photos. Without a command: the bot and its worker.",
        epilog="Settings are read from the environment and from .env; .env.example documents each.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    caption = commands.add_parser("caption", help="caption photos in the terminal; needs no token")
    caption.add_argument("files", nargs="+", metavar="FILE")
    caption.add_argument("--model", choices=["attention", "baseline"], help="default: MODEL, else attention")
    caption.add_argument("--samples", type=_number(int, 0, 10), default=5, metavar="N", help="0-10, default 5")
    caption.add_argument(
        "--temperature",
        type=_number(float, *TEMPERATURES),
        default=Sampling.temperature,
        metavar="T",
        help=f"of the sampled captions, {TEMPERATURES[0]}-{TEMPERATURES[1]}, default {Sampling.temperature}",
    )
    caption.add_argument("--seed", type=_number(int, 0, 2**63 - 1), default=0, metavar="S", help="default 0")
    caption.add_argument("--json", action="store_true", help="print one JSON object per file and line")
    caption.add_argument("--output", type=Path, metavar="DIR", help="write the heatmap sheets into this folder")
    worker = commands.add_parser("worker", help="a worker process (the bot starts its own)")
    worker.add_argument("--embedded", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"must be a number from {low} to {high}, not {text!r}")

    return convert


def load_settings() -> Settings:
    """The settings, folders taken from where this file is. Raises ConfigurationError."""
    settings = Settings.load(os.environ, ENV_FILE)
    return dataclasses.replace(settings, weights_dir=ROOT / settings.weights_dir, data_dir=ROOT / settings.data_dir)


def caption(options: argparse.Namespace) -> int:
    settings = load_settings()
    configure_logging(settings)
    from model.command import CaptionRequest, caption_files  # imports torch

    return caption_files(
        CaptionRequest(
            files=options.files,
            weights=settings.weights_dir,
            device=settings.device,
            model=options.model or settings.model,
            samples=options.samples,
            sampling=Sampling(temperature=options.temperature),
            seed=options.seed,
            as_json=options.json,
            output=options.output,
        )
    )


def worker(options: argparse.Namespace) -> int:
    if not options.embedded:
        raise ConfigurationError("a worker of its own needs the Redis queue, which is not in this version")
    settings = Settings.load(os.environ)  # from the bot, see run_embedded; .env holds the token, so it is not read
    configure_logging(settings)
    from model.command import serve_parent  # imports torch

    return serve_parent(settings.weights_dir, settings.device, settings.model, settings.max_batch)


def run() -> int:
    """The bot, and its worker as a child process."""
    settings = load_settings()
    if settings.token is None:
        if not sys.stdin.isatty():
            settings.require_token()
        keep_token(ask_for_token())
        settings = load_settings()
    configure_logging(settings)
    check(settings)
    return asyncio.run(run_embedded(settings))


def check(settings: Settings) -> None:
    """Say at once what would only show later. Raises ConfigurationError."""
    if settings.redis_url is not None:
        raise ConfigurationError("REDIS_URL is set, but the Redis queue is not in this version: leave it empty")
    if settings.webhook_url is not None:
        raise ConfigurationError("WEBHOOK_URL is set, but this version only polls: leave it empty")
    for name in ("encoder", settings.model):
        file = settings.weights_dir / f"{name}.safetensors"
        if not file.is_file():
            raise ConfigurationError(f"WEIGHTS_DIR: there is no {file}")


async def run_embedded(settings: Settings) -> int:
    from bot.app import run_polling
    from model.serving.embedded import EmbeddedWorker, WorkerCannotStart
    from model.serving.local_queue import LocalQueue

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    queue = LocalQueue(max_attempts=settings.max_attempts)
    environment = {
        # The network's threads must not spin for long while they wait for each other: sheets need the cores too.
        "GOMP_SPINCOUNT": "1000",
        **{name: value for name, value in os.environ.items() if name not in ("BOT_TOKEN", "WEBHOOK_SECRET")},
        "MODEL": settings.model,
        "DEVICE": settings.device,
        "WEIGHTS_DIR": str(settings.weights_dir),
        "MAX_BATCH": str(settings.max_batch),
        "LOG_LEVEL": settings.log_level,
        "LOG_FORMAT": settings.log_format,
    }
    child = EmbeddedWorker(queue, [sys.executable, str(ROOT / "start.py"), "worker", "--embedded"], environment)
    working = asyncio.create_task(child.run())
    working.add_done_callback(lambda _: stop.set())
    status = await run_polling(settings, queue, stop)
    working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        pass
    except WorkerCannotStart:
        return USAGE_ERROR
    return status


def ask_for_token() -> str:
    """Ask a person in the terminal; what is typed is not shown."""
    print("This bot needs a token. In Telegram, send /newbot to @BotFather and copy the token that it gives.")
    while True:
        token = getpass.getpass("BOT_TOKEN (not shown while you type or paste): ").strip()
        if TOKEN.fullmatch(token):
            return token
        print("That is not a token: it has a number, a colon, and about 35 letters and digits.")


def keep_token(token: str) -> None:
    """Write the token into .env, which only its owner may read from then on."""
    lines = ENV_FILE.read_text(encoding="utf-8").splitlines() if ENV_FILE.exists() else []
    lines = [line for line in lines if line.removeprefix("export ").partition("=")[0].strip() != "BOT_TOKEN"]
    descriptor = os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write("\n".join([*lines, f"BOT_TOKEN={token}", ""]))
    print(f"Kept in {ENV_FILE}, readable by you alone.")


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    try:
        if options.command == "caption":
            return caption(options)
        if options.command == "worker":
            return worker(options)
        return run()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except (KeyboardInterrupt, EOFError):
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
