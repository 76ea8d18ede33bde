"""Builds a tiny random model of each supported family: real model, processor and tokenizer classes, small sizes.

Each keeps what makes its family special: where the weights lie, how an image becomes tokens, how the template begins
and ends a turn. Images may have any size; what the models write is rubbish.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    GenerationConfig,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from tests.tiny_qwen import CHAT_TEMPLATE as QWEN_TEMPLATE
from tests.tiny_qwen import TAGS, TEXTS, qwen_tokenizer

HIDDEN = 16
TILE = 28
"""Side of a tile or of the whole square input of the families that cut images up, in pixels."""
PATCH = 7
"""Their patches: 4 x 4 in a tile."""
VISION_CLIP = {"hidden_size": HIDDEN, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
QWEN_PIXELS: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}

# As the hub's template of LLaVA-1.5: images first, no token at the start, none behind the assistant's turn.
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}{# images first #}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# In the manner of Llama 3: the template writes the first token itself.
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
ONEVISION_TEMPLATE = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
INTERNVL_TEMPLATE = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n")


def build(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny model of `family` (a `model_type` of transformers) with its processor into `folder`."""
    torch.manual_seed(seed)
    model, processor = BUILDERS[family]()
    # Wide weights make the random answers depend on the image and the words; at the default 0.02 they hardly do.
    for name, parameter in model.named_parameters():
        if "norm" not in name and "lambda" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """The language model's configuration."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def _number(tokenizer: Any, token: str) -> Any:
    return tokenizer.convert_tokens_to_ids(token)


def _qwen_ids(tokenizer: Any) -> dict[str, Any]:
    return {
        "image_token_id": _number(tokenizer, "<|image_pad|>"),
        "video_token_id": _number(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": _number(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": _number(tokenizer, "<|vision_end|>"),
    }


def _mrope(section: list[int]) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section}}


def _qwen2_vl() -> tuple[Any, Any]:
    tokenizer = qwen_tokenizer()
    config = Qwen2VLConfig(
        text_config=_text(tokenizer, **_mrope([2, 1, 1])),
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": HIDDEN, "num_heads": 2, "mlp_ratio": 1},
        **_qwen_ids(tokenizer),
    )
    processor = Qwen2VLProcessor(  # type: ignore[no-untyped-call]
        Qwen2VLImageProcessor(**QWEN_PIXELS), tokenizer, Qwen2VLVideoProcessor(), chat_template=QWEN_TEMPLATE
    )
    return Qwen2VLForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    tokenizer = qwen_tokenizer()
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 16,
        "out_hidden_size": HIDDEN,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=_text(tokenizer, **_mrope([2, 1, 1])), vision_config=vision, **_qwen_ids(tokenizer)
    )
    processor = Qwen2_5_VLProcessor(  # type: ignore[no-untyped-call]
        Qwen2VLImageProcessor(**QWEN_PIXELS), tokenizer, Qwen2VLVideoProcessor(), chat_template=QWEN_TEMPLATE
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> tuple[Any, Any]:
    tokenizer = qwen_tokenizer()
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 16,
        "out_hidden_size": HIDDEN,
        "patch_size": 16,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(
        text_config=_text(tokenizer, head_dim=8, **_mrope([2, 1, 1])), vision_config=vision, **_qwen_ids(tokenizer)
    )
    images = Qwen2VLImageProcessor(
        patch_size=16, size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128}, image_mean=[0.5] * 3
    )
    processor = Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(), chat_template=QWEN_TEMPLATE)  # type: ignore[no-untyped-call]
    return Qwen3VLForConditionalGeneration(config), processor


def _llava() -> tuple[Any, Any]:
    tokenizer = _llama_tokenizer()
    config = LlavaConfig(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config={"model_type": "clip_vision_model", "image_size": TILE, "patch_size": PATCH, **VISION_CLIP},
        image_token_index=_number(tokenizer, "<image>"),
    )
    images = CLIPImageProcessor(size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE})
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return LlavaForConditionalGeneration(config), processor


def _llava_next() -> tuple[Any, Any]:
    tokenizer = _llama_tokenizer()
    canvases = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE], [3 * TILE, TILE], [TILE, 3 * TILE]]
    config = LlavaNextConfig(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config={"model_type": "clip_vision_model", "image_size": TILE, "patch_size": PATCH, **VISION_CLIP},
        image_token_index=_number(tokenizer, "<image>"),
        image_grid_pinpoints=canvases,
    )
    images = LlavaNextImageProcessor(
        size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}, image_grid_pinpoints=canvases
    )
    processor = LlavaNextProcessor(  # type: ignore[no-untyped-call]
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=LLAMA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return LlavaNextForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    tokenizer = qwen_tokenizer("<image>", "<video>")
    canvases = [[TILE * rows, TILE * columns] for rows in range(1, 5) for columns in range(1, 5)]
    config = LlavaOnevisionConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config={
            "model_type": "siglip_vision_model",
            "image_size": TILE,
            "patch_size": PATCH,
            "vision_use_head": False,
            **VISION_CLIP,
        },
        image_token_index=_number(tokenizer, "<image>"),
        video_token_index=_number(tokenizer, "<video>"),
        image_grid_pinpoints=canvases,
        vision_aspect_ratio="anyres_max_9",
    )
    images = LlavaOnevisionImageProcessor(size={"height": TILE, "width": TILE}, image_grid_pinpoints=canvases)
    processor = LlavaOnevisionProcessor(  # type: ignore[no-untyped-call]
        images,
        tokenizer,
        LlavaOnevisionVideoProcessor(),
        num_image_tokens=(TILE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION_TEMPLATE,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _internvl() -> tuple[Any, Any]:
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = qwen_tokenizer(*names.values(), extra_special_tokens=names)
    config = InternVLConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config={
            "image_size": [TILE, TILE],
            "patch_size": [PATCH, PATCH],
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        image_token_id=_number(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    images = GotOcr2ImageProcessor(size={"height": TILE, "width": TILE}, max_patches=4)
    processor = InternVLProcessor(
        images, tokenizer, InternVLVideoProcessor(), image_seq_length=4, chat_template=INTERNVL_TEMPLATE
    )
    return InternVLForConditionalGeneration(config), processor


def _llama_tokenizer() -> LlamaTokenizer:
    """Sentence pieces in the manner of Llama, bytes for unknown letters; `<s>` is put before every text."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    bpe.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = LlamaTokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],
        add_bos_token=True,
        pad_token="<pad>",
        model_max_length=4096,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in ("<image>", "<|start|>")])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
}
"""By `model_type`: model with random weights, and processor."""
