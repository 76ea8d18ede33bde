"""`iadr1 prepare`: data sets become JSONL files of samples; without a source, the synthetic world is made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import iadr1
from iadr1 import datasets
from iadr1.config import PrepareConfig
from iadr1.datasets import SOURCES, Source, fewshot, mmad, mvtec3d, refcoco
from iadr1.datasets.synthetic import CATEGORIES, samples, tree
from iadr1.datasets.synthetic.ledger import Ledger
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.provenance import describe
from iadr1.records import Sample, meta_path, write_records, write_text_atomic

Progress = Callable[[str, int, int], None]
"""Called with what is being made, how much of it is done, and of how much (0 where that is not known before)."""

SYNTHETIC = "synthetic"
WORLD = "data/synthetic"
MANIFEST = f"{WORLD}/manifest.json"


@dataclass(frozen=True)
class PrepareSummary:
    """What a run did.

    Attributes:
        lines: The same in words, for the terminal.
        records: JSONL file -> number of samples in it.
        written: Files written.
        unchanged: Files found as they should be.
    """

    lines: list[str]
    records: dict[Path, int] = field(default_factory=dict)
    written: int = 0
    unchanged: int = 0


def run(config: PrepareConfig, *, progress: Progress | None = None) -> PrepareSummary:
    """Prepare samples as the config says.

    Args:
        config: Source, folders, seed and sizes.
        progress: Called after each scene, or each sample, made.

    Raises:
        UsageError: Unknown source, a missing or superfluous folder, a size that is not positive.
        DataError: The source's folder is not what it should be.
        OutputError: A file is in the way, or cannot be written.
    """
    report = progress or (lambda stage, done, total: None)
    if config.source == SYNTHETIC:
        return _prepare_world(config, report)
    if config.source not in SOURCES:
        known = ", ".join([SYNTHETIC, *SOURCES])
        raise UsageError(f"no source {config.source!r}", hint=f"known: {known}")
    return _prepare_source(config, SOURCES[config.source], report)


# --- a real data set --------------------------------------------------------------------------------------------


def _prepare_source(config: PrepareConfig, source: Source, report: Progress) -> PrepareSummary:
    if config.root is None or config.out is None:
        missing = "--root" if config.root is None else "--out"
        raise UsageError(
            f"the source {config.source!r} needs {missing}",
            hint=f"iadr1 prepare {config.source} --root FOLDER --out FILE.jsonl; FOLDER holds {source.tree}",
        )
    if not config.root.is_dir():
        raise UsageError(f"no folder {str(config.root)!r}", hint=f"--root names the folder that holds {source.tree}")
    if config.out.is_dir():
        raise UsageError(f"--out {str(config.out)!r} is a folder", hint="name the JSONL file to write")
    _refuse_unused(config, source)
    _refuse_foreign(config.out)
    options = {"seed": config.seed} if "seed" in source.options else {}
    found = _not_empty(_counted(source.scan(config.root, **options), config.source, report), config.root)
    count = write_records(config.out, found)
    meta = {
        "root": _relative(config.root, config.out.parent),
        "source": source.title,
        "licence": source.licence,
        "records": count,
        "sha256": file_sha256(config.out),
        "run": describe("prepare", config),
    }
    write_text_atomic(meta_path(config.out), json.dumps(meta, indent=2, ensure_ascii=False) + "\n")
    line = f"{config.out}: {count} samples of {source.title} (licence: {source.licence})"
    return PrepareSummary([line], {config.out: count}, written=2)


def _refuse_unused(config: PrepareConfig, source: Source) -> None:
    """Sizes and, where nothing is drawn, the seed say nothing about a real data set."""
    names = ["fewshot_images", "eval_images", "photos", *([] if "seed" in source.options else ["seed"])]
    given = [name for name in names if getattr(config, name) != getattr(PrepareConfig, name)]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"the source {config.source!r} has no use for {options}", hint="leave it out")


def _refuse_foreign(out: Path) -> None:
    """An existing file is replaced only where its sidecar says that this command wrote it as it is."""
    if not out.exists():
        return
    try:
        known = json.loads(meta_path(out).read_text(encoding="utf-8"))["sha256"] if meta_path(out).exists() else None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        known = None
    if known != file_sha256(out):
        raise OutputError(
            "the file was not written by 'iadr1 prepare', or was changed since; it is left as it is",
            where=str(out),
            hint="move it away or choose another --out",
        )


def _counted(found: Iterable[Sample], name: str, report: Progress) -> Iterator[Sample]:
    for number, sample in enumerate(found, start=1):
        yield sample
        report(name, number, 0)


def _not_empty(found: Iterator[Sample], root: Path) -> Iterator[Sample]:
    first = next(found, None)
    if first is None:
        raise DataError("the set holds no sample", where=str(root))
    yield first
    yield from found


def _relative(target: Path, start: Path) -> str:
    """`target` as seen from `start`; pathlib's walk_up needs Python 3.12."""
    return Path(os.path.relpath(target.resolve(), start.resolve())).as_posix()


# --- the synthetic world ----------------------------------------------------------------------------------------


def _prepare_world(config: PrepareConfig, report: Progress) -> PrepareSummary:
    if config.root is not None:
        raise UsageError("the synthetic world has no --root", hint="name a source: " + ", ".join(SOURCES))
    for name, value in (("fewshot_images", config.fewshot_images), ("eval_images", config.eval_images)):
        if value < 1:
            raise UsageError(f"{name} is {value}, it must be at least 1")
    if config.photos < 0:
        raise UsageError(f"photos is {config.photos}, it must not be negative")
    out = config.out or Path()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is not a folder", hint="the synthetic world is written into a folder")
    world = {
        "seed": config.seed,
        "fewshot_images": config.fewshot_images,
        "eval_images": config.eval_images,
        "photos": config.photos,
        "iadr1": iadr1.__version__,
        "code": _code_digest(),
    }
    ledger = Ledger(out, MANIFEST, world)
    if ledger.is_current():
        return _summary(out, ledger, "Everything is there already, nothing was written.")
    complete = False
    try:
        _write_world(config, ledger, out, report)
        complete = True
    finally:
        ledger.save(complete=complete)
    removed = f", {ledger.removed} of an earlier run removed" if ledger.removed else ""
    return _summary(out, ledger, f"{ledger.written} files written, {ledger.unchanged} were there already{removed}.")


def _code_digest() -> str:
    """What the world is made with: after a change of the code, the next run makes it anew."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(Path(datasets.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _write_world(config: PrepareConfig, ledger: Ledger, out: Path, report: Progress) -> None:
    exact = _write_trees(config, ledger, report)
    # Readers of folders take every file they find: what an earlier, larger run left must be gone first.
    ledger.prune(WORLD)
    licence = {"licence": samples.LICENCE, "source": f"iadr1 synthetic world, seed {config.seed}"}

    def write(name: str, folder: str, found: Iterable[Sample], change: Callable[[Sample], dict[str, Any]]) -> None:
        known = ledger.files()
        records = [
            sample.model_copy(
                update={**licence, "image_sha256": known.get(f"{WORLD}/{folder}/{sample.image}"), **change(sample)}
            )
            for sample in found
        ]
        _write_samples(ledger, name, records, folder, licence)

    pool = mmad.SOURCE.read(out / WORLD / "fewshot")
    chosen = fewshot.select(pool, images=config.fewshot_images, seed=config.seed)
    write("fewshot", "fewshot", chosen, lambda sample: {"split": "train"})
    write("mmad", "MMAD", mmad.SOURCE.read(out / WORLD / "MMAD"), lambda sample: {})
    write("mvtec3d", "mvtec_3d", mvtec3d.SOURCE.read(out / WORLD / "mvtec_3d", seed=config.seed), _as_3d)
    write("grounding", "refcoco", refcoco.SOURCE.read(out / WORLD / "refcoco"), _as_grounding)
    write("anomaly", "mvtec", exact, lambda sample: {})
    hashes = {sample.image: ledger.files()[f"{WORLD}/fewshot/{sample.image}"] for sample in chosen}
    ledger.write("data/fewshot.leak.json", fewshot.leak_manifest(chosen, hashes).encode())
    ledger.prune("")


def _write_trees(config: PrepareConfig, ledger: Ledger, report: Progress) -> list[Sample]:
    """Render everything; returns the yes/no samples with the scenes' exact truth."""
    seed, count, everything = config.seed, config.eval_images, tuple(CATEGORIES)

    def ticker(name: str, shots: Sequence[tree.Shot]) -> Callable[[], None]:
        numbers = iter(range(1, len(shots) + 1))
        return lambda: report(name, next(numbers), len(shots))

    shots = tree.plan(tree.FEWSHOT_SEEDS, config.fewshot_images, seed=seed, categories=tree.TRAINED)
    tree.write_mmad(ledger, f"{WORLD}/fewshot", shots, tick=ticker("few-shot images", shots))
    shots = tree.plan(tree.MMAD_SEEDS, count, seed=seed, categories=everything)
    tree.write_mmad(ledger, f"{WORLD}/MMAD", shots, tick=ticker("MMAD images", shots))
    shots = tree.plan(tree.MVTEC3D_SEEDS, count, seed=seed, categories=everything)
    tree.write_mvtec3d(ledger, f"{WORLD}/mvtec_3d", shots, tick=ticker("MVTec 3D images", shots))
    shots = tree.plan(tree.GROUNDING_SEEDS, count, seed=seed, categories=tree.TRAINED, p_defect=1.0)
    tree.write_refcoco(ledger, f"{WORLD}/refcoco", shots, tick=ticker("grounding images", shots))
    shots = tree.plan(tree.PHOTO_SEEDS, config.photos, seed=seed, categories=everything)
    tree.write_photos(ledger, shots, tick=ticker("sample photos", shots))
    shots = tree.plan(tree.MVTEC_SEEDS, count, seed=seed, categories=tree.half_held_out())
    return tree.write_mvtec(ledger, f"{WORLD}/mvtec", shots, tick=ticker("MVTec images", shots))


def _as_3d(sample: Sample) -> dict[str, Any]:
    return {"dataset": "Syn-3D", "held_out": CATEGORIES[sample.category].held_out}


def _as_grounding(sample: Sample) -> dict[str, Any]:
    # The JSON only has COCO's number of the category; the synthetic images lie in a folder of its name.
    return {"category": PurePosixPath(sample.image).parent.name}


def _write_samples(
    ledger: Ledger, name: str, records: Sequence[Sample], folder: str, licence: Mapping[str, str]
) -> None:
    content = "".join(record.model_dump_json() + "\n" for record in records).encode()
    meta = {
        "root": f"synthetic/{folder}",
        **licence,
        "records": len(records),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    ledger.write(f"data/{name}.jsonl", content)
    ledger.write(f"data/{name}.meta.json", (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())


_ABOUT = {
    "fewshot": "few-shot set for `iadr1 train`, one multiple-choice question per image",
    "mmad": "MMAD-like questions for `iadr1 eval mmad`",
    "mvtec3d": "MVTec-3D-like questions for `iadr1 eval mvtec3d`",
    "grounding": "referring expressions with boxes",
    "anomaly": "yes/no samples with types, boxes, masks and reasoning",
}


def _summary(out: Path, ledger: Ledger, last: str) -> PrepareSummary:
    counts = {
        out / f"data/{name}.jsonl": json.loads((out / f"data/{name}.meta.json").read_text(encoding="utf-8"))["records"]
        for name in _ABOUT
    }
    lines = [f"{path}: {count} samples, {_ABOUT[path.stem]}" for path, count in counts.items()]
    photos = [path for path in ledger.files() if path.startswith("images/")]
    if photos:
        lines.append(f"{out / 'images'}: {len(photos)} sample photos, their normal references in {out / 'references'}")
    lines.append(last)
    return PrepareSummary(lines, counts, ledger.written, ledger.unchanged or len(ledger.files()) - ledger.written)
