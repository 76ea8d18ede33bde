"""Real-IAD, thirty objects from five sides (Wang et al., CVPR 2024, arXiv 2403.12580).

Licence: CC BY-NC-SA 4.0.

    Real-IAD/
      realiad_1024/                                   or _256, _512, _raw
        audiojack/
          OK/S0001/audiojack_0001_OK_C1_<time>.jpg ...          C1 to C5: the side it is seen from
          NG/<code>/S0001/audiojack_0001_NG_C1_<time>.jpg ...
          NG/<code>/S0001/audiojack_0001_NG_C1_<time>_mask.png ...
        usb/ ...
      realiad_jsons/
        realiad_jsons/audiojack.json ...              all sides
        realiad_jsons_sv/audiojack.json ...           one side
        realiad_jsons_fuiad_0.1/audiojack.json ...    with defects among the training images (0.0, 0.1, 0.2, 0.4)

A category's JSON names its images, their kind and their mask. It decides, not the folder: a view of a defective
object in which no defect can be seen is normal and lies in NG/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import subfolders, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.errors import DataError
from iadr1.records import Sample

KINDS: dict[str, str] = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing parts",
    "YW": "foreign objects",
    "ZW": "contamination",
}
"""Codes of the kinds of defect, in words."""

_RESOLUTION = re.compile(r"realiad_(\d+|raw)")
_VIEW = re.compile(r"_(C\d+)_")
_SPLITS = ("train", "test")


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per view, by category, then in the order of its JSON: `train`, `test`.

    The reference of a view is the first other normal training image of the category seen from the same side.

    Args:
        files: The set's files; the root holds one folder `realiad_<resolution>`, or is such a folder.
        annotations: A category's JSON, or a folder of them; by default `realiad_jsons/realiad_jsons/` (all sides) in
            the root or beside it.

    Raises:
        DataError: No or several resolutions, no JSON, a malformed one, or files are missing.
    """
    place = _images(files.root)
    tables = _tables(files.root, annotations)
    if not tables:
        if annotations is not None:
            raise DataError("no JSON of a category", where=str(annotations), hint="expected audiojack.json, usb.json")
        raise wrong_layout(files.root, SOURCE.tree)
    photos = [photo for table in tables for photo in _category(table, place)]
    if not photos:
        raise DataError(f"no images in {len(tables)} JSON files", where=str(tables[0].parent))
    return yes_no(files, photos, dataset="Real-IAD", licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def _images(root: Path) -> str:
    """What stands before a category's folder: the one resolution's folder, or nothing where the root is that."""
    found = [folder.name for folder in subfolders(root) if _RESOLUTION.fullmatch(folder.name)]
    if len(found) > 1:
        raise DataError(
            f"several resolutions: {', '.join(found)}",
            where=str(root),
            hint=f"name the one to read, such as --root {root / found[0]}",
        )
    return f"{found[0]}/" if found else ""


def _tables(root: Path, annotations: Path | None) -> list[Path]:
    """The categories' files: those given, else of all sides, inside the root or beside it."""
    if annotations is not None:
        return [annotations] if annotations.is_file() else sorted(annotations.glob("*.json"))
    for folder in (root, root.resolve().parent):
        # Unpacked into a folder of its own, the archive of the JSON files has one folder more.
        for place in (folder / "realiad_jsons" / "realiad_jsons", folder / "realiad_jsons"):
            if found := sorted(place.glob("*.json")):
                return found
    return []


@dataclass(frozen=True)
class _View:
    path: str
    split: str
    kind: str | None
    mask: str | None

    @property
    def side(self) -> str:
        found = _VIEW.search(self.path.rpartition("/")[2])
        return found[1] if found else ""


def _category(table: Path, place: str) -> Iterator[Photo]:
    value = read_json(table)
    meta = value.get("meta") if isinstance(value, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("prefix"), str) or "normal_class" not in meta:
        raise DataError(
            "no object 'meta' with 'prefix' and 'normal_class'", where=str(table), hint="expected a JSON of Real-IAD"
        )
    prefix = f"{place}{meta['prefix'].strip('/')}/"
    views: dict[str, _View] = {}
    normal: dict[str, list[str]] = {}
    for split in _SPLITS:
        entries = value.get(split)
        if not isinstance(entries, list):
            raise DataError(f"{split!r} is not a list of images: {entries!r:.60}", where=str(table))
        for number, entry in enumerate(entries, start=1):
            where = f"{table}: {split} {number}"
            view = _view(entry, split, prefix, normal_class=meta["normal_class"], where=where)
            if view.path in views:
                raise DataError(f"the image {view.path!r} is named twice", where=where)
            views[view.path] = view
            if split == "train" and view.kind is None:
                normal.setdefault(view.side, []).append(view.path)
    for view in views.values():
        yield Photo(
            path=view.path,
            category=prefix.rstrip("/").rpartition("/")[2],
            split=view.split,
            kind=view.kind,
            masks=(view.mask,) if view.kind and view.mask else (),
            references=other_than(view.path, normal.get(view.side, ())),
        )


def _view(entry: Any, split: str, prefix: str, *, normal_class: str, where: str) -> _View:
    if not isinstance(entry, dict) or not isinstance(entry.get("image_path"), str):
        raise DataError(f"not an object with an 'image_path': {entry!r:.80}", where=where)
    code, mask = entry.get("anomaly_class"), entry.get("mask_path")
    if code != normal_class and code not in KINDS:
        known = ", ".join((normal_class, *KINDS))
        raise DataError(f"the 'anomaly_class' is {code!r:.40}, none of {known}", where=where)
    if mask is not None and not isinstance(mask, str):
        raise DataError(f"'mask_path' is {mask!r:.60}, neither a path nor null", where=where)
    return _View(
        path=prefix + entry["image_path"],
        split=split,
        kind=None if code == normal_class else KINDS[code],
        mask=prefix + mask if mask else None,
    )


SOURCE = Source(
    scan=scan,
    title="Real-IAD",
    licence="CC-BY-NC-SA-4.0",
    page="https://realiad4ad.github.io/Real-IAD/",
    citation="Wang et al., CVPR 2024, arXiv 2403.12580",
    tree="realiad_1024/CATEGORY/{OK,NG/CODE}/S0001/*.jpg with NG's masks beside them, "
    "realiad_jsons/realiad_jsons/CATEGORY.json",
    options=("annotations",),
)
