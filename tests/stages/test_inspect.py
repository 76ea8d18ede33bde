"""`data check`, `stats`, `view` and `licences` on files with every fault they can have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import images
from iadr1.errors import DataError, MissingExtraError, UsageError
from iadr1.images import file_sha256, image_size, open_image
from iadr1.records import meta_path, read_records
from iadr1.stages.inspect import check, disk, licences, stats, view
from iadr1.stages.inspect.habits import Habits
from iadr1.stages.inspect.lines import Finding

WH = (120, 90)
BOX = [50, 40, 70, 50]  # its centre lies in the centre of the image
GOOD: Mapping[str, Any] = {
    "id": "a", "dataset": "Set", "category": "bolt", "split": "test", "image": "good.png",
    "references": ["ref.png"], "task": "anomaly", "question": "Are there any defects?", "answer": "No",
    "question_type": "Anomaly Detection", "is_anomalous": False, "licence": "CC-BY-4.0", "source": "Set, 2020",
}  # fmt: skip
BAD: Mapping[str, Any] = {
    **GOOD, "id": "b", "image": "bad.png", "answer": "Yes", "is_anomalous": True,
    "defects": [{"type": "scratch", "box": BOX, "mask": "mask.png", "location": "center"}],
}  # fmt: skip
CHOICE: Mapping[str, Any] = {
    **BAD, "id": "c", "task": "choice", "question": "Which?", "options": {"A": "scratch", "B": "dent"}, "answer": "A",
    "question_type": "Defect Classification",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, colour in (("good", 90), ("bad", 120), ("ref", 100)):
        Image.new("RGB", WH, (colour, colour, colour)).save(tmp_path / f"{name}.png")
    mask = np.zeros((WH[1], WH[0]), dtype=np.uint8)
    mask[40:50, 50:70] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


Write = Callable[..., Path]


@pytest.fixture
def write(root: Path) -> Write:
    """Writes lines, records as JSON and text as it is."""

    def write(*lines: Mapping[str, Any] | str, name: str = "s.jsonl") -> Path:
        path = root / name
        path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
        return path

    return write


def findings(path: Path, **options: Any) -> list[Finding]:
    out = path.with_name("findings.jsonl")
    summary = check.run(path, out=out, **options)
    found = list(read_records(out, Finding))
    assert sum(kind.count for kind in summary.kinds) == len(found)
    return found


def test_a_sound_file_has_no_findings(write: Write) -> None:
    path = write(GOOD, BAD, CHOICE)
    summary = check.run(path, hashes=True)
    assert (summary.records, summary.images, summary.kinds) == (3, 2, [])


def bad_with(defect: Mapping[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return {**BAD, "defects": [{"type": "scratch", **(defect or {})}], **values}


@pytest.mark.parametrize(
    ("record", "level", "kind", "told"),
    [
        ({**GOOD, "colour": "red"}, "error", "schema", "colour: Extra inputs are not permitted"),
        ({**GOOD, "image": "../x.png"}, "error", "schema", "'../x.png' is not relative"),
        ({**GOOD, "answer": "Maybe"}, "error", "answer", "answer 'Maybe' is neither 'Yes' nor 'No'"),
        ({**CHOICE, "answer": "C"}, "error", "answer", "answer 'C' is not among the options"),
        ({**GOOD, "image": "none.png"}, "error", "file", "the image cannot be used: no such file"),
        ({**GOOD, "image": "Good.PNG"}, "error", "file", "no such file; there is 'good.png'"),
        ({**GOOD, "references": ["none.png"]}, "error", "file", "a reference cannot be used: no such file"),
        ({**GOOD, "similar_references": ["none.png"]}, "error", "file", "a reference cannot be used"),
        (bad_with({"mask": "none.png"}), "error", "file", "a mask cannot be used: no such file"),
        ({**GOOD, "image": "text.png"}, "error", "file", "not an image"),
        ({**GOOD, "image": "empty.png"}, "error", "file", "the file is empty"),
        (bad_with({"mask": "small.png"}), "error", "mask", "the mask is 60x45 px, its image 120x90"),
        (bad_with({"mask_rle": {"size": [9, 12], "counts": [108]}}), "error", "mask", "`mask_rle` is 12x9 px"),
        (bad_with({"mask_rle": {"size": [90, 120], "counts": [5]}}), "error", "mask", "the runs add up to 5 px"),
        (bad_with({"mask_rle": {"counts": "abc"}}), "error", "mask", "`mask_rle` is not COCO RLE"),
        ({**GOOD, "image_size": [90, 120]}, "error", "image size", "is 120x90 px, the sample says 90x120"),
        (bad_with({"box": [50, 40, 121, 50]}), "error", "box", "a box leaves the 120x90 image"),
        (bad_with({"box": [-1, 40, 60, 50]}), "error", "box", "a box leaves the 120x90 image"),
        (bad_with({"box": [60, 40, 50, 50]}), "error", "box", "a box is empty or reversed"),
        (bad_with({"box": [60, 40, 60, 50]}), "error", "box", "a box is empty or reversed"),
        (bad_with({"box": [50, 40, 53, 50]}), "warning", "tiny box", "a tiny box: 3x10 px"),
        (bad_with({"box": BOX, "location": "top left"}), "warning", "location", "'top left', the box lies 'center'"),
        (bad_with({"location": "left side"}), "warning", "location", "is not one of the 3x3 words"),
        ({**CHOICE, "options": {"A": "x", "C": "y"}}, "error", "options", "do not run from A without a gap"),
        ({**CHOICE, "options": {"B": "x", "A": "y"}}, "error", "options", "do not run from A without a gap"),
        ({**CHOICE, "options": {"A": "a dent", "B": "A  Dent"}}, "error", "options", "two options have the same text"),
        ({**CHOICE, "options": {"A": "a dent", "B": " "}}, "error", "options", "an option has no text"),
        ({**GOOD, "question": " "}, "error", "question", "the question is empty"),
        ({**GOOD, "is_anomalous": None}, "error", "verdict", "contradict each other"),
        ({**BAD, "answer": "No"}, "error", "verdict", "contradict each other"),
        ({**GOOD, "defects": BAD["defects"]}, "error", "verdict", "a normal product has defects"),
        ({**CHOICE, "is_anomalous": False}, "error", "verdict", "a normal product has defects"),
        ({**BAD, "defects": []}, "error", "verdict", "an anomalous product has no defect"),
        (bad_with(task="grounding", answer=""), "error", "verdict", "without the box that is looked for"),
        ({**GOOD, "references": ["good.png"]}, "error", "reference", "the image is its own reference"),
        ({**GOOD, "missing": True}, "warning", "missing", "the image is there now"),
        ({**GOOD, "missing": True, "image": "none.png"}, "warning", "missing", "the image was missing"),
        ({**GOOD, "licence": "unknown"}, "warning", "licence", "Set: 1 records do not say under which licence"),
        ({**GOOD, "licence": "none stated"}, "warning", "licence", "Set: 1 records do not say under which licence"),
    ],
)  # fmt: skip
def test_each_fault_is_found_once(
    write: Write, root: Path, record: Mapping[str, Any], level: str, kind: str, told: str
) -> None:
    (root / "text.png").write_text("no image")
    (root / "empty.png").touch()
    Image.new("L", (60, 45)).save(root / "small.png")
    path = write({**GOOD, "id": "first", "references": []}, record)
    (finding,) = findings(path)
    assert (finding.level, finding.kind, finding.where, finding.id) == (level, kind, f"{path}:2", record["id"])
    assert told in finding.message
    assert finding.value
    assert finding.hint


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("{", "json", "not JSON: Expecting property name"),
        ("", "json", "an empty line"),
        ("[]", "schema", "record: "),
        ('{"id": 1, "id": 2}', "schema", "a key stands twice in one object"),
        ("[" * 100_000, "json", "not JSON"),
        (f'{{"id": {"9" * 5000}}}', "json", "not JSON that can be read: Exceeds the limit"),
        ('{"id": "\\ud800"}', "json", "not JSON that can be read: 'utf-8' codec can't encode"),
    ],
)
def test_a_broken_line_hides_no_other(write: Write, line: str, kind: str, told: str) -> None:
    path = write(line, {**GOOD, "question": ""}, line)
    found = findings(path)
    assert [finding.where for finding in found] == [f"{path}:1", f"{path}:2", f"{path}:3"]
    assert [finding.kind for finding in found] == [kind, "question", kind]
    assert told in found[0].message


def test_a_line_that_is_not_utf8_and_a_byte_order_mark(root: Path) -> None:
    path = root / "s.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b'\n{"id": "\xff"}')
    (finding,) = findings(path)
    assert (finding.where, finding.kind) == (f"{path}:2", "json")
    assert check.run(path).records == 2  # the last one has no line break


def test_several_faults_of_one_record_are_all_told(write: Write) -> None:
    path = write({**CHOICE, "question": "", "options": {"A": "x", "C": "x"}, "image": "none.png"})
    assert sorted(finding.kind for finding in findings(path)) == ["file", "options", "options", "question"]


def test_an_id_that_occurs_again_names_its_first_line_even_in_a_broken_record(write: Write) -> None:
    path = write(GOOD, BAD, {**GOOD, "image": "ref.png", "references": []}, {"id": "b"})
    told = [(f.where, f.kind, f.value) for f in findings(path) if f.kind == "id"]
    assert told == [(f"{path}:3", "id", "a"), (f"{path}:4", "id", "b")]
    assert "line 1 already" in next(f for f in findings(path) if f.kind == "id").message


def test_a_defective_reference_is_found_wherever_it_stands(write: Write) -> None:
    uses = [{**GOOD, "id": str(number), "references": ["bad.png"]} for number in range(3)]
    for lines in ((*uses, BAD), (BAD, *uses)):
        path = write(*lines)
        (finding,) = findings(path)
        at = 4 if lines[-1] is BAD else 1
        assert finding.kind == "reference"
        assert finding.message == f"a reference of 3 records shows a defect, as line {at} says"
        assert (finding.value, finding.id) == ("bad.png", "0")


def test_an_image_is_normal_or_it_is_not(write: Write) -> None:
    path = write(BAD, {**GOOD, "image": "bad.png"})
    (finding,) = findings(path)
    assert finding.message == "is_anomalous=False, but line 1 says True of the same image"


def test_errors_come_before_warnings_and_the_frequent_first(write: Write) -> None:
    tiny = [bad_with({"box": [9, 9, 12, 12]}, id=f"t{n}") for n in range(3)]
    path = write(*tiny, {**GOOD, "licence": "unknown"}, {**GOOD, "question": ""}, *[{**GOOD, "id": "x"}] * 3)
    kinds = check.run(path).kinds
    assert [(kind.level, kind.name, kind.count) for kind in kinds] == [
        ("error", "id", 3), ("error", "question", 1), ("warning", "tiny box", 3), ("warning", "licence", 1),
    ]  # fmt: skip


def test_an_image_above_the_limit_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 120 * 90 - 1)
    (finding,) = findings(write({**GOOD, "references": []}))
    assert "the image cannot be used: the image is 120x90 px, above the limit" in finding.message


def test_the_hash_is_compared_when_asked_for(write: Write, root: Path) -> None:
    right = {**GOOD, "image_sha256": file_sha256(root / "good.png"), "image_size": WH}
    path = write(right, {**BAD, "image_sha256": "0" * 64})
    assert findings(path) == []
    (finding,) = findings(path, hashes=True)
    assert (finding.kind, finding.id) == ("hash", "b")


def test_each_file_is_opened_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = image_size

    def counted(path: Path) -> tuple[int, int]:
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr(disk, "image_size", counted)
    path = write(*({**BAD, "id": f"b{n}"} for n in range(5)), *({**GOOD, "id": f"g{n}"} for n in range(5)))
    assert findings(path) == []
    assert sorted(opened) == ["bad.png", "good.png", "mask.png", "ref.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_header_gives_the_size_that_opening_gives(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert image_size(path) == open_image(path).size == ((30, 20) if orientation == 1 else (20, 30))


def test_boxes_are_held_against_the_turned_image(write: Write, root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", WH).save(root / "turned.jpg", exif=exif)
    fits, not_fits = {"box": [10, 95, 30, 118]}, {"box": [95, 10, 118, 30]}
    path = write(bad_with(fits, image="turned.jpg"), bad_with(not_fits, image="turned.jpg", id="x"))
    assert [(f.kind, f.id) for f in findings(path)] == [("box", "x")]


def test_tiny_depends_on_the_side_and_on_the_share(write: Write, root: Path) -> None:
    Image.new("L", (1000, 1000)).save(root / "large.png")
    share = bad_with({"box": [10, 10, 19, 20]}, image="large.png", id="share")  # 90 of 1,000,000 pixels
    side = bad_with({"box": [10, 10, 17, 30]}, id="side")
    enough = bad_with({"box": [10, 10, 20, 20]}, image="large.png", id="enough")
    path = write(share, side, enough)
    assert [f.id for f in findings(path)] == ["share"]
    assert [f.id for f in findings(path, tiny_px=8)] == ["share", "side"]


def test_fractions_among_pixels_are_one_finding_with_counts(write: Write) -> None:
    fractions = [bad_with({"box": [0.2, 0.1 * n, 0.5, 0.9], "location": "center"}, id=f"f{n}") for n in range(4)]
    pixels = [bad_with({"box": BOX}, id=f"p{n}") for n in range(6)]
    path = write(*pixels, *fractions)
    (finding,) = findings(path)
    assert (finding.level, finding.kind, finding.where) == ("error", "coordinates", f"{path}:7")
    assert "Set: 4 of 10 boxes lie within 0..1" in finding.message
    assert "6 in pixels (line 1: [50, 40, 70, 50])" in finding.message
    assert finding.value.startswith("line 7: [0.2, 0, 0.5, 0.9]; line 8: ")


def test_the_pixel_in_the_corner_is_no_fraction(write: Write) -> None:
    assert [f.kind for f in findings(write(bad_with({"box": [0, 0, 1, 1]})))] == ["tiny box"]


def test_boxes_of_0_to_1000_on_a_smaller_image(write: Write) -> None:
    boxes = [[500, 400, 900, 800], [100, 200, 300, 950], [5, 5, 20, 20], [700, 100, 990, 300]]
    path = write(*(bad_with({"box": box}, id=str(n)) for n, box in enumerate(boxes)))
    found = [f for f in findings(path) if f.kind == "coordinates"]
    assert len(found) == 1
    assert "Set: 3 of 4 boxes leave their image and lie within 0..1000" in found[0].message
    assert "the others: 1 in pixels (line 3" in found[0].message


@pytest.mark.parametrize(("boxes", "right", "told"), [(2, 130, False), (3, 130, True), (3, 125, False)])
def test_some_boxes_a_little_over_the_edge_are_no_habit(write: Write, boxes: int, right: int, told: bool) -> None:
    over = [bad_with({"box": [10, 10, right, 60]}, id=str(n)) for n in range(boxes)]
    found = findings(write(*over, bad_with({"box": BOX})))
    assert {f.kind for f in found} == ({"box", "coordinates"} if told else {"box"})


def test_habits_are_told_apart_by_data_set(write: Write) -> None:
    path = write(BAD, bad_with({"box": [0.1, 0.1, 0.5, 0.5]}, dataset="Other", id="o"))
    (finding,) = findings(path)
    assert finding.message == "Other: 1 of 1 boxes lie within 0..1, as fractions do"


@pytest.mark.parametrize(("boxes", "beyond", "told"), [(30, False, True), (30, True, False), (10, False, False)])
def test_boxes_of_0_to_1000_on_large_images_show_by_their_number(boxes: int, beyond: bool, told: bool) -> None:
    habits = Habits()
    for line in range(boxes):
        habits.add(line + 1, (100, 100, 900, 700), (3000, 2000))
    if beyond:
        habits.add(boxes + 1, (1500, 100, 1900, 700), (3000, 2000))
    found = list(habits.faults("Set"))
    assert len(found) == told
    assert all(fault.level == "warning" and f"none of {boxes} boxes" in fault.message for _, fault in found)


def test_boxes_on_images_just_above_1000_tell_nothing() -> None:
    habits = Habits()
    for line in range(30):
        habits.add(line + 1, (100, 100, 900, 700), (1024, 768))
    assert not list(habits.faults("Set"))


@pytest.mark.parametrize(
    "look",
    [
        lambda path, out: check.run(path, out=out),
        lambda path, out: stats.run(path, out=out),
        lambda path, out: stats.run(path, plot=out),
        lambda path, out: view.run(path, out=out),
    ],
    ids=["check", "stats", "stats --plot", "view"],
)
def test_what_is_read_is_never_overwritten(write: Write, look: Callable[[Path, Path], object]) -> None:
    path = write(GOOD)
    meta_path(path).write_text('{"root": "."}', encoding="utf-8")
    before = path.read_bytes(), meta_path(path).read_bytes()
    (path.parent / "link.html").symlink_to(path)
    for out, message in (
        (path, "is what is read"),
        (path.parent / "link.html", "is what is read"),
        (meta_path(path), "is what is read"),
        (path.parent, "is a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            look(path, out)
    assert (path.read_bytes(), meta_path(path).read_bytes()) == before


def test_a_root_elsewhere_and_an_absent_one(write: Write, tmp_path: Path) -> None:
    path = write(GOOD, BAD)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path = path.rename(moved / "s.jsonl")
    assert {f.kind for f in findings(path)} == {"file"}
    assert findings(path, root=tmp_path) == []
    with pytest.raises(UsageError, match="is not a folder"):
        check.run(path, root=tmp_path / "nowhere")


@pytest.mark.parametrize("stage", [check.run, stats.run, lambda path: licences.run([path])])
def test_an_absent_and_an_empty_file_are_errors(stage: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        stage(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="the file holds no sample"):
        stage(tmp_path / "empty.jsonl")


def test_progress_reaches_the_number_of_lines(write: Write) -> None:
    steps: list[tuple[str, int, int]] = []
    check.run(write(GOOD, "{", BAD), progress=lambda *step: steps.append(step))
    assert steps[-1] == ("checking", 3, 3)


# stats


def test_stats_count_records_images_and_boxes(write: Write, tmp_path: Path) -> None:
    sized = {**BAD, "image_size": WH}
    two = {**sized, "id": "d", "image": "two.png", "category": "nut", "split": "train", "reasoning": "Look.",
           "defects": [{"type": "dent", "box": [0, 0, 60, 45]}, {"type": "dent", "box": [60, 45, 120, 90]},
                       {"type": "hole"}]}  # fmt: skip
    path = write(GOOD, sized, {**CHOICE, "image_size": WH}, two, {**GOOD, "id": "m", "missing": True})
    found = stats.run(path, out=tmp_path / "stats.json")
    assert (found.records, found.images, found.with_reasoning, found.missing) == (5, 3, 1, 1)
    assert found.groups["category"] == {
        "Set / bolt": stats.Count(records=4, images=2, normal=1, anomalous=1),
        "Set / nut": stats.Count(records=1, images=1, normal=0, anomalous=1),
    }
    assert {name: count.records for name, count in found.groups["task"].items()} == {"anomaly": 4, "choice": 1}
    assert found.types == {"scratch": 1, "dent": 1, "hole": 1}
    assert found.letters == {
        "A": stats.Letter(1, 1), "B": stats.Letter(1, 0), "No": stats.Letter(4, 2), "Yes": stats.Letter(4, 2),
    }  # fmt: skip
    # The box of the two questions about one image counts once.
    assert (found.boxes, found.boxes_per_image, found.boxes_without_size) == (3, {0: 1, 1: 1, 2: 1}, 0)
    assert found.area_share[0.5] == found.area_share[1.0] == pytest.approx(0.25)
    assert found.area_share[0.0] == pytest.approx(200 / 10800)
    written = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert written["groups"]["category"]["Set / nut"] == {"records": 1, "images": 1, "normal": 0, "anomalous": 1}


def test_stats_name_boxes_of_unknown_size_and_skip_expressions(write: Write) -> None:
    target = {**bad_with({"box": BOX}, task="grounding", answer="", is_anomalous=None, id="g"), "question": "Where?"}
    found = stats.run(write(BAD, {**target, "image": "ref.png"}))
    assert (found.boxes_without_size, found.area_share) == (2, {})
    assert found.types == {"scratch": 1}


def test_stats_draw_a_picture(write: Write, tmp_path: Path) -> None:
    many = [{**BAD, "id": str(n), "category": f"$c_{n}^", "image_size": WH} for n in range(45)]
    for number, lines in enumerate(((GOOD,), many)):
        out = tmp_path / f"{number}.png"
        stats.run(write(*lines), plot=out)
        assert np.asarray(open_image(out)).std() > 5


def test_a_plot_without_matplotlib_names_the_install_command(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        stats.run(write(GOOD), plot=tmp_path / "a.png")


# licences


def test_licences_are_counted_over_all_files(write: Write) -> None:
    first = write(GOOD, {**GOOD, "id": "2"}, {**BAD, "licence": "CC-BY-NC-SA-4.0", "source": "MVTec"}, name="a.jsonl")
    second = write({**GOOD, "dataset": "Own", "source": ""}, {**BAD, "licence": "unknown"}, name="b.jsonl")
    found = licences.run([first, second])
    assert [(use.licence, use.commercial, use.records, use.images) for use in found] == [
        ("CC-BY-4.0", True, 3, 2), ("CC-BY-NC-SA-4.0", False, 1, 1), ("unknown", None, 1, 1),
    ]  # fmt: skip
    assert (found[0].datasets, found[0].sources) == (["Set", "Own"], ["Set, 2020"])


# view


def shown_lines(page: Path) -> list[int]:
    return [int(part.split(" ")[0]) for part in page.read_text(encoding="utf-8").split('<p class="meta">line ')[1:]]


def test_every_category_question_type_and_verdict_gets_its_turn(write: Write, tmp_path: Path) -> None:
    lines = [{**BAD, "id": f"b{n}"} for n in range(40)]
    lines += [{**BAD, "id": "rare", "category": "nut"}, {**CHOICE, "id": "other"}, {**GOOD, "id": "normal"}]
    path, out = write(*lines), tmp_path / "page.html"
    for seed in range(5):
        summary = view.run(path, out=out, limit=4, seed=seed)
        assert (summary.shown, summary.records, summary.kinds) == (4, 43, 4)
        assert {41, 42, 43} < set(shown_lines(out))


def test_the_seed_decides_which_are_shown(write: Write, tmp_path: Path) -> None:
    path = write(*({**BAD, "id": f"b{n}"} for n in range(40)))
    chosen = []
    for seed in (0, 0, 1):
        view.run(path, out=tmp_path / "page.html", limit=5, seed=seed)
        chosen.append(shown_lines(tmp_path / "page.html"))
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] == sorted(chosen[0])


def test_it_is_not_always_the_first_of_a_kind_that_is_shown(write: Write, tmp_path: Path) -> None:
    path = write(*({**BAD, "id": f"{name}{n}", "category": name} for name in ("bolt", "nut") for n in range(10)))
    chosen: set[int] = set()
    for seed in range(8):
        view.run(path, out=tmp_path / "page.html", limit=12, seed=seed)
        lines = shown_lines(tmp_path / "page.html")
        assert sum(line <= 10 for line in lines) == 6
        chosen.update(lines)
    assert chosen == set(range(1, 21))


def test_a_file_shorter_than_the_limit_is_shown_whole(write: Write, tmp_path: Path) -> None:
    view.run(write(GOOD, BAD, CHOICE), out=tmp_path / "page.html")
    assert shown_lines(tmp_path / "page.html") == [1, 2, 3]


def test_the_limit_must_be_positive(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--limit is 0"):
        view.run(write(GOOD), out=tmp_path / "page.html", limit=0)


def test_a_photo_that_lies_in_two_folders_is_told(write: Write, root: Path) -> None:
    digest = file_sha256(root / "good.png")
    (root / "copy.png").write_bytes((root / "good.png").read_bytes())
    copy = {**BAD, "image": "copy.png", "image_sha256": digest, "defects": [{"type": "dent"}], "references": []}
    path = write({**GOOD, "image_sha256": digest}, copy)
    (finding,) = findings(path)
    assert finding.kind == "verdict"
    assert "line 1 says False of a copy of the image" in finding.message
