"""Tiny random models of all families, each built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of the tiny model of a family; it must not be written to."""
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        from tests.tiny_vlms import build

        if family not in built:
            built[family] = build(family, tmp_path_factory.mktemp(family))
        return built[family]

    return folder
