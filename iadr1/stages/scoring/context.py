"""What the figures of a run depend on besides its answers: how they were read, its masks, its trained images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from iadr1.stages.scoring.loading import Loaded
from iadr1.stages.scoring.pixel import Masks, read_masks
from iadr1.stages.scoring.splits import FoundLeaks, read_leaks


@dataclass
class Context:
    """What the figures of a run depend on besides its answers.

    Attributes:
        reading: How the protocol reads answers; empty where this is not known.
        masks: The masks the run drew; None where it drew none.
        leaks: What is known of trained images; None where nothing is.
        notes: Sentences on what could not be measured, in the order they came up; added to while measuring.
    """

    reading: str = ""
    masks: Masks | None = None
    leaks: FoundLeaks | None = None
    notes: list[str] = field(default_factory=list)


def read_context(loaded: Loaded, *, root: Path | None = None, manifest: Path | None = None) -> Context:
    """Read what lies beside the answers of a run.

    Args:
        loaded: The answers.
        root: Folder of the images; by default the one that the run names.
        manifest: The leak manifest; by default where the run says, where it names one.

    Raises:
        UsageError: A folder or file that the run names is not there, or the manifest is another one.
        DataError: A file is broken, or misses images.
    """
    run = loaded.runs[0]
    questions = [item.question for item in loaded.items.values()]
    context = Context(run.reading, leaks=read_leaks(loaded.runs, questions, given=manifest))
    if loaded.task == "anomaly":
        context.masks = read_masks(loaded.runs, root=root)
        if run.values.get("no_score"):
            context.notes.append(f"no anomaly scores: {run.values['no_score']}")
    return context
