"""Photos in memory, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from iadr1.errors import ImageError
from iadr1.images import file_sha256, open_image
from iadr1.jsonl import utf8
from iadr1.stages.inspection.photos import Photo
from iadr1.stages.inspection.references import References

BATCH_PIXELS = 100_000_000
"""A batch is closed early at this many pixels, so that a few huge photos do not fill the memory."""


@dataclass(frozen=True)
class Loaded:
    """A photo in memory with its references.

    Attributes:
        photo: Which photo it is.
        image: None where it or one of its references cannot be read; `error` then says why.
        references: Photos of normal products, shown before it.
        reference_names: What they are called in the record.
        error: Why it cannot be looked at.
        sha256: Of the photo's file.
    """

    photo: Photo
    image: Image.Image | None = None
    references: tuple[Image.Image, ...] = ()
    reference_names: tuple[str, ...] = ()
    error: str | None = None
    sha256: str | None = None

    @property
    def pixels(self) -> int:
        """Pixels held in memory."""
        return sum(image.width * image.height for image in (self.image, *self.references) if image is not None)


def load_batches(photos: Sequence[Photo], references: References | None, size: int) -> Iterator[list[Loaded]]:
    """The photos in batches of at most `size` and about `BATCH_PIXELS`; only one batch is in memory at a time."""
    batch: list[Loaded] = []
    for photo in photos:
        batch.append(load(photo, references))
        if len(batch) >= size or sum(item.pixels for item in batch) >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def load(photo: Photo, references: References | None) -> Loaded:
    """One photo with its references; where one of them cannot be read, an item that says so."""
    try:
        image = open_image(photo.path, single=True)
        content = file_sha256(photo.path)
        paths = references.find(photo, image, sha256=content) if references is not None else []
        shown, names = references.open(paths) if references is not None else ((), ())
        return Loaded(photo, image, shown, names, sha256=content)
    except ImageError as error:
        return Loaded(photo, error=utf8(str(error)))
    except OSError as error:  # it has gone since it was opened
        return Loaded(photo, error=utf8(f"{photo.path}: cannot read the file: {error.strerror}"))
