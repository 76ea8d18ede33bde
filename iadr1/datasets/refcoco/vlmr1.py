"""VLM-R1's processed JSON (arXiv 2504.07615, `omlab/VLM-R1` on the hub): one entry per expression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.polygons import are_numbers
from iadr1.datasets.refcoco.common import Expression
from iadr1.errors import DataError

FOLDER = "rec_jsons_processed"

_FIELDS = ("image", "problem", "normal_caption", "solution", "width", "height")


def load(indexes: Sequence[Path]) -> Callable[[], Iterator[Expression]]:
    """The expressions of the files in order, each read whenever it is its turn; the id is `<file>#<position>`.

    Boxes are `solution`: xyxy in pixels of the stored image, right and bottom exclusive (`bbox_list` is one less).
    """

    def expressions() -> Iterator[Expression]:
        for index in indexes:
            for number, entry in enumerate(_entries(index)):
                yield _expression(index, number, entry)

    return expressions


def _entries(index: Path) -> list[Any]:
    entries = read_json(index)
    if not isinstance(entries, list) or not entries:
        raise DataError("not a JSON list of referring expressions, or an empty one", where=str(index))
    return entries


def _expression(index: Path, number: int, entry: Any) -> Expression:
    where = f"{index}: entry {number}"
    missing = [name for name in _FIELDS if name not in entry] if isinstance(entry, dict) else list(_FIELDS)
    if missing or not isinstance(entry["image"], str):
        raise DataError(f"an entry needs the members {missing or ['image']}", where=where)
    value, size = entry["solution"], (entry["width"], entry["height"])
    if not isinstance(value, list) or len(value) != 4 or not are_numbers([*value, *size]):
        raise DataError(f"'solution', 'width' and 'height' are not all numbers: {value!r:.60}", where=where)
    if value == entry.get("normalized_solution") and size != (1000, 1000):
        raise DataError(
            f"the box {value} is in 0..1000, not in pixels",
            where=where,
            hint=f"this is the archive for InternVL; take {FOLDER}.zip",
        )
    return Expression(
        id=f"{index.stem}#{number}",
        dataset=str(entry.get("dataset_name", index.stem)),
        split=index.stem.rpartition("_")[2],
        image=entry["image"],
        size=(int(size[0]), int(size[1])),
        box=(float(value[0]), float(value[1]), float(value[2]), float(value[3])),
        text=str(entry["normal_caption"]),
        question=str(entry["problem"]),
        category=str(entry.get("category_id", "unknown")),
        where=where,
    )
