"""First weights of a small language model: attention that finds a token again, numbers that are alike when near."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_SPACES = 3
"""Parts of the width: a token's own content, that of the token before it, and that of the one before that."""
_LAYERS = 3
"""Layers that take part: one looks back, two match."""
_LOOK_SHARE = 0.25
"""Of the rotary frequencies, from the highest: they carry how far back a head of the first layer looks."""
_LOOK_LOGIT = 6.0
_MATCH_FREQUENCY = 0.05
"""Radians a token. Slower frequencies carry content, which is to match at any distance."""
_MATCH_GAIN = 3.0
_OUT_GAIN = 0.04
"""What a head adds, beside embeddings drawn with a deviation of .02."""
_WAVES = 16
_SHORTEST_WAVE = 8.0
_SMOOTH_SHARE = 0.75
"""Of a number embedding's variance, what it shares with its neighbours."""


@torch.no_grad()
def lay_circuits(language: Any) -> None:
    """Begin attention as induction: the same token is found again, with what stands before and after it.

    Two heads of the first layer look one and two tokens back and write what they see into parts of the width of their
    own. Heads of the next two layers compare a token, or the one before it, with tokens seen earlier (queries and keys
    read the same projection of the content), and hand on what stands there. All of it is trained on; from weights
    drawn at random no run of ours found it (docs/log.md). Likeness of queries and
    keys as a beginning is mimetic initialization (Trockman and Kolter, arXiv 2305.09828).

    Args:
        language: The text model of a Qwen2.5-VL, of a size that `check_new_model` lets pass; changed in place.
    """
    config = language.config
    width, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
    size, group = width // heads, heads // kv_heads
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    basis, _ = torch.linalg.qr(torch.randn(width, width))
    own, before, second = (basis[:, part * size : (part + 1) * size].T for part in range(_SPACES))

    attention = language.layers[0].self_attn
    looking = max(1, round(_LOOK_SHARE * size / 2))
    strength = math.sqrt(_LOOK_LOGIT * math.sqrt(size))
    attention.k_proj.bias[:looking] = strength
    attention.k_proj.bias[looking:size] = 0.0
    for head, back in enumerate((1, 2)):
        bias = attention.q_proj.bias[head * size : (head + 1) * size]
        bias.zero_()
        bias[:looking] = strength * torch.cos(-back * frequencies[:looking])
        bias[size // 2 : size // 2 + looking] = strength * torch.sin(-back * frequencies[:looking])
    attention.v_proj.weight[:size] = own
    attention.o_proj.weight[:, :size] = _OUT_GAIN * before.T
    attention.o_proj.weight[:, size : 2 * size] = _OUT_GAIN * second.T

    gain = math.sqrt(_MATCH_GAIN) * (frequencies < _MATCH_FREQUENCY).repeat(2).unsqueeze(1)
    for layer in language.layers[1:_LAYERS]:
        attention = layer.self_attn
        for pair, (key, value) in enumerate(((before, own), (own, second))):
            attention.k_proj.weight[pair * size : (pair + 1) * size] = gain * key
            attention.v_proj.weight[pair * size : (pair + 1) * size] = value
            for head, query in enumerate((own, before), pair * group):
                attention.q_proj.weight[head * size : (head + 1) * size] = gain * query
                attention.o_proj.weight[:, head * size : (head + 1) * size] = _OUT_GAIN * own.T


@torch.no_grad()
def lay_numbers(embeddings: Tensor, ids: list[int]) -> None:
    """Begin the embeddings of 0, 1, 2, ... as waves of the number, so that near numbers are alike.

    Args:
        embeddings: (tokens, width), drawn with the deviation that the numbers' are to have; changed in place.
        ids: The tokens of 0, 1, 2, ... in order.
    """
    count, width = len(ids), embeddings.shape[1]
    waves = min(_WAVES, width // 2)
    lengths = torch.logspace(math.log10(2.0 * count), math.log10(_SHORTEST_WAVE), waves)
    phase = 2 * math.pi * torch.arange(count).unsqueeze(1) / lengths
    features = torch.cat([phase.cos(), phase.sin()], 1) / math.sqrt(waves)
    basis, _ = torch.linalg.qr(torch.randn(width, 2 * waves))
    drawn = embeddings[ids]
    norm = drawn.norm(dim=1).mean()
    embeddings[ids] = math.sqrt(_SMOOTH_SHARE) * norm * features @ basis.T + math.sqrt(1 - _SMOOTH_SHARE) * drawn
