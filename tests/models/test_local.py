"""The local engine on a tiny random Qwen2.5-VL."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import prompts
from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models import LoadOptions, Request

torch = pytest.importorskip("torch")

from iadr1.models import local, tokens  # noqa: E402
from iadr1.models.base import Unweighed  # noqa: E402
from iadr1.models.decoding import Complete, greedy  # noqa: E402
from iadr1.models.local import LocalEngine  # noqa: E402
from iadr1.models.tokens import Prompt  # noqa: E402


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LocalEngine:
    return LocalEngine(str(tiny_model), LoadOptions(device="cpu", batch_size=3))


def request(key: str, text: str, *, images: int = 1, seed: int = 0) -> Request:
    generator = np.random.default_rng(seed)
    pictures = [Image.fromarray(generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)) for _ in range(images)]
    content: list[dict[str, str]] = [*({"type": "image"} for _ in pictures), {"type": "text", "text": text}]
    return Request(key, [{"role": "user", "content": content}], tuple(pictures))


def three() -> list[Request]:
    return [
        request(
            "long", "Are there any defects in the query image? Answer with Yes or No. Locate each of them.", seed=1
        ),
        request("two", "Is it?", images=2, seed=2),
        request("short", "A or B", seed=3),
    ]


def test_profile_and_fingerprint_are_the_checkpoints(engine: LocalEngine) -> None:
    assert engine.profile.family == "qwen2_5_vl"
    assert engine.profile.input_wh((640, 480)) == (112, 112)
    assert len(engine.fingerprint) == 16


def test_a_batch_gives_what_single_requests_give(engine: LocalEngine) -> None:
    requests = three()
    together = engine.generate(requests, max_new_tokens=24)
    alone = [engine.generate([item], max_new_tokens=24)[0] for item in requests]
    assert [c.id for c in together] == ["long", "two", "short"]
    assert [c.text for c in together] == [c.text for c in alone]
    assert [c.prompt_tokens for c in together] == [c.prompt_tokens for c in alone]
    assert len({c.text for c in together}) == 3
    assert len({c.prompt_tokens for c in together}) == 3
    assert [c.finished for c in together] == [c.completion_tokens < 24 for c in together]
    assert not all(c.finished for c in together)


def test_the_answer_depends_on_the_image(engine: LocalEngine) -> None:
    one, other = (engine.generate([request("a", "Is it?", seed=seed)], max_new_tokens=12)[0] for seed in (1, 2))
    assert one.text != other.text


def worked(engine: LocalEngine, requests: Sequence[Request], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of each batch."""
    seen: list[list[str]] = []

    def spy(batch: list[Prompt], max_new_tokens: int) -> Any:
        seen.append([prompt.request.id for prompt in batch])
        return work(batch, max_new_tokens)

    work = engine._generate
    monkeypatch.setattr(engine, "_generate", spy)
    engine.generate(requests, max_new_tokens=1)
    return seen


def test_requests_are_worked_through_by_length(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worked(engine, three(), monkeypatch) == [["short", "two", "long"]]
    tokens = {item.id: engine._reader.prompt(item).tokens for item in three()}
    assert tokens["short"] < tokens["two"] < tokens["long"]
    assert tokens == {item.id: engine.generate([item], max_new_tokens=1)[0].prompt_tokens for item in three()}


def test_questions_about_an_image_stay_together(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short and a long question about one image go with it, before the others' longer and behind their shorter."""
    one, long, short = request("one short", "A"), three()[0], three()[2]
    other = Request("one long", request("x", "Is it? Answer with A or B.").messages, one.images)
    batches = worked(engine, [long, one, short, other], monkeypatch)
    assert batches == [["short", "one short", "one long"], ["long"]]


def test_no_requests(engine: LocalEngine) -> None:
    assert engine.generate([], max_new_tokens=4) == []


def test_probabilities(engine: LocalEngine) -> None:
    shares = engine.probabilities(three(), ["Yes", "No"])
    assert all(set(share) == {"Yes", "No"} for share in shares)
    assert [sum(share.values()) for share in shares] == pytest.approx([1.0, 1.0, 1.0])
    alone = [engine.probabilities([item], ["Yes", "No"])[0]["Yes"] for item in three()]
    assert [share["Yes"] for share in shares] == pytest.approx(alone, abs=1e-5)
    assert len({round(value, 4) for value in alone}) == 3


def test_probabilities_agree_with_the_first_token_written(engine: LocalEngine) -> None:
    item = three()[0]
    first = engine.generate([item], max_new_tokens=1)[0].text
    other = "z" if first != "z" else "y"
    share = engine.probabilities([item], [first, other])[0]
    assert share[first] > share[other]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_that_computes_no_numbers_gives_no_probabilities(
    tiny_model: Path, broken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LocalEngine(str(tiny_model), LoadOptions(device="cpu", batch_size=3))
    next(part for name, part in own._reader._model.named_parameters() if name.endswith("norm.weight")).fill_(broken)
    found = own.probabilities(three(), ("Yes", "No"))
    assert [type(one) for one in found] == [Unweighed] * 3
    assert found == [{}] * 3
    reason = found[0].reason  # type: ignore[attr-defined]
    assert reason.startswith(
        f"the model {str(tiny_model)!r} computes no finite probabilities in dtype float32 (nan for"
    )
    assert "the checkpoint may be damaged" in reason
    assert "--dtype" not in reason  # there is no wider one
    monkeypatch.setattr(own, "dtype", torch.float16)
    (other,) = own.probabilities(three()[:1], ("Yes", "No"))
    assert "in dtype float16 " in other.reason  # type: ignore[attr-defined]
    assert "use --dtype float32" in other.reason  # type: ignore[attr-defined]


def test_words_with_one_first_token_are_refused(engine: LocalEngine) -> None:
    with pytest.raises(ModelError, match="different tokens"):
        engine.probabilities(three(), ["<answer>Yes", "<answer>No"])


# stopping


def test_a_text_is_complete_with_the_token_that_closes_it(engine: LocalEngine) -> None:
    tokenizer = engine.processor.tokenizer
    complete = Complete(tokenizer, "</answer>")
    whole, spelled = ([*map(int, ids)] for ids in (
        tokenizer("</answer>").input_ids, [token for letter in "</answer>" for token in tokenizer(letter).input_ids],
    ))  # fmt: skip
    other = tokenizer("x" * 12).input_ids
    assert len(whole) == 1 < len(spelled)
    for tail, expected in (
        (whole, True),
        (spelled, True),
        (spelled[:-1], False),
        (other, False),
        (spelled[-1:], False),
    ):
        assert complete([*other, *tail]) == expected
    assert not complete([*whole, *other])
    # A letter of several tokens: its last byte completes the text.
    split = tokenizer("ü").input_ids
    assert len(split) > 1
    letter = Complete(tokenizer, "ü")
    assert [letter(split[:count]) for count in range(1, len(split) + 1)] == [False] * (len(split) - 1) + [True]


def test_a_row_that_has_ended_is_no_longer_computed(engine: LocalEngine) -> None:
    """Each forward pass has as many rows as there are unfinished answers, and what these write stays the same."""
    prompts = [engine._reader.prompt(item) for item in three()]
    rows: list[int] = []
    embeddings = engine._reader._model.get_input_embeddings()

    def write(ends: Sequence[int]) -> list[list[int]]:
        with torch.inference_mode():
            return greedy(engine._reader.read(prompts), ends=ends, complete=lambda tokens: len(tokens) == 20, limit=24)

    free = write(())
    assert [len(row) for row in free] == [20, 20, 20]
    ends = [next(token for token in free[1][start:] if token not in free[0]) for start in (2, 9)]
    lengths = [next((n + 1 for n, token in enumerate(row) if token in ends), 20) for row in free]
    assert len(set(lengths)) > 1
    hook = embeddings.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    assert write(ends) == [row[:length] for row, length in zip(free, lengths, strict=True)]
    hook.remove()
    assert rows == [sum(length > step for length in lengths) for step in range(max(lengths))]


def test_the_end_token_is_no_part_of_the_answer(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    item = three()[0]
    with torch.inference_mode():
        rows = engine._reader.read([engine._reader.prompt(item)])
        (free,) = greedy(rows, ends=(), complete=lambda tokens: False, limit=6)
    first = free.index(free[4])
    monkeypatch.setattr(engine, "_ends", frozenset({free[4]}))
    (completion,) = engine.generate([item], max_new_tokens=6)
    assert (completion.completion_tokens, completion.finished) == (first, True)
    assert completion.text == engine.processor.tokenizer.decode(free[:first], skip_special_tokens=True)


def test_generation_ends_behind_the_answer(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows end at different steps; the one that has ended is not written on."""
    free = engine.generate(three(), max_new_tokens=16)
    longest = max(range(3), key=lambda index: free[index].completion_tokens)
    stop = free[longest].text[3:6]
    for module in (local, tokens):
        monkeypatch.setattr(module, "ANSWER_END", stop)
    stopped = engine.generate(three(), max_new_tokens=16)
    assert stopped[longest].finished
    assert stop in stopped[longest].text
    assert stopped[longest].completion_tokens < free[longest].completion_tokens
    for before, after in zip(free, stopped, strict=True):
        assert before.text.startswith(after.text)
        assert (before.text == after.text) == (stop not in before.text or before.text.endswith(stop))


def test_the_stop_text_is_the_closing_answer_tag() -> None:
    assert prompts.ANSWER_END == "</answer>"


# memory


def test_a_batch_that_does_not_fit_is_halved(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def small_memory(batch: list[Prompt]) -> list[str]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return [prompt.request.id for prompt in batch]

    requests = [request(str(i), "A") for i in range(7)]
    monkeypatch.setattr(engine, "batch_size", 6)
    assert engine._batched(requests, small_memory) == [item.id for item in requests]
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1, 1]

    def no_memory(batch: Sequence[Prompt]) -> list[str]:
        raise torch.OutOfMemoryError

    with pytest.raises(ModelError, match="does not fit"):
        engine._batched(requests, no_memory)


# loading


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LoadOptions(device="gpu"), "no device 'gpu'"),
        (LoadOptions(device="cpu", dtype="int8"), "no dtype 'int8'"),
        (LoadOptions(batch_size=0), "batch size"),
        (LoadOptions(device="cpu", attention="flash"), r"no attention 'flash' \(use auto, eager, sdpa"),
        (LoadOptions(device="cpu", attention="flex_attention"), r"'flex_attention' does not work here: .* \(use --att"),
    ],
)
def test_wrong_options_are_wrong_usage(tiny_model: Path, options: LoadOptions, message: str) -> None:
    with pytest.raises(ModelChoiceError, match=message) as caught:
        LocalEngine(str(tiny_model), options)
    assert "\n" not in str(caught.value)


def broken_copy(tiny_model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny_model, folder))


def test_corrupt_weights(tiny_model: Path, tmp_path: Path) -> None:
    folder = broken_copy(tiny_model, tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="cannot load") as caught:
        LocalEngine(str(folder), LoadOptions(device="cpu"))
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_invented(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = broken_copy(tiny_model, tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if name.endswith("q_proj.weight"))
    save_file({name: w for name, w in weights.items() if name != gone}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing.*q_proj\.weight"):
        LocalEngine(str(folder), LoadOptions(device="cpu"))


def test_no_vision_language_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ModelError, match="'bert' is not supported"):
        LocalEngine(str(tmp_path), LoadOptions(device="cpu"))


def test_hub_model_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
        LocalEngine("nobody/no-such-model", LoadOptions(device="cpu"))
    assert "\n" not in str(caught.value)
