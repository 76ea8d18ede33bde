"""The synthetic world keeps its promises: same pixels everywhere, exact masks, visible defects."""

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from iadr1.datasets.synthetic import (
    CATEGORIES,
    DEFECT_TYPES,
    Scene,
    applicable_defects,
    draw_plan,
    render,
)
from iadr1.datasets.synthetic.compose import Composition, compose
from iadr1.errors import UsageError
from iadr1.geometry import location_word, mask_box

PAIRS = [(name, kind) for name in CATEGORIES for kind in applicable_defects(name)]

# Changing a pixel of the world changes published data sets: new values here need a note in the changelog.
GOLDEN = {
    ("brushed_steel", 1, ("scratch",)): "f86e8132cb528b1d",
    ("linen", 2, ()): "b31be66adeae68d0",
    ("hex_nut", 3, ("missing part", "stain")): "1e39fb705ca424d8",
    ("circuit_board", 4, ("misplacement", "hole", "crack")): "b8b5d26028604490",
    ("oak_board", 5, ("dent",)): "4b8bbb6cab99f83c",
}


def digest(scene: Scene) -> str:
    parts = [scene.image.tobytes(), scene.reference.tobytes(), repr(scene.nuisances).encode()]
    for defect in scene.defects:
        parts += [defect.mask.tobytes(), repr((defect.type, defect.box, defect.severity, defect.colour)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def change(made: Composition) -> np.ndarray:
    return np.abs(made.damaged - made.product.clean)


def test_catalogue_has_thirteen_categories_six_materials_and_one_held_out_per_kind() -> None:
    assert len(CATEGORIES) == 13
    assert {c.name for c in CATEGORIES.values() if c.held_out} == {"linen", "hex_nut", "bolt_plate"}
    assert {c.material for c in CATEGORIES.values()} == {"metal", "fabric", "wood", "ceramic", "plastic", "laminate"}
    families = [c.family for c in CATEGORIES.values()]
    assert (families.count("surface"), families.count("part"), families.count("assembly")) == (5, 4, 4)
    for category in CATEGORIES.values():
        assert (category.component is not None) == (category.family == "assembly")
        assert category.structure
        assert category.function


@pytest.mark.parametrize(("family", "absent"), [("surface", 2), ("part", 1), ("assembly", 0)])
def test_applicable_defects_depend_on_the_family(family: str, absent: int) -> None:
    expected = DEFECT_TYPES[: len(DEFECT_TYPES) - absent]
    names = [c.name for c in CATEGORIES.values() if c.family == family]
    assert {applicable_defects(name) for name in names} == {expected}


@pytest.mark.parametrize(
    ("category", "defects"),
    [
        ("linen", ("missing part",)),
        ("hex_nut", ("misplacement",)),
        ("keypad", ("rust",)),
        ("teapot", ()),
        ("keypad", ("scratch",) * 4),
    ],
)
def test_render_refuses_what_the_world_does_not_have(category: str, defects: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        render(category, 0, defects=defects)
    assert isinstance(caught.value, ValueError)


def test_render_refuses_negative_seeds_and_odd_sizes() -> None:
    for seed, size in ((-1, 224), (0, 95), (0, 1025)):
        with pytest.raises(ValueError, match="out of range"):
            render("linen", seed, size=size)


@pytest.mark.parametrize("key", GOLDEN, ids=lambda key: f"{key[0]}-{key[1]}")
def test_golden_scenes(key: tuple[str, int, tuple[str, ...]]) -> None:
    category, seed, defects = key
    assert digest(render(category, seed, defects=defects)) == GOLDEN[key]


def test_scene_is_the_same_twice_and_in_another_process() -> None:
    here = hashlib.sha256(render("keypad", 7, defects=("dent", "missing part")).image.tobytes()).hexdigest()
    again = hashlib.sha256(render("keypad", 7, defects=("dent", "missing part")).image.tobytes()).hexdigest()
    code = (
        "import hashlib; from iadr1.datasets.synthetic import render;"
        "print(hashlib.sha256(render('keypad', 7, defects=('dent', 'missing part')).image.tobytes()).hexdigest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "4711"}
    there = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert here == again == there.stdout.strip()


def test_seeds_and_categories_differ() -> None:
    images = [render(name, seed).image.tobytes() for name in CATEGORIES for seed in (0, 1)]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_defect_has_an_exact_visible_mask_inside_the_picture(name: str, kind: str) -> None:
    for seed in range(3):
        made = compose(name, seed, (kind,), 224)
        (defect,) = render(name, seed, defects=(kind,)).defects
        delta = change(made)
        mask = defect.mask
        rows, columns = ndimage.find_objects(mask.astype(np.int64))[0]
        assert defect.type == kind
        # Everything that visibly changed is in the mask, and nothing else changed at all but soft fringes.
        assert not ((delta.max(axis=0) >= 6.0) & ~mask).any()
        outside = np.ones_like(mask)
        outside[max(rows.start - 14, 0) : rows.stop + 14, max(columns.start - 14, 0) : columns.stop + 14] = False
        assert delta[:, outside].max(initial=0.0) == 0.0
        assert delta.mean(axis=0)[mask].mean() >= 18.0
        assert mask.sum() >= 60
        assert defect.box == mask_box(mask)
        x1, y1, x2, y2 = defect.box
        assert 0 <= x1 < x2 <= 224
        assert 0 <= y1 < y2 <= 224
        assert defect.location == location_word(defect.box, (224, 224))
        assert defect.severity in {"minor", "moderate", "severe"}
        assert defect.size in {"small", "medium", "large"}


@pytest.mark.parametrize("name", [c.name for c in CATEGORIES.values() if c.family == "part"])
def test_damage_lies_on_the_object(name: str) -> None:
    for kind, seed in itertools.product(DEFECT_TYPES[:5], range(3)):
        made = compose(name, seed, (kind,), 224)
        assert not (made.placed[0].mask & ~made.product.region).any()


def test_same_seed_is_the_same_product_with_and_without_defects() -> None:
    for name in CATEGORIES:
        normal, damaged = render(name, 11), render(name, 11, defects=("hole",))
        assert normal.nuisances == damaged.nuisances
        assert normal.colour == damaged.colour
        assert (normal.reference == damaged.reference).all()
        far = ~ndimage.binary_dilation(damaged.defects[0].mask, iterations=8)
        assert (normal.image == damaged.image)[far].all()
        assert (normal.image != damaged.image)[damaged.defects[0].mask].any()


def _difference(scene: Scene, area: np.ndarray) -> float:
    """Mean difference to the reference in an area, after undoing the shift and slow changes of light."""
    image, reference = (
        ndimage.uniform_filter(photo.astype(np.float64).mean(axis=2), 3) for photo in (scene.image, scene.reference)
    )
    shifts = itertools.product(range(-3, 4), repeat=2)
    moved = min(
        (np.roll(reference, shift, axis=(0, 1)) for shift in shifts),
        key=lambda other: float(np.abs(np.diff(image - other, axis=0)).mean()),
    )
    gain = ndimage.uniform_filter(image, 41) / ndimage.uniform_filter(moved, 41)
    inner = np.zeros_like(area)
    inner[6:-6, 6:-6] = True
    return float(np.abs(image - gain * moved)[area & inner].mean())


@pytest.mark.parametrize("name", CATEGORIES)
def test_reference_shows_the_same_product_without_the_defect(name: str) -> None:
    scene = render(name, 5, defects=("hole",))
    normal = render(name, 5)
    mask = scene.defects[0].mask
    everywhere = np.ones_like(mask)
    assert scene.reference.shape == scene.image.shape
    assert (scene.reference != normal.image).any()
    assert _difference(normal, everywhere) < 3.5
    assert _difference(normal, mask) < 8.0
    assert _difference(scene, mask) > 20.0


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("steel_washer", ("scratch", "stain", "hole")),
        ("hex_nut", ("crack", "missing part", "dent")),
        ("pill_blister", ("misplacement", "missing part", "crack")),
        ("bolt_plate", ("stain", "misplacement", "scratch")),
        ("linen", ("hole", "hole", "hole")),
    ],
)
def test_several_defects_do_not_overlap_and_keep_their_order(name: str, kinds: tuple[str, ...]) -> None:
    for seed in range(5):
        made = compose(name, seed, kinds, 224)
        masks = np.stack([placed.mask for placed in made.placed])
        assert tuple(placed.type for placed in made.placed) == kinds
        assert masks.sum(axis=0).max() == 1
        assert not ((change(made).max(axis=0) >= 6.0) & ~masks.any(axis=0)).any()


def test_missing_component_leaves_its_place_bare_and_the_others_alone() -> None:
    for name in ("circuit_board", "pill_blister", "keypad", "bolt_plate"):
        made = compose(name, 3, ("missing part",), 224)
        mask = made.placed[0].mask
        core = ndimage.binary_erosion(mask, iterations=2)
        assert np.allclose(made.damaged[:, core], made.product.bare[:, core])
        hit = [pose for pose in made.product.poses if mask[round(pose.y), round(pose.x)]]
        assert len(hit) == 1
        assert render(name, 3).component_count == len(made.product.poses) >= 4


def test_misplaced_component_covers_its_place_and_where_it_is() -> None:
    for name, seed in itertools.product(("circuit_board", "pill_blister", "keypad", "bolt_plate"), range(3)):
        absent = compose(name, seed, ("missing part",), 224).placed[0].mask.sum()
        moved = compose(name, seed, ("misplacement",), 224)
        assert moved.placed[0].mask.sum() > 1.15 * absent
        assert any(moved.placed[0].mask[round(p.y), round(p.x)] for p in moved.product.poses)


def test_looks_differ_by_type() -> None:
    made = {kind: compose("ceramic_tile", 8, (kind,), 224) for kind in DEFECT_TYPES[:5]}
    grey = {kind: one.damaged.mean(axis=0)[one.placed[0].mask] for kind, one in made.items()}
    assert np.percentile(grey["hole"], 20) < 25.0
    assert np.median(grey["crack"]) < 120.0
    dent = (made["dent"].damaged - made["dent"].product.clean).mean(axis=0)
    assert dent.max() > 10.0
    assert dent.min() < -25.0
    for kind in ("scratch", "crack"):
        mask = made[kind].placed[0].mask
        # Thin: next to nothing is left after taking three pixels off every side.
        assert ndimage.binary_erosion(mask, iterations=3).sum() < 0.05 * mask.sum()


@pytest.mark.parametrize("size", [112, 448])
def test_other_sizes_show_the_same_kind_of_scene(size: int) -> None:
    for name in CATEGORIES:
        scene = render(name, 2, defects=("stain",), size=size)
        assert scene.image.shape == scene.reference.shape == (size, size, 3)
        assert scene.colour == render(name, 2).colour


def test_plans_follow_their_chances_and_apply() -> None:
    plans = [draw_plan("keypad", seed) for seed in range(2000)]
    assert plans == [draw_plan("keypad", seed) for seed in range(2000)]
    counts = [len(plan) for plan in plans]
    defective = len(plans) - counts.count(0)
    assert 0.46 < defective / len(plans) < 0.54
    assert 0.65 < counts.count(1) / defective < 0.75
    assert 0.04 < counts.count(3) / defective < 0.12
    assert all(len(set(plan)) == len(plan) for plan in plans)
    assert {kind for plan in plans for kind in plan} == set(DEFECT_TYPES)
    assert all(draw_plan("linen", seed, p_defect=0.0) == () for seed in range(20))
    assert all(set(draw_plan("linen", seed, p_defect=1.0)) <= set(DEFECT_TYPES[:5]) for seed in range(200))


def test_planned_scenes_all_render_and_nuisances_occur_on_normal_ones() -> None:
    seen: set[str] = set()
    for name, seed in itertools.product(CATEGORIES, range(300, 312)):
        plan = draw_plan(name, seed)
        scene = render(name, seed, defects=plan)
        assert tuple(defect.type for defect in scene.defects) == plan
        if not plan:
            seen.update(scene.nuisances)
    assert seen >= {"uneven lighting", "glare", "dust", "slight blur", "sensor noise", "slight rotation"}
