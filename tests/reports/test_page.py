"""How pages are written: whole or not at all, with text escaped and pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.errors import OutputError
from iadr1.reports.page import data_uri, write_page


def write(path: Path, cards: Iterator[dict[str, Any]]) -> None:
    write_page(path, "samples.html.j2", info={"<b>": "\ud800"}, cards=cards)


def test_text_is_escaped_and_half_a_pair_replaced(tmp_path: Path) -> None:
    write(tmp_path / "new" / "page.html", iter(()))
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<dt>&lt;b&gt;</dt><dd>?</dd>" in text


def test_a_run_that_fails_leaves_the_old_page_and_nothing_else(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from ()
        raise ZeroDivisionError

    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        write(path, broken())
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "file" / "page.html", iter(()))


@pytest.mark.parametrize(("size", "shown"), [((900, 300), (90, 30)), ((20, 10), (20, 10)), ((1, 4000), (1, 60))])
def test_pictures_are_made_small_never_large(size: tuple[int, int], shown: tuple[int, int]) -> None:
    head, _, data = data_uri(Image.new("RGB", size, (200, 0, 0)), (90, 60)).partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == shown


def test_quality_decides_the_size() -> None:
    picture = Image.effect_noise((90, 90), 80).convert("RGB")
    assert len(data_uri(picture, (90, 90), quality=40)) < len(data_uri(picture, (90, 90)))
