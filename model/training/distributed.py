"""One training run in several processes, a GPU each, as `torchrun` starts them; without it, one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from model.network.device import choose_device


@dataclass(frozen=True)
class Processes:
    """This process among all of its run."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, validates and reports."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over all processes."""
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def total(self, number: float) -> float:
        """The sum over all processes, each of which must ask."""
        if self.count == 1:
            return number
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return float(tensor)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process runs the block before the others do. Each process must enter."""
        if not self.first:
            self.total(0.0)
        yield
        if self.first:
            self.total(0.0)


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the other processes of this run, if there are any.

    device: as for `choose_device`; auto and cuda take the GPU of this process's number on its machine.
    """
    if "RANK" not in os.environ:
        yield Processes(choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    # The others wait while the first computes features or validates, which may take long.
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(hours=12))
    try:
        yield Processes(chosen, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
