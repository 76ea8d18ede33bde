"""SAM 2 through transformers' `Sam2Model`: box prompts, one mask per box.

Why not the package `sam2` of the package index: it is not published by Meta, it has no wheel and its isolated build
pulls a second torch, it installs a top-level package called `training`, it needs hydra with a global state, and its
`from_pretrained` takes eight hub ids but no local folder. transformers holds the same network (weights converted by
us gave the same masks on 99.93 % of the pixels), reads local folders and safetensors, and needs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import MissingExtraError, ModelError
from iadr1.geometry import Box, clip_box
from iadr1.masks.base import MaskResult, filled_box
from iadr1.masks.candidates import choose
from iadr1.masks.cleanup import pixel_window
from iadr1.masks.device import pick_device, pick_dtype
from iadr1.masks.views import View, plan_views

if TYPE_CHECKING:
    import torch

VIEWS_PER_CALL = 4
"""Views (photos and crops) encoded at once; bounds the memory of the encoder."""
BOXES_PER_CALL = 32
"""Boxes decoded at once; bounds the memory of the decoder."""
REACH = 0.5
"""How far a mask may reach beyond its box, as a fraction of the box's sides: what lies further off is another object.
The clean-up chain clips closer; this bounds the memory, because logits are enlarged within this window only."""
ROWS_PIXELS = 1 << 22
"""Pixels enlarged at once, so that a box as large as a huge photo needs no second photo of floating-point numbers."""


@dataclass(frozen=True)
class _Task:
    """One view of one image and the boxes to draw in it: (index of the box, the box in pixels of the photo)."""

    image: int
    view: View
    boxes: tuple[tuple[int, Box], ...]


class Sam2Segmenter:
    """SAM 2 with box prompts. `score` is the model's own estimate of the mask's IoU, clipped to 0..1.

    A photo is encoded once, however many boxes it has; small boxes are shown in crops (`iadr1.masks.views`). For each
    box the single mask is taken, which Meta recommends for boxes; where it disagrees with the box, the three
    candidates compete with it (`iadr1.masks.candidates`). Where a mask is empty the filled box is returned with score
    0 and source `box`. Only the encoder, nearly all of the work, runs in half precision; a box's corners and the
    logits stay float32.

    Args:
        model: Folder or hub id of a SAM 2 model in the transformers layout.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` (bfloat16 on a GPU that has it, float16 on an older one, float32 on the CPU), `float32`,
            `bfloat16` or `float16` (GPU only).
        multimask: Whether the three candidates are looked at. None: as the model says; one whose configuration
            switches `dynamic_multimask_via_stability` off has been trained for the single mask only.

    Raises:
        MissingExtraError: torch, torchvision or transformers is not installed.
        ModelChoiceError: The device or the dtype does not exist.
        ModelError: The model cannot be found or is not SAM 2.
    """

    def __init__(
        self, model: str, *, device: str = "auto", dtype: str = "auto", multimask: bool | None = None
    ) -> None:
        for package in ("torch", "torchvision", "transformers"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "masks", purpose="the segmenter 'sam2'")
        self.name = model
        self.device = pick_device(device)
        self._dtype = pick_dtype(dtype, self.device)
        self._network, self._processor = _load(model, self.device)
        decoder = self._network.mask_decoder
        self._multimask = decoder.dynamic_multimask_via_stability if multimask is None else multimask
        # Otherwise "the single mask" would silently be one of the three where it is unstable; the choice is made here.
        decoder.dynamic_multimask_via_stability = False
        self._side = int(self._network.config.prompt_encoder_config.image_size)
        self._grid = int(self._network.prompt_encoder.mask_input_size[0])
        size = self._processor.size
        if (size["height"], size["width"]) != (self._side, self._side):
            raise ModelError(
                f"its processor makes images of {size['width']}x{size['height']}, its model takes "
                f"{self._side}x{self._side}",
                where=model,
            )

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """One mask per box; the image is encoded once, however many boxes there are."""
        return self.segment_many([image], [boxes])[0]

    def segment_many(
        self, images: Sequence[Image.Image], boxes_of_each: Sequence[Sequence[Box]]
    ) -> list[list[MaskResult]]:
        """For each image one mask per box, in order; views of all images share the encoder's batches.

        Args:
            images: 8-bit RGB photos.
            boxes_of_each: The boxes of each photo, in its pixels.

        Raises:
            ValueError: There are not as many lists of boxes as images.
            ModelError: The device has too little memory.
        """
        import torch

        results: list[list[MaskResult]] = []
        tasks: list[_Task] = []
        for number, (image, boxes) in enumerate(zip(images, boxes_of_each, strict=True)):
            inside = [clip_box(box, image.size) for box in boxes]
            for shown in plan_views(inside, image.size, grid=self._grid):
                drawn = tuple((index, box) for index in shown.boxes if (box := inside[index]) is not None)
                tasks.append(_Task(number, shown.view, drawn))
            results.append([filled_box(box, image.size) for box in boxes])
        try:
            with torch.inference_mode():
                for start in range(0, len(tasks), VIEWS_PER_CALL):
                    for number, index, result in self._run(images, tasks[start : start + VIEWS_PER_CALL]):
                        results[number][index] = result
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"the segmenter {self.name!r} ran out of memory on {self.device}",
                hint="take a smaller SAM 2, give it more of the memory, or run it on --device cpu",
            ) from error
        return results

    def _run(self, images: Sequence[Image.Image], tasks: Sequence[_Task]) -> Iterator[tuple[int, int, MaskResult]]:
        """Encode a batch of views and draw all their boxes: (image, box, mask)."""
        embeddings = self._encode([(images[task.image], task.view) for task in tasks])
        prompts = [(row, index, box) for row, task in enumerate(tasks) for index, box in task.boxes]
        for start in range(0, len(prompts), BOXES_PER_CALL):
            chunk = prompts[start : start + BOXES_PER_CALL]
            rows = [row for row, _, _ in chunk]
            corners = [_in_view(box, tasks[row].view, self._side) for row, _, box in chunk]
            logits, scores = self._decode([level[rows] for level in embeddings], corners)
            for (row, index, box), drawing, score in zip(chunk, logits, scores, strict=True):
                task = tasks[row]
                yield task.image, index, _result(drawing, score, box, view=task.view, image=images[task.image])

    def _encode(self, views: Sequence[tuple[Image.Image, View]]) -> list[Any]:
        """The three feature levels of a batch of views, float32."""
        import torch

        # Pillow resizes straight from the photo: no crop is copied and no photo becomes floating-point numbers.
        size = (self._side, self._side)
        shown = [image.resize(size, Image.Resampling.BILINEAR, box=view) for image, view in views]
        pixels = self._processor(images=shown, return_tensors="pt")["pixel_values"].to(self.device)
        half = self._dtype != torch.float32
        with torch.autocast(torch.device(self.device).type, dtype=self._dtype, enabled=half):
            return [level.float() for level in self._network.get_image_embeddings(pixels)]

    def _decode(self, levels: list[Any], corners: Sequence[Box]) -> tuple[list[Any], list[float]]:
        """The chosen logits (grid, grid) and their score for each box; `levels` hold one row per box."""
        boxes = np.asarray(corners, dtype=np.float32)
        logits, scores = self._ask(levels, boxes, multimask=False)
        picked = choose(logits, scores, boxes * (self._grid / self._side))
        if self._multimask:
            poor = np.flatnonzero(picked.disagrees)
            if poor.size:
                more_logits, more_scores = self._ask([level[poor.tolist()] for level in levels], boxes[poor], multimask=True)
                ...
        raise NotImplementedError
