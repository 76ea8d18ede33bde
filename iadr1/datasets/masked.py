"""From photos with masks to yes/no samples: what every data set of defect masks shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from iadr1 import parallel
from iadr1.datasets.files import Files
from iadr1.errors import DataError, ImageError
from iadr1.geometry import location_word
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Defect, Sample


@dataclass(frozen=True)
class Photo:
    """One image of a set with what its folder says about it. Paths are relative to the set's root.

    Attributes:
        path: The image.
        category: The product or texture, as the set names it.
        split: The set's own split.
        kind: The defect's type in words; None for a normal product.
        masks: Files of the defective regions; they may be all zero (a defect without a place).
        threshold: A mask is defective where its value is above this.
        defects: The defects where the set says them without masks (boxes); it then has no `masks`.
        references: Normal images of the same product.
    """

    path: str
    category: str
    split: str
    kind: str | None
    masks: tuple[str, ...] = ()
    threshold: int = 0
    defects: tuple[Defect, ...] = ()
    references: tuple[str, ...] = ()


def yes_no(
    files: Files, photos: Sequence[Photo], *, dataset: str, licence: str, source: str, tree: str
) -> Iterator[Sample]:
    """One yes/no sample ("Are there any defects ...") per photo, in the photos' order; `id` is the image's path.

    Args:
        files: The set's files; all the photos name are added and checked first.
        photos: What was found; at least one.
        dataset: Name in the samples.
        licence: Of the set.
        source: Its name in full.
        tree: Its layout in one line, for the error about missing files.

    Raises:
        DataError: Files are missing or lead out of the root, a mask has another size than its image.

    A photo whose mask cannot be read is left out, and so is a reference that cannot; `files.broken` says why.
    """
    for photo in photos:
        for path in (photo.path, *photo.references, *photo.masks):
            files.add(path, where=photo.path)
    files.check(hint=f"expected {tree}")

    # Those that are samples as well are opened anyway; each is looked at once, before all photos that name it.
    own = {photo.path for photo in photos if files.has(photo.path)}
    shown = dict.fromkeys(path for photo in photos for path in photo.references if path in own)
    good = dict(zip(shown, parallel.ordered(files.usable, shown), strict=True))

    def sample(photo: Photo) -> Sample | None:
        photo = replace(photo, references=tuple(path for path in photo.references if good.get(path, True)))
        return _sample(files, photo, dataset=dataset, licence=licence, source=source)

    for found in parallel.ordered(sample, photos):
        if found is not None:
            yield found


def _sample(files: Files, photo: Photo, *, dataset: str, licence: str, source: str) -> Sample | None:
    if files.missing == "skip" and not all(map(files.has, photo.masks)):
        return None
    defects = photo.defects
    if photo.kind is not None and not defects:
        try:
            defects = mask_defects(files, photo.masks, photo.kind, image=photo.path, threshold=photo.threshold)
        except ImageError as error:
            files.broken[photo.path] = str(error)
            return None
    return files.sample(
        photo.path,
        id=photo.path,
        dataset=dataset,
        category=photo.category,
        split=photo.split,
        image=photo.path,
        references=photo.references,
        task="anomaly",
        question=DETECT_QUESTION,
        answer="No" if photo.kind is None else "Yes",
        question_type="Anomaly Detection",
        is_anomalous=photo.kind is not None,
        defects=defects,
        licence=licence,
        source=source,
    )


def mask_defects(
    files: Files, masks: Iterable[str], kind: str, *, image: str, threshold: int = 0
) -> tuple[Defect, ...]:
    """One defect of type `kind` for each region of the mask files; one without a box where there is no region.

    Every defect names its whole mask file, which also holds the image's other regions. An absent mask (kept by
    `files.missing`) gives a defect that names it and has no box.

    Args:
        files: The set's files, the masks and the image among them.
        masks: Mask files.
        kind: The defect's type in words.
        image: The image they belong to; where it is there, the masks must have its size.
        threshold: A mask is defective where its value is above this.

    Raises:
        DataError: A mask has another size than its image.
    """
    found: list[Defect] = []
    empty: list[Defect] = []
    for mask in masks:
        plain = Defect(type=kind, mask=mask, mask_threshold=threshold)
        if not files.has(mask):
            empty.append(plain)
            continue
        facts = files.mask(mask, threshold=threshold)
        if files.has(image) and facts.size != files.image(image).size:
            (w, h), (iw, ih) = facts.size, files.image(image).size
            raise DataError(
                f"the mask is {w}x{h} px, its image {image!r} is {iw}x{ih} px",
                where=str(files.root / mask),
                hint="a mask must show its image pixel by pixel",
            )
        found += [
            plain.model_copy(update={"box": region.box, "location": location_word(region.box, facts.size)})
            for region in facts.regions
        ]
        if not facts.regions:
            empty.append(plain)
    return tuple(found or empty[:1]) or (Defect(type=kind),)


def other_than(path: str, templates: Sequence[str], *, count: int = 1) -> tuple[str, ...]:
    """The first `count` templates that are not the image itself."""
    return tuple([template for template in templates[: count + 1] if template != path][:count])
