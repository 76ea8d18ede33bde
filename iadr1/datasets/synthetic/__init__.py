"""A procedural world of inspected products with exactly known defects: thirteen, and twenty for training only."""

from iadr1.datasets.synthetic.catalog import (
    CATEGORIES,
    DEFECT_TYPES,
    TRAINING_CATEGORIES,
    Category,
    applicable_defects,
    category_of,
)
from iadr1.datasets.synthetic.scene import Scene, SceneDefect, draw_plan, render

__all__ = [
    "CATEGORIES",
    "DEFECT_TYPES",
    "TRAINING_CATEGORIES",
    "Category",
    "Scene",
    "SceneDefect",
    "applicable_defects",
    "category_of",
    "draw_plan",
    "render",
]
