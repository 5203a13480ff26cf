"""The jobs for workers: the only place where the bot builds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.chat_settings import ChatSettings
from bot.sample_options import SampleRequest
from bot.storage.chats import Picture
from model.drawing.labels import ENGLISH, Deficiency, Labels
from model.found import Kept
from model.serving.jobs import Job
from model.serving.tasks.album import AlbumTask
from model.serving.tasks.base import Language, Task
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.colours import ColoursTask
from model.serving.tasks.edit import EditTask
from model.serving.tasks.find import FindTask
from model.serving.tasks.photo import PhotoTask
from model.serving.tasks.rank import RankTask
from model.serving.tasks.tags import TagsTask


def job_id(bot: int, update: int) -> str:
    """The same whenever and wherever the update is processed; workers may serve several bots."""
    return f"{bot}-{update}"


def place_name(bot: int, chat: int) -> str:
    """As `Job.place` names a chat."""
    return f"{bot}:{chat}"


@dataclass(frozen=True)
class Origin:
    """Who asks for a job, and where."""

    id: str  # of the job: the same for each delivery of one update
    user: int
    place: str  # the chat, as `Job.place` names it
    media_group: str | None = None  # the album that the file belongs to
    labels: Labels = ENGLISH  # what is written on drawn pictures
    language: Language = "en"  # of captions

    @property
    def request(self) -> str:
        """The items of an album count as one request; empty: the job is one by itself."""
        return f"{self.user}:{self.media_group}" if self.media_group else ""


def _job(origin: Origin, task: Task, request: str = "") -> Job:
    return Job(origin.id, origin.user, task, request, origin.place)


def _task(origin: Origin, picture: Picture, model: str) -> PhotoTask:
    """Nothing but the main caption; what else is wanted is for the caller to add."""
    return PhotoTask(
        model=model,
        language=origin.language,
        samples=0,
        sheet=False,
        picture=picture.cache_name,
        labels=origin.labels,
    )


def photo_job(
    origin: Origin, picture: Picture, model: str, settings: ChatSettings, *, sheet: bool = True, vector: bool = False
) -> Job:
    """Caption a photo as the chat's settings say. `sheet`: whether a heatmap can be shown. `vector`: whether the photo
    is to be found later.
    """
    task = replace(
        _task(origin, picture, model),
        samples=0 if settings.alt_text else settings.samples,
        sampling=settings.sampling,
        beam=settings.beam_width,
        sheet=sheet and model == "attention" and settings.heatmap and not settings.alt_text,
        vector=vector and not picture.private,
    )
    return _job(origin, task, origin.request)


def sample_job(
    origin: Origin,
    picture: Picture,
    model: str,
    settings: ChatSettings,
    wanted: SampleRequest,
    *,
    seed: int,
    known: bool,
    shown: tuple[str, ...] = (),
) -> Job:
    """Draw captions as /sample asks, other than those `shown`. `seed`: where /sample names none. `known`: as
    `PhotoTask.known` says.
    """
    task = replace(
        _task(origin, picture, model),
        samples=wanted.count or settings.samples or ChatSettings.samples,
        sampling=wanted.sampling(settings.sampling),
        seed=seed if wanted.seed is None else wanted.seed,
        exclude=shown,
        known=known,
    )
    return _job(origin, task)


def heatmap_job(origin: Origin, picture: Picture, model: str, caption: str) -> Job:
    """Draw the sheet of a caption from before."""
    return _job(origin, replace(_task(origin, picture, model), sheet=True, explain=caption))


def words_job(
    origin: Origin, picture: Picture, model: str, settings: ChatSettings, caption: str, *, known: bool
) -> Job:
    """Draw the words that were weighed for a caption from before; for none, those for the main caption."""
    beam = None if caption else settings.beam_width
    return _job(origin, replace(_task(origin, picture, model), beam=beam, chart=True, explain=caption, known=known))


def compare_job(origin: Origin, picture: Picture, model: str, settings: ChatSettings, *, known: bool) -> Job:
    """Ask both models for their main captions."""
    task = replace(_task(origin, picture, model), beam=settings.beam_width, compare=True, known=known)
    return _job(origin, task)


def colours_job(origin: Origin, kind: Deficiency) -> Job:
    """Draw a photo beside what is seen of it with a colour vision deficiency."""
    return _job(origin, ColoursTask(kind, origin.labels))


def edit_job(origin: Origin, text: str, strength: int, seed: int) -> Job:
    """Change a photo as a text says. `strength`: in percent."""
    return _job(origin, EditTask(text, strength, seed))


def tags_job(origin: Origin, picture: Picture, tags: Sequence[str], *, known: bool) -> Job:
    """Judge which of these tags a photo has. `known`: as `PhotoTask.known` says."""
    return _job(origin, TagsTask(picture=picture.cache_name, known=known, tags=tuple(tags)))


def rank_job(origin: Origin, picture: Picture, texts: Sequence[str], *, known: bool) -> Job:
    """Rank descriptions of a photo. `known`: as `PhotoTask.known` says."""
    return _job(origin, RankTask(picture=picture.cache_name, known=known, texts=tuple(texts)))


def find_job(origin: Origin, text: str, kept: Sequence[Kept]) -> Job:
    """Find photos that a text fits among vectors that travel with the job."""
    return _job(origin, FindTask(text=text, kept=tuple(kept)))


def clip_job(origin: Origin, clip: Picture, model: str, moments: int | None) -> Job:
    """Find the moments of a clip; None: as many as differ."""
    return _job(
        origin,
        ClipTask(model=model, moments=moments, keep=not clip.private, labels=origin.labels, language=origin.language),
        origin.request,
    )


def album_item_job(
    origin: Origin, picture: Picture, model: str, settings: ChatSettings, *, vector: bool = False
) -> Job:
    """Caption one photo of an album: the main caption alone. `vector`: as in `photo_job`."""
    vector = vector and not picture.private
    task = replace(_task(origin, picture, model), beam=settings.beam_width, vector=vector)
    return _job(origin, task, origin.request)


def album_sheet_job(origin: Origin, model: str, captions: Sequence[str]) -> Job:
    """Draw one sheet for an album, whose photos have these captions (empty: none)."""
    return _job(
        origin, AlbumTask(model=model, captions=tuple(captions), labels=origin.labels, language=origin.language)
    )
