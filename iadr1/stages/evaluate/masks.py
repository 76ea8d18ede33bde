"""Masks of predicted boxes: drawn by a segmenter, for the record beside the prediction."""

from __future__ import annotations

from PIL import Image

from iadr1.masks import Segmenter, draw
from iadr1.records import DetectedDefect, Prediction
from iadr1.stages.scoring import MaskRecord


def masks_of(segmenter: Segmenter, prediction: Prediction, image: Image.Image) -> MaskRecord:
    """The masks of a prediction's boxes, drawn and cleaned as `detect` does.

    Args:
        segmenter: Draws them.
        prediction: Its boxes are in pixels of the stored image.
        image: The stored image (RGB).
    """
    plain = [DetectedDefect(label=item.label, box=item.box) for item in prediction.boxes]
    drawn = draw(segmenter, [image], [plain])[0].defects if plain else ()
    return MaskRecord(key=prediction.key, masks=drawn)
