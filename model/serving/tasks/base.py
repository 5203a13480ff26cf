"""What all kinds of work have in common, and what the worker offers them. No torch.

A task is a frozen dataclass of options whose `work` makes its result. Its module may be imported by the bot: torch,
numpy and PIL are imported within functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, TypeAlias, TypeVar

from model.decoding.sampling import Sampling
from model.found import Found, Kept, Vector

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image
    from torch import Tensor

    from model.captions import Caption, CaptionSet, NearWords, Translation
    from model.clip_moments import DescribedFrame, PreparedFrame
    from model.drawing.labels import Labels
    from model.media.clips import ClipLimits
    from model.serving.metrics import WorkerMetrics
    from model.serving.tasks.cache import Cache
    from model.tagging.answers import Ranking, Tag

T = TypeVar("T")
Language: TypeAlias = Literal["en", "ru"]  # of captions


@dataclass(frozen=True)
class Result:
    """What a task makes."""


@dataclass(frozen=True)
class WireTranslation:
    """A caption in another language."""

    text: str  # as it is shown
    probability: float  # geometric mean of the piece probabilities, in [0, 1]
    failed: tuple[str, ...]  # the checks that failed, for the log and for curious people, in English
    words: tuple[str, ...]
    aligned: tuple[tuple[int, ...], ...]  # for each word, the places of the English words that it comes from

    @property
    def passed(self) -> bool:
        """Whether it may be shown in place of the English caption."""
        return bool(self.words) and not self.failed

    @classmethod
    def of(cls, found: Translation | None) -> Self | None:
        if found is None:
            return None
        return cls(found.text, round(found.probability, 4), found.failed, found.words, found.aligned)


@dataclass(frozen=True)
class Task:
    """Options of one kind of work. Subclasses set the class variables and `work`."""

    NAME: ClassVar[str]  # on the wire and in metrics
    LINE: ClassVar[str]  # of the queue
    SECONDS: ClassVar[float] = 120.0  # a worker that holds such a job for longer hangs
    ONE_AT_A_TIME: ClassVar[bool] = False  # a worker takes the next of a line when this one is over
    NEEDS_EDITOR: ClassVar[bool] = False  # only workers with a network that edits take it
    RESULT: ClassVar[type[Result]]

    @property
    def needs_media(self) -> bool:
        """Whether the media travel with the job; else it fails with FeaturesGone when the worker lacks them."""
        return True

    def with_media(self) -> Task:
        """The same task, whose media travel with it."""
        return self

    async def work(self, media: bytes, tools: Tools) -> Result:
        """Runs in the worker. Raises CaptionError where the media or the options are at fault."""
        raise NotImplementedError


@dataclass(frozen=True)
class CaptionOptions:
    """What the network is to find of a picture."""

    model: str = "attention"
    samples: int = 5
    sampling: Sampling = Sampling()
    seed: int = 0
    beam: int | None = None  # width of a beam search for the main caption; None: the greedy one
    chart: bool = False  # the words that were weighed at each step, too
    explain: str = ""  # a caption from before: nothing is searched for, where its words are is found out
    exclude: tuple[str, ...] | None = None  # not None: samples differ from these captions and from each other
    compare: bool = False  # the main caption of the other model, too
    language: Language = "en"  # ru: each caption with its translation
    vector: bool = False  # the photo's vector, by which it can be found, too


@dataclass(frozen=True)
class Picture:
    """A picture that is ready for the network: it has been decoded, or its features are known from before."""

    options: CaptionOptions
    square: npt.NDArray[np.uint8] | None  # what the encoder sees, (size, size, 3); None: it need not
    features: Tensor | None = None  # (regions, channels), from before
    keep: bool = False  # whether its features are wanted, too
    job_id: str = ""


@dataclass(frozen=True)
class Findings:
    """What the network found of a picture."""

    captions: CaptionSet  # the main one with its steps, where a chart is asked for
    features: Tensor | None = None  # (regions, channels) on the CPU, where the encoder ran and they are wanted
    other: Caption | None = None  # the other model's main caption, where it is asked for
    translations: Mapping[str, Translation] = field(default_factory=dict)  # of captions' texts, where they are wanted
    vector: Vector | None = None  # where it is asked for and can be had

    @property
    def texts(self) -> list[str]:
        """Of all captions."""
        return self.captions.texts + ([] if self.other is None else [self.other.text])


class Network(Protocol):
    """What a worker runs its batches through."""

    @property
    def image_size(self) -> int:
        """The side of the squares that `Picture.square` holds, in pixels."""

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        """The captions of each picture, or why it has none. Called on one thread."""

    def features(self, square: npt.NDArray[np.uint8]) -> Tensor:
        """Of one picture, (regions, channels) on the CPU, as they are cached. square: (size, size, 3)."""

    def tags(self, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        """Judge each of the tags of one picture. Raises JobFailed where the weights judge none."""

    def rank(self, features: Tensor, texts: Sequence[str]) -> Ranking:
        """Rank descriptions of one picture. Raises JobFailed where the weights rank none."""

    def vector(self, features: Tensor) -> Vector:
        """By which one picture can be found. Raises JobFailed where the weights find none."""

    def find(self, text: str, kept: Sequence[Kept], vectors: bytes) -> Found:
        """Find photos that a text fits, as `Finder.find` does. Raises JobFailed where the weights find none."""

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        """The same for frames of a clip: all of them, or what was wrong is raised."""

    def translate(self, captions: Sequence[str]) -> Mapping[str, Translation]:
        """The Russian translation of each; of none where this worker has no translator."""

    def encode(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """The encoder's grid features, (B, rows, columns, channels). squares: as `Picture.square`."""

    def near_words(self, model: str, word: str, count: int) -> NearWords:
        """A word of a model's vocabulary, and those nearest to it. Raises UnknownWord."""

    def sheet(
        self, photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels
    ) -> bytes:
        """The heatmap sheet of a caption, as `model.drawing.heatmap.sheet_file`. Called on the threads for pixels."""


class PhotoEditor(Protocol):
    """A network that edits photos; see `model.editor.Editor`."""

    def edit(
        self, photo: Image.Image, text: str, strength: float, seed: int, step: Callable[[float], None]
    ) -> Image.Image:
        """The photo, changed as `text` says. `step` is called with the share that is done; what it raises ends it."""


class Tools(Protocol):
    """What a worker offers to the task of one job."""

    job_id: str
    place: str  # the chat of the job, see `model.serving.jobs.Job`
    put: float  # when the job was put in line, on `time.monotonic`
    models: Network
    editor: PhotoEditor | None  # where this worker has one
    cache: Cache
    metrics: WorkerMetrics
    clip_limits: ClipLimits
    max_batch: int

    def pixels(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run `work` in one of the threads for decoding and drawing."""

    async def caption(self, picture: Picture) -> Findings:
        """Run the network on a picture, in one batch with those of other jobs. Raises why it has no captions."""

    async def network(self, work: Callable[[], T], size: int) -> T:
        """Run `work`, of `size` pictures, on the network's thread. It takes turns with the batches of `caption`."""

    async def edit(self, work: Callable[[Callable[[float], None]], T]) -> T:
        """Run `work` on the thread for edits, one after the other, beside the network's.

        It calls what it is given after each step, with the share that is done. That raises JobCancelled when nobody
        wants the result any more, and the bot is told the share.
        """

    async def progress(self, share: float) -> None:
        """Tell the bot how much is done, in [0, 1]."""
