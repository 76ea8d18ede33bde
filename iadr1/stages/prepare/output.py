"""Writing a samples file with its sidecar: atomic, never over a file of somebody else's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample, meta_path, write_records


def write_samples(out: Path, samples: Iterable[Sample], *, root: Path, meta: Mapping[str, Any]) -> int:
    """Write samples and their sidecar so that a kill at any moment leaves a pair that the next run accepts.

    Args:
        out: The JSONL file.
        samples: Written as they come.
        root: The folder their paths are relative to.
        meta: What else the sidecar says; looked at when all samples are written, so that they may add to it.

    Returns:
        How many samples.
    """
    new = out.with_name(f".{out.name}.new")
    count = write_records(new, samples)
    sidecar = {
        "root": relative(root, out.parent),
        **meta,
        "records": count,
        "sha256": file_sha256(new),
        # Until the samples file is renamed, the old one is the valid one.
        "replaces": file_sha256(out) if out.exists() else None,
    }
    write_text_atomic(meta_path(out), json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n")
    new.replace(out)
    return count


def check_out(out: Path) -> None:
    """Make sure that a samples file may have this name.

    Raises:
        UsageError: It is a folder, or does not end in `.jsonl`: `a.jsonl` and `a.json` would share a sidecar.
    """
    if out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a folder", hint="name the JSONL file to write")
    if out.suffix != ".jsonl":
        raise UsageError(
            f"--out {str(out)!r} does not end in .jsonl", hint=f"write it like --out {out.with_name('samples.jsonl')}"
        )


def refuse_foreign(out: Path) -> None:
    """Make sure that an existing file may be replaced: its sidecar says that `prepare` wrote it as it is.

    Raises:
        OutputError: It was not written by `prepare`, or was changed since.
    """
    if not out.exists():
        return
    known: tuple[Any, ...] = ()
    if meta_path(out).exists():
        try:
            meta = json.loads(meta_path(out).read_text(encoding="utf-8"))
            known = (meta["sha256"], meta.get("replaces"))
        except (ValueError, KeyError, TypeError, AttributeError):
            known = ()
    if file_sha256(out) not in known:
        raise OutputError(
            "the file was not written by 'iadr1 prepare', or was changed since; it is left as it is",
            where=str(out),
            hint="move it away or choose another --out",
        )


def relative(target: Path, start: Path) -> str:
    """`target` as seen from `start`, as POSIX; pathlib's walk_up needs Python 3.12."""
    return Path(os.path.relpath(target.resolve(), start.resolve())).as_posix()
