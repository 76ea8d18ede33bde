"""A data set on disk becomes one JSONL file: read, checked, hashed in parallel, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, get_args

from iadr1 import parallel
from iadr1.config import PrepareConfig
from iadr1.datasets import Facts, Files, Missing, Source
from iadr1.errors import DataError, UsageError
from iadr1.provenance import describe
from iadr1.records import Sample
from iadr1.stages.prepare.output import check_out, refuse_foreign, write_samples
from iadr1.stages.prepare.summary import PrepareSummary, Progress

_BATCH = 16


def prepare_source(config: PrepareConfig, source: Source, report: Progress) -> PrepareSummary:
    """Read a data set of `datasets.SOURCES` from `config.root` into the JSONL file `config.out`.

    What was learned about the files (hash, size, regions of masks) is kept in a hidden file beside the output and
    used again by the next run for files whose size and time have not changed.

    Raises:
        UsageError: A missing or superfluous option.
        DataError: The folder is not what it should be, or nothing is left after the filters.
        OutputError: The output cannot be written, or holds somebody else's file.
    """
    root, out = _places(config, source)
    refuse_foreign(out)
    facts = Facts(out.with_name(f".{out.stem}.facts.json"))
    files = Files(root, missing=_missing(config.missing), facts=facts)
    options: dict[str, Any] = {name: getattr(config, name) for name in source.options}
    found = filtered(source.scan(files, **options), splits=config.split, categories=config.category)
    samples = _readable(_not_empty(_counted(_completed(found, files), config.source, report), files))
    notes = dict(source.notes(root)) if source.notes else {}
    meta = {
        "source": source.title,
        "licence": source.licence,
        "page": source.page,
        "citation": source.citation,
        **notes,
        "run": describe("prepare", config),
    }
    complete = False
    try:
        count = write_samples(out, samples, root=root, meta=meta)
        complete = True
    finally:
        facts.save(complete=complete)
    lines = [f"{out}: {count} samples of {source.title} (licence: {source.licence})"]
    lines += [f"Warning: {warning}" for warning in notes.get("warnings", ())]
    if files.absent_text():
        left = "their samples are left out, or go without that reference"
        fate = left if config.missing == "skip" else "their samples are marked as missing"
        lines.append(f"Warning: {files.absent_text()}; {fate}.")
    return PrepareSummary(lines, {out: count}, written=2, broken=dict(sorted(files.broken.items())))


def _places(config: PrepareConfig, source: Source) -> tuple[Path, Path]:
    if config.root is None or config.out is None:
        missing = "--root" if config.root is None else "--out"
        raise UsageError(
            f"the source {config.source!r} needs {missing}",
            hint=f"iadr1 prepare {config.source} --root FOLDER --out FILE.jsonl; FOLDER holds {source.tree}",
        )
    if not config.root.is_dir():
        raise UsageError(f"no folder {str(config.root)!r}", hint=f"--root names the folder that holds {source.tree}")
    check_out(config.out)
    if config.annotations is not None and not config.annotations.exists():
        raise UsageError(
            f"no file or folder {str(config.annotations)!r}",
            hint="--annotations names the file with the truth (JSON, YAML or a table)",
        )
    if config.commercial_only and not source.commercial:
        raise UsageError(
            f"the licence of {source.title} ({source.licence}) does not permit commercial use, or none is stated",
            hint=f"see {source.page}; leave --commercial-only out for research",
        )
    return config.root, config.out


def _missing(text: str) -> Missing:
    if text not in get_args(Missing):
        raise UsageError(f"--missing {text!r} is unknown", hint=f"known: {', '.join(get_args(Missing))}")
    return text  # type: ignore[return-value]


def filtered(samples: Iterable[Sample], *, splits: str | None, categories: str | None) -> Iterator[Sample]:
    """The samples of the named splits and categories (comma-separated; None takes all).

    Where a split says whose it is before a hyphen (RefCOCO's `unc-train`), its last word names it too.

    Raises:
        DataError: At the end, where a name was never met, since a misspelt one must not just make the set smaller, or
            where a last word is that of several splits: what is `train` for one of them may be `test` for another.
    """
    wanted = {"split": _names(splits), "category": _names(categories)}
    seen: dict[str, set[str]] = {field: set() for field in wanted}
    for sample in samples:
        for field, values in seen.items():
            values.add(getattr(sample, field))
        if all(not names or names & _called(getattr(sample, field), field) for field, names in wanted.items()):
            yield sample
    for field, names in wanted.items():
        meant = {name: sorted(value for value in seen[field] if name in _called(value, field)) for name in names}
        unknown = sorted(name for name, values in meant.items() if not values)
        if unknown and seen[field]:
            known = ", ".join(sorted(seen[field]))
            raise DataError(f"the set has no {field} {', '.join(map(repr, unknown))}", hint=f"it has: {known}")
        for name, several in meant.items():
            if len(several) > 1:
                hint = f"--{field} {several[0]}, for example"
                raise DataError(f"the {field} {name!r} is each of {', '.join(several)}", hint=hint)


def _called(value: str, field: str) -> set[str]:
    """The names of a split or category: a split's last word is one as well."""
    return {value, value.rpartition("-")[2]} if field == "split" else {value}


def _names(text: str | None) -> set[str]:
    return {part.strip() for part in (text or "").split(",") if part.strip()}


def _completed(samples: Iterable[Sample], files: Files) -> Iterator[Sample]:
    """The samples with hash and size of their image; those of one image in a row share the look at it."""

    def complete(group: list[Sample]) -> list[Sample]:
        if group[0].missing:
            return group
        if not files.usable(group[0].image):
            return []
        facts = files.image(group[0].image)
        update = {"image_sha256": facts.sha256, "image_size": facts.size}
        return [sample.model_copy(update=update) for sample in group]

    def complete_all(groups: list[list[Sample]]) -> list[Sample]:
        return [sample for group in groups for sample in complete(group)]

    groups = (list(group) for _, group in groupby(samples, key=lambda sample: sample.image))
    # Several images at a time: handing each over alone costs more than looking at a small file.
    for finished in parallel.ordered(complete_all, _batches(groups, _BATCH)):
        yield from finished


def _batches(groups: Iterator[list[Sample]], size: int) -> Iterator[list[list[Sample]]]:
    while batch := list(islice(groups, size)):
        yield batch


def _counted(found: Iterable[Sample], name: str, report: Progress) -> Iterator[Sample]:
    for number, sample in enumerate(found, start=1):
        yield sample
        report(name, number, 0)


def _readable(found: Iterator[Sample]) -> Iterator[Sample]:
    """The samples; what the system refuses while they are read must not look like a fault of the output."""
    try:
        yield from found
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(error.filename or "")[:200]) from error


def _not_empty(found: Iterator[Sample], files: Files) -> Iterator[Sample]:
    first = next(found, None)
    if first is None:
        keep = "--missing keep keeps samples without their files"
        absent = files.absent_text() or "; ".join(f"{path}: {why}" for path, why in list(files.broken.items())[:3])
        raise DataError(
            f"no sample is left{f': {absent}' if absent else ''}",
            where=str(files.root),
            hint=keep if files.absent_text() else "choose other splits or categories",
        )
    yield first
    yield from found
