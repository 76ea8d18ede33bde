"""`iadr1 train-segmenter` as a whole: what it leaves behind, and that a kill costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from iadr1.errors import DataError, UsageError
from iadr1.images import open_image
from iadr1.masks import load_segmenter
from iadr1.records import read_records
from iadr1.stages import segmenter
from iadr1.stages.segmenter import SegmenterStep
from iadr1.stages.training.segmenting import check_segmenter
from tests.segmenter.world import make, small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("straight")
    segmenter.run(small(data, out))
    return out


def _weights(out: Path) -> dict[str, Any]:
    return {name: value.numpy() for name, value in load_file(out / "model" / "model.safetensors").items()}


def _log(out: Path) -> list[SegmenterStep]:
    return list(read_records(out / "log.jsonl", SegmenterStep))


def test_a_run_leaves_a_segmenter_a_log_and_its_settings(finished: Path, data: Path) -> None:
    info = json.loads((finished / "run.json").read_text())
    assert (info["command"], info["state"], info["steps"]) == ("train-segmenter", "finished", 6)
    assert info["defects"] == {"scratch": 3, "stain": 3}
    assert list(info["data"]) == [str(data)]
    log = _log(finished)
    assert [entry.step for entry in log] == [1, 2, 3, 4, 5, 6]
    assert log[1].learning_rate == pytest.approx(1e-3)
    assert info["iou"] == log[-1].iou
    drawn = load_segmenter(str(finished / "model"), device="cpu")
    (result,) = drawn.segment(open_image(data.parent / "0.png"), [(10.0, 10.0, 30.0, 30.0)])
    assert result.mask.shape == (48, 60)
    assert not result.mask[:, 40:].any()  # a fifth beyond the box at most
    assert json.loads((finished / "model" / "config.json").read_text())["box_crop"] == {
        "context": 1.5,
        "stretch": 2.0,
        "min_side": 32,
        "reach": 0.2,
        "threshold": -0.5,
    }
    assert {value.dtype for value in _weights(finished).values()} == {np.dtype(np.float16)}


def test_a_finished_run_is_not_done_again(finished: Path, data: Path) -> None:
    before = (finished / "log.jsonl").stat().st_mtime_ns
    notes: list[str] = []
    summary = segmenter.run(small(data, finished), on_note=notes.append)
    assert summary.already_finished
    assert (summary.steps, summary.resumed_from, notes) == (6, None, [])
    assert (finished / "log.jsonl").stat().st_mtime_ns == before


KILLED = """
import os, signal, sys
from pathlib import Path
from iadr1.stages import segmenter
from tests.segmenter.world import small

def stop(figures):
    if figures["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)

segmenter.run(small(Path(sys.argv[1]), Path(sys.argv[2])), on_step=stop)
"""


def test_a_killed_run_ends_at_the_weights_of_a_straight_one(finished: Path, data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(data), str(tmp_path)],
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert killed.returncode == -signal.SIGKILL
    assert [entry.step for entry in _log(tmp_path)] == [1, 2, 3, 4]  # it was killed before the fifth was written down
    notes: list[str] = []
    summary = segmenter.run(small(data, tmp_path), on_note=notes.append)
    assert (summary.resumed_from, summary.already_finished, summary.steps) == (4, False, 6)
    assert "goes on from step 4" in notes
    straight, resumed = _weights(finished), _weights(tmp_path)
    # In float16; two processes may share a sum among different numbers of threads.
    assert all(np.allclose(straight[name], resumed[name], rtol=0, atol=1e-3) for name in straight)
    for ours, theirs in zip(_log(tmp_path), _log(finished), strict=True):
        assert ours.step == theirs.step
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-3)


def test_a_folder_of_other_settings_or_data_is_left_alone(finished: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"another run: seed 0 -> 1, jitter 0.15 -> 0.1|another run: jitter.*seed"):
        segmenter.run(small(data, finished, seed=1, jitter=0.1))
    with pytest.raises(UsageError, match="resume=never"):
        segmenter.run(small(data, finished, resume="never"))
    (tmp_path / "run.json").write_text(json.dumps({"command": "sft", "config_hash": "", "config": {}, "data": {}}))
    with pytest.raises(UsageError, match="belongs to a run of 'iadr1 sft'"):
        segmenter.run(small(data, tmp_path))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"not a run\.json of iadr1"):
        segmenter.run(small(data, tmp_path))
    (tmp_path / "run.json").unlink()
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match=r"a model, but no run\.json"):
        segmenter.run(small(data, tmp_path))


def test_changed_data_are_told(data: Path, tmp_path: Path) -> None:
    mine = make(tmp_path / "data")
    config = small(mine, tmp_path / "out", steps=1, save_steps=1)
    segmenter.run(config)
    lines = mine.read_text().splitlines(keepends=True)
    mine.write_text("".join(lines[:-1]))
    with pytest.raises(UsageError, match=r"samples\.jsonl has changed"):
        segmenter.run(config)


LOCKED = """
import sys, time
from pathlib import Path
from iadr1.stages.segmenter.folder import claimed
from tests.segmenter.world import small

with claimed(small(Path(sys.argv[1]), Path(sys.argv[2]))):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_train_in_one_folder(data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(data), str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(UsageError, match="another process is training"):
            segmenter.run(small(data, tmp_path))
    finally:
        other.kill()
        other.wait()


def test_a_run_goes_on_from_another_at_another_side(finished: Path, data: Path, tmp_path: Path) -> None:
    config = small(
        data, tmp_path, init=finished / "model", side=128, width=16, steps=1, save_steps=1, learning_rate=1e-9
    )
    summary = segmenter.run(config)
    info = json.loads((tmp_path / "run.json").read_text())
    assert str(finished / "model" / "model.safetensors") in info["data"]
    before, after = _weights(finished), _weights(summary.out)
    assert all(np.allclose(before[name], after[name], atol=1e-3) for name in before)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps is 0, it must be at least 1"),
        ({"side": 100}, "side is 100, it must be a multiple of 64"),
        ({"hidden": 0}, "hidden is 0, it must be a multiple of 32"),
        ({"width": 12}, "width is 12, it must be a multiple of 8"),
        ({"jitter": 0.5}, "jitter is 0.5, it must be below 0.5"),
        ({"average": 1.0}, "average is 1.0, it must be below 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, it must be above 0"),
        ({"context": float("nan")}, "context is nan, it must be at least 1"),
        ({"save_steps": 3, "log_steps": 2}, r"save_steps is 3, it must be a multiple of log_steps \(2\)"),
        ({"resume": "maybe"}, "resume is 'maybe'"),
        ({"shares": (1.0, 2.0)}, "1 data files and 2 shares"),
        ({"shares": (0.0,)}, r"1 data files and 1 shares \[0.0\]"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_segmenter(small(Path("a.jsonl"), Path("out"), **setting))


def test_shares_add_up_to_one() -> None:
    assert check_segmenter(small((Path("a"), Path("b")), Path("out"), shares=(3.0, 1.0))) == (0.75, 0.25)
    assert check_segmenter(small((Path("a"), Path("b")), Path("out"))) == (0.5, 0.5)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no samples file .*nothing\.jsonl"):
        segmenter.run(small(tmp_path / "nothing.jsonl", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
