"""The whole way on a few real photos with an engine that knows the truth, and the figures by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="OpenCV (extra masks) is not installed")
pytest.importorskip("sklearn", reason="scikit-learn (extra eval) is not installed")

from benchmarks import real_sets
from benchmarks.real_sets import Laid, Photo, Plan, measure
from iadr1 import rle
from iadr1.errors import ModelError, UsageError
from iadr1.exports.annotations import NAMES
from iadr1.models.base import Completion, Request
from iadr1.records import Defect, DetectedDefect, Detection, Sample
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine, share

SHARED = Path(__file__).parents[3] / "shared" / "data"
here = pytest.mark.skipif(
    not all((SHARED / folder).is_dir() for folder in real_sets.FOLDERS.values()),
    reason="needs DeepPCB and the magnetic tiles in ../shared/data",
)


def is_good(name: str) -> bool:
    return "MT_Free" in name or name.endswith("_temp.jpg")


class Knows(FakeEngine):
    """Gives bad photos a score above 0.8 and good ones one below 0.4; `stop` makes the n-th call for texts fail."""

    def __init__(self, *, stop: int | None = None) -> None:
        super().__init__(default=lambda request: NORMAL if is_good(request.id) else BAD)
        self.stop = stop

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        if self.stop is not None and len(self.batches) == self.stop:
            raise ModelError("pulled out")
        return super().generate(requests, max_new_tokens=max_new_tokens)

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        self.weighed += [(request, tuple(words)) for request in requests]
        scores = [0.4 * share(one.id, "Yes") + (0.0 if is_good(one.id) else 0.6) for one in requests]
        return [{"Yes": score, "No": 1 - score} for score in scores]


def use(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    monkeypatch.setattr(real_sets, "load_engine", lambda *_: engine)


@here
@pytest.mark.parametrize("name", ["deeppcb", "magnetic-tile"])
def test_four_photos_of_each_half_go_the_whole_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(SHARED, tmp_path, sets=(name,), limit=4)
    use(monkeypatch, Knows(stop=1))
    with pytest.raises(ModelError):
        measure(plan)
    done = (tmp_path / name / "parts.jsonl").read_text(encoding="utf-8")
    assert '"deeppcb/0/direct"' in done or '"magnetic-tile/0/direct"' in done

    engine = Knows()
    use(monkeypatch, engine)
    parts = measure(plan)
    assert (tmp_path / name / "parts.jsonl").read_text(encoding="utf-8").startswith(done)
    assert parts[f"{name}/photos"]["test"]["photos"] == 8
    assert parts[f"{name}/photos"]["calibrate"]["good"] == 19
    for shots in (0, 1):
        for run in real_sets.runs(("grabcut",)):
            row = parts[f"{name}/{shots}/{run.key}"]
            assert (row["n"], row["good"], row["errors"], row["scores"]["auroc"]) == (8, 4, 0, 100.0)
            strange = run.reasoning == "structured"  # the engine answers in the other format
            assert (row["by_verdict"]["recall"], row["undecided"] == 100.0) == (
                (0.0, True) if strange else (100.0, False)
            )
            assert ("boxes" in row) == (run.mode != "direct" and run.reasoning == "boxes")
            assert ("masks" in row) == (run.segmenter is not None and name == "magnetic-tile")
        direct = parts[f"{name}/{shots}/direct"]
        assert direct["by_score"] == {"ba": 100.0, "recall": 100.0, "false_alarms": 0.0}
        assert (
            parts[f"{name}/{shots}/calibrate"]["threshold"] == parts[f"{name}/{shots}/direct-calibrated"]["threshold"]
        )
    # Each photo once alone and once beside its reference, though six runs asked; the stopped run had asked the former.
    assert [len(request.images) for request, _ in engine.weighed].count(2) == 23 + 8
    assert set(parts[f"{name}/export"]) == set(NAMES)
    assert all("error" not in row for row in parts[f"{name}/export"].values())
    assert parts[f"{name}/export"]["coco"]["photos"] == {"anomalous": 4, "normal": 4}
    assert (f"{name}/eval-masks-grabcut" in parts) == (name == "magnetic-tile")

    capsys.readouterr()
    monkeypatch.setattr(real_sets, "load_engine", None)  # a finished run asks no model
    assert measure(plan) == parts
    assert capsys.readouterr().out.strip() == (tmp_path / "table.md").read_text(encoding="utf-8").strip()
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["parts"] == parts
    with pytest.raises(UsageError, match="other settings"):
        measure(Plan(SHARED, tmp_path, sets=(name,), limit=5))


@here
@pytest.mark.parametrize("name", ["deeppcb", "magnetic-tile"])
def test_no_board_and_no_tile_is_in_both_halves(name: str, tmp_path: Path) -> None:
    samples, _ = real_sets.samples_of(name, Plan(SHARED, tmp_path))
    photos = real_sets.DIVIDE[name](samples)
    sides = {side: {photo.group for photo in photos if photo.side == side} for side in real_sets.SIDES}
    assert all(sides.values())
    assert not sides["calibrate"] & sides["test"]
    group = {photo.sample.image: photo.group for photo in photos}
    pairs = [(group[photo.sample.image], group.get(path)) for photo in photos for path in photo.sample.references]
    assert all((one == other) == (name == "deeppcb") for one, other in pairs)  # a board's template; another tile
    shown = {path for photo in photos for path in photo.sample.references}
    assert name == "deeppcb" or not shown & {photo.sample.image for photo in photos}


def sample(image: str, *defects: Defect, category: str = "nut", held_out: bool = True) -> Sample:
    return Sample(
        id=image, dataset="d", category=category, split="test", image=image, task="anomaly", question="?",
        answer="Yes" if defects else "No", question_type="q", is_anomalous=bool(defects), defects=defects,
        held_out=held_out,
    )  # fmt: skip


def test_drawn_pictures_alternate_within_product_and_verdict() -> None:
    bad = Defect(type="crack")
    samples = [sample("a", bad), sample("b"), sample("c", bad), sample("d"), sample("e", held_out=False)]
    photos = real_sets.drawn([sample("f", bad, category="cloth"), *samples])
    assert {photo.sample.image: photo.side for photo in photos} == {
        "a": "test", "b": "test", "c": "calibrate", "d": "calibrate", "f": "test",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_saved_anew_has_the_same_pixels_and_other_bytes(tmp_path: Path, suffix: str) -> None:
    """Its own bytes would be no reference."""
    source, target = tmp_path / f"a{suffix}", tmp_path / "references" / "a.png"
    Image.effect_noise((30, 20), 60).convert("RGB").save(source)
    real_sets.save_anew(source, target)
    assert source.read_bytes() != target.read_bytes()
    with Image.open(source) as one, Image.open(target) as other:
        assert one.convert("RGB").tobytes() == other.tobytes()


def test_rates_by_hand() -> None:
    truth = [True, True, False, False, False, False]
    called, cleared = [True, False, True, False, False, False], [False, False, False, True, True, False]
    assert real_sets.rates(called, cleared, truth) == {"ba": 50.0, "recall": 50.0, "false_alarms": 25.0}


def mask(box: tuple[int, int, int, int]) -> Any:
    found = np.zeros((20, 20), dtype=bool)
    found[box[1] : box[3], box[0] : box[2]] = True
    return found


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    """A photo with two defects in one mask file, and a good one."""
    Image.fromarray(((mask((0, 0, 4, 4)) | mask((10, 10, 14, 20))) * 255).astype(np.uint8)).save(tmp_path / "m.png")
    defects = [Defect(type="hole", box=box, mask="m.png") for box in ((0.0, 0.0, 4.0, 4.0), (10.0, 10.0, 14.0, 20.0))]
    photos = [Photo(sample("bad.png", *defects), "test", "a"), Photo(sample("good.png"), "test", "b")]
    return Laid("nut", tmp_path, tmp_path, photos)


def record(image: str, *found: DetectedDefect, score: float | None = 0.6, **more: Any) -> Detection:
    return Detection(image=image, verdict="normal", width=20, height=20, score=score, defects=found, **more)


def test_masks_by_hand(laid: Laid) -> None:
    """The first defect gets half of its pixels right, the second no box, and a box on the good photo counts nowhere."""
    half = DetectedDefect(label="x", box=(0, 0, 4, 5), mask_rle=dict(rle.encode(mask((0, 0, 4, 2)))))
    stray = DetectedDefect(label="x", box=(0, 0, 4, 4), mask_rle=dict(rle.encode(mask((0, 0, 4, 4)))))
    found = real_sets.masks([record("bad.png", half), record("good.png", stray)], laid)["masks"]
    assert found == {"defects": 2, "met_by_a_box": 1, "iou": 0.25, "iou_of_the_filled_box": pytest.approx(0.4)}
    assert real_sets.masks([record("bad.png")], laid) == {}


def test_boxes_on_good_photos_are_false(laid: Laid) -> None:
    right = DetectedDefect(label="x", box=(0, 0, 4, 4))
    found = real_sets.boxes([record("bad.png", right), record("good.png", right)], laid)["boxes"]
    assert (found["f1@0.5"], found["predicted_boxes"], found["true_boxes"]) == (50.0, 2, 2)


def test_an_undecided_photo_is_neither(laid: Laid) -> None:
    bad = record("bad.png", threshold=0.5).model_copy(update={"verdict": "undecided"})
    good = record("good.png", score=0.5, threshold=0.5).model_copy(update={"verdict": "undecided"})
    found = real_sets.verdicts([bad, good], laid, 0)
    assert found["by_score"] == {"ba": 100.0, "recall": 100.0, "false_alarms": 0.0}
    assert found["by_verdict"] == {"ba": 0.0, "recall": 0.0, "false_alarms": 0.0}
    assert found["undecided"] == 100.0
    plain = real_sets.verdicts([bad.model_copy(update={"verdict": "anomalous"}), good], laid, 0)
    assert plain["interval_95"]["recall"] == [100.0, 100.0]
    failed = real_sets.verdicts([bad, record("good.png", score=None, error="torn")], laid, 0)
    assert (failed["errors"], failed["scores"], failed["by_score"]["ba"]) == (1, {}, 50.0)


def test_segmenters_need_names_of_their_own(tmp_path: Path) -> None:
    assert real_sets.label("runs/seg/model") == "seg"
    with pytest.raises(UsageError, match="same name"):
        measure(Plan(tmp_path, tmp_path / "out", segmenters=("a/seg", "b/seg"), sets=()))
