"""Where a trained model comes from: the images and licences it saw, and the card that says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.config import TrainingConfig
from iadr1.licences import permits_commercial
from iadr1.records import Sample, write_text_atomic


def trained_on(config: TrainingConfig, samples: list[Sample], root: Path, *, base: str) -> dict[str, Any]:
    """What `run.json` says about the data, after writing the leak manifest into the run's folder.

    The manifest also holds what the base model was trained on, where its folder says so, so that images seen in an
    earlier stage are found in an evaluation of the last one.
    """
    manifest = leaks.build_manifest(samples, root, shots=config.shots)
    earlier = leaks.find_manifest(Path(base)) if Path(base).is_dir() else None
    if earlier is not None:
        manifest = leaks.merge([leaks.read_manifest(earlier), manifest])
    licences = Counter(sample.licence for sample in samples)
    return {
        leaks.RUN_KEY: leaks.write_for_run(config.out, manifest),
        "samples": len(samples),
        "licences": dict(sorted(licences.items())),
        "sources": sorted({sample.source for sample in samples if sample.source}),
    }


def write_card(config: TrainingConfig, info: dict[str, Any], *, base: str, licence: str, figures: str) -> Path:
    """Write the model card, `README.md` of the model's folder, in the hub's form.

    Args:
        config: The run's settings.
        info: What `run.json` holds.
        base: The model that was trained.
        licence: Licence of the base's family.
        figures: What the run reached, in words.
    """
    data_licences = ", ".join(f"{name} ({count} samples)" for name, count in info["licences"].items())
    blocked = [name for name in (licence, *info["licences"]) if not permits_commercial(name)]
    use = (
        f"Not cleared for commercial use: {', '.join(dict.fromkeys(blocked))}."
        if blocked
        else "The licences of base and data permit commercial use."
    )
    name = Path(base).name if Path(base).exists() else base
    front = {"base_model": name, "library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    tags = ["industrial-anomaly-detection", "iadr1", *(["lora", "peft"] if config.lora_rank else [])]
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        f"tags: {json.dumps(tags)}",
        "---",
        f"# {config.out.name}: {name} after `iadr1 {info['command']}`",
        "",
        f"{figures} Settings, versions, seed and data hashes stand in `run.json` beside this folder.",
        "",
        "| | |",
        "|---|---|",
        f"| base | {name} (licence: {licence}) |",
        f"| data | {info['samples']} samples from {'; '.join(info['sources']) or 'unnamed sources'} |",
        f"| licences of the data | {data_licences} |",
        f"| steps | {info['steps']}, seed {config.seed}, learning rate {config.learning_rate} |",
        f"| made with | iadr1 {info['iadr1']}, config {info['config_hash']} |",
        "",
        use,
        "",
        "An evaluation on the images it was trained on would be too good: `iadr1 eval` finds them through the leak "
        "manifest in the run's folder.",
        "",
    ]
    path = config.out / "model" / "README.md"
    write_text_atomic(path, "\n".join(lines))
    return path
