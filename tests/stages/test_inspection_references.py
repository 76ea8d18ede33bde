"""Which normal photos are shown with a photo."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from iadr1.stages.inspection import Photo, References, load


def _draw(path: Path, *, at: int = 20) -> Path:
    """A dark square whose place makes the perceptual hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (96, 96), (220, 220, 220))
    ImageDraw.Draw(image).rectangle((at, at, at + 25, at + 40), fill=(20, 20, 20))
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


def test_a_reference_that_cannot_be_read_is_like_no_photo(tmp_path: Path) -> None:
    _draw(tmp_path / "images/x.png")
    _draw(tmp_path / "good/b.png")
    (tmp_path / "good/a.png").write_bytes(b"")
    assert _names(tmp_path, "x.png", 1) == ("b.png",)
