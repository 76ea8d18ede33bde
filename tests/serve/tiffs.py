"""TIFF files that no library writes."""

from __future__ import annotations

import struct
import zlib


def tiled_tiff(*sides: int, order: str = "<", big: bool = False, kind: int = 4, pixels: bool = False) -> bytes:
    """A photo of 64 x 64 px, of value 7, in one square tile packed with zlib.

    Args:
        sides: Side of the tile in pixels; several are several entries of the directory.
        order: `<` for little-endian, `>` for big-endian.
        big: BigTIFF.
        kind: Type of the entries of the tile's side: 3 for 16 bits, 4 for 32 bits.
        pixels: With the tile's data; without, it is cut off behind the directory.
    """
    width = 8 if big else 4
    packed = zlib.compress(bytes([7]) * sides[0] ** 2) if pixels else b""
    short = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1)]
    entries = [(tag, 3, value) for tag, value in short]
    entries += [(tag, kind, side) for tag in (322, 323) for side in sides]
    start = 16 if big else 8
    data = start + (8 if big else 2) + (len(entries) + 2) * (12 + 2 * (width - 4)) + width
    entries += [(324, 4, data), (325, 4, len(packed))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HL"), *([43, 8, 0, start] if big else [42, start])
    )
    directory = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, form, value in entries:
        number = struct.pack(order + ("H" if form == 3 else "L"), value).ljust(width, b"\0")
        directory += struct.pack(order + ("HHQ" if big else "HHL"), tag, form, 1) + number
    return head + directory + bytes(width) + packed
