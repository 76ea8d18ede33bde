"""The one way to open an image and the one resize.

Every image becomes an 8-bit RGB `PIL.Image` in the orientation its EXIF says; 16-bit and float data are scaled by
percentiles (floats within 0..1 by 255; a NaN among them is an error), transparency is laid on white, CMYK and palettes
are converted.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from iadr1.errors import ImageError, UsageError
from iadr1.geometry import Size
from iadr1.headers import SEVERAL, has_several, tile_size

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm"),
}
"""What is read, as Pillow calls it, and the suffixes of its files. Pillow's other readers are never asked: some start
other programs (EPS)."""
IMAGE_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 250_000_000
"""Largest image opened, in pixels: 250 MP needs about 1 GB once decoded, and twice that while it is being read."""
DAMAGES = (
    *(OSError, SyntaxError, ValueError, struct.error, zlib.error),
    *(ArithmeticError, LookupError, TypeError, AttributeError, EOFError, RuntimeError),
)
"""What Pillow's readers raise where a file is not what it says: SyntaxError for broken PNG chunks, ValueError for
broken TIFF tags, struct.error for broken EXIF, RuntimeError where a codec gives up ..."""
_STRIP = 1 << 20
"""Pixels of a 16-bit or float image that are scaled at a time."""
_SAMPLE = 1 << 22
"""About the most values that the percentiles of a float image are taken of."""

# Pillow's own, smaller limit is one setting of the whole process: changing it for each file would race with the
# threads that open others. Pillow only refuses above twice its limit.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def open_image(path: Path, *, single: bool = False) -> Image.Image:
    """The image as 8-bit RGB in its EXIF orientation.

    Args:
        path: Its file.
        single: Refuse a file of several frames or pages, of which only the first would be seen.

    Raises:
        ImageError: Missing, unreadable, truncated, empty, of none of `FORMATS`, above `MAX_PIXELS`, or with pixels
            that are not finite.
    """
    with _opened(path, name=path, single=single) as image:
        return _upright_rgb(image, path)


def read_image(file: IO[bytes], *, name: str) -> Image.Image:
    """As `open_image`, of a file that is open, for example an upload.

    Args:
        file: Read from its beginning; stays open.
        name: What it is called in errors.

    Raises:
        ImageError: As `open_image`.
    """
    with _opened(file, name=name) as image:
        return _upright_rgb(image, name)


@contextlib.contextmanager
def _opened(
    file: Path | IO[bytes], *, name: Path | str, what: str = "image", single: bool = False
) -> Iterator[Image.Image]:
    """An image that is within the limits, not decoded yet; errors name it, also those that come when it is decoded."""
    with _telling(name, what=what):
        if isinstance(file, Path) and file.stat().st_size == 0:
            raise ImageError("the file is empty (0 bytes)", where=str(name))
        with Image.open(file, formats=tuple(FORMATS)) as image:
            for told, (width, height) in (("", image.size), ("in tiles of ", tile_size(image))):
                if width * height > MAX_PIXELS:
                    raise _too_large(name, f"{told}{width}x{height} px, ")
            if single and has_several(image):
                raise ImageError(f"the file {SEVERAL}", where=str(name), hint="save each photo as a file of its own")
            yield image


@contextlib.contextmanager
def _telling(where: Path | str, *, what: str = "image") -> Iterator[None]:
    """Turns what Pillow raises at a damaged file into an error that names the file."""
    try:
        yield
    except UnidentifiedImageError as error:
        hint = f"what is read: {', '.join(FORMATS)}"
        raise ImageError("not an image that Pillow can read", where=str(where), hint=hint) from error
    except Image.DecompressionBombError as error:
        raise _too_large(where, "") from error
    except DAMAGES as error:
        raise ImageError(f"cannot read the {what}: {_reason(error)}", where=str(where)) from error


def _too_large(name: Path | str, size: str) -> ImageError:
    return ImageError(
        f"the image is {size}above the limit of {MAX_PIXELS // 1_000_000} million pixels",
        where=str(name),
        hint="scale it down or cut it into tiles",
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _upright_rgb(image: Image.Image, name: Path | str) -> Image.Image:
    image.load()
    _check_finite(image, name)
    ImageOps.exif_transpose(image, in_place=True)  # else it is copied, turned or not
    return _to_rgb(image)


def _check_finite(image: Image.Image, name: Path | str) -> None:
    """Refuse floats that are no numbers: nothing was seen at these pixels, and black would be a value like others."""
    if image.mode != "F":
        return
    absent = sum(int(np.count_nonzero(~np.isfinite(values))) for _, values in _strips(image))
    if absent:
        told = f"{absent} of {image.width * image.height} pixels are NaN or infinite"
        raise ImageError(told, where=str(name), hint="give each one a number, for example that of its neighbour")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_deep(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    """16-bit and float data -> RGB between the 0.1 and 99.9 percentile; see `_deep_range`."""
    low, high = _deep_range(image)
    result = Image.new("RGB", image.size)
    for top, values in _strips(image):
        scaled = values.astype(np.float64) - low
        scaled *= 255.0 / max(high - low, 1e-12)
        result.paste(Image.fromarray(np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)).convert("RGB"), (0, top))
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """The image's values a few rows at a time, each with its first row: as a whole they need many times its memory."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def _deep_range(image: Image.Image) -> tuple[float, float]:
    """The values that become black and white; percentiles of integers are exact, those of floats of a sample.

    0 and 255 where all lie within, and for floats that all lie within 0 and 1 these.
    """
    least, most = math.inf, -math.inf
    for _, values in _strips(image):
        least, most = min(least, float(values.min())), max(most, float(values.max()))
    if image.mode == "F" and 0 <= least <= most <= 1:
        return 0.0, 1.0
    if least >= 0 and most <= 255:
        return 0.0, 255.0
    if image.mode != "F" and most - least < 1 << 16:
        return _counted_percentiles(image, int(least), int(most))
    step = max(1, image.width * image.height // _SAMPLE)
    while math.gcd(step, image.width) > 1:  # else only some of the columns would be seen
        step += 1
    values = np.concatenate([values.ravel()[::step] for _, values in _strips(image)]).astype(np.float64)
    low, high = np.percentile(values, (0.1, 99.9))
    return float(low), float(high)


def _counted_percentiles(image: Image.Image, least: int, most: int) -> tuple[float, float]:
    """The 0.1 and 99.9 percentile by a histogram, between two values in proportion as `np.percentile` does."""
    counts = np.zeros(most - least + 1, dtype=np.int64)
    for _, values in _strips(image):
        counts += np.bincount(values.ravel().astype(np.int64) - least, minlength=counts.size)
    ends = np.cumsum(counts)
    places = np.array((0.001, 0.999)) * (ends[-1] - 1)
    below = np.searchsorted(ends, np.floor(places), side="right")
    above = np.searchsorted(ends, np.ceil(places), side="right")
    low, high = least + below + (places - np.floor(places)) * (above - below)
    return float(low), float(high)


def open_mask(path: Path, *, threshold: int = 0) -> NDArray[np.bool_]:
    """A mask file as a boolean array (H, W): true where the value is above `threshold` (in the file's own units).

    Raises:
        ImageError: The file cannot be read.
    """
    with _opened(path, name=path, what="mask") as image:
        values = np.asarray(ImageOps.exif_transpose(image))
    if values.ndim == 3:
        values = values[..., :3].max(axis=2)
    result: NDArray[np.bool_] = values > threshold
    return result


def open_labels(path: Path) -> NDArray[np.int64]:
    """The values of a label mask as an array (H, W), as they are stored (for a palette the indices).

    Raises:
        ImageError: It cannot be read, is above `MAX_PIXELS`, or is a colour picture, which has no single value a pixel.
    """
    with _opened(path, name=path, what="mask") as image:
        values = np.asarray(ImageOps.exif_transpose(image))
    if values.ndim == 3:
        if (values[..., :3] != values[..., :1]).any():
            raise ImageError(
                "a colour picture where a mask of label ids should be",
                where=str(path),
                hint="take the set's own label masks, not a rendering of them",
            )
        values = values[..., 0]
    labels: NDArray[np.int64] = values.astype(np.int64)
    return labels


def resize(image: Image.Image, size_wh: Size) -> Image.Image:
    """The image at exactly `size_wh` (bicubic, antialiased), aspect ratio not kept; no copy where it already fits."""
    return image if image.size == size_wh else image.resize(size_wh, Image.Resampling.BICUBIC)


def fit_within(image_wh: Size, bound_wh: Size) -> Size:
    """The largest size of the same aspect ratio inside `bound_wh`, never enlarged, sides at least 1 px."""
    scale = min(1.0, bound_wh[0] / image_wh[0], bound_wh[1] / image_wh[1])
    return max(1, int(image_wh[0] * scale)), max(1, int(image_wh[1] * scale))


def find_images(place: Path, *, glob: str = "*") -> list[Path]:
    """Images of a folder and its sub-folders in sorted order, or the one file that `place` names.

    Hidden files and folders are left out. Files are told by their suffix only; whether they are images shows when
    they are opened. Of a folder, only the files whose name matches the shell pattern `glob` count, for folders in
    which masks or templates lie beside the photos.

    Raises:
        UsageError: The place is missing, holds no file with an image suffix, or a part of it cannot be read.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UsageError(f"no folder or file {str(place)!r}", hint="'iadr1 prepare' writes sample photos to images/")
    found = sorted(path for path in _walk(place) if fnmatch(path.name, glob))
    if not found and glob != "*":
        raise UsageError(f"no image in {str(place)!r} has a name like {glob!r}")
    if not found:
        raise UsageError(
            f"no images in {str(place)!r}", hint=f"looked for {', '.join(sorted(IMAGE_SUFFIXES))} in all sub-folders"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    errors: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            try:
                if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                    yield path
            except OSError as error:
                errors.append(error)
    # What is gone since its folder was read is no loss; photos that nobody looks at would be one.
    if left := [error for error in errors if not isinstance(error, FileNotFoundError)]:
        told = "; ".join(f"{str(error.filename)!r}: {error.strerror}" for error in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        hint = "make it readable, or name a folder without it"
        raise UsageError(f"cannot look for images in {told}{more}", hint=hint)


def hash_and_size(path: Path) -> tuple[str, Size]:
    """SHA-256 of an image file, and its (width, height) after EXIF orientation: one read, only the header decoded.

    Raises:
        ImageError: Missing, empty, not an image, or above `MAX_PIXELS`.
    """
    with _telling(path):
        data = path.read_bytes()
        if not data:
            raise ImageError("the file is empty (0 bytes)", where=str(path))
    with _opened(BytesIO(data), name=path) as image:
        size = _turned_size(image)
    return hashlib.sha256(data).hexdigest(), size


def image_size(path: Path, *, single: bool = False) -> Size:
    """(width, height) of an image after EXIF orientation, without decoding its pixels.

    Args:
        path: Its file.
        single: Refuse a file of several frames or pages.

    Raises:
        ImageError: Missing, empty, not an image, or above `MAX_PIXELS`.
    """
    with _opened(path, name=path, single=single) as image:
        return _turned_size(image)


def _turned_size(image: Image.Image) -> Size:
    # Not `image.getexif()`: for a PNG that decodes all pixels to look for chunks behind them.
    turned = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1) in _QUARTER_TURNS
    return (image.height, image.width) if turned else (image.width, image.height)


_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
