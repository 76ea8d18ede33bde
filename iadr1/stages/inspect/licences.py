"""`iadr1 data licences`: under which licences the records of samples files are, and what these permit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iadr1.licences import permits_commercial
from iadr1.records import Sample, read_records
from iadr1.stages.inspect.lines import Progress, count_lines


@dataclass
class LicenceUse:
    """What stands under one licence.

    Attributes:
        licence: As the records state it.
        commercial: Whether it permits commercial use; None where its name does not tell.
        records: Samples.
        images: Different images.
        datasets: Names of the data sets, in the order they come.
        sources: Where they come from, in the order they come.
    """

    licence: str
    commercial: bool | None
    records: int = 0
    images: int = 0
    datasets: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def run(paths: Sequence[Path], *, progress: Progress | None = None) -> list[LicenceUse]:
    """The licences of all records of the files, the most frequent first.

    Raises:
        DataError: A file cannot be read, is empty, or a line is no sample.
    """
    report = progress or (lambda name, done, of: None)
    uses: dict[str, LicenceUse] = {}
    for path in paths:
        total = count_lines(path)
        images: dict[str, set[str]] = {}
        for number, sample in enumerate(read_records(path, Sample), start=1):
            use = uses.setdefault(sample.licence, LicenceUse(sample.licence, permits_commercial(sample.licence)))
            use.records += 1
            images.setdefault(sample.licence, set()).add(sample.image)
            _note(use.datasets, sample.dataset)
            _note(use.sources, sample.source)
            report(path.name, number, total)
        # Two files may have different roots, so that equal paths are different images.
        for licence, found in images.items():
            uses[licence].images += len(found)
    return sorted(uses.values(), key=lambda use: (-use.records, use.licence))


def _note(names: list[str], name: str) -> None:
    if name and name not in names:
        names.append(name)
