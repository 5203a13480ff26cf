"""The benchmark of tags runs, and times what it says."""

import pytest
from PIL import Image

from benchmarks.tagging import descriptions, free_tags, measure, report
from model.captioner import Captioner
from model.tagging.lists import checked_descriptions


@pytest.mark.slow
def test_each_kind_is_timed_and_compared_with_an_ordinary_answer(captioner: Captioner) -> None:
    assert checked_descriptions(descriptions(50)).items == tuple(descriptions(50))
    assert captioner.tagger is not None
    assert not set(free_tags(50)) & set(captioner.tagger.head.tags)
    lines = report(measure(captioner, Image.new("RGB", (64, 64), "green"), 1))
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| an ordinary answer",
        "| 330 tags of the dictionary",
        "| 50 free tags",
        "| 50 descriptions",
        "| the encoder alone",
    ]
    assert lines[2].endswith("| 1.00 |")
