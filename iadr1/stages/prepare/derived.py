"""Sets that are made from samples already prepared: the few-shot set, and chain-of-thought data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from iadr1 import leaks
from iadr1.config import PrepareConfig
from iadr1.datasets import expert_ad, fewshot
from iadr1.errors import DataError, UsageError
from iadr1.licences import permits_commercial
from iadr1.provenance import describe
from iadr1.records import Sample, read_records, resolve_root
from iadr1.stages.prepare.output import refuse_foreign, relative, write_samples
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
    count = write_samples(out, samples, root=root, meta=_meta(config, "few-shot set", samples))
    manifest = leaks.manifest_path(out)
    leaks.write(manifest, leaks.build_manifest(samples, root))
    normal = sum(sample.is_anomalous is False for sample in samples)
    classes = {(sample.dataset, sample.category) for sample in samples}
    lines = [
        f"{out}: {count} images, one question each: {normal} normal, {count - normal} defective, "
        f"{len(classes)} categories",
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
    samples = list(_counted(built, config.source, report))
    if not samples:
        raise DataError("no yes/no sample to reason about", where=", ".join(map(str, config.data)))
    count = write_samples(out, samples, root=root, meta=_meta(config, "Expert-AD manner, templated", samples))
    return PrepareSummary(
        [f"{out}: {count} samples with templated reasoning (reasoning_source: template)"], {out: count}, written=2
    )


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
    refuse_foreign(config.out)
    return config.out


def _common_root(config: PrepareConfig) -> Path:
    roots = [resolve_root(path).resolve() for path in config.data]
    return Path(os.path.commonpath(roots))


def _rebased(config: PrepareConfig, root: Path) -> Iterator[Sample]:
    """The samples of all files with paths relative to the common root; ids that occur twice get their file's name."""
    seen: set[str] = set()
    for path in config.data:
        prefix = relative(resolve_root(path), root)
        for number, sample in enumerate(read_records(path, Sample), start=1):
            if config.commercial_only and not permits_commercial(sample.licence):
                continue
            name = sample.id if sample.id not in seen else f"{path.stem}:{sample.id}"
            if name in seen:
                raise DataError(f"the id {sample.id!r} occurs twice", where=f"{path}:{number}")
            seen.add(name)
            yield _moved(sample, "" if prefix == "." else f"{prefix}/").model_copy(update={"id": name})


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


def _meta(config: PrepareConfig, title: str, samples: list[Sample]) -> dict[str, object]:
    return {
        "source": f"{title} from {', '.join(sorted({sample.source for sample in samples}))}",
        "licence": " AND ".join(sorted({sample.licence for sample in samples})),
        "run": describe("prepare", config, data=config.data),
    }


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
