"""What `eval`, `score` and `compare` share: a run's answers read and checked, measured, and written as tables.

It is no stage. A run is a folder with `predictions.jsonl` and `run.json`, or a folder of such folders, its shards; the
answers file of MMAD's own scripts is read as well. The same answers give the same `metrics.json`, whoever asks.
"""

from __future__ import annotations

from iadr1.stages.scoring.answers import load_answers
from iadr1.stages.scoring.gaps import find_gaps, refuse_gaps
from iadr1.stages.scoring.loading import Loaded, load
from iadr1.stages.scoring.measuring import Measured, collector_paused, measure, write_json, write_tables
from iadr1.stages.scoring.pixel import MASKS, MaskRecord
from iadr1.stages.scoring.rows import row
from iadr1.stages.scoring.runs import PREDICTIONS, RunInfo
from iadr1.stages.scoring.selection import Shard, draw, read_shard, shard_folders, shard_images
from iadr1.stages.scoring.splits import FOUND, FoundLeaks

__all__ = [
    "FOUND",
    "MASKS",
    "PREDICTIONS",
    "FoundLeaks",
    "Loaded",
    "MaskRecord",
    "Measured",
    "RunInfo",
    "Shard",
    "collector_paused",
    "draw",
    "find_gaps",
    "load",
    "load_answers",
    "measure",
    "read_shard",
    "refuse_gaps",
    "row",
    "shard_folders",
    "shard_images",
    "write_json",
    "write_tables",
]
