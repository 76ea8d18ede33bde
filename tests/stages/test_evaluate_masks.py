"""`iadr1 eval masks`: a segmenter beside GrabCut and the plain box, against known masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import masks
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError
from iadr1.geometry import Box
from iadr1.masks import MaskResult
from iadr1.records import Defect, Sample, write_records
from iadr1.stages.evaluate import segmentation

LEFT, RIGHT = (10.0, 20.0, 50.0, 60.0), (60.0, 20.0, 100.0, 60.0)


class _Exact:
    """Marks the dark pixels of the box, which are the truth."""

    name = "exact"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        dark = np.asarray(image.convert("L")) < 100
        return [MaskResult(dark, 0.9, "exact") for _ in boxes]


def test_samples_that_are_not_there_are_wrong_usage(tmp_path: Path) -> None:
    config = EvalConfig(benchmark="masks", data=tmp_path / "nowhere.jsonl", out=tmp_path / "out")
    with pytest.raises(UsageError, match="no samples file") as caught:
        segmentation.run(config)
    assert caught.value.hint


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two defects a photo, each the upper half of its box, in one mask file."""
    samples = []
    for number in range(4):
        pixels, mask = np.full((80, 112, 3), 200, np.uint8), np.zeros((80, 112), np.uint8)
        for x1, y1, x2, _ in (LEFT, RIGHT):
            pixels[int(y1) : int(y1) + 20, int(x1) : int(x2)] = 30
            mask[int(y1) : int(y1) + 20, int(x1) : int(x2)] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / f"{number}_mask.png")
        defects = tuple(
            Defect(type=kind, box=box, mask=f"{number}_mask.png") for kind, box in (("dent", LEFT), ("crack", RIGHT))
        )
        samples.append(_sample(f"{number}.png", defects=defects, held_out=number == 3))
    samples.append(samples[0].model_copy(update={"id": "again"}))
    write_records(tmp_path / "data.jsonl", samples)
    monkeypatch.setattr(segmentation, "check_segmenter", lambda name: None)
    loaders = {"exact": _Exact}
    monkeypatch.setattr(
        segmentation,
        "load_segmenter",
        lambda name, **values: loaders[name]() if name in loaders else masks.load_segmenter(name, **values),
    )
    return tmp_path / "data.jsonl"


def _sample(image: str, **values: Any) -> Sample:
    known = {"dataset": "d", "category": "c", "split": "test", "task": "anomaly", "question": "q", "answer": "Yes"}
    return Sample(id=image, image=image, question_type="t", is_anomalous=True, **known, **values)


def _config(data: Path, **values: Any) -> EvalConfig:
    return EvalConfig(**{"benchmark": "masks", "data": data, "out": data.parent / "out", **values})


def test_the_chosen_segmenter_stands_beside_grabcut_and_the_box(data: Path) -> None:
    result = segmentation.run(_config(data, segmenter="exact"))
    rows = result.metrics["rows"]
    assert {name: (row["defects"], row["photos"]) for name, row in rows.items()} == {
        "all": (8, 4),
        "held-out categories": (2, 1),
        "type: crack": (4, 4),
        "type: dent": (4, 4),
    }
    iou = rows["all"]["iou"]
    assert list(iou) == [f"{name}, {kind} box" for name in ("box", "grabcut", "exact") for kind in ("true", "moved")]
    # The truth fills half of its box; the other defect of the mask file is not counted.
    assert iou["box, true box"] == pytest.approx(0.5)
    assert iou["exact, true box"] == 1.0
    assert iou["box, moved box"] != iou["box, true box"]
    assert iou["grabcut, true box"] > 0.8
    low, high = rows["all"]["interval_95"]["box, moved box"]
    assert low < iou["box, moved box"] < high
    assert result.metrics["filled_box"]["box"] == 1.0
    assert result.metrics["filled_box"]["exact"] == 0.0
    table = (result.out / "table.md").read_text(encoding="utf-8")
    for text in (r"| dent | 4 | 0.500 \[0.50, 0.50] |", "exact, moved box", "by up to 15 %, seed 0"):
        assert text in table, text
    assert json.loads((result.out / "metrics.json").read_text(encoding="utf-8")) == result.metrics
    assert {path.name for path in result.files} == {"metrics.json", "table.md", "table.tex", "run.json"}


def test_moved_boxes_depend_on_seed_and_box_alone(data: Path) -> None:
    def moved(**values: Any) -> list[float]:
        metrics = segmentation.run(_config(data, **values)).metrics
        return [
            metrics["rows"][name]["iou"]["box, moved box"] for name in ("all", "type: dent") if name in metrics["rows"]
        ]

    assert moved() == moved()
    assert moved() != moved(seed=1)


def test_a_limit_draws_so_many_defects(data: Path) -> None:
    rows = segmentation.run(_config(data, limit=3)).metrics["rows"]
    assert rows["all"]["defects"] == 3


def test_grabcut_is_not_measured_twice(data: Path) -> None:
    found = segmentation.run(_config(data, segmenter="grabcut")).metrics["filled_box"]
    assert list(found) == ["box", "grabcut"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "server"}, "--engine server has no effect: 'eval masks' asks no model"),
        ({"masks": True}, "--masks has no effect"),
        ({"limit": 0}, "limit is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_cannot_be(data: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        segmentation.run(_config(data, **values))


def test_samples_without_masks_are_refused(data: Path) -> None:
    write_records(data, [_sample("0.png", defects=(Defect(type="dent", box=LEFT),))])
    with pytest.raises(DataError, match="no defect has a box and a mask"):
        segmentation.run(_config(data))


def test_a_mask_of_another_size_is_named(data: Path) -> None:
    Image.new("L", (9, 9)).save(data.parent / "2_mask.png")
    with pytest.raises(DataError, match=r"9x9 px, the image \(112, 80\)"):
        segmentation.run(_config(data))


def test_the_folder_of_an_evaluation_is_left_alone(data: Path) -> None:
    (data.parent / "out").mkdir()
    (data.parent / "out" / "predictions.jsonl").write_text("")
    with pytest.raises(UsageError, match="holds an evaluation"):
        segmentation.run(_config(data))
