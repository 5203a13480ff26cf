"""The addresses of the API: each reads its options, asks for the work, and shapes what comes back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import ValidationError

from model.drawing.labels import LABELS
from model.edits import EditFault, checked_text
from model.found import Vector, numbered, packed
from model.serving.jobs import Outcome
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.colours import ColoursResult, ColoursTask
from model.serving.tasks.edit import EditTask
from model.serving.tasks.features import FeaturesResult, FeaturesTask
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.looking import LookingTask
from model.serving.tasks.photo import PhotoResult, PhotoTask
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.serving.tasks.vector import VectorResult, VectorTask
from model.serving.tasks.words import WordsResult, WordsTask
from model.tagging.lists import ListError, checked_query, names, parse_descriptions, parse_tags
from web import VERSION
from web.clips import Clips
from web.errors import ERRORS, ApiError, ClientGone, api_error
from web.limits import user_of
from web.schemas import (
    Caption,
    CaptionOptions,
    ClipOptions,
    ClipState,
    ColoursOptions,
    EditOptions,
    EditQuery,
    EditState,
    ErrorBody,
    ErrorDetail,
    ExplainOptions,
    ExplainQuery,
    Explanation,
    FailedPhoto,
    Features,
    FeaturesOptions,
    FindOptions,
    FindQuery,
    FoundPhotos,
    Health,
    Info,
    KnownOptions,
    LimitsInfo,
    ModelInfo,
    NearWord,
    NotPhoto,
    Options,
    Photo,
    Photos,
    Ranked,
    RankOptions,
    RankQuery,
    Step,
    Tags,
    TagsOptions,
    UnreadPhoto,
    WordNeighbours,
    WordOptions,
    npy_file,
)
from web.settings import MODELS, WebSettings
from web.uploads import File, Upload
from web.work import Work, client

O = TypeVar("O", bound=Options)  # noqa: E741
T = TypeVar("T")

STATIC: Final = Path(__file__).with_name("static")
LOOK_SECONDS: Final = 2.0
MOST_EDITS: Final = 3  # of one client at once
BINARY: Final = {"type": "string", "format": "binary"}
NAME: Final = r"^[A-Za-z0-9_-]{22}$"
ClipId = Annotated[str, PathParameter(pattern=NAME)]

router: Final = APIRouter()


def _responses(*statuses: int, more: dict[int | str, dict[str, Any]] | None = None) -> dict[int | str, dict[str, Any]]:
    common = (401, 403, 422, 429, 500)
    return {status: {"model": ErrorBody} for status in sorted({*common, *statuses})} | (more or {})


BODY_ERRORS: Final = (400, 404, 408, 409, 413, 415, 503, 504)


def _parameters(options: type[Options], *, required: bool = True) -> list[dict[str, Any]]:
    """The OpenAPI of options in the query."""
    schema = options.model_json_schema()
    needed = schema.get("required", []) if required else []
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": each}
        for name, each in schema["properties"].items()
    ]


def _body(options: type[Options], *, files: int = 1, required: bool = True, clip: bool = False) -> dict[str, Any]:
    """The OpenAPI of a body: a form with the files and the options, or one file alone and the options in the query."""
    schema = options.model_json_schema()
    file = {"type": "array", "items": BINARY, "minItems": 1, "maxItems": files} if files > 1 else BINARY
    form = {
        "type": "object",
        "properties": {"file": file, **schema["properties"]},
        "required": ["file", *schema.get("required", [])] if required else schema.get("required", []),
        "additionalProperties": False,
    }
    own = ("video/mp4", "video/webm", "image/gif") if clip else ("image/jpeg", "image/png")  # others are taken, too
    return {
        "parameters": _parameters(options, required=False),
        "requestBody": {
            "required": required,
            "content": {
                "multipart/form-data": {"schema": form},
                **{kind: {"schema": BINARY} for kind in (*own, "application/octet-stream")},
            },
        },
    }


def _work(request: Request) -> Work:
    work: Work = request.app.state.work
    return work


def _clips(request: Request) -> Clips[ClipState]:
    clips: Clips[ClipState] = request.app.state.clips
    return clips


def _edits(request: Request) -> Clips[EditState]:
    """Raises ApiError where no worker ever was that edits."""
    if _work(request).queue.served(EditTask.LINE) is None:
        raise ApiError("not_found")
    edits: Clips[EditState] = request.app.state.edits
    return edits


def _query(request: Request) -> dict[str, str]:
    """Raises ApiError."""
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in query:
            raise ApiError("option", f"{name[:40]!r} is given twice.")
        query[name] = value
    return query


def _options(kind: type[O], values: dict[str, str]) -> O:
    """Raises RequestValidationError."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(
            error.errors(include_url=False, include_input=False, include_context=False)
        ) from None


@asynccontextmanager
async def _asked_for(
    kind: type[O], request: Request, *, query: type[Options] | None = None, files: int = 1, clip: bool = False
) -> AsyncIterator[tuple[Upload, O]]:
    """The body of a request and its options, of which those of the query are checked before the body is read.

    `query`: where the query alone need not hold all that is needed.
    Raises ApiError, RequestValidationError, and ClientGone.
    """
    values = _query(request)
    if values:
        _options(query or kind, values)
    async with _work(request).upload(request, files=files, clip=clip) as upload:
        yield upload, _options(kind, values | upload.fields)


def _pictures(upload: Upload, options: KnownOptions) -> list[File | None]:
    """The files; None for a photo that workers know. Raises ApiError."""
    if options.picture is None:
        if not upload.files:
            raise ApiError("no_file")
        return [*upload.files]
    if upload.files:
        raise ApiError("option", "picture: a file was sent as well.")
    return [None]


def _one_file(upload: Upload) -> File:
    if not upload.files:
        raise ApiError("no_file")
    return upload.files[0]


def _media(file: File | None) -> bytes | None:
    """Its bytes, which are not kept a second time. Raises ApiError."""
    if file is None:
        return None
    if not file.data:
        raise ApiError("empty")
    media = bytes(file.data)
    file.data = bytearray()
    return media


def _remembered(options: KnownOptions) -> str:
    """The name under which workers keep, or know, the features of a photo; empty: they do not."""
    return options.picture or (secrets.token_urlsafe(16) if options.keep else "")


async def _asked(
    request: Request, task: LookingTask, options: KnownOptions, file: File | None, group: str = ""
) -> tuple[Outcome, str, str | None]:
    """What comes of a task on a file, or on a photo that workers know; the file's name, and the photo's."""
    media, picture = _media(file), _remembered(options)
    task = replace(task, picture=picture, known=media is None)
    place = f"web:{picture}" if picture else ""  # known to its client alone: nobody else finds the features
    result = await _work(request).answer(request, task, media, group=group, place=place)
    return result, "" if file is None else file.name, picture or None


def _understood(option: str, parse: Callable[[str], T], text: str) -> T:
    """Raises ApiError."""
    try:
        return parse(text)
    except (ListError, EditFault) as error:
        raise ApiError("option", f"{option}: {error}") from None


@router.post(
    "/v1/captions",
    summary="Caption photos",
    response_model=Photos,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(CaptionOptions, files=WebSettings.files, required=False),
)
async def caption(request: Request) -> Response:
    """One or several photos in a form, or one as the whole body. Options in the query or in the form.

    Instead of a file, `picture` names a photo that was sent before with `keep=true`.
    """
    work = _work(request)
    async with _asked_for(CaptionOptions, request, files=work.settings.files) as (upload, options):
        files = _pictures(upload, options)
        if options.sheet and options.picture is not None:
            raise ApiError("option", "sheet: it is drawn on the photo, so send the file.")
        photos = await work.unless_gone(request, _of_each(files, partial(_caption_one, request, options)))
    answer = Photos.model_construct(photos=photos)
    return Response(answer.model_dump_json(), media_type="application/json")


async def _caption_one(request: Request, options: CaptionOptions, file: File | None, group: str) -> Photo:
    work = _work(request)
    model = options.model or work.settings.model
    task = PhotoTask(
        model=model,
        samples=options.samples,
        sampling=options.sampling,
        seed=options.seed,
        beam=options.beam if options.beam > 1 else None,
        sheet=options.sheet,
        labels=LABELS[options.language],
        details=True,
        language=options.language,
    )
    result, name, picture = await _asked(request, task, options, file, group)
    assert isinstance(result, PhotoResult)
    said = partial(Caption.of, language=options.language)
    return Photo.model_construct(
        file=name,
        model=model,
        not_photo=None if result.not_photo is None else NotPhoto(**asdict(result.not_photo)),
        greedy=said(result.greedy),
        best=None if result.best is None else said(result.best),
        samples=[*map(said, result.samples)],
        sheet=work.pictures.keep(result.sheet),
        picture=picture,
    )


async def _of_each(
    files: Sequence[File | None], work: Callable[[File | None, str], Awaitable[T]]
) -> list[T | FailedPhoto]:
    """What `work` returns of each file, given its jobs' group. Of several, each may fail; one alone raises why."""
    if len(files) == 1:
        return [await work(files[0], "")]
    group = f"web-{secrets.token_hex(16)}"
    found = await asyncio.gather(*(work(file, group) for file in files), return_exceptions=True)
    return [_or_failed(each, file) for each, file in zip(found, files, strict=True)]


def _or_failed(found: T | BaseException, file: File | None) -> T | FailedPhoto:
    if not isinstance(found, BaseException):
        return found
    if not isinstance(found, Exception):
        raise found
    error = api_error(found)
    return FailedPhoto(file=file.name if file else "", error=ErrorDetail(**error.body["error"]))


@router.post(
    "/v1/explain",
    summary="Weigh the words of a caption",
    response_model=Explanation,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(ExplainOptions, required=False),
)
async def explain(request: Request) -> Response:
    """The caption is said to the network word by word; what it weighed at each step is answered."""
    work = _work(request)
    async with _asked_for(ExplainOptions, request, query=ExplainQuery) as (upload, options):
        [file] = _pictures(upload, options)
        model = options.model or work.settings.model
        task = PhotoTask(
            model=model,
            samples=0,
            sheet=False,
            chart=True,
            explain=options.caption,
            labels=LABELS[options.language],
            details=True,
            language=options.language,
        )
        result, name, picture = await work.unless_gone(request, _asked(request, task, options, file))
    assert isinstance(result, PhotoResult)
    answer = Explanation(
        file=name,
        model=model,
        caption=Caption.of(result.greedy, options.language),
        steps=[Step.of(step, options.language) for step in result.weighed],
        chart=work.pictures.keep(result.chart, "image/png") if options.chart else None,
        picture=picture,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/v1/colours",
    summary="Show a photo as people with a colour vision deficiency see it",
    response_class=Response,
    responses=_responses(
        *BODY_ERRORS,
        more={200: {"content": {"image/jpeg": {"schema": BINARY}}}},
    ),
    openapi_extra=_body(ColoursOptions),
)
async def colours(request: Request) -> Response:
    """The photo beside the simulation, as JPEG."""
    work = _work(request)
    async with _asked_for(ColoursOptions, request) as (upload, options):
        media = _media(_one_file(upload))
        result = await work.unless_gone(
            request, work.answer(request, ColoursTask(kind=options.kind, labels=LABELS[options.language]), media)
        )
    assert isinstance(result, ColoursResult)
    return Response(result.sheet, media_type="image/jpeg")


@router.post(
    "/v1/features",
    summary="Features of a photo",
    response_class=Response,
    responses=_responses(
        *BODY_ERRORS,
        more={200: {"model": Features, "content": {"application/octet-stream": {"schema": BINARY}}}},
    ),
    openapi_extra=_body(FeaturesOptions),
)
async def features(request: Request) -> Response:
    """What the encoder makes of the photo, and every decoder looks at, as a NumPy file or as JSON."""
    work = _work(request)
    async with _asked_for(FeaturesOptions, request) as (upload, options):
        media = _media(_one_file(upload))
        result = await work.unless_gone(request, work.answer(request, FeaturesTask(options.layout == "pooled"), media))
    assert isinstance(result, FeaturesResult)
    if options.format == "npy":
        return Response(npy_file(result.shape, result.values), media_type="application/octet-stream")
    values = memoryview(result.values).cast("f", result.shape).tolist()
    answer = Features.model_construct(layout=options.layout, shape=list(result.shape), features=values)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get(
    "/v1/words/{word}",
    summary="A word's embedding and the nearest words",
    response_model=WordNeighbours,
    responses=_responses(404, 409, 503, 504),
    openapi_extra={"parameters": _parameters(WordOptions)},
)
async def word(request: Request, word: Annotated[str, PathParameter(min_length=1, max_length=100)]) -> WordNeighbours:
    """Of the words that a model can say. Distances are those of its decoder's word embedding."""
    work = _work(request)
    options = _options(WordOptions, _query(request))
    model = options.model or work.settings.model
    with work.one(request):
        task = WordsTask(word, model, options.nearest)
        found = await work.unless_gone(request, work.answer(request, task, b""))
    assert isinstance(found, WordsResult)
    return WordNeighbours(
        word=found.word,
        model=model,
        embedding=list(found.embedding),
        nearest=[NearWord(word=near, similarity=similarity) for near, similarity in found.nearest],
    )


@router.post(
    "/v1/tags",
    summary="Judge which tags a photo has",
    response_model=Tags,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(TagsOptions, required=False),
)
async def tags(request: Request) -> Response:
    """Of a dictionary, or of a list of one's own. Several tags may hold, or none."""
    work = _work(request)
    async with _asked_for(TagsOptions, request) as (upload, options):
        [file] = _pictures(upload, options)
        wanted = _understood("tags", parse_tags, options.tags).items if options.tags else names(options.list)
        task = TagsTask(tags=wanted)
        result, name, picture = await work.unless_gone(request, _asked(request, task, options, file))
    assert isinstance(result, TagsResult)
    answer = Tags.of(result.tags, name, picture)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/v1/rank",
    summary="Rank descriptions of a photo",
    response_model=Ranked,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(RankOptions, required=False),
)
async def rank(request: Request) -> Response:
    """Which of several descriptions fits a photo best, or that none does."""
    work = _work(request)
    async with _asked_for(RankOptions, request, query=RankQuery) as (upload, options):
        [file] = _pictures(upload, options)
        task = RankTask(texts=_understood("texts", parse_descriptions, options.texts).items)
        result, name, picture = await work.unless_gone(request, _asked(request, task, options, file))
    assert isinstance(result, RankResult)
    answer = Ranked.of(result.ranking, name, picture)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/v1/find",
    summary="Find photos by words",
    response_model=FoundPhotos,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(FindOptions, files=WebSettings.find_files),
)
async def find(request: Request) -> Response:
    """Which of the photos a text fits, or that none does. Nothing of them is kept."""
    work = _work(request)
    async with _asked_for(FindOptions, request, query=FindQuery, files=work.settings.find_files) as (upload, options):
        text = _understood("text", checked_query, options.text)
        if not upload.files:
            raise ApiError("no_file")
        answer = await work.unless_gone(request, _found(request, text, upload.files))
    return Response(answer.model_dump_json(), media_type="application/json")


async def _found(request: Request, text: str, files: Sequence[File]) -> FoundPhotos:
    """Raises ApiError, and what `Work.answer` raises."""
    made = await _of_each(files, partial(_vector, request))
    vectors = {numbered(at): each for at, each in enumerate(made) if isinstance(each, Vector)}
    failed = [UnreadPhoto(index=at, **dict(each)) for at, each in enumerate(made) if isinstance(each, FailedPhoto)]
    ours = next((each.error for each in failed if ERRORS[each.error.kind][0] in (429, *range(500, 600))), None)
    if not vectors and ours is not None:  # not the files' fault
        raise ApiError(ours.kind, ours.message)
    kept, media = packed(vectors)
    result = await _work(request).answer(request, FindTask(text, kept), media, before=True)
    assert isinstance(result, FindResult)
    found = result.found
    if not found.understood:
        raise ApiError("unknown_words", f"text: not one of its words is known: {', '.join(found.unknown)}.")
    if found.compared < len(vectors):  # workers of two releases are there
        raise ApiError("features_gone")
    return FoundPhotos.of(text, found, [file.name for file in files], failed)


async def _vector(request: Request, file: File | None, group: str) -> Vector:
    result = await _work(request).answer(request, VectorTask(), _media(file), group=group)
    assert isinstance(result, VectorResult)
    return result.vector


@router.post(
    "/v1/clips",
    summary="Find the moments of a clip",
    status_code=202,
    response_model=ClipState,
    responses=_responses(*BODY_ERRORS),
    openapi_extra=_body(ClipOptions, clip=True),
)
async def begin_clip(request: Request, response: Response) -> ClipState:
    """Answers at once with an id; the work goes on until it is done or deleted."""
    work = _work(request)
    async with AsyncExitStack() as held:
        upload, options = await held.enter_async_context(_asked_for(ClipOptions, request, clip=True))
        media = _media(_one_file(upload))
        assert media is not None
        task = ClipTask(
            model=options.model or work.settings.model,
            moments=options.moments,
            labels=LABELS[options.language],
            language=options.language,
        )
        job = await work.admit(request, task, work.settings.clip_seconds)
        state = await _clips(request).begin(job, media, held.pop_all())
    if await request.is_disconnected():
        await _clips(request).cancel(state.id)
        raise ClientGone
    response.headers["Location"] = f"/v1/clips/{state.id}"
    return state


@router.get(
    "/v1/clips/{name}", summary="State or result of a clip", response_model=ClipState, responses=_responses(404)
)
async def clip_state(request: Request, name: ClipId) -> ClipState:
    return await _clips(request).state(name)


@router.get(
    "/v1/clips/{name}/events",
    summary="Events of a clip, as they happen",
    response_class=StreamingResponse,
    responses=_responses(404, more={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}),
)
async def clip_events(request: Request, name: ClipId) -> StreamingResponse:
    """Server-sent events, named for the clip's state, each with the whole state as its data; the last one ends it."""
    events = await _clips(request).events(name)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.delete("/v1/clips/{name}", summary="Cancel a clip", status_code=204, responses=_responses(404))
async def cancel_clip(request: Request, name: ClipId) -> Response:
    """Stops the work, or forgets the result."""
    await _clips(request).cancel(name)
    return Response(status_code=204)


# Where no worker edits, these addresses are not there; so they are in docs/web.md, and in no schema.


@router.post("/v1/edits", status_code=202, response_model=EditState, include_in_schema=False)
async def begin_edit(request: Request, response: Response) -> EditState:
    """Answers at once with an id; the work goes on until it is done or deleted."""
    work, edits = _work(request), _edits(request)
    async with AsyncExitStack() as held:
        upload, options = await held.enter_async_context(_asked_for(EditOptions, request, query=EditQuery))
        media = _media(_one_file(upload))
        assert media is not None
        text = _understood("text", checked_text, options.text)
        if work.queue.served(EditTask.LINE) != 0:
            raise ApiError("edits_unavailable")
        if edits.open_of(user_of(client(request))) >= MOST_EDITS:
            raise ApiError("busy")
        job = await work.admit(request, EditTask(text, options.strength, options.seed), work.settings.clip_seconds)
        state = await edits.begin(job, media, held.pop_all())
    if await request.is_disconnected():
        await edits.cancel(state.id)
        raise ClientGone
    response.headers["Location"] = f"/v1/edits/{state.id}"
    return state


@router.get("/v1/edits/{name}", response_model=EditState, include_in_schema=False)
async def edit_state(request: Request, name: ClipId) -> EditState:
    return await _edits(request).state(name)


@router.get("/v1/edits/{name}/events", response_class=StreamingResponse, include_in_schema=False)
async def edit_events(request: Request, name: ClipId) -> StreamingResponse:
    """As those of a clip."""
    events = await _edits(request).events(name)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.delete("/v1/edits/{name}", status_code=204, include_in_schema=False)
async def cancel_edit(request: Request, name: ClipId) -> Response:
    """Stops the work, or forgets the result."""
    await _edits(request).cancel(name)
    return Response(status_code=204)


@router.get(
    "/v1/pictures/{name}",
    summary="A picture that was drawn",
    response_class=Response,
    responses=_responses(
        404,
        more={
            200: {"content": {kind: {"schema": BINARY} for kind in ("image/jpeg", "image/png")}},
        },
    ),
)
async def picture(request: Request, name: Annotated[str, PathParameter(pattern=NAME)]) -> Response:
    drawn = _work(request).pictures.get(name)
    return Response(drawn.data, media_type=drawn.media_type, headers={"Cache-Control": "private, max-age=3600"})


@router.get(
    "/health",
    summary="Whether requests can be served",
    response_model=Health,
    responses={503: {"model": Health}, 403: {"model": ErrorBody}},
)
async def health(request: Request, response: Response) -> Health:
    work = _work(request)
    well = work.reachable()
    response.status_code = 200 if well else 503
    return Health(status="ok" if well else "unavailable", workers=work.queue.workers_alive() if well else 0)


@router.get("/info", summary="Models, limits, version", response_model=Info, responses=_responses())
async def info(request: Request) -> Info:
    settings = _work(request).settings
    return Info(
        version=VERSION,
        model=settings.model,
        models=[
            ModelInfo(name=name, attention=name == "attention", bytes=_size(settings.weights_dir, name))
            for name in MODELS
        ],
        limits=LimitsInfo(
            photo_bytes=settings.photo_bytes,
            clip_bytes=settings.clip_bytes,
            clip_seconds=settings.max_video_seconds,
            files=settings.files,
            find_files=settings.find_files,
            open_requests_per_client=settings.limits.requests_per_person,
            requests_per_second=1 / settings.rate.interval,
        ),
    )


def _size(folder: Path | None, model: str) -> int | None:
    """Bytes of a model's weights, the encoder's included."""
    files = [folder / f"{name}.safetensors" for name in ("encoder", model)] if folder is not None else []
    return sum(file.stat().st_size for file in files) if files and all(file.is_file() for file in files) else None


@router.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses=_responses(more={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}),
)
async def metrics(request: Request) -> Response:
    work = _work(request)
    if work.reachable():
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                work.metrics.queue(await work.queue.status())
        except TimeoutError:
            pass
    return Response(work.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})
