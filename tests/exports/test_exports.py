"""The table of formats, and the files they are written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from iadr1.errors import OutputError, UsageError
from iadr1.exports import BOX_SPACES, FORMATS_OF_TASK, NAMES, TARGETS, find_target, write_json_lines, write_json_list
from iadr1.prompts import FORMATS

ROWS: list[dict[str, object]] = [{"text": "ü\n"}, {"boxes": [1.5]}]


def test_every_target_is_found_and_is_the_only_one() -> None:
    assert len({(target.name, target.method, target.suffix) for target in TARGETS}) == len(TARGETS)
    for target in TARGETS:
        assert find_target(target.name, suffix=target.suffix, method=target.method) is target


def test_without_a_method_the_first_is_taken() -> None:
    assert find_target("trl", suffix=".jsonl").method == "sft"
    assert find_target("vlm-r1", suffix=".json").method == "grpo"


def test_every_target_is_sound() -> None:
    for target in TARGETS:
        assert set(target.spaces) <= set(BOX_SPACES)
        assert target.space is None or target.space in target.spaces
        assert "{root}" in target.loader
        assert target.tasks
    assert {fmt for formats in FORMATS_OF_TASK.values() for fmt in formats} == set(FORMATS)


def test_an_unknown_format_names_the_known() -> None:
    with pytest.raises(UsageError, match=", ".join(NAMES)):
        find_target("coco", suffix=".json")


@pytest.mark.parametrize("rows", [ROWS, []])
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    assert write_json_list(tmp_path / "new/a.json", rows) == len(rows)
    assert json.loads((tmp_path / "new/a.json").read_text(encoding="utf-8")) == rows
    assert write_json_lines(tmp_path / "a.jsonl", rows) == len(rows)
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == rows


@pytest.mark.parametrize("write", [write_json_list, write_json_lines])
def test_a_run_that_fails_leaves_the_old_file(tmp_path: Path, write: object) -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield {"a": "b"}
        raise ZeroDivisionError

    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        write(path, broken())  # type: ignore[operator] # either of two functions
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_json_list(tmp_path / "file/a.json", ROWS)
