"""One profile per VLM family: how it sees images, which space its boxes are in, under which licence it comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from iadr1.errors import ModelError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Profile
from iadr1.models.tiling import AnyRes, Tiles

_SEE_CARD = "see the model card"
_NEXT = AnyRes(336, 24, ((672, 336), (336, 672), (672, 672), (336, 1008), (1008, 336)))
_ONEVISION = AnyRes(
    384, 27, tuple((384 * columns, 384 * rows) for rows in range(1, 7) for columns in range(1, 7)), most_tiles=9
)
_INTERNVL = Tiles(448, 256)

PROFILES: dict[str, Profile] = {
    # Sizes: preprocessor_config.json of the families' released checkpoints and the defaults of transformers' classes;
    # box spaces: docs/models.md, with what is assumed. With tiles, 800,000 pixels are those of the cap.
    "qwen2_5_vl": Profile(
        family="qwen2_5_vl",
        box_space=BoxSpace.INPUT_PX,
        factor=28,
        min_pixels=3_136,
        max_pixels=12_845_056,
        licence=f"{_SEE_CARD}; Qwen's own 3B is under the Qwen Research licence (non-commercial), its 7B Apache-2.0",
    ),
    "qwen2_vl": Profile(
        family="qwen2_vl",
        box_space=BoxSpace.NORM1000,
        factor=28,
        min_pixels=3_136,
        max_pixels=12_845_056,
        licence=f"{_SEE_CARD}; Qwen's own 2B and 7B are Apache-2.0",
    ),
    "qwen3_vl": Profile(
        family="qwen3_vl",
        box_space=BoxSpace.NORM1000,
        factor=32,
        min_pixels=65_536,
        max_pixels=16_777_216,
        licence=f"{_SEE_CARD}; Qwen's own are Apache-2.0",
    ),
    "llava": Profile(
        family="llava",
        box_space=BoxSpace.UNIT_SQUARE,
        factor=14,
        min_pixels=336 * 336,
        max_pixels=336 * 336,
        licence=f"{_SEE_CARD}; LLaVA-1.5 is under the Llama 2 Community Licence",
        pads=True,
    ),
    "llava_next": Profile(
        family="llava_next",
        box_space=BoxSpace.UNIT,
        factor=14,
        min_pixels=336 * 336,
        max_pixels=800_000,
        licence=f"{_SEE_CARD}; Llama-3-LLaVA-NeXT asks for research use only, under Meta's Llama 3 licence",
        tiling=_NEXT,
    ),
    "llava_onevision": Profile(
        family="llava_onevision",
        box_space=BoxSpace.UNIT,
        factor=14,
        min_pixels=384 * 384,
        max_pixels=800_000,
        licence=f"{_SEE_CARD}; the 0.5B single-image model is Apache-2.0",
        tiling=_ONEVISION,
    ),
    "internvl": Profile(
        family="internvl",
        box_space=BoxSpace.NORM1000,
        factor=28,
        min_pixels=448 * 448,
        max_pixels=800_000,
        licence=f"{_SEE_CARD}; InternVL3.5 is Apache-2.0",
        tiling=_INTERNVL,
    ),
}
"""By the `model_type` of the transformers config. The sizes are those of the families' usual checkpoints."""


def check_family(model_type: str | None, *, where: str | None = None) -> str:
    """The family, if it is one of `PROFILES`.

    Raises:
        ModelError: It is not; the known ones are listed.
    """
    if model_type is None or model_type not in PROFILES:
        raise ModelError(
            f"the model family {model_type!r} is not supported",
            where=where,
            hint=f"known families: {', '.join(sorted(PROFILES))}",
        )
    return model_type


def profile_of(config: Any, processor: Any) -> Profile:
    """The profile of a loaded model: its family's, with the sizes of its own config and processor.

    Args:
        config: The transformers config.
        processor: The transformers processor.

    Raises:
        ModelError: The family is not in `PROFILES`, or config and processor lack the sizes or contradict each other.
    """
    family = check_family(getattr(config, "model_type", None))
    read = _READERS.get(family, _resized)
    return read(PROFILES[family], config, processor)


def _resized(known: Profile, config: Any, processor: Any) -> Profile:
    """`image_processor.size` holds areas in spite of the names `shortest_edge` and `longest_edge`."""
    size = getattr(getattr(processor, "image_processor", None), "size", None) or {}
    try:
        low, high = int(size["shortest_edge"]), int(size["longest_edge"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the image processor of this {known.family!r} model gives no pixel bounds (size: {size!r})",
            hint="'size' needs 'shortest_edge' and 'longest_edge', as areas in pixels",
        ) from error
    return replace(known, min_pixels=low, max_pixels=high)


def _padded(known: Profile, config: Any, processor: Any) -> Profile:
    side, patch = _vision_sides(known, config)
    if getattr(processor, "patch_size", None) != patch:
        raise ModelError(
            f"the processor of this {known.family!r} model has patch_size {getattr(processor, 'patch_size', None)!r}, "
            f"its config {patch}",
            hint="processor_config.json must name the patch_size of the vision tower",
        )
    return replace(known, factor=patch, min_pixels=side * side, max_pixels=side * side)


def _any_resolution(known: Profile, config: Any, processor: Any) -> Profile:
    side, patch = _vision_sides(known, config)
    canvases = _canvases(config)
    if canvases != _canvases(processor.image_processor):
        raise ModelError(
            f"config and processor of this {known.family!r} model name different canvases",
            hint="'image_grid_pinpoints' must be equal in config.json and preprocessor_config.json",
        )
    most = re.fullmatch(r"anyres_max_(\d+)", getattr(config, "vision_aspect_ratio", ""))
    tiling = AnyRes(side, side // patch, canvases, most_tiles=int(most[1]) if most else None)
    return replace(known, factor=patch, min_pixels=side * side, tiling=tiling)


def _tiled(known: Profile, config: Any, processor: Any) -> Profile:
    side, patch = _vision_sides(known, config)
    images = processor.image_processor
    tiling = Tiles(side, int(processor.image_seq_length), int(images.min_patches), int(images.max_patches))
    factor = round(patch / config.downsample_ratio)
    return replace(known, factor=factor, min_pixels=side * side, tiling=tiling)


_READERS: Mapping[str, Callable[[Profile, Any, Any], Profile]] = {
    "llava": _padded,
    "llava_next": _any_resolution,
    "llava_onevision": _any_resolution,
    "internvl": _tiled,
}


def _vision_sides(known: Profile, config: Any) -> tuple[int, int]:
    """Sides of a tile and of a patch in pixels."""
    vision = config.vision_config
    sides = []
    for value in (vision.image_size, vision.patch_size):
        width, height = value if isinstance(value, list | tuple) else (value, value)
        if width != height:
            raise ModelError(f"the vision tower of this {known.family!r} model has no square input: {width}x{height}")
        sides.append(int(width))
    return sides[0], sides[1]


def _canvases(source: Any) -> tuple[tuple[int, int], ...]:
    """`image_grid_pinpoints` as (width, height); they are stored as [height, width]."""
    return tuple((int(width), int(height)) for height, width in source.image_grid_pinpoints)
