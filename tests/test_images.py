"""Opening images: every odd kind becomes 8-bit RGB in its EXIF orientation, every broken one a clear error."""

import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

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


def _webp_with_broken_exif(path: Path) -> Path:
    """Its EXIF is cut off inside the header, at which Pillow raises struct.error."""
    image = Image.new("RGB", (8, 8))
    image.save(path, "WEBP", exif=b"Exif\0\0II*\0")
    return path


def test_a_broken_exif_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = _webp_with_broken_exif(tmp_path / "x.webp")
    with Image.open(path) as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    for read in (open_image, open_mask, images.open_labels, images.hash_and_size, images.image_size):
        with pytest.raises(ImageError, match="cannot read the") as caught:
            read(path)
        assert str(path) in str(caught.value)


def _deep(kind: Any) -> Image.Image:
    values = np.random.default_rng(0).normal(20_000, 3000, (310, 470)).clip(0, 65_000)
    values[5, 7], values[100, 3] = 60_000, 0
    return Image.fromarray(values.astype(kind))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("strip", [470 * 7, 1 << 20])
def test_strips_and_histogram_scale_as_the_whole(monkeypatch: pytest.MonkeyPatch, kind: Any, strip: int) -> None:
    monkeypatch.setattr(images, "_STRIP", strip)
    image = _deep(kind)
    values = np.asarray(image).astype(np.float64)
    low, high = np.percentile(values, (0.1, 99.9))
    expected = np.floor(np.clip((values - low) * (255 / (high - low)), 0, 255) + 0.5)
    image.save(buffer := BytesIO(), "TIFF")
    buffer.seek(0)
    found = np.asarray(images.read_image(buffer, name="x"))
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert (found[..., 0] != expected).mean() < 1e-4


def test_floats_are_scaled_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = images._deep_range(_deep(np.float32))
    monkeypatch.setattr(images, "_SAMPLE", 20_000)
    sampled = images._deep_range(_deep(np.float32))
    assert sampled != exact
    assert sampled == pytest.approx(exact, rel=0.1)
    wide = np.zeros((200, 300), np.float32)
    wide[:, 31::60] = 1000  # a step of 3 would see none of these columns
    assert images._deep_range(Image.fromarray(wide)) == (0, 1000)
    nothing = Image.fromarray(np.full((2, 2), np.nan, np.float32))
    assert images._deep_range(nothing) == (0, 255)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_deep_photos_need_about_as_much_memory_as_others(tmp_path: Path, kind: Any) -> None:
    """Peak of a process of its own: Pillow's memory is not Python's."""
    Image.fromarray(np.add.outer(np.arange(2000), np.arange(3000)).astype(kind)).save(tmp_path / "x.tif")
    code = (
        "import resource, sys; from pathlib import Path; from iadr1.images import open_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "image = open_image(Path(sys.argv[1])); print((peak() - before) / (image.width * image.height))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.tif")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 20  # 47 and 51 as a whole in float64


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
