"""The only entry point: `python start.py` runs the bot and its worker; see `python start.py --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import getpass
import io
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bot.config import TOKEN, Settings
from bot.error_reports import configure_error_reports
from bot.errors import ConfigurationError, StorageError
from bot.logs import configure_logging
from model.decoding.sampling import TEMPERATURES, Sampling
from model.edits import SEEDS, STRENGTH, STRENGTHS
from model.errors import MetricsError
from model.serving.health import FOLDER, ROLES, examine, heartbeat
from model.serving.redis.address import RedisRefused

if TYPE_CHECKING:
    from model.serving.embedded.queue import LocalQueue
    from model.serving.queue import JobProducer
    from model.serving.worker.process import WorkerOptions
    from web.settings import WebSettings

ROOT = Path(__file__).resolve().parent
ENV_FILE = ROOT / ".env"
USAGE_ERROR = 2
REFUSED = 1
NOBODY_READS = 128 + signal.SIGPIPE  # as a shell says it of a program whose output nobody reads any more
PRINTING = ("caption", "dead", "edit", "find", "health", "rank", "translate")  # commands whose work is what they print
SECRETS = ("BOT_TOKEN", "WEBHOOK_SECRET", "WEB_TOKEN")
NEEDS_REDIS = (
    "needs REDIS_URL, the address of the Redis that bots and workers share, such as redis://127.0.0.1:6379/0. "
    "To run the bot and its worker together without Redis: start.py with no command"
)
log = logging.getLogger("start")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="start.py",
        description="A Telegram bot that captions photos. Without a command: the bot and, unless REDIS_URL is set, its "
        "worker.",
        epilog="Settings are read from the environment and from .env; .env.example documents each.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    caption = commands.add_parser("caption", help="caption photos and clips in the terminal; needs no token")
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
    caption.add_argument(
        "--beam", type=_number(int, 1, 10), default=10, metavar="N", help="width, 1-10, default 10; 1: greedy only"
    )
    caption.add_argument("--json", action="store_true", help="print one JSON object per file and line")
    instead = caption.add_mutually_exclusive_group()
    instead.add_argument(
        "--colours",
        choices=["protanopia", "deuteranopia", "tritanopia"],
        help="instead of captions, write each photo beside what is seen of it with this colour vision deficiency",
    )
    instead.add_argument(
        "--tags",
        metavar="LIST",
        help="instead of captions, the tags that each photo has: default (everyday words), hotel, or a file with a "
        "list of your own of up to 50, in English or Russian",
    )
    caption.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write heatmap sheets, charts of the words, timelines and the moments of clips into this folder",
    )
    caption.add_argument(
        "--language",
        choices=["en", "ru"],
        default="en",
        help="of the captions, the words on pictures, and the tags of default and hotel; default en",
    )
    translate = commands.add_parser("translate", help="translate English captions, a line each, from standard input")
    translate.add_argument("--to", choices=["ru"], required=True, help="the language")
    translate.add_argument("--json", action="store_true", help="one JSON object per line, with what was checked")
    rank = commands.add_parser("rank", help="which of several descriptions fits a photo best; needs no token")
    rank.add_argument("file", metavar="PHOTO")
    rank.add_argument("--text", action="append", default=[], metavar="TEXT", help="a description; give at least two")
    rank.add_argument("--texts", type=Path, metavar="FILE", help="a file with a description a line")
    rank.add_argument("--json", action="store_true", help="print one JSON object")
    find = commands.add_parser("find", help="which of some photos a text fits; needs no token")
    find.add_argument("files", nargs="+", metavar="PHOTO")
    find.add_argument("--text", required=True, metavar="TEXT", help="what to look for, in English or Russian")
    find.add_argument("--json", action="store_true", help="print one JSON object")
    edit = commands.add_parser("edit", help="change a photo by words, with the model at EDIT_MODEL; needs no token")
    edit.add_argument("file", metavar="PHOTO")
    edit.add_argument("--text", required=True, metavar="TEXT", help="what to change, best in English")
    edit.add_argument("--output", type=Path, required=True, metavar="FILE", help="the JPEG file to write")
    edit.add_argument(
        "--strength",
        type=_number(int, *STRENGTHS),
        default=STRENGTH,
        metavar="N",
        help=f"how much may change, {STRENGTHS[0]}-{STRENGTHS[1]} percent, default {STRENGTH}",
    )
    edit.add_argument("--seed", type=_number(int, *SEEDS), default=0, metavar="S", help="default 0")
    commands.add_parser("bot", help="the bot alone; workers are reached through REDIS_URL")
    worker = commands.add_parser("worker", help="a worker alone, for the bots at REDIS_URL; needs no token")
    worker.add_argument("--embedded", type=int, metavar="PARENT", help=argparse.SUPPRESS)  # the bot's process id
    commands.add_parser("web", help="the HTTP API and its page at WEB_HOST:WEB_PORT; without REDIS_URL also its worker")
    dead = commands.add_parser("dead", help="messages that could not be done: list, try again, or delete")
    dead.add_argument("action", choices=["list", "retry", "drop"])
    dead.add_argument("ids", nargs="*", metavar="ID", help="as `dead list` shows them, or: all")
    dead.add_argument("--json", action="store_true", help="list as one JSON object per line")
    health = commands.add_parser("health", help="whether the processes here are well: exit status 0, else 1")
    health.add_argument("role", nargs="?", choices=ROLES, help="one of this role must be there")
    options = parser.parse_args(arguments)
    if options.command == "caption" and options.tags is not None and options.output is not None:
        caption.error("argument --output: --tags draws nothing")
    return options


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        number = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {number} from {low} to {high}, not {text!r}")

    return convert


def load_settings(*, without: Sequence[str] = ()) -> Settings:
    """The settings, folders taken from where this file is. Raises ConfigurationError.

    `without`: names that are not read, wherever they are set.
    """
    settings = Settings.load(os.environ, ENV_FILE, without=without)
    folders = {name: getattr(settings, name) for name in ("weights_dir", "data_dir", "edit_model")}
    return settings.model_copy(update={name: folder and ROOT / folder for name, folder in folders.items()})


def caption(options: argparse.Namespace) -> int:
    settings = settings_of_model()
    from model.command import CaptionRequest, caption_files, show_colours, show_tags  # imports torch

    engine = settings.device, settings.precision
    if options.tags is not None:
        weights, language = settings.weights_dir, options.language
        return show_tags(options.files, options.tags, weights, engine, language, as_json=options.json)
    if options.colours is not None:
        return show_colours(options.files, options.colours, options.output, options.language, as_json=options.json)
    return caption_files(
        CaptionRequest(
            files=options.files,
            weights=settings.weights_dir,
            device=settings.device,
            model=options.model or settings.model,
            precision=settings.precision,
            samples=options.samples,
            sampling=Sampling(temperature=options.temperature),
            seed=options.seed,
            beam=options.beam,
            as_json=options.json,
            output=options.output,
            max_video_seconds=settings.max_video_seconds,
            language=options.language,
        )
    )


def translate(options: argparse.Namespace) -> int:
    settings = settings_of_model()
    if sys.stdin is None:
        raise ConfigurationError("translate reads captions from standard input, which is closed")
    from model.command import translate_lines  # imports torch

    sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")  # type: ignore[union-attr]
    return translate_lines(settings.weights_dir, settings.device, sys.stdin, as_json=options.json)


def rank(options: argparse.Namespace) -> int:
    settings = settings_of_model()
    from model.command import show_ranking  # imports torch

    engine = settings.device, settings.precision
    return show_ranking(options.file, options.text, options.texts, settings.weights_dir, engine, as_json=options.json)


def find(options: argparse.Namespace) -> int:
    settings = settings_of_model()
    from model.command import show_found  # imports torch

    engine = settings.device, settings.precision
    return show_found(options.files, options.text, settings.weights_dir, engine, as_json=options.json)


def edit(options: argparse.Namespace) -> int:
    settings = settings_of_model()
    if settings.edit_model is None:
        raise ConfigurationError("edit needs EDIT_MODEL, a folder with a model that edits: see docs/operations.md")
    from model.command import edit_photo  # imports torch

    return edit_photo(
        options.file,
        options.text,
        options.output,
        settings.edit_model,
        settings.device,
        strength=options.strength,
        seed=options.seed,
    )


def settings_of_model() -> Settings:
    """The settings, for what runs a network in this process."""
    settings = load_settings()
    configure_logging(settings)
    share_cores()
    return settings


def share_cores() -> None:
    """Before torch is imported: the network's threads must not spin for long while they wait for each other.

    Decoding and drawing need the cores, too.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def worker(options: argparse.Namespace) -> int:
    share_cores()
    if options.embedded is not None:
        settings = Settings.load(os.environ)  # from the bot, see run_embedded; .env holds the token, so it is not read
        configure_logging(settings)
        configure_error_reports(settings)
        threading.Thread(target=end_with_parent, args=(options.embedded,), daemon=True).start()
        from model.serving.worker.process import serve_parent  # imports torch

        return serve_parent(worker_options(settings))
    if needless := [name for name in SECRETS if name in os.environ]:
        # What decodes strangers' files has no use for them, and /proc/<pid>/environ keeps what a process began with.
        for name in needless:
            del os.environ[name]
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    settings = load_settings(without=SECRETS)
    if settings.redis_url is None:
        raise ConfigurationError(f"a worker alone {NEEDS_REDIS}")
    configure_logging(settings)
    configure_error_reports(settings)
    check_weights(settings)
    from model.serving.worker.process import serve_redis  # imports torch

    return serve_redis(settings.redis_url.get_secret_value(), worker_options(settings))


def end_with_parent(parent: int) -> None:
    """The pipe to the parent tells of its end only once torch is imported and the pipe is read, which may be long."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def worker_options(settings: Settings) -> WorkerOptions:
    from model.serving.worker.process import WorkerOptions

    return WorkerOptions(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(WorkerOptions)})


def health(options: argparse.Namespace) -> int:
    status, why = examine(load_settings().data_dir / FOLDER, options.role)
    print(why)
    return status


def dead(options: argparse.Namespace) -> int:
    settings = load_settings()
    configure_logging(settings)
    if options.action != "list" and not options.ids:
        raise ConfigurationError(f"dead {options.action}: name IDs, as `dead list` shows them, or all")
    everything = options.ids in ([], ["all"])
    if not everything and not all(text.isdecimal() for text in options.ids):
        raise ConfigurationError(f"dead {options.action}: IDs are numbers, as `dead list` shows them")
    from bot.dead_letters import dead as run_dead

    ids = None if everything else {int(text) for text in options.ids}
    return asyncio.run(run_dead(settings, options.action, ids, as_json=options.json))


def run(*, alone: bool = False) -> int:
    """The bot, with the embedded queue its worker as a child process, too. `alone`: without."""
    settings = load_settings()
    if alone and settings.redis_url is None:
        raise ConfigurationError(f"the bot alone {NEEDS_REDIS}")
    if settings.token is None:
        if sys.stdin is None or not sys.stdin.isatty():
            settings.require_token()
        keep_token(ask_for_token())
        settings = load_settings()
    configure_logging(settings)
    configure_error_reports(settings)
    if settings.redis_url is not None:
        return asyncio.run(run_redis(settings))
    check_weights(settings)
    return asyncio.run(run_embedded(settings))


def check_weights(settings: Settings) -> None:
    """Say at once what would only show later. Raises ConfigurationError."""
    for name in ("encoder", settings.model):
        file = settings.weights_dir / f"{name}.safetensors"
        if not file.is_file():
            raise ConfigurationError(f"WEIGHTS_DIR: there is no {file}")
    if settings.edit_model is not None and not (index := settings.edit_model / "model_index.json").is_file():
        raise ConfigurationError(f"EDIT_MODEL: there is no {index}")


def stop_signal() -> asyncio.Event:
    """Set when this process is asked to end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def spare_imports() -> None:
    """What is there now stays: the garbage collector looks through it no more, and less often through the rest.

    Otherwise garbage collection takes a fifth of a busy bot's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


async def run_redis(settings: Settings) -> int:
    from bot.app import run_bot
    from bot.storage.inbox import process_name
    from handlers import create_routers
    from model.serving.queue import Limits
    from model.serving.redis.producer import RedisQueue

    spare_imports()
    assert settings.redis_url is not None
    stop = stop_signal()
    limits = Limits(settings.max_queue, settings.max_per_user)
    queue = RedisQueue(settings.redis_url.get_secret_value(), f"bot-{process_name()}", limits=limits)
    opening = asyncio.create_task(queue.open())  # it waits for a Redis that is not there yet
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([opening, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        await opening
        return await run_bot(settings, queue, create_routers(), stop, redis=queue.connection)
    except RedisRefused as error:
        log.error("%s", error)
        return REFUSED
    finally:
        stopped.cancel()
        opening.cancel()
        await asyncio.gather(stopped, opening, return_exceptions=True)
        await queue.close()


async def run_embedded(settings: Settings) -> int:
    from bot.app import run_bot
    from handlers import create_routers

    spare_imports()
    stop = stop_signal()
    return await beside_worker(settings, stop, lambda queue: run_bot(settings, queue, create_routers(), stop))


async def beside_worker(settings: Settings, stop: asyncio.Event, front: Callable[[LocalQueue], Awaitable[int]]) -> int:
    """Run `front` on an embedded queue with its worker; an exit status. `stop` is set when the worker cannot start."""
    from model.serving.embedded.process import EmbeddedWorker, WorkerCannotStart
    from model.serving.embedded.queue import LocalQueue
    from model.serving.queue import Limits

    limits = Limits(settings.max_queue, settings.max_per_user)
    queue = LocalQueue(max_attempts=settings.max_attempts, limits=limits)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SECRETS},
        "MODEL": settings.model,
        "DEVICE": settings.device,
        "PRECISION": settings.precision,
        "WEIGHTS_DIR": str(settings.weights_dir),
        "EDIT_MODEL": str(settings.edit_model or ""),
        "MAX_BATCH": str(settings.max_batch or ""),
        "MAX_VIDEO_SECONDS": str(settings.max_video_seconds),
        "DATA_DIR": str(settings.data_dir),
        "METRICS_PORT": "" if settings.metrics_port is None else str(settings.metrics_port + 1),
        "LOG_LEVEL": settings.log_level,
        "LOG_FORMAT": settings.log_format,
    }
    child = EmbeddedWorker(
        queue, [sys.executable, str(ROOT / "start.py"), "worker", "--embedded", str(os.getpid())], environment
    )
    working = asyncio.create_task(child.run())
    working.add_done_callback(lambda _: stop.set())
    status = await front(queue)
    working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        pass
    except WorkerCannotStart:
        return USAGE_ERROR
    return status


def run_web(_: argparse.Namespace) -> int:
    """The HTTP API and its page; with the embedded queue its worker as a child process, too."""
    settings = load_settings(without=("BOT_TOKEN", "WEBHOOK_SECRET"))
    configure_logging(settings)
    configure_error_reports(settings)
    try:
        import web.app  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"web needs what requirements-web.txt lists ({error}): make web") from None
    from web.settings import WebSettings, is_loopback

    if settings.web_token is None and not is_loopback(settings.web_host):
        raise ConfigurationError(
            f"WEB_HOST={settings.web_host} is reached from other machines: set WEB_TOKEN to a secret of at least 16 "
            "characters, which each request must carry"
        )
    from model.serving.queue import Limits

    token = settings.web_token
    web_settings = WebSettings(
        host=settings.web_host,
        port=settings.web_port,
        token=None if token is None else token.get_secret_value(),
        model=settings.model,
        weights_dir=settings.weights_dir,
        max_video_seconds=settings.max_video_seconds,
        memory=settings.max_media_bytes,
        limits=Limits(settings.max_queue, settings.max_per_user),
    )
    if settings.redis_url is not None:
        return asyncio.run(run_web_redis(settings, web_settings))
    check_weights(settings)
    return asyncio.run(run_web_embedded(settings, web_settings))


async def run_web_embedded(settings: Settings, web_settings: WebSettings) -> int:
    stop = stop_signal()
    return await beside_worker(settings, stop, lambda queue: serve_web(settings, web_settings, queue, stop))


async def run_web_redis(settings: Settings, web_settings: WebSettings) -> int:
    """It answers that it is unavailable until Redis is there, and while it is away."""
    from model.serving.redis.connection import OUTAGE
    from model.serving.redis.producer import RedisQueue

    assert settings.redis_url is not None
    stop = stop_signal()
    name = f"web-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    queue = RedisQueue(settings.redis_url.get_secret_value(), name, limits=web_settings.limits)
    opening = asyncio.create_task(queue.open())

    def opened(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error)
            stop.set()

    opening.add_done_callback(opened)

    def reachable() -> bool:
        return opening.done() and not OUTAGE.on

    try:
        status = await serve_web(settings, web_settings, queue, stop, reachable)
        return REFUSED if opening.done() and not opening.cancelled() and opening.exception() else status
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await queue.close()


async def serve_web(
    settings: Settings,
    web_settings: WebSettings,
    queue: JobProducer,
    stop: asyncio.Event,
    reachable: Callable[[], bool] = lambda: True,
) -> int:
    from web.app import create_app, serve

    app = create_app(web_settings, queue, reachable=reachable)
    spare_imports()
    async with heartbeat(settings.data_dir / FOLDER, "web"):
        served = await serve(app, web_settings, stop)
    if not served:
        log.error("WEB_HOST and WEB_PORT: %s:%d cannot be used", web_settings.host, web_settings.port)
    return 0 if served else USAGE_ERROR


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


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "caption": caption,
    "translate": translate,
    "rank": rank,
    "find": find,
    "edit": edit,
    "worker": worker,
    "web": run_web,
    "dead": dead,
    "health": health,
}


def main(arguments: Sequence[str]) -> int:
    """Run a command; its exit status. Raises SystemExit where the arguments are not understood."""
    options = parse(arguments)
    try:
        if options.command in COMMANDS:
            return COMMANDS[options.command](options)
        return run(alone=options.command == "bot")
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except MetricsError as error:
        print(f"error: METRICS_PORT: {error}", file=sys.stderr)
        return USAGE_ERROR
    except (StorageError, RedisRefused) as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        if options.command not in PRINTING:
            raise
        return NOBODY_READS
    except OSError as error:
        if options.command not in PRINTING:
            raise
        print(f"error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return USAGE_ERROR
    except (KeyboardInterrupt, EOFError):
        return 130


def run_program(arguments: Sequence[str]) -> int:
    """`main`, and what was printed is written; an exit status.

    A character that standard output does not have is written as an escape. Where nobody reads the output any more, as
    in `start.py caption *.jpg | head -1`, the program ends without a word.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else REFUSED
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            status = NOBODY_READS
        elif status != USAGE_ERROR:  # else it has been said
            print(f"error: standard output: {error.strerror}", file=sys.stderr)
            status = USAGE_ERROR
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again as it ends
    return status


if __name__ == "__main__":
    sys.exit(run_program(sys.argv[1:]))
