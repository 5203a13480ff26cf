"""One step of an optimiser, its learning rate, the average of the weights, and the state on disk to resume from."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model.network.checkpoint import read_tensors, write_tensors


def set_rates(optimizer: torch.optim.Optimizer, step: int, *, total: int, warmup: int, floor: float) -> None:
    """Set each group's learning rate to a share of its `peak`.

    The share rises linearly to 1 in the warm-up, then follows a cosine down to `floor` at step `total`.
    """
    progress = (step - warmup) / max(1, total - warmup)
    share = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if step < warmup:
        share = (step + 1) / warmup
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip: float) -> None:
    """Backward and one step; the gradients of each group are clipped to the norm `clip` apart from the others'."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimizer)
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], clip)
    scaler.step(optimizer)
    scaler.update()


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average: average ← decay · average + (1 - decay) · module, in place.

    In the first steps the decay is smaller, (1 + step) / (10 + step), so that a short run forgets the initial weights.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, parameter in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)


def save_state(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progress: Mapping[str, str]
) -> None:
    """Write the modules' weights, the optimiser's moments and `progress` (how far the run is)."""
    tensors = {
        f"{prefix}.{name}": tensor for prefix, module in modules.items() for name, tensor in module.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    write_tensors(path, tensors, dict(progress))


def load_state(path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, str] | None:
    """Restore what `save_state` wrote, in place, and return its `progress`; None where there is no such file.

    Raises CheckpointError for a damaged file.
    """
    if not path.exists():
        return None
    tensors, progress = read_tensors(path)
    for prefix, module in modules.items():
        own = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
        module.load_state_dict(own)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress
