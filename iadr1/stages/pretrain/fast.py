"""The same arithmetic in forms that are faster on a CPU where all images have one size; checked before use."""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's usual name
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

from iadr1.errors import ModelError
from iadr1.stages.pretrain.pictures import Layout, Pixels

_CLOSE = 2e-4
_CHUNK = 32
"""Pictures whose patches are in memory at a time."""


def patchify(pixels: Pixels, processor: Any, layout: Layout) -> Tensor:
    """uint8 (B, side, side, 3) -> pixel values (B * patches^2, 3 * temporal * patch^2), as the processor makes them."""
    image = processor.image_processor
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (image.image_mean, image.image_std))
    temporal, n, m, p = image.temporal_patch_size, layout.tokens, layout.merge, layout.patch
    x = (torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255 - mean) / std
    x = x.reshape(len(x), 3, n, m, p, n, m, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, temporal, -1, -1)
    return x.reshape(len(pixels) * layout.patches**2, -1)


def grid_of(count: int, layout: Layout) -> Tensor:
    """`image_grid_thw` of `count` pictures."""
    return torch.tensor([[1, layout.patches, layout.patches]] * count)


def hasten(model: Any, processor: Any, pixels: Pixels, layout: Layout) -> None:
    """Give attention and the vision tower's patch embedding their faster forms, if the numbers stay the same.

    Args:
        model: A Qwen2.5-VL model whose vision blocks all look at the whole image; changed in place.
        processor: Its processor.
        pixels: Two pictures or more to check with.
        layout: How the model cuts its input.

    Raises:
        ModelError: The numbers differ.
    """
    tower, grid = model.model.visual, grid_of(len(pixels), layout)
    with torch.no_grad():
        before = tower(patchify(pixels, processor, layout), grid_thw=grid).pooler_output
        for module in tower.modules():
            faster = _FASTER.get(type(module).__name__)
            if faster is not None:
                module.forward = MethodType(faster, module)  # of this model alone
        after = tower(patchify(pixels, processor, layout), grid_thw=grid).pooler_output
    if not torch.allclose(before, after, atol=_CLOSE, rtol=1e-3):
        raise ModelError(f"the faster vision attention differs by {(before - after).abs().max():.2e}")
    model.set_attn_implementation({"text_config": _FLOAT32})


def _batched_attention(
    self: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: Any = None, **_: Any
) -> Tensor:
    """One call for images of equal size; transformers makes one an image."""
    count, images = hidden_states.shape[0], len(cu_seqlens) - 1
    q, k, v = self.qkv(hidden_states).reshape(count, 3, self.num_heads, -1).unbind(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
    q, k, v = (t.view(images, count // images, self.num_heads, -1).transpose(1, 2).float() for t in (q, k, v))
    with torch.autocast("cpu", enabled=False):  # float32 alone is not enough: autocast takes it back
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scaling)
    return self.proj(out.transpose(1, 2).reshape(count, -1).to(hidden_states.dtype))  # type: ignore[no-any-return]


def _float32_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """SDPA in float32 under autocast too: the backward of bfloat16 takes up to 2.7 times as long (docs/log.md)."""
    with torch.autocast("cpu", enabled=False):
        out, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **how)
    return out.to(value.dtype), None


_FLOAT32 = "iadr1-float32-sdpa"
AttentionInterface.register(_FLOAT32, _float32_attention)
AttentionMaskInterface.register(_FLOAT32, sdpa_mask)


def _linear_embed(self: Any, hidden_states: Tensor) -> Tensor:
    """The patch embedding as a matrix product instead of a 3-D convolution."""
    return F.linear(hidden_states.view(hidden_states.shape[0], -1), self.proj.weight.view(self.embed_dim, -1))


_FASTER: dict[str, Any] = {"Qwen2_5_VLVisionAttention": _batched_attention, "Qwen2_5_VisionPatchEmbed": _linear_embed}


def whiten(model: Any, pixels: Pixels, processor: Any, layout: Layout) -> None:
    """Start a random patch embedding as the whitened principal components of real patches (docs/log.md).

    Components are the eigenvectors of the patches' second moments, each divided by the root of its eigenvalue and the
    whole halved. Filters beyond the number of a patch's values stay random.
    """
    weight = model.model.visual.patch_embed.proj.weight
    hidden, _, temporal, p, _ = weight.shape
    moments, count = torch.zeros(3 * p * p, 3 * p * p, dtype=torch.float64), 0
    for start in range(0, len(pixels), _CHUNK):
        values = patchify(pixels[start : start + _CHUNK], processor, layout).view(-1, 3, temporal, p * p)[:, :, 0]
        patches = values.reshape(-1, 3 * p * p)
        moments += (patches.T @ patches).double()
        count += len(patches)
    values, vectors = torch.linalg.eigh(moments / count)
    values, vectors = values.flip(0)[:hidden], vectors.flip(1)[:, :hidden]
    filters = (vectors / (values + 5e-3).sqrt()).T.float().view(-1, 3, 1, p, p)
    weight.data[: len(filters)] = (filters / temporal * 0.5).expand(-1, -1, temporal, -1, -1)


def positions(slots: Tensor, tokens: int) -> Tensor:
    """M-RoPE positions (3, B, L) of rows whose images are `tokens` x `tokens`; `slots` (B, L) marks image tokens.

    A text token advances all three axes by one; an image takes `tokens` positions, and its tokens spread over its rows
    and columns (`get_rope_index` of Qwen2.5-VL, which a test compares it with).
    """
    cells = tokens * tokens
    place = torch.where(slots, (torch.cumsum(slots.long(), 1) - 1) % cells, 0)
    # The first token of an image stands at the current position, the text after it `tokens` further on.
    step = torch.where(slots, torch.where(place == cells - 1, tokens, 0), 1)
    base = torch.cumsum(step, 1) - step
    start = torch.where(slots & (place == 0), base, 0).cummax(1).values
    base = torch.where(slots, start, base)
    return torch.stack([base, base + place // tokens, base + place % tokens])
