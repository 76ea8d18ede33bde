"""What the OpenAPI page says of each address beyond what stands in its function."""

from __future__ import annotations

from typing import Any

from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from iadr1.images import FORMATS
from iadr1.records import Detection
from iadr1.stages.serve.refusals import Problem


class Health(BaseModel):
    """Whether photos are looked at now, and by what."""

    status: str
    ready: bool
    reason: str = ""
    version: str
    model: str = ""
    engine: str = ""
    fingerprint: str = ""
    mode: str = ""
    threshold: float | None = None
    calibration: str = ""
    protocol: str = ""
    masks: bool = False
    shots: int = 0
    fewer_references: int = 0
    inside: int = 0
    queued: int = 0
    places: int = 0


_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {**_BINARY, "description": f"The photo, one frame: {', '.join(FORMATS)}."},
        "reference": {
            "type": "array",
            "maxItems": 8,
            "items": _BINARY,
            "description": "Photos of the same product without defects, shown before it; none has the photo's bytes.",
        },
        "masks": {"type": "boolean", "default": False, "description": "Draw a mask for each box (COCO run lengths)."},
        "name": {
            "type": "string",
            "maxLength": 512,
            "description": "What it is called in the answer, else the file's name. With a path such as bottle/7.png "
            "its folder chooses references of the server's own.",
        },
    },
}
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp", "image/gif")


def _problems(**texts: str) -> dict[int | str, dict[str, Any]]:
    return {int(status.removeprefix("s")): {"model": Problem, "description": text} for status, text in texts.items()}


DETECT: dict[str, Any] = {
    "summary": "Look at one photo.",
    "description": "The photo is the file field `image` of a form, or the body itself. A verdict of `undecided` is an "
    "answer, not an error: the score lies in the uncertain band, or the model contradicts itself.",
    "response_model": Detection,
    "responses": _problems(
        s400="The body is not what its Content-Type says.",
        s401="No token, or a wrong one.",
        s408="The body did not come in time.",
        s413="Too many bytes, or too many pixels.",
        s415="Not a photo, or not one this server reads.",
        s422="A damaged photo, more than one frame, or a wrong field.",
        s429="The queue is full; Retry-After says when to come again.",
        s502="The model failed on this photo.",
        s503="Loading, stopping, or no room for the upload.",
        s504="Not looked at within the deadline.",
    ),
    "openapi_extra": {
        "parameters": [
            {"in": "query", "name": name, "required": False, "schema": {"type": kind}, "description": text}
            for name, kind, text in (
                ("masks", "boolean", "As the form field, for a photo that is the body itself."),
                ("name", "string", "As the form field, for a photo that is the body itself."),
            )
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": _FORM,
                    "encoding": {"image": {"contentType": "image/*"}, "reference": {"contentType": "image/*"}},
                },
                **{kind: {"schema": _BINARY} for kind in _IMAGES},
            },
        },
    },
}

HEALTH: dict[str, Any] = {
    "summary": "Whether photos are looked at now, and by what.",
    "description": "200 where they are; 503 with the same body while the model is loaded, where it failed again and "
    "again or hangs, and while the server is stopping.",
    "responses": {503: {"model": Health, "description": "Not now; `status` and `reason` say why."}},
}

LIVE: dict[str, Any] = {
    "summary": "Whether the process works; where not, start it again.",
    "response_class": PlainTextResponse,
    "responses": {
        503: {"description": "The queue is dead.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
}

METRICS: dict[str, Any] = {
    "summary": "Figures for Prometheus.",
    "response_class": PlainTextResponse,
    "responses": _problems(s401="No token, or a wrong one."),
}
