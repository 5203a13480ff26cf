"""Files that are fitted to an encoder's features, and data sets to fit them to."""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from model.network.checkpoint import CheckpointError, write_tensors
from tests.conftest import PHOTOS


def photo_set(root: Path, rows: Iterable[tuple[str, str, str]]) -> Path:
    """A data set's folder of free photos. rows: name of the photo, a caption, its split; a photo may have several."""
    (root / "images").mkdir(parents=True)
    lines = ["image,caption,split"]
    for photo, caption, split in rows:
        shutil.copy(PHOTOS / f"{photo}.jpg", root / "images" / f"{split}-{photo}.jpg")
        lines.append(f"{split}-{photo}.jpg,{caption},{split}")
    (root / "captions.csv").write_text("\n".join(lines))
    return root


def refuses_what_is_not_its_own(load: Callable[[Path, str], object], path: Path) -> None:
    """path: a file that was saved for the encoder "encoder"; it is overwritten."""
    with pytest.raises(CheckpointError, match="not fitted to this encoder"):
        load(path, "another")
    write_tensors(path, {"none": torch.zeros(1)}, {"encoder_sha256": "encoder"})
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load(path, "encoder")
    path.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="safetensors"):
        load(path, "encoder")
