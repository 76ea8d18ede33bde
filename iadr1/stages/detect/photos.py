"""The photos of a run, and what lies among them and is passed by: links to folders, pipes, other runs' results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from iadr1.config import DetectConfig
from iadr1.errors import DataError, UsageError
from iadr1.provenance import RUN, read_run
from iadr1.stages.inspection import Photo, find_photos, utf8
from iadr1.stages.inspection.photos import left_out

LINKED, BROKEN, SPECIAL = "links to folders", "broken links", "pipes and devices"
RESULTS = "folders with results of other runs"
_DRAWN = ("masks", "overlays")
"""Where a run draws; photos in other folders below it are photos."""
_ONE = {
    LINKED: "link to a folder",
    BROKEN: "broken link",
    SPECIAL: "pipe or device",
    RESULTS: "folder with results of another run",
}


@dataclass(frozen=True)
class Found:
    """What lies in the folder of the photos.

    Attributes:
        photos: What is looked at.
        passed_by: What is not opened, by kind, relative to the folder.
        left_out: Suffix -> files that are not looked at, because no image that is read has such a name.
    """

    photos: list[Photo]
    passed_by: Mapping[str, list[str]]
    left_out: Mapping[str, int]


def find(config: DetectConfig, *, glob: str) -> Found:
    """The photos of all shards of a run, and what else is there.

    Args:
        config: `images` and `out` are read.
        glob: Shell pattern of the file names.

    Raises:
        UsageError: There are no photos.
    """
    photos = find_photos(config.images, config.out, glob=glob)
    passed_by: dict[str, list[str]] = {}
    for kind, name in _passed_by(config.images, config, glob) if config.images.is_dir() else ():
        passed_by.setdefault(kind, []).append(utf8(name))
    runs = [PurePosixPath(name) for name in passed_by.get(RESULTS, ())]
    kept = [photo for photo in photos if not any(_is_result(PurePosixPath(photo.name), run) for run in runs)]
    if not kept:
        raise UsageError(
            f"all {len(photos)} images in {str(config.images)!r} are results of other runs of iadr1",
            hint=f"name the folder of the photos; to look at those pictures, name their folder: {runs[0]}/",
        )
    suffixes = Counter(left_out(config.images, glob=glob))
    named = (name for kind in (BROKEN, SPECIAL) for name in passed_by.get(kind, ()))
    suffixes.subtract(suffix for name in named if (suffix := PurePosixPath(name).suffix.lower()) in suffixes)
    return Found(kept, passed_by, {suffix: count for suffix, count in suffixes.items() if count})


def _passed_by(folder: Path, config: DetectConfig, glob: str) -> Iterator[tuple[str, str]]:
    """Kind and path, relative to `images`, of what is not opened in a folder, in sorted order."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((one for one in listing if not one.name.startswith(".")), key=lambda one: one.name)
    except OSError:  # it has gone; one that cannot be read `find_photos` has told
        return
    shown = folder.relative_to(config.images)
    if folder != config.images and any(one.name == RUN for one in entries) and _is_run(folder):
        yield RESULTS, shown.as_posix()
        entries = [one for one in entries if one.name not in _DRAWN]
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            if path.resolve() != config.out.resolve():
                yield from _passed_by(path, config, glob)
        elif not entry.is_file(follow_symlinks=False):
            kind = _kind(path)
            if kind == LINKED or (kind and fnmatch(entry.name, glob)):
                yield kind, (shown / entry.name).as_posix()


def _is_result(photo: PurePosixPath, run: PurePosixPath) -> bool:
    """Whether a picture was drawn by a run: it lies directly in its folder, or in those that `detect` draws into."""
    return photo.parent == run or any(photo.is_relative_to(run / name) for name in _DRAWN)


def _kind(path: Path) -> str:
    """Of what is neither a folder nor a file itself; empty where it is a link to a file, or has gone."""
    try:
        if path.is_file():
            return ""
        return (LINKED if path.is_dir() else BROKEN) if path.is_symlink() else SPECIAL
    except OSError:  # what it links to may not be looked at
        return BROKEN


def _is_run(folder: Path) -> bool:
    """Whether this `run.json` is one of iadr1."""
    try:
        run = read_run(folder) or {}
    except DataError:
        return False
    return {"command", "iadr1"} <= run.keys()


def told_passed_by(found: Mapping[str, list[str]]) -> str:
    """`Found.passed_by` in one line: `not opened: 2 links to folders (a, b)`; empty where it is nothing."""
    parts = []
    for kind, names in found.items():
        named = ", ".join(names[:2]) + (" ..." if len(names) > 2 else "")
        parts.append(f"{len(names)} {kind if len(names) > 1 else _ONE[kind]} ({named})")
    return f"not opened: {'; '.join(parts)}" if parts else ""
