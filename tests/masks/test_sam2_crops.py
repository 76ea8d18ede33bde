"""A SAM 2 whose configuration says how boxes are shown: a crop for each box, whatever the model is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iadr1.errors import ModelError
from iadr1.geometry import dilate_box
from iadr1.masks import load_segmenter
from iadr1.masks.boxcrop import KEY, BoxCrop
from iadr1.masks.cleanup import pixel_window
from iadr1.masks.sam2 import Sam2Segmenter
from tests.masks.tiny_sam2 import build

BOXES = [(10.0, 10.0, 40.0, 34.0), (24.0, 20.0, 50.0, 44.0), (70.0, 60.0, 119.0, 89.0)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sam2"), multimask=False)


def _with(plain: Path, folder: Path, entry: Any) -> str:
    """The same model with an entry `box_crop`."""
    folder.mkdir()
    for path in plain.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((plain / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, KEY: entry}))
    return str(folder)


def _photo(*, scale: float = 1.0, shift: float = 0.0) -> Image.Image:
    pixels = np.random.default_rng(0).uniform(60, 180, (90, 120, 3)) * scale + shift
    return Image.fromarray(pixels.round().astype(np.uint8))


def _pixels_seen(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the encoder is given, batch by batch."""
    encode, seen = segmenter._network.get_image_embeddings, []

    def noted(pixels: torch.Tensor) -> object:
        seen.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(segmenter._network, "get_image_embeddings", noted)
    return seen


def test_every_box_gets_a_crop_of_its_own(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cropped = Sam2Segmenter(_with(plain, tmp_path / "crops", BoxCrop().entry()), device="cpu")
    seen = _pixels_seen(cropped, monkeypatch)
    together = cropped.segment(_photo(), BOXES)
    assert [pixels.shape for pixels in seen] == [(1, 3, 256, 256)] * 3
    assert all(abs(float(pixels.mean())) < 1e-4 for pixels in seen)  # each is evened out by itself
    # A mask is the same to the bit whatever else is drawn, so that shards of a run are parts of the whole.
    alone = [cropped.segment(_photo(), [box])[0] for box in BOXES]
    for one, two in zip(together, alone, strict=True):
        assert np.array_equal(one.mask, two.mask)
        assert one.score == two.score
    whole = Sam2Segmenter(str(plain), device="cpu")
    seen = _pixels_seen(whole, monkeypatch)
    whole.segment(_photo(), BOXES)
    assert [len(pixels) for pixels in seen] == [1]


def test_light_and_contrast_change_nothing(plain: Path, tmp_path: Path) -> None:
    cropped = Sam2Segmenter(_with(plain, tmp_path / "crops", BoxCrop().entry()), device="cpu")
    bright = cropped.segment(_photo(), BOXES)
    dim = cropped.segment(_photo(scale=0.5, shift=20), BOXES)
    for one, two in zip(bright, dim, strict=True):
        assert one.score == pytest.approx(two.score, abs=0.01)
        assert (one.mask != two.mask).mean() < 0.03


def test_threshold_and_reach_are_the_model_s(plain: Path, tmp_path: Path) -> None:
    wide = BoxCrop(reach=0.2, threshold=-1e6)
    for box, result in zip(
        BOXES,
        load_segmenter(_with(plain, tmp_path / "all", wide.entry()), device="cpu").segment(_photo(), BOXES),
        strict=True,
    ):
        everything = np.zeros((90, 120), dtype=bool)
        everything[pixel_window(dilate_box(box, 0.2, (120, 90)), (120, 90))] = True
        assert np.array_equal(result.mask, everything)
        assert result.source == str(tmp_path / "all")
    none = load_segmenter(_with(plain, tmp_path / "none", BoxCrop(threshold=1e6).entry()), device="cpu")
    assert [result.source for result in none.segment(_photo(), BOXES)] == ["box"] * 3


def test_an_entry_that_cannot_be_read_names_the_folder(plain: Path, tmp_path: Path) -> None:
    folder = _with(plain, tmp_path / "wrong", {"context": 2.0})
    with pytest.raises(ModelError, match=r"box_crop.*needs the keys") as caught:
        Sam2Segmenter(folder, device="cpu")
    assert folder in str(caught.value)
