"""Which defects of samples files a segmenter is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.errors import DataError
from iadr1.records import Defect, write_records
from iadr1.stages.segmenter.cases import patch, read_cases
from tests.segmenter.world import SIZE, draw, floats, make, rectangle, sample

BOX = (10, 12, 30, 22)


def _one(folder: Path, defect: Defect) -> Path:
    draw(folder, "a", BOX)
    write_records(folder / "s.jsonl", [sample("a", (defect,))])
    return folder / "s.jsonl"


def test_defects_are_grouped_by_file_and_type(tmp_path: Path) -> None:
    found = read_cases([make(tmp_path / "one"), make(tmp_path / "two", photos=3)])
    assert [{kind: len(cases) for kind, cases in group.items()} for group in found.groups] == [
        {"scratch": 3, "stain": 3},
        {"scratch": 2, "stain": 1},
    ]
    assert found.counts == {"scratch": 5, "stain": 4}
    assert (found.held_out, found.without_mask) == (0, 0)


def test_what_is_held_out_or_has_no_mask_is_left_out(tmp_path: Path) -> None:
    draw(tmp_path, "a", BOX)
    whole = Defect(type="stain", box=floats(BOX), mask="a_mask.png")
    write_records(
        tmp_path / "s.jsonl",
        [
            sample("a", (whole, Defect(type="stain", box=(1.0, 1.0, 9.0, 9.0)), Defect(type="dent"))),
            sample("b", (whole,), image="a.png", held_out=True),
            sample("c", (whole,), image="a.png"),  # the same place again
        ],
    )
    found = read_cases([tmp_path / "s.jsonl"])
    assert found.counts == {"stain": 1}
    assert (found.held_out, found.without_mask) == (1, 2)


def test_the_patch_holds_the_box_its_surroundings_and_its_own_mask(tmp_path: Path) -> None:
    draw(tmp_path, "a", BOX)
    both = rectangle(BOX) | rectangle((40, 12, 50, 22))
    Image.fromarray(both.astype(np.uint8) * 255).save(tmp_path / "a_mask.png")
    write_records(tmp_path / "s.jsonl", [sample("a", (Defect(type="stain", box=floats(BOX), mask="a_mask.png"),))])
    (case,) = read_cases([tmp_path / "s.jsonl"]).groups[0]["stain"]
    near = patch(case, 6.0)
    assert near.box == (6.0, 6.0, 26.0, 16.0)
    assert near.pixels.shape == (22, 32, 3)
    assert near.pixels[11, 16].mean() > 1.4 * near.pixels[2, 2].mean()
    wide = patch(case, 100.0)  # the photo ends first
    assert wide.box == floats(BOX)
    assert wide.mask.shape == SIZE[::-1]
    assert np.array_equal(wide.mask > 0, rectangle(BOX))  # the other defect of the file is not this one's


def test_grey_edges_count_as_the_samples_say(tmp_path: Path) -> None:
    path = _one(tmp_path, Defect(type="stain", box=floats(BOX), mask="a_mask.png", mask_threshold=127))
    values = rectangle(BOX).astype(np.uint8) * 100
    values[14:20, 12:28] = 200
    Image.fromarray(values).save(tmp_path / "a_mask.png")
    (case,) = read_cases([path]).groups[0]["stain"]
    assert int((patch(case, 50.0).mask > 0).sum()) == 6 * 16


def test_a_file_without_masks_is_refused(tmp_path: Path) -> None:
    path = _one(tmp_path, Defect(type="stain", box=floats(BOX)))
    with pytest.raises(DataError, match="no defect with a box and a mask") as caught:
        read_cases([path])
    assert str(path) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    path = _one(tmp_path, Defect(type="stain", box=floats(BOX), mask="nowhere.png"))
    with pytest.raises(DataError, match=r"1 of 2 files are missing: .*nowhere\.png"):
        read_cases([path])


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    shape = dict(rle.encode(np.ones((5, 7), dtype=bool)))
    path = _one(tmp_path, Defect(type="stain", box=floats(BOX), mask_rle=shape))
    (case,) = read_cases([path]).groups[0]["stain"]
    with pytest.raises(DataError, match="its mask is 7x5 px, the image is 60x48 px"):
        patch(case, 5.0)


def test_a_box_without_a_pixel_of_its_mask_is_refused(tmp_path: Path) -> None:
    path = _one(tmp_path, Defect(type="stain", box=(40.0, 30.0, 50.0, 40.0), mask="a_mask.png"))
    (case,) = read_cases([path]).groups[0]["stain"]
    with pytest.raises(DataError, match="no pixel in the box"):
        patch(case, 5.0)
