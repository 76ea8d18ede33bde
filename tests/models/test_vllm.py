"""The engine `vllm` against a module that has vLLM's names and checks and computes with transformers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("transformers")

from iadr1 import prompts
from iadr1.config import DetectConfig, EvalConfig
from iadr1.datasets.synthetic import render
from iadr1.errors import ModelChoiceError, ModelError, UsageError
from iadr1.models import LoadOptions, Request, VllmOptions, load_engine, resolve_model
from iadr1.models.base import Unweighed
from iadr1.models.local import LocalEngine
from iadr1.models.profiles import PROFILES
from iadr1.models.vllm import MOST_IMAGES, VllmEngine, processor_options
from iadr1.records import Sample
from iadr1.stages.engines import load_options
from iadr1.stages.inspection import setup
from tests.models import fake_vllm

SIDE = 168
"""Of the embedded model's input, in pixels."""


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm.module())


def engine(**options: Any) -> VllmEngine:
    loaded = load_engine("vllm", "tiny", LoadOptions(**options))
    assert isinstance(loaded, VllmEngine)
    return loaded


@pytest.fixture(scope="module")
def local() -> LocalEngine:
    return LocalEngine("tiny")


def questions(fmt: prompts.Format = "boxes") -> list[Request]:
    """A bad and a good photo, the good one behind a reference."""
    found = []
    for number, (category, defects, shots) in enumerate((("brushed_steel", ("scratch",), 0), ("oak_board", (), 1))):
        shown = [render(category, 1000).image] * shots + [render(category, number, defects=defects).image]
        sample = Sample(
            id=category, dataset="d", category="c", split="test", image="p", references=("r",) * shots,
            task="grounding", question=prompts.DETECT_QUESTION, question_type="detect",
        )  # fmt: skip
        messages = prompts.render_prompt(sample, fmt, shots=shots)
        found.append(Request(category, messages, tuple(map(Image.fromarray, shown))))
    return found


def test_answers_are_those_of_the_local_engine(local: LocalEngine) -> None:
    here, there = local.generate(questions(), max_new_tokens=96), engine().generate(questions(), max_new_tokens=96)
    assert [(one.id, one.text, one.finished) for one in there] == [(one.id, one.text, True) for one in here]
    assert [(one.prompt_tokens, one.completion_tokens) for one in there] == [
        (one.prompt_tokens, one.completion_tokens) for one in here
    ]
    assert "scratch" in there[0].text


def test_what_is_sent(local: LocalEngine) -> None:
    """Token ids of the project's own template with one mark an image, images at the size of the input."""
    asked = questions()
    loaded = engine()
    loaded.generate(asked, max_new_tokens=7)
    mark = local.processor.image_token_id
    for request, (prompt, parameters) in zip(asked, fake_vllm.LLM.asked, strict=True):
        assert prompt["prompt_token_ids"] == local._reader.prompt(request).ids
        assert prompt["prompt_token_ids"].count(mark) == len(request.images)
        assert [image.size for image in prompt["multi_modal_data"]["image"]] == [(SIDE, SIDE)] * len(request.images)
        assert (parameters.temperature, parameters.max_tokens, parameters.stop) == (0.0, 7, [prompts.ANSWER_END])
        assert parameters.include_stop_str_in_output
        assert set(parameters.stop_token_ids) == set(local._ends)


def test_a_question_without_images_and_one_with_a_prefix(local: LocalEngine) -> None:
    plain = Request("q", [{"role": "user", "content": [{"type": "text", "text": "Is it?"}]}], ())
    begun = questions()[0]
    begun = Request("b", begun.messages, begun.images, prefix="<think>On")
    loaded = engine()
    there = loaded.generate([plain, begun], max_new_tokens=12)
    here = local.generate([plain, begun], max_new_tokens=12)
    assert [one.text for one in there] == [one.text for one in here]
    assert [one.finished for one in there] == [one.finished for one in here]
    assert "multi_modal_data" not in fake_vllm.LLM.asked[0][0]
    assert loaded.generate([], max_new_tokens=4) == []


def test_probabilities_are_those_of_the_local_engine(local: LocalEngine) -> None:
    asked = questions("direct")
    begun = Request("b", asked[0].messages, asked[0].images, prefix="It is ")
    words = ("Yes", "No")
    here, there = local.probabilities([*asked, begun], words), engine().probabilities([*asked, begun], words)
    for one, other in zip(here, there, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert here[0]["Yes"] > 0.9
    assert here[1]["Yes"] < 0.1
    assert [parameters.max_tokens for _, parameters in fake_vllm.LLM.asked] == [1, 1, 1]


def test_a_word_far_below_the_likeliest_token_keeps_its_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine()
    answer = fake_vllm.LLM._answer

    def unlikely(self: fake_vllm.LLM, *words: Any) -> fake_vllm.RequestOutput:
        found = answer(self, *words)
        yes, no = found.outputs[0].logprobs[0].values()  # type: ignore[index]
        yes.logprob, no.logprob = -900.0, -901.0
        return found

    monkeypatch.setattr(fake_vllm.LLM, "_answer", unlikely)
    (found,) = loaded.probabilities(questions("direct")[1:], ("Yes", "No"))
    assert found["Yes"] == pytest.approx(0.7311, abs=1e-4)


@pytest.mark.parametrize("values", [(math.nan, -1.0), (-1.0, math.nan), (math.inf, -1.0), (-math.inf, -math.inf)])
def test_a_model_that_computes_no_numbers(monkeypatch: pytest.MonkeyPatch, values: tuple[float, float]) -> None:
    answer = fake_vllm.LLM._answer

    def broken(self: fake_vllm.LLM, *words: Any) -> fake_vllm.RequestOutput:
        found = answer(self, *words)
        for one, value in zip(found.outputs[0].logprobs[0].values(), values, strict=True):  # type: ignore[index]
            one.logprob = value
        return found

    monkeypatch.setattr(fake_vllm.LLM, "_answer", broken)
    (found,) = engine(dtype="float16").probabilities(questions("direct")[1:], ("Yes", "No"))
    assert isinstance(found, Unweighed)
    assert "'tiny' computes no finite probabilities in dtype float16 (" in found.reason
    assert "use --dtype float32" in found.reason


def test_an_old_vllm_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm.module(fake_vllm.OldSamplingParams))
    with pytest.raises(ModelError, match=r"logprob_token_ids.*--mode think"):
        engine().probabilities(questions("direct"), ("Yes", "No"))


def test_sampled_answers_are_asked_for() -> None:
    engine().sample(questions()[:1], max_new_tokens=9, temperature=2.0, seed=3, top_p=0.9)
    ((_, parameters),) = fake_vllm.LLM.asked
    assert (parameters.temperature, parameters.seed, parameters.top_p) == (2.0, 3, 0.9)
    assert (parameters.max_tokens, parameters.stop) == (9, [prompts.ANSWER_END])


def test_how_the_model_is_loaded() -> None:
    loaded = engine(dtype="float16", batch_size=64, vllm=VllmOptions(2, 0.5, 2048))
    (made,) = fake_vllm.LLM.made
    assert made == {
        "model": str(resolve_model("tiny")),
        "dtype": "float16",
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "max_model_len": 2048,
        "max_num_seqs": 64,
        "limit_mm_per_prompt": {"image": MOST_IMAGES, "video": 0},
        "mm_processor_kwargs": {"size": {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}},
        "trust_remote_code": False,
        "seed": 0,
    }
    assert (loaded.name, loaded.model) == ("vllm", "tiny")


def test_profile_and_fingerprint_are_those_of_the_local_engine(local: LocalEngine) -> None:
    loaded = engine()
    assert (loaded.profile, loaded.fingerprint) == (local.profile, local.fingerprint)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_pixel_bounds_change_no_image(family: str) -> None:
    profile = PROFILES[family]
    bounds = processor_options(profile)["size"]
    assert bounds["longest_edge"] < profile.max_pixels / 10
    for size in ((1000, 800), (4000, 3000), (999, 801), (40, 30), (3000, 20), (990, 795)):
        width, height = profile.input_wh(size)
        assert bounds["shortest_edge"] <= width * height <= bounds["longest_edge"], size


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision", "internvl"])
def test_other_families_follow_their_config(family: str) -> None:
    assert processor_options(PROFILES[family]) == {}


def test_another_familys_prompts(family_folder: Callable[[str], Path]) -> None:
    folder = str(family_folder("llava"))
    loaded, reference = load_engine("vllm", folder), LocalEngine(folder)
    asked = questions()
    there, here = loaded.generate(asked, max_new_tokens=5), reference.generate(asked, max_new_tokens=5)
    assert [one.text for one in there] == [one.text for one in here]
    assert [prompt["prompt_token_ids"] for prompt, _ in fake_vllm.LLM.asked] == [
        reference._reader.prompt(request).ids for request in asked
    ]


# what is refused


def test_without_the_package_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        ModelChoiceError, match=r"needs the package 'vllm'.*pip install vllm.*--engine server"
    ) as caught:
        load_engine("vllm", "tiny")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "no dtype 'int8'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"vllm": VllmOptions(tensor_parallel_size=0)}, "tensor_parallel_size is 0"),
        ({"vllm": VllmOptions(max_model_len=0)}, "max_model_len is 0"),
        ({"vllm": VllmOptions(gpu_memory_utilization=1.5)}, "gpu_memory_utilization is 1.5"),
        ({"vllm": VllmOptions(gpu_memory_utilization=float("nan"))}, "gpu_memory_utilization is nan"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelChoiceError, match=message):
        engine(**options)
    assert not fake_vllm.LLM.made


def test_a_model_that_vllm_cannot_load() -> None:
    fake_vllm.LLM.fails = RuntimeError("Engine core initialization failed.\nSee root cause above.")
    with pytest.raises(ModelError, match=r"'tiny': Engine core initialization failed\. .*--max-model-len"):
        engine()


def test_prompts_that_are_too_long() -> None:
    with pytest.raises(ModelError, match=r"vLLM refuses a prompt: The decoder prompt.*--max-model-len"):
        engine(vllm=VllmOptions(max_model_len=50)).generate(questions(), max_new_tokens=4)
    content = [{"type": "image"}] * (MOST_IMAGES + 1)
    many = Request("m", [{"role": "user", "content": content}], (Image.new("RGB", (8, 8)),) * (MOST_IMAGES + 1))
    with pytest.raises(ModelError, match=f"'m' has {MOST_IMAGES + 1} images.*{MOST_IMAGES}.*--shots"):
        engine().generate([many], max_new_tokens=4)


# settings


def test_settings_reach_the_engine() -> None:
    given = {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.7, "max_model_len": 9000}
    for config in (DetectConfig(engine="vllm", **given), EvalConfig(engine="vllm", **given)):  # type: ignore[arg-type]
        assert load_options(config).vllm == VllmOptions(4, 0.7, 9000)
    assert setup.photos_at_a_time(DetectConfig(engine="vllm", batch_size=64)) == 256


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tensor_parallel_size": 2}, "--tensor-parallel-size 2 has no effect: it is for --engine vllm"),
        ({"engine": "vllm", "attention": "sdpa"}, "--attention sdpa has no effect: it is for --engine local"),
        ({"engine": "vllm", "device": "cuda:1"}, "--device cuda:1 has no effect: .*CUDA_VISIBLE_DEVICES"),
        ({"engine": "vllm", "concurrency": 9}, "--concurrency 9 has no effect: it is for --engine server"),
    ],
)
def test_settings_that_nothing_would_read(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        setup.check_config(DetectConfig(**values))


def test_settings_that_are_read() -> None:
    setup.check_config(DetectConfig(engine="vllm", dtype="bfloat16", batch_size=64, max_model_len=4096))
    setup.check_config(DetectConfig(engine="vllm", device="cuda:1"), computes=True)
