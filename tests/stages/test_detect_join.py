"""Shards joined into one folder: equal to a run of one machine, and refused where they do not belong together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from iadr1.config import DetectConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from iadr1.stages.detect import joining as room
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine

NAMES = ("a.png", "b.png", "c/d.png", "e.png", "f.png", "g.png", "h.png")
OF = 3


class _Engine(FakeEngine):
    def __init__(self) -> None:
        super().__init__({"b.png": NORMAL, "e.png": "hm"}, default=BAD)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (112, 112), (150, 150, 100 + number))
        ImageDraw.Draw(picture).line((35, 35, 50, 75), fill=(20, 20, 20), width=4)
        picture.save(path)
    (tmp_path / "images" / "broken.png").write_bytes(b"")
    (tmp_path / "good").mkdir()
    Image.new("RGB", (112, 112), (150, 150, 150)).save(tmp_path / "good" / "a.png")
    return tmp_path / "images"


def _config(images: Path, out: str = "out", **values: Any) -> DetectConfig:
    return DetectConfig(images=images, out=images.parent / out, **values)


def _run(images: Path, out: str = "out", **values: Any) -> None:
    asked = {"mode": "think", "masks": True, "references": images.parent / "good", "report": False, **values}
    segmenter = {"segmenter": "grabcut"} if asked["masks"] else {}  # the quickest
    detect.run(_config(images, out, **asked, **segmenter), engine=_Engine())


def _shards(images: Path, **values: Any) -> Path:
    for number in range(1, OF + 1):
        _run(images, shard=f"{number}/{OF}", **values)
    return images.parent / "out"


def _records(out: Path) -> list[Detection]:
    records = read_records(out / "detections.jsonl", Detection)
    return [record.model_copy(update={"seconds": 0.0}) for record in records]


def _files(out: Path) -> dict[str, bytes]:
    folders = (out / "masks", out / "overlays")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_joined_shards_are_what_one_run_leaves(images: Path) -> None:
    out = _shards(images)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    seen: list[tuple[int, int]] = []
    summary = detect.run(_config(images, join=True, language="de"), progress=lambda *done: seen.append(done))
    _run(images, "whole")
    whole = images.parent / "whole"
    assert _records(out) == _records(whole)
    assert _files(out) == _files(whole)
    assert (out / "summary.csv").read_text() == (whole / "summary.csv").read_text()
    assert (summary.counts, summary.errors, summary.joined) == ({"anomalous": 5, "normal": 1, "undecided": 2}, 1, OF)
    assert seen == [(done, 8) for done in range(9)]
    one, other = (json.loads((place / "run.json").read_text()) for place in (out, whole))
    for name in ("run_key", "counts", "errors", "without_reference", "asked", "command"):
        assert one[name] == other[name], name
    assert one["joined"] == [f"shard-{number}-of-{OF}" for number in range(1, OF + 1)]
    assert one["config"]["shard"] is None
    # The shards stay as they are.
    assert {path: path.read_bytes() for path in before} == before


def test_the_report_of_all_shards_is_as_that_of_one_run(images: Path) -> None:
    out = _shards(images)
    detect.run(_config(images, join=True))
    _run(images, "whole", report=True)
    reports = [(place / "report.html").read_text() for place in (out, images.parent / "whole")]
    for text in reports:
        assert "8</b>" in text
        assert "embedded" in text
    start = '<script type="application/json" id="'
    one, other = (
        [part.partition(">")[2].replace("/out/", "/whole/") for part in text.split(start)[3:]] for text in reports
    )
    assert one == other, "thumbnails and photos"


def test_one_run_goes_on_in_a_joined_folder(images: Path) -> None:
    out = _shards(images)
    detect.run(_config(images, join=True))
    (images / "broken.png").unlink()
    Image.new("RGB", (112, 112)).save(images / "broken.png")
    engine = _Engine()
    config = _config(images, mode="think", masks=True, segmenter="grabcut", references=images.parent / "good")
    summary = detect.run(config, engine=engine)
    assert [request.id for request in engine.asked] == ["broken.png"]
    assert (summary.errors, sum(summary.counts.values())) == (0, 8)
    assert not _records(out)[-1].error


def test_a_photo_that_was_tried_again_is_joined_too(images: Path) -> None:
    out = _shards(images)
    Image.new("RGB", (112, 112)).save(images / "broken.png")
    _shards(images)
    assert detect.run(_config(images, join=True)).errors == 0
    assert sorted(record.image for record in _records(out)) == sorted([*NAMES, "broken.png"])


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_join_that_was_stopped_is_made_again(images: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    out = _shards(images)
    copy = room._copy
    copied: list[Path] = []

    def stopped(source: Path, target: Path) -> None:
        if len(copied) == after:
            raise KeyboardInterrupt
        copied.append(target)
        copy(source, target)

    monkeypatch.setattr(room, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        detect.run(_config(images, join=True))
    assert not (out / "detections.jsonl").exists()
    monkeypatch.setattr(room, "_copy", copy)
    detect.run(_config(images, join=True))
    _run(images, "whole")
    assert _records(out) == _records(images.parent / "whole")
    assert _files(out) == _files(images.parent / "whole")
    assert not list(out.rglob("*.tmp"))


def _gone(name: str) -> Callable[[Path], None]:
    return lambda out: shutil.rmtree(out / name)


def _changed(name: str, **values: Any) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        path = out / name / "run.json"
        found = json.loads(path.read_text())
        for key, value in values.items():
            if value is None:
                del found[key]
            else:
                found[key] = {**found[key], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(found))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_gone("shard-2-of-3"), "missing: shard-2-of-3 .*--shard 2/3"),
        (lambda out: [_gone(f"shard-{number}-of-3")(out) for number in (1, 3)], "missing: shard-1-of-3, shard-3-of-3"),
        (shutil.rmtree, "no shards in"),
        (lambda out: (out / "shard-1-of-4").mkdir(), "several runs: shard-1-of-3, shard-1-of-4"),
        (lambda out: (out / "shard-3-of-3" / "run.json").unlink(), "missing: shard-3-of-3"),
        (_changed("shard-3-of-3", counts=None), "not at its end: shard-3-of-3"),
        (_changed("shard-2-of-3", config={"shard": "1/3"}), "it is not the run of shard-2-of-3"),
        (_changed("shard-2-of-3", command="eval"), "it is not the run of shard-2-of-3"),
        (_changed("shard-2-of-3", run_key={"model": "other"}), "different runs: model fake and other"),
    ],
)
def test_what_does_not_belong_together_is_refused_by_name(
    images: Path, spoil: Callable[[Path], object], message: str
) -> None:
    out = _shards(images)
    spoil(out)
    with pytest.raises(UsageError, match=message):
        detect.run(_config(images, join=True))
    assert not (out / "run.json").exists()


def test_other_weights_are_another_run(images: Path) -> None:
    out = _shards(images)
    _run(images, shard="2/3", overwrite=True, max_new_tokens=99)
    with pytest.raises(UsageError, match=r"shard-2-of-3 are of different runs: max-new-tokens 512 and 99 \("):
        detect.run(_config(images, join=True))
    assert not (out / "detections.jsonl").exists()


def test_photos_that_came_or_moved_meanwhile_are_named(images: Path) -> None:
    out = _shards(images)
    Image.new("RGB", (112, 112)).save(images / "new.png")
    with pytest.raises(UsageError, match=r"1 of the photos in no shard: new.png .*--overwrite"):
        detect.run(_config(images, join=True))
    (images / "new.png").unlink()
    one, other = (out / f"shard-{number}-of-3" / "detections.jsonl" for number in (1, 2))
    line = other.read_text().splitlines()[0]
    one.write_text(one.read_text() + line + "\n")
    name = json.loads(line)["image"]
    with pytest.raises(UsageError, match=rf"photos in shard-1-of-3 and in shard-2-of-3: {name}"):
        detect.run(_config(images, join=True))


def test_a_lost_mask_is_named(images: Path) -> None:
    out = _shards(images)
    lost = next((out / "shard-1-of-3" / "masks").rglob("*.png"))
    lost.unlink()
    with pytest.raises(DataError, match=str(lost)):
        detect.run(_config(images, join=True))


def test_a_full_disk_is_one_clear_line_and_the_join_is_made_again(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _shards(images)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="cannot copy: No space left on device"):
        detect.run(_config(images, join=True))
    monkeypatch.undo()
    assert detect.run(_config(images, join=True)).joined == OF
    assert len(_records(out)) == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shard": "1/3"}, "--shard 1/3 has no effect: --join"),
        ({"masks": True}, "--masks has no effect"),
        ({"glob": "a*"}, "--glob"),
        ({"language": "fr"}, "no report in the language 'fr'"),
        ({"language": "de", "report": False}, "no report is written"),
    ],
)
def test_settings_that_joining_does_not_read(images: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detect.run(_config(images, **{"join": True, **values}))


def test_the_results_of_another_run_are_not_replaced_unless_asked(images: Path) -> None:
    out = _shards(images)
    _run(images, max_new_tokens=7)
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="holds the results of another run"):
        detect.run(_config(images, join=True))
    assert detect.run(_config(images, join=True, overwrite=True)).joined == OF
    assert (out / "mine.txt").read_text() == "kept"


def test_what_was_tried_again_is_not_replaced_by_a_second_join(images: Path) -> None:
    out = _shards(images, masks=False)
    detect.run(_config(images, join=True))
    detect.run(_config(images, join=True))  # nothing has happened since
    Image.new("RGB", (112, 112)).save(images / "broken.png")
    _run(images, masks=False)
    before = (out / "detections.jsonl").read_bytes()
    own = r"holds what a run without --shard has found.*go on in it with the same command without --join.*--overwrite"
    with pytest.raises(UsageError, match=own):
        detect.run(_config(images, join=True))
    assert (out / "detections.jsonl").read_bytes() == before
    assert _records(out)[-1].error is None
    _run(images, masks=False)  # as the message says
    assert detect.run(_config(images, join=True, overwrite=True)).errors == 1


def test_a_run_of_its_own_is_not_replaced_by_its_shards(images: Path) -> None:
    out = _shards(images, masks=False)
    _run(images, masks=False)
    before = (out / "detections.jsonl").read_bytes()
    with pytest.raises(UsageError, match="holds what a run without --shard has found"):
        detect.run(_config(images, join=True))
    assert (out / "detections.jsonl").read_bytes() == before


def test_other_photos_of_the_same_names_are_not_shown_beside_the_verdicts(images: Path) -> None:
    out = _shards(images, masks=False)
    other = images.parent / "other"
    for name in NAMES:
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (112, 112), (1, 2, 3)).save(other / name)
    told = r"7 of the photos in '.*other' are not those that the shards looked at: a.png, b.png, c/d.png \.\.\."
    with pytest.raises(
        UsageError, match=rf"{told} \(name the folder that they looked at, '.*images'; or detect with --shard again"
    ):
        detect.run(_config(other, join=True))
    assert not (out / "run.json").exists()
    moved = shutil.copytree(images, images.parent / "moved")  # the same photos
    assert detect.run(_config(moved, join=True)).joined == OF


def test_a_photo_changed_since_is_looked_at_again_first(images: Path) -> None:
    _shards(images, masks=False)
    Image.new("RGB", (112, 112)).save(images / "e.png")
    with pytest.raises(
        UsageError, match=r"1 of the photos in '.*' are not those that .* looked at: e.png \(detect with --shard"
    ):
        detect.run(_config(images, join=True))
    _shards(images, masks=False)
    assert detect.run(_config(images, join=True)).joined == OF


def test_figures_and_versions_of_all_shards_are_joined(images: Path) -> None:
    out = _shards(images, masks=False)
    runs = [out / f"shard-{number}-of-{OF}" / "run.json" for number in range(1, OF + 1)]
    for number, path in enumerate(runs):
        run = json.loads(path.read_text())
        run["report_head"]["Versions"] = ("iadr1 1", "iadr1 2", "iadr1 1")[number]
        run["no_score"] = "no log-probabilities" if number == 1 else None
        run["among_references"] = number
        run["damaged_references"] = [f"{name}: damaged" for name in ("ab", "bc", "")[number]]
        path.write_text(json.dumps(run))
    summary = detect.run(_config(images, join=True))
    assert summary.no_score == "no log-probabilities"
    assert (summary.among_references, summary.damaged_references) == (3, ("a: damaged", "b: damaged", "c: damaged"))
    run = json.loads((out / "run.json").read_text())
    assert run["report_head"]["Versions"] == "iadr1 1; iadr1 2"
    assert (run["no_score"], run["among_references"]) == ("no log-probabilities", 3)
    assert "no log-probabilities" in (out / "report.html").read_text()


def test_the_pattern_of_the_shards_counts(images: Path) -> None:
    _shards(images, glob="[a-e]*")
    assert sum(detect.run(_config(images, join=True)).counts.values()) == 5
