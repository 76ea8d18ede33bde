"""What an image's file says before it is decoded: frames and pages, and the tiles of a TIFF."""

from __future__ import annotations

import struct

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from iadr1.geometry import Size

SEVERAL = "holds more than one frame or page"
_PHONE = "MPO"
"""A telephone's JPEG with further pictures behind the photo, which Pillow's reader for JPEG finds."""


def has_several(image: Image.Image) -> bool:
    """Whether a file that is open holds several frames or pages, of which none is the photo.

    Raises:
        Exception: One of `images.DAMAGES`, where the file is damaged.
    """
    return bool(getattr(image, "is_animated", False)) and image.format != _PHONE


def tile_size(image: Image.Image) -> Size:
    """(width, height) of a TIFF's tiles, (0, 0) of what has none.

    A tile is decoded as a whole and may be larger than its image. (The strips of a TIFF are cut at its last row.)

    Args:
        image: Opened and not decoded yet.

    Raises:
        SyntaxError, struct.error: Its directory is damaged.
    """
    if not isinstance(image, TiffImageFile) or image.fp is None:
        return 0, 0
    image.fp.seek(0)
    head = image.fp.read(4)
    order, big = "<" if head[:1] == b"I" else ">", 43 in head[2:]  # BigTIFF
    entry, number = struct.Struct(order + ("HHQ8s" if big else "HHL4s")), struct.Struct(order + ("Q" if big else "H"))
    image.fp.seek(image.tag_v2.offset)
    (entries,) = number.unpack(image.fp.read(number.size))
    sides, integers = {322: 0, 323: 0}, {3: "H", 4: "L"}
    for tag, kind, _, value in entry.iter_unpack(image.fp.read(entry.size * min(entries, 1 << 16))):
        if tag in sides:
            if kind not in integers:
                raise SyntaxError(f"TIFF tag {tag} is of type {kind}, neither SHORT nor LONG")
            # An entry may be there twice, and readers differ in which one they take.
            sides[tag] = max(sides[tag], *struct.unpack_from(order + integers[kind], value))
    return sides[322], sides[323]
