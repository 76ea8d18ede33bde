from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.datasets.drawn import found_files
from iadr1.datasets.labelme import SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]


def bitmap(width: int, height: int) -> str:
    """A filled mask shape's PNG as labelme stores it: ones, in base64."""
    stream = BytesIO()
    Image.fromarray(np.ones((height, width), dtype=np.uint8)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _gif() -> str:
    stream = BytesIO()
    Image.new("L", (5, 3)).save(stream, format="GIF")
    return base64.b64encode(stream.getvalue()).decode()


GIF = _gif()
# The beginning of a PNG of 60,000 x 60,000 px.
BOMB = base64.b64encode(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0") + chunk(b"IDAT", b"")
).decode()


def shape(kind: str | None, points: object, **members: Any) -> dict[str, Any]:
    return {"label": "deep_scratch", "points": points, "group_id": None, "shape_type": kind, "flags": {}, **members}


def label(image: str, *shapes: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None,
            "imageHeight": 40, "imageWidth": 60, **members}  # fmt: skip


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def part(tmp_path: Path, photo: Photo) -> Path:
    root = tmp_path / "part"
    for name in ("001.jpg", "002.jpg", "test/003.jpg", "Good/004.png"):
        photo(root / name, size=(60, 40))
    write(
        root / "001.json",
        label(
            "001.jpg",
            shape("polygon", [[10, 10], [20, 10], [20, 30], [10, 30]], description="long", group_id=2,
                  flags={"deep": True, "rust": False}),
            shape("rectangle", [[50.5, 30], [40, 20]], label="dent"),
            shape("circle", [[30, 20], [30, 25]], label="hole"),
            shape("mask", [[2, 3], [6, 5]], mask=bitmap(5, 3), label="dust"),
            shape(None, [[0, 0], [5, 0], [5, 5]]),
        ),
    )  # fmt: skip
    write(root / "002.json", label("002.jpg"))
    write(root / "test/003.json", label("..\\test\\003.jpg", shape("rectangle", [[1, 1], [9, 9]], label="OK")))
    return root


def test_shapes_become_defects(part: Path) -> None:
    first = next(SOURCE.read(part))
    assert (first.id, first.dataset, first.split, first.answer) == ("001.jpg", "part", "all", "Yes")
    scratch, dent, hole, dust, corner = first.defects
    assert (scratch.type, scratch.box) == ("deep scratch", (10, 10, 20, 30))
    assert scratch.attributes == {"description": "long", "group": "2", "flags": "deep"}
    assert rle.area(rle.parse(scratch.mask_rle)) == 200
    assert (dent.box, dent.mask_rle) == ((40, 20, 50.5, 30), None)
    assert hole.box == pytest.approx((25, 15, 35, 25))
    assert rle.area(rle.parse(hole.mask_rle)) == pytest.approx(78.5, abs=5)
    assert dust.box == (2, 3, 7, 6)
    assert rle.area(rle.parse(dust.mask_rle)) == 15
    assert (corner.type, corner.box) == ("deep scratch", (0, 0, 5, 5))


@pytest.mark.parametrize(
    ("x", "y", "box"), [(58, 3, (58, 3, 60, 6)), (-1, 3, (0, 3, 4, 6)), (4, -2, (4, 0, 9, 1)), (4, 38, (4, 38, 9, 40))]
)
def test_a_mask_over_the_edge_is_cut_at_it(part: Path, x: int, y: int, box: tuple[int, ...]) -> None:
    write(part / "001.json", label("001.jpg", shape("mask", [[x, y], [x + 4, y + 2]], mask=bitmap(5, 3))))
    assert next(SOURCE.read(part)).defects[0].box == box


def test_normal_is_what_has_no_shape_or_lies_in_its_folder(part: Path) -> None:
    found = list(SOURCE.read(part))
    assert [(s.id, s.split, s.answer, s.references) for s in found[1:]] == [
        ("002.jpg", "all", "No", ("Good/004.png",)),
        ("test/003.jpg", "test", "No", ("002.jpg",)),
        ("Good/004.png", "all", "No", ("002.jpg",)),
    ]


def test_the_image_path_counts_from_the_json(part: Path, photo: Photo) -> None:
    photo(part / "raw/005.jpg", size=(60, 40))
    write(part / "json/005.json", label("../raw/005.jpg"))
    assert "raw/005.jpg" in [s.id for s in SOURCE.read(part)]


def test_an_image_without_json_is_not_known_to_be_normal(part: Path) -> None:
    (part / "002.json").unlink()
    for missing in ("error", "keep"):
        with pytest.raises(DataError, match=r"1 images have no JSON, such as 002\.jpg"):
            next(SOURCE.read(part, missing=missing))
    assert "002.jpg" not in [s.id for s in SOURCE.read(part, missing="skip")]


def test_images_may_be_absent(part: Path) -> None:
    (part / "001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 files are missing: 001\.jpg"):
        next(SOURCE.read(part))
    kept = next(SOURCE.read(part, missing="keep"))
    # The size is stated beside the shapes.
    assert (kept.missing, kept.defects[1].box, kept.defects[1].location) == (True, (40, 20, 50.5, 30), "middle right")


@pytest.mark.parametrize(
    ("flags", "shapes", "message"),
    [
        ({"scratched": True}, [], "no shape, but the flag 'scratched' is set"),
        ({"normal": True}, [shape("rectangle", [[1, 1], [9, 9]])], "the flag 'normal' is set, but a shape is labelled"),
        ([], [], r"'flags' is not an object: \[\]"),
    ],
)
def test_flags_that_contradict_the_shapes_are_refused(
    part: Path, flags: object, shapes: list[dict[str, Any]], message: str
) -> None:
    write(part / "001.json", label("001.jpg", *shapes, flags=flags))
    with pytest.raises(DataError, match=rf"001\.json: {message}"):
        next(SOURCE.read(part))


@pytest.mark.parametrize("flags", [{"Normal": True, "blurred": True}, {"scratched": False}, None])
def test_flags_may_say_normal(part: Path, flags: object) -> None:
    write(part / "001.json", label("001.jpg", flags=flags))
    assert next(SOURCE.read(part)).answer == "No"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (shape("line", [[1, 1], [9, 9]]), r"shape 0 \(deep_scratch\): a line of 2 points has no area"),
        (shape("point", [[1, 1]]), "a point of 1 points has no area"),
        (shape("circle", [[1, 1]]), "a circle of 1 points has no area"),
        (shape("circle", [[9, 9], [9, 9]]), "no area inside the 60x40"),
        (shape("rectangle", [[1, 1], [1, 9]]), "no area inside the 60x40"),
        (shape("polygon", [[1, 1], [9, 9]]), "not a polygon of at least three"),
        (shape("polygon", [[90, 1], [99, 9], [90, 9]]), "no area inside the 60x40"),
        (shape("polygon", [[1, 1], [9, "9"], [3, 3]]), r"'points' is not a list of x, y"),
        (shape("mask", [[2, 3], [6, 5]]), "'mask' is not a PNG in base64"),
        (shape("mask", [[2, 3], [6, 5]], mask="????"), "'mask' is not a PNG in base64"),
        (shape("mask", [[2, 3], [6, 5]], mask="aGVsbG8="), "'mask' is not a PNG in base64"),
        (shape("mask", [[0, 0], [60, 2]], mask=bitmap(61, 3)), "the mask is 61x3 px, its image 60x40 px"),
        (shape("mask", [[70, 3], [74, 5]], mask=bitmap(5, 3)), "the mask is empty"),
        (shape("mask", [[-9, 3], [-5, 5]], mask=bitmap(5, 3)), "the mask is empty"),
        (shape("mask", [[2, 3], [6, 5]], mask=GIF), "'mask' is not a PNG in base64"),
        (shape("mask", [[0, 0], [1, 1]], mask=BOMB), "not a PNG in base64: Image size .* exceeds limit"),
        (shape("polygon", [], label=" "), "shape 0: a shape needs a 'label'"),
        ([], "shape 0: a shape needs a 'label'"),
    ],
)
def test_a_bad_shape_names_its_place(part: Path, entry: dict[str, Any], message: str) -> None:
    write(part / "001.json", label("001.jpg", entry))
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not labelme's: 'shapes' and 'imagePath' are needed"),
        ({"shapes": []}, "not labelme's"),
        (label("001.jpg", imageWidth=61), r"made on \(61, 40\) px, the image '001\.jpg' has \(60, 40\)"),
        (label("001.jpg", imageWidth="60"), "imageWidth and imageHeight are '60' and 40"),
        (label("001.jpg", shape("mask", [[2, 3], [6, 5]], mask=bitmap(5, 3)), imageWidth=None, imageHeight=None),
         "a mask needs imageWidth"),
        (label("002.jpg"), r"002\.json: the image '002\.jpg' is there twice; first in .*001\.json"),
        (label("../001.jpg"), r"the path '\.\./001\.jpg' leads out of"),
        (label("/data/001.jpg"), "leads out of"),
        (label("D:\\data\\001.jpg"), "leads out of"),
        (label("", ), "the image's path is ''"),
    ],
)  # fmt: skip
def test_a_bad_file_names_itself(part: Path, value: object, message: str) -> None:
    write(part / "001.json", value)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part, missing="skip" if "made" not in message else "error"))


def test_a_folder_without_json_is_another_layout(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"not the expected layout; found: a\.png"):
        next(SOURCE.read(tmp_path))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in it would silently be missing from the set."""
    (tmp_path / "good").mkdir()
    listing = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder).name == "good":
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    assert found_files(tmp_path, {".png"}) == []
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"good: cannot be read: Permission denied \(make the folder readable\)"):
        found_files(tmp_path, {".png"})
