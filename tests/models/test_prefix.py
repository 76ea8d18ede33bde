"""Reading prompts together gives what transformers gives for each alone, in every family, and does less work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import ModelError
from iadr1.models import LoadOptions, Request
from iadr1.models.base import IMAGE_SLOT
from iadr1.models.profiles import PROFILES
from iadr1.prompts import ANSWER_END

torch = pytest.importorskip("torch")

from iadr1.models.local import LocalEngine  # noqa: E402
from iadr1.models.prefix import AXES, Reader, common_length  # noqa: E402
from tests.tiny_vlms import BUILDERS  # noqa: E402

FAMILIES = sorted(BUILDERS)
QUESTIONS = ("Is it?", "Are there any defects in the image? Answer with Yes or No.", "Is there a defect? A. Yes B. No")


@pytest.fixture(scope="module")
def engine_of(family_folder: Callable[[str], Path]) -> Callable[[str], LocalEngine]:
    loaded: dict[str, LocalEngine] = {}

    def engine(family: str) -> LocalEngine:
        if family not in loaded:
            loaded[family] = LocalEngine(str(family_folder(family)), LoadOptions(device="cpu", batch_size=16))
        return loaded[family]

    return engine


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def ask(text: str, *images: Image.Image, prefix: str = "", before: str = "Image: ") -> Request:
    content: list[dict[str, str]] = []
    for _ in images:
        content += [{"type": "text", "text": before}, {"type": "image"}]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]
    return Request(text, messages, images, prefix=prefix)


def mixed() -> list[Request]:
    """Several questions about one image, about two, with a prefix, without a template; and lone questions."""
    one, two, three, four = picture(120, 40), picture(60, 90, 1), picture(80, 80, 2), picture(90, 50, 3)
    plain = Request("plain", [], (four,), plain=f"Image: {IMAGE_SLOT}\nIs it?")
    return [
        *(ask(question, one) for question in QUESTIONS),
        *(ask(question, two, three) for question in QUESTIONS),
        ask(QUESTIONS[0], two, prefix="A defect"),
        ask(QUESTIONS[1], two),
        ask(QUESTIONS[0], three),
        replace(plain, id="plain A"),
        replace(plain, id="plain B", plain=f"{plain.plain} Yes or No?", prefix="A"),
    ]


def theirs(engine: LocalEngine, request: Request) -> dict[str, Any]:
    """What transformers' processor makes of one request."""
    processor = engine.processor
    if request.plain is None:
        text = processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
    else:
        text = request.plain.replace(IMAGE_SLOT, processor.image_token)
    inputs: dict[str, Any] = processor(
        text=[text + request.prefix],
        images=[[engine.profile.prepare(image) for image in request.images]],
        add_special_tokens=request.plain is not None,
        return_tensors="pt",
    )
    return inputs


# the same results


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_together_are_read_as_transformers_reads_each(
    family: str, engine_of: Callable[[str], LocalEngine]
) -> None:
    engine = engine_of(family)
    reader, model, requests = engine._reader, engine._reader._model, mixed()
    prompts = [reader.prompt(request) for request in requests]
    assert [head.places for head in reader._heads(prompts)] == [[0, 1, 2], [3, 4, 5], [6, 7], [8], [9, 10]]
    with torch.inference_mode():
        rows = reader.read(prompts)
        for place, request in enumerate(requests):
            alone = theirs(engine, request)
            assert int(rows.mask[place].sum()) == alone["input_ids"].shape[1]
            expected = model(**alone).logits[0, -1]
            assert torch.allclose(rows.logits[place], expected, atol=1e-4), request
            assert torch.allclose(reader.read([prompts[place]]).logits[0], expected, atol=1e-4)
    # No two requests are answered alike, so rows that changed places would be seen.
    apart = torch.cdist(rows.logits, rows.logits, p=float("inf")) + torch.eye(len(requests))
    assert float(apart.min()) > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_transformers_generate(family: str, engine_of: Callable[[str], LocalEngine]) -> None:
    engine, requests = engine_of(family), mixed()
    together = engine.generate(requests, max_new_tokens=8)
    tokenizer, model = engine.processor.tokenizer, engine._reader._model
    for request, completion in zip(requests, together, strict=True):
        inputs = theirs(engine, request)
        written = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        text, end, _ = tokenizer.decode(written, skip_special_tokens=True).partition(ANSWER_END)
        assert completion.text == text + end
        assert completion.prompt_tokens == inputs["input_ids"].shape[1]
    assert len({completion.text for completion in together}) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_those_behind_the_prefix(family: str, engine_of: Callable[[str], LocalEngine]) -> None:
    """Behind a prefix a word stands inside a line: the token of `x` after a letter, not that of a text `x`."""
    engine, requests = engine_of(family), mixed()
    shares = engine.probabilities(requests, ["Yes", "No", "x"])
    tokenizer, model = engine.processor.tokenizer, engine._reader._model
    for request, share in zip(requests, shares, strict=True):
        with torch.inference_mode():
            logits = model(**theirs(engine, request)).logits[0, -1].double()
        if request.prefix:
            start = len(tokenizer("a\n", add_special_tokens=False).input_ids)
            ids = [tokenizer(f"a\n{word}", add_special_tokens=False).input_ids[start] for word in ("Yes", "No", "x")]
        else:
            ids = [tokenizer(word, add_special_tokens=False).input_ids[0] for word in ("Yes", "No", "x")]
        assert list(share.values()) == pytest.approx(torch.softmax(logits[ids], -1).tolist(), abs=1e-4)
        assert list(share) == ["Yes", "No", "x"]


# less work


def passes(engine: LocalEngine, work: Callable[[], Any]) -> tuple[list[tuple[int, int]], int]:
    """(rows, tokens) of each forward pass of the language model, and how many images the processor was given."""
    seen: list[tuple[int, int]] = []
    images = 0
    embeddings = engine._reader._model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[:2])))
    plain = engine.profile.__class__.prepare

    def counted(profile: Any, image: Image.Image) -> Image.Image:
        nonlocal images
        images += 1
        return plain(profile, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.profile.__class__, "prepare", counted)
        with torch.inference_mode():
            work()
    hook.remove()
    return seen, images


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_about_an_image_share_its_tokens(family: str, engine_of: Callable[[str], LocalEngine]) -> None:
    engine = engine_of(family)
    one, other = picture(120, 40), picture(60, 90, 1)
    requests = [ask(question, image) for image in (one, other) for question in QUESTIONS]
    prompts = [engine._reader.prompt(request) for request in requests]
    seen, images = passes(engine, lambda: engine._reader.read(prompts))
    (heads, begun), (rows, rest) = seen
    assert (heads, rows, images) == (2, 6, 2)
    assert rest < max(len(prompt.ids) for prompt in prompts)
    longest = max(theirs(engine, request)["input_ids"].shape[1] for request in requests)
    assert begun + rest <= longest + abs(prompts[0].tokens - prompts[3].tokens)  # the heads' padding


def test_references_that_changed_places_are_not_shared(engine_of: Callable[[str], LocalEngine]) -> None:
    """The same two images in another order make another prompt, though its words are the same."""
    engine, one, two = engine_of("qwen2_5_vl"), picture(64, 64), picture(64, 64, 1)
    requests = [ask(question, *images) for images in ((one, two), (two, one)) for question in QUESTIONS[:2]]
    prompts = [engine._reader.prompt(request) for request in requests]
    assert [head.places for head in engine._reader._heads(prompts)] == [[0, 1], [2, 3]]
    with torch.inference_mode():
        rows = engine._reader.read(prompts)
        for place, request in enumerate(requests):
            expected = engine._reader._model(**theirs(engine, request)).logits[0, -1]
            assert torch.allclose(rows.logits[place], expected, atol=1e-4)
    assert not torch.allclose(rows.logits[0], rows.logits[2], atol=1e-2)


def test_an_image_behind_the_questions_is_read_with_each(engine_of: Callable[[str], LocalEngine]) -> None:
    """Nothing is shared: no image in the common beginning, a prompt that ends with its image, one question each."""
    engine, image = engine_of("qwen2_5_vl"), picture(64, 64)
    different = [ask("Is it?", image, before=f"Question {number}: ") for number in range(2)]
    ending = [Request(str(number), [], (image,), plain=f"{number}{IMAGE_SLOT}") for number in range(2)]
    single = [ask("Is it?", picture(64, 64, seed)) for seed in range(2)]
    other = picture(64, 64, 5)
    beside = [ending[0], *(ask(question, other) for question in QUESTIONS)]
    for requests in (different, ending, single, beside):
        prompts = [engine._reader.prompt(request) for request in requests]
        assert [head.places for head in engine._reader._heads(prompts)] == [[place] for place in range(len(prompts))]
        with torch.inference_mode():
            rows = engine._reader.read(prompts)
            for place, request in enumerate(requests):
                expected = engine._reader._model(**theirs(engine, request)).logits[0, -1]
                assert torch.allclose(rows.logits[place], expected, atol=1e-4)


def test_what_shares_nothing_may_stand_beside_what_does(engine_of: Callable[[str], LocalEngine]) -> None:
    """A chat and a plain prompt about one image, two of which the image stands behind the words, two that share."""
    engine, one, two, three = engine_of("qwen2_5_vl"), picture(90, 50), picture(60, 60, 1), picture(50, 90, 2)
    requests = [
        *(ask("Is it?", one, before=f"Question {number}: ") for number in range(2)),
        *(ask(question, two) for question in QUESTIONS[:2]),
        ask("Is it?", three),
        Request("plain", [], (three,), plain=f"Image: {IMAGE_SLOT} Is it?"),
    ]
    prompts = [engine._reader.prompt(request) for request in requests]
    assert [head.places for head in engine._reader._heads(prompts)] == [[0], [1], [2, 3], [4], [5]]
    with torch.inference_mode():
        rows = engine._reader.read(prompts)
        for place, request in enumerate(requests):
            expected = engine._reader._model(**theirs(engine, request)).logits[0, -1]
            assert torch.allclose(rows.logits[place], expected, atol=1e-4)


def test_without_images(engine_of: Callable[[str], LocalEngine]) -> None:
    engine = engine_of("qwen3_vl")
    requests = [ask("Is it?"), ask("Are you there?"), ask("Is it?", picture(64, 64))]
    together = engine.generate(requests, max_new_tokens=6)
    assert [c.text for c in together] == [engine.generate([r], max_new_tokens=6)[0].text for r in requests]
    assert together[0].prompt_tokens < together[2].prompt_tokens


def test_a_model_with_windows_shares_nothing(engine_of: Callable[[str], LocalEngine]) -> None:
    """A window counts padding, which sharing puts between the tokens of a row."""
    engine = engine_of("qwen2_5_vl")
    model = engine._reader._model
    text = model.config.text_config
    layers = list(text.layer_types)
    try:
        text.sliding_window, text.layer_types = 8, ["full_attention", "sliding_attention"]
        reader = Reader(model, engine.processor, engine.profile)
    finally:
        text.sliding_window, text.layer_types = None, layers
    image = picture(64, 64)
    prompts = [reader.prompt(ask(question, image)) for question in QUESTIONS]
    assert [len(head.places) for head in reader._heads(prompts)] == [1, 1, 1]
    assert [len(head.places) for head in engine._reader._heads(prompts)] == [3]


def test_every_family_has_its_axes() -> None:
    assert set(AXES) == set(PROFILES) == set(FAMILIES)
    assert common_length([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_length([[1], [2]]) == 0


# slots


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_prompt_is_sent_as_it_is(family: str, engine_of: Callable[[str], LocalEngine]) -> None:
    """No template, no frame of special tokens but the family's own around an image."""
    engine = engine_of(family)
    tokenizer = engine.processor.tokenizer
    request = Request("p", [], (picture(64, 64),), plain=f"Test image: {IMAGE_SLOT}\n\nIs it?", prefix=" A")
    ids = engine._reader.prompt(request).ids
    mark = engine.processor.image_token_id
    first = [tokenizer.bos_token_id] if family in ("llava", "llava_next") else []
    assert [token for token in ids if token in {mark, *tokenizer.all_special_ids}] == [*first, mark]
    ids.remove(mark)
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == ["Test", "image:", "Is", "it?", "A"]


def test_slots_without_images_are_refused(engine_of: Callable[[str], LocalEngine]) -> None:
    engine = engine_of("llava")
    wrong: Sequence[Request] = [
        replace(ask("Is it?", picture(64, 64)), images=()),
        Request("p", [], (picture(64, 64),), plain="Is it?"),
    ]
    for request, message in zip(
        wrong, ("'Is it\\?' has 1 image slots for 0", "'p' has 0 image slots for 1"), strict=True
    ):
        with pytest.raises(ModelError, match=message):
            engine.generate([request], max_new_tokens=1)
