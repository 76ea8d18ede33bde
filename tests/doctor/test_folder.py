"""A model's folder: every half-finished download is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from iadr1.config import DoctorConfig, SftConfig
from iadr1.models import EMBEDDED
from iadr1.stages import doctor
from iadr1.stages.doctor import hub
from iadr1.stages.doctor.folder import folder_rows
from iadr1.stages.training.lineage import write_card

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(EMBEDDED / "tiny", target)
    return target


def fault(folder: Path, name: str) -> str:
    """What the row says; every other row is fine."""
    states = {row.name: row for row in folder_rows(folder)}
    assert [row.name for row in states.values() if row.state == "fail"] == [name]
    assert states[name].advice
    return states[name].found


def index(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def tensors(path: Path) -> list[str]:
    data = path.read_bytes()
    return [name for name in json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) if name != "__metadata__"]


def test_the_embedded_model_is_whole(folder: Path) -> None:
    rows = folder_rows(folder)
    assert [row.name for row in rows] == ["family", "weights", "processor", "chat template", "licence"]
    assert {row.state for row in rows} == {"ok"}
    assert "cc0-1.0" in rows[-1].found


def test_weights_that_were_cut_off(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-1])
    assert "was cut off" in fault(folder, "weights")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no safetensors file, or was cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        (b"\x05\0\0\0\0\0\0\0{[]}}", "broken header"),
        (b"\xff" * 64, "no safetensors file"),
    ],
)
def test_a_file_that_holds_no_weights(folder: Path, data: bytes, told: str) -> None:
    (folder / WEIGHTS).write_bytes(data)
    assert told in fault(folder, "weights")


def test_no_weights_at_all(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "no weights" in fault(folder, "weights")


def test_a_shard_of_the_index_that_is_missing(folder: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    (folder / WEIGHTS).rename(folder / first)
    names = tensors(folder / first)
    index(folder, {**dict.fromkeys(names, first), "lm_head.weight": second})
    assert f"{second} is missing" in fault(folder, "weights")
    index(folder, dict.fromkeys(names, first))
    assert {row.state for row in folder_rows(folder)} == {"ok"}


def test_a_shard_without_a_tensor_of_the_index(folder: Path) -> None:
    index(folder, {"not.there": WEIGHTS, **dict.fromkeys(tensors(folder / WEIGHTS), WEIGHTS)})
    assert "lacks 1 tensors of the index, the first is 'not.there'" in fault(folder, "weights")


def test_bin_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin is empty" in fault(folder, "weights")
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    assert {row.state for row in folder_rows(folder)} == {"ok"}


@pytest.mark.parametrize(
    ("file", "name", "told"),
    [
        ("processor_config.json", "processor", "no image processor"),
        ("tokenizer.json", "processor", "no tokenizer"),
        ("chat_template.jinja", "chat template", "no chat template"),
    ],
)
def test_what_stands_beside_the_weights(folder: Path, file: str, name: str, told: str) -> None:
    (folder / file).unlink()
    assert told in fault(folder, name)


def test_an_unknown_family_and_a_broken_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}), encoding="utf-8")
    assert "'llama' is not supported" in fault(folder, "family")
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "config.json: cannot be read" in fault(folder, "family")


@pytest.mark.parametrize(
    ("card", "state", "told"),
    [
        ("---\nlicense: apache-2.0\n---\n", "ok", "commercial use permitted"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "warn", "no commercial use"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "warn", "qwen-research"),
        ("no front matter", "ok", "that of the family"),
        ("---\n: [\n---\n", "ok", "that of the family"),
    ],
)
def test_the_licence_of_the_card(folder: Path, card: str, state: str, told: str) -> None:
    (folder / "MODEL_CARD.md").unlink()
    (folder / "README.md").write_text(card, encoding="utf-8")
    row = folder_rows(folder)[-1]
    assert row.state == state
    assert told in row.found


@pytest.mark.parametrize(
    ("data", "state", "use"),
    [
        ({"CC0-1.0": 3}, "ok", "The licences of base and data permit commercial use."),
        ({"CC-BY-NC-SA-4.0": 3}, "warn", "Not cleared for commercial use: CC-BY-NC-SA-4.0."),
    ],
)
def test_a_model_of_ones_own_has_the_licence_of_its_own_card(
    folder: Path, data: dict[str, int], state: str, use: str
) -> None:
    """Not that of the family, which is the embedded model's by its architecture only."""
    (folder / "MODEL_CARD.md").unlink()
    info = {
        **{"base": "tiny", "base_licence": "cc0-1.0", "earlier": [], "command": "sft", "samples": 3, "steps": 4},
        **{"licences": data, "sources": [], "iadr1": "0.1.0", "config_hash": "ab"},
    }
    config = SftConfig(out=folder.parent / "run")
    (config.out / "model").mkdir(parents=True)
    (config.out / "leak.json").write_text("", encoding="utf-8")
    shutil.copy(write_card(config, info, figures="Loss 1."), folder)
    row = folder_rows(folder)[-1]
    assert (row.state, row.found) == (state, f"README.md says: base cc0-1.0. {use}")


def test_a_folder_that_is_not_whole_is_not_loaded(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    report = doctor.run(DoctorConfig(model=str(folder), scenes=0))
    found = {f"{row.group} {row.name}": row for row in report.rows}
    assert found["model processor"].state == "fail"
    assert found["engine model"].state == "skip"
    assert not report.ok


@pytest.mark.parametrize(("offline", "state"), [(True, "fail"), (False, "warn")])
def test_a_hub_id_that_is_not_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool, state: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    report = doctor.run(DoctorConfig(model="Qwen/Qwen2.5-VL-3B-Instruct"))
    found = {f"{row.group} {row.name}": row for row in report.rows}
    assert found["model model"].state == state
    assert "hf download Qwen/Qwen2.5-VL-3B-Instruct" in found["model model"].advice
    assert found["engine model"].state == "skip"
    assert found["hub cache"].found == f"0 models in {tmp_path}"


def test_a_hub_id_in_the_cache_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "models--org--name"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc", encoding="utf-8")
    shutil.copytree(folder, place / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub.cached_folder("org/name") == place / "snapshots" / "abc"
    assert hub.cached_folder("org/other") is None


def test_a_model_that_is_not_there_is_a_row() -> None:
    report = doctor.run(DoctorConfig(model="no/such/folder"))
    row = next(row for row in report.rows if row.group == "model")
    assert row.state == "fail"
    assert "no model 'no/such/folder'" in row.found
    assert not report.ok
