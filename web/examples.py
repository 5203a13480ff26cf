"""Examples of answers, for the OpenAPI document. Attention has 8 × 8 regions in truth."""

from __future__ import annotations

from typing import Any, Final

Example = dict[str, Any]

_PICTURE: Final = "3q2-7wEjRWeJq83vEjRWeA"
_TRANSLATION: Final[Example] = {
    "text": "кошка на диване",
    "probability": 0.84,
    "passed": True,
    "failed": [],
    "words": ["кошка", "на", "диване"],
    "aligned": [[0, 1], [2], [3, 4]],
}
_REFUSED: Final[Example] = {
    "text": "кошка на синем диване",
    "probability": 0.41,
    "passed": False,
    "failed": ["colour: red", "low probability"],
    "words": ["кошка", "на", "синем", "диване"],
    "aligned": [[0, 1], [2], [3, 4], [5]],
}


def _caption(text: str, confidence: float) -> Example:
    """In English."""
    words = [{"text": word, "log_prob": -0.25, "attention": [[0.5, 0.25], [0.125, 0.125]]} for word in text.split()]
    return {"text": text, "confidence": confidence, "beginning": "", "words": words}


_CAPTION: Final = _caption("a cat on a sofa", 0.46)
_IN_RUSSIAN: Final = {
    "english": _CAPTION["text"],
    "translation": _TRANSLATION,
    **_CAPTION,
    "text": _TRANSLATION["text"],
}
_ERROR: Final[Example] = {"kind": "damaged", "message": "The picture cannot be decoded."}
_PHOTO: Final[Example] = {
    "file": "cat.jpg",
    "model": "attention",
    "not_photo": None,
    "greedy": _CAPTION,
    "best": _CAPTION,
    "samples": [_caption("a cat lies on a couch", 0.31)],
    "sheet": f"/v1/pictures/{_PICTURE}",
    "picture": None,
}
_PHOTO_IN_RUSSIAN: Final[Example] = {
    **_PHOTO,
    "greedy": _IN_RUSSIAN,
    "best": None,
    "samples": [{"english": "a cat on a red sofa", "translation": _REFUSED, **_caption("a cat on a red sofa", 0.22)}],
}
_PHOTOS: Final[list[Example]] = [
    {"photos": [_PHOTO, {"file": "broken.jpg", "error": _ERROR}]},
    {"photos": [_PHOTO_IN_RUSSIAN]},
]
_EXPLANATION: Final[list[Example]] = [
    {
        "file": "cat.jpg",
        "model": "attention",
        "caption": _CAPTION,
        "steps": [
            {"word": "a", "probability": 0.83, "others": [{"word": "two", "probability": 0.09}]},
            {"word": None, "probability": 0.9, "others": [{"word": "with", "probability": 0.04}]},
        ],
        "chart": f"/v1/pictures/{_PICTURE}",
        "picture": None,
    }
]
_TAGS: Final[list[Example]] = [
    {
        "file": "cat.jpg",
        "none_fits": False,
        "tags": [
            {"name": "cat", "probability": 0.91, "holds": True},
            {"name": "dog", "probability": 0.02, "holds": False},
        ],
        "unjudgeable": [{"text": "minibar", "unknown": ["minibar"]}],
        "picture": None,
    }
]
_RANKED: Final[list[Example]] = [
    {
        "file": "cat.jpg",
        "best": "a cat on a sofa",
        "none": 0.08,
        "choices": [
            {"text": "a cat on a sofa", "probability": 0.9},
            {"text": "a dog on grass", "probability": 0.02},
        ],
        "unjudgeable": [],
        "picture": None,
    }
]
_FOUND: Final[list[Example]] = [
    {
        "text": "a xylophone on a beach",
        "none_fits": False,
        "found": [{"index": 1, "file": "beach.jpg", "probability": 0.71}],
        "compared": 2,
        "unknown": ["xylophone"],
        "failed": [{"file": "broken.jpg", "error": _ERROR, "index": 2}],
    }
]
_FEATURES: Final[list[Example]] = [{"layout": "pooled", "shape": [4], "features": [0.1, 0.0, 1.25, 0.5]}]
_NEIGHBOURS: Final[list[Example]] = [
    {
        "word": "cat",
        "model": "attention",
        "embedding": [0.12, -0.4, 0.03],
        "nearest": [{"word": "kitten", "similarity": 0.45}],
    }
]
_MOMENT: Final[Example] = {"time": 2.0, "text": "a cat on a sofa", "score": 0.8}
_CLIP: Final[list[Example]] = [
    {"id": _PICTURE, "state": "waiting", "place": 2, "percent": 0, "result": None, "error": None},
    {
        "id": _PICTURE,
        "state": "done",
        "place": 0,
        "percent": 100,
        "result": {
            "model": "attention",
            "duration": 12.5,
            "still": False,
            "variedness": 0.62,
            "moments": [{**_MOMENT, "picture": f"/v1/pictures/{_PICTURE}"}],
            "frames": [{**_MOMENT, "chosen": True}],
            "timeline": f"/v1/pictures/{_PICTURE}",
        },
        "error": None,
    },
]

EXAMPLES: Final[dict[str, list[Example]]] = {  # by the name of the schema
    "Photos": _PHOTOS,
    "Explanation": _EXPLANATION,
    "Tags": _TAGS,
    "Ranked": _RANKED,
    "FoundPhotos": _FOUND,
    "Features": _FEATURES,
    "WordNeighbours": _NEIGHBOURS,
    "ClipState": _CLIP,
    "ErrorBody": [{"error": _ERROR}],
    "Health": [{"status": "ok", "workers": 1}],
}
