"""`calibrate`, and `detect` with what it wrote."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from iadr1.cli.app import app
from iadr1.config import CalibrateConfig, DetectConfig
from iadr1.errors import OutputError, UsageError
from iadr1.models.base import Request
from iadr1.records import Detection, read_records
from iadr1.stages import calibrate, detect
from iadr1.stages.inspection import Calibration, InspectSettings, Photo, References, read_calibration, setup
from iadr1.stages.inspection.calibrated import Way, way_of
from tests.stages.fake_engine import FakeEngine


class ByName(FakeEngine):
    """P(Yes) is the file's name in hundredths: `42.png` has 0.42."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        shares = [int(Path(request.id).stem) / 100 for request in requests]
        return [{"Yes": share, "No": 1 - share} for share in shares]


def _photos(folder: Path, *scores: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for score in scores:
        own = zlib.crc32(folder.name.encode()) % 256  # a copy of a photo is no reference
        Image.new("RGB", (30, 20), (score, 90, own)).save(folder / f"{score}.png")
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return _photos(tmp_path / "good", *range(1, 40))


def _config(good: Path, **values: object) -> CalibrateConfig:
    return CalibrateConfig(normals=good, out=good.parent / "calibration.json", **values)  # type: ignore[arg-type]


def test_threshold_counts_and_intervals(good: Path) -> None:
    bad = _photos(good.parent / "bad", 60, 80)
    for score in (10, 39):  # other photos than the good ones of these scores
        Image.new("RGB", (30, 20), (score, 0, 0)).save(bad / f"{score}.png")
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
        (0.0, "--fpr is 0.0, it must be above 0 and below 1"),
        (math.nan, "--fpr is nan, it must be above 0 and below 1"),
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
        UsageError,
        match=r"needs 19 normal photos.*holds 18 \(and 2 that could not be scored, the first: .*(7|50)\.png: ",
    ):
        calibrate.run(_config(good), engine=ByName())


def test_a_photo_is_not_good_and_bad(good: Path) -> None:
    with pytest.raises(UsageError, match="among the normals and among the anomalies"):
        calibrate.run(_config(good, anomalies=good / "3.png"), engine=ByName())


def test_a_copy_is_no_further_evidence(tmp_path: Path) -> None:
    good = _photos(tmp_path / "good", *range(1, 20))
    shutil.copy(good / "3.png", good / "98.png")
    summary = calibrate.run(_config(good), engine=ByName())
    assert (summary.calibration.normals, summary.calibration.scores.normals[-1]) == (19, 0.19)
    assert summary.copies == (f"{str(good / '98.png')!r} is a copy of {str(good / '3.png')!r}",)
    for score in range(2, 20):
        shutil.copy(good / "1.png", good / f"{score}.png")
    with pytest.raises(
        UsageError,
        match=r"holds 2 \(and 18 with the same bytes as others, the first: '.*/10\.png' is a copy of '.*/1\.png'\)",
    ):
        calibrate.run(_config(good), engine=ByName())


def test_copies_of_bad_photos_are_counted_once(good: Path) -> None:
    bad = _photos(good.parent / "bad", 60, 80)
    shutil.copy(bad / "80.png", bad / "81.png")
    summary = calibrate.run(_config(good, anomalies=bad), engine=ByName())
    assert (summary.calibration.anomalies, len(summary.copies)) == (2, 1)


def test_the_same_bytes_are_not_good_and_bad(good: Path) -> None:
    bad = _photos(good.parent / "bad", 60)
    shutil.copy(good / "3.png", bad / "77.png")
    engine = ByName()
    with pytest.raises(UsageError, match=r"3\.png', which has the same bytes as '.*77\.png', is among the normals and"):
        calibrate.run(_config(good, anomalies=bad), engine=engine)
    assert engine.weighed == []


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_scored(good: Path) -> None:
    class Never(ByName):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            raise AssertionError("a photo was scored")

    (good.parent / "file").write_text("x")
    config = dataclasses.replace(_config(good), out=good.parent / "file" / "calibration.json")
    with pytest.raises(OutputError, match=r"file/calibration.json: cannot write: .* \(name another --out\)"):
        calibrate.run(config, engine=Never())
    with pytest.raises(UsageError, match=r"--out '.*' is a folder \(name a file"):
        calibrate.run(dataclasses.replace(config, out=good.parent), engine=Never())


def test_settings_that_nothing_reads_are_refused(good: Path) -> None:
    for values, message in (
        ({"shots": 2}, "--shots 2 has no effect: add --references"),
        ({"base_url": "http://x"}, "--base-url http://x has no effect: it is for --engine server"),
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
        calibrate.run(_config(good, fpr=fpr, overwrite=True), engine=ByName())
        if number:
            with pytest.raises(UsageError, match="another run"):
                _detect(good, ByName())
        else:
            _detect(good, ByName())


def test_a_calibration_is_for_one_model_and_one_way_of_asking(good: Path) -> None:
    calibrate.run(_config(good), engine=ByName())
    other = ByName()
    other.fingerprint = "4567"
    again = r" \(run 'iadr1 calibrate' again with the settings of this run\)$"
    with pytest.raises(UsageError, match=rf"made with other weights: 'fake' 0123, here 4567{again}"):
        _detect(good, other)
    with pytest.raises(
        UsageError, match=rf"calibration\.json: the calibration was made with --tiles off, here 2x2{again}"
    ):
        _detect(good, ByName(), tiles="2x2")
    with pytest.raises(UsageError, match=r"--calibration .* has no effect: the mode 'think' goes by"):
        _detect(good, ByName(), mode="think")
    with pytest.raises(UsageError, match=r"--threshold 0\.3 has no effect: the calibration has one"):
        _detect(good, ByName(), threshold=0.3)
    assert not (good.parent / "out").exists()


def test_with_tiles_it_is_for_these_tiles_only(good: Path) -> None:
    class AnyLook(ByName):
        """Scores a tile as its photo."""

        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            whole = [dataclasses.replace(request, id=request.id.partition("#")[0]) for request in requests]
            return super().probabilities(whole, words)

    calibrate.run(_config(good, fpr=0.1, tiles="2x2"), engine=AnyLook())
    for tiles in ("off", "auto", "2x3"):
        with pytest.raises(UsageError, match=rf"--tiles 2x2, here {tiles} \(run 'iadr1 calibrate' again"):
            _detect(good, AnyLook(), tiles=tiles)
    records = _detect(good, AnyLook(), tiles="2x2")
    assert {(record.tiles, record.threshold) for record in records.values()} == {(5, 0.36)}


def test_it_is_for_one_engine_number_format_and_size_of_photos(good: Path) -> None:
    class Half(ByName):
        dtype = "bfloat16"

    calibrate.run(_config(good), engine=Half())
    other = Half()
    other.name, other.dtype = "vllm", "torch.float32"
    other.profile = dataclasses.replace(other.profile, max_pixels=448 * 448)
    told = (
        r"--engine fake, here vllm; --dtype bfloat16, here float32; photo sizes of another --family or processor: "
        r"qwen2_5_vl of 12544 to 12544 pixels, here qwen2_5_vl of 12544 to 200704 pixels \("
    )
    with pytest.raises(UsageError, match=told):
        _detect(good, other)
    assert len(_detect(good, Half())) == 3


def test_it_is_for_these_references_only(good: Path) -> None:
    shown = _photos(good.parent / "shown", 200, 201)
    other = _photos(good.parent / "other", 200)
    calibrate.run(_config(good, references=shown), engine=ByName())
    for references, told in (
        (other, r"--references with other files \(by names and contents: \w{16}, here \w{16}\) \("),
        (None, r"--shots 1, here 0; --references, here none \("),
    ):
        with pytest.raises(UsageError, match=told):
            _detect(good, ByName(), references=references)
    with pytest.raises(UsageError, match=r"made with --shots 1, here 2 \("):
        _detect(good, ByName(), references=shown, shots=2)
    moved = shutil.copytree(shown, good.parent / "moved")
    assert {record.references for record in _detect(good, ByName(), references=moved).values()} <= {
        ("200.png",),
        ("201.png",),
    }
    (moved / "201.png").write_bytes((moved / "200.png").read_bytes())
    with pytest.raises(UsageError, match="--references with other files"):
        _detect(good, ByName(), references=moved)


def test_pairs_of_photo_and_reference_may_be_other_pairs(good: Path) -> None:
    """As circuit boards beside their templates: new photos come with new references."""
    calibrate.run(_config(good, references=_photos(good.parent / "templates", *range(1, 40))), engine=ByName())
    fresh = _photos(good.parent / "fresh", 5, 36, 90)
    records = _detect(good, ByName(), references=fresh)
    assert {name: record.references for name, record in records.items()} == {name: (name,) for name in records}
    with pytest.raises(UsageError, match="--references with other files"):
        _detect(good, ByName(), references=_photos(good.parent / "one more", 5, 36, 90, 91))
    with pytest.raises(UsageError, match="--references with other files"):
        _detect(good, ByName(), references=_photos(good.parent / "one less", 5, 36))


def test_references_that_are_pairs_in_one_of_the_two_only_count_with_their_digest(good: Path) -> None:
    calibrate.run(_config(good, references=_photos(good.parent / "shown", 200, 201)), engine=ByName())
    pairs = _photos(good.parent / "pairs", 5, 36, 90)
    with pytest.raises(UsageError, match="--references with other files"):
        _detect(good, ByName(), references=pairs)


class _NeverBesideItself(ByName):
    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        for request in requests:
            *references, photo = request.images
            assert references, "nothing to compare with"
            assert all(shown.tobytes() != photo.tobytes() for shown in references), request.id
        return super().probabilities(requests, words)


@pytest.mark.parametrize("renamed", [False, True])
def test_no_photo_is_compared_with_a_copy_of_itself(good: Path, renamed: bool) -> None:
    """Else all scores are low and the threshold is void, and as pairs it would hold for any other references."""
    copies = good.parent / "copies"
    copies.mkdir()
    for score in range(1, 40):
        shutil.copy(good / f"{score}.png", copies / (f"{100 + score}.png" if renamed else f"{score}.png"))
    summary = calibrate.run(_config(good, references=copies), engine=_NeverBesideItself())
    assert (summary.among_references, summary.calibration.paired) == (39, False)
    fresh = _photos(good.parent / "fresh", 5, 36, 90)
    with pytest.raises(UsageError, match="--references with other files"):
        _detect(good, ByName(), references=fresh)
    other = calibrate.run(_config(good, references=fresh, overwrite=True), engine=_NeverBesideItself())
    assert other.among_references == 0


def test_how_many_references_are_damaged_is_said_before_the_model_is_loaded(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _photos(good.parent / "shown", 200, 201)
    (shown / "202.png").write_bytes(b"")
    lines: list[str] = []

    def load(name: str, model: str, options: object) -> FakeEngine:
        lines.append("loaded")
        return ByName()

    monkeypatch.setattr(setup, "load_engine", load)
    summary = calibrate.run(_config(good, references=shown), on_note=lines.append)
    told = f"{shown / '202.png'}: the file is empty (0 bytes)"
    assert lines == [
        f"1 of the references cannot be read and are left out, the first: {told}",
        "loading tiny ...",
        "loaded",
    ]
    assert (summary.damaged_references, summary.calibration.normals) == ((told,), 39)


def test_a_reference_that_two_photos_share_makes_no_pairs(good: Path) -> None:
    references = References(_photos(good.parent / "templates", 5))
    photos = [Photo(good / name, name, name) for name in ("5.png", "5.jpg")]
    assert references.paired(photos[:1])
    assert not references.paired(photos)
    assert not references.paired([])


def test_another_question_is_named(good: Path) -> None:
    path = calibrate.run(_config(good), engine=ByName()).out
    with pytest.raises(UsageError, match=r"another question or overlap of tiles: \w{16}, here other"):
        read_calibration(path, _way().model_copy(update={"digest": "other"}))


def _way() -> Way:
    return way_of(ByName(), InspectSettings(), None, ())


def test_a_file_of_an_older_version_is_refused_with_a_sentence(good: Path) -> None:
    path = calibrate.run(_config(good), engine=ByName()).out
    values = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("engine", "dtype")}
    path.write_text(json.dumps({**values, "version": 1}))
    with pytest.raises(UsageError, match=r"of an older iadr1: it does not say for which references.*'iadr1 calibrate'"):
        _detect(good, ByName())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 2}, "threshold: "),
        ({"band": [0.9, 0.1]}, "band"),
        ({"fingerprint": None}, "fingerprint: "),
        ({"version": 3}, "version: "),
        ({"references": None}, "references: "),
    ],
)
def test_a_file_that_was_changed_is_refused(good: Path, change: dict[str, object], message: str) -> None:
    path = calibrate.run(_config(good), engine=ByName()).out
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=rf"calibration.json: not a calibration: .*{message}"):
        read_calibration(path, _way())
    path.unlink()
    with pytest.raises(UsageError, match="cannot read the calibration"):
        read_calibration(path, _way())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"cannot read the calibration '.*other\.json': there is no such file \(--calibration names the file"),
        ("normals", r"not a calibration: it is no JSON \(--calibration names the file that 'iadr1 calibrate' wrote"),
        ('{"command": "detect", "config": {}}', r"not a calibration: it is what 'iadr1 detect' was run with \(--cal"),
        ("[1]", r"not a calibration: it holds no threshold \(--calibration names the file"),
    ],
)
def test_another_file_than_a_calibration_is_said_to_be_one(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=told):
        read_calibration(path, _way())


def test_a_folder_is_no_calibration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the calibration '.*': Is a directory \(--calibration names"):
        read_calibration(tmp_path, _way())


def test_a_stopped_run_goes_on_with_the_scores_it_has(good: Path) -> None:
    class Stopped(ByName):
        """Is interrupted at the third batch."""

        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            self.weighed += [(request, ()) for request in requests]
            if len(self.weighed) > 2 * len(requests):
                raise KeyboardInterrupt
            return super().probabilities(requests, words)

    class Counting(ByName):
        def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
            self.weighed += [(request, ()) for request in requests]
            return super().probabilities(requests, words)

    config = _config(good, fpr=0.1, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        calibrate.run(config, engine=Stopped())
    partial = good.parent / "calibration.partial.jsonl"
    assert (len(partial.read_text().splitlines()), config.out.exists()) == (16, False)
    with partial.open("a") as file:
        file.write('{"way": "ab')  # killed while it wrote

    other, again, lines, seen = Counting(), Counting(), list[str](), list[tuple[int, int]]()
    other.fingerprint = "4567"
    kept = partial.read_text()
    calibrate.run(dataclasses.replace(config, out=good.parent / "other.json"), engine=other)
    assert len(other.weighed) == 39
    assert partial.read_text() == kept
    calibrate.run(config, engine=other)
    assert len(other.weighed) == 2 * 39, "another model's scores are not taken"
    partial.write_text(kept)
    config.out.unlink()
    found = calibrate.run(config, engine=again, progress=lambda *at: seen.append(at), on_note=lines.append).calibration
    assert (len(again.weighed), seen[0], seen[-1]) == (39 - 16, (16, 39), (39, 39))
    assert lines == ["16 of the photos have their score from a run that was stopped"]
    assert not partial.exists()
    whole = calibrate.run(config, engine=ByName()).calibration
    assert found.model_copy(update={"created": ""}) == whole.model_copy(update={"created": ""})


def test_what_is_counted_adds_up_and_is_what_detect_says(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = _photos(good.parent / "bad", 60, 80)
    for score in (10, 39):  # below the band, and in it above the threshold
        Image.new("RGB", (30, 20), (score, 0, 0)).save(bad / f"{score}.png")
    monkeypatch.setattr(setup, "load_engine", lambda *_: ByName())
    out = good.parent / "calibration.json"
    words = ["calibrate", "--normals", str(good), "--anomalies", str(bad), "--fpr", "0.1", "--out", str(out)]
    output = CliRunner().invoke(app, words).output
    assert "anomalies  4: 2 anomalous, 1 undecided, 1 missed\n" in output
    assert "           above the threshold, undecided ones among them: 3, 19 to 99.4 % (exact 95 %)" in output
    found = Calibration.model_validate_json(out.read_text())
    counts = found.verdicts(found.scores.normals)
    assert sum(counts.values()) == 39
    normals = f"{counts['anomalous']} anomalous, {counts['undecided']} undecided, {counts['normal']} normal"
    assert f"normals    39: {normals}\n" in output
    assert (
        f"good photos: {normals}; bad: 2 anomalous, 1 undecided, 1 missed; above the threshold, undecided" in found.told
    )
    assert found.undecided_normals == counts["undecided"]


def test_the_option_whose_folder_is_not_there_is_named(good: Path) -> None:
    nowhere = good.parent / "nowhere"
    with pytest.raises(UsageError, match=r"no folder or file '.*nowhere' \(--normals names a folder of photos of good"):
        calibrate.run(_config(nowhere), engine=ByName())
    with pytest.raises(
        UsageError, match=r"no folder or file '.*nowhere' \(--anomalies names a folder of photos of bad"
    ):
        calibrate.run(_config(good, anomalies=nowhere), engine=ByName())


def test_no_budget_is_proposed_that_nobody_wants(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds 1 \(add 18 more\)$"):
        calibrate.run(_config(_photos(tmp_path / "good", 1)), engine=ByName())


def test_only_photos_of_a_pattern_are_scored_and_other_files_are_counted(good: Path) -> None:
    (good / "x.heic").touch()
    summary = calibrate.run(_config(good, fpr=0.1, glob="[12]*"), engine=ByName())
    assert (summary.calibration.normals, summary.left_out) == (22, {})
    assert calibrate.run(_config(good, fpr=0.1, overwrite=True), engine=ByName()).left_out == {".heic": 1}


class Trembling(ByName):
    """Whose scores come out otherwise in the last digits."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        return [{word: share * (1 - 1e-9) for word, share in given.items()}
                for given in super().probabilities(requests, words)]  # fmt: skip


def test_a_calibration_that_says_something_else_is_not_replaced_unasked(good: Path) -> None:
    def kept(message: str, config: CalibrateConfig, engine: FakeEngine | None) -> None:
        with pytest.raises(UsageError, match=message):
            calibrate.run(config, engine=engine)
        assert config.out.read_text() == there

    config = _config(good, fpr=0.1)
    assert not calibrate.run(config, engine=ByName()).unchanged
    there = config.out.read_text()
    more = r" \(name another --out, or replace it with --overwrite\)$"
    held = r"--out '.*calibration\.json' holds another calibration: "
    # Before the model is loaded: `replay` would fail for want of a file.
    unloaded = {"engine": "replay", "model": "nowhere.jsonl"}
    kept(rf"{held}for --fpr 0\.1, here 0\.2{more}", _config(good, fpr=0.2, **unloaded), None)
    few = _photos(good.parent / "few", *range(1, 12))
    kept(rf"{held}of 39 normal and 0 bad photos, here are 11 and 0{more}", _config(few, fpr=0.1, **unloaded), None)
    kept(rf"{held}.*with --tiles off, here 2x2{more}", _config(good, fpr=0.1, tiles="2x2"), ByName())
    other = _photos(good.parent / "other", *range(50, 90))
    kept(rf"{held}of other photos, to judge by their scores{more}", _config(other, fpr=0.1), ByName())
    scored = (good.parent / "calibration.partial.jsonl").read_text().splitlines()
    assert len(scored) == 1, "at the first score that is none of its own"
    # All scores are known, and still it is another one: 40 photos of which one score comes twice.
    twice = shutil.copytree(good, good.parent / "twice")
    Image.new("RGB", (30, 20), (3, 3, 3)).save(_photos(twice / "deep") / "7.png")
    kept(rf"{held}of other photos, to judge by their scores{more}", _config(twice, fpr=0.1), ByName())
    again = calibrate.run(config, engine=ByName())
    assert (again.unchanged, config.out.read_text()) == (True, there)
    (good.parent / "calibration.partial.jsonl").unlink(missing_ok=True)
    again = calibrate.run(config, engine=Trembling())  # as batches of another size do
    assert (again.unchanged, config.out.read_text()) == (True, there)
    assert not calibrate.run(dataclasses.replace(_config(other, fpr=0.1), overwrite=True), engine=ByName()).unchanged
    assert config.out.read_text() != there


def test_a_file_that_is_no_calibration_is_not_replaced_unasked(good: Path) -> None:
    config = _config(good, fpr=0.1)
    config.out.write_text('{"mine": 1}')
    with pytest.raises(UsageError, match=r"--out is there already: not a calibration: it holds no threshold \(name"):
        calibrate.run(config, engine=ByName())
    assert config.out.read_text() == '{"mine": 1}'
