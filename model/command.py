"""`start.py caption`, `rank`, `translate` and `edit`: the program's work in the terminal."""

import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from PIL import Image
from torch import Tensor

from model.captioner import Caption, Captioner, CaptionSet
from model.captions import Translation
from model.clip_moments import Moments, watch
from model.decoding.sampling import Sampling
from model.decoding.search import USUAL_BEAM
from model.drawing.colour_vision import draw_sheet as draw_colours
from model.drawing.heatmap import draw_sheet
from model.drawing.labels import LABELS, Deficiency, Labels
from model.drawing.style import encode_png
from model.drawing.timeline import clock, draw_timeline
from model.drawing.word_chart import draw_chart
from model.editor import EditModelError, Editor
from model.edits import checked_text
from model.errors import AnimatedPicture, CaptionError
from model.finding import Finder
from model.found import Vector, numbered, packed
from model.media.clips import ClipLimits
from model.media.formats import HEAD, animation_container, is_clip
from model.media.images import encode_jpeg, open_image, open_photo
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.network.config import DecoderKind, Precision
from model.tagging.answers import Ranking, Tag, likeliest_first
from model.tagging.lists import SHIPPED, ListError, checked_descriptions, checked_query, in_russian, names, parse_tags
from model.tagging.tagger import TAGGING
from model.translation import BATCH as LINES
from model.translation import RUSSIAN_FILE, Translations

BATCH = 8
Translated = Mapping[str, Translation]  # captions and their translations; none in English
Engine = tuple[str, Precision]  # a device by its name
Answer = CaptionSet | Moments | CaptionError | OSError
Report = Callable[[str, CaptionError | OSError], None]  # given a file that could not be read, and why
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionRequest:
    """The options of `start.py caption`."""

    files: Sequence[str]
    weights: Path
    device: str
    model: DecoderKind = "attention"
    precision: Precision = "auto"
    samples: int = 5
    sampling: Sampling = Sampling()
    seed: int = 0
    beam: int = USUAL_BEAM  # width; 1: greedy only
    as_json: bool = False
    output: Path | None = None
    max_video_seconds: float = ClipLimits.seconds
    language: str = "en"  # of the captions: en or ru

    @property
    def labels(self) -> Labels:
        return LABELS[self.language]


def caption_files(request: CaptionRequest) -> int:
    """Caption photos and clips, printing each answer when its batch is done; exit status 1 if any could not be read."""
    try:
        captioner = Captioner.load(request.weights, request.device, model=request.model, precision=request.precision)
        russian = None
        if request.language == "ru":
            russian = Translations.load(request.weights / RUSSIAN_FILE, request.device)
    except (CheckpointError, ValueError) as error:
        return _refuse(error)
    stems = _output_stems(request.files, request.output)
    failed = False
    try:
        if request.output is not None:
            request.output.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(request.files), BATCH):
            batch = request.files[start : start + BATCH]
            for file, answer, translated in _caption_batch(captioner, russian, request, batch, stems):
                failed = failed or isinstance(answer, CaptionError | OSError)
                if isinstance(answer, Moments) and file in stems:
                    _write_moments(request, file, answer, translated, stems[file])
                _print(request, file, answer, translated)
    except OSError as error:  # those of the pictures are answers; this one is of --output, or of standard output
        return _refuse(error)
    return 1 if failed else 0


def translate_lines(weights: Path, device: str, lines: TextIO, *, as_json: bool = False) -> int:
    """Print the Russian translation of each line, a caption; as many lines as were read. Exit status 2: no translator.

    The lines of a terminal are translated one at a time, others some at a time.
    """
    try:
        russian = Translations.load(weights / RUSSIAN_FILE, device)
        captions = (line.rstrip("\r\n") for line in lines)
        while some := list(itertools.islice(captions, 1 if lines.isatty() else LINES)):
            for caption, found in zip(some, russian.translate(some), strict=True):
                if as_json:
                    _print_json({"english": caption, **_translation_json(found)})
                else:
                    print(found.text, flush=True)
    except (CheckpointError, ValueError, OSError) as error:  # the last of standard output
        return _refuse(error)
    return 0


def show_colours(
    files: Sequence[str], kind: Deficiency, output: Path | None, language: str = "en", *, as_json: bool = False
) -> int:
    """Write each photo beside what is seen of it with a colour vision deficiency, into `output` or the current folder.

    Prints a line per file. language: of the words on the picture. Exit status 1 if any photo could not be read, 2 if
    nothing can be written.
    """
    folder = output or Path()
    stems = _output_stems(files, folder)

    def show(file: str, photo: Image.Image) -> None:
        sheet = Path(f"{stems[file]}.{kind}.jpg")
        sheet.write_bytes(encode_jpeg(draw_colours(photo, kind, LABELS[language])))
        if as_json:
            _print_json({"file": file, "colours": kind, "sheet": str(sheet)})
        else:
            print(f"{file}: {sheet}", flush=True)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _show_each(files, show, partial(_print_error, as_json=as_json))
    except OSError as error:
        return _refuse(error)


def _show_each(files: Sequence[str], show: Callable[[str, Image.Image], None], report: Report) -> int:
    """Open one photo after the other and show something of it; of an animated picture, its first frame.

    Exit status 1 if any could not be read; `report` says why.
    """
    failed = False
    for file in files:
        opened = _open(file)
        try:
            if isinstance(opened, str) or (isinstance(opened, bytes) and _is_video(opened)):
                raise AnimatedPicture("a clip, and only photos are looked at here")
            if isinstance(opened, bytes):
                opened = open_image(opened)
        except CaptionError as error:
            opened = error
        if isinstance(opened, Image.Image):
            show(file, opened)
        else:
            failed = True
            report(file, opened)
    return 1 if failed else 0


def show_tags(
    files: Sequence[str], source: str, weights: Path, engine: Engine, language: str = "en", *, as_json: bool = False
) -> int:
    """Print the tags that each photo has. `source`: default, hotel, or a file with a list of one's own.

    language: of the tags of the first two. Exit status 1 if any photo could not be read, 2 if nothing can be judged.
    """
    try:
        match source:
            case "default" | "hotel" as name:
                tags = names(name)
            case _:
                tags = parse_tags(_text_of(Path(source))).items
    except FileNotFoundError:
        return _refuse("neither default, nor hotel, nor a file", source)
    except (ListError, OSError, UnicodeDecodeError) as error:
        return _refuse(error, source)
    spoken = in_russian if language == "ru" and source in SHIPPED else str

    def show(captioner: Captioner, file: str, photo: Image.Image) -> None:
        judged = captioner.tags(_features(captioner, photo), tags)
        found = [replace(tag, name=spoken(tag.name)) for tag in judged]
        _print_json(_tags_json(file, found)) if as_json else print(*_tag_lines(file, found), sep="\n", flush=True)

    return _look(files, weights, engine, show, partial(_print_error, as_json=as_json))


def show_ranking(
    file: str, texts: Sequence[str], source: Path | None, weights: Path, engine: Engine, *, as_json: bool = False
) -> int:
    """Print descriptions of a photo, the likeliest first. `source`: a file with a description a line, if any.

    Exit status 1 if the photo could not be read, 2 if nothing can be ranked.
    """
    try:
        lines = [] if source is None else _text_of(source).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return _refuse(error, str(source))
    try:
        wanted = checked_descriptions([*texts, *lines])
    except ListError as error:
        return _refuse(error)
    for text in wanted.repeated:
        print(f"“{text}” is there more than once", file=sys.stderr)

    def show(captioner: Captioner, file: str, photo: Image.Image) -> None:
        ranking = captioner.rank(_features(captioner, photo), wanted.items)
        if as_json:
            _print_json(_ranking_json(file, ranking))
        else:
            print(*_ranking_lines(file, ranking), sep="\n", flush=True)

    return _look([file], weights, engine, show, partial(_print_error, as_json=as_json))


def show_found(files: Sequence[str], text: str, weights: Path, engine: Engine, *, as_json: bool = False) -> int:
    """Print the photos that a text fits, the best first, or that nothing fits well.

    Exit status 1 if any photo could not be read, 2 if nothing can be looked for.
    """
    try:
        text = checked_query(text)
        finder = Finder.load(weights, fingerprint(weights / ENCODER_FILE))
    except (ListError, CheckpointError, OSError) as error:
        return _refuse(error)
    nothing = finder.find(text, (), b"")
    if not nothing.understood:
        return _refuse(f"not one word is known: {', '.join(nothing.unknown)}")
    shown: list[str] = []
    vectors: dict[str, Vector] = {}
    failed: list[dict[str, Any]] = []

    def keep(captioner: Captioner, file: str, photo: Image.Image) -> None:
        [vectors[numbered(len(shown))]] = finder.vectors(_features(captioner, photo)[None])
        shown.append(file)

    def report(file: str, error: CaptionError | OSError) -> None:
        failed.append(_error_json(file, error))
        if not as_json:
            _print_error(file, error, as_json=False)

    status = _look(files, weights, engine, keep, report)
    if status == 2:
        return status
    found = finder.find(text, *packed(vectors))
    hits = [(shown[int(hit.name, 16)], hit.probability) for hit in found.hits]
    none_fits = bool(shown) and not hits
    if found.unknown:
        print(f"unknown words: {', '.join(found.unknown)}", file=sys.stderr)
    try:
        if as_json:
            fits = [{"file": file, "probability": probability} for file, probability in hits]
            answer = {"text": text, "none_fits": none_fits, "found": fits, "compared": len(shown)}
            _print_json({**answer, "unknown": found.unknown, "failed": failed})
        elif shown:
            lines = [f"{probability:4.0%}  {file}" for file, probability in hits] or ["nothing fits well"]
            print(*lines, sep="\n", flush=True)
    except OSError as error:  # standard output
        return _refuse(error)
    return status


def edit_photo(file: str, text: str, output: Path, folder: Path, device: str, *, strength: int, seed: int) -> int:
    """Change a photo as `text` says and write it to `output`. `strength`: percent.

    Exit status 1 if the photo could not be read or the edit failed, 2 if nothing can be edited or written.
    """
    try:
        wanted = checked_text(text)
        photo = open_photo(Path(file).read_bytes())
        editor = Editor.load(folder, device)
    except (CaptionError, OSError) as error:
        _print_error(file, error, as_json=False)
        return 1
    except (EditModelError, ValueError) as error:  # an EditFault, too
        return _refuse(error)

    def step(share: float) -> None:
        print(f"\r{share:4.0%}", end="" if share < 1 else "\r", file=sys.stderr, flush=True)

    try:
        edited = editor.edit(photo, wanted, strength / 100, seed, step)
        output.write_bytes(encode_jpeg(edited))
        print(f"{file}: {output} (edited by a machine, strength {strength} %, seed {seed})", flush=True)
    except CaptionError as error:
        _print_error(file, error, as_json=False)
        return 1
    except OSError as error:
        return _refuse(error)
    return 0


def _look(
    files: Sequence[str],
    weights: Path,
    engine: Engine,
    show: Callable[[Captioner, str, Image.Image], None],
    report: Report,
) -> int:
    """Show what is found of each photo, one after the other; `report` says why one could not be read."""
    try:
        device, precision = engine
        captioner = Captioner.load(weights, device, model=TAGGING, precision=precision)
        return _show_each(files, partial(show, captioner), report)
    except (CheckpointError, ValueError, OSError) as error:
        return _refuse(error)


def _features(captioner: Captioner, photo: Image.Image) -> Tensor:
    return captioner.encode(captioner.squares([photo]))[0]


def _tag_lines(file: str, tags: Sequence[Tag]) -> Iterator[str]:
    yield file
    there = [tag for tag in likeliest_first(tags) if tag.holds]
    yield from (f"  {tag.name}  ({tag.probability:.0%})" for tag in there)
    if not there:
        yield "  none fits"
    for tag in tags:
        if tag.probability is None:
            yield f"  cannot be judged: {tag.name} (unknown: {', '.join(tag.unknown)})"


def _tags_json(file: str, tags: Sequence[Tag]) -> dict[str, Any]:
    judged = [tag for tag in tags if tag.probability is not None]
    return {
        "file": file,
        "none_fits": not any(tag.holds for tag in tags),
        "tags": [
            {"name": tag.name, "probability": round(tag.probability or 0.0, 4), "holds": tag.holds}
            for tag in likeliest_first(judged)
        ],
        "unjudgeable": [{"text": tag.name, "unknown": tag.unknown} for tag in tags if tag.probability is None],
    }


def _ranking_json(file: str, ranking: Ranking) -> dict[str, Any]:
    choices = ranking.choices
    return {
        "file": file,
        "best": None if ranking.best is None else ranking.best.text,
        "none": round(ranking.none, 4),
        "choices": [
            {"text": each.text, "probability": round(each.probability, 4)}
            for each in choices
            if each.probability is not None
        ],
        "unjudgeable": [{"text": each.text, "unknown": each.unknown} for each in choices if each.probability is None],
    }


def _ranking_lines(file: str, ranking: Ranking) -> Iterator[str]:
    yield file
    if ranking.best is None:
        yield f"  none of these  ({ranking.none:.0%})"
    for choice in ranking.choices:
        if choice.probability is None:
            yield f"  cannot be judged: {choice.text} (unknown: {', '.join(choice.unknown)})"
        else:
            yield f"  {choice.text}  ({choice.probability:.0%})"
    if ranking.best is not None:
        yield f"  none of these  ({ranking.none:.0%})"


def _caption_batch(
    captioner: Captioner,
    russian: Translations | None,
    request: CaptionRequest,
    files: Sequence[str],
    stems: dict[str, Path],
) -> Iterator[tuple[str, Answer, Translated]]:
    """Each file's answer, in order: the photos among them in one go, then the clips as their turn comes."""
    opened = [_open(file) for file in files]
    photos = [each for each in opened if isinstance(each, Image.Image)]
    found = _caption_photos(captioner, request, photos)
    texts = itertools.chain.from_iterable(each.texts for each in found)
    translated = _translate(russian, texts)
    captions = iter(found)
    for file, each in zip(files, opened, strict=True):
        if isinstance(each, Image.Image):
            answer = next(captions)
            if file in stems:
                _write_pictures(request, each, answer.main, translated.get(answer.main.text), stems[file])
            yield file, answer, translated
        elif isinstance(each, bytes | str):
            clip = _watch(captioner, request, file, each)
            frames = clip.frames if isinstance(clip, Moments) else ()
            yield file, clip, _translate(russian, (frame.text for frame in frames))
        else:
            yield file, each, {}


def _translate(russian: Translations | None, texts: Iterable[str]) -> Translated:
    if russian is None:
        return {}
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, russian.translate(distinct), strict=True))


def _caption_photos(
    captioner: Captioner, request: CaptionRequest, photos: Sequence[Image.Image]
) -> Sequence[CaptionSet]:
    """Their captions; the main ones with their steps, where charts of them are to be written."""
    if not photos:
        return []
    features = captioner.encode(captioner.squares(photos))
    answers = captioner.caption_features(
        features,
        samples=request.samples,
        sampling=request.sampling,
        beam=request.beam if request.beam > 1 else None,
        seed=request.seed,
    )
    if request.output is None:
        return answers
    explained = captioner.explain(features, [answer.main.text for answer in answers])
    return [answer.with_steps(caption.steps) for answer, caption in zip(answers, explained, strict=True)]


def _write_pictures(
    request: CaptionRequest, photo: Image.Image, caption: Caption, translation: Translation | None, stem: Path
) -> None:
    """The sheet, where the model looks at regions, and the chart."""
    words, attention, translated = caption.words, caption.attention, list[str]()
    if translation is not None and translation.passed:
        words, translated = translation.words, translation.words_from(caption.words)
        attention = None if attention is None else translation.attention(attention)
    if attention is not None:
        sheet = draw_sheet(photo, words, attention, request.labels)
        Path(f"{stem}.heatmap.jpg").write_bytes(encode_jpeg(sheet))
    chart = draw_chart(caption.steps, request.labels, translated)
    Path(f"{stem}.words.png").write_bytes(encode_png(chart))


def _open(file: str) -> Image.Image | bytes | str | CaptionError | OSError:
    """A decoded photo, the bytes of an animated picture or of a video in a pipe, or the path of a video, which may be
    large.

    An error is returned, not raised: it is the file's answer.
    """
    try:
        with open(file, "rb") as opened:
            head = opened.read(HEAD)
            if _is_video(head) and opened.seekable():
                return file
            data = head + opened.read()
        return data if is_clip(data) else open_image(data)
    except (CaptionError, OSError) as error:
        return error


def _is_video(head: bytes) -> bool:
    return animation_container(head[:HEAD]) is None and is_clip(head)


def _watch(captioner: Captioner, request: CaptionRequest, file: str, source: bytes | str) -> Answer:
    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{file}: {done} of {of} frames", end="\n" if done == of else "", file=sys.stderr, flush=True)

    try:
        limits = ClipLimits(seconds=request.max_video_seconds)
        return watch(captioner, source, limits=limits, progress=progress)
    except (CaptionError, OSError) as error:
        return error


def _write_moments(request: CaptionRequest, file: str, clip: Moments, translated: Translated, stem: Path) -> None:
    """The timeline, the chosen frames, and the JSON of a clip."""
    Path(f"{stem}.timeline.jpg").write_bytes(encode_jpeg(draw_timeline(clip, request.labels)))
    for number, moment in enumerate(clip.moments, 1):
        Path(f"{stem}.moment-{number:02}.jpg").write_bytes(moment.jpeg)
    text = _json_text(_json(request, file, clip, translated), "utf-8", indent=1)
    Path(f"{stem}.json").write_text(f"{text}\n", encoding="utf-8")


def _output_stems(files: Sequence[str], output: Path | None) -> dict[str, Path]:
    """The stem of each file's output; files of one name from several folders do not overwrite each other."""
    stems: dict[str, Path] = {}
    if output is not None:
        for file in dict.fromkeys(files):
            stem = Path(file).stem
            names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            stems[file] = next(path for name in names if (path := output / name) not in stems.values())
    return stems


def _print(request: CaptionRequest, file: str, answer: Answer, translated: Translated) -> None:
    if isinstance(answer, CaptionError | OSError):
        _print_error(file, answer, as_json=request.as_json)
    elif request.as_json:
        _print_json(_json(request, file, answer, translated))
    elif isinstance(answer, CaptionSet):
        print(*_lines(file, answer, translated), sep="\n", flush=True)
    else:
        count = len(answer.moments)
        said = "one shot, little changes" if answer.still else f"{count} moment{'s' * (count != 1)}"
        print(f"{file}\n  {clock(answer.duration)}, {said}, variedness {answer.variedness:.0%}")
        moments = (f"  {clock(moment.time)}  {_shown(moment.text, translated)}" for moment in answer.moments)
        print(*moments, sep="\n", flush=True)


def _print_error(file: str, error: CaptionError | OSError, *, as_json: bool) -> None:
    if as_json:
        _print_json(_error_json(file, error))
    else:
        print(f"{file}: {_reason(error)}", file=sys.stderr, flush=True)


def _error_json(file: str, error: CaptionError | OSError) -> dict[str, Any]:
    kind = error.kind if isinstance(error, CaptionError) else "unreadable"
    return {"file": file, "error": {"kind": kind, "message": _reason(error)}}


def _refuse(error: Exception | str, about: str = "") -> int:
    """Say why nothing can be done, or why it cannot go on; exit status 2. about: a file that cannot be used.

    Raises BrokenPipeError again: nobody reads any more.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    about = about or str(getattr(error, "filename", None) or "")
    print(f"error: {about and f'{about}: '}{_reason(error)}", file=sys.stderr, flush=True)
    return 2


def _reason(error: Exception | str) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "no text in UTF-8"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _text_of(file: Path) -> str:
    """Raises OSError and UnicodeDecodeError."""
    return file.read_text(encoding="utf-8-sig")


def _print_json(fields: dict[str, Any]) -> None:
    print(_json_text(fields, getattr(sys.stdout, "encoding", None)), flush=True)


def _json_text(fields: dict[str, Any], encoding: str | None, indent: int | None = None) -> str:
    """In characters of `encoding`; escapes stand for others, and for bytes of file names that are no text."""
    text = json.dumps(fields, ensure_ascii=False, indent=indent)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(fields, indent=indent)
    return text


def _lines(file: str, answer: CaptionSet, translated: Translated) -> Iterator[str]:
    """The main caption first; the greedy one where it says something else; the sampled ones.

    Of what is no photo: what it looks like, then the sampled ones.
    """

    def line(caption: Caption) -> str:
        return f"{_shown(caption.text, translated)}  ({caption.confidence:.0%})"

    yield file
    sure = answer.main.confidence if answer.not_photo is None else answer.not_photo.probability
    yield f"  {_headline(answer, translated)}  ({sure:.0%})"
    if answer.not_photo is None:
        if (whole := _shown(answer.main.text, translated)) != _as_shown(*_said(answer, translated)):
            yield f"  perhaps in full: {whole}"
        if answer.greedy.words not in (answer.main.words, answer.main.beginning):
            yield f"  greedy: {line(answer.greedy)}"
    yield from (f"  - {line(sample)}" for sample in answer.samples)


def _headline(answer: CaptionSet, translated: Translated) -> str:
    english, translation = _said(answer, translated)
    return _hedged(answer, english, _as_shown(english, translation))


def _said(answer: CaptionSet, translated: Translated) -> tuple[str, Translation | None]:
    """Of the main caption what is said first, in English, and its translation."""
    main, whole = answer.main, translated.get(answer.main.text)
    return " ".join(main.beginning) or main.text, None if whole is None else whole.of_beginning(main)


def _hedged(answer: CaptionSet, english: str, shown: str) -> str:
    """The headline, with what is shown of its caption in place of the English words."""
    return answer.headline.replace(english, shown) if answer.not_photo is None else answer.headline


def _shown(text: str, translated: Translated) -> str:
    """The caption, in Russian where that is wanted and certain enough."""
    return _as_shown(text, translated.get(text))


def _as_shown(text: str, translation: Translation | None) -> str:
    if translation is None:
        return text
    return translation.text if translation.passed else f"{text}  [not translated: {', '.join(translation.failed)}]"


def _text_json(text: str, translated: Translated) -> dict[str, Any]:
    """The caption as it is shown; with a translation, both texts and how certain it is."""
    if (translation := translated.get(text)) is None:
        return {"text": text}
    shown = translation.text if translation.passed else text
    return {"text": shown, "english": text, "translation": _translation_json(translation)}


def _translation_json(translation: Translation) -> dict[str, Any]:
    """`aligned`: for each word, the places of the English words that it comes from."""
    return {
        "text": translation.text,
        "probability": round(translation.probability, 4),
        "passed": translation.passed,
        "failed": list(translation.failed),
        "words": list(translation.words),
        "aligned": [list(places) for places in translation.aligned],
    }


def _json(request: CaptionRequest, file: str, answer: CaptionSet | Moments, translated: Translated) -> dict[str, Any]:
    language = {"language": request.language} if request.language != "en" else {}
    if isinstance(answer, Moments):
        return {"file": file, "model": request.model, **language, **_moments_json(answer, translated)}

    said, translation = _said(answer, translated)
    shown = said if translation is None or not translation.passed else translation.text

    def fields(caption: Caption) -> dict[str, Any]:
        return {**_text_json(caption.text, translated), "confidence": round(caption.confidence, 4)}

    return {
        "file": file,
        "model": request.model,
        **language,
        "not_photo": None if answer.not_photo is None else asdict(answer.not_photo),
        "headline": _hedged(answer, said, shown),
        "greedy": fields(answer.greedy),
        **({"best": fields(answer.best)} if answer.best is not None else {}),
        "samples": [fields(sample) for sample in answer.samples],
    }


def _moments_json(clip: Moments, translated: Translated) -> dict[str, Any]:
    frames = [
        {"time": round(f.time, 3), **_text_json(f.text, translated), "score": round(f.score, 4), "chosen": f.chosen}
        for f in clip.frames
    ]
    return {
        "duration": round(clip.duration, 3),
        "still": clip.still,
        "variedness": round(clip.variedness, 4),
        "moments": [{key: f[key] for key in f if key != "chosen"} for f in frames if f["chosen"]],
        "frames": frames,
    }
