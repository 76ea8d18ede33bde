"""LLaVA-OneVision under TRL: the one family whose processor says how many images each prompt has.

TRL 1.16 refuses that field where it computes the log-probabilities of the KL term (`batch_num_images`, a TypeError)
and drops it elsewhere, so that a prompt with two images fails in the model. Here the processor leaves the field out
and the model works it out again. The classes have their bases' names, so that what is saved stays loadable.
"""

from __future__ import annotations

from functools import wraps
from itertools import groupby
from typing import Any

import transformers

_FIELD = "batch_num_images"


class LlavaOnevisionProcessor(transformers.LlavaOnevisionProcessor):
    """Transformers' processor without `batch_num_images`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Everything the base class makes, but for the field."""
        features = super().__call__(*args, **kwargs)
        features.pop(_FIELD, None)
        return features


class LlavaOnevisionModel(transformers.LlavaOnevisionModel):  # type: ignore[no-untyped-call]
    """Transformers' model, in no need of `batch_num_images`."""

    @wraps(transformers.LlavaOnevisionModel.get_image_features)  # `generate` reads the signature
    def get_image_features(self, pixel_values: Any, image_sizes: Any, **kwargs: Any) -> Any:
        """As the base class, with the field taken from the pixel values where it is left out."""
        if kwargs.get(_FIELD) is None:
            kwargs[_FIELD] = image_counts(pixel_values)
        return super().get_image_features(pixel_values, image_sizes, **kwargs)


def image_counts(pixel_values: Any) -> list[int]:
    """How many images each prompt has, from what the processor makes of them.

    A prompt's only image comes as two tiles or more, each of several images as one, filled up with tiles of zeros,
    which no image gives: a pixel would have to be 127.5. Neighbouring prompts with several images count as one, which
    changes nothing: only "one or several" matters to the model.

    Args:
        pixel_values: Tensor of shape (images, tiles, 3, side, side).
    """
    alone = pixel_values[:, 1:].flatten(1).any(dim=1).tolist()
    counts: list[int] = []
    for is_alone, run in groupby(alone):
        length = len(list(run))
        counts += [1] * length if is_alone else [length]
    return counts


def make_countless(model: Any, processor: Any) -> None:
    """Let a loaded OneVision model and its processor do without the field. Calling it again changes nothing."""
    model.model.__class__ = LlavaOnevisionModel
    processor.__class__ = LlavaOnevisionProcessor
