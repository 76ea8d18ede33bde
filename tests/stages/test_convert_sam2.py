"""`iadr1 model convert-sam2`: weights under Meta's names become a model that transformers loads.

The names were checked once against Meta's own code with random weights: logits and IoU estimates of the tiny size of
SAM 2.1 differed by at most 2e-7. Here Meta's names are made from transformers' by the inverse mapping.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from iadr1.errors import ModelError, UsageError
from iadr1.masks.sam2 import Sam2Segmenter
from iadr1.stages.model import convert_sam2 as module
from iadr1.stages.model.convert_sam2 import SIZES, Architecture, convert_sam2, rename

NANO = Architecture(16, 1, (1, 1, 2, 1), (8, 4, 14, 7), (3,), 7)
"""As small as a trunk can be; neck, prompt encoder and decoder keep Meta's widths."""

Weights = dict[str, torch.Tensor]

_META = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"layer_norm", "norm"),
    (r"\.o_proj\.", ".out_proj."),
    (r"mlp\.proj_in", "mlp.layers.0"),
    (r"mlp\.proj_out", "mlp.layers.1"),
    (r"(_mlps\.\d|_head)\.layers\.0", r"\1.layers.1"),
    (r"(_mlps\.\d|_head)\.proj_in", r"\1.layers.0"),
    (r"(_mlps\.\d|_head)\.proj_out", r"\1.layers.2"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_conv2", "output_upscaling.3"),
)


def to_meta(state: Weights) -> Weights:
    """The weights of a `Sam2Model` under Meta's names."""
    meta: Weights = {}
    for name, tensor in state.items():
        if name == "shared_image_embedding.positional_embedding":
            continue
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            meta["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = tensor
        elif name == "prompt_encoder.point_embed.weight":
            for index in range(4):
                meta[f"sam_prompt_encoder.point_embeddings.{index}.weight"] = tensor[index : index + 1]
        else:
            meta[_meta_name(name)] = tensor
    return meta


def _meta_name(name: str) -> str:
    for pattern, old in _META:
        name = re.sub(pattern, old, name)
    return name


VIDEO = {
    "maskmem_tpos_enc": torch.zeros(7, 1, 1, 64),
    "memory_attention.layers.0.norm1.weight": torch.zeros(256),
    "memory_attention.norm.bias": torch.zeros(256),
    "obj_ptr_proj.layers.0.weight": torch.zeros(256, 256),
}


@pytest.fixture(scope="module")
def nano() -> Any:
    """A small network with random weights."""
    network = module._network(NANO).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    network.shared_image_embedding.load_state_dict(network.prompt_encoder.shared_embedding.state_dict())
    return network.eval()


@pytest.fixture
def meta(nano: Any, monkeypatch: pytest.MonkeyPatch) -> Weights:
    monkeypatch.setattr(module, "SIZES", {**SIZES, "nano": NANO})
    return to_meta(nano.state_dict()) | VIDEO


def _saved(weights: object, folder: Path) -> Path:
    path = folder / "checkpoint.pt"
    torch.save({"model": weights}, path)
    return path


def test_the_converted_model_computes_what_the_first_one_did(nano: Any, meta: Weights, tmp_path: Path) -> None:
    from transformers import Sam2Model

    out = tmp_path / "out"
    summary = convert_sam2(_saved(meta, tmp_path), out=out)
    assert (summary.out, summary.size, summary.version) == (out, "nano", "2.0")
    assert summary.left_out == {"maskmem_tpos_enc": 1, "memory_attention.": 2, "obj_ptr_proj.": 1}
    assert summary.parameters == sum(tensor.numel() for tensor in to_meta(nano.state_dict()).values())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    loader: Any = Sam2Model
    converted = loader.from_pretrained(out).eval()
    pixels = torch.randn((1, 3, 1024, 1024), generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[[200.0, 300.0, 700.0, 650.0], [20.0, 30.0, 90.0, 100.0]]])
    with torch.no_grad():
        one, two = (model(pixel_values=pixels, input_boxes=boxes) for model in (nano, converted))
    assert one.pred_masks.std() > 0.01
    assert (one.pred_masks - two.pred_masks).abs().max() < 1e-5
    assert (one.iou_scores - two.iou_scores).abs().max() < 1e-5


def test_the_segmenter_takes_the_folder(meta: Weights, tmp_path: Path) -> None:
    from PIL import Image

    convert_sam2(_saved(meta, tmp_path), out=tmp_path / "out")
    results = Sam2Segmenter(str(tmp_path / "out"), device="cpu").segment(
        Image.new("RGB", (90, 60), (9, 90, 200)), [(5.0, 5.0, 60.0, 50.0)]
    )
    assert results[0].mask.shape == (60, 90)


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_weight_of_every_size_has_a_place(size: str) -> None:
    wanted = module._network(SIZES[size]).state_dict()
    weights, left_out = rename(
        {name: torch.empty(tensor.shape, device="meta") for name, tensor in to_meta(wanted).items()}
    )
    assert left_out == {}
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }


@pytest.mark.parametrize(("size", "published"), [("tiny", 38.9), ("small", 46), ("base_plus", 80.8), ("large", 224.4)])
def test_sizes_have_as_many_parameters_as_meta_says(size: str, published: float) -> None:
    for_video = 7.52  # counted in Meta's SAM 2.1 tiny; the same in all sizes
    network = module._network(SIZES[size])
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert millions + for_video == pytest.approx(published, abs=0.07)


def test_parts_that_only_2_1_has_tell_the_version(meta: Weights, tmp_path: Path) -> None:
    meta["no_obj_embed_spatial"] = torch.zeros(1, 64)
    assert convert_sam2(_saved(meta, tmp_path), out=tmp_path / "out").version == "2.1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sam_mask_decoder.iou_token.weight": None}, r"1 missing: mask_decoder\.iou_token\.weight\)"),
        (
            {"sam_prompt_encoder.point_embeddings.2.weight": None},
            r"1 missing: prompt_encoder\.point_embed\.weight; 3 unknown",
        ),
        ({"sam_mask_decoder.more.weight": torch.zeros(1)}, r"1 unknown: mask_decoder\.more\.weight\)"),
        ({"lora": torch.zeros(1)}, r"1 unknown: lora\)"),
        ({"no_mem_embed": torch.zeros(1, 1, 8)}, r"no_memory_embedding is \(1, 1, 8\), not \(1, 1, 256\)"),
        (
            {"image_encoder.trunk.pos_embed": None},
            r"no weight 'image_encoder\.trunk\.pos_embed'.*not a SAM 2 checkpoint",
        ),
        ({"image_encoder.trunk.blocks.5.norm1.weight": torch.zeros(16)}, "width 16 with 6 blocks is none of SAM 2's"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: dict[str, torch.Tensor | None], message: str, meta: Weights, tmp_path: Path
) -> None:
    changed = {name: value for name, value in {**meta, **change}.items() if value is not None}
    with pytest.raises(ModelError, match=message):
        convert_sam2(_saved(changed, tmp_path), out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt"]


def test_another_size_than_asked_is_refused(meta: Weights, tmp_path: Path) -> None:
    checkpoint = _saved(meta, tmp_path)
    with pytest.raises(ModelError, match="this is the size 'nano', not 'tiny'"):
        convert_sam2(checkpoint, out=tmp_path / "out", size="tiny")
    with pytest.raises(UsageError, match=r"no size 'huge' \(known: tiny, small, base_plus, large"):
        convert_sam2(checkpoint, out=tmp_path / "out", size="huge")
    assert convert_sam2(checkpoint, out=tmp_path / "out", size="nano").size == "nano"


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_no_code_of_a_pickle_runs(tmp_path: Path) -> None:
    checkpoint = _saved(_Trap(tmp_path / "ran"), tmp_path)
    with pytest.raises(ModelError, match="holds Python objects, which are not loaded"):
        convert_sam2(checkpoint, out=tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 cut off", b"<html>404</html>"])
def test_a_damaged_file_is_one_clear_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"c\.pt: ") as caught:
        convert_sam2(tmp_path / "c.pt", out=tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"model": 3}, {"model": {"a": "text"}}])
def test_a_file_without_weights_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ModelError, match=r"no weights under 'model' \(Meta's checkpoints are"):
        convert_sam2(tmp_path / "c.pt", out=tmp_path / "out")


def test_a_missing_file_and_a_full_folder_are_refused(meta: Weights, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        convert_sam2(tmp_path / "no.pt", out=tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a new or empty folder"):
        convert_sam2(_saved(meta, tmp_path), out=tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_the_command_says_what_was_converted_and_what_left_out(
    meta: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from iadr1.cli.model import convert_sam2 as command

    command(_saved(meta, tmp_path), tmp_path / "out")
    text = capsys.readouterr().out
    assert re.search(r"out \(SAM 2\.0 nano, \d+\.\d M\)", text)
    assert "left out, for video only: maskmem_tpos_enc 1, memory_attention 2, obj_ptr_proj 1" in text
