"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a loadable, randomly initialised Qwen2.5-VL of about 0.1 M parameters."""
    from tests.tiny_qwen import build

    return build(tmp_path_factory.mktemp("tiny_qwen"))
