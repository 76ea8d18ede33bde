"""The synthetic world on disk: trees in the real sets' layouts, the samples read back from them, sample photos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import iadr1
from iadr1 import datasets, leaks
from iadr1.config import PrepareConfig
from iadr1.datasets import fewshot, mmad, mvtec3d, refcoco
from iadr1.datasets.synthetic import CATEGORIES, samples, tree
from iadr1.datasets.synthetic.ledger import Ledger
from iadr1.errors import UsageError
from iadr1.records import Sample
from iadr1.stages.prepare.summary import PrepareSummary, Progress

WORLD = "data/synthetic"
MANIFEST = f"{WORLD}/manifest.json"


def prepare_world(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write the synthetic world into the folder `config.out` (the current one by default).

    Raises:
        UsageError: A size that is not positive, or `out` is a file.
        OutputError: A file is in the way, or cannot be written.
    """
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
    for room in (datasets, leaks):
        for path in sorted(Path(room.__path__[0]).rglob("*.py")):
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
    manifest = leaks.build_manifest(chosen, out / WORLD / "fewshot")
    ledger.write("data/fewshot.leak.json", manifest.to_json().encode())
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
