"""The same pipeline from Python: a notebook makes the same calls as the command line.

    python examples/from_python.py FOLDER

looks at every photo of FOLDER with the embedded model and prints a line for each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from iadr1.config import DetectConfig
from iadr1.records import Detection, read_records
from iadr1.stages import detect

# As the command line does, before torch is loaded: waiting threads leave the cores to others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(folder: Path, out: Path = Path("runs/from_python")) -> int:
    """Detect, then read the records back; returns how many photos failed."""
    summary = detect.run(DetectConfig(images=folder, out=out, masks=True))
    for found in read_records(out / "detections.jsonl", Detection):
        what = ", ".join(f"{defect.label} at {tuple(round(v) for v in defect.box)}" for defect in found.defects)
        print(f"{found.verdict:>10}  {found.score or 0:.2f}  {found.image}  {what}")  # noqa: T201 - an example's output
    return summary.errors


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "images")))
