"""Videos through PyAV, which brings FFmpeg: held to one local file and one demuxer. Free of torch.

A video is read twice: first its packets alone (milliseconds of work), so that frames can be spread evenly over the
clip's real time whatever its frame rate, then its pictures. Decoders pass over frames that nobody wants where no other
frame needs them.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.errors import ClipsUnavailable, ClipTooLarge, DamagedClip, NotAClip, UnreadClip
from model.media.colour import is_other_screen, screen_colours
from model.media.formats import Video
from model.media.frames import LONG_SIDE, Budget, Clip, ClipLimits, Frame, choose_frames
from model.media.images import upright_rgb
from model.media.memory import DECODING, MIB, MOST
from model.media.rows import BT601, BT709, MATRICES

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

# The decoders that files of people need, by FFmpeg's names. No other is ever opened.
CODECS: Final = frozenset(
    {
        *("h264", "hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "libdav1d"),
        *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "h263", "h263p", "h263i"),
        *("flv", "wmv1", "wmv2", "wmv3", "vc1", "theora", "vp3", "vp6", "vp6a", "vp6f"),
        *("svq1", "svq3", "cinepak", "rpza", "qtrle", "mjpeg", "mjpegb", "png", "gif"),
        *("prores", "dnxhd", "dvvideo", "rawvideo", "v210", "huffyuv", "ffvhuff", "ffv1"),
    }
)
_MOST_THREADS: Final = 4  # of one decoder, each of which keeps frames of its own
_LIGHT: Final = 3_000_000_000  # pixels of all frames: 108 s of 720p at 30 frames a second
_PICTURES_KEPT: Final = 16  # that others are made of, at most
_LEVEL_PIXELS: Final = (
    180_000_000  # of all these together, as the highest levels of H.264 allow; HEVC keeps six at least
)
_FEWEST_KEPT: Final = 6  # of HEVC, however large
_BESIDE: Final = 3  # frames of the deinterlacer, and the one that is converted
_WORK: Final = 32 * MIB
_EDGES: Final = 4_000_000  # pixels that decoders add around the largest frames
_MAX_STRETCH: Final = 8  # a sample aspect ratio beyond 1:8 or 8:1 is a fault of the file
_UNREADABLE_RUN: Final = 64  # broken packets in a row, after which nothing better is expected
_STILLS: Final = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp"})  # codecs of covers and thumbnails, too
_WITH_ALPHA: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # decoders of transparency, which FFmpeg's own leave out
_PROGRESSIVE: Final = 1  # FFmpeg's field order; 0 is unknown
_HD: Final = 576  # lines; a higher picture that does not say its matrix has that of BT.709


def pyav() -> ModuleType:
    """PyAV, silent unless somebody asks it. Raises ClipsUnavailable."""
    try:
        import av
    except ImportError as error:
        raise ClipsUnavailable(
            f"clips cannot be read here, for PyAV does not load ({error}): pip install av"
        ) from error
    return av


@contextlib.contextmanager
def on_disk(source: bytes | str | os.PathLike[str]) -> Iterator[str]:
    """An absolute path (so that it cannot be taken for an address) under which FFmpeg finds the clip."""
    if not isinstance(source, bytes):
        yield os.path.abspath(source)
    elif hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("clip"), "wb") as file:
            file.write(source)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory(prefix="clip-") as folder:
            path = Path(folder, "clip")
            path.write_bytes(source)
            yield str(path)


def open_video(path: str, demuxer: Video, limits: ClipLimits, budget: Budget, cleanup: contextlib.ExitStack) -> Clip:
    """A clip whose frames are decoded as they are asked for; `cleanup` closes its file.

    Raises what `open_clip` raises.
    """
    with contextlib.closing(_open(path, demuxer, limits)) as container:
        stream = _video_stream(container)
        width, height = stream.codec_context.width, stream.codec_context.height
        if not width * height:  # damaged, or refused by its decoder as too large: as the container says
            with contextlib.closing(_open(path, demuxer, limits, codecs=["none"])) as undecoded:
                stated = _video_stream(undecoded).codec_context
                width, height = stated.width, stated.height
        limits.check_pixels(width, height)
        cost = _cost(stream.codec_context, width * height)
        if cost > MOST:
            raise ClipTooLarge(f"frames of {width} x {height} would take {cost // MIB:,} MiB")
        timing = _timing(container, stream, demuxer, limits, budget)
    chosen = choose_frames(timing.times, timing.duration)
    with budget.pause():
        cleanup.enter_context(DECODING.hold(cost, lasting=True))
    container = cleanup.enter_context(contextlib.closing(_open(path, demuxer, limits)))
    frames = _frames(container, _video_stream(container), timing, chosen, limits, budget)
    return Clip(timing.duration, [timing.times[index] for index in chosen], frames, budget, cost)


def _cost(context: VideoCodecContext, pixels: int) -> int:
    """About how many bytes it takes to decode frames of so many pixels."""
    bits = 12 if context.format is None else max(8, context.format.padded_bits_per_pixel)
    kept = 0 if context.codec.intra_only else min(_PICTURES_KEPT, max(_FEWEST_KEPT, _LEVEL_PIXELS // max(1, pixels)))
    return pixels * bits // 8 * (kept + _threads(math.inf) + _BESIDE) + _WORK


def _threads(pixels: float) -> int:
    """Of a decoder that has so many pixels to decode.

    Threads decode sooner but cost more: two take a fifth more CPU time than one, which the network then lacks.
    """
    cores = os.cpu_count() or 1
    return min(_MOST_THREADS, cores if pixels > _LIGHT else max(1, cores // 2))


def _open(path: str, demuxer: Video, limits: ClipLimits, codecs: Iterable[str] = CODECS) -> InputContainer:
    """codecs: the only ones that may be used to find out what is in the file."""
    av: Any = pyav()
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(codecs),
        "max_pixels": str(limits.pixels + _EDGES),
    }
    try:
        container: InputContainer = av.open(path, "r", demuxer, options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # FFmpeg's words, without its number and the path
        raise DamagedClip(f"the clip cannot be opened: {reason}") from error
    return container


def _video_stream(container: InputContainer) -> VideoStream:
    """The stream that players show: not a cover, not a thumbnail. Raises NotAClip, UnreadClip and DamagedClip."""
    from av.stream import Disposition

    no_video = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & no_video]
    if not streams:
        if container.streams.audio:
            raise NotAClip("there is sound in it, but no pictures that move")
        raise DamagedClip("the clip holds no pictures: it is damaged, or of a kind that is not read here")

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        context = stream.codec_context
        if context is None:
            return False, False, False, 0
        still = stream.frames == 1 or (stream.frames == 0 and context.name in _STILLS)
        return True, not still, bool(stream.disposition & Disposition.default), context.width * context.height

    best = max(streams, key=rank)
    if best.codec_context is None or best.codec_context.codec.name not in CODECS:
        raise UnreadClip("the clip's pictures are encoded in a way that is not read here")
    return best


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """As far as they can be read."""
    av = pyav()
    for _ in range(_UNREADABLE_RUN):
        with contextlib.suppress(av.FFmpegError, IndexError):  # PyAV's, of a stream that begins late
            yield from (packet for packet in container.demux(stream) if packet.size)
            return


@dataclass(frozen=True)
class _Timing:
    """When the pictures of a video are shown."""

    stamps: list[int]  # ascending, as in the file
    times: list[float]  # the same in seconds, as a player shows them
    origin: float  # seconds; the stamp of the moment where a player begins
    duration: float  # seconds
    exact: bool  # stamps are presentation times; else decoding times, which have the same distances


def _timing(
    container: InputContainer, stream: VideoStream, demuxer: Video, limits: ClipLimits, budget: Budget
) -> _Timing:
    """Nothing is decoded. Raises ClipTooLong, ClipTooLarge, ClipTooSlow."""
    base = float(stream.time_base or 1)
    shown: dict[int, int] = {}  # by presentation time: how long
    decoded: dict[int, int] = {}  # the same by decoding time
    exact, packets = demuxer != "avi", 0  # which holds decoding times only, so that FFmpeg has to guess
    for packet in _packets(container, stream):
        budget.check()
        packets += 1
        if packets > limits.frames:
            raise ClipTooLarge(f"the clip has more than {limits.frames:,} frames")
        if packet.is_discard:  # cut off by an edit list
            continue
        exact = exact and packet.pts is not None
        for stamp, lengths in ((packet.pts, shown), (packet.dts, decoded)):
            if stamp is not None:
                lengths[stamp] = packet.duration or 0
                limits.check_seconds((stamp - next(iter(lengths))) * base)
    lengths = shown if exact else decoded
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    rate = rate if 0.1 <= rate <= 1000.0 else 25.0
    if packets == 1 and stream.codec_context.name in _STILLS and container.streams.audio:
        raise NotAClip("there is sound in it, and one still picture")
    if not lengths:  # no timestamps: those of an even frame rate
        exact, step = False, max(1, round(1 / rate / base))
        lengths = {index * step: step for index in range(max(1, packets))}
    stamps = sorted(lengths)
    first, last = stamps[0] * base, stamps[-1] * base
    origin = first
    if exact and container.start_time is not None:
        origin = min(first, container.start_time / 1_000_000)
    length = lengths[stamps[-1]] * base or ((last - first) / (len(stamps) - 1) if len(stamps) > 1 else 1 / rate)
    duration = last + length - origin
    limits.check_seconds(duration)
    return _Timing(stamps, [stamp * base - origin for stamp in stamps], origin, duration, exact)


def _frames(
    container: InputContainer,
    stream: VideoStream,
    timing: _Timing,
    chosen: list[int],
    limits: ClipLimits,
    budget: Budget,
) -> Iterator[Frame]:
    """Decode on, and hand out the first frame at or after each chosen time."""
    from av.video.reformatter import VideoReformatter

    times, reformatter = timing.times, VideoReformatter()
    wanted = [times[index] for index in chosen]
    stretch = float(stream.sample_aspect_ratio or 1)
    stretch = stretch if 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH else 1.0
    least = float(np.diff(times).min()) if len(times) > 1 else 1.0
    last, next_one, decoded = -1.0, 0, 0
    for frame in _progressive(_decoded(container, stream, timing, chosen, limits, budget)):
        at = -1.0 if frame.pts is None else max(0.0, frame.pts * float(frame.time_base or 1) - timing.origin)
        if at <= last:  # a container without timestamps of its own
            at = times[decoded] if decoded < len(times) and times[decoded] > last else last + least
        last = at
        decoded += 1
        if at < wanted[next_one] - least / 2:
            continue
        pixels = _displayed(frame, stretch, reformatter, limits)
        if pixels is None:
            continue
        while next_one < len(wanted) and wanted[next_one] <= at + least / 2:
            next_one += 1
        yield Frame(at, pixels)
        if next_one == len(wanted):
            return


def _decoded(
    container: InputContainer,
    stream: VideoStream,
    timing: _Timing,
    chosen: list[int],
    limits: ClipLimits,
    budget: Budget,
) -> Iterator[VideoFrame]:
    """Frames in the order of time: those that are chosen, and such others as it takes to decode them."""
    av = pyav()
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _WITH_ALPHA:
        context = av.CodecContext.create(_WITH_ALPHA[context.name], "r")
    context.thread_type = "AUTO"
    context.thread_count = _threads(context.width * context.height * len(timing.stamps))
    context.options = {"max_pixels": str(limits.pixels + _EDGES)}
    stamps = {timing.stamps[index] for index in chosen}
    # Of other interlaced clips, a packet may be half a frame.
    choosy = context.codec.intra_only or (timing.exact and context.field_order <= _PROGRESSIVE)
    failures, delay = 0, None if not context.codec.intra_only else 0

    def decode(packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        nonlocal failures, delay
        try:
            frames = context.decode(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            failures += 1
            return []
        failures = 0
        for frame in frames:
            frame.time_base = stream.time_base
            if not timing.exact and frame.dts is not None:
                delay = frame.dts - timing.stamps[0] if delay is None else delay
                frame.pts = frame.dts - delay
        return frames

    for packet in _packets(container, stream):
        budget.check()
        useful = not choosy or failures > 0 or (packet.pts if timing.exact else packet.dts) in stamps
        if useful or not context.codec.intra_only:
            context.skip_frame = "DEFAULT" if useful else "NONREF"
            yield from decode(packet)
        if failures > _UNREADABLE_RUN:
            return
    yield from decode(None)


def _progressive(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames; of interlaced ones, the lines of one field are kept and those of the other made anew."""
    av = pyav()
    graph: Graph | None = None
    shape = None

    def pull() -> Iterator[VideoFrame]:
        with contextlib.suppress(av.FFmpegError):  # no more for now
            while graph is not None:
                yield graph.vpull()

    for frame in frames:
        if graph is not None and shape != (frame.width, frame.height, frame.format.name):
            graph.vpush(None)
            yield from pull()
            graph = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        with contextlib.suppress(av.FFmpegError):  # of a damaged frame, or pixels of a rare layout
            if graph is None:
                graph, shape = _deinterlacer(frame), (frame.width, frame.height, frame.format.name)
            graph.vpush(frame)
        yield from pull()
    if graph is not None:
        graph.vpush(None)
        yield from pull()


def _deinterlacer(frame: VideoFrame) -> Graph:
    """For frames like this one. It answers with a frame for each, one late."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _displayed(
    frame: VideoFrame, stretch: float, reformatter: VideoReformatter, limits: ClipLimits
) -> npt.NDArray[np.uint8] | None:
    """RGB of the displayed shape and colours, not larger than LONG_SIDE; None if the frame cannot be converted.

    Transparency is flattened on white.
    """
    from av.video.reformatter import Interpolation

    limits.check_pixels(frame.width, frame.height)
    width, height = frame.width * stretch, float(frame.height)
    scale = min(1.0, LONG_SIDE / max(width, height))
    matrix = frame.colorspace
    if matrix not in MATRICES:
        matrix = BT709 if frame.height > _HD else BT601
    clear = frame.format.name != "pal8" and any(component.is_alpha for component in frame.format.components)
    try:
        converted = reformatter.reformat(
            frame,
            max(1, round(width * scale)),
            max(1, round(height * scale)),
            "rgba" if clear else "rgb24",
            src_colorspace=matrix,
            interpolation=Interpolation.AREA,
            threads=1,
        )
    except MemoryError:
        raise
    except (pyav().FFmpegError, ValueError):
        return None
    pixels: npt.NDArray[np.uint8] = np.asarray(converted.to_ndarray(), np.uint8)
    if clear or is_other_screen(frame.color_trc, frame.color_primaries):
        image = Image.fromarray(pixels)
        image = upright_rgb(image) if clear else image
        pixels = np.asarray(screen_colours(image, frame.color_trc, frame.color_primaries))
    return _upright(pixels, frame)


def _upright(pixels: npt.NDArray[np.uint8], frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """Turned and mirrored as the display matrix says, by the nearest quarter of a turn."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data
    if (found := side_data.get(Type.DISPLAYMATRIX)) is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].tolist()  # x' = ax + cy, y' = bx + dy
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
