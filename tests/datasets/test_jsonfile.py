from __future__ import annotations

from pathlib import Path

import pytest

from iadr1.datasets.jsonfile import read_json
from iadr1.errors import DataError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":\n {"b": }}', r"x\.json:2:8: not JSON: Expecting value in column 8"),
        ('{"a": [{"b": 1, "c": 2, "b": 3}]}', r"x\.json: the key 'b' occurs twice in one object"),
        ("[" * 100_000, "nested too deeply"),
        (f"[{'9' * 5000}]", "not JSON that can be read: Exceeds the limit"),
        (r'{"a": ["\ud83d"]}', r"a lone '\\ud83d', which is half a character"),
        (r'{"\udc00": 1}', r"a lone '\\udc00', which is half a character"),
        ("", "not JSON"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "x.json")


def test_a_character_in_two_halves_is_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(r'["\ud83d\ude00 \\ud800"]', encoding="utf-8")
    assert read_json(tmp_path / "x.json") == ["\U0001f600 \\ud800"]


def test_text_that_is_not_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "x.json") == [1]
    (tmp_path / "x.json").write_bytes(b'["\xe4"]')
    with pytest.raises(DataError, match=r"x\.json: cannot read the file"):
        read_json(tmp_path / "x.json")
