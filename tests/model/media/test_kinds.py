"""Pixels, times and shapes of each kind of file; what people get for it is in tests/program/test_files.py."""

from __future__ import annotations

import pytest

from tests.support.clip_kinds import clip_kinds
from tests.support.kinds import Kind
from tests.support.picture_kinds import picture_kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in [*picture_kinds(), *clip_kinds()] if kind.check], ids=lambda k: k.name
)
def test_what_is_decoded_is_what_the_file_means(kind: Kind) -> None:
    assert kind.check is not None
    kind.check(kind.make())
