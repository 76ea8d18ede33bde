"""What a GRPO step costs: ours against plain TRL, and with each image looked at once against once per answer.

    python benchmarks/grpo_step.py overhead     the embedded model: our step against the same step in plain TRL
    python benchmarks/grpo_step.py vision       the paper's proportions of vision to language, 1000x800 images

Both sides run in one process, in turns, on the same prompts, seeds and settings. Limits: overhead at most 1.05, and
with images looked at once at least 25 % less time a step (ratio at most 0.75).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1.config import TrainConfig
from iadr1.models import resolve_model
from iadr1.prompts import parse, render_prompt
from iadr1.records import Sample, write_records
from iadr1.rewards.roam import roam
from iadr1.stages import grpo


def samples(folder: Path, size: tuple[int, int], count: int) -> list[Sample]:
    """Questions about pictures of noise, on disk."""
    found = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        found.append(
            Sample(
                id=str(number),
                dataset="noise",
                category="noise",
                split="train",
                image=f"{number}.png",
                task="choice",
                question="Is there any defect in the object?",
                options={"A": "Yes.", "B": "No."},
                answer="AB"[number % 2],
                question_type="Anomaly Detection",
            )
        )
    write_records(folder / "samples.jsonl", found)
    return found


def ours(config: TrainConfig) -> list[float]:
    """Seconds of each step of `iadr1 train`."""
    shutil.rmtree(config.out, ignore_errors=True)
    seconds: list[float] = []
    grpo.run(config, on_log=lambda figures: seconds.append(figures["seconds"]))
    return seconds


def plain(config: TrainConfig, found: list[Sample]) -> list[float]:
    """Seconds of each step of TRL's trainer as a user would write it: same settings, same reward, images in memory."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import GRPOTrainer

    from iadr1.stages.grpo.trainer import trainer_settings
    from iadr1.stages.training.data import asking_order

    shutil.rmtree(config.out, ignore_errors=True)
    path = str(resolve_model(config.model))
    loader: Any = AutoModelForImageTextToText
    processors: Any = AutoProcessor
    processor = processors.from_pretrained(path, padding_side="left")
    by_id = {sample.id: sample for sample in found}

    def reward(completions: Any, name: list[str], **_: Any) -> list[float]:
        pairs = zip(completions, name, strict=True)
        return [
            roam(parse(turn[0]["content"], "choice", options=by_id[key].options), by_id[key]) or 0.0
            for turn, key in pairs
        ]

    asked = config.batch_size * config.gradient_accumulation // config.generations
    order = asking_order(len(found), asked * config.steps, seed=config.seed)
    drawn = [found[index] for index in order]
    rows = Dataset.from_dict(
        {
            "prompt": [render_prompt(sample, "choice") for sample in drawn],
            "name": [sample.id for sample in drawn],
        }
    )
    pictures = [Image.open(config.data.parent / sample.image).convert("RGB") for sample in drawn]

    by_name = {sample.id: picture for sample, picture in zip(drawn, pictures, strict=True)}
    rows = rows.with_transform(lambda batch: {**batch, "images": [[by_name[name]] for name in batch["name"]]})
    seconds: list[float] = []

    class Timer(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "step_time" in logs:
                seconds.append(logs["step_time"])

    settings = trainer_settings(config, [("roam", roam, 1.0)], steps=config.steps)
    settings.save_strategy = "no"
    trainer = GRPOTrainer(
        model=loader.from_pretrained(path, dtype=torch.float32),
        reward_funcs=[reward],
        args=settings,
        train_dataset=rows,
        processing_class=processor,
        callbacks=[Timer()],
    )
    trainer.train()
    return seconds


def compare(first: Callable[[], list[float]], second: Callable[[], list[float]], *, rounds: int) -> None:
    """Run both in turns and print the medians and their ratio; the first step of a run warms up and is left out."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for kept, run in zip(times, (first, second), strict=True):
            kept.extend(run()[1:])
        print(f"round {number + 1}: {statistics.median(times[0]):.3f} s, {statistics.median(times[1]):.3f} s")
    a, b = map(statistics.median, times)
    print(f"median of {len(times[0])} steps: {a:.3f} s against {b:.3f} s, ratio {a / b:.3f}")


def overhead(folder: Path, rounds: int) -> None:
    """Our step against TRL's; looking at images once is switched off, so that both do the same work."""
    found = samples(folder, (112, 112), 16)
    config = TrainConfig(
        data=folder / "samples.jsonl", out=folder / "run", steps=6, save_steps=100, vision_cache=False,
        completions=False, log_to="none",
    )  # fmt: skip
    compare(lambda: ours(config), lambda: plain(config, found), rounds=rounds)


def vision(folder: Path, rounds: int) -> None:
    """Each image looked at once against once per answer, on the paper's proportions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.auto import AutoProcessor

    # Qwen2.5-VL-3B has 669 M parameters of vision to 3,086 M of language (18 %), 32 and 36 layers; an image of
    # 1000x800 px becomes 4,176 patches and 1,044 tokens. Here: the same image, the same 18 %, 1/100 of the width.
    processors: Any = AutoProcessor
    processor = processors.from_pretrained(resolve_model("tiny"))
    processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
    base: Any = Qwen2_5_VLConfig.from_pretrained(resolve_model("tiny")).to_dict()
    base["vision_config"] |= {
        "depth": 8, "hidden_size": 128, "num_heads": 4, "intermediate_size": 352, "out_hidden_size": 256,
        "window_size": 112, "fullatt_block_indexes": [3, 7],
    }  # fmt: skip
    base["text_config"] |= {
        "num_hidden_layers": 9, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 4096,
    }  # fmt: skip
    base["text_config"].pop("layer_types", None)
    base["text_config"]["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12],
    }  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**base))
    seen = sum(p.numel() for p in model.model.visual.parameters())
    whole = sum(p.numel() for p in model.parameters())
    print(f"{whole / 1e6:.1f} M parameters, {seen / whole:.0%} of them vision")
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    samples(folder, (1000, 800), 4)
    config = TrainConfig(
        model=str(folder / "model"), data=folder / "samples.jsonl", out=folder / "run", steps=3, save_steps=100,
        batch_size=8, generations=8, max_new_tokens=64, reward="format", completions=False, log_to="none",
    )  # fmt: skip
    off = TrainConfig(**{**vars(config), "vision_cache": False})
    compare(lambda: ours(config), lambda: ours(off), rounds=rounds)


def main() -> None:
    """Run one of the two comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "vision"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        {"overhead": overhead, "vision": vision}[given.what](Path(folder), given.rounds)
    print(f"{time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
