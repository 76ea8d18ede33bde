from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.datasets import masked
from iadr1.datasets.files import Facts, Files
from iadr1.datasets.labels import by_label, labelled_regions
from iadr1.errors import ImageError
from iadr1.images import open_labels
from iadr1.records import Defect, Sample
from tests.datasets.label_masks import Box, write_labels

Photo = Callable[..., None]


def letters(category: str, defect: Defect, value: int) -> str:
    return "dent" if value == 9 else f"{category} {defect.mask} {value}"


def read(photo: Photo, root: Path, boxes: dict[int, Box], *, categories: frozenset[str] = frozenset({"hat"})) -> Sample:
    photo(root / "a.png")
    write_labels(root / "m.png", boxes)
    files = Files(root)
    hat = masked.Photo(path="a.png", category="hat", split="test", kind="dent", masks=("m.png",))
    samples = masked.yes_no(files, [hat], dataset="d", licence="MIT", source="s", tree="t")
    (found,) = by_label(files, samples, letters, categories=categories)
    return found


def test_touching_regions_of_other_values_are_other_defects(tmp_path: Path, photo: Photo) -> None:
    found = read(photo, tmp_path, {2: (20, 0, 40, 9), 1: (0, 0, 20, 9), 9: (50, 50, 60, 60)})
    assert [(d.type, d.box, d.location, d.attributes) for d in found.defects] == [
        ("hat m.png 1", (0, 0, 20, 9), "top left", {"label": "1", "folder": "dent"}),
        ("hat m.png 2", (20, 0, 40, 9), "top center", {"label": "2", "folder": "dent"}),
        ("dent", (50, 50, 60, 60), "bottom right", {"label": "9"}),
    ]
    assert {d.mask for d in found.defects} == {"m.png"}


def test_other_categories_and_empty_masks_stay_as_they_are(tmp_path: Path, photo: Photo) -> None:
    whole = read(photo, tmp_path, {1: (0, 0, 20, 9), 2: (20, 0, 40, 9)}, categories=frozenset())
    assert [(d.type, d.box) for d in whole.defects] == [("dent", (0, 0, 40, 9))]
    assert [(d.type, d.box, d.attributes) for d in read(photo, tmp_path, {}).defects] == [("dent", None, {})]


def test_values_of_single_pixels_do_not_lose_the_defect(tmp_path: Path, photo: Photo) -> None:
    found = read(photo, tmp_path, {1: (0, 0, 2, 1), 2: (0, 1, 2, 2), 3: (2, 0, 3, 2)})
    assert [(d.type, d.box) for d in found.defects] == [("dent", (0, 0, 3, 2))]


def test_a_palette_s_indices_are_the_labels(tmp_path: Path) -> None:
    write_labels(tmp_path / "m.png", {3: (0, 0, 9, 9)}, palette=True)
    assert np.unique(open_labels(tmp_path / "m.png")).tolist() == [0, 3]


def test_grey_in_three_channels_is_read_and_colour_refused(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "grey.png", grey=2)
    assert np.unique(open_labels(tmp_path / "grey.png")).tolist() == [2]
    Image.new("RGB", (60, 60), (1, 2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(ImageError, match=r"colour\.png: a colour picture where a mask of label ids should be"):
        open_labels(tmp_path / "colour.png")


def test_a_mask_is_turned_as_its_image_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("L", (60, 20), 1).save(tmp_path / "m.png", exif=exif)
    assert open_labels(tmp_path / "m.png").shape == (60, 20)


def test_broken_and_huge_masks_are_errors_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png: not an image"):
        open_labels(tmp_path / "text.png")
    with pytest.raises(ImageError, match=r"none\.png: cannot read the mask"):
        open_labels(tmp_path / "none.png")
    write_labels(tmp_path / "m.png", {})
    (tmp_path / "half.png").write_bytes((tmp_path / "m.png").read_bytes()[:60])
    with pytest.raises(ImageError, match=r"half\.png: cannot read the mask"):
        open_labels(tmp_path / "half.png")
    monkeypatch.setattr("iadr1.images.MAX_PIXELS", 3599)
    with pytest.raises(ImageError, match="60x60 px, above the limit"):
        open_labels(tmp_path / "m.png")


def test_what_was_learned_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labels(tmp_path / "m.png", {3: (0, 0, 9, 9)})
    facts = Facts(tmp_path / "facts.json")
    first = labelled_regions(Files(tmp_path, facts=facts), "m.png")
    facts.save()
    monkeypatch.delattr("iadr1.datasets.labels.open_labels")
    assert labelled_regions(Files(tmp_path, facts=Facts(tmp_path / "facts.json")), "m.png") == first
    assert first[0] == (60, 60)
    assert [(value, region.box, region.area_px) for value, region in first[1]] == [(3, (0, 0, 9, 9), 81)]
