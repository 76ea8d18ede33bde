"""`iadr1 model`: what is done to a model's files."""

from __future__ import annotations

from iadr1.stages.model.merge import MergeSummary, merge

__all__ = ["MergeSummary", "merge"]
