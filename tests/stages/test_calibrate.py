"""`calibrate`, and `detect` with what it wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from iadr1.config import CalibrateConfig, DetectConfig
from iadr1.errors import UsageError
from iadr1.models.base import Request
from iadr1.records import Detection, read_records
from iadr1.stages import calibrate, detect
from iadr1.stages.inspection import Calibration, read_calibration
from tests.stages.fake_engine import FakeEngine


class ByName(FakeEngine):
    """P(Yes) is the file's name in hundredths: `42.png` has 0.42."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        shares = [int(Path(request.id).stem) / 100 for request in requests]
        return [{"Yes": share, "No": 1 - share} for share in shares]


def _photos(folder: Path, *scores: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for score in scores:
        Image.new("RGB", (30, 20), (90, 90, 90)).save(folder / f"{score}.png")
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return _photos(tmp_path / "good", *range(1, 40))


def _config(good: Path, **values: object) -> CalibrateConfig:
    return CalibrateConfig(normals=good, out=good.parent / "calibration.json", **values)  # type: ignore[arg-type]


def test_threshold_counts_and_intervals(good: Path) -> None:
    bad = _photos(good.parent / "bad", 10, 39, 60, 80)
    summary = calibrate.run(_config(good, fpr=0.1, anomalies=bad), engine=ByName())
    found = summary.calibration
    # The ceil(40 * 0.9) = 36th of 39.
    assert (found.threshold, found.false_alarms, found.normals, found.normals_needed) == (0.36, 3, 39, 9)
    assert (found.anomalies, found.found) == (4, 3)
    assert found.band[0] < 0.36 < found.band[1] <= 0.39
    assert found.undecided_normals == round(100 * (found.band[1] - found.band[0])) + 1
    assert found.recall_interval_95 == pytest.approx((0.194, 0.994), abs=1e-3)
    assert found.fpr_interval_95[0] < 3 / 39 < found.fpr_interval_95[1]
    assert Calibration.model_validate_json(summary.out.read_text()) == found
    assert list(found.scores.anomalies) == [0.1, 0.39, 0.6, 0.8]


@pytest.mark.parametrize(
    ("fpr", "message"),
    [
        (0.02, r"--fpr 0.02 needs 49 normal photos, '.*good' holds 39 \(add 10 more, or claim --fpr 0.026\)"),
        (0.0, "fpr is 0.0, it must be above 0 and below 1"),
        (1.0, "must be above 0 and below 1"),
    ],
)
def test_a_claim_that_cannot_be_made_is_refused(good: Path, fpr: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibrate.run(_config(good, fpr=fpr), engine=ByName())
    assert not (good.parent / "calibration.json").exists()
    calibrate.run(_config(good, fpr=0.026), engine=ByName())


def test_a_photo_that_cannot_be_read_is_left_out_and_does_not_count(tmp_path: Path) -> None:
    good = _photos(tmp_path / "good", *range(1, 20))
    (good / "50.png").write_bytes(b"")
    summary = calibrate.run(_config(good), engine=ByName())
    assert (summary.calibration.normals, len(summary.errors)) == (19, 1)
    (good / "7.png").write_bytes(b"")
    with pytest.raises(
        UsageError, match=r"needs 19 normal photos.*holds 18 \(and 2 that could not be scored.*7.png|50"
    ):
        calibrate.run(_config(good), engine=ByName())


def test_a_photo_is_not_good_and_bad(good: Path) -> None:
    with pytest.raises(UsageError, match="among the normals and among the anomalies"):
        calibrate.run(_config(good, anomalies=good / "3.png"), engine=ByName())


def test_settings_that_nothing_reads_are_refused(good: Path) -> None:
    for values, message in (
        ({"shots": 2}, "--shots 2 would not be read: add --references"),
        ({"base_url": "http://x"}, "--base-url http://x would not be read: it is for --engine server"),
        ({"tiles": "x"}, "tiles is 'x'"),
    ):
        with pytest.raises(UsageError, match=message):
            calibrate.run(_config(good, **values), engine=ByName())


def _detect(good: Path, engine: FakeEngine, **values: object) -> dict[str, Detection]:
    photos = _photos(good.parent / "photos", 5, 36, 90)
    config = DetectConfig(
        images=photos,
        out=good.parent / "out",
        calibration=good.parent / "calibration.json",
        **{"mode": "direct", **values},  # type: ignore[arg-type]
    )
    summary = detect.run(config, engine=engine)
    return {record.image: record for record in read_records(summary.out / "detections.jsonl", Detection)}


def test_detect_takes_threshold_and_band_from_it(good: Path) -> None:
    found = calibrate.run(_config(good, fpr=0.1), engine=ByName()).calibration
    records = _detect(good, ByName())
    assert {name: record.verdict for name, record in records.items()} == {
        "5.png": "normal",
        "36.png": "undecided",
        "90.png": "anomalous",
    }
    assert {(record.threshold, record.calibration) for record in records.values()} == {(0.36, found.key)}
    assert found.key in (good.parent / "out" / "report.html").read_text(encoding="utf-8")


def test_another_calibration_does_not_go_on_in_the_same_folder(good: Path) -> None:
    for number, fpr in enumerate((0.1, 0.2)):
        calibrate.run(_config(good, fpr=fpr), engine=ByName())
        if number:
            with pytest.raises(UsageError, match="another run"):
                _detect(good, ByName())
        else:
            _detect(good, ByName())


def test_a_calibration_is_for_one_model_and_one_way_of_asking(good: Path) -> None:
    found = calibrate.run(_config(good), engine=ByName()).calibration
    other = ByName()
    other.fingerprint = "4567"
    with pytest.raises(
        UsageError, match=r"'fake' with the fingerprint 0123, this one's is 4567 \(run 'iadr1 calibrate'"
    ):
        _detect(good, other)
    with pytest.raises(UsageError, match=rf"asked about as {found.digest}, here .* \w{{16}} "):
        _detect(good, ByName(), tiles="2x2")
    with pytest.raises(UsageError, match=r"--calibration .* would not be read: the mode 'think' goes by"):
        _detect(good, ByName(), mode="think")
    with pytest.raises(UsageError, match=r"--threshold 0\.3 would not be read: the calibration has one"):
        _detect(good, ByName(), threshold=0.3)
    assert not (good.parent / "out").exists()


def test_with_tiles_it_is_for_these_tiles_only(good: Path) -> None:
    class AnyLook(ByName):
        """Scores a tile as its photo."""

        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            whole = [dataclasses.replace(request, id=request.id.partition("#")[0]) for request in requests]
            return super().probabilities(whole, words)

    found = calibrate.run(_config(good, fpr=0.1, tiles="2x2"), engine=AnyLook()).calibration
    for tiles in ("off", "auto", "2x3"):
        with pytest.raises(UsageError, match=rf"asked about as {found.digest}, .* --shots and --tiles of this run"):
            _detect(good, AnyLook(), tiles=tiles)
    records = _detect(good, AnyLook(), tiles="2x2")
    assert {(record.tiles, record.threshold) for record in records.values()} == {(5, 0.36)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 2}, "threshold: "),
        ({"band": [0.9, 0.1]}, "band"),
        ({"fingerprint": None}, "fingerprint: "),
        ({"version": 2}, "version: "),
    ],
)
def test_a_file_that_was_changed_is_refused(good: Path, change: dict[str, object], message: str) -> None:
    path = calibrate.run(_config(good), engine=ByName()).out
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=rf"calibration.json: not a calibration: .*{message}"):
        read_calibration(path, fingerprint="0123", digest="")
    path.unlink()
    with pytest.raises(UsageError, match="cannot read the calibration"):
        read_calibration(path, fingerprint="0123", digest="")
