"""Fixtures shared by all tests."""

from __future__ import annotations

import os

# Before torch is loaded: threads that wait busily make the tests ten times slower where a core is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loadable, randomly initialised Qwen2.5-VL of about 0.1 M parameters."""
    from tests.tiny_qwen import build

    return build(tmp_path_factory.mktemp("tiny_qwen"))
