"""Code run by a Python process of its own, as tests of imports and of memory need it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from tests.conftest import ROOT


def run_python(code: str, *arguments: str) -> str:
    """What the code prints. It runs in the folder of the project, and must end well."""
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def imported(modules: str, among: Iterable[str]) -> str:
    """Which modules `among` these are imported with others, as a printed list."""
    return run_python(
        f"import sys, {modules}; print([name for name in {list(among)!r} if name in sys.modules])"
    ).strip()
