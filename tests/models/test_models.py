"""Names of models and engines, profiles, attention, replay and fingerprints: nothing here loads a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from iadr1 import models
from iadr1.config import EvalConfig
from iadr1.errors import ModelError
from iadr1.geometry import BoxSpace
from iadr1.models import LoadOptions, Request, attention, choices, fingerprint, load_engine, resolve_model
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.models.profiles import PROFILES, profile_of
from iadr1.stages.engines import announce


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def processor(low: int, high: int) -> SimpleNamespace:
    return SimpleNamespace(image_processor=SimpleNamespace(size={"shortest_edge": low, "longest_edge": high}))


# names


def test_hub_id_and_folder(tmp_path: Path) -> None:
    assert resolve_model("Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen/Qwen2.5-VL-3B-Instruct"
    folder = model_folder(tmp_path / "a b")
    assert resolve_model(str(folder)) == folder


def test_missing_model_says_what_there_is(tmp_path: Path) -> None:
    model_folder(tmp_path / "good")
    with pytest.raises(ModelError, match=r"no model .*bad.*'tiny'.*good"):
        resolve_model(str(tmp_path / "bad"))
    with pytest.raises(ModelError, match="no model 'tinny'"):
        resolve_model("tinny")


def test_a_path_below_an_existing_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_folder(tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="runs/first"):
        resolve_model("runs/train")


def test_folder_without_model_and_file(tmp_path: Path) -> None:
    model_folder(tmp_path / "checkpoint-10")
    with pytest.raises(ModelError, match=r"no config\.json.*checkpoint-10"):
        resolve_model(str(tmp_path))
    (tmp_path / "weights").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        resolve_model(str(tmp_path / "weights"))


def test_embedded_model_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EMBEDDED", tmp_path)
    with pytest.raises(ModelError, match="no weights"):
        resolve_model("tiny")
    folder = model_folder(tmp_path / "tiny")
    with pytest.raises(ModelError, match="no weights"):
        resolve_model("tiny")
    (folder / "model.safetensors").write_bytes(b"")
    assert resolve_model("tiny") == tmp_path / "tiny"


def test_unknown_engine() -> None:
    with pytest.raises(ModelError, match=r"no engine 'remote'.*local"):
        load_engine("remote", "tiny")


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, iadr1.models.profiles, iadr1.models.replay; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# profiles


def test_profile_takes_the_bounds_of_the_processor() -> None:
    profile = profile_of(SimpleNamespace(model_type="qwen3_vl"), processor(1024, 4096))
    assert (profile.box_space, profile.factor) == (BoxSpace.NORM1000, 32)
    assert (profile.min_pixels, profile.max_pixels) == (1024, 4096)


def test_unknown_family_and_missing_bounds() -> None:
    with pytest.raises(ModelError, match=r"'bert'.*qwen2_5_vl"):
        profile_of(SimpleNamespace(model_type="bert"), processor(1, 2))
    with pytest.raises(ModelError, match="pixel bounds"):
        profile_of(SimpleNamespace(model_type="qwen2_vl"), SimpleNamespace(image_processor=SimpleNamespace(size={})))


def test_default_profile_sees_the_papers_image_size() -> None:
    assert PROFILES["qwen2_5_vl"].input_wh((1000, 800)) == (1008, 812)


# attention


def test_attention_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention("eager", "cuda", "bfloat16") == "eager"
    assert attention("auto", "cpu", "bfloat16") == "sdpa"
    assert attention("auto", "cuda", "float32") == "sdpa"
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr("transformers.utils.import_utils.is_flash_attn_2_available", lambda: True)
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace())
    assert attention("auto", "cuda", "bfloat16") == "flash_attention_2"
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # importing it fails
    assert attention("auto", "cuda", "bfloat16") == "sdpa"
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert attention("auto", "cuda", "bfloat16") == "sdpa"


# replay


def test_replay_gives_the_stored_text(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "text": "old"}\n{"id": "a", "text": "ü<answer>"}\n', encoding="utf-8")
    engine = load_engine("replay", str(path), LoadOptions(device="cpu"))
    assert [c.text for c in engine.generate([Request("a", [], ())], max_new_tokens=1)] == ["ü<answer>"]
    with pytest.raises(ModelError, match="'b'"):
        engine.generate([Request("b", [], ())], max_new_tokens=1)
    with pytest.raises(ModelError, match="no probabilities"):
        engine.probabilities([Request("a", [], ())], ["Yes", "No"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a", "text": ""}\n{"id": "b"}\n', r"answers.jsonl:2: a line needs"),
        (b'{"id": "a", "te\n', r"answers.jsonl:1: not JSON"),
        (b'{"id": "\xff"}\n', "not UTF-8"),
    ],
)
def test_replay_refuses_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_engine("replay", str(path))


def test_replay_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file of stored answers .*--model FILE"):
        load_engine("replay", str(tmp_path / "none.jsonl"))


# fingerprint


def test_fingerprint_sees_small_and_large_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE", 1000)
    monkeypatch.setattr(fingerprint, "_BLOCK", 8)
    folder = model_folder(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(5000))
    first = folder_fingerprint(folder)
    assert len(first) == 16
    assert folder_fingerprint(folder) == first
    (folder / "README.md").write_text("a card is no weight", encoding="utf-8")
    assert folder_fingerprint(folder) == first
    for changed in (b"\1" + bytes(4999), bytes(4999) + b"\1", bytes(5001)):
        weights.write_bytes(changed)
        assert folder_fingerprint(folder) != first
    weights.write_bytes(bytes(5000))
    (folder / "config.json").write_text("{ }", encoding="utf-8")
    assert folder_fingerprint(folder) != first


# what is refused before torch is loaded


@pytest.mark.parametrize(
    ("engine", "model", "options", "told"),
    [
        ("local", "tiny", LoadOptions(device="gpu"), "no device 'gpu'"),
        ("local", "tiny", LoadOptions(device="cuda:1"), "the device 'cuda:1' is not there"),
        ("local", "tiny", LoadOptions(dtype="int8"), "no dtype 'int8'"),
        ("local", "tiny", LoadOptions(attention="magic"), r"no attention 'magic' \(use auto, eager, sdpa"),
        ("local", "nope", LoadOptions(), "no model 'nope'"),
        ("replay", "nope.jsonl", LoadOptions(), "no file of stored answers 'nope.jsonl'"),
        ("vllm", "tiny", LoadOptions(), "needs the package 'vllm'"),
    ],
)
def test_a_choice_that_cannot_be(
    engine: str, model: str, options: LoadOptions, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "_has_driver", lambda: False)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=told):
        choices.check_choice(engine, model, options)


def test_every_attention_of_transformers_is_known() -> None:
    functions = pytest.importorskip("transformers.modeling_utils").ALL_ATTENTION_FUNCTIONS
    # Those with a bar are for generating from a paged cache, which no engine does; `pretrain` registers one of its own.
    names = {name for name in functions.valid_keys() if "|" not in name and not name.startswith("iadr1-")}
    assert names <= set(choices.ATTENTIONS)
    for name in ("auto", *choices.ATTENTIONS, "kernels-community/flash-attn"):
        choices.check_choice("local", "tiny", LoadOptions(attention=name))


def test_what_torch_has_to_decide_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "_has_driver", lambda: True)
    choices.check_choice("local", "tiny", LoadOptions(device="cuda"))
    choices.check_choice("server", "anything", LoadOptions(device="gpu"))  # nothing is loaded here


def test_a_driver_is_looked_for_on_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(choices, "_AMD", tmp_path / "kfd")
    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(ModelError, match="no CUDA device is seen"):
        choices.check_device("cuda")
    (tmp_path / "kfd").touch()
    choices.check_device("cuda")
    (tmp_path / "kfd").unlink()
    monkeypatch.setattr("ctypes.CDLL", lambda name: name)
    choices.check_device("cuda")


def test_a_model_that_is_refused_is_not_announced(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(ModelError, match="no model 'nope'"):
        announce(EvalConfig(model="nope"), lines.append)
    (tmp_path / "answers.jsonl").touch()
    announce(EvalConfig(engine="replay", model=str(tmp_path / "answers.jsonl")), lines.append)
    assert lines == []
    announce(EvalConfig(), lines.append)
    assert lines == ["loading tiny ..."]
