"""One profile per VLM family: how it resizes images, which space its boxes are in, under which licence it comes."""

from __future__ import annotations

from typing import Any

from iadr1.errors import ModelError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Profile

_SEE_CARD = "see the model card"

PROFILES: dict[str, Profile] = {
    # Sizes: preprocessor_config.json of the families' released checkpoints; box spaces: their model cards.
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
}
"""By the `model_type` of the transformers config. The pixel bounds are the families' defaults."""


def profile_of(config: Any, processor: Any) -> Profile:
    """The profile of a loaded model: its family's, with the pixel bounds of its own image processor.

    Args:
        config: The transformers config.
        processor: The transformers processor; `image_processor.size` holds areas in pixels in spite of the names
            `shortest_edge` and `longest_edge`.

    Raises:
        ModelError: The family is not in `PROFILES`, or the image processor has no such bounds.
    """
    family = str(getattr(config, "model_type", None))
    if family not in PROFILES:
        raise ModelError(
            f"the model family {family!r} is not supported",
            hint=f"known families: {', '.join(sorted(PROFILES))}",
        )
    known = PROFILES[family]
    size = getattr(getattr(processor, "image_processor", None), "size", None) or {}
    try:
        low, high = int(size["shortest_edge"]), int(size["longest_edge"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the image processor of this {family!r} model gives no pixel bounds (size: {size!r})",
            hint="'size' needs 'shortest_edge' and 'longest_edge', as areas in pixels",
        ) from error
    return Profile(family, known.box_space, known.factor, low, high, cap_wh=known.cap_wh, licence=known.licence)
