"""Packages, machine, and the whole command; with the base install alone as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iadr1
from iadr1.cli.app import app
from iadr1.config import DoctorConfig
from iadr1.errors import UsageError
from iadr1.stages import doctor
from iadr1.stages.doctor import machine, packages, running

CHECKOUT = Path(iadr1.__file__).parents[1]
BLOCKED = (
    *("torch", "torchvision", "transformers", "accelerate", "safetensors", "cv2", "openai", "huggingface_hub"),
    *("trl", "peft", "datasets", "matplotlib", "sklearn", "pycocotools", "tensorboard", "pyarrow"),
)
BASE_ONLY = f"""
import importlib.metadata, sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
known = importlib.metadata.version
def version(name):
    if name in ("torch", "torchvision", "transformers", "opencv-python-headless", "trl", "huggingface-hub"):
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.version = version
from iadr1.cli import main
main(sys.argv[1:])
"""


# packages


class _Metadata(dict[str, str]):
    def get_all(self, name: str) -> list[str]:
        assert name == "Provides-Extra"
        return ["big", "flash", "small"]


class _Own:
    version = "0.1.0"
    requires = (
        "here>=1",
        "torch<3,>=2.6; extra == 'small'",
        "torch<3,>=2.6; extra == 'big'",
        "trl<1.17,>=1.16; extra == 'big'",
        "flash-attn>=2.8; extra == 'flash'",
    )
    metadata = _Metadata({"Requires-Python": "<3.13,>=3.11"})


def package_rows(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], needed: tuple[str, ...] = (), *, card: bool = True
) -> dict[str, doctor.Row]:
    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(packages, "distribution", lambda name: _Own)
    monkeypatch.setattr(packages, "version", version)
    return {row.name: row for row in packages.package_rows(needed, card=card)}


def test_everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = package_rows(monkeypatch, {"here": "1.0", "torch": "2.6.0+cu124", "trl": "1.16.3"}, ("small", "big"))
    assert {name: row.state for name, row in rows.items()} == {
        "python": "ok",
        "base": "ok",
        "extra small": "ok",
        "extra flash": "skip",
        "extra big": "ok",
    }
    assert rows["extra small"].found == "torch 2.6.0+cu124"
    assert rows["extra big"].found == "trl 1.16.3 and what smaller extras hold"
    assert rows["extra flash"].advice == 'pip install --no-build-isolation "iadr1[flash]"'


def test_nothing_for_cards_is_advised_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    row = package_rows(monkeypatch, {"here": "1.0"}, card=False)["extra flash"]
    assert (row.state, row.found, row.advice) == ("skip", "flash-attn is missing; it is for a GPU", "")


def test_a_missing_package_fails_only_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = package_rows(monkeypatch, {"here": "1.0"}, ("small",))
    assert rows["extra small"].state == "fail"
    assert rows["extra small"].advice == 'pip install "iadr1[small]"'
    assert rows["extra big"].state == "skip"
    assert package_rows(monkeypatch, {"torch": "2.6"})["base"].state == "fail"


def test_a_version_outside_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"here": "1.0", "torch": "2.6", "trl": "1.17.0"}
    row = package_rows(monkeypatch, installed)["extra big"]
    assert (row.state, row.found) == ("warn", "trl 1.17.0 is not <1.17,>=1.16")
    assert package_rows(monkeypatch, installed, ("big",))["extra big"].state == "fail"


def test_the_ranges_are_those_of_the_installed_package() -> None:
    own = Distribution.from_name("iadr1")
    extras = {f"extra {name}" for name in own.metadata.get_all("Provides-Extra") or ()}
    assert extras <= {row.name for row in packages.package_rows(())}


def test_a_python_outside_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.14.0")
    assert package_rows(monkeypatch, {"here": "1.0"})["python"].state == "fail"


# machine


def machine_rows() -> dict[str, doctor.Row]:
    return {row.name: row for row in machine.machine_rows()}


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    row = machine_rows()["threads"]
    assert row.state == "warn"
    assert row.advice == f"export OMP_NUM_THREADS={machine.cores()}"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert machine_rows()["threads"].state == "warn"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert machine_rows()["threads"].state == "ok"


def test_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk_row("disk", tmp_path / "not" / "yet", "machine").state == "ok"
    monkeypatch.setattr(machine, "_LEAST_DISK", 2**60)
    row = machine.disk_row("disk", tmp_path, "machine")
    assert row.state == "warn"
    assert "make room" in row.advice


def test_a_container_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP", limit)
    limit.write_text("1073741824\n", encoding="ascii")
    row = machine_rows()["memory"]
    assert row.state == "warn"
    assert "this container may have 1.0 GiB" in row.found
    limit.write_text("max\n", encoding="ascii")
    assert "container" not in machine_rows()["memory"].found


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_the_driver_sees_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "echo 'NVIDIA H100, 81559 MiB, 9.0, 560.35'")
    row = machine_rows()["gpu"]
    assert row.state == "ok"
    assert row.found == "NVIDIA H100, 81559 MiB, compute capability 9.0, driver 560.35"


def test_a_driver_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "exit 9")
    assert machine_rows()["gpu"].state == "skip"
    assert "names no card" in machine_rows()["gpu"].found


def test_a_card_that_torch_does_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU here")
    smi(tmp_path, monkeypatch, "echo 'NVIDIA H100, 81559 MiB, 9.0, 560.35'")
    rows = {row.name: row for row in running.running_rows(DoctorConfig())}
    assert rows["device"].state == "warn"
    assert "although the driver sees NVIDIA H100" in rows["device"].found
    assert rows["dtype"].found.startswith("float32")
    assert rows["attention"].found.startswith("sdpa")


@pytest.mark.parametrize(
    ("setting", "name", "told"),
    [
        ({"device": "cuda:9"}, "device", "cuda"),
        ({"dtype": "int3"}, "dtype", "no dtype 'int3'"),
        ({"attention": "magic"}, "attention", "no attention 'magic'"),
    ],
)
def test_a_choice_that_is_not_there_is_a_row(setting: dict[str, str], name: str, told: str) -> None:
    pytest.importorskip("torch")
    rows = {row.name: row for row in running.running_rows(DoctorConfig(**setting))}  # type: ignore[arg-type]
    assert rows[name].state == "fail"
    assert told in rows[name].found
    assert rows[name].advice


def test_flash_attn_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    assert running.flash_row("cpu").state == "skip"
    monkeypatch.setattr(running, "version", lambda name: "2.8.3")
    row = running.flash_row("cpu")
    if row.state == "warn":  # the package is not really here
        assert "No module named" in row.found
    assert running.wheel("2.8.3").startswith("flash_attn-2.8.3+cu")
    assert f"cp{sys.version_info.major}{sys.version_info.minor}" in running.wheel("2.8.3")


# what is called wrongly


@pytest.mark.parametrize(
    "config",
    [
        DoctorConfig(engine="magic"),
        DoctorConfig(scenes=3),
        DoctorConfig(segmenter="magic"),
        DoctorConfig(engine="server", base_url="http://localhost:1/v1"),
    ],
)
def test_called_wrongly(config: DoctorConfig) -> None:
    with pytest.raises(UsageError):
        doctor.run(config)


# the whole command


def test_the_embedded_model_points_in_its_space() -> None:
    pytest.importorskip("torch")
    started = time.process_time()
    result = CliRunner().invoke(app, ["doctor", "--json"], prog_name="iadr1")
    report = json.loads(result.stdout)
    assert time.process_time() - started < 20
    assert report["grounding"]["verdict"] == "agrees", report["grounding"]["why"]
    assert report["grounding"]["best"] == "input_px"
    rows = {f"{row['group']} {row['name']}": row for row in report["rows"]}
    for name in ("engine model", "engine answer", "engine probabilities", "masks segmenter", "boxes space"):
        assert rows[name]["state"] == "ok", rows[name]
    assert result.exit_code == (1 if any(row["state"] == "fail" for row in report["rows"]) else 0)


def test_stored_answers_to_other_questions_are_not_judged(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "a", "text": "Yes"}\n', encoding="utf-8")
    report = doctor.run(DoctorConfig(engine="replay", model=str(file)))
    assert {row.name: row.state for row in report.rows if row.group == "boxes"} == {"space": "skip"}


def test_a_server_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    words = ["doctor", "--engine", "server", "--base-url", "http://127.0.0.1:9/v1", "--family", "qwen2_5_vl", "--json"]
    result = CliRunner().invoke(app, [*words, "--retries", "0"], prog_name="iadr1")
    rows = {f"{row['group']} {row['name']}": row for row in json.loads(result.stdout)["rows"]}
    assert result.exit_code == 1
    assert rows["engine served models"]["state"] == "warn"
    assert rows["engine answer"]["state"] == "fail"
    assert "boxes space" not in rows


def test_the_base_install_is_enough_for_the_doctor(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BASE_ONLY, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.returncode == 1, done.stderr
    rows = {f"{row['group']} {row['name']}": row for row in json.loads(done.stdout)["rows"]}
    assert rows["packages extra model"]["state"] == "fail"
    assert rows["packages extra model"]["advice"] == 'pip install "iadr1[model]"'
    assert rows["model weights"]["state"] == "ok"
    assert rows["engine device"]["state"] == "fail"
    assert "iadr1[model]" in rows["engine device"]["advice"]
    assert rows["masks segmenter"]["state"] == "fail"
    assert "iadr1[masks]" in rows["masks segmenter"]["advice"]
    assert rows["engine model"]["state"] == "skip"
    assert rows["hub cache"]["state"] == "skip"
