"""Graphs, with a CPU in the place of the device that records them: what is copied in and out, padding and re-use."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor

from model.captioner import Captioner
from model.captions import Caption, CaptionSet
from model.decoding.search import USUAL_BEAM
from model.media.images import open_image
from model.network import graphs as module
from model.network.encoder import to_square
from model.network.graphs import CudaRecorder, Graphs, Values, sizes_up_to
from model.serving.tasks.base import CaptionOptions, Findings, Picture
from model.serving.worker.network import Captioners
from tests.support.graphs import RecordingCpu


@pytest.fixture
def cpu() -> RecordingCpu:
    return RecordingCpu()


@pytest.fixture
def graphs(cpu: RecordingCpu) -> Graphs:
    return Graphs(cpu)


def doubled(one: Tensor, other: Tensor | None) -> Values:
    return one * 2, None if other is None else one + other


def test_batches_are_padded_to_a_few_sizes() -> None:
    assert sizes_up_to(1) == [1]
    assert sizes_up_to(3) == [1, 2, 4]
    assert sizes_up_to(16) == [1, 2, 4, 8, 16]
    assert sizes_up_to(64) == [1, 2, 4, 8, 16, 32, 64]
    assert sizes_up_to(100) == [1, 2, 4, 8, 16, 32, 64, 100]


def test_a_graph_serves_each_batch_that_fits(graphs: Graphs, cpu: RecordingCpu) -> None:
    with graphs.recording():
        graphs.run(doubled, torch.ones(4, 2), torch.ones(4, 2))
    for rows in (4, 3):
        one, other = torch.randn(rows, 2), torch.randn(rows, 2)
        twice, total = graphs.run(doubled, one, other)
        assert twice is not None
        assert total is not None
        assert torch.equal(twice, one * 2)
        assert torch.equal(total, one + other)
    assert (cpu.recorded, cpu.replayed) == (1, 4)  # twice for what was recorded: its results are compared


def test_results_are_not_overwritten_by_the_next_run(graphs: Graphs) -> None:
    with graphs.recording():
        [first, _] = graphs.run(doubled, torch.ones(2, 2), None)
    [second, _] = graphs.run(doubled, torch.full((2, 2), 5.0), None)
    assert first is not None
    assert second is not None
    assert torch.equal(first, torch.full((2, 2), 2.0))
    assert torch.equal(second, torch.full((2, 2), 10.0))


def test_what_was_copied_for_the_last_run_is_not_copied_again(graphs: Graphs) -> None:
    """Nor is anything else taken for it that lies where it lay."""
    kept = torch.ones(2, 2)
    with graphs.recording():
        graphs.run(doubled, torch.ones(2, 2), kept)
    [graph] = graphs._graphs.values()
    own = graph._inputs[1]
    assert own is not None
    own.fill_(7.0)  # as nothing but a test would
    _, total = graphs.run(doubled, torch.ones(2, 2), kept)
    assert total is not None
    assert torch.equal(total, torch.full((2, 2), 8.0))
    for number in range(5):
        _, total = graphs.run(doubled, torch.ones(2, 2), torch.full((2, 2), float(number)))
        assert total is not None
        assert torch.equal(total, torch.full((2, 2), 1.0 + number))


def test_only_what_warms_up_is_recorded(graphs: Graphs, cpu: RecordingCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs.run(doubled, torch.ones(1, 2), None)
    assert len(graphs) == 0
    monkeypatch.setattr(module, "MOST", 2)
    with graphs.recording():
        for columns in (1, 2, 3):
            graphs.run(doubled, torch.ones(1, columns), None)
        graphs.run(doubled, torch.ones(65, 1), None)  # larger than any
    assert len(graphs) == cpu.recorded == 2
    [twice, _] = graphs.run(doubled, torch.ones(1, 3), None)
    assert cpu.replayed == 4
    assert twice is not None
    assert twice.tolist() == [[2.0, 2.0, 2.0]]


def _fails(run: Callable[[], Values]) -> tuple[Callable[[], None], Values]:
    run()
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with …")


def _is_wrong(run: Callable[[], Values]) -> tuple[Callable[[], None], Values]:
    results = tuple(None if each is None else torch.full_like(each, torch.nan) for each in run())
    return lambda: None, results


@pytest.mark.parametrize("recorder", [_fails, _is_wrong])
def test_without_graphs_all_goes_on_as_before(
    recorder: Callable[[Callable[[], Values]], tuple[Callable[[], None], Values]], caplog: pytest.LogCaptureFixture
) -> None:
    graphs = Graphs(recorder)
    with graphs.recording(), caplog.at_level(logging.WARNING):
        for rows in (1, 2):
            twice, total = graphs.run(doubled, torch.ones(rows, 2), torch.ones(rows, 2))
            assert twice is not None
            assert total is not None
            assert twice.tolist() == total.tolist() == [[2.0, 2.0]] * rows
    assert len(graphs) == 0
    [record] = caplog.records
    assert record.getMessage().startswith("there will be no CUDA graphs (")
    assert "\n" not in record.getMessage()


def _words(found: list[CaptionSet]) -> list[list[tuple[str, ...]]]:
    def all_of(each: CaptionSet) -> list[Caption]:
        return [each.greedy, *each.samples, *([] if each.best is None else [each.best])]

    return [[caption.words for caption in all_of(each)] for each in found]


def test_captions_are_those_without_graphs(tiny: Captioner, cpu: RecordingCpu) -> None:
    features = torch.randn(8, 9, 6, generator=torch.Generator().manual_seed(3))
    seeds = [11 * row for row in range(8)]
    expected = tiny.caption_features(features, samples=4, seed=seeds, beam=3)
    with tiny.recording(cpu):
        for size in sizes_up_to(8):
            tiny.caption_features(features[:size], samples=4, beam=3)
    if tiny.decoder.config.kind == "transformer":
        assert cpu.recorded == 0
    else:
        assert cpu.recorded == 2 * 4  # the first step and the others, of each size
    before = cpu.replayed
    for size in (8, 5, 3, 1):
        found = tiny.caption_features(features[:size], samples=4, seed=seeds[:size], beam=3)
        assert _words(found) == _words(expected[:size])
        for one, other in zip(found, expected, strict=False):
            torch.testing.assert_close(
                torch.from_numpy(one.greedy.log_probs), torch.from_numpy(other.greedy.log_probs), atol=1e-4, rtol=1e-4
            )
    assert cpu.recorded in (0, 8)
    assert cpu.replayed > before or cpu.recorded == 0


@pytest.mark.slow
def test_a_worker_warms_up_all_sizes_of_its_batches(
    small_weights: str, cpu: RecordingCpu, photo_files: list[Path]
) -> None:
    """And photos, albums and clips of all these sizes are captioned by what was recorded."""
    captioners, plain = (Captioners(Path(small_weights), "cpu", "attention", "fp32") for _ in range(2))
    captioners.warm_up(3, cpu)
    assert cpu.recorded == 3 * (1 + 3)  # encoder; first step, those of a photo and those of an album
    squares = [to_square(open_image(file.read_bytes()), captioners.image_size) for file in photo_files[:3]]
    for count, options in itertools.product(
        (1, 2, 3), (CaptionOptions(beam=USUAL_BEAM), CaptionOptions(), CaptionOptions(samples=0, beam=USUAL_BEAM))
    ):
        pictures = [Picture(options, square) for square in squares[:count]]
        for found, expected in zip(captioners.caption(pictures), plain.caption(pictures), strict=True):
            assert isinstance(found, Findings)
            assert isinstance(expected, Findings)
            assert found.captions.texts == expected.captions.texts
    assert cpu.recorded == 12


def test_a_worker_starts_without_graphs_where_none_can_be_recorded(
    small_weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    captioners = Captioners(Path(small_weights), "cpu", "attention", "fp32")
    with caplog.at_level(logging.WARNING):
        captioners.warm_up(2, _fails)
    [line] = (record.getMessage() for record in caplog.records)
    assert line.startswith("there will be no CUDA graphs (RuntimeError: CUDA error")
    picture = Picture(
        CaptionOptions(beam=USUAL_BEAM), np.full((captioners.image_size, captioners.image_size, 3), 99, np.uint8)
    )
    assert all(isinstance(found, Findings) for found in captioners.caption([picture] * 2))


class FakeCuda:
    """The part of `torch.cuda` that records graphs. It records nothing, and may fail when recording ends."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.pools: list[object] = []
        self.default = self.current = MagicMock()
        self.CUDAGraph = MagicMock
        self.current_device, self.graph_pool_handle = (lambda: 0), (lambda: (0, 7))
        self.Stream = MagicMock
        self.device = contextlib.nullcontext

    def current_stream(self) -> MagicMock:
        return self.current

    @contextlib.contextmanager
    def stream(self, stream: MagicMock) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, graph: object, *, pool: object, stream: MagicMock, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.pools.append(pool)
        before, self.current = self.current, stream
        yield
        if self.error is not None:
            raise self.error  # and the stream stays
        self.current = before


def test_all_graphs_share_a_pool_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    monkeypatch.setattr(torch, "cuda", cuda)
    recorder = CudaRecorder(torch.device("cuda"))
    runs = []

    def run() -> Values:
        runs.append(cuda.current)
        return (torch.ones(1),)

    for _ in range(2):
        replay, results = recorder(run)
        replay()
        assert results[0] is not None
    assert cuda.pools == [(0, 7), (0, 7)]
    assert len(runs) == 8
    assert cuda.default not in runs
    assert len(set(runs)) == 1
    assert cuda.current is cuda.default


def test_recording_that_fails_leaves_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else PyTorch's allocator raises when it is to free memory later; and the stream is that of before."""
    left: list[tuple[object, ...]] = []
    cuda = FakeCuda(RuntimeError("CUDA error: capture invalidated"))
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *arguments: left.append(arguments), raising=False)
    with pytest.raises(RuntimeError, match="invalidated"):
        CudaRecorder(torch.device("cuda"))(lambda: (torch.ones(1),))
    assert left == [(0, (0, 7))]
    assert cuda.current is cuda.default
