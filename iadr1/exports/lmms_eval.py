"""A task folder for lmms-eval (github EvolvingLMMs-Lab/lmms-eval), written against its version 0.7.3.

    NAME.yaml      the task: data, requests, metrics (`docs/guides/task_guide.md` of that repository)
    utils.py       its functions; they need iadr1 in the suite's environment
    protocol.json  the protocol, whose hash is checked when the task is loaded
    data.jsonl     one request a line: sample, turn, image paths relative to the root that utils.py names

A chat model of the suite is sent the protocol's own messages. A simple model, which takes one text after all images,
is sent the same where the protocol has this order and no system turn, and is refused otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from iadr1 import protocols
from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.exports.files import write_json_lines
from iadr1.protocols import Knowledge, Protocol, Turn
from iadr1.records import Sample

METRICS = {
    "average": True,
    "anomaly_detection": True,
    "defect_classification": True,
    "defect_localization": True,
    "defect_description": True,
    "defect_analysis": True,
    "object_classification": True,
    "object_analysis": True,
    "overkill": False,
    "miss": False,
    "parse_rate": True,
}
"""Metric of the task, in percent -> whether higher is better; those of subtasks that are not asked are left out."""

_DETECTION = "anomaly_detection"
_FRAMED = ("boxes", "grounding")
"""Readings of boxes, which are written in the space of a model's own input."""
_MARK = '"""Written by iadr1'


def write_task(
    folder: Path,
    samples: Sequence[Sample],
    protocol: Protocol,
    *,
    root: Path,
    name: str | None = None,
    knowledge: Knowledge | None = None,
) -> Path:
    """Write the task.

    Args:
        folder: Where; files of an earlier export are replaced.
        samples: All samples of a file, in its order.
        protocol: How they are asked and their answers read.
        root: The folder their paths are relative to.
        name: Name of the task; by default `iadr1_` and the protocol's.
        knowledge: Texts for `protocol.domain_knowledge`.

    Returns:
        The YAML file, whose stem is what `--tasks` takes.

    Raises:
        UsageError: The suite cannot ask as the protocol says, or nothing can be asked.
        DataError: A sample cannot be asked.
        OutputError: The folder cannot be written to, or holds a `utils.py` of another's.
    """
    _check(protocol)
    if not samples:
        raise UsageError("there is no sample to export")
    metrics = _metrics(protocols.asked(samples, protocol))
    task = re.sub(r"\W+", "_", name or f"iadr1_{protocol.name}")
    utils = folder / "utils.py"
    _check_own(utils)
    count = write_json_lines(folder / "data.jsonl", _rows(samples, protocol, knowledge))
    write_text_atomic(folder / "protocol.json", json.dumps(dataclasses.asdict(protocol), indent=2) + "\n")
    code = resources.files("iadr1.exports").joinpath("lmms_eval_utils.py.txt").read_text(encoding="utf-8")
    code = code.replace("@DIGEST@", protocol.digest).replace("'@ROOT@'", repr(str(root.resolve())))
    write_text_atomic(utils, code)
    path = folder / f"{task}.yaml"
    text = yaml.dump(_task(task, protocol, metrics, count), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    write_text_atomic(path, f"# Written by iadr1 for lmms-eval 0.7.3.\n{text}")
    return path


def _check(protocol: Protocol) -> None:
    if protocol.reading in _FRAMED:
        raise UsageError(
            f"the protocol {protocol.name!r} reads boxes, whose space depends on the model: lmms-eval does not tell it",
            hint="score boxes with 'iadr1 eval'",
        )
    if not protocol.chat:
        raise UsageError(
            f"the protocol {protocol.name!r} sends a prompt without a chat template, lmms-eval always applies one",
            hint="export another protocol: 'iadr1 protocols ls'",
        )


def _check_own(utils: Path) -> None:
    if not utils.exists():
        return
    try:
        ours = utils.read_bytes().startswith(_MARK.encode())
    except OSError as error:
        raise OutputError(f"cannot read: {error.strerror}", where=str(utils)) from error
    if not ours:
        raise OutputError("this file is not of an export", where=str(utils), hint="give another folder with --out")


def _rows(samples: Sequence[Sample], protocol: Protocol, knowledge: Knowledge | None) -> Iterator[dict[str, Any]]:
    """One row for each request; what is nested is JSON text, so that the suite's tables need no schema."""
    by_image: dict[str, list[Sample]] = {}
    for sample in samples:
        by_image.setdefault(sample.image, []).append(sample)
    known = {sample.id: sample for sample in samples}
    if len(known) != len(samples):
        raise DataError(f"{len(samples) - len(known)} samples have the id of another one")
    for group in by_image.values():
        for turn in protocols.turns(group, protocol, knowledge=knowledge):
            yield _row(known[turn.sample_id], turn)


def _row(sample: Sample, turn: Turn) -> dict[str, Any]:
    return {
        "id": turn.key,
        "dataset": sample.dataset,
        "category": sample.category,
        "subtask": sample.reported_as,
        "answer": sample.answer,
        "images": list(turn.images),
        "sample": sample.model_dump_json(),
        "turn": json.dumps(dataclasses.asdict(turn), ensure_ascii=False),
    }


def _metrics(samples: Sequence[Sample]) -> list[str]:
    """The metrics for which something is asked."""
    asked = {_DETECTION if s.task == "anomaly" else s.reported_as.lower().replace(" ", "_") for s in samples}
    strange = asked - METRICS.keys()
    if strange:
        raise DataError(f"no subtask {min(strange)!r}", hint=f"known: {', '.join(METRICS)}")
    names = {"average", "parse_rate", *asked, *(("overkill", "miss") if _DETECTION in asked else ())}
    return [name for name in METRICS if name in names]


def _task(task: str, protocol: Protocol, metrics: Sequence[str], count: int) -> dict[str, Any]:
    return {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "data.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        **{key: _Function(f"utils.{key}") for key in ("doc_to_messages", "doc_to_visual", "doc_to_text")},
        "doc_to_target": "answer",
        "process_results": _Function("utils.process_results"),
        # By default the suite cuts an answer off at its first empty line, and takes the reasoning out of it.
        "generation_kwargs": {
            "max_new_tokens": protocol.max_new_tokens,
            "do_sample": False,
            "temperature": 0,
            "num_beams": 1,
            "until": [],
        },
        "reasoning_tags": "none",
        "metric_list": [
            {"metric": name, "aggregation": _Function(f"utils.{name}"), "higher_is_better": METRICS[name]}
            for name in metrics
        ],
        "metadata": {
            "version": protocol.version,
            "protocol": protocol.name,
            "protocol_hash": protocol.digest,
            "requests": count,
        },
    }


@dataclasses.dataclass(frozen=True)
class _Function:
    """A function that the suite looks up when it reads the YAML file."""

    path: str


class _Dumper(yaml.SafeDumper):
    """Writes functions with the suite's own tag."""


_Dumper.add_representer(_Function, lambda dumper, found: dumper.represent_scalar("!function", found.path))
