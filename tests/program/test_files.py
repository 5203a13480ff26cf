"""Every kind of file through one worker of the real program: what a person gets, and what it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.corpus import WORKER_MEMORY
from tests.support.corpus_table import OneWorker, all_kinds, one_worker, send_all
from tests.support.kinds import MOMENTS
from tests.support.large_files import large_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much a process took"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneWorker]:
    async with one_worker(tmp_path_factory.mktemp("worker")) as one:
        yield one


async def test_each_kind_of_file_gets_what_is_right(worker: OneWorker) -> None:
    kinds = all_kinds()
    assert len(kinds) == len({kind.name for kind, _ in kinds})
    assert sum(not clip for _, clip in kinds) >= 120
    assert sum(clip for _, clip in kinds) >= 70
    sent = await send_all(worker, kinds)
    assert [(each.kind.name, each.got, each.kind.right) for each in sent if not each.is_right] == []
    assert len(worker.pids) == 1  # no file brought it down
    print(f"all kinds took {worker.peak / 2**20:.0f} MiB at most")
    assert worker.peak < WORKER_MEMORY


async def test_twenty_of_the_largest_files_at_once_fit_into_a_workers_memory(worker: OneWorker) -> None:
    files = large_files()
    assert len(files) == 20
    made = [await asyncio.to_thread(kind.make) for kind in files]
    worker.reset_peak()
    before = worker.resident
    got = await asyncio.gather(
        *(worker.answer(data, clip=kind.right == MOMENTS) for kind, data in zip(files, made, strict=True))
    )
    print(f"they took {worker.peak / 2**20:.0f} MiB at most ({before / 2**20:.0f} MiB before)")
    assert [(kind.name, answer) for kind, answer in zip(files, got, strict=True)] == [(k.name, k.right) for k in files]
    assert len(worker.pids) == 1
    assert worker.peak < WORKER_MEMORY
