"""Where large photos are cut, and how the boxes of tiles become one list."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.geometry import Box
from iadr1.models.base import Request
from iadr1.prompts import LabelledBox
from iadr1.stages.inspection import Inspector, InspectSettings, Loaded, Photo, inspector, tiles
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine

LEFT, RIGHT = (0, 0, 120, 100), (96, 0, 216, 100)
"""Two tiles of a photo of 216 x 100 px, side by side, that share 24 columns."""


def _found(box: Box, window: tuple[int, int, int, int] | None, label: str = "crack") -> tiles.Found:
    return tiles.Found(box, label, 0.9, window)


def _boxes(*found: tiles.Found) -> list[Box]:
    return [item.box for item in tiles.merge(found)]


@pytest.mark.parametrize(
    ("wanted", "image_wh", "count"),
    [
        ("off", (9000, 9000), 0),
        ("auto", (224, 224), 0),  # 2 : 1, as much as may be lost
        ("auto", (225, 224), 2),
        ("auto", (896, 448), 8),
        ("auto", (99_999, 100), 8),  # never more than 8 a side
        ("3x2", (50, 50), 6),
        ("1x1", (50, 50), 0),
        ("3x2", (2, 1), 2),  # no more tiles than pixels
    ],
)
def test_how_many_tiles(wanted: str, image_wh: tuple[int, int], count: int) -> None:
    assert len(tiles.windows(wanted, image_wh, (112, 112))) == count


@pytest.mark.parametrize("image_wh", [(100, 100), (101, 97), (1920, 1080)])
@pytest.mark.parametrize("wanted", ["2x2", "3x5", "8x1"])
def test_tiles_cover_the_photo_and_overlap(wanted: str, image_wh: tuple[int, int]) -> None:
    covered = np.zeros((image_wh[1], image_wh[0]), dtype=int)
    found = tiles.windows(wanted, image_wh, (112, 112))
    for left, top, right, bottom in found:
        assert 0 <= left < right <= image_wh[0]
        assert 0 <= top < bottom <= image_wh[1]
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    assert covered.max() >= 2
    (a, b) = sorted({(left, right) for left, _, right, _ in found})[:2]
    assert (a[1] - b[0]) / (a[1] - a[0]) == pytest.approx(tiles.OVERLAP, abs=0.12)


def test_a_defect_across_two_tiles_is_one() -> None:
    assert _boxes(_found((80, 40, 119, 60), LEFT), _found((97, 42, 150, 58), RIGHT)) == [(80, 40, 150, 60)]
    # Another kind of defect is another defect.
    assert len(_boxes(_found((80, 40, 119, 60), LEFT), _found((97, 42, 150, 58), RIGHT, "dent"))) == 2
    # Neither is cut off by its tile: two defects that touch.
    assert len(_boxes(_found((60, 40, 112, 60), LEFT), _found((106, 42, 150, 58), RIGHT))) == 2


def test_a_defect_seen_twice_is_kept_once_and_tiles_go_before_the_whole() -> None:
    twice = [_found((100, 10, 112, 20), LEFT), _found((101, 10, 112, 20), RIGHT)]
    assert _boxes(*twice) == [(100, 10, 112, 20)]
    assert _boxes(_found((99, 9, 114, 22), None), *twice) == [(100, 10, 112, 20)]
    assert _boxes(_found((103, 12, 109, 18), None), *twice) == [(100, 10, 112, 20)]
    assert _boxes(_found((5, 5, 20, 25), None), *twice) == [(100, 10, 112, 20), (5, 5, 20, 25)]


def test_what_was_dropped_drops_nothing() -> None:
    first, between, last = (104, 10, 112, 30), (104, 16, 112, 35), (104, 20, 112, 38)
    assert _boxes(_found(first, LEFT), _found(between, RIGHT)) == [first]
    assert _boxes(_found(between, RIGHT), _found(last, LEFT)) == [between]
    assert _boxes(_found(first, LEFT), _found(between, RIGHT), _found(last, LEFT)) == [first, last]


def test_a_defect_larger_than_its_pieces_in_tiles_stays() -> None:
    whole, piece = (10, 10, 206, 90), (15, 15, 40, 40)
    assert _boxes(_found(whole, None), _found(piece, LEFT)) == [piece, whole]


def test_a_defect_inside_another_kind_of_defect_stays() -> None:
    stain, hole = _found((98, 10, 118, 90), LEFT, "stain"), _found((100, 20, 110, 30), RIGHT, "hole")
    assert len(_boxes(stain, hole)) == 2
    assert len(_boxes(stain, tiles.Found(hole.box, "Stain", 0.9, RIGHT))) == 1
    # At the same place and as large, it is the same under another name.
    assert len(_boxes(stain, _found((99, 11, 118, 90), RIGHT, "hole"))) == 1


MIDDLE, END = (0, 0, 100, 50), [(80, 0, 180, 50), (160, 0, 260, 50)]
_CHAIN = [
    _found((60, 20, 100, 30), MIDDLE),
    _found((80, 20, 180, 30), END[0]),
    _found((160, 20, 200, 30), END[1]),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_defect_across_three_tiles_is_one_in_any_order(order: tuple[int, ...]) -> None:
    (joined,) = tiles.merge([_CHAIN[place] for place in order])
    assert joined.box == (60, 20, 200, 30)
    assert joined.passes == frozenset((MIDDLE, *END))


def test_what_was_joined_drops_no_box_of_its_own_tiles_and_those_of_others() -> None:
    """A small spot beside a long scratch may lie within what the scratch was joined to."""
    scratch = [_found((60, 10, 100, 20), MIDDLE), _found((80, 12, 150, 45), END[0])]
    spot = (65, 30, 75, 40)
    for order in itertools.permutations([*scratch, _found(spot, MIDDLE)]):
        assert _boxes(*order) == [(60, 10, 150, 45), spot]
    assert _boxes(*scratch, _found(spot, END[1])) == [(60, 10, 150, 45)]
    assert _boxes(*scratch, _found(spot, None)) == [(60, 10, 150, 45)]


def test_what_was_joined_has_the_highest_score_of_its_parts() -> None:
    scores = (0.3, 0.9, 0.6)
    found = [dataclasses.replace(part, score=score) for part, score in zip(_CHAIN, scores, strict=True)]
    assert [joined.score for joined in tiles.merge(found)] == [0.9]
    unscored = dataclasses.replace(_CHAIN[0], score=None)
    assert [joined.score for joined in tiles.merge([unscored, *found[1:]])] == [0.9]


def test_only_what_both_tiles_cut_off_is_joined() -> None:
    """One that ends before the edge of its tile is whole, though the other goes on behind that edge."""
    whole, cut = _found((60, 40, 112, 60), LEFT), _found((97, 42, 150, 58), RIGHT)
    assert len(_boxes(whole, cut)) == 2
    assert len(_boxes(cut, whole)) == 2
    cut, whole = _found((80, 40, 119, 60), LEFT), _found((106, 42, 150, 58), RIGHT)
    assert len(_boxes(whole, cut)) == 2
    assert len(_boxes(cut, whole)) == 2


@pytest.mark.parametrize("cut", [False, True])
def test_many_boxes_are_merged_quickly(cut: bool) -> None:
    rng, found = np.random.default_rng(0), []
    for left, top, right, bottom in tiles.windows("8x8", (8000, 8000), (112, 112)):
        for x, y in rng.uniform(0, 900, (100, 2)) if not cut else rng.uniform(0, 20, (100, 2)):
            x2, y2 = (right - x, bottom - y) if cut else (left + x + 60, top + y + 60)
            found.append(_found((left + x, top + y, x2, y2), (left, top, right, bottom)))
    started = time.process_time()
    merged = tiles.merge(found)
    assert time.process_time() - started < 2
    assert len(merged) == 1 if cut else len(merged) > 4000


def test_one_tile_is_no_tiles() -> None:
    assert InspectSettings(tiles="1x1").digest == InspectSettings().digest
    assert InspectSettings(tiles="1x1").score_digest != InspectSettings(tiles="1x2").score_digest


def test_boxes_of_one_look_never_drop_each_other() -> None:
    inside = [_found((10, 10, 60, 60), LEFT), _found((20, 20, 30, 30), LEFT)]
    assert len(_boxes(*inside)) == 2
    whole = [_found((10, 10, 60, 60), None), _found((20, 20, 30, 30), None)]
    assert len(_boxes(*whole)) == 2


def test_boxes_of_a_tile_are_moved_to_the_photo() -> None:
    assert tiles.moved(LabelledBox((1, 2, 3, 4), "dent"), (96, 50, 216, 100), 0.5).box == (97, 52, 99, 54)


def test_the_same_part_of_a_reference() -> None:
    reference = Image.new("RGB", (20, 10))
    reference.putpixel((19, 9), (255, 0, 0))
    part = tiles.same_part(reference, (100, 50, 200, 100), (200, 100))
    assert (part.size, part.getpixel((9, 4))) == ((10, 5), (255, 0, 0))
    assert tiles.same_part(reference, (0, 0, 5, 5), (100, 100)) is reference  # it shows something else there


def test_the_part_of_a_reference_ends_where_the_reference_does() -> None:
    """Nothing black is shown beyond it, though its sides are not in quite the photo's ratio."""
    reference = Image.new("RGB", (7, 5), (255, 255, 255))
    for window in tiles.windows("3x2", (210, 149), (112, 112)):
        part = tiles.same_part(reference, window, (210, 149))
        assert part.getextrema() == ((255, 255),) * 3
    assert tiles.same_part(reference, (140, 100, 211, 150), (210, 149)).getextrema() == ((255, 255),) * 3


def test_the_inspector_looks_at_the_whole_and_at_every_tile() -> None:
    def answer(request: Request) -> str:
        box = '{"bbox_2d": [28, 28, 56, 84], "label": "scratch"}'
        return f"<think>There.</think><answer>[{box}]</answer>" if request.id == "a.png#4" else NORMAL

    engine = FakeEngine(default=answer)
    settings = InspectSettings(mode="think", tiles="2x2", shots=1)
    image = Image.new("RGB", (216, 108))
    (finding,) = Inspector(engine, settings).inspect([Loaded(Photo(Path("a.png"), "a.png", "a"), image, (image,))])
    assert [request.id for request in engine.asked] == ["a.png", *(f"a.png#{number}" for number in range(1, 5))]
    assert [shown.size for shown in engine.asked[1].images] == [(120, 60), (120, 60)]
    record = finding.record
    assert (record.verdict, record.tiles, record.reasoning) == ("anomalous", 5, "Even surface.\n[96,48,216,108] There.")
    # The last tile begins at (96, 48); the model's 112 x 112 px are its 120 x 60.
    assert record.defects[0].box == pytest.approx((96 + 30, 48 + 15, 96 + 60, 48 + 45))


@pytest.mark.parametrize(
    ("texts", "verdict"), [(("hm", NORMAL), "undecided"), ((NORMAL, "hm"), "undecided"), (("hm", BAD), "anomalous")]
)
def test_normal_is_only_what_is_normal_in_every_look(texts: tuple[str, str], verdict: str) -> None:
    engine = FakeEngine({"a.png#1": texts[0], "a.png#2": texts[1]}, default=NORMAL)
    item = Loaded(Photo(Path("a.png"), "a.png", "a"), Image.new("RGB", (216, 108)))
    (finding,) = Inspector(engine, InspectSettings(mode="think", tiles="2x1")).inspect([item])
    assert finding.record.verdict == verdict


def test_no_look_gives_more_boxes_than_a_photo_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "MOST_DEFECTS", 3)
    merged: list[int] = []

    def merge(found: Sequence[tiles.Found]) -> list[tiles.Defect]:
        merged.append(len(found))
        return tiles.merge(found)

    monkeypatch.setattr(inspector, "merge", merge)
    boxes = ", ".join(f'{{"bbox_2d": [{x}, 1, {x + 8}, 9], "label": "dot"}}' for x in (1, 11, 21, 31, 41))
    engine = FakeEngine(default=f"<think>Dots.</think><answer>[{boxes}]</answer>")
    item = Loaded(Photo(Path("a.png"), "a.png", "a"), Image.new("RGB", (216, 108)))
    (finding,) = Inspector(engine, InspectSettings(mode="think", tiles="2x1")).inspect([item])
    assert merged == [9]
    assert len(finding.record.defects) == 3
    assert "only the first 3 of" in finding.record.parse


class _OneTile(FakeEngine):
    """Only the third tile is suspicious."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        shares = [0.8 if request.id == "a.png#3" else 0.1 for request in requests]
        return [{"Yes": share, "No": 1 - share} for share in shares]


def test_the_highest_score_counts_and_only_suspicious_tiles_are_reasoned_about() -> None:
    engine = _OneTile()
    item = Loaded(Photo(Path("a.png"), "a.png", "a"), Image.new("RGB", (216, 108)))
    (finding,) = Inspector(engine, InspectSettings(tiles="2x2")).inspect([item])
    assert [request.id for request in engine.asked] == ["a.png#3"]
    assert (finding.record.score, finding.record.verdict) == (0.8, "anomalous")
    assert finding.record.defects[0].score == 0.8
