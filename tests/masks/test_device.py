from __future__ import annotations

import pytest
import torch

from iadr1.errors import ModelChoiceError
from iadr1.masks.device import pick_device, pick_dtype


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (8, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpus(monkeypatch, 0)
    assert pick_device("auto") == "cpu"
    _gpus(monkeypatch, 2)
    assert [pick_device(choice) for choice in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]


@pytest.mark.parametrize("choice", ["warp9", "cuda:", "cuda:x", "CUDA", "cuda:0 ", "mps", ""])
def test_unknown_devices_name_the_known_ones(choice: str) -> None:
    with pytest.raises(ModelChoiceError, match=r"no device .* \(use auto, cpu, cuda or cuda:N\)"):
        pick_device(choice)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpus(monkeypatch, 0)
    with pytest.raises(ModelChoiceError, match=r"no device 'cuda:0': PyTorch sees no CUDA GPU \(use cpu\)"):
        pick_device("cuda:0")
    _gpus(monkeypatch, 2)
    with pytest.raises(ModelChoiceError, match="no device 'cuda:2': there are 2, cuda:0 to cuda:1"):
        pick_device("cuda:2")


def test_the_number_format_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype("auto", "cpu") == torch.float32
    assert pick_dtype("bfloat16", "cpu") == torch.bfloat16
    _gpus(monkeypatch, 1, (9, 0))
    assert pick_dtype("auto", "cuda") == torch.bfloat16
    assert pick_dtype("float16", "cuda") == torch.float16
    _gpus(monkeypatch, 1, (7, 5))
    assert pick_dtype("auto", "cuda") == torch.float16


def test_formats_a_device_cannot_compute_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelChoiceError, match="no dtype 'int8'"):
        pick_dtype("int8", "cpu")
    with pytest.raises(ModelChoiceError, match="'float16' needs a GPU"):
        pick_dtype("float16", "cpu")
    _gpus(monkeypatch, 1, (7, 5))
    with pytest.raises(ModelChoiceError, match="'bfloat16' needs a newer GPU"):
        pick_dtype("bfloat16", "cuda:0")
