"""Captioned image data sets, in the Karpathy layout or as a table of captions, and the cache of encoder features."""

import csv
import hashlib
import json
import os
import random
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.network.device import autocast
from model.network.encoder import Encoder, to_square
from model.network.vocabulary import END, PAD, START, Vocabulary


class DataError(Exception):
    """A data set that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Example:
    """One image and its reference captions, as written."""

    name: str
    path: Path
    captions: tuple[str, ...]


def resolve_data(name: str) -> Path:
    """The folder of a data set: a path, or a name inside the folder that DATASETS_DIR names (default `datasets`)."""
    path = Path(name)
    return path if path.exists() else Path(os.environ.get("DATASETS_DIR", "datasets")) / name


def load_split(root: Path, split: str) -> list[Example]:
    """The examples of one split (train, val, test …) of a data set's folder.

    It holds `dataset*.json` in the Karpathy layout, or `captions.csv` (see `_from_table`), and the images, in
    `images/` if there is such a folder; COCO's lie in subfolders of their own, as its file says, and its `restval` is
    for training. Raises DataError when neither file is there, the split is empty or an image is missing.
    """
    listing, rows = _read(root)
    folder = root / "images" if (root / "images").is_dir() else root
    examples = [
        Example(f"{root.name}/{file}", folder / file, captions) for file, belongs, captions in rows if belongs == split
    ]
    if not examples:
        raise DataError(f"{listing}: no images in split {split!r}")
    missing = next((example.path for example in examples if not example.path.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: listed in {listing.name}, but not there")
    return examples


def load_captions(root: Path) -> list[tuple[str, ...]]:
    """The captions of each photo of a data set's folder, of all splits, its photos there or not. Raises DataError."""
    return [captions for _, _, captions in _read(root)[1]]


def _read(root: Path) -> tuple[Path, list[tuple[str, str, tuple[str, ...]]]]:
    """The file that lists a data set, and file, split and captions of each image. Raises DataError."""
    found = [*sorted(root.glob("dataset*.json")), *sorted(root.glob("captions.csv"))]
    if not found:
        raise DataError(f"{root}: no dataset*.json (the Karpathy layout) and no captions.csv in this folder")
    return found[0], (_from_table if found[0].suffix == ".csv" else _from_karpathy)(found[0])


def _from_karpathy(path: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """File, split and captions of each image. Raises DataError."""
    try:
        return [
            (
                str(Path(entry.get("filepath", "")) / entry["filename"]),
                "train" if entry["split"] == "restval" else entry["split"],
                tuple(sentence["raw"].strip() for sentence in entry["sentences"]),
            )
            for entry in json.loads(path.read_text(encoding="utf-8"))["images"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not in the Karpathy layout ({error!r})") from error


def _from_table(path: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """File, split and captions of each image, of a CSV file with the columns image and caption, a row a caption.

    A column split may say where an image belongs; without it a tenth of the images is for validation and a tenth for
    tests, chosen by their names alone, so that adding images moves none to another split. Raises DataError.
    """
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                image, caption = row["image"].strip(), row["caption"].strip()
                tenth = hashlib.sha256(image.encode()).digest()[0] % 10
                captions.setdefault(image, []).append(caption)
                splits[image] = (row.get("split") or "").strip() or {0: "val", 1: "test"}.get(tenth, "train")
    except (KeyError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file with the columns image and caption ({error!r})") from error
    return [(image, splits[image], tuple(several)) for image, several in captions.items()]


def shuffled_batches(examples: int, batch: int, *, seed: int, epoch: int, least: int = 1) -> list[list[int]]:
    """Rows of the examples in the order of this epoch, `batch` at a time; a rest of fewer than `least` is left out."""
    order = list(range(examples))
    random.Random(seed * 1000 + epoch).shuffle(order)
    batches = [order[start : start + batch] for start in range(0, examples, batch)]
    return [rows for rows in batches if len(rows) >= least]


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """The seed of a step's dropout and sampling: a resumed run draws the same numbers as one that never stopped."""
    return (seed + 1) * 1_000_003 + step + process * 500_000_003


Area: TypeAlias = tuple[float, float, float, float]  # left, top, width, height, as shares of a picture


@dataclass(frozen=True)
class Pasted:
    """A photo as a part of a picture."""

    example: Example
    area: Area  # which it is squeezed into


Collage: TypeAlias = tuple[Pasted, ...]  # later ones lie above earlier ones
Shown: TypeAlias = Example | Collage
SIDES: Final = re.compile(r"\b(left|right)", re.IGNORECASE)


def may_flip(example: Example) -> bool:
    """Whether all captions stay true of the mirror image: none speaks of left or right."""
    return not any(SIDES.search(caption) for caption in example.captions)


def augment(image: Image.Image, rng: random.Random, *, flip: bool) -> Image.Image:
    """A random crop (at least 49 % of the area), a change of light; with `flip`, one in two is mirrored."""
    width, height = image.size
    scale_x, scale_y = rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0)
    left, top = rng.uniform(0, 1 - scale_x) * width, rng.uniform(0, 1 - scale_y) * height
    image = image.crop((int(left), int(top), int(left + scale_x * width), int(top + scale_y * height)))
    if rng.random() < 0.5 and flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.75, 1.25))
    return image


def compose(parts: Iterable[tuple[Image.Image, Area]]) -> Image.Image:
    """A square of 512 pixels a side with whole photos squeezed into their areas, later ones above earlier ones."""
    joined = Image.new("RGB", (512, 512))
    for photo, area in parts:
        left, top, width, height = (round(512 * share) for share in area)
        joined.paste(photo.convert("RGB").resize((max(1, width), max(1, height))), (left, top))
    return joined


def load_images(shown: Sequence[Shown], size: int, rng: random.Random | None = None) -> Tensor:
    """(B, 3, size, size) uint8; each photo is augmented when `rng` is given."""

    def load(example: Example) -> Image.Image:
        with Image.open(example.path) as file:
            image = file.convert("RGB")
        return image if rng is None else augment(image, rng, flip=may_flip(example))

    pictures = (
        load(each) if isinstance(each, Example) else compose((load(part.example), part.area) for part in each)
        for each in shown
    )
    return torch.from_numpy(np.stack([to_square(picture, size) for picture in pictures])).permute(0, 3, 1, 2)


def prefetch(
    batches: Sequence[Sequence[Shown]], size: int, rng: random.Random | None, *, workers: int = 1
) -> Iterator[Tensor]:
    """The images of each batch in order; the next `workers` are loaded on threads while the present one is in use."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Tensor]] = deque()
        for batch in batches:
            own = random.Random(rng.getrandbits(64)) if rng else None  # so that no thread takes another's numbers
            waiting.append(pool.submit(load_images, batch, size, own))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Features:
    """Encoder features of examples in a memory-mapped file, made once per encoder and list of images."""

    def __init__(self, array: npt.NDArray[np.float16]) -> None:
        self.array = array  # (examples, regions, channels)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """(B, regions, channels) float32."""
        return torch.from_numpy(self.array[list(rows)].astype(np.float32))

    @classmethod
    def cached(
        cls,
        folder: Path,
        encoder: Encoder,
        fingerprint: str,
        examples: Sequence[Shown],
        *,
        batch: int = 16,
        workers: int = 1,
    ) -> Self:
        """Features of `examples`, from the cache or computed into it (resumable: finished batches are kept)."""
        device = next(encoder.parameters()).device
        listing = "\n".join([fingerprint, *map(_files, examples)])
        stem = folder / hashlib.sha256(listing.encode()).hexdigest()[:16]
        shape = (len(examples), encoder.config.regions, encoder.config.channels)
        done_file = stem.with_suffix(".done")
        done = int(done_file.read_text()) if done_file.exists() else 0
        folder.mkdir(parents=True, exist_ok=True)
        mode = "r+" if done else "w+"
        array = np.memmap(stem.with_suffix(".f16"), np.float16, mode=mode, shape=shape)  # type: ignore[call-overload]
        encoder.eval()
        starts = range(done, len(examples), batch)
        chunks = [examples[start : start + batch] for start in starts]
        with torch.inference_mode():
            loaded = prefetch(chunks, encoder.config.image_size, None, workers=workers)
            for start, images in zip(starts, loaded, strict=True):
                with autocast(device, "auto"):
                    features = encoder(images.to(device))
                array[start : start + len(images)] = features.to(torch.float16).cpu().numpy()
                if (start // batch) % 32 == 0 or start + batch >= len(examples):
                    array.flush()
                    done_file.write_text(str(min(start + batch, len(examples))))
                    print(f"features: {min(start + batch, len(examples))}/{len(examples)}", flush=True)
        return cls(array)


def _files(shown: Shown) -> str:
    if isinstance(shown, Example):
        return str(shown.path)
    return " | ".join(f"{part.example.path} {part.area}" for part in shown)


def pad_captions(captions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Captions as indices → inputs and targets, each (N, T) int64: <start> w₁ … wₙ and w₁ … wₙ <end>, padded."""
    inputs = [torch.tensor([START, *caption]) for caption in captions]
    targets = [torch.tensor([*caption, END]) for caption in captions]
    return (
        pad_sequence(inputs, batch_first=True, padding_value=PAD),
        pad_sequence(targets, batch_first=True, padding_value=PAD),
    )


def encode_captions(examples: Sequence[Example], vocabulary: Vocabulary, max_words: int) -> list[list[list[int]]]:
    """Per example, its captions as indices, each cut to `max_words`; empty captions are left out."""
    encoded = [[vocabulary.encode(caption)[:max_words] for caption in example.captions] for example in examples]
    return [[caption for caption in captions if caption] for captions in encoded]
