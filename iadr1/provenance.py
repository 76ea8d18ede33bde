"""`run.json`: what was run, with which settings, versions, data and seed, so that a result can be traced."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import iadr1
from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, Iadr1Error
from iadr1.images import file_sha256

RUN = "run.json"
_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "peft",
    "deepspeed",
    "numpy",
    "pillow",
    "opencv-python-headless",
)


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values; paths become strings."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a JSON value with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(
    command: str, config: Any, *, data: Iterable[Path] = (), extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Everything `run.json` holds for one run.

    Args:
        command: The stage, for example `train`.
        config: The resolved config dataclass.
        data: Input files, recorded with their SHA-256.
        extra: Figures of the run itself.
    """
    return {
        "command": command,
        "config": plain(config),
        "config_hash": digest(plain(config)),
        "data": {str(path): file_sha256(path) for path in data},
        "iadr1": iadr1.__version__,
        "git_commit": _git_commit(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {platform.processor() or 'cpu'}",
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **(extra or {}),
    }


def write_run(out: Path, info: Mapping[str, Any]) -> Path:
    """Write `run.json` into a run's folder, atomically."""
    path = out / RUN
    write_text_atomic(path, json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    return path


def read_run(folder: Path, *, kind: type[Iadr1Error] = DataError, hint: str | None = None) -> dict[str, Any] | None:
    """What the `run.json` of a run's folder says; None where it has none.

    Args:
        folder: The run's folder.
        kind: The error where it cannot be read: UsageError where the folder was named to be written into.
        hint: What to do then.

    Raises:
        Iadr1Error: Of this kind: it cannot be read, or is no JSON object.
    """
    path = folder / RUN
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise kind(f"cannot read: {error}", where=str(path), hint=hint) from error
    if not isinstance(value, dict):
        raise kind("not an object", where=str(path), hint=hint)
    return value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout the package runs from; None for an installed package."""
    folder = Path(iadr1.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
