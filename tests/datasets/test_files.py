from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from iadr1 import parallel
from iadr1.datasets import files as module
from iadr1.datasets.files import Facts, Files, Missing
from iadr1.datasets.mvtec import SOURCE
from iadr1.errors import DataError, ImageError
from iadr1.images import file_sha256, hash_and_size, open_mask

Write = Callable[..., None]


def added(root: Path, *paths: str, missing: Missing = "error", facts: Facts | None = None) -> Files:
    files = Files(root, missing=missing, facts=facts)
    for path in paths:
        files.add(path, where="list.json")
    return files


def fields(image: str, **more: Any) -> dict[str, Any]:
    return {
        "id": image,
        "dataset": "Set",
        "category": "bolt",
        "split": "test",
        "image": image,
        "task": "anomaly",
        "question": "?",
        "answer": "No",
        "question_type": "Anomaly Detection",
        **more,
    }


def test_the_missing_are_counted_once_each_and_the_first_ten_named(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "a/0.png")
    files = added(tmp_path, "a/0.png", "a/0.png", *[f"a/{n:02d}.png" for n in range(10, 23)], "a/10.png")
    with pytest.raises(DataError) as caught:
        files.check(hint="expected a/0.png")
    text = str(caught.value)
    assert "13 of 14 files are missing: a/10.png, a/11.png" in text
    assert "a/19.png and 3 more (expected a/0.png; --missing skip" in text
    assert "a/20.png" not in text


def test_nothing_missing_is_no_error_and_no_text(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "0.png")
    files = added(tmp_path, "0.png")
    files.check(hint="")
    assert files.absent_text() == ""
    assert files.has("0.png")
    assert not files.has("1.png")


@pytest.mark.parametrize("missing", ["skip", "keep"])
def test_skip_and_keep_refuse_nothing_and_can_say_what_is_missing(tmp_path: Path, missing: Missing) -> None:
    files = added(tmp_path, "0.png", missing=missing)
    files.check(hint="")
    assert files.absent_text() == "1 of 1 files are missing: 0.png"
    assert not files.has("0.png")


def test_another_letter_case_is_pointed_out(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "candle/002.jpg")
    files = added(tmp_path, "candle/002.JPG", "candle/003.JPG")
    with pytest.raises(
        DataError, match=r"candle/002\.JPG \(there is '002\.jpg': the letter case differs\), candle/003\.JPG \("
    ):
        files.check(hint="see the tree")


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "C:/x.png", "a/../../x.png", "a\\x.png", "", "./x.png"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"list\.json: the path .* is not relative to the root or leaves it"):
        added(tmp_path, path)


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_out_of_the_root_is_refused(tmp_path: Path, photo: Write, link: str) -> None:
    photo(tmp_path / "outside/0.png")
    (tmp_path / "root").mkdir()
    if link == "file":
        (tmp_path / "root/a").mkdir()
        (tmp_path / "root/a/0.png").symlink_to(tmp_path / "outside/0.png")
    else:
        (tmp_path / "root/a").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(DataError, match=r"list\.json: the path 'a/0\.png' leads out of .* through a link"):
        added(tmp_path / "root", "a/0.png")


def test_a_link_inside_the_root_and_a_root_that_is_a_link_are_fine(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "real/b/0.png")
    (tmp_path / "real/a").symlink_to(tmp_path / "real/b", target_is_directory=True)
    (tmp_path / "root").symlink_to(tmp_path / "real", target_is_directory=True)
    assert added(tmp_path / "root", "a/0.png", "b/0.png").absent_text() == ""


def test_a_sample_follows_the_rule_for_absent_files(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "0.png")
    paths = ("0.png", "1.png", "2.png")
    here = fields("0.png", references=("0.png", "1.png"), similar_references=("2.png", "0.png"))
    skipping = added(tmp_path, *paths, missing="skip")
    assert skipping.sample("x", **fields("1.png")) is None
    kept = skipping.sample("x", **here)
    assert kept is not None
    assert (kept.references, kept.similar_references, kept.missing) == (("0.png",), ("0.png",), False)
    keeping = added(tmp_path, *paths, missing="keep")
    absent = keeping.sample("x", **fields("1.png", references=("2.png",)))
    assert absent is not None
    assert (absent.missing, absent.references) == (True, ("2.png",))
    assert (keeping.sample("x", **here) or absent).references == ("0.png", "1.png")


def test_a_sample_s_wrong_field_names_its_place(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"list\.json, entry 3: question: .*None"):
        added(tmp_path, "0.png").sample("list.json, entry 3", **fields("0.png", question=None))


class Opened:
    """Counts how often each file's content is looked at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.images: Counter[str] = Counter()
        self.masks: Counter[str] = Counter()

        def look(path: Path) -> Any:
            self.images[path.name] += 1
            return hash_and_size(path)

        def decode(path: Path, *, threshold: int = 0) -> Any:
            self.masks[path.name] += 1
            return open_mask(path, threshold=threshold)

        patch.setattr(module, "hash_and_size", look)
        patch.setattr(module, "open_mask", decode)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def test_a_file_is_opened_once(tmp_path: Path, photo: Write, mask: Write, opened: Opened) -> None:
    photo(tmp_path / "0.png", size=(60, 40))
    mask(tmp_path / "m.png", [(0, 0, 10, 10)])
    files = added(tmp_path, "0.png", "m.png")
    first = files.image("0.png")
    assert (first.size, first.sha256) == ((60, 40), file_sha256(tmp_path / "0.png"))
    assert files.image("0.png") == first
    (region,) = files.mask("m.png").regions
    assert (region.box, region.area_px) == ((0, 0, 10, 10), 100)
    assert files.mask("m.png").size == (60, 60)
    assert files.mask("m.png", threshold=255).regions == ()
    assert opened.images == {"0.png": 1}
    assert opened.masks == {"m.png": 2}  # once for each threshold


def test_what_was_learned_is_used_by_the_next_run(tmp_path: Path, photo: Write, mask: Write, opened: Opened) -> None:
    photo(tmp_path / "0.png")
    mask(tmp_path / "m.png", [(0, 0, 10, 10)])
    facts = Facts(tmp_path / "facts.json")
    files = added(tmp_path, "0.png", "m.png", facts=facts)
    before = files.image("0.png"), files.mask("m.png")
    facts.save()
    files = added(tmp_path, "0.png", "m.png", facts=Facts(tmp_path / "facts.json"))
    assert (files.image("0.png"), files.mask("m.png")) == before
    assert opened.images == {"0.png": 1}
    assert opened.masks == {"m.png": 1}


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path, photo: Write, opened: Opened) -> None:
    photo(tmp_path / "0.bmp")
    photo(tmp_path / "1.bmp")
    facts = Facts(tmp_path / "facts.json")
    files = added(tmp_path, "0.bmp", "1.bmp", facts=facts)
    before = files.image("0.bmp"), files.image("1.bmp")
    facts.save()
    stamp = (tmp_path / "0.bmp").stat()
    photo(tmp_path / "0.bmp", grey=90)
    # The same size on disk; only the time tells.
    assert (tmp_path / "0.bmp").stat().st_size == stamp.st_size
    os.utime(tmp_path / "0.bmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1000))
    files = added(tmp_path, "0.bmp", "1.bmp", facts=Facts(tmp_path / "facts.json"))
    assert files.image("0.bmp").sha256 == file_sha256(tmp_path / "0.bmp") != before[0].sha256
    assert files.image("1.bmp") == before[1]
    assert opened.images == {"0.bmp": 2, "1.bmp": 1}


def test_what_a_run_did_not_use_is_forgotten(tmp_path: Path, photo: Write) -> None:
    for number in range(2):
        photo(tmp_path / f"{number}.png")
    facts = Facts(tmp_path / "facts.json")
    files = added(tmp_path, "0.png", "1.png", facts=facts)
    files.image("0.png")
    files.image("1.png")
    facts.save()
    facts = Facts(tmp_path / "facts.json")
    added(tmp_path, "1.png", facts=facts).image("1.png")
    facts.save()
    assert list(json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))) == ["1.png"]


def test_what_a_run_that_was_cut_short_did_not_reach_is_kept(tmp_path: Path, photo: Write, opened: Opened) -> None:
    for number in range(2):
        photo(tmp_path / f"{number}.png")
    for complete in (True, False, True):
        facts = Facts(tmp_path / "facts.json")
        files = added(tmp_path, "0.png", "1.png", facts=facts)
        files.image("0.png")
        if complete:
            files.image("1.png")
        facts.save(complete=complete)
    assert opened.images == {"0.png": 1, "1.png": 1}


def test_a_mask_with_specks_only_has_no_regions_and_is_not_empty(tmp_path: Path, mask: Write) -> None:
    mask(tmp_path / "speck.png", [(3, 3, 4, 4)], value=9)
    mask(tmp_path / "empty.png")
    files = added(tmp_path, "speck.png", "empty.png")
    assert (files.mask("speck.png").regions, files.mask("speck.png").empty) == ((), False)
    assert (files.mask("speck.png", threshold=9).empty, files.mask("empty.png").empty) == (True, True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"0.png": 3}', '{"0.png": {"stat": [1, 2], "sha256": "x"}}'])
def test_a_broken_cache_is_made_again(tmp_path: Path, photo: Write, text: str) -> None:
    photo(tmp_path / "0.png")
    (tmp_path / "facts.json").write_text(text, encoding="utf-8")
    files = added(tmp_path, "0.png", facts=Facts(tmp_path / "facts.json"))
    assert files.image("0.png").sha256 == file_sha256(tmp_path / "0.png")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(ImageError, match=r"0\.png: not an image"):
        added(tmp_path, "0.png").image("0.png")


def test_a_whole_set_opens_each_file_once(tmp_path: Path, photo: Write, mask: Write, opened: Opened) -> None:
    root = tmp_path / "set"
    for category in ("bottle", "wood"):
        photo(root / category / "train/good/000.png")
        for number in range(3):
            photo(root / category / f"test/hole/{number:03d}.png")
            mask(root / category / f"ground_truth/hole/{number:03d}_mask.png", [(0, 0, 9, 9)])
    facts = Facts(tmp_path / "facts.json")
    files = Files(root, facts=facts)
    samples = list(SOURCE.scan(files))
    for sample in samples:
        files.image(sample.image)
    assert opened.images == {"000.png": 4, "001.png": 2, "002.png": 2}
    assert set(opened.masks.values()) == {2}
    facts.save()
    again = list(SOURCE.scan(Files(root, facts=Facts(tmp_path / "facts.json"))))
    assert again == samples
    assert sum(opened.images.values()) == 8
    assert sum(opened.masks.values()) == 6


def test_keep_opens_nothing_where_nothing_is(tmp_path: Path, opened: Opened) -> None:
    files = added(tmp_path, "0.png", missing="keep")
    assert files.sample("x", **fields("0.png")) is not None
    assert not opened.images


def test_parallel_work_keeps_the_order() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(parallel.ordered(slow_first, range(40), workers=4)) == [n * n for n in range(40)]
    assert list(parallel.ordered(slow_first, [], workers=4)) == []


def test_parallel_work_is_done_by_several_threads() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(number: int) -> int:
        # A single thread would wait here for ever.
        meeting.wait()
        return number

    assert list(parallel.ordered(meet, range(4), workers=2)) == [0, 1, 2, 3]


def test_parallel_work_takes_items_only_as_results_are_asked_for() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = parallel.ordered(lambda number: number, source(), workers=2)
    assert next(results) == 0
    assert len(taken) <= 16
    assert [next(results) for _ in range(20)] == list(range(1, 21))
    assert len(taken) <= 16 + 20
    results.close()  # type: ignore[attr-defined]


def test_the_first_error_comes_where_its_result_would_have_come() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 5:
            raise DataError("item 5 is broken")
        time.sleep(0.2 if number > 5 else 0)
        done.append(number)
        return number

    results = parallel.ordered(work, range(1000), workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="item 5"):
        next(results)
    # About 20 had been handed over; those that had not begun were dropped.
    assert len(done) < 14
