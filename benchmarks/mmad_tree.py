"""Makes an MMAD tree of full size in its real layout, with small made-up pictures and questions.

    python benchmarks/mmad_tree.py FOLDER

8,366 query images, 39,672 questions with the counts of every data set and subtask that follow from the published
result files, 17,202 templates, masks as the four sets store them (label colours, type codes, 0 and 255). Made up are:
what the pictures show, the texts (as long as needed for the 30 MB of the real `mmad.json`), how the counts spread over
classes, and which 69 images have no detection question. Takes half a minute and 0.3 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
TEMPLATES_PER_IMAGE = 8
TEXT_LENGTH = 15
"""Words of a question; with it `mmad.json` has the size of the real one."""

QUESTIONS = 39_672
IMAGES = 8_366


@dataclass(frozen=True)
class Part:
    """One of MMAD's four sets.

    Attributes:
        classes: Class -> its defect folders.
        normal: Number of normal query images.
        defective: Number of defective query images.
        detection: Detection questions about normal and about defective images.
        defect_questions: Defect Classification, Localization, Description and Analysis.
        object_questions: Object Classification, and Object Analysis with the types folded into it.
        templates: Number of images in `train/good` of all classes.
    """

    classes: dict[str, tuple[str, ...]]
    normal: int
    defective: int
    detection: tuple[int, int]
    defect_questions: tuple[int, int, int, int]
    object_questions: tuple[int, int]
    templates: int


def _classes(names: str, *states: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(names.split(), states)


PARTS: dict[str, Part] = {
    "DS-MVTec": Part(
        {
            "bottle": ("broken_large", "broken_small", "contamination"),
            "cable": ("bent_wire", "cable_swap", "combined", "missing_wire"),
            "capsule": ("crack", "faulty_imprint", "poke", "scratch", "squeeze"),
            **_classes("carpet", "color", "cut", "hole", "metal_contamination", "thread"),
            **_classes("grid", "bent", "broken", "glue", "metal_contamination", "thread"),
            **_classes("hazelnut", "crack", "cut", "hole", "print"),
            **_classes("leather", "color", "cut", "fold", "glue", "poke"),
            **_classes("metal_nut", "bent", "color", "scratch"),
            **_classes("pill", "color", "combined", "contamination", "crack", "faulty_imprint", "scratch"),
            **_classes("screw", "manipulated_front", "scratch_head", "scratch_neck", "thread_side", "thread_top"),
            **_classes("tile", "crack", "glue_strip", "gray_stroke", "oil", "rough"),
            **_classes("toothbrush", "defective"),
            **_classes("transistor", "bent_lead", "cut_lead", "damaged_case", "misplaced"),
            **_classes("wood", "color", "combined", "hole", "liquid", "scratch"),
            **_classes("zipper", "broken_teeth", "combined", "fabric_border", "fabric_interior", "rough"),
        },
        normal=467,
        defective=1226,
        detection=(465, 1226),
        defect_questions=(1205, 1193, 1213, 1205),
        object_questions=(464, 1367),
        templates=3629,
    ),
    "MVTec-LOCO": Part(
        _classes(
            "breakfast_box juice_bottle pushpins screw_bag splicing_connectors",
            "logical_anomalies",
            "structural_anomalies",
        ),
        normal=575,
        defective=993,
        detection=(573, 992),
        defect_questions=(982, 982, 974, 954),
        object_questions=(544, 1623),
        templates=1778,
    ),
    "VisA": Part(
        _classes(
            "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum",
            "bad",
        ),
        normal=962,
        defective=1200,
        detection=(943, 1198),
        defect_questions=(1190, 1197, 1190, 1163),
        object_questions=(935, 2806),
        templates=8659,
    ),
    "GoodsAD": Part(
        {
            "cigarette_box": ("opened",),
            "drink_bottle": ("surface_damage", "cap_open", "cap_half_open"),
            "drink_can": ("surface_damage", "deformation", "straw_missing"),
            "food_bottle": ("surface_damage", "deformation", "opened"),
            "food_box": ("surface_damage", "deformation", "opened"),
            "food_package": ("surface_anomaly", "broken"),
        },
        normal=1299,
        defective=1644,
        detection=(1269, 1631),
        defect_questions=(1311, 1506, 1333, 1460),
        object_questions=(1211, 3367),
        templates=3136,
    ),
}

DEFECT_TYPES = ("Defect Classification", "Defect Localization", "Defect Description", "Defect Analysis")
ANALYSIS_TYPES = ("Object Analysis", "Object Structure", "Object Details")
SUFFIX = {"DS-MVTec": ".png", "MVTec-LOCO": ".png", "VisA": ".JPG", "GoodsAD": ".jpg"}
WORDS = (
    "surface", "scratch", "edge", "product", "small", "dark", "visible", "area", "near", "corner", "middle", "defect",
    "which", "of", "the", "following", "describes", "it", "best", "appears", "along", "side", "damaged", "broken",
)  # fmt: skip


class Pictures:
    """Small pictures of random content, each other than all before."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def photo(self, suffix: str) -> bytes:
        """A colour picture as PNG, or as JPEG for another suffix."""
        coarse = self._rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return _encoded(image, "PNG" if suffix == ".png" else "JPEG")

    def mask(self, value: int | tuple[int, int, int]) -> bytes:
        """A mask with one or two rectangles of a value, as PNG; in colour where the value is one."""
        shape = (SIDE, SIDE, 3) if isinstance(value, tuple) else (SIDE, SIDE)
        pixels = np.zeros(shape, dtype=np.uint8)
        for _ in range(int(self._rng.integers(1, 3))):
            x, y, w, h = self._rng.integers(4, SIDE // 2, 4)
            pixels[y : y + h, x : x + w] = value
        return _encoded(Image.fromarray(pixels), "PNG")


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def make(root: Path, *, seed: int = 0) -> None:
    """Write the tree into a folder that must not hold one yet."""
    rng, pictures = random.Random(seed), Pictures(seed)
    index: dict[str, Any] = {}
    for name, part in PARTS.items():
        templates = _templates(root, name, part, pictures)
        index.update(_entries(root, name, part, templates, rng=rng, pictures=pictures))
    text = json.dumps(index, indent=4, ensure_ascii=False)
    (root / "mmad.json").write_text(text, encoding="utf-8")
    (root / "domain_knowledge.json").write_text(json.dumps(_knowledge(), indent=4), encoding="utf-8")


def _knowledge() -> dict[str, Any]:
    return {
        {"DS-MVTec": "MVTec"}.get(name, name): {
            category: {state: f" <{state}>\n Description: made up." for state in ("good", *states)}
            for category, states in part.classes.items()
        }
        for name, part in PARTS.items()
    }


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (number < total % parts) for number in range(parts)]


def _templates(root: Path, name: str, part: Part, pictures: Pictures) -> dict[str, list[str]]:
    """Class -> its templates; those of DS-MVTec lie in MVTec-AD."""
    folder, suffix = "MVTec-AD" if name == "DS-MVTec" else name, SUFFIX[name]
    found: dict[str, list[str]] = {}
    for category, count in zip(part.classes, _shares(part.templates, len(part.classes)), strict=True):
        found[category] = [f"{folder}/{category}/train/good/{number:04d}{suffix}" for number in range(count)]
        for path in found[category]:
            _write(root / path, pictures.photo(suffix))
    return found


def _photos(name: str, part: Part) -> Iterator[tuple[str, str, str]]:
    """Class, state and number of every query image, normal ones first."""
    states = [(category, "good") for category in part.classes]
    for (category, state), count in zip(states, _shares(part.normal, len(states)), strict=True):
        yield from ((category, state, f"{number:03d}") for number in range(count))
    states = [(category, state) for category, all_states in part.classes.items() for state in all_states]
    for (category, state), count in zip(states, _shares(part.defective, len(states)), strict=True):
        yield from ((category, state, f"{number:03d}") for number in range(count))


def _entries(
    root: Path, name: str, part: Part, templates: dict[str, list[str]], *, rng: random.Random, pictures: Pictures
) -> Iterator[tuple[str, Any]]:
    asked = {"good": 0, "defect": 0}
    for category, state, stem in _photos(name, part):
        inside = f"image/{state}" if name == "DS-MVTec" else f"test/{state}"
        path = f"{inside}/{stem}{SUFFIX[name]}"
        _write(root / name / category / path, pictures.photo(SUFFIX[name]))
        kind = "good" if state == "good" else "defect"
        types = list(_types(part, asked[kind], normal=kind == "good"))
        asked[kind] += 1
        yield (
            f"{name}/{category}/{path}",
            {
                "image_path": path,
                "mask_path": "" if kind == "good" else _masks(root, name, category, state, stem, pictures),
                "conversation": [_question(item, normal=kind == "good", rng=rng) for item in types],
                "similar_templates": rng.sample(templates[category], TEMPLATES_PER_IMAGE),
                "random_templates": rng.sample(templates[category], TEMPLATES_PER_IMAGE),
            },
        )


def _types(part: Part, number: int, *, normal: bool) -> Iterator[str]:
    """The questions about the image of a number among the normal, or the defective, ones of a set."""
    if number < part.detection[0 if normal else 1]:
        yield "Anomaly Detection"
    # Counted from the end: an image without one question still has others.
    number_from_end = (part.normal if normal else part.defective) - 1 - number
    if not normal:
        yield from (kind for kind, n in zip(DEFECT_TYPES, part.defect_questions, strict=True) if number_from_end < n)
        return
    if number_from_end < part.object_questions[0]:
        yield "Object Classification"
    shares = _shares(part.object_questions[1], len(ANALYSIS_TYPES))
    yield from (kind for kind, n in zip(ANALYSIS_TYPES, shares, strict=True) if number_from_end < n)


def _masks(root: Path, name: str, category: str, state: str, stem: str, pictures: Pictures) -> str:
    """Write the masks of a defective image; the path as `mask_path` gives it."""
    if name == "DS-MVTec":
        folder = "rgb_mask" if category in ("capsule", "zipper") else "rbg_mask"
        path = f"{folder}/{state}/{stem}_{folder}.png"
        _write(root / name / category / path, pictures.mask((0, 120, 30)))
        return path
    if name == "MVTec-LOCO":
        path = f"ground_truth/{state}/{stem}/000.png"
        _write(root / name / category / path, pictures.mask(255))
        if int(stem) % 4 == 0:
            _write(root / name / category / f"ground_truth/{state}/{stem}/001.png", pictures.mask(254))
        return path
    path = f"ground_truth/{state}/{stem}.png"
    _write(root / name / category / path, pictures.mask(255))
    return path


def _question(kind: str, *, normal: bool, rng: random.Random) -> dict[str, Any]:
    options = {letter: f"{_text(rng, TEXT_LENGTH // 2)}." for letter in "ABCD"}
    answer = rng.choice("ABCD")
    if kind == "Anomaly Detection":
        options, answer = {"A": "Yes.", "B": "No."}, "B" if normal else "A"
    return {
        "Question": f"{_text(rng, TEXT_LENGTH)}?",
        "Answer": answer,
        "Options": options,
        "type": kind,
        "annotation": True,
    }


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder to make; it must not exist")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True)
    make(folder)
    index = folder / "mmad.json"
    found = json.loads(index.read_text(encoding="utf-8"))
    questions = sum(len(entry["conversation"]) for entry in found.values())
    if (len(found), questions) != (IMAGES, QUESTIONS):
        sys.exit(f"the tree has {len(found)} images and {questions} questions, not {IMAGES} and {QUESTIONS}")
    size = index.stat().st_size / 1e6
    sys.stdout.write(f"{folder}: {len(found)} images, {questions} questions, mmad.json of {size:.1f} MB\n")


if __name__ == "__main__":
    main()
