"""Boxes out of what models write: JSON, nearly JSON, and its complete parts where the rest is broken."""

from __future__ import annotations

import json
import re
from typing import Any

from iadr1.geometry import BoxFrame
from iadr1.prompts.choosing import NEGATED
from iadr1.prompts.cleaning import tidy
from iadr1.prompts.formats import LabelledBox

_BOX_KEYS = ("bbox_2d", "bbox", "box", "bounding_box", "coordinates")
"""Keys of a box, in any letter case. Not `box_2d`: Gemini writes it with y first."""
_LIST_KEYS = ("defects", "anomalies", "boxes", "bboxes", "objects", "detections")
"""Keys under which a list of objects is wrapped."""
_CORNER_KEYS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))

_NUMBER = r"\s*([-+]?\d+(?:\.\d+)?)\s*"
_BARE_BOX = re.compile(
    rf"[\[(]{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}[\])]|[\[(]{_NUMBER},{_NUMBER}[\])]\s*,\s*[\[(]{_NUMBER},{_NUMBER}[\])]"
)
_STRING = r'"(?:\\.|[^"\\])*"'


def json_items(body: str) -> tuple[list[Any] | None, bool]:
    """The objects of a JSON list and whether it was JSON, and a list or an object; None where there is none of it.

    Of broken JSON the complete objects are kept, or else complete lists of four numbers. Nothing is completed.
    """
    value, sound = _loaded(body)
    whole = sound
    if not whole:
        body = tidy(body)
        value, whole = _loaded(_mended(body)) if body[:1] in ("[", "{") else (None, False)
    if whole:
        items, usual = _as_items(value)
        return items, sound and usual
    objects = (_object(match[0]) for match in re.finditer(r"\{[^{}]*\}", body))
    items = [value for value in objects if value is not None]
    if not items and "{" not in body and not NEGATED.search(body):
        items = [[float(n) for n in match.groups() if n is not None] for match in _BARE_BOX.finditer(body)]
    return (items or None), False


def _loaded(text: str) -> tuple[Any, bool]:
    """The JSON value of a text, and whether it has one."""
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):  # ValueError: also integers of thousands of digits
        return None, False


def _object(text: str) -> Any:
    value, whole = _loaded(text)
    return value if whole else _loaded(_mended(text))[0]


def _mended(text: str) -> str:
    """JSON with what other languages allow taken out: comments, single quotes, trailing commas, Python's words."""
    text = re.sub("[“”„‟]", '"', text)
    if '\\"' in text:
        text = text.replace('\\"', '"')
    if '"' not in text:
        text = text.replace("'", '"')
    text = re.sub(rf"({_STRING})|//[^\n]*|/\*[^*]*\*/|#[^\n]*", lambda match: match[1] or "", text, flags=re.DOTALL)
    text = re.sub(rf"({_STRING})|\b(?:None|True|False)\b", lambda match: match[1] or "null", text)
    return re.sub(rf"({_STRING})|,(?=\s*[\]}}])", lambda match: match[1] or "", text).strip()


def _as_items(value: Any) -> tuple[list[Any] | None, bool]:
    if isinstance(value, dict):
        keys = [key for key in value if key.lower() in _LIST_KEYS and isinstance(value[key], list)]
        if len(keys) == 1 and _box_value(value) is None:
            return value[keys[0]], False
        return [value], True
    if not isinstance(value, list):
        return None, False
    return ([value], False) if _four(value) is not None else (value, True)


def labelled_boxes(item: Any, frame: BoxFrame) -> tuple[list[LabelledBox], bool]:
    """The boxes of one object of the list, and whether it is written as asked for; several where it holds a list."""
    label = "defect"
    if isinstance(item, dict):
        # JSON can spell half a surrogate pair, which no UTF-8 file can hold.
        label = str(item.get("label") or label).encode("utf-8", "replace").decode("utf-8")
        item = _box_value(item)
    numbers = _four(item)
    found = [numbers] if numbers is not None else _many(item)
    usual = numbers is not None and isinstance(item, list) and not any(isinstance(v, str | list) for v in item)
    boxes = [box for four in found if (box := frame.to_image(four)) is not None]
    return [LabelledBox(box, label) for box in boxes], usual and len(boxes) == len(found)


def _box_value(item: dict[str, Any]) -> Any:
    if _BOX_KEYS[0] in item:
        return item[_BOX_KEYS[0]]
    folded = {key.lower(): value for key, value in item.items()}
    for key in _BOX_KEYS:
        if key in folded:
            return folded[key]
    for corners in _CORNER_KEYS:
        if all(key in folded for key in corners):
            return [folded[key] for key in corners]
    return None


Four = tuple[float, float, float, float]


def _four(value: Any) -> Four | None:
    """Four numbers: a list of them, a list of two corners, or one of these as text."""
    if isinstance(value, str):
        match = _BARE_BOX.fullmatch(value.strip()) or _BARE_BOX.fullmatch(f"[{value.strip()}]")
        value = [n for n in match.groups() if n is not None] if match else None
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, list) and len(v) == 2 for v in value):
        value = [*value[0], *value[1]]
    if not isinstance(value, list) or len(value) != 4:
        return None
    a, b, c, d = map(_number, value)
    return None if a is None or b is None or c is None or d is None else (a, b, c, d)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if re.fullmatch(_NUMBER, value) else None
    return value if isinstance(value, int | float) else None


def _many(value: Any) -> list[Four]:
    """Several boxes under one key."""
    found = [_four(v) for v in value] if isinstance(value, list) and all(isinstance(v, list) for v in value) else []
    return [four for four in found if four is not None]
