"""Opening images: every odd kind becomes 8-bit RGB in its EXIF orientation, every broken one a clear error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import images
from iadr1.errors import ImageError, UsageError
from iadr1.images import file_sha256, find_images, fit_within, open_image, open_mask, resize


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10))
    if mode == "I;16":
        image = Image.fromarray((np.arange(60, dtype=np.uint16) * 1000).reshape(6, 10))
    else:
        image = grey.convert(mode)
    suffix = "tif" if mode in ("CMYK", "YCbCr", "F", "I") else "png"
    image.save(tmp_path / f"x.{suffix}")
    opened = open_image(tmp_path / f"x.{suffix}")
    assert (opened.mode, opened.size) == ("RGB", (10, 6))
    assert np.asarray(opened).std() > 0


def test_sixteen_bit_uses_the_full_range(tmp_path: Path) -> None:
    values = np.linspace(30_000, 34_000, 10_000).reshape(100, 100).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    pixels = np.asarray(open_image(tmp_path / "x.png"))
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "x.png")
    assert (np.asarray(open_image(tmp_path / "x.png")) == 255).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.jpg", exif=exif)
    assert open_image(tmp_path / "x.jpg").size == (20, 40)


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (b"hello, I am text", "not an image"), (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "cannot read|not an")],
)
def test_broken_files_are_named(tmp_path: Path, content: Any, word: str) -> None:
    path = tmp_path / "bad name ü.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=word) as caught:
        open_image(path)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_an_error_not_a_grey_area(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="truncated"):
        open_image(tmp_path / "x.jpg")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        open_image(tmp_path / "none.png")
    with pytest.raises(UsageError, match="no folder or file"):
        find_images(tmp_path / "none")
    with pytest.raises(UsageError, match="no images in"):
        find_images(tmp_path)


def test_the_size_limit_is_read_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (500, 500)).save(tmp_path / "x.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 249_999)
    with pytest.raises(ImageError, match="500x500 px, above the limit"):
        open_image(tmp_path / "x.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 250_000)
    assert open_image(tmp_path / "x.png").size == (500, 500)


def test_masks_are_thresholded_in_their_own_units(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 127, 128, 255]], np.uint8)).save(tmp_path / "m.png")
    assert open_mask(tmp_path / "m.png").tolist() == [[False, True, True, True, True]]
    assert open_mask(tmp_path / "m.png", threshold=127).tolist() == [[False, False, False, True, True]]


def test_folders_are_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a.jpg", "b/.hidden.png", ".cache/x.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == ["a.jpg", "b/2.PNG"]
    assert find_images(tmp_path / "a.jpg") == [tmp_path / "a.jpg"]
    assert find_images(tmp_path, glob="*.jpg") == [tmp_path / "a.jpg"]
    with pytest.raises(UsageError, match=r"name like '\*\.webp'"):
        find_images(tmp_path, glob="*.webp")


def test_sizes() -> None:
    assert fit_within((2000, 800), (1000, 800)) == (1000, 400)
    assert fit_within((10, 10), (1000, 800)) == (10, 10)
    assert fit_within((5000, 1), (1000, 800)) == (1000, 1)
    image = Image.new("RGB", (30, 20))
    assert resize(image, (30, 20)) is image
    assert resize(image, (7, 9)).size == (7, 9)


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")
