"""Boxes and masks come back from every form they are written in and read from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.datasets import SOURCES, Files
from iadr1.datasets.polygons import fill, ring
from iadr1.datasets.refcoco.common import xyxy
from iadr1.geometry import Box, Size, box_mask, mask_box
from iadr1.records import Sample

WIDEST = 24
few = settings(max_examples=40, deadline=None)
masks = st.tuples(st.integers(1, WIDEST), st.integers(1, WIDEST)).flatmap(lambda shape: arrays(np.bool_, shape))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, Size]:
    """A whole box inside an image, and the image's (width, height)."""
    width, height = draw(st.integers(4, WIDEST)), draw(st.integers(4, WIDEST))
    x1, y1 = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
    x2, y2 = draw(st.integers(x1 + 2, width)), draw(st.integers(y1 + 2, height))
    return (float(x1), float(y1), float(x2), float(y2)), (width, height)


@few
@given(masks)
def test_a_mask_comes_back_from_its_run_lengths_and_so_does_its_box(mask: NDArray[np.bool_]) -> None:
    written = rle.parse(json.loads(json.dumps(rle.encode(mask))))
    assert np.array_equal(rle.decode(written), mask)
    assert rle.box(written) == mask_box(mask)
    assert rle.area(written) == mask.sum()
    assert rle.size_of(written) == (mask.shape[1], mask.shape[0])


@few
@given(boxes())
def test_a_box_comes_back_from_its_mask_its_polygon_and_width_and_height(drawn: tuple[Box, Size]) -> None:
    box, size = drawn
    x1, y1, x2, y2 = box
    assert mask_box(box_mask(box, size)) == box
    polygon = fill([ring([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], "")], size)
    assert rle.box(polygon) == box
    assert np.array_equal(rle.decode(polygon), box_mask(box, size))
    assert xyxy([x1, y1, x2 - x1, y2 - y1], "") == box


@settings(max_examples=5, deadline=None)
@given(boxes())
def test_a_box_comes_back_from_every_way_to_store_it(drawn: tuple[Box, Size]) -> None:
    box, size = drawn
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("folder", _as_mask), ("coco", _as_coco), ("yolo", _as_yolo), ("labelme", _as_labelme),
                            ("csv", _as_table)):  # fmt: skip
            root = Path(folder, name)
            write(root, box, size)
            (sample,) = (sample for sample in _read(name, root) if sample.is_anomalous)
            (defect,) = sample.defects
            assert defect.box is not None
            assert np.allclose(defect.box, box, atol=1e-6), name


def _read(name: str, root: Path) -> list[Sample]:
    return list(SOURCES[name].scan(Files(root)))


def _photo(path: Path, size: Size) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 9, 9)).save(path)


def _as_mask(root: Path, box: Box, size: Size) -> None:
    _photo(root / "good/1.png", size)
    _photo(root / "dent/2.png", size)
    (root / "ground_truth/dent").mkdir(parents=True)
    Image.fromarray(box_mask(box, size)).save(root / "ground_truth/dent/2_mask.png")


def _as_coco(root: Path, box: Box, size: Size) -> None:
    _photo(root / "1.png", size)
    x1, y1, x2, y2 = box
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": size[0], "height": size[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}],
        "categories": [{"id": 1, "name": "dent"}],
    }
    (root / "a.json").write_text(json.dumps(content), encoding="utf-8")


def _as_yolo(root: Path, box: Box, size: Size) -> None:
    _photo(root / "images/1.png", size)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("dent\n", encoding="utf-8")
    (x1, y1, x2, y2), (width, height) = box, size
    numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    (root / "labels/1.txt").write_text(f"0 {' '.join(map(repr, numbers))}\n", encoding="utf-8")


def _as_labelme(root: Path, box: Box, size: Size) -> None:
    _photo(root / "1.png", size)
    shape = {"label": "dent", "points": [box[2:], box[:2]], "shape_type": "rectangle"}
    content = {"imagePath": "1.png", "imageWidth": size[0], "imageHeight": size[1], "shapes": [shape]}
    (root / "1.json").write_text(json.dumps(content), encoding="utf-8")


def _as_table(root: Path, box: Box, size: Size) -> None:
    _photo(root / "1.png", size)
    (root / "t.csv").write_text(f"image,label,x1,y1,x2,y2\n1.png,dent,{','.join(map(str, box))}\n", encoding="utf-8")
