from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.datasets.magnetic_tile import SOURCE, halves, shot, tile_groups
from iadr1.errors import DataError

Photo = Callable[[Path], None]
Mask = Callable[..., None]

SHARED = Path(__file__).parents[3] / "shared" / "data" / "magnetic_tile"
BLOWHOLE, UNEVEN = "MT_Blowhole/Imgs/exp1_num_108719", "MT_Uneven/Imgs/exp3_num_45042"
FREE = ("MT_Free/Imgs/exp2_num_108742", "MT_Free/Imgs/exp1_num_200000", "MT_Free/Imgs/exp2_num_200020")


@pytest.fixture
def root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in (BLOWHOLE, UNEVEN, *FREE):
        photo(tmp_path / f"{name}.jpg")
        mask(tmp_path / f"{name}.png")
    pixels = np.zeros((60, 60), dtype=np.uint8)
    # The edge of a drawn region is grey; what is above the threshold is one pixel smaller on each side.
    pixels[19:31, 19:31] = 127
    pixels[20:30, 20:30] = 200
    Image.fromarray(pixels).save(tmp_path / f"{BLOWHOLE}.png")
    photo(tmp_path / "preview/Imgs/exp1_num_1.jpg")
    (tmp_path / "README.md").touch()
    return tmp_path


def test_images_and_masks_are_told_by_their_suffix(root: Path) -> None:
    assert [(s.id, s.category, s.answer) for s in SOURCE.read(root)] == [
        (f"{BLOWHOLE}.jpg", "magnetic tile", "Yes"),
        (f"{FREE[1]}.jpg", "magnetic tile", "No"),
        (f"{FREE[0]}.jpg", "magnetic tile", "No"),
        (f"{FREE[2]}.jpg", "magnetic tile", "No"),
        (f"{UNEVEN}.jpg", "magnetic tile", "Yes"),
    ]


def test_the_halves_keep_tiles_together_and_share_the_kinds() -> None:
    kinds: dict[str, str | None] = {}
    for tile in range(40):
        kind = (None, "crack", "break", "uneven")[tile % 4]
        for exposure in range(3):
            kinds[f"exp{exposure}_num_{1000 * tile + 20 * exposure}"] = kind
    found = halves(kinds)
    assert found == halves(dict(reversed(kinds.items())))
    groups = tile_groups(kinds)
    assert all(len({found[image] for image in kinds if groups[image] == name}) == 1 for name in set(groups.values()))
    counts = Counter((kind, found[image]) for image, kind in kinds.items())
    assert set(counts.values()) == {15}
    assert set(found.values()) == {"train", "test"}


def test_a_tile_that_was_taken_again_stays_in_one_half() -> None:
    kinds: dict[str, str | None] = {f"exp1_num_{500 * n}": "crack" for n in range(160, 180)}
    found = halves(kinds)
    span = [image for image in kinds if 85602 <= shot(image).number <= 88201]
    assert len(span) == 5
    assert len({found[image] for image in span}) == 1
    others = Counter(found[image] for image in kinds if image not in span)
    assert min(others["train"], others["test"]) >= 5


def test_the_photos_of_a_folder_get_their_half(root: Path) -> None:
    samples = list(SOURCE.read(root))
    kinds = {s.image: s.image.split("/")[0] if s.is_anomalous else None for s in samples}
    assert {s.image: s.split for s in samples} == halves(kinds)
    assert {s.split for s in samples} == {"train"}  # of each kind there is one group, and the first is for training


def test_grey_edges_do_not_belong_to_the_defect(root: Path) -> None:
    (defect,) = next(SOURCE.read(root)).defects
    assert (defect.type, defect.box, defect.location) == ("blowhole", (20, 20, 30, 30), "center")
    assert (defect.mask, defect.mask_threshold) == (f"{BLOWHOLE}.png", 127)


def test_an_empty_mask_is_a_defect_without_a_place(root: Path) -> None:
    (defect,) = list(SOURCE.read(root))[-1].defects
    assert (defect.type, defect.box, defect.location, defect.mask) == ("uneven", None, None, f"{UNEVEN}.png")


def test_the_reference_shows_another_tile(root: Path) -> None:
    blowhole, first, other, second, uneven = SOURCE.read(root)
    assert blowhole.references == uneven.references == other.references == (f"{FREE[1]}.jpg",)
    assert first.references == second.references == (f"{FREE[0]}.jpg",)


def test_exposures_of_a_tile_are_one_group_across_folders() -> None:
    names = [f"{name}.jpg" for name in (BLOWHOLE, UNEVEN, *FREE)]
    groups = tile_groups(names)
    assert groups == {
        names[0]: "tile-108719",
        names[1]: "tile-45042",
        names[2]: "tile-108719",
        names[3]: "tile-200000",
        names[4]: "tile-200000",
    }
    assert tile_groups(reversed(names)) == groups
    assert len(set(tile_groups(names, gap=23).values())) == 4


def test_the_name_says_exposure_and_number(root: Path, photo: Photo) -> None:
    assert shot(f"{BLOWHOLE}.jpg") == (1, 108719)
    photo(root / "MT_Free/Imgs/tile.jpg")
    with pytest.raises(DataError, match=r"MT_Free/Imgs/tile\.jpg: the name is not exp<exposure>_num_<number>"):
        next(SOURCE.read(root))


def test_missing_masks_are_counted(root: Path) -> None:
    (root / f"{UNEVEN}.png").unlink()
    (root / f"{FREE[0]}.png").unlink()
    with pytest.raises(DataError, match=rf"1 of 7 files are missing: {UNEVEN}\.png"):
        next(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == 4


def test_another_layout_is_shown(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "MT_Free/exp1_num_1.jpg")
    with pytest.raises(DataError, match=r"found: MT_Free/ \(expected MT_\{Blowhole"):
        next(SOURCE.read(tmp_path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the magnetic tiles in ../shared/data")
def test_all_of_the_real_part_is_read() -> None:
    found = list(SOURCE.read(SHARED))
    kinds = Counter(s.defects[0].type if s.defects else "normal" for s in found)
    assert kinds == {"blowhole": 64, "break": 47, "crack": 32, "fray": 18, "uneven": 56, "normal": 200}
    assert [s.id for s in found if s.is_anomalous and s.defects[0].box is None] == [
        "MT_Uneven/Imgs/exp3_num_24829.jpg",  # one pixel above the threshold
        "MT_Uneven/Imgs/exp4_num_24843.jpg",  # three
    ]
    groups = tile_groups(s.image for s in found)
    assert len(set(groups.values())) == 70
    assert all(groups[s.references[0]] != groups[s.image] for s in found)
    regions = Counter(s.split for s in found for defect in s.defects if defect.box is not None)
    assert regions == {"train": 128, "test": 116}
    assert {s.split for s in found if s.image.startswith("MT_Crack") and 85602 <= shot(s.image).number <= 88201} == {
        "train"
    }
