"""A small drawn world and a small new model, made once for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pretrain.world import new, write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A samples file about sixteen drawn images, the even ones with a photo of a good product."""
    return write_world(tmp_path_factory.mktemp("world"), 16)


@pytest.fixture(scope="session")
def model(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with random weights for `world`."""
    return new(tmp_path_factory.mktemp("new") / "model", world)
