"""`iadr1 ground`: GRPO on referring expressions, with the embedded model, which answers with boxes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.config import GroundConfig, TrainConfig
from iadr1.errors import UsageError
from iadr1.records import Defect, Sample, write_records
from iadr1.stages import grpo
from iadr1.stages.grpo.log import StepLog
from iadr1.stages.training.folder import open_run

LEAD_IN = "Please provide the bounding box coordinate of the region this sentence describes: "


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GroundConfig:
    """One expression about a dark square on a light plate."""
    pixels = np.full((160, 200, 3), 200, dtype=np.uint8)
    pixels[20:100, 40:140] = 20
    Image.fromarray(pixels).save(tmp_path / "0.png")
    one = Sample(
        id="g0",
        dataset="t",
        category="plate",
        split="train",
        image="0.png",
        task="grounding",
        question=f"{LEAD_IN}the dark hole",
        question_type="Referring Expression",
        defects=(Defect(type="the dark hole", box=(40, 20, 140, 100)),),
    )
    write_records(tmp_path / "g.jsonl", [one])
    monkeypatch.chdir(tmp_path)
    return GroundConfig(
        data=tmp_path / "g.jsonl",
        out=tmp_path / "run",
        reward="grounding=1,box-format=0.5",
        steps=1,
        generations=4,
        batch_size=4,
        max_new_tokens=64,
        beta=0.0,
        log_to="none",
    )


def test_boxes_are_rewarded_and_the_run_is_a_grounding_run(config: GroundConfig) -> None:
    summary = grpo.run(config)
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    assert (info["command"], info["state"]) == ("ground", "finished")
    (entry,) = [StepLog.model_validate_json(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    grounding, form = entry.rewards["grounding"], entry.rewards["box-format"]
    assert grounding is not None
    assert form is not None
    # The embedded model writes boxes: read in the space of another model they would hardly overlap.
    assert (form, 0 < grounding <= 1) == (1.0, True)
    assert entry.reward == pytest.approx(grounding + 0.5 * form)
    assert "`iadr1 ground`" in (summary.model / "README.md").read_text(encoding="utf-8")


def test_the_default_reward_and_files_are_those_of_grounding() -> None:
    default = GroundConfig()
    assert (default.data, default.out) == (Path("data/grounding.jsonl"), Path("runs/ground"))
    assert "grounding" in default.reward


def test_a_folder_of_train_is_no_folder_of_ground(config: GroundConfig) -> None:
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    open_run("train", TrainConfig(**fields))
    (config.out / "log.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"belongs to a run of 'iadr1 train', this is 'iadr1 ground'"):
        grpo.run(config)


def test_a_missing_file_names_the_data_of_grounding(config: GroundConfig) -> None:
    with pytest.raises(UsageError, match=r"no samples file.*data/grounding\.jsonl"):
        grpo.run(dataclasses.replace(config, data=Path("nowhere.jsonl")))


def test_a_reward_for_options_does_not_fit_expressions(config: GroundConfig) -> None:
    with pytest.raises(UsageError, match=r"no reward of roam applies to sample 'g0' \(task 'grounding'\)"):
        grpo.run(dataclasses.replace(config, reward="roam"))
