"""The score of a mask is the model's estimate of its IoU, which a network may put outside of 0 to 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.masks.sam2 import Sam2Segmenter
from tests.masks.tiny_sam2 import build


@pytest.mark.parametrize(("added", "score"), [(9.0, 1.0), (-9.0, 0.0)])
def test_a_score_is_within_0_and_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: float, score: float) -> None:
    segmenter = Sam2Segmenter(str(build(tmp_path / "sam2")), device="cpu")
    forward = segmenter._network.forward

    def shifted(**inputs: Any) -> Any:
        output = forward(**inputs)
        output.iou_scores = output.iou_scores + added
        return output

    monkeypatch.setattr(segmenter._network, "forward", shifted)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    assert [found.score for found in segmenter.segment(photo, [(5, 5, 60, 50), (30, 20, 110, 80)])] == [score] * 2
