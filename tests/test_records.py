"""Records: validation with line numbers, append-only writing that survives a kill, atomic files, roots."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import DataError, OutputError, UsageError
from iadr1.records import (
    Defect,
    Prediction,
    RecordWriter,
    Sample,
    done_keys,
    meta_path,
    read_records,
    resolve_root,
    write_records,
)

BASE = {"id": "a", "dataset": "d", "category": "c", "split": "test", "image": "x/y.png", "question_type": "t"}


def sample(**changes: Any) -> Sample:
    values = {
        **BASE,
        "task": "choice",
        "question": "q?",
        "options": {"A": "Yes.", "B": "No."},
        "answer": "A",
        **changes,
    }
    return Sample.model_validate(values)


def test_samples_survive_the_round_trip(tmp_path: Path) -> None:
    items = [sample(id=str(i), defects=(Defect(type="hole", box=(1, 2, 3.5, 4)),)) for i in range(3)]
    path = tmp_path / "s.jsonl"
    assert write_records(path, items) == 3
    assert list(read_records(path, Sample)) == items


@pytest.mark.parametrize("image", ["/etc/passwd", "../x.png", "a/../../x.png", "C:\\x.png", ""])
def test_paths_that_leave_the_root_are_refused(image: str) -> None:
    with pytest.raises(ValueError, match="not relative"):
        sample(image=image)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"answer": "C"}, "among the options"),
        ({"task": "anomaly", "answer": "yes"}, "neither"),
        ({"extra": 1}, "extra"),
    ],
)
def test_wrong_samples_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        sample(**changes)


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    good = sample().model_dump_json()
    path.write_text(f"{good}\n{good}\n{{broken\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"s\.jsonl:3: not JSON"):
        list(read_records(path, Sample))
    path.write_text(f'{good}\n{{"id": "b"}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"s\.jsonl:2: not a valid Sample: dataset"):
        list(read_records(path, Sample))
    path.write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(DataError, match=r"s\.jsonl"):
        list(read_records(path, Sample))
    with pytest.raises(UsageError, match="no such file"):
        list(read_records(tmp_path / "missing.jsonl", Sample))


@pytest.mark.parametrize("tail", ['{"sample_id": "half', "x" * 200_000])
def test_a_half_written_line_is_cut_off_on_resume(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "p.jsonl"
    first = Prediction(sample_id="1", protocol="p", model="m", engine="e")
    with RecordWriter(path) as writer:
        writer.write(first)
    with path.open("a", encoding="utf-8") as file:
        file.write(tail)
    with RecordWriter(path) as writer:
        writer.write(first.model_copy(update={"sample_id": "2"}))
    assert [r.sample_id for r in read_records(path, Prediction)] == ["1", "2"]
    assert done_keys(path, Prediction, lambda r: r.sample_id) == {"1", "2"}
    assert done_keys(tmp_path / "none.jsonl", Prediction, lambda r: r.sample_id) == set()


def test_a_file_that_is_only_half_a_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("{", encoding="utf-8")
    assert done_keys(path, Prediction, lambda r: r.sample_id) == set()
    assert path.read_bytes() == b""


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_records(path, [sample()])
    before = path.read_bytes()

    def broken() -> Iterator[Sample]:
        yield sample(id="new")
        raise DataError("stop")

    with pytest.raises(DataError):
        write_records(path, broken())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.jsonl"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="file"):
        RecordWriter(tmp_path / "file" / "p.jsonl")
    with pytest.raises(OutputError, match="file"):
        write_records(tmp_path / "file" / "s.jsonl", [sample()])


def test_root_is_the_option_then_the_sidecar_then_the_folder(tmp_path: Path) -> None:
    path, images = tmp_path / "data" / "s.jsonl", tmp_path / "images"
    write_records(path, [sample()])
    images.mkdir()
    assert resolve_root(path) == path.parent
    meta_path(path).write_text(json.dumps({"root": "../images"}), encoding="utf-8")
    assert resolve_root(path).resolve() == images
    assert resolve_root(path, tmp_path) == tmp_path
    with pytest.raises(UsageError, match="not a folder"):
        resolve_root(path, tmp_path / "nowhere")
    meta_path(path).write_text('{"root": "moved"}', encoding="utf-8")
    with pytest.raises(DataError, match="not a folder"):
        resolve_root(path)
    meta_path(path).write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="sidecar"):
        resolve_root(path)


def test_a_line_nested_too_deeply_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text('{"id": ' + "[" * 200_000 + "]" * 200_000 + "}\n", encoding="utf-8")
    with pytest.raises(DataError, match="nested too deeply"):
        list(read_records(path, Sample))
