"""What the world writes on disk is what its scenes know, read back by the readers of the real sets."""

from __future__ import annotations

import errno
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from iadr1.datasets import mmad, mvtec, mvtec3d, refcoco
from iadr1.datasets.synthetic import CATEGORIES, DEFECT_TYPES, applicable_defects, tree
from iadr1.datasets.synthetic.catalog import CATEGORY_NUMBERS
from iadr1.datasets.synthetic.ledger import Ledger
from iadr1.datasets.synthetic.questions import phrases, questions
from iadr1.datasets.synthetic.samples import dataset_of, rec_entries, union_mask
from iadr1.datasets.synthetic.tree import Shot
from iadr1.errors import OutputError
from iadr1.images import open_mask

# Two types for each category, in turn, so that all types occur.
SINGLES = [
    Shot(name, 9_000_000, (kind,))
    for number, name in enumerate(CATEGORIES)
    for kind in (*applicable_defects(name), *applicable_defects(name))[number % 5 :: 5][:2]
]
COMBINED = [Shot("linen", 9_000_001, ("hole", "stain")), Shot("keypad", 9_000_001, ("dent", "misplacement", "scratch"))]
NORMAL = [Shot(name, 9_000_002, ()) for name in CATEGORIES]
RANGES = {name: value for name, value in vars(tree).items() if name.endswith("_SEEDS")}


def nothing() -> None:
    """No progress is shown."""


def ledger(root: Path, world: str = "a") -> Ledger:
    return Ledger(root, "manifest.json", {"world": world})


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All categories with and without defects, and some combined."""
    root = tmp_path_factory.mktemp("world")
    shots = [*SINGLES, *COMBINED, *NORMAL]
    book = ledger(root)
    tree.write_mmad(book, "MMAD", shots, tick=nothing)
    tree.write_mvtec3d(book, "3d", shots[::2], tick=nothing)
    tree.write_refcoco(book, "ref", [*COMBINED, *SINGLES[::4]], tick=nothing)
    exact = tree.write_mvtec(book, "mvtec", [*SINGLES[::3], *COMBINED, *NORMAL[::4]], tick=nothing)
    (root / "exact.json").write_text(json.dumps([sample.model_dump() for sample in exact]), encoding="utf-8")
    return root


def test_the_mmad_reader_gives_back_every_single_defect(world: Path) -> None:
    truth: Counter[tuple[object, ...]] = Counter()
    for shot in SINGLES:
        (defect,) = shot.render().defects
        truth[shot.category, defect.type, defect.box, defect.location] += 1
    read: Counter[tuple[object, ...]] = Counter()
    for sample in mmad.SOURCE.read(world / "MMAD"):
        if sample.id.endswith("#0") and sample.is_anomalous and "/combined/" not in sample.image:
            (found,) = sample.defects
            read[sample.category, found.type, found.box, found.location] += 1
    assert read == truth
    assert {kind for _, kind, *_ in truth} == set(DEFECT_TYPES)


def test_the_mmad_reader_gives_back_questions_and_reasoning(world: Path) -> None:
    read = {
        (s.category, s.question, s.answer, s.reasoning, *s.options.items()) for s in mmad.SOURCE.read(world / "MMAD")
    }
    asked = [(shot.category, question) for shot in [*SINGLES, *NORMAL] for question in questions(shot.render())]
    assert len(asked) > 190
    for category, q in asked:
        assert (category, q.text, q.answer, q.reasoning, *q.options.items()) in read


def test_images_templates_and_masks_are_the_scene_s(world: Path) -> None:
    samples = {sample.image: sample for sample in mmad.SOURCE.read(world / "MMAD")}
    for shot in [COMBINED[0], SINGLES[-1], NORMAL[3]]:
        scene = shot.render()
        found = [s for s in samples.values() if np.array_equal(pixels(world / "MMAD" / s.image), scene.image)]
        assert [sample.category for sample in found] == [shot.category]
        template, *others = found[0].references
        assert np.array_equal(pixels(world / "MMAD" / template), scene.reference)
        # Normal photos of others of its category, so that two shots can be asked.
        category = template.rpartition("/")[0]
        photos = list((world / "MMAD" / category).iterdir())
        assert len({template, *others}) == 1 + len(others) == min(4, len(photos)) > 2
        assert all(other.startswith(f"{category}/") for other in (*others, *found[0].similar_references))
        assert found[0].similar_references[0] == template
        assert found[0].similar_references != found[0].references
        for defect in found[0].defects:
            assert np.array_equal(open_mask(world / "MMAD" / (defect.mask or "")), union_mask(scene) > 0)


def test_families_and_held_out_categories_are_their_own_sets(world: Path) -> None:
    for sample in mmad.SOURCE.read(world / "MMAD"):
        assert sample.dataset == dataset_of(sample.category)
        assert sample.held_out == CATEGORIES[sample.category].held_out == (sample.dataset == "Syn-Novel")
    assert {dataset_of(name) for name in CATEGORIES} == {"Syn-Surface", "Syn-Part", "Syn-Assembly", "Syn-Novel"}


def test_the_yes_no_samples_know_more_than_the_tree_and_never_contradict_it(world: Path) -> None:
    exact = json.loads((world / "exact.json").read_text(encoding="utf-8"))
    read = {sample.id: sample for sample in mvtec.SOURCE.read(world / "mvtec") if sample.split == "test"}
    assert set(read) == {sample["id"] for sample in exact}
    for sample in exact:
        same = read[sample["id"]]
        assert (same.answer, same.is_anomalous, same.category) == (
            sample["answer"],
            sample["is_anomalous"],
            sample["category"],
        )
        if len(sample["defects"]) == 1:
            assert [(d.type, d.box, d.location) for d in same.defects] == [
                (d["type"], tuple(d["box"]), d["location"]) for d in sample["defects"]
            ]
    combined = [sample for sample in exact if "/combined/" in sample["id"]]
    assert [[d["type"] for d in s["defects"]] for s in combined] == [list(shot.defects) for shot in COMBINED]


def test_the_3d_reader_takes_the_tree(world: Path) -> None:
    found = list(mvtec3d.SOURCE.read(world / "3d"))
    assert {sample.category for sample in found} == {shot.category for shot in [*SINGLES, *COMBINED, *NORMAL][::2]}
    for sample in found:
        if sample.question_type == "Defect Classification":
            assert sample.options[sample.answer] == sample.image.split("/")[2].replace("_", " ")
    assert all(sample.references for sample in found)


def test_the_refcoco_reader_gives_back_phrases_and_boxes(world: Path) -> None:
    scenes = [shot.render() for shot in [*COMBINED, *SINGLES[::4]]]
    truth = [(phrase.text, scene.defects[phrase.defect].box) for scene in scenes for phrase in phrases(scene)]
    found = list(refcoco.SOURCE.read(world / "ref"))
    assert [(sample.defects[0].type, sample.defects[0].box) for sample in found] == truth
    assert {sample.split for sample in found} == {"train"}
    assert found[0].question.endswith(f"this sentence describes: {truth[0][0]}.")
    assert found[0].category == str(CATEGORY_NUMBERS["linen"])


def test_an_expression_has_every_member_vlm_r1_writes() -> None:
    scene = Shot("linen", 9_000_001, ("hole",)).render()
    entry = next(rec_entries(scene, image="images/linen/000.png", image_id=4, first_id=17))
    x1, y1, x2, y2 = scene.defects[0].box
    assert entry == {
        "id": 17,
        "image_id": 4,
        "image": "images/linen/000.png",
        "height": 224,
        "width": 224,
        "original_id": 9_000_001,
        "dataset_name": "synthetic",
        "area": float(scene.defects[0].mask.sum()),
        "iscrowd": 0,
        "category_id": 5,
        "bbox_list": [[x1, y1, x2 - 1, y2 - 1]],
        "text_type": "caption",
        "problem": "Please provide the bounding box coordinate of the region this sentence describes: the hole.",
        "normal_caption": "the hole",
        "solution": [x1, y1, x2, y2],
        "normalized_solution": [int(1000 * value // 224) for value in (x1, y1, x2, y2)],
    }


def test_the_same_scenes_give_the_same_bytes(world: Path, tmp_path: Path) -> None:
    book = ledger(tmp_path)
    tree.write_mmad(book, "MMAD", SINGLES[:4], tick=nothing)
    files = [path for path in book.files() if not path.endswith("mmad.json")]
    assert len(files) == 12
    for path in files:
        assert (tmp_path / path).read_bytes() == (world / path).read_bytes()


def test_each_purpose_has_its_own_seeds() -> None:
    assert len(RANGES) == 7
    for (one, a), (other, b) in itertools.combinations(RANGES.items(), 2):
        assert max(a[0], b[0]) > min(a[-1], b[-1]), f"{one} and {other} share seeds"


@pytest.mark.parametrize("seed", [0, 1, 123_456_789])
def test_a_plan_stays_in_its_range_and_repeats_nothing(seed: int) -> None:
    shots = tree.plan(tree.FEWSHOT_SEEDS, 600, seed=seed, categories=tree.TRAINED)
    assert all(shot.seed in tree.FEWSHOT_SEEDS for shot in shots)
    assert len({shot.seed for shot in shots}) == 600
    assert Counter(shot.category for shot in shots) == dict.fromkeys(tree.TRAINED, 60)
    for category in tree.TRAINED:
        assert sum(bool(shot.defects) for shot in shots if shot.category == category) == 30
    other = tree.plan(tree.FEWSHOT_SEEDS, 600, seed=seed + 1, categories=tree.TRAINED)
    assert not {shot.seed for shot in shots} & {shot.seed for shot in other}


def test_half_of_the_yes_no_plan_is_held_out_and_half_of_both_halves_defective() -> None:
    shots = tree.plan(tree.MVTEC_SEEDS, 120, seed=0, categories=tree.half_held_out())
    table = Counter((CATEGORIES[shot.category].held_out, bool(shot.defects)) for shot in shots)
    assert table == {(held_out, defective): 30 for held_out in (True, False) for defective in (True, False)}


def test_photos_differ_in_size_and_format_and_keep_their_defects(tmp_path: Path) -> None:
    shots = tree.plan(tree.PHOTO_SEEDS, 16, seed=0, categories=tuple(CATEGORIES))
    tree.write_photos(ledger(tmp_path), shots, tick=nothing)
    photos = sorted(path for path in (tmp_path / "images").rglob("*") if path.is_file())
    assert len(photos) == 16
    sizes = {Image.open(path).size for path in photos}
    assert {"JPEG", "PNG"} == {Image.open(path).format for path in photos}
    assert len(sizes) > 5
    assert any(4 * height == 3 * width for width, height in sizes)
    for path in photos:
        reference = tmp_path / "references" / path.relative_to(tmp_path / "images")
        assert Image.open(reference).size == Image.open(path).size


# --- the ledger -------------------------------------------------------------------------------------------------


def test_a_second_run_of_the_same_world_writes_nothing(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.write("a/b.txt", b"one")
    first.save(complete=True)
    stamp = (tmp_path / "a/b.txt").stat().st_mtime_ns
    second = ledger(tmp_path)
    assert second.is_current()
    second.write("a/b.txt", b"one")
    assert (second.written, second.unchanged) == (0, 1)
    assert (tmp_path / "a/b.txt").stat().st_mtime_ns == stamp


def test_an_incomplete_or_other_world_or_a_lost_file_is_not_current(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.write("a.txt", b"one")
    book.save(complete=False)
    assert not ledger(tmp_path).is_current()
    book.save(complete=True)
    assert not ledger(tmp_path, "b").is_current()
    (tmp_path / "a.txt").unlink()
    assert not ledger(tmp_path).is_current()


def test_a_foreign_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.txt: the file was not written by"):
        ledger(tmp_path).write("a.txt", b"one")
    assert (tmp_path / "a.txt").read_bytes() == b"mine"


def test_what_a_killed_run_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one")
    book = ledger(tmp_path)
    book.write("a.txt", b"one")
    assert book.unchanged == 1


def test_a_changed_file_is_left_as_it_is_and_an_own_one_replaced(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.write("a.txt", b"one")
    first.write("b.txt", b"one")
    first.save(complete=True)
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(OutputError):
        ledger(tmp_path).is_current()
    second = ledger(tmp_path, "b")
    with pytest.raises(OutputError):
        second.write("a.txt", b"two")
    second.write("b.txt", b"two")
    assert ((tmp_path / "a.txt").read_bytes(), (tmp_path / "b.txt").read_bytes()) == (b"mine", b"two")


def test_pruning_removes_own_files_only(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    for name in ("x/a.txt", "x/b.txt", "y/c.txt"):
        first.write(name, b"one")
    first.save(complete=True)
    (tmp_path / "x/foreign.txt").write_bytes(b"mine")
    second = ledger(tmp_path, "b")
    second.write("x/a.txt", b"one")
    second.prune("x/")
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["a.txt", "c.txt", "foreign.txt"]
    (tmp_path / "y/c.txt").write_bytes(b"mine")
    with pytest.raises(OutputError):
        second.prune("")
    assert (tmp_path / "y/c.txt").read_bytes() == b"mine"


def test_files_of_a_run_that_saved_nothing_are_known(tmp_path: Path) -> None:
    ledger(tmp_path).write("a.txt", b"one")
    ledger(tmp_path, "b").write("a.txt", b"two")
    book = ledger(tmp_path, "c")
    book.write("a.txt", b"three")
    book.save(complete=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "manifest.json"]
    assert ledger(tmp_path, "c").is_current()


def test_a_kill_at_any_point_of_a_write_leaves_a_known_file(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.write("a.txt", b"one")
    first.save(complete=True)
    journal = tmp_path / "manifest.journal"
    # Announced but not written, then a line cut off.
    journal.write_text('["a.txt", "0123"]\n["b.txt", "45', encoding="utf-8")
    second = ledger(tmp_path)
    assert not second.is_current()
    second.write("a.txt", b"two")
    second.write("b.txt", b"two")
    third = ledger(tmp_path, "b")
    third.write("a.txt", b"three")
    third.write("b.txt", b"three")
    assert (tmp_path / "b.txt").read_bytes() == b"three"


def test_a_file_that_was_not_written_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ledger(tmp_path)
    first.write("a.txt", b"one")
    first.save(complete=True)
    second = ledger(tmp_path, "b")
    with monkeypatch.context() as change:
        change.setattr(Path, "write_bytes", _full_disk)
        with pytest.raises(OutputError, match="No space left"):
            second.write("a.txt", b"two")
    second.save(complete=False)
    ledger(tmp_path, "c").write("a.txt", b"three")
    assert (tmp_path / "a.txt").read_bytes() == b"three"


def _full_disk(path: Path, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_changed_after_a_kill_is_left_as_it_is(tmp_path: Path) -> None:
    ledger(tmp_path).write("a.txt", b"one")
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(OutputError, match="was not written by"):
        ledger(tmp_path, "b").write("a.txt", b"two")


def test_a_foreign_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.journal").write_text("dear diary\n", encoding="utf-8")
    with pytest.raises(OutputError, match="not a journal"):
        ledger(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", '{"world": 1}'])
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match="not a manifest"):
        ledger(tmp_path)
