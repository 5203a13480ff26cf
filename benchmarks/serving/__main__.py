"""The command; see the package."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import benchmarks.serving
from benchmarks.serving import parts, saturation
from benchmarks.serving.crowd import crowd
from benchmarks.serving.parts import Scale
from benchmarks.serving.report import Part
from tests.support.redis_server import redis_binary

PARTS: Final[dict[str, Callable[[Scale], Awaitable[Part]]]] = {
    "overhead": parts.overhead,
    "queue": saturation.queue,
    "load": parts.load,
    "ceiling": parts.ceiling,
    "start": parts.start,
    "memory": saturation.memory,
    "fairness": parts.fairness,
    "crowd": crowd,
}


def machine() -> dict[str, Any]:
    redis = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),  # before anything here was started
        "python": platform.python_version(),
        "redis": redis.split("v=")[1].split()[0],
    }


def names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - PARTS.keys():
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in chosen]


async def measure(chosen: list[str], scale: Scale) -> list[Part]:
    results = []
    for name in chosen:
        gc.collect()
        began = time.monotonic()
        part = await PARTS[name](scale)
        part.notes.append(f"({time.monotonic() - began:.0f} s)")
        part.print()
        results.append(part)
    return results


def main() -> int:
    assert benchmarks.serving.__doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=benchmarks.serving.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=names, default=list(PARTS), metavar="PART,…", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer photos: figures that are only indications")
    parser.add_argument("--real", nargs="?", const="cpu", metavar="DEVICE", help="also the real network (on cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs of all processes there")
    options = parser.parse_args()
    gc.disable()  # this process notes all that happens, and would look through it time and again
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    if about["load"] > 0.5:
        print("THE MACHINE IS BUSY: figures are worse than its own.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scale = Scale(options.keep or Path(folder), options.quick, options.real)
        results = asyncio.run(measure(options.only, scale))
    if options.json is not None:
        report = {"machine": about, "quick": options.quick, "parts": [part.as_json() for part in results]}
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
