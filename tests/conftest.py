"""Fixtures: real photos, the shipped weights, and a tiny captioner for tests of mechanism rather than of words."""

from __future__ import annotations

import os

# Test processes share two cores with the programs they start: threads that spin while they wait slow everything.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import functools
import gc
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from bot.telegram import quick_import  # noqa: F401

# isort: split
import pytest
import torch
from PIL import Image
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from model.captioner import Captioner
from model.media.images import open_image
from model.network.checkpoint import ENCODER_FILE, fingerprint, read_tensors, write_tensors
from model.network.config import NETWORKS, DecoderConfig, EncoderConfig
from model.network.decoder import build_decoder
from model.network.encoder import Encoder
from model.network.vocabulary import Vocabulary
from tests.support import stalls
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.priority import keep_ordinary
from tests.support.redis_server import RedisServer

keep_ordinary()
torch.set_num_threads(1)  # of this process: there are more of them than cores, and threads of one wait for each other
# Each bot and each HTTP client reads the certificates of all authorities, in 20 ms; no test needs a context of its own.
pytest.MonkeyPatch().setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "tests" / "photos"
WEIGHTS = ROOT / "weights"
TOGETHER = {  # tests of these files share what they start, so they run in one process
    *("tests/web/test_page.py", "tests/web/test_program.py"),
    *("tests/program/test_start.py", "tests/program/test_start_corpus.py"),
    "tests/model/test_editor.py",  # the import of diffusers
}
SLOWEST = (  # of the slow tests
    *("test_kills", "test_files", "test_start", "test_start_corpus", "test_start_redis"),
    *("test_program", "test_page"),
)
WAITING = {  # they wait most of their time: for times to pass, or for Redis
    *("test_queue", "test_connection", "test_albums", "test_polling", "test_recovery", "test_waiting", "test_chats"),
    *("test_conversation", "test_webhook", "test_guests", "test_transport"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stalls", type=float, default=0.0, metavar="PROBABILITY", help="see tests/support/stalls.py")


def pytest_configure(config: pytest.Config) -> None:
    if probability := config.getoption("stalls"):
        stalls.install(probability)


def pytest_xdist_auto_num_workers() -> int:
    """Processes of `make test`: two more than there are cores, for many tests wait; each may take 2 GiB of memory."""
    return min(4, 2 + (os.cpu_count() or 1))


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Each test goes to the next free process, and those of one file of `TOGETHER` to the same.

    As marks of `xdist_group` would have it; from version 9.2 on pytest does not let xdist see them. Every second
    process begins at the end, with those of `WAITING`, so that beside tests that compute there are some that wait.
    """

    def _assign_work_unit(self, node: object) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling | None:
    return _Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collectstart() -> None:
    gc.disable()  # until all modules are imported


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through it again and again."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 10, 30)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first, so that all processes of `make test` end together, and those of `WAITING` last."""

    def place(item: pytest.Item) -> tuple[bool, bool, bool]:
        quick = item.get_closest_marker("slow") is None
        return quick, quick and item.path.stem in WAITING, item.path.stem not in SLOWEST

    items.sort(key=place)


@pytest.fixture(scope="session")
def photo_files() -> list[Path]:
    return sorted(PHOTOS.glob("*.jpg"))


@pytest.fixture(scope="session")
def photos(photo_files: list[Path]) -> list[Image.Image]:
    return [open_image(path.read_bytes()) for path in photo_files]


@pytest.fixture(scope="session")
def captioner() -> Captioner:
    """The shipped attention model, in fp32 on the CPU."""
    return Captioner.load(WEIGHTS, "cpu", precision="fp32")


@pytest.fixture(scope="session")
def baseline() -> Captioner:
    """The shipped baseline model, in fp32 on the CPU."""
    return Captioner.load(WEIGHTS, "cpu", model="baseline", precision="fp32")


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the shipped attention model, which sees a fifth of the pixels: for programs of which it does not
    matter what they say. It takes every picture for a photo.
    """
    folder, decoder_file = tmp_path_factory.mktemp("weights"), "attention.safetensors"
    tensors, metadata = read_tensors(WEIGHTS / ENCODER_FILE)
    config = replace(EncoderConfig.from_json(metadata.get("config", "{}")), image_size=139, rows=3, columns=3)
    write_tensors(folder / ENCODER_FILE, tensors, metadata | {"config": config.to_json()})
    tensors, metadata = read_tensors(WEIGHTS / decoder_file)
    encoder_sha256 = fingerprint(folder / ENCODER_FILE)
    write_tensors(folder / decoder_file, tensors, metadata | {"encoder_sha256": encoder_sha256})
    return str(folder)


WORDS = ["a", "dog", "cat", "runs", "on", "grass", "the", "two", "red", "ball"]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(WORDS)


def tiny_config(kind: str = "attention", vocabulary_size: int = len(WORDS) + 4) -> DecoderConfig:
    return DecoderConfig(
        kind=kind,  # type: ignore[arg-type]
        vocabulary_size=vocabulary_size,
        channels=6,
        embedding=8,
        hidden=8,
        attention=8,
        max_words=7,
    )


@pytest.fixture(params=NETWORKS)
def tiny(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Captioner:
    """A captioner with random decoder weights over 6 channels; use `caption_features`."""
    torch.manual_seed(3)
    decoder = build_decoder(tiny_config(request.param))
    torch.nn.init.normal_(decoder.embedding.weight, std=1.0)  # so that its words differ in probability
    return Captioner(Encoder(EncoderConfig(rows=3, columns=3, channels=6)), decoder.eval(), vocabulary, torch.float32)


@pytest.fixture
async def server() -> AsyncIterator[FakeTelegram]:
    """Telegram, which minds at the end whatever the bot did against its rules."""
    async with FakeTelegram() as fake:
        yield fake
        assert fake.violations == []
        assert fake.warnings == []


@pytest.fixture
def ann(server: FakeTelegram) -> Person:
    return server.person("Ann", language_code="en")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Shared by all tests of a process; each empties it first."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("cluster"), cluster=True) as server:
        yield server


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Put the handlers and the level of the root logger back in place at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
