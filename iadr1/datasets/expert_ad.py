r"""Expert-AD, the training data of IAD-R1 (Li et al., arXiv 2508.09178), and how a set of that kind is built.

Licence: none stated. Two JSON lists, each with one image (zero-shot) or with a reference before it (one-shot); a
tagged text holds reasoning (PA-SFT only) and answer, for a defect also its location and type (docs/paper_index.md):

    PA-SFT    [{"images": "a.png" or ["reference.png", "a.png"],
                "messages": [{"role": "user", "content": "<image>\nAre there any defects in the query image?"},
                             {"role": "assistant", "content": a tagged text}]}]
    SC-GRPO   [{"id": "7", "image": "a.png", ["reference.png", "a.png"] or [{"path": "a.png"}],
                "problem": "Are there any defects in the query image?", "solution": a tagged text}]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import wrong_layout
from iadr1.datasets.templates import reasoning
from iadr1.errors import DataError
from iadr1.geometry import location_word
from iadr1.prompts import parse
from iadr1.records import Defect, Sample

DATASET = "Expert-AD"
TEMPLATE = "template"
"""`reasoning_source` of the samples that `build` makes."""

_IMAGE = "<image>"


@dataclass(frozen=True)
class _Entry:
    """One entry: its place in the file, its images (the query last), question, tagged text."""

    where: str
    number: int
    images: tuple[str, ...]
    question: str
    text: str


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per entry, in the file's order; `id` is the file's name and the entry's number from 0.

    Images before the last are `references`. `category` is the first folder of the image's path, since the files name
    none; the split is `train`. Defects have no boxes; where several types and places are named, the first type goes
    with the first place and so on, and the last of the shorter list stands for the rest.

    Args:
        files: The set's files.
        annotations: The JSON file; by default the only `*.json` in the root.

    Raises:
        DataError: No or several JSON files, or an entry that is not of either kind or contradicts itself.
    """
    path = annotations or _only_json(files.root)
    value = read_json(path)
    if not isinstance(value, list) or not value:
        raise DataError("not a JSON list of entries, or an empty one", where=str(path), hint=f"expected {SOURCE.tree}")
    entries = [_entry(item, number, f"{path}: entry {number}") for number, item in enumerate(value)]
    for entry in entries:
        for image in entry.images:
            files.add(image, where=entry.where)
    files.check(hint=f"the paths in {path.name} are relative to the root")
    for entry in entries:
        sample = _sample(files, entry, path.stem)
        if sample is not None:
            yield sample


def _only_json(root: Path) -> Path:
    found = sorted(root.glob("*.json")) if root.is_dir() else []
    if not found:
        raise wrong_layout(root, SOURCE.tree)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{len(found)} JSON files: {names}", where=str(root), hint="name one with --annotations")
    return found[0]


def _entry(value: Any, number: int, where: str) -> _Entry:
    if not isinstance(value, dict):
        raise DataError(f"not a JSON object: {value!r:.60}", where=where)
    if "messages" in value:
        images = _paths(value, "images", where)
        question, text = _turns(value["messages"], len(images), where)
    elif "problem" in value:
        images = _paths(value, "image", where)
        question, text = _text(value, "problem", where), _text(value, "solution", where)
    else:
        raise DataError(f"neither 'messages' nor 'problem' is among {sorted(value)}", where=where)
    return _Entry(where, number, images, question, text)


def _paths(value: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    """The image paths, from a path, an object with `path`, or a list of either."""
    found = value.get(name)
    items = found if isinstance(found, list) else [found]
    paths = [item.get("path") if isinstance(item, dict) else item for item in items]
    named = [path for path in paths if isinstance(path, str) and path]
    if not named or len(named) < len(paths):
        raise DataError(f"{name!r} is neither a path nor a list of paths: {found!r:.80}", where=where)
    return tuple(named)


def _turns(messages: Any, images: int, where: str) -> tuple[str, str]:
    """Question and tagged text from the two turns; the question is what stands after the last image."""
    turns = messages if isinstance(messages, list) else []
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if roles[-2:] != ["user", "assistant"] or roles[:-2] not in ([], ["system"]):
        raise DataError(f"'messages' is not a user's and an assistant's turn: {messages!r:.80}", where=where)
    asked, text = _text(turns[-2], "content", where), _text(turns[-1], "content", where)
    if asked.count(_IMAGE) != images:
        raise DataError(f"the question has {asked.count(_IMAGE)} marks {_IMAGE} for {images} images", where=where)
    question = asked.rpartition(_IMAGE)[2].strip()
    if not question:
        raise DataError(f"no question after the last {_IMAGE}: {asked!r:.80}", where=where)
    return question, text


def _text(value: dict[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found.strip():
        raise DataError(f"{name!r} is {found!r:.60}, not a text", where=where)
    return found.strip()


def _sample(files: Files, entry: _Entry, stem: str) -> Sample | None:
    answer = parse(entry.text, "structured")
    if answer.is_anomalous is None or answer.status in ("truncated", "failed"):
        raise DataError(f"no verdict in {entry.text!r:.80}: {answer.reason}", where=entry.where)
    if not answer.is_anomalous and (answer.types or answer.locations):
        raise DataError(f"the answer is No, but a defect is described: {entry.text!r:.80}", where=entry.where)
    if answer.locations and not answer.types:
        raise DataError(f"a location without a type: {entry.text!r:.80}", where=entry.where)
    *references, image = entry.images
    parts = PurePosixPath(image).parts
    return files.sample(
        entry.where,
        id=f"{stem}#{entry.number}",
        dataset=DATASET,
        category=parts[0] if len(parts) > 1 else "",
        split="train",
        image=image,
        references=tuple(references),
        task="anomaly",
        question=entry.question,
        answer="Yes" if answer.is_anomalous else "No",
        question_type="Anomaly Detection",
        is_anomalous=answer.is_anomalous,
        defects=_defects(answer.types, answer.locations),
        reasoning=answer.think or None,
        reasoning_source=DATASET if answer.think else None,
        licence=SOURCE.licence,
        source=DATASET,
    )


def _defects(types: Sequence[str], locations: Sequence[str]) -> tuple[Defect, ...]:
    if not types:
        return ()
    places = locations or (None,)
    return tuple(
        Defect(type=types[min(index, len(types) - 1)], location=places[min(index, len(places) - 1)])
        for index in range(max(len(types), len(places)))
    )


def build(samples: Iterable[Sample], *, seed: int = 0) -> Iterator[Sample]:
    """Samples of Expert-AD's kind from the yes/no samples of any set with masks or boxes, one for each, in order.

    Each gets reasoning from templates, which uses only what the sample says and is marked `reasoning_source`
    `template`; the texts depend on the seed and the sample's id alone. A defect with a box gets its 3x3 location.
    Reasoning that a person or a model wrote stays.

    Args:
        samples: Yes/no samples, as the readers of masked sets give them.
        seed: Decides on the wording.

    Raises:
        DataError: A sample is no yes/no sample, or a box has neither a location nor an image size to tell it from.
    """
    for sample in samples:
        if sample.task != "anomaly" or sample.is_anomalous is None:
            raise DataError(
                f"the task is {sample.task!r}, not a yes/no question with a known answer",
                where=sample.id,
                hint="prepare a set with masks first, for example: iadr1 prepare mvtec",
            )
        located = sample.model_copy(update={"defects": tuple(_located(sample, defect) for defect in sample.defects)})
        if sample.reasoning and sample.reasoning_source != TEMPLATE:
            yield located
        else:
            yield located.model_copy(
                update={"reasoning": reasoning(located, seed=seed), "reasoning_source": TEMPLATE},
            )


def _located(sample: Sample, defect: Defect) -> Defect:
    if defect.location is not None or defect.box is None:
        return defect
    if sample.image_size is None:
        raise DataError(
            f"the defect {defect.type!r} has a box but no location, and the image's size is not known",
            where=sample.id,
            hint="prepare the set again with its images",
        )
    return defect.model_copy(update={"location": location_word(defect.box, sample.image_size)})


SOURCE = Source(
    scan=scan,
    title="Expert-AD",
    licence="none stated",
    page="https://huggingface.co/datasets/yanhui01/Expert-AD",
    citation="Li et al., IAD-R1, arXiv 2508.09178",
    tree='NAME.json, a list of {"images", "messages"} (PA-SFT) or {"image", "problem", "solution"} (SC-GRPO), '
    "and the images under the root",
    options=("annotations",),
    hub=Hub("yanhui01/Expert-AD", files=("*",)),
)
