"""What can be asked of a worker beside a caption: explanations, charts, more captions, the other model, and twice."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from torch import Tensor

from model.captioner import Captioner
from model.decoding.sampling import Sampling
from model.errors import EmptyFile, FeaturesGone, JobFailed, Unexplainable
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.metrics import WorkerMetrics
from model.serving.tasks import TASKS
from model.serving.tasks.clip import ClipResult, ClipTask
from model.serving.tasks.photo import PhotoResult
from model.serving.worker import worker as worker_module
from model.serving.worker.network import Captioners
from model.serving.worker.worker import Worker
from tests.conftest import WEIGHTS
from tests.support import pipes as workers
from tests.support.clock import eventually
from tests.support.jobs import changed, make_job
from tests.support.pipes import Pipes, job

PHOTO = make_job("", user=1, samples=3, sheet=False, place="chat", picture="cat")


class Looked:
    """Which features were looked for and found, and what was decoded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry)

    @property
    def kept(self) -> tuple[float | None, float | None]:
        """How often they were not there, and how often they were."""
        name = "caption_features_looked_for_total"
        return self.value(name, kept="no"), self.value(name, kept="yes")

    @property
    def decodings(self) -> float | None:
        return self.value("caption_decode_seconds_count", kind="photo")

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through the encoder, run by run."""
    sizes: list[int] = []
    encode = Captioner.encode

    def counted(captioner: Captioner, squares: Tensor) -> Tensor:
        sizes.append(len(squares))
        return encode(captioner, squares)

    monkeypatch.setattr(Captioner, "encode", counted)
    return sizes


@dataclasses.dataclass
class Served:
    """A worker on a queue, asked one job after the other."""

    queue: LocalQueue
    looked: Looked
    media: bytes
    asked: int = 0

    async def ask(self, base: Job = PHOTO, /, media: bytes | None = None, **changes: object) -> PhotoResult:
        result = await self.ask_any(base, media, **changes)
        assert isinstance(result, PhotoResult)
        return result

    async def ask_any(self, base: Job, media: bytes | None = None, **changes: object) -> Any:
        self.asked += 1
        each = changed(base, str(self.asked), **changes)
        await self.queue.put(each, (self.media if each.task.needs_media else b"") if media is None else media)
        try:
            return await asyncio.wait_for(self.queue.wait(each.id), 60)
        finally:
            await self.queue.forget(each.id)


@contextlib.asynccontextmanager
async def serving(captioners: Captioners, media: bytes) -> AsyncIterator[Served]:
    looked = Looked()
    async with workers.serving(captioners, max_batch=4, metrics=looked.metrics) as queue:
        yield Served(queue, looked, media)


@pytest.fixture
async def served(captioners: Captioners, photo_files: list[Path]) -> AsyncIterator[Served]:
    async with serving(captioners, photo_files[1].read_bytes()) as made:
        yield made


def texts(result: PhotoResult) -> list[str]:
    return [sample.text for sample in result.samples]


# -- explanations and charts


async def test_the_sheet_of_an_explained_caption_is_the_one_it_had(served: Served) -> None:
    whole = await served.ask(sheet=True, beam=3)
    again = await served.ask(sheet=True, explain=whole.main.text)
    assert again.greedy.text == whole.main.text
    assert (again.samples, again.best) == ((), None)
    assert whole.sheet is not None
    assert again.sheet is not None
    before, after = (np.asarray(Image.open(io.BytesIO(sheet)), int) for sheet in (whole.sheet, again.sheet))
    assert np.abs(before - after).max() <= 8
    sampled = await served.ask(sheet=True, explain=whole.samples[0].text)
    assert sampled.sheet != whole.sheet


@pytest.mark.parametrize("model", ["attention", "baseline"])
async def test_a_chart_of_the_main_caption_or_of_any_other(served: Served, model: str) -> None:
    main = await served.ask(model=model, chart=True, beam=3)
    same = await served.ask(model=model, chart=True, explain=main.main.text)
    other = await served.ask(model=model, chart=True, explain=main.samples[0].text)
    for result in (main, same, other):
        assert result.chart is not None
        assert Image.open(io.BytesIO(result.chart)).format == "PNG"
        assert result.sheet is None
    assert same.chart == main.chart
    assert other.chart != main.chart
    assert (await served.ask(model=model)).chart is None


async def test_what_cannot_be_explained_fails_alone(served: Served) -> None:
    asked = [served.ask(explain=text) for text in ("a cat", "qwertzuiop on a cat", "!?", "a dog")]
    cat, unknown, empty, dog = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(cat, PhotoResult)
    assert isinstance(dog, PhotoResult)
    assert (cat.greedy.text, dog.greedy.text) == ("a cat", "a dog")
    assert isinstance(unknown, Unexplainable)
    assert "1 of 4 words" in str(unknown)
    assert "qwertz" not in str(unknown)  # people's words are not for the log
    assert isinstance(empty, Unexplainable)


@pytest.mark.parametrize("model", ["attention", "baseline"])
async def test_details_are_told_where_they_are_asked_for(served: Served, model: str) -> None:
    result = await served.ask(model=model, beam=3, details=True)
    short = await served.ask(model=model, beam=3)
    assert result.best is not None
    for caption in (result.greedy, result.best, *result.samples):
        assert " ".join(caption.words) == caption.text
        assert len(caption.log_probs) == len(caption.words)
        assert all(each <= 0 for each in caption.log_probs)
        assert (caption.attention is not None) == (model == "attention")
        for rows in caption.attention.as_lists() if caption.attention else ():
            assert [len(row) for row in rows] == [8] * 8
            assert sum(map(sum, rows)) == pytest.approx(1, abs=1e-4)
    assert texts(short) == texts(result)
    assert (short.greedy.words, short.greedy.log_probs, short.greedy.attention) == ((), (), None)


# -- more captions


async def test_more_captions_are_others(served: Served) -> None:
    ladder = Sampling(ladder=True)
    shown: list[str] = []
    for press in range(3):
        result = await served.ask(samples=5, sampling=ladder, exclude=tuple(shown), seed=press)
        assert len(result.samples) == 5
        shown += texts(result)
    assert len(set(shown)) == 15
    none = await served.ask(samples=5, sampling=Sampling(top_k=1), exclude=(result.greedy.text,))
    assert none.samples == ()


# -- the other model


@pytest.mark.parametrize(("model", "other"), [("attention", "baseline"), ("baseline", "attention")])
async def test_models_are_compared_on_one_look_at_the_photo(
    served: Served, encoded: list[int], model: str, other: str
) -> None:
    both = await served.ask(model=model, compare=True, beam=3)
    assert encoded == [1]
    alone = await served.ask(model=other, beam=3)
    assert both.other is not None
    assert both.other == alone.main
    assert both.main.text != both.other.text
    assert alone.other is None


def test_the_network_is_warmed_up_with_one_picture_and_with_a_full_batch(
    small_weights: str, encoded: list[int]
) -> None:
    captioners = Captioners(Path(small_weights), "cpu", "attention", "fp32")
    encoded.clear()
    captioners.warm_up(3)
    assert encoded == [1, 3]


@pytest.mark.slow
async def test_a_model_that_is_not_there_fails_its_own_jobs_only(
    tmp_path: Path, photo_files: list[Path], encoded: list[int]
) -> None:
    for name in ("encoder", "attention"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    lacking = Captioners(tmp_path, "cpu", "attention", "fp32")
    async with serving(lacking, photo_files[1].read_bytes()) as served:
        asked = [served.ask(), served.ask(model="baseline"), served.ask(compare=True), served.ask(model="gpt")]
        good, *bad = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(good, PhotoResult)
        for error in bad:
            assert isinstance(error, JobFailed)
            assert "no such weights file" in str(error)
        with pytest.raises(JobFailed, match="no such weights file"):
            await served.ask(make_job("", 1, task=ClipTask, model="baseline"), media=clip_from(photo_files))
        assert (await served.ask(picture="another")).greedy == good.greedy
        [jobs] = [family for family in served.looked.registry.collect() if family.name == "caption_jobs"]
        outcomes = {tuple(each.labels.values()) for each in jobs.samples}
        assert outcomes == {("photo", "failed"), ("clip", "failed"), *((name, "done") for name in TASKS)}
    assert sum(encoded) <= 5  # none of them twice


def clip_from(photo_files: Sequence[Path]) -> bytes:
    frames = [Image.open(file).convert("RGB").resize((160, 120)) for file in photo_files[:3] for _ in range(4)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=500)
    return out.getvalue()


# -- features that are kept


async def test_asking_again_costs_only_decoding(served: Served, encoded: list[int]) -> None:
    first = await served.ask(seed=3, beam=3)
    again = await served.ask(seed=3, beam=3, known=True)
    assert again == first  # what is kept of the photo is what was first found, to the last bit
    assert texts(await served.ask(seed=4, known=True)) != texts(first)
    sent = await served.ask(seed=3, beam=3)  # its media came along, and are not looked at
    assert sent == first
    assert encoded == [1]
    assert served.looked.decodings == 1
    assert served.looked.kept == (1, 3)


async def test_a_sheet_needs_the_photo_and_no_encoder(served: Served, encoded: list[int]) -> None:
    first = await served.ask(sheet=True)
    again = await served.ask(sheet=True)
    assert again.sheet == first.sheet
    assert encoded == [1]
    assert served.looked.decodings == 2
    assert served.looked.value("caption_draw_seconds_count") == 2
    assert served.looked.value("caption_forward_seconds_count") == 2
    assert served.looked.value("caption_jobs_total", kind="photo", outcome="done") == 2
    assert (await served.ask(sheet=True, chart=True, known=True)).sheet is None  # there is none to draw on


async def test_another_model_uses_the_same_features(served: Served, encoded: list[int]) -> None:
    await served.ask()
    known = await served.ask(model="baseline", known=True)
    assert known == await served.ask(model="baseline", place="", picture="")
    assert encoded == [1, 1]


@pytest.mark.parametrize("changes", [{"place": "other chat"}, {"picture": "dog"}, {"place": ""}, {"picture": ""}])
async def test_features_are_found_only_under_their_chat_and_picture(served: Served, changes: dict[str, Any]) -> None:
    await served.ask(**changes if "" in changes.values() else {})
    with pytest.raises(FeaturesGone):
        await served.ask(**changes, known=True)


async def test_a_picture_that_cannot_be_read_leaves_nothing(served: Served) -> None:
    with pytest.raises(EmptyFile):
        await served.ask(media=b"")
    with pytest.raises(FeaturesGone):
        await served.ask(known=True)


@pytest.mark.slow
async def test_known_and_new_pictures_share_a_batch(
    captioners: Captioners, photo_files: list[Path], encoded: list[int]
) -> None:
    media = [file.read_bytes() for file in photo_files[:4]]
    async with serving(captioners, media[0]) as served:
        alone = [await served.ask(picture=str(row), media=media[row]) for row in range(4)]
        encoded.clear()
        asked = [{"picture": str(row), "known": True} if row % 2 else {"media": media[row]} for row in range(4)]
        mixed = await asyncio.gather(*(served.ask(**{"picture": "", **each}) for each in asked))  # type: ignore[arg-type]
    assert mixed == alone
    assert sum(encoded) == 2


async def test_a_forgotten_chat_leaves_nothing_behind(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    async with serving(captioners, photo_files[1].read_bytes()) as other:
        await other.ask()
        await other.ask(place="neighbour")
        await other.queue.forget_place("chat")
        async with asyncio.timeout(60):
            while True:
                try:
                    await other.ask(known=True)
                except FeaturesGone:
                    break
                await asyncio.sleep(0.02)
        await other.ask(place="neighbour", known=True)
        await other.ask()  # it is used again
        await other.ask(known=True)


@pytest.mark.slow
async def test_moments_are_chosen_anew_without_the_network(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without any picture from before: the frames are those of the media that came with the job."""
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    sizes: list[int] = []
    describe = Captioners.describe

    def counted(captioners: Captioners, model: str, frames: Sequence[object]) -> object:
        sizes.append(len(frames))
        return describe(captioners, model, frames)  # type: ignore[arg-type]

    monkeypatch.setattr(Captioners, "describe", counted)
    media = clip_from(photo_files)

    async def watch(place: str, moments: int | None = None) -> ClipResult:
        each = job(f"{place} {len(sizes)} {moments}", task=ClipTask, place=place, moments=moments)
        await pipes.queue.put(each, media)
        result = await asyncio.wait_for(pipes.queue.wait(each.id), 60)
        assert isinstance(result, ClipResult)
        return result

    async with Pipes() as pipes:
        stop = asyncio.Event()
        forgotten: list[str] = []
        heard = pipes.consumer.forgotten

        async def forgetting() -> list[str]:
            places = await heard()
            forgotten.extend(places)
            return places

        monkeypatch.setattr(pipes.consumer, "forgotten", forgetting)
        running = asyncio.create_task(Worker(pipes.consumer, captioners).run(stop))
        first = await watch("a")
        seen = len(sizes)
        assert len((await watch("a", 2)).pictures) == 2
        assert len(sizes) == seen
        assert (await watch("b")).pictures == first.pictures
        assert len(sizes) > seen  # chats share nothing
        await pipes.queue.forget_place("a")
        await eventually(lambda: "a" in forgotten)
        seen = len(sizes)
        await watch("a", 3)
        assert len(sizes) > seen
        stop.set()
        await running


# -- Russian


async def test_russian_captions_come_with_the_english_ones(served: Served) -> None:
    english = await served.ask(sheet=True, beam=3, compare=True)
    russian = await served.ask(sheet=True, beam=3, compare=True, language="ru")
    captions = [russian.greedy, *russian.samples, russian.best, russian.other]
    for caption in captions:
        assert caption is not None
        assert caption.translation is not None
        words = caption.text.split()
        assert len(caption.translation.aligned) == len(caption.translation.words) > 0
        assert all(places and set(places) <= set(range(len(words))) for places in caption.translation.aligned)
    plain = [each and dataclasses.replace(each, translation=None, translated_beginning=None) for each in captions]
    assert plain == [english.greedy, *english.samples, english.best, english.other]
    assert russian.main.translation is not None
    assert (russian.sheet != english.sheet) is russian.main.translation.passed


async def test_another_language_needs_neither_the_photo_nor_the_encoder_again(served: Served) -> None:
    english = await served.ask(picture="p", place="c")
    russian = await served.ask(picture="p", place="c", language="ru", known=True)
    assert texts(russian) == texts(english)
    assert russian.main.translation is not None


async def test_weighed_words_name_the_russian_ones(served: Served) -> None:
    weighed = (await served.ask(chart=True, samples=0, language="ru")).weighed
    said = {word for step in weighed for word in step.translated.split()}
    again = (await served.ask(chart=True, samples=0, language="ru")).greedy.translation
    assert again is not None
    assert said == {word.rstrip(",") for word in again.words if again.passed}
    assert weighed[-1].translated == ""  # the end comes from no word
    assert not any(step.translated for step in (await served.ask(chart=True, samples=0)).weighed)


@pytest.mark.slow
async def test_clips_and_albums_speak_russian(served: Served, photo_files: list[Path]) -> None:
    def clip(language: str) -> Job:
        return make_job("", 1, task=ClipTask, language=language)

    assert {frame.translation for frame in (await served.ask_any(clip("en"), clip_from(photo_files))).frames} == {None}
    frames = (await served.ask_any(clip("ru"), clip_from(photo_files))).frames
    assert frames
    assert all(frame.translation is not None and frame.translation.words for frame in frames)


async def test_a_worker_without_translator_says_it_in_english(tmp_path: Path, photo_files: list[Path]) -> None:
    for name in ("encoder", "attention"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    async with serving(Captioners(tmp_path, "cpu", "attention", "fp32"), photo_files[1].read_bytes()) as served:
        assert await served.ask(language="ru", sheet=True) == await served.ask(sheet=True)
