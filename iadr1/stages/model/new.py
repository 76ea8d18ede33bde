"""`iadr1 model new`: a small model of the real architecture with random weights, and a tokenizer for the samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from iadr1 import __version__
from iadr1.atomic import write_text_atomic
from iadr1.config import NewModelConfig
from iadr1.errors import DataError, MissingExtraError, OutputError, UsageError
from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import FORMATS, TAGS, instruction, render_target
from iadr1.provenance import plain
from iadr1.records import Sample, read_records
from iadr1.stages.training.quiet import quiet
from iadr1.stages.training.saving import clear_errors
from iadr1.stages.training.small import MERGE, PATCH, TEMPORAL, check_new_model, read_sections

try:
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import (
        GenerationConfig,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    from iadr1.models.loading import load_weights
    from iadr1.stages.model.circuits import lay_circuits, lay_numbers
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "model", purpose="making a model") from error

_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
_FIXED = 500
"""How often the texts that stand in every prompt count for the tokenizer."""

# Qwen2.5-VL's own layout of a chat, without its default system turn (the papers' prompts have none).
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class NewModel:
    """What was made: the folder, how many parameters, how many tokens."""

    out: Path
    parameters: int
    tokens: int


def new_model(config: NewModelConfig) -> NewModel:
    """Train a tokenizer on samples, and write a Qwen2.5-VL with random weights, its processor and configuration.

    Args:
        config: Sizes, samples, folder.

    Raises:
        UsageError: Sizes that do not fit together, no samples file, or a folder that is not empty.
        DataError: Broken samples.
        OutputError: The folder cannot be written to.
    """
    _check(config)
    samples = islice(read_records(config.data, Sample), config.limit)
    first = next(samples, None)
    if first is None:
        raise DataError("the file holds no sample", where=str(config.data), hint="'iadr1 prepare' writes some")
    numbers = config.side if config.numbers else 0
    tokenizer = build_tokenizer(corpus(chain([first], samples), config.side), config.vocabulary, numbers=numbers)
    model, processor = build_model(tokenizer, config), build_processor(tokenizer, config.side)
    try:
        with quiet(), clear_errors(config.out):
            _save(model, processor, config)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(config.out)) from error
    return NewModel(config.out, sum(p.numel() for p in model.parameters()), len(tokenizer))


def _save(model: Any, processor: Any, config: NewModelConfig) -> None:
    """Write the folder beside its place, then rename it: it appears whole or not at all."""
    folder = config.out.with_name(f".{config.out.name}.new")
    shutil.rmtree(folder, ignore_errors=True)  # of a killed call
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_text_atomic(folder / "README.md", _card(config))
    folder.replace(config.out)  # an empty one may be there


def _check(config: NewModelConfig) -> None:
    check_new_model(config)
    if not config.data.is_file():
        raise UsageError(f"no samples file {str(config.data)!r}", hint="'iadr1 prepare' writes some")
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise UsageError("the folder is not empty", where=str(config.out), hint="choose another --out")


def _card(config: NewModelConfig) -> str:
    """The model card: how the model was made, and the licence of weights that are chance."""
    settings = ", ".join(f"{key}={value}" for key, value in plain(config).items() if key not in ("data", "out"))
    return f"""---
license: cc0-1.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# {config.out.name}

A Qwen2.5-VL with random weights, which answers nothing until `iadr1 pretrain` has taught it. Made by iadr1
{__version__} with `iadr1 model new` from the texts of `{config.data.name}`:
{settings}.
"""


def corpus(samples: Iterable[Sample], side: int) -> Iterator[str]:
    """The texts a tokenizer is trained on: questions, options and answers, and many times what every prompt holds."""
    for fmt in FORMATS:
        yield from [instruction(fmt)] * _FIXED
    yield from ["system\nuser\nassistant\n", "Reference image of a normal product:", "Query image:"] * _FIXED
    for sample in samples:
        frame = BoxFrame(BoxSpace.INPUT_PX, sample.image_size or (side, side), (side, side))
        yield "\n".join([sample.question, *(f"{letter}. {text}" for letter, text in sample.options.items())])
        if sample.task == "anomaly" and sample.is_anomalous is not None:
            yield render_target(sample, "structured")
        if sample.task == "choice" or all(defect.box is not None for defect in sample.defects):
            yield render_target(sample, "boxes" if sample.task == "anomaly" else sample.task, frame=frame)


def build_tokenizer(texts: Iterable[str], vocabulary: int, *, numbers: int = 0) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer in Qwen2's form; each answer tag is one token, and each number up to `numbers`.

    Digits of larger numbers stay single tokens.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=3, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    trained: dict[str, Any] = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],  # type: ignore[misc]
        unk_token=None,  # type: ignore[arg-type] # every byte is known
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_SPECIAL),
        model_max_length=4096,
    )
    whole = [*TAGS, *(str(number) for number in range(10, numbers + 1))]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in whole])
    return tokenizer


def build_processor(tokenizer: Qwen2Tokenizer, side: int) -> Qwen2_5_VLProcessor:
    """The real processor with one input size: min_pixels = max_pixels = side squared."""
    image = Qwen2VLImageProcessor(
        patch_size=PATCH, merge_size=MERGE, temporal_patch_size=TEMPORAL, min_pixels=side**2, max_pixels=side**2
    )
    video = Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE, temporal_patch_size=TEMPORAL)
    return Qwen2_5_VLProcessor(  # type: ignore[no-untyped-call]
        image_processor=image, tokenizer=tokenizer, video_processor=video, chat_template=CHAT_TEMPLATE
    )


def build_model(tokenizer: Qwen2Tokenizer, config: NewModelConfig) -> Qwen2_5_VLForConditionalGeneration:
    """The model with random weights."""
    torch.manual_seed(config.seed)
    token: Any = tokenizer.convert_tokens_to_ids
    end, start = token("<|im_end|>"), token("<|endoftext|>")
    ids: dict[str, Any] = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": start}
    text = {
        "vocab_size": (len(tokenizer) + 63) // 64 * 64,
        "hidden_size": config.text_width,
        "intermediate_size": config.text_mlp,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "num_key_value_heads": config.text_kv_heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        # A low theta: M-RoPE gives image columns its lowest frequencies, and there are few columns (docs/log.md).
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "mrope_section": read_sections(config.mrope_section),
        },
        **ids,
    }  # fmt: skip
    vision = {
        "depth": config.vision_depth,
        "hidden_size": config.vision_width,
        "intermediate_size": config.vision_mlp,
        "num_heads": config.vision_heads,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
        "window_size": config.side,  # every block sees the whole image
        "fullatt_block_indexes": list(range(config.vision_depth)),
        "out_hidden_size": config.text_width,
        "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
    }
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=token("<|image_pad|>"),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
            tie_word_embeddings=True,
            **ids,
        )
    )
    if config.circuits:
        lay_circuits(model.model.language_model)
    if config.numbers:
        table: Any = model.get_input_embeddings().weight
        lay_numbers(table, [token(str(number)) for number in range(config.side + 1)])
    if config.vision:
        _take_vision(model, config.vision)
    ends = {**ids, "eos_token_id": [end, start]}
    generation: Any = GenerationConfig
    model.generation_config = generation(do_sample=False, max_new_tokens=256, **ends)
    return model


def _take_vision(model: Any, folder: Path) -> None:
    """Put another model's vision tower, which has learned to see, in the place of the random one."""
    with quiet():
        other, _ = load_weights(folder, "cpu", torch.float32, "sdpa")
    try:
        model.model.visual.load_state_dict(other.model.visual.state_dict())
    except (AttributeError, RuntimeError) as error:
        raise UsageError(
            f"the vision tower of {str(folder)!r} is of another form",
            hint="side, text_width and every vision_ setting must be as in that model",
        ) from error
