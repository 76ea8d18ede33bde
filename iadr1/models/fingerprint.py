"""Tells two checkpoints apart without reading gigabytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from iadr1.errors import ModelError

_WHOLE = 64 * 2**20
_BLOCK, _BLOCKS = 2**18, 32
_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".json", ".jinja", ".txt", ".model"})


def folder_fingerprint(folder: Path) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over a model folder's files and their names.

    Files up to 64 MiB count with all bytes, larger ones with their size and 32 blocks of 256 KiB spread evenly from
    the first to the last byte: two checkpoints of one training run have equal sizes, so sizes alone tell nothing.

    Raises:
        ModelError: A file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in _SUFFIXES:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                _add(digest, path)
    except OSError as error:
        raise ModelError(f"cannot read the model: {error.strerror}", where=str(folder)) from error
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read())
            return
        for index in range(_BLOCKS):
            file.seek(index * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
