"""Which normal photos are shown with a photo."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from iadr1.errors import UsageError
from iadr1.images import file_sha256
from iadr1.stages.inspection import Photo, References, load, loading


def _draw(path: Path, *, at: int = 20) -> Path:
    """A dark square whose place makes the perceptual hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (96, 96), (220, 220, 220))
    ImageDraw.Draw(image).rectangle((at, at, at + 25, at + 40), fill=(20, 20, 20))
    # No other photo has the same bytes.
    image.putpixel((0, 0), tuple(zlib.crc32(str(path).encode()).to_bytes(4, "big")[:3]))
    image.save(path)
    return path


def _names(root: Path, name: str, shots: int) -> tuple[str, ...]:
    path = root / "images" / name
    return load(Photo(path, name, name), References(root / "good", shots=shots)).reference_names


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        (1, ("cap/x.png",)),
        (2, ("cap/x.png", "cap/a.png")),
        (9, ("cap/x.png", "cap/a.png", "cap/b.png", "cap/deeper/c.png")),
    ],
)
def test_the_same_name_then_the_first_of_the_category(tmp_path: Path, shots: int, expected: tuple[str, ...]) -> None:
    _draw(tmp_path / "images/cap/x.png")
    for name in ("cap/a.png", "cap/b.png", "cap/deeper/c.png", "cap/x.png", "nut/a.png", "top.png"):
        _draw(tmp_path / "good" / name)
    assert _names(tmp_path, "cap/x.png", shots) == expected


def test_else_the_most_similar_come_first(tmp_path: Path) -> None:
    _draw(tmp_path / "images/x.png", at=20)
    for name, at in (("a.png", 60), ("b.png", 22), ("c.png", 20)):
        _draw(tmp_path / "good" / name, at=at)
    assert _names(tmp_path, "x.png", 1) == ("c.png",)
    assert _names(tmp_path, "x.png", 3) == ("c.png", "b.png", "a.png")


def test_the_folder_of_another_product_gives_only_what_is_very_similar(tmp_path: Path) -> None:
    _draw(tmp_path / "images/x.png", at=20)
    _draw(tmp_path / "good/nut/far.png", at=60)
    assert _names(tmp_path, "x.png", 1) == ()
    _draw(tmp_path / "good/cap/near.png", at=21)
    assert _names(tmp_path, "x.png", 2) == ("cap/near.png",)


def test_the_nearest_of_the_photos_folders_goes_first(tmp_path: Path) -> None:
    _draw(tmp_path / "images/line/cap/x.png")
    for name in ("line/a.png", "cap/b.png"):
        _draw(tmp_path / "good" / name)
    assert _names(tmp_path, "line/cap/x.png", 1) == ("cap/b.png",)
    assert _names(tmp_path, "line/cap/x.png", 2) == ("cap/b.png", "line/a.png")


def test_a_photo_that_is_one_of_the_first_gets_as_many_others(tmp_path: Path) -> None:
    own = _draw(tmp_path / "good/cap/a.png")
    for name in ("b.png", "d.png", "e.png"):
        _draw(tmp_path / "good/cap" / name)
    shutil.copy(own, tmp_path / "good/cap/c.png")
    references = References(tmp_path / "good", shots=3)
    names = load(Photo(own, "cap/a.png", "a"), references).reference_names
    assert names == ("cap/b.png", "cap/d.png", "cap/e.png")


@pytest.mark.parametrize("copy", ["cap/x.png", "cap/a.png", "a.png", "nut/x.png"])
def test_a_copy_of_the_photo_is_no_reference(tmp_path: Path, copy: str) -> None:
    photo = _draw(tmp_path / "images/cap/x.png")
    _draw(tmp_path / "good/z.png")
    (tmp_path / "good" / copy).parent.mkdir(exist_ok=True)
    shutil.copy(photo, tmp_path / "good" / copy)
    assert _names(tmp_path, "cap/x.png", 2) == ("z.png",)
    assert References(tmp_path / "good").holds(file_sha256(photo))
    assert not References(tmp_path / "good").holds(None)


def test_a_copy_makes_no_pair(tmp_path: Path) -> None:
    photos = [Photo(_draw(tmp_path / "images" / name), name, name) for name in ("a.png", "b.png")]
    for photo in photos:
        _draw(tmp_path / "good" / photo.name)
    assert References(tmp_path / "good").paired(photos)
    assert not References(tmp_path / "good", shots=2).paired(photos)
    shutil.copy(photos[0].path, tmp_path / "good/a.png")
    assert not References(tmp_path / "good").paired(photos)


def test_a_photo_whose_content_is_not_known_is_told_by_its_path(tmp_path: Path) -> None:
    own, other = _draw(tmp_path / "good/a.png"), _draw(tmp_path / "good/b.png")
    with Image.open(own) as image:
        assert References(tmp_path / "good", shots=2).find(Photo(own, "a.png", "a"), image) == [other]


def _cut(path: Path) -> None:
    """The header stays whole."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _broken(tmp_path: Path, name: str, how: str) -> None:
    path = _draw(tmp_path / "good" / name)
    if how == "empty":
        path.write_bytes(b"")
    else:
        _cut(path)


@pytest.mark.parametrize("how", ["empty", "cut"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_damaged_file_is_never_the_most_similar(tmp_path: Path, how: str, flat: bool) -> None:
    """Not for a photo of one tone, which is as unlike all, nor where there are fewer good ones than asked for."""
    photo = _draw(tmp_path / "images/x.png")
    if flat:
        Image.new("RGB", (96, 96), (9, 9, 9)).save(photo)
    _broken(tmp_path, "a.png", how)
    _draw(tmp_path / "good/b.png")
    Image.new("RGB", (96, 96), (7, 7, 7)).save(tmp_path / "good/tone.png")
    references = References(tmp_path / "good", shots=3)
    item = load(Photo(photo, "x.png", "x"), references)
    assert (item.error, set(item.reference_names)) == (None, {"b.png", "tone.png"})
    (told,) = references.damaged
    assert "good/a.png: " in told


def test_a_damaged_file_is_not_one_of_the_first_but_an_error_where_it_has_the_photos_name(tmp_path: Path) -> None:
    _draw(tmp_path / "images/cap/x.png")
    _broken(tmp_path, "cap/a.png", "empty")
    _draw(tmp_path / "good/cap/b.png")
    assert _names(tmp_path, "cap/x.png", 2) == ("cap/b.png",)
    _broken(tmp_path, "cap/x.png", "empty")
    path = tmp_path / "images/cap/x.png"
    assert "good/cap/x.png" in str(load(Photo(path, "cap/x.png", "x"), References(tmp_path / "good")).error)


@pytest.mark.parametrize("how", ["pages", "small", "nan"])
def test_what_would_be_refused_as_a_photo_is_no_reference(tmp_path: Path, how: str) -> None:
    path = tmp_path / "good/a.tif"
    photo = _draw(tmp_path / "images/x.png")
    _draw(tmp_path / "good/b.png")
    with Image.open(photo) as image:
        if how == "pages":
            image.save(path, save_all=True, append_images=[image])
        elif how == "small":
            image.crop((0, 0, 96, 15)).save(path)
        else:
            Image.fromarray(np.full((96, 96), np.nan, np.float32)).save(path)
    references = References(tmp_path / "good", shots=4)
    item = load(Photo(photo, "x.png", "x"), references)
    assert (item.error, item.reference_names) == (None, ("b.png",))
    (told,) = references.damaged
    assert told.startswith(f"{path}: ")
    words = {
        "pages": "holds more than one frame or page",
        "small": "the reference is 96 x 15 px, a side has to have at least 16",
        "nan": "9216 of 9216 pixels are NaN or infinite",
    }
    assert words[how] in told
    if how != "nan":  # which its header does not say
        with pytest.raises(UsageError, match=words[how]):
            References(path)


@pytest.mark.parametrize("flat", [False, True])
def test_a_reference_of_several_pages_that_has_the_photos_name_is_its_error(tmp_path: Path, flat: bool) -> None:
    photo, name = _draw(tmp_path / "images/cap/x.png"), "x.png" if flat else "cap/x.png"
    with Image.open(_draw(tmp_path / "good/cap/b.png")) as image:
        image.save((tmp_path / "good" / name).with_suffix(".tif"), save_all=True, append_images=[image])
    item = load(Photo(photo, name, "x"), References(tmp_path / "good"))
    assert "x.tif: the file holds more than one frame or page" in str(item.error)


def test_names_and_contents_make_the_digest(tmp_path: Path) -> None:
    _draw(tmp_path / "good/a.png")
    second = _draw(tmp_path / "good/b.png")
    digest = References(tmp_path / "good").digest
    moved = shutil.copytree(tmp_path / "good", tmp_path / "moved")
    assert References(moved).digest == digest
    second.rename(second.with_name("c.png"))
    renamed = References(tmp_path / "good").digest
    second.with_name("c.png").rename(second)
    assert References(tmp_path / "good").digest == digest
    second.write_bytes(second.read_bytes() + b"1")
    assert len({digest, renamed, References(tmp_path / "good").digest}) == 3


def test_a_photo_that_vanishes_while_it_is_read_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    photo = _draw(tmp_path / "images/x.png")
    monkeypatch.setattr(loading, "file_sha256", gone)
    assert (
        str(load(Photo(photo, "x.png", "x"), None).error) == f"{photo}: cannot read the file: No such file or directory"
    )


def test_a_reference_that_cannot_be_read_is_like_no_photo(tmp_path: Path) -> None:
    _draw(tmp_path / "images/x.png")
    _draw(tmp_path / "good/b.png")
    (tmp_path / "good/a.png").write_bytes(b"")
    assert _names(tmp_path, "x.png", 1) == ("b.png",)
