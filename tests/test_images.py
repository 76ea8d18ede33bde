"""Opening images: every odd kind becomes 8-bit RGB in its EXIF orientation, every broken one a clear error."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from iadr1 import images
from iadr1.errors import ImageError, UsageError
from iadr1.headers import tile_size
from iadr1.images import FORMATS, file_sha256, find_images, fit_within, open_image, open_mask, read_image, resize
from tests.serve.tiffs import tiled_tiff

READERS = (open_image, open_mask, images.open_labels, images.hash_and_size, images.image_size)


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


@pytest.mark.parametrize(
    "error",
    [
        *(OSError("?"), SyntaxError("?"), ValueError("?"), struct.error("?"), zlib.error("?"), RuntimeError("?")),
        *(ZeroDivisionError("?"), OverflowError("?"), IndexError("?"), KeyError("?"), TypeError("?")),
        *(AttributeError("?"), EOFError("?"), NotImplementedError("?"), Image.DecompressionBombError("?")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_reader_raises_at_a_damaged_file_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise error

    Image.new("RGB", (8, 8)).save(path := tmp_path / "x.png")
    told = "above the limit" if isinstance(error, Image.DecompressionBombError) else "cannot read the"
    for place, name, readers in ((PngImagePlugin.PngImageFile, "load", READERS[:3]), (Image, "open", READERS)):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, broken)
            for read in readers:
                with pytest.raises(ImageError, match=told) as caught:
                    read(path)
                assert str(path) in str(caught.value)


def test_the_formats_that_are_read_are_those_that_are_looked_for(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12)).convert("RGB")
    registered = Image.registered_extensions()
    for name, suffixes in FORMATS.items():
        assert {registered[suffix] for suffix in suffixes} == {name}
        for suffix in suffixes:
            picture.save(tmp_path / f"x{suffix}")
            picture.save(tmp_path / f"{name}.png", name)  # what a file is called does not matter
            for path in (tmp_path / f"x{suffix}", tmp_path / f"{name}.png"):
                assert open_image(path).size == images.image_size(path) == (12, 8)
    assert {path.suffix for path in find_images(tmp_path)} == images.IMAGE_SUFFIXES


def _postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"


def _saved(kind: str) -> bytes:
    Image.new("RGB", (32, 32)).save(buffer := BytesIO(), kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [_postscript(), _saved("ICO"), _saved("TGA"), _saved("PCX")], ids=["EPS", "ICO", "TGA", "PCX"]
)
def test_no_other_reader_is_asked(tmp_path: Path, content: bytes) -> None:
    """Pillow's reader of PostScript starts Ghostscript."""
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with Image.open(path) as image:
        assert image.format not in FORMATS
    for read in READERS:
        with pytest.raises(ImageError, match="not an image") as caught:
            read(path)
        assert "PNG, JPEG, BMP" in str(caught.value.hint)
    with pytest.raises(ImageError, match="upload: not an image"):
        images.read_image(BytesIO(content), name="upload")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_vast_tiles_is_refused_before_it_is_decoded(tmp_path: Path, order: str, big: bool) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(tiled_tiff(64, order=order, big=big, pixels=True))
    assert (np.asarray(open_image(path)) == 7).all()
    with Image.open(path) as image:
        assert tile_size(image) == (64, 64)
    path.write_bytes(tiled_tiff(24_576, order=order, big=big))
    for read in READERS:
        with pytest.raises(ImageError, match="in tiles of 24576x24576 px, above the limit of 250"):
            read(path)


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_the_largest_tile_counts_where_its_size_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for sides in ((64, 24_576), (24_576, 64)):
        path.write_bytes(tiled_tiff(*sides))
        with pytest.raises(ImageError, match="in tiles of 24576x24576 px"):
            open_image(path)
    path.write_bytes(tiled_tiff(24_576, kind=13))  # libtiff reads it as a number, its specification has none of it
    with pytest.raises(ImageError, match="TIFF tag 322 is of type 13, neither"):
        open_image(path)
    path.write_bytes(tiled_tiff(24_576)[:40])
    with pytest.raises(ImageError, match=r"cannot read the image|not an image"):
        open_image(path)


def test_images_without_tiles_have_none(tmp_path: Path) -> None:
    for name in ("x.png", "x.tif"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert tile_size(image) == (0, 0)


def _webp_with_broken_exif(path: Path) -> Path:
    """Its EXIF is cut off inside the header, at which Pillow raises struct.error."""
    image = Image.new("RGB", (8, 8))
    image.save(path, "WEBP", exif=b"Exif\0\0II*\0")
    return path


def test_a_broken_exif_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = _webp_with_broken_exif(tmp_path / "x.webp")
    with Image.open(path) as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    for read in READERS:
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


def test_floats_within_0_and_1_are_scaled_by_255(tmp_path: Path) -> None:
    def opened(values: list[float]) -> list[int]:
        Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
        return [int(value) for value in np.asarray(open_image(tmp_path / "x.tif"))[0, :, 0]]

    assert opened([0.0, 0.25, 0.5, 1.0]) == [0, 64, 128, 255]
    assert opened([0.1, 0.2]) == [26, 51]  # as bright as they say they are, not stretched
    assert opened([0.0, 1.5, 200.0]) == [0, 2, 200]  # 0..255 stays
    assert images._deep_range(Image.fromarray(np.array([[0, 1]], np.int32))) == (0, 255)


@pytest.mark.parametrize(
    ("values", "absent"), [([np.nan] * 3, 3), ([0.5, np.nan, 0.2], 1), ([300.0, np.inf, -np.inf], 2)]
)
def test_floats_that_are_no_numbers_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], absent: int
) -> None:
    """Nothing was seen there; as black or white it would be a photo like others."""
    monkeypatch.setattr(images, "_STRIP", 3)  # rows of their own
    path = tmp_path / "x.tif"
    Image.fromarray(np.array([values] * 4, np.float32)).save(path)
    with pytest.raises(ImageError, match=rf"x\.tif: {4 * absent} of 12 pixels are NaN or infinite \(give each"):
        open_image(path)
    with path.open("rb") as file, pytest.raises(ImageError, match=r"an upload: .* NaN or infinite"):
        read_image(file, name="an upload")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(("kind", "most"), [(np.uint16, 12), (np.float32, 14)])
def test_deep_photos_need_about_as_much_memory_as_others(tmp_path: Path, kind: Any, most: float) -> None:
    """Peak bytes a pixel of a process of its own: Pillow's memory is not Python's. At once it would need 32 and 41.

    The peak that `getrusage` tells is no less than that of this process was.
    """
    ramp = np.add.outer(np.arange(4000, dtype=np.int32), np.arange(6000, dtype=np.int32))
    Image.fromarray(ramp.astype(kind)).save(tmp_path / "x.tif")
    code = (
        "import sys; from pathlib import Path; from iadr1.images import open_image\n"
        "line = lambda: next(x for x in open('/proc/self/status') if x.startswith('VmHWM'))\n"
        "peak = lambda: int(line().split()[1]) * 1024\n"
        "before = peak()\n"
        "image = open_image(Path(sys.argv[1])); print((peak() - before) / (image.width * image.height))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.tif")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < most


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


def _refusing(folder: Path, error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a folder without the right to read it, which root has everywhere."""
    scan = os.scandir

    def scandir(place: Any) -> Iterator[os.DirEntry[str]]:
        if Path(place) == folder:
            raise error(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)


def test_folders_that_cannot_be_read_are_not_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "locked/b.png", ".hidden/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for folder in (tmp_path / "locked", tmp_path):
        with monkeypatch.context() as patched:
            _refusing(folder, PermissionError, patched)
            with pytest.raises(UsageError, match=f"cannot look for images in '{folder}': Permission denied"):
                find_images(tmp_path)
    with monkeypatch.context() as patched:
        _refusing(tmp_path / "locked", FileNotFoundError, patched)  # gone meanwhile
        assert find_images(tmp_path) == [tmp_path / "a.png"]
        _refusing(tmp_path / ".hidden", PermissionError, patched)
        assert find_images(tmp_path) == [tmp_path / "a.png"]


def test_files_that_cannot_be_looked_at_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_file(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(UsageError, match=r"\.png': Permission denied; .* and 2 more"):
        list(images._walk(tmp_path))


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
