"""Architectures on the meta device: the papers' models offline, their sizes, and what their blocks look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models import meta
from iadr1.models.parts import LAYOUTS, parts
from iadr1.models.profiles import PROFILES

PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen2-VL-2B-Instruct": 2_208_985_600,
    "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
}
OTHERS = {
    # Nothing published to the last digit is at hand: what the papers round to.
    "llava-hf/llama3-llava-next-8b-hf": (8.3e9, 8.4e9),
    "llava-hf/llava-onevision-qwen2-0.5b-si-hf": (0.88e9, 0.90e9),
    "llava-hf/llava-onevision-qwen2-7b-si-hf": (8.0e9, 8.1e9),
}


def parameters(name: str) -> int:
    return sum(one.numel() for one in meta.on_meta(meta.architecture(name).config).parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_on_the_meta_device_is_the_published_one(name: str) -> None:
    assert parameters(name) == PUBLISHED[name] == meta.architecture(name).published_parameters


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_models_have_the_size_of_their_name(name: str) -> None:
    least, most = OTHERS[name]
    assert least < parameters(name) < most
    assert meta.architecture(name).published_parameters is None


def test_the_papers_models_are_known_with_a_source() -> None:
    assert set(meta.known_models()) == {*PUBLISHED, *OTHERS}
    for name, path in meta.known_models().items():
        held = json.loads(path.read_text(encoding="utf-8"))
        assert held["model"] == name
        assert len(held["source"]) > 20
        assert held["config"]["model_type"] in PROFILES


def test_nothing_takes_memory_and_every_parameter_has_its_part() -> None:
    model = meta.on_meta(meta.architecture("Qwen/Qwen2.5-VL-3B-Instruct").config)
    assert {one.device.type for one in model.parameters()} == {"meta"}
    counts = {part: sum(one.numel() for _, one in members) for part, members in parts(model).items()}
    assert counts == {"vision": 631_975_680, "projector": 36_708_608, "language": 3_085_938_688}


def test_the_blocks_of_qwen() -> None:
    model = meta.on_meta(meta.architecture("Qwen/Qwen2.5-VL-3B-Instruct").config)
    # A block: q and o 2048x2048, k and v 2048x256, three of 2048x11008, biases of q, k, v.
    block = 2 * 2048**2 + 2 * 2048 * 256 + 3 * 2048 * 11008 + 2048 + 2 * 256
    assert meta.language_stack(model) == meta.Stack(
        36, 2048, 2048, 256, 16, 11008, True, False, True, False, 36 * block
    )
    vision = meta.vision_stack(model)
    assert (vision.layers, vision.width, vision.inner, vision.fused, vision.gated) == (32, 1280, 3420, True, True)
    # The merger takes four patches of 1280 in, its activation 5120, its last layer 5120.
    assert meta.projector_width(model) == (5120 + 5120 + 5120) // 4


@pytest.mark.parametrize("family", LAYOUTS)
def test_every_familys_blocks_are_found(family: str, family_folder: Callable[[str], Path]) -> None:
    model = meta.on_meta(meta.architecture(str(family_folder(family))).config)
    language, vision = meta.language_stack(model), meta.vision_stack(model)
    text = model.config.get_text_config()
    assert (language.layers, language.width) == (text.num_hidden_layers, text.hidden_size)
    assert language.key_width == text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    assert language.gated
    assert vision.fused == family.startswith("qwen")
    assert vision.query_width == vision.key_width == vision.width
    linear = sum(
        one.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model.layers" in name
        for one in module.parameters()
    )
    assert language.linear_parameters == linear


def test_a_folder_is_read_from_its_config(family_folder: Callable[[str], Path]) -> None:
    folder = family_folder("qwen2_vl")
    found = meta.architecture(str(folder))
    assert (found.config.model_type, found.source) == ("qwen2_vl", f"{folder}/config.json")


def test_what_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="the architecture of 'nobody/nothing' is not known here") as caught:
        meta.architecture("nobody/nothing")
    assert "Qwen/Qwen2.5-VL-3B-Instruct" in str(caught.value)
    with pytest.raises(ModelChoiceError):
        meta.architecture(str(tmp_path / "absent"))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot read the model's config"):
        meta.architecture(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ModelError, match="the model family 'bert' is not supported"):
        meta.architecture(str(tmp_path))
