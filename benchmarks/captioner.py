"""What a photo's captions cost: `python -m benchmarks.captioner`.

The whole work of an answer (greedy caption, five samples, heatmap sheet) for batches of 1, 8 and 32, against two
yardsticks measured in the same run:

* the encoder alone, batch by batch, in the same precision;
* the same work done the naive way, in fp32: one photo at a time, batch normalisation apart, the encoder run again
  for each caption, and for each word the whole prefix run again from <start>.

Then what it costs to ask again about a photo, one at a time: five samples from the features that a worker keeps,
against the same from the file's bytes, and what it costs when 15 that were shown may not come again.

With `--russian`, instead: an answer as the bot gives it (beam, five samples, sheet) in Russian against the same
in English, in turn, so that both meet the same machine.

Each is measured in fp32, in bf16 where that is faster, and in int8 where it can be used.

Batches follow one another as in the worker: sheets are drawn on threads beside the next batch's network.

On a GPU first of all answers as a worker gives them there, warmed up: what share of the roofline its encoder reaches,
which is the speed of a large product of matrices measured in the same run, and answers per second, with batches of 64.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the worker has it: see start.py

import argparse
import contextlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.captioner import Captioner, CaptionSet
from model.captions import Translation
from model.decoding.sampling import Sampling
from model.decoding.search import USUAL_BEAM, candidates
from model.drawing.heatmap import draw_sheet
from model.media.images import encode_jpeg, open_image
from model.network.checkpoint import ENCODER_FILE, load_encoder
from model.network.config import MODELS, DecoderKind
from model.network.device import bf16_is_faster
from model.network.encoder import Encoder, to_square
from model.network.graphs import Recorder
from model.network.vocabulary import END, PAD, START, UNKNOWN
from model.serving.tasks.base import CaptionOptions, Picture
from model.serving.tasks.photo import PhotoTask, compose
from model.serving.worker.network import Captioners
from model.translation import RUSSIAN_FILE, Translations
from model.variety import varied_captions

SAMPLES = 5
ABILITIES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
PHOTOS = Path(__file__).resolve().parent.parent / "tests" / "photos"


@dataclass(frozen=True)
class Timing:
    """Seconds per photo."""

    whole: float
    encoder: float
    decoding: float
    sheet: float


def distinct_photos(count: int) -> list[Image.Image]:
    """`count` photos that differ: crops of the project's own."""
    sources = [open_image(path.read_bytes()) for path in sorted(PHOTOS.glob("*.jpg"))]
    photos = []
    for index in range(count):
        source = sources[index % len(sources)]
        inset = index // len(sources) * 12
        photos.append(source.crop((inset, inset, source.width - inset, source.height - inset)))
    return photos


def draw(photo: Image.Image, captions: CaptionSet) -> bytes:
    if captions.greedy.attention is None:
        return b""
    return encode_jpeg(draw_sheet(photo, captions.greedy.words, captions.greedy.attention))


def clock(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of `work`, after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def measure(captioner: Captioner, photos: Sequence[Image.Image], batches: int, repeats: int) -> Timing:
    """The work of `batches` batches of `photos`, and its parts on their own."""
    squares = captioner.squares(photos)
    features = captioner.encode(squares)
    captions = captioner.caption_features(features, samples=SAMPLES)

    def whole() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sheets: list[Future[bytes]] = []
            for _ in range(batches):
                answers = captioner.caption(photos, samples=SAMPLES)
                sheets += [pool.submit(draw, p, a) for p, a in zip(photos, answers, strict=True)]
            for sheet in sheets:
                sheet.result()

    def encoder_alone() -> None:
        for _ in range(batches):
            captioner.encode(squares)

    per = batches * len(photos)
    return Timing(
        whole=clock(whole, repeats) / per,
        encoder=clock(encoder_alone, repeats) / per,
        decoding=clock(lambda: captioner.caption_features(features, samples=SAMPLES), repeats) / len(photos),
        sheet=clock(lambda: [draw(p, c) for p, c in zip(photos, captions, strict=True)], repeats) / len(photos),
    )


class Naive:
    """The same captions, by the code that one writes first."""

    def __init__(self, captioner: Captioner, weights: Path) -> None:
        self.captioner = captioner
        self.encoder = load_encoder(weights / ENCODER_FILE).to(captioner.device)

    @torch.inference_mode()
    def caption(
        self, photo: Image.Image, *, greedy: bool, generator: torch.Generator
    ) -> tuple[list[str], torch.Tensor]:
        decoder = self.captioner.decoder
        features = self.encoder(self.captioner.squares([photo]).to(self.captioner.device))
        words: list[int] = []
        looks: list[torch.Tensor] = []
        for position in range(decoder.config.max_words):
            state = decoder.init_state(features)
            for token in [START, *words]:
                logits, state, look = decoder.step(torch.tensor([[token]], device=features.device), state)
            logits[..., [PAD, START, UNKNOWN]] = -torch.inf
            log_probs = logits[0, 0].log_softmax(dim=-1)
            if greedy:
                word = int(log_probs.argmax())
            else:
                probabilities, indices = candidates(log_probs, Sampling(), position)
                word = int(indices[torch.multinomial(probabilities, 1, generator=generator)])
            if word == END:
                break
            words.append(word)
            if look is not None:
                looks.append(look[0, 0])
        grid = self.captioner.encoder.config
        maps = torch.stack(looks).view(-1, grid.rows, grid.columns) if looks else torch.empty(0)
        return self.captioner.vocabulary.decode(words), maps

    def answer(self, photo: Image.Image) -> bytes:
        generator = torch.Generator(self.captioner.device).manual_seed(0)
        words, maps = self.caption(photo, greedy=True, generator=generator)
        for _ in range(SAMPLES):
            self.caption(photo, greedy=False, generator=generator)
        return encode_jpeg(draw_sheet(photo, words, maps.cpu().numpy())) if len(maps) else b""


def measure_again(captioner: Captioner, repeats: int) -> str:
    """A line: asking again from kept features against captioning anew."""
    files = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]

    def encode(data: bytes) -> Tensor:
        return captioner.encode(captioner.squares([open_image(data)]))

    def sample(features: Tensor) -> list[str]:
        [answer] = captioner.caption_features(features, samples=SAMPLES, seed=1)
        return [caption.text for caption in answer.samples]

    kept = [encode(data)[0].to("cpu", captioner.dtype, copy=True) for data in files]
    shown = [{caption for seed in range(3) for caption in sample(encode(data))} for data in files]

    def again(features: Tensor) -> Tensor:
        return features.to(captioner.device).float().unsqueeze(0)

    def vary_all() -> None:
        for features, known in zip(kept, shown, strict=True):
            varied_captions(captioner, again(features), count=SAMPLES, exclude=[known], seed=[9])

    works: list[Callable[[], object]] = [
        lambda: [sample(encode(data)) for data in files],
        lambda: [sample(again(features)) for features in kept],
        vary_all,
    ]
    seconds = [[clock(work, 1) for work in works] for _ in range(repeats)]  # in turn: all meet the same machine
    anew, from_kept, varied = (1000 * statistics.median(times) / len(files) for times in zip(*seconds, strict=True))
    same = sum(sample(encode(data)) == sample(again(features)) for data, features in zip(files, kept, strict=True))
    return (
        f"{captioner.arithmetic:14}  {anew:7.1f}  {from_kept:9.1f}  {from_kept / anew:9.2f}  {varied:12.1f}"
        f"  {same} of {len(files)}  {kept[0].nbytes / 1024:.0f} KiB"
    )


def compare_batches(options: argparse.Namespace, plain: Captioner) -> None:
    """Print the whole work of an answer against the encoder alone and the naive way."""
    photos = distinct_photos(max(options.batches))
    naive = Naive(plain, options.weights)
    naive_photos = photos[:4]
    naive_time = clock(lambda: [naive.answer(p) for p in naive_photos], max(1, options.repeats // 2)) / len(
        naive_photos
    )
    print(f"the naive way, fp32: {1000 * naive_time:.0f} ms a photo")
    print(
        "each part alone in ms a photo, with its share; then the ratios of the whole to the encoder, and of naive to it"
    )
    print("precision  batch  photos/s  ms/photo |    encoder    decoding       sheet | whole/encoder  naive/whole")
    for precision in options.precisions:
        captioner = Captioner.load(options.weights, options.device, model=options.model, precision=precision)
        for size in options.batches:
            runs = max(2, 64 // size)
            t = measure(captioner, photos[:size], runs, options.repeats)
            parts = [t.encoder, t.decoding, t.sheet]
            cells = "  ".join(f"{1000 * part:5.1f} {part / sum(parts):4.0%}" for part in parts)
            print(
                f"{precision:9}  {size:5}  {1 / t.whole:8.1f}  {1000 * t.whole:8.1f} | {cells} |"
                f" {t.whole / t.encoder:13.2f}  {naive_time / t.whole:11.1f}",
                flush=True,
            )


def answer(captioner: Captioner, photos: Sequence[Image.Image], russian: Translations | None) -> list[bool]:
    """An answer as the bot gives it; with a translator in Russian. Whether each caption could be translated."""
    captions = captioner.caption(photos, samples=SAMPLES, beam=USUAL_BEAM)
    known: dict[str, Translation] = {}
    if russian is not None:
        texts = list(dict.fromkeys(c.text for each in captions for c in (each.greedy, each.main, *each.samples)))
        known = dict(zip(texts, russian.translate(texts), strict=True))
    for photo, each in zip(photos, captions, strict=True):
        words, attention = each.main.words, each.main.attention
        if attention is None:
            continue
        if (found := known.get(each.main.text)) is not None and found.passed:
            words, attention = found.words, found.attention(attention)
        encode_jpeg(draw_sheet(photo, words, attention))
    return [found.passed for found in known.values()]


def compare_languages(options: argparse.Namespace) -> None:
    """Print what an answer in Russian costs against the same in English."""
    translations = Translations.load(options.weights / RUSSIAN_FILE, options.device)
    print("precision  batch  English ms/photo  Russian ms/photo  ratio  translated")
    for precision in options.precisions:
        captioner = Captioner.load(options.weights, options.device, model=options.model, precision=precision)
        for size in options.batches:
            photos = distinct_photos(size)
            works = [partial(answer, captioner, photos, russian) for russian in (None, translations)]
            seconds = [[clock(work, 1) for work in works] for _ in range(options.repeats)]
            english, russian = (1000 * statistics.median(times) / size for times in zip(*seconds, strict=True))
            ratio = statistics.median(russian / english for english, russian in seconds)
            passed = works[1]()
            share = sum(passed) / len(passed)
            print(f"{precision:9}  {size:5}  {english:16.1f}  {russian:16.1f}  {ratio:5.2f}  {share:10.0%}", flush=True)


@torch.inference_mode()
def operations(captioner: Captioner) -> int:
    """Floating-point operations of the encoder for one photo, counted without computing them."""
    config = captioner.encoder.config
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Encoder(config).eval()(torch.zeros(1, 3, config.image_size, config.image_size))
    return int(counter.get_total_flops())


@torch.inference_mode()
def matmul_speed(device: torch.device, dtype: torch.dtype, side: int = 8192) -> float:
    """Floating-point operations per second of a product of two square matrices: what the device can reach."""
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / clock(lambda: one @ other, 10)


@torch.inference_mode()
def roofline(captioner: Captioner, photos: Sequence[Image.Image], repeats: int, side: int = 8192) -> str:
    """A line: the encoder's share of `matmul_speed`, for one batch of these photos, which are copied there before."""
    pixels = captioner.squares(photos).to(captioner.device)
    each = operations(captioner)
    reached = len(photos) * each / clock(lambda: captioner.encode(pixels), repeats)
    peak = matmul_speed(captioner.device, captioner.dtype, side)
    return (
        f"encoder at batch {len(photos)}: {each / 1e9:.1f} GFLOP a photo, {reached / 1e12:.3g} TFLOP/s,"
        f" {reached / peak:.0%} of the {peak / 1e12:.3g} TFLOP/s of a product of matrices"
        f" ({side} × {side}, {captioner.dtype})"
    )


def answers_per_second(captioners: Captioners, photos: Sequence[Image.Image], batches: int, repeats: int) -> float:
    """With a beam, five samples and sheets, each batch of these photos; the sheets drawn on threads."""
    options = CaptionOptions(beam=USUAL_BEAM)
    pictures = [Picture(options, to_square(photo, captioners.image_size)) for photo in photos]
    tasks = [partial(compose, PhotoTask(beam=USUAL_BEAM), photo) for photo in photos]

    def work() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            drawn = []
            for _ in range(batches):
                for task, found in zip(tasks, captioners.caption(pictures), strict=True):
                    if isinstance(found, Exception):
                        raise found
                    drawn.append(pool.submit(task, found, captioners.sheet))
            for each in drawn:
                each.result()

    return batches * len(photos) / clock(work, repeats)


def measure_worker(
    options: argparse.Namespace, batch: int = 64, side: int = 8192, recorder: Recorder | None = None
) -> None:
    """Print what a worker on a GPU reaches, warmed up as it is when it starts."""
    captioners = Captioners(options.weights, options.device, options.model)
    captioners.warm_up(batch, recorder)
    captioners.draw_on(captioners.encoder.device)
    photos = distinct_photos(batch)
    print(roofline(captioners.encoder, photos, options.repeats, side))
    speed = answers_per_second(captioners, photos, 4, options.repeats)
    print(f"answers of a worker, beam of {USUAL_BEAM} and sheets, at batch {batch}: {speed:.1f} a second", flush=True)


def processor() -> str:
    """The processor's name, its vector instructions, and the most that PyTorch uses of them."""
    lines = dict.fromkeys(("model name", "flags"), "")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in lines:
                lines[name.strip()] = value.strip()
    has = [flag for flag in ABILITIES if flag in lines["flags"].split()]
    name = lines["model name"] or platform.processor() or platform.machine()
    return f"{name} ({' '.join(has) or 'abilities unknown'}; PyTorch uses {torch.backends.cpu.get_cpu_capability()})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captioner", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--model", choices=list(MODELS), default="attention")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 32], help="none: asking again alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--russian", action="store_true", help="answers in Russian against those in English, alone")
    options = parser.parse_args()
    automatic = Captioner.load(options.weights, options.device, model=options.model)
    faster = bf16_is_faster(automatic.device)
    options.precisions = ["fp32", "bf16"] if faster else ["fp32"]
    with contextlib.suppress(ValueError):
        Captioner.load(options.weights, options.device, model=options.model, precision="int8")
        options.precisions.append("int8")
    if options.russian:
        compare_languages(options)
        return 0
    model: DecoderKind = options.model
    plain = Captioner.load(options.weights, options.device, model=model, precision="fp32")
    name = torch.cuda.get_device_name() if plain.device.type == "cuda" else processor()
    print(f"{model} on {name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"engine by itself: {automatic.engine} ({automatic.why}); below each in turn")
    del automatic
    if plain.device.type == "cuda":
        torch.cuda.set_device(plain.device)
        measure_worker(options)
    if options.batches:
        compare_batches(options, plain)
    print(f"ms for {SAMPLES} samples of a photo, one photo at a time; kept features are those of the same precision")
    print("precision          anew  from kept  kept/anew  all of them new  same captions  kept of a photo")
    for precision in options.precisions:
        captioner = Captioner.load(options.weights, options.device, model=model, precision=precision)
        print(measure_again(captioner, options.repeats), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
