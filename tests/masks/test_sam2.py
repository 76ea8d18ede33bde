"""SAM 2 with random weights: what is tested is the plumbing, not the quality of masks."""

from __future__ import annotations

import itertools
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import MissingExtraError, ModelChoiceError, ModelError, UsageError
from iadr1.geometry import Box, dilate_box
from iadr1.masks import SEGMENTERS, MaskResult, load_segmenter, sam2, segment_many
from iadr1.masks.cleanup import pixel_window
from iadr1.masks.sam2 import Sam2Segmenter, enlarge
from tests.masks.tiny_sam2 import SIDE, build

GRID = SIDE // 4


@pytest.fixture(scope="module")
def tiny_sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def segmenter(tiny_sam2: Path) -> Sam2Segmenter:
    return Sam2Segmenter(str(tiny_sam2), device="cpu")


def _photo(size: tuple[int, int] = (120, 90), *, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


BOXES = [(5.0, 5.0, 60.0, 50.0), (30.0, 20.0, 110.0, 80.0), (0.0, 0.0, 120.0, 90.0), (70.0, 60.0, 71.0, 61.0)]


def _counted(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches the encoder is given."""
    encode, sizes = segmenter._network.get_image_embeddings, []

    def counted(pixels: torch.Tensor) -> object:
        sizes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(segmenter._network, "get_image_embeddings", counted)
    return sizes


def _same(one: Sequence[MaskResult], two: Sequence[MaskResult]) -> bool:
    # A random network's logits lie close to the threshold: a rounding error may flip single pixels.
    return all(
        a.source == b.source and (a.mask != b.mask).mean() < 0.005 and a.score == pytest.approx(b.score, abs=1e-4)
        for a, b in zip(one, two, strict=True)
    )


def test_one_mask_per_box_at_the_photos_size(tiny_sam2: Path) -> None:
    results = load_segmenter(str(tiny_sam2), device="cpu").segment(_photo(), BOXES)
    assert [result.mask.shape for result in results] == [(90, 120)] * 4
    assert all(result.mask.dtype == np.bool_ for result in results)
    assert [result.source for result in results[:3]] == [str(tiny_sam2)] * 3
    assert all(0 <= result.score <= 1 for result in results)


def test_chunks_give_the_same_masks_as_one_box_at_a_time(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = segmenter.segment(_photo(), BOXES)
    monkeypatch.setattr(sam2, "BOXES_PER_CALL", 3)
    assert _same(whole, segmenter.segment(_photo(), BOXES))
    assert _same(whole, [segmenter.segment(_photo(), [box])[0] for box in BOXES])
    differences = [(one.mask != two.mask).mean() for one, two in itertools.combinations(whole, 2)]
    assert min(differences) > 0.005, "the boxes were not read"


def test_the_image_is_encoded_once_and_small_boxes_once_more(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam2, "BOXES_PER_CALL", 1)
    sizes = _counted(segmenter, monkeypatch)
    segmenter.segment(_photo(), BOXES[:3])
    assert sizes == [1]
    segmenter.segment(_photo(), BOXES)  # the fourth is small
    assert sizes == [1, 2]


def test_several_images_are_one_batch_and_give_what_each_gives_alone(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [_photo(), _photo((300, 80), seed=1), _photo((64, 64), seed=2)]
    boxes = [BOXES[:2], [], [(0.0, 0.0, 64.0, 40.0)]]
    alone = [segmenter.segment(photo, own) for photo, own in zip(photos, boxes, strict=True)]
    sizes = _counted(segmenter, monkeypatch)
    together = segment_many(segmenter, photos, boxes)
    assert sizes == [2]  # a photo without boxes is not encoded
    assert [len(results) for results in together] == [2, 0, 1]
    assert all(_same(one, two) for one, two in zip(alone, together, strict=True))
    assert (together[0][0].mask.shape, together[2][0].mask.shape) == ((90, 120), (64, 64))


def test_large_batches_are_cut(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = _counted(segmenter, monkeypatch)
    segmenter.segment_many([_photo()] * 6, [BOXES[:1]] * 6)
    assert sizes == [4, 2]


def test_as_many_lists_of_boxes_as_images(segmenter: Sam2Segmenter) -> None:
    with pytest.raises(ValueError, match="1 images, but 2 lists of boxes"):
        segment_many(segmenter, [_photo()], [[], []])
    with pytest.raises(ValueError, match="1 images, but 2 lists of boxes"):
        segmenter.segment_many([_photo()], [[], []])


def test_a_segmenter_without_batches_takes_one_image_after_the_other() -> None:
    grabcut = load_segmenter("grabcut")
    photos, boxes = [_photo(), _photo(seed=1)], [BOXES[:1], BOXES[1:3]]
    results = segment_many(grabcut, photos, boxes)
    assert [len(masks) for masks in results] == [1, 2]
    assert np.array_equal(results[1][0].mask, grabcut.segment(photos[1], boxes[1])[0].mask)


def test_logits_are_enlarged_as_transformers_does_it(tiny_sam2: Path) -> None:
    from transformers import Sam2Processor

    logits = torch.randn((GRID, GRID), generator=torch.Generator().manual_seed(0))
    processor: Any = Sam2Processor.from_pretrained(tiny_sam2)
    theirs = processor.post_process_masks(logits[None, None, None], [[90, 120]])[0][0, 0].numpy()
    ours = enlarge(logits, (0.0, 0.0, 120.0, 90.0), view=(0, 0, 120, 90), image_wh=(120, 90))
    assert (ours != theirs).mean() < 0.001
    box = (40.0, 30.0, 60.0, 50.0)
    window = pixel_window(dilate_box(box, sam2.REACH, (120, 90)), (120, 90))
    part = enlarge(logits, box, view=(0, 0, 120, 90), image_wh=(120, 90))
    assert (part[window] != theirs[window]).mean() < 0.01
    part[window] = False
    assert not part.any()


def test_a_band_at_a_time_is_the_same_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn((GRID, GRID), generator=torch.Generator().manual_seed(0))
    given: tuple[torch.Tensor, Box] = (logits, (3.5, 2.0, 110.0, 85.0))
    whole = enlarge(*given, view=(0, 0, 120, 90), image_wh=(120, 90))
    monkeypatch.setattr(sam2, "BAND_PIXELS", 700)
    assert np.array_equal(whole, enlarge(*given, view=(0, 0, 120, 90), image_wh=(120, 90)))


def test_a_crop_is_mapped_back_to_its_place() -> None:
    logits = torch.full((GRID, GRID), -1.0)
    logits[16:48, 16:48] = 1.0  # the middle half of the view
    mask = enlarge(logits, (1040.0, 540.0, 1080.0, 580.0), view=(1020, 520, 1100, 600), image_wh=(2000, 1000))
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (1040, 1080, 540, 580)
    assert mask[540:580, 1040:1080].all()


def test_a_small_box_is_seen_as_the_crop_alone_would_be(segmenter: Sam2Segmenter) -> None:
    photo = _photo((640, 480))
    box = (300.0, 200.0, 320.0, 212.0)  # crop: (270, 166, 350, 246)
    from_photo = segmenter.segment(photo, [box])[0]
    from_crop = segmenter.segment(photo.crop((270, 166, 350, 246)), [(30.0, 34.0, 50.0, 46.0)])[0]
    assert from_photo.source == from_crop.source == segmenter.name
    assert (from_photo.mask[166:246, 270:350] != from_crop.mask).mean() < 0.001
    assert from_photo.score == pytest.approx(from_crop.score, abs=1e-4)


def _with_drawings(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch, sizes: Sequence[int]) -> list[bool]:
    """Let the decoder draw squares of these sizes about the centre: the single mask, then the candidates."""
    asked = []

    def drawn(levels: object, boxes: torch.Tensor, *, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(multimask)
        chosen = sizes[1:] if multimask else sizes[:1]
        logits = torch.full((len(boxes), len(chosen), GRID, GRID), -1.0)
        for index, size in enumerate(chosen):
            middle = slice(GRID // 2 - size // 2, GRID // 2 + size // 2)
            logits[:, index, middle, middle] = 1.0
        return logits, torch.full((len(boxes), len(chosen)), 0.9 if multimask else 0.8)

    monkeypatch.setattr(segmenter, "_ask", drawn)
    return asked


CENTRE = (16.0, 16.0, 48.0, 48.0)  # of a photo as large as the grid


def test_the_single_mask_is_kept_where_it_agrees_with_the_box(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _with_drawings(segmenter, monkeypatch, [30, 32, 8, 64])
    result = segmenter.segment(_photo((GRID, GRID)), [CENTRE])[0]
    assert asked == [False]
    assert result.score == pytest.approx(0.8)
    assert result.mask.sum() == 30 * 30


def test_where_it_disagrees_the_candidate_that_agrees_is_taken(
    segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _with_drawings(segmenter, monkeypatch, [8, 64, 30, 12])
    result = segmenter.segment(_photo((GRID, GRID)), [CENTRE])[0]
    assert asked == [False, True]
    assert result.score == pytest.approx(0.9)
    assert result.mask.sum() == 30 * 30


def test_a_model_trained_for_the_single_mask_is_asked_for_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = Sam2Segmenter(str(build(tmp_path, multimask=False)), device="cpu")
    asked = _with_drawings(single, monkeypatch, [8, 64, 30, 12])
    assert single.segment(_photo((GRID, GRID)), [CENTRE])[0].mask.sum() == 8 * 8
    assert asked == [False]


def test_an_empty_mask_is_the_filled_box(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_drawings(segmenter, monkeypatch, [0, 0, 0, 0])
    result = segmenter.segment(_photo((GRID, GRID)), [CENTRE])[0]
    assert (result.source, result.score, result.mask.sum()) == ("box", 0.0, 32 * 32)


@pytest.mark.parametrize("multimask", [False, True])
def test_the_network_is_asked_for_all_boxes_at_once(segmenter: Sam2Segmenter, multimask: bool) -> None:
    view = (_photo(), (0, 0, 120, 90))
    with torch.inference_mode():
        levels = [level[[0, 0]] for level in segmenter._encode([view])]
        boxes = torch.tensor([[5.0, 5.0, 60.0, 50.0], [30.0, 20.0, 200.0, 180.0]])
        logits, scores = segmenter._ask(levels, boxes, multimask=multimask)
    channels = 3 if multimask else 1
    assert tuple(logits.shape) == (2, channels, GRID, GRID)
    assert tuple(scores.shape) == (2, channels)


def test_half_precision_changes_little_and_leaves_the_boxes_exact(
    tiny_sam2: Path, segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = Sam2Segmenter(str(tiny_sam2), device="cpu", dtype="bfloat16")
    view = (_photo(), (0, 0, 120, 90))
    with torch.inference_mode():
        full, rounded = segmenter._encode([view]), half._encode([view])
    assert all(level.dtype == torch.float32 for level in rounded)
    assert not torch.equal(full[-1], rounded[-1]), "bfloat16 was not used"
    assert (full[-1] - rounded[-1]).abs().mean() < 0.02 * full[-1].abs().mean() + 0.01
    assert next(half._network.mask_decoder.parameters()).dtype == torch.float32


BAD: list[Box] = [
    (10.0, 10.0, 10.0, 40.0),
    (10.0, 10.0, 40.0, 10.0),
    (500.0, 10.0, 600.0, 40.0),
    (-50.0, -50.0, 0.0, 0.0),
    (float("nan"), 10.0, 40.0, 40.0),
    (10.0, 10.0, 40.0, float("nan")),
]


@pytest.mark.parametrize("name", ["grabcut", "sam2"])
def test_boxes_of_which_nothing_lies_in_the_image_get_an_empty_mask(name: str, segmenter: Sam2Segmenter) -> None:
    chosen = load_segmenter("grabcut") if name == "grabcut" else segmenter
    for result in chosen.segment(_photo(), BAD):
        assert (result.source, result.score, bool(result.mask.any())) == ("box", 0.0, False)


@pytest.mark.parametrize("name", ["grabcut", "sam2"])
def test_reversed_and_overhanging_boxes_are_put_right(name: str, segmenter: Sam2Segmenter) -> None:
    chosen = load_segmenter("grabcut") if name == "grabcut" else segmenter
    plain, reversed_box, infinite = chosen.segment(
        _photo(), [(20.0, 10.0, 120.0, 90.0), (120.0, 90.0, 20.0, 10.0), (20.0, 10.0, float("inf"), 900.0)]
    )
    assert np.array_equal(plain.mask, reversed_box.mask)
    assert np.array_equal(plain.mask, infinite.mask)


def test_no_box_and_one_pixel(segmenter: Sam2Segmenter) -> None:
    assert segmenter.segment(_photo(), []) == []
    assert segmenter.segment(Image.new("RGB", (1, 1)), [(0.0, 0.0, 1.0, 1.0)])[0].mask.shape == (1, 1)
    assert segmenter.segment(Image.new("RGB", (1, 1)), [(0.2, 0.2, 0.3, 0.3)])[0].mask.shape == (1, 1)


def test_five_hundred_boxes_on_a_huge_photo_need_bounded_memory(segmenter: Sam2Segmenter) -> None:
    photo = Image.new("RGB", (6000, 5000), (90, 90, 90))  # 30 megapixels: 15 GB as 500 full masks
    boxes = [(40.0 + index % 25, 30.0 + index // 25, 240.0 + index % 7, 130.0 + index % 9) for index in range(499)]
    boxes.append((0.0, 0.0, 6000.0, 5000.0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = segmenter.segment(photo, boxes)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(results) == 500
    assert grown_mb < 2500  # measured: 900, nearly all of it huge pages that a mask's few rows touch


def _reload(folder: Path, target: Path, **changes: object) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        content = file.read_bytes()
        if file.name in ("preprocessor_config.json", "processor_config.json"):
            values: dict[str, Any] = json.loads(content)
            values.get("image_processor", values).update(changes)
            content = json.dumps(values).encode()
        (target / file.name).write_bytes(content)
    return target


def test_a_processor_of_another_size_is_refused(tiny_sam2: Path, tmp_path: Path) -> None:
    folder = _reload(tiny_sam2, tmp_path / "other", size={"height": 512, "width": 512})
    with pytest.raises(ModelError, match="its processor makes images of 512x512, its model takes 256x256"):
        load_segmenter(str(folder), device="cpu")


def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder without a config.json \(name the folder of a SAM 2 model"):
        load_segmenter(str(tmp_path), device="cpu")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load the SAM 2 model") as caught:
        load_segmenter(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_another_model_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="'qwen2_5_vl' model, not SAM 2"):
        load_segmenter(str(tiny_model), device="cpu")


def test_too_little_memory_is_one_clear_line(segmenter: Sam2Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pixels: object) -> NDArray[np.bool_]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(segmenter._network, "get_image_embeddings", full)
    with pytest.raises(ModelError, match="ran out of memory on cpu"):
        segmenter.segment(_photo(), BOXES)


def test_unknown_segmenter_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no segmenter 'grabcutt' \(known: tiny-sam2, grabcut, sam2, or a folder"):
        load_segmenter("grabcutt")
    assert set(SEGMENTERS) == {"tiny-sam2", "grabcut", "sam2"}


def test_a_checkpoint_of_meta_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "sam2.1_hiera_tiny.pt").touch()
    with pytest.raises(UsageError, match=r"is a file, not a folder \(.*iadr1 model convert-sam2"):
        load_segmenter(str(tmp_path / "sam2.1_hiera_tiny.pt"))


def test_missing_package_names_the_extra(tiny_sam2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam2, "find_spec", lambda name: None if name == "torchvision" else object())
    with pytest.raises(MissingExtraError, match=r"'torchvision' \(install it with: pip install \"iadr1\[masks\]\""):
        load_segmenter(str(tiny_sam2))


def test_an_unknown_device_is_refused_before_the_model_is_loaded() -> None:
    with pytest.raises(ModelChoiceError, match="no device 'warp9'"):
        Sam2Segmenter("nowhere", device="warp9")
