from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets import mmad, mmad_notes
from iadr1.datasets.mmad import FOLDED, SOURCE, SUBTASKS
from iadr1.errors import DataError
from iadr1.images import file_sha256
from iadr1.records import Sample

Photo = Callable[..., None]
Mask = Callable[..., None]

DETECTION = {"Question": "Is there any defect in the object?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."},
             "type": "Anomaly Detection", "annotation": True}  # fmt: skip
# Letters with a gap, and in another than alphabetic order.
KIND = {"Question": "What is the type of the defect?", "Answer": "C", "Options": {"D": "Bent.", "C": "Broken large."},
        "type": "Defect Classification", "annotation": True}  # fmt: skip
STRUCTURE = {"Question": "What is in the object?", "Answer": "B", "Options": {"A": "Air.", "B": "Pins.", "C": "Ink."},
             "type": "Object Structure", "annotation": False}  # fmt: skip

BOTTLE = "DS-MVTec/bottle/image/broken_large/000.png"
CAPSULE = "DS-MVTec/capsule/image/poke/001.png"
CANDLE = "VisA/candle/test/bad/002.JPG"
PUSHPIN = "MVTec-LOCO/pushpins/test/good/003.png"
JUICE = "MVTec-LOCO/juice_bottle/test/logical_anomalies/017.png"
CAN = "GoodsAD/drink_can/test/straw_missing/012003.jpg"


def templates(*names: str) -> dict[str, Any]:
    return {"similar_templates": list(names[:1]), "random_templates": list(names)}


def index() -> dict[str, Any]:
    return {
        BOTTLE: {
            "image_path": "image/broken_large/000.png",
            "mask_path": "rbg_mask/broken_large/000_rbg_mask.png",
            "conversation": [DETECTION, KIND],
            "similar_templates": ["MVTec-AD/bottle/train/good/026.png", "MVTec-AD/bottle/train/good/001.png"],
            "random_templates": ["MVTec-AD/bottle/train/good/102.png", "MVTec-AD/bottle/train/good/026.png"],
        },
        CANDLE: {
            "image_path": "test/bad/002.JPG",
            "mask_path": "ground_truth/bad/002.png",
            "conversation_v2": [DETECTION],
            **templates("VisA/candle/train/good/0001.JPG"),
        },
        PUSHPIN: {
            "image_path": "test/good/003.png",
            # Never there for a normal product, whatever the file says.
            "mask_path": "ground_truth/good/003.png",
            "conversation": [{**DETECTION, "Answer": "B"}, STRUCTURE],
            **templates("MVTec-LOCO/pushpins/train/good/000.png"),
        },
        CAPSULE: {
            "image_path": "image/poke/001.png",
            "mask_path": "rgb_mask/poke/001_rgb_mask.png",
            "conversation": [DETECTION],
            **templates("MVTec-AD/capsule/train/good/000.png"),
        },
        JUICE: {
            "image_path": "test/logical_anomalies/017.png",
            "mask_path": "ground_truth/logical_anomalies/017/000.png",
            "conversation": [DETECTION],
            **templates("MVTec-LOCO/juice_bottle/train/good/000.png"),
        },
        CAN: {
            "image_path": "test/straw_missing/012003.jpg",
            "mask_path": "ground_truth/straw_missing/012003.png",
            "conversation": [DETECTION],
            **templates("GoodsAD/drink_can/train/good/012000.jpg"),
        },
    }


@pytest.fixture
def mmad_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for key, value in index().items():
        for path in (key, *value["similar_templates"], *value["random_templates"]):
            photo(tmp_path / path)
    mask(tmp_path / "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png", [(2, 40, 12, 55)], value=(0, 0, 9))
    mask(tmp_path / "DS-MVTec/capsule/rgb_mask/poke/001_rgb_mask.png", [(20, 20, 40, 40)], value=(0, 120, 0))
    mask(tmp_path / "VisA/candle/ground_truth/bad/002.png", [(5, 5, 9, 9), (40, 20, 50, 30)], value=1)
    folder = tmp_path / "MVTec-LOCO/juice_bottle/ground_truth/logical_anomalies/017"
    mask(folder / "000.png", [(0, 0, 10, 10)], value=255)
    mask(folder / "001.png", [(5, 5, 20, 20)], value=241)
    mask(tmp_path / "GoodsAD/drink_can/ground_truth/straw_missing/012003.png", [(50, 0, 60, 10)])
    write(tmp_path, index())
    return tmp_path


def write(root: Path, value: object) -> None:
    (root / "mmad.json").write_text(json.dumps(value), encoding="utf-8")


def read(root: Path, **options: Any) -> dict[str, Sample]:
    return {sample.id: sample for sample in SOURCE.read(root, **options)}


def test_every_question_becomes_a_sample_in_file_order(mmad_root: Path) -> None:
    found = list(SOURCE.read(mmad_root))
    assert [s.id for s in found] == [
        f"{BOTTLE}#0",
        f"{BOTTLE}#1",
        f"{CANDLE}#0",
        f"{PUSHPIN}#0",
        f"{PUSHPIN}#1",
        f"{CAPSULE}#0",
        f"{JUICE}#0",
        f"{CAN}#0",
    ]
    names = ("DS-MVTec", "DS-MVTec", "VisA", "MVTec-LOCO", "MVTec-LOCO", "DS-MVTec", "MVTec-LOCO", "GoodsAD")
    assert tuple(s.dataset for s in found) == names
    assert [s.category for s in found[2:]] == ["candle", "pushpins", "pushpins", "capsule", "juice_bottle", "drink_can"]
    assert [s.is_anomalous for s in found] == [True, True, True, False, False, True, True, True]
    assert {s.task for s in found} == {"choice"}
    assert not any(s.held_out for s in found)


def test_no_image_of_many_is_lost_or_moved(tmp_path: Path) -> None:
    images = [f"VisA/pcb1/test/good/{number:03d}.JPG" for number in range(100)]
    write(tmp_path, {path: {"conversation": [DETECTION, STRUCTURE]} for path in images})
    found = SOURCE.read(tmp_path, missing="keep")
    assert [s.id for s in found] == [f"{path}#{number}" for path in images for number in range(2)]


def test_the_subtask_is_given_where_the_benchmark_folds_the_type(mmad_root: Path) -> None:
    value = index()
    value[PUSHPIN]["conversation"] = [{**STRUCTURE, "type": kind} for kind in (*SUBTASKS, *FOLDED)]
    write(mmad_root, value)
    found = [s for s in SOURCE.read(mmad_root) if s.image == PUSHPIN]
    assert [s.question_type for s in found] == [*SUBTASKS, "Object Structure", "Object Details"]
    assert [s.subtask for s in found] == [""] * 7 + ["Object Analysis"] * 2
    assert [s.reported_as for s in found] == [*SUBTASKS, "Object Analysis", "Object Analysis"]


def test_options_keep_the_file_s_order_and_get_letters_by_position(mmad_root: Path) -> None:
    kind = read(mmad_root)[f"{BOTTLE}#1"]
    assert list(kind.options.items()) == [("A", "Bent."), ("B", "Broken large.")]
    assert kind.answer == "B"


def test_references_are_the_templates_in_order(mmad_root: Path) -> None:
    bottle = read(mmad_root)[f"{BOTTLE}#0"]
    folder = "MVTec-AD/bottle/train/good"
    assert bottle.references == (f"{folder}/102.png", f"{folder}/026.png")
    assert bottle.similar_references == (f"{folder}/026.png", f"{folder}/001.png")


def test_an_image_without_templates_has_no_references(mmad_root: Path) -> None:
    value = index()
    del value[CAN]["similar_templates"]
    value[CAN]["random_templates"] = []
    write(mmad_root, value)
    can = read(mmad_root)[f"{CAN}#0"]
    assert (can.references, can.similar_references) == ((), ())


def test_masks_lie_below_the_class_folder_and_give_boxes(mmad_root: Path) -> None:
    found = read(mmad_root)
    (broken,) = found[f"{BOTTLE}#0"].defects
    assert (broken.type, broken.box, broken.location) == ("broken large", (2, 40, 12, 55), "bottom left")
    assert broken.mask == "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png"
    assert [defect.box for defect in found[f"{CANDLE}#0"].defects] == [(5, 5, 9, 9), (40, 20, 50, 30)]
    assert [(d.type, d.box) for d in found[f"{CAPSULE}#0"].defects] == [("poke", (20, 20, 40, 40))]
    assert [(d.type, d.box) for d in found[f"{CAN}#0"].defects] == [("straw missing", (50, 0, 60, 10))]


@pytest.mark.parametrize("suffix", ["/000.png", "/001.png", ""], ids=["the first", "another", "the folder"])
def test_loco_s_masks_are_all_read_whichever_is_named(mmad_root: Path, suffix: str) -> None:
    value, folder = index(), "ground_truth/logical_anomalies/017"
    value[JUICE]["mask_path"] = folder + suffix
    write(mmad_root, value)
    assert [(d.type, d.box, d.mask) for d in read(mmad_root)[f"{JUICE}#0"].defects] == [
        ("logical anomalies", (0, 0, 10, 10), f"MVTec-LOCO/juice_bottle/{folder}/000.png"),
        ("logical anomalies", (5, 5, 20, 20), f"MVTec-LOCO/juice_bottle/{folder}/001.png"),
    ]


def test_a_normal_image_needs_no_mask(mmad_root: Path) -> None:
    assert read(mmad_root)[f"{PUSHPIN}#0"].defects == ()


def test_a_defective_image_may_have_no_mask(mmad_root: Path) -> None:
    value = index()
    value[BOTTLE]["mask_path"] = ""
    del value[CANDLE]["mask_path"]
    write(mmad_root, value)
    found = read(mmad_root)
    for name, kind in ((BOTTLE, "broken large"), (CANDLE, "bad")):
        (defect,) = found[f"{name}#0"].defects
        assert (defect.type, defect.box, defect.mask) == (kind, None, None)
        assert found[f"{name}#0"].is_anomalous is True


def test_later_forks_keys_count_as_ds_mvtec(mmad_root: Path, photo: Photo, mask: Mask) -> None:
    value = index()
    ours, moved = "MVTec-AD/wood/test/hole/000.png", "MVTec-AD/bottle/image/broken_large/000.png"
    value[ours] = {"mask_path": "ground_truth/hole/000_mask.png", "conversation": [DETECTION]}
    # The image was moved; the colour mask exists in DS-MVTec only.
    value[moved] = value.pop(BOTTLE)
    for path in (ours, moved):
        photo(mmad_root / path)
    mask(mmad_root / "MVTec-AD/wood/ground_truth/hole/000_mask.png", [(0, 0, 9, 9)])
    write(mmad_root, value)
    found = read(mmad_root)
    assert [
        (found[f"{path}#0"].dataset, found[f"{path}#0"].category, found[f"{path}#0"].image) for path in (ours, moved)
    ] == [
        ("DS-MVTec", "wood", ours),
        ("DS-MVTec", "bottle", moved),
    ]
    assert [d.mask for path in (ours, moved) for d in found[f"{path}#0"].defects] == [
        "MVTec-AD/wood/ground_truth/hole/000_mask.png",
        "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png",
    ]


def test_the_synthetic_world_s_additions_are_read(mmad_root: Path) -> None:
    value = index()
    value[CANDLE]["held_out"] = True
    value[CANDLE]["conversation_v2"] = [{**DETECTION, "Reasoning": "It is dark."}]
    write(mmad_root, value)
    candle = read(mmad_root)[f"{CANDLE}#0"]
    assert (candle.held_out, candle.reasoning) == (True, "It is dark.")


def test_all_missing_files_are_counted_and_the_first_ten_named(mmad_root: Path, photo: Photo) -> None:
    value = index()
    for number in range(14):
        value[f"GoodsAD/can/test/good/{number:03d}.jpg"] = {"conversation": [DETECTION], "random_templates": []}
    photo(mmad_root / "GoodsAD/can/test/good/000.jpg")
    (mmad_root / CANDLE).rename(mmad_root / CANDLE.replace(".JPG", ".jpg"))
    write(mmad_root, value)
    with pytest.raises(DataError, match=r"14 of 34 files are missing: VisA.*002\.JPG \(there is '002\.jpg'") as caught:
        next(SOURCE.read(mmad_root))
    assert "can/test/good/009.jpg" in str(caught.value)
    assert "can/test/good/010.jpg" not in str(caught.value)


@pytest.mark.parametrize("name", ["MVTec-AD/bottle/train/good/001.png", "MVTec-AD/bottle/train/good/102.png",
                                  "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png"])  # fmt: skip
def test_a_missing_template_or_mask_is_an_error(mmad_root: Path, name: str) -> None:
    (mmad_root / name).unlink()
    with pytest.raises(DataError, match=rf"1 of 20 files are missing: {name}"):
        next(SOURCE.read(mmad_root))


def test_skip_leaves_out_the_questions_of_missing_images(mmad_root: Path) -> None:
    (mmad_root / BOTTLE).unlink()
    (mmad_root / "MVTec-LOCO/pushpins/train/good/000.png").unlink()
    (mmad_root / "VisA/candle/ground_truth/bad/002.png").unlink()
    found = read(mmad_root, missing="skip")
    assert list(found) == [f"{PUSHPIN}#0", f"{PUSHPIN}#1", f"{CAPSULE}#0", f"{JUICE}#0", f"{CAN}#0"]
    assert found[f"{PUSHPIN}#0"].references == ()


def test_keep_needs_no_file_but_the_questions(tmp_path: Path) -> None:
    write(tmp_path, index())
    found = read(tmp_path, missing="keep")
    assert len(found) == 8
    assert all(sample.missing for sample in found.values())
    assert [(d.type, d.box, d.mask) for d in found[f"{JUICE}#0"].defects] == [
        ("logical anomalies", None, "MVTec-LOCO/juice_bottle/ground_truth/logical_anomalies/017/000.png")
    ]
    assert found[f"{BOTTLE}#0"].similar_references[0] == "MVTec-AD/bottle/train/good/026.png"


def test_a_mask_of_another_size_is_refused(mmad_root: Path, mask: Mask) -> None:
    mask(mmad_root / "VisA/candle/ground_truth/bad/002.png", [(0, 0, 9, 9)], size=(60, 50))
    with pytest.raises(DataError, match=r"bad/002\.png: the mask is 60x50 px, its image 'VisA.*JPG' is 60x60 px"):
        list(SOURCE.read(mmad_root))


@pytest.mark.parametrize(
    "key", ["../x/test/good/000.png", "/etc/x/test/good/0.png", "C:/a/test/good/0.png", "VisA/a/../../../good/0.png"]
)
def test_a_path_that_leaves_the_root_is_refused(mmad_root: Path, key: str) -> None:
    write(mmad_root, {key: {"conversation": [DETECTION]}})
    with pytest.raises(DataError, match="leaves it"):
        next(SOURCE.read(mmad_root))


def test_a_mask_outside_the_root_is_refused_before_it_is_looked_for(
    tmp_path: Path, mmad_root: Path, mask: Mask
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside/017/000.png"
    mask(outside)
    value = index()
    value[JUICE]["mask_path"] = outside.as_posix()
    write(mmad_root, value)
    with pytest.raises(DataError, match=r"017\.png: the path .* is not relative to the root or leaves it"):
        next(SOURCE.read(mmad_root))


def test_a_link_out_of_the_root_is_refused(tmp_path: Path, mmad_root: Path, photo: Photo) -> None:
    inside = mmad_root / "sub"
    inside.mkdir()
    photo(mmad_root / "elsewhere/candle/test/good/000.png")
    (inside / "VisA").symlink_to(mmad_root / "elsewhere", target_is_directory=True)
    write(inside, {"VisA/candle/test/good/000.png": {"conversation": [DETECTION]}})
    with pytest.raises(DataError, match="through a link"):
        next(SOURCE.read(inside))


def test_another_layout_shows_what_is_expected_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "bottle").mkdir()
    (tmp_path / "license.txt").touch()
    with pytest.raises(DataError, match=r"found: bottle/, license\.txt \(expected mmad\.json beside DS-MVTec/"):
        next(SOURCE.read(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        next(SOURCE.read(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "a": ]', r"mmad\.json:2:7: not JSON"),
        ("[]", "not a JSON object of images"),
        ("{}", "not a JSON object of images"),
        ('{"VisA/a/good/1.png": []}', "not a JSON object: "),
        ('{"VisA/a/good/1.png": {"question": []}}', "starts with 'conversation'"),
        ('{"1.png": {"conversation": []}}', "not <dataset>/<class>"),
        (
            '{"VisA/a/good/1.png": {"conversation": [], "random_templates": "x.png"}}',
            "'random_templates' is not a list",
        ),
        ('{"VisA/a/good/1.png": {"conversation": [], "similar_templates": [7]}}', "'similar_templates' is not a list"),
        ('{"VisA/a/bad/1.png": {"conversation": [], "mask_path": ["m.png"]}}', "'mask_path' is not a path"),
        ('{"VisA/a/good/1.png": {}, "VisA/a/good/1.png": {}}', r"the key 'VisA/a/good/1\.png' occurs twice"),
        ('{"VisA/a/good/1.png": {"conversation": [], "conversation": []}}', "the key 'conversation' occurs twice"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mmad.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        next(SOURCE.read(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Answer": "E"}, r"000\.png, question 2: the answer 'E' is not among the options"),
        ({"Options": ["Yes", "No"]}, "no object 'Options'"),
        ({"Answer": ["A"]}, r"the answer \['A'\] is not among the options"),
        ({"Question": None}, "question 2: question: "),
        ({"type": ["Anomaly Detection"]}, "question 2: question_type: "),
        ({"Options": {"C": 7}}, r"question 2: options\.A: "),
    ],
)
def test_a_malformed_question_names_its_place(mmad_root: Path, change: dict[str, Any], message: str) -> None:
    value = index()
    value[BOTTLE]["conversation"][1] = {**KIND, **change}
    write(mmad_root, value)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(mmad_root))


NUT, PILL = "DS-MVTec/metal_nut/image/good", "DS-MVTec/pill/image/good"


@pytest.fixture
def pills(mmad_root: Path, photo: Photo) -> Path:
    """A copy as it should be: 22 metal nuts of 70x70, 26 pills of 80x80, each another picture."""
    for number in range(22):
        photo(mmad_root / f"{NUT}/{number:03d}.png", size=(70, 70), grey=number)
    for number in range(26):
        photo(mmad_root / f"{PILL}/{number:03d}.png", size=(80, 80), grey=100 + number)
    photo(mmad_root / "MVTec-AD/pill/train/good/000.png", size=(80, 80), grey=99)
    return mmad_root


FALSE_PILLS = [f"{PILL}/{number:03d}.png" for number in range(22)]


def test_the_right_pills_are_no_fault(pills: Path) -> None:
    assert mmad_notes.metal_nuts_among_pills(pills) == []


def test_nuts_copied_among_the_pills_are_found_by_their_content(pills: Path) -> None:
    for path in FALSE_PILLS:
        (pills / path).write_bytes((pills / NUT / Path(path).name).read_bytes())
    (pills / "MVTec-AD/pill/train/good/000.png").unlink()
    assert mmad_notes.metal_nuts_among_pills(pills) == FALSE_PILLS


def test_nuts_stored_anew_among_the_pills_are_found_by_their_size(pills: Path, photo: Photo) -> None:
    for path in FALSE_PILLS:
        photo(pills / path, size=(70, 70), grey=200)
    assert mmad_notes.metal_nuts_among_pills(pills) == FALSE_PILLS


def test_pills_of_an_unusual_size_are_no_nuts(pills: Path, photo: Photo) -> None:
    # A copy scaled down as a whole.
    for path in [*FALSE_PILLS, "MVTec-AD/pill/train/good/000.png"]:
        photo(pills / path, size=(70, 70), grey=200)
    assert mmad_notes.metal_nuts_among_pills(pills) == []


def test_the_fault_is_reported_and_the_questions_are_kept(pills: Path, photo: Photo) -> None:
    photo(pills / FALSE_PILLS[3], size=(70, 70), grey=3)
    value = index()
    value[FALSE_PILLS[3]] = {"conversation": [DETECTION]}
    write(pills, value)
    notes = mmad.notes(pills)
    (warning,) = [text for text in notes["warnings"] if "pills" in text]
    assert "1 of the normal pills are pictures of metal nuts (DS-MVTec/pill/image/good/003.png" in warning
    assert notes["mmad"]["metal_nuts_among_pills"] == [FALSE_PILLS[3]]
    assert f"{FALSE_PILLS[3]}#0" in read(pills)


def population(root: Path, images: int, questions: int) -> None:
    kinds = [*SUBTASKS, *FOLDED]
    asked = [{"type": kinds[number % len(kinds)]} for number in range(questions - images + 1)]
    value = {f"VisA/pcb1/test/good/{number}.JPG": {"conversation": asked[:1]} for number in range(images - 1)}
    write(root, {**value, "VisA/pcb1/test/good/last.JPG": {"conversation_2": asked}})


@pytest.mark.parametrize(
    ("questions", "release"), [(39_672, "paper and README"), (39_670, "hub revision c4ed190dcb53"), (39_671, "none of")]
)
def test_both_populations_are_known_and_others_a_warning(tmp_path: Path, questions: int, release: str) -> None:
    population(tmp_path, 8_366, questions)
    notes = mmad.notes(tmp_path)
    found = notes["mmad"]
    assert (found["images"], found["questions"]) == (8_366, questions)
    assert sum(found["questions_by_type"].values()) == questions
    assert found["release"].startswith(release)
    assert (found["sha256"], found["revision"]) == (file_sha256(tmp_path / "mmad.json"), None)
    if release == "none of":
        (warning,) = notes["warnings"]
        assert (
            "39,671 questions about 8,366 images, the releases hold 39,672 questions about 8,366 images and" in warning
        )
    else:
        assert notes["warnings"] == []


def test_a_known_file_is_named_with_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, index())
    monkeypatch.setattr(mmad_notes, "REVISIONS", {file_sha256(tmp_path / "mmad.json"): "abc"})
    assert mmad.notes(tmp_path)["mmad"]["revision"] == "abc"


def test_questions_of_an_unknown_type_are_a_warning(mmad_root: Path) -> None:
    value = index()
    value[CAN]["conversation"] = [{**DETECTION, "type": "Colour"}, {**DETECTION, "type": "Colour"}]
    write(mmad_root, value)
    assert any("none of MMAD's: 'Colour' (2)" in text for text in mmad.notes(mmad_root)["warnings"])
    assert read(mmad_root)[f"{CAN}#1"].question_type == "Colour"


def test_domain_knowledge_is_told_under_the_samples_names(mmad_root: Path) -> None:
    assert mmad.notes(mmad_root)["domain_knowledge"] == {}
    text = " <Large Breakage>\n Description: It is broken."
    value = {"MVTec": {"bottle": {"good": "", "broken_large": text}}, "VisA": {"candle": {"bad": "Wax."}}}
    (mmad_root / "domain_knowledge.json").write_text(json.dumps(value), encoding="utf-8")
    assert mmad.notes(mmad_root)["domain_knowledge"] == {"DS-MVTec": value["MVTec"], "VisA": value["VisA"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"domain_knowledge\.json: data sets: not a JSON object"),
        ('{"MVTec": []}', "MVTec: not a JSON object"),
        ('{"MVTec": {"bottle": "x"}}', "MVTec, bottle: not a JSON object"),
        ('{"MVTec": {"bottle": {"good": 3}}}', "MVTec, bottle, good: not a text: 3"),
        ("{", r"domain_knowledge\.json:1:2: not JSON"),
    ],
)
def test_broken_domain_knowledge_names_the_place(mmad_root: Path, text: str, message: str) -> None:
    (mmad_root / "domain_knowledge.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        mmad.notes(mmad_root)


REAL_KNOWLEDGE = Path(__file__).parents[3] / "shared/data/annotations/mmad/domain_knowledge.json"


@pytest.mark.skipif(not REAL_KNOWLEDGE.is_file(), reason="needs ../shared/data")
def test_the_real_domain_knowledge_is_read(tmp_path: Path) -> None:
    (tmp_path / "domain_knowledge.json").symlink_to(REAL_KNOWLEDGE)
    found = mmad_notes.domain_knowledge(tmp_path)
    assert {name: len(classes) for name, classes in found.items()} == {
        "DS-MVTec": 15, "MVTec-LOCO": 5, "VisA": 12, "GoodsAD": 6,
    }  # fmt: skip
    assert found["DS-MVTec"]["bottle"]["broken_large"].startswith(" <Large Breakage>\n Description: ")


def test_notes_of_another_layout_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the expected layout; found: nothing \(expected mmad\.json beside"):
        mmad.notes(tmp_path)
