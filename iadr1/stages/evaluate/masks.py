"""Masks of predicted boxes: drawn by a segmenter, for the record beside the prediction."""

from __future__ import annotations

from PIL import Image

from iadr1 import rle
from iadr1.masks import Segmenter, clean
from iadr1.records import DetectedDefect, Prediction
from iadr1.stages.scoring import MaskRecord


def draw(segmenter: Segmenter, prediction: Prediction, image: Image.Image) -> MaskRecord:
    """The masks of a prediction's boxes, cleaned as `detect` does.

    Args:
        segmenter: Draws them.
        prediction: Its boxes are in pixels of the stored image.
        image: The stored image (RGB).
    """
    results = segmenter.segment(image, [item.box for item in prediction.boxes]) if prediction.boxes else []
    drawn = []
    for item, result in zip(prediction.boxes, results, strict=True):
        cleaned = clean(result, item.box)
        drawn.append(
            DetectedDefect(
                label=item.label,
                box=item.box,
                mask_rle=dict(rle.encode(cleaned.mask)),
                mask_score=cleaned.score,
                mask_source=cleaned.source,
                area_px=int(cleaned.mask.sum()),
            )
        )
    return MaskRecord(key=prediction.key, masks=tuple(drawn))
