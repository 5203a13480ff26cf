"""What is answered instead of a result: `{"error": {"kind", "message"}}` with a status.

`kind` is for programs (and the page, which has its own words for it); `message` says in English what to do about it.
"""

from __future__ import annotations

from typing import Final

from fastapi.responses import JSONResponse

from model.errors import CaptionError, Unexplainable
from model.serving.queue import Busy, JobLost

# kind → status, message. The kinds of `model.errors.KINDS` are among them.
ERRORS: Final[dict[str, tuple[int, str]]] = {
    # the request
    "malformed": (400, "The body is not what its headers say."),
    "no_file": (400, "There is no file in the request."),
    "empty": (400, "The file is empty."),
    "unauthorized": (401, "Send the header Authorization: Bearer, with the value of WEB_TOKEN."),
    "foreign_origin": (403, "Requests from pages of other sites are refused."),
    "foreign_host": (403, "Without WEB_TOKEN, this server answers under localhost and 127.0.0.1 only."),
    "not_found": (404, "There is nothing here."),
    "picture_gone": (404, "The worker that was asked does not know this picture: send its file again."),
    "unknown_word": (404, "This model does not know this word."),
    "method": (405, "This address does not take this method."),
    "slow_body": (408, "The body came too slowly."),
    "cancelled": (409, "The job was cancelled."),
    "too_many_bytes": (413, "The body, or a file in it, is larger than is accepted; GET /info names the limits."),
    "content_type": (
        415,
        "Send multipart/form-data, or the file alone with its own type or application/octet-stream.",
    ),
    "option": (422, "An option is not understood."),
    "too_many_files": (422, "There are more files than this address takes."),
    "unknown_words": (422, "Not one word of the text is known here."),
    "edit_text": (422, "The text is longer than the network that edits reads: say it in fewer words."),
    "unexplainable": (422, "This model cannot have said this caption."),
    "rate": (429, "Too many requests in a short time."),
    "busy": (429, "Too many requests are open."),
    # the media
    "too_large": (413, "The picture has more pixels than are decoded here."),
    "clip_too_large": (413, "The clip has more bytes, or more pixels a frame, than are decoded here."),
    "clip_too_long": (413, "The clip is longer than is watched here; GET /info names the limit."),
    "not_image": (415, "The file is not a picture."),
    "unread_image": (415, "The file is a picture of a kind that is not read here; send it as JPEG, PNG, WebP or HEIC."),
    "svg": (415, "The file is a vector drawing; send it as PNG or JPEG."),
    "pdf": (415, "The file is a PDF document; send a picture."),
    "web_page": (415, "The file is a web page; send the picture itself."),
    "not_a_clip": (415, "The file is not a clip."),
    "unread_clip": (415, "The file is a clip of a kind that is not read here; send it as MP4, MOV, MKV or WebM."),
    "animated": (422, "The picture moves; send it to /v1/clips."),
    "zeros": (422, "The file holds nothing but zeros: its copy failed."),
    "truncated": (422, "The picture breaks off."),
    "damaged": (422, "The picture cannot be decoded."),
    "damaged_clip": (422, "Not one frame of the clip can be decoded."),
    "clip_too_slow": (422, "The clip takes too long to decode."),
    "edit_refused": (422, "What came of this edit is not fit to be shown."),
    "crashed": (422, "The file brought down the workers that tried it."),
    # this server
    "failed": (500, "Something went wrong here."),
    "out_of_memory": (503, "There was no memory for this now. Try again."),
    "features_gone": (503, "No worker could do this now. Try again."),
    "clips_unavailable": (503, "Clips cannot be decoded here."),
    "edits_unavailable": (503, "No worker that edits photos is there now. Try again later."),
    "unavailable": (503, "The queue cannot be reached now. Try again."),
    "edit_too_slow": (504, "The edit took too long. Try again later, or with less strength."),
    "timeout": (504, "No worker finished this in time. Try again later."),
}
RETRY_SECONDS: Final = {
    "busy": 5.0,
    "unavailable": 5.0,
    "features_gone": 5.0,
    "out_of_memory": 5.0,
    "timeout": 30.0,
    "rate": 1.0,
}


class ApiError(Exception):
    """A request that is answered with an error of `ERRORS`."""

    def __init__(self, kind: str, message: str | None = None, *, seconds: float | None = None) -> None:
        """`message`: in place of the kind's own. `seconds`: when it may be tried again."""
        self.kind = kind
        self.status, usual = ERRORS[kind]
        self.message = message or usual
        self.seconds = RETRY_SECONDS.get(kind) if seconds is None else seconds
        super().__init__(f"{kind}: {self.message}")

    @property
    def body(self) -> dict[str, dict[str, str]]:
        return {"error": {"kind": self.kind, "message": self.message}}

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.seconds is not None:
            headers["Retry-After"] = str(max(1, round(self.seconds + 0.5)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (400, 403, 408, 413, 415, 429):  # perhaps before the body was read: the rest is not wanted
            headers["Connection"] = "close"
        return headers

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


class ClientGone(Exception):
    """The client hung up: nobody reads an answer."""


def api_error(error: Exception) -> ApiError:
    """How a failure of the work is answered. What is unforeseen is said to have failed, without its details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Unexplainable):  # what it says is about the caption of the request
        return ApiError(error.kind, f"{ERRORS[error.kind][1].rstrip('.')}: {error}.")
    if isinstance(error, CaptionError):
        return ApiError(error.kind if error.kind in ERRORS else "failed")
    if isinstance(error, Busy):
        return ApiError("busy", seconds=error.seconds)
    return ApiError("features_gone" if isinstance(error, JobLost) else "failed")
