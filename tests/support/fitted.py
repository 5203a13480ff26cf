"""Files that are fitted to an encoder's features."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.network.checkpoint import CheckpointError


def refuses_what_is_not_its_own(load: Callable[[Path, str], object], path: Path) -> None:
    """path: a file that was saved for the encoder "encoder"; it is overwritten."""
    with pytest.raises(CheckpointError, match="not fitted to this encoder"):
        load(path, "another")
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="safetensors"):
        load(path, "encoder")
