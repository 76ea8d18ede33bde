"""A procedural world of thirteen inspected products with exactly known defects."""

from iadr1.datasets.synthetic.catalog import (
    CATEGORIES,
    DEFECT_TYPES,
    Category,
    applicable_defects,
)
from iadr1.datasets.synthetic.scene import Scene, SceneDefect, draw_plan, render

__all__ = [
    "CATEGORIES",
    "DEFECT_TYPES",
    "Category",
    "Scene",
    "SceneDefect",
    "applicable_defects",
    "draw_plan",
    "render",
]
