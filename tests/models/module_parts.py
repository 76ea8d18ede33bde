"""Which parameters belong to which part of a model, told by the classes of its modules instead of by names."""

from __future__ import annotations

from typing import Any

_VISION = (
    "Qwen2VisionTransformerPretrainedModel",
    "Qwen2_5_VisionTransformerPretrainedModel",
    "Qwen3VLVisionModel",
    "CLIPVisionModel",
    "SiglipVisionModel",
    "InternVLVisionModel",
)
_PROJECTOR = (
    "PatchMerger",
    "Qwen2_5_VLPatchMerger",
    "Qwen3VLVisionPatchMerger",
    "LlavaMultiModalProjector",
    "LlavaNextMultiModalProjector",
    "LlavaOnevisionMultiModalProjector",
    "InternVLMultiModalProjector",
)


def module_parts(model: Any) -> dict[str, set[str]]:
    """Names of the parameters under `vision`, `projector` and `language`."""
    found: dict[str, set[str]] = {"vision": set(), "projector": set(), "language": set()}

    def add(part: str, name: str, module: Any) -> None:
        found[part] |= {f"{name}.{rest}" for rest, _ in module.named_parameters()}

    for name, module in model.named_modules():
        if type(module).__name__ in _VISION:
            add("vision", name, module)
        if type(module).__name__ in _PROJECTOR:
            add("projector", name, module)
        if module is model.get_decoder() or module is model.get_output_embeddings():
            add("language", name, module)
    if hasattr(model.model, "image_newline"):
        found["projector"].add("model.image_newline")
    found["vision"] -= found["projector"]
    return found
