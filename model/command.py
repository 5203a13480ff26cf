"""`start.py caption` and the start of a worker process: what the command line asks of the captioner."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from model.captioner import Caption, Captioner, CaptionSet
from model.checkpoint import CheckpointError
from model.config import DecoderKind
from model.errors import CaptionError
from model.heatmap import draw_sheet, encode_jpeg
from model.images import open_image
from model.sampling import Sampling

BATCH = 8
GRACE = 30.0  # seconds a worker has to finish when it is asked to stop
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionRequest:
    """The options of `start.py caption`."""

    files: Sequence[str]
    weights: Path
    device: str
    model: DecoderKind = "attention"
    samples: int = 5
    sampling: Sampling = Sampling()
    seed: int = 0
    beam: int = 3  # width; 1: greedy only
    as_json: bool = False
    output: Path | None = None


def caption_files(request: CaptionRequest) -> int:
    """Caption files, printing each answer when its batch is done; the exit status is 1 if any could not be read."""
    try:
        captioner = Captioner.load(request.weights, request.device, model=request.model)
    except (CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sheets = _sheet_paths(request)
    failed = False
    try:
        if request.output is not None:
            request.output.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(request.files), BATCH):
            for file, answer in _caption_batch(captioner, request, request.files[start : start + BATCH], sheets):
                failed = failed or isinstance(answer, CaptionError | OSError)
                _print(request, file, answer)
    except OSError as error:  # those of the pictures are answers; this one is of --output, or of standard output
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


def _caption_batch(
    captioner: Captioner, request: CaptionRequest, files: Sequence[str], sheets: dict[str, Path]
) -> Iterator[tuple[str, CaptionSet | CaptionError | OSError]]:
    photos: dict[int, Image.Image] = {}
    errors: dict[int, CaptionError | OSError] = {}
    for row, file in enumerate(files):
        try:
            photos[row] = open_image(Path(file).read_bytes())
        except (CaptionError, OSError) as error:
            errors[row] = error
    answers = dict(
        zip(
            photos,
            captioner.caption(
                list(photos.values()),
                samples=request.samples,
                sampling=request.sampling,
                beam=request.beam if request.beam > 1 else None,
                seed=request.seed,
            ),
            strict=True,
        )
    )
    for row, file in enumerate(files):
        if row in errors:
            yield file, errors[row]
            continue
        first = answers[row].main
        if file in sheets and first.attention is not None:
            sheets[file].write_bytes(encode_jpeg(draw_sheet(photos[row], first.words, first.attention)))
        yield file, answers[row]


def _sheet_paths(request: CaptionRequest) -> dict[str, Path]:
    """Where each file's sheet goes; files of one name from several folders do not overwrite each other."""
    paths: dict[str, Path] = {}
    if request.output is not None:
        for file in dict.fromkeys(request.files):
            stem = Path(file).stem
            names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            paths[file] = next(
                path for name in names if (path := request.output / f"{name}.heatmap.jpg") not in paths.values()
            )
    return paths


def _print(request: CaptionRequest, file: str, answer: CaptionSet | CaptionError | OSError) -> None:
    if request.as_json:
        print(json.dumps(_json(request, file, answer), ensure_ascii=False), flush=True)
    elif isinstance(answer, CaptionSet):
        print(*_lines(file, answer), sep="\n", flush=True)
    else:
        print(f"{file}: {_reason(answer)[1]}", file=sys.stderr, flush=True)


def _lines(file: str, answer: CaptionSet) -> Iterator[str]:
    """The main caption first; the greedy one where it says something else; the sampled ones."""
    yield file
    yield f"  {_line(answer.main)}"
    if answer.greedy.words != answer.main.words:
        yield f"  greedy: {_line(answer.greedy)}"
    yield from (f"  - {_line(sample)}" for sample in answer.samples)


def _line(caption: Caption) -> str:
    return f"{caption.text}  ({caption.confidence:.0%})"


def _reason(error: CaptionError | OSError) -> tuple[str, str]:
    if isinstance(error, CaptionError):
        return error.kind, str(error)
    return "unreadable", error.strerror or str(error)


def _json(request: CaptionRequest, file: str, answer: CaptionSet | CaptionError | OSError) -> dict[str, Any]:
    if not isinstance(answer, CaptionSet):
        kind, message = _reason(answer)
        return {"file": file, "error": {"kind": kind, "message": message}}

    def fields(caption: Caption) -> dict[str, Any]:
        return {"text": caption.text, "confidence": round(caption.confidence, 4)}

    return {
        "file": file,
        "model": request.model,
        "greedy": fields(answer.greedy),
        **({"best": fields(answer.best)} if answer.best is not None else {}),
        "samples": [fields(sample) for sample in answer.samples],
    }
