"""Shards of a run become one folder, as if one machine had looked at all photos."""

from __future__ import annotations

import dataclasses
import heapq
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1 import parallel
from iadr1.config import DetectConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.provenance import digest, write_run
from iadr1.records import Detection, read_records, write_records
from iadr1.stages.detect.folder import RECORDS, claim, clear, content_of, differences, locked
from iadr1.stages.detect.photos import find
from iadr1.stages.detect.settings import check_report
from iadr1.stages.detect.summary import HEAD, REFERENCE_FIGURES, Compared, DetectSummary, finish
from iadr1.stages.inspection import Photo
from iadr1.stages.inspection.setup import refuse_unread
from iadr1.stages.scoring import RunInfo, shard_folders

_READ = frozenset({"images", "out", "report", "language", "overwrite", "join"})
_FIGURES = frozenset({"counts", "errors", "without_reference", "fewer_references", "no_score"})
"""Entries of `run.json` that are there where a run has come to its end, and are counted anew."""
_NAMED = 3


def join(config: DetectConfig, *, progress: Callable[[int, int], None] | None = None) -> DetectSummary:
    """Join the shards that lie in `out`: records, masks and overlays are copied, table and report written anew.

    The folder is then that of a run over all photos, which the same command without `--shard` goes on in. The shards
    stay as they are. A join that was stopped is begun again by the same command, and so is one after shards were run
    again; but what a run without shards has found in `out` since is not replaced.

    Args:
        config: `images`, `out`, `report`, `language` and `overwrite` are read.
        progress: Called with (photos done, photos in all).

    Raises:
        UsageError: A setting that joining does not read; shards are missing, unfinished, of different runs, or do not
            hold each photo once; the photos are not those that the shards looked at; or `out` holds the results of
            another run, or of one without shards.
        DataError: A record, or a file it names, cannot be read.
        OutputError: The folder cannot be written to.
    """
    for field in dataclasses.fields(config):
        if field.name not in _READ:
            refuse_unread(config, field.name, "--join takes what the shards have found")
    check_report(config)
    shards = _shards(config.out)
    with locked(config.out):
        return _joined(config, shards, progress or (lambda done, total: None))


def _joined(config: DetectConfig, shards: Sequence[RunInfo], report: Callable[[int, int], None]) -> DetectSummary:
    found = find(config, glob=str(shards[0].entry("config").get("glob", "*")))
    order = _order(config, shards, found.photos)
    if claim(config.out, shards[0].values, overwrite=config.overwrite):
        clear(config.out)
    _keep_own(config.out)
    info = _info(shards)
    write_run(config.out, info)
    report(0, len(order))

    def copied() -> Iterator[Detection]:
        parts = [_placed(shard.path.parent, order) for shard in shards]
        for done, (_, folder, record) in enumerate(heapq.merge(*parts, key=lambda part: part[0]), start=1):
            for name in filter(None, (record.overlay, *(defect.mask for defect in record.defects))):
                _copy(folder / name, config.out / name)
            yield record
            report(done, len(order))

    # The records appear last and all at once: what they name is there by then.
    write_records(config.out / RECORDS, copied())
    asked = shards[0].entry("config")
    return finish(
        dataclasses.replace(config, shots=asked.get("shots", config.shots)),
        info,
        found=found,
        compared=_compared(shards),
        no_score=next((why for shard in shards if (why := shard.values.get("no_score")) is not None), None),
        joined=len(shards),
    )


def _compared(shards: Sequence[RunInfo]) -> Compared:
    """What the photos of all shards were compared with."""
    folder = shards[0].entry("config").get("references")
    found: list[int] = [shard.values.get("among_references", 0) for shard in shards]
    damaged = dict.fromkeys(why for shard in shards for why in shard.values.get("damaged_references", ()))
    return Compared(Path(folder) if folder is not None else None, sum(found), tuple(damaged))


def _keep_own(out: Path) -> None:
    """Refuse to replace what a run without shards has found: only a join's records are in the shards as well.

    Raises:
        UsageError: There are such records.
    """
    if "joined" in RunInfo.beside(out / RECORDS).values or not (out / RECORDS).exists():
        return
    if any(True for _ in read_records(out / RECORDS, Detection)):
        raise UsageError(
            f"{str(out)!r} holds what a run without --shard has found, which the shards would replace",
            hint="go on in it with the same command without --join, or replace it with --overwrite",
        )


def _shards(out: Path) -> list[RunInfo]:
    """The runs of all shards, each at its end and all of one run.

    Raises:
        UsageError: They are not all there, not at their end, or not of one run.
    """
    names = shard_folders(out) if out.is_dir() else []
    if not names:
        raise UsageError(f"no shards in {str(out)!r}", hint="detect with --shard 1/N to N/N and the same --out first")
    shards = [RunInfo.beside(out / name / RECORDS) for name in names]
    for what, lacking in (
        ("missing", [shard for shard in shards if not shard.values]),
        ("not at its end", [shard for shard in shards if not shard.values.keys() >= _FIGURES]),
    ):
        if lacking:
            told = ", ".join(shard.path.parent.name for shard in lacking)
            number = names.index(lacking[0].path.parent.name) + 1
            raise UsageError(f"{what}: {told}", where=str(out), hint=f"detect with --shard {number}/{len(names)}")
    for name, shard in zip(names, shards, strict=True):
        if shard.values.get("command") != "detect" or shard.shard is None or shard.shard.folder != name:
            raise UsageError(f"it is not the run of {name}", where=str(shard.path))
        _check_same(shards[0], shard)
    return shards


def _check_same(first: RunInfo, other: RunInfo) -> None:
    changed = [f"{name} {one} and {two}" for name, one, two in differences(first.values, other.values)]
    if changed:
        raise UsageError(
            f"{first.path.parent.name} and {other.path.parent.name} are of different runs: {', '.join(changed)}",
            where=str(other.path),
            hint="detect the odd one again with the settings of the others and --overwrite",
        )


def _order(config: DetectConfig, shards: Sequence[RunInfo], photos: Sequence[Photo]) -> dict[str, int]:
    """Photo -> its place in the joined records.

    Raises:
        UsageError: A photo has no record, or one in two shards, or is not the one that its shard looked at.
    """
    asked = shards[0].entry("config")
    order = {photo.name: place for place, photo in enumerate(photos)}
    found: dict[str, str] = {}
    contents: dict[str, str | None] = {}
    for shard in shards:
        folder = shard.path.parent
        for record in read_records(folder / RECORDS, Detection):
            if record.image in found:
                _refuse([record.image], f"in {found[record.image]} and in {folder.name}")
            found[record.image], contents[record.image] = folder.name, record.image_sha256
            order.setdefault(record.image, len(order))  # a photo that has gone since
    absent = [name for name in order if name not in found]
    if absent:
        _refuse(absent, "in no shard")
    if other := _others(photos, contents):
        there, hint = str(asked.get("images")), "detect with --shard again: changed photos are looked at anew"
        raise UsageError(
            f"{len(other)} of the photos in {str(config.images)!r} are not those that the shards looked at: "
            f"{_names(other)}",
            hint=hint if there == str(config.images) else f"name the folder that they looked at, {there!r}; or {hint}",
        )
    return order


def _others(photos: Sequence[Photo], contents: Mapping[str, str | None]) -> list[str]:
    """The photos whose bytes are not those that were looked at; what could not be read has none."""
    known = [photo for photo in photos if contents[photo.name] is not None]
    now = parallel.ordered(content_of, (photo.path for photo in known))
    return [photo.name for photo, content in zip(known, now, strict=True) if content != contents[photo.name]]


def _names(photos: Sequence[str]) -> str:
    return ", ".join(photos[:_NAMED]) + (" ..." if len(photos) > _NAMED else "")


def _refuse(photos: Sequence[str], where: str) -> None:
    raise UsageError(
        f"{len(photos)} of the photos {where}: {_names(photos)}",
        hint="which photos a shard holds follows from all photos; where some were added or taken away meanwhile, "
        "detect all shards again with --overwrite",
    )


def _info(shards: Sequence[RunInfo]) -> dict[str, Any]:
    """What `run.json` says of the whole run: as the first shard's, with the versions of all."""
    config = {**shards[0].entry("config"), "shard": None}
    anew = _FIGURES.union(REFERENCE_FIGURES)
    heads: list[Mapping[str, Any]] = [shard.entry(HEAD) for shard in shards]
    versions = dict.fromkeys(head["Versions"] for head in heads if "Versions" in head)
    return {
        **{name: value for name, value in shards[0].values.items() if name not in anew},
        "config": config,
        "config_hash": digest(config),
        HEAD: {**heads[0], "Config hash": digest(config), "Versions": "; ".join(versions)},
        "joined": [shard.path.parent.name for shard in shards],
    }


def _placed(folder: Path, order: Mapping[str, int]) -> Iterator[tuple[int, Path, Detection]]:
    for record in read_records(folder / RECORDS, Detection):
        yield order[record.image], folder, record


def _copy(source: Path, target: Path) -> None:
    """A file that is there whole or not at all."""
    if not source.is_file():
        raise DataError("the file that a record names is gone", where=str(source))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot copy: {error.strerror or error}", where=str(target)) from error
