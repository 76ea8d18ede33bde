"""`--plan`: tokens against the real processors, bytes against a real trainer's tensors, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from iadr1.cli.app import app
from iadr1.config import GroundConfig, SftConfig, TrainConfig
from iadr1.errors import ConfigError, DataError, ImageError, ModelChoiceError, ModelError, UsageError
from iadr1.models import meta
from iadr1.models.processors import make_ready
from iadr1.models.profiles import PROFILES, profile_of
from iadr1.prompts import render_prompt, render_target
from iadr1.records import Defect, Sample, write_records
from iadr1.stages import grpo, sft
from iadr1.stages.training.context import Prompt, Questions, check_context, estimated, measure, tokenized
from iadr1.stages.training.plan import Plan, make_plan
from iadr1.stages.training.plan.changes import changes
from iadr1.stages.training.plan.memory import GIB, Facts, Item, Load, Memory, Setup, activations, memory

QWEN = "Qwen/Qwen2.5-VL-3B-Instruct"
SIZES = ((300, 170), (90, 201), (64, 64), (170, 300))


def sample(number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"s{number}",
        "dataset": "t",
        "category": "c",
        "split": "train",
        "image": f"{number}.png",
        "references": (f"{(number + 1) % 4}.png",),
        "task": "choice",
        "question": "Is there any defect in the object?" + " Look closely." * number,
        "options": {"A": "Yes.", "B": "No."},
        "answer": "A",
        "question_type": "Anomaly Detection",
    }
    return Sample(**(values | changes))


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of the tiny model of a family; it must not be written to."""
    from tests.tiny_vlms import build

    @cache
    def folder(family: str) -> Path:
        return build(family, tmp_path_factory.mktemp(family))

    return folder


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Four samples with images of different sizes; the second says its size itself."""
    noise = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        pixels = noise.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    path = tmp_path / "samples.jsonl"
    write_records(path, [sample(number, image_size=SIZES[1] if number == 1 else None) for number in range(4)])
    return path


@pytest.fixture
def config(samples: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.chdir(tmp_path)
    return TrainConfig(
        model=str(tiny_model),
        data=samples,
        out=tmp_path / "run",
        reward="format",
        steps=1,
        generations=2,
        batch_size=4,
        max_new_tokens=6,
        log_to="none",
    )


def items(found: Memory) -> dict[str, int]:
    return {item.name: item.size for item in found.items}


# --- tokens -------------------------------------------------------------------------------------------------------


def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoProcessor

    model = meta.on_meta(meta.architecture(str(folder)).config)
    read: Any = AutoProcessor
    processor = make_ready(model, read.from_pretrained(folder, padding_side="left"))
    return processor, model.config


@pytest.mark.parametrize("family", PROFILES)
@pytest.mark.parametrize("shots", [0, 1])
def test_the_tokens_are_those_the_processor_makes(
    family: str, shots: int, samples: Path, family_folder: Callable[[str], Path]
) -> None:
    processor, model_config = loaded(family_folder(family))
    profile = profile_of(model_config, processor)
    asked = [sample(number) for number in range(4)]
    questions = Questions(asked, samples, samples.parent, shots, lambda one: "choice")
    prompts = measure(questions, profile, tokenized(processor))
    for one, prompt in zip(asked, prompts, strict=True):
        names = [*one.references[:shots], one.image]
        text = processor.apply_chat_template(
            render_prompt(one, "choice", shots=shots), tokenize=False, add_generation_prompt=True
        )
        images = [profile.prepare(Image.open(samples.parent / name)) for name in names]
        real = processor(text=[text], images=[images], add_special_tokens=False, return_tensors="pt").input_ids
        assert prompt.tokens(profile) == real.shape[1]


def test_answers_are_counted_where_they_are_trained_on(samples: Path, family_folder: Callable[[str], Path]) -> None:
    processor, model_config = loaded(family_folder("qwen2_5_vl"))
    profile = profile_of(model_config, processor)
    target = sample(0, task="grounding", options={}, answer="", defects=(Defect(type="x", box=(0, 0, 40, 40)),))
    questions = Questions([target], samples, samples.parent, 0, lambda one: "grounding", with_answers=True)
    counted = measure(questions, profile, tokenized(processor))[0]
    prompt = measure(dataclasses.replace(questions, with_answers=False), profile, tokenized(processor))[0]
    answer = render_target(target, "grounding", frame=profile.frame(SIZES[0]))
    tokens = len(processor.tokenizer(answer, add_special_tokens=False).input_ids)
    # The answer, the end of the turn and its line break.
    assert counted.text_tokens - prompt.text_tokens == tokens + 2


def test_images_are_not_decoded_and_each_header_is_read_once(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iadr1.images import image_size as real

    read: list[str] = []

    def spy(path: Path) -> tuple[int, int]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr("iadr1.stages.training.context.image_size", spy)
    monkeypatch.setattr("iadr1.stages.training.context.BATCH", 2)
    asked = [sample(0, image_size=SIZES[0]), sample(1), sample(1), sample(0, image_size=None)]
    prompts = measure(
        Questions(asked, samples, samples.parent, 1, lambda one: "choice"), PROFILES["qwen2_5_vl"], estimated
    )
    assert [prompt.images for prompt in prompts[:2]] == [(SIZES[1], SIZES[0]), (SIZES[2], SIZES[1])]
    assert sorted(read) == ["1.png", "2.png"]


def test_a_broken_image_is_named(samples: Path) -> None:
    (samples.parent / "0.png").write_text("no image", encoding="utf-8")
    questions = Questions([sample(0)], samples, samples.parent, 0, lambda one: "choice")
    with pytest.raises(ImageError, match=r"0\.png: not an image"):
        measure(questions, PROFILES["qwen2_5_vl"], estimated)


def test_a_prompt_beyond_the_context_is_named_with_what_to_do(
    samples: Path, family_folder: Callable[[str], Path]
) -> None:
    processor, model_config = loaded(family_folder("qwen2_5_vl"))
    profile = profile_of(model_config, processor)
    questions = Questions([sample(0), sample(3)], samples, samples.parent, 0, lambda one: "choice")
    longest = max(prompt.tokens(profile) for prompt in measure(questions, profile, tokenized(processor)))
    text = model_config.get_text_config()

    def check(limit: int, **changes: Any) -> list[Prompt]:
        text.max_position_embeddings = limit
        asked = dataclasses.replace(questions, **changes)
        return check_context(asked, profile=profile, processor=processor, model_config=model_config, max_new_tokens=50)

    assert len(check(longest + 50)) == 2
    with pytest.raises(DataError) as caught:
        check(longest + 49)
    said = str(caught.value)
    assert said.startswith(f"{samples}: sample 's3' has {longest} tokens (")
    assert f"and 50 of the answer: the model's context holds {longest + 49}" in said
    assert said.endswith("(leave the sample out; lower max_new_tokens)")
    with pytest.raises(DataError, match=r"in 2 images\).*fewer shots; lower max_new_tokens"):
        check(longest, shots=1)


def test_both_trainers_look_before_the_first_step(config: TrainConfig) -> None:
    with pytest.raises(DataError, match=r"samples\.jsonl: sample 's3' has \d+ tokens .* and 4090 of the answer"):
        grpo.run(dataclasses.replace(config, max_new_tokens=4090))
    assert not (config.out / "log.jsonl").exists()
    story = "It is a long story. " * 2000
    told = [sample(0, task="anomaly", options={}, answer="No", is_anomalous=False, reasoning=story)]
    write_records(config.data, told)
    with pytest.raises(DataError, match=r"sample 's0' has \d+ tokens .*: the model's context holds 4096 \(leave"):
        sft.run(SftConfig(model=config.model, data=config.data, out=Path("sft"), log_to="none"))


# --- memory against real tensors ----------------------------------------------------------------------------------


class Spy:
    """Bytes of a real trainer's tensors, seen while it trains."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from transformers import TrainerCallback
        from transformers.cache_utils import DynamicCache

        from iadr1.stages.grpo import trainer

        spy, self.cache = self, (0, 0)
        self.seen: dict[str, int] = {}

        class Callback(TrainerCallback):
            def on_pre_optimizer_step(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
                weights = list(model.parameters())
                spy.seen["weights"] = sum(one.nbytes for one in weights)
                spy.seen["gradients"] = sum(one.grad.nbytes for one in weights if one.grad is not None)

            def on_step_end(self, *args: Any, optimizer: Any = None, **kwargs: Any) -> None:
                tensors = [one for state in optimizer.state.values() for one in state.values()]
                # Each tensor's count of steps is one number.
                spy.seen["optimizer states"] = sum(one.nbytes for one in tensors if one.dim())

        plain, update = trainer.make_trainer, DynamicCache.update

        def make(*args: Any, **kwargs: Any) -> Any:
            made = plain(*args, **kwargs)
            made.add_callback(Callback())
            if made.ref_model is not None:
                self.seen["reference model"] = sum(one.nbytes for one in made.ref_model.parameters())
            return made

        def updated(cache: Any, *args: Any, **kwargs: Any) -> Any:
            result = update(cache, *args, **kwargs)
            if cache.layers[-1].keys is not None:
                size = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
                self.cache = max(self.cache, (size, cache.get_seq_length()))
            return result

        monkeypatch.setattr(trainer, "make_trainer", make)
        monkeypatch.setattr(DynamicCache, "update", updated)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bf16": True, "gradient_accumulation": 2, "freeze": "vision", "beta": 0.0},
        {"bf16": True, "lora_rank": 4, "lora_alpha": 8},
    ],
    ids=["all weights", "bf16, vision frozen, no KL", "bf16, LoRA"],
)
def test_states_and_cache_have_the_bytes_of_a_real_trainer(
    changes: dict[str, Any], config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, **changes)
    plan, spy = make_plan(config), Spy(monkeypatch)
    grpo.run(config)
    states = ("weights", "reference model", "optimizer states", "gradients")
    assert spy.seen == {name: size for name, size in items(plan.memory).items() if name in states}
    size, length = spy.cache
    # The trainer pads to the longest prompt of its batch; the last token is never looked back at.
    assert length <= plan.load.prompt + plan.load.answer - 1
    a_token = items(plan.memory)["keys and values of the answers"] // (plan.load.prompt + plan.load.answer)
    assert size == a_token * length
    assert plan.load.generated == config.batch_size * config.gradient_accumulation


def shrunk() -> Any:
    """Qwen2.5-VL-3B's shape at an eighth of its width, four blocks each."""
    held = json.loads(meta.known_models()[QWEN].read_text(encoding="utf-8"))["config"]
    held["text_config"] |= {
        "vocab_size": 512,
        "hidden_size": 256,
        "intermediate_size": 1376,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
        "bos_token_id": None,
        "eos_token_id": None,
    }
    held["vision_config"] |= {"depth": 4, "hidden_size": 160, "intermediate_size": 428, "num_heads": 2}
    held["vision_config"] |= {"out_hidden_size": 256, "fullatt_block_indexes": [1, 3]}
    held |= {"image_token_id": 500, "video_token_id": 501, "vision_start_token_id": 502, "vision_end_token_id": 503}
    auto: Any = meta._CONFIG
    return auto.for_model(**held)


def saved_bytes(model: Any, run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps of a forward pass, weights left out, each storage once."""
    held: dict[int, tuple[int, Any]] = {}
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    assert result.requires_grad
    return sum(size for size, _ in held.values())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["whole", "checkpointed"])
@pytest.mark.parametrize("numbers", ["float32", "autocast", "bfloat16"])
def test_activations_are_what_autograd_keeps(numbers: str, checkpointing: bool) -> None:
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    auto: Any = AutoModelForImageTextToText
    model = auto.from_config(shrunk()).train()
    if numbers == "bfloat16":
        model = model.bfloat16()
    if checkpointing:
        model.gradient_checkpointing_enable()
    batch, length, patches = 4, 256, 4 * 256
    ids = torch.randint(3, 400, (batch, length))
    ids[:, 10:74] = 500
    attended = torch.ones_like(ids)
    attended[0, :5] = 0
    pixels = torch.randn(patches, 1176, dtype=model.dtype)

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=numbers == "autocast"):
            return model.model(
                input_ids=ids,
                attention_mask=attended,
                pixel_values=pixels,
                image_grid_thw=torch.tensor([[1, 16, 16]] * batch),
                mm_token_type_ids=(ids == 500).int(),
                use_cache=False,
            ).last_hidden_state

    language, vision = meta.language_stack(model), meta.vision_stack(model)
    zero = 0 if numbers == "bfloat16" else None
    setup = Setup(processes=1, zero=zero, bf16=numbers != "float32", checkpointing=checkpointing, flash=False)
    foreseen = activations(language, batch * length, setup, length=length)
    foreseen += activations(vision, patches, setup, length=None)
    foreseen += patches * (meta.projector_width(model) + 1176) * setup.compute
    if setup.autocast and not checkpointing:
        foreseen += 2 * (language.linear_parameters + vision.linear_parameters)
    if checkpointing:
        # The block that is computed again is counted, and not kept yet.
        lone = dataclasses.replace(setup, checkpointing=False)
        for stack, tokens, padded in ((language, batch * length, length), (vision, patches, None)):
            several = activations(stack, tokens, lone, length=padded)
            one_more = activations(dataclasses.replace(stack, layers=5), tokens, lone, length=padded)
            foreseen -= one_more - several
    assert foreseen == pytest.approx(saved_bytes(model, run), rel=0.03)


# --- sharing out --------------------------------------------------------------------------------------------------


def facts(**changes: Any) -> Facts:
    block = meta.Stack(10, 100, 100, 20, 5, 400, True, False, True, False, 600_000)
    values: dict[str, Any] = {
        "parameters": 1_000_000,
        "trainable": 800_000,
        "language": block,
        "vision": block,
        "projector": 300,
        "vocabulary": 1000,
        "trained_parts": ("language", "projector"),
        "head_trained": True,
        "reference": True,
        "vision_gradients": False,
    }
    return Facts(**(values | changes))


LOAD = Load(sequences=2, generated=4, prompt=50, answer=10, patches=30, pixels=5000, looks=1, looks_generating=2)
PLAIN = Setup(processes=1, zero=None, bf16=True, checkpointing=False, flash=True, bucket=1000)


@pytest.mark.parametrize(
    ("zero", "processes", "weights", "gradients", "states"),
    [
        (None, 1, 4e6, 3.2e6, 6.4e6),
        (None, 4, 4e6, 3.2e6, 6.4e6),
        (0, 4, 2e6, 1.6e6, 9.6e6),
        (1, 4, 2e6, 1.6e6, 2.4e6),
        (2, 4, 2e6, 0.4e6, 2.4e6),
        (3, 4, 0.5e6, 0.4e6, 2.4e6),
        (3, 1, 2e6, 1.6e6, 9.6e6),
    ],
)
def test_what_zero_divides(zero: int | None, processes: int, weights: float, gradients: float, states: float) -> None:
    found = items(memory(facts(), LOAD, dataclasses.replace(PLAIN, zero=zero, processes=processes)))
    # The reference model is no smaller than the policy; only ZeRO-3 divides it.
    assert (found["weights"], found["reference model"]) == (weights, weights)
    assert (found["gradients"], found["optimizer states"]) == (gradients, states)
    assert ("DDP's buckets" in found) == (zero is None and processes > 1)
    assert ("weights gathered whole (ZeRO-3)" in found) == (zero == 3 and processes > 1)
    assert ("bfloat16 copies of weights (autocast)" in found) == (zero is None)


def test_what_lies_on_the_host_is_not_counted() -> None:
    setup = dataclasses.replace(PLAIN, zero=3, optimizer_on_host=True, weights_on_host=True)
    found = items(memory(facts(), LOAD, setup))
    assert not {"weights", "optimizer states", "gradients in float32 for the update"} & set(found)
    assert "gradients" in found


def test_a_peak_is_the_worst_moment() -> None:
    found = Memory((Item("a", 20 * GIB), Item("b", 3 * GIB, ("update",)), Item("c", 4 * GIB, ("generation",))))
    assert (found.peak, found.worst, found.card) == (24 * GIB, "generation", 48)
    # 0.9 of 24 GiB are 21.6.
    assert Memory((Item("a", int(21.6 * GIB)),)).card == 24
    assert Memory((Item("a", int(21.7 * GIB)),)).card == 48
    assert Memory((Item("a", 80 * GIB),)).card is None


def test_what_makes_a_pass_smaller() -> None:
    def backward(setup: Setup = PLAIN, load: Load = LOAD, **changes: Any) -> int:
        return memory(facts(**changes), load, setup).at("backward")

    assert backward(dataclasses.replace(PLAIN, checkpointing=True)) < backward()
    assert backward(dataclasses.replace(PLAIN, flash=False)) > backward()
    assert backward(vision_gradients=True) > backward()
    assert backward(load=dataclasses.replace(LOAD, sequences=1)) < backward()
    assert backward(head_trained=False) == backward() - 4 * 1000 * 100


def test_vllm_takes_its_share_of_the_card_or_writes_elsewhere(config: TrainConfig) -> None:
    here = make_plan(dataclasses.replace(config, vllm="colocate"))
    elsewhere = make_plan(dataclasses.replace(config, vllm="server", vllm_url="http://host:8000"))
    assert here.memory.usable == pytest.approx(0.6)
    for plan in (here, elsewhere):
        assert "keys and values of the answers" not in items(plan.memory)
        assert plan.load.generated == 0


# --- whole plans --------------------------------------------------------------------------------------------------


def paper(**changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "model": QWEN,
        "data": Path("absent.jsonl"),
        "batch_size": 8,
        "gradient_accumulation": 2,
        "steps": 1000,
        "max_new_tokens": 256,
        "bf16": True,
        "gradient_checkpointing": True,
        "deepspeed": "zero3",
        "nproc": 4,
    }
    return TrainConfig(**(values | changes))


@pytest.fixture(scope="module")
def of_the_paper() -> Plan:
    return make_plan(paper())


def test_the_papers_run_without_data_and_weights(of_the_paper: Plan) -> None:
    plan = of_the_paper
    assert (plan.data.samples, plan.data.exact, plan.steps.rounds) == (None, False, None)
    assert plan.data.tokens(plan.model.profile).most == 1044 + 256
    assert (plan.steps.questions, plan.steps.completions, plan.steps.steps) == (8, 64, 1000)
    found = items(plan.memory)
    assert found["weights"] == found["reference model"] == 2 * 3_754_622_976 // 4
    assert found["optimizer states"] == 12 * 3_754_622_976 // 4
    assert found["weights gathered whole (ZeRO-3)"] == 2 * 3_754_622_976
    assert plan.model.parts[-1].trainable == 3_754_622_976
    assert plan.grid[3, 4] == plan.memory
    assert plan.memory.fits(48)


def test_more_cards_and_higher_stages_need_no_more(of_the_paper: Plan) -> None:
    peaks = {key: found.peak for key, found in of_the_paper.grid.items()}
    for processes in (2, 4, 8):
        by_stage = [peaks[stage, processes] for stage in (1, 2, 3)]
        assert by_stage == sorted(by_stage, reverse=True)
    for stage in (1, 2, 3):
        assert peaks[stage, 2] > peaks[stage, 4] > peaks[stage, 8]


def test_what_to_turn_comes_in_order_of_harm_until_it_fits() -> None:
    plan = make_plan(paper(nproc=1, deepspeed=None, gradient_checkpointing=False, batch_size=16))
    settings = [change.setting for change in plan.changes]
    assert settings[:4] == [
        "gradient_checkpointing=true",
        "batch_size=8 gradient_accumulation=4",
        "max_pixels=480000",
        "lora_rank=64",
    ]
    peaks = [plan.memory.peak, *(change.memory.peak for change in plan.changes)]
    assert peaks == sorted(peaks, reverse=True)
    assert plan.changes[-1].memory.card == 24
    assert all(change.memory.card != 24 for change in plan.changes[:-1])
    # What LoRA has made needless is not named.
    assert not any("beta" in setting for setting in settings)


def test_what_does_not_help_is_not_named() -> None:
    large = Memory((Item("a", 40 * GIB),))
    assert changes(paper(), large, lambda other: large) == ()
    # Of all ideas only the last helps.
    small = Memory((Item("a", GIB),))
    found = changes(paper(), large, lambda other: small if vars(other)["vllm"] == "server" else large)
    assert [change.setting for change in found] == ["vllm=server vllm_url=http://HOST:8000"]


def test_a_run_that_fits_needs_no_change(config: TrainConfig) -> None:
    assert make_plan(config).changes == ()


def test_real_data_are_counted(config: TrainConfig) -> None:
    plan = make_plan(dataclasses.replace(config, shots=1, steps=6))
    assert (plan.data.samples, plan.data.images, plan.data.exact) == (4, 4, True)
    # The tiny model sees every image as 112 x 112: 4 x 4 tokens.
    assert vars(plan.data.pictures(plan.model.profile)) == dict.fromkeys(("least", "median", "p95", "most"), 32)
    text = plan.data.text()
    assert text.least < text.median < text.p95 == text.most
    assert plan.load.prompt == text.most + 32
    # Two questions a step, six steps, four samples.
    assert plan.steps.rounds == 3.0
    assert plan.load.patches == 2 * 64
    assert plan.load.looks == 2


def test_epochs_become_steps(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=TrainConfig().steps, epochs=5.0)
    assert make_plan(config).steps.steps == 10
    absent = dataclasses.replace(config, data=Path("absent.jsonl"))
    assert make_plan(absent).steps.steps is None


def test_supervised_runs_and_grounding_have_plans(config: TrainConfig) -> None:
    common = {"model": config.model, "batch_size": 2, "max_pixels": None}
    supervised = make_plan(SftConfig(**common, data=config.data))  # type: ignore[arg-type]
    assert (supervised.steps.questions, supervised.steps.completions, supervised.data.answer) == (2, None, 0)
    assert not {"reference model", "keys and values of the answers"} & set(items(supervised.memory))
    assert supervised.load.looks == 2
    ground = make_plan(GroundConfig(**common, generations=2, data=Path("absent.jsonl")))  # type: ignore[arg-type]
    assert ground.steps.questions == 1


def test_a_prompt_that_is_too_long_is_said(config: TrainConfig) -> None:
    plan = make_plan(dataclasses.replace(config, max_new_tokens=4000))
    assert plan.problem is not None
    assert "sample 's3'" in str(plan.problem)
    assert make_plan(config).problem is None


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": "nobody/nothing"}, ModelError, "is not known here"),
        ({"model": "runs/absent/model"}, ModelChoiceError, "name that one's base with --model"),
        ({"max_pixels": 10}, UsageError, "max_pixels is 10"),
        ({"deepspeed": "zero9"}, UsageError, "no DeepSpeed settings 'zero9'"),
        ({"deepspeed": "broken.json"}, ConfigError, r"broken\.json: not a DeepSpeed JSON file"),
        ({"batch_size": 3}, UsageError, "not a multiple of generations"),
        ({"reward": "nothing"}, UsageError, "nothing"),
        ({"freeze": "head"}, UsageError, "no part 'head'"),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    changes: dict[str, Any], error: type[Exception], said: str, config: TrainConfig
) -> None:
    Path("broken.json").write_text("[]", encoding="utf-8")
    with pytest.raises(error, match=said):
        make_plan(dataclasses.replace(config, **changes))


def test_an_sft_plan_refuses_an_unknown_answer_format(config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="no answer_format 'prose'"):
        make_plan(SftConfig(model=config.model, data=config.data, answer_format="prose"))


def test_a_deepspeed_file_of_ones_own_is_read(config: TrainConfig) -> None:
    zero = {"stage": 2, "reduce_bucket_size": 1000, "offload_optimizer": {"device": "cpu"}}
    Path("own.json").write_text(json.dumps({"zero_optimization": zero}), encoding="utf-8")
    plan = make_plan(dataclasses.replace(config, deepspeed="own.json"))
    assert (plan.setup.zero, plan.setup.bucket, plan.setup.optimizer_on_host) == (2, 1000, True)
    assert "optimizer states" not in items(plan.memory)


def test_the_command_prints_a_plan_and_writes_nothing(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(processes: int) -> None:
        raise AssertionError(f"{processes} processes were to train")

    monkeypatch.setattr("iadr1.cli.train.relaunch", started)
    before = sorted(Path().rglob("*"))
    words = ["train", "--plan", "--model", config.model, "--data", str(config.data), "reward=format", "bf16=true"]
    result = CliRunner().invoke(app, [*words, "generations=2", "batch_size=4", "nproc=2"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "Data: 4 samples, 4 images" in text
    assert "Steps: 40, each of 4 questions and 8 answers on 2 GPUs, 40.0 rounds over the data" in text
    assert "computed, not measured" in text
    assert "bfloat16 copies of weights (autocast)" in text
    assert "fits into 90% of a card of: 24 GB yes, 48 GB yes, 80 GB yes" in text
    assert sorted(Path().rglob("*")) == before


def test_a_plan_without_data_says_so(config: TrainConfig) -> None:
    words = ["sft", "--plan", "--model", config.model]  # its own data, which nobody named
    result = CliRunner().invoke(app, words, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert f"{SftConfig().data} is not there yet, so the data are unknown" in " ".join(result.output.split())
