"""Which questions are about images, or categories, that the model was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample
from iadr1.stages.scoring.gaps import listed
from iadr1.stages.scoring.reading import Item, Question, read_lines
from iadr1.stages.scoring.runs import RunInfo

FOUND = "leaks.jsonl"
"""What was found about each image, in the evaluation's folder."""
TRAINED_CATEGORIES = "trained categories"
"""Split of the samples that are not marked as held out, where there is no manifest to tell more."""
INCLUDED = "includes_trained_images"
"""Key of `metrics.json`: how many images the figures of all samples include that the model was trained on."""

_WORDS: dict[leaks.Split, str] = {
    leaks.HELD_OUT_IMAGES: "are held-out ones of trained categories",
    leaks.HELD_OUT_CATEGORIES: "are of held-out categories",
    leaks.TRAINED_IMAGES: "were trained on",
}


@dataclass(frozen=True)
class FoundLeaks:
    """A run's images beside what the model was trained on.

    Attributes:
        manifest: The file that says what the model was trained on.
        sha256: Of that file.
        report: What was found about each image.
        questions: What was asked about the images.
    """

    manifest: Path
    sha256: str
    report: leaks.LeakReport
    questions: Sequence[Question | Sample]

    @cached_property
    def images(self) -> Counter[leaks.Split]:
        """Split -> number of images, each counted by its first question."""
        first = {question.image: question for question in reversed(self.questions)}
        return Counter(map(self.split, first.values()))

    @property
    def trained(self) -> int:
        """Images the model was trained on."""
        return self.images[leaks.TRAINED_IMAGES]

    def split(self, question: Question | Sample) -> leaks.Split:
        """Where a question counts."""
        # `LeakReport.split` reads image, category and mark, which a `Question` has as well.
        return self.report.split(question)

    def figures(self) -> dict[str, Any]:
        """What `metrics.json` and `run.json` hold under `leaks`."""
        return {
            "manifest": str(self.manifest),
            "sha256": self.sha256,
            "images": {split: self.images[split] for split in leaks.SPLITS},
            "near": len(self.report.near),
        }

    def sentence(self) -> str:
        """The same in words, for below a table."""
        parts = [f"{self.images[split]} {words}" for split, words in _WORDS.items() if self.images[split]]
        near = f"; {len(self.report.near)} look like a trained image, see {FOUND}" if self.report.near else ""
        return f"By {self.manifest.name}, of {self.images.total()} images {', '.join(parts)}{near}."


def read_leaks(runs: Sequence[RunInfo], questions: Sequence[Question], *, given: Path | None) -> FoundLeaks | None:
    """What a run found about its images when it asked about them; None where it knew of no training.

    Args:
        runs: The run, or all shards of it.
        questions: What was asked.
        given: Where the manifest is now; by default where the run says.

    Raises:
        UsageError: The manifest is not there, or is not the one the run was compared with; or the run names none.
        DataError: The manifest or `leaks.jsonl` is broken, or misses images.
    """
    entry = runs[0].entry("leaks")
    if not entry:
        if given is not None:
            raise UsageError(
                "the run was compared with no leak manifest",
                where=str(runs[0].path),
                hint="give --leaks to 'iadr1 eval'",
            )
        return None
    path = given if given is not None else Path(str(entry.get("manifest")))
    if not path.is_file():
        raise UsageError(
            f"no leak manifest {str(path)!r}, which tells held-out categories from trained ones",
            where=str(runs[0].path),
            hint="say where it is with --leaks",
        )
    digest = file_sha256(path)
    if digest != entry.get("sha256"):
        raise UsageError(
            f"the run was compared with a leak manifest with the SHA-256 {entry.get('sha256')}, {path} has {digest}",
            where=str(runs[0].path),
            hint="give that one with --leaks",
        )
    return FoundLeaks(path, digest, _report(runs, questions, leaks.read_manifest(path)), questions)


def _report(runs: Sequence[RunInfo], questions: Sequence[Question], manifest: leaks.LeakManifest) -> leaks.LeakReport:
    files = [run.path.with_name(FOUND) for run in runs]
    found = {match.image: match for file in files for match in read_lines(file, leaks.ImageMatch, what="leak record")}
    asked = dict.fromkeys(question.image for question in questions)
    absent = [image for image in asked if image not in found]
    if absent:
        raise DataError(
            f"it says nothing of {len(absent)} images: {listed(absent)}",
            where=str(files[0]),
            hint="run 'iadr1 eval' again with the same settings, which compares the images and asks nothing anew",
        )
    trained = {*manifest.categories, *(image.category for image in manifest.images)}
    return leaks.LeakReport(
        matches={image: found[image] for image in asked},
        categories=frozenset(map(leaks.category_key, trained)),
        marked=any(question.held_out for question in questions),
    )


def splits(items: Sequence[Item], found: FoundLeaks | None) -> dict[str, list[Item]]:
    """The items of each split that has some.

    Without a manifest the samples' own marks tell held-out from trained categories; where none is marked, nothing is
    known and there is no split.
    """
    parts: dict[str, list[Item]] = {}
    if found is not None:
        parts = {split: [] for split in leaks.SPLITS}
        for item in items:
            parts[found.split(item.question)].append(item)
    elif any(item.question.held_out for item in items):
        parts[leaks.HELD_OUT_CATEGORIES] = [item for item in items if item.question.held_out]
        parts[TRAINED_CATEGORIES] = [item for item in items if not item.question.held_out]
    return {name: part for name, part in parts.items() if part}
