"""The four commands as the README writes them, in an empty folder, offline, with the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import iadr1
from iadr1.records import Detection, Prediction, read_records

pytest.importorskip("trl")
pytest.importorskip("cv2")

CHECKOUT = Path(iadr1.__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def call(folder: Path, *words: str) -> str:
    """Run one command as a user does; its output."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run(
        [sys.executable, "-m", "iadr1", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_prepare(folder: Path) -> None:
    sizes = ("--fewshot-images", "20", "--eval-images", "13", "--photos", "4")
    assert "data/fewshot.jsonl: 20 samples" in call(folder, "prepare", *sizes)
    assert len(list((folder / "images").rglob("*.*"))) == 4


def test_train_with_roam(folder: Path) -> None:
    call(folder, "train", "--reward", "roam", "--steps", "2", "batch_size=8", "generations=4", "save_steps=1")
    out = folder / "runs" / "train"
    steps = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(0 <= line["reward"] <= 1 for line in steps)
    assert (out / "reward_curve.png").stat().st_size > 1000
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]["reward"] == "roam"


def test_eval_mmad_with_the_trained_model(folder: Path) -> None:
    printed = call(folder, "eval", "mmad", "--limit", "40", "--model", "runs/train/model")
    assert "Average" in printed or "average" in printed
    out = folder / "runs" / "eval-mmad"
    predictions = list(read_records(out / "predictions.jsonl", Prediction))
    assert len(predictions) == 40
    # The embedded model and two small steps away from it: the format is kept.
    assert sum(p.answer is not None for p in predictions) >= 38
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["parse_rate"] >= 95


def test_detect_with_masks(folder: Path) -> None:
    call(folder, "detect", "images/", "--masks")
    out = folder / "runs" / "detect"
    records = list(read_records(out / "detections.jsonl", Detection))
    assert len(records) == 4
    for record in records:
        assert record.error is None
        assert record.verdict != "undecided"
        assert record.overlay is not None
        assert (out / record.overlay).is_file()
        for defect in record.defects:
            assert defect.mask is not None
            assert (out / defect.mask).is_file()
            x1, y1, x2, y2 = defect.box
            assert 0 <= x1 < x2 <= record.width
            assert 0 <= y1 < y2 <= record.height
    assert "</html>" in (out / "report.html").read_text(encoding="utf-8")
    again = call(folder, "detect", "images/", "--masks")
    assert "4 of them had a result from an earlier run" in again
