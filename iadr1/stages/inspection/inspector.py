"""Asks a model about a batch of photos and reads verdict, reasoning, boxes and masks out of its answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import prompts
from iadr1.errors import ImageError, ModelError
from iadr1.geometry import iou
from iadr1.jsonl import utf8
from iadr1.masks import Segmenter, draw
from iadr1.models.base import Completion, Engine
from iadr1.records import DetectedDefect, Detection
from iadr1.stages.inspection.asking import Look, Scorer, looks_at
from iadr1.stages.inspection.loading import Loaded
from iadr1.stages.inspection.settings import InspectSettings
from iadr1.stages.inspection.tiles import Defect, Found, merge, moved
from iadr1.stages.inspection.verdicts import Reasoned, decide, summarise

MaskArray = NDArray[np.bool_]
MOST_DEFECTS = 200
"""Most defects kept of one photo, the first ones: a model that loops shall not fill the memory with masks."""
MASK_PIXELS = 100_000_000
"""Pixels of the masks drawn together: photos with more, all defects counted, are drawn one after the other."""
_SAME_BOX_IOU = 0.9


@dataclass(frozen=True)
class Finding:
    """What was found in one photo.

    Attributes:
        record: The result, still without the names of files.
        image: The photo; None where it could not be read.
        masks: One boolean array (H, W) for each defect; empty where no masks are drawn.
    """

    record: Detection
    image: Image.Image | None = None
    masks: list[MaskArray] = field(default_factory=list)


@dataclass(frozen=True)
class _Heard:
    """What the model says about the looks of a batch, by their keys, and each one's share of the time of scoring."""

    scores: Mapping[str, float | str]
    answers: Mapping[str, Completion]
    scoring_s: float


class Inspector:
    """Inspects photos.

    Args:
        engine: The model.
        settings: How it is asked and how the verdict is drawn.
        segmenter: Draws the masks of boxes; None for no masks.

    Attributes:
        no_score: Why photos have no anomaly score; None as long as the engine gives them.
    """

    def __init__(self, engine: Engine, settings: InspectSettings, *, segmenter: Segmenter | None = None) -> None:
        self._engine, self._settings, self._segmenter = engine, settings, segmenter
        self._scorer = Scorer(engine)

    @property
    def no_score(self) -> str | None:
        """Why photos have no anomaly score."""
        return str(self._scorer.failure) if self._scorer.failure is not None else None

    def inspect(self, batch: Sequence[Loaded]) -> list[Finding]:
        """One finding for each photo, in order. A photo that cannot be looked at has one with an error.

        Raises:
            ModelError: The model cannot be used, or gives no probabilities and the mode needs them.
        """
        return list(self.findings(batch))

    def findings(self, batch: Sequence[Loaded]) -> Iterator[Finding]:
        """As `inspect`, one by one, so that only a few photos' masks (`MASK_PIXELS`) are in memory."""
        cut = [self._looks(item) for item in batch]
        heard = self._hear([look for found in cut if not isinstance(found, str) for look in found])
        plain = [
            self._failed(item, found) if isinstance(found, str) else self._finding(item, found, heard)
            for item, found in zip(batch, cut, strict=True)
        ]
        if self._segmenter is None:
            yield from plain
            return
        for group in _groups(plain):
            yield from _masked(self._segmenter, group)

    def _looks(self, item: Loaded) -> list[Look] | str:
        """How the model is shown a photo, or why it cannot be."""
        if item.image is None:
            return item.error or "the photo could not be read"
        try:
            return looks_at(item, item.image, self._engine.profile, self._settings.tiles)
        except ImageError as error:
            return str(error)

    def _hear(self, looks: Sequence[Look]) -> _Heard:
        """What the model says about the looks of a batch."""
        started = time.perf_counter()
        given = self._scorer.scores([look.request("direct") for look in looks])
        seconds = time.perf_counter() - started
        if self._scorer.scoreless and self._settings.mode != "think":
            raise ModelError(
                f"the mode {self._settings.mode!r} needs the probabilities of Yes and No: {self._scorer.why}",
                hint="use --mode think, which goes by what the model writes",
            )
        scores = {look.key: score for look, score in zip(looks, given, strict=True)}
        return _Heard(scores, self._answers(looks, scores), seconds / max(1, len(looks)))

    def _answers(self, looks: Sequence[Look], scores: Mapping[str, float | str]) -> dict[str, Completion]:
        """What the model writes about the looks it has to reason about."""
        wanted = [look for look in looks if self._reasons(scores[look.key])]
        if not wanted:
            return {}
        requests = [look.request(self._settings.fmt) for look in wanted]
        completions = self._engine.generate(requests, max_new_tokens=self._settings.max_new_tokens)
        return {look.key: completion for look, completion in zip(wanted, completions, strict=True)}

    def _reasons(self, score: float | str) -> bool:
        if self._settings.mode == "two-pass":
            return not isinstance(score, str) and score > self._settings.suspicious
        return self._settings.mode == "think"

    # one photo

    def _finding(self, item: Loaded, looks: Sequence[Look], heard: _Heard) -> Finding:
        """Without masks."""
        assert item.image is not None
        scores = heard.scores
        asked = [(look, heard.answers[look.key]) for look in looks if look.key in heard.answers]
        unanswered = next((completion.error for _, completion in asked if completion.error is not None), None)
        given = [scores[look.key] for look in looks]
        unscored = next((score for score in given if isinstance(score, str)), None)
        if unanswered is not None or (unscored is not None and self._settings.mode != "think"):
            return self._failed(item, unanswered or unscored or "")
        read = [self._read(look, completion) for look, completion in asked]
        score = None if unscored is not None else max(score for score in given if not isinstance(score, str))
        verdict, note = decide(self._settings, score, read)
        boxes, dropped = self._boxes(read, scores)
        if dropped:
            told = f"only the first {len(boxes)} of {len(boxes) + dropped} boxes are kept"
            note = "; ".join(filter(None, (note, told)))
        record = Detection(
            **self._common(item),
            verdict=verdict,
            score=score,
            defects=tuple(DetectedDefect(label=utf8(found.label), box=found.box, score=found.score) for found in boxes),
            mode="think" if read else "direct",
            threshold=self._settings.limit if self._settings.mode != "think" else None,
            tiles=len(looks),
            seconds=len(looks) * heard.scoring_s + sum(completion.seconds for _, completion in asked),
            prompt_tokens=sum(completion.prompt_tokens for _, completion in asked),
            completion_tokens=sum(completion.completion_tokens for _, completion in asked),
            **summarise(read, note),
        )
        return Finding(record, item.image)

    def _read(self, look: Look, completion: Completion) -> Reasoned:
        return Reasoned(look, prompts.parse(completion.text, self._settings.fmt, frame=look.frame), completion.text)

    def _boxes(
        self, read: Sequence[Reasoned], scores: Mapping[str, float | str]
    ) -> tuple[Sequence[Found | Defect], int]:
        """At most `MOST_DEFECTS` defects, and how many boxes more there were."""
        found: list[Found] = []
        dropped = 0
        for look, answer, _ in read:
            score = scores[look.key]
            known = None if isinstance(score, str) else score
            items = _distinct(answer.boxes or ())
            dropped += max(0, len(items) - MOST_DEFECTS)
            for item in items[:MOST_DEFECTS]:
                found.append(
                    Found(item.box, item.label, known) if look.window is None else moved(item, look.window, known)
                )
        boxes: Sequence[Found | Defect] = found if len(read) < 2 else merge(found)
        return boxes[:MOST_DEFECTS], dropped + max(0, len(boxes) - MOST_DEFECTS)

    def _failed(self, item: Loaded, error: str) -> Finding:
        return Finding(Detection(**self._common(item), verdict="undecided", error=utf8(error)), item.image)

    def _common(self, item: Loaded) -> dict[str, Any]:
        width, height = item.image.size if item.image is not None else (0, 0)
        return {
            "image": item.photo.name,
            "image_sha256": item.sha256,
            "width": width,
            "height": height,
            "model": self._engine.model,
            "references": item.reference_names,
            "protocol": self._settings.digest,
            "calibration": self._settings.calibration,
        }


def _groups(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Findings in order, closed early where their masks would have more than `MASK_PIXELS` pixels together."""
    group: list[Finding] = []
    pixels = 0
    for finding in findings:
        own = finding.record.width * finding.record.height * len(finding.record.defects)
        if group and pixels + own > MASK_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(finding)
        pixels += own
    if group:
        yield group


def _masked(segmenter: Segmenter, findings: Sequence[Finding]) -> Iterator[Finding]:
    """The same with masks; a photo without defects is not shown to the segmenter."""
    shown = [(one.image, one.record.defects) for one in findings if one.image is not None and one.record.defects]
    drawn = iter(draw(segmenter, [image for image, _ in shown], [defects for _, defects in shown]) if shown else ())
    for finding in findings:
        if finding.image is None or not finding.record.defects:
            yield finding
            continue
        defects, masks = next(drawn)
        yield Finding(finding.record.model_copy(update={"defects": defects}), finding.image, masks)


def _distinct(boxes: Sequence[prompts.LabelledBox]) -> list[prompts.LabelledBox]:
    """The boxes without repetitions: a looping model names one defect again and again (`raw` keeps them all)."""
    kept: list[prompts.LabelledBox] = []
    for item in boxes:
        if all(item.label != other.label or iou(item.box, other.box) < _SAME_BOX_IOU for other in kept):
            kept.append(item)
    return kept
