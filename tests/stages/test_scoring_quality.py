"""Scores, boxes, masks, named types and places, and targets: figures worked out by hand, and their intervals."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.errors import DataError, ImageError, UsageError
from iadr1.records import DetectedDefect, Prediction, Sample
from iadr1.stages.score import ScoreSettings, compare, score
from iadr1.stages.scoring import MaskRecord
from iadr1.stages.scoring.intervals import Figure, Ranking, Ratio, intervals
from tests.stages.scoring_world import World, answer, sample, target, yes_no

Box = tuple[float, float, float, float]
LEFT: Box = (0, 0, 10, 10)
RIGHT: Box = (10, 0, 20, 10)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def defect(box: Box | None = LEFT, **fields: Any) -> dict[str, Any]:
    return {"type": "scratch", "box": box, **fields}


def boxes(*found: Box) -> list[dict[str, Any]]:
    return [{"box": box, "label": "scratch"} for box in found]


def figures(world: World, samples: list[Sample], given: list[Prediction]) -> dict[str, Any]:
    world.write(samples, given)
    return score(world.out, ScoreSettings()).metrics


# verdicts


def test_verdicts_by_data_set(world: World) -> None:
    """Set X: normal right, wrong, unread and E, anomalous right and wrong; set Y: normal right, anomalous right."""
    samples = [
        *(yes_no(key, image=f"X/good/{key}.png") for key in "abcd"),
        *(yes_no(key, defect()) for key in "ef"),
        yes_no("g", dataset="Y"),
        yes_no("h", defect(), dataset="Y"),
    ]
    words = ("No", "Yes", None, "E", "Yes", "No", "No", "Yes")
    metrics = figures(world, samples, [answer(s.id, w) for s, w in zip(samples, words, strict=True)])
    columns = ("Anomaly Detection", "average", "overkill", "miss")
    for name, values in {"X": (37.5, 37.5, 75, 50), "Y": (100, 100, 0, 0), "average": (68.75, 68.75, 37.5, 25)}.items():
        assert metrics["strict"][name] == dict(zip(columns, values, strict=True))
    assert metrics["detection"] == {
        "X": {"precision": 50, "recall": 50, "f1": 50, "undecided": 100 / 3},
        "Y": {"precision": 100, "recall": 100, "f1": 100, "undecided": 0},
        "average": {"precision": 75, "recall": 75, "f1": 75, "undecided": 100 / 6},
    }
    # The script drops the unread one and jumps over the `E` that follows; alone, `E` is counted and wrong.
    assert metrics["mmad_compat"]["X"]["overkill"] == 50
    metrics = figures(world, samples[:2], [answer("a", "No"), answer("b", "E")])
    assert metrics["mmad_compat"]["X"]["overkill"] == 50
    assert metrics["parse_rate"] == 50


def test_anomaly_scores(world: World) -> None:
    """Of 2 x 3 pairs the anomalous one is higher in 4, and in one they are equal."""
    samples = [*(yes_no(key) for key in "abc"), *(yes_no(key, defect()) for key in "de"), yes_no("f")]
    scores = (0.1, 0.2, 0.6, 0.6, 0.3, None)
    metrics = figures(world, samples, [answer(s.id, "No", score=v) for s, v in zip(samples, scores, strict=True)])
    quality = metrics["quality"]["X"]
    assert quality["auroc"] == pytest.approx(450 / 6)
    assert quality["scored_images"] == 5
    assert quality["ap"] == pytest.approx(50 * (1 / 2 + 2 / 3))
    assert quality["f1_max"] == pytest.approx(100 * 2 * 2 / 5)
    low, high = metrics["interval_95"]["X"]["auroc"]
    assert low < 75 < high == 100
    # All about one image: every draw holds all of them, and not the one without a score.
    same = [one.model_copy(update={"image": "a.png"}) for one in samples]
    given = [answer(s.id, "No", score=v) for s, v in zip(samples, scores, strict=True)]
    assert figures(world, same, given)["interval_95"]["X"]["auroc"] == pytest.approx((75, 75))
    assert "scored_images" not in metrics["quality"]["average"]
    assert "boxes" not in metrics


def test_without_scores_the_reason_is_told(world: World) -> None:
    world.extra["no_score"] = "the engine 'replay' gives no probabilities"
    metrics = figures(world, [yes_no("a")], [answer("a", "No")])
    assert metrics["notes"] == ["no anomaly scores: the engine 'replay' gives no probabilities"]
    assert "quality" not in metrics


def test_without_the_package_there_is_a_note(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    samples = [yes_no("a"), yes_no("b", defect())]
    world.write(samples, [answer(s.id, "No", score=0.5) for s in samples])
    measured = score(world.out, ScoreSettings())
    [note] = measured.notes
    assert 'pip install "iadr1[eval]"' in note
    assert measured.metrics["notes"] == [note]
    assert measured.metrics["quality"]["X"] == {"scored_images": 2}


# boxes


def boxed(world: World, *, reading: str = "boxes") -> dict[str, Any]:
    """X: one found exactly, one at IoU 0.5, one missed, one false alarm; Y: all right, so the average is between."""
    world.definition = {"reading": {"name": reading, "version": 1}} if reading else {}
    samples = [
        yes_no("a", defect(LEFT)),
        yes_no("b", defect(LEFT), defect(RIGHT)),
        yes_no("c"),
        yes_no("d", defect(None)),  # a defect without a box: no figure of boxes counts the image
        yes_no("e", defect(RIGHT), dataset="Y"),
        yes_no("f", defect(LEFT), defect(None)),  # nor this one
    ]
    found: Mapping[str, list[Box]] = {
        "a": [LEFT],
        "b": [(0, 0, 10, 5)],
        "c": [RIGHT],
        "d": [LEFT],
        "e": [RIGHT],
        "f": [LEFT],
    }
    given = [answer(key, "Yes", boxes=boxes(*found[key]), score=0.9 if key != "c" else 0.1) for key in "abcdef"]
    return figures(world, samples, given)


def test_boxes_at_three_thresholds(world: World) -> None:
    metrics = boxed(world)
    table = metrics["boxes"]["X"]
    assert (table["true_boxes"], table["predicted_boxes"]) == (3, 3)
    assert table["mean_iou"] == pytest.approx(1.5 / 3)
    for threshold, hits in (("0.33", 2), ("0.5", 2), ("0.75", 1)):
        for name in ("precision", "recall", "f1"):
            assert table[f"{name}@{threshold}"] == pytest.approx(100 * hits / 3)
    # Surest first: right, right (up to IoU 0.5), then the false alarm: recall 2/3 at IoU 0.5, 1/3 above.
    assert table["ap50"] == pytest.approx(100 * 67 / 101)
    assert table["ap75"] == pytest.approx(100 * 34 / 101)
    assert metrics["boxes"]["Y"]["ap"] == pytest.approx(100)
    average = metrics["boxes"]["average"]
    assert average["mean_iou"] == pytest.approx((0.5 + 1) / 2)
    assert average["f1@0.5"] == pytest.approx((200 / 3 + 100) / 2)
    assert not {"true_boxes", "predicted_boxes"} & average.keys()
    for name in ("mean_iou", "f1@0.5", "precision@0.75"):
        for dataset in ("X", "Y", "average"):
            low, high = metrics["interval_95"][dataset][name]
            assert low <= metrics["boxes"][dataset][name] <= high
    assert metrics["interval_95"]["Y"]["mean_iou"] == (1, 1)


def test_boxes_nobody_asked_for_are_not_counted_as_missed(world: World) -> None:
    assert "boxes" not in boxed(world, reading="structured")
    # Where the protocol is not known, boxes in the answers say that they were asked for.
    assert "boxes" in boxed(world, reading="")


def test_without_a_score_for_every_box_there_is_no_ap(world: World) -> None:
    world.definition = {"reading": {"name": "boxes", "version": 1}}
    samples = [yes_no("a", defect()), yes_no("b", defect())]
    given = [answer("a", "Yes", boxes=boxes(LEFT), score=0.5), answer("b", "Yes", boxes=boxes(LEFT))]
    assert "ap" not in figures(world, samples, given)["boxes"]["X"]
    given[1] = answer("b", None, error="no image", parse="failed: no image")
    assert figures(world, samples, given)["boxes"]["X"]["ap"] == pytest.approx(100 * 51 / 101)


# masks


def mask_record(key: str, *masks: np.ndarray[Any, Any]) -> MaskRecord:
    drawn = [DetectedDefect(label="scratch", box=LEFT, mask_rle=dict(rle.encode(mask))) for mask in masks]
    return MaskRecord(key=key, masks=tuple(drawn))


def area(x1: int, x2: int) -> np.ndarray[Any, Any]:
    """Of 20 x 10 px the columns from x1 to x2."""
    mask = np.zeros((10, 20), dtype=np.bool_)
    mask[:, x1:x2] = True
    return mask


def masked(world: World) -> tuple[list[Sample], list[Prediction]]:
    """a: half of the defect, whose mask is a file; b: twice the defect, in two masks; c: normal, a tenth marked."""
    Image.fromarray(np.where(area(0, 10), 7, 0).astype(np.uint8)).save(world.folder / "mask.png")
    samples = [
        yes_no("a", defect(mask="mask.png"), defect(mask="mask.png")),
        yes_no("b", defect(mask_rle=dict(rle.encode(area(5, 10))))),
        yes_no("c"),
        yes_no("d", defect()),  # no mask: not among the images that are measured
    ]
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}
    world.records(
        world.out / "masks.jsonl",
        [
            mask_record("a", area(0, 5)),
            mask_record("b", area(5, 10), area(10, 15)),
            mask_record("c", area(0, 2)),
            mask_record("d"),
        ],
    )
    return samples, [answer(key, "Yes", score=value) for key, value in scores.items()]


def test_masks(world: World) -> None:
    metrics = figures(world, *masked(world))
    table = metrics["pixels"]["X"]
    assert (table["masks"], table["defect_masks"]) == (3, 2)
    assert table["pixel_iou"] == pytest.approx(0.5)
    assert table["pixel_dice"] == pytest.approx(2 / 3)
    assert table["normal_marked"] == pytest.approx(10)
    # Columns: marked and defective 5 + 5; marked 5 + 10 + 2, defective 10 + 5.
    assert table["pixel_iou_pooled"] == pytest.approx(10 / (17 + 15 - 10))
    assert metrics["interval_95"]["X"]["pixel_iou"] == pytest.approx((0.5, 0.5))
    # Defect-free columns 10 + 15 + 20; at 0.8 five of them are marked, with b's whole region: rate 1/9. Before it a's
    # half; after it the other half of a, at the height of all that was not marked, from 7/45 on.
    ramp = 0.5 * (0.3 - 7 / 45) ** 2 / (38 / 45)
    expected = (0.5 * 0.3 + (0.3 - 1 / 18) + 0.5 * ramp) / 2 / 0.3
    assert table["aupro"] == pytest.approx(100 * expected)


def test_the_images_may_be_elsewhere(world: World) -> None:
    samples, given = masked(world)
    world.extra["root"] = str(world.folder / "gone")
    world.write(samples, given)
    with pytest.raises(UsageError, match=r"the image root .*gone.* is not a folder.*--root"):
        score(world.out, ScoreSettings())
    assert score(world.out, ScoreSettings(root=world.folder)).metrics["pixels"]["X"]["masks"] == 3


def test_a_size_that_is_not_known_is_the_images(world: World) -> None:
    samples, given = masked(world)
    world.pictures(samples)
    unsized = [one.model_copy(update={"image_size": None}) for one in samples]
    assert figures(world, unsized, given)["pixels"] == figures(world, samples, given)["pixels"]
    (world.folder / "c.png").unlink()
    with pytest.raises(ImageError, match=r"c\.png"):
        figures(world, unsized, given)


def test_masks_that_do_not_fit(world: World) -> None:
    samples, given = masked(world)
    records = [mask_record("a", area(0, 5)), mask_record("b", area(0, 5)[:5]), mask_record("c")]
    world.records(world.out / "masks.jsonl", records)
    with pytest.raises(DataError, match=r"the predicted mask of b\.png is 20x5 px, the image 20x10"):
        figures(world, samples, given)
    broken = {"size": [10, 20], "counts": [3]}
    samples[1] = yes_no("b", defect(mask_rle=broken))
    with pytest.raises(DataError, match=r"sample 'b'.*a mask is broken: the runs add up to 3"):
        figures(world, samples, given)


def test_an_answer_without_a_record_of_its_masks(world: World) -> None:
    samples, given = masked(world)
    world.records(world.out / "masks.jsonl", [mask_record("a")])
    with pytest.raises(DataError, match=r"masks\.jsonl: it has no record of 2 answers: b"):
        figures(world, samples, given)
    # What got no answer has no masks: nothing is marked there.
    given = [given[0], *(one.model_copy(update={"error": "no image", "answer": None}) for one in given[1:])]
    assert figures(world, samples, given)["pixels"]["X"]["normal_marked"] == 0


# types and places


def test_named_types_and_places(world: World) -> None:
    text = "<location>{}</location><type>{}</type><answer>Yes</answer>"
    samples = [
        yes_no("a", defect(location="top left")),
        yes_no("b", defect(location="top left")),
        yes_no("c", defect()),
        yes_no("d"),
        yes_no("e", defect(), dataset="Y"),
    ]
    raws = (text.format("Top left", "scratch"), text.format("center", "scratch"), text.format("?", "hole"), "", "")
    given = [answer(s.id, "Yes", raw=raw) for s, raw in zip(samples, raws, strict=True)]
    assert "words" not in figures(world, samples, given)
    world.definition = {"reading": {"name": "structured", "version": 1}}
    metrics = figures(world, samples, given)
    assert metrics["words"]["X"] == {
        "type_accuracy": pytest.approx(200 / 3), "type_images": 3,
        "location_accuracy": 50, "location_images": 2,
    }  # fmt: skip
    assert metrics["words"]["average"] == {"type_accuracy": pytest.approx(100 / 3), "location_accuracy": 50}
    low, high = metrics["interval_95"]["X"]["type_accuracy"]
    assert low < 200 / 3 < high


# grounding


def test_targets(world: World) -> None:
    samples = [
        target("a#0", LEFT, split="testA"),
        target("a#1", LEFT, RIGHT, split="testA"),
        target("b#0", LEFT, split="testB"),
        target("c#0", LEFT, dataset="Y"),
    ]
    given = [
        answer("a#0", "box", boxes=boxes(LEFT, RIGHT)),
        answer("a#1", "box", boxes=boxes((0, 0, 10, 5), RIGHT)),
        answer("b#0", None, parse="failed: no box"),
        answer("c#0", "box", boxes=boxes((0, 0, 10, 8))),
    ]
    metrics = figures(world, samples, given)
    # IoU 0.5 is not above 0.5.
    assert metrics["grounding"] == {
        "X testA": {"targets": 3, "acc@0.5": pytest.approx(200 / 3), "mean_iou": pytest.approx(2.5 / 3)},
        "X testB": {"targets": 1, "acc@0.5": 0, "mean_iou": 0},
        "Y": {"targets": 1, "acc@0.5": 100, "mean_iou": pytest.approx(0.8)},
        "average": {"acc@0.5": pytest.approx(500 / 9), "mean_iou": pytest.approx((2.5 / 3 + 0.8) / 3)},
    }
    assert metrics["strict"]["average"] == {"acc@0.5": pytest.approx(500 / 9), "average": pytest.approx(500 / 9)}
    assert "X testB" not in metrics["parsed"]
    assert metrics["parsed"]["average"]["average"] == pytest.approx((200 / 3 + 100) / 2)
    assert (metrics["parse_rate"], metrics["images"]) == (75, 3)
    # One image: whatever is drawn is the same.
    assert metrics["interval_95"]["X testA"]["acc@0.5"] == pytest.approx((200 / 3, 200 / 3))
    assert metrics["interval_95"]["average"]["mean_iou"] == pytest.approx(((2.5 / 3 + 0.8) / 3,) * 2)
    with pytest.raises(UsageError, match="boxes are not compared"):
        compare(world.out, world.out, ScoreSettings())


def test_targets_are_split_as_well(world: World) -> None:
    samples = [target("a", LEFT, held_out=True), target("b", LEFT)]
    metrics = figures(world, samples, [answer("a", "box", boxes=boxes(LEFT)), answer("b", None)])
    assert metrics["splits"]["held-out categories"]["strict"]["average"]["average"] == 100
    assert metrics["splits"]["trained categories"]["grounding"]["X"] == {"targets": 1, "acc@0.5": 0, "mean_iou": 0}


def test_a_target_without_a_box_is_refused(world: World) -> None:
    with pytest.raises(DataError, match="the sample 'a' has no box to find"):
        figures(world, [target("a", LEFT).model_copy(update={"defects": ()})], [answer("a", "box")])


def test_splits_of_yes_no_samples_hold_their_quality(world: World) -> None:
    world.definition = {"reading": {"name": "boxes", "version": 1}}
    samples = [yes_no("a", defect(), held_out=True), yes_no("b", defect()), yes_no("c")]
    given = [answer(s.id, "Yes", boxes=boxes(LEFT) if s.id == "a" else [], score=0.5) for s in samples]
    splits = figures(world, samples, given)["splits"]
    assert splits["held-out categories"]["boxes"]["average"]["recall@0.5"] == 100
    assert splits["trained categories"]["boxes"]["average"]["recall@0.5"] == 0
    assert splits["trained categories"]["strict"]["X"]["overkill"] == 100


# intervals


def test_intervals_are_those_of_drawing_images() -> None:
    """Ten images with one unit each, five of them right: the 2.5 and 97.5 percentiles of a binomial share."""
    figure = Ratio([100.0] * 5 + [0.0] * 5, [1.0] * 10)
    bounds = intervals({"X": ([str(n) for n in range(10)], {"f": figure})}, seed=0)
    assert bounds["X"]["f"] == (20, 80)
    # All units of one image are drawn together: two images, one all right and one all wrong.
    bounds = intervals({"X": (["a"] * 5 + ["b"] * 5, {"f": figure})}, seed=0)
    assert bounds["X"]["f"] == (0, 100)
    assert bounds == intervals({"X": (["a"] * 5 + ["b"] * 5, {"f": figure})}, seed=0)


def test_intervals_of_the_average_are_narrower() -> None:
    figure = Ratio([100.0] * 20 + [0.0] * 20, [1.0] * 40)
    images = [str(n) for n in range(40)]
    bounds = intervals({name: (images, {"f": figure}) for name in "XYZ"}, seed=0)
    width = {name: high - low for name, ((low, high),) in ((name, row.values()) for name, row in bounds.items())}
    assert width["average"] < 0.75 * width["X"]


def test_the_auroc_of_a_draw_is_the_auroc() -> None:
    """Without a choice of images to draw, the interval is the figure itself, ties and missing scores included."""
    ranking = Ranking([0.1, 0.6, 0.6, 0.3, float("nan")], [False, False, True, True, True])
    # Pairs: 0.6 beats 0.1 and ties 0.6; 0.3 beats 0.1.
    low, high = intervals({"X": (["a"] * 5, {"auroc": ranking})}, seed=0)["X"]["auroc"]
    assert (low, high) == pytest.approx((62.5, 62.5))


def test_what_no_draw_holds_has_no_interval() -> None:
    nothing: dict[str, tuple[list[str], dict[str, Figure]]] = {
        "X": (["a"], {"f": Ratio([0.0], [0.0]), "auroc": Ranking([float("nan")], [True])})
    }
    assert intervals(nothing, seed=0) == {"X": {}, "average": {}}
    assert intervals({}, seed=0) == {}
    assert intervals({"X": (["a"], {})}, seed=0) == {}


def test_a_choice_sample_keeps_no_box(world: World) -> None:
    """What no figure of multiple choice depends on is passed over, broken or not told apart."""
    metrics = figures(world, [sample("a", defects=[defect(mask_rle={"size": [1]})])], [answer("a", "A")])
    assert not {"quality", "boxes", "pixels", "words"} & metrics.keys()
