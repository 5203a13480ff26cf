"""The state of a training run on disk, to go on from after a kill: safetensors, replaced only when whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_state(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progress: Mapping[str, str]
) -> None:
    """Write the modules' weights, the optimiser's moments and `progress` (how far the run is)."""
    tensors = {
        f"{prefix}.{name}": tensor.contiguous()
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor.contiguous() for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, dict(progress))
    partial.replace(path)


def load_state(path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, str] | None:
    """Restore what `save_state` wrote, in place, and return its `progress`; None where there is no such file."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress: dict[str, str] = file.metadata()
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
