"""Folders of models in which a file is missing, broken or another model's: one sentence, whoever loads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from iadr1.config import SftConfig
from iadr1.errors import ModelError
from iadr1.models import EMBEDDED, LoadOptions, load_engine
from iadr1.models.choices import check_choice
from iadr1.models.loading import load_processor
from iadr1.stages.training.job import begin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED / "tiny", tmp_path / "model"))


def load(folder: Path) -> object:
    return load_engine("local", str(folder), LoadOptions(device="cpu"))


def lookup(folder: Path) -> None:
    check_choice("local", str(folder), LoadOptions(device="cpu"))


def train(folder: Path) -> object:
    return begin(SftConfig(model=str(folder), out=folder.parent / "run"), [], folder, note=None)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("tokenizer.json", r"cannot load the model '.*': no tokenizer \(tokenizer\.json\) \(copy "),
        ("processor_config.json", r"cannot load the model '.*': no image processor \(preprocessor_config\.json\) \("),
    ],
)
@pytest.mark.parametrize("call", [load, load_processor, lookup, train])
def test_what_is_missing_is_the_same_sentence_everywhere(
    folder: Path, file: str, told: str, call: Callable[[Path], object]
) -> None:
    (folder / file).unlink()
    with pytest.raises(ModelError, match=told) as caught:
        call(folder)
    assert caught.value.exit_code == 1
    assert not (folder.parent / "run").exists()


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("config.json", "[]", r"config\.json: is no JSON object"),
        ("processor_config.json", "{", r"processor_config\.json: cannot be read"),
        ("model.safetensors", "", "header too small"),
        ("tokenizer.json", "{}", "cannot load the model"),
        ("chat_template.jinja", "{% if %}", "the chat template is broken: Expected an expression"),
    ],
)
def test_what_is_broken(folder: Path, file: str, text: str, told: str) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=told):
        load(folder)


_MORE = 50


def _moved(words: Any, room: int) -> None:
    """A larger vocabulary: the special tokens come later."""
    first = len(words["model"]["vocab"])
    words["model"]["vocab"] |= {f"word {number}": first + number for number in range(_MORE)}
    for token in words["added_tokens"]:
        token["id"] += _MORE


def _longer(words: Any, room: int) -> None:
    """More special tokens behind the model's own than it has room for."""
    last = words["added_tokens"][-1]
    more = range(last["id"] + 1, room + _MORE)
    words["added_tokens"] += [{**last, "id": number, "content": f"<more {number}>"} for number in more]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_moved, "an image is its token {moved}, the model's is {image}"),
        (_longer, "it has {longer} tokens, the model {size}"),
    ],
    ids=["other numbers", "more tokens"],
)
@pytest.mark.parametrize("call", [load, load_processor])
def test_the_tokenizer_of_another_model(
    folder: Path, change: Callable[[Any, int], None], told: str, call: Callable[[Path], object]
) -> None:
    words = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    image, size = config["image_token_id"], config["text_config"]["vocab_size"]
    change(words, size)
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    says = told.format(image=image, moved=image + _MORE, size=size, longer=size + _MORE)
    with pytest.raises(ModelError, match=f"the tokenizer is another model's: {says}"):
        call(folder)


def test_doctor_says_the_same(folder: Path) -> None:
    from iadr1.stages.doctor.folder import folder_rows

    (folder / "tokenizer.json").unlink()
    rows = {row.name: row.found for row in folder_rows(folder)}
    assert rows["processor"] == "no tokenizer (tokenizer.json)"
