"""Masks of a batch of photos: drawn together, in bounded memory, with the results of one photo at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from iadr1.geometry import Box
from iadr1.masks import MaskResult, load_segmenter
from iadr1.masks.grabcut import GrabCutSegmenter
from iadr1.masks.sam2 import Sam2Segmenter
from iadr1.models.base import Request
from iadr1.stages.inspection import Finding, Inspector, InspectSettings, Loaded, Photo
from iadr1.stages.inspection import inspector as room
from tests.masks.tiny_sam2 import build as build_tiny_sam2
from tests.stages.fake_engine import NORMAL, FakeEngine

SIZE = 112
BOXES: dict[str, list[Box]] = {
    "a.png": [(10, 10, 40, 40), (60, 60, 100, 70)],
    "b.png": [],
    "c.png": [(20, 30, 50, 90)],
    "d.png": [(5, 5, 20, 20), (40, 40, 90, 90), (1, 100, 30, 111)],
}


def _answer(request: Request) -> str:
    boxes = BOXES[request.id]
    listed = json.dumps([{"bbox_2d": box, "label": f"dent {place}"} for place, box in enumerate(boxes)])
    return f"<think>Seen.</think><answer>{listed}</answer>" if boxes else NORMAL


def _batch() -> list[Loaded]:
    generator = np.random.default_rng(0)
    photos = []
    for name, boxes in BOXES.items():
        pixels = generator.integers(180, 200, (SIZE, SIZE, 3), dtype=np.uint8)
        for x1, y1, x2, y2 in boxes:
            pixels[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2] = 40
        photos.append(Loaded(Photo(Path(name), name, name), Image.fromarray(pixels)))
    return [*photos[:2], Loaded(Photo(Path("x.png"), "x.png", "x"), error="not an image"), *photos[2:]]


def _inspector(segmenter: object) -> Inspector:
    return Inspector(FakeEngine(default=_answer), InspectSettings(), segmenter=segmenter)  # type: ignore[arg-type]


def _same(one: Sequence[Finding], other: Sequence[Finding]) -> bool:
    plain = [[finding.record.model_copy(update={"seconds": 0.0}) for finding in found] for found in (one, other)]
    return plain[0] == plain[1] and all(
        np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x.masks, y.masks, strict=True)
    )


@pytest.mark.parametrize("name", ["grabcut", "sam2"])
def test_a_batch_has_the_masks_of_one_photo_at_a_time(name: str, tmp_path: Path) -> None:
    segmenter = load_segmenter("grabcut" if name == "grabcut" else str(build_tiny_sam2(tmp_path)), device="cpu")
    together = _inspector(segmenter).inspect(_batch())
    alone = [found for item in _batch() for found in _inspector(segmenter).inspect([item])]
    assert _same(together, alone)
    assert [len(found.masks) for found in together] == [2, 0, 0, 1, 3]
    assert isinstance(segmenter, GrabCutSegmenter if name == "grabcut" else Sam2Segmenter)


class _Counts:
    """Fills nothing, and remembers how many photos and boxes it got at a time."""

    name = "counts"

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        raise AssertionError("several photos are drawn together")

    def segment_many(
        self, images: Sequence[Image.Image], boxes_of_each: Sequence[Sequence[Box]]
    ) -> list[list[MaskResult]]:
        self.calls.append([len(boxes) for boxes in boxes_of_each])
        return [
            [MaskResult(np.zeros((image.height, image.width), dtype=bool), 0.5, "x") for _ in boxes]
            for image, boxes in zip(images, boxes_of_each, strict=True)
        ]


@pytest.mark.parametrize(
    ("masks", "calls"), [(100, [[2, 1, 3]]), (3, [[2, 1], [3]]), (2, [[2], [1], [3]]), (1, [[2], [1], [3]])]
)
def test_photos_are_drawn_together_up_to_so_many_pixels(
    monkeypatch: pytest.MonkeyPatch, masks: int, calls: list[list[int]]
) -> None:
    monkeypatch.setattr(room, "MASK_PIXELS", masks * SIZE * SIZE)
    segmenter = _Counts()
    findings = _inspector(segmenter).inspect(_batch())
    assert segmenter.calls == calls
    assert [found.record.image for found in findings] == ["a.png", "b.png", "x.png", "c.png", "d.png"]
    assert [len(found.record.defects) for found in findings] == [2, 0, 0, 1, 3]
    assert findings[2].record.error == "not an image"


def test_a_batch_without_defects_is_not_shown_to_the_segmenter() -> None:
    segmenter = _Counts()
    _inspector(segmenter).inspect([item for item in _batch() if item.photo.name in ("b.png", "x.png")])
    assert segmenter.calls == []


class _Slow(FakeEngine):
    """An engine and the clock that it moves: 6 s for a call for scores."""

    now = 0.0

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        self.now += 6.0
        return super().probabilities(requests, words)


def test_seconds_hold_the_photos_share_of_the_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _Slow(default=_answer)
    monkeypatch.setattr(room, "time", SimpleNamespace(perf_counter=lambda: engine.now))
    items = [item for item in _batch() if item.image is not None]
    direct = Inspector(engine, InspectSettings(mode="direct")).inspect(items)
    assert [found.record.seconds for found in direct] == [1.5] * 4
    # The engine says 0.25 s for each answer.
    thought = Inspector(engine, InspectSettings(mode="think")).inspect(items)
    assert [found.record.seconds for found in thought] == [1.75] * 4
    # Five looks at the first of two photos, five at the second: 6 s / 10 for each.
    tiled = Inspector(engine, InspectSettings(mode="direct", tiles="2x2")).inspect(items[:2])
    assert [found.record.seconds for found in tiled] == [pytest.approx(3.0)] * 2
