"""MVTec LOCO AD: logical and structural anomalies (Bergmann et al., IJCV 2022, doi 10.1007/s11263-022-01578-9).

Licence: CC BY-NC-SA 4.0.

    mvtec_loco_anomaly_detection/
      pushpins/
        train/good/000.png ...
        validation/good/000.png ...
        test/{good,logical_anomalies,structural_anomalies}/000.png ...
        ground_truth/logical_anomalies/000/{000,001}.png ...      one mask per region, its value the kind of defect
        ground_truth/structural_anomalies/000/000.png ...
        defects_config.json                                       value -> kind of defect
      screw_bag/ ...

A mask is defective where it is above 0: 255, 254, 253, ... are kinds. The masks of an image may overlap; that of a
missing part covers all of the place where it could be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.labels import by_label
from iadr1.datasets.layout import subfolders, words
from iadr1.datasets.mvtec_layout import Layout, scan_tree
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

CONFIG = "defects_config.json"
_LAYOUT = Layout(splits={"train": "train", "validation": "validation", "test": "test"}, mask="000.png", several=True)


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image: `train`, `validation`, `test`, sorted by category, state and number.

    A defect's type is the name that the category's `defects_config.json` gives to its mask's value, in words; its
    `attributes` keep the value (`label`) and whether it is a logical or a structural anomaly (`folder`). Where a
    category has no such file, that is the type.

    Raises:
        DataError: No category folder found, masks are missing, or a value is not in `defects_config.json`.
    """
    names = {folder.name: _names(folder / CONFIG) for folder in subfolders(files.root) if (folder / CONFIG).is_file()}

    def type_of(category: str, defect: Defect, value: int) -> str:
        if value not in names[category]:
            known = ", ".join(map(str, sorted(names[category], reverse=True)))
            raise DataError(
                f"the mask has the value {value}, which {category}/{CONFIG} does not name; it names {known}",
                where=str(files.root / (defect.mask or "")),
                hint="take the masks as released: resizing or JPEG changes their values",
            )
        return names[category][value]

    samples = scan_tree(files, _LAYOUT, SOURCE, dataset="MVTec-LOCO")
    return by_label(files, samples, type_of, categories=names)


def _names(path: Path) -> dict[int, str]:
    """Value in the masks -> kind of defect in words."""
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"not a JSON list of defects: {value!r:.60}", where=str(path))
    found: dict[int, str] = {}
    for number, entry in enumerate(value, start=1):
        name, pixel = _entry(entry, f"{path}: entry {number}")
        if pixel in found:
            raise DataError(
                f"the 'pixel_value' {pixel} stands for {found[pixel]!r} and {name!r}", where=f"{path}: entry {number}"
            )
        found[pixel] = name
    return found


def _entry(entry: Any, where: str) -> tuple[str, int]:
    if not isinstance(entry, dict):
        raise DataError(f"not a JSON object: {entry!r:.60}", where=where)
    name, pixel = entry.get("defect_name"), entry.get("pixel_value")
    if not isinstance(name, str) or not name:
        raise DataError(f"'defect_name' is {name!r:.60}, not a name", where=where)
    if not isinstance(pixel, int) or isinstance(pixel, bool) or pixel < 1:
        raise DataError(f"'pixel_value' is {pixel!r:.60}, not a whole number above 0", where=where)
    return words(name), pixel


SOURCE = Source(
    scan=scan,
    title="MVTec LOCO AD",
    licence="CC-BY-NC-SA-4.0",
    page="https://www.mvtec.com/company/research/datasets/mvtec-loco",
    citation="Bergmann et al., IJCV 2022, doi 10.1007/s11263-022-01578-9",
    tree="CATEGORY/train/good/000.png, CATEGORY/validation/good/000.png, CATEGORY/test/logical_anomalies/000.png, "
    "CATEGORY/ground_truth/logical_anomalies/000/000.png, CATEGORY/defects_config.json",
)
