"""CUDA graphs: a function that runs again and again over inputs of the same shapes is launched as one.

A graph computes from and into memory of its own: inputs are copied in, results out. Batches are padded to a few sizes,
so that there are few graphs. They are recorded while a worker warms up, and never later, when other threads use the
device; what was not recorded, or cannot be, runs as without graphs.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from model.network.decoder import Decoder, DecoderState

log = logging.getLogger(__name__)

SIZES: Final = (1, 2, 4, 8, 16, 32, 64)  # of batches; larger ones have no graphs
MOST: Final = 64  # graphs
_WARM_UP: Final = 3  # runs before one is recorded, in which libraries choose what to launch
_ALIKE: Final = 0.02  # of the largest result: how far a graph's results may be from those without it

Values: TypeAlias = tuple[Tensor | None, ...]
Function: TypeAlias = Callable[..., Values]
# Given a function without arguments: what runs it again, and the results, which that overwrites.
Recorder: TypeAlias = Callable[[Callable[[], Values]], tuple[Callable[[], object], Values]]


def sizes_up_to(batch: int) -> list[int]:
    """The sizes to which batches of up to `batch` are padded, and `batch` itself where it is larger than all."""
    needed = [size for size, less in zip(SIZES, (0, *SIZES), strict=False) if less < batch]
    return needed if batch <= SIZES[-1] else [*needed, batch]


class CudaRecorder:
    """Records graphs of a device. All share one pool of memory: a graph's results must be read before the next runs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._pool: Any = None

    def __call__(self, run: Callable[[], Values]) -> tuple[Callable[[], object], Values]:
        """As PyTorch's notes on CUDA graphs have it: first runs on a side stream, on which it is recorded, too."""
        # The stream is set again afterwards: PyTorch leaves its own set when it cannot record.
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
            stream = self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            pool = self._pool = self._pool or torch.cuda.graph_pool_handle()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    results = run()
            except Exception:
                with contextlib.suppress(Exception):  # else PyTorch believes that it still records, and frees no memory
                    torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
                raise
        return graph.replay, results


class Graphs:
    """The graphs of some functions, one for each function and the shapes of its inputs, MOST at most.

    Once one cannot be recorded, or gives other results than its function, there are none any more.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder: Recorder | None = recorder
        self._recording = False
        self._graphs: dict[Hashable, _Graph] = {}

    def __len__(self) -> int:
        return len(self._graphs)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """What runs within is recorded."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def run(self, function: Function, *inputs: Tensor | None) -> Values:
        """What `function` makes of inputs, (B, …) each, as tensors (B, …) of their own.

        It must compute each row by itself, and read no value back. Inputs must never be changed in place: one that was
        copied in for the last run is not copied again.
        """
        rows = next(len(each) for each in inputs if each is not None)
        size = next((size for size in SIZES if size >= rows), None)
        if self._recorder is None or size is None:
            return function(*inputs)
        key = (function, size, *(None if each is None else (each.dtype, each.shape[1:]) for each in inputs))
        graph = self._graphs.get(key)
        if graph is None and self._recording and len(self._graphs) < MOST:
            graph = self._record(self._recorder, key, size, function, inputs)
        return function(*inputs) if graph is None else graph.run(inputs, rows)

    def _record(
        self, recorder: Recorder, key: Hashable, size: int, function: Function, inputs: Values
    ) -> _Graph | None:
        try:
            expected = function(*inputs)
            graph = self._graphs[key] = _Graph(recorder, function, inputs, size)
            rows = next(len(each) for each in inputs if each is not None)
            if not all(map(_alike, graph.run(inputs, rows), expected)):
                raise ValueError("a graph's results are not those of what it was recorded from")
        except Exception as error:  # the worker can do without graphs
            reason = next(iter(str(error).splitlines()), "")
            log.warning("there will be no CUDA graphs (%s: %s)", type(error).__name__, reason)
            self._recorder = None
            self._graphs.clear()
            return None
        return graph


class _Graph:
    """A recorded function for batches of up to `size` rows."""

    def __init__(self, recorder: Recorder, function: Function, inputs: Values, size: int) -> None:
        self._inputs = [None if each is None else _padded(each, size) for each in inputs]
        self._copied: list[weakref.ref[Tensor] | None] = [None for _ in inputs]
        self._replay, self._results = recorder(lambda: function(*self._inputs))

    def run(self, inputs: Values, rows: int) -> Values:
        """The results of inputs of `rows` rows; the others compute what was in them before."""
        for place, (own, given) in enumerate(zip(self._inputs, inputs, strict=True)):
            copied = self._copied[place]
            if own is None or given is None or (copied is not None and copied() is given):
                continue
            own[:rows].copy_(given)
            self._copied[place] = weakref.ref(given)
        self._replay()
        return tuple(None if each is None else each[:rows].clone() for each in self._results)


def _padded(rows: Tensor, size: int) -> Tensor:
    """A copy with rows of zeros at the end, (size, …)."""
    return torch.cat([rows, rows.new_zeros(size - len(rows), *rows.shape[1:])])


def _alike(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return bool((found - expected).abs().max() <= _ALIKE * expected.abs().max())  # False for what is no number


class GraphedDecoder:
    """A decoder whose steps run as graphs; a `StepModel` (see `model.decoding.search`)."""

    def __init__(self, decoder: Decoder, graphs: Graphs) -> None:
        self._decoder, self._graphs = decoder, graphs

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        """As `Decoder.step`. A transformer's has no graphs: its state grows with each word."""
        if state.past is not None:
            return self._decoder.step(tokens, state)
        held = state.hidden, state.cell, state.keys, state.values
        logits, hidden, cell, attention = self._graphs.run(self._step, tokens, *held)
        assert logits is not None
        assert hidden is not None
        return logits, replace(state, hidden=hidden, cell=cell), attention

    def _step(
        self, tokens: Tensor, hidden: Tensor, cell: Tensor | None, keys: Tensor | None, values: Tensor | None
    ) -> Values:
        logits, state, attention = self._decoder.step(tokens, DecoderState(hidden, cell, keys, values))
        return logits, state.hidden, state.cell, attention
