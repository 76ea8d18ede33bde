"""The network of a small segmenter, a `Sam2Model` of transformers, and its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

from iadr1.errors import ModelError, OutputError
from iadr1.masks.boxcrop import KEY, BoxCrop, box_prompt

BLOCKS = (1, 1, 2, 1)
"""Transformer blocks in each stage; the last block of the third stage attends to the whole picture."""
WINDOWS = (8, 4, 8, 4)
"""Window of attention in each stage, in cells."""
STRIDE = 16
"""Pixels of the input to a cell of the picture's embedding; the masks are drawn on a grid four times as fine."""


def new_network(*, side: int, width: int, hidden: int, crop: BoxCrop) -> Any:
    """A network with random weights (of torch's own random numbers).

    Compared with SAM 2's own proportions it draws one mask instead of four, and its feature pyramid passes what it
    knows of the whole down to the finest level, through 3 x 3 convolutions.

    Args:
        side: Of the input, a multiple of 32 (for the windows).
        width: Channels of the encoder's first stage; each further stage has twice as many.
        hidden: Channels of pyramid and mask decoder, a multiple of 32.
        crop: What it is shown of a box.
    """
    widths = [width, 2 * width, 4 * width, 8 * width]
    backbone = Sam2HieraDetConfig(
        hidden_size=width,
        image_size=[side, side],
        blocks_per_stage=list(BLOCKS),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=list(WINDOWS),
        global_attention_blocks=[sum(BLOCKS[:3]) - 1],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[4 * side // STRIDE] * 2, [2 * side // STRIDE] * 2, [side // STRIDE] * 2],
        fpn_hidden_size=hidden,
        fpn_kernel_size=3,
        fpn_padding=1,
        fpn_top_down_levels=[0, 1, 2, 3],
    )
    decoder = Sam2MaskDecoderConfig(
        hidden_size=hidden,
        mlp_dim=2 * hidden,
        num_attention_heads=4,
        iou_head_hidden_dim=hidden,
        # The candidates for ambiguous prompts are never trained; one is the least there can be.
        num_multimask_outputs=1,
        dynamic_multimask_via_stability=False,
    )
    prompts = Sam2PromptEncoderConfig(hidden_size=hidden, image_size=side)
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    setattr(config, KEY, crop.entry())
    network: Any = Sam2Model(config)
    # Two random encodings of places, of prompts and of the picture, that a trained SAM 2 has in common.
    network.shared_image_embedding.load_state_dict(network.prompt_encoder.shared_embedding.state_dict())
    return network


def load_network(folder: Path, *, side: int, crop: BoxCrop) -> Any:
    """The network of a folder that `save_network` wrote, for an input of another size and another crop.

    Raises:
        ModelError: There is no such model.
    """
    try:
        old: Any = Sam2Model.from_pretrained(folder, dtype="float32", local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"cannot load the segmenter: {reason}",
            where=str(folder),
            hint="init names the folder model/ of a run of `iadr1 train-segmenter`",
        ) from error
    width, hidden = old.config.vision_config.backbone_config.hidden_size, old.config.vision_config.fpn_hidden_size
    network = new_network(side=side, width=width, hidden=hidden, crop=crop)
    try:
        network.load_state_dict(old.state_dict())
    except RuntimeError as error:
        raise ModelError(
            "this SAM 2 is built otherwise than a segmenter of `iadr1 train-segmenter`",
            where=str(folder),
            hint="name the folder model/ of such a run",
        ) from error
    return network


def ask(network: Any, pixels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What a network draws for one box in each crop.

    Args:
        network: A `Sam2Model`.
        pixels: (N, 3, side, side), standardised.
        boxes: (N, 4), in pixels of the crop.

    Returns:
        Logits (N, 1, side / 4, side / 4) and its guess of the mask's IoU (N).
    """
    side, grid = pixels.shape[-1], int(network.prompt_encoder.mask_input_size[0])
    drawn = torch.from_numpy(box_prompt(boxes.numpy(), side=side, grid=grid))
    output = network(pixel_values=pixels, input_boxes=boxes[:, None], input_masks=drawn, multimask_output=False)
    return output.pred_masks[:, 0], output.iou_scores[:, 0, 0]


def save_network(network: Any, folder: Path) -> None:
    """Write a network in float16 with its processor; the folder appears whole or not at all.

    Raises:
        OutputError: The folder cannot be written to.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    side = int(network.config.prompt_encoder_config.image_size)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        half: Any = Sam2Model(network.config)
        half.load_state_dict(network.state_dict())
        half.half().save_pretrained(temporary)
        (temporary / "model.safetensors").chmod(0o644)  # written for the owner alone
        processor = Sam2ImageProcessor(
            size={"height": side, "width": side},
            mask_size={"height": 4 * side // STRIDE, "width": 4 * side // STRIDE},
            do_normalize=False,  # each crop is standardised by itself
        )
        Sam2Processor(processor).save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot write: {reason}", where=str(folder)) from error
