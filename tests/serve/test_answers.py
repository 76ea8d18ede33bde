"""What is answered to photos of all kinds, and to what is none."""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from iadr1.geometry import Box
from iadr1.masks import MaskResult
from iadr1.records import Detection, read_records
from iadr1.rle import decode, parse
from iadr1.stages.inspection import InspectSettings, References
from iadr1.stages.serve import bench
from iadr1.stages.serve.pictures import check_header
from iadr1.stages.serve.pictures import decode as decode_photo
from iadr1.stages.serve.refusals import RefusedError
from iadr1.stages.serve.request_log import Entry
from iadr1.stages.serve.settings import Limits
from tests.serve.house import encoded, house, png
from tests.serve.tiffs import tiled_tiff
from tests.stages.fake_engine import BAD, FakeEngine

GOOD = png((120, 112))
"""A reference: another photo than `png()`."""
NO_NUMBERS = encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF")


class Square:
    """Draws the box itself."""

    name = "square"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        results = []
        for x1, y1, x2, y2 in boxes:
            mask = np.zeros((image.height, image.width), dtype=bool)
            mask[int(y1) : int(y2), int(x1) : int(x2)] = True
            results.append(MaskResult(mask, 0.5, self.name))
        return results


def send(photo: bytes | None = None, /, *, world: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
    """One request to a new server."""

    async def go() -> httpx.Response:
        async with house(**(world or {})) as there:
            return await there.detect(photo, **options)

    return asyncio.run(go())


def raw(body: bytes, *, query: str = "", **headers: str) -> httpx.Response:
    """One request whose body is the photo."""

    async def go() -> httpx.Response:
        async with house() as there:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await there.client.post(f"/v1/detect{query}", content=body, headers=named)

    return asyncio.run(go())


def test_the_answer_is_a_detection() -> None:
    photo = png((224, 112))
    answer = send(photo)
    record = Detection.model_validate_json(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (record.image, record.verdict, record.score, record.model) == ("part.png", "anomalous", 0.75, "fake")
    assert (record.width, record.height, len(record.defects)) == (224, 112, 1)
    assert record.image_sha256 == hashlib.sha256(photo).hexdigest()
    assert record.defects[0].mask_rle is None
    assert record.protocol == InspectSettings().digest


def test_masks_are_drawn_where_they_are_asked_for() -> None:
    world = {"segmenter": Square()}
    with_masks = Detection.model_validate_json(send(world=world, data={"masks": "true"}).content)
    mask = decode(parse(with_masks.defects[0].mask_rle))
    assert mask.shape == (112, 112)
    assert mask.sum() == with_masks.defects[0].area_px == 28 * 56
    assert Detection.model_validate_json(send(world=world).content).defects[0].mask_rle is None
    refused = send(data={"masks": "true"})
    assert refused.status_code == 422
    assert refused.json()["error"] == "this server draws no masks"


def test_a_photo_may_be_the_body_itself() -> None:
    answer = raw(png(), query="?name=bottle/7.png&masks=0", content_type="image/png")
    assert (answer.status_code, answer.json()["image"]) == (200, "bottle/7.png")
    assert raw(png(), query="?masks=perhaps", content_type="image/png").json()["error"] == "'masks' is 'perhaps'"
    # What the file is counts, not what it is called.
    assert raw(encoded(Image.new("RGB", (50, 60)), "JPEG"), content_type="image/png").json()["width"] == 50


@pytest.mark.parametrize("query", ["?mask=true", "?masks=1&mask=true", "?name=a.png&image=b", "?reference=a&masks=1"])
def test_a_field_that_does_not_exist_is_refused_in_the_address_too(query: str) -> None:
    answer = raw(png(), query=query, content_type="image/png")
    assert answer.status_code == 422
    assert answer.json()["error"].endswith("' in the address")
    assert answer.json()["hint"] == "known fields in the address: masks, name"

    async def go() -> httpx.Response:
        async with house() as there:
            return await there.client.post(f"/v1/detect{query}", files={"image": ("a.png", png())})

    assert asyncio.run(go()).json() == answer.json()


def test_photos_of_one_name_do_not_mix() -> None:
    engine = FakeEngine(default=lambda request: "?" if request.images[-1].width > 112 else BAD)
    sizes = [(112, 112), (140, 112)] * 4

    async def go() -> list[httpx.Response]:
        async with house(engine, limits=Limits(wait_s=0.5)) as there:
            return await asyncio.gather(*(there.detect(png(size)) for size in sizes))

    answers = [answer.json() for answer in asyncio.run(go())]
    assert [answer["width"] for answer in answers] == [112, 140] * 4
    assert [answer["verdict"] for answer in answers] == ["anomalous", "undecided"] * 4
    assert engine.batches == [8]


def test_references_come_with_the_request() -> None:
    engine = FakeEngine()
    files = [("image", ("a.png", png())), ("reference", ("g.png", GOOD)), ("reference", ("h.png", GOOD))]
    answer = send(world={"engine": engine}, files=files)
    record = Detection.model_validate_json(answer.content)
    assert record.references == ("upload 1", "upload 2")
    assert len(engine.asked[0].images) == 3
    assert record.protocol == InspectSettings(shots=2).digest != InspectSettings().digest


def test_a_photo_is_not_compared_with_its_own_bytes() -> None:
    engine = FakeEngine()
    files = [("image", ("a.png", png())), ("reference", ("g.png", GOOD)), ("reference", ("h.png", png()))]
    answer = send(world={"engine": engine}, files=files)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("reference 2 has the same bytes as the image")
    assert answer.json()["hint"]
    assert engine.weighed == []


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (png((112, 15)), "the reference is 112 x 15 px, a side has to have at least 16"),
        (NO_NUMBERS, "256 of 256 pixels are NaN or infinite"),
    ],
)
def test_a_reference_is_checked_like_a_photo(reference: bytes, told: str) -> None:
    answer = send(files=[("image", ("a.png", png())), ("reference", ("g.tif", reference))])
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert "damaged or cut off" not in answer.json()["hint"]


def test_references_of_the_server_are_chosen_by_the_name(tmp_path: Path) -> None:
    for name in ("bottle", "cap"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "good.png").write_bytes(png((120, 112)))
    for name in ("bottle", "cap"):
        answer = send(world={"references": tmp_path}, data={"name": f"{name}/7.png"})
        assert answer.json()["references"] == [f"{name}/good.png"]


def test_a_copy_of_the_photo_is_no_reference(tmp_path: Path) -> None:
    photo = encoded(Image.radial_gradient("L"))
    (tmp_path / "part.png").write_bytes(photo)
    (tmp_path / "z.png").write_bytes(encoded(Image.new("L", (19, 19))))
    assert send(photo, world={"references": tmp_path}).json()["references"] == ["z.png"]
    assert send(world={"references": tmp_path}).json()["references"] == ["part.png"]


def test_references_are_hashed_before_the_first_request(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png())  # whatever they are called
    references = References(tmp_path)
    bench.Bench(FakeEngine(), InspectSettings(shots=1), references=references)
    assert {"_files", "_hashes"} <= vars(references).keys()


def test_a_photo_without_a_folder_is_of_no_folder(tmp_path: Path) -> None:
    """Whatever the server calls the place of an upload within itself."""
    place = bench._NOWHERE.parent
    for name in ("upload/q", place.name + "/q", "z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(
            encoded(Image.radial_gradient("L") if "/" in name else Image.new("L", (19, 19)))
        )
    answer = send(world={"references": tmp_path}, data={"name": "nn.png"})
    assert answer.json()["references"] == ["z.png"]


def test_fewer_references_than_asked_for_are_counted(tmp_path: Path) -> None:
    for name in ("bottle/a", "bottle/b", "cap/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(png((120, 112)))

    async def go() -> tuple[list[int], list[int], int]:
        shown, counts = [], []
        async with house(settings=InspectSettings(shots=2), references=tmp_path) as there:
            for name in ("bottle/7.png", "cap/7.png"):
                shown.append(len((await there.detect(data={"name": name})).json()["references"]))
                counts.append((await there.client.get("/health")).json()["fewer_references"])
            one = [("image", ("a.png", png())), ("reference", ("g.png", GOOD))]
            await there.detect(files=one)  # as many as the request wants
            health = (await there.client.get("/health")).json()
            assert health["shots"] == 2
            return shown, counts, health["fewer_references"]

    assert asyncio.run(go()) == ([2, 1], [0, 1], 1)


def test_a_calibration_holds_for_its_number_of_references_only() -> None:
    world = {"settings": InspectSettings(shots=1).calibrated(0.9, (0.8, 0.95), "abc")}
    two = [("image", ("a.png", png())), ("reference", ("g.png", GOOD)), ("reference", ("h.png", GOOD))]
    refused = send(world=world, files=two)
    assert refused.status_code == 422
    assert refused.json()["error"] == "2 references are sent, the server's calibration is for photos with 1"
    answer = Detection.model_validate_json(send(world=world, files=two[:2]).content)
    assert (answer.calibration, answer.threshold, answer.verdict) == ("abc", 0.9, "normal")


_QUARTER_TURN = Image.Exif()
_QUARTER_TURN[0x0112] = 6


@pytest.mark.parametrize(
    ("picture", "kind", "options", "size"),
    [
        (Image.new("CMYK", (40, 50)), "JPEG", {}, (40, 50)),
        (Image.new("I;16", (40, 50), 40000), "PNG", {}, (40, 50)),
        (Image.new("I;16", (40, 50), 40000), "TIFF", {}, (40, 50)),
        (Image.new("RGBA", (40, 50)), "WEBP", {}, (40, 50)),
        (Image.new("P", (40, 50)), "GIF", {}, (40, 50)),
        (Image.new("1", (40, 50)), "PNG", {}, (40, 50)),
        (Image.new("LA", (16, 17)), "PNG", {}, (16, 17)),
        (Image.new("RGB", (40, 50)), "JPEG", {"exif": _QUARTER_TURN}, (50, 40)),
    ],
    ids=["cmyk", "16 bit png", "16 bit tiff", "webp alpha", "gif", "1 bit", "least size", "turned by EXIF"],
)
def test_photos_of_every_kind(picture: Image.Image, kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    answer = send(encoded(picture, kind, **options))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["width"], answer.json()["height"]) == size


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _claims(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that says it is this large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.png", bytes(10_000_000))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 422, "image is empty (0 bytes)"),
        (b"hello, this is a text", 415, "it begins with b'hello, this "),
        (_zip_bomb(), 415, "image is a ZIP archive, not a photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", 415, "no picture that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "an SVG drawing"),
        (png()[:60], 422, "image cannot be read"),
        (_claims(112, 112), 422, "image cannot be read"),
        (_claims(100_000, 100_000), 413, "above the limit of 64 million pixels"),
        (_claims(9000, 9000), 413, "image is 9000 x 9000 px, above the limit"),
        (_claims(0, 5), 422, "image cannot be read"),
        (tiled_tiff(24_576), 413, "image is in tiles of 24576 x 24576 px, above the limit of 64 million pixels"),
        (tiled_tiff(64), 422, "image cannot be read"),  # its tile is cut off
        (tiled_tiff(64, kind=13), 422, "TIFF tag 322 is of type 13, neither"),
        (png((16, 4800)), 422, "aspect"),
        (png((1, 1)), 422, "the photo is 1 x 1 px, a side has to have at least 16"),
        (png((2000, 2)), 422, "the photo is 2000 x 2 px, a side has to have at least 16"),
        (NO_NUMBERS, 422, "256 of 256 pixels are NaN or infinite"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_is_no_photo_is_refused(body: bytes, status: int, told: str) -> None:
    world = {"engine": Narrow()} if told == "aspect" else {}
    answer = send(body, world=world)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]
    assert answer.json()["hint"]


class Narrow(FakeEngine):
    """Sees photos as the Qwen family does, which takes no slivers."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = type(self.profile)("qwen2_5_vl", self.profile.box_space, 28, 3136, 12544)


@pytest.mark.parametrize(
    "error",
    [
        struct.error("?"),
        zlib.error("?"),
        SyntaxError("?"),
        OSError("?"),
        RuntimeError("?"),
        KeyError("?"),
        EOFError("?"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_reader_raises_is_a_damaged_photo(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise error

    photo = io.BytesIO(png())
    monkeypatch.setattr(Image, "open", broken)
    for look in (lambda: check_header(photo, what="image", max_pixels=9), lambda: decode_photo(photo, what="image")):
        with pytest.raises(RefusedError, match="image cannot be read") as caught:
            look()
        assert (caught.value.status, caught.value.outcome) == (422, "not_an_image")
    assert photo.tell() == 0


def test_a_vast_picture_is_refused_by_its_header_whoever_sees_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow itself refuses twice as many
    with pytest.raises(RefusedError, match=r"image is above the limit of 0\.5 million pixels") as caught:
        check_header(io.BytesIO(png()), what="image", max_pixels=500_000)
    assert caught.value.status == 413


@pytest.mark.parametrize("large", [_claims(7000, 7000), tiled_tiff(7000)], ids=["png", "tile"])
def test_references_count_for_the_pixels_of_a_request(large: bytes) -> None:
    files = [("image", ("a.png", large)), ("reference", ("g.png", large)), ("reference", ("h.png", large))]
    answer = send(files=files)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "photo and references have 147 million pixels together, above the limit of 100",
    )


def test_an_animation_is_refused() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    answer = send(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (answer.status_code, answer.json()["error"]) == (422, "image holds more than one frame or page")


def test_a_telephones_photo_with_a_second_picture_is_taken() -> None:
    frames = [Image.new("RGB", (40, 40)), Image.new("RGB", (10, 10))]
    assert send(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])).json()["width"] == 40


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"files": {"photo": ("a.png", png())}}, 422, "no field 'photo'"),
        ({"files": [("image", ("a.png", png()))] * 2}, 422, "there are 2 file fields 'image'"),
        ({"files": {"reference": ("a.png", png())}}, 422, "there are 0 file fields 'image'"),
        ({"files": {"image": (None, "text")}}, 422, "the field 'image' is a text"),
        ({"files": {"image": ("a.png", png()), "masks": ("m", b"1")}}, 422, "the field 'masks' is a file"),
        ({"data": {"masks": "maybe"}}, 422, "'masks' is 'maybe'"),
        ({"data": {"masks": ["1", "0"]}}, 422, "'masks' is given 2 times"),
        ({"data": {"name": "n" * 600}}, 422, "the name has 600 characters"),
        ({"data": {"name": "n" * 5000}}, 400, "not multipart/form-data"),
        ({"files": [("image", ("a.png", png()))] + [("reference", ("a.png", png()))] * 9}, 400, "Too many files"),
        ({"files": [("image", ("a.png", png())), ("reference", ("r", b"x"))]}, 415, "reference is no picture"),
    ],
)
def test_wrong_fields(options: dict[str, Any], status: int, told: str) -> None:
    answer = send(**options)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({}, b"", 415, "the Content-Type is 'not given'"),
        ({"content_type": "application/octet-stream"}, png(), 415, "'application/octet-stream'"),
        ({"content_type": "application/json"}, b"{}", 415, "'application/json'"),
        ({"content_type": "multipart/form-data"}, b"--x", 400, "boundary"),
        ({"content_type": "multipart/form-data; boundary=x"}, b"--y\r\nhm", 400, "not multipart/form-data"),
        ({"content_type": "multipart/form-data; boundary=x"}, b"", 422, "0 file fields 'image'"),
        ({"content_type": "multipart/form-data; boundary=x; charset=idna"}, b"", 422, "0 file fields 'image'"),
        ({"content_type": "image/png", "content_encoding": "gzip"}, png(), 415, "the body is packed (gzip)"),
        ({"content_type": "image/svg+xml"}, b"<svg/>", 415, "an SVG drawing"),
        ({"content_type": "image/"}, b"", 422, "empty"),
        ({"content_type": "IMAGE/PNG; a=b"}, png(), 200, ""),
    ],
)
def test_odd_content_types(headers: dict[str, str], body: bytes, status: int, told: str) -> None:
    answer = raw(body, query="", **headers)
    assert answer.status_code == status, answer.text
    assert told in (answer.json().get("error") or "")


def test_a_charset_that_cannot_decode_a_name_is_no_500() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a..b\xff"\r\n\r\n1\r\n--x--\r\n'
    for charset in ("idna", "punycode", "undefined", "rot13", "zlib", "nothing"):
        answer = raw(body, content_type=f"multipart/form-data; boundary=x; charset={charset}")
        assert answer.status_code in (400, 422), answer.text


def test_every_request_is_in_the_log_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "requests.jsonl"

    async def go() -> str:
        async with house(log=path) as there:
            await there.detect(headers={"X-Request-ID": "line-7"})
            await there.detect(b"PK\x03\x04", headers={"X-Request-ID": "not <ok>"})
            return (await there.client.get("/metrics")).text

    figures = asyncio.run(go())
    first, second = read_records(path, Entry)
    assert (first.id, first.outcome, first.status, first.verdict, first.score) == (
        "line-7",
        "answered",
        200,
        "anomalous",
        0.75,
    )
    assert first.sha256 == hashlib.sha256(png()).hexdigest()
    assert first.ms > 0
    assert (second.outcome, second.status, second.verdict) == ("not_an_image", 415, None)
    assert second.id != "not <ok>"
    assert 'iadr1_requests_total{outcome="answered"} 1.0' in figures
    assert 'iadr1_requests_total{outcome="not_an_image"} 1.0' in figures
    assert 'iadr1_verdicts_total{verdict="anomalous"} 1.0' in figures
    assert 'iadr1_request_seconds_count{outcome="answered"} 1.0' in figures
    assert "iadr1_queued 0.0" in figures
    assert "iadr1_ready 1.0" in figures


def test_an_unfinished_line_of_a_killed_server_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(Entry(id="a", outcome="answered", status=200, ms=1.0).model_dump_json() + '\n{"id": "b", "ti')
    send(world={"log": path})
    assert [entry.outcome for entry in read_records(path, Entry)] == ["answered", "answered"]


def test_other_addresses_and_methods_get_an_error_of_the_same_form() -> None:
    async def go() -> list[httpx.Response]:
        async with house() as there:
            return [
                await there.client.get("/nothing"),
                await there.client.get("/v1/detect"),
                await there.client.delete("/health"),
            ]

    answers = asyncio.run(go())
    assert [answer.status_code for answer in answers] == [404, 405, 405]
    assert all(set(answer.json()) == {"error", "hint"} for answer in answers)


def test_the_interface_is_described_without_anybody_elses_server() -> None:
    async def go() -> tuple[dict[str, Any], str, str]:
        async with house(token="secret") as there:
            page = await there.client.get("/docs")
            api = (await there.client.get("/openapi.json")).json()
            return api, page.text, page.headers["content-security-policy"]

    api, page, policy = asyncio.run(go())
    detect = api["paths"]["/v1/detect"]["post"]
    assert detect["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Detection")
    assert set(detect["responses"]) >= {"401", "408", "413", "415", "422", "429", "502", "503", "504"}
    assert "multipart/form-data" in detect["requestBody"]["content"]
    assert detect["security"]
    assert "POST /v1/detect" in page
    assert "<script" not in page
    assert "http" not in page.replace("openapi", "")
    assert policy == "default-src 'none'"
