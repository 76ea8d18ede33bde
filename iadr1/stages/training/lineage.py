"""Where a trained model comes from: the images and licences it saw, and the card that says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from iadr1 import leaks
from iadr1.atomic import write_text_atomic
from iadr1.config import RunConfig, TrainingConfig
from iadr1.errors import DataError
from iadr1.licences import permits_commercial
from iadr1.models.card import base_line, plain, stated_licence, use_line
from iadr1.records import Sample


def trained_on(config: RunConfig, samples: list[Sample], root: Path, *, base: str) -> dict[str, Any]:
    """What `run.json` says about data and base model, after writing the leak manifest into the run's folder.

    Where the base was itself trained by iadr1, its run counts too: the manifest also holds the images of that run, so
    that an evaluation of the last model finds them, `base` is the model at the beginning, and `earlier` lists the runs
    between with their data's licences. `base_licence` is left out where the base's folder does not state it.

    Raises:
        DataError: The base's run.json or leak manifest is broken or has changed, or an image is not the sample's.
    """
    manifest = leaks.build_manifest(samples, root, shots=config.shown)
    folder = Path(base) if Path(base).is_dir() else None
    earlier = leaks.find_manifest(folder) if folder else None
    if earlier is not None:
        manifest = leaks.merge([leaks.read_manifest(earlier), manifest])
    licences = Counter(sample.licence for sample in samples)
    return {
        **(_base(config, folder)),
        leaks.RUN_KEY: leaks.write_for_run(config.out, manifest),
        "samples": len(samples),
        "licences": dict(sorted(licences.items())),
        "sources": sorted({sample.source for sample in samples if sample.source}),
    }


def _base(config: RunConfig, folder: Path | None) -> dict[str, Any]:
    """`base`, `earlier` and, where it is known, `base_licence`."""
    if folder is None:
        return {"base": config.model, "earlier": []}
    run = _run_of(folder)
    if run is not None:
        keys = ("base", "base_licence", "earlier", "command", "samples", "licences", "sources")
        known = {key: run[key] for key in keys if key in run}
        if known.keys() == set(keys):
            last = {key: known[key] for key in keys[3:]}
            return {"base": run["base"], "base_licence": run["base_licence"], "earlier": [*run["earlier"], last]}
    stated = stated_licence(folder)
    name = config.model if config.model == "tiny" else folder.absolute().name
    return {"base": name, "earlier": [], **({} if stated is None else {"base_licence": stated.licence})}


def _run_of(folder: Path) -> dict[str, Any] | None:
    """The `run.json` of the training run that a model's folder is of: beside its weights, or in the folder above."""
    for path in (folder / "run.json", folder.absolute().parent / "run.json"):
        if path.is_file():
            try:
                run = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError("not JSON", where=str(path), hint="it says what the base was trained on") from error
            return run if isinstance(run, dict) else None
    return None


def write_card(config: RunConfig, info: dict[str, Any], *, figures: str) -> Path:
    """Write the model card, `README.md` of the model's folder, in the hub's form, and the leak manifest beside it.

    Args:
        config: The run's settings.
        info: What `run.json` holds.
        figures: What the run reached, in words.
    """
    folder = config.out / "model"
    manifest = (config.out / leaks.MANIFEST_NAME).read_text(encoding="utf-8")
    write_text_atomic(folder / leaks.MANIFEST_NAME, manifest)  # a copy of the folder alone still says what it saw
    stages = [*info["earlier"], info]
    licences = [info["base_licence"], *(name for stage in stages for name in stage["licences"])]
    blocked = [name for name in dict.fromkeys(licences) if not permits_commercial(name)]
    adapters = isinstance(config, TrainingConfig) and config.lora_rank
    front = {
        "base_model": info["base"],
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["industrial-anomaly-detection", "iadr1", *(["lora", "peft"] if adapters else [])],
    }
    commands = ", then ".join(f"`iadr1 {stage['command']}`" for stage in stages)
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        f"# {plain(config.out.name)}: {plain(info['base'])} after {commands}",
        "",
        f"{figures} Settings, versions, seed and data hashes stand in the run's `run.json`.",
        "",
        "| | |",
        "|---|---|",
        base_line(info["base"], info["base_licence"]),
        *(_data_line(stage) for stage in stages),
        f"| steps | {info['steps']}, seed {config.seed}, learning rate {config.learning_rate} |",
        f"| made with | iadr1 {info['iadr1']}, config {info['config_hash']} |",
        "",
        use_line(blocked),
        "",
        "An evaluation on the images it was trained on would be too good: `iadr1 eval` finds them through "
        f"`{leaks.MANIFEST_NAME}`.",
        "",
    ]
    path = folder / "README.md"
    write_text_atomic(path, "\n".join(lines))
    return path


def _data_line(stage: dict[str, Any]) -> str:
    licences = ", ".join(f"{plain(name)} ({count} samples)" for name, count in stage["licences"].items())
    sources = plain("; ".join(stage["sources"])) or "unnamed sources"
    return f"| data of {stage['command']} | {stage['samples']} samples from {sources}; licences: {licences} |"
