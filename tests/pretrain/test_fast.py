"""The faster forms give the same numbers as transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iadr1.errors import ModelError
from iadr1.stages.pretrain import fast
from iadr1.stages.pretrain.fast import grid_of, hasten, patchify, positions, whiten
from tests.pretrain.world import learner


@pytest.fixture(scope="module")
def made(model: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A learner with the weights as they were drawn."""
    return learner(model, world, tmp_path_factory.mktemp("cache"))[0]


@pytest.mark.parametrize("images", [0, 1, 2])
def test_positions_are_the_models_own(made: Any, images: int) -> None:
    tokens, slot = made.layout.tokens, made.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    start, end = made.processor.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])
    picture = [start, *[slot] * tokens**2, end]
    row = [7, 8, *picture, 9, *(picture if images == 2 else []), 10, 11, 12] if images else [7, 8, 9, 10]
    ids = torch.tensor([row])
    slots = ids == slot
    grid = grid_of(images, made.layout) if images else None
    expected, _ = made.model.model.get_rope_index(ids, mm_token_type_ids=slots.long(), image_grid_thw=grid)
    assert torch.equal(positions(slots, tokens), expected)
    # What a longer row beside it pads with comes after it and changes nothing.
    padded = torch.nn.functional.pad(slots, (0, 3))
    assert torch.equal(positions(padded, tokens)[..., : len(row)], expected)


def test_patches_are_the_processors_own(made: Any) -> None:
    pixels = made.pictures.images[:3]
    own = made.processor.image_processor(images=[Image.fromarray(p) for p in pixels], return_tensors="pt")
    assert torch.allclose(patchify(pixels, made.processor, made.layout), own.pixel_values, atol=1e-6)
    assert torch.equal(grid_of(3, made.layout), own.image_grid_thw)


def test_the_pictures_are_what_the_processor_sees_of_the_files(made: Any, world: Path) -> None:
    """Of another shape than the model's input too."""
    from iadr1.images import open_image
    from iadr1.models.profiles import profile_of

    profile = profile_of(made.model.config, made.processor)
    shown = profile.prepare(open_image(world.parent / made.scenes.items[1].image).crop((0, 0, 100, 70)))
    assert shown.size == (56, 56)
    own = made.processor.image_processor(images=[shown], return_tensors="pt")
    assert torch.allclose(patchify(np.asarray(shown)[None], made.processor, made.layout), own.pixel_values, atol=1e-6)
    first = profile.prepare(open_image(world.parent / made.scenes.items[0].image))
    assert np.array_equal(np.asarray(first), made.pictures.images[0])


def test_hastened_is_the_same_with_its_gradients(model: Path, world: Path, tmp_path: Path) -> None:
    plain, quick = (learner(model, world, tmp_path)[0] for _ in range(2))
    pixels = plain.pictures.images[:3]
    hasten(quick.model, quick.processor, pixels, quick.layout)
    gradients = []
    for made in (plain, quick):
        out = made.model.model.visual(patchify(pixels, made.processor, made.layout), grid_thw=grid_of(3, made.layout))
        (out.pooler_output.square().sum() + out.last_hidden_state.sum()).backward()
        gradients.append({name: p.grad for name, p in made.model.model.visual.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-3, atol=1e-4) for name in gradients[0])
    forwards = {type(m).__name__ for m in quick.model.modules() if "forward" in vars(m)}
    assert forwards == {"Qwen2_5_VLVisionAttention", "Qwen2_5_VisionPatchEmbed"}  # both have become quicker
    assert not any("forward" in vars(m) for m in plain.model.modules())  # and those of this model alone


def test_attention_is_float32_under_autocast_too(
    model: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, quick = (learner(model, world, tmp_path)[0] for _ in range(2))
    pixels = plain.pictures.images[:2]
    hasten(quick.model, quick.processor, pixels, quick.layout)
    own, types = torch.nn.functional.scaled_dot_product_attention, []

    def spy(query: Any, key: Any, value: Any, *rest: Any, **how: Any) -> Any:
        out = own(query, key, value, *rest, **how)
        types.append(out.dtype)  # autocast would make it bfloat16, whatever comes in
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    ids, hidden, seen = torch.arange(24).view(2, 12) + 5, [], []
    for made in (plain, quick):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            made.model.model.visual(patchify(pixels, made.processor, made.layout), grid_thw=grid_of(2, made.layout))
            hidden.append(made.model.model.language_model(input_ids=ids, use_cache=False).last_hidden_state)
        seen.append(list(types))
        types.clear()
    assert set(seen[0]) == {torch.bfloat16}
    inner = quick.model.model
    assert seen[1] == [torch.float32] * (len(inner.visual.blocks) + len(inner.language_model.layers))
    # Still causal, and the same numbers.
    assert torch.allclose(hidden[0].float(), hidden[1].float(), atol=0.1)
    quick.model.save_pretrained(tmp_path / "saved")
    assert "float32-sdpa" not in (tmp_path / "saved" / "config.json").read_text()


def test_a_form_that_differs_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, hidden_states: Any) -> Any:
        return 1.1 * fast._linear_embed(self, hidden_states)

    embed = made.model.model.visual.patch_embed
    monkeypatch.setitem(fast._FASTER, "Qwen2_5_VisionPatchEmbed", wrong)
    with pytest.raises(ModelError, match="differs by"):
        hasten(made.model, made.processor, made.pictures.images[:2], made.layout)
    for module in made.model.modules():
        vars(module).pop("forward", None)
    assert "forward" not in vars(embed)


def test_a_whitened_patch_embedding_gives_uncorrelated_features(model: Path, world: Path, tmp_path: Path) -> None:
    made, _ = learner(model, world, tmp_path)
    pixels = made.pictures.images

    def second_moments() -> Any:
        out = made.model.model.visual.patch_embed(patchify(pixels, made.processor, made.layout))
        return (out.T @ out / len(out)).detach()

    before = second_moments()
    whiten(made.model, pixels, made.processor, made.layout)
    after = second_moments()
    off = ~torch.eye(len(after), dtype=torch.bool)
    assert before[off].abs().max() > 0.05 * before.diagonal().max()
    assert after[off].abs().max() < 1e-3 * after.diagonal().max()
    assert 0.1 < after.diagonal()[0] <= 0.26  # a quarter: the whole is halved


def test_filters_beyond_the_components_stay_chance(made: Any) -> None:
    weight = torch.nn.Parameter(torch.full((600, 3, 2, 14, 14), 7.0))
    wide: Any = type("M", (), {})
    wide.model = wide.visual = wide.patch_embed = wide.proj = wide
    wide.weight = weight
    whiten(wide, made.pictures.images[:2], made.processor, made.layout)
    assert (weight[588:] == 7).all()
    assert not (weight[:588] == 7).flatten(1).all(dim=1).any()
