"""Whether the model was trained on images of the benchmark: found by its leak manifest, refused unless allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from iadr1 import leaks
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.models import EMBEDDED
from iadr1.records import Sample, read_records, write_records
from iadr1.stages.scoring import FOUND, PREDICTIONS, FoundLeaks

_LISTED = 3


def find_overlap(
    config: EvalConfig,
    samples: Sequence[Sample],
    root: Path,
    *,
    model: str,
    out: Path,
    tick: Callable[[int, int], None] | None = None,
) -> FoundLeaks | None:
    """Compare the samples' images with the manifest of `config.leaks`, or else of the model's folder.

    Args:
        config: `leaks` and `allow_leaks` are read.
        samples: What will be asked.
        root: The folder of their images.
        model: Name of the model; a folder (or embedded model) may hold a manifest.
        out: The evaluation's folder; hashes in its `leaks.jsonl` are not computed again.
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
    found = FoundLeaks(path, file_sha256(path), report, samples)
    if found.trained and not config.allow_leaks:
        raise _refusal(found, out)
    return found


def _refusal(found: FoundLeaks, out: Path) -> UsageError:
    """The refusal; all images stand in a file, unless that is the one of a run with answers."""
    trained = found.report.trained
    names = ", ".join(match.image for match in trained[:_LISTED])
    more = " ..." if found.trained > _LISTED else ""
    told = ""
    if not (out / PREDICTIONS).exists():
        write_records(out / FOUND, found.report.matches.values())
        told = f"all of them stand in {out / FOUND}: "
    return UsageError(
        f"the model was trained on {found.trained} of the {found.images.total()} images to be asked about: "
        f"{names}{more}",
        where=str(found.manifest),
        hint=f"{told}leave them out of --data, or give --allow-leaks, which marks every figure that includes them and "
        "reports the held-out images beside it",
    )


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
