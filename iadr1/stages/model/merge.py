"""`iadr1 model merge`: a base model and LoRA adapters become one model that every engine can load."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.errors import MissingExtraError, ModelChoiceError, ModelError, OutputError, UsageError
from iadr1.models import ADAPTER, resolve_model

TOLERANCE = 0.05
"""Largest mean difference of log-probabilities (nats) after merging: rounding to bfloat16 stays well below it."""


@dataclass(frozen=True)
class MergeSummary:
    """What a merge gave.

    Attributes:
        out: Folder of the merged model and its processor.
        base: The model the adapters were trained on.
        largest: Largest difference between a log-probability of the merged model and of base with adapters, in nats.
        mean: Mean of these differences.
    """

    out: Path
    base: str
    largest: float
    mean: float


def merge(adapter: Path, *, out: Path, base: str | None = None, dtype: str = "bfloat16") -> MergeSummary:
    """Merge LoRA adapters into their base and check the result against base with adapters on a prompt.

    The sum is formed in float32 and then rounded once to `dtype`; merging into weights of few bits would round twice.
    The run's card, `run.json` and leak manifest go along. `out` appears only once the check has passed.

    Args:
        adapter: A trained folder with `adapter_config.json`.
        out: Folder of the merged model; it must be new or empty.
        base: The base model, where it has moved since the training.
        dtype: Number format of the merged weights: `bfloat16`, `float16` or `float32`.

    Raises:
        UsageError: No adapters in the folder, an unknown dtype, or `out` holds something.
        OutputError: `out` cannot be written.
        ModelError: The base cannot be loaded, or the merged model differs from base with adapters.
        MissingExtraError: PEFT or torch is not installed.
    """
    recorded = _recorded_base(adapter)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("this is not a new or empty folder", where=str(out), hint="choose another --out")
    try:
        import peft  # noqa: F401  # only whether it is there
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "train", purpose="merging") from error
    formats = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    if dtype not in formats:
        raise UsageError(f"no dtype {dtype!r}", hint=f"known: {', '.join(formats)}")
    source = _find_base(adapter, base, recorded)
    from iadr1.stages.training.quiet import quiet

    part = out.absolute().with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with quiet():
            largest, mean = _merge(adapter, source, out=part, dtype=formats[dtype])
        if not mean <= TOLERANCE:
            raise ModelError(
                f"the merged model differs from base with adapters by {mean:.3f} nats on average, nothing is kept",
                where=str(adapter),
            )
        _copy_lineage(adapter, part)
        part.replace(out)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=str(out)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return MergeSummary(out, source, largest, mean)


def _find_base(adapter: Path, given: str | None, recorded: str | None) -> str:
    name = given or recorded
    if name is None:
        raise UsageError(f"{ADAPTER} names no base model", where=str(adapter), hint="--base says what it is")
    try:
        return str(resolve_model(name))
    except ModelChoiceError as error:
        if given is not None:
            raise
        raise ModelChoiceError(
            f"the base model {name!r} that the adapters were trained on is not there",
            where=str(adapter),
            hint="--base says where it is",
        ) from error


def _merge(adapter: Path, source: str, *, out: Path, dtype: Any) -> tuple[float, float]:
    """Write the merged model; the largest and the mean difference of log-probabilities."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    loader: Any = AutoModelForImageTextToText
    processors: Any = AutoProcessor
    try:
        processor = processors.from_pretrained(adapter)
        plain = loader.from_pretrained(source, dtype=torch.float32)
        adapted = PeftModel.from_pretrained(plain, str(adapter))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"cannot load base and adapters: {first}", where=source, hint="--base says where the base is"
        ) from error
    inputs = _probe(processor)
    before = _log_probabilities(adapted, inputs)
    merged: Any = adapted.merge_and_unload().to(dtype)
    merged.save_pretrained(out)
    processor.save_pretrained(out)
    # What was written is checked, not what is in memory.
    written = loader.from_pretrained(out, dtype=torch.float32)
    difference = (_log_probabilities(written, inputs) - before).abs()
    return float(difference.max()), float(difference.mean())


def _copy_lineage(adapter: Path, out: Path) -> None:
    """What says where the model comes from: its card, and the run's `run.json` and leak manifest."""
    manifest = leaks.find_manifest(adapter)
    run = next(
        (path for path in (adapter / "run.json", adapter.absolute().parent / "run.json") if path.is_file()), None
    )
    found = ((adapter / "README.md", "README.md"), (manifest, leaks.MANIFEST_NAME), (run, "run.json"))
    for source, name in found:
        if source is not None and source.is_file():
            shutil.copyfile(source, out / name)


def _recorded_base(adapter: Path) -> str | None:
    """The base that the adapters say they were trained on."""
    path = adapter / ADAPTER
    if not path.is_file():
        raise UsageError(f"no {ADAPTER} in {str(adapter)!r}", hint="name the model/ folder of a run with lora_rank > 0")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError("not JSON", where=str(path)) from error
    base = value.get("base_model_name_or_path") if isinstance(value, dict) else None
    return None if base is None else str(base)


def _probe(processor: Any) -> Any:
    """A prompt with an image whose every next token is compared."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    content = [{"type": "image"}, {"type": "text", "text": "Are there any defects in the query image?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return processor(text=[text], images=[[Image.fromarray(noise)]], return_tensors="pt")


def _log_probabilities(model: Any, inputs: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return torch.log_softmax(model(**inputs).logits.float(), dim=-1)
