"""A randomly initialised SAM 2 of about 0.35 M parameters that sees 256 x 256 pixels."""

from __future__ import annotations

from pathlib import Path

SIDE = 256


def build(folder: Path, *, multimask: bool = True) -> Path:
    """Write model and processor; without `multimask` the configuration says that the single mask alone is trained."""
    import torch
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

    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        fpn_hidden_size=32,
    )
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32,
            mlp_dim=64,
            num_attention_heads=2,
            iou_head_hidden_dim=32,
            dynamic_multimask_via_stability=multimask,
        ),
    )
    torch.manual_seed(0)
    network = Sam2Model(config)
    # They start as two different random encodings, but a trained SAM 2 has one.
    network.shared_image_embedding.load_state_dict(network.prompt_encoder.shared_embedding.state_dict())
    network.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    grid = {"height": SIDE // 4, "width": SIDE // 4}
    Sam2Processor(Sam2ImageProcessor(size=size, mask_size=grid)).save_pretrained(folder)
    return folder
