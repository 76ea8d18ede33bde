"""Asks the model about a batch of photos, reads the answers, and writes masks and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import prompts, rle
from iadr1.config import DetectConfig
from iadr1.errors import ImageError, ModelError, OutputError
from iadr1.geometry import BoxFrame, iou
from iadr1.masks import clean, load_segmenter
from iadr1.models.base import Completion, Engine, Request
from iadr1.records import DetectedDefect, Detection, Sample, Verdict
from iadr1.reports.overlay import draw_overlay
from iadr1.stages.detect.photos import Loaded, utf8

MaskArray = NDArray[np.bool_]
_SAME_BOX_IOU = 0.9


class Detector:
    """Turns loaded photos into records.

    Attributes:
        no_score: Why records have no anomaly score; None as long as the engine gives them.

    Raises:
        UsageError: The segmenter is not known.
        ModelError: The segmenter cannot be loaded.
    """

    def __init__(self, config: DetectConfig, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._segmenter = load_segmenter(config.segmenter, device=config.device) if config.masks else None
        self.no_score: str | None = None

    def detect(self, batch: Sequence[Loaded]) -> list[Detection]:
        """One record for each photo, in order; its masks and overlay are on the disk when it is returned.

        Raises:
            ModelError: The model cannot be used.
            OutputError: A mask or an overlay cannot be written.
        """
        framed = [self._frame(item) for item in batch]
        good = [(item, frame) for item, frame in zip(batch, framed, strict=True) if isinstance(frame, BoxFrame)]
        asked = [(_request(item, "boxes"), _request(item, "direct")) for item, _ in good]
        completions = self._engine.generate([boxes for boxes, _ in asked], max_new_tokens=self._config.max_new_tokens)
        scores = self._scores([direct for _, direct in asked])
        found = {
            item.photo.name: self._record(item, frame, completion, score)
            for (item, frame), completion, score in zip(good, completions, scores, strict=True)
        }
        return [
            found.get(item.photo.name) or self._failed(item, str(frame))
            for item, frame in zip(batch, framed, strict=True)
        ]

    def _frame(self, item: Loaded) -> BoxFrame | str:
        """How the model sees the photo, or why it cannot."""
        if item.image is None:
            return item.error or "the photo could not be read"
        try:
            if item.reference is not None:
                self._engine.profile.input_wh(item.reference.size)
            return self._engine.profile.frame(item.image.size)
        except ImageError as error:
            return str(error)

    def _failed(self, item: Loaded, error: str) -> Detection:
        width, height = item.image.size if item.image is not None else (0, 0)
        return Detection(
            image=item.photo.name,
            width=width,
            height=height,
            verdict="undecided",
            model=self._engine.model,
            error=utf8(error),
        )

    def _scores(self, requests: Sequence[Request]) -> list[float | None]:
        """P(Yes) of each direct question; None for an engine without probabilities, such as stored answers."""
        if self.no_score is None and requests:
            try:
                return [words["Yes"] for words in self._engine.probabilities(requests, ("Yes", "No"))]
            except ModelError as error:
                self.no_score = str(error)
        return [None] * len(requests)

    def _record(self, item: Loaded, frame: BoxFrame, completion: Completion, score: float | None) -> Detection:
        assert item.image is not None
        answer = prompts.parse(completion.text, "boxes", frame=frame)
        defects, masks = self._defects(item.image, _distinct(answer.boxes or ()), item.photo.slug)
        return Detection(
            image=item.photo.name,
            image_sha256=item.sha256,
            width=item.image.width,
            height=item.image.height,
            verdict=_verdict(answer),
            score=score,
            reasoning=utf8(answer.think) if answer.think else None,
            defects=tuple(defects),
            parse=utf8(f"{answer.status}: {answer.reason}" if answer.reason else answer.status),
            raw=utf8(completion.text),
            model=self._engine.model,
            references=(item.reference_name,) if item.reference_name is not None else (),
            overlay=self._overlay(item.image, defects, masks, item.photo.slug),
            seconds=completion.seconds,
        )

    def _defects(
        self, image: Image.Image, boxes: Sequence[prompts.LabelledBox], slug: str
    ) -> tuple[list[DetectedDefect], list[MaskArray]]:
        labels = [utf8(item.label) for item in boxes]
        if self._segmenter is None:
            return [DetectedDefect(label=label, box=item.box) for label, item in zip(labels, boxes, strict=True)], []
        results = self._segmenter.segment(image, [item.box for item in boxes])
        defects, masks = [], []
        for index, (label, item, result) in enumerate(zip(labels, boxes, results, strict=True)):
            cleaned = clean(result, item.box)
            name = f"masks/{slug}_{index}.png"
            _save(Image.fromarray(cleaned.mask.astype(np.uint8) * 255), self._config.out / name)
            masks.append(cleaned.mask)
            defects.append(
                DetectedDefect(
                    label=label,
                    box=item.box,
                    mask=name,
                    mask_rle=dict(rle.encode(cleaned.mask)),
                    mask_score=cleaned.score,
                    mask_source=cleaned.source,
                    area_px=int(cleaned.mask.sum()),
                )
            )
        return defects, masks

    def _overlay(
        self, image: Image.Image, defects: Sequence[DetectedDefect], masks: Sequence[MaskArray], slug: str
    ) -> str | None:
        if not self._config.overlays:
            return None
        name = f"overlays/{slug}.png"
        _save(draw_overlay(image, defects, masks), self._config.out / name)
        return name


def _request(item: Loaded, fmt: prompts.Format) -> Request:
    references = ("reference",) if item.reference is not None else ()
    sample = Sample(
        id=item.photo.name,
        dataset="photos",
        category="unknown",
        split="detect",
        image=item.photo.slug,
        references=references,
        task="grounding",  # the one task whose samples have no answer yet
        question=prompts.DETECT_QUESTION,
        question_type="detect",
    )
    images = tuple(image for image in (item.reference, item.image) if image is not None)
    return Request(item.photo.name, prompts.render_prompt(sample, fmt, shots=len(references)), images)


def _distinct(boxes: Sequence[prompts.LabelledBox]) -> list[prompts.LabelledBox]:
    """The boxes without repetitions: a looping model names one defect again and again (`raw` keeps them all)."""
    kept: list[prompts.LabelledBox] = []
    for item in boxes:
        if all(item.label != other.label or iou(item.box, other.box) < _SAME_BOX_IOU for other in kept):
            kept.append(item)
    return kept


def _verdict(answer: prompts.Answer) -> Verdict:
    if answer.status == "failed" or answer.is_anomalous is None:
        return "undecided"
    return "anomalous" if answer.is_anomalous else "normal"


def _save(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=str(path)) from error
