"""What every command that looks at photos shares: `detect`, `calibrate`, `serve` and `watch`. It is no stage.

Photos are loaded with their references, an `Inspector` asks a model about them and draws the verdict, and
`artefacts` writes masks and overlays.
"""

from __future__ import annotations

from iadr1.jsonl import utf8
from iadr1.stages.inspection import artefacts
from iadr1.stages.inspection.calibrated import Calibration, Scores, read_calibration
from iadr1.stages.inspection.inspector import Finding, Inspector
from iadr1.stages.inspection.loading import Loaded, load, load_batches
from iadr1.stages.inspection.photos import Photo, find_photos, image_root
from iadr1.stages.inspection.references import References
from iadr1.stages.inspection.settings import MODES, REASONINGS, InspectSettings

__all__ = [
    "MODES",
    "REASONINGS",
    "Calibration",
    "Finding",
    "InspectSettings",
    "Inspector",
    "Loaded",
    "Photo",
    "References",
    "Scores",
    "artefacts",
    "find_photos",
    "image_root",
    "load",
    "load_batches",
    "read_calibration",
    "utf8",
]
