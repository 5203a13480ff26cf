"""What tasks have in common that look at one photo, whose features are cached. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

from model.errors import FeaturesGone
from model.serving.tasks.base import Network, Task, Tools

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class LookingTask(Task):
    """Subclasses call `kept`, or `looked` if the features are all that they need, from `work`."""

    picture: str = ""  # the name of the file in its chat: workers cache its features under it; empty: they do not
    known: bool = False  # sent without its media, in the hope that a worker has its features (else: features_gone)

    @property
    def needs_media(self) -> bool:
        return not self.known

    def with_media(self) -> Self:
        return replace(self, known=False)

    def kept(self, media: bytes, tools: Tools) -> Tensor | None:
        """The photo's features from before, (regions, channels); None: they are to be computed of the media.

        Raises FeaturesGone when neither are there.
        """
        features = tools.cache.features(tools.place, self.picture)
        if self.picture:
            tools.metrics.features.labels("no" if features is None else "yes").inc()
        if features is None and self.known and not media:
            raise FeaturesGone("no features of this picture are kept here")
        return features

    async def looked(self, media: bytes, tools: Tools, work: Callable[[Network, Tensor], T]) -> T:
        """What `work` finds of the photo's features, (regions, channels), which are cached.

        Raises FeaturesGone when neither the photo nor its features are there, AnimatedPicture for a picture that
        moves, and what `open_image` raises.
        """
        known = self.kept(media, tools)
        square: npt.NDArray[np.uint8] | None = None
        if known is None:
            began = time.monotonic()
            size = tools.models.image_size
            square = await tools.pixels(lambda: encoder_square(media, size))
            tools.metrics.decode.labels(self.NAME).observe(time.monotonic() - began)

        def run() -> tuple[T, Tensor]:
            features = tools.models.features(square) if square is not None else known
            assert features is not None
            return work(tools.models, features), features

        found, features = await tools.network(run, 1)
        if known is None:
            tools.cache.keep_features(tools.place, self.picture, features, tools.put)
        return found


def encoder_square(media: bytes, size: int) -> npt.NDArray[np.uint8]:
    """The picture as the encoder sees it, (size, size, 3). Raises what `open_photo` raises."""
    from model.media.images import open_photo
    from model.network.encoder import to_square

    return to_square(open_photo(media), size)
