"""Looking at each image once: same outputs and gradients as the plain tower, fewer runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iadr1.errors import ModelError
from iadr1.models.vision import VisionCache, _hashes, once_per_image


def inputs_of(processor: Any, pictures: list[int], size: tuple[int, int] = (112, 112)) -> dict[str, Any]:
    """One prompt for each number; equal numbers are equal pictures."""
    images = [
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
        for number in pictures
    ]
    messages = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]] * len(images)
    text = [processor.apply_chat_template(turn, add_generation_prompt=True) for turn in messages]
    found: dict[str, Any] = processor(
        text=text, images=[[image] for image in images], padding=True, return_tensors="pt"
    )
    return found


@pytest.fixture
def plain(tiny_model: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    loader: Any = AutoModelForImageTextToText
    return loader.from_pretrained(tiny_model, dtype=torch.float32), AutoProcessor.from_pretrained(tiny_model)  # type: ignore[no-untyped-call]


def runs(model: Any) -> list[int]:
    """Counts the rows of each run of the tower's first layer."""
    seen: list[int] = []
    model.model.visual.patch_embed.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[0]))
    return seen


def test_outputs_and_gradients_are_the_plain_tower_s(plain: tuple[Any, Any]) -> None:
    model, processor = plain
    batch = inputs_of(processor, [1, 2, 1, 1, 2, 3])
    expected = model(**batch).logits
    expected.square().mean().backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()

    cache = once_per_image(model, VisionCache())
    seen = runs(model)
    found = model(**batch).logits
    found.square().mean().backward()
    assert torch.allclose(found, expected, atol=1e-5)
    assert len(gradients) > 20
    for name, value in model.named_parameters():
        assert torch.allclose(value.grad, gradients[name], atol=1e-5), name
    patches = batch["image_grid_thw"][0].prod().item()
    assert seen == [3 * patches]
    assert (cache.asked, cache.run) == (6, 3)


def test_different_sizes_keep_their_places(plain: tuple[Any, Any]) -> None:
    model, processor = plain
    features = model.model.get_image_features
    wide, tall = inputs_of(processor, [1], (168, 112)), inputs_of(processor, [2], (112, 168))
    order = [wide, tall, wide, wide, tall]
    pixels = torch.cat([item["pixel_values"] for item in order])
    grid = torch.cat([item["image_grid_thw"] for item in order])
    expected = features(pixels, grid).pooler_output
    once_per_image(model, VisionCache())
    found = features(pixels, grid).pooler_output
    assert [part.shape for part in found] == [part.shape for part in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(found[0], found[1][: found[0].shape[0]])


def test_a_frozen_tower_looks_at_an_image_once_in_a_run(plain: tuple[Any, Any]) -> None:
    model, processor = plain
    model.model.visual.requires_grad_(False)
    with torch.no_grad():
        expected = [model(**inputs_of(processor, pictures)).logits for pictures in ([1, 2], [2, 1, 3])]
        cache = once_per_image(model, VisionCache(max_bytes=10_000_000))
        found = [model(**inputs_of(processor, pictures)).logits for pictures in ([1, 2], [2, 1, 3])]
        again = model(**inputs_of(processor, [2, 1, 3])).logits
    for ours, theirs in zip([*found, again], [*expected, expected[1]], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert (cache.asked, cache.run) == (8, 3)


def test_the_room_for_outputs_is_bounded(plain: tuple[Any, Any]) -> None:
    model, processor = plain
    model.model.visual.requires_grad_(False)
    one = VisionCache(max_bytes=10_000_000)
    with torch.no_grad():
        once_per_image(model, one)
        model(**inputs_of(processor, [1]))
    size = one._bytes
    assert size > 0

    small = VisionCache(max_bytes=2 * size)
    with torch.no_grad():
        once_per_image(model, small)
        for picture in (11, 12, 13, 11):
            model(**inputs_of(processor, [picture]))
    assert small._bytes <= 2 * size
    assert small.run == 4  # 11 was dropped when 13 came


def test_a_tower_that_is_trained_is_not_kept(plain: tuple[Any, Any]) -> None:
    with pytest.raises(ModelError, match="is trained"):
        once_per_image(plain[0], VisionCache(max_bytes=1))


def test_a_model_without_a_tower_is_refused() -> None:
    with pytest.raises(ModelError, match="no vision tower"):
        once_per_image(torch.nn.Linear(2, 2), VisionCache())


def test_hashes_tell_small_changes_and_places_apart() -> None:
    base = torch.linspace(-1, 1, 600).reshape(20, 30)
    swapped = base.clone()
    swapped[0, 0], swapped[0, 1] = base[0, 1], base[0, 0]
    nudged = base.clone()
    nudged[3, 3] += 1e-6
    found = _hashes([base, base.clone(), swapped, nudged, base.T.contiguous()])
    assert found[0] == found[1]
    assert len(set(found)) == 4
