"""`iadr1 model merge`: LoRA adapters and their base become one model that every engine loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from iadr1 import leaks
from iadr1.config import SftConfig
from iadr1.errors import ModelChoiceError, ModelError, UsageError
from iadr1.models import Request, load_engine, resolve_model
from iadr1.prompts import render_prompt
from iadr1.records import Sample, write_records
from iadr1.stages import model as stage
from iadr1.stages import sft

module = import_module("iadr1.stages.model.merge")  # the package's `merge` is the function
SAMPLE = Sample(
    id="a", dataset="t", category="c", split="train", image="a.png", task="anomaly",
    question="Are there any defects in the query image?", answer="No", is_anomalous=False, question_type="q",
)  # fmt: skip


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The `model` folder of a short LoRA run, whose adapters do something; it must not be written to."""
    folder = tmp_path_factory.mktemp("lora")
    Image.new("RGB", (64, 64), (200, 20, 90)).save(folder / "a.png")
    write_records(folder / "s.jsonl", [SAMPLE])
    config = SftConfig(
        model=str(tiny_model),
        data=folder / "s.jsonl",
        out=folder / "run",
        steps=2,
        batch_size=1,
        learning_rate=0.1,
        lora_rank=4,
        lora_parts="language,vision",
        log_to="none",
    )
    return sft.run(config).model


@pytest.fixture(scope="module")
def merged(adapter: Path) -> stage.MergeSummary:
    return stage.merge(adapter, out=adapter.parents[1] / "merged", dtype="float32")


def log_probabilities(model: Any, folder: Path) -> torch.Tensor:
    """Of the next token at every place of a prompt that the merging's own check does not use."""
    from transformers import AutoProcessor

    loader: Any = AutoProcessor
    processor = loader.from_pretrained(folder)
    text = processor.apply_chat_template(render_prompt(SAMPLE, "boxes"), add_generation_prompt=True)
    inputs = processor(text=[text], images=[[Image.new("RGB", (112, 112), (9, 200, 9))]], return_tensors="pt")
    with torch.no_grad():
        values: torch.Tensor = torch.log_softmax(model.eval()(**inputs).logits.double(), dim=-1)
    return values


def test_the_merged_model_is_base_with_adapters(adapter: Path, merged: stage.MergeSummary, tiny_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    alone = log_probabilities(loader.from_pretrained(tiny_model), adapter)
    adapted = log_probabilities(PeftModel.from_pretrained(loader.from_pretrained(tiny_model), str(adapter)), adapter)
    whole = log_probabilities(loader.from_pretrained(merged.out), merged.out)
    assert float((adapted - alone).abs().mean()) > 0.05  # else adapters that are lost would pass
    assert float((adapted - whole).abs().max()) < 1e-3
    assert merged.mean <= merged.largest < 1e-3
    assert merged.base == str(tiny_model)


def test_the_merged_model_answers_in_the_local_engine(merged: stage.MergeSummary) -> None:
    engine = load_engine("local", str(merged.out))
    request = Request("a", render_prompt(SAMPLE, "structured"), (Image.new("RGB", (64, 64)),))
    (completion,) = engine.generate([request], max_new_tokens=4)
    assert completion.completion_tokens > 0


def test_card_run_and_manifest_go_along(adapter: Path, merged: stage.MergeSummary) -> None:
    assert (merged.out / "README.md").read_text(encoding="utf-8").startswith("---\n")
    assert leaks.find_manifest(merged.out) == merged.out / leaks.MANIFEST_NAME
    assert (merged.out / "run.json").read_bytes() == (adapter.parent / "run.json").read_bytes()
    assert not (merged.out / "adapter_config.json").exists()


def test_weights_are_rounded_to_the_dtype(adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    (tmp_path / "out").mkdir()  # empty: may be used
    summary = stage.merge(adapter, out=tmp_path / "out", dtype="bfloat16")
    dtypes = {tensor.dtype for tensor in load_file(summary.out / "model.safetensors").values()}
    assert dtypes == {torch.bfloat16}
    assert 0 < summary.mean < module.TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_difference_that_is_too_large_leaves_nothing(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounded_badly(*given: Any, out: Path, **more: Any) -> tuple[float, float]:
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"x")
        return 9.0, module.TOLERANCE * 1.01

    monkeypatch.setattr(module, "_merge", rounded_badly)
    with pytest.raises(ModelError, match=r"differs from base with adapters by 0\.05\d nats"):
        stage.merge(adapter, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("load", [resolve_model, partial(load_engine, "local")], ids=["train", "eval and detect"])
def test_adapters_given_as_a_model_name_the_command_that_merges_them(
    adapter: Path, load: Callable[[str], object]
) -> None:
    with pytest.raises(ModelChoiceError) as caught:
        load(str(adapter))
    assert "holds LoRA adapters, not a whole model" in str(caught.value)
    assert f"iadr1 model merge {adapter} --out FOLDER" in str(caught.value)


def test_a_base_that_has_moved_is_asked_for(adapter: Path, tmp_path: Path, tiny_model: Path) -> None:
    moved = tmp_path / "adapter"
    shutil.copytree(adapter, moved)
    config = json.loads((moved / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "/gone/base"
    (moved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelChoiceError, match=r"the base model '/gone/base' .* is not there \(--base says where"):
        stage.merge(moved, out=tmp_path / "out")
    assert stage.merge(moved, out=tmp_path / "out", base=str(tiny_model), dtype="float32").largest < 1e-3
    config["base_model_name_or_path"] = None
    (moved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UsageError, match=r"names no base model"):
        stage.merge(moved, out=tmp_path / "other")
    (moved / "adapter_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"adapter_config\.json: not JSON"):
        stage.merge(moved, out=tmp_path / "other")


def test_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load base and adapters"):
        stage.merge(adapter, out=tmp_path / "out", base="tiny")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_merged_is_refused(adapter: Path, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UsageError, match=r"no adapter_config\.json in .*lora_rank > 0"):
        stage.merge(tiny_model, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"no dtype 'int8' \(known: bfloat16, float16, float32\)"):
        stage.merge(adapter, out=tmp_path / "out", dtype="int8")
    with pytest.raises(ModelChoiceError, match="no model 'no/such/base'"):
        stage.merge(adapter, out=tmp_path / "out", base="no/such/base")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for name in ("full", "file"):
        with pytest.raises(UsageError, match="not a new or empty folder"):
            stage.merge(adapter, out=tmp_path / name)
    assert (tmp_path / "full" / "note.txt").read_text(encoding="utf-8") == "mine"
