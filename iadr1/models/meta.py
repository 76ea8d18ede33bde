"""A model's architecture without its weights: what `--plan` counts on.

The papers' models are written down in `architectures/`, each with where its sizes come from, so that a run can be
planned offline. A model on torch's meta device has names and shapes and takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig
from transformers.utils import logging as hf_logging

from iadr1.errors import ModelError
from iadr1.models import resolve_model
from iadr1.models.profiles import check_family

ARCHITECTURES = Path(__file__).parent / "architectures"
"""One JSON a model: `model`, `source`, `published_parameters` (or null) and the `config` that shapes follow from."""

# The auto classes carry partial annotations.
_CONFIG: Any = AutoConfig
_MODEL: Any = AutoModelForImageTextToText
_LOGGING: Any = hf_logging


@dataclass(frozen=True)
class Architecture:
    """The config of a model, and where it was read.

    Attributes:
        model: Folder or hub id.
        config: The transformers config.
        source: The file it was read from, or where the sizes that come with the package were found.
        published_parameters: Number of weights its authors publish; None where that is not known here.
    """

    model: str
    config: Any
    source: str
    published_parameters: int | None = None


@dataclass(frozen=True)
class Stack:
    """The equal blocks of one transformer, as far as memory depends on them.

    Attributes:
        layers: Number of blocks.
        width: Numbers a token has between blocks.
        query_width: All heads' queries of a token together.
        key_width: All heads' keys (or values) of a token together.
        heads: Query heads.
        inner: Width inside the MLP.
        gated: The MLP has a gate (SwiGLU).
        fused: Queries, keys and values come from one linear layer.
        rms: Norms are RMSNorm, written out in tensor operations; else LayerNorm, one kernel.
        slow_gelu: The activation is written out as x * sigmoid(1.702 x).
        linear_parameters: Weights of the linear layers of all blocks.
    """

    layers: int
    width: int
    query_width: int
    key_width: int
    heads: int
    inner: int
    gated: bool
    fused: bool
    rms: bool
    slow_gelu: bool
    linear_parameters: int


def known_models() -> dict[str, Path]:
    """The hub ids whose architecture comes with the package, each with its file."""
    return {path.stem.replace("--", "/"): path for path in sorted(ARCHITECTURES.glob("*.json"))}


def architecture(model: str) -> Architecture:
    """What is known of a model without loading it: `tiny`, a folder, one of `known_models`, or a hub id in the cache.

    Nothing is downloaded.

    Raises:
        ModelChoiceError: No such model.
        ModelError: Its config is not here, cannot be read, or is of an unsupported family.
    """
    place = resolve_model(model)
    if isinstance(place, Path):
        return Architecture(model, _from_folder(place), f"{place}/config.json")
    if place in known_models():
        held = json.loads(known_models()[place].read_text(encoding="utf-8"))
        config = _CONFIG.for_model(**held["config"])
        return Architecture(model, config, held["source"], held["published_parameters"])
    try:
        return Architecture(model, _from_folder(place, local_files_only=True), "config.json in the hub's cache")
    except ModelError as error:
        raise ModelError(
            f"the architecture of {place!r} is not known here",
            hint=f"known without its files: {', '.join(known_models())}; or name a folder with its config.json",
        ) from error


def _from_folder(place: Path | str, **options: Any) -> Any:
    try:
        stored, _ = PreTrainedConfig.get_config_dict(place, **options)
        check_family(stored.get("model_type"), where=str(place))
        return _CONFIG.from_pretrained(place, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"cannot read the model's config: {lines[0] if lines else type(error).__name__}", where=str(place)
        ) from error


def on_meta(config: Any) -> Any:
    """The model of a config on the meta device: names and shapes, no memory."""
    with _silent(), torch.device("meta"):
        return _MODEL.from_config(config)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the library's remarks on a generation config that nobody will use."""
    level = _LOGGING.get_verbosity()
    _LOGGING.set_verbosity_error()
    try:
        yield
    finally:
        _LOGGING.set_verbosity(level)


def add_adapters(model: Any, lora: Any) -> Any:
    """A model on the meta device in PEFT's wrapper, its adapters on the meta device as well."""
    from peft import get_peft_model

    with torch.device("meta"):
        return get_peft_model(model, lora)


def language_stack(model: Any) -> Stack:
    """The decoder's blocks of a model of one of the known families."""
    return _stack(model, "language_model.layers", model.config.get_text_config().num_attention_heads)


def vision_stack(model: Any) -> Stack:
    """The vision tower's blocks of a model of one of the known families."""
    vision = model.config.vision_config
    return _stack(model, ("visual.blocks", "encoder.layers", "encoder.layer"), _heads(vision))


def projector_width(model: Any) -> int:
    """Numbers that the projector's linear layers and activation take in for one patch of an image."""
    projector = next(
        part for name, part in model.named_modules() if name.endswith(("visual.merger", "modal_projector"))
    )
    linear = [part for part in projector.modules() if isinstance(part, torch.nn.Linear)]
    # Qwen and InternVL join the patches of a square into one token before.
    joined = max(1, linear[0].in_features // vision_stack(model).width)
    return int((sum(part.in_features for part in linear) + linear[0].out_features) // joined)


def _heads(vision: Any) -> int:
    return int(vision.num_heads if hasattr(vision, "num_heads") else vision.num_attention_heads)


def _stack(model: Any, ends: str | tuple[str, ...], heads: int) -> Stack:
    found = (module for name, module in model.named_modules() if name.endswith(ends))
    blocks = next((module for module in found if isinstance(module, torch.nn.ModuleList)), None)
    if blocks is None:
        raise ModelError(f"no blocks named {ends!r} in a {type(model).__name__}")
    block = blocks[0]
    linear = {name: part for name, part in block.named_modules() if isinstance(part, torch.nn.Linear)}
    mlp = [part for name, part in linear.items() if "mlp" in name]
    attention = [part for name, part in linear.items() if "mlp" not in name]
    out = next(part for name, part in linear.items() if "mlp" not in name and name.endswith(_OUT))
    query_width = out.in_features
    rest = sum(part.out_features for part in attention if part is not out) - query_width
    names = [type(part).__name__ for part in block.modules()]
    return Stack(
        layers=len(blocks),
        width=out.out_features,
        query_width=query_width,
        key_width=rest // 2,
        heads=heads,
        inner=max(max(part.in_features, part.out_features) for part in mlp),
        gated=len(mlp) == 3,
        fused=len(attention) == 2,
        rms=any("RMSNorm" in name for name in names),
        slow_gelu=any("QuickGELU" in name for name in names),
        linear_parameters=len(blocks) * sum(sum(one.numel() for one in part.parameters()) for part in linear.values()),
    )


_OUT = ("o_proj", "out_proj", "attn.proj", "projection_layer")
"""Last part of the name of the layer that joins the heads."""
