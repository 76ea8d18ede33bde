"""SAM 2 through transformers' `Sam2Model`: box prompts, one mask per box.

Why not the package `sam2` of the package index: it is not published by Meta, it has no wheel and its isolated build
pulls a second torch, it installs a top-level package called `training`, it needs hydra with a global state, and its
`from_pretrained` takes eight hub ids but no local folder. transformers holds the same network (weights converted by
us gave the same masks on 99.93 % of the pixels), reads local folders and safetensors, and needs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from iadr1.errors import MissingExtraError, ModelError
from iadr1.geometry import Box, clip_box
from iadr1.masks.base import MaskResult

BOXES_PER_CALL = 32
"""Boxes decoded at once; bounds the memory of the full-size masks."""


class Sam2Segmenter:
    """SAM 2 with box prompts. `score` is the model's own estimate of the mask's IoU, clipped to 0..1.

    Args:
        model: Folder or hub id of a SAM 2 model in the transformers layout.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        MissingExtraError: torch, torchvision or transformers is not installed.
        ModelError: The model cannot be found, is not SAM 2, or the device does not exist.
    """

    def __init__(self, model: str, *, device: str = "auto") -> None:
        for package in ("torch", "torchvision", "transformers"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "masks", purpose="the segmenter 'sam2'")
        import torch
        from transformers import AutoConfig, Sam2Model, Sam2Processor

        self.name = model
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            kind = AutoConfig.from_pretrained(model).model_type
            if kind not in ("sam2", "sam2_video"):
                raise ModelError(f"{model!r} is a {kind!r} model, not SAM 2", hint="name a SAM 2 model or 'grabcut'")
            self._processor: Any = Sam2Processor.from_pretrained(model)
            network: Any = Sam2Model.from_pretrained(model)
            self._network: Any = network.eval().to(self.device)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"cannot load the SAM 2 model {model!r}: {_first_line(error)}",
                hint="check folder, hub id and device; the segmenter 'grabcut' needs no weights",
            ) from error

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """One mask per box; the image is encoded once, however many boxes there are."""
        import torch

        if not boxes:
            return []
        results: list[MaskResult] = []
        with torch.inference_mode():
            pixels = self._processor(images=image, return_tensors="pt").to(self.device)
            embeddings = self._network.get_image_embeddings(pixels["pixel_values"])
            for start in range(0, len(boxes), BOXES_PER_CALL):
                results += self._decode(image, boxes[start : start + BOXES_PER_CALL], embeddings)
        return results

    def _decode(self, image: Image.Image, boxes: Sequence[Box], embeddings: Any) -> list[MaskResult]:
        clipped = [list(clip_box(box, image.size) or box) for box in boxes]
        sizes = [[image.height, image.width]]
        inputs = self._processor(original_sizes=sizes, input_boxes=[clipped], return_tensors="pt").to(self.device)
        # One mask a box: the three candidates of `multimask_output` are for ambiguous single points.
        output = self._network(input_boxes=inputs["input_boxes"], image_embeddings=embeddings, multimask_output=False)
        masks = self._processor.post_process_masks(output.pred_masks.float().cpu(), sizes)[0]
        scores = output.iou_scores[0, :, 0].float().clamp(0, 1).cpu().tolist()
        return [
            MaskResult(np.asarray(mask[0].numpy(), dtype=bool), score, "sam2")
            for mask, score in zip(masks, scores, strict=True)
        ]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
