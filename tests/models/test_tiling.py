"""Tiles and tokens of the published LLaVA and InternVL sizes, against worked values and transformers' own code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from iadr1.models.profiles import PROFILES
from iadr1.models.tiling import AnyRes, Tiles


def tiling(family: str) -> Any:
    return PROFILES[family].tiling


def test_llava_next_by_hand() -> None:
    # 640 x 480 fits best into 672 x 672: 48 columns; 36 of 48 rows hold the image, with one token at each row's end.
    assert tiling("llava_next").canvas((640, 480)) == (672, 672)
    assert tiling("llava_next").tokens((640, 480), images=1) == 24 * 24 + 48 * 36 + 36
    assert tiling("llava_next").tokens((640, 480), images=3) == 2340
    # A long image: three tiles side by side, 24 * 100 / 300 * 3 = 24 rows.
    assert tiling("llava_next").canvas((900, 300)) == (1008, 336)
    assert tiling("llava_next").tokens((900, 300), images=1) == 576 + 72 * 24 + 24


def test_of_canvases_that_keep_as_much_the_smallest_is_taken() -> None:
    assert AnyRes(336, 24, ((672, 672), (672, 336), (1008, 336))).canvas((600, 300)) == (672, 336)


def test_llava_onevision_by_hand() -> None:
    # 384 x 384 needs one tile: the image twice, and 27 ends of rows.
    assert tiling("llava_onevision").tokens((384, 384), images=1) == 2 * 729 + 27
    # 1000 x 800: 3 x 3 tiles of 27 x 27, of which 81 columns and 65 rows (rounded to 64.8 -> 64 + 1) are not empty.
    assert tiling("llava_onevision").canvas((1000, 800)) == (1152, 1152)
    assert tiling("llava_onevision").tokens((1000, 800), images=1) == 729 + 81 * 65 + 65
    # Of two images each is one tile and one end.
    assert tiling("llava_onevision").tokens((1000, 800), images=2) == 730


def test_internvl_by_hand() -> None:
    # Twelve tiles at most; 5:4 lies nearest to 4:3 (off by .083), and 4 x 3 tiles need a thumbnail.
    assert tiling("internvl").grid((1000, 800)) == (4, 3)
    assert tiling("internvl").tokens((1000, 800), images=1) == 13 * 256
    # A small square: one tile without thumbnail; a large one: as many as its pixels are worth.
    assert tiling("internvl").tokens((448, 448), images=1) == 256
    assert tiling("internvl").grid((800, 800)) == (2, 2)
    assert tiling("internvl").grid((2000, 2000)) == (3, 3)


def sizes() -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    spread = [(int(w), int(h)) for w, h in np.exp(rng.uniform(np.log(20), np.log(4000), (400, 2)))]
    return [size for size in spread if max(size) < 20 * min(size)]


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
def test_any_resolution_agrees_with_transformers(family: str) -> None:
    pytest.importorskip("torch")
    from transformers import LlavaNextProcessor, LlavaOnevisionProcessor

    theirs: Any = LlavaNextProcessor if family == "llava_next" else LlavaOnevisionProcessor
    ours: AnyRes = tiling(family)
    stand_in = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=[[h, w] for w, h in ours.canvases]),
        patch_size=14,
        num_image_tokens=ours.grid**2,
        num_additional_image_tokens=0,
        vision_aspect_ratio="anyres_max_9",
    )
    stand_in._get_unpadded_features = lambda *args: theirs._get_unpadded_features(stand_in, *args)
    for width, height in sizes():
        expected = theirs._get_number_of_features(stand_in, height, width, ours.side, ours.side)
        assert ours.tokens((width, height), images=1) == expected, (width, height)


def test_tiles_agree_with_transformers() -> None:
    pytest.importorskip("torch")
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    for fewest, most in ((1, 12), (2, 6)):
        ours = Tiles(448, 256, fewest, most)
        for width, height in [*sizes(), (500, 500), (448, 448), (1000, 500), (1200, 800)]:
            expected = get_optimal_tiled_canvas((height, width), (448, 448), fewest, most)
            assert ours.grid((width, height)) == tuple(expected), (width, height)
