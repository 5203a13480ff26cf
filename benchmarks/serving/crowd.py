"""The part of the benchmark about many people who send several photos at once: order, fairness, memory."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.serving.parts import ENGINES, NAMES, Scale
from benchmarks.serving.people import PATIENCE, Asker, real_photos
from benchmarks.serving.processes import ROOT, WARM_UP, CpuTimes, Stack, environment, resident, serving
from benchmarks.serving.report import Figure, Part, percentile
from bot.chat_settings import ChatSettings
from model.serving.embedded.process import EmbeddedWorker
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.queue import Limits
from model.serving.tasks.photo import PhotoTask
from tests.support.fake_queue import is_status

EACH: Final = 5  # photos of one person
MOST_PATIENCE: Final = 5 * PATIENCE


def peak(pid: int) -> float:
    """The most memory that a process has had, in MiB."""
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024


async def crowd(scale: Scale) -> Part:
    """Each person sends all photos before anybody is answered, in turns with the others."""
    people = scale(100, 20)
    part = Part(
        f"crowd: {people * EACH} photos of {people} people at once; seconds from the first photo",
        [
            "",
            "answers",
            "in order, % of people",
            "p50",
            "p95",
            "last answer of a person: first",
            "median",
            "last",
            "peak MiB: bot",
            "worker",
            "bot before",
        ],
        notes=["With Telegram's limit of 30 messages a second, as shipped. In order: people all of whose answers are."],
    )
    for engine in ENGINES:
        folder = scale.folder / f"crowd-{engine}"
        async with serving(engine, folder, paced=True, real=scale.real) as stack:
            before = resident(stack.bot)
            waits, lasts, in_order = await _rush(stack, people)
            share = 100 * in_order / people
            answers = len(waits)
            memory = [peak(stack.bot), max(map(peak, stack.workers)), before]
            spread = [min(lasts), statistics.median(lasts), max(lasts)]
            row = [percentile(waits, 50), percentile(waits, 95), *spread, *memory]
            part.rows.append([NAMES[engine], answers, share, *row])
        part.figures += [
            Figure(f"answers, {NAMES[engine]}", answers, at_least=people * EACH),
            Figure(f"people answered in order, {NAMES[engine]}", share, "%", at_least=100),
        ]
    if scale.real is not None:
        await _against_the_worker_alone(part, scale, scale.real, people)
    return part


async def _against_the_worker_alone(part: Part, scale: Scale, device: str, people: int) -> None:
    """Each engine between two runs of the worker alone: a machine that others use as well changes within minutes."""
    alone = [await _alone(scale.folder / "crowd-alone", device, people * EACH)]
    for engine in ENGINES:
        folder = scale.folder / f"crowd-unpaced-{engine}"
        async with serving(engine, folder, real=device) as stack:
            times = CpuTimes(stack.pids)
            _, lasts, _ = await _rush(stack, people)
            _, processes = times.describe(people * EACH)
        alone.append(await _alone(scale.folder / f"crowd-alone-{engine}", device, people * EACH))
        ratio = max(lasts) / statistics.mean(alone[-2:])
        name = f"all of them without that limit, to the worker alone, {NAMES[engine]}"
        part.figures.append(Figure(name, ratio, at_most=1.15))
        part.notes.append(f"{NAMES[engine]}, CPU ms a photo: {processes}.")
    seconds = ", ".join(f"{each:.1f}" for each in alone)
    part.notes.append(
        f"The worker alone, before, between and after: {seconds} s for as many photos that wait all at once."
    )
    part.notes.append("Without the limit no status is sent, as where answers use the limit up.")


async def _alone(folder: Path, device: str, count: int) -> float:
    """Seconds for which the real worker, as the child of nothing but a queue, works on `count` photos."""
    queue, photos = LocalQueue(limits=Limits(10 * count, 10 * count)), real_photos()
    command = [sys.executable, str(ROOT / "start.py"), "worker", "--embedded", str(os.getpid())]
    child = EmbeddedWorker(queue, command, environment(DATA_DIR=str(folder), DEVICE=device, LOG_LEVEL="WARNING"))
    running = asyncio.create_task(child.run())

    async def answer(number: int) -> None:
        job = Job(f"job-{number}", number, PhotoTask(beam=ChatSettings().beam_width))
        await queue.put(job, photos[number % len(photos)])
        await queue.wait(job.id)
        await queue.forget(job.id)

    try:
        while not queue.workers_alive():
            await asyncio.sleep(0.05)
        await asyncio.gather(*map(answer, range(WARM_UP)))
        began = time.monotonic()
        await asyncio.gather(*map(answer, range(WARM_UP, WARM_UP + count)))
        return time.monotonic() - began
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _rush(stack: Stack, people: int) -> tuple[list[float], list[float], int]:
    """Seconds until each answer, until the last one of each person, and how many people were answered in order."""
    askers = [stack.telegram.asker() for _ in range(people)]
    photos = stack.photos
    asked: dict[int, list[tuple[float, asyncio.Future[float]]]] = {asker.id: [] for asker in askers}
    for number in range(EACH):
        for at, asker in enumerate(askers):
            _, sent, answered = await asker.ask(photos[(number * people + at) % len(photos)])
            asked[asker.id].append((sent, answered))
    began = min(sent for each in asked.values() for sent, _ in each)
    async with asyncio.timeout(MOST_PATIENCE):
        moments = {who: [await answered for _, answered in each] for who, each in asked.items()}
    waits = [moment - sent for who, each in asked.items() for (sent, _), moment in zip(each, moments[who], strict=True)]
    lasts = [max(each) - began for each in moments.values()]
    return waits, lasts, sum(map(_is_in_order, askers))


def _is_in_order(asker: Asker) -> bool:
    """Whether the bot's messages answer this person's in the order in which these were sent."""
    answers = [message for message in asker.bot_messages() if not is_status(message)]
    answered = [message["reply_to_message"]["message_id"] for message in answers]
    return answered == sorted(answered) and len(answered) == EACH
