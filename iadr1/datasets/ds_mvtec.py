"""DS-MVTec of Defect Spectrum: MVTec AD's test images with finer masks (Yang et al., ECCV 2024, arXiv 2310.17316).

Licence: MIT by the card of `DefectSpectrum/Defect_Spectrum`; the images are MVTec AD's, which are CC BY-NC-SA 4.0.

    DS-MVTec/
      bottle/
        image/{good,broken_large,...}/000.png ...
        mask/{broken_large,...}/000_mask.png ...          label ids 1, 2, ... (black to look at), local to the category
        rbg_mask/{broken_large,...}/000_rbg_mask.png ...  the same in colour; rgb_mask/..._rgb_mask.png in some
      cable/ ...

There are no training images. References are taken from MVTec AD where it lies beside, as in MMAD's folder:

    MMAD/
      DS-MVTec/bottle/{image,mask,...}
      MVTec-AD/bottle/train/good/000.png ...

In older copies 22 files of `pill/image/good` show a metal nut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Files
from iadr1.datasets.labels import by_label
from iadr1.datasets.layout import GOOD, image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import Photo, yes_no
from iadr1.datasets.mvtec_layout import Layout, category_photos
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

DATASET = "DS-MVTec"
LABELS: dict[str, tuple[str, ...]] = {
    "bottle": ("broken_large", "broken_small", "contamination"),
    "cable": (
        "bent_wire",
        "cable_swap",
        "combined",
        "cut_inner_insulation",
        "cut_outer_insulation",
        "missing_cable",
        "missing_wire",
        "poke_insulation",
    ),
    "capsule": ("crack", "poke", "faulty_imprint", "scratch", "squeeze"),
    "carpet": ("color", "cut", "hole", "metal_contamination", "thread"),
    "grid": ("bent", "broken", "glue", "metal_contamination", "thread"),
    "hazelnut": ("cut", "crack", "hole", "print"),
    "leather": ("color", "cut", "fold", "glue", "poke"),
    "metal_nut": ("scratch", "bent", "color"),
    "pill": ("color", "contamination", "crack", "faulty_imprint", "scratch", "pill_type"),
    "screw": ("manipulated_front", "scratch_head", "scratch_neck", "thread_side", "thread_top"),
    "tile": ("crack", "glue_strip", "gray_stroke", "oil", "rough"),
    "toothbrush": ("contamination", "missing", "messy"),
    "transistor": ("bent_lead", "cut_lead", "damaged_case", "misplaced"),
    "wood": ("color", "crack", "scratch", "hole", "liquid"),
    "zipper": ("broken_teeth", "fabric_border", "fabric_interior", "split_teeth", "squeezed_teeth"),
}
"""The names of the label ids 1, 2, ... of each category, from `DS-MVTec.md`."""

UNANNOTATED = frozenset({("metal_nut", "flip"), ("pill", "pill_type")})
"""Kinds of MVTec AD that Defect Spectrum does not annotate: where their images are there, they need no masks."""

_TEMPLATES = "MVTec-AD"


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image, sorted by category, type and number; the root is DS-MVTec's folder or MMAD's.

    A defect's type is the name of its label id in words, or its folder's name where the id has none; `attributes`
    keep the id (`label`) and, where it differs, the folder (`folder`). Where a category has only the colour
    renderings, regions come from them and types from the folders.

    Raises:
        DataError: No category folder found, masks are missing, or normal pills show metal nuts (with `--missing skip`
            these are left out).
    """
    root = files.root / DATASET if (files.root / DATASET).is_dir() else files.root
    photos = [photo for folder in subfolders(root) for photo in _category(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    photos = _without_nuts(files, photos)
    samples = yes_no(files, photos, dataset=DATASET, licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)
    labelled = {folder.name for folder in subfolders(root) if _truth(folder) == "mask"}
    return by_label(files, samples, _type_of, categories=labelled)


def _truth(folder: Path) -> str:
    """The folder of a category's masks: the label ids, or their colour rendering where that is all there is."""
    return next((name for name in ("mask", "rbg_mask", "rgb_mask") if (folder / name).is_dir()), "mask")


def _category(root: Path, folder: Path) -> Iterator[Photo]:
    normal = image_files(root / _TEMPLATES / folder.name / "train" / GOOD)
    templates = [path.relative_to(root).as_posix() for path in normal]
    truth = _truth(folder)
    layout = Layout(splits={"image": "test"}, truth=truth, mask=f"{{stem}}_{truth}.png")
    for photo in category_photos(root, folder, layout, templates=templates):
        state = PurePosixPath(photo.path).parent.name
        bare = (folder.name, state) in UNANNOTATED and not (folder / truth / state).is_dir()
        yield replace(photo, masks=()) if bare else photo


def _type_of(category: str, defect: Defect, value: int) -> str:
    names = LABELS.get(category.replace(" ", "_"), ())
    return words(names[value - 1]) if value <= len(names) else defect.type


def _without_nuts(files: Files, photos: list[Photo]) -> list[Photo]:
    """The photos without normal pills that show a metal nut: the same file, or the size of nuts and not of pills.

    Raises:
        DataError: There are such images, and they are not to be skipped.
    """
    nuts = [files.image(photo.path) for photo in photos if photo.category == "metal_nut" and photo.kind is None]
    pills = [photo for photo in photos if photo.category == "pill"]
    own = {files.image(photo.path).size for photo in pills if photo.kind is not None}
    contents, sizes = {facts.sha256 for facts in nuts}, {facts.size for facts in nuts if own} - own
    normal = {photo.path: files.image(photo.path) for photo in pills if photo.kind is None}
    wrong = [path for path, facts in normal.items() if facts.sha256 in contents or facts.size in sizes]
    if wrong and files.missing != "skip":
        raise DataError(
            f"{len(wrong)} images of normal pills show a metal nut, {wrong[0]} to {wrong[-1]}, as in older copies",
            where=str(files.root),
            hint="take pill/test/good of MVTec AD instead; --missing skip leaves them out",
        )
    return [photo for photo in photos if photo.path not in wrong]


SOURCE = Source(
    scan=scan,
    title="DS-MVTec (Defect Spectrum)",
    licence="MIT AND CC-BY-NC-SA-4.0",
    page="https://huggingface.co/datasets/DefectSpectrum/Defect_Spectrum",
    citation="Yang et al., ECCV 2024, arXiv 2310.17316",
    tree="CATEGORY/image/TYPE/000.png, CATEGORY/mask/TYPE/000_mask.png, also inside DS-MVTec/ beside MVTec-AD/",
    hub=Hub("DefectSpectrum/Defect_Spectrum", ("DS-MVTec/*/image/*", "DS-MVTec/*/mask/*")),
)
