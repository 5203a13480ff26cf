"""The container images and the compose file, as far as they can be checked without building them."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import start
from bot.config import Settings
from model.serving.health import Deadline
from model.serving.queue import Status
from tests.conftest import ROOT
from tests.support.corpus import WORKER_MEMORY
from tests.support.processes import run_python

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    if line and not line.startswith(("#", " "))
]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = ("worker", "worker-gpu")


def listed(file: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [line for line in lines if line]


def closure(requirements: list[str]) -> set[str]:
    """The distributions that pip installs for these, extras left out."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += map(Requirement, requires(name) or [])
        except PackageNotFoundError:
            continue
    return found


WORKER_MODULES = "albums answers clips kept network process worker"  # of model.serving, never imported by the bot


@pytest.mark.slow
def test_the_bot_needs_only_its_own_requirements() -> None:
    """Every module of the bot's process is imported with all other distributions out of reach."""
    allowed = closure(listed("requirements-bot.txt"))
    assert "aiogram" in allowed
    assert "torch" not in allowed
    blocked = [
        module
        for module, distributions in packages_distributions().items()
        if not any(canonicalize_name(distribution) in allowed for distribution in distributions)
    ]
    assert {"torch", "numpy", "PIL", "av"} <= set(blocked)
    code = (
        "import importlib, json, pkgutil, sys\n"
        "blocked = set(json.loads(sys.argv[1]))\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in blocked:\n"
        "            raise ModuleNotFoundError(f'{name} is not in requirements-bot.txt')\n"
        "sys.meta_path.insert(0, Wall())\n"
        "import start, bot, handlers, model.serving\n"
        "for package in (bot, handlers, model.serving):\n"
        "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        if module.name.removeprefix('model.serving.') not in sys.argv[2].split():\n"
        "            importlib.import_module(module.name)\n"
    )
    run_python(code, json.dumps(blocked), WORKER_MODULES)


def test_what_is_copied_is_there_and_nothing_else_reaches_the_images() -> None:
    ignore = listed(".dockerignore")
    assert ignore[0] == "*"
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    assert not let_through & {".env", "data", ".git", "tests"}
    copied = {
        source
        for name, rest in INSTRUCTIONS
        if name == "COPY"
        for source in [word for word in rest.split() if not word.startswith("--")][:-1]
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each target, those of the stage it builds on first."""
    found: dict[str, list[tuple[str, str]]] = {}
    stage: list[tuple[str, str]] = []
    for name, rest in INSTRUCTIONS:
        if name == "FROM":
            source, _, alias = rest.partition(" AS ")
            stage = found[alias] = list(found.get(source, []))
        else:
            stage.append((name, rest))
    return found


@pytest.mark.parametrize("target", ["bot", "web", "worker"])
def test_an_image_runs_as_nobody_special_and_hears_signals(target: str) -> None:
    instructions = dict(stages()[target])  # the last of each name
    assert instructions["USER"] not in ("root", "0")
    assert json.loads(instructions["ENTRYPOINT"]) == ["python", "start.py"]  # exec form: no shell in between
    assert json.loads(instructions["CMD"]) == [target]
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    check = json.loads(instructions["HEALTHCHECK"].partition("CMD ")[2])
    assert check[:2] == ["python", "start.py"]
    assert start.parse(check[2:]).command == "health"
    installed = " ".join(rest for name, rest in stages()[target] if name == "RUN")
    assert ("torch" in installed) == (target == "worker")


def test_the_image_takes_torch_from_the_index_that_is_asked_for() -> None:
    pattern = re.search(r"grep '([^']+)' requirements.txt", DOCKERFILE)
    assert pattern is not None
    [chosen] = [line for line in listed("requirements.txt") if re.search(pattern[1], line)]
    assert Requirement(chosen).name == "torch"


@pytest.mark.parametrize(
    ("goal", "packages", "also"),
    [
        ("run", "torch", " -r requirements-cpu.txt"),
        ("web", "torch", " -r requirements-cpu.txt"),
        ("test", "torch torchvision", ""),
    ],
)
def test_torch_without_cuda_comes_first_and_only_when_asked_for(
    goal: str, packages: str, also: str, tmp_path: Path
) -> None:
    """With what makes CPUs faster; the tests need that in any case."""

    def plan(*options: str) -> list[str]:
        asked = ["make", "-n", goal, f"VENV={tmp_path / 'venv'}", "BOT_TOKEN=1:x", *options]
        said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [line.partition("--disable-pip-version-check ")[2] for line in said.splitlines() if " pip " in line]

    first, *rest = plan("TORCH=cpu")
    assert first == f"--index-url https://download.pytorch.org/whl/cpu {packages}"
    assert rest == [each + also for each in plan()]


def test_only_the_bot_gets_the_token() -> None:
    assert ".env" in SERVICES["bot"]["env_file"]
    assert "env_file" not in SERVICES["web"]
    assert "BOT_TOKEN" not in json.dumps(SERVICES["web"])
    for name in (*WORKERS, "redis"):
        assert "env_file" not in SERVICES[name]
        assert "TOKEN" not in json.dumps(SERVICES[name])
    arguments = json.dumps([service.get("build") for service in SERVICES.values()])
    assert "TOKEN" not in arguments  # what goes into a build stays in its image


def test_the_settings_of_the_services_are_understood() -> None:
    for name in ("bot", "web", *WORKERS):
        environment = {
            key: re.sub(r"\$\{\w+:-([\w.]*)\}", r"\1", str(value))
            for key, value in SERVICES[name]["environment"].items()
            for key, value in SERVICES[name]["environment"].items()
        }
        settings = Settings.load(environment)
        assert settings.redis_url is not None
        assert f"{environment['REDIS_URL']}".startswith("redis://redis:")
    assert Settings.load({"DEVICE": SERVICES["worker-gpu"]["environment"]["DEVICE"]}).device == "cuda"


def test_each_setting_is_documented_with_a_value_that_is_understood() -> None:
    example = re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in example) == sorted(
        str(field.validation_alias) for field in Settings.model_fields.values()
    )
    settings = Settings.load(dict(example))
    assert settings.webhook_url == "https://example.org/captions"
    assert settings == Settings(webhook_url=settings.webhook_url, metrics_port=9100, sentry_dsn=settings.sentry_dsn)
    table = (ROOT / "README.md").read_text()
    assert [name for name, _ in example if f"`{name}`" not in table] == []


async def test_the_health_endpoint_shows_what_is_documented() -> None:
    from bot.stats import WebhookHealth
    from bot.telegram.health_endpoint import HEALTH, Wellness

    written = (ROOT / "docs" / "operations.md").read_text()
    assert f"`GET {HEALTH}`" in written
    [shown] = re.findall(r"```json\n(\{.*\})\n```", written)
    queue = AsyncMock(status=AsyncMock(return_value=Status({"photo": 3}, in_work=1, open_requests=4, workers=2)))
    wellness = Wellness(Deadline("no contact", 1), queue, Mock(failing=False), Mock(accepting=True))
    wellness.telegram_says = WebhookHealth(pending=0, ours=True)
    assert await wellness.report() == json.loads(shown)


def test_workers_have_no_way_out_and_nothing_is_published() -> None:
    assert COMPOSE["networks"]["queue"] == {"internal": True}
    for name in (*WORKERS, "redis"):
        assert SERVICES[name]["networks"] == ["queue"]
    assert not any("ports" in service for service in SERVICES.values())
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert SERVICES["redis"]["user"] == "redis"  # without capabilities its entry point cannot become this user itself


def test_a_worker_has_the_memory_that_it_needs_and_not_more() -> None:
    for name in WORKERS:
        limit = SERVICES[name]["mem_limit"]
        assert SERVICES[name]["memswap_limit"] == limit
        size = int(limit[:-1]) << {"m": 20, "g": 30}[limit[-1]]
        assert WORKER_MEMORY < size <= 3 * WORKER_MEMORY
    assert f"`mem_limit: {SERVICES['worker']['mem_limit']}`" in (ROOT / "docs" / "operations.md").read_text()


def test_redis_forgets_nothing() -> None:
    redis = SERVICES["redis"]
    command = redis["command"]
    for option, setting in (("--appendonly", "yes"), ("--appendfsync", "always"), ("--maxmemory-policy", "noeviction")):
        assert command[command.index(option) + 1] == setting
    assert "--maxmemory" in command  # else it would fill the machine, and never refuse
    assert redis["volumes"] == ["redis:/data"]
    assert "redis" in COMPOSE["volumes"]
    assert "healthcheck" in redis


def test_everything_is_restarted_and_has_time_to_stop() -> None:
    from bot.answers.status import CLEANUP
    from bot.app import GRACE, LAST_WORDS
    from bot.stats import PATIENCE
    from bot.telegram.webhook import CLOSING_SECONDS
    from model.serving.tasks.base import Task
    from web.app import GRACE_SECONDS
    from web.work import LAST_WORDS as LAST_TOLD

    assert all(service["restart"] == "unless-stopped" for service in SERVICES.values())
    longest = 2 * (CLOSING_SECONDS + GRACE) + CLEANUP + LAST_WORDS + PATIENCE
    assert seconds(SERVICES["bot"]["stop_grace_period"]) > longest
    assert seconds(SERVICES["web"]["stop_grace_period"]) > GRACE_SECONDS + LAST_TOLD
    for name in WORKERS:
        assert seconds(SERVICES[name]["stop_grace_period"]) > Task.SECONDS
        assert SERVICES[name]["deploy"]["replicas"] == 1


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def test_folders_of_the_images_can_be_written() -> None:
    """DATA_DIR is a volume or a tmpfs wherever the root is read-only."""
    folder = dict(re.findall(r"(\w+)=(\S+)", stages()["base"][0][1]))["DATA_DIR"]
    assert Path(folder).is_absolute()
    assert SERVICES["bot"]["volumes"] == [f"data:{folder}"]
    for name in ("web", *WORKERS):
        assert any(mount.startswith(f"{folder}:uid=10001") for mount in SERVICES[name]["tmpfs"])
    assert "--uid 10001" in DOCKERFILE
