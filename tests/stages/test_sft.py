"""SFT end to end on a tiny random Qwen2.5-VL: what is learned from, what a run leaves, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.config import SftConfig
from iadr1.errors import DataError, Iadr1Error, ModelError, UsageError
from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import Format, parse, render_target
from iadr1.records import Defect, Sample, Task, write_records
from iadr1.stages import sft
from iadr1.stages.sft.log import SftStep
from iadr1.stages.training.limits import ANSWER_FORMATS, answer_formats
from iadr1.stages.training.plan import make_plan

SIZE = (200, 160)
"""Stored size of the images, (width, height); the model sees 112x112."""
HOLE = Defect(type="hole", box=(0, 0, 100, 80), location="top left")


def sample(name: str, task: Task = "anomaly", **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": name,
        "dataset": "t",
        "category": "c",
        "split": "train",
        "image": "images/0.png",
        "references": ("images/1.png",),
        "task": task,
        "question": f"Question {name}?",
        "question_type": "q",
        "reasoning": f"reasoning of {name}",
    }
    return Sample(**(values | changes))


CHOICE = sample("choice", "choice", options={"A": "Yes.", "B": "No."}, answer="B")
BAD = sample("bad", answer="Yes", is_anomalous=True, defects=(HOLE,))
GOOD = sample("good", answer="No", is_anomalous=False, image="images/1.png")
POINT = sample("point", "grounding", defects=(HOLE.model_copy(update={"type": "the dark hole"}),))


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> SftConfig:
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0)
    for number in range(2):
        pixels = noise.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    write_records(tmp_path / "s.jsonl", [BAD, GOOD])
    monkeypatch.chdir(tmp_path)
    return SftConfig(
        model=str(tiny_model),
        data=tmp_path / "s.jsonl",
        out=tmp_path / "run",
        steps=2,
        batch_size=2,
        learning_rate=1e-2,
        save_steps=99,
        log_to="none",
    )


def run_file(out: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return info


def learned_texts(config: SftConfig, samples: list[Sample]) -> tuple[list[str], list[str]]:
    """Of one real batch: the text under the labels, and the whole text, special tokens included."""
    from iadr1.stages.sft.data import training_rows
    from iadr1.stages.sft.trainer import make_trainer, trainer_settings
    from iadr1.stages.training import session
    from iadr1.stages.training.quiet import quiet

    with quiet():
        settings = trainer_settings(dataclasses.replace(config, batch_size=len(samples)), steps=1)
        loaded = session.load(config, config.model, None)
        from transformers import TrainerCallback

        trainer = make_trainer(
            loaded.model,
            settings,
            rows=training_rows(
                samples,
                config.data.parent,
                loaded.profile,
                shots=config.shots,
                formats=answer_formats(config),
                order=list(range(len(samples))),
            ),
            processor=loaded.processor,
            callback=TrainerCallback(),
            peft_config=None,
        )
        batch = next(iter(trainer.get_train_dataloader()))
    tokenizer = loaded.processor.tokenizer
    labels = [[int(token) for token in row if token != -100] for row in batch["labels"]]
    return tokenizer.batch_decode(labels), tokenizer.batch_decode(batch["input_ids"])


# --- what is learned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_the_loss_is_on_the_targets_alone(config: SftConfig, answer_format: Format) -> None:
    samples = [CHOICE, BAD, GOOD, POINT]
    formats: list[Format] = ["choice", answer_format, answer_format, "grounding"]
    labels, whole = learned_texts(dataclasses.replace(config, answer_format=answer_format, shots=1), samples)
    frame = BoxFrame(BoxSpace.INPUT_PX, SIZE, (112, 112))
    for one, fmt, learned, text in zip(samples, formats, labels, whole, strict=True):
        # The end token belongs to the completion: without it the model would never learn to stop.
        assert learned.strip() == render_target(one, fmt, frame=frame) + "<|im_end|>"
        assert one.question not in learned
        assert one.question in text
        assert text.count("<|vision_start|>") == 2
        answer = parse(learned.strip().removesuffix("<|im_end|>"), fmt, options=one.options, frame=frame)
        assert answer.status == "ok"


def test_formats_take_turns_row_by_row_and_other_tasks_keep_theirs(config: SftConfig) -> None:
    samples = [BAD, GOOD, CHOICE, BAD.model_copy(update={"id": "again"})]
    labels, _ = learned_texts(dataclasses.replace(config, answer_format="boxes,direct"), samples)
    frame = BoxFrame(BoxSpace.INPUT_PX, SIZE, (112, 112))
    formats: list[Format] = ["boxes", "direct", "choice", "direct"]
    wanted = [render_target(one, fmt, frame=frame) for one, fmt in zip(samples, formats, strict=True)]
    assert [text.strip().removesuffix("<|im_end|>") for text in labels] == wanted


def test_boxes_are_in_the_model_s_input_pixels(config: SftConfig) -> None:
    labels, _ = learned_texts(dataclasses.replace(config, answer_format="boxes"), [BAD, GOOD, POINT])
    # 100x80 of 200x160 stored pixels are 56x56 of the 112x112 that the model sees.
    assert '"bbox_2d": [0, 0, 56, 56], "label": "hole"' in labels[0]
    assert "[]" in labels[1]
    assert '"bbox_2d": [0, 0, 56, 56], "label": "the dark hole"' in labels[2]


def test_structured_answers_need_no_boxes(config: SftConfig) -> None:
    boxless = BAD.model_copy(update={"defects": (Defect(type="hole", location="top left"),)})
    labels, _ = learned_texts(config, [boxless, GOOD])
    for part in ("top left", "hole", "Yes", "reasoning of bad"):
        assert part in labels[0]


def test_two_samples_are_learned_by_heart(config: SftConfig) -> None:
    seen: list[dict[str, float]] = []
    summary = sft.run(dataclasses.replace(config, steps=12, limit=1, batch_size=1), on_log=seen.append)
    losses = [SftStep.model_validate_json(line).loss for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert losses == [figures["loss"] for figures in seen]
    assert (summary.loss_start, summary.loss_end) == (losses[0], losses[-1])
    assert summary.loss_end < 0.5 * summary.loss_start, losses
    assert [(figures["step"], figures["steps"]) for figures in seen] == [(float(n), 12.0) for n in range(1, 13)]
    assert all(0 <= figures["token_accuracy"] <= 1 for figures in seen)


# --- what a run leaves ----------------------------------------------------------------------------------------------


def test_a_run_leaves_model_curve_and_record_and_is_then_left_alone(config: SftConfig) -> None:
    notes: list[str] = []
    summary = sft.run(config, on_note=notes.append)
    info = run_file(config.out)
    assert (info["command"], info["state"], info["steps"], summary.steps) == ("sft", "finished", 2, 2)
    assert summary.curve.read_bytes().startswith(b"\x89PNG")
    assert [row["part"] for row in info["parameters"]] == ["vision", "projector", "language", "total"]
    assert all(row["parameters"] == row["trainable"] for row in info["parameters"])
    assert notes[0] == f"loading {config.model} ..."
    assert notes[1].startswith("vision")

    from transformers import AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText
    _, report = loader.from_pretrained(summary.model, output_loading_info=True)
    assert not report["missing_keys"]
    again = sft.run(config)
    assert again == dataclasses.replace(summary, already_finished=True)
    with pytest.raises(UsageError, match=r"answer_format 'structured' -> 'direct'"):
        sft.run(dataclasses.replace(config, answer_format="direct"))


def test_epochs_replace_steps(config: SftConfig) -> None:
    seen: list[dict[str, float]] = []
    # 2 samples, one a step: one and a half rounds are 3 steps.
    config = dataclasses.replace(config, steps=SftConfig().steps)
    summary = sft.run(dataclasses.replace(config, epochs=1.5, batch_size=1), on_log=seen.append)
    assert summary.steps == 3
    assert {figures["steps"] for figures in seen} == {3.0}


def test_frozen_parts_stay_as_they_are(config: SftConfig, tiny_model: Path) -> None:
    from safetensors.numpy import load_file

    summary = sft.run(dataclasses.replace(config, freeze="vision, projector"))
    trained = {row["part"]: row["trainable"] for row in run_file(config.out)["parameters"]}
    assert (trained["vision"], trained["projector"]) == (0, 0)
    assert trained["language"] == trained["total"] > 0
    before, after = load_file(tiny_model / "model.safetensors"), load_file(summary.model / "model.safetensors")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if "visual" in name]


def test_lora_trains_the_adapters_of_the_named_parts_alone(config: SftConfig) -> None:
    summary = sft.run(dataclasses.replace(config, lora_rank=4, lora_parts="language,projector"))
    rows = {row["part"]: row for row in run_file(config.out)["parameters"]}
    assert rows["vision"]["trainable"] == 0
    for part in ("language", "projector"):
        assert 0 < rows[part]["trainable"] < rows[part]["parameters"]
    assert rows["total"]["trainable"] == rows["language"]["trainable"] + rows["projector"]["trainable"]
    adapter = json.loads((summary.model / "adapter_config.json").read_text(encoding="utf-8"))
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 64)
    assert "lora" in (summary.model / "README.md").read_text(encoding="utf-8")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answer_format": "choice"}, "no answer_format 'choice' (known: structured, boxes, direct)"),
        ({"answer_format": "boxed"}, "no answer_format 'boxed'"),
        ({"answer_format": "boxes,"}, "no answer_format ''"),
        ({"answer_format": "boxes,direct,boxes"}, "names a format twice"),
        ({"freeze": "vison"}, "freeze: no part 'vison' (parts: vision, projector, language)"),
        ({"freeze": "vision,projector,language"}, "nothing is left to train"),
        ({"lora_rank": 4, "lora_parts": "head"}, "lora_parts: no part 'head'"),
        ({"lora_rank": 4, "lora_parts": ""}, "lora_parts names no part"),
        ({"lora_rank": 4, "freeze": "vision"}, "lora_parts names the parts that are adapted"),
        ({"lora_dropout": 1.0}, "lora_dropout is 1.0, it must be below 1"),
        ({"lora_alpha": 8}, "lora_alpha is 8, but says nothing where LoRA is off (lora_rank=16 switches it on)"),
        ({"lora_dropout": 0.2}, "lora_dropout is 0.2, but says nothing where LoRA is off"),
        ({"lora_parts": "vision"}, "lora_parts is vision, but says nothing where LoRA is off"),
        ({"epochs": 1.0}, "steps is 2, but says nothing where epochs is set (epochs=null counts steps)"),
        ({"warmup_steps": 1}, "warmup_steps is 1, but says nothing where lr_schedule is constant"),
        ({"seed": 2**32}, "seed is 4294967296, it must be at most 4294967295"),
        ({"nproc": 0}, "nproc is 0, it must be at least 1"),
        ({"lr_schedule": "warmup_stable_decay"}, "no lr_schedule 'warmup_stable_decay' (known: constant, "),
        ({"attention": "foo"}, "no attention 'foo' (known: auto, eager"),
        ({"deepspeed": "zero7"}, "no DeepSpeed settings 'zero7' (known: zero2, zero3, or a JSON file)"),
        ({"epochs": 0.0}, "epochs is 0.0"),
        ({"epochs": math.nan}, "epochs is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"data": Path("nowhere.jsonl")}, "no samples file 'nowhere.jsonl' ('iadr1 prepare'"),
        ({"max_pixels": 100}, "max_pixels is 100, the model's least is 12544"),
        ({"resume": "maybe"}, "no resume 'maybe'"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: SftConfig, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        sft.run(dataclasses.replace(config, **changes))
    assert says in str(caught.value)
    assert not (config.out / "log.jsonl").exists()


BOXLESS = BAD.model_copy(update={"defects": (HOLE, Defect(type="crack", location="center"))})


@pytest.mark.parametrize(
    ("broken", "answer_format", "says"),
    [
        (BOXLESS, "boxes", "sample 'bad' has a defect without a box ('crack'), the format 'boxes' needs one"),
        (BOXLESS.model_copy(update={"task": "grounding"}), "structured", "the format 'grounding' needs one"),
        (BAD.model_copy(update={"defects": ()}), "boxes", "sample 'bad' is anomalous and names no defect"),
        (BAD.model_copy(update={"is_anomalous": None}), "direct", "sample 'bad' does not say whether it is anomalous"),
        (BAD.model_copy(update={"image": "images/9.png"}), "structured", "1 of 2 images are missing"),
    ],
)
def test_samples_without_what_their_answer_needs_are_named(
    config: SftConfig, broken: Sample, answer_format: str, says: str
) -> None:
    write_records(config.data, [GOOD, broken])
    with pytest.raises(Iadr1Error) as caught:
        sft.run(dataclasses.replace(config, answer_format=answer_format, model="no-such-model"))
    assert isinstance(caught.value, DataError)
    assert says in str(caught.value)
    assert "s.jsonl" in str(caught.value)
    assert not config.out.exists()


@pytest.mark.parametrize("part", ["question", "reasoning"])
@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|video_pad|>"])
def test_a_text_that_holds_the_model_s_mark_of_an_image_is_named(config: SftConfig, part: str, mark: str) -> None:
    write_records(config.data, [GOOD, BAD.model_copy(update={part: f"What is {mark}?"})])
    with pytest.raises(DataError) as caught:
        sft.run(config)
    says = f"{config.data}: sample 'bad' has 1 images, but its prompt 2 of the model's marks of one (its text holds"
    assert str(caught.value).startswith(says)
    assert not (config.out / "log.jsonl").exists()


def test_a_prompt_that_is_too_long_is_said_once(config: SftConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import tokenization_utils_base

    said: list[str] = []
    monkeypatch.setattr(tokenization_utils_base.logger, "warning", lambda message, *given: said.append(message))
    folder = shutil.copytree(config.model, config.out.with_name("short"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 90}), encoding="utf-8")
    write_records(config.data, [GOOD, BAD.model_copy(update={"question": "Why? " * 40_000})])
    with pytest.raises(DataError, match=r"sample 'bad' has \d+ tokens .* the model's context holds"):
        sft.run(dataclasses.replace(config, model=str(folder)))
    assert said == []


def test_a_model_file_that_was_cut_off_is_named(config: SftConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(config.model, tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=rf"{folder}: cannot load the model: "):
        sft.run(dataclasses.replace(config, model=str(folder)))


def test_an_answer_format_that_no_sample_is_answered_in_is_refused(config: SftConfig) -> None:
    write_records(config.data, [CHOICE, POINT])
    asked = dataclasses.replace(config, answer_format="direct")
    absent = dataclasses.replace(asked, model="no-such-model")
    with pytest.raises(UsageError, match=r"answer_format is 'direct', but says nothing where no sample is a yes/no"):
        sft.run(absent)
    with pytest.raises(UsageError, match=r"answer_format is 'direct', but says nothing where no sample is a yes/no"):
        make_plan(asked)
    with pytest.raises(ModelError, match="no-such-model"):
        sft.run(dataclasses.replace(absent, answer_format="structured"))
    write_records(config.data, [CHOICE, BAD])
    with pytest.raises(ModelError, match="no-such-model"):
        sft.run(absent)


def test_an_anomalous_sample_without_defects_can_still_be_answered_in_words(config: SftConfig) -> None:
    bare = BAD.model_copy(update={"defects": ()})
    labels, _ = learned_texts(config, [bare])
    assert "Yes" in labels[0]
