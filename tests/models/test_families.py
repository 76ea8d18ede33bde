"""The local engine on a tiny random model of each family, and what is mended in processors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import ImageError, ModelError
from iadr1.models import LoadOptions, Request
from iadr1.models.profiles import PROFILES, profile_of

torch = pytest.importorskip("torch")

from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaImageProcessor  # noqa: E402

from iadr1.models.local import LocalEngine  # noqa: E402
from iadr1.models.onevision import image_counts  # noqa: E402
from iadr1.models.processors import LLAVA_TEMPLATE, make_ready  # noqa: E402
from iadr1.models.vision import VisionCache, once_per_image  # noqa: E402
from tests.tiny_vlms import BUILDERS, PATCH, TILE  # noqa: E402

Folder = Callable[[str], Path]
FAMILIES = sorted(BUILDERS)
CPU = LoadOptions(device="cpu", batch_size=2)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def request(key: str, text: str, *images: Image.Image) -> Request:
    content: list[dict[str, str]] = []
    for _ in images:
        content += [{"type": "text", "text": "Image: "}, {"type": "image"}]
    return Request(key, [{"role": "user", "content": [*content, {"type": "text", "text": text}]}], images)


def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]


# generation


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_different_images_gives_what_single_requests_give(family: str, family_folder: Folder) -> None:
    engine = LocalEngine(str(family_folder(family)), CPU)
    assert engine.profile.family == family
    requests = [
        request("wide", "Are there any defects? Answer with Yes or No.", picture(120, 40)),
        request("pair", "Is it?", picture(40, 50, 1), picture(90, 90, 2)),
    ]
    together = engine.generate(requests, max_new_tokens=6)
    alone = [engine.generate([item], max_new_tokens=6)[0] for item in requests]
    assert [c.text for c in together] == [c.text for c in alone]
    assert [c.prompt_tokens for c in together] == [c.prompt_tokens for c in alone]
    assert [c.completion_tokens for c in together] == [c.completion_tokens for c in alone]
    shares = [share["Yes"] for share in engine.probabilities(requests, ["Yes", "No"])]
    assert shares == pytest.approx([engine.probabilities([r], ["Yes", "No"])[0]["Yes"] for r in requests], abs=1e-5)
    others = [request("wide", "Are there any defects? Answer with Yes or No.", picture(120, 40, seed=7))]
    assert engine.probabilities(others, ["Yes", "No"])[0]["Yes"] != pytest.approx(shares[0], abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_image_tokens_are_foreseen(family: str, family_folder: Folder) -> None:
    """Slivers and large images too; more than one image in a prompt changes the count of LLaVA-OneVision's."""
    engine = LocalEngine(str(family_folder(family)), CPU)
    mark = engine.processor.image_token_id
    for sizes in ([(60, 40)], [(17, 900)], [(900, 60), (28, 28)], [(1600, 1100)], [(64, 64), (64, 65), (20, 30)]):
        item = request("x", "Is it?", *(picture(*size) for size in sizes))
        reader = engine._reader
        ids = reader._inputs(reader._heads([reader.prompt(item)]))[0]["input_ids"]
        foreseen = [engine.profile.image_tokens(size, images=len(sizes)) for size in sizes]
        assert int((ids == mark).sum()) == sum(foreseen), sizes
        first = engine.processor.tokenizer.bos_token_id
        assert first is None or (ids[0, 0] == first and int((ids == first).sum()) == 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_looking_at_each_image_once_changes_nothing(family: str, family_folder: Folder) -> None:
    """Four prompts, two images in five slots: the tower sees fewer inputs, the logits stay."""
    model, processor = loaded(family_folder(family))
    make_ready(model, processor)
    profile = profile_of(model.config, processor)
    one, other = (profile.prepare(picture(*size)) for size in ((60, 40), (50, 90)))
    images = [[one], [one], [one, other], [other]]
    text = [
        processor.apply_chat_template(request("x", "Is it?", *some).messages, add_generation_prompt=True)
        for some in images
    ]
    inputs = processor(text=text, images=images, padding=True, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits
        cache = once_per_image(model, VisionCache())
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-5)
    assert 0 < cache.run < cache.asked


# profiles


def test_profiles_are_read_from_config_and_processor(family_folder: Folder) -> None:
    profiles = {family: profile_of(*configured(family_folder(family))) for family in FAMILIES}
    assert all(profile.family == family for family, profile in profiles.items())
    assert all(profile.box_space is PROFILES[family].box_space for family, profile in profiles.items())
    assert profiles["qwen3_vl"].min_pixels == 64 * 64
    llava = profiles["llava"]
    assert (llava.factor, llava.min_pixels, llava.max_pixels) == (PATCH, TILE**2, TILE**2)
    assert llava.input_wh((500, 20)) == (TILE, TILE)
    assert profiles["llava_next"].tiling == replace(
        PROFILES["llava_next"].tiling,  # type: ignore[type-var]
        side=TILE,
        grid=4,
        canvases=tuple((w * TILE, h * TILE) for w, h in ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))),
    )
    onevision: Any = profiles["llava_onevision"].tiling
    assert (onevision.side, onevision.grid, onevision.most_tiles, len(onevision.canvases)) == (TILE, 4, 9, 16)
    internvl: Any = profiles["internvl"].tiling
    assert (internvl.side, internvl.tile_tokens, internvl.fewest, internvl.most) == (TILE, 4, 1, 4)
    assert profiles["internvl"].factor == 2 * PATCH


def configured(folder: Path) -> tuple[Any, Any]:
    model, processor = loaded(folder)
    return model.config, processor


@pytest.mark.parametrize("family", FAMILIES)
def test_default_profiles_are_those_of_the_classes_defaults(family: str) -> None:
    """`PROFILES` has the sizes that transformers' own defaults give, where these are the released checkpoints'."""
    from transformers import InternVLConfig, LlavaConfig, LlavaNextConfig, LlavaOnevisionConfig

    config: Any
    if family == "llava":
        config, processor = LlavaConfig(), SimpleNamespace(patch_size=14)
    elif family == "llava_next":
        config = LlavaNextConfig()
        processor = SimpleNamespace(image_processor=SimpleNamespace(image_grid_pinpoints=config.image_grid_pinpoints))
    elif family == "llava_onevision":
        config = LlavaOnevisionConfig()
        processor = SimpleNamespace(image_processor=SimpleNamespace(image_grid_pinpoints=config.image_grid_pinpoints))
    elif family == "internvl":
        config = InternVLConfig()
        processor = SimpleNamespace(
            image_seq_length=256, image_processor=SimpleNamespace(min_patches=1, max_patches=12)
        )
    else:
        return
    assert profile_of(config, processor) == PROFILES[family]


def test_config_and_processor_that_contradict_each_other(family_folder: Folder) -> None:
    config, processor = configured(family_folder("llava_next"))
    processor.image_processor.image_grid_pinpoints = [[TILE, TILE]]
    with pytest.raises(ModelError, match=r"name different canvases \('image_grid_pinpoints' must be equal"):
        profile_of(config, processor)
    config, processor = configured(family_folder("llava"))
    processor.patch_size = None
    with pytest.raises(ModelError, match=f"has patch_size None, its config {PATCH}"):
        profile_of(config, processor)
    config.vision_config.image_size = [28, 56]
    with pytest.raises(ModelError, match="no square input: 28x56"):
        profile_of(config, processor)


def test_a_family_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"'internvl_chat' is not supported \(known families: internvl, llava, ll"):
        LocalEngine(str(tmp_path), CPU)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="family None is not supported"):
        LocalEngine(str(tmp_path), CPU)


# images


def test_a_lower_pixel_limit_shrinks_what_the_tiles_are_cut_from() -> None:
    for family in ("llava_next", "llava_onevision", "internvl"):
        assert PROFILES[family].input_wh((1600, 1280)) == (1000, 800)
        assert PROFILES[family].prepare(picture(300, 200)).size == (300, 200)
        fewer = replace(PROFILES[family], max_pixels=200_000)
        assert fewer.prepare(picture(1600, 1280)).size == (500, 400)
    onevision = PROFILES["llava_onevision"]
    assert onevision.image_tokens((1600, 1280)) == 729 + 81 * 65 + 65
    assert replace(onevision, max_pixels=200_000).image_tokens((1600, 1280)) == 729 + 54 * 44 + 44


def test_llava_sees_the_whole_image_on_a_square(family_folder: Folder) -> None:
    """The checkpoints' processor cuts off the sides of a wide image; prepared, it gets what LLaVA was trained on."""
    _, processor = loaded(family_folder("llava"))
    profile = profile_of(*configured(family_folder("llava")))
    wide = Image.new("RGB", (120, 40), "white")
    wide.paste((0, 0, 0), (0, 0, 20, 40))  # a defect at the left edge
    trained: Any = LlavaImageProcessor(
        do_pad=True, size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}
    )
    expected = trained(images=[wide], return_tensors="pt")["pixel_values"]
    seen = processor.image_processor(images=[profile.prepare(wide)], return_tensors="pt")["pixel_values"]
    # Two libraries' bicubic resizes; the range is about 4.
    assert float((seen - expected).abs().mean()) < 0.03
    cut = processor.image_processor(images=[wide], return_tensors="pt")["pixel_values"]
    assert torch.equal(cut.amin((2, 3)), cut.amax((2, 3)))  # all white: the defect is gone
    # On the canvas the defect is where the frame says: the left sixth, the middle third.
    x1, y1, x2, y2 = profile.frame((120, 40)).to_model((0, 0, 20, 40))
    dark = (seen[0].mean(0) < -1).nonzero()  # the padding is about 0
    rows, columns = dark[:, 0], dark[:, 1]
    assert [int(columns.min()), int(columns.max()) + 1] == pytest.approx([x1 * TILE, x2 * TILE], abs=1)
    assert [int(rows.min()), int(rows.max()) + 1] == pytest.approx([y1 * TILE, y2 * TILE], abs=1)


def test_a_sliver_gets_a_size_that_its_processor_keeps() -> None:
    """One pass of the resize rule gives 28x812, which a second pass, the processor's, would shrink again."""
    profile = replace(PROFILES["qwen2_5_vl"], max_pixels=112 * 112)
    assert profile.input_wh((17, 900)) == profile.input_wh((28, 448)) == (28, 448)
    with pytest.raises(ImageError, match="no size between 12000 and 12001 pixels has the aspect of"):
        replace(profile, min_pixels=12_000, max_pixels=12_001).input_wh((300, 200))


# processors


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_begins_once_and_an_answer_ends(family: str, family_folder: Folder, tmp_path: Path) -> None:
    model, processor = loaded(family_folder(family))
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}
    before = processor.apply_chat_template([question], add_generation_prompt=True)
    ready = make_ready(model, processor)
    prompt = ready.apply_chat_template([question], add_generation_prompt=True)
    first = ready.tokenizer.bos_token or ""
    assert prompt == first + before.removeprefix(first)
    assert ready.apply_chat_template([question, answer]).rstrip().endswith(f"Yes{ready.tokenizer.eos_token}")
    assert ready.tokenizer.padding_side == "left"

    once = ready.chat_template
    make_ready(model, ready)
    assert ready.chat_template == once
    ready.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    assert type(again).__name__ == type(processor).__name__
    assert make_ready(model, again).chat_template == once


def test_a_missing_chat_template(family_folder: Folder) -> None:
    model, processor = loaded(family_folder("llava"))
    processor.chat_template = None
    make_ready(model, processor)
    assert LLAVA_TEMPLATE in processor.chat_template
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it?"}]},
        {"role": "assistant", "content": "Yes"},
    ]
    assert processor.apply_chat_template(talk) == "<s>USER: <image>\nIs it? ASSISTANT: Yes</s>"
    assert processor.apply_chat_template(talk[:1], add_generation_prompt=True).endswith("Is it? ASSISTANT:")
    model, processor = loaded(family_folder("qwen2_vl"))
    processor.chat_template = None
    with pytest.raises(ModelError, match=r"'qwen2_vl' model has no chat template \(copy chat_template\.jinja"):
        make_ready(model, processor)


def test_a_template_without_images_is_refused(family_folder: Folder) -> None:
    model, processor = loaded(family_folder("llava_next"))
    processor.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    with pytest.raises(ModelError, match="writes '<image>' 0 times for a question with 2 images"):
        make_ready(model, processor)


def test_a_checkpoint_without_template_names_its_folder(family_folder: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family_folder("internvl"), tmp_path / "m"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="'internvl' model has no chat template"):
        LocalEngine(str(folder), CPU)
    assert "chat_template" not in json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))


# LLaVA-OneVision


def test_onevision_works_out_what_its_processor_leaves_out(family_folder: Folder) -> None:
    """Prompts with one, two, one and one image: the same logits as with the field that transformers gives."""
    plain, theirs = loaded(family_folder("llava_onevision"))
    model, processor = loaded(family_folder("llava_onevision"))
    make_ready(model, processor)
    theirs.tokenizer.padding_side = "left"
    images = [[picture(60, 40)], [picture(50, 90, 1), picture(70, 70, 2)], [picture(30, 90, 3)], [picture(80, 20, 4)]]
    requests = [request("x", "Is it?", *some).messages for some in images]
    text = [processor.apply_chat_template(messages, add_generation_prompt=True) for messages in requests]
    settings: dict[str, Any] = {"text": text, "images": images, "padding": True, "return_tensors": "pt"}
    full, short = theirs(**settings), processor(**settings)
    assert full.pop("batch_num_images").tolist() == [1, 2, 1, 1]
    assert set(short) == set(full)
    assert image_counts(short["pixel_values"]) == [1, 2, 1, 1]
    with torch.inference_mode():
        expected = plain(**full, batch_num_images=torch.tensor([1, 2, 1, 1])).logits
        assert torch.equal(model(**short).logits, expected)
        with pytest.raises((RuntimeError, ValueError)):
            plain(**short)
