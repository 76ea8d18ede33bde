"""Where a trained model comes from: a model grounded on one set, then trained on another, and its card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from iadr1 import leaks
from iadr1.config import EvalConfig, GroundConfig, SftConfig, TrainConfig
from iadr1.errors import DataError, UsageError
from iadr1.models import EMBEDDED
from iadr1.models.profiles import PROFILES
from iadr1.records import Defect, Sample, write_records
from iadr1.stages import evaluate, grpo
from iadr1.stages.training.lineage import trained_on, write_card
from tests.stages.fake_engine import FakeEngine


def sample(folder: str, number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"{folder}{number}",
        "dataset": folder,
        "category": f"{folder}-plate",
        "split": "train",
        "image": f"{folder}/{number}.png",
        "task": "choice",
        "question": "Is there any defect in the object?",
        "options": {"A": "Yes.", "B": "No."},
        "answer": "A",
        "question_type": "Anomaly Detection",
        "is_anomalous": True,
        "licence": "CC-BY-4.0",
        "source": f"set {folder}",
    }
    return Sample(**(values | changes))


def expression(number: int) -> Sample:
    hole = Defect(type="the hole", box=(10, 10, 40, 40))
    return sample("ground", number, task="grounding", options={}, answer="", defects=(hole,), licence="CC-BY-NC-4.0")


def write(folder: Path, name: str, samples: list[Sample]) -> Path:
    """Samples with an image of noise each."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(samples):
        seed = [number, *name.encode()]
        pixels = np.random.default_rng(seed).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 160)).save(folder / one.image)
    write_records(folder / f"{name}.jsonl", samples)
    return folder / f"{name}.jsonl"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """`ground/model` on set `ground`, and from it `train/model` on set `train`; one step each."""
    folder = tmp_path_factory.mktemp("chain")
    common: dict[str, Any] = {
        "steps": 1,
        "generations": 2,
        "batch_size": 4,
        "max_new_tokens": 4,
        "beta": 0.0,
        "log_to": "none",
        "completions": False,
    }
    grounding = write(folder, "ground", [expression(0), expression(1)])
    grpo.run(GroundConfig(model=str(tiny_model), data=grounding, out=folder / "runs" / "ground", **common))
    choices = write(folder, "train", [sample("train", 0), sample("train", 1, licence="own data", source="")])
    base = folder / "runs" / "ground" / "model"
    grpo.run(TrainConfig(model=str(base), data=choices, out=folder / "runs" / "train", reward="format", **common))
    return folder


def run_file(folder: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return info


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text of a model's card."""
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


# --- run.json -------------------------------------------------------------------------------------------------------


def test_run_json_holds_data_licences_and_manifest(chain: Path, tiny_model: Path) -> None:
    info = run_file(chain / "runs" / "ground")
    assert (info["samples"], info["licences"], info["sources"]) == (2, {"CC-BY-NC-4.0": 2}, ["set ground"])
    assert (info["base"], info["earlier"], info["base_licence"]) == (
        tiny_model.name,
        [],
        PROFILES["qwen2_5_vl"].licence,
    )
    manifest = leaks.read_manifest(chain / "runs" / "ground" / info[leaks.RUN_KEY]["file"])
    assert [image.path for image in manifest.images] == ["ground/0.png", "ground/1.png"]
    assert manifest.categories == ("ground-plate",)


def test_what_the_base_was_trained_on_counts_too(chain: Path, tiny_model: Path) -> None:
    info = run_file(chain / "runs" / "train")
    assert (info["samples"], info["licences"], info["sources"]) == (2, {"CC-BY-4.0": 1, "own data": 1}, ["set train"])
    assert info["base"] == tiny_model.name
    assert info["base_licence"] == PROFILES["qwen2_5_vl"].licence
    assert info["earlier"] == [
        {"command": "ground", "samples": 2, "licences": {"CC-BY-NC-4.0": 2}, "sources": ["set ground"]}
    ]
    manifest = leaks.read_manifest(chain / "runs" / "train" / leaks.MANIFEST_NAME)
    assert sorted(image.path for image in manifest.images) == [
        "ground/0.png", "ground/1.png", "train/0.png", "train/1.png",
    ]  # fmt: skip
    assert manifest.categories == ("ground-plate", "train-plate")


@pytest.mark.parametrize("trained", ["ground", "train"])
@pytest.mark.parametrize("place", ["model", ""])
def test_an_evaluation_refuses_the_images_of_every_stage(chain: Path, tmp_path: Path, trained: str, place: str) -> None:
    """The last model's folder, or the run's given with --leaks; images of both stages."""
    asked = [sample(trained, 0, split="test"), sample("fresh", 0, split="test")]
    write(chain, "fresh", asked[1:])
    write_records(chain / "asked.jsonl", asked)
    run = chain / "runs" / "train"
    engine = FakeEngine(model=str(run / "model"))
    config = EvalConfig(
        data=chain / "asked.jsonl", out=tmp_path / "eval", model=engine.model, leaks=None if place else run
    )
    with pytest.raises(UsageError, match=rf"trained on 1 of the 2 images to be asked about: {trained}/0\.png"):
        evaluate.run(config, engine=engine)
    write_records(chain / "asked.jsonl", asked[1:])
    assert evaluate.run(config, engine=engine).metrics["leaks"]["images"]["trained images"] == 0


def test_a_model_folder_that_was_copied_away_still_knows(chain: Path) -> None:
    model = chain / "runs" / "train" / "model"
    assert (model / leaks.MANIFEST_NAME).read_bytes() == (chain / "runs" / "train" / leaks.MANIFEST_NAME).read_bytes()


def test_a_base_whose_record_is_broken_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path, "a", [sample("a", 0)])
    base = tmp_path / "run" / "model"
    base.mkdir(parents=True)
    config = SftConfig(model=str(base), data=data, out=tmp_path / "out")
    (tmp_path / "run" / "leak.json").write_text("{}", encoding="utf-8")
    (tmp_path / "run" / "run.json").write_text('{"leak_manifest": {"file": "leak.json", "sha256": "0"}}')
    with pytest.raises(DataError, match="has changed since the run wrote it"):
        trained_on(config, [sample("a", 0)], tmp_path, base=str(base))
    (tmp_path / "run" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json"):
        trained_on(config, [sample("a", 0)], tmp_path, base=str(base))


# --- licences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (None, None),
        ("no front matter", None),
        ("---\nlicense: mit\n---\n# x\n", "mit"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [\n---\n", None),
        ("---\n- license\n---\n", None),
    ],
)
def test_the_licence_that_a_base_folder_states(tmp_path: Path, text: str | None, licence: str | None) -> None:
    data = write(tmp_path, "a", [sample("a", 0)])
    base = tmp_path / "base"
    base.mkdir()
    if text is not None:
        (base / "README.md").write_text(text, encoding="utf-8")
    config = SftConfig(model=str(base), data=data, out=tmp_path / "out")
    info = trained_on(config, [sample("a", 0)], tmp_path, base=str(base))
    assert (info["base"], info.get("base_licence")) == ("base", licence)


def test_the_embedded_model_has_its_own_licence_and_a_hub_model_its_family_s(tmp_path: Path) -> None:
    data = write(tmp_path, "a", [sample("a", 0)])
    config = SftConfig(data=data, out=tmp_path / "out")
    embedded = trained_on(config, [sample("a", 0)], tmp_path, base=str(EMBEDDED / "tiny"))
    assert (embedded["base"], embedded["base_licence"]) == ("tiny", "cc0-1.0")
    hub = dataclasses.replace(config, model="Qwen/Qwen2.5-VL-3B-Instruct")
    info = trained_on(hub, [sample("a", 0)], tmp_path, base=hub.model)
    assert info["base"] == hub.model
    assert "base_licence" not in info  # the stage fills in the family's


# --- the card -------------------------------------------------------------------------------------------------------


def make_card(folder: Path, *, rank: int = 0, **changes: Any) -> tuple[dict[str, Any], str]:
    out = folder / "my-run"
    (out / "model").mkdir(parents=True)
    (out / leaks.MANIFEST_NAME).write_text("{}\n", encoding="utf-8")
    info = {
        "base": "tiny",
        "base_licence": "cc0-1.0",
        "earlier": [],
        "command": "sft",
        "samples": 3,
        "licences": {"CC-BY-4.0": 3},
        "sources": ["Set, 2020"],
        "steps": 7,
        "iadr1": "0.1",
        "config_hash": "abc",
        **changes,
    }
    write_card(SftConfig(out=out, lora_rank=rank), info, figures="Loss 1.")
    return card(out / "model")


PERMITTED = "The licences of base and data permit commercial use."


def test_a_card_of_the_hub_s_form(tmp_path: Path) -> None:
    front, text = make_card(tmp_path, rank=8)
    assert (front["base_model"], front["pipeline_tag"]) == ("tiny", "image-text-to-text")
    assert {"lora", "peft"} <= set(front["tags"])
    assert "# my-run: tiny after `iadr1 sft`" in text
    assert "3 samples from Set, 2020; licences: CC-BY-4.0 (3 samples)" in text
    assert PERMITTED in text


@pytest.mark.parametrize(
    ("changes", "blocked"),
    [
        ({"licences": {"CC-BY-4.0": 2, "CC-BY-NC-SA-4.0": 1}}, "CC-BY-NC-SA-4.0."),
        ({"licences": {"unknown": 1}}, "unknown."),
        ({"base_licence": "see the model card"}, "see the model card."),
        (
            {"earlier": [{"command": "ground", "samples": 1, "licences": {"CC-BY-NC-4.0": 1}, "sources": []}]},
            "CC-BY-NC-4.0.",
        ),
    ],
)
def test_one_licence_that_forbids_or_is_unknown_blocks_commercial_use(
    tmp_path: Path, changes: dict[str, Any], blocked: str
) -> None:
    _, text = make_card(tmp_path, **changes)
    assert f"Not cleared for commercial use: {blocked}" in text
    assert PERMITTED not in text


def test_a_chain_s_card_names_every_stage(chain: Path) -> None:
    _, text = card(chain / "runs" / "train" / "model")
    assert "after `iadr1 ground`, then `iadr1 train`" in text
    assert "| data of ground | 2 samples from set ground;" in text
    assert "| data of train | 2 samples from set train;" in text
    assert "Not cleared for commercial use: see the model card" in text


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    licence = "MIT |\n---\nlicense: mit\n# Cleared [here](http://x)\n<script>alert(1)</script>"
    front, text = make_card(
        tmp_path, licences={licence: 1}, sources=["a\n\n| b | `c`"], base='x"\n---\nlicense: mit\n\x85\x7f\U0001f600'
    )
    assert "license" not in front
    assert front["base_model"].startswith('x"\n---')
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert not [line for line in text.splitlines() if line.startswith(("---", "license", "# Cleared"))]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert all(row.replace("\\|", "").count("|") == 3 for row in rows)
    assert "Not cleared for commercial use: MIT" in text
