"""Runs on disk for the tests of scoring, as `eval` leaves them: samples, predictions, `run.json`, shards, masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1 import leaks
from iadr1.images import file_sha256
from iadr1.records import Prediction, Record, Sample, write_records

PROTOCOL = "0123456789abcdef"
KINDS = {"A": "Scratch.", "B": "Hole.", "C": "Stain.", "D": "Dent."}


def sample(key: str, **fields: Any) -> Sample:
    """A multiple-choice question about the image named before the `#` of its key; the right answer is A."""
    given = {
        "id": key,
        "dataset": "X",
        "category": "bolt",
        "split": "test",
        "image": f"{key.partition('#')[0]}.png",
        "task": "choice",
        "question": "What kind of defect is it?",
        "options": KINDS,
        "answer": "A",
        "question_type": "Defect Classification",
        "is_anomalous": True,
        "image_size": (20, 10),
        **fields,
    }
    return Sample.model_validate(given)


def yes_no(key: str, *defects: Any, **fields: Any) -> Sample:
    """A yes/no question; the image is anomalous where it has defects."""
    bad = bool(defects)
    given = {"answer": "Yes" if bad else "No", "is_anomalous": bad, "defects": defects, "options": {}, **fields}
    return sample(key, task="anomaly", question="Any defects?", question_type="Anomaly Detection", **given)


def target(key: str, *boxes: tuple[float, float, float, float], **fields: Any) -> Sample:
    """A referring expression."""
    defects = [{"type": "target", "box": box} for box in boxes]
    given = {"answer": "", "is_anomalous": None, "defects": defects, "options": {}, **fields}
    return sample(key, task="grounding", question="The left one.", question_type="Grounding", **given)


def answer(key: str, letter: str | None, **fields: Any) -> Prediction:
    """What was answered."""
    given = {"sample_id": key, "answer": letter, "protocol": PROTOCOL, "model": "tiny@f00d", "engine": "local"}
    return Prediction.model_validate({**given, **fields})


class World:
    """A folder with samples and images, in which runs are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "samples.jsonl"
        self.out = folder / "run"
        self.config: dict[str, Any] = {"benchmark": "mmad", "limit": None, "seed": 0, "shard": None}
        self.definition: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}

    def write(self, samples: Sequence[Sample], predictions: Sequence[Prediction], *, shard: str = "") -> Path:
        """Write samples and a run, or with `shard` (`1/2`) one of its shards; returns the run's folder."""
        write_records(self.data, samples)
        folder = self.out / f"shard-{shard.replace('/', '-of-')}" if shard else self.out
        write_records(folder / "predictions.jsonl", predictions)
        info = {
            "command": "eval",
            "config": {**self.config, "shard": shard or None},
            "data": {str(self.data): file_sha256(self.data)},
            "root": str(self.folder),
            "protocol": {"name": "mine", "version": 2, "hash": PROTOCOL, "definition": self.definition},
            "model_fingerprint": "f00d",
            "scoring": "text",
            **self.extra,
        }
        (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
        return self.out

    def pictures(self, samples: Sequence[Sample]) -> None:
        """Draw a grey image for each sample."""
        for item in samples:
            Image.new("RGB", item.image_size or (20, 10), (90, 90, 90)).save(self.folder / item.image)

    def leaks(self, matches: Sequence[leaks.ImageMatch], *categories: str, folder: str = "") -> Path:
        """Write a manifest with these trained categories, and what was found about the images of the run."""
        path = self.folder / "train.leak.json"
        leaks.write(path, leaks.LeakManifest(categories=categories, images=()))
        self.extra["leaks"] = {"manifest": str(path), "sha256": file_sha256(path)}
        self.records(self.out / folder / "leaks.jsonl", matches)
        return path

    def records(self, path: Path, records: Sequence[Record]) -> None:
        """Write records."""
        write_records(path, records)


def match(image: str, *, trained: bool = False, near: bool = False) -> leaks.ImageMatch:
    """What was found about an image."""
    distance = 0 if trained else 2 if near else None
    return leaks.ImageMatch(
        image=image, sha256=None, phash=None, match=None if distance is None else "t.png", distance=distance
    )
