"""`iadr1 model convert-sam2`: Meta's SAM 2 checkpoint becomes a folder that transformers loads.

Names of Meta's weights: `facebookresearch/sam2`, `sam2/modeling` (Apache-2.0), read at commits 0c5f8c5 and 5fb59ce.
Names of transformers' weights: `Sam2Model` of the installed version, against which every key and shape is checked.
"""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iadr1.errors import MissingExtraError, ModelError, OutputError, UsageError

if TYPE_CHECKING:
    import torch

    Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """What the four sizes differ in: the image encoder's trunk (Meta's `sam2.1_hiera_*.yaml`).

    Attributes:
        width: Channels of the first stage; they double from stage to stage.
        heads: Attention heads of the first stage; they double too.
        blocks: Blocks in each of the four stages.
        windows: Attention windows of the stages, in patches.
        global_blocks: Blocks that attend to the whole image.
        background: Sides of the learned position embedding that is stretched over the image.
    """

    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    background: int


SIZES: Mapping[str, Architecture] = {
    "tiny": Architecture(96, 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9), 7),
    "small": Architecture(96, 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 7),
    "base_plus": Architecture(112, 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 14),
    "large": Architecture(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 7),
}

LEFT_OUT = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "mask_downsample.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
"""Beginnings of the names of weights that follow an object through a video; an image never meets them."""
_ONLY_2_1 = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.")

_POINTS = "sam_prompt_encoder.point_embeddings."
_POSITIONS = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_TRUNK = "image_encoder.trunk."

_RENAMED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
        (r"\.norm([1-4])\.", r".layer_norm\1."),
        (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        (r"(_mlps\.\d+|_head)\.layers\.0\.", r"\1.proj_in."),
        (r"(_mlps\.\d+|_head)\.layers\.2\.", r"\1.proj_out."),
        (r"(_mlps\.\d+|_head)\.layers\.1\.", r"\1.layers.0."),
        (r"\.output_upscaling\.0\.", ".upscale_conv1."),
        (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
        (r"\.output_upscaling\.3\.", ".upscale_conv2."),
        (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
        (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
        (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
        (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
        (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    )
)
"""Meta's names, or parts of them, and what transformers calls them; each is replaced in this order."""


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion gave.

    Attributes:
        out: Folder of the model and its processor.
        size: A name of `SIZES`.
        version: `2.1` or `2.0`; told apart by parts for video, the image parts are built alike.
        parameters: Numbers in the converted weights, a stored twice one counted once.
        left_out: How many weights of the checkpoint were left out, by the part they belong to.
    """

    out: Path
    size: str
    version: str
    parameters: int
    left_out: Mapping[str, int]


def convert_sam2(checkpoint: Path, *, out: Path, size: str | None = None) -> ConvertSummary:
    """Turn a `.pt` file of SAM 2 or SAM 2.1 into a folder with a transformers `Sam2Model` and its processor.

    The file is read with `weights_only`: a pickle that holds anything but tensors and plain values is refused, and no
    code in it runs. Every weight is used or belongs to a part for video. What was written is loaded and compared;
    `out` appears only then.

    Args:
        checkpoint: Meta's file: a mapping with the weights under `model`.
        out: Folder of the converted model; it must be new or empty.
        size: A name of `SIZES`; None tells it from the weights.

    Raises:
        UsageError: No such file, an unknown size.
        ModelError: Not a SAM 2 checkpoint; weights are missing, unknown or of the wrong shape; another size.
        OutputError: `out` cannot be written.
        MissingExtraError: torch, torchvision or transformers is not installed.
    """
    for package in ("torch", "torchvision", "transformers"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "masks", purpose="converting SAM 2")
    if size is not None and size not in SIZES:
        raise UsageError(f"no size {size!r}", hint=f"known: {', '.join(SIZES)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("this is not a new or empty folder", where=str(out), hint="choose another --out")
    meta = _read(checkpoint)
    found = _size(meta, checkpoint, asked=size)
    weights, left_out = rename(meta)
    from iadr1.stages.training.quiet import quiet

    with quiet():
        network = _network(SIZES[found])
        _check(weights, network.state_dict(), checkpoint)
        _write(network, weights, out)
    version = "2.1" if any(part in left_out for part in _ONLY_2_1) else "2.0"
    # The positional encoding is in it twice.
    parameters = sum(tensor.numel() for tensor in weights.values()) - meta[_POSITIONS].numel()
    return ConvertSummary(out, found, version, parameters, left_out)


def rename(meta: Weights) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Meta's weights under transformers' names, and how many were left out of each part for video.

    Unknown names are kept as they are; `convert_sam2` refuses them by comparing with the model.
    """
    import torch

    weights: dict[str, torch.Tensor] = {}
    left_out: dict[str, int] = {}
    points = {}
    for name, tensor in meta.items():
        part = next((part for part in LEFT_OUT if name.startswith(part)), None)
        if part is not None:
            left_out[part] = left_out.get(part, 0) + 1
        elif name.startswith(_POINTS):
            points[name] = tensor
        elif name == _POSITIONS:  # one matrix in Meta's model, two copies of it in transformers'
            weights["prompt_encoder.shared_embedding.positional_embedding"] = tensor.float()
            weights["shared_image_embedding.positional_embedding"] = tensor.float().clone()
        else:
            weights[_renamed(name)] = tensor.float()
    four = [f"{_POINTS}{index}.weight" for index in range(4)]
    if set(points) == set(four):
        weights["prompt_encoder.point_embed.weight"] = torch.cat([points[name].float() for name in four])
    else:  # reported under their own names
        weights.update(points)
    return weights, left_out


def _renamed(name: str) -> str:
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name


def _read(checkpoint: Path) -> Weights:
    import torch

    if not checkpoint.is_file():
        raise UsageError(f"no file {str(checkpoint)!r}", hint="name a .pt file of SAM 2 or SAM 2.1")
    try:
        content: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            "not a file of weights: it is damaged, or holds Python objects, which are not loaded because that would "
            "run code from the file",
            where=str(checkpoint),
            hint="take the checkpoint that Meta published",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"cannot be read as a PyTorch file: {first}", where=str(checkpoint)) from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(
            "no weights under 'model'",
            where=str(checkpoint),
            hint="Meta's checkpoints are a mapping {'model': weights}",
        )
    return weights


def _size(meta: Weights, checkpoint: Path, *, asked: str | None) -> str:
    """The size whose trunk has the checkpoint's width and number of blocks."""
    embedding = meta.get(f"{_TRUNK}pos_embed")
    if embedding is None or embedding.ndim != 4:
        raise ModelError(
            f"no weight '{_TRUNK}pos_embed': this is not a SAM 2 checkpoint",
            where=str(checkpoint),
            hint="the first SAM and SAM 3 are other networks",
        )
    blocks = {match[1] for name in meta if (match := re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name))}
    shape = (embedding.shape[1], len(blocks))
    found = next((name for name, kind in SIZES.items() if (kind.width, sum(kind.blocks)) == shape), None)
    if found is None:
        raise ModelError(
            f"an image encoder of width {shape[0]} with {shape[1]} blocks is none of SAM 2's sizes "
            f"({', '.join(SIZES)})",
            where=str(checkpoint),
        )
    if asked is not None and asked != found:
        raise ModelError(f"this is the size {found!r}, not {asked!r}", where=str(checkpoint), hint="leave --size out")
    return found


def _network(kind: Architecture) -> Any:
    """A `Sam2Model` of this size whose weights have shapes but no values yet."""
    import torch
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    widths = [kind.width * 2**stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=kind.width,
        num_attention_heads=kind.heads,
        blocks_per_stage=list(kind.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[kind.heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(kind.windows),
        global_attention_blocks=list(kind.global_blocks),
        window_positional_embedding_background_size=[kind.background, kind.background],
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    with torch.device("meta"):
        return Sam2Model(Sam2Config(vision_config=vision))


def _check(weights: Weights, wanted: Weights, checkpoint: Path) -> None:
    """Every name on both sides, every shape equal."""
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & weights.keys())
        if weights[name].shape != wanted[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise ModelError(
            f"its weights do not fit SAM 2 ({'; '.join(faults)})",
            where=str(checkpoint),
            hint="names are those of transformers where they are known",
        )


def _write(network: Any, weights: Weights, out: Path) -> None:
    """Write model and processor beside their place, load them again, compare, and move them there."""
    import torch
    from transformers import Sam2ImageProcessor, Sam2Model, Sam2Processor

    network.load_state_dict(dict(weights), assign=True)
    part = out.absolute().with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    processors: Any = Sam2Processor
    try:
        network.save_pretrained(part)
        processors(Sam2ImageProcessor()).save_pretrained(part)
        written: Any = Sam2Model.from_pretrained(part, dtype="float32")
        kept = written.state_dict()
        changed = [name for name, tensor in weights.items() if not torch.equal(kept[name], tensor)]
        if changed:
            raise ModelError(f"written weights differ from the checkpoint's: {', '.join(changed[:5])}", where=str(out))
        part.replace(out)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=str(out)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
