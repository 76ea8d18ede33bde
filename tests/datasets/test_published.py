from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.files import Files, Missing
from iadr1.datasets.published import scan_published
from iadr1.errors import DataError
from iadr1.records import Sample

Photo = Callable[[Path], None]

SHARED = Path(__file__).parents[3] / "shared" / "data" / "annotations" / "iad-r1"
BAD = "DTD/Blotchy_099/test/bad/000.png"
GOOD = "DTD/Blotchy_099/test/good/000.png"
TEMPLATE = "DTD/Blotchy_099/template/000.png"


def entry(key: str, answer: str, *, templates: tuple[str, ...] = ()) -> dict[str, Any]:
    question = {"Question": "Are there any defects in the query image?", "Answer": answer,
                "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}  # fmt: skip
    return {"image_path": key, "conversation": [question], "similar_templates": list(templates),
            "random_templates": list(templates)}  # fmt: skip


@pytest.fixture
def value() -> dict[str, Any]:
    return {BAD: entry(BAD, "A", templates=(TEMPLATE,)), GOOD: entry(GOOD, "B", templates=(TEMPLATE,))}


def read(root: Path, value: Any, *, missing: Missing = "error", dataset: str = "DTD-Synthetic") -> list[Sample]:
    annotations = root / "test_DTD_format.json"
    annotations.write_text(json.dumps(value), encoding="utf-8")
    return list(scan_published(Files(root, missing=missing), annotations, dataset=dataset, licence="unknown"))


def test_the_verdict_is_the_text_of_the_right_option(tmp_path: Path, value: dict[str, Any]) -> None:
    value[GOOD]["conversation"][0].update(Options={"A": "No.", "B": "Yes"}, Answer="A")
    bad, good = read(tmp_path, value, missing="keep")
    assert (bad.id, bad.answer, bad.is_anomalous, [d.type for d in bad.defects]) == (BAD, "Yes", True, ["bad"])
    assert (good.id, good.answer, good.is_anomalous, good.defects) == (GOOD, "No", False, ())
    assert {s.task for s in (bad, good)} == {"anomaly"}
    assert {s.question_type for s in (bad, good)} == {"Anomaly Detection"}
    assert (bad.category, bad.split, bad.licence, bad.source) == (
        "Blotchy_099", "test", "unknown", "IAD-R1 test_DTD_format.json",
    )  # fmt: skip


def test_a_set_without_categories_is_its_own(tmp_path: Path) -> None:
    key = "SDD/test/defect/kos50_Part4_1.png"
    (found,) = read(tmp_path, {key: entry(key, "A")}, missing="keep", dataset="SDD")
    assert (found.category, found.split, [d.type for d in found.defects]) == ("SDD", "test", ["defect"])


def test_the_file_of_another_set_is_refused(tmp_path: Path, value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"the file is of DTD, not of MVTec-AD \(iadr1 prepare dtd --annotations "):
        read(tmp_path, value, missing="keep", dataset="MVTec-AD")


def test_templates_are_references(tmp_path: Path, value: dict[str, Any]) -> None:
    value[BAD]["similar_templates"] = [GOOD]
    bad, _ = read(tmp_path, value, missing="keep")
    assert (bad.references, bad.similar_references) == ((TEMPLATE,), (GOOD,))


def test_absent_images_are_kept_and_marked(tmp_path: Path, value: dict[str, Any]) -> None:
    found = read(tmp_path, value, missing="keep")
    assert [(s.image, s.missing, s.image_sha256) for s in found] == [(BAD, True, None), (GOOD, True, None)]
    assert read(tmp_path, value, missing="skip") == []


def test_the_root_may_hold_the_set_s_folder_or_be_it(tmp_path: Path, value: dict[str, Any], photo: Photo) -> None:
    for name in (BAD, GOOD, TEMPLATE):
        photo(tmp_path / name)
    above = read(tmp_path, value)
    inside = read(tmp_path / "DTD", value)
    assert [s.image for s in above] == [BAD, GOOD]
    assert [s.image for s in inside] == ["Blotchy_099/test/bad/000.png", "Blotchy_099/test/good/000.png"]
    assert inside[0].references == ("Blotchy_099/template/000.png",)
    assert [s.id for s in inside] == [s.id for s in above] == [BAD, GOOD]


def test_which_root_was_taken_is_said(tmp_path: Path, value: dict[str, Any], photo: Photo) -> None:
    photo(tmp_path / "DTD" / BAD.removeprefix("DTD/"))
    with pytest.raises(DataError, match=r"2 of 3 files are missing.*taken for the folder that holds 'DTD'"):
        read(tmp_path, value)
    with pytest.raises(DataError, match=r"2 of 3 files are missing.*taken for the folder 'DTD' itself"):
        read(tmp_path / "DTD", value)


def test_two_possible_roots_are_refused(tmp_path: Path, value: dict[str, Any], photo: Photo) -> None:
    photo(tmp_path / BAD)
    photo(tmp_path / BAD.removeprefix("DTD/"))
    with pytest.raises(DataError, match="both the root and its folder 'DTD' hold folders"):
        read(tmp_path, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_path": "DTD/other.png"}, "'image_path' is 'DTD/other.png', not the entry's key"),
        ({"conversation": []}, "not a list of one question.*mmad"),
        ({"similar_templates": None}, "'similar_templates' is not a list of paths: None"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, value: dict[str, Any], change: dict[str, Any], message: str) -> None:
    value[GOOD].update(change)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, value, missing="keep")
    assert caught.value.where == f"{tmp_path / 'test_DTD_format.json'}: {GOOD}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Answer": "C"}, "the answer 'C' is not among the options"),
        ({"Answer": "A"}, "the right answer says defective, the image's folder is 'good'"),
        ({"Options": {"A": "Yes.", "B": "Perhaps."}}, r"the right option is 'Perhaps\.', neither"),
        ({"Question": None}, "'Question' is None, not a text"),
    ],
)
def test_a_broken_question_is_named(
    tmp_path: Path, value: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    value[GOOD]["conversation"][0].update(change)
    with pytest.raises(DataError, match=message):
        read(tmp_path, value, missing="keep")


@pytest.mark.parametrize("key", ["../DTD/Blotchy_099/test/bad/1.png", "/DTD/Blotchy_099/test/bad/1.png"])
def test_paths_stay_inside_the_root(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match="not relative to the root"):
        read(tmp_path, {key: entry(key, "A")}, missing="keep")


def test_other_json_is_refused(tmp_path: Path) -> None:
    others: list[Any] = [[], {}, {"000.png": entry("000.png", "A")}]
    for wrong in others:
        with pytest.raises(DataError, match=r"not a JSON object of images|not <set>/<category or test>"):
            read(tmp_path, wrong, missing="keep")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"IAD-R1's published files are not in {SHARED}")
def test_all_published_entries_are_read(tmp_path: Path) -> None:
    counts = {}
    for path in sorted(SHARED.glob("test_*_format.json")):
        found = list(
            scan_published(Files(tmp_path, missing="keep"), path, dataset=path.stem.split("_")[1], licence="unknown")
        )
        assert len({s.id for s in found}) == len(found)
        assert all(s.missing for s in found)
        defective = sum(s.is_anomalous is True for s in found)
        counts[path.name.split("_")[1]] = (len(found) - defective, defective, len({s.category for s in found}))
    assert counts == {"DAGM": (6996, 1054, 10), "DTD": (357, 947, 12), "MPDD": (176, 282, 6), "SDD": (286, 54, 1)}
    assert sum(good + bad for good, bad, _ in counts.values()) == 10_152
