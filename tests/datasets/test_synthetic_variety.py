"""The training pool: endless looks, true labels, and not a pixel of the evaluation sets changed by it."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.datasets.synthetic import (
    CATEGORIES,
    DEFECT_TYPES,
    TRAINING_CATEGORIES,
    Scene,
    applicable_defects,
    category_of,
    draw_plan,
    render,
    training,
    tree,
)
from iadr1.datasets.synthetic import scene as scenes
from iadr1.datasets.synthetic.catalog import CATEGORY_NUMBERS
from iadr1.datasets.synthetic.compose import NoRoomError, build, compose
from iadr1.datasets.synthetic.losses import LOSSES
from iadr1.datasets.synthetic.product import Product, Setup
from iadr1.datasets.synthetic.questions import phrases, questions
from iadr1.datasets.synthetic.training import POOL, Settings, draw, draw_defects, photo
from iadr1.datasets.synthetic.variety.camera import unsteady
from iadr1.datasets.synthetic.variety.outlines import opening, outline
from iadr1.datasets.synthetic.workpiece import Workpiece
from iadr1.geometry import location_word, mask_box

SMALL = Settings(side=112)

# Of the first planned MVTec scenes of each product: pictures, references, masks, words, questions. The three held-out
# products and the ten trained ones were drawn like this before there was a training pool.
EVALUATION = {
    "brushed_steel": "b41199881b68c19a",
    "woven_fabric": "eceaf2201fc8ef1f",
    "oak_board": "7084e8ecf4e18ca4",
    "ceramic_tile": "9d3d67ae05229404",
    "linen": "a51c57895ae42703",
    "steel_washer": "b88f8e7bc5878ea6",
    "bottle_cap": "e0e388190677c2fc",
    "wooden_button": "d2cfe7eb3203f03a",
    "hex_nut": "5dccb4dd71251fa4",
    "circuit_board": "bea1d6f0fe90cc0b",
    "pill_blister": "9ae6f8a77e394bac",
    "keypad": "6086dc8b3bfd87db",
    "bolt_plate": "ccccab5a748d963b",
}


def everything(scene: Scene) -> bytes:
    """All that is known of a scene, as bytes; how an answer is reasoned may change."""
    facts = [(d.type, d.box, d.severity, d.colour, d.size, d.location) for d in scene.defects]
    asked = [(q.type, q.text, q.options, q.answer) for q in questions(scene)]
    words = repr((scene.nuisances, scene.colour, facts, asked, phrases(scene)))
    masks = b"".join(defect.mask.tobytes() for defect in scene.defects)
    return scene.image.tobytes() + scene.reference.tobytes() + masks + words.encode()


@pytest.mark.parametrize("name", CATEGORIES)
def test_evaluation_scenes_are_what_they_were(name: str) -> None:
    digest = hashlib.sha256()
    for seed in tree.MVTEC_SEEDS[:2]:
        digest.update(everything(render(name, seed, defects=draw_plan(name, seed, p_defect=float(seed % 2)))))
    assert digest.hexdigest()[:16] == EVALUATION[name]


def test_the_training_pool_has_new_numbers_and_is_in_no_other_set() -> None:
    assert len(TRAINING_CATEGORIES) == 20
    assert not set(TRAINING_CATEGORIES) & set(CATEGORIES)
    assert len(set(CATEGORY_NUMBERS.values())) == len(CATEGORY_NUMBERS) == 33
    assert [CATEGORY_NUMBERS[name] for name in CATEGORIES] == list(range(1, 14))
    assert [CATEGORY_NUMBERS[name] for name in TRAINING_CATEGORIES] == list(range(101, 121))
    assert not set(TRAINING_CATEGORIES) & {*tree.TRAINED, *tree.HELD_OUT, *tree.half_held_out()}
    assert not {name for name in POOL if category_of(name).held_out}
    assert set(POOL) == {*tree.TRAINED, *TRAINING_CATEGORIES}
    others = [tree.FEWSHOT_SEEDS, tree.GROUNDING_SEEDS, tree.MMAD_SEEDS, tree.MVTEC_SEEDS, tree.MVTEC3D_SEEDS]
    assert all(seeds.start >= tree.TRAINING_SEEDS.stop for seeds in (*others, tree.PHOTO_SEEDS))


@pytest.mark.parametrize("name", TRAINING_CATEGORIES)
def test_every_seed_looks_different_and_the_same_seed_alike(name: str) -> None:
    photos = [render(name, seed, size=96).image for seed in range(6)]
    assert np.array_equal(photos[0], render(name, 0, size=96).image)
    for one, other in itertools.combinations(photos, 2):
        assert np.abs(one.astype(np.float64) - other).mean() > 4.0
    # Not one product in several lights: colours and contrasts spread.
    means = np.array([photo.mean(axis=(0, 1)) for photo in photos])
    assert means.std(axis=0).max() > 8.0


@pytest.mark.parametrize("name", TRAINING_CATEGORIES)
def test_another_piece_has_other_grain_but_the_same_look(name: str) -> None:
    for seed in range(3):
        one, other = (build(name, seed, 112, other=flag)[0] for flag in (False, True))
        assert one.colour == other.colour
        assert len(one.poses) == len(other.poses)
        assert not np.array_equal(one.clean, other.clean)
        means = [piece.clean.mean(axis=(1, 2)) for piece in (one, other)]
        assert np.abs(means[0] - means[1]).max() < 30.0


@pytest.mark.parametrize("name", POOL)
def test_varied_defects_have_true_masks_and_show(name: str) -> None:
    made = 0
    for seed, kind in enumerate(applicable_defects(name)):
        try:
            product = compose(name, seed, (kind,), 160, varied=True)
        except NoRoomError:
            continue
        (defect,) = render(name, seed, defects=(kind,), size=160, varied=True).defects
        delta = np.abs(product.damaged - product.product.clean)
        assert np.array_equal(defect.mask, product.placed[0].mask)
        assert not ((delta.max(axis=0) >= 6.0) & ~defect.mask).any()
        assert delta.mean(axis=0)[defect.mask].mean() >= 12.0
        assert defect.box == mask_box(defect.mask)
        assert defect.location == location_word(defect.box, (160, 160))
        made += 1
    assert made >= len(applicable_defects(name)) - 1


def test_varied_defects_differ_more_than_those_of_the_evaluation_sets() -> None:
    def spread(varied: bool) -> tuple[float, float]:
        made = [compose("ceramic_tile", seed, ("stain",), 112, varied=varied).placed[0] for seed in range(25)]
        areas = np.array([placed.mask.sum() for placed in made], dtype=np.float64)
        return float(np.log(areas).std()), min(placed.contrast for placed in made)

    assert spread(True)[0] > 1.15 * spread(False)[0]
    assert spread(True)[1] < 20.0 <= spread(False)[1]


def test_a_varied_camera_spreads_light_and_colour() -> None:
    grey = np.full((3, 96, 96), 130.0)
    taken = [unsteady(grey, np.random.default_rng(seed)) for seed in range(40)]
    colours = np.array([photo.mean(axis=(1, 2)) for photo in taken])
    assert all(photo.min() >= 0.0 and photo.max() <= 255.0 for photo in taken)
    assert 4 <= sum(photo is grey for photo in taken) <= 18
    assert colours.std(axis=0).min() > 5.0
    assert np.ptp(colours, axis=1).max() > 10.0


def test_every_second_reference_shows_another_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []

    def built(category: str, seed: int, size: int, *, other: bool) -> tuple[Product, Setup]:
        shown.append(other)
        return build(category, seed, size, other=other)

    monkeypatch.setattr(scenes, "build", built)
    for seed in range(40):
        assert render("linen", seed, size=96, varied=True).reference.shape == (96, 96, 3)
    assert 10 <= sum(shown) <= 30
    shown.clear()
    render("linen", 0, size=96).reference.any()
    assert shown == [False]


def test_no_outline_or_opening_is_six_sided() -> None:
    """Six equal sides are the held-out nut's: what repeats after a sixth of a turn is round or has 12, 18, 24 teeth."""
    theta = np.linspace(0.0, 2.0 * np.pi, 720, endpoint=False)
    u, v = 50.0 * np.cos(theta)[None, :], 50.0 * np.sin(theta)[None, :]
    shapes = 0
    for seed, draw_shape in itertools.product(range(300), (outline, opening)):
        rng = np.random.default_rng(seed)
        away = draw_shape(Setup(112, rng, rng, 0.0, (0.0, -1.0), rng), 50.0)(u, v)[0]
        angular = np.ptp(away) > 1.0
        repeats = {n for n in (6, 12, 18, 24) if np.allclose(away, np.roll(away, 720 // n), atol=0.01)}
        assert not angular or repeats != {6}
        shapes += bool(angular)
    assert shapes > 300


def test_plans_have_the_share_asked_for_and_several_defects() -> None:
    plans = [draw_defects("keypad", seed, normal_share=0.45) for seed in range(3000)]
    assert plans == [draw_defects("keypad", seed, normal_share=0.45) for seed in range(3000)]
    counts = Counter(map(len, plans))
    assert 0.42 < counts[0] / 3000 < 0.48
    assert 0.22 < counts[2] / (3000 - counts[0]) < 0.30
    assert 0.09 < counts[3] / (3000 - counts[0]) < 0.15
    assert any(len(set(plan)) < len(plan) for plan in plans)
    assert {kind for plan in plans for kind in plan} == set(DEFECT_TYPES)
    assert all(draw_defects("linen", seed, normal_share=1.0) == () for seed in range(20))


def test_a_chunk_breaks_out_of_an_angular_object_too() -> None:
    """The middle of an L lies beside it: rays from there that never meet it break out nothing."""
    size = 112
    region = np.zeros((size, size), dtype=np.bool_)
    region[20:100, 20:34] = region[86:100, 20:100] = True
    clean = np.where(region, 200.0, 60.0) * np.ones((3, 1, 1))
    product = Product(clean, np.full((3, size, size), 60.0), region, "grey", "grey")
    work = Workpiece(product, np.random.default_rng(0), (0.0, -1.0), clean.copy(), region.copy(), [])
    sketches = [LOSSES["missing part"](work, 1.0) for _ in range(40)]
    assert 5 < sum(sketch is None for sketch in sketches) < 35


def test_a_scene_is_its_number() -> None:
    numbers = [3, 40, 299]
    first = [draw(number, SMALL) for number in numbers]
    for number, scene in zip(numbers, first, strict=True):
        again = draw(number, SMALL)
        assert np.array_equal(scene.image, again.image)
        assert scene.category == POOL[number % len(POOL)]
        assert scene.seed in tree.TRAINING_SEEDS
        assert not np.array_equal(scene.image, draw(number, Settings(seed=1, side=112)).image)


def test_without_room_a_scene_gets_fewer_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def crowded(category: str, seed: int, *, defects: tuple[str, ...], size: int, varied: bool) -> str:
        asked.append(defects)
        if len(defects) > 1:
            raise NoRoomError("full")
        return "scene"

    monkeypatch.setattr(training, "render", crowded)
    monkeypatch.setattr(training, "draw_defects", lambda *_, normal_share: ("stain", "hole", "dent"))
    assert draw(0, SMALL) == "scene"  # type: ignore[comparison-overlap]
    assert asked == [("stain", "hole", "dent"), ("stain", "hole"), ("stain",)]


def test_a_product_without_any_room_gives_way_to_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def full(category: str, seed: int, *, defects: tuple[str, ...], size: int, varied: bool) -> str:
        seeds.append(seed)
        if len(seeds) < 3:
            raise NoRoomError("full")
        return "scene"

    monkeypatch.setattr(training, "render", full)
    monkeypatch.setattr(training, "draw_defects", lambda *_, normal_share: ("stain",))
    draw(0, SMALL)
    assert len(set(seeds)) == 3
    assert all(seed in tree.TRAINING_SEEDS for seed in seeds)


def test_photos_carry_samples_of_all_tasks_with_exact_masks() -> None:
    tasks: Counter[str] = Counter()
    for number in range(0, 60, 4):
        scene, made = draw(number, SMALL), photo(number, SMALL)
        verdict = made.samples[0]
        assert (verdict.task, verdict.is_anomalous) == ("anomaly", bool(scene.defects))
        assert len({sample.id for sample in made.samples}) == len(made.samples)
        for defect, truth in zip(verdict.defects, scene.defects, strict=True):
            assert defect.mask_rle is not None
            assert np.array_equal(rle.decode(rle.parse(defect.mask_rle)), truth.mask)
            assert (defect.type, defect.box, defect.location) == (truth.type, truth.box, truth.location)
        stored = np.asarray(Image.open(BytesIO(made.files[verdict.image])), dtype=np.float64)
        # JPEG, but so little changed that no faint defect drowns.
        assert np.abs(stored - scene.image).mean() < 4.0
        for sample in made.samples:
            assert sample.image_sha256 == hashlib.sha256(made.files[sample.image]).hexdigest()
            assert set(sample.references) <= set(made.files)
            assert not sample.held_out
            assert sample.reasoning
            tasks[sample.task] += 1
        grounding = [sample.defects[0].box for sample in made.samples if sample.task == "grounding"]
        assert set(grounding) <= {truth.box for truth in scene.defects}
    assert set(tasks) == {"anomaly", "choice", "grounding"}


def test_of_every_category_the_share_asked_for_has_references() -> None:
    settings = Settings(side=96, reference_every=2, categories=("keypad", "mosaic"))
    shown = [(photo(number, settings).samples[0].category, len(photo(number, settings).files)) for number in range(8)]
    assert Counter(shown) == {("keypad", 1): 2, ("keypad", 2): 2, ("mosaic", 1): 2, ("mosaic", 2): 2}
    none = Settings(side=96, reference_every=0, categories=("keypad",))
    assert all(photo(number, none).samples[0].references == () for number in range(2))


def test_training_questions_never_name_a_held_out_product() -> None:
    held_out = [CATEGORIES[name] for name in tree.HELD_OUT]
    words = {text for category in held_out for text in (category.title, category.structure, category.function)}
    materials: set[str] = set()
    for number in range(90):
        for question in questions(draw(number, Settings(side=96, normal_share=1.0))):
            assert not words & set(question.options.values())
            assert len(set(question.options.values())) == len(question.options)
            if question.type == "Object Structure":
                materials |= set(question.options.values())
    assert materials >= {"stone", "leather", "paper", "rubber", "metal"}
