"""From the bytes of an upload to pixels: what is no photo, or too large a one, is refused before it is decoded."""

from __future__ import annotations

import hashlib
from typing import IO

from PIL import Image, UnidentifiedImageError

from iadr1.errors import ImageError
from iadr1.headers import SEVERAL, has_several, tile_size
from iadr1.images import DAMAGES, FORMATS, read_image
from iadr1.stages.serve.refusals import RefusedError, not_an_image, too_large

_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"\x00\x00\x00\x1cftyp": "a HEIF photo or a video",
    b"\x00\x00\x00\x18ftyp": "a HEIF photo or a video",
}


def check_header(file: IO[bytes], *, what: str, max_pixels: int) -> int:
    """The pixels that a picture needs memory for while it is decoded, by its header alone.

    Args:
        file: The upload.
        what: What it is called in an error, for example `image`.
        max_pixels: Larger ones are refused, and those made of larger tiles.

    Raises:
        RefusedError: It is empty, no picture, one of several frames, or too large.
    """
    begin = file.read(12)
    file.seek(0)
    if not begin:
        raise not_an_image(f"{what} is empty (0 bytes)", "send the bytes of one photo", status=422)
    try:
        with Image.open(file, formats=tuple(FORMATS)) as picture:
            size, tile = picture.size, tile_size(picture)
            several = has_several(picture)
    except UnidentifiedImageError as error:
        if begin.startswith(_BEGINNINGS):
            raise _damaged(what, "its header is cut off or damaged") from error
        raise not_an_image(f"{what} is {_kind(begin)}", f"send one photo, not packed: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(what, "", max_pixels) from error
    except DAMAGES as error:
        raise _damaged(what, error) from error
    finally:
        file.seek(0)
    for told, (width, height) in (("", size), ("in tiles of ", tile)):
        if width * height > max_pixels:
            raise _too_many_pixels(what, f"{told}{width} x {height} px, ", max_pixels)
    if several:
        raise not_an_image(f"{what} {SEVERAL}", "send one photo a request, without the others", status=422)
    return max(size[0] * size[1], tile[0] * tile[1])


def decode(file: IO[bytes], *, what: str) -> Image.Image:
    """The picture as 8-bit RGB in its EXIF orientation.

    Raises:
        RefusedError: It is damaged, or has pixels that are not finite.
    """
    file.seek(0)
    try:
        return read_image(file, name=what)
    except ImageError as error:
        raise _damaged(what, error.message, error.hint) from error


def sha256(file: IO[bytes]) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    file.seek(0)
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    file.seek(0)
    return found.hexdigest()


def _kind(begin: bytes) -> str:
    known = next((name for magic, name in _OTHERS.items() if begin.lower().startswith(magic.lower())), None)
    return f"{known}, not a photo" if known else f"no picture that can be read (it begins with {begin!r})"


def _too_many_pixels(what: str, size: str, max_pixels: int) -> RefusedError:
    return too_large(
        f"{what} is {size}above the limit of {max_pixels / 1e6:g} million pixels",
        "scale it down or cut it into parts; the server's limit is its --max-megapixels",
    )


def _damaged(what: str, error: Exception | str, hint: str | None = None) -> RefusedError:
    told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    hint = hint or "the file is damaged or cut off; write it anew and send it whole"
    return not_an_image(f"{what} cannot be read: {told}", hint, status=422)
