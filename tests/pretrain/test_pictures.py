"""Dense labels say what lies where; pictures are made once, and anew where anything has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.errors import DataError, OutputError
from iadr1.models.base import Profile
from iadr1.models.profiles import PROFILES
from iadr1.records import Defect, write_records
from iadr1.stages.pretrain.learning import Turn
from iadr1.stages.pretrain.pictures import Cache, Layout, Pictures, dense_labels, load_pictures
from iadr1.stages.pretrain.scenes import Scenes
from tests.pretrain.world import FORMATS, no_progress, squares, verdict

LAYOUT = Layout(56, 14, 2)
"""Four patches and two tokens a side."""


def profile(side: int = 56) -> Profile:
    """That of a model with one square input."""
    from dataclasses import replace

    return replace(PROFILES["qwen2_5_vl"], min_pixels=side**2, max_pixels=side**2)


def load(data: Path, cache: Path, *, key: str = "k", side: int = 56, progress: Any = no_progress) -> Pictures:
    layout = Layout(side, 14, 2)
    return load_pictures(
        Scenes(data, FORMATS), data.parent, profile(side), layout, cache=Cache(cache, key), progress=progress
    )


def one_image(folder: Path, *defects: Defect, size: tuple[int, int] = (80, 40)) -> Path:
    """Samples about one image with these defects."""
    Image.new("RGB", size, (90, 120, 60)).save(folder / "a.png")
    changes: dict[str, Any] = {"answer": "Yes", "is_anomalous": True, "defects": defects} if defects else {}
    write_records(folder / "s.jsonl", [verdict("a.png", **changes)])
    return folder / "s.jsonl"


def test_each_patch_and_token_has_the_type_and_the_box_of_the_defect_with_most_pixels_in_it() -> None:
    masks = squares(80, (0, 0, 20, 20), (10, 10, 40, 40), (79, 79, 80, 80))
    patch, token, box = dense_labels(masks, [3, 1, 2], (80, 80), LAYOUT)
    # A patch is 20 px wide: the first defect has all 400 pixels of patch 0, the second 100 of them.
    assert patch.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]
    # Of the first token's 1600 pixels the first defect has 400, the second 900.
    assert token.tolist() == [[1, 0], [0, 2]]
    assert box[0, 0].tolist() == [0.125, 0.125, 0.5, 0.5]
    assert np.allclose(box[1, 1], [79 / 80, 79 / 80, 1, 1], atol=1e-3)
    assert box[0, 1].tolist() == [0, 0, 0, 0]


def test_labels_of_a_picture_that_is_not_square() -> None:
    mask = np.zeros((40, 160), dtype=bool)
    mask[30:40, 120:160] = True
    patch, token, box = dense_labels([mask], [1], (160, 40), LAYOUT)
    assert np.argwhere(patch).tolist() == [[3, 3]]
    assert np.argwhere(token).tolist() == [[1, 1]]
    assert box[1, 1].tolist() == [0.75, 0.75, 1, 1]


def test_without_a_defect_every_label_is_0() -> None:
    patch, token, box = dense_labels([], [], (80, 80), LAYOUT)
    assert not patch.any()
    assert not token.any()
    assert not box.any()
    assert (patch.shape, token.shape, box.shape) == ((4, 4), (2, 2), (2, 2, 4))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_turned_labels_are_the_labels_of_the_turned_picture(mirror: bool, flip: bool, transpose: bool) -> None:
    turn = Turn(mirror, flip, transpose)
    masks = squares(80, (3, 5, 31, 12), (44, 50, 60, 79))
    straight = dense_labels(masks, [1, 2], (80, 80), LAYOUT)
    turned = dense_labels([turn.pixels(mask[None])[0] for mask in masks], [1, 2], (80, 80), LAYOUT)
    assert np.array_equal(turn.pixels(straight[0][None])[0], turned[0])
    assert np.array_equal(turn.pixels(straight[1][None])[0], turned[1])
    boxes = turn.boxes(turn.pixels(straight[2][None].astype(np.float32)))[0]
    hit = turned[1] > 0
    assert hit.sum() >= 2
    assert np.allclose(boxes[hit], turned[2][hit], atol=2e-3)


def test_a_mask_file_counts_within_the_box_only(tmp_path: Path) -> None:
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[0:10, 0:20] = 255  # another defect's
    mask[30:40, 60:80] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    data = one_image(tmp_path, Defect(type="hole", mask="m.png", box=(50, 25, 80, 40)))
    made = load(data, tmp_path / "cache")
    assert np.argwhere(made.labels.patch[0]).tolist() == [[3, 3]]
    assert made.labels.types == ("hole",)
    assert np.allclose(made.labels.box[0, 1, 1], [0.75, 0.75, 1, 1], atol=1e-3)


def test_run_lengths_and_boxes_are_masks_too(tmp_path: Path) -> None:
    mask = np.zeros((40, 80), dtype=bool)
    mask[0:10, 0:20] = True
    run_lengths = Defect(type="b", mask_rle=dict(rle.encode(mask)), box=(0, 0, 40, 40))
    data = one_image(tmp_path, run_lengths, Defect(type="a", box=(60, 30, 80, 40)))
    labels = load(data, tmp_path / "cache").labels
    assert labels.types == ("a", "b")
    assert [(*place, labels.patch[0][tuple(place)]) for place in np.argwhere(labels.patch[0])] == [(0, 0, 2), (3, 3, 1)]


@pytest.mark.parametrize(
    ("defect", "says"),
    [
        (Defect(type="hole", box=(0, 0, 9, 9), mask="m.png"), "mask of the defect 'hole' of 'a.png' is 50x50 px"),
        (Defect(type="hole", box=(0, 0, 9, 9), mask="e.png"), "no pixel: its mask is empty within its box"),
        (Defect(type="hole", box=(0, 0, 9, 9), mask_rle={"size": [2, 2], "counts": [3]}), "no valid mask_rle"),
        (Defect(type="hole", box=(0, 0, 9, 9), mask_rle={"size": [2, 2], "counts": [3, 1]}), "is 2x2 px"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path, defect: Defect, says: str) -> None:
    Image.new("L", (50, 50), 255).save(tmp_path / "m.png")
    Image.new("L", (80, 40), 0).save(tmp_path / "e.png")
    with pytest.raises(DataError, match=says):
        load(one_image(tmp_path, defect), tmp_path / "cache")


def test_pictures_are_made_once_and_anew_with_another_key(world: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    first = load(world, tmp_path, progress=progress)
    assert seen == [(number, 24) for number in range(1, 25)]  # 16 images and 8 of good products
    assert (first.images.shape, first.references.shape) == ((16, 56, 56, 3), (8, 56, 56, 3))
    assert first.reference_of.tolist() == [row // 2 if row % 2 == 0 else -1 for row in range(16)]
    assert first.sizes == [(112, 112)] * 16
    again = load(world, tmp_path, progress=progress)
    assert len(seen) == 24
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels.box, again.labels.box)
    other = load(world, tmp_path, key="other", side=28, progress=progress)
    assert len(seen) == 48
    assert other.images.shape == (16, 28, 28, 3)


class _Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


def killed_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise _Killed

    return progress


@pytest.mark.parametrize("count", [5, 24])
def test_a_cache_that_was_cut_off_is_made_anew(world: Path, tmp_path: Path, count: int) -> None:
    """Even where a whole one of the same key lay there once."""
    whole = load(world, tmp_path).images.copy()
    with pytest.raises(_Killed):
        load(world, tmp_path, key="other", side=28, progress=killed_after(count))
    seen = []
    assert np.array_equal(load(world, tmp_path, progress=lambda done, total: seen.append(done)).images, whole)
    assert len(seen) == 24


def test_a_full_disk_is_told_with_what_it_takes(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(OutputError, match=r"No space left on device \(make room: it takes 0.0 GB\)"):
        load(world, tmp_path / "cache")
