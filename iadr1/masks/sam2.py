"""SAM 2 through transformers' `Sam2Model`: box prompts, one mask per box.

Why not the package `sam2` of the package index: it is not published by Meta, it has no wheel and its isolated build
pulls a second torch, it installs a top-level package called `training`, it needs hydra with a global state, and its
`from_pretrained` takes eight hub ids but no local folder. transformers holds the same network (weights converted by
us gave the same masks on 99.93 % of the pixels), reads local folders and safetensors, and needs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import MissingExtraError, ModelError
from iadr1.geometry import Box, Size, clip_box, dilate_box
from iadr1.masks.base import MaskResult, filled_box
from iadr1.masks.boxcrop import KEY, BoxCrop, box_prompt, shown_square, standardised
from iadr1.masks.candidates import AGREED, agreements, choose
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
BAND_PIXELS = 1 << 22
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

    A model that was trained on crops around boxes says so in its configuration: it is shown every box in a crop of its
    own, and the box drawn as a mask beside its corners (`iadr1.masks.boxcrop`).

    Args:
        model: Folder or hub id of a SAM 2 model in the transformers layout.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` (bfloat16 on a GPU that has it, float16 on an older one, float32 on the CPU), `float32`,
            `bfloat16` or `float16` (GPU only).
        name: What the segmenter is called, where that is not `model`.
        multimask: Whether the three candidates are looked at. None: as the model says; one whose configuration
            switches `dynamic_multimask_via_stability` off has been trained for the single mask only.

    Raises:
        MissingExtraError: torch, torchvision or transformers is not installed.
        ModelChoiceError: The device or the dtype does not exist.
        ModelError: The model cannot be found or is not SAM 2.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        name: str | None = None,
        multimask: bool | None = None,
    ) -> None:
        self.name = name or model
        for package in ("torch", "torchvision", "transformers"):
            if not _is_installed(package):
                raise MissingExtraError(package, "masks", purpose=f"the segmenter {self.name!r}")
        self.device = pick_device(device)
        self._dtype = pick_dtype(dtype, self.device)
        self._network, self._processor = _load(model, self.device)
        decoder = self._network.mask_decoder
        self._multimask = decoder.dynamic_multimask_via_stability if multimask is None else multimask
        # Otherwise "the single mask" would silently be one of the three where it is unstable; the choice is made here.
        decoder.dynamic_multimask_via_stability = False
        self._side = int(self._network.config.prompt_encoder_config.image_size)
        self._grid = int(self._network.prompt_encoder.mask_input_size[0])
        entry = getattr(self._network.config, KEY, None)
        self._crop = None if entry is None else BoxCrop.read(entry, where=model)
        self._reach = REACH if self._crop is None else self._crop.reach
        # A mask must not depend on what else is drawn: in a batch of another size the last bits differ. A small model
        # loses no time by it on a CPU; a large one, or a GPU, would.
        self._at_once = 1 if self._crop is not None and self.device == "cpu" else VIEWS_PER_CALL
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

        if len(images) != len(boxes_of_each):
            raise ValueError(f"{len(images)} images, but {len(boxes_of_each)} lists of boxes")
        tasks = [
            task
            for number, (image, boxes) in enumerate(zip(images, boxes_of_each, strict=True))
            for task in self._tasks(number, image, boxes)
        ]
        found: dict[tuple[int, int], MaskResult] = {}
        try:
            with torch.inference_mode():
                for start in range(0, len(tasks), self._at_once):
                    found.update(self._run(images, tasks[start : start + self._at_once]))
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"the segmenter {self.name!r} ran out of memory on {self.device}",
                hint="take a smaller SAM 2 model, or the device cpu",
            ) from error
        return [
            [found.get((number, index)) or filled_box(box, image.size) for index, box in enumerate(boxes)]
            for number, (image, boxes) in enumerate(zip(images, boxes_of_each, strict=True))
        ]

    def _tasks(self, number: int, image: Image.Image, boxes: Sequence[Box]) -> Iterator[_Task]:
        """The views of one image; boxes of which nothing lies in it are in none."""
        inside = {index: box for index, given in enumerate(boxes) if (box := clip_box(given, image.size)) is not None}
        if self._crop is not None:
            for index, box in inside.items():
                yield _Task(number, self._crop.view(box), ((index, box),))
            return
        for shown in plan_views(inside, image.size, grid=self._grid):
            yield _Task(number, shown.view, tuple((index, inside[index]) for index in shown.boxes))

    def _run(
        self, images: Sequence[Image.Image], tasks: Sequence[_Task]
    ) -> Iterator[tuple[tuple[int, int], MaskResult]]:
        """Encode a batch of views and draw all their boxes: ((image, box), mask)."""
        embeddings = self._encode([(images[task.image], task.view) for task in tasks])
        prompts = [(row, task, index, box) for row, task in enumerate(tasks) for index, box in task.boxes]
        for start in range(0, len(prompts), BOXES_PER_CALL):
            chunk = prompts[start : start + BOXES_PER_CALL]
            rows = [row for row, _, _, _ in chunk]
            corners = [_in_view(box, task.view, self._side) for _, task, _, box in chunk]
            logits, scores = self._decode([level[rows] for level in embeddings], corners)
            for (_, task, index, box), drawing, score in zip(chunk, logits, scores, strict=True):
                mask = enlarge(drawing, box, view=task.view, image_wh=images[task.image].size, reach=self._reach)
                if mask.any():  # else the filled box stands in
                    yield (task.image, index), MaskResult(mask, float(score), self.name)

    def _encode(self, views: Sequence[tuple[Image.Image, View]]) -> list[torch.Tensor]:
        """The feature levels of a batch of views, float32."""
        import torch

        if self._crop is None:
            # Pillow resizes straight from the photo: no crop is copied and no photo becomes floating-point numbers.
            size = (self._side, self._side)
            shown = [image.resize(size, Image.Resampling.BILINEAR, box=view) for image, view in views]
        else:
            shown = [shown_square(image, view, self._side) for image, view in views]
        pixels = self._processor(images=shown, return_tensors="pt")["pixel_values"]
        if self._crop is not None:
            pixels = torch.from_numpy(standardised(pixels.numpy()))
        pixels = pixels.to(self.device)
        half = self._dtype != torch.float32
        with torch.autocast(torch.device(self.device).type, dtype=self._dtype, enabled=half):
            return [level.float() for level in self._network.get_image_embeddings(pixels)]

    def _decode(self, levels: list[torch.Tensor], corners: Sequence[Box]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, grid, grid) and scores (N) of the masks chosen for N boxes; `levels` hold one row per box."""
        import torch

        boxes = torch.tensor(corners, dtype=torch.float32)
        on_grid = boxes.numpy() * (self._grid / self._side)
        logits, scores = self._ask(levels, boxes, multimask=False)
        poor = torch.from_numpy(np.flatnonzero(agreements(logits.numpy() > 0, on_grid)[:, 0] < AGREED))
        if self._multimask and len(poor):
            where = poor.to(levels[0].device)
            more, more_scores = self._ask([level[where] for level in levels], boxes[poor], multimask=True)
            candidates = torch.cat((logits[poor], more), dim=1)
            candidate_scores = torch.cat((scores[poor], more_scores), dim=1)
            picked = choose(candidates.numpy() > 0, candidate_scores.numpy(), on_grid[poor.numpy()])
            row = torch.arange(len(poor))
            logits[poor, 0], scores[poor, 0] = candidates[row, picked], candidate_scores[row, picked]
        return logits[:, 0], scores[:, 0]

    def _ask(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, C, grid, grid) and scores (N, C), on the CPU, float32; C is 3 with `multimask`, else 1."""
        import torch

        drawn: torch.Tensor | None = None
        if self._crop is not None:
            drawn = torch.from_numpy(box_prompt(boxes.numpy(), side=self._side, grid=self._grid)).to(self.device)
        output = self._network(
            input_boxes=boxes[:, None].to(self.device),
            input_masks=drawn,
            image_embeddings=levels,
            multimask_output=multimask,
        )
        logits = output.pred_masks[:, 0].cpu()
        if self._crop is not None:
            logits = logits - self._crop.threshold
        return logits, output.iou_scores[:, 0].clamp(0, 1).cpu()


def enlarge(logits: torch.Tensor, box: Box, *, view: View, image_wh: Size, reach: float = REACH) -> NDArray[np.bool_]:
    """The mask of a whole photo from the logits of a view of it, which lie on a coarse grid.

    Bilinear, as Meta's predictor does it, but only in the box grown by `reach` and a band of rows at a time.

    Args:
        logits: (grid, grid) over the view; above 0 is the object.
        box: The box they were drawn for, in pixels of the photo.
        view: The view in the photo; it may lie outside in part.
        image_wh: The photo's size.
        reach: How far the mask may reach beyond the box, as a fraction of the box's sides.

    Returns:
        (H, W).
    """
    import torch

    left, top, right, bottom = view
    width, height = image_wh
    grown = dilate_box(box, reach, image_wh)
    rows, columns = pixel_window(
        (max(grown[0], left), max(grown[1], top), min(grown[2], right), min(grown[3], bottom)), image_wh
    )
    mask = np.zeros((height, width), dtype=bool)
    x = (torch.arange(columns.start, columns.stop) + 0.5 - left) * (2 / (right - left)) - 1
    band = max(1, BAND_PIXELS // max(1, len(x)))
    for first in range(rows.start, rows.stop, band):
        last = min(first + band, rows.stop)
        y = (torch.arange(first, last) + 0.5 - top) * (2 / (bottom - top)) - 1
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        values = torch.nn.functional.grid_sample(
            logits[None, None], points[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        mask[first:last, columns] = values[0, 0].numpy() > 0
    return mask


def _in_view(box: Box, view: View, side: int) -> Box:
    """A box of the photo in pixels of the square the model sees."""
    across, down = side / (view[2] - view[0]), side / (view[3] - view[1])
    return (
        (box[0] - view[0]) * across,
        (box[1] - view[1]) * down,
        (box[2] - view[0]) * across,
        (box[3] - view[1]) * down,
    )


def _load(model: str, device: str) -> tuple[Any, Any]:
    """The network on its device, and its image processor."""
    from transformers import AutoConfig, Sam2Model, Sam2Processor

    try:
        kind = AutoConfig.from_pretrained(model).model_type
        if kind not in ("sam2", "sam2_video"):
            raise ModelError(f"{model!r} is a {kind!r} model, not SAM 2", hint="name a SAM 2 model or 'grabcut'")
        with _silent() if Path(model).is_dir() else nullcontext():
            processor: Any = Sam2Processor.from_pretrained(model)
            network: Any = Sam2Model.from_pretrained(model, dtype="float32")
        return network.eval().to(device), processor.image_processor
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"cannot load the SAM 2 model {model!r}: {_first_line(error)}",
            hint="check folder, hub id and device; Meta's .pt files need `iadr1 model convert-sam2` first; the "
            "segmenter 'grabcut' needs no weights",
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """A folder is read without a progress bar; transformers' own setting is put back."""
    from transformers.utils import logging

    bars: Any = logging
    if not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
