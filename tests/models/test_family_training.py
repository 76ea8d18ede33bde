"""One SFT step and one GRPO step of TRL's trainers on each family: exactly what was asked to change changes.

What should change is told from the classes of the modules (`module_parts`), not from the layouts that
freezing and LoRA go by, so that a wrong layout fails here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from iadr1.models.base import Profile
from iadr1.models.parts import check_trainable, freeze, lora_config
from iadr1.models.processors import make_ready
from iadr1.models.profiles import profile_of

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from trl.trainer.grpo_config import GRPOConfig  # noqa: E402
from trl.trainer.grpo_trainer import GRPOTrainer  # noqa: E402
from trl.trainer.sft_config import SFTConfig  # noqa: E402
from trl.trainer.sft_trainer import SFTTrainer  # noqa: E402

from tests.models.module_parts import module_parts  # noqa: E402
from tests.tiny_vlms import BUILDERS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers about its own names

Folder = Callable[[str], Path]
Mode = Literal["full", "vision frozen", "lora"]
FAMILIES = sorted(BUILDERS)
MODES: tuple[Mode, ...] = ("full", "vision frozen", "lora")

# CLIP's last layer is read by nothing: LLaVA takes the layer before it. So is every tower's closing norm.
UNREACHED = {
    "llava": ("model.vision_tower.encoder.layers.1.", "model.vision_tower.post_layernorm."),
    "llava_next": ("model.vision_tower.encoder.layers.1.", "model.vision_tower.post_layernorm."),
    "llava_onevision": ("model.vision_tower.post_layernorm.",),
}


@pytest.fixture(scope="module", autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """The trainers collect garbage several times, which takes most of a step while all that is imported counts."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def load(folder: Path) -> tuple[Any, Any, Profile]:
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    processor = make_ready(model, AutoProcessor.from_pretrained(folder))  # type: ignore[no-untyped-call]
    return model, processor, profile_of(model.config, processor)


def rows(profile: Profile, *, completion: bool) -> Any:
    """Prompts with one and with two images of different sizes, as the stages make them: images when drawn."""
    rng = np.random.default_rng(0)
    sizes = [(60, 40), (50, 90), (120, 33), (70, 70)]
    pictures = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    images = [profile.prepare(picture) for picture in pictures]

    def row(index: int) -> dict[str, Any]:
        count = 1 + index % 2
        marks = [{"type": "image"}] * count
        answer = {"completion": [{"role": "assistant", "content": "<answer>Yes</answer>"}]} if completion else {}
        return {
            "prompt": [{"role": "user", "content": [*marks, {"type": "text", "text": "Is it?"}]}],
            "images": images[index : index + count],
            **answer,
        }

    def draw(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        drawn = [row(index) for index in batch["index"]]
        return {key: [item[key] for item in drawn] for key in drawn[0]}

    return Dataset.from_dict({"index": [0, 1, 2]}).with_transform(draw)


def settings(out: Path) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "max_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def sft(model: Any, processor: Any, profile: Profile, *, out: Path, peft: Any) -> Any:
    config = SFTConfig(per_device_train_batch_size=2, max_length=None, **settings(out))
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=rows(profile, completion=True),
        processing_class=processor,
        peft_config=peft,
    )


def grpo(model: Any, processor: Any, profile: Profile, *, out: Path, peft: Any, beta: float = 0.0) -> Any:
    def alternate(completions: list[Any], **columns: Any) -> list[float | None]:
        return [float(number % 2) for number in range(len(completions))]

    config = GRPOConfig(
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=3,
        beta=beta,
        log_multimodal=False,
        shuffle_dataset=False,
        **settings(out),
    )
    return GRPOTrainer(
        model=model,
        args=config,
        train_dataset=rows(profile, completion=False),
        processing_class=processor,
        reward_funcs=[alternate],
        peft_config=peft,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_changes_exactly_what_was_asked(
    family: str, stage: str, mode: Mode, family_folder: Folder, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, processor, profile = load(family_folder(family))
    owned = module_parts(model)
    linear = decoder_layers(model)
    lora = lora_config(profile, r=2, alpha=4) if mode == "lora" else None
    if mode == "vision frozen":
        freeze(model, ("vision",))
    trainer = (sft if stage == "sft" else grpo)(model, processor, profile, out=tmp_path, peft=lora)
    frozen = ("vision",) if mode == "vision frozen" else ()
    check_trainable(trainer.model, frozen=frozen, adapted=("language",) if lora else ())
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
    if lora:
        # The other factor starts as zeros, so that the first step leaves this one alone.
        assert changed == {f"base_model.model.{name}.lora_B.default.weight" for name in linear}
        return
    expected = owned["projector"] | owned["language"] | (owned["vision"] if mode == "full" else set())
    assert changed == {name for name in expected if not name.startswith(UNREACHED.get(family, ("-",)))}


def decoder_layers(model: Any) -> set[str]:
    """Full names of the linear layers inside the language model's blocks."""
    decoder = model.get_decoder()
    place = next(name for name, module in model.named_modules() if module is decoder)
    return {
        f"{place}.layers.{name}"
        for name, module in decoder.layers.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def test_onevision_learns_from_several_images_under_a_kl_term(family_folder: Folder, tmp_path: Path) -> None:
    """TRL 1.16 alone stops here: it neither takes nor hands on how many images each prompt has."""
    model, processor, profile = load(family_folder("llava_onevision"))
    trainer = grpo(model, processor, profile, out=tmp_path, peft=None, beta=0.04)
    make_ready(trainer.ref_model, processor)
    trainer.train()
    assert trainer.state.log_history[-1]["train_loss"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_sft_learns_the_answer_and_its_end_from_a_whole_prompt(family: str, family_folder: Folder) -> None:
    """The first token is there once, the image tokens are whole, the loss sees the completion and the end token."""
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    _, processor, profile = load(family_folder(family))
    collate = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    drawn = rows(profile, completion=True)
    batch = collate([drawn[0], drawn[1]])
    tokenizer = processor.tokenizer
    first = tokenizer.bos_token
    for ids, labels, count in zip(batch["input_ids"], batch["labels"], (1, 2), strict=True):
        learned = tokenizer.decode(labels[labels != -100]).strip()
        assert learned == f"<answer>Yes</answer>{tokenizer.eos_token}"
        text = tokenizer.decode(ids[ids != tokenizer.pad_token_id])
        assert first is None or (text.startswith(first) and text.count(first) == 1)
        sizes = [(60, 40)] if count == 1 else [(50, 90), (120, 33)]
        expected = sum(profile.image_tokens(size, images=count) for size in sizes)
        assert int((ids == processor.image_token_id).sum()) == expected
