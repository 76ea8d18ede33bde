"""The body of a request: read piece by piece under a limit, whatever its headers say of its length."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from iadr1.stages.inspection import utf8
from iadr1.stages.serve.refusals import RefusedError, bad_request, not_an_image, too_large

MOST_REFERENCES = 8
"""Most references of one request."""
_SPOOL = 1 << 20
"""Bytes of an upload kept in memory; what is longer goes to a temporary file."""
_LONGEST_NAME = 512
_LONGEST_FIELD = 4096
_HOW = 'send multipart/form-data with the file field "image", or the photo itself with Content-Type: image/png'
_BOOLEAN = TypeAdapter(bool)


@dataclass
class Upload:
    """What a request brought.

    Attributes:
        photo: The photo's bytes, in memory or in a temporary file.
        references: The same for each reference.
        name: What the photo is called in the answer; its folder chooses references of the server's folder.
        masks: Whether masks are wanted.
    """

    photo: IO[bytes]
    references: tuple[IO[bytes], ...] = ()
    name: str = ""
    masks: bool = False

    def close(self) -> None:
        """Give the memory and temporary files back."""
        for file in (self.photo, *self.references):
            file.close()


async def read_upload(request: Request, *, max_bytes: int) -> Upload:
    """The upload of a request; `masks` and `name` may stand in the address as well.

    Args:
        request: Its body has not been read.
        max_bytes: Longest body.

    Raises:
        RefusedError: It is too long, or not what the interface takes.
        ClientDisconnect: The client went away before it was whole.
    """
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise bad_request(f"the body is packed ({headers['content-encoding']})", "send it as it is", status=415)
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_long(max_bytes)
    bounded = Request(request.scope, _bounded(request.receive, max_bytes))
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            return await _form(bounded)
        if kind.startswith("image/"):
            texts = _texts(request)
            return Upload(await _body(bounded), (), _name(texts), _masks(texts))
    except OSError as error:
        told = f"the upload cannot be stored: {error.strerror or error}"
        raise RefusedError(503, "no_space", told, "make room in the server's folder for temporary files") from error
    raise not_an_image(f"the Content-Type is {kind or 'not given'!r}", _HOW)


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, until more than `limit` bytes of body have come."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_long(limit)
        return message

    return bounded


def _too_long(limit: int) -> RefusedError:
    told = f"the request is longer than {limit / 1e6:g} MB"
    return too_large(told, "send the photo as JPEG, or smaller; the server's limit is its --max-mb")


async def _body(request: Request) -> IO[bytes]:
    # Closed by the upload that it becomes; where reading fails, when it is no longer referenced.
    file = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115
    async for piece in request.stream():
        file.write(piece)
    file.seek(0)
    return file


async def _form(request: Request) -> Upload:
    try:
        form = await request.form(max_files=1 + MOST_REFERENCES, max_fields=8, max_part_size=_LONGEST_FIELD)
    except HTTPException as error:
        raise bad_request(f"not multipart/form-data: {error.detail}", _HOW, status=400) from error
    except (ValueError, LookupError) as error:  # an odd charset
        raise bad_request(f"not multipart/form-data: {error}", _HOW, status=400) from error
    try:
        return _upload(form.multi_items(), _texts(request))
    except RefusedError:
        await form.close()
        raise


def _upload(items: list[tuple[str, Any]], texts: dict[str, list[str]]) -> Upload:
    files: dict[str, list[UploadFile]] = {"image": [], "reference": []}
    for key, value in items:
        if isinstance(value, UploadFile) and key in files:
            files[key].append(value)
        elif isinstance(value, str) and key in texts:
            texts[key].append(value)
        elif key in files or key in texts:
            raise bad_request(f"the field {key!r} is {'a text' if key in files else 'a file'}", _HOW)
        else:
            raise _unknown(key, *files, *texts)
    if len(files["image"]) != 1:
        raise bad_request(f"there are {len(files['image'])} file fields 'image'", f"{_HOW}; one photo a request")
    image = files["image"][0]
    shown = tuple(reference.file for reference in files["reference"])
    return Upload(image.file, shown, _name(texts, image.filename), _masks(texts))


def _texts(request: Request) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {"masks": [], "name": []}
    for key, value in request.query_params.multi_items():
        if key not in texts:
            raise _unknown(key, *texts, where=" in the address")
        texts[key].append(value)
    return texts


def _unknown(key: str, *known: str, where: str = "") -> RefusedError:
    return bad_request(f"no field {key[:40]!r}{where}", f"known fields{where}: {', '.join(known)}")


def _masks(texts: dict[str, list[str]]) -> bool:
    text = _once("masks", texts)
    try:
        return text is not None and _BOOLEAN.validate_python(text)
    except ValidationError as error:
        raise bad_request(f"'masks' is {str(text)[:40]!r}", "it is true or false") from error


def _name(texts: dict[str, list[str]], filename: str | None = None) -> str:
    text = _once("name", texts) or filename or "photo"
    if len(text) > _LONGEST_NAME:
        raise bad_request(f"the name has {len(text)} characters", f"it may have {_LONGEST_NAME}")
    return utf8(text)


def _once(key: str, texts: dict[str, list[str]]) -> str | None:
    if len(texts[key]) > 1:
        raise bad_request(f"{key!r} is given {len(texts[key])} times", "give it once")
    return texts[key][0] if texts[key] else None
