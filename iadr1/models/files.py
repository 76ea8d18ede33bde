"""Whether a model's folder holds what every loader needs beside the weights; torch is not needed to tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from iadr1.errors import ModelError
from iadr1.models.profiles import check_family

AGAIN = "get the folder's files again: a download was not finished, or Git LFS left only pointers (git lfs pull)"
"""What to do about a file that is broken."""

_IMAGES = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))
_SETTINGS = ("tokenizer_config.json", *_IMAGES)


def read_object(path: Path) -> dict[str, Any]:
    """The value of a JSON file of a model's folder.

    Raises:
        ModelError: It cannot be read or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=path.name, hint=AGAIN) from error
    if not isinstance(value, dict):
        raise ModelError("is no JSON object", where=path.name, hint=AGAIN)
    return value


def processor_files(folder: Path) -> list[str]:
    """The names of the files that image processor and tokenizer are made from.

    Raises:
        ModelError: There is no image processor or no tokenizer, for which transformers would make an empty one.
    """
    images = [file for file in _IMAGES if (folder / file).is_file()]
    words = [group for group in _TOKENIZERS if all((folder / file).is_file() for file in group)]
    if not images or not words:
        lacking = "image processor (preprocessor_config.json)" if not images else "tokenizer (tokenizer.json)"
        raise ModelError(
            f"no {lacking}",
            hint="copy preprocessor_config.json and the tokenizer's files from the model it was trained from",
        )
    return [*images, *words[0]]


def check_files(folder: Path) -> None:
    """Make sure that a model's folder is of a known family, has image processor and tokenizer, and JSON is JSON.

    Raises:
        ModelError: It is not, or has not.
    """
    try:
        check_family(read_object(folder / "config.json").get("model_type"))
        processor_files(folder)
        for name in _SETTINGS:
            if (folder / name).is_file():
                read_object(folder / name)
    except ModelError as error:
        fault = f"{error.where}: {error.message}" if error.where else error.message
        raise ModelError(f"cannot load the model {str(folder)!r}: {fault}", hint=error.hint) from error
