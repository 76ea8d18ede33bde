"""Whether the model was trained on images of the benchmark: found by its leak manifest, refused unless allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.models import EMBEDDED
from iadr1.records import Sample, read_records, write_records

FOUND = "leaks.jsonl"
"""What was found about each image, in the evaluation's folder; hashes in it are not computed again."""

_LISTED = 3
_WORDS: Mapping[leaks.Split, str] = {
    leaks.HELD_OUT_IMAGES: "are held-out ones of trained categories",
    leaks.HELD_OUT_CATEGORIES: "are of held-out categories",
    leaks.TRAINED_IMAGES: "were trained on",
}


@dataclass(frozen=True)
class Overlap:
    """A benchmark's images beside what the model was trained on.

    Attributes:
        manifest: The file that says what the model was trained on.
        report: What was found about each image.
        images: Split -> number of images.
    """

    manifest: Path
    report: leaks.LeakReport
    images: Counter[leaks.Split]

    @property
    def trained(self) -> int:
        """Images the model was trained on."""
        return self.images[leaks.TRAINED_IMAGES]

    def figures(self) -> dict[str, Any]:
        """What `metrics.json` and `run.json` hold under `leaks`."""
        return {
            "manifest": str(self.manifest),
            "sha256": file_sha256(self.manifest),
            "images": {split: self.images[split] for split in leaks.SPLITS},
            "near": len(self.report.near),
        }

    def sentence(self) -> str:
        """The same in words, for below a table."""
        parts = [f"{self.images[split]} {words}" for split, words in _WORDS.items() if self.images[split]]
        near = f"; {len(self.report.near)} look like a trained image, see {FOUND}" if self.report.near else ""
        return f"By {self.manifest.name}, of {self.images.total()} images {', '.join(parts)}{near}."


def find_overlap(
    config: EvalConfig,
    samples: Sequence[Sample],
    root: Path,
    *,
    model: str,
    out: Path,
    tick: Callable[[int, int], None] | None = None,
) -> Overlap | None:
    """Compare the samples' images with the manifest of `config.leaks`, or else of the model's folder.

    Args:
        config: `leaks` and `allow_leaks` are read.
        samples: What will be asked.
        root: The folder of their images.
        model: Name of the model; a folder (or embedded model) may hold a manifest.
        out: The evaluation's folder, for `leaks.jsonl`.
        tick: Called with (images looked at, all).

    Returns:
        None where nothing says what the model was trained on.

    Raises:
        UsageError: The model was trained on some of the images, and `allow_leaks` is off; or `config.leaks` leads to
            no manifest.
        DataError: The manifest is broken, missing or changed.
        OutputError: The folder cannot be written to.
    """
    path = _manifest(config.leaks, model)
    if path is None:
        return None
    manifest = leaks.read_manifest(path)
    report = leaks.compare(manifest, samples, root, known=_known(out / FOUND), tick=tick)
    write_records(out / FOUND, report.matches.values())
    first = {sample.image: sample for sample in reversed(samples)}
    found = Overlap(path, report, Counter(report.split(sample) for sample in first.values()))
    if found.trained and not config.allow_leaks:
        names = ", ".join(match.image for match in report.trained[:_LISTED])
        more = " ..." if found.trained > _LISTED else ""
        raise UsageError(
            f"the model was trained on {found.trained} of the {len(first)} images to be asked about: {names}{more}",
            where=str(path),
            hint=f"all of them stand in {out / FOUND}: leave them out of --data, or give --allow-leaks, which marks "
            "every figure that includes them and reports the held-out images beside it",
        )
    return found


def _manifest(given: Path | None, model: str) -> Path | None:
    if given is not None:
        found = leaks.find_manifest(given)
        if found is None:
            raise UsageError(
                f"no leak manifest in {str(given)!r}",
                hint=f"looked for {leaks.MANIFEST_NAME}, and for {leaks.RUN_KEY!r} in run.json",
            )
        return found
    embedded = {folder.name: folder for folder in EMBEDDED.iterdir() if folder.is_dir()}
    folder = embedded.get(model, Path(model).expanduser())
    return leaks.find_manifest(folder) if folder.is_dir() else None


def _known(path: Path) -> dict[str, str | None]:
    """The perceptual hashes an earlier run computed, by the SHA-256 of the file."""
    if not path.exists():
        return {}
    try:
        found = list(read_records(path, leaks.ImageMatch))
    except DataError:
        return {}  # only a store of hashes: whatever cannot be read is computed again
    return {match.sha256: match.phash for match in found if match.sha256 and not match.same_file}
