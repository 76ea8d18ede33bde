from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.masks import SEGMENTERS, load_segmenter, sam2
from iadr1.masks.sam2 import Sam2Segmenter

SIDE = 256


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised SAM 2 of about 0.35 M parameters."""
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
            hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
        ),
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam2")
    Sam2Model(config).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    Sam2Processor(Sam2ImageProcessor(size=size, mask_size={"height": SIDE // 4, "width": SIDE // 4})).save_pretrained(
        folder
    )
    return folder


def _photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))


BOXES = [(5.0, 5.0, 60.0, 50.0), (30.0, 20.0, 110.0, 80.0), (0.0, 0.0, 120.0, 90.0), (70.0, 60.0, 71.0, 61.0)]


def test_one_mask_per_box_at_the_photos_size(tiny_sam2: Path) -> None:
    results = load_segmenter(str(tiny_sam2), device="cpu").segment(_photo(), BOXES)
    assert [result.mask.shape for result in results] == [(90, 120)] * 4
    assert all(result.mask.dtype == np.bool_ and result.source == "sam2" for result in results)
    assert all(0 <= result.score <= 1 for result in results)


def test_chunks_give_the_same_masks_as_one_box_at_a_time(tiny_sam2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Sam2Segmenter(str(tiny_sam2), device="cpu")
    whole = segmenter.segment(_photo(), BOXES)
    monkeypatch.setattr(sam2, "BOXES_PER_CALL", 3)
    chunked = segmenter.segment(_photo(), BOXES)
    alone = [segmenter.segment(_photo(), [box])[0] for box in BOXES]
    for one, two, three in zip(whole, chunked, alone, strict=True):
        # A random network's logits lie close to the threshold: a rounding error may flip single pixels.
        assert (one.mask != two.mask).mean() < 0.002
        assert (one.mask != three.mask).mean() < 0.002
        assert one.score == pytest.approx(two.score, abs=1e-4) == pytest.approx(three.score, abs=1e-4)
    differences = [(one.mask != two.mask).mean() for one, two in itertools.combinations(whole, 2)]
    assert min(differences) > 0.002, "the boxes were not read"


def test_the_image_is_encoded_once(tiny_sam2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Sam2Segmenter(str(tiny_sam2), device="cpu")
    monkeypatch.setattr(sam2, "BOXES_PER_CALL", 1)
    encode, calls = segmenter._network.get_image_embeddings, []

    def counted(pixels: object) -> object:
        calls.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(segmenter._network, "get_image_embeddings", counted)
    segmenter.segment(_photo(), BOXES)
    assert len(calls) == 1


def test_no_box_and_one_pixel(tiny_sam2: Path) -> None:
    segmenter = Sam2Segmenter(str(tiny_sam2), device="cpu")
    assert segmenter.segment(_photo(), []) == []
    assert segmenter.segment(Image.new("RGB", (1, 1)), [(0.0, 0.0, 1.0, 1.0)])[0].mask.shape == (1, 1)


def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the SAM 2 model") as caught:
        load_segmenter(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_another_model_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="'qwen2_5_vl' model, not SAM 2"):
        load_segmenter(str(tiny_model), device="cpu")


def test_unknown_device_is_refused(tiny_sam2: Path) -> None:
    with pytest.raises(ModelError, match="warp"):
        load_segmenter(str(tiny_sam2), device="warp9")


def test_unknown_segmenter_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no segmenter 'grabcutt' \(known: grabcut, sam2, or a folder"):
        load_segmenter("grabcutt")
    assert set(SEGMENTERS) == {"grabcut", "sam2"}


def test_missing_package_names_the_extra(tiny_sam2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam2, "find_spec", lambda name: None if name == "torchvision" else object())
    with pytest.raises(MissingExtraError, match=r"'torchvision' \(install it with: pip install \"iadr1\[masks\]\""):
        load_segmenter(str(tiny_sam2))
