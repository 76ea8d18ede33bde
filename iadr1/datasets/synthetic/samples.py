"""A scene as an entry of the real sets' files (MMAD, VLM-R1) and as a yes/no sample in IAD-R1's manner."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1.datasets.layout import GOOD
from iadr1.datasets.synthetic.catalog import CATEGORY_NUMBERS, category_of
from iadr1.datasets.synthetic.questions import Phrase, anomaly_reasoning, phrase_reasoning, phrases, questions
from iadr1.datasets.synthetic.scene import Scene, SceneDefect
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Defect, Sample
from iadr1.rle import Rle

LICENCE = "CC0-1.0"
"""Licence of all synthetic images and of what is said about them."""

COMBINED = "combined"
_LEAD_IN = "Please provide the bounding box coordinate of the region this sentence describes: "


def dataset_of(category: str) -> str:
    """The synthetic data set of a category: `Syn-Novel` for the held-out ones, else by family, as `Syn-Part`."""
    known = category_of(category)
    return "Syn-Novel" if known.held_out else f"Syn-{known.family.capitalize()}"


def state_of(scene: Scene) -> str:
    """The folder a scene belongs into: `good`, the one defect's type such as `missing_part`, or `combined`."""
    if not scene.defects:
        return GOOD
    return scene.defects[0].type.replace(" ", "_") if len(scene.defects) == 1 else COMBINED


def union_mask(scene: Scene) -> NDArray[np.uint8]:
    """The pixels of all defects as the real sets store them: (H, W), 0 and 255."""
    mask = np.zeros(scene.image.shape[:2], dtype=np.uint8)
    for defect in scene.defects:
        mask[defect.mask] = 255
    return mask


def mmad_entry(scene: Scene, *, image: str, mask: str | None, template: str) -> dict[str, Any]:
    """A scene's value in `mmad.json`.

    Two members go beyond MMAD's: `held_out` of the image and `Reasoning` of a question.

    Args:
        scene: The scene.
        image: Path of the image inside its category's folder.
        mask: Path of the mask inside its category's folder; None for a normal product.
        template: Path of its normal photo from the root of the set.
    """
    conversation = [
        {
            "Question": question.text,
            "Answer": question.answer,
            "Options": question.options,
            "type": question.type,
            "annotation": True,
            "Reasoning": question.reasoning,
        }
        for question in questions(scene)
    ]
    return {
        "image_path": image,
        "mask_path": mask or "",
        "conversation": conversation,
        "similar_templates": [template],
        "random_templates": [template],
        "held_out": category_of(scene.category).held_out,
    }


def rec_entries(scene: Scene, *, image: str, image_id: int, first_id: int) -> Iterator[dict[str, Any]]:
    """A scene's entries in VLM-R1's REC JSON, one per referring expression.

    Args:
        scene: The scene.
        image: Path of the image from the root of the set.
        image_id: Running number of the image.
        first_id: Running number of the first entry.
    """
    for number, phrase in enumerate(phrases(scene)):
        yield _rec_entry(scene, phrase, {"id": first_id + number, "image_id": image_id, "image": image})


def _rec_entry(scene: Scene, phrase: Phrase, known: dict[str, Any]) -> dict[str, Any]:
    defect = scene.defects[phrase.defect]
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = defect.box
    per_mille = (x1 / width, y1 / height, x2 / width, y2 / height)
    return {
        **known,
        "height": height,
        "width": width,
        "original_id": scene.seed,
        "dataset_name": "synthetic",
        "area": float(defect.mask.sum()),
        "iscrowd": 0,
        "category_id": CATEGORY_NUMBERS[scene.category],
        "bbox_list": [[x1, y1, x2 - 1, y2 - 1]],
        "text_type": "caption",
        "problem": f"{_LEAD_IN}{phrase.text}.",
        "normal_caption": phrase.text,
        "solution": [x1, y1, x2, y2],
        "normalized_solution": [math.floor(1000 * value) for value in per_mille],
    }


def anomaly_sample(scene: Scene, *, image: str, mask: str | None, template: str, split: str) -> Sample:
    """The yes/no question about a scene, with every defect's exact type and box and the reference reasoning.

    Args:
        scene: The scene.
        image: Path of the image from the root; also the sample's id.
        mask: Path of the mask that holds all its defects, from the root; None for a normal product.
        template: Path of its normal photo, from the root.
        split: The sample's split.
    """
    category = category_of(scene.category)
    return Sample(
        id=image,
        dataset=dataset_of(scene.category),
        category=category.name,
        split=split,
        image=image,
        references=(template,),
        task="anomaly",
        question=DETECT_QUESTION,
        answer="Yes" if scene.defects else "No",
        question_type="Anomaly Detection",
        is_anomalous=bool(scene.defects),
        defects=tuple(_defect(defect, mask) for defect in scene.defects),
        reasoning=anomaly_reasoning(scene),
        held_out=category.held_out,
        licence=LICENCE,
    )


def scene_samples(scene: Scene, *, image: str, masks: Sequence[Rle]) -> list[Sample]:
    """Everything that can be asked about a scene, for training: the verdict, MMAD's questions, referring expressions.

    Args:
        scene: The scene.
        image: Path of the image from the root; the ids begin with it.
        masks: Of each of its defects; only the verdict's sample holds them.
    """
    verdict = anomaly_sample(scene, image=image, mask=None, template=image, split="train")
    drawn = [d.model_copy(update={"mask_rle": mask}) for d, mask in zip(verdict.defects, masks, strict=True)]
    plain = verdict.model_copy(update={"defects": ()})
    asked = [
        plain.model_copy(
            update={
                "id": f"{image}#{number}",
                "task": "choice",
                "question": question.text,
                "options": question.options,
                "answer": question.answer,
                "question_type": question.type,
                "reasoning": question.reasoning,
            }
        )
        for number, question in enumerate(questions(scene))
    ]
    named = [
        plain.model_copy(
            update={
                "id": f"{image}@{number}",
                "task": "grounding",
                "question": f"{_LEAD_IN}{phrase.text}.",
                "answer": "",
                "question_type": "Grounding",
                "defects": (verdict.defects[phrase.defect],),
                "reasoning": phrase_reasoning(scene, phrase),
            }
        )
        for number, phrase in enumerate(phrases(scene))
    ]
    return [verdict.model_copy(update={"defects": tuple(drawn)}), *asked, *named]


def _defect(defect: SceneDefect, mask: str | None) -> Defect:
    attributes = {"severity": defect.severity, "colour": defect.colour, "size": defect.size}
    return Defect(type=defect.type, box=defect.box, mask=mask, location=defect.location, attributes=attributes)
