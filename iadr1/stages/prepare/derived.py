"""Sets that are made from samples already prepared: few-shot, chain of thought, crops, splits, joined files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from iadr1 import leaks
from iadr1.config import PrepareConfig
from iadr1.datasets import expert_ad, fewshot
from iadr1.errors import DataError, UsageError
from iadr1.licences import permits_commercial
from iadr1.provenance import describe
from iadr1.records import Sample, read_records, resolve_root
from iadr1.stages.prepare.crops import PHOTOS, REFERENCES, Counts, CropPlan, crops, pictures, with_references
from iadr1.stages.prepare.output import check_out, refuse_foreign, relative, write_samples
from iadr1.stages.prepare.splitting import SIDES, divide
from iadr1.stages.prepare.summary import PrepareSummary, Progress


@dataclass(frozen=True)
class Derived:
    """A set made from prepared files.

    Attributes:
        make: Makes it as a config says.
        options: The config's fields it reads.
        title: What it is.
    """

    make: Callable[[PrepareConfig, Progress], PrepareSummary]
    options: tuple[str, ...]
    title: str


def make_fewshot(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Choose the few-shot set of AnomalyR1 section 3.5 and write it with its leak manifest.

    Raises:
        UsageError: An option is missing or out of range.
        DataError: There are fewer images than asked for, or a prepared file is broken.
    """
    out = _out(config)
    root = _common_root(config)
    pool = _counted(_rebased(config, root), "samples read", report)
    chosen = fewshot.select(
        pool,
        images=config.size,
        per_class=_per_class(config.per_class),
        normal_share=_share(config.normal_share),
        seed=config.seed,
    )
    samples = [sample.model_copy(update={"split": "train"}) for sample in chosen]
    built = leaks.build_manifest(samples, root)
    manifest = leaks.manifest_path(out)
    # A run killed between the two files leaves none, rather than one that speaks of other samples.
    manifest.unlink(missing_ok=True)
    meta = _meta(config)
    count = write_samples(out, _noted(samples, "few-shot set", meta), root=root, meta=meta)
    leaks.write(manifest, built)
    normal = sum(sample.is_anomalous is False for sample in samples)
    classes = {(sample.dataset, sample.category) for sample in samples}
    lines = [
        f"{out}: {count} images, one question each: {normal} normal, {count - normal} defective, "
        f"categories: {len(classes)}",
        f"{manifest}: the images an evaluation must not contain; `iadr1 eval --leaks` reads it",
    ]
    return PrepareSummary(lines, {out: count}, written=3)


def make_expert_ad(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write yes/no samples with templated reasoning, in the manner of IAD-R1's Expert-AD, from masked samples.

    Raises:
        UsageError: An option is missing.
        DataError: A prepared file is broken, or holds no yes/no samples.
    """
    out = _out(config)
    root = _common_root(config)
    built = expert_ad.build(_rebased(config, root), seed=config.seed)
    meta = _meta(config)
    samples = _noted(_counted(built, config.source, report), "Expert-AD manner, templated", meta)
    count = write_samples(out, samples, root=root, meta=meta)
    return PrepareSummary(
        [f"{out}: {count} samples with templated reasoning (reasoning_source: template)"], {out: count}, written=2
    )


def make_crops(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write the looks of `detect --tiles`, and mirrored copies, as pictures and samples of their own.

    Raises:
        UsageError: An option is missing or out of range.
        DataError: A prepared file is broken, or holds other than yes/no samples.
        OutputError: A folder of others lies where the pictures are to lie, or they cannot be written.
    """
    out = _out(config)
    plan = CropPlan(config.tiles, config.mirror, _share(config.normal_share), config.seed)
    root = _common_root(config)
    if config.shots < 0:
        raise UsageError(f"--shots is {config.shots}, it must not be negative")
    samples = [with_references(sample, config.shots) for sample in _rebased(config, root)]
    counts, meta, folder = Counts(), _meta(config), out.with_suffix("")
    with pictures(out, plan) as new:
        cut = list(_noted(_counted(crops(samples, root, new, plan, counts), config.source, report), "Crops", meta))
    count = write_samples(out, cut, root=folder, meta=meta)
    lines = [
        f"{out}: {count} samples: {counts.photos} whole photos, {counts.defective} tiles with a defect, "
        f"{counts.normal} without{', each also mirrored in three ways' if plan.mirror else ''}",
        f"{counts.left_out} tiles with too small a part of a defect, or of photos whose defects have no known place, "
        f"are left out; so are {counts.spare} of the tiles without a defect (--normal-share {plan.normal_share:g})",
        f"pictures in {folder / PHOTOS}, what they are compared with in {folder / REFERENCES} under the same names",
    ]
    return PrepareSummary(lines, {out: count}, written=2 + count)


def make_split(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write the part of prepared samples that `split` names; the groups of `group` stay together.

    Raises:
        UsageError: An option is missing, `split` is neither part, or `group` does not match every image.
        DataError: A prepared file is broken, or its images are of one group.
    """
    out = _out(config)
    if config.split not in SIDES or config.group is None:
        raise UsageError(
            f"the source {config.source!r} needs --group, and --split train or --split test",
            hint=f"iadr1 prepare split --data all.jsonl --group 'part[0-9]+' --split train --out {out}",
        )
    root = _common_root(config)
    read = list(_counted(_rebased(config, root), "samples read", report))
    found = divide(read, group=config.group, share=config.share, seed=config.seed)
    own = [sample for sample in found if sample.split == config.split]
    meta = _meta(config)
    count = write_samples(out, _noted(own, f"The part {config.split}", meta), root=root, meta=meta)
    bare = sum(not sample.references for sample in own)
    lines = [f"{out}: {count} of {len(found)} samples, the part {config.split!r}, by groups {config.group!r}"]
    lines += [f"{bare} of them have no reference on this side"] if bare else []
    return PrepareSummary(lines, {out: count}, written=2)


def make_join(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write the samples of several files, of any task, into one: one run of `sft` learns all of them.

    Raises:
        UsageError: An option is missing.
        DataError: A prepared file is broken.
    """
    out = _out(config)
    root = _common_root(config)
    meta = _meta(config)
    samples = _noted(_counted(_rebased(config, root), config.source, report), "Joined", meta)
    count = write_samples(out, samples, root=root, meta=meta)
    return PrepareSummary([f"{out}: {count} samples of {len(config.data)} files"], {out: count}, written=2)


DERIVED: Mapping[str, Derived] = {
    "fewshot": Derived(
        make_fewshot,
        ("data", "out", "size", "per_class", "normal_share", "seed", "commercial_only"),
        "the few-shot set of AnomalyR1, chosen from prepared files",
    ),
    "expert-ad": Derived(
        make_expert_ad,
        ("data", "out", "seed", "commercial_only"),
        "chain-of-thought samples in IAD-R1's manner, made from prepared files",
    ),
    "crops": Derived(
        make_crops,
        ("data", "out", "tiles", "mirror", "shots", "normal_share", "seed", "commercial_only"),
        "the tiles that `detect --tiles` looks at, and mirrored copies, of prepared photos",
    ),
    "split": Derived(
        make_split,
        ("data", "out", "group", "share", "split", "seed", "commercial_only"),
        "the training or the test part of prepared files, without a piece that is in the other",
    ),
    "join": Derived(
        make_join,
        ("data", "out", "commercial_only"),
        "several prepared files in one",
    ),
}
"""Sources that take `--data` instead of `--root`."""


def _out(config: PrepareConfig) -> Path:
    if not config.data or config.out is None:
        missing = "--out" if config.data else "--data"
        raise UsageError(
            f"the source {config.source!r} needs {missing}",
            hint=f"iadr1 prepare {config.source} --data PREPARED.jsonl [--data ...] --out FILE.jsonl",
        )
    for path in config.data:
        if not path.is_file():
            raise UsageError(f"no samples file {str(path)!r}", hint="--data names files written by 'iadr1 prepare'")
    check_out(config.out)
    places = [path.resolve() for path in config.data]
    if config.out.resolve() in places:
        raise UsageError(f"--out {str(config.out)!r} is one of the files that are read", hint="choose another --out")
    twice = [str(path) for path, place in zip(config.data, places, strict=True) if places.count(place) > 1]
    if twice:
        raise UsageError(f"--data names one file twice: {', '.join(twice)}", hint="give each file once")
    refuse_foreign(config.out)
    return config.out


def _common_root(config: PrepareConfig) -> Path:
    roots = [resolve_root(path).resolve() for path in config.data]
    return Path(os.path.commonpath(roots))


def _rebased(config: PrepareConfig, root: Path) -> Iterator[Sample]:
    """The samples of all files with paths relative to the common root; an id of two files gets the later one's name."""
    seen: set[str] = set()
    for path in config.data:
        prefix = relative(resolve_root(path), root)
        earlier = frozenset(seen)
        for number, sample in enumerate(read_records(path, Sample), start=1):
            if config.commercial_only and not permits_commercial(sample.licence):
                continue
            name = sample.id if sample.id not in earlier else f"{path.stem}:{sample.id}"
            if name in seen:
                raise DataError(
                    f"the id {name!r} occurs twice",
                    where=f"{path}:{number}",
                    hint="'iadr1 data check' names all of a file; two files of one name must be renamed",
                )
            seen.add(name)
            yield _moved(sample, "" if prefix == "." else f"{prefix}/").model_copy(update={"id": name})
    if not seen:
        what = "no sample whose licence permits commercial use" if config.commercial_only else "no sample"
        hint = "'iadr1 data licences' lists them" if config.commercial_only else None
        raise DataError(f"the files hold {what}", where=", ".join(map(str, config.data)), hint=hint)


def _moved(sample: Sample, prefix: str) -> Sample:
    if not prefix:
        return sample
    defects = tuple(
        defect.model_copy(update={"mask": defect.mask and prefix + defect.mask}) for defect in sample.defects
    )
    return sample.model_copy(
        update={
            "image": prefix + sample.image,
            "references": tuple(prefix + path for path in sample.references),
            "similar_references": tuple(prefix + path for path in sample.similar_references),
            "defects": defects,
        }
    )


def _meta(config: PrepareConfig) -> dict[str, object]:
    return {"run": describe("prepare", config, data=config.data)}


def _noted(samples: Iterable[Sample], title: str, meta: dict[str, object]) -> Iterator[Sample]:
    """The samples as they come; at their end `meta` says where they come from and under which licences they are."""
    sources: set[str] = set()
    licences: set[str] = set()
    for sample in samples:
        sources.add(sample.source)
        licences.add(sample.licence)
        yield sample
    meta |= {"source": f"{title} from {', '.join(sorted(sources))}", "licence": " AND ".join(sorted(licences))}


def _per_class(text: str | None) -> tuple[int, int] | None:
    """`MIN..MAX` as two numbers."""
    if text is None:
        return None
    low, dots, high = text.partition("..")
    if not (dots and low.isdecimal() and high.isdecimal() and int(low) <= int(high) and int(high) > 0):
        raise UsageError(f"--per-class {text!r} is not MIN..MAX", hint="write it like --per-class 1..20")
    return int(low), int(high)


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise UsageError(f"--normal-share is {value}, it must be in 0..1")
    return value


def _counted(found: Iterator[Sample], name: str, report: Progress) -> Iterator[Sample]:
    for number, sample in enumerate(found, start=1):
        yield sample
        report(name, number, 0)
