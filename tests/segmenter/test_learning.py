"""What a segmenter learns by, and that it sees at work what it saw in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iadr1.errors import DataError, ModelError
from iadr1.masks import load_segmenter
from iadr1.masks.boxcrop import BoxCrop, cut, scaled, standardised
from iadr1.masks.sam2 import enlarge
from iadr1.stages.segmenter.batches import Batch
from iadr1.stages.segmenter.learning import Learner, loss_of, near, rate
from iadr1.stages.segmenter.network import ask, load_network, new_network, save_network
from tests.segmenter.world import small

CROP = BoxCrop(threshold=-0.25)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return new_network(side=64, width=8, hidden=32, crop=CROP).eval()


def _batch(seed: int = 0, count: int = 2) -> Batch:
    rng = np.random.default_rng(seed)
    targets = np.zeros((count, 32, 32), dtype=np.float32)
    targets[:, 10:22, 10:22] = 1
    pixels = rng.normal(0, 0.2, (count, 3, 64, 64)).astype(np.float32) + np.kron(targets, np.ones((2, 2)))[:, None]
    boxes = np.array([[20, 20, 44, 44]] * count, dtype=np.float32)
    return Batch(standardised(pixels.astype(np.float32)), boxes, targets)


def _loss_of_logits(logits: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    monkeypatch.setattr(
        "iadr1.stages.segmenter.learning.ask", lambda *_: (logits[:, None], torch.full((len(logits),), 0.5))
    )
    loss, figures = loss_of(None, _batch())
    assert float(loss) == pytest.approx(figures.loss)
    return figures


def test_the_truth_costs_nothing_and_its_opposite_much(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = torch.from_numpy(_batch().targets[:, ::2, ::2]) * 40 - 20  # the grid is half as fine as the targets
    right = _loss_of_logits(truth, monkeypatch)
    wrong = _loss_of_logits(-truth, monkeypatch)
    empty = _loss_of_logits(torch.full_like(truth, -20), monkeypatch)
    assert right[1] > 0.8
    assert wrong[1] == 0
    assert right[0] < 1.0 < empty[0] < wrong[0]


def test_what_lies_far_from_the_box_counts_little() -> None:
    weights = near(torch.tensor([[16.0, 24.0, 48.0, 40.0]]), side=64, grid=32)[0]
    rows, columns = np.nonzero(weights.numpy() == 1)
    # 32 x 16 px grown by a fifth on each side, in cells of 2 px: 9.6..54.4 across, 20.8..43.2 down.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (5, 26, 10, 21)
    assert float(weights.min()) == pytest.approx(0.1)


def test_the_step_size_rises_and_falls() -> None:
    sizes = [rate(done, steps=100, warmup=10) for done in range(100)]
    assert sizes[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert sizes[10] == pytest.approx(1.0)
    assert sizes[55] == pytest.approx(0.505, abs=0.01)
    assert sizes[99] < 0.012
    assert sizes[10:] == sorted(sizes[10:], reverse=True)
    assert rate(0, steps=5, warmup=0) == pytest.approx(1.0)


def test_a_few_steps_on_one_batch_find_the_square(network: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = small(tmp_path / "none", tmp_path / "out", steps=25, learning_rate=4e-3)
    learner = Learner(new_network(side=64, width=8, hidden=32, crop=CROP), config)
    figures = [learner.step(_batch()) for _ in range(25)]
    assert figures[-1].loss < 0.6 * figures[0].loss
    assert figures[-1].iou > 0.8
    # The average follows, and is not what is trained.
    mean, own = (next(part.parameters()) for part in (learner.average, learner.network))
    assert not torch.equal(mean, own)
    with torch.no_grad():
        logits, _ = ask(learner.average, *(torch.from_numpy(part) for part in _batch()[:2]))
    assert float(((logits[0, 0] > 0).numpy() == (_batch().targets[0, ::2, ::2] > 0.5)).mean()) > 0.8


def test_the_network_is_small_and_says_how_boxes_are_shown(network: Any) -> None:
    default = new_network(side=256, width=24, hidden=64, crop=CROP)
    assert 0.3e6 < sum(value.numel() for value in default.parameters()) < 3e6
    assert BoxCrop.read(default.config.box_crop, where="") == CROP
    assert not default.config.mask_decoder_config.dynamic_multimask_via_stability
    places = (default.shared_image_embedding, default.prompt_encoder.shared_embedding)
    assert torch.equal(*(place.positional_embedding for place in places))


def test_a_folder_draws_what_training_saw(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o044 == 0o044
    pixels = np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    box = (50.0, 10.0, 86.0, 30.0)  # its crop lies partly outside the photo
    view = CROP.view(box)
    assert view[2] > 90
    shown = scaled(cut(pixels, view), 64)
    across, down = 64 / (view[2] - view[0]), 64 / (view[3] - view[1])
    corners = [(box[0] - view[0]) * across, (box[1] - view[1]) * down]
    corners += [(box[2] - view[0]) * across, (box[3] - view[1]) * down]
    crop = standardised((shown.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None])
    with torch.no_grad():
        rounded = load_network(tmp_path / "model", side=64, crop=CROP).eval()  # float16 on disk
        logits, scores = ask(rounded, torch.from_numpy(crop), torch.tensor([corners], dtype=torch.float32))
    # Random weights draw nearly even logits: with their median as threshold every small difference shows.
    middle = BoxCrop(threshold=float(logits.median()))
    network.config.box_crop = middle.entry()
    save_network(network, tmp_path / "model")
    network.config.box_crop = CROP.entry()
    expected = enlarge(logits[0, 0] - middle.threshold, box, view=view, image_wh=(90, 70), reach=CROP.reach)
    (result,) = load_segmenter(str(tmp_path / "model"), device="cpu").segment(Image.fromarray(pixels), [box])
    assert 0.1 < expected.sum() / (1.4**2 * 36 * 20) < 0.9
    assert float((result.mask ^ expected).sum()) <= 0.02 * expected.sum() + 1
    assert result.score == pytest.approx(float(scores[0].clamp(0, 1)), abs=1e-3)


def test_weights_move_to_another_side(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model")
    larger = load_network(tmp_path / "model", side=128, crop=BoxCrop(context=2.0))
    assert larger.config.prompt_encoder_config.image_size == 128
    assert larger.config.box_crop["context"] == 2.0
    for (name, one), (_, two) in zip(network.named_parameters(), larger.named_parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-3, rtol=1e-3), name
    logits, _ = ask(larger, torch.zeros(1, 3, 128, 128), torch.tensor([[20.0, 20.0, 90.0, 90.0]]))
    assert logits.shape == (1, 1, 32, 32)


def test_what_is_no_segmenter_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the segmenter"):
        load_network(tmp_path / "nowhere", side=64, crop=CROP)
    from tests.masks.tiny_sam2 import build

    with pytest.raises(ModelError, match="built otherwise"):
        load_network(build(tmp_path / "other"), side=64, crop=CROP)


def test_a_state_goes_back_into_its_own_run_only(network: Any, tmp_path: Path) -> None:
    config = small(tmp_path / "none", tmp_path)
    learner = Learner(new_network(side=64, width=8, hidden=32, crop=CROP), config)
    learner.step(_batch())
    learner.save(tmp_path / "state.pt", config_hash="a", seconds=3.5)
    learner.step(_batch(1))
    other = Learner(new_network(side=64, width=8, hidden=32, crop=CROP), config)
    assert other.restore(tmp_path / "state.pt", config_hash="a") == 3.5
    assert other.done == 1
    other.step(_batch(1))
    for one, two in zip(learner.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(one, two)
    for one, two in zip(learner.average.parameters(), other.average.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(DataError, match="of run a, this is run b"):
        other.restore(tmp_path / "state.pt", config_hash="b")
    (tmp_path / "state.pt").write_bytes(b"cut off")
    with pytest.raises(DataError, match="cannot be read"):
        other.restore(tmp_path / "state.pt", config_hash="a")
