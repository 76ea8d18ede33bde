"""The Hugging Face hub without asking it: the cache, the settings, and what of a model is in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from iadr1.errors import MissingExtraError
from iadr1.stages.doctor.machine import disk_row
from iadr1.stages.doctor.rows import Row

_GROUP = "hub"


def hub_rows() -> list[Row]:
    """Cache folder, room on its disk, HF_HUB_OFFLINE, HF_ENDPOINT, whether a token is there."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        found = "huggingface-hub is not installed: models and sets have to be folders"
        return [Row(_GROUP, "cache", "skip", found, 'pip install "iadr1[model]"')]
    cache = Path(constants.HF_HUB_CACHE)
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    settings = f"HF_HUB_OFFLINE is {'on' if constants.HF_HUB_OFFLINE else 'off'}, endpoint {constants.ENDPOINT}"
    known = os.environ.get("HF_TOKEN") or Path(constants.HF_TOKEN_PATH).is_file()
    return [
        Row(_GROUP, "settings", "ok", f"{settings}, {'a' if known else 'no'} token"),
        Row(_GROUP, "cache", "ok", f"{models} models in {cache}"),
        disk_row("disk of the cache", cache, _GROUP),
    ]


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_folder(name: str) -> Path | None:
    """The folder of a hub id's newest snapshot in the cache; None where its config is not there.

    Raises:
        MissingExtraError: The package huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface-hub", "model", purpose="a model of the hub") from error
    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def absent(group: str, name: str, model: str) -> Row:
    """A model that is not in the cache: what that means on this machine."""
    fetch = f"hf download {model}"
    if offline():
        return Row(
            group,
            name,
            "fail",
            f"{model!r} is not in the cache and HF_HUB_OFFLINE is set",
            f"{fetch}, on a machine with network, and copy the cache; or name a folder",
        )
    return Row(
        group, name, "warn", f"{model!r} is not in the cache: the first command that uses it downloads it", fetch
    )
