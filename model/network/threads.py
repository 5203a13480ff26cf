"""How many threads the operations of one thread take."""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The CPU operations that this thread runs within it take no other thread.

    `torch.set_num_threads` would not do: a thread whose first operation falls within it would keep one thread for
    ever. Where OpenMP cannot be asked, nothing changes.
    """
    before = torch.get_num_threads()
    threads = None if before == 1 else openmp()
    if threads is None:
        yield
        return
    threads(1)
    try:
        yield
    finally:
        threads(before)


@functools.cache
def openmp() -> Callable[[int], object] | None:
    """OpenMP's number of threads, which each thread has for itself; None where PyTorch has another OpenMP, or none."""
    before = torch.get_num_threads()
    try:
        threads = ctypes.PyDLL(None).omp_set_num_threads
    except (AttributeError, OSError, TypeError):
        return None
    threads(1)
    found = torch.get_num_threads() == 1
    threads(before)
    return threads if found else None
