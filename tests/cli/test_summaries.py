"""What the commands print at the end: figures and the paths of what was written, and the exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from iadr1 import cli
from iadr1.cli import detect, train
from iadr1.config import SftConfig
from iadr1.records import DetectedDefect, Detection, Sample, write_records
from iadr1.stages.detect import DetectSummary
from iadr1.stages.grpo import TrainSummary
from iadr1.stages.model import MergeSummary
from iadr1.stages.sft import SftSummary


def scratch(area_px: int) -> DetectedDefect:
    return DetectedDefect(label="scratch", box=(0, 0, 9, 9), area_px=area_px)


def test_detect_names_the_worst_first_and_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        Detection(image="good.png", verdict="normal", score=0.99),
        Detection(image="small.png", verdict="anomalous", score=0.7, defects=(scratch(3),)),
        Detection(image="large.png", verdict="anomalous", score=0.7, defects=(scratch(30),)),
        Detection(image="sure.png", verdict="anomalous", score=0.9, defects=(scratch(1), scratch(1))),
        Detection(image="broken.png", verdict="undecided", error="broken.png: the file is empty (0 bytes)"),
    ]
    write_records(tmp_path / "detections.jsonl", records)
    counts = {"anomalous": 3, "normal": 1, "undecided": 1}
    detect._print_summary(DetectSummary(counts=counts, errors=1, out=tmp_path, skipped=2))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "5 photos: 3 anomalous, 1 normal, 1 undecided (1 could not be looked at)",
        "2 of them had a result from an earlier run",
        "worst   sure.png  score 0.90, scratch",
        "        large.png  score 0.70, scratch",
        "        small.png  score 0.70, scratch",
        "failed  broken.png: the file is empty (0 bytes)",
        f"wrote   {tmp_path / 'detections.jsonl'}",
    ]


def test_detect_shortens_what_is_long_and_lets_no_name_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tuple(DetectedDefect(label=f"pit\x1b{n % 9}", box=(0, 0, 9, 9)) for n in range(200))
    records = [
        Detection(image="a\n0 photos: all good\x1b[2J.png", verdict="anomalous", score=0.7, defects=many),
        Detection(image="0\n.png", verdict="undecided", error="the model gave NaN"),  # names no photo
        *(Detection(image=f"{n}\n.png", verdict="undecided", error=f"{n}\n.png: empty") for n in range(1, 22)),
    ]
    write_records(tmp_path / "detections.jsonl", records)
    counts = {"anomalous": 1, "normal": 0, "undecided": 22}
    passed_by = {"broken links": ["a\nb", "c", "d"]}
    detect._print_summary(DetectSummary(counts, 22, tmp_path, no_score="no\x1b[2J", passed_by=passed_by))
    assert capsys.readouterr().out.splitlines() == [
        "23 photos: 1 anomalous, 0 normal, 22 undecided (22 could not be looked at)",
        "not opened: 3 broken links (a?b, c ...)",
        "no scores: no?[2J",
        "worst   a?0 photos: all good?[2J.png  score 0.70, pit?0, pit?1, pit?2, pit?3, pit?4, 4 more",
        "failed  0?.png: the model gave NaN",
        *(f"        {n}?.png: empty" for n in range(1, 5)),
        "        17 more, whose records say why",
        f"wrote   {tmp_path / 'detections.jsonl'}",
    ]


def summary(tmp_path: Path, *, resumed_from: int | None = None, already_finished: bool = False) -> TrainSummary:
    return TrainSummary(
        out=tmp_path,
        model=tmp_path / "model",
        curve=tmp_path / "reward_curve.png",
        steps=40,
        resumed_from=resumed_from,
        already_finished=already_finished,
        reward_start=0.25,
        reward_end=0.5,
        seconds=61.4,
    )


def test_train_shows_curve_figures_and_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train._print_summary(summary(tmp_path, resumed_from=20), [0.25, 0.5])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "went on from step 20"
    assert lines[1].startswith(" 0.5 ┤")
    assert "reward 0.250 -> 0.500 (first and last tenth of 40 steps), 61 s" in lines
    assert f"model  {tmp_path / 'model'}" in lines


def test_train_says_when_nothing_was_left_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train._print_summary(summary(tmp_path, already_finished=True), [])
    assert "already finished: 40 steps" in capsys.readouterr().out


def test_train_says_where_its_time_went_and_what_looked_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = {"reward": 1.0, "generate": 6.0, "backward": 3.0}
    warned = dataclasses.replace(summary(tmp_path), phase_seconds=phases, warnings=["rewards are flat: try more"])
    train._print_summary(warned, [0.5])
    lines = capsys.readouterr().out.splitlines()
    assert "time   10 s: generate 60%, backward 30%, reward 10%" in lines
    assert "Warning: rewards are flat: try more" in lines


@pytest.mark.parametrize(
    ("resumed_from", "already_finished", "first"),
    [
        (None, False, None),
        (3, False, "went on from step 3"),
        (None, True, "this run is already finished: 4 steps (choose another --out to train again)"),
    ],
)
def test_sft_shows_curve_figures_and_paths(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    resumed_from: int | None,
    already_finished: bool,
    first: str | None,
) -> None:
    from iadr1.stages import sft as stage

    def run(config: SftConfig, *, on_log: Callable[[dict[str, float]], None], on_note: Any) -> SftSummary:
        assert (config.learning_rate, config.epochs) == (0.5, 2.0)
        for step, loss in ((1.0, 2.0), (2.0, 1.0)):
            on_log({"step": step, "steps": 2.0, "loss": loss})
        ends = {"steps": 4, "loss_start": 2.0, "loss_end": 1.0, "seconds": 9.4}
        places = {"out": tmp_path, "model": tmp_path / "model", "curve": tmp_path / "loss_curve.png"}
        return SftSummary(**places, **ends, resumed_from=resumed_from, already_finished=already_finished)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "run", run)
    with pytest.raises(SystemExit) as ended:
        cli.main(["sft", "--epochs", "2", "learning_rate=0.5"])
    lines = capsys.readouterr().out.splitlines()
    assert not ended.value.code
    assert lines[: 1 if first else 0] == ([first] if first else [])
    assert any("█" in line for line in lines)
    assert lines[-4:] == [
        "loss   2.000 -> 1.000 (first and last tenth of 4 steps), 9 s",
        f"model  {tmp_path / 'model'}",
        f"curve  {tmp_path / 'loss_curve.png'}",
        f"log    {tmp_path / 'log.jsonl'}, settings and figures {tmp_path / 'run.json'}",
    ]


def test_merge_says_how_close_it_came(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from iadr1.stages import model as stage

    def merge(adapter: Path, *, out: Path, base: str | None, dtype: str) -> MergeSummary:
        assert (adapter, base) == (Path("lora"), "here")
        return MergeSummary(out, "here", 0.012345, 0.00012345)

    monkeypatch.setattr(stage, "merge", merge)
    with pytest.raises(SystemExit) as ended:
        cli.main(["model", "merge", "lora", "--out", "merged", "--base", "here", "--dtype", "float16"])
    assert not ended.value.code
    assert capsys.readouterr().out.splitlines() == [
        "model  merged (float16, from here)",
        "check  log-probabilities differ from base with adapters by 0.00012 nats on average, 0.012 at most",
    ]


def test_detect_exits_1_where_a_photo_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from iadr1.stages import detect as stage

    write_records(tmp_path / "detections.jsonl", [])
    for errors in (0, 1):
        end = DetectSummary(counts={"undecided": 1}, errors=errors, out=tmp_path)
        monkeypatch.setattr(stage, "run", lambda config, *, progress, on_note, end=end: end)
        if errors:
            with pytest.raises(typer.Exit) as ended:
                detect.detect(tmp_path)
            assert ended.value.exit_code == 1
        else:
            detect.detect(tmp_path)
    assert "could not be looked at" in capsys.readouterr().out


def test_eval_exits_1_where_an_image_failed_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sample = Sample(
        id="q",
        dataset="X",
        category="bolt",
        split="test",
        image="a.png",
        task="choice",
        question="What kind of defect is it?",
        options={"A": "Scratch.", "B": "Hole."},
        answer="A",
        question_type="Defect Classification",
    )
    write_records(tmp_path / "q.jsonl", [sample])
    (tmp_path / "answers.jsonl").write_text('{"id": "q", "text": "<answer>A</answer>"}\n', encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"no image")
    words = ["eval", "mmad", "--engine", "replay", "--model", "answers.jsonl", "--data", "q.jsonl", "--out", "out"]
    ends = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        ends.append((ended.value.code, "got no answer" in capsys.readouterr().err))
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert ends == [(1, True), (0, False)]
