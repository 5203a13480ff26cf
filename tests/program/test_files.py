"""Every kind of file through one worker of the real program: what a person gets, and what it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.corpus import WORKER_MEMORY
from tests.support.corpus_table import all_kinds, one_worker, send_all
from tests.support.kinds import MOMENTS
from tests.support.large_files import large_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much a process took"),
]

LARGER_SQUARES = 256 * 2**20  # bytes; the shipped network took 130 MiB more than `small_weights`


async def test_each_kind_of_file_gets_what_is_right(tmp_path: Path, small_weights: str) -> None:
    kinds = all_kinds()
    assert len(kinds) == len({kind.name for kind, _ in kinds})
    assert sum(not clip for _, clip in kinds) >= 120
    assert sum(clip for _, clip in kinds) >= 70
    async with one_worker(tmp_path, WEIGHTS_DIR=small_weights) as worker:
        sent = await send_all(worker, kinds)
        assert [(each.kind.name, each.got, each.kind.right) for each in sent if not each.is_right] == []
        assert len(worker.pids) == 1  # no file brought it down
        print(f"all kinds took {worker.peak / 2**20:.0f} MiB at most")
        assert worker.peak < WORKER_MEMORY - LARGER_SQUARES


async def test_twenty_of_the_largest_files_at_once_fit_into_a_workers_memory(tmp_path: Path) -> None:
    """With the shipped network, after some of the others."""
    files = large_files()
    assert len(files) == 20
    made = [await asyncio.to_thread(kind.make) for kind in files]
    async with one_worker(tmp_path) as worker:
        await send_all(worker, all_kinds()[::16])
        got = await asyncio.gather(
            *(worker.answer(data, clip=kind.right == MOMENTS) for kind, data in zip(files, made, strict=True))
        )
        print(f"they took {worker.peak / 2**20:.0f} MiB at most")
        assert [(kind.name, answer) for kind, answer in zip(files, got, strict=True)] == [
            (kind.name, kind.right) for kind in files
        ]
        assert len(worker.pids) == 1
        assert worker.peak < WORKER_MEMORY
