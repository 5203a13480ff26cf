"""The shipped models as a worker holds them."""

from __future__ import annotations

import pytest
from PIL import Image
from torch import Tensor

from model.captioner import Captioner
from model.serving.worker.network import Captioners
from tests.conftest import WEIGHTS


@pytest.fixture(scope="session")
def captioners() -> Captioners:
    return Captioners(WEIGHTS, "cpu", "attention", "fp32")


@pytest.fixture(scope="session")
def features(captioner: Captioner, photos: list[Image.Image]) -> Tensor:
    """Of all photos."""
    return captioner.encode(captioner.squares(photos))
