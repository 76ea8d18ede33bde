"""What a copy of MMAD is: which release, what is wrong with it, and what it says of its products.

There are two populations of `mmad.json`: the one of paper and README, and the hub's later one with two questions less.
Older copies show 22 metal nuts among the pills, a fault of Defect Spectrum, where the images come from
(`jam-cc/MMAD`, issues 15, 19 and 21).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import GOOD, image_files, wrong_layout
from iadr1.errors import DataError
from iadr1.images import file_sha256, hash_and_size

INDEX = "mmad.json"
KNOWLEDGE = "domain_knowledge.json"
TREE = "mmad.json beside DS-MVTec/, MVTec-AD/, MVTec-LOCO/, VisA/, GoodsAD/"

RELEASES: Mapping[tuple[int, int], str] = {
    (8_366, 39_672): "paper and README: 39,672 questions about 8,366 images",
    (8_366, 39_670): "hub revision c4ed190dcb53: 39,670 questions about 8,366 images",
}
"""Known populations: (images, questions) -> where they come from."""
REVISIONS: Mapping[str, str] = {
    "639343b491bc67b2abb3c5d719f221ce27f83b2ed97948f4e88055aaa31f1c1e": "c4ed190dcb530f2f673ab293e575ad32054bb3cf"
}
"""SHA-256 of `mmad.json` -> the hub's revision that holds it."""


def read_index(root: Path) -> dict[str, Any]:
    """The images of `mmad.json`: path of the query image -> its entry, not looked into.

    Raises:
        DataError: No such file, not JSON, a key twice, or not an object of images.
    """
    path = root / INDEX
    if not path.is_file():
        raise wrong_layout(root, TREE)
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise DataError("not a JSON object of images, or an empty one", where=str(path))
    return value


def questions_of(entry: Any, *, where: str) -> list[Any]:
    """The questions of an image's entry.

    Their key may have a suffix; the benchmark's own code takes the first that starts with `conversation`.

    Raises:
        DataError: There is no such list.
    """
    if not isinstance(entry, dict):
        raise DataError(f"not a JSON object: {entry!r:.60}", where=where)
    found = next((value for name, value in entry.items() if name.startswith("conversation")), None)
    if not isinstance(found, list):
        raise DataError("no list of questions under a key that starts with 'conversation'", where=where)
    return found


def notes(root: Path, *, types: Collection[str]) -> dict[str, Any]:
    """What the sidecar of a prepared MMAD says of this copy.

    Args:
        root: The set's folder.
        types: MMAD's raw question types.

    Returns:
        `mmad`: numbers of images and questions, questions by type, the release these numbers belong to, SHA-256 and
        revision of `mmad.json`. `domain_knowledge`: data set as in the samples -> class -> state -> text; empty where
        the file is absent. `warnings`: sentences for the user about what is unusual or wrong.

    Raises:
        DataError: `mmad.json` or `domain_knowledge.json` is not what it should be.
    """
    index = read_index(root)
    where = str(root / INDEX)
    kinds: Counter[str] = Counter()
    for path, entry in index.items():
        asked = questions_of(entry, where=f"{where}: {path}")
        kinds.update(str(item.get("type")) if isinstance(item, dict) else "" for item in asked)
    population = (len(index), kinds.total())
    sha256 = file_sha256(root / INDEX)
    warnings = []
    if population not in RELEASES:
        known = " and ".join(f"{questions:,} questions about {images:,} images" for images, questions in RELEASES)
        warnings.append(
            f"mmad.json holds {population[1]:,} questions about {population[0]:,} images, the releases hold {known}; "
            "figures from it do not compare with published ones."
        )
    strange = {kind: count for kind, count in sorted(kinds.items()) if kind not in types}
    if strange:
        listed = ", ".join(f"{kind!r} ({count})" for kind, count in strange.items())
        warnings.append(f"mmad.json holds questions of types that are none of MMAD's: {listed}; they have no subtask.")
    nuts = metal_nuts_among_pills(root)
    if nuts:
        warnings.append(_nuts_warning(nuts))
    return {
        "mmad": {
            "images": population[0],
            "questions": population[1],
            "questions_by_type": dict(sorted(kinds.items())),
            "release": RELEASES.get(population, "none of the known ones"),
            "sha256": sha256,
            "revision": REVISIONS.get(sha256),
            "metal_nuts_among_pills": nuts,
        },
        "domain_knowledge": domain_knowledge(root),
        "warnings": warnings,
    }


def _nuts_warning(nuts: list[str]) -> str:
    return (
        f"{len(nuts)} of the normal pills are pictures of metal nuts ({nuts[0]} to {Path(nuts[-1]).name}), a known "
        "fault of older copies (jam-cc/MMAD issue 15): questions and templates do not fit each other there. They are "
        "kept; take the corrected files from jiang-cc/MMAD, or say so beside your figures."
    )


def metal_nuts_among_pills(root: Path) -> list[str]:
    """The images in `DS-MVTec/pill/image/good` that show a metal nut, relative to the root.

    Those are told by their content, which is a metal nut's file, or, where it was stored anew, by having the size of
    metal nuts and not of the pills' templates (MVTec AD: 700x700 and 800x800). Looks at about 50 files.

    Raises:
        ImageError: One of them cannot be read.
    """
    nuts = image_files(root / "DS-MVTec/metal_nut/image" / GOOD)
    pills = image_files(root / "DS-MVTec/pill/image" / GOOD)
    if not nuts or not pills:
        return []
    known = dict(map(hash_and_size, nuts))
    nut_sizes = set(known.values())
    templates = image_files(root / "MVTec-AD/pill/train" / GOOD)[:1]
    pill_sizes = {hash_and_size(template)[1] for template in templates}
    found = []
    for pill in pills:
        sha256, size = hash_and_size(pill)
        if sha256 in known or (pill_sizes and size not in pill_sizes and size in nut_sizes):
            found.append(pill.relative_to(root).as_posix())
    return found


def domain_knowledge(root: Path) -> dict[str, dict[str, dict[str, str]]]:
    """MMAD's texts about normal and defective states: data set as in the samples -> class -> state -> text.

    The file says `MVTec` for what the samples call `DS-MVTec`. The texts are kept to the letter. Empty where the file
    is absent.

    Raises:
        DataError: The file is not of that shape.
    """
    path = root / KNOWLEDGE
    if not path.is_file():
        return {}
    value = read_json(path)
    for dataset, classes in _object(value, path, "data sets").items():
        for category, states in _object(classes, path, dataset).items():
            for state, text in _object(states, path, f"{dataset}, {category}").items():
                if not isinstance(text, str):
                    raise DataError(f"not a text: {text!r:.60}", where=f"{path}: {dataset}, {category}, {state}")
    return {"DS-MVTec" if dataset == "MVTec" else dataset: classes for dataset, classes in value.items()}


def _object(value: Any, path: Path, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"not a JSON object: {value!r:.60}", where=f"{path}: {what}")
    return value
